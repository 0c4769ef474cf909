"""What the driver says, and what is shared out of it. The driver is a stand-in: a script called nvidia-smi."""

import json
import os
import subprocess
import sys

import psutil
import pytest
from conftest import ROOT
from gpu import stand_in_driver
from gpu.stand_in_driver import instance, uuid

from segcert import cells, gpus, machine, sections, settings
from segcert.errors import ConfigError
from segcert.machine import Hardware


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Puts a stand-in on PATH, anew at each call."""
    for name in (gpus.POOL, gpus.VISIBLE, gpus.ANSWER):
        monkeypatch.setenv(name, "")  # so that what a test sets goes with it
        monkeypatch.delenv(name)

    def install(**how):
        for name, value in stand_in_driver.install(tmp_path / "driver", **how).items():
            monkeypatch.setenv(name, value)
        gpus.listed.cache_clear()
        return tmp_path / "driver"

    yield install
    gpus.listed.cache_clear()


def shared(**environment):
    return [device.visible for device in gpus.pool(environment).devices]


def test_a_working_driver(driver):
    driver(count=2, name="Stand-in V100", capability="7.0")
    listing = gpus.listed()
    assert listing.there and listing.trouble is None
    assert [(gpu["index"], gpu["uuid"], gpu["name"]) for gpu in listing.gpus] == [
        ("0", uuid(0), "Stand-in V100"),
        ("1", uuid(1), "Stand-in V100"),
    ]
    assert gpus.capability(listing.gpus[0]) == (7, 0)
    assert shared() == ["0", "1"]
    assert machine.environment()["gpu"] == ["Stand-in V100"] * 2 and machine.environment()["driver"] == "535.104.05"


@pytest.mark.parametrize("said", ["[N/A]", "[Not Supported]", "N/A", "[Unknown Error]", "ERR!", "soon"])
def test_a_capability_that_the_driver_does_not_tell_is_unknown(driver, said):
    driver(count=1, capability=said)
    assert gpus.capability(gpus.listed().gpus[0]) is None
    assert gpus.lacks_dtype(gpus.listed().gpus, "bfloat16") is None
    assert (
        machine.why_paddle_has_no_gpu({"cuda_version": "12.0", "compiled_cuda_archs": ["80"]}, gpus.listed().gpus)
        is None
    )
    assert machine.hardware("auto").gpus == 1


def test_a_driver_that_does_not_know_a_field_is_asked_without_it(driver):
    folder = driver(count=2)
    script = folder / "nvidia-smi"
    script.write_text(script.read_text().replace("compute_cap)", "no_such)"))
    assert [gpu.get("compute_cap") for gpu in gpus.listed().gpus] == [None, None]
    assert gpus.listed().trouble is None


MISMATCH = "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"


@pytest.mark.parametrize(
    ("misbehaviour", "words"),
    [
        (MISMATCH, ["exit code 18", "Driver/library version mismatch"]),
        ("echo 'No devices were found'; exit 6", ["No devices were found"]),
        ("exit 1", ["exit code 1 and said: nothing"]),
        ("kill -9 $$", ["ended by signal 9"]),
        ("sleep 60 & wait", ["gave no answer in 0.5 s", gpus.PATIENCE]),
        ("trap '' TERM INT; sleep 60", ["gave no answer in 0.5 s"]),
        ("exit 0", ["it lists no GPU"]),
    ],
)
def test_a_driver_that_fails_is_told_of_in_its_own_words(driver, monkeypatch, misbehaviour, words):
    monkeypatch.setenv(gpus.PATIENCE, "0.5")
    driver(misbehaviour=misbehaviour)
    found = machine.hardware("auto")
    assert found.gpus == 0 and all(word in found.told for word in words), found.told
    assert all(word in gpus.pool(os.environ).lacks(1) for word in words)
    assert (gpus.PATIENCE in found.told) == ("no answer" in found.told)
    assert gpus.pool({gpus.VISIBLE: "0"}).devices == (), "names are not believed where the driver cannot vouch for them"


def test_a_lost_gpu_is_told_of_and_the_others_are_shared_out(driver):
    folder = driver(count=3)
    script = folder / "nvidia-smi"
    lost = "Unable to determine the device handle for GPU 0000:82:00.0: GPU is lost."
    script.write_text(
        script.read_text().replace('    row=""\n', f'    row=""; [ "$i" = 1 ] && {{ echo "{lost}"; continue; }}\n')
    )
    assert shared() == ["0", "2"] and "GPU is lost" in gpus.listed().trouble
    assert "3 GPUs" in gpus.pool({}).lacks(3) and "GPU is lost" in gpus.pool({}).lacks(3)
    driver(count=2)
    script.write_text(script.read_text().replace("uuid) echo", 'uuid) [ "$1" = 0 ] && echo "[Unknown Error]" ||  echo'))
    assert shared() == ["1"] and "without an index or a UUID" in gpus.listed().trouble


def says(folder, lines):
    """Have the stand-in print further lines with its list."""
    script = folder / "nvidia-smi"
    script.write_text(script.read_text().replace("--query-gpu=*)\n", f"--query-gpu=*)\n{lines}\n"))


def test_what_is_no_row_is_taken_for_no_gpu(driver):
    says(driver(count=2), "echo 'WARNING: infoROM is corrupted, a, b, c, d, e'; echo 'warning' >&2")
    assert shared() == ["0", "1"] and "infoROM" in gpus.listed().trouble


def test_a_gpu_that_is_listed_twice_is_one(driver):
    says(driver(count=2), f"echo '5, Twin, 535, {uuid(1)}, 1, 8.0'")
    assert len(shared()) == 2


def test_a_name_may_hold_commas(driver):
    driver(count=1, name="Stand-in, of a kind, \u00fc")
    assert gpus.listed().gpus[0]["name"] == "Stand-in, of a kind, \u00fc" and gpus.listed().trouble is None


def test_a_driver_that_prints_megabytes_stops_nothing(driver):
    says(driver(count=2), "yes 'a line of garbage' | head -200000")
    gpus.hand_on(wanted=True)
    assert shared() == ["0", "1"] and "more characters" in gpus.listed().trouble
    assert len(os.environ[gpus.ANSWER]) < 4000 and child().startswith("2 ")
    driver(misbehaviour="yes 'a line of garbage' | head -200000; exit 3")
    assert len(machine.hardware("auto").told) < 1000


def test_a_beginning_that_fits_several_names_none(driver):
    driver(count=2)
    assert shared(CUDA_VISIBLE_DEVICES="GPU-") == []
    with pytest.raises(ConfigError, match="GPU-5742 is refused"):
        gpus.pool({gpus.POOL: "GPU-5742"})
    assert shared(CUDA_VISIBLE_DEVICES=uuid(1)[:-1]) == []
    driver(count=1)
    assert shared(CUDA_VISIBLE_DEVICES="GPU-57") == [uuid(0)], "the job is given the whole name"


def test_a_card_that_is_not_shared_out_decides_nothing(driver, monkeypatch):
    folder = driver(count=2, capability="8.0")
    script = folder / "nvidia-smi"
    other = 'compute_cap) [ "$1" = 1 ] && echo 3.7 || echo 8.0'
    script.write_text(script.read_text().replace('compute_cap) echo "8.0"', other))
    monkeypatch.setattr(machine, "paddle_build", lambda *_: {"cuda_version": "12.6", "compiled_cuda_archs": [80]})
    lacks = machine.hardware("auto").lacks
    assert "capability 3.7" in lacks["paddle"] and "capability 3.7" in lacks["bfloat16"]
    monkeypatch.setenv(gpus.VISIBLE, "0")
    assert not {"paddle", "bfloat16"} & machine.hardware("auto").lacks.keys()


def test_a_plan_for_other_machines_knows_the_limit_and_the_pool(driver, monkeypatch):
    driver(count=1)
    assert machine.hardware("gpu").gpus == 8
    assert machine.hardware("gpu", at_most=1).why_not_so_many(2).endswith("--resources gpu=1 allows no more")
    monkeypatch.setenv(gpus.POOL, "0")
    assert machine.hardware("gpu").gpus == 1 and machine.hardware("gpu", here=False).gpus == 8
    monkeypatch.setenv(gpus.POOL, "9")
    with pytest.raises(ConfigError, match="9 is refused"):
        machine.hardware("gpu")


def test_a_script_that_cannot_be_started(driver):
    folder = driver()
    (folder / "nvidia-smi").write_text("#!/no/such/interpreter\n")
    assert "cannot be started" in gpus.listed().trouble


def test_without_a_driver_names_are_taken_as_they_are(driver, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    gpus.listed.cache_clear()
    assert not gpus.listed().there and shared(TIPC_GPU_POOL="0,1") == ["0", "1"]
    assert gpus.pool({}).lacks(1) == "needs a GPU; this machine has none"


@pytest.mark.parametrize(
    ("named", "has"),
    [
        ("1,0", ["1", "0"]),
        (" 1 , 1,", ["1"]),
        (uuid(1), [uuid(1)]),
        (f"0,{uuid(0)}", ["0"]),
        ("1,-1,0", ["1"]),
        ("1,9,0", ["1"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("all", []),
    ],
)
def test_visible_devices_are_read_as_cuda_reads_them(driver, named, has):
    driver(count=2)
    pool = gpus.pool({gpus.VISIBLE: named})
    assert [device.visible for device in pool.devices] == has
    if not has:
        assert pool.lacks(1) == f"needs a GPU; {gpus.VISIBLE}={named}, which hides 0, 1 of this machine"


def test_a_pool_of_what_is_not_there_is_refused_by_name(driver, monkeypatch):
    driver(count=1)
    with pytest.raises(ConfigError, match=rf"TIPC_GPU_POOL=0,7: 7 is refused; .* 0 \({uuid(0)}\)"):
        gpus.pool({gpus.POOL: "0,7"})
    monkeypatch.setenv(gpus.POOL, "7")
    with pytest.raises(ConfigError, match="7 is refused"):
        machine.hardware("auto")


def test_a_gpu_cut_into_instances_is_shared_out_as_those(driver):
    driver(count=2, instances=2)
    assert shared() == [instance(0, 0), instance(0, 1), instance(1, 0), instance(1, 1)]
    assert machine.hardware("auto").gpus == 4
    assert shared(CUDA_VISIBLE_DEVICES="1") == [instance(1, 0)], "CUDA takes the first"
    assert shared(CUDA_VISIBLE_DEVICES=instance(0, 1)) == [instance(0, 1)]
    assert gpus.model(instance(1, 1)) == "Stand-in A100"


@pytest.mark.parametrize(
    ("device", "model"), [("1", "Stand-in A100"), (uuid(1), "Stand-in A100"), ("7", None), ("", None), ("MIG-1", None)]
)
def test_the_driver_tells_a_devices_model(driver, device, model):
    driver(count=2)
    assert gpus.model(device) == model


def test_plan_pool_and_limit_count_alike(driver, monkeypatch):
    driver(count=4)
    assert machine.hardware("auto").gpus == len(gpus.pool(os.environ).devices) == 4
    monkeypatch.setenv(gpus.VISIBLE, "0")
    found = machine.hardware("auto")
    assert found.gpus == len(gpus.pool(os.environ).devices) == 1
    words = "needs 2 GPUs on one machine; 1 is shared out: CUDA_VISIBLE_DEVICES=0, which hides 1, 2, 3 of this machine"
    assert found.why_not_so_many(2) == words
    monkeypatch.delenv(gpus.VISIBLE)
    assert machine.hardware("auto", at_most=1).why_not_so_many(2).endswith("--resources gpu=1 allows no more")


def test_types_that_a_card_does_not_compute_in_are_planned_as_unverified(driver):
    driver(count=2, name="Stand-in V100", capability="7.0")
    resolved = settings.resolve(*shipped(models=["pp_humanseg_lite"]))
    found = machine.hardware("auto")
    assert set(found.lacks) >= {"bfloat16"} and "float16" not in found.lacks
    able = Hardware(found.gpus, "auto", lacks={"bfloat16": found.lacks["bfloat16"]}, told=found.told)
    told = {cell.name: cell.reason for cell in cells.CellTable(resolved, able).cells if cell.stage == "train"}
    assert told["single_amp_O1_float16"] is None
    wanted = (
        "needs a GPU that computes in bfloat16; Stand-in V100 (compute capability 7.0) does not compute in bfloat16"
    )
    assert told["single_amp_O1_bfloat16"] == f"{wanted}; 8.0 is needed"


def shipped(**overrides):
    """Arguments of `settings.resolve` for the shipped configuration with mixed precision in both types."""
    import yaml

    path = ROOT / "config/config.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    precisions = [{"precision": "amp", "level": "O1", "dtype": dtype} for dtype in ("float16", "bfloat16")]
    overrides = {**overrides, "train": {"precisions": precisions}}
    return sections.merge(config, overrides), overrides, str(path)


CHILD = "import sys; sys.path.insert(0, sys.argv[1]); from segcert.gpus import listed; "
CHILD += "print(len(listed().gpus), listed().trouble)"


def child():
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(ROOT / "scripts")], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_the_driver_is_asked_once_a_run_and_its_answer_handed_on(driver, monkeypatch):
    folder = driver(count=4)
    gpus.hand_on(wanted=True)
    asked = stand_in_driver.asked(folder).read_text()
    assert len(gpus.listed().gpus) == 4 and child() == "4 None"
    assert stand_in_driver.asked(folder).read_text() == asked
    told = json.loads(os.environ[gpus.ANSWER])
    monkeypatch.setenv(gpus.ANSWER, json.dumps({**told, "machine": {**told["machine"], "host": "elsewhere"}}))
    assert child() == "4 None" and stand_in_driver.asked(folder).read_text() != asked, "another machine's answer"
    monkeypatch.setenv(gpus.ANSWER, json.dumps(told))
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    before = stand_in_driver.asked(folder).read_text()
    assert child() == "4 None" and stand_in_driver.asked(folder).read_text() != before, "the answer outside a job"
    monkeypatch.setenv(gpus.ANSWER, "not JSON")
    assert child() == "4 None"


def test_the_driver_is_not_asked_where_no_gpu_is_wanted(driver, monkeypatch):
    folder = driver(misbehaviour="sleep 60")
    gpus.hand_on(wanted=False)
    assert machine.hardware("cpu").gpus == 0 and machine.environment()["gpu"] is None and child() == "0 None"
    assert not stand_in_driver.asked(folder).exists()
    monkeypatch.delenv(gpus.ANSWER)


def test_processes_and_memory_of_a_device(driver):
    driver(count=2, busy={1: 4242})
    assert gpus.compute_processes(uuid(1)) == [4242] and gpus.compute_processes(uuid(0)) == []
    assert gpus.memory_mb(4242) is None
    driver(misbehaviour=MISMATCH)
    assert gpus.compute_processes(uuid(1)) == []
    folder = driver()
    script = folder / "nvidia-smi"
    script.write_text(
        script.read_text().replace(
            "--query-compute-apps=*) : ;;", "--query-compute-apps=*) echo '7, 500'; echo '7, 20'; echo '8, [N/A]' ;;"
        )
    )
    assert gpus.memory_mb(7) == 520 and gpus.memory_mb(8) is None


def test_patience_that_is_no_number_is_the_usual(monkeypatch):
    monkeypatch.setenv(gpus.PATIENCE, "soon")
    assert gpus._patience() == gpus.PATIENCE_S


def test_a_process_that_cannot_be_ended_is_not_waited_for(driver, monkeypatch):
    """A stand-in for one that hangs in a driver: it leaves its group, so that the signal does not reach it."""
    monkeypatch.setenv(gpus.PATIENCE, "0.3")
    driver(misbehaviour="setsid sleep 31.7 & wait")
    assert "gave no answer" in gpus.listed().trouble
    sleeping = [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "31.7"]]
    assert len(sleeping) == 1
    sleeping[0].kill()
