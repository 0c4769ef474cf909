"""The rooms of scripts/segcert: who may import whom, and where Paddle may be imported; see docs/architecture.md."""

import ast
import graphlib
from functools import cache
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
# What each room may import beside itself; "" is the ground, the files that lie flat.
MAY = {
    "": set(),
    "requests": {""},
    "tipc": {""},
    "checkout": {""},
    "stage": {"", "checkout"},
    "data": {"", "stage"},
    "compute": {"", "checkout", "requests", "data", "stage", "tipc"},
    "show": {"", "checkout", "data"},
    "series": {"", "stage", "show"},
    "reproduction": {"", "requests", "checkout", "data", "stage", "compute", "show"},
}
# Of the ground, what stands above a room: settings are made from params files and a checkout too, and cells make
# requests; what these may hold, settings ask.
ABOVE = {
    ("segcert.settings", "segcert.requests"),
    ("segcert.settings", "segcert.tipc.layer"),
    ("segcert.zoo", "segcert.tipc"),
    ("segcert.zoo", "segcert.checkout"),
    ("segcert.cells", "segcert.requests"),
}
# What the rules alone import: it stands above all rooms, and is part of no job's code.
OF_RULES = {"segcert.run", "segcert.ending"}
HEAVY = {"paddle", "paddleseg"}
# What is handed out to run without this package: it imports nothing of it, and nothing of a job imports Paddle by it.
HANDED_OUT = {"segcert.reproduction.run_export", "segcert.reproduction.run_infer"}
FILES = sorted(SCRIPTS.rglob("*.py"))


def name_of(file: Path) -> str:
    return ".".join(file.relative_to(SCRIPTS).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(file): file for file in FILES}


def room_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else ""


@cache
def imported(file: Path) -> set[str]:
    """All that a file imports, wherever in it: modules by their full name; a name of a module is that module."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: Snakemake's params do not see a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else str(node.module))
    return found


def own(file: Path) -> set[str]:
    return {name for name in imported(file) if name.split(".")[0] == "segcert" and name != "segcert"}


def test_no_arrow_goes_up():
    wrong = [
        f"{name} imports {other}"
        for name, file in MODULES.items()
        if name.startswith("segcert.")
        for other in own(file)
        if room_of(other) not in {room_of(name), *MAY[room_of(name)]}
        and not {(name, other), (name, other.rpartition(".")[0])} & ABOVE
        and (name not in OF_RULES or room_of(other) == "compute")
    ]
    assert not wrong


def test_what_the_rules_decide_is_part_of_no_jobs_code():
    """An edit of it makes no result stale, because no script imports it; and nothing of it needs Snakemake."""
    importers = {name for name, file in MODULES.items() if own(file) & OF_RULES}
    assert importers <= OF_RULES
    assert not [name for name, file in MODULES.items() if any(i.split(".")[0] == "snakemake" for i in imported(file))]


def test_every_room_has_its_rule():
    assert {room_of(name) for name in MODULES if name.startswith("segcert.")} == set(MAY)


def test_there_is_no_circle():
    graphlib.TopologicalSorter({name: own(file) - {name} for name, file in MODULES.items()}).prepare()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SCRIPTS).as_posix())
def test_paddle_is_imported_in_one_room_alone(file):
    heavy = {name for name in imported(file) if name.split(".")[0] in HEAVY}
    assert not heavy or room_of(name_of(file)) == "compute" or name_of(file) in HANDED_OUT


@pytest.mark.parametrize("name", sorted(HANDED_OUT))
def test_what_is_handed_out_stands_alone(name):
    top = [
        node
        for node in ast.parse(MODULES[name].read_text(encoding="utf-8")).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not own(MODULES[name]) and not {ast.unparse(node).split()[1].split(".")[0] for node in top} & HEAVY


def test_nothing_is_imported_by_a_string():
    """It would not be among a job's code: an edit would leave its results as they are."""
    found = [
        f"{file}:{node.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in ("importlib.import_module", "import_module", "__import__")
    ]
    assert all("segcert/stage/deferred.py" in place for place in found), "others' packages, at their first use, alone"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(SCRIPTS).as_posix())
def test_what_is_imported_is_there(file):
    """Also inside functions, where nothing misses it before a job runs; of a package, its modules."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "segcert":
            assert node.module in MODULES, f"{file}:{node.lineno}"
            if MODULES[str(node.module)].read_bytes() == b"":
                assert {f"{node.module}.{alias.name}" for alias in node.names} <= MODULES.keys(), (
                    f"{file}:{node.lineno}"
                )


def test_rooms_are_empty_at_the_door():
    """What stands there would be part of every script that imports anything of the room."""
    doors = {name_of(file): file for file in FILES if file.name == "__init__.py" and room_of(name_of(file) + ".x")}
    assert doors.keys() == {*(f"segcert.{room}" for room in MAY if room), "segcert.compute.engines"}
    assert all(file.read_bytes() == b"" for file in doors.values())
