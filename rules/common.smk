"""What the rules share: the run as it is planned.

What is decided is in scripts/segcert/run.py; names, paths and options of cells in scripts/segcert/cells.py.
"""

import json
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from segcert import cells, code, ending, locks, modelconfig, stages
from segcert.data import sources
from segcert.errors import ConfigError
from segcert.run import Run, Start

try:
    modelconfig.require_single(map(Path, [CONFIG, *workflow.overwrite_configfiles]))
    RUN = Run.plan(
        config,
        workflow.config_settings.overwrite_config,
        CONFIG,
        ROOT,
        Start(
            main=workflow.is_main_process,
            in_conda="conda" in str(workflow.deployment_settings.deployment_method).lower(),
            gpus=workflow.global_resources.get("gpu").value,
            jobs=workflow.resource_settings.nodes,
        ),
    )
except (ConfigError, ValueError) as error:
    raise WorkflowError(str(error)) from None

if RUN.gpu_limit:
    workflow.register_resource("gpu", RUN.gpu_limit)
os.environ.update(RUN.variables)
SETTINGS, TABLE, PLANNED, MODE = RUN.settings, RUN.table, RUN.planned, RUN.mode
SCRIPTS, ENVIRONMENT = RUN.scripts, RUN.environment
if workflow.is_main_process:
    HELD = locks.hold()  # as long as this process lives
    FAILED_BEFORE = RUN.failures()


wildcard_constraints:
    mode=cells.pattern([MODE]),
    model=cells.pattern(SETTINGS["models"]),
    train_cell=cells.pattern([cell.train_name for cell in PLANNED]),
    cell="[^/.]+",  # not every name by name: thousands of them would make planning quadratic
    dataset=cells.pattern(SETTINGS["datasets"]),
    weights=cells.pattern(SETTINGS["weights"]),
