"""A request goes through a command line and comes back as it was, and a record holds what it asks for."""

import dataclasses
import importlib
import json
import sys
import types
import typing

import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segcert import cells, code, own_scripts, sections, settings, stages
from segcert.machine import Hardware
from segcert.requests.evaluate import Evaluate
from segcert.requests.export import Export
from segcert.requests.infer import Infer
from segcert.requests.quantise import Quantise
from segcert.requests.request import Option, Request, Size
from segcert.requests.scripts import RunScript
from segcert.requests.train import Train
from segcert.requests.weights import Weights
from segcert.stage import entry
from segcert.stage.plan import parser

# Rule -> the script that it starts and its request; every stage of the cell table has one.
SCRIPTS = {
    "train": ("train", Train),
    "take_released_weights": ("fetch_weights", Weights),
    "evaluate": ("evaluate", Evaluate),
    "export": ("export", Export),
    "quantise": ("quantise", Quantise),
    "infer": ("infer", Infer),
    "run_paddleseg": ("run_paddleseg", RunScript),
}
KINDS = [kind for _, kind in SCRIPTS.values()]
ALWAYS = ["--cell", "c", "--record", "r.json", "--log", "l"]


def parsed(kind: type[Request], words: list[str]) -> Request:
    """What a script with the options of every stage makes of a command line."""
    options = parser("a stage")
    kind.add_to(options)
    return kind.of(options.parse_args([*ALWAYS, *words]))


def values(annotation: typing.Any) -> st.SearchStrategy[typing.Any]:
    """Values of a field, as its annotation says."""
    option = Option()
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, option = typing.get_args(annotation)
    if option.choices:
        found: st.SearchStrategy[typing.Any] = st.sampled_from(option.choices)
        return found | st.none() if annotation == str | None else found
    if isinstance(annotation, types.UnionType):
        return st.one_of(*(st.none() if part is types.NoneType else values(part) for part in annotation.__args__))
    if typing.get_origin(annotation) is tuple and ... in typing.get_args(annotation):
        return st.lists(values(typing.get_args(annotation)[0]), min_size=1, max_size=4).map(tuple)
    if typing.get_origin(annotation) is tuple:
        return st.tuples(*map(values, typing.get_args(annotation)))
    return {
        int: st.integers(1, 10**9),
        float: st.floats(0, 10**9, allow_nan=False) | st.integers(0, 100),
        str: st.from_regex(r"[0-9a-f]{16}", fullmatch=True),
    }[annotation]


@st.composite
def made(draw: st.DrawFn, kind: type[Request]) -> Request:
    hints = typing.get_type_hints(kind, include_extras=True)
    drawn = {field.name: draw(values(hints[field.name])) for field in dataclasses.fields(kind)}
    if kind is Train and drawn["precision"] == "amp":
        drawn |= {"level": drawn["level"] or "O1", "dtype": drawn["dtype"] or "float16"}
    elif kind is Train:
        drawn |= {"level": None, "dtype": None}
    elif kind is Evaluate and drawn["published"]:
        drawn["published"] = json.dumps({"dataset": drawn["published"]})
    return kind(**drawn)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not Weights], ids=lambda kind: kind.__name__)
def test_a_request_comes_back_from_the_command_line_as_it_was(kind):
    @hypothesis_settings(max_examples=200, deadline=None)
    @given(request=made(kind))
    def check(request):
        words = request.options()
        assert all(isinstance(word, str) and word for word in words), "Snakemake leaves empty words out of a command"
        assert parsed(kind, words) == request
        told, planned = (json.dumps(one.requested) for one in (parsed(kind, words), request))
        assert told == planned, "the record and the conclusions say it in the same JSON"

    check()


@hypothesis_settings(max_examples=20, deadline=None)
@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fullmatch=True))
def test_weights_are_named_by_the_rule(name):
    assert parsed(Weights, ["--weights-name", name]) == Weights(weights=name)
    assert Weights(weights=name).options() == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_request_says_what_a_record_holds(kind):
    """Every field is an option; what is requested is a field, or a constant of the class."""
    names = {field.name for field in dataclasses.fields(kind)}
    assert len(set(kind.REQUESTED)) == len(kind.REQUESTED) > 0
    for name in kind.REQUESTED:
        assert name in names or name in vars(kind), name
    assert dataclasses.fields(kind) and kind.__dataclass_params__.frozen


def test_a_size_is_a_list_in_a_record():
    """As JSON brings it back: the supervisor holds the two against each other."""
    assert Export(input_size=(64, 32)).requested["input_size"] == [64, 32]


@pytest.mark.parametrize(
    "asked",
    [{"precision": "amp"}, {"level": "O1"}, {"precision": "amp", "level": "O1"}, {"level": "O1", "dtype": "float16"}],
)
def test_mixed_precision_is_asked_for_whole(asked):
    with pytest.raises(ValueError, match="--precision amp goes with --amp-level and --amp-dtype"):
        Train(iters=1, batch_size=1, **asked)


def test_a_field_is_written_once():
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class Prune(Request):
        REQUESTED = ("method", "size")

        images: int
        method: typing.Annotated[str, Option("how", flag="--by", choices=("copy", "count"))] = "copy"
        size: Size = None

    words = ["--images", "3", "--by", "count", "--size", "4", "5"]
    request = parsed(Prune, words)
    assert request == Prune(images=3, method="count", size=(4, 5)) and request.options() == words
    assert request.requested == {"method": "count", "size": [4, 5]}
    assert parsed(Prune, ["--images", "3"]) == Prune(images=3)
    for wrong in ([], ["--images", "x"], ["--images", "3", "--by", "moon"], ["--images", "3", "--size", "4"]):
        with pytest.raises(SystemExit):
            parsed(Prune, wrong)


@pytest.fixture
def tables():
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    modes = ("smoke", "lite_train_lite_infer", "whole_train_whole_infer", "whole_infer", "gpu_evidence")
    made = [(mode, settings.resolve(sections.merge(config, {"mode": mode}), {"mode": mode}, "c")) for mode in modes]
    scripts = dict.fromkeys(own_scripts.FILES, "0")  # as of a checkout
    return [
        cells.CellTable(resolved, Hardware(gpus, "auto", bf16=True), {}, scripts)
        for _, resolved in made
        for gpus in (0, 8)
    ]


def test_each_script_asks_for_what_the_table_asks_for(tables, monkeypatch):
    """The record's `requested` is the table's: otherwise the conclusions would call every record stale."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    plans = {}
    monkeypatch.setattr(entry, "run", lambda args, plan: plans.update(latest=plan) or 0)
    files = {
        "train": ["--config", "c", "--dataset", "d", "--checkpoint", "x", "--history", "h"],
        "take_released_weights": ["--stage", "train", "--source", "path", "--location", "f", "--weights", "w"],
        "evaluate": ["--config", "c", "--dataset", "d", "--checkpoint", "x", "--reference", "r"],
        "export": ["--config", "c", "--checkpoint", "x", "--export", "e"],
        "run_paddleseg": [
            *("--config", "c", "--dataset", "d", "--checkpoint", "x", "--history", "h", "--reference", "r"),
            *("--export", "e", "--made", "m", "--paddleseg", "p"),
        ],
        "quantise": ["--export", "e", "--dataset", "d", "--quantised", "q"],
        "infer": ["--export", "e", "--dataset", "d", "--reference", "r", "--benchmark-log", "b", "--predictions", "p"],
    }
    seen = set()
    for cell in (cell for table in tables for cell in table.planned()):
        name, kind = SCRIPTS[cell.definition.rule]
        assert type(cell.request) is kind
        extra = files[cell.definition.rule]
        if kind is Weights:
            extra = [*extra, "--weights-name", cell.request.weights]
        else:
            assert parsed(kind, cell.request.options()) == cell.request
        monkeypatch.setattr(sys, "argv", [name, *cell.options, *extra, "--record", "r.json", "--log", "l"])
        importlib.import_module(name).main()
        assert plans["latest"].requested == cell.requested == cell.request.requested, cell.record
        # Only those cells have them that are asked for it.
        of_some = ("output_op", "streams", "server_p99_ms", "soak", "shapes", "size")
        some = of_some if kind is Infer else kind.IF_ASKED
        assert [name for name in kind.REQUESTED if name not in some or name in cell.requested] == [*cell.requested]
        assert plans["latest"].stage == cell.stage
        seen.add(cell.definition)
    assert seen == set(stages.ALL) - {stages.DATA}


def test_an_option_of_one_stage_makes_no_other_stale():
    """What a job's code is: an edit of what inference may be asked for must not train again."""
    for name, kind in SCRIPTS.values():
        own = {file.rpartition("/")[2] for file in code.modules(ROOT / f"scripts/{name}.py") if "/requests/" in file}
        of_kind = f"{kind.__module__.rpartition('.')[2]}.py"
        others = {"train.py"} if name == "run_paddleseg" else set()  # it takes training steps of its own beside theirs
        assert own == {"__init__.py", "request.py", of_kind, *others}
