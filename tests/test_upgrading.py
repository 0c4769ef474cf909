"""A side that is no better than it looks: what is red, or did not run, is nothing to upgrade to."""

import pytest
from test_comparison import WHOLE, cell, run, tolerances

from segcert import comparison, upgrading
from segcert.show import compared, forge
from segcert.upgrading import Ran, Tried

GPU = cell(name="gpu", status="unverified", reason="no GPU")
BROKEN = cell(name="gpu", status="failed", reason="it broke")


def judged(before, after, **section):
    sides = [Tried(name, name, "pins", None, [Ran("f", "t", 1.0, one)]) for name, one in (("a", before), ("b", after))]
    found = upgrading.judge("u", "smoke", sides, tolerances(**section))
    return found, found.sides[1]


def on_paddle(version, *cells):
    """Conclusions of cells that were run on it."""
    return run(*({**one, "env": {**one.get("env", {}), "paddle": version}} for one in cells))


def test_a_side_that_ran_on_another_paddle_is_no_answer():
    """Whatever became of its environment since it was made: what its records saw counts."""

    def sides(*seen, asked="3.3.1"):
        runs = [Ran("f", "t", 1.0, on_paddle(version, *WHOLE)) for version in seen]
        today = Tried("a", "3.2.2", "pins", None, [Ran("f", "t", 1.0, on_paddle("3.2.2", *WHOLE))], "3.2.2")
        found = upgrading.judge("u", "smoke", [today, Tried("b", asked, "pins", None, runs, asked)], tolerances())
        return found.sides[1]

    assert sides("3.3.1").verdict == sides("3.3.1+cpu").verdict == "upgrade"
    other = sides("3.2.2")
    assert other.verdict == "no answer" and "of Paddle 3.2.2, and 3.3.1 is asked for" in other.because
    mixed = sides("3.3.1", "3.2.2")
    assert mixed.verdict == "no answer" and "of several Paddles: 3.3.1, 3.2.2" in mixed.because
    assert sides("of nobody").verdict == "no answer"
    assert sides("3.3.1", asked=None).verdict == "upgrade", "an interpreter is asked for by no version"


@pytest.mark.parametrize("before", [[GPU], [cell(name="gpu", status="skipped")], []])
def test_what_is_red_there_and_was_not_here_is_no_upgrade(before):
    """Also where it was not exercised here, or is not in the matrix: nobody asked for a red side."""
    found, side = judged(run(*WHOLE, *before), run(*WHOLE, BROKEN))
    assert found.failed and side.verdict == "do not upgrade" and "now failed (it broke)" in side.because
    assert [change.cell for change in side.compared.newly_red] == ["gpu"]


def test_what_is_red_on_both_sides_is_no_answer():
    found, side = judged(run(*WHOLE, BROKEN), run(*WHOLE, BROKEN))
    assert found.failed and side.verdict == "no answer"
    assert side.because == "nothing got worse, but it is red, as the first is: 1 cells are red on both sides"


def test_a_side_on_which_nothing_passed_or_nothing_ran_twice_is_no_answer():
    lost = [{**one, "status": "unverified"} for one in WHOLE]
    found, side = judged(run(*WHOLE), run(*lost), lost="report")
    assert found.failed and (side.verdict, side.because) == ("no answer", "no cell of it passed")
    other = cell(name="another")
    found, side = judged(run(*WHOLE[:3], cell(), GPU), run(other, GPU), lost="report")
    assert found.failed and (side.verdict, side.because) == ("no answer", "no cell ran on both sides")


def test_what_did_not_run_again_and_what_was_not_judged_is_not_counted():
    slow = cell(metrics={"inference_ms": {"p50": 1000.0, "p50_ci95": None}, "input_shape": [1, 3, 64, 64]})
    _, side = judged(run(*WHOLE), run(slow), lost="report")
    assert side.verdict == "upgrade" and "of 1 cells that ran on both" in side.because
    assert "3 that passed before did not run" in side.because
    assert {figure.judged for figure in side.compared.figures if figure.metric == "inference_ms"} == {
        "not judged: too few samples to know its noise"
    }
    assert side.compared.figures_judged == len(side.compared.figures) - 1


def test_no_regression_is_told_with_what_it_says_nothing_of():
    found = comparison.compare(run(*WHOLE, GPU), run(*WHOLE[1:], BROKEN), tolerances(lost="report"))
    words = "no regression; the candidate is red in 1 cell; 1 cell that passed did not run again"
    assert not found.regressed and found.no_regression == words and found.as_json()["remarks"] == found.remarks
    assert compared.summary(found).endswith(words) and words in compared.markdown(found).splitlines()[0]
    assert words in forge.text(found, forge.COMMENT_BYTES)
    red = {**run(*WHOLE), "red": True}  # of a certificate, say
    assert comparison.compare(run(*WHOLE), red, tolerances()).remarks == ["the candidate is red"]
