"""Quantisation to int8: one file that both engines compute in int8, from training images that nothing is judged on.

What is wrong with such a file is seen: by the evidence, where an engine computes it in fp32, or by the gates.
"""

import json
import re
import shutil
import sys

import numpy as np
import onnx
import pytest
import stages
import yaml
from conftest import ROOT

from segcert import cells, files, machine, proof, record, sections, settings
from segcert.compute import int8, quantise
from segcert.data import layouts
from segcert.errors import StageError, Unverified
from segcert.machine import Hardware
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
    gates = ["--min-agreement", "0.99", "--max-miou-drop", "0.01", "--max-logits-l2", "0.2", "--max-logits-peak", "0.3"]
    done = stages.infer(folder, dataset, name, *asked, *gates)
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
    plain = "bf16" if engine == "openvino" and machine.cpu_has_bf16() else "fp32"  # what OpenVINO takes by itself
    assert found["status"] == "failed" and found["reason"] == f"precision: int8 requested, {plain} observed"
    assert found["metrics"]["pixel_agreement"] > 0.999
    assert found["metrics"]["evidence"]["precisions"] == {plain: 48}


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


# -- control of the accuracy ------------------------------------------------------------------


def controlled(chain, dataset, least):
    """The record of a quantisation with control, and what OpenVINO makes of it."""
    control = ["--method", "accuracy_control", "--min-agreement", least]
    done = quantised(chain, dataset, *control, "--images", "2", to="nncf")
    assert done.returncode == 0, done.stderr
    found = record.read(chain / "nncf.json")
    asked = {"device": "cpu", "precision": "int8", "method": "accuracy_control", "weight_bits": 7}
    assert found["effective"] == asked and found["requested"]["min_agreement"] == float(least)
    return found["metrics"]


def test_nncf_makes_a_file_for_openvino(chain, dataset):
    assert controlled(chain, dataset, "0.9")["int8_share"] > 0.9
    ran = inferred(chain, dataset, "openvino", "nncf", "nncf_openvino")
    assert ran["status"] == "passed", ran["reason"]
    refused = inferred(chain, dataset, "onnxruntime", "nncf", "nncf_onnxruntime")
    assert refused["status"] == "failed" and "int8 requested, int8 in" in refused["reason"]


@pytest.mark.long
def test_nncf_brings_back_what_costs_accuracy_and_the_record_names_it(chain, dataset):
    freely = controlled(chain, dataset, "0.9")
    told = controlled(chain, dataset, "0.999")
    assert 0.5 < told["int8_share"] < freely["int8_share"]
    assert {*freely["left_in_fp32"]} < {*told["left_in_fp32"]}
    assert len(told["left_in_fp32"]) == round(told["convolutions"] * (1 - told["int8_share"]))


def test_onnx_runtime_is_not_asked_to_run_what_is_not_for_it():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    asked = {"mode": "smoke", "models": ["pp_humanseg_lite"], "quantise": {"method": "accuracy_control"}}
    table = cells.CellTable(settings.resolve(sections.merge(config, asked), asked, "c"), Hardware(0, "cpu", bf16=True))
    inferred = [cell for cell in table.cells if cell.stage == "infer" and cell.requested.get("precision") == "int8"]
    found = {cell.requested["engine"]: cell for cell in inferred}
    assert found["onnxruntime"].status == "skipped" and "accuracy_control" in found["onnxruntime"].reason
    assert found["openvino"].planned
    (quantise_cell,) = table.planned("quantise")
    gates = table.section("pp_humanseg_lite", "gates")
    assert quantise_cell.requested["min_agreement"] == gates["pixel_agreement"]["int8"]["default"]


def test_an_export_that_nothing_runs_in_int8_is_not_quantised():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    asked = {"mode": "smoke", "infer": {"cpu": [{"engine": "openvino", "precision": "fp32"}]}}
    table = cells.CellTable(settings.resolve(sections.merge(config, asked), asked, "c"), Hardware(0, "cpu", bf16=True))
    assert table.planned("infer") and not table.planned("quantise")


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
    with pytest.raises(
        StageError, match=f"the training image {first} is {judged} of the inference list, byte for byte"
    ):
        quantise.calibration_images(folder, manifest, 4)


def test_what_is_listed_again_calibrates_once(dataset, tmp_path):
    """By its line, and by another name of the same picture."""

    def change(manifest):
        train = manifest["splits"]["train"]
        known = {item["path"]: item for item in manifest["files"]}
        manifest["splits"]["train"] = [*train[:3], *train[:3], *train]
        known[train[4][0]]["sha256"] = known[train[3][0]]["sha256"]

    folder, manifest = with_manifest(dataset, tmp_path / "d", change)
    distinct = [image for image, _ in manifest["splits"]["train"][6:]]
    del distinct[4]
    assert quantise.distinct_images(manifest) == distinct
    assert list(quantise.calibration_images(folder, manifest, 99)) == distinct


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
    assert (
        told["reason"] == "export: is not quantised, and int8 is asked: --quantised names what scripts/quantise.py made"
    )


def test_a_package_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "nncf", None)
    request = Quantise(method="accuracy_control", min_agreement=0.9)
    with pytest.raises(Unverified, match=r"^cannot quantise: .*nncf.*; install the pins of envs/"):
        quantise._controlled(request, tmp_path / "m.onnx", tmp_path / "q.onnx", [])


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


@pytest.mark.parametrize(
    ("method", "quantised_of", "precision"),
    [
        ("static", [(4, 0)], "int8"),
        ("static", [(4, 0), (3, 1)], "int8 in 3 of 4 convolutions"),
        ("accuracy_control", [(3, 1)], "int8"),
        ("accuracy_control", [(2, 2)], "int8 in 2 of 4 convolutions"),
        ("static", [(0, 0)], "int8 in 0 of 0 convolutions"),
    ],
)
def test_the_precision_of_what_was_made(method, quantised_of, precision):
    held = [quantise.Convolutions(("q",) * some, ("l",) * others) for some, others in quantised_of]
    assert quantise._precision(Quantise(method=method), held) == precision


def test_bits_of_depthwise_convolutions_count_where_they_may_overflow():
    """The weights of a 1x1 convolution are of 7 bits, those of a depthwise one of 8."""
    tensor, node = onnx.numpy_helper.from_array, onnx.helper.make_node
    weights = {"deep": np.full((4, 1, 3, 3), -127, np.int8), "plain": np.full((4, 4, 1, 1), 64, np.int8)}
    nodes = [node("DequantizeLinear", [name, "scale"], [f"{name}_w"]) for name in weights]
    nodes += [node("Conv", ["x", "deep_w"], ["t"], group=4), node("Conv", ["t", "plain_w"], ["y"])]
    held = [tensor(weight, name) for name, weight in weights.items()] + [tensor(np.float32(1), "scale")]
    model = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], held))
    assert quantise.weight_bits(model) == 8
    assert quantise.weight_bits(model, depthwise=False) == 7


def test_a_model_without_integers_has_no_bits():
    conv = onnx.helper.make_node("Conv", ["x", "w"], ["y"])
    value = onnx.helper.make_tensor_value_info
    shape = [1, 1, 4, 4]
    graph = onnx.helper.make_graph(
        [conv], "g", [value("x", 1, shape), value("w", 1, [1, 1, 1, 1])], [value("y", 1, shape)]
    )
    model = onnx.helper.make_model(graph)
    assert quantise.weight_bits(model) == 0 and quantise.convolutions(model).left == ("y",)


def test_a_model_of_a_fixed_batch_is_fed_so_many_images(tmp_path):
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    for size, batches in ((2, [[0, 1], [2, 0]]), ("n", [[0], [1], [2]])):
        shape = [size, 3, 1, 1]
        graph = onnx.helper.make_graph([node], "g", [value("x", 1, shape)], [value("y", 1, shape)])
        onnx.save(onnx.helper.make_model(graph), str(tmp_path / "m.onnx"))
        images = [np.full((3, 1, 1), number, np.float32) for number in range(3)]
        fed = [feed["x"] for feed in quantise._feeds(tmp_path / "m.onnx", images)]
        assert [batch[:, 0, 0, 0].tolist() for batch in fed] == batches


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, None),
        ({"calibrated_on": {}}, "it does not name the images that it was calibrated on"),
        ({"calibrated_on": {"a": ""}}, "it does not name the images that it was calibrated on"),
        ({"train_images": 9}, "it was calibrated on 2 images, not 3"),
    ],
)
def test_a_record_names_what_it_was_calibrated_on(change, words):
    asked = {
        "device": "cpu",
        "precision": "int8",
        "method": "static",
        "weight_bits": 7,
        "images": 3,
        "min_agreement": None,
    }
    told = {"calibrated_on": {"a": "1", "b": "2"}, "train_images": 2, **change}
    content = {"stage": "quantise", "requested": asked, "effective": asked, "metrics": told}
    assert proof.unproven(content) == ([words] if words else [])
