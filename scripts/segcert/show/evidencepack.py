"""One file to send to somebody who was not there: what a run left in writing, and what it ran on.

In the pack are records, logs, histories, the conclusions, versions, and what the driver says of the GPUs.
No weights, no exported models, no images and no label maps are in it: the page is made again from the
files of the pack, and so comes without its pictures. Credentials are masked, and the home folder and the
working folder are written as `~` and `.`. The pack can be made of any run, above all of a red one: what
is missing, or cannot be had, is named in it and keeps nothing else out.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segcert import asked, machine, record
from segcert.cells import CellTable
from segcert.show import packing, page
from segcert.show.veil import SENSITIVE, Veil

MANIFEST, ABOUT, VERSIONS, DRIVER, SNAKEMAKE = (
    "MANIFEST.sha256",
    "about.json",
    "versions.json",
    "nvidia-smi.txt",
    "snakemake.log",
)
CONCLUSIONS = (*page.FILES, "conclusions.log", "page.log", "run_config.log")
PAGE = "conclusions.html"

# Bounds, so that the pack can be sent by mail whatever a run printed.
MOST_BYTES = 64 << 20  # of all files before they are compressed
MOST_FILE_BYTES = 16 << 20  # of a file that cannot be cut, such as a record
DRIVER_S, PYTHON_S = 10, 60  # seconds for nvidia-smi and for an interpreter

# Variables that decide what a stage runs on and how.
TELLING = re.compile(r"^(?:CUDA|NVIDIA|FLAGS|PADDLE|TIPC|OMP|MKL|SLURM|LD_LIBRARY_PATH$|PATH$|PYTHONPATH$)")
PACKAGES = (
    "import json, platform, sys\nfrom importlib import metadata\n"
    "print(json.dumps({'python': platform.python_version(), 'executable': sys.executable, 'packages': "
    "dict(sorted((d.metadata['Name'] or '?', d.version) for d in metadata.distributions()))}))"
)


@dataclass
class Packed:
    """What is in a pack, and what is not.

    Attributes:
        names: every file in it, in order.
        bytes: of the pack.
        missing: files that the run should have and has not; a run that was red or cut short has not all.
        left_out: name -> why it is not in it.
        cut: logs of which the middle is left out.
        masked: files in which something was masked or shortened.
    """

    names: list[str] = field(default_factory=list)
    bytes: int = 0
    missing: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    cut: list[str] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)


# -- what goes in -----------------------------------------------------------------------------


def files_of(table: CellTable) -> Iterator[str]:
    """Every file that may tell something of the run, the most telling first; not all of them need be there."""
    top = f"results/{table.mode}"
    yield from (f"{top}/{name}" for name in CONCLUSIONS)
    planned = [cell for cell in table.cells if cell.planned]
    sources = dict.fromkeys(path for cell in planned for path in table.source_records(cell))
    for path in (*sources, *(cell.record for cell in planned)):
        yield from (path, record.failure(path))
    for cell in planned:
        yield from (path for path in cell.outputs if path.endswith(".csv"))
    yield from (path.removesuffix(".json") + ".log" for path in sources)
    for cell in planned:
        yield from dict.fromkeys((cell.log, cell.record.removesuffix(".json") + ".log"))


def expected(table: CellTable) -> set[str]:
    """Those of the files that a whole run has."""
    found = {f"results/{table.mode}/{name}" for name in page.FILES}
    for cell in table.planned():
        found |= {cell.log, *(path for path in cell.outputs if path.endswith((".json", ".csv", ".log")))}
        found |= set(table.source_records(cell))
    return found


def driver() -> str:
    """What `nvidia-smi -q` says, or why it says nothing, and then its own words."""
    answer = asked.ask(["nvidia-smi", "-q"], DRIVER_S)
    if answer.why_not is None:
        return answer.text
    return f"no answer of nvidia-smi -q: {answer.why_not}\n" + (f"its own words:\n{answer.text}" if answer.text else "")


def packages(python: str) -> dict[str, Any]:
    """Version and packages of an interpreter, or why they cannot be had."""
    answer = asked.ask([python, "-c", PACKAGES], PYTHON_S)
    try:
        found: dict[str, Any] = json.loads(answer.text.splitlines()[-1])
    except (IndexError, ValueError):
        return {"why_not": answer.why_not or "no list of packages came back", "said": answer.text[-2000:]}
    return found


def versions(stages: str | None, said_by_driver: str) -> dict[str, Any]:
    """What the run ran on.

    Args:
        stages: the interpreter of the stages; None where it is not to be had from here.
        said_by_driver: the answer of `nvidia-smi -q`.
    """

    def told(name: str) -> str | None:
        found = re.search(rf"^{name}\s*:\s*(\S.*?)\s*$", said_by_driver, re.M)
        return found[1] if found else None

    return {
        "uname": platform.uname()._asdict(),
        "os": machine.os_version(),
        "cpu": machine.cpu_model(),
        "cpu_cores": machine.cores(),
        "driver": told("Driver Version"),
        "driver_cuda": told("CUDA Version"),
        "paddle": machine.paddle_build(stages) if stages and shutil.which(stages) else {},
        "workflow": packages(sys.executable),
        "stages": packages(stages) if stages else {"why_not": "conda makes it for each job; records name its versions"},
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if TELLING.search(name) and not re.search(SENSITIVE, name, re.I)
        },
    }


# -- packing ----------------------------------------------------------------------------------


def pack(run_config: Path, stages: str | None, to: Path, but: Iterable[str] = ()) -> Packed:
    """Make the pack of a run in the working folder.

    Args:
        run_config: the run's run_config.yaml.
        stages: the interpreter of the stages.
        to: the zip to write; whole or not at all.
        but: files that stay out: the packing's own log.

    Raises:
        OSError: it cannot be written.
    """
    run = yaml.safe_load(run_config.read_text(encoding="utf-8"))
    table = CellTable.of_run(run)
    veil = Veil(os.environ, os.path.expanduser("~"), str(Path.cwd()))  # noqa: PTH111 - where there is none, Path raises
    to.unlink(missing_ok=True)  # a pack that is older than the run would be taken for this run's
    found = Packed()
    with tempfile.TemporaryDirectory(prefix="evidence-") as folder:
        staged = _Staged(Path(folder), veil, found)
        said = driver()
        staged.add_text(DRIVER, said)
        staged.add_text(VERSIONS, _json(versions(stages, said)))
        wanted, left_aside = expected(table), set(but)
        for name in dict.fromkeys(files_of(table)):
            if name not in left_aside:
                staged.add_file(name, name, name in wanted)
        if run_log := _last(Path(".snakemake/log").glob("*.snakemake.log")):
            staged.add_file(SNAKEMAKE, run_log, True)
        _make_page(staged, table.mode)
        staged.room = MOST_FILE_BYTES  # what is left out must be told, however full the pack is
        staged.add_text(ABOUT, _json(_about(table.mode, found)))
        packing.write(to, _contents(Path(folder), staged.order))
    found.names = [*staged.order, MANIFEST]
    found.bytes = to.stat().st_size
    return found


class _Staged:
    """Files on their way into the pack: masked, bounded, in a folder of their own."""

    def __init__(self, folder: Path, veil: Veil, found: Packed) -> None:
        self.folder, self.veil, self.found = folder, veil, found
        self.order: list[str] = []
        self.room = MOST_BYTES

    def add_file(self, name: str, path: str, expected: bool) -> None:
        """A file of the run, if it is there."""
        if not Path(path).is_file():
            if expected:
                self.found.missing.append(name)
            return
        if Path(path).is_symlink():  # it leads to what the run did not write
            self.found.left_out[name] = "it is a link"
            return
        try:
            content, cut = packing.read(path)
        except OSError as error:
            self.found.left_out[name] = f"it cannot be read: {error.strerror}"
            return
        if cut:
            self.found.cut.append(name)
        veiled = self.veil.content(name, content)
        if veiled != content:
            self.found.masked.append(name)
        self._add(name, veiled)

    def add_text(self, name: str, text: str) -> None:
        self._add(name, self.veil.content(name, text.encode("utf-8", "surrogateescape")))

    def add_made(self, name: str) -> None:
        """A file that was made in the folder from what was masked before."""
        content = (self.folder / name).read_bytes()
        (self.folder / name).unlink()
        self._add(name, content)

    def _add(self, name: str, content: bytes) -> None:
        if len(content) > min(self.room, MOST_FILE_BYTES):
            self.found.left_out[name] = f"it has {len(content)} bytes, and there is no room for it"
            return
        self.room -= len(content)
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        self.order.append(name)


def _make_page(staged: _Staged, mode: str) -> None:
    """The page anew, from the files of the pack: without pictures, and masked as they are."""
    top = Path(f"results/{mode}")
    name = f"{top}/{PAGE}"
    if f"{top}/conclusions.json" not in staged.order:
        staged.found.missing.append(name)
        return
    try:
        with contextlib.chdir(staged.folder):
            page.write(top / "conclusions.json", top / "run_config.yaml", top / PAGE)
    except Exception as error:  # whatever it is, the records must come through
        staged.found.left_out[name] = f"it cannot be made: {type(error).__name__}: {error}"
        return
    staged.add_made(name)


def _about(mode: str, found: Packed) -> dict[str, Any]:
    """What a reader of the pack must know of it."""
    return {
        "mode": mode,
        "what": "docs/gpu.md says what each part proves; MANIFEST.sha256 is checked by `sha256sum -c MANIFEST.sha256`",
        "missing": found.missing,
        "left_out": found.left_out,
        "cut": found.cut,
        "masked": found.masked,
    }


def _json(content: Any) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _last(files: Iterable[Path]) -> str | None:
    """The file that was changed last."""
    found = sorted(files, key=lambda path: path.stat().st_mtime_ns)
    return str(found[-1]) if found else None


def _contents(folder: Path, order: list[str]) -> Iterator[tuple[str, bytes]]:
    """The files in their order, and last what their hashes are."""
    manifest = ""
    for name in order:
        content = (folder / name).read_bytes()
        manifest += packing.sums([(name, content)])
        yield name, content
    yield MANIFEST, manifest.encode()
