"""The stages: what each is made from, what it reads, where it leaves what it makes, and what it must have observed.

Records hold a stage's name. Whoever looks one up under another name is told so.
"""

from __future__ import annotations

from dataclasses import dataclass

# Of a record's env, what a stage that computes with Paddle may follow from.
PADDLE = ("paddle", "paddle_commit", "cuda", "cudnn", "paddleseg", "numpy", "opencv")

# The label maps of a checkpoint that each of its inference cells must reproduce.
REFERENCE = "reference"


@dataclass(frozen=True)
class Stage:
    """One kind of job.

    Attributes:
        name: in records.
        rule: of Snakemake; None where several make it.
        section: of the settings, that a mode and a model may change; it has the stage's time limit.
        parents: stages of the same train cell that it is made from, nearest first; of one that only some of its cells
            are made from, `Cell.parents` says which.
        reads: stages whose outputs it reads itself.
        makes: files and folders beside its record. Paths are relative to the folder of the train cell; `{cell}` is
            the name of the cell, where a train cell has many of the stage.
        proves: fields of `effective` without which no record of it says `passed`.
        software: of a record's env, what its result may follow from: another version makes it stale.
        topology: the only one that this is the stage of; None: of all others.
        stem: of its record's name, where that is not the stage's.
    """

    name: str
    rule: str | None
    section: str | None
    parents: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    proves: tuple[str, ...] = ()
    software: tuple[str, ...] = PADDLE
    topology: str | None = None
    stem: str | None = None

    @property
    def record(self) -> str:
        """Where its record stands."""
        return f"{self.stem or self.name}.json"

    @property
    def log(self) -> str:
        """Where what its process prints stands; under a name of its own where the stage makes a log besides."""
        plain = f"{self.stem or self.name}.log"
        return plain.replace(".log", ".process.log") if plain in self.makes else plain

    def folder(self, record: str, cell: str) -> str:
        """The folder of the train cell, from where the record of one of its cells stands."""
        return record.removesuffix(f"/{self.record.format(cell=cell)}")


# Data sets and weight files, which all models share: they are in no cell table.
DATA = Stage("data", rule=None, section=None, software=())
TRAIN = Stage(
    "train",
    rule="train",
    section="train",
    reads=("data",),
    makes=("model.pdparams", "history.csv"),
    proves=("device", "devices", "precision", "graph", "iters", "batch_size"),
)
# In the place of a training: weights that somebody released, taken as they are.
RELEASED = Stage(
    "train",
    topology="released",
    rule="take_released_weights",
    section="export",
    makes=("model.pdparams",),
    proves=("weights",),
    software=(),
)
EVAL = Stage(
    "eval",
    rule="evaluate",
    section="evaluate",
    parents=("train",),
    reads=("data", "train"),
    makes=(REFERENCE,),
    proves=("device", "precision", "transforms"),
)
EXPORT = Stage(
    "export",
    rule="export",
    section="export",
    parents=("train",),
    reads=("train",),
    makes=("export",),
    proves=("device", "precision", "onnx", "opset"),
    software=(*PADDLE, "paddle2onnx"),
)
# The export in int8, for the cells that compute in it.
QUANTISE = Stage(
    "quantise",
    rule="quantise",
    section="quantise",
    parents=("export", "train"),
    reads=("data", "export"),
    makes=("quantised",),
    proves=("device", "precision", "method", "weight_bits"),
    software=("onnx", "onnxruntime", "nncf", "numpy", "opencv"),
    stem="quantised",
)
INFER = Stage(
    "infer",
    rule="infer",
    section="infer",
    parents=("quantise", "export", "eval", "train"),
    reads=("eval", "export", "quantise"),
    makes=("infer/{cell}.log", "infer/{cell}"),
    proves=("device", "engine", "precision", "batch_size"),
    stem="infer/{cell}",
)
# PaddleSeg's own scripts, of a checkout, on the same checkpoint and data.
SCRIPTS = Stage(
    "scripts",
    rule="run_paddleseg",
    section="train",
    parents=("export", "eval", "train"),
    reads=("data", "train", "eval", "export"),
    makes=("scripts/{cell}",),
    proves=("script", "digest", "device", "outcome", "command", "exit_code"),
    stem="scripts/{cell}",
)
ALL = (DATA, TRAIN, RELEASED, EVAL, EXPORT, QUANTISE, INFER, SCRIPTS)
NAMES = tuple(dict.fromkeys(stage.name for stage in ALL))
OF_CELLS = tuple(name for name in NAMES if name != DATA.name)  # those of the cell table
SECTIONS = tuple(dict.fromkeys(stage.section for stage in ALL if stage.section))

_BY_PLACE = {(stage.name, stage.topology): stage for stage in ALL}


def by_name(name: str, topology: str | None = None) -> Stage:
    """The stage of that name, as it is for a topology.

    Raises:
        ValueError: there is none of that name.
    """
    found = _BY_PLACE.get((name, topology)) or _BY_PLACE.get((name, None))
    if found is None:
        raise ValueError(f"unknown stage {name!r}; one of {', '.join(NAMES)}")
    return found
