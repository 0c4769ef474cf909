"""Long runs: a process whose memory grows with its batches or iterations is red, and one that is clean is not."""

import dataclasses
from collections import Counter

import numpy as np
import pytest
import stages
import yaml
from conftest import ROOT
from paddle.utils import unique_name

from segcert import cells, proof, sections, settings
from segcert.compute import inference, soak, training
from segcert.compute.engines.onnxruntime import OnnxRuntime
from segcert.errors import ConfigError
from segcert.machine import Hardware
from segcert.requests.infer import Infer
from segcert.requests.train import Train
from segcert.stage import judging
from segcert.stage.judging import Exit

REQUEST = Infer(
    engine="onnxruntime", warmup=1, max_warmup=1, min_samples=2, soak=400, max_growth_mb=5,
    min_agreement=0.999, max_miou_drop=0.001, max_logits_l2=2e-5, max_logits_peak=5e-5,
)  # fmt: skip


@pytest.fixture(scope="module")
def exported(trained):
    done = stages.export(trained)
    assert done.returncode == 0, done.stderr
    return trained


@pytest.fixture
def outcome(exported, dataset, tmp_path):
    def run(**asked):
        request = dataclasses.replace(REQUEST, **asked)
        files = inference.Files(
            exported / "export", dataset, exported / "reference", tmp_path / "log", tmp_path / "made"
        )
        result = inference.infer(request, files, "pp_humanseg_lite")
        return judging.judge("infer", request.requested, result, Exit(0), None)

    return run


def test_an_engine_that_keeps_what_it_gave_is_red(outcome, monkeypatch):
    kept, given = [], OnnxRuntime.run
    more = 64  # label maps a batch, because one alone may find room in what was taken before

    def run(self, batch):
        labels = given(self, batch)
        kept.append(np.repeat(labels, more, axis=0))
        return labels

    monkeypatch.setattr(OnnxRuntime, "run", run)
    found = outcome()
    assert found.status.name == "accuracy-failed" and "its memory grows by" in found.reason
    told = found.result.metrics
    size = kept[0].nbytes / 2**20
    assert 500 * size < told["growth_mb_per_1000"] < 1000 * size * 1.5
    low, high = told["soak"]["growth_ci95"]
    assert low <= told["growth_mb_per_1000"] <= high and told["soak"]["batches"] == 400
    assert "400" in found.reason and "at most 5 is asked" in found.reason


def test_one_that_keeps_nothing_is_not(outcome):
    found = outcome()
    assert found.status.name == "passed", found.reason
    assert found.result.effective["soak"] == 400 and found.result.metrics["soak"]["looks"] == 50
    (gate,) = [gate for gate in found.result.gates if gate["name"] == proof.GROWTH]
    assert gate["value"] == found.result.metrics["growth_mb_per_1000"] <= 5


@pytest.mark.parametrize(
    ("taken", "holds"),
    [
        (lambda number: 100.0, True),
        (lambda number: 100.0 + 20 * (number >= 900), True),  # an allocator takes more at once
        (lambda number: 100.0 + 2 * max(0, number - 880), False),  # a leak that begins late
        (lambda number: 100.0 + 400 * (number // 400), False),  # a staircase
        (lambda number: 100.0 + 1000 * (number > 940), False),  # all at once
        (lambda number: 1000.0 * (number < 600) + 100, True),  # what is given back
    ],
)
def test_what_is_taken_late_or_at_once_is_seen(monkeypatch, taken, holds):
    """Made-up memory of a thousand batches, of which no slope by the median is above the gate."""
    looks, at = soak.Looks("batches", 1000), [0]

    class Process:
        def memory_info(self):
            return type("Memory", (), {"rss": taken(at[0]) * 2**20})

    monkeypatch.setattr(looks, "_process", Process())
    for at[0] in range(1, 1001):
        looks.after(at[0])
    growth, rise = looks.judge(10).gates
    assert (growth["name"], growth["holds"], rise["name"]) == (proof.GROWTH, True, proof.RISE)
    assert rise["holds"] is holds and rise["threshold"] == 64, rise
    assert holds or "higher at the end of the looks" in rise["sentence"]


@pytest.mark.parametrize("growth", [0, 0.03, -0.01])
def test_the_slope_is_that_of_most_of_the_looks(growth):
    """Against noise, a step, and a fifth of the looks that are far off."""
    rng = np.random.default_rng(3)
    places = np.arange(1, 101) * 5
    values = 200 + growth * places + rng.normal(0, 0.01, 100)
    values[50:] += 0.05
    values[::5] += 40
    slope, low, high = soak.theil_sen(places, values)
    assert slope == pytest.approx(growth, abs=0.001) and low <= slope <= high
    assert soak.theil_sen([1, 2, 3], [5, 5, 5]) == (0, 0, 0)


def test_the_interval_of_a_slope_holds_it_in_95_of_100_cases():
    rng = np.random.default_rng(5)
    places = np.arange(40.0)
    held = 0
    for _ in range(400):
        _, low, high = soak.theil_sen(places, 2 * places + rng.normal(0, 1, 40))
        held += low <= 2 <= high
    assert 0.92 <= held / 400 <= 0.98


def table(stage="infer", hardware=None, **asked):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    asked = {"mode": "smoke", "models": ["pp_humanseg_lite"], **asked}
    resolved = settings.resolve(sections.merge(config, asked), asked, "config.yaml")
    hardware = hardware or Hardware(0, "cpu", bf16=True)
    return [cell for cell in cells.CellTable(resolved, hardware).cells if cell.stage == stage]


def test_cells_of_one_stream_have_it_where_it_is_asked_for():
    plain, long = table(), table(infer={"soak": 2000}, gates={"memory_mb_per_1000_batches": 3})
    for one, other in zip(plain, long, strict=True):
        assert one.name == other.name and "soak" not in one.requested
        if "streams" in other.requested or other.requested["device"] == "gpu":
            continue
        assert other.requested == {**one.requested, "soak": 2000}
        asked, shapes = [*one.options], []
        if "size" in one.requested:
            asked, shapes = asked[:-5], asked[-5:]
        assert other.options == [*asked, "--soak", "2000", "--max-growth-mb", "3", *shapes]
    sized = {"sizes": [[96, 96], [64, 64]], "cpu_threads": [1, 2], "batch_sizes": [1, 4], "streams": [1]}
    found = [
        cell for cell in table(infer={"soak": 2000, **sized}) if cell.requested["device"] == "cpu" and cell.planned
    ]
    ways = {(cell.requested["engine"], cell.requested["precision"]) for cell in found}
    long = [cell for cell in found if "soak" in cell.requested]
    seen = [tuple(cell.requested.get(key) for key in ("engine", "precision", "size")) for cell in long]
    of_sizes = [(*way, size) for way in ways for size in ([None] if way[1] == "int8" else [None, [96, 96]])]
    assert sorted(map(str, seen)) == sorted(map(str, of_sizes)), "of each engine one, and one whose sizes change"
    assert {(cell.requested["threads"], cell.requested["batch_size"]) for cell in long} == {(1, 1)}
    # Whichever cell of an engine is the first, by its size or its number of streams, and on a GPU too.
    other = {"sizes": [{"size": [96, 96], "engines": ["openvino"]}, [64, 64]], "streams": [1], "batch_sizes": [1, 8]}
    found = table(hardware=Hardware(1, "gpu", cores=4, bf16=True), infer={"soak": 2000, **other})
    seen = Counter(
        (*(cell.requested[key] for key in ("device", "engine", "precision")), "size" in cell.requested)
        for cell in found
        if "soak" in cell.requested
    )
    assert set(seen.values()) == {1} and ("gpu", "native", "fp32", False) in seen
    assert {engine for _, engine, _, sized in seen if sized} >= {"native", "onnxruntime", "openvino"}
    assert all(cell.requested["batch_size"] == 1 for cell in found if "soak" in cell.requested)
    with pytest.raises(ConfigError, match=r"infer.soak: 100 is refused; allowed: 0, or a number of batches, 1000 at"):
        table(infer={"soak": 100})


def test_batches_that_are_few_are_run_in_turn():
    fed = []
    result = soak.measure(lambda batch: fed.append(int(batch)), [np.int64(1), np.int64(2)], 205, 5)
    assert fed == [1 + number % 2 for number in range(205)] and result.effective == {"soak": 205}
    assert [number for number, _ in result.extra["samples_soak_mb"]] == list(range(104, 206, 2))


# -- trainings --------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """In the place of a signal."""


@pytest.fixture
def train(dataset, tmp_path):
    """Trains pp_humanseg_lite here; what becomes of it."""

    def run(at_step=lambda batch: None, **asked):
        request = Train(batch_size=2, input_size=(128, 96), threads=1, **{"iters": 110, "max_growth_mb": 100, **asked})
        files = training.Files(stages.CONFIG, str(dataset), tmp_path / "m.pdparams", tmp_path / "history.csv")
        kept = training.Kept(tmp_path / "snapshots", "one") if request.snapshot_iters else None
        given = training.step

        def step(*args):
            at_step(args[-1])
            return given(*args)

        with pytest.MonkeyPatch.context() as patch, unique_name.guard():
            patch.setattr(training, "step", step)
            result = training.train(request, files, kept)
        return judging.judge("train", request.requested, result, Exit(0), None)

    return run


def test_a_training_that_keeps_its_batches_is_red(train):
    kept = []
    found = train(kept.append, soak=100)
    assert found.status.name == "accuracy-failed" and "its memory grows by" in found.reason
    assert "MiB in a thousand iterations" in found.reason and "seen over 100); at most 100 is asked" in found.reason
    size = sum(tensor.numpy().nbytes for tensor in (kept[0]["img"], kept[0]["label"])) / 2**20
    assert 1000 * size * 0.7 < found.result.metrics["growth_mb_per_1000"] < 1000 * size * 1.5


def test_one_that_keeps_none_is_not(train):
    found = train(soak=100)
    assert found.status.name == "passed", found.reason
    assert found.result.effective["soak"] == 100
    told, looks = found.result.metrics["soak"], found.result.extra["samples_soak_mb"]
    assert (told["iterations"], told["every"], told["looks"]) == (100, 1, 50)
    assert [number for number, _ in looks] == list(range(61, 111)), "the first half of the last hundred does not count"
    (gate,) = [gate for gate in found.result.gates if gate["name"] == proof.GROWTH]
    assert gate["value"] == found.result.metrics["growth_mb_per_1000"] <= gate["threshold"] == 100


def test_a_training_that_is_not_asked_says_nothing_of_it(train):
    found = train(iters=2)
    assert found.status.name == "passed" and found.result.extra == {}
    assert not {"soak", "growth_mb_per_1000"} & {*found.result.effective, *found.result.metrics}


def killing(at):
    """What kills a training at its so many-th step."""
    steps = []

    def at_step(batch):
        steps.append(None)
        if len(steps) == at:
            raise Killed

    return at_step


def test_a_training_killed_within_the_long_run_goes_on_from_before_it(train, tmp_path):
    asked = {"iters": 12, "soak": 8, "snapshot_iters": 2, "max_growth_mb": 1e6}
    with pytest.raises(Killed):
        train(killing(11), **asked)
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == ["4"]
    found = train(**asked)
    assert found.status.name == "passed" and found.result.metrics["resumed_at"] == [4]
    assert found.result.effective["soak"] == found.result.metrics["soak"]["iterations"] == 8


def test_a_long_run_of_two_processes_is_none(train):
    """A snapshot within it, as a training that is asked for no long run makes them."""
    asked = {"iters": 12, "snapshot_iters": 2, "max_growth_mb": 1e6}
    with pytest.raises(Killed):
        train(killing(11), **asked)
    found = train(**asked, soak=8)
    assert found.result.metrics["resumed_at"] == [10]
    assert found.status.name == "failed" and "soak: 8 requested, 2 observed" in found.reason


def test_looks_that_are_too_few_give_no_slope():
    looks = soak.Looks("iterations", 8, before=4)
    for number in (3, 4, 12):
        looks.after(number)
    result = looks.judge(5)
    assert (result.effective, result.metrics, result.gates, result.extra) == ({"soak": 1}, {}, [], {})


def test_where_the_allocator_cannot_give_back_what_is_free_looks_are_taken_all_the_same(monkeypatch):
    monkeypatch.setattr(soak.ctypes, "CDLL", lambda name: object())
    looks = soak.Looks("iterations", 4, trims=True)
    for number in range(1, 5):
        looks.after(number)
    assert looks.judge(5).metrics["soak"]["looks"] == 2


def test_what_a_training_frees_is_not_taken_for_taken(monkeypatch):
    """Before each look the allocator gives back what it holds: once a look, and only where that is asked for."""
    called = []
    monkeypatch.setattr(soak.ctypes, "CDLL", lambda name: type("", (), {"malloc_trim": called.append}))
    for trims in (True, False):
        looks = soak.Looks("iterations", 10, trims=trims)
        for number in range(1, 11):
            looks.after(number)
    assert called == [0] * 5


def test_trainings_have_it_where_it_is_asked_for():
    iters = {"iters": 100}
    plain = table("train", train=iters)
    long = table("train", train={**iters, "soak": 100}, gates={"memory_mb_per_1000_iterations": 3})
    for one, other in zip(plain, long, strict=True):
        assert "soak" not in one.requested and "--soak" not in one.options and "--max-growth-mb" not in one.options
        assert other.requested == {**one.requested, "soak": 100}
        assert other.options == [*one.options, "--soak", "100", "--max-growth-mb", "3"]
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    modes = [name for name, mode in config["modes"].items() if mode.get("train", {}).get("soak")]
    assert modes == ["deploy"] and not config["train"]["soak"]
    assert {cell.requested["soak"] for cell in table("train", mode="deploy")} == {150}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"train": {"soak": 99}}, "train.soak: 99 is refused; allowed: 0, or a number of iterations, 100 at least"),
        (
            {"train": {"soak": 200, "iters": 199}},
            "train.soak: 200 is refused; allowed: at most train.iters, which is 199 of pp_humanseg_lite; or 0",
        ),
        (
            {"train": {"iters": {"default": 500, "pp_humanseg_lite": 150}, "soak": 200}},
            "train.soak: 200 is refused; allowed: at most train.iters, which is 150 of pp_humanseg_lite; or 0",
        ),
        (
            {"model_zoo": {"pp_humanseg_lite": {"settings": {"train": {"soak": 200, "iters": 100}}}}},
            "model_zoo.pp_humanseg_lite.settings.train.soak: 200 is refused; allowed: at most train.iters,",
        ),
    ],
)
def test_a_long_run_is_part_of_the_training(asked, words):
    with pytest.raises(ConfigError) as told:
        table("train", **asked)
    assert words in str(told.value)


def test_released_weights_are_not_trained():
    assert not table("train", mode="whole_infer", train={"soak": 2000})[0].requested.get("soak")
