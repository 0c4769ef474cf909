"""Exports prove themselves: what was exported is run and compared in the export, and what is not so is told there."""

import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import paddle
import pytest
import stages
import yaml

from segcert import machine, proof, record
from segcert.compute import apart, components, exporting, inference, proving
from segcert.compute.engines import library
from segcert.compute.preprocess import deploy_config
from segcert.errors import StageError
from segcert.requests.export import Export, environment
from segcert.requests.infer import Infer
from segcert.stage import judging
from segcert.stage.worker import Result

REQUEST = Export(input_size=(64, 64))
DONE = judging.Exit(0)


def model_of(folder, kind):
    """Configuration and checkpoint of a model of PaddleSeg's with two classes and weights by chance."""
    config = folder / f"{kind}.yml"
    model = {"_inherited_": False, "type": kind, "num_classes": 2}
    config.write_text(yaml.safe_dump({"_base_": stages.CONFIG, "model": model}))
    paddle.seed(1)
    paddle.save(components.builder(components.load_config(str(config))).model.state_dict(), f"{folder}/{kind}.pdparams")
    return str(config), f"{folder}/{kind}.pdparams"


@pytest.fixture(scope="session")
def lite(tmp_path_factory):
    return model_of(tmp_path_factory.mktemp("lite"), "PPHumanSegLite")


def judged(result):
    return judging.judge("export", REQUEST.requested, result, DONE, None)


def wrong_convolution(path, **_):
    """A file as paddle2onnx wrote it, but for one convolution's bias."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    stored = {item.name: item for item in model.graph.initializer}
    stored |= {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    used = [node.input[1] for node in model.graph.node if node.op_type == "Conv"]
    weights = [stored[name] for name in used if name in stored][-1]
    values = numpy_helper.to_array(weights).copy()
    values.flat[0] += 10 * np.abs(values).max()
    weights.CopyFrom(numpy_helper.from_array(values, weights.name))
    onnx.save(model, path)


# -- models of PaddleSeg that cannot all that is asked ------------------------------------------


def test_what_paddle2onnx_gets_wrong_is_told_and_stops_no_paddle_engine(tmp_path, dataset):
    """At 64 x 64 FastSCNN pools 2 x 2 to 6 x 6, of which paddle2onnx makes a stride of 0."""
    config, checkpoint = model_of(tmp_path, "FastSCNN")
    size = ["--input-size", 64, 64]
    fixed = ["--config", config, "--checkpoint", checkpoint, *size]
    done = stages.script(
        "export.py", tmp_path, *fixed, "--export", "export", "--record", "export.json", "--log", "x.log"
    )
    assert done.returncode == 0, done.stderr
    found = record.read(tmp_path / "export.json")
    assert found["effective"]["onnx"] is False and "opset" not in found["effective"]
    assert not (tmp_path / "export/model.onnx").exists() and "onnx_mb" not in found["metrics"]
    for engine in ("onnxruntime", "openvino"):
        assert f"{engine} cannot load it" in found["reason"]
        assert found["metrics"]["onnx_engines"][engine]["agreement"] == {}
    assert found["metrics"]["native"]["agreement"] == {"1": 1.0, "2": 1.0} and proof.unproven(found) == []
    data = ["--dataset", dataset, "--reference", "reference", "--record", "eval.json", "--log", "y.log"]
    done = stages.script("evaluate.py", tmp_path, *fixed, *data)
    assert done.returncode == 0, done.stderr
    upstream = ["--upstream", "export.json"]
    done = stages.infer(tmp_path, dataset, "native", "--engine", "native", *upstream)
    assert done.returncode == 0, done.stderr
    done = stages.infer(tmp_path, dataset, "refused", "--engine", "onnxruntime", *upstream)
    assert done.returncode == 1
    told = record.read(tmp_path / "refused.failed.json")
    assert told["status"] == "failed"
    assert told["reason"] == f"export: has no model.onnx, which onnxruntime reads: {found['reason']}"


def test_a_converter_that_aborts_takes_nothing_with_it(tmp_path):
    """ENet also makes a shape of the batch's size; converted from its source, its batch is free all the same."""
    result = exporting.export(REQUEST, *model_of(tmp_path, "ENet"), tmp_path / "export")
    assert result.effective["batch"] == "free" and result.effective["onnx"] is False
    assert result.effective["converted"] == "from source"
    assert result.remark == (
        "no ONNX model: paddle2onnx cannot convert model.json with opset 13 or later: [ERROR][Paddle2ONNX] Due to the "
        "unsupported operators, the conversion is aborted. (the last that it printed; killed by SIGABRT)"
    )
    outcome = judged(result)
    assert outcome.status.name == "passed" and outcome.reason == result.remark


def test_of_what_an_aborting_converter_says_the_cause_is_told(tmp_path):
    """The last line of all that it prints of ESPNetV2 says only that there are such features."""
    result = exporting.export(REQUEST, *model_of(tmp_path, "ESPNetV2"), tmp_path / "export")
    assert result.effective["onnx"] is False and max(result.metrics["native"]["agreement"].values()) == 1.0
    assert "[OP: pd_op.depthwise_conv2d] While dilations != 1, cannot support padding = 'SAME'." in result.remark
    assert (
        result.remark.endswith("There are unsupported features. (the last that it printed; killed by SIGABRT)")
        and "\n" not in result.remark
    )


@pytest.mark.long
def test_a_model_without_a_free_batch_is_exported_for_one_image(tmp_path):
    """RTFormer's forward refuses a batch of unknown size."""
    result = exporting.export(REQUEST, *model_of(tmp_path, "RTFormer"), tmp_path / "export")
    assert result.effective["batch"] == 1 and list(result.metrics["native"]["agreement"]) == ["1"]
    assert "exported for batches of 1 only: TypeError: bool(Tensor) is not supported" in result.remark
    assert "(paddleseg/models/rtformer.py, line " in result.remark
    assert judged(result).status.name == "passed"
    assert deploy_config(tmp_path / "export")["input_shape"] == [1, 3, 64, 64]


def test_another_batch_than_the_exports_is_refused_with_its_reason(tmp_path):
    deploy = {"input_shape": [1, 3, 64, 64]}
    exported = {"reason": "exported for batches of 1 only: TypeError: no", "env": {}}

    def require(size):
        request = Infer(batch_size=size, min_agreement=1, max_miou_drop=0, max_logits_l2=0, max_logits_peak=0)
        inference._require_exported(request, tmp_path, deploy, exported)

    require(1)
    told = r"is for batches of 1, and 2 is asked: exported for batches of 1 only: TypeError.*`export.batch_sizes`"
    with pytest.raises(StageError, match=told):
        require(2)


def test_a_model_without_a_free_batch_is_exported_for_the_sizes_that_are_asked_for(tmp_path, dataset):
    """Inference takes the program of its size; that of the first is where every tool looks."""
    config, checkpoint = model_of(tmp_path, "RTFormer")
    result = exporting.export(replace(REQUEST, batch_sizes=(2, 1)), config, checkpoint, tmp_path / "export")
    assert result.effective["batch"] == [2, 1]
    assert result.metrics["native"]["agreement"] == {"2": 1.0, "1": 1.0}
    assert result.remark.startswith("exported for batches of 2 and 1 only: TypeError")
    assert judged(result).status.name == "passed"
    assert deploy_config(tmp_path / "export")["input_shape"] == [2, 3, 64, 64]
    assert deploy_config(tmp_path / "export/batch_1")["input_shape"] == [1, 3, 64, 64]
    size = ["--config", config, "--checkpoint", checkpoint, "--input-size", 64, 64, "--dataset", dataset]
    done = stages.script(
        "evaluate.py", tmp_path, *size, "--reference", "reference", "--record", "eval.json", "--log", "y.log"
    )
    assert done.returncode == 0, done.stderr
    for engine, batch in (("native", 2), ("native", 1)):  # oneDNN computes this one wrongly
        done = stages.infer(tmp_path, dataset, f"{engine}_{batch}", "--engine", engine, "--batch-size", batch)
        assert done.returncode == 0, done.stderr
        found = record.read(tmp_path / f"{engine}_{batch}.json")
        assert found["effective"]["batch_size"] == batch and found["metrics"]["pixel_agreement"] == 1.0


def test_a_run_tells_an_export_of_the_sizes_that_it_infers_in(tmp_path, monkeypatch):
    """Not by its options, so that another size makes no export anew, where nearly all have a free batch."""
    config, checkpoint = model_of(tmp_path, "RTFormer")
    asked = ["--batch-sizes", 2, "--input-size", 64, 64, "--config", config]
    files = ["--checkpoint", checkpoint, "--export", "export", "--record", "export.json", "--log", "export.log"]
    for name, value in environment({stages.MODEL[3]: [1, 2], "another": [7]}).items():
        monkeypatch.setenv(name, value)
    done = stages.script("export.py", tmp_path, *asked, *files)
    assert done.returncode == 0, done.stderr
    assert record.read(tmp_path / "export.json")["effective"]["batch"] == [2, 1]
    assert deploy_config(tmp_path / "export/batch_1")["input_shape"] == [1, 3, 64, 64]


def test_a_free_batch_needs_no_program_of_another_size(lite, tmp_path):
    result = exporting.export(replace(REQUEST, batch_sizes=(1, 4)), *lite, tmp_path / "export")
    assert result.effective["batch"] == "free" and not (tmp_path / "export/batch_4").exists()


# -- models of other kinds ----------------------------------------------------------------------


class Small(paddle.nn.Layer):
    """A convolution, as PaddleSeg's models give it."""

    def __init__(self):
        super().__init__()
        self.layer = paddle.nn.Conv2D(3, 2, 1)

    def forward(self, x):
        return [self.layer(x)]


class Sampled(Small):
    """SFNet and others have `grid_sample`, which ONNX has from operator set 16 on."""

    def forward(self, x):
        grid = paddle.tanh(self.layer(x)).transpose([0, 2, 3, 1])
        return [self.layer(paddle.nn.functional.grid_sample(x, grid))]


class Keeping(Small):
    """It makes a grid once, of the size of its first input."""

    def __init__(self):
        super().__init__()
        self.kept = {}
        self.grid = None

    def forward(self, x):
        if self.grid is None:
            self.grid = paddle.linspace(-1, 1, x.shape[3])
            self.kept["twice"] = 2 * self.grid
        return [self.layer(x) + self.grid + self.kept["twice"]]


class KeepingAndBranching(Keeping):
    """No tracing can follow it, and the attempt leaves a grid behind."""

    def forward(self, x):
        (logit,) = super().forward(x)
        if x.mean() > 100:
            logit = -logit
        return [logit]


def exported(folder, model, monkeypatch, **request):
    config = model_of(folder, "PPHumanSegLite")
    model.eval()
    monkeypatch.setattr(components, "load_model", lambda *_: model)
    return exporting.export(replace(REQUEST, **request), *config, folder / "export")


def test_the_operator_set_is_raised_to_what_a_model_needs_and_told(tmp_path, monkeypatch):
    result = exported(tmp_path, Sampled(), monkeypatch)
    assert result.effective["onnx"] is True and result.effective["opset"] == 16
    assert result.remark.startswith("the ONNX model needs opset 16, where 13 is asked")
    assert judged(result).status.name == "passed"
    lower = replace(result, effective={**result.effective, "opset": 12})
    assert judged(lower).reason == "opset: 13 requested, 12 observed"


@pytest.mark.parametrize(("kind", "converted"), [(Keeping, "traced"), (KeepingAndBranching, "from source")])
def test_what_a_model_keeps_of_one_attempt_is_in_no_other(tmp_path, monkeypatch, kind, converted):
    """It would be a variable of another program: nothing could be converted, or computed, any more."""
    result = exported(tmp_path, kind(), monkeypatch)
    assert result.effective["converted"] == converted and result.effective["batch"] == "free"
    assert result.metrics["exported_agreement"] == 1.0


# -- planted faults ---------------------------------------------------------------------------


def test_an_honest_export_has_nothing_to_say(lite, tmp_path):
    result = exporting.export(REQUEST, *lite, tmp_path / "export")
    assert result.remark is None and result.effective["onnx"] is True and result.effective["opset"] == 13
    same = {"agreement": {"1": 1.0, "2": 1.0}}
    assert result.metrics["onnx_engines"] == {"onnxruntime": same, "openvino": same}
    assert result.metrics["classes_compared"] == 2
    assert judged(result).status.name == "passed"
    # Without its comparison it would be believed no more.
    without = Result(result.effective, result.metrics, [])
    assert "its program was not compared with its model" in judged(without).reason


def test_an_onnx_model_with_one_other_weight_is_not_left_there(lite, tmp_path, monkeypatch):
    import paddle2onnx

    own = paddle2onnx.export

    def export(program, parameters, target, optimize_tool=None, **options):
        own(program, parameters, target, optimize_tool=optimize_tool, **options)
        wrong_convolution(target)

    monkeypatch.setattr(paddle2onnx, "export", export)
    result = exporting.export(REQUEST, *lite, tmp_path / "export")
    assert result.effective["onnx"] is False and not (tmp_path / "export/model.onnx").exists()
    for engine in ("onnxruntime", "openvino"):
        assert f"{engine} agrees with the model on 0." in result.remark
        assert max(result.metrics["onnx_engines"][engine]["agreement"].values()) < proving.AGREE


def biased(folder, lite, seed, by=3.0):
    """A checkpoint of the same model with weights by another chance that gives one class everywhere.

    `by` is how much more that class has, as a share of the largest logit there was.
    """
    paddle.seed(seed)
    model = components.builder(components.load_config(lite[0])).model
    model.eval()
    most = by * float(np.abs(proving.logits(model, proving.images(64, 64))).max())
    state = model.state_dict()
    state["depthwise_separable2.piontwise_conv._batch_norm.bias"].set_value(np.array([most, -most], np.float32))
    paddle.save(state, f"{folder}/{seed}.pdparams")
    return lite[0], f"{folder}/{seed}.pdparams"


def converts_to(monkeypatch, file):
    monkeypatch.setattr(exporting, "_to_onnx", lambda folder, *_: shutil.copy(file, folder / "model.onnx"))


def test_other_weights_are_seen_where_one_class_is_everywhere(lite, tmp_path, monkeypatch):
    """Label maps are the same: logits are not."""
    honest = exporting.export(REQUEST, *biased(tmp_path, lite, 2), tmp_path / "other")
    assert honest.metrics["classes_compared"] == 1 and honest.remark is None and honest.effective["onnx"] is True
    assert [gate["name"] for gate in honest.gates] == ["exported_agreement", "exported_logits"]
    assert all(gate["holds"] for gate in honest.gates)
    for trial in (honest.metrics["native"], *honest.metrics["onnx_engines"].values()):
        assert trial["agreement"] == {"1": 1.0, "2": 1.0} and trial["logits"] < 0.001
    converts_to(monkeypatch, tmp_path / "other/model.onnx")
    lying = exporting.export(REQUEST, *biased(tmp_path, lite, 3), tmp_path / "export")
    assert lying.effective["onnx"] is False and not (tmp_path / "export/model.onnx").exists()
    for engine in ("onnxruntime", "openvino"):
        assert f"{engine} gives logits that are off the model's by " in lying.remark
        assert lying.metrics["onnx_engines"][engine]["agreement"] == {"1": 1.0, "2": 1.0}


def test_a_model_that_only_gives_that_class_is_not_taken_for_it(lite, tmp_path, monkeypatch):
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    zeros = numpy_helper.from_array(np.zeros((1, 64, 64), np.int32), "zeros")
    nodes = [
        helper.make_node("Shape", ["x"], ["n"], start=0, end=1),
        helper.make_node("Concat", ["n", "s"], ["to"], axis=0),
        helper.make_node("Expand", ["zeros", "to"], ["y"]),
    ]
    size = numpy_helper.from_array(np.array([64, 64]), "s")
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, None)], [zeros, size],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    onnx.save(made, tmp_path / "zeros.onnx")
    converts_to(monkeypatch, tmp_path / "zeros.onnx")
    result = exporting.export(REQUEST, *biased(tmp_path, lite, 2), tmp_path / "export")
    assert result.effective["onnx"] is False, "its label maps are right"
    assert "onnxruntime its logits cannot be compared: " in result.remark and "is no argmax" in result.remark


def test_a_program_of_other_logits_is_accuracy_failed(lite, tmp_path, monkeypatch):
    one_class = biased(tmp_path, lite, 2)
    own = proving.logits
    for number, factor in enumerate((-1, np.nan)):
        monkeypatch.setattr(proving, "logits", lambda *given, factor=factor: factor * own(*given))
        outcome = judged(exporting.export(REQUEST, *one_class, tmp_path / f"{number}"))
        assert outcome.status.name == "accuracy-failed" and "one class everywhere would agree as well" in outcome.reason


def test_a_proof_that_tells_nothing_is_told_as_weak(lite, tmp_path, monkeypatch):
    """Of a model that no image changes, and where Paddle does not show its logits."""
    result = exporting.export(REQUEST, *biased(tmp_path, lite, 2, by=1e9), tmp_path / "export")
    assert judged(result).status.name == "passed"
    assert result.remark.startswith("the proof of this export is weak") and "wherever one looks" in result.remark

    def hidden(*_):
        raise StageError("not seen")

    monkeypatch.setattr(library.of("native"), "logits", hidden)
    result = exporting.export(REQUEST, *biased(tmp_path, lite, 2), tmp_path / "again")
    assert judged(result).status.name == "passed" and result.effective["onnx"] is True
    assert result.remark.endswith("gives one class on it: its logits cannot be compared: not seen")


def test_paddle2onnx_without_parameters_is_not_believed(lite, tmp_path):
    """It writes a file, and says that all is well."""
    config, checkpoint = lite
    exporting.export(REQUEST, config, checkpoint, tmp_path / "export")
    folder, fed = tmp_path / "export", proving.images(64, 64)
    (folder / "model.pdiparams").unlink()
    expected = np.zeros((2, 64, 64), np.int32)
    made = exporting.Program("model.json", None, True, expected, proving.Trial({1: 1.0, 2: 1.0}))
    found = exporting._onnx(folder, made, 13, fed)
    assert not found.holds and not (folder / "model.onnx").exists() and "no ONNX model" in found.remark
    (folder / "model.json").write_text("{")
    with pytest.raises(StageError, match=r"Paddle's own predictor cannot run model\.json: cannot load it: "):
        proving.paddles(folder, "model.json", fed, expected, (1,))


def test_an_engine_that_cannot_load_is_told_of_and_the_others_go_on(lite, tmp_path, monkeypatch):
    own = library.of

    def of(engine):
        if engine == "openvino":
            os.kill(os.getpid(), signal.SIGKILL)
        return own(engine)

    monkeypatch.setattr(library, "of", of)
    result = exporting.export(REQUEST, *lite, tmp_path / "export")
    assert result.effective["onnx"] is True and (tmp_path / "export/model.onnx").is_file()
    assert result.remark == "of the ONNX model: openvino killed by SIGKILL; its messages are in the log"
    assert result.metrics["onnx_engines"]["onnxruntime"]["agreement"] == {"1": 1.0, "2": 1.0}


def test_an_onnx_model_that_nothing_could_try_is_not_there(lite, tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "package_version", lambda *_: None)
    result = exporting.export(REQUEST, *lite, tmp_path / "export")
    assert result.effective["onnx"] is False and result.metrics["onnx_engines"] == {}
    assert "none of onnxruntime, openvino is installed to try it" in result.remark


def test_a_program_that_is_not_the_model_is_accuracy_failed(lite, tmp_path, monkeypatch):
    own = proving.labels
    monkeypatch.setattr(proving, "labels", lambda *given: 1 - own(*given))
    outcome = judged(exporting.export(REQUEST, *lite, tmp_path / "export"))
    assert outcome.status.name == "accuracy-failed"
    assert "agrees with the model on 0.00000 of pixels" in outcome.reason


@pytest.mark.parametrize(("asked", "batch", "sizes"), [(None, 1, ["1"]), ((1, 3), [1, 3], ["1", "3"])])
def test_a_program_that_is_right_for_one_image_alone_is_exported_for_that(
    lite, tmp_path, monkeypatch, asked, batch, sizes
):
    own, trials = proving.paddles, []

    def paddles(*given):
        trials.append(own(*given))
        return trials[-1] if len(trials) > 1 else proving.Trial({1: 1.0, 2: 0.5})

    monkeypatch.setattr(proving, "paddles", paddles)
    result = exporting.export(replace(REQUEST, batch_sizes=asked), *lite, tmp_path / "export")
    assert result.effective["batch"] == batch and result.effective["onnx"] is True
    assert result.metrics["onnx_engines"]["openvino"]["agreement"].keys() == set(sizes)
    told = "agrees with the model on 0.50000 of pixels in batches of 2"
    assert result.remark == f"exported for batches of {' and '.join(sizes)} only: {told}"
    for size in sizes[1:]:
        assert (tmp_path / f"export/batch_{size}/model.onnx").is_file()


@pytest.mark.parametrize("error", [OSError("no room"), MemoryError("none left")])
def test_what_is_no_fault_of_a_free_batch_is_not_taken_for_one(lite, tmp_path, monkeypatch, error):
    def save(*_):
        raise error

    monkeypatch.setattr(exporting, "_save", save)
    with pytest.raises(type(error), match=str(error)):
        exporting.export(REQUEST, *lite, tmp_path / "export")


def test_an_export_of_before_is_believed():
    old = {"stage": "export", "requested": {**REQUEST.requested, "onnx": True}, "metrics": {}}
    effective = {"device": "cpu", "precision": "fp32", "input_size": [64, 64], "onnx": True, "opset": 13}
    assert proof.unproven({**old, "effective": effective}) == []
    assert proof.unproven({**old, "effective": {**effective, "onnx": False}}) == [
        "onnx: True requested, False observed"
    ]


# -- parts ------------------------------------------------------------------------------------


def fails(how):
    if how == "said":
        raise StageError("as it was said")
    if how == "raised":
        raise ValueError("some value")
    if how == "ended":
        os._exit(3)
    os.write(1, b"cannot do it\n\n" if how == "aborted" else b"at work\n")  # as native code prints
    if how == "aborted":
        os.abort()
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("said", "as it was said"),
        ("raised", "ValueError: some value"),
        ("ended", "ended with exit code 3; its messages are in the log"),
        ("killed", "killed by SIGKILL; its messages are in the log"),
        ("aborted", "cannot do it (the last that it printed; killed by SIGABRT)"),
    ],
)
def test_what_ends_apart_is_told_of(how, words):
    with pytest.raises(StageError) as told:
        apart.run(fails, how)
    assert str(told.value) == words


def test_what_libraries_print_apart_is_printed_once(tmp_path):
    """C's own buffers are not written when a fork ends, and those of before the fork are in both."""
    code = (
        f"import ctypes, sys; sys.path.insert(0, {str(Path(apart.__file__).parents[2])!r})\n"
        "from segcert.compute import apart\n"
        "libc = ctypes.CDLL(None)\nlibc.printf(b'before\\n')\nprint(apart.run(libc.printf, b'apart\\n'), flush=True)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path)
    assert done.stdout == "before\napart\n6\n"


def test_a_remark_that_is_a_known_failure_is_no_surprise():
    def outcome(error):
        known = judging.Known("K1", error, "why", "https://example.org")
        result = Result({"device": "cpu"}, remark="no ONNX model: stride 0")
        return judging.excused(judging.Outcome(judging.statuses.PASSED, result.remark, result), [known]).reason

    assert outcome("stride 0") == "no ONNX model: stride 0"
    assert outcome("other").startswith("no ONNX model: stride 0; passes although listed as known failure K1")
