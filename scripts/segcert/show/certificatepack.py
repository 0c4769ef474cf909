"""A certificate that travels: one file with a run's conclusions and all that they were worked out from.

In it are conclusions and page, every record that was read, histories, logs and the configuration; no weights, no data,
and no pictures but those in the page. Records and conclusions are those of the run, byte by byte; in logs credentials
are masked and long middles left out. SHA256SUMS lists all files, an in-toto statement names the exported models by
their hashes, and `ro-crate-metadata.json` tells the run in the words of RO-Crate.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from segcert import asked, paths, record, stages, statuses
from segcert.cells import CellTable
from segcert.concluded import Concluded
from segcert.errors import StageError
from segcert.files import changed_since, files_of, sha256
from segcert.show import crate, packing, page
from segcert.show.veil import Veil

SUMS, SIGNATURE, STATEMENT, RUN = "SHA256SUMS", "SHA256SUMS.sig", "statement.json", "run_config.json"
VERIFY, PAGE = "verify.py", "conclusions.html"
NAMESPACE = "paddleseg-certificate"  # of signatures
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:paddleseg-certify:certificate:v1"
SIGN_S = 60  # for ssh-keygen

README = """# Certificate of PaddleSeg models, mode {mode}

Open `{top}/conclusions.html` in a browser. `python verify.py` with the zip that this came in checks that no byte of
it was changed, and that every status follows from the records; take verify.py from where you trust it, not from here.

`statement.json` names the exported models that were certified, `SHA256SUMS` all files, and `ro-crate-metadata.json`
tells the run as an RO-Crate.
"""


@dataclass
class Packed:
    """What is in a certificate.

    Attributes:
        names: every file in it, in order.
        missing: logs that the run should have and has not.
        cut: logs of which the middle is left out.
        masked: logs in which something was masked or shortened.
        bytes: of the zip.
    """

    names: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    cut: list[str] = field(default_factory=list)
    masked: list[str] = field(default_factory=list)
    bytes: int = 0


def pack(run_config: Path, to: Path, key: str | None, check: Callable[[Path], object]) -> Packed:
    """Make the certificate of a run in the working folder.

    Args:
        run_config: the run's run_config.yaml.
        to: the zip to write; whole or not at all.
        key: a private key of ssh to sign it with, or its public key where an agent has the private one; None: unsigned.
        check: looks at the zip before it gets its name; where it raises, there is none.

    Raises:
        OSError: a file of the run cannot be read, or the zip not be written.
        StageError: there is nothing to certify, an exported model is not what its record says, or it cannot be signed.
    """
    to.unlink(missing_ok=True)  # one that is older than the run would be taken for this run's
    run = yaml.safe_load(run_config.read_text(encoding="utf-8"))
    table = CellTable.of_run(run)
    top = f"results/{table.mode}"
    conclusions = json.loads(Path(f"{top}/conclusions.json").read_bytes())
    cells = [Concluded(cell) for cell in conclusions["cells"]]
    if not any("started" in cell for cell in cells):
        raise StageError(f"nothing ran in {top}: there is nothing to certify")
    found = Packed()
    contents = {name: Path(name).read_bytes() for name in (*_of_run(top), *_records(table, cells), *_histories(cells))}
    contents |= _logs(table, cells, found)
    contents[RUN] = _json(run)
    contents[crate.WORKFLOW] = (paths.ROOT / crate.WORKFLOW).read_bytes()
    contents[crate.README] = README.format(mode=table.mode, top=top).encode()
    contents[VERIFY] = (paths.ROOT / "scripts" / VERIFY).read_bytes()
    contents[STATEMENT] = _json(_statement(conclusions, cells, contents[f"{top}/conclusions.json"], found))
    contents[crate.NAME] = _json(crate.of_run(table.mode, cells, contents, run["versions"].get("snakemake")))
    contents = dict(sorted(contents.items()))
    contents[SUMS] = packing.sums(contents.items()).encode()
    if key:
        contents[SIGNATURE] = sign(contents[SUMS], key)
    packing.write(to, contents.items(), sealed=True, check=check)
    found.names, found.bytes = list(contents), to.stat().st_size
    return found


# -- what goes in -----------------------------------------------------------------------------


def _of_run(top: str) -> Iterator[str]:
    yield from (f"{top}/{name}" for name in (*page.FILES, PAGE))


def _records(table: CellTable, cells: list[Concluded]) -> Iterator[str]:
    """Every record that the conclusions were worked out from: of the cells, and of data and weights."""
    yield from dict.fromkeys(cell["record_file"] for cell in cells if "record_file" in cell)
    yield from (file for source in _sources(table) for file in _there(record.failure(source), source)[:1])


def _sources(table: CellTable) -> Iterator[str]:
    """The records of the data and weights of the planned cells."""
    yield from dict.fromkeys(path for cell in table.planned() for path in table.source_records(cell))


def _histories(cells: list[Concluded]) -> Iterator[str]:
    """The loss curves from which trainings were compared."""
    for cell in cells:
        if cell["stage"] == stages.TRAIN.name:
            yield from _there(*(path for path in cell.get("outputs", {}) if path.endswith(".csv")))


def _there(*files: str) -> list[str]:
    """Those that are there, and are no links, which lead to what the run did not write."""
    return [file for file in files if Path(file).is_file() and not Path(file).is_symlink()]


def _logs(table: CellTable, cells: list[Concluded], found: Packed) -> dict[str, bytes]:
    """What processes printed, and benchmark logs."""
    veil = Veil(os.environ, os.path.expanduser("~"), str(Path.cwd()))  # noqa: PTH111 - where there is none, Path raises
    named = [cell["log"] for cell in cells if cell.get("log")]
    beside = [cell["record"].removesuffix(".json") + ".log" for cell in cells]
    beside += [source.removesuffix(".json") + ".log" for source in _sources(table)]
    found.missing += [name for name in dict.fromkeys(named) if not _there(name)]
    made = {}
    for name in dict.fromkeys(_there(*named, *beside)):
        content, cut = packing.read(name)
        made[name] = veil.content(name, content)
        found.cut += [name] if cut else []
        found.masked += [name] if made[name] != content else []
    return made


# -- what it says -----------------------------------------------------------------------------


def _statement(
    conclusions: Mapping[str, Any], cells: list[Concluded], as_written: bytes, found: Packed
) -> dict[str, Any]:
    """An in-toto statement: which exported models these conclusions are of."""
    exports = list(_exports(cells))
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": file.as_posix(), "digest": {"sha256": sha256(file)}}
            for export in exports
            for file in files_of(Path(export["folder"]))
        ],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "mode": conclusions["mode"],
            "red": conclusions["red"],
            "counts": conclusions["counts"],
            "conclusions": packing.sums([("", as_written)])[:64],
            "exports": exports,
            "logs": {"missing": found.missing, "cut": found.cut, "masked": found.masked},
        },
    }


def _exports(cells: list[Concluded]) -> Iterator[dict[str, str]]:
    """The folders of exported models, as records name them.

    Raises:
        StageError: one of them is not what its record says.
    """
    for cell in cells:
        if cell["stage"] in (stages.EXPORT.name, stages.QUANTISE.name) and cell.status is statuses.PASSED:
            for folder, digest in cell.get("outputs", {}).items():
                if not Path(folder).is_dir():
                    raise StageError(f"{folder} is gone, which {cell['record']} names: run again, and it is made anew")
                if sha256(folder) != digest:
                    raise StageError(changed_since(folder, cell["record"]))
                yield {"folder": folder, "digest": digest, "record": cell["record"], "model": cell["model"]}


def sign(sums: bytes, key: str) -> bytes:
    """The signature of `ssh-keygen -Y sign` under SHA256SUMS.

    Raises:
        StageError: there is none; the message says why.
    """
    key = os.path.expanduser(key)  # noqa: PTH111 - where there is no home, Path raises
    if not Path(key).is_file():
        raise StageError(f"certificate.sign: {key}: there is no such key")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / SUMS
        file.write_bytes(sums)
        # Without a terminal, and nobody to ask: a passphrase is for an agent to know.
        answer = asked.ask(["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", key, str(file)], SIGN_S, "SSH_ASKPASS")
        if answer.why_not:
            raise StageError(f"certificate.sign: {key}: {answer.why_not}: {answer.text.strip() or 'it says nothing'}")
        return (file.with_name(SIGNATURE)).read_bytes()


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()
