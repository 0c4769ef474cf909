"""The record of a cell: one strict JSON object per file, written whole or not at all.

Fields: `schema_version`, `model`, `algorithm`, `mode`, `stage`, `cell`, `status`,
`reason`, `command`, `log`, `started` (ISO 8601, UTC), `wall_s`, `cpu_s`, `peak_rss_mb`, `env`,
`requested`, `effective`, `metrics`, `inputs` and `outputs` (path -> sha256). Infer records also hold
`samples_ms`, the raw timings.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcert import SCHEMA_VERSION, stages, statuses
from segcert.files import write_json

HEAD = 2000  # characters of a record within which its status stands
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
