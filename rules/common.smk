"""What the stages' rules share: the settings, the cell table, and small look-ups by wildcards.

Names, paths and options of cells are in scripts/segcert/cells.py; nothing here builds a path by cases.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

SCRIPTS = os.path.relpath(ROOT / "scripts")

from segcert import cells, code, locks, machine, modelconfig, processes, record, settings, sources, stage
from segcert.errors import ConfigError
from segcert.masking import masked_tree


def shipped(path):
    """A file as it is named, or the one of that name that is shipped."""
    return Path(path) if os.path.exists(path) else Path(os.path.relpath(ROOT / path))


IN_CONDA = "conda" in str(workflow.deployment_settings.deployment_method).lower()

try:
    SETTINGS = settings.resolve(
        *settings.completed(config, workflow.config_settings.overwrite_config, ROOT / CONFIG), CONFIG
    )
    # The interpreter of the stages: with --sdm conda that of the activated environment.
    PYTHON = {"auto": "python" if IN_CONDA else sys.executable}.get(SETTINGS["python"], SETTINGS["python"])
    if workflow.local_exec and not IN_CONDA and not shutil.which(PYTHON):
        raise ConfigError(
            f"python: {json.dumps(PYTHON)}: allowed: auto, or a Python interpreter of this machine: a name "
            "found on PATH, or the path of an executable file"
        )
    HARDWARE = machine.hardware(
        SETTINGS["hardware"],
        None if IN_CONDA else PYTHON,
        here=workflow.local_exec and workflow.is_main_process,
    )
    TABLE = cells.CellTable(SETTINGS, HARDWARE)
    PLANNED = TABLE.planned("train", "eval", "export", "infer")
    model_files = [shipped(SETTINGS["model_zoo"][name]["config"]) for name in SETTINGS["models"]]
    code.require_past(
        [*ROOT.glob("scripts/**/*.py"), *(f for m in model_files for f in modelconfig.config_chain(m))]
    )
except (ConfigError, ValueError) as error:
    raise WorkflowError(str(error)) from None

MODE = SETTINGS["mode"]
# In the environment, not in params: a moved interpreter is no reason to train again, another `python:` in
# the configuration is.
os.environ.update(
    STAGE_PYTHON=PYTHON,
    WORKFLOW_PYTHON=sys.executable,
    **{stage.WORKFLOW: json.dumps(processes.identity())},  # when this process is killed, its stages end
    SEGCERT_PROGRESS="0",  # jobs share the terminal, where Snakemake shows the progress
    **sources.environment(SETTINGS),
)
ENVIRONMENT = os.path.relpath(
    ROOT / "envs" / ("gpu.yaml" if TABLE.hardware.gpus else "cpu.yaml"), ROOT / "rules"
)

RUN_CONFIG = {
    "settings": masked_tree(SETTINGS),
    "hardware": vars(HARDWARE),
    "versions": {name: machine.package_version(name) for name in machine.WORKFLOW},
}


if workflow.is_main_process:
    HELD = locks.hold()  # as long as this process lives
    # What failed before this run: to tell what failed in it, whatever the clocks say.
    FAILED_BEFORE = record.stamps(
        file for cell in PLANNED for file in (cell.failure, *map(record.failure, TABLE.source_records(cell)))
    )


wildcard_constraints:
    mode=cells.pattern([MODE]),
    model=cells.pattern(SETTINGS["models"]),
    train_cell=cells.pattern([cell.train_name for cell in PLANNED]),
    cell="[^/.]+",  # not every name by name: thousands of them would make planning quadratic
    dataset=cells.pattern(SETTINGS["datasets"]),
    weights=cells.pattern(SETTINGS["weights"]),


def modules(script):
    """What a stage's script imports of this project: inputs, because Snakemake sees no change to a module."""
    return [path for path in code.sources(f"{SCRIPTS}/{script}") if path != f"{SCRIPTS}/{script}"]


def planned_cell(stage_name, wildcards):
    """The planned cell that the wildcards name."""
    name = wildcards.cell if stage_name == "infer" else None
    try:
        return TABLE.find(stage_name, wildcards.model, wildcards.train_cell, name)
    except KeyError:
        raise WorkflowError(
            f"no {stage_name} cell {name or wildcards.train_cell} of {wildcards.model} is planned in mode {MODE} "
            f"on hardware {SETTINGS['hardware']}: see results/{MODE}/conclusions.md, or widen the configuration"
        )


def of_cell(stage_name, attribute):
    """A function of the wildcards: an attribute of the planned cell that they name."""
    return lambda wildcards: getattr(planned_cell(stage_name, wildcards), attribute)


def model_config(wildcards):
    """The model's PaddleSeg configuration: the file as it is named, or the shipped one."""
    return str(shipped(SETTINGS["model_zoo"][wildcards.model]["config"]))


def model_config_bases(wildcards):
    """The files that the model's configuration inherits from."""
    return [str(path) for path in modelconfig.config_chain(Path(model_config(wildcards)))[1:]]


def model_dataset(wildcards):
    return f"results/data/{TABLE.dataset(wildcards.model)}"


def backbone_weights(wildcards):
    """The backbone's pretrained weights as a list of no or one file."""
    name = TABLE.backbone(wildcards.model)
    return [f"results/weights/{name}.pdparams"] if name else []


def backbone_options(wildcards):
    return [item for path in backbone_weights(wildcards) for item in ("--backbone-weights", path)]


def released_weights(wildcards):
    return TABLE.weights(wildcards.model, "released_weights")
