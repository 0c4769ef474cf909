"""Evaluation as a model's `test_config` asks for it, and under its own transforms: PaddleSeg's numbers."""

import random

import numpy as np
import paddle
import pytest
import stages
import yaml
from conftest import ROOT
from paddleseg.core import evaluate as theirs
from paddleseg.cvlibs import manager

from segcert import modelconfig, record
from segcert.compute import components
from segcert.errors import StageError

LITE = ROOT / "config/models/pp_humanseg_lite.yml"
ASKED = [
    {},
    {"is_slide": True, "crop_size": [64, 64], "stride": [48, 48]},
    {"aug_eval": True, "scales": [0.5, 1.0], "flip_horizontal": True},
    {"aug_eval": True, "scales": 0.75, "is_slide": True, "crop_size": [64, 64], "stride": [32, 32], "auc_roc": False},
]


def own(folder, **changes):
    content = {**modelconfig.content(LITE), **changes}
    path = folder / "own.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def evaluate(folder, dataset, config, trained, *arguments):
    fixed = ["--config", config, "--dataset", dataset, "--checkpoint", trained / "model.pdparams"]
    fixed += ["--reference", "reference", "--record", "eval.json", "--log", "eval.log", *stages.SIZE]
    return stages.script("evaluate.py", folder, *fixed, "--images", "3", *arguments)


def areas(prediction, label, classes, ignore_index=255):
    """What `paddleseg.utils.metrics.calculate_area` works out, which breaks on Paddle 3."""
    found, true = np.squeeze(prediction.numpy()), np.squeeze(label.numpy())
    found, true = found[true != ignore_index], true[true != ignore_index]
    counts = [[np.sum(part == n) for n in range(classes)] for part in (found[found == true], found, true)]
    return [paddle.to_tensor(np.array(part, "int64")) for part in counts]


@pytest.mark.parametrize("asked", ASKED, ids=str)
def test_a_test_config_gives_paddlesegs_numbers(dataset, trained, tmp_path, asked, monkeypatch):
    path = own(tmp_path, test_config=asked)
    done = evaluate(tmp_path, dataset, path, trained, "--transforms", "val")
    assert done.returncode == 0, done.stderr
    found = record.read(tmp_path / "eval.json")
    assert found["effective"].get("test_config", {}) == {key: value for key, value in asked.items() if value}
    config = components.load_config(str(path), str(dataset), [128, 96], evaluate_as_exported=False)
    model = components.load_model(config, str(trained / "model.pdparams"))
    validation = components.builder(config).val_dataset
    validation.file_list = validation.file_list[:3]
    monkeypatch.setattr("paddleseg.utils.metrics.calculate_area", areas)
    miou, acc, *_ = theirs(model, validation, **{**asked, "auc_roc": False}, print_detail=False)
    assert found["metrics"]["miou"] == pytest.approx(float(miou), rel=1e-4)
    assert found["metrics"]["acc"] == pytest.approx(float(acc), rel=1e-4)


def test_evaluated_as_exported_it_is_not_used(dataset, trained, tmp_path):
    done = evaluate(tmp_path, dataset, own(tmp_path, test_config=ASKED[1]), trained, "--transforms", "export")
    assert done.returncode == 0, done.stderr
    assert "test_config" not in record.read(tmp_path / "eval.json")["effective"]


@pytest.fixture
def jitter():
    """A transform of one's own that draws random numbers."""

    class Jitter:
        def __call__(self, data):
            data["img"] = data["img"] + random.random()
            return data

    manager.TRANSFORMS.add_component(Jitter)
    yield "Jitter"
    del manager.TRANSFORMS.components_dict["Jitter"]


def test_a_transform_of_ones_own_that_is_random_all_the_same_is_found_out(dataset, tmp_path, jitter):
    resize, normalize = {"type": "Resize", "target_size": [64, 48]}, {"type": "Normalize"}
    for items, random_one in (([resize, normalize], False), ([resize, {"type": jitter}, normalize], True)):
        config = components.load_config(str(own(tmp_path, export={"transforms": items})), str(dataset))
        validation = components.builder(config).val_dataset
        if not random_one:
            components.require_repeatable(validation, config)
            continue
        with pytest.raises(StageError, match=r"Jitter of val_dataset\.transforms .* gives another image every time"):
            components.require_repeatable(validation, config)


def test_an_image_that_cannot_be_padded_is_named(dataset, trained, tmp_path):
    """Kept in its ratio, a portrait is taller than a landscape's frame."""
    items = [
        {"type": "Resize", "target_size": [128, 96], "keep_ratio": True},
        {"type": "Padding", "target_size": [96, 96]},
        {"type": "Normalize"},
    ]
    done = evaluate(tmp_path, dataset, own(tmp_path, export={"transforms": items}), trained, "--transforms", "export")
    assert done.returncode == 1
    reason = record.read(tmp_path / "eval.failed.json")["reason"]
    assert ".jpg: its transforms cannot be done: The size of image should be less" in reason
