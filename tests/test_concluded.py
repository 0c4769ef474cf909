"""A cell of the conclusions as a view: what it holds, what follows from that, and what it is called."""

import json

import pytest

from segcert import statuses
from segcert.concluded import Concluded
from segcert.conclusions import Conclusions

FORMS = ("short", "full", "engine", "column")
CPU = {"device": "cpu", "engine": "onednn", "precision": "bf16", "threads": 2, "batch_size": 4}
GPU = {"device": "gpu", "engine": "tensorrt", "precision": "fp16", "batch_size": 4}
AMP = {"device": "gpu", "precision": "amp", "level": "O1", "dtype": "float16"}


def view(stage="infer", requested=CPU, **more):
    base = {"stage": stage, "model": "m", "train_cell": "single_fp32", "cell": "name", "status": "passed"}
    return Concluded({**base, "reason": None, "requested": requested, **more})


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        (view(), ("onednn bf16 · 2T", "cpu onednn bf16 · 2T · batch 4", "onednn bf16", "onednn bf16, 2 thr., batch 4")),
        (view(requested=GPU), ("tensorrt fp16", "gpu tensorrt fp16 · batch 4", "GPU tensorrt fp16",
                               "tensorrt fp16, gpu, batch 4")),
        (view("train", AMP), ("name", "name", "name", "train single_fp32")),
        (view("data", {}, model=None, train_cell=None), ("name", "name", "name", "data")),
    ],
    ids=["cpu", "gpu", "training", "data"],
)  # fmt: skip
def test_what_a_cell_is_called(cell, names):
    assert tuple(cell.label(form) for form in FORMS) == names


def test_a_full_name_tells_a_cell_from_all_others_of_its_checkpoint():
    asked = [{**CPU, key: other} for key, other in (("device", "gpu"), ("engine", "native"), ("precision", "fp32"),
                                                    ("threads", 1), ("batch_size", 1))]  # fmt: skip
    assert len({view(requested=one).label("full") for one in (CPU, *asked)}) == 6


@pytest.mark.parametrize(
    ("requested", "precision"),
    [(AMP, "AMP O1 float16"), ({"precision": "fp32"}, "fp32"), ({"what": "distillation"}, "distillation"),
     ({"weights": "w"}, "released weights")],
)  # fmt: skip
def test_its_precision_or_what_stands_for_it(requested, precision):
    assert view("train", requested).precision == precision


def test_its_place_names_no_word_twice():
    assert view().place == ["single_fp32", "infer", "name"]
    assert view("train", cell="single_fp32").place == ["single_fp32", "train"]
    assert view("data", {}, train_cell=None).place == ["data", "name"]


def test_what_only_a_run_can_know_is_empty_where_there_was_none():
    for cell in (view(), view(metrics=None, effective=None, env=None), view(metrics={"inference_ms": None})):
        assert (cell.effective, cell.env, cell.timing, cell.p50, cell.gates, cell.weak) == ({}, {}, {}, None, [], False)
    ran = view(
        metrics={"inference_ms": {"p50": 2.5, "p95": 3.0}, "gates": [{"name": "a"}, "no gate"]}, env={"cpu": "x"}
    )
    assert (ran.p50, ran.timing["p95"], ran.gates, ran.env["cpu"]) == (2.5, 3.0, [{"name": "a"}], "x")


@pytest.mark.parametrize("status", [status.name for status in statuses.ALL])
def test_only_one_that_passed_can_be_weak(status):
    """What holds of an engine that gives one class everywhere says nothing; of one that failed there is more to say."""
    gates = [{"name": "a"}, {"name": "pixel_agreement", "weak": True}, {"name": "logits_l2", "weak": False}]
    assert view(status=status, metrics={"gates": gates[:2]}).weak == (status == "passed")
    assert not view(status=status, metrics={"gates": gates}).weak, "its logits say enough"
    assert not view(status=status, metrics={"gates": gates[:1]}).weak
    assert view(status=status).status is statuses.by_name(status)


def test_a_status_that_there_is_not_is_refused_when_it_is_asked_for():
    with pytest.raises(ValueError, match="unknown status 'flaky'"):
        view(status="flaky").status  # noqa: B018


def test_the_conclusions_give_back_what_they_were_given():
    content = {**view(), "further": [1]}
    found = Conclusions("smoke", [content])
    assert found.cells[0] == content and dict(found.cells[0]) == content and len(found.cells[0]) == len(content)
    assert json.loads(json.dumps(found.as_json()))["cells"] == [content]
    assert Conclusions("smoke", found.cells) == found and found != Conclusions("smoke", [{**content, "further": []}])
    with pytest.raises(AttributeError):
        found.cells[0].content = {}
