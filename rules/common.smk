"""What the stages' rules share: the settings, the cell table, and small look-ups by wildcards.

Names, paths and options of cells are in scripts/segcert/cells.py; nothing here builds a path by cases.
"""

import os
import subprocess
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

ROOT = Path(str(workflow.current_basedir)).parent
SCRIPTS = os.path.relpath(ROOT / "scripts")
sys.path.insert(0, str(ROOT / "scripts"))

from segcert import cells, code, machine, record, settings

try:
    SETTINGS = settings.resolve(
        config, workflow.config_settings.overwrite_config, "config/config.yaml"
    )
    TABLE = cells.CellTable(SETTINGS, machine.hardware(SETTINGS["hardware"]))
    PLANNED = TABLE.planned("train", "eval", "export", "infer")
except (settings.ConfigError, ValueError) as error:
    raise WorkflowError(str(error)) from None

MODE = SETTINGS["mode"]
# The interpreter of the stages. With --sdm conda it is the one of the activated environment.
PYTHON = SETTINGS["python"]
if PYTHON == "auto":
    in_environment = "conda" in str(workflow.deployment_settings.deployment_method).lower()
    PYTHON = "python" if in_environment else sys.executable


wildcard_constraints:
    mode=cells.pattern([MODE]),
    model=cells.pattern(SETTINGS["models"]),
    train_cell=cells.pattern([cell.train_name for cell in PLANNED]),
    cell=cells.pattern([cell.name for cell in PLANNED if cell.stage == "infer"]),
    dataset=cells.pattern(SETTINGS["datasets"]),
    weights=cells.pattern(SETTINGS["weights"]),


def sources(script):
    """A stage's script and what it imports: inputs, because Snakemake sees no change to a module."""
    return code.sources(f"{SCRIPTS}/{script}")


def of_cell(stage, attribute):
    """A function of the wildcards: an attribute of the planned cell that they name."""

    def look_up(wildcards):
        name = wildcards.cell if stage == "infer" else None
        try:
            cell = TABLE.find(stage, wildcards.model, wildcards.train_cell, name)
        except KeyError:
            raise WorkflowError(
                f"no {stage} cell {name or wildcards.train_cell} of {wildcards.model} is planned in mode {MODE} "
                f"on hardware {SETTINGS['hardware']}: see results/{MODE}/conclusions.md, or widen the configuration"
            )
        return getattr(cell, attribute)

    return look_up


def model_config(wildcards):
    """The model's PaddleSeg configuration: the file as it is named, or the shipped one."""
    path = SETTINGS["model_zoo"][wildcards.model]["config"]
    return path if os.path.exists(path) else os.path.relpath(ROOT / path)


def model_config_bases(wildcards):
    """The files that the model's configuration inherits from."""
    try:
        chain = settings.config_chain(Path(model_config(wildcards)))
    except settings.ConfigError as error:
        raise WorkflowError(str(error)) from None
    return [str(path) for path in chain[1:]]


def model_dataset(wildcards):
    return f"results/data/{TABLE.dataset(wildcards.model)}"


def source_options(entry):
    """Options for a file from elsewhere: an entry of `datasets` or `weights`."""
    options = ["--source", entry["source"]]
    if entry["source"] != "synthetic":
        options += ["--location", entry[entry["source"]]]
    if entry.get("sha256"):
        options += ["--sha256", entry["sha256"]]
    return options


def local_source(entry):
    """The file that an entry takes from this machine: an input, so that a newer one is noticed."""
    return [entry["path"]] if entry["source"] == "path" else []
