"""The chain for real: two small models on two CPU cores, then exactly what a change makes stale.

One run of snakemake makes everything; the rest of the tests look at what it made, and at what dry
runs plan after a change. Each test that changes a file puts it back.
"""

import contextlib
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tipc_logs
import ways
import yaml
from conftest import finished_run, planned_jobs, snakemake
from junitparser import JUnitXml
from markupsafe import escape

from segcert import cells, conclusions, machine, proof, record
from segcert.compute import metrics
from segcert.data import images

MODELS = ("pp_humanseg_lite", "pp_humanseg_mobile")
CONFIG = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": list(MODELS),
    "input_size": {"default": [64, 64]},
    "train": {"iters": 3, "topologies": ["single"]},
    "infer": {"images": 2, "min_samples": 6, "warmup": 1},
    "datasets": {"mini_supervisely_synthetic": {"images": {"train": 6, "val": 2, "test": 2}}},
    # One of the two is exported with another end, so that the whole of it is walked with that.
    "model_zoo": {"pp_humanseg_mobile": {"settings": {"export": {"output_op": "softmax"}}}},
}
INFERRED = len(ways.HERE)  # inference cells per model that this CPU can run
ALL_INFERRED = 2 * INFERRED + ways.BESIDE  # of both
INT8 = len([way for way in ways.HERE if way[1] == "int8"])
TRAINED = len(MODELS) + 1  # mode smoke trains the first as a static graph too, evaluates it and exports it not


@pytest.fixture(scope="session")
def chain(tmp_path_factory):
    """A copy of the project in a folder with a blank and a non-ASCII name, after a whole run."""
    return finished_run(tmp_path_factory.mktemp("chain") / "a proj é", CONFIG)


@pytest.fixture(scope="session")
def found(chain):
    return json.loads((chain / "results/smoke/conclusions.json").read_text(encoding="utf-8"))


def dry_run(folder, *config):
    planned = snakemake(folder, "-n", "--configfile", "mine.yaml", *(("--config", *config) if config else ()))
    assert planned.returncode == 0, planned.stdout + planned.stderr
    return planned.stdout + planned.stderr


def plan(folder, *config):
    return planned_jobs(dry_run(folder, *config))


@contextlib.contextmanager
def changed(path: Path, change):
    """The file with its text changed, and afterwards as it was, its time stamp too."""
    before, times = path.read_bytes(), path.stat()
    path.write_text(change(before.decode()), encoding="utf-8")
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


# -- what it made -----------------------------------------------------------------------------


def test_every_cell_has_a_record_and_what_ran_passed(found):
    assert found["red"] is False
    ran = [cell for cell in found["cells"] if cell["status"] == "passed"]
    by_stage = {
        stage: [cell for cell in ran if cell["stage"] == stage]
        for stage in ("train", "eval", "export", "quantise", "infer")
    }
    assert {stage: len(cells) for stage, cells in by_stage.items()} == {
        "train": TRAINED,
        "eval": TRAINED,
        "export": 2,
        "quantise": 2,
        "infer": ALL_INFERRED,
    }
    for cell in ran:
        assert cell["command"] and cell["effective"] and cell["inputs"]
        assert proof.differences(cell["requested"], cell["effective"]) == []


def test_a_static_graph_ran_and_was_held_against_its_twin(found, chain):
    (made,) = [item for item in found["certificates"] if item["kind"] == "to_static"]
    assert (made["cell"], made["twin"], made["verdict"]) == ("single_fp32_static", "single_fp32", "passed")
    assert made["first_loss_difference"] < 1e-6 and len(made["loss"]["cell"]) == CONFIG["train"]["iters"]
    assert made["miou"] is not None and made["miou_twin"] is not None
    trained = record.read(chain / "results/smoke/pp_humanseg_lite/single_fp32_static/train.json")
    assert trained["requested"]["graph"] == trained["effective"]["graph"] == "to_static"
    seen = trained["metrics"]["graph"]
    assert seen["programs"] == 1 and seen["convolutions"] == seen["convolution_layers"] > 40
    assert seen["steps"] == seen["steps_as_program"] == CONFIG["train"]["iters"]
    text = (chain / "results/smoke/conclusions.md").read_text(encoding="utf-8")
    assert "## Static graphs against their dynamic twins" in text and "fp32 as static graph: passed" in text


def test_the_conclusions_say_how_much_was_asked_for(found):
    scope = found["scope"]
    assert scope["models"] == list(MODELS) and len(scope["not_asked_for"]) == 6
    assert scope["generated_data"] and scope["iterations"] == [CONFIG["train"]["iters"]] * 2


def test_nothing_that_needs_a_gpu_is_passed_without_one(found):
    for cell in found["cells"]:
        if cell["requested"].get("precision") == "amp" or cell["requested"].get("device") == "gpu":
            assert cell["status"] == "unverified" and "GPU" in cell["reason"]
            assert "command" not in cell


def test_engines_prove_themselves(found):
    seen = {}
    for cell in found["cells"]:
        if cell["stage"] == "infer" and cell["status"] == "passed":
            evidence = cell["metrics"]["evidence"]
            seen[cell["effective"]["engine"], cell["effective"]["precision"]] = evidence
    assert seen["native", "fp32"]["onednn"]["primitives"] == 0
    assert set(seen["onednn", "fp32"]["onednn"]["convolutions"]) == {"f32"}
    assert seen["onednn", "fp32"]["outside_onednn"] == {"convolutions": 0, "products": 0}
    assert set(seen["onnxruntime", "fp32"]["nodes"]) == {"CPUExecutionProvider"}
    assert set(seen["onnxruntime", "fp32"]["convolutions"]) == {"CPUExecutionProvider float"}
    assert set(seen["openvino", "fp32"]["convolutions"]) == {"f32"} and seen["openvino", "fp32"]["hint"] == "f32"
    assert seen["openvino", "int8"]["hint"] == ("bf16" if machine.cpu_has_bf16() else "f32"), "as used plainly"
    if machine.cpu_has_bf16():
        assert set(seen["onednn", "bf16"]["onednn"]["convolutions"]) == {"bf16"}
        assert "bf16" in seen["openvino", "bf16"]["convolutions"]


def test_a_program_that_ends_in_softmax_runs_in_every_engine(found, chain):
    asked = [cell for cell in found["cells"] if cell["requested"].get("output_op")]
    ran = [cell for cell in asked if cell["status"] == "passed"]
    assert {cell["model"] for cell in asked} == {"pp_humanseg_mobile"}
    ways_seen = {(cell["effective"].get("engine"), cell["effective"]["precision"]) for cell in ran}
    assert ways_seen == {(None, "fp32"), *ways.HERE}, "the export, and each way of inference"
    for cell in ran:
        assert cell["effective"]["output_op"] == "softmax" and cell["metrics"]["output"]["channels"] == 2
        assert f" --output-op {cell['effective']['output_op']} " in cell["command"]
    told = {(item["model"], item["asked"].get("output_op")) for item in found["fastest"]}
    assert told == {("pp_humanseg_lite", None), ("pp_humanseg_mobile", "softmax")}
    deploy = chain / "results/smoke/pp_humanseg_mobile/single_fp32/export/deploy.yaml"
    assert yaml.safe_load(deploy.read_text())["Deploy"]["output_op"] == "softmax"


def test_files_stand_where_the_contract_says(chain):
    for name in (
        "conclusions.md",
        "conclusions.csv",
        "conclusions.json",
        "conclusions.zh.md",
        "conclusions.html",
        "junit.xml",
        "results_python.log",
        "run_config.yaml",
    ):
        assert (chain / "results/smoke" / name).is_file(), name
    folder = chain / "results/smoke/pp_humanseg_lite/single_fp32"
    for name in (
        "model.pdparams",
        "train.json",
        "train.log",
        "history.csv",
        "eval.json",
        "export/deploy.yaml",
        "export/model.pdiparams",
    ):
        assert (folder / name).is_file(), name
    cell = "python_infer_cpu_usemkldnn_True_threads_1_precision_fp32_batchsize_1"
    assert {path.suffix for path in (folder / "infer" / cell).glob("*.png")} == {".png"}
    with (folder / "history.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == CONFIG["train"]["iters"]
    assert {"loss", "lr", "ips", "reader_cost_s", "loss_scale"} <= rows[0].keys()
    assert not list(chain.rglob("*.partial")) and not list(chain.rglob("*.failed.json"))


def test_every_benchmark_log_reads_back_and_agrees_with_its_record(chain):
    logs = [path for path in chain.glob("results/smoke/*/*/infer/*.log") if not path.name.endswith(".process.log")]
    assert len(logs) == ALL_INFERRED
    for path in logs:
        log, content = tipc_logs.benchmark(path.read_text()), record.read(path.with_suffix(".json"))
        assert log["model"] == {"model_name": content["model"], "precision": content["requested"]["precision"]}
        assert log["data"]["data_num"] == len(content["samples_ms"]["inference"]) >= CONFIG["infer"]["min_samples"]
        mean = sum(content["samples_ms"]["inference"]) / len(content["samples_ms"]["inference"])
        assert log["perf"]["inference_time(ms)"] == pytest.approx(mean, rel=1e-3)
        engine = content["effective"]["engine"]
        assert log["conf"]["enable_mkldnn"] is (engine == "onednn")
        assert log["conf"].get("engine") == (None if engine in ("native", "onednn") else engine)


def test_paddlesegs_own_reader_takes_the_export(chain):
    from paddleseg.deploy.infer import DeployConfig

    deploy = DeployConfig(str(chain / "results/smoke/pp_humanseg_mobile/single_fp32/export/deploy.yaml"))
    assert Path(deploy.model).is_file() and Path(deploy.params).is_file()


def test_status_lines(chain):
    lines = tipc_logs.status_lines((chain / "results/smoke/results_python.log").read_text())
    assert len(lines) == 2 * (TRAINED + 2) + ALL_INFERRED and all(line["ok"] for line in lines)
    assert {line["model"] for line in lines} == set(MODELS)


# data, run_config.yaml; train, evaluate; export, quantise, infer; conclude, page, all
JOBS = 2 + 1 + 2 * TRAINED + 2 * 2 + ALL_INFERRED + 3


def test_a_run_shows_a_line_when_a_job_starts_and_one_when_it_ends(chain):
    lines = (chain / "screen.txt").read_text(encoding="utf-8").splitlines()
    started, done = ([line for line in lines if f" {word} " in line[:18]] for word in ("start", "done"))
    numbers = [sorted(int(line.split(" ")[2].rstrip(":")) for line in found) for found in (started, done)]
    assert numbers[0] == numbers[1] == list(range(JOBS))
    assert max(map(len, started + done)) < 300
    (trained,) = (line for line in started if "train pp_humanseg_lite/single_fp32 (Missing output files)" in line)
    assert re.search(rf"done {trained.split()[2]} train, \d+ s, \d+ of {JOBS}$", "\n".join(done), re.M)
    assert re.search(r"start 0: all \(Input files updated by another job\)$", "\n".join(started), re.M)
    assert sum(len(line) + 1 for line in lines) < 300 * JOBS + 5000
    assert "green, mode smoke" in "\n".join(lines)
    assert not [line for line in lines if line.startswith("passed: ")], "a second line when a job ends"
    # what a line leaves out is in Snakemake's log: the paths of each job
    (log, *_) = sorted((chain / ".snakemake/log").glob("*.log"))
    assert "output: results/smoke/pp_humanseg_lite/single_fp32/model.pdparams" in log.read_text(encoding="utf-8")


# A stand-in for auto_log, which is on no package registry: its interface, its lines, its way to end the process.
AUTO_LOG = """
import sys, time

class Times:
    spans = []
    def start(self): self.spans.append([time.time()])
    def stamp(self): self.spans[-1].append(time.time())
    def end(self, stamp=True): self.stamp()

class AutoLogger:
    def __init__(self, model_name, model_precision, batch_size, inference_config, logger, **others):
        self.given = dict(model_name=model_name, precision=model_precision, batch_size=batch_size)
        self.config, self.logger, self.times = inference_config, logger, Times()
    def report(self):
        sys.path.insert(0, {scripts!r})
        from datetime import datetime
        from segcert.tipc import benchlog
        fields = {{block: {{key: None for keys in lines for key in keys}} for block, lines in benchlog.LAYOUT.items()}}
        fields["conf"] = self.config
        fields["model"].update(model_name=self.given["model_name"], precision=self.given["precision"])
        fields["data"].update(batch_size=self.given["batch_size"], data_num=len(self.times.spans))
        for line in benchlog.format_log(fields, datetime.now()).splitlines():
            self.logger.info(line.split("[INFO]", 1)[1].strip())
        sys.exit(0)
"""


def test_auto_log_writes_the_log_where_it_is_asked_to(chain, found, tmp_path):
    import os
    import shlex

    cell = next(c for c in found["cells"] if c["stage"] == "infer" and c["requested"]["engine"] == "onnxruntime")
    command = shlex.split(cell["command"].replace("--logger builtin", "--logger auto_log"))
    for option in ("--record", "--log", "--benchmark-log", "--predictions"):
        command[command.index(option) + 1] = str(tmp_path / option.strip("-")) + (
            ".json" if option == "--record" else ""
        )

    def run(**more):
        return subprocess.run(
            command, cwd=chain, env={**os.environ, **more}, capture_output=True, text=True, timeout=120, check=False
        )

    without = run()
    assert without.returncode == 1 and "benchmark.logger: auto_log: cannot be imported" in without.stderr
    (tmp_path / "auto_log.py").write_text(AUTO_LOG.format(scripts=str(chain / "scripts")))
    done = run(PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    log = tipc_logs.benchmark((tmp_path / "benchmark-log").read_text())
    assert log["model"]["model_name"] == cell["model"] and log["data"]["data_num"] >= CONFIG["infer"]["min_samples"]


def test_predictions_are_the_references(chain):
    folder = chain / "results/smoke/pp_humanseg_lite/single_fp32"
    for reference in (folder / "reference").glob("*.png"):
        cell = folder / "infer/python_infer_cpu_onnxruntime_threads_1_precision_fp32_batchsize_1"
        assert metrics.agreement(images.read_label(reference), images.read_label(cell / reference.name)) > 0.999


# -- only what is missing or stale is made again ----------------------------------------------
# These come after the others: a dry run needs time stamps as snakemake left them.


def test_second_run_does_nothing(chain):
    assert plan(chain) == {}


@pytest.mark.parametrize("suffix", [".log", ".json"])
def test_a_deleted_file_makes_its_cell_and_the_conclusions(chain, suffix):
    name = "python_infer_cpu_openvino_threads_1_precision_fp32_batchsize_1"
    file = chain / f"results/smoke/pp_humanseg_lite/single_fp32/infer/{name}{suffix}"
    away = file.with_suffix(".away")
    file.rename(away)
    try:
        assert plan(chain) == {"infer": 1, "conclude": 1, "page": 1}
    finally:
        away.rename(file)


def test_other_batch_sizes_make_inference_cells_only(chain):
    assert plan(chain, "infer={batch_sizes: [2]}") == {
        "infer": ALL_INFERRED,
        "write_run_config": 1,
        "conclude": 1,
        "page": 1,
    }


def test_another_learning_rate_makes_that_models_chain_only(chain):
    with changed(chain / "config/models/pp_humanseg_lite.yml", lambda text: text.replace("0.0075", "0.005")):
        chain_jobs = {"train": 2, "evaluate": 2, "export": 1, "quantise": 1, "infer": INFERRED + ways.BESIDE}
        # run_config.yaml has the hash of each model's configuration
        assert plan(chain) == {**chain_jobs, "write_run_config": 1, "conclude": 1, "page": 1}


@pytest.mark.parametrize("file", ["scripts/infer.py", "scripts/segcert/compute/stats.py"])
def test_edited_inference_code_makes_inference_cells(chain, file):
    with changed(chain / file, lambda text: text + "\n# edited\n"):
        assert plan(chain) == {"infer": ALL_INFERRED, "conclude": 1, "page": 1}


def test_edited_quantisation_makes_what_computes_in_int8_only(chain):
    with changed(chain / "scripts/segcert/compute/quantise.py", lambda text: text + "\n"):
        assert plan(chain) == {"quantise": 2, "infer": 2 * INT8, "conclude": 1, "page": 1}


def test_an_edited_engine_makes_exports_too(chain):
    """They are run by it, as proof."""
    with changed(chain / "scripts/segcert/compute/engines/openvino.py", lambda text: text + "\n# edited\n"):
        assert plan(chain) == {"export": 2, "quantise": 2, "infer": ALL_INFERRED, "conclude": 1, "page": 1}


def test_the_reason_names_the_file_that_was_edited_and_no_other(chain):
    with changed(chain / "scripts/segcert/compute/stats.py", lambda text: text + "\n# edited\n"):
        told = dry_run(chain)
    lines = [line for line in told.splitlines() if ": infer " in line]
    assert len(lines) == ALL_INFERRED
    changed_file = r"before: 'segcert/compute/stats.py (\w{12})'; now: '(.*) (\w{12})'"
    reason = rf"\(Params have changed since last execution: {changed_file}\)$"
    for line in lines:
        before, file, now = re.search(reason, line).groups()
        assert file == "segcert/compute/stats.py" and before != now


def test_another_option_is_shown_where_it_differs(chain):
    told = dry_run(chain, "infer={warmup: 2}")
    (line, *_) = (line for line in told.splitlines() if ": infer " in line)
    before, now = re.search(r"before: (.*); now: (.*)\)$", line).groups()
    assert "'--warmup', '1'" in before and "'--warmup', '2'" in now and len(line) < 700


@pytest.mark.parametrize(
    ("file", "jobs"),
    [("conclusions.md.j2", {"conclude": 1, "page": 1}), ("page/page.css", {"page": 1})],
)
def test_an_edited_template_makes_what_it_shows(chain, file, jobs):
    path = chain / "scripts/segcert/show/templates" / file
    with changed(path, lambda text: text + "\n"):
        assert plan(chain) == jobs


def test_new_time_stamps_make_nothing(chain):
    """A `touch`, and a `git checkout` there and back: the same content, younger than all that was made."""
    files = [path for path in (chain / "scripts").rglob("*") if path.is_file()]
    times = {path: path.stat() for path in files}
    for path in files:
        path.write_bytes(path.read_bytes())
    try:
        assert plan(chain) == {}
    finally:
        for path, stat in times.items():
            os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def plan_with_installed(folder, packages):
    """The plan where the folder comes first of all that is installed, as an upgrade's files would be found."""
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from snakemake.cli import main; main()"
    command = [sys.executable, "-c", code, str(packages), "--cores", "2", "-n", "--configfile", "mine.yaml"]
    planned = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    return planned_jobs(planned.stdout + planned.stderr)


def test_an_engine_upgraded_in_place_makes_its_cells_again(chain, tmp_path):
    """Of ONNX Runtime, which quantises too, those in int8 of every engine."""
    metadata = tmp_path / "onnxruntime-99.0.dist-info/METADATA"
    metadata.parent.mkdir()
    metadata.write_text("Metadata-Version: 2.1\nName: onnxruntime\nVersion: 99.0\n")
    again = {"quantise": 2, "infer": 2 * (1 + INT8) + ways.BESIDE_BY_IT}
    assert plan_with_installed(chain, tmp_path) == {**again, "write_run_config": 1, "conclude": 1, "page": 1}


def test_paddle_upgraded_in_place_makes_everything_again_that_runs_on_it(chain, tmp_path):
    (tmp_path / "paddle/version").mkdir(parents=True)
    (tmp_path / "paddle/__init__.py").touch()
    (tmp_path / "paddle/version/__init__.py").write_text('full_version = "99.0"\ncommit = "other"\n')
    chains = {"train": TRAINED, "evaluate": TRAINED, "export": 2, "quantise": 2, "infer": ALL_INFERRED}
    assert plan_with_installed(chain, tmp_path) == {**chains, "write_run_config": 1, "conclude": 1, "page": 1}


def test_edited_readme_makes_nothing(chain):
    with changed(chain / "README.md", lambda text: text + "\nedited\n"):
        assert plan(chain) == {}


def test_edited_cell_table_makes_the_conclusions_only(chain):
    with changed(chain / "scripts/segcert/cells.py", lambda text: text + "\n# edited\n"):
        assert plan(chain) == {"conclude": 1, "page": 1}


def test_snakemakes_own_report_tells_of_the_run(chain):
    done = snakemake(chain, "--configfile", "mine.yaml", "--report", "report.html")
    assert done.returncode == 0, done.stdout + done.stderr
    text = (chain / "report.html").read_text(encoding="utf-8")
    # the description, a caption and a label of each category
    for part in (
        "Certification of PaddleSeg models",
        "as one page",
        "Loss, learning rate",
        "loss by iteration",
        "in AutoLog",
        "status lines",
    ):
        assert part in text, part
    for model in MODELS:
        assert f"Benchmark log of {model}" in text


def test_the_run_is_compared_with_another(chain, found):
    """With itself there is no finding; with one that had what is now gone, and was faster, there are two."""
    same = chain / "results/smoke/conclusions.json"
    asked = ("compare", "--configfile", "mine.yaml", "--config")
    done = snakemake(chain, *asked, f"baseline={same.relative_to(chain)}")
    assert done.returncode == 0, done.stdout + done.stderr
    better = json.loads(json.dumps(found))
    of_engine = [c for c in better["cells"] if c["stage"] == "infer" and c["requested"].get("engine") == "openvino"]
    timing = of_engine[0]["metrics"]["inference_ms"]
    timing |= {key: timing[key] / 100 for key in ("p50", "mean", "p90", "p95")}
    timing["p50_ci95"] = [value / 100 for value in timing["p50_ci95"]]
    better["cells"].append({**of_engine[1], "cell": "gone", "record": "results/smoke/gone.json"})
    (chain / "better.json").write_text(json.dumps(better))
    done = snakemake(chain, *asked, "baseline=better.json")
    assert done.returncode != 0 and "REGRESSED" in done.stdout + done.stderr
    told = (chain / "results/smoke/compare.md").read_text()
    assert "gone" in told and of_engine[0]["cell"] in told


# -- lies -------------------------------------------------------------------------------------


def judged(chain, monkeypatch, *lost, software=()):
    monkeypatch.chdir(chain)
    run = yaml.safe_load(Path("results/smoke/run_config.yaml").read_text())
    run["hardware"]["software"] |= dict(software)
    return conclusions.conclude(cells.CellTable(run["settings"], machine.Hardware(**run["hardware"])), lost)


def test_a_record_of_another_version_is_not_believed(chain, monkeypatch):
    installed = machine.software()["onnxruntime"]
    result = judged(chain, monkeypatch, software={"onnxruntime": "99.0"})
    made_by_it = [
        c
        for c in result.cells
        if c["status"] != "unverified" and (c["requested"].get("engine") == "onnxruntime" or c["stage"] == "quantise")
    ]
    assert {c["status"] for c in made_by_it} == {"not-run"} and len(made_by_it) == 2 * (
        1 + INT8 // 2 + 1
    ) + ways.BESIDE_BY_IT
    first = [c for c in made_by_it if c["requested"].get("precision") == "fp32" or c["stage"] == "quantise"]
    assert len(first) == 4 + ways.BESIDE_BY_IT and all(
        f"onnxruntime was {installed}, now 99.0" in c["reason"] for c in first
    )
    in_int8 = [c for c in result.select(stage="infer") if c["requested"]["precision"] == "int8"]
    assert {c["status"] for c in in_int8} == {"not-run"} and len(in_int8) == 2 * INT8
    others = 2 * (TRAINED + 1 + INFERRED - 1 - INT8) + ways.BESIDE - ways.BESIDE_BY_IT
    assert len([c for c in result.cells if c["status"] == "passed"]) == others
    result = judged(chain, monkeypatch, software={"paddle": "99.0"})
    assert not [c for c in result.cells if c["status"] == "passed"]


def test_what_is_made_from_something_not_believed_is_not_believed(chain, monkeypatch):
    path = chain / "results/smoke/pp_humanseg_lite/single_fp32/train.json"
    with changed(path, lambda text: text.replace('"iters": 3', '"iters": 2', 1)):
        result = judged(chain, monkeypatch)
    lite = [c for c in result.select(model="pp_humanseg_lite") if c["status"] != "unverified"]
    assert {c["status"] for c in lite if c["train_cell"] == "single_fp32"} == {"not-run"}
    assert {c["status"] for c in lite if c["train_cell"] == "single_fp32_static"} == {"passed"}, "a training of its own"


def test_a_record_made_under_another_gate_is_not_believed(chain, monkeypatch):
    name = "python_infer_cpu_onnxruntime_threads_1_precision_fp32_batchsize_1"
    path = chain / f"results/smoke/pp_humanseg_lite/single_fp32/infer/{name}.json"
    with changed(path, lambda text: text.replace("--min-agreement 0.999", "--min-agreement 0.1")):
        result = judged(chain, monkeypatch)
    cell = result.select(model="pp_humanseg_lite", cell=name)[0]
    assert cell["status"] == "not-run" and "other options" in cell["reason"]


def test_data_that_cannot_be_had_turn_the_run_red_and_block_their_models(chain, monkeypatch):
    result = judged(chain, monkeypatch, "results/data/mini_supervisely_synthetic.tar.json")
    assert result.red
    assert [c["cell"] for c in result.cells if c["status"] == "failed"] == ["mini_supervisely_synthetic.tar"]
    for model in MODELS:
        assert {c["status"] for c in result.select(model=model)} == {"blocked", "unverified"}


def test_a_job_that_left_nothing_is_failed(chain, monkeypatch):
    path = "results/smoke/pp_humanseg_lite/single_fp32/eval.json"
    result = judged(chain, monkeypatch, path)
    cell = result.select(model="pp_humanseg_lite", stage="eval")[0]
    assert cell["status"] == "failed" and "ended without a record" in cell["reason"]


def test_a_record_of_other_settings_is_not_believed(chain, monkeypatch):
    path = chain / "results/smoke/pp_humanseg_lite/single_fp32/train.json"
    with changed(path, lambda text: text.replace('"iters": 3', '"iters": 2', 1)):
        result = judged(chain, monkeypatch)
    lite = result.select(model="pp_humanseg_lite", stage="train", train_cell="single_fp32")[0]
    assert lite["status"] == "not-run" and "iters was 2, now 3" in lite["reason"]


def test_a_record_made_from_another_checkpoint_is_not_believed(chain, monkeypatch):
    path = chain / "results/smoke/pp_humanseg_lite/single_fp32/train.json"
    digest = record.read(path)["outputs"]["results/smoke/pp_humanseg_lite/single_fp32/model.pdparams"]
    with changed(path, lambda text: text.replace(digest, "0" * 64)):
        result = judged(chain, monkeypatch)
    for stage in ("eval", "export"):
        cell = result.select(model="pp_humanseg_lite", stage=stage, train_cell="single_fp32")[0]
        assert cell["status"] == "failed", "what lies there is what they were made from, and the training made another"
        assert "model.pdparams is not what results/smoke/pp_humanseg_lite/single_fp32/train.json says" in cell["reason"]
    path = chain / "results/smoke/pp_humanseg_lite/single_fp32/eval.json"
    with changed(path, lambda text: text.replace(digest, "0" * 64)):
        result = judged(chain, monkeypatch)
    (cell,) = result.select(model="pp_humanseg_lite", stage="eval", train_cell="single_fp32")
    assert cell["status"] == "not-run" and "made from another" in cell["reason"]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda text: text[:-5], "failed", "train.json: not a record"),
        (lambda text: text.replace('"mode": "smoke"', '"mode": "other"', 1), "not-run", "mode other, not smoke"),
        (lambda text: text.replace('"command": "', '"command": "\'', 1), "not-run", "its command is none"),
        (
            lambda text: (
                text[: text.index('"effective"')]
                + text[text.index('"effective"') :].replace('"precision": "fp32"', '"precision": "amp"', 1)
            ),
            "failed",
            "its record says passed and does not prove it: precision: fp32 requested, amp observed",
        ),
    ],
    ids=["cut", "mode", "command", "unproven"],
)
def test_a_record_that_was_spoiled_is_not_believed(chain, monkeypatch, change, status, words):
    path = chain / "results/smoke/pp_humanseg_lite/single_fp32/train.json"
    with changed(path, change):
        result = judged(chain, monkeypatch)
    cell = result.select(model="pp_humanseg_lite", stage="train", train_cell="single_fp32")[0]
    assert cell["status"] == status and words in cell["reason"], cell["reason"]
    made = [c["status"] for c in result.select(model="pp_humanseg_lite", stage="eval")]
    assert made[0] == ("blocked" if status == "failed" else "not-run")


SCONTROL = "#!/bin/sh\necho JobId=$5 JobState=TIMEOUT Reason=TimeLimit\n"


def test_a_failure_says_what_ended_its_job(chain, monkeypatch, tmp_path):
    """A stand-in for Slurm's scontrol, which is asked for the job that the record names."""
    (tmp_path / "scontrol").write_text(SCONTROL)
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    path = chain / "results/smoke/pp_humanseg_lite/single_fp32/eval.json"
    content = record.read(path) | {"status": "failed", "reason": "ended", "scheduler_job": {"slurm": "17"}}
    failed = Path(record.failure(str(path)))
    record.write(failed, content)
    try:
        (cell, *_) = judged(chain, monkeypatch).select(model="pp_humanseg_lite", stage="eval")
    finally:
        failed.unlink()
    assert (cell["status"], cell["reason"]) == ("failed", "ended; Slurm job 17 was TIMEOUT: over its time limit")


def test_conclusions_that_cannot_be_written_are_told_of(chain, tmp_path):
    (tmp_path / "file").write_text("in the way")
    script, run = chain / "scripts/conclude.py", "results/smoke/run_config.yaml"
    command = [sys.executable, str(script), "--run-config", run, "--json", str(tmp_path / "file/in/conclusions.json")]
    done = subprocess.run(command, cwd=chain, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert done.stderr.startswith("no conclusions: ") and str(tmp_path / "file") in done.stderr


def test_recorded_commands_run_again_by_hand(chain, found):
    cell = next(c for c in found["cells"] if c["stage"] == "infer" and c["requested"]["engine"] == "onnxruntime")
    again = subprocess.run(
        cell["command"], shell=True, cwd=chain, capture_output=True, text=True, timeout=120, check=False
    )
    assert again.returncode == 0, again.stderr
    assert again.stderr == f"passed: {cell['model']} infer {cell['cell']}\n"


def test_a_red_run_that_is_started_again_is_red_again(chain):
    """Also where every job has its outputs, and Snakemake remembers conclusions from these very inputs as made."""
    path = chain / "results/smoke/pp_humanseg_lite/single_fp32/eval.json"
    with changed(path, lambda text: text.replace('"miou":', '"mean":', 1)):
        for attempt in range(2):
            again = snakemake(chain, "--configfile", "mine.yaml")
            assert again.returncode != 0, (attempt, again.stdout + again.stderr)
            assert "RED" in again.stderr and "its mIoU is None" in again.stderr, again.stderr
    mended = snakemake(chain, "--configfile", "mine.yaml")
    assert mended.returncode == 0 and "green, mode smoke" in mended.stderr, mended.stdout + mended.stderr
    assert "failed" not in (chain / "results/smoke/run_config.yaml").read_text(encoding="utf-8").splitlines()[-1]
    assert plan(chain) == {}


def test_a_broken_stage_blocks_what_is_made_from_it_and_only_that(chain):
    """A real failure in a real run: conclusions are written, the exit code says so, a rerun mends it."""
    config = chain / "config/models/pp_humanseg_mobile.yml"
    with changed(config, lambda text: text.replace("HRNet_W18_Small_V1", "HRNet_W18_Smal")):
        broken = snakemake(chain, "--configfile", "mine.yaml")
        assert broken.returncode != 0
        assert "HRNet_W18_Smal" in broken.stdout + broken.stderr
        result = json.loads((chain / "results/smoke/conclusions.json").read_text())
        assert result["red"] is True
        mobile = [c for c in result["cells"] if c["model"] == "pp_humanseg_mobile" and c["status"] != "unverified"]
        (failed,) = [c for c in mobile if c["stage"] == "train"]
        assert failed["status"] == "failed" and failed["record_file"] == record.failure(failed["record"])
        assert all("record_file" not in c for c in mobile if c["status"] == "blocked")
        assert {c["status"] for c in mobile if c["stage"] != "train"} == {"blocked"}
        lite = [c for c in result["cells"] if c["model"] == "pp_humanseg_lite" and c["status"] != "unverified"]
        assert {c["status"] for c in lite} == {"passed"}
        lines = tipc_logs.status_lines((chain / "results/smoke/results_python.log").read_text())
        assert [line["model"] for line in lines if not line["ok"]] == ["pp_humanseg_mobile"]
        page = (chain / "results/smoke/conclusions.html").read_text(encoding="utf-8")
        (cause,) = [str(escape(cell["reason"].strip())) for cell in mobile if cell["status"] == "failed"]
        assert "Red: one cell failed" in page and cause.splitlines()[0] in page
        assert "conclusions.html" in broken.stderr and "log: results/smoke/pp_humanseg_mobile" in broken.stderr
        assert JUnitXml.fromfile(str(chain / "results/smoke/junit.xml")).failures == 1
    looked = snakemake(chain, "matrix", "--configfile", "mine.yaml")
    assert looked.returncode == 0 and "conclusions:" not in looked.stderr, "nothing ran, so nothing is concluded"
    mended = snakemake(chain, "--configfile", "mine.yaml")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "green, mode smoke" in mended.stderr
    assert json.loads((chain / "results/smoke/conclusions.json").read_text())["red"] is False
