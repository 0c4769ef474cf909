"""A run as it is planned: what it takes from Snakemake and the configuration, and what the rules ask of it."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from segcert import cells, ending, files, gpus, machine, modelconfig, processes, record, sections
from segcert.data import classes, download
from segcert.errors import ConfigError
from segcert.machine import Hardware
from segcert.requests import export
from segcert.run import Run, Start
from segcert.stage import supervisor

MODEL = "pp_humanseg_lite"
CONFIG = "config/config.yaml"
SMALL = {"mode": "smoke", "models": [MODEL], "hardware": "cpu"}


@pytest.fixture
def plan(plan_run):
    def run(start=Start(), **overrides):  # noqa: B008
        return plan_run({**SMALL, **overrides}, start)

    return run


def planned_for(run, start, hardware):
    return Run(run.root, start, run.settings, run.python, hardware)


def test_a_run_knows_what_it_is_of(plan, tmp_path):
    run = plan()
    assert (run.mode, run.folder) == ("smoke", "results/smoke")
    assert run.settings["models"] == [MODEL] and run.settings["train"]["workers"] == 1
    assert run.hardware.setting == "cpu" and run.table.hardware is run.hardware
    assert {cell.stage for cell in run.planned} == {"train", "eval", "export", "quantise", "infer"}
    assert all(cell.planned for cell in run.planned) and len(run.planned) < len(run.table.cells)
    assert (tmp_path / run.scripts).samefile(ROOT / "scripts")
    assert run.environment == "../envs/cpu.yaml"
    assert planned_for(run, Start(), Hardware(1, "gpu")).environment == "../envs/gpu.yaml"


def test_a_whole_configuration_is_the_file_and_the_overrides_are_the_users_own(plan):
    whole = yaml.safe_load((ROOT / CONFIG).read_text(encoding="utf-8"))
    whole = sections.merge(whole, {**SMALL, "train": {"iters": 77}})
    run = Run.plan(whole, {}, CONFIG, ROOT, Start())
    assert sections.of_model(run.settings, MODEL, "train")["iters"]["default"] == 5, "the mode goes over the file"
    run = Run.plan(whole, {"train": {"iters": 77}}, CONFIG, ROOT, Start())
    assert sections.of_model(run.settings, MODEL, "train")["iters"] == 77


def test_the_interpreter_of_the_stages(plan, tmp_path):
    assert plan().python == plan(python="auto").python == sys.executable
    assert plan(python="sh").python == "sh", "whatever PATH holds"
    for wrong in ("no-such-python", str(tmp_path)):
        with pytest.raises(ConfigError, match=rf'^python: "{wrong}" is refused; allowed: auto, or a Python'):
            plan(python=wrong)
    # With conda it is that of an environment that is there in a job alone: neither looked for nor looked into.
    in_conda = Start(in_conda=True)
    assert plan(in_conda).python == "python" and plan(in_conda, python="no-such-python").python == "no-such-python"
    assert plan(in_conda).hardware.software == {} != plan().hardware.software


def test_the_process_that_the_user_started_prepares_those_of_its_jobs(plan, monkeypatch):
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    monkeypatch.setenv("PADDLE_TRAINER_ID", "1")
    job = plan(Start(main=False))
    assert job.cleared == () and job.hardware.cores is None
    assert os.environ["PYTHONSAFEPATH"] == "1" and gpus.ANSWER not in os.environ
    run = plan()
    assert {"PADDLE_TRAINER_ID", "PYTHONSAFEPATH"} <= set(run.cleared)
    assert os.environ["PADDLE_TRAINER_ID"] == "1", "each stage takes it away for itself"
    assert "PYTHONSAFEPATH" not in os.environ and run.hardware.cores == machine.cores()
    assert json.loads(os.environ[gpus.ANSWER])["there"] is False, "no GPU is wanted, so no driver is asked"


def test_a_limit_on_gpus_is_that_of_the_run_and_not_of_a_job(plan):
    assert plan(Start(gpus=3), hardware="gpu").hardware.gpus == 3
    assert plan(Start(gpus=3, main=False), hardware="gpu").hardware.gpus == 8


def test_gpu_jobs_at_a_time_are_counted_where_nobody_says(plan):
    run = plan()
    for start, hardware, limit in (
        (Start(), Hardware(4, "auto"), 4),
        (Start(), Hardware(0, "auto"), None),
        (Start(), Hardware(8, "gpu"), None),
        (Start(gpus=2), Hardware(2, "auto"), None),
        (Start(gpus=0), Hardware(0, "auto"), None),
        (Start(jobs=100), Hardware(4, "auto"), None),
        (Start(main=False), Hardware(4, "auto"), None),
    ):
        assert planned_for(run, start, hardware).gpu_limit == limit, (start, hardware)


MODES = sorted(yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["modes"])


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "zoo"])
def test_who_concludes_asks_for_what_was_planned(plan, mode):
    """By the file that it reads: of a record whose command had other options nothing is believed."""
    gates = {"pixel_agreement": 0.5, "logits_peak": 0.5, "logits_l2": 0.5}
    known = {"id": "K1", "match": {"stage": "infer"}, "gates": gates, "reason": "r", "link": "https://e.org"}
    run = plan(mode=mode, known_failures=[known])
    concluded = cells.CellTable.of_run(yaml.safe_load(ending._as_yaml(run)))
    assert [cell.options for cell in concluded.planned()] == [cell.options for cell in run.planned]
    assert any("--known-gates" in cell.options for cell in run.planned)


def test_what_is_wrong_is_found_before_anything_runs(plan, tmp_path):
    with pytest.raises(ConfigError, match=r"train\.iters"):
        plan(train={"iters": 0})
    twin = {"stage": "train", "topology": "single", "name": "single_fp32", "what": "w", "reason": "r"}
    with pytest.raises(ValueError, match=r"share the record results/smoke/\S+/single_fp32/train\.json"):
        plan(model_zoo={MODEL: {"skipped": [twin]}})
    base, own = tmp_path / "base.yml", tmp_path / "own.yml"
    base.write_text(f"_base_: {ROOT}/config/models/{MODEL}.yml\n")
    own.write_text("_base_: base.yml\n")
    mine = {"model_zoo": {MODEL: {"config": "own.yml"}}}
    assert plan(**mine).model_config(MODEL) == Path("own.yml")
    later = own.stat().st_mtime + 1_000_000
    os.utime(base, (later, later))
    with pytest.raises(ConfigError, match=r"base\.yml: its time stamp, .* is in the future"):
        plan(**mine)
    base.unlink()
    with pytest.raises(ConfigError, match=r"own\.yml: _base_: cannot read .*base\.yml"):
        plan(**mine)


def test_the_environment_of_the_jobs(plan):
    run = plan(offline=True)
    named = run.variables
    assert named["STAGE_PYTHON"] == named["WORKFLOW_PYTHON"] == sys.executable
    assert processes.runs(json.loads(named[supervisor.WORKFLOW])) and named["SEGCERT_PROGRESS"] == "0"
    told = {"mini_supervisely_synthetic": {MODEL: str(run.model_config(MODEL))}}
    assert json.loads(named[classes.MODELS]) == told
    assert json.loads(plan(infer={"batch_sizes": [1, 8]}).variables[export.BATCHES]) == {MODEL: [1, 8]}
    assert named[download.OFFLINE] == "1" and all(isinstance(value, str) for value in named.values())


def test_what_is_written_of_a_run_holds_no_secret(plan):
    secret = {"weights": {"pphumanseg_lite_generic": {"url": "https://user:hidden@example.org/w.zip"}}}
    run = plan(**secret)
    assert run.config.keys() == {"settings", "hardware", "paddleseg", "configurations", "versions"}
    assert "hidden" in json.dumps(run.settings) and "hidden" not in json.dumps(run.config)
    assert run.config["hardware"] == vars(run.hardware) and run.config["versions"].keys() == set(machine.WORKFLOW)


def test_what_failed_before_is_known_by_its_stamps(plan):
    run = plan()
    assert run.failures() == {}
    train = next(cell for cell in run.planned if cell.stage == "train")
    (source, *_) = run.table.source_records(train)
    written = [train.failure, record.failure(source)]
    for path in written:
        files.write_text(path, "{}")
    files.write_text(train.record, "{}")
    assert run.failures() == files.stamps(written) and len(run.failures()) == 2


def test_a_cell_that_is_not_planned_is_refused_in_words(plan):
    run = plan()
    assert run.cell("train", MODEL, "single_fp32").name == "single_fp32"
    infer = next(cell for cell in run.planned if cell.stage == "infer")
    assert run.cell("infer", MODEL, infer.train_name, infer.name) is infer
    with pytest.raises(ConfigError, match=f"no train cell single_amp of {MODEL} is planned in mode smoke on hardware"):
        run.cell("train", MODEL, "single_amp")
    with pytest.raises(ConfigError, match=r"no infer cell tea of .* `snakemake --cores 1 matrix`"):
        run.cell("infer", MODEL, "single_fp32", "tea")


def test_a_cell_that_is_timed_alone_takes_all_cores_or_a_gpus_share(plan):
    native = [{"engine": "native", "precision": "fp32"}]
    asked = {"cpu": native, "gpu": native, "cpu_threads": [2]}

    def threads(exclusive):
        run = plan(infer={**asked, "exclusive": exclusive})
        run = planned_for(run, Start(), Hardware(3, "gpu"))
        on = {cell.requested["device"]: cell for cell in run.planned if cell.stage == "infer"}
        return [[run.timed_threads(on[device], cores) for cores in (None, 1, 8)] for device in ("cpu", "gpu")]

    assert threads(exclusive=True) == [[2, 2, 8], [1, 1, 2]]
    assert threads(exclusive=False) == [[2, 2, 2], [1, 1, 1]]


def test_what_a_training_starts_from(plan, tmp_path):
    """Weights that the run's configuration names are fetched; those that the model's own names are files."""
    server = "pp_humanseg_server"
    run = plan(models=[server], train={"pretrained_backbone": True})
    (entry,) = [run.settings["model_zoo"][server]["backbone_weights"]]
    fetched = f"results/weights/{entry}.pdparams"
    assert run.starting_weights(server) == [fetched]
    share = str(run.settings["gates"]["pretrained_share"])
    assert run.starting_options(server) == ["--backbone-weights", fetched, "--min-pretrained-share", share]
    base = f"_base_: {ROOT}/config/models/{server}.yml\n"
    (tmp_path / "own.yml").write_text(base + "model: {backbone: {pretrained: w.pdparams}}\n")
    (tmp_path / "w.pdparams").touch()
    mine = {"config": "own.yml", "backbone_weights": None}
    run = plan(models=[server], train={"pretrained_backbone": True}, model_zoo={server: mine})
    assert run.starting_weights(server) == ["w.pdparams"]
    assert run.starting_options(server) == ["--min-pretrained-share", share]
    assert run.model_config_bases(server) == [str(path) for path in modelconfig.config_chain(Path("own.yml"))[1:]]
    (tmp_path / "own.yml").write_text(base + "model: {backbone: {pretrained: 'https://example.org/w.pdparams'}}\n")
    run = plan(models=[server], model_zoo={server: mine})
    assert run.starting_weights(server) == [] and run.starting_options(server)[:1] == ["--leave-out"]
    assert any("own.yml: " in note and "is not loaded" in note for note in run.notes)


def test_what_is_wrong_with_a_models_configuration_is_told_once_a_run(plan, tmp_path):
    base = f"_base_: {ROOT}/config/models/{MODEL}.yml\n"
    (tmp_path / "own.yml").write_text(base + "optimizer: null\n")
    mine = {"model_zoo": {MODEL: {"config": "own.yml"}}}
    with pytest.raises(ConfigError, match=r"own\.yml: optimizer"):
        plan(**mine)
    assert plan(Start(main=False), **mine).models == {MODEL: Path("own.yml")}, "its jobs do not look again"
    assert plan(train={"checkpoints": "released"}, model_zoo={MODEL: {"released_weights": None}}).models == {}


def test_a_file_is_the_one_that_is_named_or_the_shipped_one(plan, tmp_path):
    run, name = plan(), f"config/models/{MODEL}.yml"
    assert not run.model_config(MODEL).is_absolute() and run.model_config(MODEL).samefile(ROOT / name)
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / name).touch()
    assert run.model_config(MODEL) == run.file(name) == Path(name)


def test_what_is_compared(plan):
    with pytest.raises(ConfigError, match="baseline: null: name the conclusions to compare with"):
        plan().compared()
    assert plan(baseline="a.json").compared() == [
        "--baseline", "a.json", "--candidate", "results/smoke/conclusions.json",
    ]  # fmt: skip
    both = plan(baseline=["a.json", "b.json"], candidate=["c.json", "d.json"])
    assert both.compared() == ["--baseline", "a.json", "b.json", "--candidate", "c.json", "d.json"]
