"""An engine: its row of the table and its file agree, nobody knows of it otherwise, and a new one follows a list."""

import ast
import json
import re
import subprocess
import sys

import file_by_file
import pytest
import yaml
from conftest import ROOT, planned_jobs, snakemake

from segcert import cells, code, engines, machine, settings
from segcert.compute.engines import library
from segcert.compute.engines.base import Engine
from segcert.errors import StageError

NAMES = [kind.name for kind in engines.ALL]
FOLDER = ROOT / "scripts/segcert/compute/engines"
MADE = ["config/schema/config.schema.json", "docs/matrix.md"]


@pytest.mark.parametrize("name", NAMES)
def test_every_engine_has_its_file(name):
    found = library.of(name)
    assert issubclass(found, Engine) and found.name == name


def test_every_file_is_that_of_an_engine():
    """`name = ...` in a class: what the table does not have cannot be asked for."""
    classes = [
        statement
        for file in FOLDER.glob("*.py")
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
        for statement in node.body
    ]
    named = [ast.literal_eval(s.value) for s in classes if isinstance(s, ast.Assign) and s.targets[0].id == "name"]
    assert sorted(named) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_row_says_is_known_where_it_is_looked_up(name):
    kind = engines.by_name(name)
    assert kind.software and set(kind.software) <= set(machine.SOFTWARE), "machine.PACKAGES has the versions"
    assert kind.offers and kind.offers.keys() <= {"cpu", "gpu"} and kind.tipc.keys() <= kind.offers.keys()
    asked_of_a_gpu = {kind.gpu_library} if "gpu" in kind.offers else set()
    assert ({kind.gpu_library} - {""}) == asked_of_a_gpu and asked_of_a_gpu <= machine.GPU_LIBRARIES.keys()
    gates = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["gates"]
    for precision in {precision for precisions in kind.offers.values() for precision in precisions}:
        assert precision in gates["pixel_agreement"] and precision in gates["miou_drop"], precision


def test_no_two_cells_are_called_alike():
    names = [cells.infer_name(device, kind.name, "fp32", 1, 1) for kind in engines.ALL for device in kind.offers]
    assert len(set(names)) == len(names) and len(engines.BY_NAME) == len(NAMES)


def test_one_that_is_unknown_is_an_error_that_lists_the_known_ones(tmp_path, monkeypatch):
    for asked in (lambda: library.of("mkl"), lambda: library.create("mkl", tmp_path, "model.json", "cpu", "fp32", 1)):
        with pytest.raises(StageError) as told:
            asked()
        assert str(told.value) == f"engine mkl: no such engine; known: {', '.join(NAMES)}"
    monkeypatch.setitem(engines.BY_NAME, "mkl", engines.Kind(**{**vars(engines.NATIVE), "name": "mkl"}))
    with pytest.raises(StageError, match=r"engine mkl: it stands in .*engines\.py, and library\.py imports no file"):
        library.of("mkl")


@pytest.mark.parametrize(
    ("engine", "device", "precision", "words"),
    [
        ("onednn", "cpu", "int8", "engine onednn: offers fp32, bf16 on cpu, not int8"),
        ("tensorrt", "cpu", "fp32", "engine tensorrt: offers nothing on cpu, not fp32"),
    ],
)
def test_what_an_engine_does_not_offer_is_refused(tmp_path, engine, device, precision, words):
    with pytest.raises(StageError) as told:
        library.create(engine, tmp_path, "model.json", device, precision, 1)
    assert str(told.value) == words


def test_an_engine_loads_no_other():
    """Paddle takes a second to load, and memory that would count as the engine's."""
    asked = (
        "import sys; from segcert.compute.engines import library; library.of('openvino')\n"
        "print([name for name in ('paddle', 'onnxruntime', 'openvino') if name in sys.modules])"
    )
    command = [sys.executable, "-c", asked]
    done = subprocess.run(command, cwd=ROOT / "scripts", capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "['openvino']\n"


def test_the_table_and_the_files_are_code_of_what_runs_exports_alone():
    """A new engine makes no training anew; exports are run by every engine that reads ONNX, as proof."""
    own = {f"{FOLDER}/{file.name}" for file in FOLDER.glob("*.py")} | {str(ROOT / "scripts/segcert/engines.py")}
    for stage in ("train", "evaluate"):
        assert not own & set(code.modules(ROOT / f"scripts/{stage}.py"))
    for stage in ("export", "infer"):
        assert own <= set(code.modules(ROOT / f"scripts/{stage}.py"))


@pytest.mark.parametrize("page", MADE)
def test_what_is_made_from_the_table_is_up_to_date(page):
    done = file_by_file.python(ROOT, "docs/generate.py", "--check", page)
    assert done.returncode == 0, done.stderr


def test_the_choices_of_the_command_line_are_told():
    assert f"--engine {{{','.join(sorted(NAMES))}}}" in (ROOT / "docs/reference/commands.md").read_text(
        encoding="utf-8"
    )


def test_the_configuration_is_checked_against_the_table_itself(monkeypatch):
    monkeypatch.setattr(engines, "ALL", (engines.NATIVE, engines.ONEDNN))
    entries = settings.whole_schema()["$defs"]["infer"]["properties"]
    assert [entries[device]["items"]["properties"]["engine"]["enum"] for device in ("cpu", "gpu")] == [
        ["native", "onednn"],
        ["native"],
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_an_engine_runs_on_is_told_of_among_what_records_hold(name):
    text = (ROOT / "docs/reference/records.md").read_text(encoding="utf-8")
    (told,) = (part for part in text.split("\n\n") if part.startswith("`env`: "))
    assert {f"`{software}`" for software in engines.by_name(name).software} <= set(re.findall("`[^`]+`", told))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_looked_at_is_told_of_every_engine(name):
    text = (ROOT / "docs/explanation.md").read_text(encoding="utf-8")
    table = text.partition("## What evidence each engine gives")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")]
    for device in engines.by_name(name).offers:
        assert name in rows or f"{name}, {device.upper()}" in rows


# -- a new one, file by file ------------------------------------------------------------------

# Of the made-up one. It computes with one library, and has another at hand that records do not have yet.
ROW = """TWIN = Kind(
    name="twin", offers={CPU: ("fp32",)}, software=("onnxruntime", "scipy", "numpy", "opencv"),
    needs_onnx=True, gpu_library="", tipc={},
)  # fmt: skip

# In the order in which they are listed.
ALL = (NATIVE, TWIN, """
FILE = '''"""ONNX Runtime once more, which tells by itself what it ran."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import scipy
from numpy.typing import NDArray

from segcert.compute.engines.base import precision_of
from segcert.compute.engines.onnx import OnnxEngine


class Twin(OnnxEngine):
    """On a CPU."""

    name = "twin"

    def build(self) -> None:
        self.session = self._session(onnxruntime.SessionOptions())
        self.input = self.session.get_inputs()[0].name
        self.beside = scipy.__version__

    def _session(self, options: Any) -> Any:
        options.intra_op_num_threads = self.threads
        return onnxruntime.InferenceSession(self.model(), options)

    def release(self) -> None:
        del self.session

    def given(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        given: NDArray[Any] = self.session.run(None, {self.input: batch})[0]
        return given

    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._session(options)
            session.run(None, {self.input: batch})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        ran = [event["args"] for event in events if "Conv" in event.get("args", {}).get("op_name", "")]
        seen = Counter(next(iter(node["input_type_shape"][0])) for node in ran)
        effective = {"device": "cpu", "engine": "twin", "precision": precision_of(seen, {"float": "fp32"})}
        return effective, {"convolutions_of_the_twin": dict(seen)}
'''
IMPORT = """    if engine == "twin":
        from segcert.compute.engines.twin import Twin

        return Twin
    name = engines.by_name("""
# What the list of CONTRIBUTING.md comes to: file -> what is there, what is there then, the test that misses it.
EDITS = {
    "scripts/segcert/engines.py": (
        "# In the order in which they are listed.\nALL = (NATIVE, ",
        ROW,
        "test_engines.py::test_every_file_is_that_of_an_engine",
    ),
    "scripts/segcert/compute/engines/twin.py": ("", FILE, "test_engines.py::test_every_engine_has_its_file[twin]"),
    "scripts/segcert/compute/engines/library.py": (
        "    name = engines.by_name(",
        IMPORT,
        "test_engines.py::test_every_engine_has_its_file[twin]",
    ),
    "docs/explanation.md": (
        "| openvino | ",
        "| twin | its own profile | the type of most convolutions |\n| openvino | ",
        "test_engines.py::test_what_is_looked_at_is_told_of_every_engine[twin]",
    ),
    "scripts/segcert/machine.py": (
        '    "numpy": ("numpy",),\n',
        '    "numpy": ("numpy",),\n    "scipy": ("scipy",),\n',
        "test_engines.py::test_what_a_row_says_is_known_where_it_is_looked_up[twin]",
    ),
    "docs/reference/records.md": (
        "`env`: `os`, ",
        "`env`: `scipy`, `os`, ",
        "test_engines.py::test_what_an_engine_runs_on_is_told_of_among_what_records_hold[twin]",
    ),
}
PAGES = {
    **{page: f"test_engines.py::test_what_is_made_from_the_table_is_up_to_date[{page}]" for page in MADE},
    "docs/reference/commands.md": "test_engines.py::test_the_choices_of_the_command_line_are_told",
}
# Of a library that nothing here imports yet.
NOT_TWINS = {"envs/cpu.in", "envs/stages.in", "pyproject.toml"}
COUNT = "test_docs.py::test_pages_that_count_the_ways_of_inference_count_right"
IN_EVERY_RUN = {
    "config/config.yaml": (
        "    - {engine: openvino, precision: bf16}\n",
        "    - {engine: openvino, precision: bf16}\n    - {engine: twin, precision: fp32}\n",
    ),
    "docs/tutorial.md": ("eight ways on the CPU (four engines, ", "nine ways on the CPU (five engines, "),
    "docs/tutorial.zh.md": ("八种方式（四种引擎，", "九种方式（五种引擎，"),
    "docs/own-model.md": ("eight ways on the CPU (four engines, ", "nine ways on the CPU (five engines, "),
}
GOLDEN, AGAIN = "tests/golden/cells.txt", "docs/reference/config.md"
RUN = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": ["pp_humanseg_lite"],
    "input_size": {"default": [64, 64]},
    "train": {"iters": 3, "topologies": ["single"], "precisions": [{"precision": "fp32"}]},
    "infer": {"images": 2, "min_samples": 6, "warmup": 1, "cpu": [{"engine": "twin", "precision": "fp32"}], "gpu": []},
    "datasets": {"mini_supervisely_synthetic": {"images": {"train": 6, "val": 2, "test": 2}}},
}


def edit(folder, *names):
    for name in names:
        file_by_file.edit(folder, name, *EDITS[name][:2])


def undone(folder, name):
    """Have a file of the list as it was, and what then fails of the tests that miss a file."""
    path = folder / name
    edited = path.read_text(encoding="utf-8")
    path.unlink()
    if (ROOT / name).exists():
        path.write_bytes((ROOT / name).read_bytes())
    found = file_by_file.failing(folder, "tests/test_engines.py", "-k", "every_engine_has or every_file_is")
    path.write_text(edited, encoding="utf-8")
    return found


def test_the_list_for_a_new_engine_names_every_file():
    told = {name.replace("<name>", "twin") for name in file_by_file.named("A new engine, file by file")}
    there = {*EDITS, *PAGES, *NOT_TWINS, *IN_EVERY_RUN, GOLDEN, AGAIN}
    assert {name for name in told if "/" in name} | {"pyproject.toml"} == there


@pytest.mark.long
def test_a_new_engine_made_by_the_list_is_planned_run_and_shown_and_what_is_forgotten_is_found(tmp_path):
    folder = file_by_file.copy(tmp_path / "project")
    row, file, *others = EDITS
    edit(folder, row, file)
    finders = {EDITS[name][2] for name in others} | set(PAGES.values())
    assert file_by_file.failing(folder, *(f"tests/{test}" for test in finders)) == finders
    edit(folder, *others)
    file_by_file.make(folder, *PAGES)
    for name in (row, file):
        assert EDITS[name][2] in undone(folder, name)
    files = [f"tests/test_{name}.py" for name in ("engines", "cells", "rooms", "golden")]
    assert file_by_file.failing(folder, *files, "-k", "not new") == set()

    (folder / "mine.yaml").write_text(yaml.safe_dump(RUN), encoding="utf-8")
    arguments = ("--configfile", "mine.yaml")
    assert planned_jobs(snakemake(folder, "-n", *arguments).stdout)["infer"] == 1
    done = snakemake(folder, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    name = "python_infer_cpu_twin_threads_1_precision_fp32_batchsize_1"
    made = folder / "results/smoke"
    ran = json.loads((made / f"pp_humanseg_lite/single_fp32/infer/{name}.json").read_text(encoding="utf-8"))
    assert ran["status"] == "passed" and ran["effective"]["engine"] == "twin" and ran["env"]["scipy"]
    assert ran["metrics"]["evidence"]["convolutions_of_the_twin"]["float"] > 40
    for shown in ("conclusions.md", "conclusions.csv", "conclusions.html", "junit.xml", "results_python.log"):
        assert "twin" in (made / shown).read_text(encoding="utf-8"), shown
    edited = folder / file
    edited.write_text(edited.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    assert planned_jobs(snakemake(folder, "-n", *arguments).stdout) == {
        "export": 1,  # which every engine proves
        "infer": 1,
        "conclude": 1,
        "page": 1,
    }


@pytest.mark.long
def test_a_new_engine_in_every_run_is_counted_where_the_list_says(tmp_path):
    folder = file_by_file.copy(tmp_path / "project")
    edit(folder, *EDITS)
    configured, *counted = IN_EVERY_RUN
    file_by_file.edit(folder, configured, *IN_EVERY_RUN[configured])
    files = [f"tests/test_{name}.py" for name in ("cells", "golden", "docs")]
    chosen = ("-k", "not docs or count")
    assert file_by_file.failing(folder, *files, *chosen) == {
        "test_golden.py::test_every_cell_is_asked_for_as_it_was",
        COUNT,
    }
    for name in counted:
        file_by_file.edit(folder, name, *IN_EVERY_RUN[name])
    assert file_by_file.python(folder, "tests/test_golden.py").returncode == 0
    assert file_by_file.python(folder, "docs/generate.py", "--check", AGAIN).returncode == 1
    file_by_file.make(folder, AGAIN)
    assert file_by_file.failing(folder, *files, *chosen) == set()
