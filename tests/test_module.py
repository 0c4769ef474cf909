"""The workflow as a part of another: snakemake's `module`, from a folder and from a git host."""

import json
import re
import shutil
import subprocess

import pytest
import ways
import yaml
from conftest import ROOT, copy_project, planned_jobs, snakemake

TARGET = "results/data/mini_supervisely_synthetic.json"
TINY = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": ["pp_humanseg_lite"],
    "datasets": {"mini_supervisely_synthetic": {"images": {"train": 2, "val": 1, "test": 1}}},
}
# As snakedeploy 0.17 writes it.
DEPLOYED = """
from snakemake.utils import min_version


min_version("6.10.0")


configfile: "config/config.yaml"


module paddleseg_certify:
    snakefile:
        {snakefile}
    config:
        config


use rule * from paddleseg_certify
"""
OTHER = """
module certify:
    snakefile: {snakefile!r}
    config: {config}

use rule * from certify as certify_*

rule all:
    default_target: True
    input: "done.txt"

rule mine:
    input: "{target}"
    output: "done.txt"
    shell: "cp {{input}} {{output}}"

onsuccess:
    certify.show_conclusions()

onerror:
    certify.conclude_after_failure()
"""


def write(folder, text):
    (folder / "workflow").mkdir(parents=True, exist_ok=True)
    (folder / "workflow/Snakefile").write_text(text, encoding="utf-8")


def plan(folder, *arguments):
    planned = snakemake(folder, "-n", *arguments)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    return planned_jobs(planned.stdout + planned.stderr)


def test_another_workflow_uses_the_rules_under_names_of_its_own(project, tmp_path):
    other = tmp_path / "other"
    write(other, OTHER.format(snakefile=str(project / "Snakefile"), config=repr(TINY), target=TARGET))
    done = snakemake(other)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((other / "done.txt").read_text(encoding="utf-8"))
    assert record["status"] == "passed"
    assert len(list((other / "results/data/mini_supervisely_synthetic").rglob("*.jpg"))) == 4
    # Snakemake calls no hook of a module: what a run writes of itself must not depend on one.
    told = snakemake(other, "results/smoke/run_config.yaml")
    assert told.returncode == 0, told.stdout + told.stderr
    written = yaml.safe_load((other / "results/smoke/run_config.yaml").read_text(encoding="utf-8"))
    assert written["settings"]["models"] == ["pp_humanseg_lite"]
    jobs = plan(other, "certify_all")
    # on one device and on two, and as a static graph
    assert (
        jobs["certify_train"] == 3
        and jobs["certify_infer"] == len(ways.HERE) + ways.BESIDE
        and jobs["certify_conclude"] == 1
    )
    assert "certify_unpack_dataset" not in jobs


def test_the_hooks_of_a_module_write_conclusions_of_a_run_that_failed(project, tmp_path):
    other = tmp_path / "other"
    config = {
        **TINY,
        "data": {"mini_supervisely": "broken"},
        "datasets": {"broken": {"layout": "mini_supervisely", "source": "path", "path": "broken.zip"}},
    }
    conclusions = "results/smoke/conclusions.json"
    write(other, OTHER.format(snakefile=str(project / "Snakefile"), config=repr(config), target=conclusions))
    (other / "broken.zip").write_bytes(b"no archive")
    for again in (False, True):  # the second time conclusions are there, newer than all that they are made from
        failed = snakemake(other, *(["--touch"] if again else []))
        assert failed.returncode != 0, "Nothing to be done"
    assert "is red: start again without --touch" in failed.stderr
    failed = snakemake(other)
    assert failed.returncode != 0, failed.stdout + failed.stderr
    found = json.loads((other / "results/smoke/conclusions.json").read_text(encoding="utf-8"))
    assert found["red"] is True and found["counts"]["failed"] == 1 and "blocked" in found["counts"]


def test_a_whole_configuration_is_the_file_and_one_that_differs_is_the_users_own(project, tmp_path):
    """The mode goes over the file, and the user's own goes over the mode."""
    whole = yaml.safe_load((project / "config/config.yaml").read_text(encoding="utf-8"))
    whole["train"]["iters"] = 77
    for config, iters in (
        ({**whole, "mode": "smoke"}, "20"),
        ({**TINY, "train": {"iters": 77}}, "77"),
    ):
        other = tmp_path / f"other{iters}"
        write(other, OTHER.format(snakefile=str(project / "Snakefile"), config=repr(config), target=TARGET))
        train = "results/smoke/pp_humanseg_lite/single_fp32/train.json"
        planned = snakemake(other, "-n", "-p", train)
        assert planned.returncode == 0, planned.stdout + planned.stderr
        assert f"--iters {iters} " in planned.stdout + planned.stderr


def test_the_example_of_the_documentation_plans(project, tmp_path):
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/module.md").read_text(encoding="utf-8"), re.S)
    project.rename(tmp_path / "paddleseg-certify")
    (tmp_path / "Snakefile").write_text(example, encoding="utf-8")
    jobs = plan(tmp_path)
    assert jobs["certify_conclude"] == 1 and jobs["certify_infer"] == len(ways.HERE) + ways.BESIDE


@pytest.mark.parametrize("line", ['prefix: "certificates"', 'replace_prefix: {"results": "certificates"}'])
def test_a_prefix_is_refused(project, tmp_path, line):
    other = tmp_path / "other"
    text = f"module certify:\n    snakefile: {str(project / 'Snakefile')!r}\n    {line}\n\nuse rule * from certify\n"
    write(other, text)
    refused = snakemake(other, "-n")
    assert refused.returncode != 0
    text = refused.stdout + refused.stderr
    assert "--directory" in text and "Traceback" not in text


def git(folder, *arguments):
    who = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, timeout=120)


def commit(folder):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "state")


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """A repository of the project that git takes for one on GitHub."""
    repository = copy_project(tmp_path / "hosted")
    git(repository, "init", "--quiet", "--initial-branch", "main")
    commit(repository)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{repository}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/example/certify")
    return repository


@pytest.mark.long
def test_deployed_from_a_git_host(hosted, tmp_path):
    """What snakedeploy makes: configuration and profiles copied, the rest at a branch of the repository."""
    deployed = tmp_path / "deployed"
    write(deployed, DEPLOYED.format(snakefile='github("example/certify", path="Snakefile", branch="main")'))
    for part in ("config", "profiles"):
        shutil.copytree(hosted / part, deployed / part)
    small = ("--config", "mode=smoke", "hardware=cpu", "models=[pp_humanseg_lite]")
    done = snakemake(deployed, TARGET, *small)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads((deployed / TARGET).read_text(encoding="utf-8"))["status"] == "passed"
    assert plan(deployed, *small)["train"] == 3
    # the next commit makes again what it makes stale, and nothing else
    script = hosted / "scripts/unpack_dataset.py"
    script.write_text(script.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    (hosted / "scripts/make_tarball.py").touch()
    commit(hosted)
    assert plan(deployed, TARGET, *small) == {"unpack_dataset": 1}
