"""What the rules share: the settings, the machine and the cell table.

Names, paths and options of cells are in scripts/segcert/cells.py; lookups.smk asks it by wildcards.
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

from segcert import (
    cells,
    code,
    files,
    gpus,
    locks,
    machine,
    modelconfig,
    modelkeys,
    processes,
    record,
    settings,
    stages,
)
from segcert.data import classes, sources
from segcert.stage import supervisor, surroundings
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
            f"python: {json.dumps(PYTHON)} is refused; allowed: auto, or a Python interpreter of this machine: a name "
            "found on PATH, or the path of an executable file"
        )
    HERE = workflow.local_exec and workflow.is_main_process
    if workflow.is_main_process:
        CLEARED = surroundings.misguiding()  # each stage takes it away for itself
        os.environ.pop("PYTHONSAFEPATH", None)  # with it no script finds its package
        gpus.hand_on(wanted=SETTINGS["hardware"] != "cpu")  # once a run; its jobs have the answer from here
    limit = workflow.global_resources.get("gpu") if workflow.is_main_process else None
    HARDWARE = machine.hardware(
        SETTINGS["hardware"], None if IN_CONDA else PYTHON, HERE, at_most=limit and limit.value
    )
    if HERE and limit is None and HARDWARE.setting == "auto" and HARDWARE.gpus:
        # As many GPU jobs at a time as there are GPUs, counted as the plan and the leases count them.
        workflow.register_resource("gpu", HARDWARE.gpus)
    TABLE = cells.CellTable(SETTINGS, HARDWARE)
    PLANNED = TABLE.planned()
    # Of models of which nothing runs, nobody reads the configuration: a params file may have named none.
    MODEL_FILES = {
        name: shipped(SETTINGS["model_zoo"][name]["config"])
        for name in dict.fromkeys(cell.model for cell in PLANNED)
    }
    code.require_past(
        [
            *ROOT.glob("scripts/**/*.py"),
            *(f for path in MODEL_FILES.values() for f in modelconfig.config_chain(path)),
        ]
    )
    if workflow.is_main_process:
        TOLD = modelkeys.require((name, path, TABLE.decided(name)) for name, path in MODEL_FILES.items())
except (ConfigError, ValueError) as error:
    raise WorkflowError(str(error)) from None

MODE = SETTINGS["mode"]
# In the environment, not in params: a moved interpreter is no reason to train again, another `python:` in
# the configuration is.
os.environ.update(
    STAGE_PYTHON=PYTHON,
    WORKFLOW_PYTHON=sys.executable,
    **{supervisor.WORKFLOW: json.dumps(processes.identity())},  # when this process is killed, its stages end
    SEGCERT_PROGRESS="0",  # jobs share the terminal, where Snakemake shows the progress
    **sources.environment(SETTINGS),
    **classes.environment((TABLE.dataset(name), name, str(file)) for name, file in MODEL_FILES.items()),
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
    FAILED_BEFORE = files.stamps(
        file for cell in PLANNED for file in (cell.failure, *map(record.failure, TABLE.source_records(cell)))
    )


wildcard_constraints:
    mode=cells.pattern([MODE]),
    model=cells.pattern(SETTINGS["models"]),
    train_cell=cells.pattern([cell.train_name for cell in PLANNED]),
    cell="[^/.]+",  # not every name by name: thousands of them would make planning quadratic
    dataset=cells.pattern(SETTINGS["datasets"]),
    weights=cells.pattern(SETTINGS["weights"]),
