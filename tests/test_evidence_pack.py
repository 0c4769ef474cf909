"""One file to send: what is in it and what is not, whatever the driver does, and out of a red run; and what
`make gpu-evidence` says before it starts.

Programs called nvidia-smi here are stand-ins: no GPU is at hand.
"""

import hashlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import psutil
import pytest
from conftest import ROOT, copy_project, finished_run, interpreter, planned_jobs, snakemake

from segcert import asked, machine, readiness
from segcert.show import evidencepack, packing
from segcert.show.veil import Veil

CONFIG = {
    "mode": "smoke",
    "hardware": "cpu",
    "evidence": True,
    "models": ["pp_humanseg_lite"],
    "input_size": {"default": [64, 64]},
    "train": {"iters": 3, "topologies": ["single"], "precisions": [{"precision": "fp32"}]},
    "infer": {"images": 2, "min_samples": 6, "warmup": 1, "cpu": [{"engine": "native", "precision": "fp32"}]},
    "datasets": {"mini_supervisely_synthetic": {"images": {"train": 6, "val": 2, "test": 2}}},
}
TOP = "results/smoke"
CELL = f"{TOP}/pp_humanseg_lite/single_fp32"
OWN = {"MANIFEST.sha256", "about.json", "versions.json", "nvidia-smi.txt", "snakemake.log"}
SAID = "==============NVSMI LOG==============\nDriver Version    : 550.54\nCUDA Version      : 12.4\n"
ANSWERS = f"#!/bin/sh\n[ \"$1\" = -q ] || exit 1\ncat <<'END'\n{SAID}END\n"
FAILS = "#!/bin/sh\n[ \"$1\" = -q ] && echo 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n"
# It takes no notice of SIGTERM, and leaves a process in a session of its own that holds what it prints to.
HANGS = """#!/bin/sh
[ "$1" = -q ] || exit 1
trap '' TERM
echo begun
setsid sleep 60 &
echo $! $$ > "$0.pids"
exec sleep 60
"""


def standin(folder, text):
    """A folder with a program called nvidia-smi, and PATH with it first."""
    file = folder / "nvidia-smi"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished green run whose configuration asks for the pack, on a machine whose nvidia-smi answers."""
    base = tmp_path_factory.mktemp("evidence")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", standin(base / "bin", ANSWERS))
        return finished_run(base / "a proj é", CONFIG)


@pytest.fixture
def inside(run, monkeypatch, tmp_path):
    """The working folder is that of the run, and nvidia-smi answers; a place for a pack."""
    monkeypatch.chdir(run)
    monkeypatch.setenv("PATH", standin(tmp_path / "bin", ANSWERS))
    return tmp_path / "pack.zip"


def pack(to, **arguments):
    return evidencepack.pack(Path(f"{TOP}/run_config.yaml"), sys.executable, to, [f"{TOP}/evidence.log"], **arguments)


def contents(pack):
    with zipfile.ZipFile(pack) as found:
        return {name: found.read(name) for name in found.namelist()}


# -- what is in it ----------------------------------------------------------------------------


def test_a_run_that_is_asked_to_ends_in_a_pack_of_all_that_it_wrote(run):
    found = contents(run / TOP / "evidence.zip")
    # Independent of the table of cells: whatever lies there, but what a stage reads and what is no text.
    data = {path.parent for path in (run / "results").rglob("manifest.json")}
    written = {
        path.relative_to(run).as_posix()
        for path in (run / "results").rglob("*")
        if path.suffix in (".json", ".log", ".csv", ".md", ".xml", ".yaml", ".html")
        and path.is_file()
        and not path.name.startswith(".")
        and not {"export", "reference"} & {parent.name for parent in path.parents}
        and not data & set(path.parents)
    } - {f"{TOP}/evidence.log"}
    assert set(found) == OWN | written
    for name in ("train.json", "eval.json", "export.json", "train.log", "history.csv"):
        assert f"{CELL}/{name}" in found
    assert sum("/infer/" in name and name.endswith(".process.log") for name in found) == 1
    about = json.loads(found["about.json"])
    assert about["missing"] == [] and about["left_out"] == {} and about["cut"] == []


def test_neither_weights_nor_pictures_are_in_it(run):
    found = contents(run / TOP / "evidence.zip")
    assert (run / CELL / "model.pdparams").is_file() and list((run / CELL).rglob("*.png"))
    allowed = (".json", ".log", ".csv", ".md", ".xml", ".yaml", ".html", ".txt", ".sha256")
    assert [name for name in found if not name.endswith(allowed)] == []
    for name, content in found.items():
        assert not content.startswith((b"\x89PNG", b"\xff\xd8", b"PK", b"\x80")), name
    pictures = re.compile(r'<img[^>]*src="data:image')
    html = f"{TOP}/conclusions.html"
    assert pictures.search((run / html).read_text(encoding="utf-8"))
    assert not pictures.search(found[html].decode()) and "pp_humanseg_lite" in found[html].decode()


def test_its_files_are_checked_by_the_manifest(run, tmp_path):
    with zipfile.ZipFile(run / TOP / "evidence.zip") as packed:
        packed.extractall(tmp_path)
        names = set(packed.namelist())

    def check():
        command = ["sha256sum", "--check", "--strict", "MANIFEST.sha256"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert check().returncode == 0
    listed = {line.split("  ", 1)[1] for line in (tmp_path / "MANIFEST.sha256").read_text().splitlines()}
    assert listed == names - {"MANIFEST.sha256"}
    (tmp_path / CELL / "train.json").write_text("{}")
    assert check().returncode != 0


def test_it_tells_what_the_run_ran_on(run):
    found = json.loads(contents(run / TOP / "evidence.zip")["versions.json"])
    assert found["uname"]["system"] == "Linux"
    assert (found["driver"], found["driver_cuda"]) == ("550.54", "12.4")
    assert found["paddle"]["full_version"] == machine.paddle_build()["full_version"]
    for who in ("workflow", "stages"):
        assert found[who]["python"] == ".".join(map(str, sys.version_info[:3]))
        assert found[who]["packages"]["snakemake"] == machine.package_version("snakemake")
    assert "PATH" in found["environment"] and "HOME" not in found["environment"]


def test_it_says_so_where_an_interpreter_has_no_list_to_give(inside, tmp_path):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no module >&2\nexit 3\n")
    broken.chmod(0o755)
    found = evidencepack.packages(str(broken))
    assert "exit code 3" in found["why_not"] and "no module" in found["said"]
    assert "is not there" in evidencepack.packages(str(tmp_path / "gone"))["why_not"]
    assert "conda" in evidencepack.versions(None, "")["stages"]["why_not"]


def test_the_same_run_gives_the_same_bytes(inside):
    pack(inside)
    first = inside.read_bytes()
    made = pack(inside)
    assert inside.read_bytes() == first and made.bytes == len(first)
    assert made.names == list(contents(inside))


# -- the driver -------------------------------------------------------------------------------


def said_by(monkeypatch, tmp_path, text):
    monkeypatch.setenv("PATH", standin(tmp_path / "bin", text))
    monkeypatch.setattr(evidencepack, "DRIVER_S", 0.5)
    return evidencepack.driver()


def test_the_drivers_answer_is_taken_as_it_is(monkeypatch, tmp_path):
    assert said_by(monkeypatch, tmp_path, ANSWERS) == SAID


def test_a_driver_that_refuses_is_told_of_in_its_own_words(monkeypatch, tmp_path):
    said = said_by(monkeypatch, tmp_path, FAILS)
    assert "exit code 18" in said and "Driver/library version mismatch" in said


def test_a_driver_that_is_not_there_is_told_of(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert evidencepack.driver() == "no answer of nvidia-smi -q: nvidia-smi is not found on PATH\n"


def test_a_program_that_cannot_be_started_is_told_of(monkeypatch, tmp_path):
    said = said_by(monkeypatch, tmp_path, "#!/no/such/interpreter\n")
    assert "nvidia-smi cannot be started" in said


def test_a_program_that_a_signal_ended_is_told_of(monkeypatch, tmp_path):
    assert "was ended by signal 9" in said_by(monkeypatch, tmp_path, "#!/bin/sh\nkill -9 $$\n")


def runs(pid):
    """Whether a process is there, and not only its end to be noticed."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def left_behind(tmp_path):
    """The two processes of the stand-in that hangs, its own last; they are ended after the test."""

    def pids():
        return [int(pid) for pid in (tmp_path / "bin/nvidia-smi.pids").read_text().split()]

    yield pids
    for pid in filter(runs, pids()):
        os.kill(pid, signal.SIGKILL)


def test_a_driver_that_hangs_is_not_waited_for(monkeypatch, tmp_path, left_behind):
    """Nor is a process that it left holding its output, which outlives the test."""
    said = said_by(monkeypatch, tmp_path, HANGS)
    assert "nvidia-smi gave no answer in 0.5 s" in said and "begun" in said
    assert [runs(pid) for pid in left_behind()] == [True, False]


def test_a_program_that_cannot_be_killed_is_not_waited_for(monkeypatch, tmp_path, left_behind):
    """Hardware is missing that would hold a process in a system call: here the signal is not sent."""
    monkeypatch.setattr(asked.os, "killpg", lambda *_: None)
    monkeypatch.setattr(asked, "LAST_WAIT_S", 0.2)
    assert "gave no answer" in said_by(monkeypatch, tmp_path, HANGS)
    assert [runs(pid) for pid in left_behind()] == [True, True]


def test_a_pack_is_made_though_the_driver_hangs(inside, monkeypatch, tmp_path, left_behind):
    monkeypatch.setenv("PATH", standin(tmp_path / "bin", HANGS))
    monkeypatch.setattr(evidencepack, "DRIVER_S", 0.5)
    made = pack(inside)
    found = contents(inside)
    assert b"gave no answer in 0.5 s" in found["nvidia-smi.txt"] and f"{CELL}/train.json" in found
    assert made.missing == [] and json.loads(found["versions.json"])["driver"] is None


# -- masking ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("get https://ann:planted@example.org/x", "get https://***@example.org/x"),
        ("get https://example.org/x?token=planted&a=1", "get https://example.org/x?token=***&a=1"),
        ("Authorization: Bearer planted", "Authorization: Bearer ***"),
        ("MY_TOKEN=planted next", "MY_TOKEN=*** next"),
        ("no token:\nnext line", "no token:\nnext line"),
        ('{"password": "planted", "a": 1}', '{"password": "***", "a": 1}'),
        ("the value value-of-a-variable, bare", "the value ***, bare"),
        ("/home/ann/proj/.venv/bin/python scripts/x.py", "./.venv/bin/python scripts/x.py"),
        ("cd /home/ann/proj; ls /home/ann.", "cd .; ls ~."),
        ("-I/home/ann/include file:///home/ann/x", "-I~/include file://~/x"),
        ("/home/anna/x /home/ann-b /home/ann.old", "/home/anna/x /home/ann-b /home/ann.old"),
        ("loss 0.3, 12 tokens: 5", "loss 0.3, 12 tokens: 5"),
    ],
)
def test_what_is_nobody_elses_is_masked(text, masked):
    veil = Veil({"A_SECRET": "value-of-a-variable", "B_SECRET": "x"}, "/home/ann", "/home/ann/proj")
    assert veil.text(text) == masked
    assert veil.content("a.log", text.encode()) == masked.encode()


def test_a_record_stays_a_record_when_it_is_masked():
    veil = Veil({}, "/home/ann", "/home/ann/proj")
    record = {"command": "/home/ann/x", "/home/ann/key": [1.5, "https://a:b@c/d", None], "token": 5}
    made = veil.content("a.json", json.dumps(record).encode())
    assert json.loads(made) == {"command": "~/x", "~/key": [1.5, "https://***@c/d", None], "token": 5}
    untouched = b'{"a":   1}'
    assert veil.content("a.json", untouched) == untouched
    assert veil.content("a.json", b'{"half": "/home/ann') == b'{"half": "~'
    assert veil.content("a.log", b"\xff /home/ann") == b"\xff ~"
    for nowhere in ("/", "~"):
        assert Veil({}, nowhere, "/").text("/a/b ~/c") == "/a/b ~/c"


# -- bounds, and what does not belong to the run ----------------------------------------------


@pytest.fixture
def changed():
    """Files changed for a test, and afterwards as they were."""
    before = {}

    def change(path, text):
        before[path] = path.read_bytes(), path.stat()
        path.write_text(text)

    yield change
    for path, (content, times) in before.items():
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_of_a_long_log_beginning_and_end_are_kept(inside, run, monkeypatch, changed):
    monkeypatch.setattr(packing, "LOG_BEGIN", 10)
    monkeypatch.setattr(packing, "LOG_END", 20)
    changed(run / CELL / "train.log", "b" * 10 + "m" * 500 + "e" * 20)
    made = pack(inside)
    found = contents(inside)[f"{CELL}/train.log"].decode()
    assert found == "b" * 10 + "\n... 500 bytes are left out here ...\n" + "e" * 20
    assert f"{CELL}/train.log" in made.cut and len(contents(inside)[f"{CELL}/train.json"]) > 30


def test_a_pack_has_a_bound_and_says_what_had_no_room(inside, monkeypatch):
    monkeypatch.setattr(evidencepack, "MOST_BYTES", 200_000)
    made = pack(inside)
    found = contents(inside)
    assert list(made.left_out) == [f"{TOP}/conclusions.html"]
    assert "no room" in json.loads(found["about.json"])["left_out"][f"{TOP}/conclusions.html"]
    assert sum(map(len, found.values())) < 210_000 and f"{CELL}/train.json" in found


def test_the_bound_is_one_of_all_files_together_and_what_is_left_out_is_told(inside, monkeypatch):
    monkeypatch.setattr(evidencepack, "MOST_BYTES", 80_000)
    made = pack(inside)
    found = contents(inside)
    told = {"about.json", "MANIFEST.sha256"}
    assert sum(len(content) for name, content in found.items() if name not in told) <= 80_000
    # none of these is too large by itself; the conclusions come first
    assert len(made.left_out) > 3 and f"{TOP}/conclusions.json" in found
    assert json.loads(found["about.json"])["left_out"] == made.left_out


def test_a_link_is_not_followed(inside, run, tmp_path, changed):
    (tmp_path / "elsewhere").write_text("planted-elsewhere")
    log = run / CELL / "train.log"
    changed(log, "")
    log.unlink()
    log.symlink_to(tmp_path / "elsewhere")
    made = pack(inside)
    assert made.left_out == {f"{CELL}/train.log": "it is a link"}
    assert not [name for name, content in contents(inside).items() if b"planted-elsewhere" in content]


def test_what_the_run_should_have_and_has_not_is_named(inside, run, changed):
    for path in (run / CELL / "eval.json", run / TOP / "conclusions.json"):
        changed(path, "")
        path.unlink()
    made = pack(inside)
    wanted = {f"{CELL}/eval.json", f"{TOP}/conclusions.json", f"{TOP}/conclusions.html"}
    assert set(made.missing) == wanted == set(json.loads(contents(inside)["about.json"])["missing"])


def test_a_page_that_cannot_be_made_keeps_nothing_else_out(inside, run, changed):
    changed(run / TOP / "conclusions.json", '{"mode": "smoke", "cells": [{}]}')
    made = pack(inside)
    assert "it cannot be made: KeyError" in made.left_out[f"{TOP}/conclusions.html"]
    assert f"{CELL}/train.json" in contents(inside)


def test_a_file_that_cannot_be_read_is_named(inside, run, monkeypatch):
    """A user who may read everything runs the tests as well: the refusal is a stand-in."""

    def refuse(path, _open=Path.open, *arguments):
        raise PermissionError(13, "Permission denied")

    reading = packing.read
    monkeypatch.setattr(packing, "read", lambda path: refuse(path) if path.endswith("train.log") else reading(path))
    assert pack(inside).left_out == {f"{CELL}/train.log": "it cannot be read: Permission denied"}


def test_it_is_written_whole_or_not_at_all(inside, run):
    """On a file system that takes no file of more than 20 kB; the pack of before is no pack of this run either."""
    inside.write_text("of before")
    words = [str(run / "scripts/pack_evidence.py"), "--run-config", f"{TOP}/run_config.yaml", "--pack", str(inside)]
    done = subprocess.run(
        [sys.executable, *words, "--python", sys.executable],
        cwd=run,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1 and "no evidence: " in done.stderr and "File too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not inside.exists() and not list(inside.parent.glob(".*.tmp"))


def test_half_a_zip_is_taken_away(inside, monkeypatch):
    """A disk that becomes full while the zip is written: a stand-in for it, after its first file."""
    entries = []

    def entry(name, made=packing._entry):
        entries.append(name)
        if len(entries) > 1:
            raise OSError(28, "No space left on device")
        return made(name)

    monkeypatch.setattr(packing, "_entry", entry)
    with pytest.raises(OSError, match="No space left"):
        pack(inside)
    assert not list(inside.parent.glob("*.zip")) and not list(inside.parent.glob(".*.tmp"))


# -- in the workflow --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "config", "packs"),
    [
        ([], ["mode=smoke"], 0),
        ([], ["mode=smoke", "evidence=true"], 1),
        ([], ["mode=gpu_evidence"], 1),
        (["results/smoke/evidence.zip"], ["mode=smoke"], 1),
    ],
)
def test_the_configuration_or_the_file_name_asks_for_it(project, targets, config, packs):
    planned = snakemake(project, "-n", *targets, "--config", "models=[pp_humanseg_lite]", "hardware=cpu", *config)
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert planned_jobs(planned.stdout + planned.stderr).get("pack_evidence", 0) == packs


def test_a_finished_run_is_finished_and_packs_again_what_is_gone(run, monkeypatch):
    monkeypatch.setenv("PATH", standin(run.parent / "bin", ANSWERS))
    again = snakemake(run, "-n", "--configfile", "mine.yaml")
    assert again.returncode == 0 and "Nothing to be done" in again.stdout + again.stderr
    made = run / TOP / "evidence.zip"
    made.unlink()
    packed = snakemake(run, "--configfile", "mine.yaml")
    assert packed.returncode == 0 and planned_jobs(packed.stdout + packed.stderr) == {"pack_evidence": 1}
    (told,) = re.findall(r"^evidence: .*", packed.stderr, re.M)
    size = made.stat().st_size
    assert told.startswith(f"evidence: {TOP}/evidence.zip ({size / 1e6:.1f} MB, ") and " 0 missing, 0 left out" in told


def test_a_red_run_ends_in_its_pack_and_no_secret_is_in_it(run, monkeypatch):
    """The last of the tests of this run: an inference that fails, with secrets in what it says."""
    monkeypatch.setenv("PATH", standin(run.parent / "bin", FAILS))
    monkeypatch.setenv("PLANTED_TOKEN", "planted-variable")
    before = (run / TOP / "evidence.zip").read_bytes()
    script = run / "scripts/segcert/compute/inference.py"
    source = script.read_text(encoding="utf-8")
    planted = (
        "    import os\n"
        "    print('pull https://ann:planted-user@example.org/x?signature=planted-query')\n"
        "    print('password=planted-told', os.environ['PLANTED_TOKEN'])\n"
        "    raise ValueError('no, https://ann:planted-reason@example.org')\n"
    )
    at = source.index('    """', source.index('"""', source.index("def infer(")) + 3) + 8
    script.write_text(source[:at] + planted + source[at:], encoding="utf-8")
    red = snakemake(run, "--configfile", "mine.yaml")
    assert red.returncode != 0, red.stderr
    assert re.search(r"^evidence: results/smoke/evidence.zip \(\d\.\d MB, \d+ files, 2 missing", red.stderr, re.M)
    assert (run / TOP / "evidence.zip").read_bytes() != before
    found = contents(run / TOP / "evidence.zip")
    (failed,) = [name for name in found if name.endswith(".failed.json")]
    assert json.loads(found[failed])["status"] == "failed"
    assert json.loads(found[f"{TOP}/conclusions.json"])["red"] is True
    assert b"Driver/library version mismatch" in found["nvidia-smi.txt"]
    log = found[failed.replace(".failed.json", ".process.log")].decode()
    assert "pull https://***@example.org/x?signature=***" in log and "password=*** ***" in log
    for name, content in found.items():
        assert b"planted-" not in content, name
        assert str(Path.home()).encode() + b"/" not in content and str(run).encode() not in content, name
    about = json.loads(found["about.json"])
    stem = failed.removesuffix(".failed.json")
    assert about["missing"] == [f"{stem}.json", f"{stem}.log"] and f"{stem}.process.log" in about["masked"]


# -- make gpu-evidence, make env-gpu ----------------------------------------------------------

CARD = """#!/bin/sh
case "$1" in
  -q) echo 'CUDA Version      : 12.4' ;;
  -L) echo 'GPU 0: {name}' ;;
  --query-gpu=*) echo '0, {name}, 550.54, GPU-1, 40960, {capability}' ;;
esac
"""


@pytest.fixture
def making(tmp_path):
    """A copy of the project, and `make` in it with nothing on PATH that the machine has of NVIDIA's."""
    folder = copy_project(tmp_path / "project")
    shutil.copy2(ROOT / "Makefile", folder)
    tools = tmp_path / "tools"
    tools.mkdir()
    for place in filter(os.path.isdir, os.environ["PATH"].split(os.pathsep)):
        for tool in os.scandir(place):
            if not tool.name.startswith("nvidia") and not os.path.lexists(tools / tool.name):
                (tools / tool.name).symlink_to(tool.path)

    def make(*arguments, driver=None):
        path = str(tools)
        if driver is not None:
            standin(tmp_path / "driver", driver)
            path = f"{tmp_path / 'driver'}{os.pathsep}{tools}"
        # What should have stopped before it installs anything has nothing to install from.
        nothing = {} if "env-gpu" in arguments else {"PIP_NO_INDEX": "1"}
        done = subprocess.run(
            ["make", f"PYTHON={sys.executable}", *arguments],
            cwd=folder,
            env={**os.environ, **nothing, "PATH": path, "MAKEFLAGS": ""},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    make.folder = folder
    return make


def environment(folder, name):
    """This environment under the name of another, complete as far as make knows."""
    (folder / name).mkdir()
    for part in ("bin", "lib", "pyvenv.cfg"):
        (folder / name / part).symlink_to(os.path.join(sys.prefix, part))
    for mark in (".complete", ".complete-cpu"):
        (folder / name / mark).touch()


def test_without_a_driver_and_an_environment_make_says_what_to_type_and_starts_nothing(making):
    code, said = making("gpu-evidence")
    assert code != 0 and "nothing was started" in said and "ANYWAY=1" in said
    assert "no NVIDIA driver answers: nvidia-smi is not found on PATH" in said
    assert "the environment of the stages is missing: there is no .venv-gpu/bin/python" in said
    assert "make env-gpu PADDLE_INDEX=ADDRESS" in said and readiness.INSTALLATION_PAGE in said
    assert "make env-paddle-gpu-2.6, then make gpu-evidence STAGES=.venv-paddle-gpu-2.6" in said
    assert not (making.folder / ".venv").exists() and not (making.folder / "results").exists()


@pytest.mark.parametrize(
    ("name", "capability", "fits"),
    [("Card A", "8.0", True), ("Card P", "6.1", True), ("Card H", "9.0", False), ("Card Old", "6.0", False)],
)
def test_of_the_environment_that_needs_no_index_make_says_whether_it_fits_the_card(making, name, capability, fits):
    code, said = making("gpu-evidence", driver=CARD.format(name=name, capability=capability))
    assert code != 0 and "no NVIDIA driver" not in said and "this driver takes CUDA up to 12.4" in said
    assert f"it has {'machine code' if fits else 'none'} for {name} ({capability})" in said


def test_a_driver_that_tells_no_capability_is_no_hindrance_to_the_message(making):
    card = CARD.format(name="Card", capability="8.0").replace(", 8.0", "")
    card = card.replace("--query-gpu=*)", "*compute_cap*) exit 1 ;;\n  --query-gpu=*)")
    code, said = making("gpu-evidence", driver=card)
    assert code != 0 and "no NVIDIA driver" not in said and "machine code" not in said and "Traceback" not in said


def test_a_driver_that_refuses_or_lists_nothing_is_told_of(making):
    code, said = making("gpu-evidence", driver=FAILS)
    assert code != 0 and "exit code 18; its own words: Failed to initialize NVML" in said
    code, said = making("gpu-evidence", driver=ANSWERS)
    assert code != 0 and "the NVIDIA driver lists no GPU" in said


def test_an_environment_for_the_cpu_is_not_taken_for_one_for_gpus(making):
    environment(making.folder, ".venv-gpu")
    code, said = making("gpu-evidence", driver=CARD.format(name="Card", capability="8.0"))
    assert code != 0
    assert re.search(r"the environment .venv-gpu cannot compute on a GPU: Paddle \S+ is a build for the CPU", said)
    assert "note: ONNX Runtime will be unverified on the GPU" in said


def test_anyway_goes_on_with_what_there_is(making):
    environment(making.folder, ".venv")
    code, said = making("gpu-evidence", "ANYWAY=1", "ARGS=--config hardware=cpu -n")
    assert code == 0 and "going on all the same" in said and "pack_evidence" in said, said
    assert "--config mode=gpu_evidence hardware=cpu -n" in said and "python=" not in said
    environment(making.folder, ".venv-mine")
    code, said = making("gpu-evidence", "ANYWAY=1", "STAGES=.venv-mine", "ARGS=--config hardware=cpu -n")
    assert code == 0 and "--config mode=gpu_evidence python=.venv-mine/bin/python hardware=cpu -n" in said, said


def test_where_all_is_there_make_goes_on_by_itself(making, tmp_path):
    """A stand-in for the GPU build of Paddle: the version module alone, which is all that is looked at."""
    environment(making.folder, ".venv")
    python = interpreter(making.folder / ".venv-gpu", "")
    version = next(python.parents[1].glob("lib/python*/site-packages")) / "paddle/version/__init__.py"
    version.parent.mkdir(parents=True)
    version.write_text("full_version = '3.2.2'\ncuda_version = '12.6'\ncompiled_cuda_archs = ['sm_80', 'sm_90']\n")
    version.parent.with_name("__init__.py").touch()
    code, said = making("gpu-evidence", "ARGS=-n", driver=CARD.format(name="Card H", capability="9.0"))
    assert code == 0 and "gpu-evidence:" not in said, said
    assert "--config mode=gpu_evidence python=.venv-gpu/bin/python -n" in said
    # three kinds of mixed precision and fp32; each exported, and run on the CPU and in three ways on the GPU by Paddle
    jobs = planned_jobs(said)
    assert jobs["train"] == jobs["evaluate"] == jobs["export"] == 4 and jobs["infer"] == 4 * (1 + 3)
    code, said = making("gpu-evidence", "ARGS=-n", driver=CARD.format(name="Card V", capability="7.0"))
    assert code != 0 and "has no machine code for Card V" in said


WHEEL = {
    "{name}/__init__.py": "",
    "{name}-{version}.dist-info/METADATA": "Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    "{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "{name}-{version}.dist-info/RECORD": "",
}


def wheel(folder, name, version, requires=""):
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as packed:
        for inside, text in WHEEL.items():
            text = text.format(name=name, version=version) + (requires if "METADATA" in inside else "")
            packed.writestr(inside.format(name=name, version=version), text)
    return file


@pytest.mark.long
def test_env_gpu_installs_the_pins_by_their_hashes_and_then_paddle_held_to_them(making, tmp_path):
    """With wheels of no content in the place of the real ones, and a folder in the place of Paddle's index."""
    pinned = wheel(tmp_path / "pins", "pinned", "1.0")
    index = tmp_path / "index"
    wheel(index / "paddlepaddle-gpu", "paddlepaddle_gpu", "3.2.2", "Requires-Dist: pinned\nRequires-Dist: cudapart\n")
    wheel(index / "cudapart", "cudapart", "12.0")
    wheel(index / "pinned", "pinned", "2.0")
    for folder in index.iterdir():
        (folder / "index.html").write_text("".join(f'<a href="{f.name}">{f.name}</a>' for f in folder.glob("*.whl")))
    locked = making.folder / "envs/gpu.txt"
    mark = making.folder / ".venv-gpu/.complete"
    address = f"PADDLE_INDEX={index.as_uri()}"

    code, said = making("env-gpu")
    assert code != 0 and "PADDLE_INDEX is needed" in said and not mark.parent.exists()
    locked.write_text(f"pinned @ {pinned.as_uri()} \\\n    --hash=sha256:{'0' * 64}\n")
    code, said = making("env-gpu", address)
    assert code != 0 and "HASH" in said.upper() and not mark.exists()
    locked.write_text(f"pinned @ {pinned.as_uri()}\n")  # a pin without a hash
    code, said = making("env-gpu", address)
    assert code != 0 and "HASH" in said.upper() and not mark.exists()
    digest = hashlib.sha256(pinned.read_bytes()).hexdigest()
    locked.write_text(f"pinned @ {pinned.as_uri()} \\\n    --hash=sha256:{digest}\n")
    code, said = making("env-gpu", address)
    assert code == 0 and mark.exists(), said
    listed = subprocess.run(
        [making.folder / ".venv-gpu/bin/python", "-m", "pip", "list", "--format=freeze"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert {"paddlepaddle_gpu==3.2.2", "cudapart==12.0", "pinned==1.0"} <= set(listed.split())
    # A Paddle that asks for another version than the pinned one is refused, and changes no pin.
    wheel(index / "paddlepaddle-gpu", "paddlepaddle_gpu", "3.2.2", "Requires-Dist: pinned>=2\n")
    mark.unlink()
    code, said = making("env-gpu", address)
    assert code != 0 and "conflict" in said and not mark.exists(), said
