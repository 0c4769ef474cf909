"""The same chain on two generations of Paddle: every engine proves itself on both, and they agree.

The two are the sides of one `snakemake upgrade`, which makes no environment here but finds those that are there.
Needs the environment that `make env-paddle-2.6` makes; `make test-generations` makes it first.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import ways
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "helpers"))

from conftest import ROOT, copy_project, snakemake

from segcert import proof, statuses

OLD = ROOT / ".venv-paddle-2.6/bin/python"
CONFIG = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": ["pp_humanseg_lite"],
    "input_size": {"default": [64, 64]},
    "train": {"iters": 3, "topologies": ["single"]},
    "infer": {"images": 2, "min_samples": 4, "warmup": 1},
    "datasets": {"mini_supervisely_synthetic": {"images": {"train": 6, "val": 2, "test": 2}}},
    # Four samples of a tiny model say nothing of speed, and a fresh process nothing of memory.
    "compare": {"tolerance": dict.fromkeys(("inference_ms", "offline_ips", "build_s", "train_ips", "peak_rss_mb"))},
}
GENERATIONS = {"3.2": "model.json", "2.6": "model.pdmodel"}


@pytest.fixture(scope="session")
def upgraded(tmp_path_factory):
    """The folder of an upgrade from the one generation to the other, after both ran."""
    assert OLD.exists(), f"{OLD} is not there: make env-paddle-2.6"
    folder = copy_project(tmp_path_factory.mktemp("upgrade") / "project")
    sides = [{"name": "2.6", "side": str(OLD)}, {"name": "3.2", "side": pinned_in("cpu.txt")}]
    (folder / "mine.yaml").write_text(yaml.safe_dump({**CONFIG, "sides": sides, "upgrade": {"name": "generations"}}))
    done = snakemake(folder, "upgrade", "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (folder / ".sides").exists() or not list((folder / ".sides").glob("paddle-*/bin")), "none is made"
    return folder / "results/upgrade/generations"


def pinned_in(lock):
    """The version of Paddle that a lock pins."""
    return re.search(r"^paddlepaddle==(\S+)", (ROOT / "envs" / lock).read_text(), re.M)[1]


@pytest.fixture(scope="session")
def chains(upgraded):
    """Generation -> the folder of the whole run on it."""
    return {generation: upgraded / generation / "1" for generation in GENERATIONS}


def test_one_command_says_that_it_is_an_upgrade(upgraded):
    found = json.loads((upgraded / "upgrade.json").read_text(encoding="utf-8"))
    assert not found["failed"] and [side["verdict"] for side in found["sides"]] == ["first", "upgrade"]
    assert found["sentences"][0].startswith("Upgrade from 2.6 to 3.2: of ")
    assert [side["paddle"].rsplit(".", 1)[0] for side in found["sides"]] == list(reversed(GENERATIONS))
    assert found["sides"][1]["made"].endswith(" has every pin of cpu.txt")
    page = (upgraded / "upgrade.html").read_text(encoding="utf-8")
    assert '<section class="verdict is-green"' in page and 'href="3.2/1/results/smoke/conclusions.html"' in page
    assert (upgraded / "3.2/1/results/smoke/conclusions.html").is_file()
    assert "# Upgrade, mode smoke: 3.2: upgrade" in (upgraded / "upgrade.md").read_text(encoding="utf-8")


BRANCHING = """
import sys
sys.path[:0] = [{scripts!r}, {tests!r}]
import numpy as np, paddle
from paddleseg.deploy.export import WrappedModel
from segcert.compute import exporting
from branching import Branching
model = Branching()
wrapped = WrappedModel(model, "argmax")
wrapped.eval()
exporting._save(wrapped, exporting.Path("model"), 8, 8)
saved = paddle.jit.load("model")
for sign in (1, -1):
    batch = paddle.to_tensor(sign * np.random.default_rng(1).random((3, 3, 8, 8)).astype("float32"))
    assert np.array_equal(saved(batch).numpy(), model(batch)[0].numpy().argmax(1)), sign
"""


@pytest.mark.parametrize("python", [sys.executable, str(OLD)], ids=GENERATIONS)
def test_a_model_whose_way_depends_on_its_input_is_exported_whole(tmp_path, python):
    """Paddle 2 traces one branch of it in silence."""
    code = BRANCHING.format(scripts=str(ROOT / "scripts"), tests=str(ROOT / "tests/helpers"))
    done = subprocess.run([python, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr


def conclusions(folder):
    return json.loads((folder / "results/smoke/conclusions.json").read_text(encoding="utf-8"))


def stage(folder, name):
    return [cell for cell in conclusions(folder)["cells"] if cell["stage"] == name and cell["status"] == "passed"]


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_stage_ran_on_that_paddle(chains, generation):
    folder = chains[generation]
    assert conclusions(folder)["red"] is False
    # once more as a static graph, which is evaluated too
    counts = {"train": 2, "eval": 2, "export": 1, "quantise": 1, "infer": len(ways.HERE) + ways.BESIDE}
    for name, count in counts.items():
        cells = stage(folder, name)
        assert len(cells) == count, name
        for cell in cells:
            assert cell["env"]["paddle"].startswith(f"{generation}.")
            assert cell["command"].split()[0] == (sys.executable if generation == "3.2" else str(OLD))
            assert proof.differences(cell["requested"], cell["effective"]) == []
            assert cell["reason"] is None


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_export_is_of_that_generation(chains, generation):
    export = stage(chains[generation], "export")[0]
    program = GENERATIONS[generation]
    folder = chains[generation] / "results/smoke/pp_humanseg_lite/single_fp32/export"
    assert export["effective"]["program"] == program
    assert export["effective"]["converted"] == ("traced" if generation == "3.2" else "from source")
    assert yaml.safe_load((folder / "deploy.yaml").read_text())["Deploy"]["model"] == program
    assert (folder / program).is_file() and (folder / "model.onnx").is_file()


@pytest.mark.parametrize("generation", GENERATIONS)
def test_engines_prove_themselves_on_both(chains, generation):
    evidence = {
        (cell["effective"]["engine"], cell["effective"]["precision"]): cell["metrics"]["evidence"]
        for cell in stage(chains[generation], "infer")
    }
    assert set(evidence) == set(ways.HERE)
    assert evidence["native", "fp32"]["onednn"]["primitives"] == 0
    for precision, dtype in (("fp32", "f32"), ("bf16", "bf16")):
        if ("onednn", precision) in ways.HERE:
            trace = evidence["onednn", precision]["onednn"]
            assert set(trace["convolutions"]) == {dtype} and trace["threads"] == 1
    assert set(evidence["openvino", "fp32"]["convolutions"]) == {"f32"}


def test_the_generations_agree(upgraded, chains):
    """From equal seeds: equal losses, equal label maps; and the comparison finds what does differ."""
    import numpy as np

    from segcert.compute import metrics
    from segcert.data import images

    old, new = (chains[generation] / "results/smoke" for generation in ("2.6", "3.2"))
    found = json.loads((upgraded / "upgrade.json").read_text(encoding="utf-8"))["sides"][1]["comparison"]
    concluded = conclusions(chains["3.2"])  # a certificate is compared as a cell is
    told = [cell["status"] for cell in concluded["cells"]] + [item["verdict"] for item in concluded["certificates"]]
    assert found["cells_compared"] == sum(statuses.by_name(name).exercised for name in told) > 4
    assert {row["field"] for row in found["environment"]} >= {"paddle", "paddle_commit", "paddle2onnx"}
    changed = "program: model.pdmodel -> model.json; converted: from source -> traced"
    assert changed in [change["note"] for change in found["changes"]]
    loss = next(figure for figure in found["figures"] if figure["metric"] == "last_loss")
    assert loss["ratio"] == pytest.approx(1, abs=1e-3)
    reference = "pp_humanseg_lite/single_fp32/reference"
    names = sorted(path.name for path in (old / reference).glob("*.png"))
    assert len(names) == CONFIG["infer"]["images"]
    agreement = [
        metrics.agreement(*(images.read_label(folder / reference / name) for folder in (old, new))) for name in names
    ]
    assert np.mean(agreement) > 0.999
