"""Each data set of the corpus through its unpacking: what passes is read as it was meant, what is refused is named."""

import argparse
import json
import sys

import cases
import cv2
import makers
import numpy as np
import pytest
import yaml
from cases import CASES, PASSES
from conftest import ROOT

from segcert.data import classes
from segcert.errors import StageError
from segcert.stage.worker import Staging


def unpack(folder, case, monkeypatch):
    """The result of the unpacking; raises what it refuses."""
    import unpack_dataset

    made = case.make()
    (folder / "d.tar").write_bytes(made if isinstance(made, bytes) else makers.tar(made))
    if case.classes:
        section = {"type": "Cityscapes" if case.layout == "cityscapes" else "Dataset", "num_classes": case.classes}
        (folder / "m.yml").write_text(yaml.safe_dump({"train_dataset": section, "val_dataset": section}))
        monkeypatch.setenv(classes.MODELS, json.dumps({"d": {"m": str(folder / "m.yml")}}))
    (folder / "staging").mkdir()
    args = argparse.Namespace(cell="d", layout=case.layout, tarball=str(folder / "d.tar"), threads=2)
    return unpack_dataset.work(args, Staging(folder / "staging"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_unpacking(case, tmp_path, monkeypatch, capfd):
    if case.outcome != PASSES:
        with pytest.raises(StageError) as refused:
            unpack(tmp_path, case, monkeypatch)
        message = str(refused.value)
        for word in case.words:
            assert word in message, message
        assert str(tmp_path) not in message and "0@" not in message, "files are named as their lists name them"
        assert not (tmp_path / "staging/dataset").exists()
        return
    found = unpack(tmp_path, case, monkeypatch)
    assert capfd.readouterr().err == "", "what decoders print is told, or it is nothing"
    told = "\n".join(found.metrics["notes"])
    for word in case.words:
        assert word in told, told
    assert not (case.silent and told), told
    if case.same:
        assert_same(tmp_path / "staging/dataset", case.same(), case.layout)


def assert_same(dataset, plain, layout):
    """All that PaddleSeg's data sets and the readers of the stages give of it is that of the plain files."""
    manifest = json.loads((dataset / "manifest.json").read_text())
    for split in ("train", "val"):
        fed = fed_by_paddleseg(dataset, split, layout)
        assert len(fed) == len(manifest["splits"][split])
        for image, label, read in fed:
            truth = cv2.imdecode(np.frombuffer(plain[label], np.uint8), cv2.IMREAD_UNCHANGED)
            assert read.dtype == np.uint8 and np.array_equal(read, truth), label
            stem = image.rpartition("/")[2].partition("_leftImg8bit")[0].removesuffix(".jpg")
            assert label.rpartition("/")[2].startswith((f"{stem}.", f"{stem}_gtFine")), (image, label)
    values = {}
    for label in (label for _, label in manifest["splits"]["train"]):
        truth = cv2.imdecode(np.frombuffer(plain[label.removeprefix("./")], np.uint8), cv2.IMREAD_UNCHANGED)
        for number, count in zip(*np.unique(truth, return_counts=True), strict=True):
            values[str(number)] = values.get(str(number), 0) + int(count)
    assert manifest["counts"]["train"]["values"] == values


def fed_by_paddleseg(dataset, split, layout):
    """(image, label, label as PaddleSeg's data set gives it) of each sample, after the stages' look at it."""
    from paddleseg.datasets import Cityscapes, Dataset

    from segcert.compute import feeding

    def made(split):
        if layout == "cityscapes":
            return Cityscapes([], str(dataset), split)
        lists = {f"{split}_path": str(dataset / f"{split}.txt")}
        return Dataset(split, str(dataset), [], 2, **lists)

    both = {name: made(name) for name in ("train", "val")}
    feeding.hold(both, str(dataset), ())
    samples = []
    for index, (image, label) in enumerate(both[split].file_list):
        names = [path.removeprefix(f"{dataset}/").removeprefix("./") for path in (image, label)]
        samples.append((*names, np.squeeze(both[split][index]["label"])))
    return samples


def test_every_case_has_a_name_of_its_own():
    assert len({case.name for case in CASES}) == len(CASES)
    assert str(ROOT / "scripts") in sys.path and cases.CASES is CASES
