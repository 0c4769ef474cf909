"""What a scheduler says of a job that was ended. Slurm's commands are stand-ins here; tests/cluster has a real one."""

import pytest

from segcert import schedulers

JOB = {"slurm": "17"}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Puts stand-ins of scontrol and sacct on PATH: shell commands each."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def install(**commands):
        for name, lines in commands.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{lines}\n")
            (tmp_path / name).chmod(0o755)

    return install


@pytest.mark.parametrize(
    ("scontrol", "words"),
    [
        ("echo JobId=$5 JobState=CANCELLED Reason=None", "Slurm job 17 was CANCELLED: cancelled"),
        ("echo JobId=$5 JobState=COMPLETING Reason=TimeLimit", "Slurm job 17 was TIMEOUT: over its time limit"),
        ("echo JobId=$5 JobState=NODE_FAIL", "Slurm job 17 was NODE_FAIL: its node failed"),
        ("echo JobId=$5 JobState=COMPLETED", None),
        ("echo JobId=$5 JobState=FAILED", None),
        ("echo JobId=$5 JobState=FAILED StdErr=/no/such/log", None),
        ("echo slurm_load_jobs error: Invalid job id specified; exit 1", None),
    ],
)
def test_the_controllers_word(slurm, scontrol, words):
    slurm(scontrol=scontrol)
    assert schedulers.verdict(JOB) == words


@pytest.mark.parametrize(
    ("log", "found"),
    [("slurmstepd: error: Detected 1 oom_kill event in StepId=17.0", True), ("KeyError: 'x'", False)],
)
def test_a_job_whose_state_does_not_tell_of_its_memory(slurm, tmp_path, log, found):
    (tmp_path / "slurm.log").write_text(log)
    slurm(scontrol=f"echo JobId=$5 JobState=FAILED StdErr={tmp_path}/slurm.log")
    assert schedulers.verdict(JOB) == ("Slurm job 17 was FAILED: over its memory" if found else None)


def test_a_job_that_the_controller_has_forgotten(slurm):
    slurm(scontrol="exit 1", sacct='echo "CANCELLED by 1000"')
    assert schedulers.verdict(JOB) == "Slurm job 17 was CANCELLED by 1000: cancelled"
    slurm(sacct="echo CANCELLED; exit 1")
    assert schedulers.verdict(JOB) is None, "an answer that failed is none"


def test_nobody_to_ask(slurm):
    assert schedulers.verdict(JOB) is None
    assert schedulers.verdict({}) is None and schedulers.verdict({"slurm": "17; rm"}) is None
    assert schedulers.job({"SLURM_JOB_ID": "17"}) == JOB and schedulers.job({}) == {}
