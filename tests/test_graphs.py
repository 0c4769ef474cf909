"""A training as a static graph: what proves it, and what must not pass for one.

A small model is trained by `training.train` itself; each lie is planted where a Paddle, a PaddleSeg or an edit of one
could go back to Python.
"""

import contextlib
import csv
import re
from unittest import mock

import numpy as np
import paddle
import pytest
import yaml
from conftest import ROOT
from paddle.utils import unique_name
from paddleseg.cvlibs import manager

from segcert.compute import graphs, losses, training
from segcert.compute.training import Files, Kept
from segcert.requests.train import Train
from segcert.stage import judging, reasons
from segcert.stage.judging import Exit
from segcert.stage.worker import Result

SIZE, ITERS = [64, 48], 5


class Killed(BaseException):
    """In the place of a signal."""


class Part(paddle.nn.Layer):
    def __init__(self, classes):
        super().__init__()
        self.layer = paddle.nn.Conv2D(4, classes, 1)

    def forward(self, x):
        return self.layer(x)


@manager.MODELS.add_component
class Small(paddle.nn.Layer):
    """Convolutions of three kinds, and chance."""

    def __init__(self, num_classes, pretrained=None):
        super().__init__()
        self.first = paddle.nn.Conv2D(3, 4, 3, padding=1)
        self.norm = paddle.nn.BatchNorm2D(4)
        self.deep = paddle.nn.Conv2D(4, 4, 3, padding=1, groups=4)
        self.up = paddle.nn.Conv2DTranspose(4, 4, 3, padding=1)
        self.last = Part(num_classes)

    def forward(self, x):
        x = paddle.nn.functional.relu(self.norm(self.first(x)))
        return [self.last(self.up(paddle.nn.functional.dropout(self.deep(x), 0.2, training=self.training)))]


@manager.MODELS.add_component
class Branches(Small):
    """A convolution in each branch of what its values decide."""

    def forward(self, x):
        y = self.norm(self.first(x))
        if x.mean() > 0:
            return [self.last(self.deep(y))]
        return [self.last(self.up(y))]


@manager.MODELS.add_component
class ToNumbers(Small):
    """What no program can do: a number of NumPy's that depends on the image."""

    def forward(self, x):
        return super().forward(x * np.float32(x.mean()))


@manager.LOSSES.add_component
class Called(losses.TypedCrossEntropyLoss):
    """Does what a test wants at one of its calls."""

    calls, at, then = 0, 0, None

    def forward(self, logit, label):
        type(self).calls += 1
        if self.calls == self.at:
            type(self).then()
        return super().forward(logit, label)


def kill():
    raise Killed


def train(folder, dataset, graph, model="Small", *, at=0, then=None, done=0, every=0, size=None):
    """`training.train`, and the request."""
    folder.mkdir(exist_ok=True)
    content = yaml.safe_load((ROOT / "config/models/pp_humanseg_lite.yml").read_text())
    content["_base_"] = str(ROOT / "config/models" / content["_base_"])
    content["train_dataset"]["transforms"] = [{"type": "Resize", "target_size": size or SIZE}, {"type": "Normalize"}]
    content["loss"] = {"types": [{"type": "Called"}], "coef": [1]}
    content["model"] = {"type": model, "num_classes": 2, "pretrained": None}
    path = folder / "model.yml"
    path.write_text(yaml.safe_dump(content))
    Called.calls, Called.at, Called.then = done, at, staticmethod(then)
    request = Train(graph=graph, iters=ITERS, batch_size=2, snapshot_iters=every)
    files = Files(str(path), str(dataset), folder / "model.pdparams", folder / "history.csv")
    with unique_name.guard():
        result = training.train(request, files, Kept(folder / "snapshots", "one") if every else None)
    return request, result


def judged(request, result):
    outcome = judging.judge("train", request.requested, result, Exit(0), None)
    return outcome.status.name, outcome.reason


def history(folder):
    with (folder / "history.csv").open() as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


@pytest.fixture(scope="module")
def twins(tmp_path_factory, dataset):
    """Graph -> (folder, request, result) of two trainings that differ in nothing else."""
    base = tmp_path_factory.mktemp("twins")
    return {graph: (base / graph, *train(base / graph, dataset, graph)) for graph in ("dynamic", "to_static")}


def test_a_static_graph_trains_as_its_dynamic_twin_does(twins):
    (plain, *_), (static, *_) = twins["dynamic"], twins["to_static"]
    np.testing.assert_allclose(history(static)[0], history(plain)[0], rtol=1e-6)
    np.testing.assert_allclose(history(static), history(plain), rtol=1e-3)
    assert len(set(history(static))) == ITERS
    ours, theirs = (paddle.load(str(folder / "model.pdparams")) for folder in (static, plain))
    assert ours.keys() == theirs.keys(), "a checkpoint is that of the model, however it was run"


def test_each_is_seen_as_what_it_is(twins):
    for graph, (_, request, result) in twins.items():
        assert result.effective["graph"] == graph and judged(request, result) == ("passed", None)
    assert "graph" not in twins["dynamic"][2].metrics
    seen = twins["to_static"][2].metrics["graph"]
    assert seen.pop("first_step_s") > 0
    assert seen == {
        "programs": 1, "input_forms": 1, "convolutions": 4, "convolution_layers": 4, "steps": ITERS,
        "steps_as_program": ITERS, "convolutions_outside": 0,
    }  # fmt: skip


def test_what_was_not_observed_is_not_proved(twins):
    _, request, result = twins["to_static"]
    bare = Result({key: value for key, value in result.effective.items() if key != "graph"}, result.metrics)
    assert judged(request, bare) == ("failed", "not proved: graph was not observed")


# -- lies: what goes back to Python ------------------------------------------------------------------------------------


@contextlib.contextmanager
def converted_by(convert):
    with mock.patch.object(graphs, "convert", convert):
        try:
            yield
        finally:
            paddle.jit.enable_to_static(True)


def off(model):
    paddle.jit.enable_to_static(False)
    paddle.jit.to_static(model, full_graph=True)


def translator_off(model):
    paddle.jit.to_static(model, full_graph=True)
    paddle.jit.dy2static.program_translator.ProgramTranslator().enable(False)


def may_fall_back(model):
    paddle.jit.to_static(model, full_graph=False)


def marked_and_may_fall_back(model):
    model.forward = paddle.jit.not_to_static(model.forward)
    paddle.jit.to_static(model, full_graph=False)


def rolled_back(model):
    paddle.jit.to_static(model, full_graph=True)
    model.forward.rollback()


def a_part(model):
    paddle.jit.to_static(model.last, full_graph=True)


def not_all(model):
    """A frozen convolution, computed before the program that gets what comes of it."""
    frozen = paddle.nn.Conv2D(3, 3, 1)

    def before(_layer, inputs):
        with paddle.no_grad():
            return (frozen(inputs[0]),)

    model.add_sublayer("frozen", frozen)
    paddle.jit.to_static(model, full_graph=True)
    model.register_forward_pre_hook(before)


LIES = [off, translator_off, may_fall_back, marked_and_may_fall_back, rolled_back, a_part]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_going_back_to_python_is_no_static_graph(tmp_path, dataset, lie):
    with converted_by(lie):
        request, result = train(tmp_path, dataset, "to_static")
    seen = result.effective["graph"]
    assert seen == ("partly to_static" if lie is a_part else "dynamic"), result.metrics["graph"]
    assert judged(request, result) == ("failed", f"graph: to_static requested, {seen} observed")


def test_going_back_later_is_no_static_graph(tmp_path, dataset):
    with converted_by(graphs.convert):
        request, result = train(tmp_path, dataset, "to_static", at=3, then=lambda: paddle.jit.enable_to_static(False))
    assert judged(request, result) == ("failed", "graph: to_static requested, partly to_static observed")
    seen = result.metrics["graph"]
    assert (seen["programs"], seen["steps"], seen["steps_as_program"]) == (1, ITERS, 3)
    assert seen["convolutions_outside"] == 4


def test_a_program_that_may_break_off_is_no_static_graph(tmp_path, dataset):
    with converted_by(may_fall_back):
        request, result = train(tmp_path, dataset, "to_static", "ToNumbers")
    assert judged(request, result)[0] == "failed"


def test_a_frozen_layer_outside_of_the_program_is_seen(tmp_path):
    model = Small(2)
    not_all(model)
    probe = graphs.GraphProbe(model)
    images = paddle.ones([2, 3, 8, 8])
    loss = model(images)[0].mean()
    probe.look(images, loss)
    assert probe.effective() == "partly to_static" and probe.metrics()["convolutions_outside"] == 1
    probe.remove()


def test_a_program_of_its_own_for_each_form_of_the_images_is_whole(tmp_path):
    model = Small(2)
    probe = graphs.GraphProbe(model)
    graphs.convert(model)
    for size in (8, 8, 16):
        images = paddle.ones([2, 3, size, size])
        probe.look(images, model(images)[0].mean())
    assert probe.effective() == "to_static"
    assert (probe.metrics()["programs"], probe.metrics()["convolutions"]) == (2, 8)


def test_branches_are_looked_into(tmp_path, dataset):
    request, result = train(tmp_path, dataset, "to_static", "Branches")
    assert judged(request, result) == ("passed", None)
    # first, deep and last, up and last: what is in both branches is written twice
    assert result.metrics["graph"]["convolutions"] == result.metrics["graph"]["convolution_layers"] == 5


def test_a_mark_leaves_source_as_it_is_and_not_out_of_the_program(tmp_path, dataset):
    """Paddle converts no source that is marked, and writes what it computes into the one program all the same."""

    def marked(model):
        model.last.forward = paddle.jit.not_to_static(model.last.forward)
        paddle.jit.to_static(model, full_graph=True)

    with converted_by(marked):
        request, result = train(tmp_path, dataset, "to_static")
    assert judged(request, result) == ("passed", None) and result.metrics["graph"]["convolutions"] == 4


def test_what_cannot_be_converted_fails_by_its_last_exception_and_the_models_file(tmp_path, dataset):
    with pytest.raises(ValueError, match="In transformed code") as failed:
        train(tmp_path, dataset, "to_static", "ToNumbers")
    said = r"ValueError: setting an array element with a sequence\. \(test_graphs\.py, line \d+\)"
    assert re.fullmatch(said, reasons.reason(failed.value)), reasons.reason(failed.value)


def test_a_killed_training_goes_on_as_a_static_graph(tmp_path, dataset, twins):
    with pytest.raises(Killed):
        train(tmp_path, dataset, "to_static", at=4, then=kill, every=2)
    request, result = train(tmp_path, dataset, "to_static", done=2, every=2)
    assert result.metrics["resumed_at"] == [2] and judged(request, result) == ("passed", None)
    assert result.metrics["graph"]["steps_as_program"] == ITERS - 2
    folder = twins["to_static"][0]
    np.testing.assert_allclose(history(tmp_path), history(folder), rtol=1e-6)
    ours, theirs = (paddle.load(str(place / "model.pdparams")) for place in (tmp_path, folder))
    for name in ours:
        np.testing.assert_allclose(ours[name].numpy(), theirs[name].numpy(), rtol=1e-5, atol=1e-7, err_msg=name)
