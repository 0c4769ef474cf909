"""Each data set of the corpus through its unpacking: what passes is read as it was meant, what is refused is named."""

import json
import sys

import cases
import makers
import pytest
import reading
import yaml
from cases import CASES, PASSES
from conftest import ROOT

from segcert.data import classes
from segcert.errors import StageError


def unpack(folder, case, monkeypatch):
    """The result of the unpacking; raises what it refuses."""
    made = case.make()
    (folder / "d.tar").write_bytes(made if isinstance(made, bytes) else makers.tar(made))
    if case.classes:
        section = {"type": "Cityscapes" if case.layout == "cityscapes" else "Dataset", "num_classes": case.classes}
        (folder / "m.yml").write_text(yaml.safe_dump({"train_dataset": section, "val_dataset": section}))
        monkeypatch.setenv(classes.MODELS, json.dumps({"d": {"m": str(folder / "m.yml")}}))
    return reading.unpack(folder, folder / "d.tar", case.layout)


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
        reading.assert_same(tmp_path / "staging/dataset", reading.meant(case.same(), case.layout), case.layout)


def test_every_case_has_a_name_of_its_own():
    assert len({case.name for case in CASES}) == len(CASES)
    assert str(ROOT / "scripts") in sys.path and cases.CASES is CASES
