"""Bisect: searches with known answers, and of what comes and goes, cannot be built or is noise; the command.

Where a test says so, runs are stand-ins: a run of the workflow is replaced by conclusions with made-up figures.
"""

import json
import random
import re
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from conftest import interpreter, snakemake
from test_comparison import CONFIG, cell, run, timing
from test_sides import BREAKS

from segcert import bisecting, sections, statuses
from segcert.bisecting import BAD, GOOD, UNBUILDABLE, Answer, Ask, Figure, Seen
from segcert.concluded import Concluded
from segcert.errors import ConfigError, StageError
from segcert.series import environments, nested, probes
from segcert.series.environments import Made, Maker
from segcert.series.nested import Plan
from segcert.show import bisected
from segcert.upgrading import Ran


def searched(verdicts, seen=()):
    """(the answer of a search of a status, what was looked at); `verdicts`: by candidate, what its runs say in turn."""
    seen = list(seen)
    while isinstance(found := bisecting.step(len(verdicts), seen), Ask):
        times = sum(one.candidate == found.candidate for one in seen)
        told = verdicts[found.candidate]
        seen.append(Seen(found.candidate, told[min(times, len(told) - 1)]))
        assert len(seen) < 100
    return found, [one.candidate for one in seen]


def line(text):
    """g: good, b: bad, u: unbuildable; gb: the first run good, the others bad."""
    words = {"g": GOOD, "b": BAD, "u": UNBUILDABLE}
    return [[words[letter] for letter in part] for part in text.split()]


# -- a status ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 9, 100])
def test_the_first_bad_one_is_found_wherever_it_is(count):
    for first in range(1, count):
        found, looked_at = searched([[GOOD]] * first + [[BAD]] * (count - first))
        assert (found.kind, found.last_good, found.first_bad) == ("found", first - 1, first)
        # two ends, halving, two once more beside the change, both ends once more, the good one again, two looks
        assert len(looked_at) <= 2 + count.bit_length() + 2 + 2 + 1 + 2
        assert (looked_at.count(first - 1), looked_at.count(first)) == (3, 2)


def test_what_cannot_be_built_is_stepped_over():
    found, looked_at = searched(line("g g u u u b b"))
    assert (found.kind, found.last_good, found.first_bad, found.skipped) == ("between", 1, 5, (2, 3, 4))
    assert looked_at.count(3) == 1, "not tried again for a repeat"
    found, looked_at = searched(line("g u g b u b"))
    assert (found.kind, found.last_good, found.first_bad) == ("found", 2, 3)
    assert found.verdicts == {0: GOOD, 1: UNBUILDABLE, 2: GOOD, 3: BAD, 4: UNBUILDABLE, 5: BAD}
    for ends in ("u g b", "g b u"):
        assert searched(line(ends))[0].kind == "no-end"
    for ends in ("b g b", "g b g", "b b b"):
        assert searched(line(ends))[0].kind == "same-ends"


@pytest.mark.parametrize(("looks", "most"), [(3, 10), (10, 1)])
def test_a_fault_that_shows_in_some_runs_alone_is_seldom_given_a_wrong_version(looks, most):
    """In four of five runs; of the searches that name a version, so many percent name a wrong one at most."""
    chance = random.Random(7)
    named = {True: 0, False: 0}
    for _ in range(600):
        first, seen = chance.randint(1, 8), []
        while isinstance(found := bisecting.step(9, seen, looks=looks), bisecting.Ask):
            verdict = "good" if found.candidate < first or chance.random() > 0.8 else "bad"
            seen.append(bisecting.Seen(found.candidate, verdict))
        if found.kind == "found":
            named[found.first_bad == first] += 1
    assert named[True] > 100 and named[False] <= most / 100 * named[True], named


def test_a_fault_that_comes_and_goes_is_told():
    for text in ("g b b g g b", "g g b g g b b b g b", "g b g b"):
        found, _ = searched(line(text))
        assert found.kind == "comes-and-goes", text
        assert {GOOD, BAD} <= set(found.verdicts.values())


def test_runs_that_differ_are_no_answer():
    for text in ("g g bg b", "g gb b b", "gb g b b", "g g b bg"):
        found, _ = searched(line(text))
        assert found.kind == "flaky" and bisecting.UNCLEAR in found.verdicts.values(), text


def test_a_search_goes_on_from_its_transcript():
    verdicts = line("g g g g u b b b b")
    whole, looked_at = searched(verdicts)
    for cut in range(len(looked_at)):
        seen = []
        for place in looked_at[:cut]:
            seen.append(Seen(place, verdicts[place][0]))
        again, all_of_it = searched(verdicts, seen)
        assert again == whole and all_of_it == looked_at


# -- a figure ---------------------------------------------------------------------------------


def figures(means, noise, repeats=3, seed=1, most=200):
    """The answer of a search of a time whose runs are noisy, and how many runs it took."""
    rng = random.Random(seed)
    values = {}

    def worse(before, after):
        old, new = values[before], values[after]
        return min(new) > max(old) and sum(new) / len(new) > 1.25 * sum(old) / len(old)

    seen = []
    while isinstance(found := bisecting.step(len(means), seen, Figure(repeats, worse)), Ask):
        place = found.candidate
        values.setdefault(place, []).append(means[place] * rng.lognormvariate(0, noise))
        seen.append(Seen(place, GOOD))
        assert len(seen) < most
    return found, [one.candidate for one in seen]


def test_a_step_of_a_figure_is_found_beyond_its_noise():
    found, looked_at = figures([10] * 5 + [20] * 4, 0.03)
    assert (found.kind, found.last_good, found.first_bad) == ("found", 4, 5)
    assert looked_at[:6] == [0, 8, 0, 8, 0, 8], "the ends in turns"
    assert looked_at.count(4) == looked_at.count(5) == 4


def test_two_steps_give_the_first_of_them():
    found, _ = figures([10, 10, 10, 15, 15, 15, 30, 30], 0.02)
    assert (found.kind, found.first_bad) == ("found", 3)


def test_a_figure_that_noise_explains_is_not_separable():
    found, looked_at = figures([10] * 6, 0.03)
    assert found.kind == "not-separable" and len(looked_at) == 6
    assert set(found.verdicts.values()) == {bisecting.UNCLEAR}
    assert figures([20] * 2 + [10] * 3, 0.02)[0].kind == "same-ends", "the other way round"


def test_what_is_clear_of_neither_end_is_no_verdict():
    found, _ = figures([10, 10, 12.2, 13.5, 15, 15], 0.001)
    assert (found.kind, found.last_good, found.first_bad, found.skipped) == ("between", 1, 3, (2,))
    assert found.verdicts[2] == bisecting.UNCLEAR


def test_noise_alone_is_seldom_taken_for_a_step():
    """200 searches of nothing, and 200 of a step of two times, with runs that differ by 15 %; see docs/bisect.md."""
    nothing = Counter(figures([10] * 9, 0.15, seed=seed)[0].kind for seed in range(200))
    assert nothing == {"not-separable": 197, "same-ends": 2, "between": 1}
    steps = [figures([10] * 4 + [20] * 5, 0.15, seed=seed)[0] for seed in range(200)]
    named = Counter(found.first_bad for found in steps if found.kind == "found")
    assert named == {4: 190, 3: 1, 2: 1}


# -- in words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer("found", {}, 0, 1), "b is the first bad one for status; a, the one before it, is good."),
        (Answer("between", {}, 0, 2, (1,)), "lies after a and not after c; no verdict on b."),
        (Answer("same-ends", {0: BAD, 2: BAD}), "not as they were said to be: a bad, c bad"),
        (Answer("no-end", {0: UNBUILDABLE}), "An end has no verdict (a unbuildable)"),
        (Answer("not-separable", {}), "of status the figures of a and c are not apart"),
        (Answer("flaky", {1: "unclear"}), "runs of one candidate differ (b unclear)"),
        (Answer("comes-and-goes", {0: GOOD, 1: BAD}), "comes and goes (a good, b bad)"),
    ],
)
def test_an_answer_in_words(answer, words):
    assert words in bisecting.sentence(answer, ["a", "b", "c"], "status")


def test_an_answer_of_no_kind_has_no_words():
    with pytest.raises(ValueError, match="no such answer: x"):
        bisecting.sentence(Answer("x", {}), ["a"], "status")


# -- its candidates ---------------------------------------------------------------------------


RECORD = "results/smoke/m/single_fp32/infer/x.json"


def plan(tmp_path, **changes):
    settings = {
        "mode": "smoke", "compare": CONFIG["compare"], "sides": [], "cell": RECORD, "what": "status",
        "upgrade": {"name": None, "repeats": 1, "environments": str(tmp_path / "sides")},
        "good": "3.1.0", "bad": "3.3.1", "bisect": {"name": None, "among": None, "repeats": 3},
    }  # fmt: skip
    return Plan(tmp_path, {"mode": "smoke"}, {}, sections.merge(settings, changes), sys.executable, None, 1, {})


@pytest.fixture
def index(monkeypatch):
    """A stand-in for the list that the package index gives."""
    versions = [environments.Version(text) for text in ("2.6.2", "3.1.0", "3.1.1", "3.2.2", "3.3.0", "3.3.1")]
    monkeypatch.setattr(environments, "published", lambda: versions)


def test_candidates_are_the_versions_between_the_ends(tmp_path, index):
    asked = probes.question(plan(tmp_path))
    assert asked.names == ["3.1.0", "3.1.1", "3.2.2", "3.3.0", "3.3.1"] and asked.cell == RECORD
    assert probes.question(plan(tmp_path, good="3.3.0", bad="3.1.0")).names == ["3.3.0", "3.2.2", "3.1.1", "3.1.0"]
    assert probes.question(plan(tmp_path, what="miou")).digest != asked.digest
    among = {"among": ["3.0.0", {"name": "x", "side": "3.0.0"}, "3.1.0"]}
    assert probes.question(plan(tmp_path, bisect=among, good=None, bad=None)).names == ["3.0.0", "x", "3.1.0"]
    assert probes.question(plan(tmp_path, bisect=among, good="3.1.0", bad="x")).names == ["3.1.0", "x"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"good": "3.3.1"}, "both are 3.3.1: name two"),
        ({"good": "python3"}, 'good, bad: "python3" and "3.3.1": what lies between'),
        ({"good": "paddleseg@a", "bad": "paddleseg@b"}, "paddleseg: has to name a checkout"),
        (
            {"bisect": {"among": ["3.0.0", "3.1.1"]}},
            '"3.1.0" is refused; allowed: one of bisect.among: 3.0.0, 3.1.1',
        ),
        ({"what": "miou", "compare": {"tolerance": {"miou": None}}}, "compare.tolerance.miou: null is refused"),
        ({"good": "nonsense here"}, 'good: "nonsense here" is refused'),
    ],
)
def test_a_search_without_ends_is_refused(tmp_path, index, changes, words):
    with pytest.raises(ConfigError, match=re.escape(words)):
        probes.question(plan(tmp_path, **changes))


def test_commits_are_searched_by_first_parents(tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "commits_between", lambda checkout, good, bad: [good * 40, "c" * 40, bad * 40])
    maker = Maker(tmp_path, tmp_path, "python3", checkout=tmp_path)
    found = probes.candidates({"good": "paddleseg@a", "bad": "paddleseg@b", "bisect": {"among": None}}, maker)
    assert [side.name for side in found] == [f"paddleseg-{letter * 12}" for letter in "acb"]


# -- its transcript ---------------------------------------------------------------------------


class StandInRuns:
    """In place of runs of the workflow: conclusions whose one cell is as it is said of each candidate."""

    def __init__(self, monkeypatch, cells, unmade=(), beside=()):
        self.asked = []
        self.beside = [dict(one) for one in beside]
        self.cells = cells
        monkeypatch.setattr(nested, "run", self)

        def make(_, side):
            if side.name in unmade:
                raise StageError("no wheel for this Python")
            return Made({"python": side.name}, "stand-in")

        monkeypatch.setattr(Maker, "make", make)

    def __call__(self, plan, folder, changes, targets=(), label=""):
        name = changes["python"]
        assert targets == [RECORD]
        self.asked.append(name)
        told = self.cells[name]
        told = told[(int(folder.name) - 1) % len(told)] if isinstance(told, list) else told
        if told is None:
            return Ran(str(folder), "2026", 1.0, None, "no disk")
        one = cell(**{"record": RECORD, **told})
        if name in VERSIONS and "env" not in told:
            one["env"] = {**one.get("env", {}), "paddle": f"{name}+cpu"}
        content = run(one, *self.beside, mode="smoke")
        place = folder / "results/smoke/conclusions.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(content))
        return Ran(str(folder), "2026", 1.0, content)


VERSIONS = ("3.1.0", "3.1.1", "3.2.2", "3.3.0", "3.3.1")
FAILS = {"status": "known-failure", "reason": "ConvertPirAttribute | x\ny"}


def search(tmp_path, **changes):
    asked = plan(tmp_path, **changes)
    return probes.Search(asked, probes.question(asked), tmp_path / "b")


def test_a_status_is_searched_and_its_transcript_kept(tmp_path, monkeypatch, index, capsys):
    cells = {name: FAILS if name >= "3.3" else {} for name in VERSIONS}
    runs = StandInRuns(monkeypatch, cells, unmade=("3.1.1",))
    answer = search(tmp_path).run()
    assert answer.kind == "found"
    content = json.loads((tmp_path / "b/bisect.json").read_text(encoding="utf-8"))
    assert content["answer"]["first_bad"] == "3.3.0" and content["answer"]["last_good"] == "3.2.2"
    assert [probe["candidate"] for probe in content["probes"]][:2] == ["3.1.0", "3.3.1"]
    text = (tmp_path / "b/bisect.md").read_text(encoding="utf-8")
    assert "**3.3.0 is the first bad one for status; 3.2.2, the one before it, is good.**" in text
    assert "bad, known-failure: ConvertPirAttribute \\| x y" in text
    assert "unbuildable: its environment could not be made: no wheel for this Python" in text
    assert "probe 1: 3.1.0: an end" in capsys.readouterr().err
    # a search that ended has no more to ask but of what had no verdict
    before = len(runs.asked)
    assert search(tmp_path).run() == answer and len(runs.asked) == before
    assert "probes of before count" in capsys.readouterr().err


def test_a_transcript_that_was_edited_counts_as_far_as_the_runs_say_so(tmp_path, monkeypatch, index):
    cells = {name: FAILS if name >= "3.3" else {} for name in VERSIONS}
    runs = StandInRuns(monkeypatch, cells)
    assert search(tmp_path).run().first_bad == 3
    kept = tmp_path / "b/bisect.json"
    told = json.loads(kept.read_text(encoding="utf-8"))
    before = len(told["probes"])
    for change in ({"verdict": "bad"}, {"candidate": "2.6.2"}, {"conclusions": None}, {"conclusions": "gone.json"}):
        first = {**told["probes"][0], **change}
        kept.write_text(json.dumps({**told, "probes": [first, *told["probes"][1:]]}), encoding="utf-8")
        begun = search(tmp_path)
        assert len(begun.probes) == before - 1
    assert begun.run().first_bad == 3 and len(runs.asked) == before + 1
    for probe in ({"number": 1}, {**told["probes"][0], "more": 1}, 7):
        kept.write_text(json.dumps({**told, "probes": [probe]}), encoding="utf-8")
        assert search(tmp_path).probes == []


def test_a_search_begins_anew_once_what_is_run_is_another(tmp_path, monkeypatch, index):
    runs = StandInRuns(monkeypatch, {name: FAILS if name >= "3.3" else {} for name in VERSIONS})
    (tmp_path / "scripts").mkdir()
    search(tmp_path).run()
    before = len(runs.asked)
    assert search(tmp_path).probes
    (tmp_path / "scripts/train.py").touch()
    assert not search(tmp_path).probes
    search(tmp_path).run()
    assert len(runs.asked) == 2 * before


def test_a_candidate_that_ran_on_another_paddle_has_no_verdict(tmp_path, monkeypatch, index):
    """Its environment is no more what it was made as."""
    cells = {name: FAILS if name >= "3.3" else {} for name in VERSIONS}
    StandInRuns(monkeypatch, {**cells, "3.3.0": {"env": {"paddle": "3.2.2"}}})
    assert search(tmp_path).run().kind != "found"
    text = (tmp_path / "b/bisect.md").read_text(encoding="utf-8")
    assert "it ran on Paddle 3.2.2, and 3.3.0 is asked for: delete its environment" in text


def test_a_search_that_was_cut_goes_on(tmp_path, monkeypatch, index):
    cells = {name: FAILS if name >= "3.2" else {} for name in VERSIONS}
    runs = StandInRuns(monkeypatch, cells)
    monkeypatch.setattr(probes.Search, "_probe", Cut(probes.Search._probe, after=3))
    with pytest.raises(KeyboardInterrupt):
        search(tmp_path).run()
    assert "Not ended: 3 probes so far" in (tmp_path / "b/bisect.md").read_text(encoding="utf-8")
    monkeypatch.undo()
    versions = [environments.Version(text) for text in VERSIONS]
    monkeypatch.setattr(environments, "published", lambda: versions)
    again = StandInRuns(monkeypatch, cells)
    assert search(tmp_path).run().first_bad == 2
    alone = StandInRuns(monkeypatch, cells)
    search(tmp_path / "other").run()
    assert runs.asked + again.asked == alone.asked
    (tmp_path / "b/bisect.json").write_text("{")
    assert not search(tmp_path).probes
    search(tmp_path / "other", what="miou")  # another question begins anew
    assert not search(tmp_path / "other", what="miou").probes


class Cut:
    """A probe that is cut off after some."""

    def __init__(self, probe, after):
        self.probe, self.left = probe, after

    def __get__(self, search, _):
        def probe(*arguments):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return self.probe(search, *arguments)

        return probe


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (None, "no disk"),
        ({"record": "results/else.json"}, "its run has no such cell"),
        ({"status": "unverified", "reason": "no GPU", "topology": "single"}, "unverified: no GPU"),
    ],
)
def test_a_probe_without_a_verdict_says_why(tmp_path, monkeypatch, index, told, words):
    StandInRuns(monkeypatch, {**{name: {} for name in VERSIONS}, "3.3.1": told})
    found = search(tmp_path)
    assert found.run().kind == "no-end"
    assert found.probes[-1].verdict == "unbuildable" and words in found.probes[-1].reason


def test_a_search_begins_anew_once_an_interpreter_is_another(tmp_path, monkeypatch):
    """The former runs stay, in folders of their own, and answer for nothing."""
    old, new = interpreter(tmp_path / "old", ""), interpreter(tmp_path / "new", "")
    among = {"bisect": {"among": [str(old), str(new)]}, "good": None, "bad": None}
    runs = StandInRuns(monkeypatch, {"old": {}, "new": FAILS})
    answer = search(tmp_path, **among).run()
    assert (answer.kind, runs.asked) == ("found", ["old", "new", "old", "new", "old"])
    again = search(tmp_path, **among)
    assert again.run() == answer and len(runs.asked) == 5 and len(again.probes) == 5
    folder = next((tmp_path / "new/lib").glob("python*/site-packages")) / "mine-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n", encoding="utf-8")
    runs.cells["new"] = {}
    begun = search(tmp_path, **among)
    assert not begun.probes and begun.run().kind == "same-ends"
    assert [Path(probe.folder).relative_to(tmp_path / "b").as_posix() for probe in begun.probes] == ["old/1", "new/3"]
    assert {path.name for path in (tmp_path / "b/new").iterdir()} == {"1", "2", "3"}


# What conclusions have of a job that left no record.
NEVER_RAN = {"status": "failed", "reason": "ended without a record: it never started", "env": {}, "started": None}


def stage_of(stage, status, reason="it broke", **more):
    """A cell of the conclusions; of train, export and eval the one that the searched cell is made from."""
    named = {"model": None, "train_cell": None} if stage == "data" else {}
    metrics = {} if statuses.by_name(status).exercised else None
    own = {"train": "single_fp32", "export": "single_fp32", "eval": "single_fp32", "data": "d", "infer": "x"}[stage]
    content = cell("train", own, status, reason, topology="single", **{**named, **more}) | {"stage": stage}
    return Concluded(content | {"metrics": metrics})


DATA_BLOCKS = [stage_of("data", "failed"), stage_of("train", "blocked", "made from data d: failed")]


@pytest.mark.parametrize(
    ("found", "above", "verdict", "words"),
    [
        (stage_of("infer", "passed", None), [], GOOD, None),
        (stage_of("infer", "failed"), [], BAD, None),
        (stage_of("infer", "accuracy-failed"), [], BAD, None),
        (stage_of("infer", "known-failure"), [], BAD, None),
        (stage_of("infer", **NEVER_RAN), [], UNBUILDABLE, "failed: ended without a record: it never started; it left"),
        *((stage_of("infer", status), [], UNBUILDABLE, f"{status}: it broke")
          for status in ("blocked", "not-run", "skipped", "unverified")),
        (stage_of("infer", "blocked", "made from train single_fp32: failed"), [stage_of("train", "failed")], BAD,
         "what it is made from failed: train single_fp32: failed: it broke"),
        (stage_of("infer", "blocked", "made from export single_fp32: blocked"),
         [stage_of("export", "blocked", "made from train single_fp32: accuracy-failed"),
          stage_of("train", "accuracy-failed")], BAD, "train single_fp32: accuracy-failed: it broke"),
        # As the stage itself tells of a parent that failed as is known.
        (stage_of("infer", "blocked", "made from export single_fp32: known-failure: it broke"),
         [stage_of("export", "known-failure")], BAD, "export single_fp32: known-failure"),
        (stage_of("infer", "blocked", "made from train single_fp32: failed"), [stage_of("train", **NEVER_RAN)],
         UNBUILDABLE, "train single_fp32: failed: ended without a record: it never started; it left no record"),
        (stage_of("infer", "blocked", "made from train single_fp32: blocked"), DATA_BLOCKS, UNBUILDABLE,
         "blocked: made from train single_fp32: blocked"),
        (stage_of("infer", "unverified", "made from export single_fp32: unverified"),
         [stage_of("export", "unverified", "no GPU")], UNBUILDABLE, "unverified: made from export"),
        # Of another model, and of another training: nothing of this chain.
        (stage_of("infer", "blocked", "made from train single_fp32: failed"),
         [stage_of("train", "failed", model="m"), stage_of("train", "failed", train_cell="t")], UNBUILDABLE, "blocked"),
    ],
)  # fmt: skip
def test_only_what_ran_and_failed_is_bad(found, above, verdict, words):
    told, note = probes.of_status(found, {"cells": [*map(dict, above), dict(found)]})
    assert told == verdict and (note is None if words is None else words in note), note


def test_the_transcript_says_that_a_parent_failed(tmp_path, monkeypatch, index):
    blocked = {"status": "blocked", "reason": "made from train single_fp32: failed", "topology": "single"}
    StandInRuns(
        monkeypatch, {**{name: {} for name in VERSIONS}, "3.3.1": blocked}, beside=[stage_of("train", "failed")]
    )
    found = search(tmp_path)
    assert found.run().first_bad == 4 and found.probes[1].status == "blocked"
    text = (tmp_path / "b/bisect.md").read_text(encoding="utf-8")
    assert "bad, blocked: what it is made from failed: train single_fp32: failed: it broke" in text
    StandInRuns(
        monkeypatch, {**{name: {} for name in VERSIONS}, "3.3.1": blocked}, beside=[stage_of("train", **NEVER_RAN)]
    )
    assert search(tmp_path / "other").run().kind == "no-end"


def timed(*medians):
    return [{"metrics": {"inference_ms": timing(one), "input_shape": [1, 3, 8, 8]}} for one in medians]


def test_a_figure_is_searched_as_compare_judges_it(tmp_path, monkeypatch, index):
    slow = timed(20.1, 20.6, 21.0)
    cells = {"3.1.0": timed(10, 10.4, 9.8), "3.1.1": timed(10, 9.9, 10.3), "3.2.2": slow, "3.3.0": slow, "3.3.1": slow}
    StandInRuns(monkeypatch, cells)
    found = search(tmp_path, what="inference_ms")
    answer = found.run()
    assert (answer.kind, answer.last_good, answer.first_bad) == ("found", 1, 2)
    text = (tmp_path / "b/bisect.md").read_text(encoding="utf-8")
    assert "| inference_ms" in text and "10, 10.4, 9.8" in text and "inference_ms 20.1" in text
    assert bisected.told(vars(found.probes[0]), "inference_ms") == "inference_ms 10"


def test_figures_that_touch_are_not_separable(tmp_path, monkeypatch, index):
    cells = {**{name: timed(10, 14, 18) for name in VERSIONS}, "3.3.1": timed(17, 30, 40)}
    StandInRuns(monkeypatch, cells)
    assert search(tmp_path, what="inference_ms").run().kind == "not-separable"


@pytest.mark.parametrize(
    ("told", "words"), [(FAILS, "known-failure, so its figures say nothing"), ({}, "its record has no miou")]
)
def test_a_run_without_the_figure_has_no_verdict(tmp_path, monkeypatch, index, told, words):
    StandInRuns(monkeypatch, dict.fromkeys(VERSIONS, told))
    found = search(tmp_path, what="miou")
    assert found.run().kind == "no-end" and words in found.probes[0].reason


# -- the command ------------------------------------------------------------------------------


def test_the_command_finds_which_interpreter_breaks(project, tmp_path):
    """Real Snakemake in real Snakemake; of the two stand-in interpreters the second ends the worker that unpacks."""
    works, breaks = interpreter(tmp_path / "works", ""), interpreter(tmp_path / "breaks", BREAKS)
    record = "results/data/mini_supervisely_synthetic.json"
    (project / "mine.yaml").write_text(
        yaml.safe_dump({
            "mode": "smoke", "hardware": "cpu", "models": ["pp_humanseg_lite"], "cell": record,
            "bisect": {"name": "b", "among": [str(works), str(breaks)]},
            "datasets": {"mini_supervisely_synthetic": {"images": {"train": 2, "val": 1, "test": 1}}},
        })
    )  # fmt: skip
    refused = snakemake(project, "bisect", "--config", "mode=smoke", "good=3.2.2", "bad=3.3.1")
    assert refused.returncode != 0 and "cell: null: a search needs" in refused.stdout + refused.stderr
    done = snakemake(project, "bisect", "--configfile", "mine.yaml")
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "breaks is the first bad one for status; works, the one before it, is good." in said
    content = json.loads((project / "results/bisect/b/bisect.json").read_text(encoding="utf-8"))
    assert content["answer"]["kind"] == "found" and len(content["probes"]) == 5
    bad = next(probe for probe in content["probes"] if probe["candidate"] == "breaks")
    assert (
        bad["status"] == "failed" and Path(project / bad["folder"], record.replace(".json", ".failed.json")).is_file()
    )
    # One that ends before there is a record tells nothing of what it has: no verdict, and never "found".
    dead = interpreter(tmp_path / "dead", BREAKS.replace('"SEGCERT_WORKER" in os.environ and ', ""))
    none = snakemake(project, "bisect", "--configfile", "mine.yaml", "--config",
                     f"bisect={{name: c, among: [{works}, {dead}]}}")  # fmt: skip
    content = json.loads((project / "results/bisect/c/bisect.json").read_text(encoding="utf-8"))
    assert none.returncode != 0 and content["answer"]["kind"] == "no-end", none.stdout + none.stderr
    assert [probe["verdict"] for probe in content["probes"]] == ["good", "unbuildable"]
    assert "failed: ended without a record" in content["probes"][1]["reason"]
    missing = snakemake(project, "bisect", "--configfile", "mine.yaml", "--config", "bisect={among: [3.0.0, 3.1.0]}",
                        "good=9.9.9")  # fmt: skip
    assert missing.returncode != 0 and 'good: "9.9.9" is refused' in missing.stdout + missing.stderr
