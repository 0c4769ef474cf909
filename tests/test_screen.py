"""What a run shows of its jobs, event by event: what no run of the other tests comes to."""

import pytest

from segcert.show import screen

START = {"msg": "", "rule_name": "train", "jobid": 7, "wildcards": {"mode": "smoke", "model": "m"}, "created": 100.0}


def test_jobs_of_a_group_end_together_and_each_has_its_line():
    lines = screen.Lines(dry=False)
    for number, rule in ((7, "train"), (8, "evaluate")):
        started = lines.of("job_info", {**START, "jobid": number, "rule_name": rule, "reason": "Forced execution"})
        assert started.endswith(f" start {number}: {rule} m (Forced execution)") and started[2] == started[5] == ":"
    for number in (7, 8):
        assert lines.of("job_finished", {"msg": "", "job_id": number, "created": 102.4}) == ""
    told = lines.of("progress", {"msg": None, "done": 2, "total": 9}).splitlines()
    assert [line[9:] for line in told] == ["done 7: train, 2 s, 2 of 9", "done 8: evaluate, 2 s, 2 of 9"]
    assert lines.of("progress", {"msg": None, "done": 2, "total": 9}) == ""


def test_what_is_not_of_a_job_is_shown_as_snakemake_does():
    lines = screen.Lines(dry=True)
    assert lines.of(None, {"msg": "Building DAG of jobs..."}) is None
    assert lines.of("job_error", {"msg": "Error in rule train, jobid: 7"}) is None
    assert lines.of(None, {"msg": "Select jobs to execute..."}) == ""
    assert lines.of("job_started", {"msg": "Execute 2 jobs..."}) == ""
    told = lines.of("job_info", {**START, "wildcards": None, "reason": "Missing output files: a"})
    assert told == "would run 7: train (Missing output files)"


def test_long_lists_of_files_are_cut_short_in_what_snakemake_shows():
    many = [f"f{number}" for number in range(7)]
    shown = screen.shortened({"msg": "Error in rule train", "input": many, "wildcards": many})
    assert shown == {"msg": "Error in rule train", "input": [*many[:5], "and 2 more"], "wildcards": many}
    assert screen.shortened({"output": many[:5]}) == {"output": many[:5]} and screen.shortened({}) == {}


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("Missing output files: a, b; Input files updated by another job: c, d", "Missing output files"),
        ("Input files updated by another job: c, d", "Input files updated by another job"),
        ("Updated input files: a, b", "Updated input files: a, b"),
        ("Updated input files: a, b, c, d, e, f, g", "Updated input files: a, b, c, d, e, and 2 more"),
        ("Code has changed since last execution", "Code has changed since last execution"),
    ],
)
def test_reasons_name_what_is_news(reason, told):
    assert screen.short_reason(reason) == told


def test_of_code_the_files_that_were_edited_are_named():
    start = "Params have changed since last execution: Union of exclusive params before and now across all output: "
    old = {"infer.py": "0" * 12, "segcert/a.py": "1" * 12, "segcert/gone.py": "2" * 12}
    new = {"infer.py": "0" * 12, "segcert/a.py": "3" * 12}
    told = screen.short_reason(f"{start}before: {old},'--x 1' now: {new},'--x 2' ")
    before = "before: 'segcert/a.py 111111111111', 'segcert/gone.py 222222222222','--x 1'"
    assert told == f"Params have changed since last execution: {before}; now: 'segcert/a.py 333333333333','--x 2'"
    told = screen.short_reason(f"{start}before: {old} now: { {'infer.py': '0' * 12} } ")
    assert told.endswith("'segcert/gone.py 222222222222'; now: <nothing exclusive>")


def test_a_long_parameter_is_shown_from_before_the_place_where_it_differs():
    before, now = (f"'{'--same x ' * 50}--iters {iters} {'--more y ' * 50}'" for iters in (20, 30))
    start = "Params have changed since last execution: Union of exclusive params before and now across all output: "
    told = screen.short_reason(f"{start}before: {before} now: {now} ")
    assert "--iters 20 --more y" in told and "--iters 30 --more y" in told and len(told) < 450
    # the one is a part of the other
    told = screen.short_reason(f"{start}before: {before} now: <nothing exclusive> ")
    assert told.endswith("now: <nothing exclusive>") and "before: '--same x" in told
