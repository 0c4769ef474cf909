"""Samples of a training are looked at after each transform: what spoils one is named, transform and key."""

import json
import random
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import stages
import yaml
from conftest import ROOT
from paddleseg.transforms import transforms as theirs

from segcert import modelconfig, record
from segcert.compute import components, training
from segcert.errors import StageError

LITE = ROOT / "config/models/pp_humanseg_lite.yml"
CROP = {"type": "RandomPaddingCrop", "crop_size": [64, 48]}
NORMALIZE = {"type": "Normalize"}


def own(folder, transforms, ignore_index=None):
    """A configuration with these transforms of its training."""
    content = modelconfig.content(LITE)
    content["train_dataset"]["transforms"] = transforms
    for section in ("train_dataset", "val_dataset"):
        content[section] |= {} if ignore_index is None else {"ignore_index": ignore_index}
    if ignore_index is not None:
        content["loss"]["types"] = [{"type": "CrossEntropyLoss", "ignore_index": ignore_index}]
    path = folder / "own.yml"
    path.write_text(yaml.safe_dump(content))
    return path


def samples(folder, dataset, transforms, ignore_index=None, alike=True, strict=True):
    """The samples of a training, one by one."""
    path = own(folder, transforms, ignore_index)
    config = components.load_config(str(path), str(dataset), start=components.Start())
    random.seed(1)
    np.random.seed(1)
    return iter(components.CheckedDataset(components.builder(config).train_dataset, alike))


def first(*arguments, **options):
    return next(samples(*arguments, **options))


@pytest.fixture
def small(dataset, tmp_path):
    """The data set with a first image that any crop of 64x48 must pad."""
    import shutil

    folder = tmp_path / "d"
    shutil.copytree(dataset, folder)
    image, label = json.loads((folder / "manifest.json").read_text())["splits"]["train"][0]
    for name in (image, label):
        picture = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(folder / name), cv2.resize(picture, (40, 30), interpolation=cv2.INTER_NEAREST))
    return folder, label


# -- what pads a label ------------------------------------------------------------------------

PADDING = [
    CROP,
    {"type": "Padding", "target_size": [2000, 2000]},
    {"type": "PaddingByAspectRatio", "aspect_ratio": 5},
    {"type": "RandomRotation", "max_rotation": 40},
    {"type": "RandomAffine", "size": [64, 48], "max_rotation": 40},
]


@pytest.mark.parametrize("transform", PADDING, ids=lambda item: item["type"])
def test_a_value_that_a_transform_puts_around_labels_is_not_the_files(small, tmp_path, transform):
    folder, label = small
    flip = {"type": "RandomHorizontalFlip"}
    with pytest.raises(StageError) as refused:
        first(tmp_path, folder, [flip, transform, NORMALIZE], ignore_index=4)
    text = str(refused.value)
    assert label in text and f"train_dataset.transforms.1: {transform['type']}: label_padding_value: 255" in text
    assert "the file does not hold it; allowed are 0 to 1 and 4 (ignored): write label_padding_value: 4" in text
    right = [flip, {**transform, "label_padding_value": 4}, NORMALIZE]
    assert 4 in first(tmp_path, folder, right, ignore_index=4)["label"]


def test_a_value_that_the_file_holds_is_the_files_also_where_a_transform_puts_it_too(small, tmp_path):
    folder, label = small
    picture = cv2.imread(str(folder / label), cv2.IMREAD_UNCHANGED)
    picture[0, 0] = 255
    cv2.imwrite(str(folder / label), picture)
    with pytest.raises(StageError, match=rf"{label}: holds the value 255; allowed are 0 to 1 and 4 \(ignored\)"):
        first(tmp_path, folder, [CROP, NORMALIZE], ignore_index=4)


def test_a_value_of_a_transform_of_ones_own(small, tmp_path, monkeypatch):
    folder, label = small

    def spoil(self, data):
        data["label"] = data["label"] + 9
        return data

    monkeypatch.setattr(theirs.RandomHorizontalFlip, "__call__", spoil)
    with pytest.raises(StageError, match=rf"{label}: one of train_dataset\.transforms puts the value \d+ into it"):
        first(tmp_path, folder, [{"type": "RandomHorizontalFlip"}, CROP, NORMALIZE])


# -- what leaves an image that is none --------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.75, 0.01])
def test_the_fault_of_a_crop_that_looks_at_classes_is_named(dataset, tmp_path, ratio):
    """With 0.75 it hands on the label as the image; with 0.01 it finds no crop and leaves the image as it is."""
    crop = {**CROP, "category_max_ratio": ratio}
    with pytest.raises(StageError) as refused:
        for _ in samples(tmp_path, dataset, [{"type": "RandomHorizontalFlip"}, crop, NORMALIZE]):
            pass
    text = str(refused.value)
    assert "train_dataset.transforms.1: RandomPaddingCrop makes an image of shape" in text
    assert "a fault of paddleseg 2.8.0" in text and "write category_max_ratio: 1.0" in text
    assert first(tmp_path, dataset, [{**CROP, "category_max_ratio": 1.0}, NORMALIZE])["img"].shape == (3, 48, 64)


def test_a_transform_that_breaks_is_named(small, tmp_path):
    folder, _ = small
    with pytest.raises(StageError) as refused:
        list(samples(tmp_path, folder, [{"type": "Padding", "target_size": [64, 48]}, NORMALIZE]))
    assert "train_dataset.transforms.0: Padding cannot be done with it: ValueError" in str(refused.value)


def test_images_of_other_sizes_are_no_batch(small, tmp_path):
    folder, _ = small
    flip = [{"type": "RandomHorizontalFlip"}, NORMALIZE]
    with pytest.raises(
        StageError, match=r"after its transforms, others are 40x30, .* end train_dataset\.transforms in a"
    ):
        list(samples(tmp_path, folder, flip))
    sizes = {sample["img"].shape for sample in samples(tmp_path, folder, flip, alike=False)}
    assert len(sizes) > 1


# -- what goes with an image and its label ----------------------------------------------------


def batches(folder, dataset, workers, transforms, **changes):
    path = own(folder, transforms)
    content = yaml.safe_load(path.read_text())
    content["train_dataset"] |= changes
    path.write_text(yaml.safe_dump(content))
    config = components.load_config(str(path), str(dataset), start=components.Start())
    return training._batches(components.CheckedDataset(components.builder(config).train_dataset), 2, workers, 7)


def plain(value):
    """Tensors of a batch as arrays, whatever they stand in."""
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    return [plain(part) for part in value] if isinstance(value, list) else value.numpy().tolist()


def test_edges_and_instances_come_with_their_image_whoever_reads_them(dataset, tmp_path):
    """Asked for in the configuration (`edge: true`, a transform), and of use to losses that look at them."""
    _, batch = next(batches(tmp_path, dataset, 0, INSTANCES, edge=True))
    assert set(batch) == {"img", "label", "edge", "instances"}
    assert batch["edge"].shape == [2, 1, 48, 64] and 0 < float(batch["edge"].astype("float32").mean()) < 1
    assert batch["instances"]["gt_masks"].shape == [2, 2, 48, 64]
    assert json.loads(by_itself(READ, tmp_path, dataset).splitlines()[-1]) == plain(batch)


INSTANCES = [CROP, {"type": "GenerateInstanceTargets", "num_classes": 2}, NORMALIZE]
BY_ITSELF = """
import json
import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, sys.argv[1])
import conftest
import test_samples

from segcert.compute import apart

"""


def by_itself(program, folder, dataset):
    """What a program prints in a process of its own: Paddle's loader, left alone, may end that or wait for ever."""
    command = [sys.executable, "-c", BY_ITSELF + program, str(Path(__file__).parent), str(folder), str(dataset)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


READ = """
_, batch = next(test_samples.batches(Path(sys.argv[2]), sys.argv[3], 1, test_samples.INSTANCES, edge=True))
print(json.dumps(test_samples.plain(batch)))
"""
BUSY = """
cv2.setNumThreads(4)
cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 0)
next(test_samples.batches(Path(sys.argv[2]), sys.argv[3], 1, [test_samples.CROP, test_samples.NORMALIZE]))
apart.run(cv2.setNumThreads, 2)
print(cv2.getNumThreads(), "threads")
"""


def test_forks_do_not_wait_for_threads_that_opencv_had_before(dataset, tmp_path):
    """Those of a data loader and of work apart."""
    assert "4 threads" in by_itself(BUSY, tmp_path, dataset), "in the process that forked, they are there again"


def test_a_loss_of_edges_is_given_them():
    import paddle
    from paddleseg.models.losses import BCELoss

    net = paddle.nn.Conv2D(3, 1, 1)
    net.forward = lambda images, layer=net: [paddle.nn.functional.conv2d(images, layer.weight)]
    rng = np.random.default_rng(1)
    batch = {
        "img": paddle.to_tensor(rng.normal(size=(2, 3, 8, 8)).astype("float32")),
        "label": paddle.zeros((2, 8, 8), "int64"),
        "edge": paddle.to_tensor(rng.integers(0, 2, (2, 1, 8, 8))),
    }
    loss = BCELoss(edge_label=True)
    wanted = float(loss(net.forward(batch["img"])[0], batch["edge"]))
    optimizer = paddle.optimizer.SGD(0.1, parameters=net.parameters())
    scaler = paddle.amp.GradScaler(enable=False)
    losses = {"types": [loss], "coef": [1]}
    made = training.step(net, net, losses, optimizer, scaler, training.Precision("fp32"), batch)
    assert float(made) == pytest.approx(wanted, rel=1e-6)


# -- as a stage -------------------------------------------------------------------------------


def train(folder, dataset, config, *arguments):
    fixed = ["--config", config, "--dataset", dataset, "--checkpoint", "model.pdparams", "--history", "history.csv"]
    fixed += ["--record", "train.json", "--log", "train.log", "--iters", "1"]
    return stages.script("train.py", folder, *fixed, *arguments)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_the_key_is_the_reason_of_the_stage(dataset, tmp_path, workers):
    crop = {**CROP, "category_max_ratio": 0.75}
    path = own(tmp_path, [crop, NORMALIZE])
    done = train(tmp_path, dataset, path, "--input-size", "64", "48", "--batch-size", "4", "--workers", workers)
    assert done.returncode == 1
    reason = record.read(tmp_path / "train.failed.json")["reason"]
    assert "train_dataset.transforms.0: RandomPaddingCrop" in reason and "category_max_ratio: 1.0" in reason


def test_a_size_that_was_not_asked_for_ends_the_training_at_its_first_batch(dataset, tmp_path):
    path = own(tmp_path, [{"type": "RandomHorizontalFlip"}, NORMALIZE])
    done = train(tmp_path, dataset, path, "--input-size", "64", "48", "--batch-size", "1", "--workers", "0")
    assert done.returncode == 1
    reason = record.read(tmp_path / "train.failed.json")["reason"]
    assert "own.yml: train_dataset.transforms: images come out of it as" in reason and "asks for 64x48" in reason
    assert "[TRAIN]" not in (tmp_path / "train.log").read_text()
