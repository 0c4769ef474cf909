"""The worked example of docs/own-model.md: a model and a data set of one's own, in files of one's own.

SegFormer-B0 is not among the eight models. Nothing of the repository is edited: its files lie in a
working directory elsewhere, with the data set's archive beside them.
"""

import io
import json
import shutil
import tarfile

import pytest
import ways
import yaml
from conftest import ROOT, copy_project, planned_jobs, snakemake

from segcert.data import synthetic

EXAMPLE = "docs/examples/segformer_b0"
TINY = {
    "mode": "smoke",
    "hardware": "cpu",
    "input_size": {"default": [64, 64]},
    "train": {"iters": 3, "topologies": ["single"]},
    "infer": {"images": 2, "min_samples": 4, "warmup": 1},
}


def packed(layout, target, wrapper):
    """An archive as a user may have it: compressed, everything in one folder."""
    plain = target.with_name("plain.tar")
    synthetic.write_tar(plain, layout, {"train": 6, "val": 2, "test": 2}, seed=1, size=(128, 64))
    with tarfile.open(plain) as source, tarfile.open(target, "w:gz") as out:
        for member in source:
            content = source.extractfile(member).read()
            member.name = f"{wrapper}/{member.name}"
            out.addfile(member, io.BytesIO(content))
    plain.unlink()


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """A working directory of one's own beside the project, after a whole run."""
    home = tmp_path_factory.mktemp("own")
    project = copy_project(home / "project")
    work = home / "my work"
    shutil.copytree(ROOT / EXAMPLE, work / EXAMPLE)
    packed("cityscapes", work / "my_streets.tar.gz", "streets")
    (work / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    arguments = ("--snakefile", str(project / "Snakefile"), "--configfile", f"{EXAMPLE}/config.yaml", "tiny.yaml")
    done = snakemake(work, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return work, arguments


def test_every_stage_and_every_cpu_engine_of_the_example_passes(own):
    work, _ = own
    found = json.loads((work / "results/smoke/conclusions.json").read_text(encoding="utf-8"))
    assert found["red"] is False
    assert {cell["model"] for cell in found["cells"]} == {"segformer_b0"}
    ran = [cell for cell in found["cells"] if cell["status"] == "passed"]
    assert {cell["algorithm"] for cell in ran} == {"SegFormer"}
    assert [cell["stage"] for cell in ran if cell["stage"] != "infer"] == ["train", "eval", "export", "quantise"]
    engines = {
        (cell["effective"]["engine"], cell["effective"]["precision"]) for cell in ran if cell["stage"] == "infer"
    }
    assert engines == set(ways.HERE)
    low = [cell for cell in ran if cell["requested"].get("precision") == "bf16"]
    assert len(low) == len([way for way in ways.HERE if way[1] == "bf16"])
    for cell in [cell for cell in low if cell["requested"]["engine"] == "onednn"]:
        # a transformer's work is in its products of matrices; its depthwise convolutions stay in float32
        assert set(cell["metrics"]["evidence"]["onednn"]["products"]) == {"bf16"}
    text = (work / "results/smoke/conclusions.md").read_text(encoding="utf-8")
    assert "segformer_b0" in text and "SegFormer" in text


def test_its_own_archive_was_unpacked(own):
    work, _ = own
    manifest = json.loads((work / "results/data/my_streets/manifest.json").read_text(encoding="utf-8"))
    assert {split: len(pairs) for split, pairs in manifest["splits"].items()} == {"train": 6, "val": 2, "test": 2}


def test_a_changed_model_file_makes_its_chain_again_and_a_changed_archive_everything(own):
    import os

    work, arguments = own

    def plan():
        planned = snakemake(work, "-n", *arguments)
        assert planned.returncode == 0, planned.stdout + planned.stderr
        return planned_jobs(planned.stdout + planned.stderr)

    assert plan() == {}
    chain = {"train": 1, "evaluate": 1, "export": 1, "quantise": 1, "infer": len(ways.HERE), "conclude": 1, "page": 1}
    model, archive = work / EXAMPLE / "segformer_b0.yml", work / "my_streets.tar.gz"
    before, times = model.read_bytes(), model.stat()
    model.write_bytes(before.replace(b"6.0e-5", b"3.0e-5"))
    assert plan() == {"write_run_config": 1, **chain}, "it has the hash of each model's configuration"
    model.write_bytes(before)
    os.utime(model, ns=(times.st_atime_ns, times.st_mtime_ns))
    before, times = archive.read_bytes(), archive.stat()
    archive.write_bytes(before + b"another")
    assert plan() == {"make_tarball": 1, "unpack_dataset": 1, **chain}
    os.utime(archive, ns=(1, 1))
    assert plan() == {"make_tarball": 1, "unpack_dataset": 1, **chain}, "also one that is older"
    archive.write_bytes(before)
    os.utime(archive, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert plan() == {}


def test_the_example_as_it_stands_plans_on_gpus_and_fetches_its_backbone(tmp_path):
    project = copy_project(tmp_path / "project")
    shutil.copytree(ROOT / EXAMPLE, project / EXAMPLE)
    packed("cityscapes", project / "my_streets.tar.gz", "streets")
    planned = snakemake(project, "-n", "--configfile", f"{EXAMPLE}/config.yaml", "--config", "hardware=gpu")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    jobs = planned_jobs(planned.stdout + planned.stderr)
    assert jobs["fetch_weights"] == 1 and jobs["train"] == 4


def test_the_other_layout_and_a_missing_archive(tmp_path):
    """Lists of images, for one of the eight models; first without the archive, then with it."""
    project = copy_project(tmp_path / "project")
    (project / "mine.yaml").write_text(
        "mode: smoke\nhardware: cpu\nmodels: [pp_humanseg_lite]\n"
        "data: {mini_supervisely: my_people}\n"
        "datasets: {my_people: {layout: mini_supervisely, source: path, path: my people.tar.gz}}\n"
    )
    target = "results/data/my_people"
    refused = snakemake(project, target, "--configfile", "mine.yaml")
    assert refused.returncode != 0
    assert "my people.tar.gz" in refused.stdout + refused.stderr
    packed("mini_supervisely", project / "my people.tar.gz", "people")
    done = snakemake(project, target, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((project / target / "manifest.json").read_text(encoding="utf-8"))
    assert len(manifest["splits"]["train"]) == 6


def test_the_documentation_shows_the_files_of_the_example():
    text = (ROOT / "docs/own-model.md").read_text(encoding="utf-8")
    assert (ROOT / EXAMPLE / "config.yaml").read_text(encoding="utf-8") in text
    for name in ("segformer_b0.yml", "config.yaml"):
        assert f"examples/segformer_b0/{name}" in text
