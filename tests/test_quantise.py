"""Quantisation to int8: one file that both engines compute in int8, from training images that nothing is judged on.

What is wrong with such a file is seen: by the evidence, where an engine computes it in fp32, or by the gates.
"""

import json
import re
import shutil

import numpy as np
import onnx
import pytest
import stages

from segcert import files, record
from segcert.compute import int8, quantise
from segcert.data import layouts
from segcert.errors import StageError
from segcert.requests.quantise import Quantise
from segcert.stages import QUANTISE

ENGINES = ("onnxruntime", "openvino")


def quantised(folder, dataset, *arguments, to="quantised", exported="export"):
    """A quantisation whose files are called as `to`."""
    fixed = ["--export", exported, "--dataset", dataset, "--upstream", "export.json", "--quantised", to]
    return stages.script("quantise.py", folder, *fixed, "--record", f"{to}.json", "--log", f"{to}.log", *arguments)


def inferred(folder, dataset, engine, model, name):
    """The record of a cell in int8 that runs the model in that folder."""
    asked = ["--engine", engine, "--precision", "int8", "--quantised", model, "--upstream", f"{model}.json"]
    done = stages.infer(folder, dataset, name, *asked, "--min-agreement", "0.99", "--max-miou-drop", "0.01")
    return record.read(folder / (f"{name}.json" if done.returncode == 0 else f"{name}.failed.json"))


@pytest.fixture(scope="module")
def chain(tmp_path_factory, trained, dataset):
    """A trained checkpoint's label maps, its export, and that in int8."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("quantised") / "chain")
    for done in (stages.export(folder), quantised(folder, dataset, "--images", "8")):
        assert done.returncode == 0, done.stderr
    return folder


def test_every_convolution_is_in_int8_and_the_record_says_from_what(chain, dataset):
    found = record.read(chain / "quantised.json")
    assert found["status"] == "passed" and found["stage"] == QUANTISE.name
    assert found["effective"] == {"device": "cpu", "precision": "int8", "method": "static", "weight_bits": 7}
    told = found["metrics"]
    assert told["int8_share"] == 1 and told["left_in_fp32"] == [] and told["convolutions"] == 48
    assert len(told["calibrated_on"]) == 8 and told["train_images"] == 16
    train = [image for image, _ in layouts.manifest(dataset)["splits"]["train"]]
    assert list(told["calibrated_on"]) == train[::2], "from all over the list"
    assert told["calibrated_on"] == {image: files.sha256(dataset / image) for image in train[::2]}
    assert told["onnx_mb"] < record.read(chain / "export.json")["metrics"]["onnx_mb"] / 1.5


@pytest.mark.parametrize("engine", ENGINES)
def test_one_file_serves_every_engine_and_keeps_what_it_has_learned(chain, dataset, engine):
    found = inferred(chain, dataset, engine, "quantised", engine)
    assert found["status"] == "passed", found["reason"]
    assert found["effective"]["precision"] == "int8" and found["effective"]["engine"] == engine
    assert found["metrics"]["evidence"]["precisions"] == {"int8": 48}
    assert found["metrics"]["pixel_agreement"] > 0.99 and not found["metrics"]["gates"][0]["weak"]
    made = files.sha256(chain / "quantised")
    assert found["inputs"]["quantised"] == made == record.read(chain / "quantised.json")["outputs"]["quantised"]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_without_its_quantisation_fails_by_the_evidence(chain, dataset, engine):
    """The export's own model in its place: agreement alone would take it for very good int8."""
    stripped = chain / "stripped"
    stripped.mkdir(exist_ok=True)
    shutil.copy(chain / "export/model.onnx", stripped)
    shutil.copy(chain / "quantised.json", chain / "stripped.json")
    found = inferred(chain, dataset, engine, "stripped", f"stripped_{engine}")
    assert found["status"] == "failed" and found["reason"] == "precision: int8 requested, fp32 observed"
    assert found["metrics"]["pixel_agreement"] > 0.999
    assert found["metrics"]["evidence"]["precisions"] == {"fp32": 48}


@pytest.mark.parametrize("engine", ENGINES)
def test_one_convolution_in_fp32_is_seen_and_fails(chain, dataset, engine):
    """One of them reads what was not rounded, as where a node was taken out."""
    model = onnx.load(str(chain / "quantised/model.onnx"))
    makers = {output: node for node in model.graph.node for output in node.output}
    conv = [node for node in model.graph.node if node.op_type == "Conv"][20]
    for place in (0, 1):
        dequantised = makers[conv.input[place]]
        rounded = makers.get(dequantised.input[0])
        if rounded is not None:  # of the image: what goes into its QuantizeLinear
            conv.input[place] = rounded.input[0]
    partly = chain / "partly"
    partly.mkdir(exist_ok=True)
    onnx.save(model, str(partly / "model.onnx"))
    shutil.copy(chain / "quantised.json", chain / "partly.json")
    assert quantise.convolutions(model).left == (conv.name,)
    found = inferred(chain, dataset, engine, "partly", f"partly_{engine}")
    assert found["status"] == "failed"
    # Its neighbour too, where an engine takes the two together.
    assert re.fullmatch(r"precision: int8 requested, int8 in 4[67] of 48 convolutions observed", found["reason"])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_calibration_on_one_constant_image_fails_by_the_gate(chain, dataset, engine, monkeypatch):
    """All in int8, and so the evidence holds; but ranges are those of an image that shows nothing."""
    target = chain / "constant"
    if not target.exists():
        monkeypatch.setattr(quantise.Preprocess, "__call__", lambda self, path: np.zeros((3, 96, 128), np.float32))
        request = Quantise(images=1)
        result = quantise.quantise(request, quantise.Files(str(chain / "export"), str(dataset), target))
        assert result.effective["precision"] == "int8"
        shutil.copy(chain / "quantised.json", chain / "constant.json")
    found = inferred(chain, dataset, engine, "constant", f"constant_{engine}")
    assert found["status"] == "accuracy-failed" and "label maps agree with the checkpoint's on" in found["reason"]
    assert found["effective"]["precision"] == "int8"


def test_the_same_images_make_the_same_file(chain, dataset):
    done = quantised(chain, dataset, "--images", "8", to="again")
    assert done.returncode == 0, done.stderr
    assert (chain / "again/model.onnx").read_bytes() == (chain / "quantised/model.onnx").read_bytes()


def test_weights_of_eight_bits_are_seen_to_be_that(chain, dataset):
    done = quantised(chain, dataset, "--images", "1", "--weight-bits", "8", to="eight")
    assert done.returncode == 0, done.stderr
    assert record.read(chain / "eight.json")["effective"]["weight_bits"] == 8


# -- what is refused -------------------------------------------------------------------------


def with_manifest(dataset, folder, change):
    """The data set with a manifest of its own."""
    shutil.copytree(dataset, folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder, layouts.manifest(folder)


def test_an_image_that_inference_is_judged_on_is_refused_by_name(dataset, tmp_path):
    """By what it holds: its name is another."""

    def change(manifest):
        judged, first = manifest["splits"]["test"][0][0], manifest["splits"]["train"][0][0]
        shutil.copy(tmp_path / "d" / judged, tmp_path / "d" / first)
        for item in manifest["files"]:
            if item["path"] == first:
                item["sha256"] = files.sha256(tmp_path / "d" / first)

    folder, manifest = with_manifest(dataset, tmp_path / "d", change)
    judged, first = (manifest["splits"][split][0][0] for split in ("test", "train"))
    with pytest.raises(StageError, match=f"the training image {first} is {judged} of the inference list, byte for byte"):
        quantise.calibration_images(folder, manifest, 4)


def test_an_image_that_is_not_the_unpacked_one_is_refused_by_name(dataset, tmp_path):
    folder, manifest = with_manifest(dataset, tmp_path / "d", lambda manifest: None)
    first = manifest["splits"]["train"][0][0]
    (folder / first).write_bytes((folder / first).read_bytes() + b"\0")
    with pytest.raises(StageError, match=f"{first}: is not the file that was unpacked"):
        quantise.calibration_images(folder, manifest, 4)


def test_more_images_than_there_are_are_all(dataset):
    manifest = layouts.manifest(dataset)
    assert len(quantise.calibration_images(dataset, manifest, 1000)) == 16


def test_an_export_without_onnx_says_why_it_has_none(dataset, tmp_path):
    exported = {"reason": "no ONNX model: paddle2onnx cannot"}
    with pytest.raises(StageError, match=r"has no model\.onnx to quantise: no ONNX model: paddle2onnx cannot$"):
        quantise.quantise(Quantise(), quantise.Files(str(tmp_path), str(dataset), tmp_path / "q"), exported)


def test_int8_is_asked_for_with_what_was_quantised(chain, dataset):
    asked = ["--engine", "openvino", "--precision", "int8"]
    done = stages.infer(chain, dataset, "unquantised", *asked)
    assert done.returncode == 1
    told = record.read(chain / "unquantised.failed.json")
    assert told["reason"] == "export: is not quantised, and int8 is asked: --quantised names what scripts/quantise.py made"


# -- what follows from what was seen ---------------------------------------------------------


@pytest.mark.parametrize(
    ("counted", "held", "precision"),
    [
        ({"int8": 48}, 1, "int8"),
        ({"int8": 47, "fp32": 1}, 1, "int8 in 47 of 48 convolutions"),
        ({"int8": 47, "fp32": 1}, 47 / 48, "int8"),
        ({"int8": 46, "fp32": 2}, 47 / 48, "int8 in 46 of 48 convolutions"),
        ({"fp32": 48}, 1, "fp32"),
        ({"fp32": 48}, 0, "fp32"),
        ({"fp32": 2, "bf16": 3}, 0, "int8 in 0 of 5 convolutions"),
    ],
)
def test_the_precision_of_a_run(counted, held, precision):
    assert int8.observed(counted, held) == precision
