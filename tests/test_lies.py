"""Lies that a certificate must not repeat: each is planted in a real run, and the cell is not green."""

import copy
import importlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import stages
import tipc_logs
from conftest import ROOT

from segcert import cells, certificates, conclusions, engines, proof, record
from segcert.compute import dtypes, inference, metrics, training
from segcert.compute.engines import (
    library,
    native_paddle,
    onednn,
    onednn_convolutions,
    onednn_trace,
    paddle_inference,
)
from segcert.errors import StageError, Unverified
from segcert.files import sha256
from segcert.requests.infer import Infer
from segcert.requests.request import Request

PATCHED = """
import sys
sys.path.insert(0, {scripts!r})
from paddle import inference
{patch}
import infer
if __name__ == "__main__":
    sys.exit(infer.main())
"""


@pytest.fixture(scope="session")
def exported(trained, dataset):
    done = stages.export(trained)
    assert done.returncode == 0, done.stderr
    return trained


def planted(folder, name):
    """Record and exit code's meaning of an inference cell that did not pass."""
    found = record.read(folder / f"{name}.failed.json")
    assert not (folder / name).exists() and not (folder / f"{name}.json").exists()
    return found


@pytest.mark.parametrize("engine", engines.on("cpu"))
def test_an_honest_cell_passes(exported, dataset, engine):
    done = stages.infer(exported, dataset, f"honest_{engine}", "--engine", engine)
    assert done.returncode == 0, done.stderr
    found = record.read(exported / f"honest_{engine}.json")
    assert found["status"] == "passed" and proof.unproven(found) == []
    assert found["metrics"]["pixel_agreement"] > 0.999
    assert found["metrics"]["miou_drop"] <= 0.001 and 0.3 < found["metrics"]["miou"] <= 1
    if not engines.by_name(engine).needs_onnx:
        # Both are counted for themselves, and agree: what the program asks for, and what oneDNN's trace shows.
        asked, trace = found["metrics"]["evidence"]["program"], found["metrics"]["evidence"]["onednn"]
        assert asked["convolutions"] > 40 and "unread" not in asked
        assert sum(trace["convolutions"].values()) == (0 if engine == "native" else asked["convolutions"])
    assert {"own_cores", "other_cores", "steal_share", "noticed"} == found["load"].keys()
    assert {*found["load"], "jobs_beside"} == found["metrics"]["load"].keys() and found["load"]["own_cores"] > 0


def saved(folder, layers, forward):
    """A tiny model, exported for images of 3 x 8 x 8."""
    import paddle

    class Net(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.layers = paddle.nn.LayerList(layers())

        def forward(self, x):
            return forward(self.layers, x).astype("float32").argmax(axis=1).astype("int32")

    spec = [paddle.static.InputSpec([-1, 3, 8, 8], "float32")]
    paddle.jit.save(paddle.jit.to_static(Net(), input_spec=spec, full_graph=True), str(folder / "model"))


@pytest.mark.parametrize(
    ("single", "double", "engine"),
    [(9, 0, "onednn"), (9, 1, "onednn"), (7, 1, "native+onednn"), (1, 5, "native+onednn")],
)
def test_convolutions_that_fell_back_beside_onednn_are_told_of(tmp_path, single, double, engine):
    """oneDNN has no kernels for float64: Paddle's own run there, in silence."""
    import paddle

    def layers():
        convolutions = [paddle.nn.Conv2D(3, 3, 3, padding=1, bias_attr=False) for _ in range(single + double)]
        return [layer if index < single else layer.to(dtype="float64") for index, layer in enumerate(convolutions)]

    def forward(made, x):
        for layer in made:
            x = layer(x.astype(layer.weight.dtype))
        return x

    saved(tmp_path, layers, forward)
    effective, told = library.create("onednn", tmp_path, "model.json", "cpu", "fp32", 1).observe(
        np.ones((1, 3, 8, 8), np.float32)
    )
    assert told["program"] == {"convolutions": single + double, "products": 0}
    assert sum(told["onednn"]["convolutions"].values()) == single
    assert told["outside_onednn"] == {"convolutions": double, "products": 0}
    assert effective["engine"] == engine and effective["precision"] == "fp32"


def enlarged(folder):
    """A convolution and a resize that oneDNN computes wrongly, exported."""
    import paddle

    def forward(made, x):
        return paddle.nn.functional.interpolate(made[0](x), [19, 21], mode="bilinear", align_corners=True)

    saved(folder, lambda: [paddle.nn.Conv2D(3, 4, 3, padding=1)], forward)


def test_the_way_around_a_wrong_resize_leaves_the_convolutions_to_onednn(tmp_path, monkeypatch):
    enlarged(tmp_path)
    batch = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)

    def made(engine):
        return library.create(engine, tmp_path, "model.json", "cpu", "fp32", 1)

    engine = made("onednn_convolutions")
    effective, told = engine.observe(batch)
    assert effective["engine"] == "onednn_convolutions" and told["onednn"]["kinds"].get("convolution") == 1
    right, logits = made("native").logits(batch), engine.logits(batch)
    assert np.abs(logits - right).max() < 1e-5
    # One that was not told to leave the resize alone is seen, and so is one that does nothing.
    monkeypatch.setattr(onednn_convolutions, "PLACEMENT", ())
    untold, told = made("onednn_convolutions").observe(batch)
    assert untold["engine"] == "onednn" and "resampling" in told["onednn"]["kinds"]
    monkeypatch.setattr(onednn.OneDnn, "configure", native_paddle.NativePaddle.configure)
    assert made("onednn_convolutions").observe(batch)[0]["engine"] == "native"


@pytest.mark.parametrize(
    ("asked", "seen", "engine", "precision"),
    [
        ((50, 0), ({"f32": 1}, {}), "native+onednn", "fp32"),
        ((50, 0), ({"bf16": 20}, {}), "native+onednn", "fp32"),  # native kernels have no bfloat16
        ((50, 0), ({"bf16": 45}, {}), "onednn", "bf16"),
        ((50, 0), ({"bf16": 44}, {}), "native+onednn", "bf16"),
        ((316, 3), ({"f32": 316}, {}), "onednn", "fp32"),  # OCRNet: a batched product is never oneDNN's
        ((1, 9), ({"f32": 1}, {"f32": 3}), "native+onednn", "fp32"),
        ((None, None), ({"f32": 1}, {}), "onednn", "fp32"),
        ((50, 0), ({}, {}), "native", "fp32"),
    ],
)
def test_onednn_is_what_computes_most_of_what_the_program_asks_for(asked, seen, engine, precision):
    trace = {"convolutions": seen[0], "products": seen[1], "threads": 1}
    asked = dict(zip(("convolutions", "products"), asked, strict=True))
    effective = onednn_trace.effective(trace, asked, onednn_trace.outside(trace, asked), 1)
    assert (effective["engine"], effective["precision"]) == (engine, precision)


def test_the_work_that_a_program_asks_for_is_read_of_both_forms(tmp_path):
    saving = (
        "import sys, paddle; nn = paddle.nn\n"
        "net = nn.Sequential(nn.Conv2D(3, 4, 3), nn.Conv2DTranspose(4, 4, 3), nn.Linear(8, 8), nn.ReLU())\n"
        "spec = [paddle.static.InputSpec([-1, 3, 8, 8])]\n"
        "paddle.jit.save(paddle.jit.to_static(net, input_spec=spec, full_graph=True), 'model')\n"
    )
    for pir, name in (("1", "model.json"), ("0", "model.pdmodel")):
        env = {**os.environ, "FLAGS_enable_pir_api": pir}
        subprocess.run([sys.executable, "-c", saving], cwd=tmp_path, env=env, check=True, timeout=120)
        assert paddle_inference.program_work(tmp_path / name) == {"convolutions": 2, "products": 1}
    (tmp_path / "model.json").write_text('{"program": 3}')
    unread = paddle_inference.program_work(tmp_path / "model.json")
    assert unread["convolutions"] is None and unread["products"] is None and "model.json" in unread["unread"]


@pytest.mark.parametrize(
    ("asked", "patch", "words"),
    [
        (
            "onednn",
            "inference.Config.enable_mkldnn = lambda self: self.disable_mkldnn()",
            "engine: onednn requested, native",
        ),
        (
            "native",
            "inference.Config.disable_mkldnn = lambda self: self.enable_mkldnn()",
            "engine: native requested, onednn",
        ),
        (
            "onednn",
            "inference.Config.set_cpu_math_library_num_threads = lambda self, threads: None",
            "threads: 2 requested, 1 observed",
        ),
        (
            "onednn",
            "from segcert.compute.engines.paddle_inference import PaddleInference; run = PaddleInference.run\n"
            "PaddleInference.run = lambda self, batch: run(self, batch)[1:]",
            "the engine gave 0 label maps for 1 images",
        ),
    ],
)
def test_an_engine_that_falls_back_is_failed(exported, dataset, tmp_path, asked, patch, words):
    lying = tmp_path / "lying.py"
    lying.write_text(PATCHED.format(scripts=str(ROOT / "scripts"), patch=patch))
    options = ["--engine", asked, *(["--threads", "2"] if "threads" in words else [])]
    done = stages.infer(exported, dataset, "fallen", *options, script_name=lying)
    assert done.returncode == 1
    found = planted(exported, "fallen")
    assert found["status"] == "failed" and words in found["reason"]


def test_bf16_that_computes_in_fp32_is_not_passed(exported, dataset, tmp_path):
    lying = tmp_path / "lying.py"
    patch = "inference.Config.enable_mkldnn_bfloat16 = lambda self: None"
    lying.write_text(PATCHED.format(scripts=str(ROOT / "scripts"), patch=patch))
    done = stages.infer(exported, dataset, "bf16", "--engine", "onednn", "--precision", "bf16", script_name=lying)
    assert done.returncode == 1
    assert "precision: bf16 requested, fp32 observed" in planted(exported, "bf16")["reason"]


def spoiled(folder, change):
    """Another export of the checkpoint after a change to its last convolution's weights and bias."""
    import paddle

    weights = paddle.load(str(folder / "model.pdparams"))
    last = [
        name for name in weights if name.endswith(".weight") and weights[name].ndim == 4 and weights[name].shape[0] == 2
    ]
    assert last, sorted(weights)
    for name in (last[-1], last[-1].replace(".weight", ".bias")):
        if name in weights:
            weights[name] = paddle.to_tensor(change(weights[name].numpy()))
    paddle.save(weights, str(folder / "spoiled.pdparams"))
    done = stages.export(folder, checkpoint="spoiled.pdparams", to="spoiled")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("what", "change", "agreement"),
    [
        (
            "perturbed weight",
            lambda w: w + 0.5 * np.abs(w).max() * np.eye(1, w.size, 1, dtype=w.dtype).reshape(w.shape),
            0.999,
        ),
        ("shuffled class", lambda w: w[::-1].copy(), 0.5),
    ],
)
def test_another_model_than_the_checkpoint_is_accuracy_failed(exported, dataset, what, change, agreement):
    spoiled(exported, change)
    name = what.replace(" ", "_")
    done = stages.infer(exported, dataset, name, "--engine", "onnxruntime", exported="spoiled")
    assert done.returncode == 1, what
    found = planted(exported, name)
    assert found["status"] == "accuracy-failed"
    assert found["metrics"]["pixel_agreement"] < agreement
    worst = found["metrics"]["worst_images"][0]
    assert worst["image"] in found["reason"] and worst["agreement"] <= found["metrics"]["pixel_agreement"]
    # What it predicted is there to be looked at, and not as an output; it goes when the cell passes.
    aside = exported / f"{name}.failed"
    assert not (exported / name).exists() and f"predictions: {aside.name}" in done.stderr
    assert found["set_aside"] == {"predictions": aside.name}
    assert worst["image"] in [path.name for path in aside.iterdir()]
    done = stages.infer(exported, dataset, name, "--engine", "onnxruntime")
    assert done.returncode == 0, done.stderr
    assert (exported / name).is_dir() and not aside.exists()


@pytest.mark.parametrize(
    ("classes", "constant", "weak"),
    [(1, 1.0, "one class only"), (2, 0.9995, "one class covers 0.99950"), (2, 0.99, None)],
)
def test_agreement_is_weak_where_one_class_everywhere_would_pass(classes, constant, weak):
    compared = {"pixel_agreement": 1.0, "miou_drop": None, "worst_images": []}
    compared |= {"classes_reference": classes, "constant_agreement": constant}
    asked = Infer(min_agreement=0.999, max_miou_drop=0.001, max_logits_l2=0, max_logits_peak=0)
    (gate,) = inference.judge(asked, compared)
    assert gate["holds"] and gate["weak"] is (weak is not None) and (weak or "agree") in gate["sentence"]


def test_a_record_without_proof_is_not_believed(exported, dataset):
    done = stages.infer(exported, dataset, "believed", "--engine", "onnxruntime")
    assert done.returncode == 0, done.stderr
    honest = record.read(exported / "believed.json")

    def lies(change):
        content = copy.deepcopy(honest)
        change(content)
        return proof.unproven(content)

    assert lies(lambda c: None) == []
    assert lies(lambda c: c["samples_ms"].clear()) == ["it has no timed samples"]
    assert "statistics are not those" in lies(lambda c: c["samples_ms"]["inference"].pop())[0]
    assert lies(lambda c: c["effective"].pop("precision")) == ["precision was not observed"]
    assert lies(lambda c: c["effective"].update(engine="native")) == ["engine: onnxruntime requested, native observed"]
    assert lies(lambda c: c["metrics"].update(gates=[])) == [
        "no gate was held against its label maps",
        "its logits were not held against the checkpoint's",
    ]
    assert lies(lambda c: c["metrics"]["gates"].pop()) == ["its logits were not held against the checkpoint's"]
    assert lies(lambda c: c["metrics"].pop("logits")) == ["what computed its logits was not observed"]
    assert lies(lambda c: c["metrics"]["logits"]["effective"].pop("engine")) == [
        "engine of what computed its logits was not observed"
    ]
    assert lies(lambda c: c["metrics"]["logits"]["effective"].update(precision="bf16")) == [
        "its logits: precision: fp32 requested, bf16 observed"
    ]
    assert lies(lambda c: c["metrics"]["gates"][0].update(holds=False)) == [honest["metrics"]["gates"][0]["sentence"]]
    assert (
        "said to hold and does not: 0.0, at least 0.999"
        in lies(lambda c: c["metrics"]["gates"][0].update(value=0.0))[0]
    )
    assert "said to hold and does not" in lies(lambda c: c["metrics"]["gates"][1].update(value=0.5))[0]
    assert "said to hold and does not" in lies(lambda c: c["metrics"]["gates"][0].pop("bound") and None)[0]
    assert "0.97 is its metric" in lies(lambda c: c["metrics"].update(pixel_agreement=0.97))[0]
    assert lies(lambda c: c["metrics"].update(gates={})) == ["its gates are no list"]
    for none in ("holds", None, {"holds": True}):
        assert "one of its gates is none" in lies(lambda c, none=none: c["metrics"]["gates"].append(none))
    for name in ("p50", "mean", "min", "max"):
        assert f"{name} 0.001, not" in lies(lambda c, name=name: c["metrics"]["inference_ms"].update({name: 0.001}))[0]
    assert "of preprocess: p50 0.001" in lies(lambda c: c["metrics"]["preprocess_ms"].update(p50=0.001))[0]
    assert "samples of inference are no times" in lies(lambda c: c["samples_ms"].update(inference=["fast"]))[0]


def test_an_evaluation_without_proof_is_not_believed(trained):
    honest = record.read(trained / "eval.json")
    assert proof.unproven(honest) == []
    assert honest["effective"]["precision"] == "fp32" and honest["effective"]["conv_output_dtypes"] == ["float32"]

    def lies(**metrics):
        return " ".join(proof.unproven({**honest, "metrics": {**honest["metrics"], **metrics}}))

    assert proof.unproven({**honest, "metrics": {}})
    for miou in (None, "high", 2, True):
        assert f"mIoU is {miou}" in lies(miou=miou)
    assert "no pixel of its labels was counted" in lies(classes_present=0)
    assert "images is 2, not 6" in lies(images=2)
    assert "reference_images is 0, not 2" in lies(reference_images=0)
    assert "val_images is 0" in lies(val_images=0, images=0)
    asked = {**honest, "requested": {**honest["requested"], "images": 4}}
    assert proof.unproven(asked) == ["images is 6, not 4"]


EVALUATED = """
import sys
sys.path.insert(0, {scripts!r})
from segcert.compute import components, metrics
load, measure = components.load_model, metrics.Confusion.metrics
def odd(*given):
    model = load(*given)
    model.add_parameter("odd", model.create_parameter([1], dtype="float64"))
    return model
def silent(*given):
    return measure(*given) | dict(miou=2.0)
{lie}
import evaluate
if __name__ == "__main__":
    sys.exit(evaluate.main())
"""


@pytest.mark.parametrize(
    ("lie", "words"),
    [
        # What makes the fp32 reference is looked at, weight by weight, and not said by the code of itself.
        ("components.load_model = odd", "precision: fp32 requested, float32+float64 observed"),
        # What the conclusions would not believe is not left behind as done.
        ("metrics.Confusion.metrics = silent", "not proved: its mIoU is 2.0"),
    ],
)
def test_an_evaluation_that_proves_nothing_fails(trained, dataset, tmp_path, lie, words):
    (tmp_path / "model.pdparams").write_bytes((trained / "model.pdparams").read_bytes())
    lying = tmp_path / "lying.py"
    lying.write_text(EVALUATED.format(scripts=str(ROOT / "scripts"), lie=lie))
    done = stages.evaluate(tmp_path, dataset, script_name=lying)
    assert done.returncode == 1
    assert words in record.read(tmp_path / "eval.failed.json")["reason"]


def test_a_training_is_held_to_the_gates_that_it_must_have(trained):
    honest = record.read(trained / "train.json")
    assert proof.unproven(honest) == []

    def unproven(*gates, **effective):
        content = {**honest, "requested": {}, "effective": {**honest["effective"], **effective}}
        return proof.unproven({**content, "metrics": {"gates": list(gates)}})

    half = {"precision": "amp", "dtype": "float16"}
    assert unproven(**half) == ["the steps that it left out were not counted"]
    assert unproven(devices=2) == ["its ranks' weights were not compared"]
    assert unproven(training._skip_gate([{"skipped": 0}] * 3 + [{"skipped": 1}] * 3), **half) == []
    (words,) = unproven(training._skip_gate([{"skipped": 1}] * 5), **half)
    assert words.startswith("5 of 5 steps were left out because gradients overflowed")


def test_a_step_is_known_as_left_out_also_where_the_scale_cannot_fall_further():
    def left_out(before, after):
        return training._Scaling(*before).skipped_before(training._Scaling(*after))

    assert left_out((1024, 3), (512, 0)) and left_out((1024, 0), (512, 0)) and left_out((0, 0), (0, 0))
    assert left_out((1024, 3), (1024, 0))  # where the scale falls after several such steps only
    assert not left_out((512, 3), (512, 4)) and not left_out((512, 1999), (1024, 0)) and not left_out((0, 0), (0, 1))


def test_one_convolution_in_half_precision_is_no_mixed_precision():
    import paddle

    model = paddle.nn.Sequential(*(paddle.nn.Conv2D(3, 3, 1) for _ in range(3)))

    def seen(*types):
        probe = dtypes.DtypeProbe(model)
        image = paddle.ones([1, 3, 2, 2])
        for layer, dtype in zip(model, types, strict=True):
            layer.forward = lambda _, dtype=dtype: image.astype(dtype)
        model(image)
        probe.remove()
        return probe

    one = seen("bfloat16", "float32", "float32")
    assert one.effective() == {"precision": "fp32", "level": None, "dtype": None}
    assert one.counts()["conv_outputs"] == {"bfloat16": 1, "float32": 2}
    assert one.counts()["conv_output_dtypes"] == ["bfloat16", "float32"]
    assert seen("float16", "bfloat16", "float32").effective()["precision"] == "amp"
    assert seen("float16", "float16", "float32").effective() == {"precision": "amp", "level": "O1", "dtype": "float16"}


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "infer.py"])
def test_fp32_on_a_gpu_is_without_tf32(script, monkeypatch):
    """Seen from the plan: there is no GPU here."""
    plans = []
    module = importlib.import_module(script.removesuffix(".py"))
    monkeypatch.setattr(module.entry, "run", lambda args, plan: plans.append(plan))
    options = {
        "train.py": "--config c --dataset d --iters 1 --batch-size 1 --checkpoint c --history h",
        "evaluate.py": "--config c --dataset d --checkpoint c --reference r",
        "infer.py": "--export e --dataset d --reference r --min-agreement 1 --max-miou-drop 0 "
        "--max-logits-l2 0 --max-logits-peak 0 --benchmark-log b --predictions p",
    }
    common = f"x --cell c --record r --log l {options[script]} --device"
    low = {"train.py": "--precision amp --amp-level O1 --amp-dtype float16", "infer.py": "--precision fp16"}
    for device in ("gpu", "cpu"):
        monkeypatch.setattr(sys, "argv", f"{common} {device}".split())
        module.main()
    if script in low:
        monkeypatch.setattr(sys, "argv", f"{common} gpu {low[script]}".split())
        module.main()
    assert [plan.environment.get("NVIDIA_TF32_OVERRIDE") for plan in plans] == ["0", None, None][: len(plans)]


@pytest.mark.parametrize(
    ("stage", "parent", "made", "read"),
    [
        ("eval", "train", "t/model.pdparams", True),
        ("eval", "train", "t/history.csv", False),
        ("export", "train", "t/model.pdparams", True),
        ("infer", "export", "t/export", True),
        ("infer", "eval", "t/reference", True),
        ("infer", "train", "t/model.pdparams", False),
        ("train", "data", "d/manifest.json", True),
        ("train", "data", "d.tar", False),
    ],
)
def test_a_record_that_does_not_say_what_it_was_made_from_is_not_believed(stage, parent, made, read):
    cell = cells.Cell("m", "model", "A", stage, "c", "c", "single", Request())
    above = [{"stage": parent, "outputs": {made: "1" * 64}}]
    found = {"model": "model", "mode": "m", "stage": stage, "cell": "c", "requested": {}, "status": "passed"}
    found["command"] = " ".join(["python", *cell.options])

    def stale(inputs, configuration=None, **other):
        return conclusions._stale(cell, {**found, **other, "inputs": inputs}, above, configuration or {})

    assert stale({made: "1" * 64}) is None
    assert stale({made: "2" * 64}) == f"made from another {made}"
    assert stale({}) == (f"it does not say from which {made} it was made" if read else None)
    assert stale({}, status="failed") is None, "it may have failed because that was not there"
    told = {made: "1" * 64, "m.yml": "3" * 64}
    assert stale(told, {"m.yml": "3" * 64}) is None
    assert stale(told, {"m.yml": "4" * 64}) == "made from another m.yml"


def test_operators_tell_what_a_paddle_predictor_ran(exported, dataset):
    """The evidence of GPU cells, seen on a CPU: the predictor itself names its operators, dtypes and places."""
    batch = np.zeros((1, 3, 96, 128), np.float32)
    for engine in ("native", "onednn"):
        runner = library.create(engine, exported / "export", "model.json", "cpu", "fp32", 1)
        ran = paddle_inference.executed_operators(runner.predictor.clone(), batch)
        assert ran.effective() == {"device": "cpu", "engine": engine, "precision": "fp32"}
        assert any("conv2d" in item["operator"] for item in ran.evidence()["operators"])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_gpu_that_is_not_taken_is_seen(exported, monkeypatch, precision):
    """Paddle's CPU build takes no setting of a GPU and says so in its log alone; a stand-in says that there is one."""
    from segcert.compute import device

    def load(kind):
        request = Infer(
            device="gpu",
            engine=kind,
            precision=precision,
            min_agreement=1,
            max_miou_drop=0,
            max_logits_l2=0,
            max_logits_peak=0,
        )
        return inference._load(request, exported / "export", "model.json", None)

    for kind in ("native", "tensorrt"):
        with pytest.raises(Unverified):
            load(kind)
    for name in ("require_gpu", "require_tensorrt"):
        monkeypatch.setattr(device, name, lambda **_: None)
    with pytest.raises(StageError, match="tensorrt cannot load the model"):
        load("tensorrt")
    runner = load("native")
    effective, told = runner.observe(np.zeros((1, 3, 96, 128), np.float32))
    assert effective["device"] == "cpu" and effective["precision"] == "fp32" and told["operators"]
    assert proof.differences({"device": "gpu"}, effective)
    assert runner.conf()["runtime_device"] == "cpu" and not runner.conf()["enable_tensorrt"]


def test_onnxruntime_without_cuda_is_unverified_and_not_failed(exported, monkeypatch):
    """Also where it says that it has it: a stand-in for a package whose CUDA does not fit the driver."""
    import onnxruntime

    from segcert.compute.engines import onnxruntime as engine

    def load(device="gpu"):
        request = Infer(
            device=device, engine="onnxruntime", min_agreement=1, max_miou_drop=0, max_logits_l2=0, max_logits_peak=0
        )
        return inference._load(request, exported / "export", "model.json", None)

    with pytest.raises(Unverified, match="has no CUDAExecutionProvider"):
        load()
    own = onnxruntime.get_available_providers()
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", *own])
    with pytest.raises(Unverified, match="could not start CUDAExecutionProvider"):
        load()
    # A provider that starts: what is wrong then is told as it is.
    monkeypatch.setitem(engine.PROVIDERS, "gpu", "CPUExecutionProvider")
    with pytest.raises(StageError, match=r"cannot load the model: .*CPU EP"):
        load()
    monkeypatch.undo()
    assert load("cpu").session.get_providers() == ["CPUExecutionProvider"]


def test_what_shows_no_convolution_proves_nothing(tmp_path, monkeypatch):
    import onnx
    import paddle
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("ArgMax", ["r"], ["y"], axis=1, keepdims=0)]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    made = helper.make_tensor_value_info("y", TensorProto.INT64, [1, 8, 8])
    graph = helper.make_graph(nodes, "g", [given], [made])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "model.onnx"))
    engine = library.create("onnxruntime", tmp_path, "model.json", "cpu", "fp32", 1)
    with pytest.raises(StageError, match="profile shows no convolution"):
        engine.observe(np.ones((1, 3, 8, 8), np.float32))
    monkeypatch.setattr(paddle, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(StageError, match=r"libdnnl\.so\.3: not there"):
        onednn_trace.of(lambda: None)


def test_images_that_fill_the_last_batch_count_once(exported, dataset):
    """Two images in batches of four: each stands in it twice."""
    done = stages.infer(exported, dataset, "filled", "--engine", "onnxruntime", "--batch-size", "4")
    assert done.returncode == 0, done.stderr
    found = record.read(exported / "filled.json")["metrics"]
    assert found["images"] == len(list((exported / "filled").iterdir())) == 2
    assert 0.5 < found["constant_agreement"] <= 1 and found["input_shape"][0] == 4
    # as the helper asks: one to two untimed batches, four timed ones
    assert found["warmup_batches"] in (1, 2) and found["inference_ms"]["count"] == 4


def test_the_log_of_a_gpu_cell_has_the_memory_that_the_driver_counts(exported, monkeypatch):
    """A stand-in for the driver."""
    runner = library.create("onnxruntime", exported / "export", "model.json", "cpu", "fp32", 1)
    request = Infer(engine="onnxruntime", min_agreement=1, max_miou_drop=0, max_logits_l2=0, max_logits_peak=0)
    counted = [request, runner, {phase: {"mean": 1.0, "count": 4} for phase in inference.PHASES}, "m", 1.0, 100.0]
    monkeypatch.setattr(inference.gpus, "memory_mb", lambda pid: 612.0 if pid == os.getpid() else None)
    assert tipc_logs.benchmark(inference._own_log(*counted))["perf"]["gpu_rss(MB)"] is None
    runner.device = "gpu"
    assert tipc_logs.benchmark(inference._own_log(*counted))["perf"]["gpu_rss(MB)"] == 612.0


def operators(*rows):
    return paddle_inference.ExecutedOperators({row[:3]: row[3] for row in rows})


def test_operators_of_a_gpu_are_judged_by_what_most_convolutions_did():
    """Rows as a GPU's predictor is expected to give them (made up: there is no GPU here)."""
    half = operators(("pd_op.conv2d", "float16", "Place(gpu:0)", 30), ("pd_op.conv2d", "float32", "Place(gpu:0)", 1))
    assert half.effective() == {"device": "gpu", "engine": "native", "precision": "fp16"}
    fallen = operators(("pd_op.conv2d", "float32", "Place(gpu:0)", 30), ("pd_op.conv2d", "float32", "Place(cpu)", 1))
    assert fallen.effective()["device"] == "cpu+gpu"
    with pytest.raises(Unverified, match="3 TensorRT subgraphs") as told:
        operators(("pd_op.tensorrt_engine", "float32", "Place(gpu:0)", 3)).effective()
    assert told.value.lasting, "another try would end in the same"
    with pytest.raises(StageError, match="no convolution"):
        operators(("pd_op.relu", "float32", "Place(gpu:0)", 3)).effective()


# -- mixed precision against its twin: made-up records, for want of a GPU ----------------------------------------------


@pytest.fixture
def pair(tmp_path):
    """An AMP training, or another, its twin and their evaluations, as conclusions hold them."""

    def cell(name, loss, miou, precision="fp32", graph="dynamic"):
        folder = tmp_path / name
        folder.mkdir()
        rows = "".join(f"{number},{value}\n" for number, value in enumerate(loss, 1))
        (folder / "history.csv").write_text("iter,loss\n" + rows)
        asked = {
            "precision": precision,
            "graph": graph,
            "device": "gpu",
            "devices": 1,
            "iters": len(loss),
            "batch_size": 2,
            "seed": 1,
        }
        base = {
            "model": "m",
            "train_cell": name,
            "cell": name,
            "topology": "single",
            "status": "passed",
            "reason": None,
        }
        measured = {"ips": 30.0 if precision == "amp" else 20.0, "peak_gpu_mb": 600 if precision == "amp" else 1000}
        measured |= {"loss_scale": {"first": 1024, "last": 512, "min": 512, "decreases": 1}, "skipped_steps": 1}
        train = {**base, "stage": "train", "requested": {**asked, "dtype": "float16"}, "metrics": measured}
        train["outputs"] = {(folder / "history.csv").as_posix(): sha256(folder / "history.csv")}
        evaluated = {**base, "stage": "eval", "requested": {}, "metrics": {"miou": miou}}
        return [{**train, "record": str(folder / "train.json")}, {**evaluated, "record": str(folder / "eval.json")}]

    def made(one, fp32, **what):
        return cell("one", *one, **(what or {"precision": "amp"})) + cell("fp32", *fp32)

    return made


GATES = {
    "amp": {"loss_distance": 0.1, "miou_drop": 0.02},
    "to_static": {"first_loss": 1e-5, "loss_distance": 0.1, "miou": 0.02},
}


@pytest.mark.parametrize(
    ("amp", "fp32", "verdict", "words"),
    [
        (
            ([1, 0.5, 0.26], 0.80),
            ([1, 0.5, 0.25], 0.81),
            "passed",
            ["0.6% apart", "0.8000 against 0.8100", "1.50 x images/s"],
        ),
        (([1, 0.9, 0.80], 0.80), ([1, 0.5, 0.25], 0.81), "accuracy-failed", ["at most 10.0% is allowed"]),
        (([1, 0.5, 0.26], 0.70), ([1, 0.5, 0.25], 0.81), "accuracy-failed", ["a drop of at most 0.02"]),
        (([1, 0.5, 0.26], 0.90), ([1, 0.5, 0.25], 0.81), "passed", ["1 skipped steps"]),
        (([1, 0.5], 0.80), ([1, 0.5, 0.25], 0.81), "unverified", ["another iters"]),
    ],
)
def test_mixed_precision_is_held_against_its_twin(pair, amp, fp32, verdict, words):
    (found,) = certificates.certify(pair(amp, fp32), GATES)
    assert found["verdict"] == verdict, found["reason"]
    assert all(word in found["reason"] for word in words), found["reason"]
    json.dumps(found, allow_nan=False)


def test_a_twin_that_cannot_be_held_against_certifies_nothing(pair):
    made = pair(([1, 0.5], 0.8), ([1, 0.5], 0.8))

    def certified(change):
        cells = copy.deepcopy(made)
        change(cells)
        (found,) = certificates.certify(cells, GATES)
        assert found["verdict"] == "unverified"
        return found["reason"]

    def failed(cells):
        cells[2]["status"] = "failed"

    def elsewhere(cells):
        cells[2]["requested"]["device"] = "cpu"

    def not_evaluated(cells):
        cells[1]["status"] = "blocked"

    assert certified(failed) == "no fp32 twin to hold it against: failed"
    assert certified(lambda cells: cells.pop(2)) == "no fp32 twin to hold it against: none is in the matrix"
    assert certified(elsewhere) == "its fp32 twin was trained with another device"
    assert "mIoU not compared, an evaluation did not pass" in certified(not_evaluated)


@pytest.mark.parametrize("text", ["iter,loss\n1,low\n", "iter,loss\n1\n", "step,loss\n1,0.5\n", "iter,loss\nx,0.5\n"])
def test_a_history_that_is_none_certifies_nothing(pair, tmp_path, text):
    """It is what the record names, and holds no losses."""
    cells = pair(([1, 0.5], 0.8), ([1, 0.5], 0.8))
    path = tmp_path / "one/history.csv"
    path.write_text(text)
    cells[0]["outputs"] = {path.as_posix(): sha256(path)}
    (found,) = certificates.certify(cells, GATES)
    assert found["verdict"] == "unverified" and "loss curves cannot be compared" in found["reason"]


def test_a_history_that_is_not_the_records_certifies_nothing(pair, tmp_path):
    cells = pair(([1, 0.9, 0.8], 0.8), ([1, 0.5, 0.25], 0.8))
    (tmp_path / "one/history.csv").write_text((tmp_path / "fp32/history.csv").read_text())
    (found,) = certificates.certify(cells, GATES)
    assert found["verdict"] == "unverified" and "not what its record names" in found["reason"]
    assert found["loss_distance"] is None and found["nonfinite"] is None


def test_a_loss_that_is_not_finite_is_counted_and_certifies_nothing(pair):
    (found,) = certificates.certify(pair(([1, float("nan"), 0.3], 0.8), ([1, 0.5, 0.25], 0.8)), GATES)
    assert found["verdict"] == "unverified" and found["nonfinite"] == 1
    json.dumps(found, allow_nan=False)


def test_mixed_precision_that_did_not_run_is_certified_by_nothing(pair):
    cells = pair(([1, 0.5], 0.8), ([1, 0.5], 0.8))
    cells[0] |= {"status": "unverified", "reason": "needs a GPU"}
    (found,) = certificates.certify(cells, GATES)
    assert found["verdict"] == "unverified" and "needs a GPU" in found["reason"]
    assert "fp32 twin" in found["reason"] and "0.5" in found["reason"]
    assert found["loss_distance"] is None and found["ips_ratio"] is None


@pytest.mark.parametrize(
    ("static", "dynamic", "verdict", "words"),
    [
        (([1, 0.5], 0.8), ([1, 0.5], 0.8), "passed", "first losses equal; loss curves equal; mIoU 0.8000 against"),
        (([1.000001, 0.5], 0.8), ([1, 0.5], 0.8), "passed", "first losses 1.0e-06 apart"),
        (([1.0001, 0.5], 0.8), ([1, 0.5], 0.8), "accuracy-failed", "at most 1.0e-05 is allowed"),
        (([1, 0.8], 0.8), ([1, 0.5], 0.8), "accuracy-failed", "at most 10.0% is allowed"),
        (([1, 0.5], 0.7), ([1, 0.5], 0.8), "accuracy-failed", "a difference of at most 0.02 is allowed"),
        (([1, 0.5], 0.9), ([1, 0.5], 0.8), "accuracy-failed", "a difference of at most 0.02 is allowed"),
    ],
)
def test_a_static_graph_is_held_against_its_dynamic_twin(pair, static, dynamic, verdict, words):
    (found,) = certificates.certify(pair(static, dynamic, graph="to_static"), GATES)
    assert (found["kind"], found["cell"], found["twin"]) == ("to_static", "one", "fp32")
    assert found["verdict"] == verdict and words in found["reason"], found["reason"]
    assert found["bf16_inference"] == [] and found["skipped_steps"] is None


def test_what_is_no_twin_of_a_static_graph(pair, tmp_path):
    """Another seed, mixed precision, another static graph; nor is a static graph the twin of mixed precision."""
    made = pair(([1, 0.5], 0.8), ([1, 0.5], 0.8), graph="to_static")

    def certified(**asked):
        cells = copy.deepcopy(made)
        cells[2]["requested"] |= asked
        return [(item["cell"], item["reason"]) for item in certificates.certify(cells, GATES)]

    none = "no dynamic twin to hold it against: none is in the matrix"
    assert certified(seed=2) == [("one", "its dynamic twin was trained with another seed")]
    assert certified(precision="amp")[0] == ("one", none)
    assert certified(graph="to_static") == [("one", none), ("fp32", none)]
    cells = [{**cell, "requested": {**cell["requested"], "precision": "amp"}} for cell in made[:2]]
    static = [{**cell, "requested": {**cell["requested"], "graph": "to_static"}} for cell in made[2:]]
    cells[0]["requested"]["graph"] = "dynamic"
    assert certificates.certify(cells + static, GATES)[0]["reason"] == (
        "no fp32 twin to hold it against: none is in the matrix"
    )
    skipped = [{**made[0], "status": "skipped", "reason": "T1: on several devices"}]
    assert certificates.certify(skipped, GATES) == []


def test_a_class_that_there_is_not_is_no_prediction():
    """It used to count as the last class, and may have been right by that."""
    truth = np.ones((4, 4), np.uint8)
    for wrong in (2, 256, -1):  # 256 would be 0 in 8 bits
        prediction, words = np.full((4, 4), wrong, np.int32), f"a.png: .* holds the class {wrong}; allowed are 0 to 1"
        with pytest.raises(StageError, match=words):
            metrics.Confusion(2).add(prediction, truth, "a.png")
        with pytest.raises(StageError, match=words):
            metrics.Confusion(2).add_undone(prediction, [], truth, "a.png")


def test_what_the_data_set_ignores_counts_for_nothing():
    truth = np.array([[0, 1], [9, 9]], np.uint8)
    confusion = metrics.Confusion(2, ignored=9).empty()
    confusion.add(np.array([[0, 1], [0, 1]], np.int32), truth)
    assert confusion.metrics()["miou"] == 1 and confusion.counts.sum() == 2
    assert confusion.labels() == {"classes": 2, "ignored": 9}
    with pytest.raises(StageError, match=r"holds the value 255; allowed are 0 to 1 and 9 \(ignored\)"):
        confusion.add(np.zeros((2, 2), np.int32), np.full((2, 2), 255, np.uint8))


def test_label_maps_are_compared_at_the_labels_own_size():
    confusion = metrics.Confusion(2)
    truth = np.kron(np.array([[0, 1], [1, 0]], np.uint8), np.ones((4, 4), np.uint8))
    confusion.add_undone(np.array([[0, 1], [1, 0]], np.int32), [("resize", (8, 8))], truth)
    assert confusion.metrics()["miou"] == 1


def test_an_engine_pins_no_thread_to_a_core(exported):
    """Every process would be pinned to the same first core: cells that run at once would share it."""
    code = """
import os, sys, threading
import numpy as np
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from segcert.compute.engines import library
may = os.sched_getaffinity(0)
runner = library.create(sys.argv[2], Path("export"), "model.json", "cpu", "fp32", 1)
batch = np.zeros((1, 3, 96, 128), np.float32)
runner.run(batch)  # the first time, OpenMP goes from core to core to see which there are
over, looks, pinned = threading.Event(), [], []
def look():
    while not over.is_set():
        for thread in os.listdir("/proc/self/task"):
            try:
                looks.append(thread)
                pinned.extend([thread] if os.sched_getaffinity(int(thread)) != may else [])
            except OSError:
                pass
looking = threading.Thread(target=look)
looking.start()
while len(looks) < 500:
    runner.run(batch)
over.set()
looking.join()
print(not pinned)
"""
    for engine in engines.on("cpu"):
        command = [sys.executable, "-c", code, str(ROOT / "scripts"), engine]
        done = subprocess.run(command, cwd=exported, capture_output=True, text=True, timeout=120, check=False)
        assert done.stdout.splitlines()[-1:] == ["True"], (engine, done.stdout, done.stderr)
