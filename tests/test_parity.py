"""Parity of logits: what label maps do not show is red in every engine, also where one class wins everywhere."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import stages
import yaml

from segcert import engines, proof
from segcert.compute import apart, components, exporting, inference, logits, metrics, parity
from segcert.compute.engines import library, paddle_inference
from segcert.compute.engines import onnx as library_onnx
from segcert.concluded import Concluded
from segcert.data import layouts
from segcert.data.images import write_label
from segcert.errors import StageError
from segcert.requests.infer import Infer

SIZE = (128, 96)
REQUEST = Infer(
    min_samples=2, warmup=1, max_warmup=1, min_agreement=0.999, max_miou_drop=0.001,
    max_logits_l2=2e-5, max_logits_peak=5e-5,
)  # fmt: skip
LAST = "depthwise_separable2.piontwise_conv"  # a convolution, batch norm and ReLU: two channels, the logits
LIES = ("scaled", "swapped", "dropped", "unnormalised")


def state_of(path):
    import paddle

    return {name: value.numpy() for name, value in paddle.load(str(path)).items()}


def saved(state, path):
    import paddle

    paddle.save({name: paddle.to_tensor(value) for name, value in state.items()}, str(path))
    return path


def loaded(checkpoint):
    config = components.load_config(stages.CONFIG, input_size=SIZE)
    return config, components.load_model(config, str(checkpoint))


def exported(checkpoint, folder):
    """As the stage exports, without its proofs."""
    config, model = loaded(checkpoint)
    folder.mkdir()
    wrapped = exporting.WrappedModel(model, "argmax")
    wrapped.eval()
    exporting._save(wrapped, folder / "model", *reversed(SIZE))
    exporting._write_deploy(folder / "deploy.yaml", "model.json", config)
    apart.run(exporting._to_onnx, folder, "model.json", 13)
    return folder


def scaled(state):
    """One channel of the first convolution, by 1.01: that with the largest weights after its batch norm."""
    gain = state["conv_bn0._batch_norm.weight"] / np.sqrt(state["conv_bn0._batch_norm._variance"] + 1e-5)
    weights = state["conv_bn0._conv.weight"]
    weights[np.argmax(np.abs(gain) * np.linalg.norm(weights.reshape(len(weights), -1), axis=1))] *= 1.01


def swapped(state):
    for name, value in state.items():
        if name.startswith(LAST):
            state[name] = value[::-1].copy()


def dropped(state):
    state["conv_bn0._batch_norm.bias"][:] = 0


@pytest.fixture(scope="module", params=["two classes", "one class"])
def checkpoint(request, trained, dataset, tmp_path_factory):
    """A folder with a checkpoint, its reference, an honest export (`honest`) and those that are lies."""
    folder = tmp_path_factory.mktemp("parity")
    state = state_of(trained / "model.pdparams")
    if request.param == "one class":
        state[f"{LAST}._batch_norm.bias"][0] += 10
    saved(state, folder / "model.pdparams")
    done = stages.evaluate(folder, dataset)
    assert done.returncode == 0, done.stderr
    exported(folder / "model.pdparams", folder / "honest")
    for lie in (scaled, swapped, dropped):
        changed = {name: value.copy() for name, value in state.items()}
        lie(changed)
        exported(saved(changed, folder / f"{lie.__name__}.pdparams"), folder / lie.__name__)
    shutil.copytree(folder / "honest", folder / "unnormalised")
    deploy = yaml.safe_load((folder / "honest/deploy.yaml").read_text())
    transforms = deploy["Deploy"]["transforms"]
    deploy["Deploy"]["transforms"] = [item for item in transforms if item["type"] != "Normalize"]
    assert len(deploy["Deploy"]["transforms"]) == len(transforms) - 1
    (folder / "unnormalised/deploy.yaml").write_text(yaml.safe_dump(deploy))
    return folder, request.param == "one class"


def cell(folder, dataset, tmp_path, engine, export="honest", **asked):
    request = replace(REQUEST, engine=engine, **asked)
    files = inference.Files(
        folder / export, dataset, folder / "reference", tmp_path / "cell.log", tmp_path / "predictions"
    )
    return inference.infer(request, files, "model")


def gates(result):
    return {gate["name"]: gate for gate in result.gates}


@pytest.mark.parametrize("engine", engines.on("cpu"))
def test_an_honest_engine_gives_the_checkpoints_logits(checkpoint, dataset, tmp_path, engine):
    folder, flat = checkpoint
    result = cell(folder, dataset, tmp_path, engine)
    found, told = gates(result), result.metrics["logits"]
    assert proof.broken(result.gates) == []
    assert found["pixel_agreement"]["weak"] is flat and found["logits_l2"]["weak"] is False
    assert told["images"] == 2 and told["effective"] == {"device": "cpu", "engine": engine, "precision": "fp32"}
    assert told["evidence"] and told["worst_images"][0]["image"] in [
        path.name for path in (tmp_path / "predictions").iterdir()
    ]
    # Far from both: rounding is a tenth of what is allowed, and an answer without an image in it a thousand times that.
    assert result.metrics["logits_l2"] < 2e-6 and told["constant_l2"] > 0.02
    shown = Concluded({"status": "passed", "metrics": {**result.metrics, "gates": result.gates}})
    assert not shown.weak


@pytest.mark.parametrize("engine", engines.on("cpu"))
@pytest.mark.parametrize("lie", LIES)
def test_another_model_is_red_in_every_engine(checkpoint, dataset, tmp_path, engine, lie):
    folder, flat = checkpoint
    result = cell(folder, dataset, tmp_path, engine, lie)
    found = gates(result)
    assert found["logits_l2"]["holds"] is False, (result.metrics["logits_l2"], result.metrics["pixel_agreement"])
    assert found["logits_l2"]["sentence"] in proof.broken(result.gates)
    assert found["logits_gap"]["holds"], "it is one model, and another one than the checkpoint"
    if flat and lie in ("scaled", "dropped"):
        assert found["pixel_agreement"]["holds"], "what label maps do not show"


@pytest.mark.parametrize("engine", engines.on("cpu"))
def test_an_engine_that_gives_one_class_and_no_logits_is_caught_by_these(
    checkpoint, dataset, tmp_path, engine, monkeypatch
):
    folder, flat = checkpoint
    kind = library.of(engine)
    honest = kind.run
    monkeypatch.setattr(kind, "run", lambda self, batch: np.zeros_like(honest(self, batch)))
    monkeypatch.setattr(kind, "logits", lambda self, batch: np.zeros((1, 2, *batch.shape[2:]), np.float32))
    found = gates(cell(folder, dataset, tmp_path, engine))
    assert found["pixel_agreement"]["holds"] is flat is found["pixel_agreement"]["weak"]
    assert found["logits_l2"]["value"] == 1 and not found["logits_l2"]["holds"]


def test_label_maps_of_another_model_than_the_logits_are_caught(checkpoint, dataset, tmp_path, monkeypatch):
    folder, _ = checkpoint
    for engine in ("onnxruntime", "native"):
        kind = library.of(engine)
        honest = kind.run
        monkeypatch.setattr(kind, "run", lambda self, batch, honest=honest: 1 - honest(self, batch))
    gap = gates(cell(folder, dataset, tmp_path, "onnxruntime"))["logits_gap"]
    assert not gap["holds"] and "label maps and logits are to be of one model" in gap["sentence"]
    (tmp_path / "again").mkdir()
    with pytest.raises(StageError, match="what its label maps are the argmax of cannot be seen: 1 tensors"):
        cell(folder, dataset, tmp_path / "again", "native")


@pytest.mark.parametrize("engine", engines.on("cpu"))
def test_a_batch_that_is_filled_up_counts_each_image_once(checkpoint, dataset, tmp_path, engine):
    folder, _ = checkpoint
    result = cell(folder, dataset, tmp_path, engine, batch_size=3)
    assert proof.broken(result.gates) == [] and result.metrics["logits"]["images"] == 2


class Repeating:
    """In place of an engine and of what feeds it: logits are the reference's for the first image alone."""

    def batch(self, paths):
        return [path.name for path in paths]

    def logits(self, names):
        return np.stack([np.full((2, 4, 4), 1.0 + (name != "a.jpg"), np.float32) for name in names])

    def observe(self, batch):
        return {}, {}


def test_logits_of_each_image_are_compared_though_one_is_listed_again_before_it(tmp_path):
    names = [layouts.label_map(name) for name in ("a.jpg", "b.jpg")]
    for name in names:
        place = logits.file_of(tmp_path, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        np.save(place, np.ones((2, 4, 4), np.float32))
        write_label(tmp_path / name, np.zeros((4, 4), np.uint8))
    batches = [[(name, None)] for name in ("a.jpg", "a.jpg", "b.jpg", "c.jpg")]
    there = (Repeating(), Repeating(), tmp_path)
    found = inference._parity(*there, batches, names, tmp_path, tmp_path)
    assert found["logits"]["images"] == 2 and found["logits_l2"] == 1, "the second image is twice as large"
    with pytest.raises(StageError, match=r"has logits of b\.png, and the list that is run on has no such image"):
        inference._parity(*there, batches[:2], names, tmp_path, tmp_path)


def test_a_reference_without_logits_cannot_be_held_to(checkpoint, dataset, tmp_path):
    folder, _ = checkpoint
    shutil.copytree(folder / "reference", tmp_path / "reference")
    shutil.copytree(folder / "honest", tmp_path / "honest")
    path = tmp_path / "reference" / metrics.REFERENCE_SUMMARY
    told = json.loads(path.read_text())
    name = told["logits"]["images"][0]
    assert told["logits"]["bound"] is False and len(told["logits"]["images"]) == 2
    array = logits.read(tmp_path / "reference", name)
    for content in (array[0], array.astype(np.float64)):
        np.save(logits.file_of(tmp_path / "reference", name), content)
        with pytest.raises(StageError, match=r"no logits; evaluate the checkpoint again"):
            logits.read(tmp_path / "reference", name)
    whole = logits.file_of(folder / "reference", name).read_bytes()
    for spoiled in (b"", b"no array", whole[:-1]):
        logits.file_of(tmp_path / "reference", name).write_bytes(spoiled)
        with pytest.raises(StageError, match=r"cannot be read: .*; evaluate the checkpoint again"):
            logits.read(tmp_path / "reference", name)
    path.write_text(json.dumps({key: value for key, value in told.items() if key != "logits"}))
    with pytest.raises(StageError, match=r"holds no logits of its checkpoint.*evaluate it again"):
        cell(tmp_path, dataset, tmp_path, "onnxruntime")


# -- what is kept, and what is worked out ------------------------------------------------------


class Tensor(np.ndarray):
    """What `Store` takes."""

    def numpy(self):
        return np.asarray(self)


def test_logits_are_kept_of_the_first_images_that_fit(tmp_path):
    one = np.zeros((2, 256, 256), np.float32).view(Tensor)  # half a MiB

    def told(images, megabytes, names=("a.png", "a.png", "b.png", "c.png")):
        folder = tmp_path / f"{images} {megabytes}"
        folder.mkdir()
        store = logits.Store(folder, images, megabytes)
        for name in names:
            store.offer(name, one, np.zeros((1, 3, 4, 4), np.float32))
        found = store.told()
        assert sorted(path.name for path in folder.iterdir()) == [f"{name[0]}.npy" for name in found["images"]]
        assert list(store.fed) == found["images"]
        return found

    assert told(8, 100) == {"images": ["a.png", "b.png", "c.png"], "megabytes": 1.5, "bound": False}
    assert told(2, 100) == {"images": ["a.png", "b.png"], "megabytes": 1.0, "bound": False}
    assert told(8, 1.2) == {"images": ["a.png", "b.png"], "megabytes": 1.0, "bound": True}
    assert told(8, 0.1) == {"images": ["a.png"], "megabytes": 0.5, "bound": True}
    assert told(0, 100) == {"images": [], "megabytes": 0.0, "bound": False}


# -- what rounding explains --------------------------------------------------------------------


def network(gain):
    """Two classes that are what remains of `gain` of a convolution less `gain` of nearly the same."""
    import paddle

    class Difference(paddle.nn.Layer):
        def __init__(self):
            super().__init__()
            self.one, self.other = (paddle.nn.Conv2D(3, 2, 3, padding=1) for _ in range(2))
            self.other.set_state_dict(self.one.state_dict())

        def forward(self, image):
            return [self.one(image) * (gain + 1) - self.other(image) * gain]

    paddle.seed(3)
    made = Difference()
    made.eval()
    return made


def rounding_of(gain, folder):
    import paddle

    model = network(gain)
    before = {name: value.numpy().tobytes() for name, value in model.state_dict().items()}
    folder.mkdir()
    store = logits.Store(folder, 2, 1)
    for number in range(2):
        fed = np.random.default_rng(number).normal(size=(1, 3, 16, 16)).astype(np.float32)
        store.offer(f"{number}.png", model(paddle.to_tensor(fed))[0][0], fed)
    found = logits.rounding(model, store, folder)
    assert {name: value.numpy().tobytes() for name, value in model.state_dict().items()} == before, "weights are back"
    return found


def test_rounding_is_what_one_unit_in_the_last_place_comes_to(tmp_path):
    """A network that magnifies it has as much more of it."""
    plain, magnified = rounding_of(0, tmp_path / "plain"), rounding_of(1000, tmp_path / "magnified")
    assert 1e-9 < plain["l2"] < 1e-6 and 1e-9 < plain["peak"] < 1e-6
    assert 300 * plain["l2"] < magnified["l2"] < 3000 * plain["l2"]


def test_weights_are_back_also_where_the_model_fails(tmp_path):
    model = network(0)
    before = model.one.weight.numpy().tobytes()
    store = logits.Store(tmp_path, 1, 1)
    store.fed["a.png"] = np.zeros((1, 3, 4, 4), np.float32)
    with pytest.raises(StageError, match="cannot be read"):
        logits.rounding(model, store, tmp_path)
    assert model.one.weight.numpy().tobytes() == before


def test_what_rounding_explains_is_no_fault_and_more_is():
    def judged(off, rounding, max_l2=2e-5):
        told = {"images": 1, "worst_images": [{"image": "a"}], "constant_l2": 1, "constant_peak": 1}
        numbers = {"logits_l2": off, "logits_peak": 0.0, "logits_gap": 0.0, "logits": told}
        return parity.judge(max_l2, 5e-5, numbers, rounding, 8)[0]

    assert not judged(1e-4, None)["holds"] and not judged(1e-4, {"l2": 1e-6, "peak": 1e-6})["holds"]
    explained = judged(1e-4, {"l2": 2e-5, "peak": 1e-6})
    assert explained["holds"] and explained["threshold"] == 8 * 2e-5 and not explained["weak"]
    more = judged(2e-4, {"l2": 2e-5, "peak": 1e-6})
    assert not more["holds"] and "(8 times what rounding moves them by)" in more["sentence"]
    vague = judged(1e-2, {"l2": 5e-3, "peak": None})
    assert vague["holds"] and vague["weak"] and "so this says little" in vague["sentence"]
    assert judged(1e-2, {"l2": None, "peak": None})["threshold"] == 2e-5
    assert not judged(0.01, {"l2": 1e-6, "peak": 0}, max_l2=0.4)["weak"], "what is asked is no fault of rounding"


RIGHT = np.stack([np.full((2, 2), 3, np.float32), np.array([[0, 1], [2, 4]], np.float32)])


def test_errors_are_of_the_worst_pixel_and_over_all():
    label = RIGHT.argmax(axis=0)
    same = parity.compare("a", RIGHT, RIGHT, label)
    flat = np.abs(RIGHT[1] - 1.75)
    norm = np.linalg.norm(RIGHT)
    assert (same.l2, same.peak, same.gap) == (0, 0, 0)
    assert same.constant_l2 == pytest.approx(np.linalg.norm(flat) / norm)
    assert same.constant_peak == pytest.approx(flat.max() / 4)
    off = RIGHT.copy()
    off[1, 0, 0] += 2
    found = parity.compare("a", off, RIGHT, label)
    assert (found.l2, found.peak, found.gap) == (pytest.approx(2 / norm), pytest.approx(2 / 4), 0)
    assert parity.compare("a", RIGHT, RIGHT, 1 - label).gap == pytest.approx(3 / 4)
    for wrong in (RIGHT[:1], RIGHT[:, :1]):
        with pytest.raises(StageError, match="a: the engine gives logits of"):
            parity.compare("a", wrong, RIGHT, label)
    with pytest.raises(StageError, match="a: the engine gives a class that"):
        parity.compare("a", RIGHT, RIGHT, label + 1)


@pytest.mark.parametrize(
    ("own", "right", "holds"),
    [(np.full_like(RIGHT, np.nan), RIGHT, False), (RIGHT * 0, RIGHT * 0, True), (RIGHT, RIGHT * 0, False)],
)
def test_what_is_no_number_does_not_hold(own, right, holds):
    found = parity.compare("a", own, right, right.argmax(axis=0))
    numbers = parity.measured([parity.compare("b", RIGHT, RIGHT, RIGHT.argmax(axis=0)), found])
    (l2, peak, _) = parity.judge(REQUEST.max_logits_l2, REQUEST.max_logits_peak, numbers)
    assert (l2["holds"], peak["holds"]) == (holds, holds)
    assert "no number" in l2["sentence"] or holds
    assert numbers["logits"]["worst_images"][0]["image"] == ("b" if holds else "a")


@pytest.mark.parametrize(
    ("l2", "peak", "weak"), [(1e-6, 1e-6, True), (1e-6, 1, False), (1, 1e-6, False), (1, 1, False)]
)
def test_logits_say_little_where_constant_ones_would_pass(l2, peak, weak):
    told = {"images": 1, "worst_images": [{"image": "a"}], "constant_l2": l2, "constant_peak": peak}
    made = parity.judge(
        REQUEST.max_logits_l2,
        REQUEST.max_logits_peak,
        {"logits_l2": 0.0, "logits_peak": 0.0, "logits_gap": 0.0, "logits": told},
    )
    assert made[0]["weak"] is weak and ("constant over each image would pass as well" in made[0]["sentence"]) is weak
    agreement = {"name": "pixel_agreement", "weak": True}
    assert Concluded({"status": "passed", "metrics": {"gates": [agreement, *made]}}).weak is weak
    strong = {"name": "pixel_agreement", "weak": False}
    assert not Concluded({"status": "passed", "metrics": {"gates": [strong, *made]}}).weak


def test_bfloat16_is_the_upper_half_of_a_float32():
    numbers = np.array([1.5, -0.25, 3.0e38, np.nan], np.float32)
    bits = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    told = paddle_inference.float32_of(bits, "paddle.bfloat16")
    assert np.array_equal(told[:2], [1.5, -0.25]) and told[2] == pytest.approx(3.0e38, rel=0.01) and np.isnan(told[3])
    assert np.array_equal(paddle_inference.float32_of(numbers[:2], "paddle.float32"), numbers[:2])


def test_a_model_that_gives_no_argmax_has_no_logits(tmp_path):
    import onnx

    given = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2, 2, 2])
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 2, 2, 2])
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "g", [given], [result])), tmp_path / "m.onnx")
    with pytest.raises(StageError, match=r"m\.onnx: what it gives is no argmax"):
        library_onnx.without_argmax(tmp_path / "m.onnx")
