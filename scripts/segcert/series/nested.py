"""Runs of this workflow that a run starts: each in a folder of its own, with its own lock, and one after another."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from segcert import keeping, processes
from segcert.errors import ConfigError
from segcert.files import files_of, stamps, write_text
from segcert.sections import merge
from segcert.series.environments import Maker
from segcert.sides import Side
from segcert.stage.supervisor import WORKFLOW
from segcert.stage.worker import die_with_parent
from segcert.upgrading import Ran

CONFIG, OWN, SCREEN = "config/config.yaml", "side.yaml", "screen.log"
# Variables that would have a nested run be another: a profile may send its jobs to a cluster.
NOT_HANDED_ON = ("SNAKEMAKE_PROFILE",)
# Keys that say what a run of several runs does; what it starts does not do it again.
OF_SERIES: Mapping[str, Any] = {
    "sides": [], "cell": None, "good": None, "bad": None, "what": "status", "baseline": None, "candidate": None,
}  # fmt: skip
# Keys of files and folders by their place; `*` is any name. A relative one is of the folder that the run started in.
PATHS = (
    ("params_file",), ("paddleseg_root",), ("paddleseg",), ("python",), ("certificate", "sign"),
    ("model_zoo", "*", "config"), ("weights", "*", "config"), ("weights", "*", "path"), ("datasets", "*", "path"),
)  # fmt: skip
# Of a workflow's folder what it is made of; and what a run may write beside what it reads.
OF_WORKFLOW = ("Snakefile", "rules", "scripts", "config")
UNREAD = {".git", "__pycache__"}
MARK = ".candidate"  # in the folder of a run: a digest of what it is run with
POLL_S = 0.5


def tell(line: str) -> None:
    """Progress, for whoever waits; it stands in the log of the rule too."""
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Plan:
    """What the run that is started by the user hands on.

    Attributes:
        root: the folder of the workflow's own files.
        config: its configuration, whole; `overrides`: what of it the user gave.
        settings: of its settings those that say what several runs do, and how they are compared.
        python: the interpreter of its stages.
        paddleseg: the checkout that it names; None: it names none.
        cores: that it was given; `resources`: as `--resources` names them.
    """

    root: Path
    config: Mapping[str, Any]
    overrides: Mapping[str, Any]
    settings: Mapping[str, Any]
    python: str
    paddleseg: str | None
    cores: int
    resources: Mapping[str, Any]

    def as_json(self) -> str:
        return json.dumps({**vars(self), "root": str(self.root)}, default=str)

    @property
    def mode(self) -> str:
        return str(self.settings["mode"])

    @property
    def maker(self) -> Maker:
        """Makes what sides are run with."""
        beside = [str(path) for path in sorted(self.root.glob(".venv*/bin/python"))]
        return Maker(
            Path(self.settings["upgrade"]["environments"]),
            self.root / "envs",
            self.python,
            beside,
            Path(self.paddleseg) if self.paddleseg else None,
            tell,
        )

    @classmethod
    def read(cls, file: Path) -> Plan:
        """Raises ConfigError where none was written, as by a Snakemake that was told to run this rule alone."""
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read ({error.strerror}); `snakemake upgrade` writes it") from None
        return cls(**{**content, "root": Path(content["root"])})


def resolved(tree: Mapping[str, Any], here: Path) -> dict[str, Any]:
    """A configuration with each relative path that is there from a folder made absolute.

    The others are names that the workflow itself knows: shipped files, `auto`, an interpreter on PATH.
    """
    found = merge(tree)
    for place in PATHS:
        _resolve(found, place, here)
    return found


def _resolve(tree: Any, place: Sequence[str], here: Path) -> None:
    key, *below = place
    for name in [key] if key != "*" else list(tree):
        if name not in tree:
            continue
        if below and isinstance(tree[name], dict):
            _resolve(tree[name], below, here)
        elif not below:
            tree[name] = _absolute(tree[name], here)


def digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:16]


def content_of(side: Side, maker: Maker) -> str:
    """A digest of what a side is run with."""
    return digest([asdict(side), maker.content(side)])


def contents(plan: Plan) -> str:
    """One hash that is another once a file is, of those that a configuration names by their place or the workflow is.

    By what changes as a file is written anew, and not by content, for data may be large. What is run with a side is its
    own (`Maker.content`).
    """
    places = [plan.root / name for name in OF_WORKFLOW] + ([Path(plan.paddleseg)] if plan.paddleseg else [])
    for content in (plan.config, plan.overrides):
        places += map(Path, _named(resolved(content, Path.cwd())))
    found = hashlib.sha256()
    for place in sorted(set(places)):
        files = [place] if place.is_file() else files_of(place)
        files = [file for file in files if not UNREAD & set(file.relative_to(place).parts)]
        for name, stamp in sorted(stamps(map(str, files)).items()):
            found.update(f"{name}\0{stamp}\0".encode())
    return found.hexdigest()


def _named(tree: Mapping[str, Any]) -> Iterator[str]:
    """The absolute paths that stand in those keys of a configuration that name files and folders."""
    for place in PATHS:
        found: list[Any] = [tree]
        for key in place:
            parts = [part for part in found if isinstance(part, dict)]
            found = [value for part in parts for name, value in part.items() if key in (name, "*")]
        for value in found:
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str) and Path(one).is_absolute():
                    yield one


def _absolute(value: Any, here: Path) -> Any:
    if isinstance(value, list):
        return [_absolute(item, here) for item in value]
    there = isinstance(value, str) and value and not Path(value).is_absolute() and (here / value).exists()
    return os.path.abspath(here / value) if there else value  # noqa: PTH100  (links stay: an interpreter is one)


def run(
    plan: Plan,
    folder: Path,
    changes: Mapping[str, Any],
    targets: Sequence[str] = (),
    label: str = "",
    more: Sequence[str] = (),
) -> Ran:
    """Run the workflow in a folder, and return what it concluded.

    Args:
        changes: keys of the configuration that are otherwise there.
        targets: files that are made; none: all.
        label: stands before each line that it shows.
        more: further options of Snakemake's.
    """
    begun, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    _prepare(plan, folder, changes)
    conclusions = folder / "results" / plan.mode / "conclusions.json"
    before = _written(conclusions)
    command = [
        *(sys.executable, "-m", "snakemake", "--snakefile", str(plan.root / "Snakefile")),
        *("--directory", str(folder), "--configfile", str((folder / OWN).resolve())),
        *("--cores", str(plan.cores), "--workflow-profile", "none"),
        *("--keep-going", "--rerun-incomplete", "--show-failed-logs", *more),
    ]
    if plan.resources:
        command += ["--resources", *(f"{name}={value}" for name, value in plan.resources.items())]
    code = _follow([*command, "--", *targets] if targets else command, folder / SCREEN, label)
    if not code and targets:
        # A run of named files writes no conclusions where none of its jobs failed.
        where = f"results/{plan.mode}"
        conclude = [sys.executable, str(plan.root / "scripts/conclude.py"), "--run-config", f"{where}/.run_config.yaml"]
        _follow([*conclude, "--json", f"{where}/conclusions.json"], folder / SCREEN, label, cwd=folder)
    found, why_not = None, None
    if (code or targets) and _written(conclusions) == before:
        why_not = f"exit code {code}: {_last_line(folder / SCREEN)}; all it said: {folder / SCREEN}"
    else:
        try:
            found = keeping.conclusions(conclusions)
        except ConfigError as error:
            why_not = str(error)
    return Ran(folder.as_posix(), started, round(time.monotonic() - begun, 1), found, why_not)


def _prepare(plan: Plan, folder: Path, changes: Mapping[str, Any]) -> None:
    """The configuration of a nested run, and what is fetched once for all of them."""
    here = Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    # May hold credentials: for nobody else. An absolute path is in both, so that neither is looked for elsewhere.
    for name, content in ((CONFIG, plan.config), (OWN, {**plan.overrides, **changes})):
        text = yaml.safe_dump({**resolved(content, here), **_outer(content)}, allow_unicode=True, sort_keys=False)
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text:
            write_text(folder / name, text)
            (folder / name).chmod(0o600)
    downloads, kept = here / "results/downloads", folder / "results/downloads"
    downloads.mkdir(parents=True, exist_ok=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    if not kept.is_symlink():
        kept.symlink_to(os.path.relpath(downloads, kept.parent))


def _outer(content: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of several runs that a configuration has, as they are in one run."""
    return {key: value for key, value in OF_SERIES.items() if key in content}


def _follow(command: Sequence[str], log: Path, label: str, cwd: Path | None = None) -> int:
    """Run a program whose lines go to a log and are shown; its exit code.

    It ends with this process, and both with the workflow that started this one.
    """
    kept = {key: value for key, value in os.environ.items() if key not in NOT_HANDED_ON}
    with log.open("ab") as stream, log.open("rb") as reader:
        reader.seek(0, os.SEEK_END)
        # A file and no pipe: whatever it leaves running may hold a pipe open for ever.
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, env=kept, cwd=cwd,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )  # fmt: skip
        rest, ended = b"", False
        while not ended:
            try:
                child.wait(POLL_S)
                ended = True
            except subprocess.TimeoutExpired:
                if not _is_wanted():
                    child.kill()
                    raise ConfigError("the workflow that started this was ended") from None
            *lines, rest = (rest + reader.read()).split(b"\n")
            for line in lines:
                tell(f"{label}{line.decode('utf-8', 'replace')}")
    return child.returncode


def _is_wanted() -> bool:
    """Whether the workflow that started this process runs; true where none did."""
    workflow = json.loads(os.environ.get(WORKFLOW) or "null")
    return workflow is None or not processes.here(workflow) or processes.runs(workflow)


def _written(path: Path) -> tuple[int, int] | None:
    """What changes as a file is written anew; None where it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
