"""A run in the words of Workflow Run RO-Crate: `ro-crate-metadata.json`, from conclusions and records as they are.

The profile is that of https://w3id.org/ro/wfrun/workflow/0.5: the workflow is the main entity, its run an action with
the configuration as object and the conclusions as results, and each job that left a record another action.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from segcert.concluded import Concluded

NAME = "ro-crate-metadata.json"
WORKFLOW = "Snakefile"
README = "README.md"
CRATE = "https://w3id.org/ro/crate/1.1"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
LANGUAGE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
RUN, TERMS, MIT = "#run", "#terms", "https://spdx.org/licenses/MIT"
KINDS = {
    ".json": "application/json", ".yaml": "application/yaml", ".md": "text/markdown", ".csv": "text/csv",
    ".html": "text/html", ".xml": "application/xml", ".log": "text/plain", ".py": "text/x-python",
}  # fmt: skip

Entity = dict[str, Any]


def of_run(mode: str, cells: Sequence[Concluded], contents: Mapping[str, bytes], snakemake: str | None) -> Entity:
    """The metadata of a crate.

    Args:
        cells: of the conclusions; at least one of them ran.
        contents: name -> content of every file that the crate has beside the metadata.
        snakemake: its version.
    """
    top = f"results/{mode}"
    ran = [cell for cell in cells if cell.get("record_file") in contents and "started" in cell]
    begun, ended = min(map(_begin, ran)), max(map(_end, ran))
    actions = [_action(cell, contents) for cell in ran]
    scripts = {action["instrument"]["@id"] for action in actions}
    run = {
        "@id": RUN,
        "@type": "CreateAction",
        "name": f"Certification of mode {mode}",
        "description": f"snakemake --config mode={mode}, with the configuration of run_config.yaml",
        "startTime": _iso(begun),
        "endTime": _iso(ended),
        "instrument": _to(WORKFLOW),
        "object": [_to(f"{top}/run_config.yaml")],
        "result": [_to(name) for name in sorted(contents) if name.startswith(f"{top}/conclusions.")],
    }
    root = {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Certificate of PaddleSeg models, mode {mode}",
        "description": "Conclusions, records and logs of a run of the certification workflow; no weights and no data.",
        "datePublished": _iso(ended),
        "license": {"@id": TERMS},
        "conformsTo": [{"@id": profile} for profile in PROFILES],
        "mainEntity": _to(WORKFLOW),
        "mentions": [{"@id": action["@id"]} for action in (run, *actions)],
        "hasPart": [_to(name) for name in sorted(contents)],
    }
    graph = [_descriptor(), root, *_context(snakemake), run, *actions]
    for script in sorted(scripts):
        graph.append({"@id": script, "@type": "SoftwareApplication", "name": f"scripts/{script[1:]}"})
    about = {part["@id"]: action["@id"] for action in actions for part in action.pop("logs")}
    graph += [_file(name, contents[name], about) for name in sorted(contents)]
    return {
        "@context": [f"{CRATE}/context", "https://w3id.org/ro/terms/workflow-run/context"],
        "@graph": [_plain(entity) for entity in graph],
    }


def _descriptor() -> Entity:
    conforms = [{"@id": CRATE}, {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"}]
    return {"@id": NAME, "@type": "CreativeWork", "about": {"@id": "./"}, "conformsTo": conforms}


def _context(snakemake: str | None) -> Iterable[Entity]:
    """What the others refer to: profiles, the workflow's language, terms."""
    for profile, (name, version) in PROFILES.items():
        yield {"@id": profile, "@type": "CreativeWork", "name": name, "version": version}
    home = "https://snakemake.readthedocs.io"
    language = {"@id": LANGUAGE, "@type": "ComputerLanguage", "name": "Snakemake", "url": {"@id": home}}
    yield {**language, "identifier": {"@id": home}, **({"version": snakemake} if snakemake else {})}
    yield {"@id": home, "@type": "WebPage", "name": "Snakemake"}
    yield {"@id": MIT, "@type": "CreativeWork", "name": "MIT License", "url": MIT}
    terms = "The workflow and verify.py are under the MIT License; who made the run says how its results may be used."
    yield {"@id": TERMS, "@type": "CreativeWork", "name": "Terms of this certificate", "description": terms}


def _action(cell: Concluded, contents: Mapping[str, bytes]) -> Entity:
    """The job that left a cell's record. `logs` are its log files: they tell of it, and are no results."""
    record = str(cell["record_file"])
    logs = dict.fromkeys((str(cell["log"]), f"{cell['record'].removesuffix('.json')}.log"))
    failed = cell.status.red
    made: Entity = {
        "@id": f"#{quote(record)}",
        "@type": "CreateAction",
        "name": " ".join(filter(None, (cell["model"], *cell.place))),
        "description": cell["command"],
        "startTime": _iso(_begin(cell)),
        "endTime": _iso(_end(cell)),
        "instrument": {"@id": f"#{_script(cell)}"},
        "object": [_to(name) for name in cell["inputs"] if name in contents],
        "result": [_to(record), *(_to(name) for name in cell.get("outputs", {}) if name in contents)],
        "actionStatus": f"http://schema.org/{'Failed' if failed else 'Completed'}ActionStatus",
        "logs": [_to(name) for name in logs if name in contents],
    }
    if failed:
        made["error"] = str(cell["reason"])
    return {key: value for key, value in made.items() if value or key == "logs"}


def _plain(entity: Entity) -> Entity:
    """An entity whose lists of one are that one, as RO-Crate 1.1 recommends."""
    return {key: value[0] if isinstance(value, list) and len(value) == 1 else value for key, value in entity.items()}


def _script(cell: Concluded) -> str:
    """The script that made a cell's record, by its command."""
    return next((Path(word).name for word in str(cell["command"]).split() if word.endswith(".py")), "unknown")


def _file(name: str, content: bytes, about: Mapping[str, str]) -> Entity:
    made: Entity = {**_to(name), "@type": "File", "name": name}
    made |= {"contentSize": str(len(content)), "sha256": hashlib.sha256(content).hexdigest()}
    if kind := KINDS.get(Path(name).suffix):
        made["encodingFormat"] = kind
    if name == README:
        made["about"] = {"@id": "./"}
    if made["@id"] in about:
        made["about"] = {"@id": about[made["@id"]]}
    if name == WORKFLOW:
        made |= {
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow"],
            "name": "Certification of PaddleSeg models",
            "description": "The table of contents of the workflow, whose rules and scripts are not in this crate.",
            "license": {"@id": MIT},
            "encodingFormat": "text/plain",
            "version": made["sha256"][:12],
            "programmingLanguage": {"@id": LANGUAGE},
        }
    return made


def _to(name: str) -> Entity:
    return {"@id": quote(name)}


def _begin(cell: Concluded) -> datetime:
    return datetime.fromisoformat(cell["started"]).astimezone(UTC)


def _end(cell: Concluded) -> datetime:
    return _begin(cell) + timedelta(seconds=cell["wall_s"] or 0)


def _iso(time: datetime) -> str:
    return time.isoformat(timespec="seconds")
