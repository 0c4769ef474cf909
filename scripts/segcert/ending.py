"""What a run says for itself: notes at its start; at its end conclusions, also where jobs failed, and a summary.

Only the rules import this, and no script. What it needs to know of Snakemake (names of rules, files of jobs) comes as
plain lists.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from segcert import files, gpus, record, settings
from segcert.run import Run
from segcert.series import nested
from segcert.stage.advice import with_advice

MARK = "# of a run that failed, "
MOST_NAMES = 5  # of models in one note, and of files in notes that say the same
# Keys that a run does not follow from.
COMPARING = (
    *("baseline", "candidate", "compare", "cell", "history"),
    *("sides", "upgrade", "bisect", "good", "bad", "what"),
)
# Rules that start runs of their own, each with its own conclusions.
SERIES = ("upgrade", "bisect")
# Rules that exercise nothing, so that there is nothing to conclude.
LOOKING = {"matrix", "compare", "keep", "history", "repro", "write_run_config", *SERIES}
# The rules that are asked for by name here.
ASKED_FOR = (*sorted(LOOKING), "conclude", "pack_evidence", "certificate")


def notes(run: Run) -> Iterator[str]:
    """What a person should know as the run starts."""
    yield from run.settings.get("params", {}).get("notes", [])
    yield from _not_planned(run)
    yield from _once([*run.settings.get("zoo_notes", []), *run.notes])
    if run.cleared:
        yield f"set aside for all stages: {', '.join(run.cleared)}"
    yield from run.paddleseg_notes
    if run.own_scripts_note:
        yield run.own_scripts_note
    if run.hardware.setting == "auto" and not run.hardware.gpus and gpus.listed().there:
        yield f"no GPU is used: {run.hardware.told}"


def _once(told: Iterable[str]) -> Iterator[str]:
    """The notes, each `file: text`; of those that say the same of many files the first, and of how many more."""
    same: dict[str, list[str]] = {}
    for note in told:
        same.setdefault(note.partition(": ")[2] or note, []).append(note)
    for notes_of_it in same.values():
        if len(notes_of_it) > MOST_NAMES:
            yield f"{notes_of_it[0]} (the same of {len(notes_of_it) - 1} more files)"
        else:
            yield from notes_of_it


def _not_planned(run: Run) -> Iterator[str]:
    """How many models' files plan nothing, by status: their rows say why."""
    models, asked = run.settings["model_zoo"], run.settings["models"]
    left = [(name, models[name]["not_planned"]) for name in asked if "not_planned" in models[name]]
    for status in dict.fromkeys(why["status"] for _, why in left):
        names = [name for name, why in left if why["status"] == status]
        told = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
        yield f"{len(names)} of {len(asked)} models are not planned, {status}: {told}; their rows say why"


# -- what is tried again ----------------------------------------------------------------------


def try_again(run: Run) -> list[str]:
    """Have planned cells that could not be exercised run again: what was missing may be there now. Their records.

    Their records get the age of stone, and so are older than what they are made from. What is made from one of
    them follows by itself. Nothing is run that the targets of this run do not need.
    """
    unverified = [cell for cell in run.planned if record.is_to_be_tried_again(cell.record)]
    records = {cell.record for cell in unverified}
    roots = [cell.record for cell in unverified if not any(p.record in records for p in run.table.parents(cell))]
    for path in roots:
        with contextlib.suppress(OSError):  # somebody else's file: it stays as it is
            os.utime(path, (1, 1))
    return roots


def told_again(tried: Iterable[str], made: Collection[str]) -> str | None:
    """A note of those of the records that the jobs of this run make."""
    again = [path for path in tried if path in made]
    return f"unverified when they last ran, so tried again: {', '.join(again)}" if again else None


# -- run_config.yaml, and its mark ------------------------------------------------------------


def draft(run: Run) -> None:
    """Keep what the rule write_run_config publishes."""
    files.write_text(f"{run.folder}/.run_config.yaml", _as_yaml(run))


def draft_series(
    run: Run, config: Mapping[str, Any], overrides: Mapping[str, Any], cores: int | None, resources: Mapping[str, Any]
) -> None:
    """Where several runs are asked for: keep what the run hands on to them. It may hold credentials.

    Args:
        config, overrides: as `Run.plan` takes them.
        cores: that the run was given; None: the machine's.
        resources: that it was given, by the names that Snakemake keeps them by.
    """
    asked = run.series_settings
    if not (asked["sides"] or asked["good"] or asked["bisect"]["among"]):
        return
    whole, own = settings.completed(config, overrides, run.root / "config/config.yaml")
    checkout = str(run.paddleseg.folder) if run.paddleseg and not run.paddleseg.installed else None
    plan = nested.Plan(
        run.root.resolve(), whole, own, asked, run.python, checkout,
        cores or os.cpu_count() or 1,
        # what is a size is kept in MB, without that in its name; `_cores` and `_nodes` are no resources to name
        {f"{name}_mb" if name in ("mem", "disk") else name: value for name, value in resources.items()
         if value is not None and not name.startswith("_")},
    )  # fmt: skip
    place = Path(run.series_plan)
    files.write_text(place, plan.as_json())
    place.chmod(0o600)


def _as_yaml(run: Run) -> str:
    text: str = yaml.safe_dump(run.config, allow_unicode=True)
    return text


def kept_are_red(run: Run) -> bool:
    """Whether the conclusions that there are, of whichever run, are red: by their beginning, they may be long."""
    try:
        with Path(f"{run.folder}/conclusions.json").open(encoding="utf-8") as stream:
            return '"red": true' in stream.read(record.HEAD)
    except (OSError, ValueError):
        return False


def mark(run: Run, text: str) -> None:
    """Make conclusions that are red older than a file that they are made from, and that holds what it never held.

    Else a run would find them made, have nothing to do, and end as if all were well: Snakemake goes by times, and by
    the content that it remembers.
    """
    now = f"{datetime.now():%Y-%m-%d %H:%M:%S.%f}"
    files.write_text(f"{run.folder}/run_config.yaml", f"{text.partition(MARK)[0]}{MARK}{now}\n")


def mark_again(run: Run) -> None:
    """At the start of a run: where the conclusions that there are are red, they are to be made again."""
    if kept_are_red(run):
        with contextlib.suppress(OSError):
            mark(run, Path(f"{run.folder}/run_config.yaml").read_text(encoding="utf-8"))


def unmark(run: Run) -> None:
    """Take out what a failed run wrote into run_config.yaml: the conclusions are made. Nothing gets stale by it."""
    path = Path(f"{run.folder}/run_config.yaml")
    with contextlib.suppress(OSError):
        text, times = path.read_text(encoding="utf-8"), path.stat()
        plain = text.partition(MARK)[0]
        if plain != text:
            files.write_text(path, plain)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def is_of(run: Run, run_config: Mapping[str, Any]) -> bool:
    """Whether conclusions of that configuration are those of this run; what to compare with is no part of them."""

    def part(config: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in config["settings"].items() if key not in COMPARING}
        return {**config, "settings": kept}

    return part(run_config) == part(json.loads(json.dumps(run.config)))


# -- the commands that conclude, for the rules and for a run that failed ----------------------


def conclude_command(script: str, run_config: str, conclusions: str) -> list[str]:
    """The command line that writes the conclusions, after the interpreter."""
    return [script, "--run-config", run_config, "--json", conclusions]


def page_command(script: str, run_config: str, conclusions: str, page: str) -> list[str]:
    """The command line that makes the page, likewise."""
    return [script, "--conclusions", conclusions, "--run-config", run_config, "--page", page]


def evidence_command(script: str, run_config: str, pack: str) -> list[str]:
    """The command line that packs the evidence, likewise; without its own log, which is not finished then."""
    return [script, "--run-config", run_config, "--but", f"{Path(pack).parent}/evidence.log", "--pack", pack]


def certificate_command(script: str, run_config: str, pack: str, key: str | None) -> list[str]:
    """The command line that packs the certificate, likewise."""
    return [script, "--run-config", run_config, "--pack", pack, *(["--sign", key] if key else [])]


# -- the end ----------------------------------------------------------------------------------


def packs(rules: Collection[str]) -> bool:
    """Whether a run of jobs of these rules ends in a pack of evidence."""
    return "pack_evidence" in rules


def certifies(rules: Collection[str]) -> bool:
    """Whether a run of jobs of these rules ends in a certificate that travels."""
    return "certificate" in rules


def only_compared(failed: Collection[str]) -> bool:
    """Whether nothing failed but jobs that look at what there is, which have no conclusions to write."""
    return bool(failed) and all(rule in LOOKING - {"matrix", "write_run_config"} for rule in failed)


def lost(records: Iterable[str | None], before: Mapping[str, Any]) -> list[str]:
    """Of the records of jobs that failed, those that the job left no record of a failure for, fresh or at all.

    Args:
        records: None for a job that makes none.
        before: the stamps of the failures before this run, `Run.failures`.
    """
    failures = {path: record.failure(path) for path in records if path}
    now = files.stamps(failures.values())
    return [path for path, file in failures.items() if file not in now or now[file] == before.get(file)]


def after_failure(run: Run, lost_records: Iterable[str], evidence: bool, certificate: bool = False) -> None:
    """Write the conclusions although jobs failed, and show what is red.

    Args:
        evidence, certificate: whether to pack them as well.
    """
    run_config, conclusions = f"{run.folder}/run_config.yaml", f"{run.folder}/conclusions.json"
    try:
        mark(run, _as_yaml(run))
    except OSError as error:
        print(f"no conclusions: {with_advice(str(error), Path())}", file=sys.stderr)
        return
    command = conclude_command(f"{run.scripts}/conclude.py", run_config, conclusions)
    subprocess.run([sys.executable, *command, *(f"--lost={path}" for path in lost_records)], check=False)
    command = page_command(f"{run.scripts}/make_page.py", run_config, conclusions, f"{run.folder}/conclusions.html")
    subprocess.run([sys.executable, *command], check=False)
    if evidence:
        command = evidence_command(f"{run.scripts}/pack_evidence.py", run_config, f"{run.folder}/evidence.zip")
        # An environment of conda's is there in a job alone.
        python = [] if run.start.in_conda else ["--python", run.python]
        subprocess.run([sys.executable, *command, *python], check=False)
    if certificate:
        place = f"{run.folder}/certificate.zip"
        command = certificate_command(f"{run.scripts}/pack_certificate.py", run_config, place, signing_key(run))
        subprocess.run([sys.executable, *command], check=False)


def signing_key(run: Run) -> str | None:
    """The key of the configuration that a certificate is signed with; one of before has none."""
    key: str | None = run.settings.get("certificate", {}).get("sign")
    return key


def show(run: Run, rules: Collection[str]) -> None:
    """Show the summary that the last conclusions printed, and the page, where this run made or kept them.

    A run of named files may leave conclusions that are older than a record, or of another configuration.

    Args:
        rules: those of the run's jobs.
    """
    if set(rules) <= LOOKING:
        return
    conclusions = Path(f"{run.folder}/conclusions.json")
    records = [path for cell in run.planned if (path := Path(cell.record)).exists()]
    try:
        kept = yaml.safe_load(Path(f"{run.folder}/run_config.yaml").read_text(encoding="utf-8"))
        made = conclusions.stat().st_mtime_ns
    except (OSError, yaml.YAMLError):
        return
    if not is_of(run, kept) or any(path.stat().st_mtime_ns > made for path in records):
        print(f"{conclusions} is older than this run: run without naming files to renew it", file=sys.stderr)
        return
    packed = (["evidence"] if packs(rules) else []) + (["certificate"] if certifies(rules) else [])
    for name in ("conclusions", "page", *packed):
        if (log := Path(f"{run.folder}/{name}.log")).exists():
            print(log.read_text(encoding="utf-8"), file=sys.stderr, end="")


def red_all_the_same(run: Run, rules: Collection[str]) -> str | None:
    """Why a run that ended well is no good: it took for made what is red, or of another run, as with --touch.

    Conclusions of another run are made stale, so that the next run does not take them for made either.
    """
    conclusions = f"{run.folder}/conclusions.json"
    if "conclude" not in rules:
        return None
    if kept_are_red(run):
        return f"{conclusions} is red: start again without --touch"
    with contextlib.suppress(OSError, yaml.YAMLError):
        kept = yaml.safe_load(Path(f"{run.folder}/run_config.yaml").read_text(encoding="utf-8"))
        if not is_of(run, kept):
            mark(run, _as_yaml(run))
            return f"{conclusions} is of another configuration or PaddleSeg than this run: start again without --touch"
    return None
