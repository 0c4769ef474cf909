"""No training, for real: released weights and a data set over HTTP, then everything else.

In mode whole_infer, and in a mode of a user's own that says so by its key; the engines are shared out between them.

The weights are trained here for three iterations and served as the original serves its own: a zip with
a folder that holds model.pdparams. The data set comes as a zip in mini_supervisely's layout.
"""

import json
import os
import re
import shutil
import tarfile
import zipfile

import pytest
import tipc_logs
import ways
import yaml
from conftest import copy_project, planned_jobs, snakemake
from http_server import Answer, serving

from segcert import attempts, cells, conclusions, machine, sections, settings
from segcert.data import synthetic

MODEL = "pp_humanseg_lite"
IMAGES = {"train": 6, "val": 2, "test": 7}  # more to infer on than a lite mode would take
# Mode -> what is run in it: each way from a checkpoint once.
ENGINES = {
    "whole_infer": [("native", "fp32"), ("onednn", "bf16")],
    "mine": [("onnxruntime", "fp32"), ("openvino", "bf16")],
}
# Those that this CPU can run.
HERE = {mode: [way for way in asked if way[1] != "bf16" or machine.cpu_has_bf16()] for mode, asked in ENGINES.items()}
PASSED = len(HERE["whole_infer"])
TINY = {
    "hardware": "cpu",
    "models": [MODEL],
    "input_size": {"default": [64, 64]},
    "train": {"iters": 3, "topologies": ["single"]},
    "infer": {
        "from_topologies": ["single"],
        "cpu_threads": [1],
        "min_samples": 4,
        "min_seconds": 0,
        "warmup": 1,
        "max_warmup": 2,
        "exclusive": False,
    },
    # as in mode smoke: after three iterations the classes of many pixels are nearly tied
    "gates": {"pixel_agreement": {"bf16": 0.9}, "miou_drop": {"bf16": 0.05}},
}


def modes():
    """What a user writes of the two: of the shipped one only the engines."""
    cpu = {mode: [dict(zip(("engine", "precision"), pair, strict=True)) for pair in ENGINES[mode]] for mode in ENGINES}
    mine = {"train": {"checkpoints": "released"}, "infer": {"images": None, "cpu": cpu["mine"]}}
    return {"whole_infer": {"infer": {"cpu": cpu["whole_infer"]}}, "mine": mine}


def zipped(tar, wrapper, target):
    with tarfile.open(tar) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for member in source:
            packed.writestr(f"{wrapper}/{member.name}", source.extractfile(member).read())
    return target.read_bytes()


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """A project after a whole run of each mode, the site that they fetched from, and the jobs of each run."""
    home = tmp_path_factory.mktemp("whole")
    folder = copy_project(home / "project")
    images = {"mini_supervisely_synthetic": {"images": IMAGES}}
    (folder / "train.yaml").write_text(yaml.safe_dump({**TINY, "mode": "smoke", "datasets": images}))
    checkpoint = f"results/smoke/{MODEL}/single_fp32/model.pdparams"
    trained = snakemake(folder, checkpoint, "--configfile", "train.yaml")
    assert trained.returncode == 0, trained.stdout + trained.stderr
    with zipfile.ZipFile(home / "w.zip", "w") as packed:
        packed.write(folder / checkpoint, "pphumanseg_lite_generic_192x192/model.pdparams")
    synthetic.write_tar(home / "d.tar", "mini_supervisely", IMAGES, seed=3)
    with serving() as site:
        weights = site.put("/w/pphumanseg_lite_generic_192x192.zip", (home / "w.zip").read_bytes())
        data = site.put("/d/mini_supervisely.zip", zipped(home / "d.tar", "mini_supervisely", home / "d.zip"))
        site.misbehave("/d/mini_supervisely.zip", Answer(status=503), Answer(cut=10_000))
        mine = {
            **TINY,
            "modes": modes(),
            "weights": {"pphumanseg_lite_generic": {"url": weights}},
            "datasets": {"mini_supervisely": {"url": data}},
        }
        (folder / "mine.yaml").write_text(yaml.safe_dump(mine))
        planned = snakemake(folder, "-n", "--configfile", "mine.yaml", "--config", "mode=whole_infer")
        assert site.requests == [], "a plan fetches nothing"
        jobs = {}
        for mode in ENGINES:
            files = ["mine.yaml"]
            if mode == "mine":  # what the first mode's evaluation came to is what is published, to four digits
                files.append("published.yaml")
                first = json.loads((folder / f"results/whole_infer/{MODEL}/released/eval.json").read_text())
                transforms = [{"type": "Resize", "target_size": [64, 64]}, {"type": "Normalize"}]
                told = {
                    "miou": round(first["metrics"]["miou"], 4),
                    "size": [64, 64],
                    "transforms": transforms,
                    "of": None,
                    "data": data,
                }
                text = yaml.safe_dump({"weights": {"pphumanseg_lite_generic": {"published": told}}})
                (folder / files[1]).write_text(text)
            done = snakemake(folder, "--configfile", *files, "--config", f"mode={mode}")
            assert done.returncode == 0, done.stdout + done.stderr
            jobs[mode] = planned_jobs(done.stdout + done.stderr)
        assert jobs["whole_infer"] == planned_jobs(planned.stdout + planned.stderr)
        yield folder, site, jobs


each_mode = pytest.mark.parametrize("mode", ENGINES)


@each_mode
def test_nothing_is_trained(whole, mode):
    folder, _, jobs = whole
    data = {"make_tarball": 1, "unpack_dataset": 1} if mode == "whole_infer" else {}  # the other finds them made
    assert jobs[mode] == data | {
        "take_released_weights": 1,
        "evaluate": 1,
        "export": 1,
        "infer": len(HERE[mode]),
        "write_run_config": 1,
        "conclude": 1,
        "page": 1,
    }
    assert not list((folder / f"results/{mode}").rglob("history.csv"))


@each_mode
def test_conclusions_are_green_and_say_what_ran(whole, mode):
    folder, site, _ = whole
    found = json.loads((folder / f"results/{mode}/conclusions.json").read_text(encoding="utf-8"))
    assert found["red"] is False and found["mode"] == mode and found["scope"]["iterations"] is None
    ran = [cell for cell in found["cells"] if cell["status"] == "passed"]
    assert len(ran) == 3 + PASSED
    assert {cell["status"] for cell in found["cells"]} == {"passed", "unverified"}
    taken = next(cell for cell in ran if cell["stage"] == "train")
    assert taken["requested"]["weights"] == "pphumanseg_lite_generic"
    assert taken["metrics"]["member"] == "pphumanseg_lite_generic_192x192/model.pdparams"
    if mode == "whole_infer":  # the other takes what was fetched
        assert taken["metrics"]["fetched_from"].startswith(site.url)
    evaluated = next(cell for cell in ran if cell["stage"] == "eval")
    assert 0 <= evaluated["metrics"]["miou"] <= 1
    for name in ("conclusions.md", "conclusions.zh.md", "conclusions.csv"):
        assert MODEL in (folder / "results" / mode / name).read_text(encoding="utf-8")


def test_the_published_accuracy_is_verified_only_where_all_is_as_it_was_published(whole):
    folder, site, _ = whole
    shipped, own = (
        json.loads((folder / f"results/{mode}/conclusions.json").read_text())["published"][0] for mode in ENGINES
    )
    assert (own["verdict"], own["miou"]) == ("passed", pytest.approx(own["published"], abs=1e-4))
    assert shipped["verdict"] == "unverified" and shipped["published"] == 0.8602
    for words in ("images of 64x64, not of 192x192", f"weights {site.url}/w/", "human_pp_humansegv1_lite_192x192"):
        assert words in shipped["reason"]
    for mode, sign in (("whole_infer", "?"), ("mine", "✓")):
        text = (folder / f"results/{mode}/conclusions.md").read_text(encoding="utf-8")
        assert f"- {sign} **{MODEL}** `pphumanseg_lite_generic`" in text.split("## Published accuracy")[1]


@each_mode
def test_inference_takes_the_whole_test_list(whole, mode):
    folder, _, _ = whole
    listed = (folder / "results/data/mini_supervisely/test.txt").read_text().split("\n")
    names = sorted(line.split()[0].removeprefix("Images/").removesuffix(".jpg") for line in listed if line)
    assert len(names) == IMAGES["test"]
    released = folder / "results" / mode / MODEL / "released"
    cells_run = [path for path in (released / "infer").iterdir() if path.is_dir()]
    assert len(cells_run) == len(HERE[mode])
    for cell in (*cells_run, released / "reference"):
        assert sorted(path.stem for path in cell.glob("*.png")) == names


@each_mode
def test_status_lines_have_the_originals_form(whole, mode):
    folder, _, _ = whole
    text = (folder / f"results/{mode}/results_python.log").read_text(encoding="utf-8")
    assert text.splitlines()[0] == f"{'-' * 24} {mode} {'-' * 24}"
    form = re.compile(rf"\033\[33m Run successfully with command - {MODEL} - .+ - \S+\.log  \033\[0m")
    lines = text.splitlines()[1:]
    assert lines and all(form.fullmatch(line) for line in lines)
    stages = [line["command"].split("/scripts/")[-1].split("scripts/")[-1].split()[0] for line in
              tipc_logs.status_lines(text)]  # fmt: skip
    assert {stage: stages.count(stage) for stage in stages} == {
        "fetch_weights.py": 1,
        "evaluate.py": 1,
        "export.py": 1,
        "infer.py": PASSED,
    }


def test_every_byte_is_fetched_once_although_the_server_failed(whole):
    folder, site, _ = whole
    for path, content in site.files.items():
        assert sum(request.sent for request in site.asked(path)) == len(content), "also where two modes need it"
    recorded = yaml.safe_load((folder / "results/checksums.yaml").read_text())
    assert set(recorded) == {site.url + path for path in site.files}


@pytest.mark.long
def test_offline_afterwards_nothing_is_to_do_and_nothing_is_missed(whole):
    folder, site, _ = whole
    asked = len(site.requests)
    arguments = ("--configfile", "mine.yaml", "--config", "mode=whole_infer", "offline=true")
    planned = snakemake(folder, "-n", *arguments)
    assert planned_jobs(planned.stdout + planned.stderr) == {"write_run_config": 1, "conclude": 1, "page": 1}
    # made again from what was fetched
    again = snakemake(folder, "results/data/mini_supervisely.tar", "--force", *arguments)
    assert again.returncode == 0, again.stdout + again.stderr
    assert len(site.requests) == asked


def test_one_model_is_trained_beside_anothers_released_weights(whole):
    folder, _, _ = whole
    models = [MODEL, "pp_humanseg_mobile"]
    one = {"models": models, "model_zoo": {MODEL: {"settings": {"train": {"checkpoints": "released"}}}}}
    (folder / "one.yaml").write_text(yaml.safe_dump(one))
    planned = snakemake(folder, "-n", "--configfile", "mine.yaml", "one.yaml", "--config", "mode=smoke")
    jobs = planned_jobs(planned.stdout + planned.stderr)
    kinds = ("train", "take_released_weights", "evaluate", "export", "infer")
    assert [jobs[kind] for kind in kinds] == [1, 1, 2, 2, 2 * len(ways.HERE) + ways.BESIDE]


MODES = {  # iterations of training, images of inference (None: the whole list), data set of street scenes
    "lite_train_lite_infer": (50, 5, "cityscapes_20imgs"),
    "lite_train_whole_infer": (50, None, "cityscapes_20imgs"),
    "whole_train_whole_infer": (1000, None, "cityscapes"),
    "whole_infer": (None, None, "cityscapes_20imgs"),
}


@pytest.mark.parametrize("mode", MODES)
def test_modes_do_what_the_originals_do(root, mode):
    shipped = yaml.safe_load((root / "config/config.yaml").read_text(encoding="utf-8"))
    chosen = {"mode": mode, "models": ["ocrnet_hrnetw18"]}
    resolved = settings.resolve(sections.merge(shipped, chosen), chosen, "config")
    table = cells.CellTable(resolved, machine.hardware("gpu"))
    iters, images, dataset = MODES[mode]
    assert table.dataset("ocrnet_hrnetw18") == dataset
    found = {cell.requested.get("iters") for cell in table.planned("train")}
    assert found == {iters}
    flags = [cell.options for cell in table.planned("infer")]
    assert flags
    for words in flags:
        assert (int(words[words.index("--images") + 1]) if "--images" in words else None) == images


# -- what cannot be had -------------------------------------------------------------------------


def test_weights_and_data_that_cannot_be_had_turn_the_run_red(tmp_path):
    folder = copy_project(tmp_path / "project")
    with serving() as site:
        mine = {
            **TINY,
            "mode": "whole_infer",
            "models": [MODEL, "fcn_hrnet_w18"],
            "model_zoo": {"fcn_hrnet_w18": {"released_weights": None}},
            "weights": {"pphumanseg_lite_generic": {"url": site.url + "/w.zip"}},
            "datasets": {"mini_supervisely": {"url": site.url + "/d.zip"}},
        }
        (folder / "mine.yaml").write_text(yaml.safe_dump(mine))
        done = snakemake(folder, "--configfile", "mine.yaml")
    assert done.returncode != 0
    assert f"{site.url}/w.zip: the server answers 404" in done.stdout + done.stderr
    found = json.loads((folder / "results/whole_infer/conclusions.json").read_text(encoding="utf-8"))
    assert found["red"] is True
    failed = {(cell["stage"], cell["cell"]): cell["reason"] for cell in found["cells"] if cell["status"] == "failed"}
    assert failed.keys() == {("data", "mini_supervisely.tar"), ("train", "released")}
    for name, reason in zip(("d.zip", "w.zip"), failed.values(), strict=True):
        assert f"{site.url}/{name}: the server answers 404" in reason
    lite = [cell for cell in found["cells"] if cell["model"] == MODEL and cell["stage"] not in ("train", "data")]
    assert {cell["status"] for cell in lite} <= {"blocked", "unverified"}
    without = [cell for cell in found["cells"] if cell["model"] == "fcn_hrnet_w18"]
    assert [(cell["status"], cell["reason"]) for cell in without] == [("unverified", "no released weights")]


def test_data_that_cannot_be_had_block_what_is_evaluated_on_them(tmp_path, monkeypatch, root):
    """The weights are there, the data are not: no mark for anything that the data are needed for."""
    monkeypatch.chdir(tmp_path)
    shipped = yaml.safe_load((root / "config/config.yaml").read_text(encoding="utf-8"))
    overrides = {**TINY, "mode": "whole_infer"}
    table = cells.CellTable(
        settings.resolve(sections.merge(shipped, overrides), overrides, "config"),
        machine.hardware("cpu"),
    )
    result = conclusions.conclude(table, ["results/data/mini_supervisely.tar.json"])
    assert result.red
    assert {cell["status"] for cell in result.select(model=MODEL, stage="eval")} == {"blocked"}
    assert result.cells[0]["cell"] == "mini_supervisely.tar" and result.cells[0]["status"] == "failed"
    assert attempts.left_behind("results/data/mini_supervisely.tar.json") == []


@pytest.mark.long
def test_offline_says_what_to_bring_and_where_to_put_it(tmp_path):
    folder = copy_project(tmp_path / "project")
    arguments = ("--config", "mode=whole_infer", f"models=[{MODEL}]", "hardware=cpu", "offline=true")
    done = snakemake(folder, "results/data/mini_supervisely.tar", *arguments)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    url = "https://paddleseg.bj.bcebos.com/humanseg/data/mini_supervisely.zip"
    where = re.search(
        rf"{re.escape(url)}: `offline: true`.*put it at (results/downloads/\S+-mini_supervisely\.zip),", text
    )
    assert where, text
    synthetic.write_tar(tmp_path / "d.tar", "mini_supervisely", {"train": 1, "val": 1, "test": 1}, seed=3)
    zipped(tmp_path / "d.tar", "mini_supervisely", folder / where[1])
    brought = snakemake(folder, "results/data/mini_supervisely.tar", *arguments)
    assert brought.returncode == 0, brought.stdout + brought.stderr


def test_weights_of_this_machine_that_older_ones_replace_are_taken_anew(whole, tmp_path):
    project = copy_project(tmp_path / "project")
    weights = project / "mine.pdparams"
    shutil.copy(whole[0] / f"results/smoke/{MODEL}/single_fp32/model.pdparams", weights)
    entry = {"pphumanseg_lite_generic": {"source": "path", "path": weights.name}}
    (project / "mine.yaml").write_text(yaml.safe_dump({**TINY, "mode": "whole_infer", "weights": entry}))
    asked = (f"results/whole_infer/{MODEL}/released/model.pdparams", "--configfile", "mine.yaml")
    done = snakemake(project, *asked)
    assert done.returncode == 0, done.stdout + done.stderr
    weights.write_bytes(b"others")
    os.utime(weights, (1, 1))
    planned = snakemake(project, "-n", *asked)
    assert planned_jobs(planned.stdout + planned.stderr) == {"take_released_weights": 1}
