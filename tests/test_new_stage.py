"""A new stage, file by file: one is added to a copy by the list of CONTRIBUTING.md, planned, run and concluded.

It stands between the export and the inference, and copies the export.
"""

import json

import file_by_file
import pytest
import yaml
from conftest import planned_jobs, snakemake
from file_by_file import before

from segcert import stages

pytestmark = pytest.mark.long

ROW = """PRUNE = Stage(
    "prune",
    rule="prune",
    section="prune",
    parents=("export", "train"),
    reads=("export",),
    makes=("pruned",),
    proves=("device", "method"),
    stem="pruned",
)
"""
REQUEST = '''"""What a pruning is asked to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from segcert.requests.request import Option, Request


@dataclass(frozen=True, kw_only=True)
class Prune(Request):
    """A pruning, on a CPU."""

    REQUESTED: ClassVar[tuple[str, ...]] = ("device", "method")

    device: ClassVar[str] = "cpu"

    method: Annotated[str, Option("how", choices=("copy",))] = "copy"
'''
CELL = """    def _prune(self, model: str, row: TrainCell) -> Cell:
        request = Prune(method=self.section(model, "prune")["method"])
        return self._cell(model, row, stages.PRUNE, request)

"""
IMPORT = "from segcert.requests.prune import Prune\n"
MADE_FROM = "                yield self._prune(model, row)\n"
WORK = '''"""Pruning of an exported model: none, it is copied."""

from __future__ import annotations

import shutil
from pathlib import Path

from segcert.requests.prune import Prune
from segcert.stage.worker import Result


def prune(request: Prune, export: str, folder: Path) -> Result:
    """Copy an export."""
    shutil.copytree(export, folder)
    return Result({"device": "cpu", "method": request.method}, {"copied_files": len(list(folder.iterdir()))})
'''
SCRIPT = '''"""Prune an exported model."""

import argparse
import sys

from segcert import stages
from segcert.requests.prune import Prune
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import prune

    return prune.prune(Prune.of(args), args.export, staging.path("pruned"))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--export", required=True, help="folder of the exported model")
    Prune.add_to(options)
    options.add_argument("--pruned", required=True, help="the folder to make")
    args = parse(options)
    outputs = {"pruned": args.pruned}
    plan = Plan(stages.PRUNE.name, Prune.of(args).requested, [args.export], outputs, work)
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
'''
RULE = '''"""Pruning of exported models.

Inputs: an exported model.
Outputs: pruned/ and pruned.json beside the checkpoint.
"""


rule prune:
    input:
        export="results/{mode}/{model}/{train_cell}/export",
        upstream="results/{mode}/{model}/{train_cell}/export.json",
    output:
        pruned=directory("results/{mode}/{model}/{train_cell}/pruned"),
        record="results/{mode}/{model}/{train_cell}/pruned.json",
    log:
        "results/{mode}/{model}/{train_cell}/pruned.log",
    benchmark:
        "results/{mode}/{model}/{train_cell}/pruned.bench.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        gpu=resource_of("prune", "gpus"),
        mem_mb=resource_of("prune", "memory_mb", 1000),
        runtime=resource_of("prune", "runtime"),
    params:
        code=code_of("prune.py"),
        script=f"{SCRIPTS}/prune.py",
        python=SETTINGS["python"],
        options=of_cell("prune", "options"),
        limits=limits_of("prune"),
        software=of_cell("prune", "software"),
    shell:
        '"$STAGE_PYTHON" {params.script:q} {params.options:q} {params.limits:q} --paddleseg "$STAGE_PADDLESEG"'
        " --upstream {input.upstream:q} --export {input.export:q} --pruned {output.pruned:q}"
        " --record {output.record:q} --log {log:q}"
'''
SECTION = """prune:
  # What is done to an exported model: it is copied.
  method: copy
  # Give up after so many minutes.
  timeout_min: 60
  memory_gb: null

"""
SCHEMA = """    "prune": {
      "type": "object",
      "additionalProperties": false,
      "properties": {
        "method": {"enum": ["copy"]},
        "timeout_min": {"type": "integer", "minimum": 1},
        "memory_gb": {"$ref": "#/$defs/memory_gb"}
      }
    },
"""
TOLD = "## prune\n\nRequested and observed: `device`, `method`. Metrics: `copied_files`.\n\n"
OF_INFER = '    rule="infer",\n    section="infer",\n    '  # beginning of its row
REF = '"prune": {"$ref": "#/$defs/prune"'
NEEDS = '"required": ["method", "timeout_min", "memory_gb"]'


# file -> changes, each of which what is there once and what is there then; and the test that misses them.
EDITS: dict[str, tuple[list[tuple[str, str]], str]] = {
    "scripts/segcert/stages.py": (
        [
            before("INFER = Stage(\n", ROW),
            (f'{OF_INFER}parents=("quantise", "export"', f'{OF_INFER}parents=("quantise", "prune", "export"'),
            ('reads=("eval", "export", "quantise")', 'reads=("eval", "prune", "quantise")'),
            before("INFER, SCRIPTS)\n", "PRUNE, "),
        ],
        "test_stages.py::test_the_table_of_cells_has_every_stage",
    ),
    "scripts/verify.py": (
        [
            before('    INFER: ("device"', '    "prune": ("device", "method"),\n'),
            before("    INFER: (QUANTISE", '    "prune": (EXPORT, TRAIN),\n'),
            ("INFER: (QUANTISE, EXPORT,", 'INFER: (QUANTISE, "prune", EXPORT,'),
            before("    INFER: (EVAL", '    "prune": (EXPORT,),\n'),
            ("INFER: (EVAL, EXPORT,", 'INFER: (EVAL, "prune",'),
            ('STEMS = {QUANTISE: "quantised",', 'STEMS = {QUANTISE: "quantised", "prune": "pruned",'),
        ],
        "test_verify.py::test_it_has_the_packages_stages",
    ),
    "scripts/segcert/requests/prune.py": (
        [("", REQUEST)],
        "test_golden.py::test_every_cell_is_asked_for_as_it_was",
    ),
    "scripts/segcert/cells.py": (
        [
            before("from segcert.requests.request", IMPORT),
            before("                inferred = list(self._infer(model, row))\n", MADE_FROM),
            before("    def _infer(self", CELL),
        ],
        "test_stages.py::test_the_table_of_cells_has_every_stage",
    ),
    "scripts/segcert/compute/prune.py": (
        [("", WORK)],
        "test_rooms.py::test_what_is_imported_is_there[prune.py]",
    ),
    "scripts/prune.py": (
        [("", SCRIPT)],
        "test_stages.py::test_a_rule_makes_what_the_table_says_from_what_it_says[prune]",
    ),
    "rules/prune.smk": (
        [("", RULE)],
        "test_stages.py::test_a_rule_makes_what_the_table_says_from_what_it_says[prune]",
    ),
    "Snakefile": (
        [before('include: "rules/infer.smk"', 'include: "rules/prune.smk"\n')],
        "test_stages.py::test_every_rule_file_is_included",
    ),
    "rules/infer.smk": (
        [('/export"', '/pruned"'), ('/export.json"', '/pruned.json"')],
        "test_stages.py::test_a_rule_makes_what_the_table_says_from_what_it_says[infer]",
    ),
    "config/config.yaml": (
        [before("infer:\n  # Checkpoints", SECTION)],
        "test_stages.py::test_the_sections_of_stages_are_in_the_configuration_and_its_schema",
    ),
    "config/schema/config.schema.json": (
        [
            before('"export": {"$ref": "#/$defs/export", ', f"{REF}, {NEEDS}}},\n    "),
            before('          "data": {"$ref": "#/$defs/data"},', f"          {REF}}},\n"),
            before('            "seed": {"$ref": "#/$defs/seed"},', f"            {REF}}},\n"),
            before('    "infer": {\n      "type": "object",', SCHEMA),
        ],
        "test_stages.py::test_the_sections_of_stages_are_in_the_configuration_and_its_schema",
    ),
    "scripts/segcert/show/templates/page/words.yaml": (
        [before('infer: ["infer"', 'prune: ["prune", "剪枝"]\n')],
        "test_report.py::test_every_sentence_is_used",
    ),
    "docs/reference/records.md": (
        [
            before(", `infer` or `scripts` |", ", `prune`"),
            before("| infer | `device`, `engine`", "| prune | `device`, `method` |\n"),
            before("## infer\n", TOLD),
        ],
        "test_docs.py::test_every_stage_is_told_of_with_what_it_must_prove",
    ),
    "tests/test_requests.py": (
        [
            before('    "infer": ("infer"', '    "prune": ("prune", Prune),\n'),
            before('        "infer": ["--export"', '        "prune": ["--export", "e", "--pruned", "q"],\n'),
            before("from segcert.requests.request", IMPORT),
        ],
        "test_requests.py::test_each_script_asks_for_what_the_table_asks_for",
    ),
}
PROOF = "scripts/segcert/proof.py"  # of a stage with gates or samples, which this one has not
LOOKUPS = "rules/lookups.smk"  # of a stage that only some cells are made from, which this one is not
GOLDEN = "tests/golden/cells.txt"
MADE = {"docs/reference/config.md", "docs/reference/commands.md", "docs/architecture.md"}
ONE_CELL = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": ["pp_humanseg_lite"],
    "input_size": [64, 64],
    "train": {"iters": 2, "topologies": ["single"], "precisions": [{"precision": "fp32"}]},
    "infer": {"cpu": [{"engine": "onnxruntime", "precision": "fp32"}], "images": 2, "min_samples": 4, "warmup": 1},
    "datasets": {"mini_supervisely_synthetic": {"images": {"train": 6, "val": 2, "test": 2}}},
}  # fmt: skip


@pytest.fixture(scope="module")
def added(tmp_path_factory):
    """A copy with the made-up stage."""
    folder = file_by_file.copy(tmp_path_factory.mktemp("new") / "project")
    file_by_file.add(folder, EDITS)
    for words in (["tests/test_golden.py"], ["docs/generate.py"]):
        made = file_by_file.python(folder, *words)
        assert made.returncode == 0, made.stdout + made.stderr
    return folder


def test_the_list_names_every_file():
    named = {name.replace("<stage>", "prune") for name in file_by_file.named("A new stage, file by file")}
    assert named | {"Snakefile"} == EDITS.keys() | {GOLDEN, PROOF, LOOKUPS} | MADE


def test_nothing_that_bears_on_stages_breaks(added):
    files = [f"tests/test_{name}.py" for name in ("stages", "requests", "golden", "rooms", "docs")]
    chosen = "not test_docs or stage"
    assert file_by_file.failing(added, "-k", chosen, *files) == set()
    others = {f"tests/{finder}" for _, finder in EDITS.values() if f"tests/{finder.split('::')[0]}" not in files}
    assert file_by_file.failing(added, *others) == set()


@pytest.mark.parametrize("name", EDITS)
def test_an_entry_that_is_forgotten_is_found(added, name):
    changes, finder = EDITS[name]
    with file_by_file.forgotten(added, name, changes):
        assert file_by_file.failing(added, f"tests/{finder}") == {finder}


def test_what_is_not_made_anew_is_found(added):
    made = {name: (added / name).read_text(encoding="utf-8") for name in (GOLDEN, *MADE)}
    for name, text in made.items():
        old = (file_by_file.ROOT / name).read_text(encoding="utf-8")
        assert "prune" in text and "prune" not in old
        (added / name).write_text(old, encoding="utf-8")
    try:
        finder = "test_golden.py::test_every_cell_is_asked_for_as_it_was"
        assert file_by_file.failing(added, f"tests/{finder}") == {finder}
        checked = file_by_file.python(added, "docs/generate.py", "--check")
        assert checked.returncode == 1
        assert {name for name in MADE if f"{name}: is not up to date" in checked.stderr} == MADE, checked.stderr
    finally:
        for name, text in made.items():
            (added / name).write_text(text, encoding="utf-8")


def test_it_is_planned_run_recorded_and_concluded(added):
    (added / "mine.yaml").write_text(yaml.safe_dump(ONE_CELL), encoding="utf-8")
    planned = snakemake(added, "-n", "--configfile", "mine.yaml")
    jobs = planned_jobs(planned.stdout + planned.stderr)
    assert {rule: jobs.get(rule) for rule in ("train", "export", "prune", "infer")} == {
        "train": 1, "export": 1, "prune": 1, "infer": 3,  # also in two streams, and in another size
    }  # fmt: skip
    done = snakemake(added, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = added / "results/smoke/pp_humanseg_lite/single_fp32"
    told = json.loads((folder / "pruned.json").read_text(encoding="utf-8"))
    assert told["status"] == "passed" and told["stage"] == "prune"
    assert told["requested"] == told["effective"] == {"device": "cpu", "method": "copy"}
    inferred = json.loads(next(folder.glob("infer/*.json")).read_text(encoding="utf-8"))
    made = told["outputs"].items()
    assert len(made) == 1 and made <= inferred["inputs"].items()
    found = json.loads((added / "results/smoke/conclusions.json").read_text(encoding="utf-8"))
    ran = {cell["stage"]: cell["status"] for cell in found["cells"] if cell["status"] != "unverified"}
    of_no_checkout = set(stages.OF_CELLS) - {stages.SCRIPTS.name, stages.QUANTISE.name}  # nor in int8
    assert ran == dict.fromkeys((*of_no_checkout, "prune"), "passed") and not found["red"]
    assert "prune" in (added / "results/smoke/conclusions.html").read_text(encoding="utf-8")
