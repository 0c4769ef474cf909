"""Transforms of an export that keep the ratio and pad: run as PaddleSeg does, from the checkpoint to the engine."""

import json
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
import stages
import yaml
from conftest import ROOT
from paddleseg.core.infer import inference

from segcert import modelconfig, record
from segcert.compute import components, metrics
from segcert.compute.preprocess import Preprocess
from segcert.data.images import read_label

LITE = ROOT / "config/models/pp_humanseg_lite.yml"
TRANSFORMS = [
    {"type": "Resize", "target_size": [128, 128], "keep_ratio": True},
    {"type": "Padding", "target_size": [128, 128]},
    {"type": "Normalize"},
]


@pytest.fixture(scope="module")
def letterbox(dataset, trained, tmp_path_factory):
    """A folder with evaluation, export and an inference cell of a checkpoint under such transforms."""
    folder = tmp_path_factory.mktemp("letterbox")
    content = modelconfig.content(LITE)
    content["export"]["transforms"] = TRANSFORMS
    (folder / "own.yml").write_text(yaml.safe_dump(content))
    fixed = ["--config", "own.yml", "--checkpoint", trained / "model.pdparams"]
    files = ["--dataset", dataset, "--reference", "reference", "--record", "eval.json", "--log", "eval.log"]
    done = stages.script("evaluate.py", folder, *fixed, *files, "--transforms", "export")
    assert done.returncode == 0, done.stderr
    done = stages.script(
        "export.py", folder, *fixed, "--export", "export", "--record", "export.json", "--log", "export.log"
    )
    assert done.returncode == 0, done.stderr
    done = stages.infer(folder, dataset, "cell", "--engine", "native")
    assert done.returncode == 0, done.stderr
    return folder


def test_the_exported_models_size_is_that_of_the_padding(letterbox):
    deploy = yaml.safe_load((letterbox / "export/deploy.yaml").read_text())["Deploy"]
    assert deploy["input_shape"] == [-1, 3, 128, 128] and deploy["transforms"] == TRANSFORMS
    assert record.read(letterbox / "export.json")["effective"]["input_size"] == [128, 128]
    assert record.read(letterbox / "eval.json")["effective"]["input_size"] == [128, 128]


def test_what_was_padded_is_taken_away_again_and_nothing_is_stretched(letterbox, dataset, trained):
    """Held against PaddleSeg's own way back, which goes by logits and not by label maps."""
    config = components.load_config(str(letterbox / "own.yml"), str(dataset))
    model = components.load_model(config, str(trained / "model.pdparams"))
    prepare = Preprocess(TRANSFORMS)
    listed = json.loads((dataset / "manifest.json").read_text())["splits"]["test"]
    theirs = metrics.Confusion(2)
    for image, label in listed:
        tensor = paddle.to_tensor(prepare.batch([dataset / image]))
        with paddle.no_grad():
            found = inference(model, tensor, trans_info=prepare.done[0])[0]
        true = read_label(dataset / label)
        assert found.shape[2:] == list(true.shape)
        theirs.add(np.squeeze(found.numpy()), true, label)
    miou = theirs.metrics()["miou"]
    evaluated, cell = (record.read(letterbox / f"{name}.json")["metrics"] for name in ("eval", "cell"))
    assert miou > 0.5
    assert evaluated["reference_miou"] == pytest.approx(miou, abs=0.01)
    assert cell["miou"] == pytest.approx(evaluated["reference_miou"], abs=1e-3)
    stretched = metrics.Confusion(2)
    for image, label in listed:
        true = read_label(dataset / label)
        whole = read_label(letterbox / "reference" / f"{Path(image).stem}.png")
        stretched.add(cv2.resize(whole, true.shape[::-1], interpolation=cv2.INTER_NEAREST), true, label)
    assert stretched.metrics()["miou"] < miou - 0.05, "else this shows nothing"


def test_an_export_of_another_size_is_fed_nothing(letterbox, dataset):
    """Also where the engine would take it."""
    path = letterbox / "export/deploy.yaml"
    deploy = yaml.safe_load(path.read_text())
    deploy["Deploy"]["transforms"] = [{**TRANSFORMS[0], "target_size": [96, 96], "keep_ratio": False}, TRANSFORMS[2]]
    text = path.read_text()
    path.write_text(yaml.safe_dump(deploy))
    try:
        done = stages.infer(letterbox, dataset, "other", "--engine", "native")
    finally:
        path.write_text(text)
    assert done.returncode == 1
    assert "is fed as 96x96, the exported model takes 128x128" in record.read(letterbox / "other.failed.json")["reason"]
