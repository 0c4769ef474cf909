"""Programs that end in softmax or in logits, in place of argmax: all engines pass, and what ends otherwise is red."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import paddle
import pytest
import stages
import yaml
from branching import Branching
from conftest import ROOT
from paddleseg.deploy.infer import DeployConfig

from segcert import cells, engines, machine, output_ops, proof, record, sections, settings
from segcert.compute import components, exporting, inference, outputs, parity, proving, streams
from segcert.compute.engines import library, paddle_inference, paddle_softmax
from segcert.compute.engines import onnx as library_onnx
from segcert.errors import ConfigError, StageError
from segcert.machine import Hardware
from segcert.reproduction import making, run_export
from segcert.requests.export import Export
from segcert.requests.infer import Infer
from segcert.stage import judging
from segcert.stage.judging import Exit

SIZE = (128, 96)
OPS = ("softmax", "none")
REQUEST = Infer(
    min_samples=2, warmup=1, max_warmup=1, min_agreement=0.999, max_miou_drop=0.001,
    max_logits_l2=2e-5, max_logits_peak=5e-5,
)  # fmt: skip
ROUNDED = {"min_agreement": 0.98, "max_miou_drop": 0.02, "max_logits_l2": 0.2, "max_logits_peak": 0.3}
LAST = "depthwise_separable2.piontwise_conv"  # a convolution, batch norm and ReLU: two channels, the logits


@pytest.fixture(scope="module")
def chain(tmp_path_factory, trained, dataset):
    """A checkpoint with exports that end in each way, as the stage's script makes them; one in int8."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("outputs") / "chain")
    for op in OPS:
        done = stages.export(folder, "--output-op", op, *(["--beside", "dynamic"] if op == "softmax" else []), to=op)
        assert done.returncode == 0, done.stderr
    fixed = ["--export", "softmax", "--dataset", dataset, "--images", "4", "--quantised", "quantised"]
    done = stages.script("quantise.py", folder, *fixed, "--record", "quantised.json", "--log", "quantised.log")
    assert done.returncode == 0, done.stderr
    model = folder / "model.pdparams"
    exported(model, folder / "argmax", None)
    exported(swapped(model, folder / "swapped.pdparams"), folder / "swapped", "softmax")
    return folder


def swapped(checkpoint, to):
    """A checkpoint whose two classes are each other."""
    state = paddle.load(str(checkpoint))
    for name, value in state.items():
        if name.startswith(LAST):
            state[name] = paddle.to_tensor(value.numpy()[::-1].copy())
    paddle.save(state, str(to))
    return to


def exported(checkpoint, folder, op):
    """As the stage exports, without its proofs."""
    config = components.load_config(stages.CONFIG, input_size=SIZE)
    model = components.load_model(config, str(checkpoint))
    folder.mkdir()
    exporting._save(exporting._wrapped(model, op), folder / "model", *reversed(SIZE), output_op=op)
    exporting._write_deploy(folder / "deploy.yaml", "model.json", config, output_op=op)
    exporting.apart.run(exporting._to_onnx, folder, "model.json", 13)


def cell(chain, dataset, tmp_path, export, op, **asked):
    """What becomes of an inference cell."""
    request = replace(REQUEST, output_op=op, **asked)
    quantised = str(chain / "quantised") if request.precision == "int8" else None
    made = (tmp_path / "cell.log", tmp_path / "predictions")
    files = inference.Files(str(chain / export), str(dataset), str(chain / "reference"), *made, quantised)
    result = inference.infer(request, files, "model")
    # oneDNN tells of its threads once in a process.
    asked = {name: value for name, value in request.requested.items() if name != "threads"}
    return judging.judge("infer", asked, result, Exit(0), None)


def gates(outcome):
    return {gate["name"]: gate for gate in outcome.result.gates}


# -- what is as it was asked for ---------------------------------------------------------------


@pytest.mark.parametrize("op", OPS)
def test_an_export_shows_what_it_ends_in(chain, op):
    told = record.read(chain / f"{op}.json")
    assert told["status"] == "passed" and told["reason"] is None
    assert told["requested"]["output_op"] == told["effective"]["output_op"] == op
    seen = told["metrics"]["output"]
    assert (seen["dims"], seen["dtype"], seen["channels"], seen["classes"]) == (4, "float32", 2, 2)
    assert (seen["sum_lowest"] == pytest.approx(1) == seen["sum_highest"]) is (op == "softmax")
    held = {gate["name"]: gate for gate in told["metrics"]["gates"]}
    asked = {"exported_agreement", "exported_logits", *([proof.SOFTMAX] if op == "softmax" else [])}
    assert set(held) == asked and "one class" not in held["exported_logits"]["sentence"]
    for trial in (told["metrics"]["native"], *told["metrics"]["onnx_engines"].values()):
        assert trial["output_op"] == op and trial["logits"] < 0.001 and set(trial["agreement"].values()) == {1.0}
        assert (trial.get(proof.SOFTMAX, 1) < 1e-5) is (op == "softmax")
    deploy = yaml.safe_load((chain / op / "deploy.yaml").read_text())["Deploy"]
    assert (deploy["output_op"], deploy["output_dtype"]) == (op, "float32")
    assert Path(DeployConfig(str(chain / op / "deploy.yaml")).model).is_file()


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("engine", engines.on("cpu"))
def test_every_engine_passes_with_the_checkpoints_logits(chain, dataset, tmp_path, op, engine):
    outcome = cell(chain, dataset, tmp_path, op, op, engine=engine)
    assert outcome.status.name == "passed", outcome.reason
    assert outcome.result.effective["output_op"] == op and outcome.result.effective["engine"] == engine
    told = outcome.result.metrics
    assert told["logits_l2"] < 2e-6 and told["logits"]["effective"]["engine"] == engine
    assert (proof.SOFTMAX in gates(outcome)) is (op == "softmax") and told.get(proof.SOFTMAX, 0) < 5e-6
    assert set(outcome.result.extra["samples_ms"]) == {"preprocess", "inference", "postprocess"}
    assert not gates(outcome)["pixel_agreement"]["weak"]


HALF = [("onednn", "bf16"), ("openvino", "bf16")] if machine.cpu_has_bf16() else []
ROUNDING = [*HALF, ("onnxruntime", "int8"), ("openvino", "int8")]


@pytest.mark.parametrize(("engine", "precision"), ROUNDING)
def test_so_does_every_precision(chain, dataset, tmp_path, engine, precision):
    outcome = cell(chain, dataset, tmp_path, "softmax", "softmax", engine=engine, precision=precision, **ROUNDED)
    assert outcome.status.name == "passed", outcome.reason
    told = outcome.result
    assert told.effective["precision"] == told.metrics["logits"]["effective"]["precision"] == precision
    assert 1e-6 < told.metrics["logits_l2"] < 0.1 and told.metrics["logits"]["constant_l2"] > 0.02


def test_a_program_with_free_height_and_width_ends_in_it_too(chain, dataset, tmp_path):
    told = record.read(chain / "softmax.json")["metrics"]["dynamic"]
    trials = (told["native"], *told["onnx_engines"].values())
    assert told["onnx"] and [trial["output_op"] for trial in trials] == ["softmax"] * 3
    assert all(trial["another_size"] == 1 for trial in trials)
    deploy = yaml.safe_load((chain / "softmax/dynamic/deploy.yaml").read_text())["Deploy"]
    assert deploy["output_op"] == "softmax" and deploy["input_shape"] == [-1, 3, -1, -1]
    for engine in ("native", "onnxruntime"):
        (tmp_path / engine).mkdir()
        outcome = cell(chain, dataset, tmp_path / engine, "softmax", "softmax", engine=engine, shapes="dynamic")
        assert outcome.status.name == "passed", outcome.reason
        assert outcome.result.effective["shapes"] == "dynamic"


def test_label_maps_are_taken_after_inference_and_timed_there(chain, dataset, tmp_path, monkeypatch):
    own, taken = outputs.label_maps, []
    monkeypatch.setattr(outputs, "label_maps", lambda given: taken.append(given.shape) or own(given))
    runner = library.create("onnxruntime", chain / "softmax", "model.json", "cpu", "fp32", 1)

    class Prepared:
        def batch(self, _):
            return np.zeros((1, 3, 96, 128), np.float32)

    class Writer:
        """AutoLog's times; notes how often label maps had been taken."""

        def __init__(self):
            self.times, self.seen = self, []

        def start(self):
            self.seen.append(["start", len(taken)])

        def stamp(self):
            self.seen.append(["stamp", len(taken)])

        def end(self, stamp):
            self.seen.append(["end", len(taken)])

    writer = Writer()
    request = replace(REQUEST, output_op="softmax", min_samples=1)
    inference._time(request, runner, Prepared(), tmp_path, [[("a", None)]], writer)
    assert taken == [(1, 2, 96, 128)]
    assert writer.seen == [["start", 0], ["stamp", 0], ["stamp", 0], ["end", 1]]


def test_streams_are_held_to_the_label_maps_of_what_they_give():
    given = np.random.default_rng(1).random((2, 3, 4, 5)).astype(np.float32)

    class Runner:
        def run(self, batch):
            return given

    (fed, _) = streams.feed(Runner(), [(["a", "b"], given), (["c", "d"], given)])
    assert np.array_equal(fed.labels, given.argmax(axis=1)) and fed.labels.flags.owndata
    answers = streams.Answers()
    with streams.threads([lambda _batch: given * 2, lambda _batch: given[:, ::-1]]) as crew:
        streams.under_load(crew, [fed], 1, answers=answers)
    assert answers.requests > 1 and set(answers.differing) == {"a", "b"}, "a class is another in what the second gives"


# -- what ends otherwise -----------------------------------------------------------------------

ENGINES = ("native", "onednn", "onnxruntime", "openvino")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("asked", "given"), [("softmax", "argmax"), ("softmax", "none"), ("none", "softmax")])
def test_a_cell_that_gives_something_else_than_is_asked_for_fails(chain, dataset, tmp_path, engine, asked, given):
    outcome = cell(chain, dataset, tmp_path, given, asked, engine=engine)
    assert outcome.status.name == "failed"
    assert outcome.reason == f"output_op: {asked} requested, {given} observed"


def test_what_gives_no_label_maps_is_not_run_as_what_does(chain, dataset, tmp_path):
    with pytest.raises(StageError, match="the program ends in softmax, and argmax is asked for; see --output-op"):
        cell(chain, dataset, tmp_path, "softmax", None)


@pytest.mark.parametrize("engine", ENGINES)
def test_two_classes_that_are_each_other_are_red(chain, dataset, tmp_path, engine):
    outcome = cell(chain, dataset, tmp_path, "swapped", "softmax", engine=engine)
    assert outcome.status.name == "accuracy-failed"
    broken = {name for name, gate in gates(outcome).items() if not gate["holds"]}
    assert {"pixel_agreement", "logits_l2", "logits_peak", proof.SOFTMAX} <= broken
    assert "logits_gap" not in broken, "it is one model"
    assert "probabilities of 2 images are off the softmax of the checkpoint's logits by " in outcome.reason


def test_probabilities_that_are_not_those_of_the_logits_are_red(chain, dataset, tmp_path, monkeypatch):
    """Label maps and logits are right, and the program gives something else: its softmax is that of half the logits."""
    kind = library.of("onnxruntime")
    honest = kind.run

    def run(self, batch):
        root = np.sqrt(honest(self, batch))
        return root / root.sum(axis=1, keepdims=True)

    monkeypatch.setattr(kind, "run", run)
    outcome = cell(chain, dataset, tmp_path, "softmax", "softmax", engine="onnxruntime")
    assert outcome.status.name == "accuracy-failed"
    assert [name for name, gate in gates(outcome).items() if not gate["holds"]] == [proof.SOFTMAX]


class Small(paddle.nn.Layer):
    """Three classes, of which the first wins everywhere."""

    def __init__(self):
        super().__init__()
        self.layer = paddle.nn.Conv2D(3, 3, 1)
        self.layer.weight.set_value(self.layer.weight * 0.1)
        self.layer.bias.set_value(paddle.to_tensor([6.0, 2.0, 1.0]))

    def forward(self, x):
        return [self.layer(x)]


class Ending(paddle.nn.Layer):
    """A model with an end of a test's own."""

    def __init__(self, model, end):
        super().__init__()
        self.model, self.end = model, end

    def forward(self, x):
        return [self.end(out) for out in self.model(x)]


def softmax(x):
    return paddle.nn.functional.softmax(x, axis=1)


ENDS = {
    "argmax": lambda x: paddle.argmax(x, axis=1, dtype="int32"),
    "softmax": softmax,
    "none": lambda x: x + 0,
    "losers swapped": lambda x: paddle.index_select(softmax(x), paddle.to_tensor([0, 2, 1]), axis=1),
    "a class more": lambda x: softmax(paddle.concat([x, x[:, :1] - 50], axis=1)),
    "a shape less": lambda x: paddle.sum(x, axis=[1, 2]),
}
LIES = [
    ("softmax", "argmax", "failed", "output_op: softmax requested, argmax observed"),
    ("softmax", "none", "failed", "output_op: softmax requested, none observed"),
    ("none", "softmax", "failed", "output_op: none requested, softmax observed"),
    ("softmax", "a class more", "failed", "output_op: softmax requested, 4 channels for 3 classes observed"),
    ("softmax", "a shape less", "failed", "output_op: softmax requested, float32 of 2 dimensions observed"),
    ("softmax", "losers swapped", "accuracy-failed", "probabilities of the exported program are off the softmax"),
    ("softmax", "softmax", "passed", None),
    ("none", "none", "passed", None),
]


@pytest.mark.parametrize(("asked", "end", "status", "reason"), LIES)
def test_an_export_that_ends_otherwise_does_not_pass(tmp_path, monkeypatch, asked, end, status, reason):
    model = Small()
    model.eval()
    monkeypatch.setattr(components, "load_model", lambda *_: model)

    def wrapped(model, _):
        made = Ending(model, ENDS[end])
        made.eval()
        return made

    monkeypatch.setattr(exporting, "_wrapped", wrapped)
    request = Export(input_size=(32, 32), output_op=asked)
    result = exporting.export(request, stages.CONFIG, "none", tmp_path / "export")
    outcome = judging.judge("export", request.requested, result, Exit(0), None)
    assert outcome.status.name == status, outcome.reason
    assert (outcome.reason or "").startswith(reason or "")
    if end == "losers swapped":
        assert result.metrics["exported_agreement"] == 1, "what label maps do not show"


def test_an_onnx_model_that_ends_otherwise_is_not_left_there(chain, tmp_path, monkeypatch):
    config = (stages.CONFIG, str(chain / "model.pdparams"))
    monkeypatch.setattr(
        exporting, "_to_onnx", lambda folder, *_: shutil.copy(chain / "argmax/model.onnx", folder / "model.onnx")
    )
    result = exporting.export(Export(input_size=SIZE, output_op="softmax"), *config, tmp_path / "export")
    assert result.effective["onnx"] is False and result.effective["output_op"] == "softmax"
    assert "onnxruntime ends in argmax, not in softmax; openvino ends in argmax, not in softmax" in result.remark


def test_probabilities_that_are_wrong_are_told_of_each_engine():
    right = proving.Trial({1: 1.0}, logits=0.0, output={"dims": 3, "dtype": "int32"}, asked="argmax", softmax=0.0)
    assert right.wrong() is None and right.holds(1)
    off = replace(right, softmax=0.5)
    assert not off.holds(1) and off.wrong().startswith("gives probabilities that are off by 0.5 of the range")
    other = replace(right, output={"dims": 1, "dtype": "int32"})
    assert proving.together([right, other]).wrong() == "ends in int32 of 1 dimensions, not in argmax"
    assert proving.together([right, off]).softmax == 0.5


def test_a_proof_without_logits_is_told_as_weak(chain, tmp_path, monkeypatch):
    def hidden(*_):
        raise StageError("not seen")

    monkeypatch.setattr(library.of("native"), "logits", hidden)
    config = (stages.CONFIG, str(chain / "model.pdparams"))
    result = exporting.export(Export(input_size=SIZE, output_op="softmax"), *config, tmp_path / "export")
    assert result.remark == "the proof of this export is weak: its logits cannot be compared: not seen"
    assert [gate["name"] for gate in result.gates] == ["exported_agreement", proof.SOFTMAX]


# -- what an output shows ----------------------------------------------------------------------


def numbers(given, classes=2):
    return output_ops.ended_in(outputs.seen(given, classes))


def test_what_a_program_ends_in_follows_from_what_it_gives():
    logits = np.random.default_rng(2).normal(size=(2, 2, 3, 4)).astype(np.float32)
    powers = np.exp(logits)
    shares = powers / powers.sum(axis=1, keepdims=True)
    assert numbers(logits) == "none" and numbers(shares) == numbers(shares.astype(np.float16)) == "softmax"
    assert numbers(logits.argmax(axis=1)) == numbers(logits.argmax(axis=1).astype(np.uint8)) == "argmax"
    assert numbers(shares - 0.1) == numbers(shares * 1.1) == "none"
    outside = shares.copy()
    outside[0, :, 0, 0] = [1.5, -0.5]
    assert numbers(outside) == "none", "a sum of 1 alone does not do"
    assert numbers(np.full_like(shares, np.nan)) == "none"
    assert numbers(shares, 3) == "2 channels for 3 classes"
    assert numbers(shares[:, 0]) == "float32 of 3 dimensions"
    assert numbers(shares[:0]) == "none", "of no image nothing is seen"
    assert output_ops.ended_in(None) == "None of None dimensions"


def test_probabilities_are_held_to_the_range_of_logits():
    logits = np.array([[[4.0]], [[0.0]]], np.float32)
    right = np.array([[[0.98201376]], [[0.01798621]]], np.float32)
    assert outputs.probabilities_off(right, logits) < 1e-7
    assert outputs.probabilities_off(right[::-1], logits) == pytest.approx(0.96402755 / 4)
    flat = np.zeros((2, 1, 1), np.float32)
    assert outputs.probabilities_off(flat + 0.75, flat) == 0.25, "of a range of 1 at least"
    assert outputs.probabilities_off(right[:1], logits) == np.inf
    gate = parity.judge_softmax({"a": 0.1, "b": float("nan"), "c": 0.2}, 0.5)
    assert not gate["holds"] and gate["value"] is None and gate["sentence"].endswith("worst image: b")


# -- programs without their softmax ------------------------------------------------------------


def test_the_softmax_of_both_forms_of_a_program_is_left_out(tmp_path):
    saving = (
        "import sys, paddle; nn = paddle.nn\n"
        "class Once(nn.Layer):\n"
        "    def forward(self, x): return paddle.scale(x, 1.0)\n"  # as Paddle 2 does by itself
        "ends = {'model': [nn.Softmax(axis=1)], 'plain': [], 'scaled': [nn.Softmax(axis=1), Once()]}\n"
        "for name, end in ends.items():\n"
        "    net = nn.Sequential(nn.Conv2D(3, 4, 3), *end)\n"
        "    spec = [paddle.static.InputSpec([-1, 3, 8, 8])]\n"
        "    paddle.jit.save(paddle.jit.to_static(net, input_spec=spec, full_graph=True), name)\n"
    )
    batch = np.random.default_rng(3).normal(size=(2, 3, 8, 8)).astype(np.float32)
    for pir, suffix in (("1", ".json"), ("0", ".pdmodel")):
        env = {**os.environ, "FLAGS_enable_pir_api": pir}
        subprocess.run([sys.executable, "-c", saving], cwd=tmp_path, env=env, check=True, timeout=120)
        engine = library.create("native", tmp_path, f"model{suffix}", "cpu", "fp32", 1)
        given = engine.run(batch)
        engine.output_op = output_ops.SOFTMAX
        logits = engine.logits(batch)
        powers = np.exp(logits)
        assert np.allclose(given, powers / powers.sum(axis=1, keepdims=True), atol=1e-6)
        assert np.abs(logits - given).max() > 0.1 and np.array_equal(engine.logits(batch), logits)
        with pytest.raises(StageError, match=rf"plain\{suffix}: what it gives is no softmax"):
            paddle_softmax.without(tmp_path / f"plain{suffix}")
        assert paddle_inference.program_work(tmp_path / f"model{suffix}")["convolutions"] == 1
    shutil.copy(tmp_path / "scaled.pdiparams", tmp_path / "model.pdiparams")
    found = []
    for name in ("model", "scaled"):
        (tmp_path / "without.pdmodel").write_bytes(paddle_softmax.without(tmp_path / f"{name}.pdmodel"))
        runner = library.create("native", tmp_path, "without.pdmodel", "cpu", "fp32", 1)
        found.append(runner.run(batch))
    assert np.array_equal(*found) and np.abs(found[0].sum(axis=1) - 1).max() > 0.1


@pytest.mark.parametrize("op", OPS)
def test_a_model_that_no_tracing_can_follow_ends_in_it_too(tmp_path, op):
    model = Branching()
    model.eval()
    wrapped = exporting._wrapped(model, op)
    assert exporting._save(wrapped, tmp_path / "model", 8, 8, output_op=op) is False
    saved = paddle.jit.load(str(tmp_path / "model"))
    for sign in (1, -1):
        batch = paddle.to_tensor(sign * np.random.default_rng(1).random((3, 3, 8, 8)).astype("float32"))
        (right,) = exporting._wrapped(model, op)(batch)
        assert np.allclose(saved(batch).numpy(), right.numpy(), atol=1e-6)
        assert np.allclose(right.sum(axis=1).numpy(), 1, atol=1e-5) is (op == "softmax")


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_an_onnx_model_of_an_older_operator_set_turns_its_classes(chain, tmp_path, engine):
    shutil.copytree(chain / "softmax", tmp_path / "export")
    exporting.apart.run(exporting._to_onnx, tmp_path / "export", "model.json", 11)
    kinds = [node.op_type for node in onnx.load(tmp_path / "export/model.onnx").graph.node]
    assert kinds[-3:] == ["Transpose", "Softmax", "Transpose"]
    batch = proving.images(*SIZE)
    found = []
    for folder in (tmp_path / "export", chain / "softmax"):
        runner = library.create(engine, folder, "model.json", "cpu", "fp32", 1)
        runner.output_op = output_ops.SOFTMAX
        found.append(np.array(runner.logits(batch)))
    assert np.abs(found[0] - found[1]).max() < 1e-5
    plain = onnx.load(tmp_path / "export/model.onnx")
    softmax = next(node for node in plain.graph.node if node.op_type == "Softmax")
    softmax.input[0] = plain.graph.input[0].name
    onnx.save(plain, tmp_path / "other.onnx")
    with pytest.raises(StageError, match="what it gives is no softmax"):
        library_onnx.without_softmax(tmp_path / "other.onnx")
    assert library_onnx.of_logits(chain / "none/model.onnx", "none") == (chain / "none/model.onnx").read_bytes()


# -- the configuration -------------------------------------------------------------------------


def table(**asked):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    asked = {"mode": "smoke", "models": ["pp_humanseg_lite", "pp_humanseg_mobile"], "paddleseg_scripts": True, **asked}
    resolved = settings.resolve(sections.merge(config, asked), asked, "config.yaml")
    there = {script.file: "digest" for script in cells.own_scripts.ALL}
    return cells.CellTable(resolved, Hardware(0, "cpu", bf16=True), scripts=there).cells


def test_cells_ask_for_it_where_it_is_not_argmax():
    own = {"pp_humanseg_mobile": {"settings": {"export": {"output_op": "none"}}}}
    plain, same = table(), table(export={"output_op": "argmax"})
    assert [one.options for one in plain] == [one.options for one in same]
    changed = set()
    for one, other in zip(plain, table(export={"output_op": "softmax"}, model_zoo=own), strict=True):
        assert one.name == other.name and "output_op" not in one.requested and "--output-op" not in one.options
        if one.options == other.options:
            assert one.requested == other.requested
            continue
        op = {"pp_humanseg_lite": "softmax", "pp_humanseg_mobile": "none"}[other.model]
        changed.add((other.stage, other.requested.get("script")))
        assert {**one.requested, "output_op": op} == other.requested
        at = other.options.index("--output-op")
        assert other.options[:at] + other.options[at + 2 :] == one.options and other.options[at + 1] == op
    assert changed == {
        ("export", None), ("infer", None), ("scripts", "tools/export.py"), ("scripts", "deploy/python/infer.py"),
    }  # fmt: skip
    with pytest.raises(
        ConfigError, match=r'export.output_op: "sigmoid" is refused; allowed: one of argmax, softmax, none'
    ):
        table(export={"output_op": "sigmoid"})


def test_a_run_of_before_has_no_such_key():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    resolved = settings.resolve({**config, "mode": "smoke"}, {"mode": "smoke"}, "config.yaml")
    del resolved["export"]["output_op"]
    assert all("output_op" not in one.requested for one in cells.CellTable(resolved, Hardware(0, "cpu")).cells)


# -- a folder that stands alone for a cell that failed -----------------------------------------


@pytest.mark.parametrize(("engine", "op"), [("onednn", "softmax"), ("native", "none"), ("onnxruntime", "softmax")])
def test_a_red_cell_is_reproduced(chain, dataset, tmp_path, monkeypatch, engine, op):
    place = "results/test/pp_humanseg_lite/single_fp32"
    fixed = ["--engine", engine, "--output-op", op, "--record", f"{place}/infer/cell.json", "--max-logits-l2", "-1"]
    done = stages.infer(chain, dataset, f"{engine}_{op}", *fixed, exported=op)
    assert done.returncode == 1, done.stderr
    monkeypatch.chdir(chain)
    folder, how = making.make(f"{place}/infer/cell.json")
    assert how.endswith("the fault shows in it"), (folder / "README.md").read_text()
    asked = json.loads((folder / "cell.json").read_text())
    assert asked["output_op"] == op and (folder / "expected_logits.npy").is_file()
    text = (folder / "README.md").read_text()
    assert "pixel_agreement: 1," in text and "logits_l2: " in text, text


@pytest.mark.parametrize("op", OPS)
def test_an_export_is_tried_as_it_was_asked_for(chain, op, tmp_path, capsys, monkeypatch):
    place = Path("results/test/pp_humanseg_lite/single_fp32/export.json")
    content = record.read(chain / f"{op}.json") | {"status": "failed", "reason": "planted"}
    monkeypatch.chdir(chain)
    place.parent.mkdir(parents=True, exist_ok=True)
    record.write(place, content)
    folder, _ = making.make(str(place))
    monkeypatch.setattr(sys, "argv", ["run.py", str(folder)])
    assert run_export.main() == 0 and "agrees with the model on 1.00000 of pixels" in capsys.readouterr().out
    assert json.loads((folder / "cell.json").read_text())["output_op"] == op
