"""An engine: its row of the table and its file agree, nobody knows of it otherwise, and a new one follows a list."""

import ast
import subprocess
import sys

import file_by_file
import pytest
import yaml
from conftest import ROOT

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
        assert {"pixel_agreement", "miou_drop"} <= {name for name in gates if precision in gates[name]}, precision


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
        ("openvino", "cpu", "int8", "engine openvino: offers fp32, bf16 on cpu, not int8"),
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


def test_the_table_and_the_files_are_code_of_inference_alone():
    """A new engine makes no training anew."""
    own = {f"{FOLDER}/{file.name}" for file in FOLDER.glob("*.py")} | {str(ROOT / "scripts/segcert/engines.py")}
    for stage in ("train", "evaluate", "export"):
        assert not own & set(code.modules(ROOT / f"scripts/{stage}.py"))
    assert own <= set(code.modules(ROOT / "scripts/infer.py"))


@pytest.mark.parametrize("page", MADE)
def test_what_is_made_from_the_table_is_up_to_date(page):
    done = file_by_file.python(ROOT, "docs/generate.py", "--check", page)
    assert done.returncode == 0, done.stderr


def test_the_choices_of_the_command_line_are_told():
    assert f"--engine {{{','.join(sorted(NAMES))}}}" in (ROOT / "docs/reference/commands.md").read_text(
        encoding="utf-8"
    )


def test_the_configuration_is_checked_against_the_table_itself(monkeypatch):
    monkeypatch.setattr(engines, "ALL", engines.ALL[:2])
    entries = settings.whole_schema()["$defs"]["infer"]["properties"]
    assert [entries[device]["items"]["properties"]["engine"]["enum"] for device in ("cpu", "gpu")] == [
        ["native", "onednn"],
        ["native"],
    ]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_looked_at_is_told_of_every_engine(name):
    text = (ROOT / "docs/explanation.md").read_text(encoding="utf-8")
    table = text.partition("## What evidence each engine gives")[2].partition("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("|")]
    for device in engines.by_name(name).offers:
        assert name in rows or f"{name}, {device.upper()}" in rows


# -- a new one, file by file ------------------------------------------------------------------

ROW = """TWIN = Kind(
    name="twin", offers={CPU: ("fp32",)}, software=("onnxruntime", "numpy", "opencv"),
    needs_onnx=True, gpu_library="", tipc={},
)  # fmt: skip

# In the order in which they are listed.
ALL = (TWIN, NATIVE, """
TWIN = '''"""ONNX Runtime once more, which tells by itself what it ran."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from segcert.compute.engines.base import Engine, precision_of


class Twin(Engine):
    """On a CPU."""

    name = "twin"

    def build(self) -> None:
        self.session = self._session(onnxruntime.SessionOptions())

    def _session(self, options: Any) -> Any:
        options.intra_op_num_threads = self.threads
        return onnxruntime.InferenceSession(str(self.folder / self.program), options)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        labels: NDArray[np.integer[Any]] = self.session.run(None, {"x": batch})[0]
        return labels

    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._session(options)
            session.run(None, {"x": batch})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        seen: dict[str, int] = {}
        for event in events:
            if "Conv" in event.get("args", {}).get("op_name", ""):
                dtype = next(iter(event["args"]["input_type_shape"][0]))
                seen[dtype] = seen.get(dtype, 0) + 1
        precision = precision_of(seen, {"float": "fp32"})
        return {"device": "cpu", "engine": "twin", "precision": precision, "threads": self.threads}, {"twins": seen}
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
    "scripts/segcert/compute/engines/twin.py": ("", TWIN, "test_engines.py::test_every_engine_has_its_file[twin]"),
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
}
