"""The record of a cell: one strict JSON object per file, written whole or not at all.

Fields: `schema_version`, `model`, `algorithm`, `mode`, `stage`, `cell`, `status`,
`reason`, `command`, `log`, `started` (ISO 8601, UTC), `wall_s`, `cpu_s`, `peak_rss_mb`, `env`,
`requested`, `effective`, `metrics`, `inputs` and `outputs` (path -> sha256). Infer records also hold
`samples_ms`, the raw timings.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import math
import os
import re
import statistics
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from segcert import SCHEMA_VERSION, processes, stages, statuses

# In the staging folder of an attempt: what to ask if the attempt never ends as it should.
ATTEMPT = "attempt.json"
HEAD = 2000  # characters of a record within which its status stands
HEARTBEAT_S = 20  # between two signs of life of an attempt: the time stamp of that file
SILENT_S = 300  # after so long without one, an attempt on another machine is taken to be dead
# Fields that every run adds to what was known of its cell before, and fields that some runs add.
OF_EACH_RUN = (
    "command",
    "log",
    "started",
    "wall_s",
    "cpu_s",
    "peak_rss_mb",
    "env",
    "effective",
    "metrics",
    "inputs",
)
OF_SOME_RUNS = (
    "outputs",
    "load",
    "samples_ms",
    "scheduler_job",
    "gpus",
    "gpus_by",
    "set_aside",
    "stand_in",
    "try_again",
)
KNOWN_BEFORE = ("schema_version", "model", "algorithm", "mode", "stage", "cell", "requested")
REQUIRED = (*KNOWN_BEFORE, "status", "reason", *OF_EACH_RUN)


# Fields that must be of one kind for a record to be read further.
KINDS = {
    **dict.fromkeys(("stage", "cell", "status", "command", "log", "started"), str),
    **dict.fromkeys(("env", "requested", "effective", "metrics", "inputs"), dict),
}


class RecordError(Exception):
    """A file that should be a record and is not; the message names it and says what to do."""


def write(path: Path | str, record: Mapping[str, Any]) -> None:
    """Write a record in one step, so that no reader ever sees half of it.

    Raises:
        ValueError: the record holds NaN or an infinity, or a field is missing.
    """
    ordered = {"schema_version": SCHEMA_VERSION, **record}
    missing = [key for key in REQUIRED if key not in ordered]
    if missing:
        raise ValueError(f"{path}: a record needs {', '.join(missing)}")
    statuses.by_name(ordered["status"])
    stages.by_name(ordered["stage"])
    write_json(path, ordered)


def write_json(path: Path | str, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: Path | str, text: str) -> None:
    """Write a text file beside its place and rename it there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            with contextlib.suppress(OSError):  # some file systems have no locks
                fcntl.flock(stream, fcntl.LOCK_EX)  # for whoever finds the file: its writer lives
            stream.write(text)
            stream.flush()
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError), leftover.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)  # not to be had while its writer lives
            leftover.unlink()


def read(path: Path | str) -> dict[str, Any]:
    """A record from its file.

    Raises:
        FileNotFoundError: there is none.
        RecordError: the file is not a record of this schema.
    """
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path}: not a record: {error}; delete the file and run its target again") from None
    if not isinstance(record, dict) or record.get("schema_version") != SCHEMA_VERSION:
        raise RecordError(
            f"{path}: not a record of schema_version {SCHEMA_VERSION}; delete the file and run its target again"
        )
    missing = [key for key in REQUIRED if key not in record]
    wrong = [key for key, kind in KINDS.items() if not missing and not isinstance(record[key], kind)]
    if wrong:
        raise RecordError(f"{path}: a record with a wrong {', '.join(wrong)}; delete the file and run its target again")
    unknown = [
        f"the unknown {key} {record[key]!r}"
        for key, names in (("status", statuses.BY_NAME), ("stage", stages.NAMES))
        if not missing and record[key] not in names
    ]
    if missing or unknown:
        what = f"without {', '.join(missing)}" if missing else f"with {', '.join(unknown)}"
        raise RecordError(f"{path}: a record {what}; delete the file and run its target again")
    return record


def is_to_be_tried_again(path: Path | str) -> bool:
    """Whether the file at a record's place is one of `unverified`, unless it says that another try ends in the same.

    By its beginning, because thousands are asked.
    """
    try:
        with Path(path).open(encoding="utf-8", errors="replace") as stream:
            begins = stream.read(HEAD)
    except OSError:
        return False
    return f'"status": "{statuses.UNVERIFIED.name}"' in begins and '"try_again": false' not in begins


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not strict JSON")


def failure(path: str) -> str:
    """Where the record of a failed attempt at a record stands."""
    return path.removesuffix(".json") + ".failed.json"


def aside(folder: Path | str) -> Path:
    """Where an output of an attempt stands whose gates do not hold."""
    return Path(f"{Path(folder)}.failed")


def stamps(paths: Iterable[str]) -> dict[str, tuple[int, int]]:
    """What changes when a file is written anew, of those files that are there."""
    found = {}
    for path in paths:
        with contextlib.suppress(OSError):
            stat = Path(path).stat()
            found[path] = (stat.st_ino, stat.st_mtime_ns)
    return found


def attempts(path: Path | str) -> list[tuple[Path, dict[str, Any]]]:
    """Staging folders that attempts at this record left behind, with what each says of itself."""
    return [(folder, said) for folder, said in _all_attempts(path) if not _lives(folder, said)]


def running(path: Path | str) -> list[tuple[Path, dict[str, Any]]]:
    """The same of attempts that are still at work: here, or on another machine not silent for long."""
    return [(folder, said) for folder, said in _all_attempts(path) if _lives(folder, said)]


def _all_attempts(path: Path | str) -> list[tuple[Path, dict[str, Any]]]:
    path = Path(path)
    found = []
    name = re.compile(rf"\.{re.escape(path.stem)}\.\d+\.partial")  # not that of a record with a longer name
    for folder in sorted(path.parent.glob(".*.partial")):
        if not (name.fullmatch(folder.name) and folder.is_dir()):
            continue
        try:
            said = json.loads((folder / ATTEMPT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            said = {}
        found.append((folder, said if isinstance(said, dict) else {}))
    return found


def _lives(folder: Path, said: Mapping[str, Any]) -> bool:
    if not said or processes.here(said):
        return processes.runs(said)
    try:
        # By the file system's own clock: those of two machines differ.
        with tempfile.TemporaryFile(dir=folder) as now:
            return os.fstat(now.fileno()).st_mtime - (folder / ATTEMPT).stat().st_mtime < SILENT_S
    except OSError:
        return False


def finite(value: float | None, digits: int = 6) -> float | None:
    """A number for a record: rounded to significant digits, None where it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def sha256(path: Path | str) -> str:
    """Of a file, or of a folder: then of its files' relative names and contents, in order."""
    path = Path(path)
    if not path.is_dir():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in files(path):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + sha256(file).encode())
    return digest.hexdigest()


def files(folder: Path) -> list[Path]:
    """All files of a folder, in order, but for the mark that Snakemake leaves in folders that it knows."""
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != ".snakemake_timestamp")


def hashes(paths: Iterable[Path | str]) -> dict[str, str]:
    """Path -> sha256. A data set's folder is known by its manifest, which lists every file's hash."""
    found = {}
    for path in map(Path, paths):
        manifest = path / "manifest.json"
        target = manifest if manifest.is_file() else path
        found[target.as_posix()] = sha256(target)
    return found


def differences(requested: Mapping[str, Any], effective: Mapping[str, Any]) -> list[str]:
    """In words, each field that was asked for and observed to be something else.

    A field that was not observed does not count here; a request of None asks for nothing.
    """
    return [
        f"{key}: {want} requested, {effective[key]} observed"
        for key, want in requested.items()
        if want is not None and key in effective and effective[key] != want
    ]


def _unobserved(stage: str, requested: Mapping[str, Any], effective: Mapping[str, Any]) -> list[str]:
    """In words, each field that a stage must have observed and did not."""
    taken = "weights" in requested  # not trained: weights that somebody released
    proves = stages.by_name(stage, stages.RELEASED.topology if taken else None).proves
    return [f"{key} was not observed" for key in proves if key not in effective]


def gate(name: str, value: float | None, bound: str, threshold: float, sentence: str) -> dict[str, Any]:
    """A numerical gate: `value` must be "at least" or "at most" (the bound) the threshold.

    Args:
        value: None where it is not a number: then the gate does not hold.
        sentence: what is wrong where it does not hold, with the numbers.
    """
    made = {"name": name, "value": value, "bound": bound, "threshold": threshold}
    return {**made, "holds": _holds(made), "sentence": sentence}


def _holds(gate: Mapping[str, Any]) -> bool:
    value, threshold, bound = gate.get("value"), gate.get("threshold"), gate.get("bound")
    if not (_is_number(value) and _is_number(threshold) and bound in ("at least", "at most")):
        return False
    return bool(value >= threshold if bound == "at least" else value <= threshold)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def broken(gates: Any) -> list[str]:
    """In words, each gate that does not hold: by its numbers, whatever it says of itself."""
    if not isinstance(gates, list):
        return ["its gates are no list"]
    found = []
    for item in gates:
        if not (isinstance(item, Mapping) and isinstance(item.get("name"), str)):
            found.append("one of its gates is none")
        elif not _holds(item) and item.get("holds") is True:
            numbers = f"{item.get('value')}, {item.get('bound')} {item.get('threshold')} is asked"
            found.append(f"the gate {item.get('name')} is said to hold and does not: {numbers}")
        elif item.get("holds") is not True:
            found.append(str(item.get("sentence")))
    return found


def unproven(content: Mapping[str, Any]) -> list[str]:
    """In words, what a record lacks for `passed`: an empty list where it proves what was asked for."""
    effective, metrics = content["effective"], content["metrics"]
    problems = _unobserved(content["stage"], content["requested"], effective)
    problems += differences(content["requested"], effective)
    problems += broken(metrics.get("gates", []))
    if not problems:
        problems += _without_gates(content["stage"], effective, metrics)
    if content["stage"] == "infer":
        problems += _unlike_samples(content.get("samples_ms"), metrics)
    if content["stage"] == "eval":
        problems += _not_evaluated(content["requested"], metrics)
    return problems


def _without_gates(stage: str, effective: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """In words, each gate that a stage must have been held against and was not, or with another number."""
    needed = {
        "pixel_agreement": (stage == "infer", "no gate was held against its label maps"),
        "rank_weight_difference": (
            stage == "train" and effective.get("devices") not in (None, 1),
            "its ranks' weights were not compared",
        ),
        "skipped_share": (
            stage == "train" and effective.get("dtype") == "float16",
            "the steps that it left out were not counted",
        ),
    }
    held = {gate["name"]: gate.get("value") for gate in metrics.get("gates", [])}
    problems = [words for name, (asked, words) in needed.items() if asked and name not in held]
    return problems + [
        f"the gate {name} was held against {value}, and {metrics[name]} is its metric"
        for name, value in held.items()
        if name in metrics and metrics[name] != value
    ]


def _unlike_samples(samples: Any, metrics: Mapping[str, Any]) -> list[str]:
    """In words, what of an inference cell's statistics does not follow from its raw timings."""
    phases = samples if isinstance(samples, Mapping) else {}
    if not phases.get("inference"):
        return ["it has no timed samples"]
    problems = []
    for phase, values in phases.items():
        if not (isinstance(values, list) and values and all(_is_number(value) for value in values)):
            problems.append(f"its samples of {phase} are no numbers")
            continue
        told = metrics.get(f"{phase}_ms")
        told = told if isinstance(told, Mapping) else {}
        found = {
            "count": len(values),
            "p50": statistics.median(values),
            "mean": statistics.fmean(values),
            "min": min(values),
            "max": max(values),
        }
        wrong = [
            f"{name} {told.get(name)}, not {value:g}"
            for name, value in found.items()
            if not _close(told.get(name), value)
        ]
        if wrong:
            problems.append(f"its statistics are not those of its {len(values)} samples of {phase}: {', '.join(wrong)}")
    return problems


def _close(told: Any, value: float) -> bool:
    """Whether a statistic is a number but for rounding: samples to 4 decimals, statistics to 6 digits."""
    return _is_number(told) and math.isclose(told, value, rel_tol=1e-5, abs_tol=1e-4)


def _not_evaluated(requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    """In words, what an evaluation lacks that would be worth its name."""
    problems = []
    if not (_is_number(metrics.get("miou")) and 0 <= metrics["miou"] <= 1):
        problems.append(f"its mIoU is {metrics.get('miou')}")
    for name, there in (("images", "val_images"), ("reference_images", "inference_images")):
        available = metrics.get(there)
        if not _is_number(available) or available < 1:
            problems.append(f"{there} is {available}")
            continue
        asked = min(requested[name], available) if _is_number(requested.get(name)) else available
        if metrics.get(name) != asked:
            problems.append(f"{name} is {metrics.get(name)}, not {asked}")
    return problems
