"""The cell table: every combination that the settings ask for, and whether it can be exercised.

A *train cell* is model x topology x precision (x graph); evaluation, export and the *infer cells* hang on it.
This module is the one place that makes names and paths of cells, in the form that stages.py gives them; the rules
repeat that form. Their options are those of the requests that it makes (requests/). Nothing parses a name back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

from segcert import (
    engines,
    modelkeys,
    offers,
    output_ops,
    own_scripts,
    published,
    record,
    sections,
    sizes,
    stages,
    statuses,
)
from segcert.engines import CPU, GPU, INT8
from segcert.machine import GPU_SOFTWARE, Hardware, paddle_is
from segcert.requests.evaluate import Evaluate
from segcert.requests.export import Export
from segcert.requests.infer import Infer
from segcert.requests.quantise import ACCURACY_CONTROL, Quantise
from segcert.requests.request import DYNAMIC, Request
from segcert.requests.scripts import RunScript
from segcert.requests.train import Train
from segcert.requests.weights import Weights
from segcert.sections import MODEL_SECTIONS, TRAINED, of_model, per_model, released

NOT_OF_NNCF = (
    "quantise.method is accuracy_control: NNCF rounds only what OpenVINO needs rounded, so that ONNX Runtime computes "
    "many of the convolutions in fp32"
)
STREAMS_OF_A_GPU = "several requests at once on a GPU: how many compute at a time cannot be seen there yet"
ANY = "."  # the pattern of a known failure that is known by its gates alone: no option may be empty
BOTH = "both"  # of `export.shapes`: a program of one size, and beside it one whose height and width are free
MINUTES_OF_GRACE = 5  # between a stage's own time limit and the scheduler's
MEMORY_OF_GRACE_MB = 512  # the same of memory; what watches the stage takes some of it


@dataclass(frozen=True)
class Cell:
    """One thing to certify: a stage of a train cell.

    Attributes:
        stage: its name in stages.py.
        name: of the train cell, or the file name of the infer cell.
        train_name: of the train cell that this belongs to; the folder's name.
        topology: single | multi | released.
        request: what the configuration asks for.
        timeout_min, memory_gb: when the stage is ended; no bound of memory where that is None.
        status, reason: set where the plan already knows that it cannot or must not run.
        known_failures: the entries of the configuration that match this cell.
        software: what its result may follow from, by its name in a record's env, as far as it is known.
    """

    mode: str
    model: str
    algorithm: str
    stage: str
    name: str
    train_name: str
    topology: str
    request: Request = field(hash=False)
    timeout_min: int = 60
    memory_gb: float | None = None
    status: str | None = None
    reason: str | None = None
    known_failures: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    software: Mapping[str, Any] = field(default_factory=dict, hash=False)

    @property
    def planned(self) -> bool:
        return self.status is None

    @property
    def folder(self) -> str:
        return f"results/{self.mode}/{self.model}/{self.train_name}"

    @property
    def definition(self) -> stages.Stage:
        return stages.by_name(self.stage, self.topology)

    @property
    def parents(self) -> tuple[str, ...]:
        """Names of the stages that it is made from, nearest first; `quantise` only where it computes in int8."""
        asked = self.request
        quantised = not isinstance(asked, Infer) or asked.precision == INT8
        return tuple(name for name in self.definition.parents if quantised or name != stages.QUANTISE.name)

    @cached_property
    def requested(self) -> Mapping[str, Any]:
        """What the configuration asks for, by field, as a record holds it."""
        return self.request.requested

    @property
    def record(self) -> str:
        """Where the record of this cell stands once it ran."""
        return self._place(self.definition.record)

    @property
    def outputs(self) -> list[str]:
        """Every file and folder that the cell's rule makes; a run is complete when all are there."""
        return [self.record, *map(self._place, self.definition.makes)]

    @property
    def failure(self) -> str:
        """Where the record of its last failed attempt stands."""
        return record.failure(self.record)

    @property
    def log(self) -> str:
        """What the process printed."""
        return self._place(self.definition.log)

    def _place(self, pattern: str) -> str:
        return f"{self.folder}/{pattern.format(cell=self.name)}"

    @property
    def gpus(self) -> int:
        if self.requested["device"] != GPU:
            return 0
        devices: int = self.requested.get("devices", 1)
        return devices

    @property
    def threads(self) -> int:
        """CPU cores that its job takes: its threads, and on GPUs its data loaders, which keep cores busy there."""
        each: int = self.requested.get("threads", 1)
        if self.stage != stages.TRAIN.name:
            streams: int = self.requested.get("streams", 1)
            return each * streams
        readers: int = self.requested.get("workers", 0) if self.requested["device"] == GPU else 0
        devices: int = self.requested.get("devices", 1)
        return (each + readers) * devices

    @property
    def runtime(self) -> int:
        """Minutes after which a scheduler may end its job."""
        return self.timeout_min + MINUTES_OF_GRACE

    @property
    def memory_mb(self) -> int | None:
        """Memory (MiB) over which a scheduler may end its job; None: nothing bounds it."""
        return None if self.memory_gb is None else math.ceil(self.memory_gb * 1024) + MEMORY_OF_GRACE_MB

    @property
    def limits(self) -> list[str]:
        """The options that bound the stage. None of `options`: under another bound a result is the same."""
        memory = [] if self.memory_gb is None else ["--memory-gb", f"{self.memory_gb:g}"]
        return ["--timeout-min", str(self.timeout_min), *memory]

    @property
    def options(self) -> list[str]:
        """The command-line options that make the stage's script run this cell."""
        options = ["--mode", self.mode, "--model", self.model, "--algorithm", self.algorithm, "--cell", self.name]
        for known in self.known_failures:
            # No option may be empty: Snakemake leaves empty ones out of a command, quoted or not.
            # In one order: the conclusions read the configuration from a file whose keys are sorted.
            gates = ",".join(f"{name}={worst}" for name, worst in sorted(known.get("gates", {}).items()))
            options += ["--known-gates", known["id"], gates] if gates else ["--known-failure", known["id"]]
            options += [known.get("error", ANY), known["reason"], known["link"], known.get("paddle", "any")]
        return options + self.request.options()


@dataclass(frozen=True, kw_only=True)
class LeftOut(Request):
    """What is asked for and not done, so that no script is: `what` says it in words."""

    REQUESTED: ClassVar[tuple[str, ...]] = ("device", "devices", "what")

    device: str
    devices: int
    what: str


@dataclass(frozen=True, kw_only=True)
class InferenceLeftOut(LeftOut):
    """The same of an inference, which has a place in the tables of a batch size."""

    REQUESTED: ClassVar[tuple[str, ...]] = ("device", "devices", "engine", "threads", "batch_size", "what")

    engine: str = "native"
    threads: int = 1
    batch_size: int


@dataclass(frozen=True)
class TrainCell:
    """A row of the training matrix, before it is cut into stages."""

    topology: str  # single | multi | released
    precision: str = "fp32"
    level: str | None = None
    dtype: str | None = None
    graph: str = "dynamic"
    named: str | None = None  # a row that is not run has a name of its own

    @property
    def released(self) -> bool:
        return self.topology == stages.RELEASED.topology

    @property
    def name(self) -> str:
        precision = None if self.released else self.precision
        graph = "static" if self.graph == "to_static" else None
        parts = (self.topology, precision, self.level, self.dtype, graph)
        return self.named or "_".join(part for part in parts if part)


RELEASED = TrainCell(str(stages.RELEASED.topology))


class CellTable:
    """All cells of a run, in the order of the models and of the configuration.

    Args:
        settings: as `segcert.settings.resolve` returns them.
        hardware: what the jobs' machines have.
        paddleseg: model -> a hash of those files of PaddleSeg that its results follow from, as far as they are known.
        scripts: those of PaddleSeg's own that there are, as `checkout.beside.there` returns them.
        configurations: model -> {file of its PaddleSeg configuration: sha256}, as far as they are there.
    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        hardware: Hardware,
        paddleseg: Mapping[str, str] = MappingProxyType({}),
        scripts: Mapping[str, str] = MappingProxyType({}),
        configurations: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
    ) -> None:
        self.settings = settings
        self.hardware = hardware
        self.paddleseg = paddleseg
        self.scripts = scripts
        self.configurations = configurations
        self.mode: str = settings["mode"]
        self._sections = {
            (model, name): of_model(settings, model, name)
            for model in settings["models"]
            for name in MODEL_SECTIONS
            if name in settings  # a run of before lacks those of stages that came later
        }

    @classmethod
    def of_run(cls, run: Mapping[str, Any]) -> CellTable:
        """The table of a run that was planned, from what its run_config.yaml holds."""
        paddleseg = run.get("paddleseg", {})
        hashes, scripts = paddleseg.get("hashes", {}), paddleseg.get("scripts", {})
        return cls(run["settings"], Hardware(**run["hardware"]), hashes, scripts, run.get("configurations", {}))

    def section(self, model: str, name: str) -> Any:
        """A section of the settings as it is for one model."""
        return self._sections[model, name]

    def trains(self, model: str) -> bool:
        """Whether the model's checkpoints are trained here, or are its released weights."""
        checkpoints: str = self.section(model, "train")["checkpoints"]
        return checkpoints == TRAINED

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        cells = tuple(
            self._on_software(self._known(cell)) for model in self.settings["models"] for cell in self._of_model(model)
        )
        seen: set[str] = set()
        for cell in cells:
            if cell.record in seen:
                raise ValueError(
                    f"two cells of the matrix share the record {cell.record}; "
                    "look for a doubled entry in the configuration"
                )
            seen.add(cell.record)
        return cells

    def planned(self, *of: str) -> list[Cell]:
        """The cells that are to run: of these stages, or all."""
        wanted = {stages.by_name(name).name for name in of or stages.OF_CELLS}
        return [cell for cell in self.cells if cell.planned and cell.stage in wanted]

    def find(self, stage: str, model: str, train_cell: str, name: str | None = None) -> Cell:
        """The planned cell at that place; KeyError where there is none."""
        return self._index[stages.by_name(stage).name, model, train_cell, name or train_cell]

    @cached_property
    def _index(self) -> dict[tuple[str, str, str, str], Cell]:
        return {(cell.stage, cell.model, cell.train_name, cell.name): cell for cell in self.cells if cell.planned}

    def parents(self, cell: Cell) -> list[Cell]:
        """What the cell is made from, nearest first: infer <- export, eval <- train."""
        places = [(stage, cell.model, cell.train_name, cell.train_name) for stage in cell.parents]
        return [self._index[place] for place in places if place in self._index]

    def source_records(self, cell: Cell) -> list[str]:
        """Records of the data set and the weights that a cell is made from first; of no other's.

        Training needs the data; released weights need none, so there it is their evaluation.
        """
        needed = [cell.definition, *(stages.by_name(name, cell.topology) for name in cell.definition.parents)]
        if [stage for stage in needed if stages.DATA.name in stage.reads] != [cell.definition]:
            return []
        dataset = self.dataset(cell.model)
        weights = self.starts(cell.model).values() if cell.definition is stages.TRAIN else ()
        records = [f"results/data/{dataset}.tar.json", f"results/data/{dataset}.json"]
        return records + [f"results/weights/{name}.json" for name in weights]

    def starts(self, model: str) -> dict[str, str]:
        """Kind -> entry of `weights` that the model's training starts from (`backbone_weights`, ...)."""
        wanted = self.section(model, "train")["pretrained_backbone"]
        return self._named_to_start(model) if wanted else {}

    def _named_to_start(self, model: str) -> dict[str, str]:
        named = {kind: self.weights(model, kind) for kind in modelkeys.ENTRIES.values()}
        return {kind: name for kind, name in named.items() if name}

    def decided(self, model: str) -> modelkeys.Run:
        """What this run decides of a model, as far as the model's own configuration has a say in it."""
        settings = self.settings
        name = self.dataset(model)
        data = settings["datasets"][name]
        return modelkeys.Run(
            trains=self.trains(model),
            input_size=self.input_size(model),
            export_size=self.export_size(model),
            sizes=self.sizes(model),
            transforms=self.section(model, "evaluate")["transforms"],
            **modelkeys.of_data(name, data),
            entries=self._named_to_start(model),
            fetches=self.section(model, "train")["pretrained_backbone"],
            made=[f"results/weights/{name}.pdparams" for name in settings["weights"]],
            own_transforms=settings["own_transforms"],
        )

    def dataset(self, model: str) -> str:
        """The entry of `datasets` that the model works on in this mode."""
        name: str = self.settings["data"][self.settings["model_zoo"][model]["data"]]
        return name

    def input_size(self, model: str) -> tuple[int, int] | None:
        """(width, height) of the training; None: that of the model's configuration."""
        return _pair(per_model(self.section(model, "input_size"), model))

    def export_size(self, model: str) -> tuple[int, int] | None:
        """The size of the exported model, where it is not that of the training."""
        return _pair(self.section(model, "export")["input_size"]) or self.input_size(model)

    def weights(self, model: str, kind: str) -> str | None:
        """The entry of `weights` that is the model's of that kind (`backbone_weights`, ...), if any."""
        name: str | None = self.settings["model_zoo"][model].get(kind)
        return name

    # -- building -----------------------------------------------------------------------------

    def _of_model(self, model: str) -> Iterator[Cell]:
        if why := self.settings["model_zoo"][model].get("not_planned"):
            yield self._not_planned(model, why)
            return
        rows = list(self._train_rows(model))
        for row, train in rows:
            yield train
            if train.planned:
                yield self._eval(model, row)
        for row, train in rows:
            if train.planned and self.is_exported(model, row):
                yield self._export(model, row)
                inferred = list(self._infer(model, row))
                if any(stages.QUANTISE.name in cell.parents for cell in inferred if cell.planned):
                    yield self._quantise(model, row)
                yield from inferred
                yield from self._scripts(model, row)
        for item in self._items(model):
            row, left_out = self._left_out(model, item)
            if row.name != RELEASED.name:  # that stands where the training would
                yield left_out
            if item.get("quant"):
                yield from self._infer(model, row, quant=True)

    def is_planned(self, model: str) -> bool:
        """Whether anything of the model was to be done; else its file alone is a row, with the reason."""
        return "not_planned" not in self.settings["model_zoo"][model]

    def _not_planned(self, model: str, why: Mapping[str, str]) -> Cell:
        """The one row of a model's file that plans nothing."""
        row = TrainCell("single", named="not_planned") if self.trains(model) else RELEASED
        request = LeftOut(device=self._device(model), devices=1, what="the whole configuration")
        status = statuses.by_name(why["status"])
        return self._cell(model, row, stages.by_name(stages.TRAIN.name, row.topology), request, (status, why["reason"]))

    def _items(self, model: str) -> list[Mapping[str, Any]]:
        """What is asked for and not done, of checkpoints such as this run has."""
        items = self.settings["model_zoo"][model].get("skipped", [])
        trains = self.trains(model)
        return [
            item
            for item in items
            if item["stage"] != stages.TRAIN.name or TrainCell(item["topology"]).released != trains
        ]

    def _left_out(self, model: str, item: Mapping[str, Any]) -> tuple[TrainCell, Cell]:
        """A cell, and the row that it would stand in, for an item of the model's `skipped`."""
        row = TrainCell(item["topology"], named=item["name"])
        stage = stages.by_name(item["stage"], item["topology"])
        asked = {"device": self._device(model), "devices": item.get("devices", 1), "what": item["what"]}
        if stage is stages.INFER:
            request: Request = InferenceLeftOut(**asked, batch_size=self.batch_sizes(model)[0])
        else:
            request = LeftOut(**asked)
        return row, self._cell(model, row, stage, request, (statuses.SKIPPED, item["reason"]))

    def batch_sizes(self, model: str) -> list[int]:
        sizes: list[int] = self.section(model, "infer")["batch_sizes"]
        return sizes

    def _cell(
        self,
        model: str,
        row: TrainCell,
        stage: stages.Stage,
        request: Request,
        why_not: tuple[statuses.Status, str] | None = None,
        name: str | None = None,
    ) -> Cell:
        """A cell of a row.

        Args:
            why_not: the status that it has without running, and why; None: it is to run.
            name: if it is not the row's.
        """
        status, reason = why_not or (None, None)
        section = self.section(model, str(stage.section))
        return Cell(
            mode=self.mode,
            model=model,
            algorithm=self.settings["model_zoo"][model]["algorithm"],
            stage=stage.name,
            name=name or row.name,
            train_name=row.name,
            topology=row.topology,
            request=request,
            timeout_min=section["timeout_min"],
            # Weights that are taken are not computed with; and a run of before has no such key.
            memory_gb=None if stage is stages.RELEASED else section.get("memory_gb"),
            status=status.name if status else None,
            reason=reason,
        )

    def _train_rows(self, model: str) -> Iterator[tuple[TrainCell, Cell]]:
        if not self.trains(model):
            yield self._released(model)
            return
        train = self.section(model, "train")
        for topology in train["topologies"]:
            for asked in sections.precisions(train, model, topology):
                row = TrainCell(topology, **asked)
                yield row, self._train(model, row)

    def _train(self, model: str, row: TrainCell) -> Cell:
        train = self.section(model, "train")
        soak = train.get("soak") or None  # a run of before has no such key
        devices = train["devices"] if row.topology == "multi" else 1
        why_not: tuple[statuses.Status, str] | None = None
        device = self._device(model)
        if rule := offers.training_left_out(row.topology, row.precision, row.graph):
            why_not = statuses.SKIPPED, rule
        elif row.precision == "amp" and device == CPU:
            why = self.hardware.why_no_gpu("paddle") or "train.device is cpu"
            device = GPU
            why_not = (
                statuses.UNVERIFIED,
                f"mixed precision needs a GPU (on a CPU Paddle computes in fp32); {why}",
            )
        elif device == GPU and (too_few := self.hardware.why_not_so_many(devices)):
            why_not = statuses.UNVERIFIED, too_few
        elif device == GPU and row.dtype and (lacking := self.hardware.why_no_gpu(row.dtype)):
            why_not = statuses.UNVERIFIED, f"needs a GPU that computes in {row.dtype}; {lacking}"
        request = Train(
            device=device,
            devices=devices,
            precision=row.precision,
            level=row.level,
            dtype=row.dtype,
            graph=row.graph,
            iters=per_model(train["iters"], model),
            batch_size=per_model(train["batch_size"], model),
            input_size=self.input_size(model),
            seed=self.section(model, "seed"),
            batch_norm_momentum=per_model(train["batch_norm_momentum"], model),
            soak=soak,
            max_growth_mb=self.section(model, "gates")["memory_mb_per_1000_iterations"] if soak else None,
            **{key: train[key] for key in ("workers", "threads", "log_iters", "snapshot_iters")},
        )
        return self._cell(model, row, stages.TRAIN, request, why_not)

    def _device(self, model: str) -> str:
        """Where the model is trained and evaluated."""
        return CPU if self.section(model, "train")["device"] == CPU or self.hardware.why_no_gpu("paddle") else GPU

    def _released(self, model: str) -> tuple[TrainCell, Cell]:
        for item in self._items(model):
            if item["name"] == RELEASED.name:
                return self._left_out(model, item)
        weights = self.weights(model, "released_weights")
        why_not = None if weights else (statuses.UNVERIFIED, "no released weights")
        return RELEASED, self._cell(model, RELEASED, stages.RELEASED, Weights(weights=weights), why_not)

    def is_exported(self, model: str, row: TrainCell) -> bool:
        """Whether the model is exported and run from this checkpoint."""
        if row.released:
            return True
        infer = self.section(model, "infer")
        wanted = infer["from_precision"]
        if wanted == "auto":
            asked = {entry["precision"] for entry in sections.precisions(self.section(model, "train"), model)}
            wanted = "amp" if self._device(model) == GPU and "amp" in asked else "fp32"
        if row.graph not in infer.get("from_graphs", ["dynamic"]):  # a run of before has no other
            return False
        return row.topology in infer["from_topologies"] and wanted in ("all", row.precision)

    def _eval(self, model: str, row: TrainCell) -> Cell:
        evaluate, logits = self.section(model, "evaluate"), self.section(model, "gates")["logits"]
        request = Evaluate(
            device=self._device(model),
            transforms=evaluate["transforms"],
            threads=self.section(model, "train")["threads"],
            images=evaluate["images"],
            reference_images=self.section(model, "infer")["images"],
            input_size=self.export_size(model) if evaluate["transforms"] == "export" else self.input_size(model),
            published=self._published(model) if row.released else None,
            logits_images=logits["images"] if self.is_exported(model, row) else 0,
            logits_mb=logits["megabytes"],
            sizes=tuple(map(sizes.written, self.sizes(model))) or None if self.is_exported(model, row) else None,
        )
        return self._cell(model, row, stages.EVAL, request)

    def _published(self, model: str) -> str | None:
        """The accuracy that is published of the model's released weights, as the evaluation is told of it."""
        weights = released(self.settings, model)
        if not weights.get("published"):
            return None
        tolerance = self.section(model, "gates")["published_miou"]
        data = self.settings["datasets"][self.dataset(model)]
        return published.asked(str(self.weights(model, "released_weights")), weights, data, tolerance)

    def _export(self, model: str, row: TrainCell) -> Cell:
        export = self.section(model, "export")
        request = Export(
            opset=export["opset"],
            output_op=self._output_op(model),
            input_size=self.export_size(model),
            batch_sizes=None if export["batch_sizes"] == [1] else tuple(export["batch_sizes"]),
            shapes=DYNAMIC if self._is_free(model) else None,
            beside=DYNAMIC if self._shapes(model) == BOTH else None,
        )
        return self._cell(model, row, stages.EXPORT, request)

    def _is_free(self, model: str) -> bool:
        """Whether the one program that is exported has free height and width."""
        return self._shapes(model) == DYNAMIC

    def _shapes(self, model: str) -> str | None:
        """`export.shapes`, which a run of before lacks."""
        shapes: str | None = per_model(self.section(model, "export").get("shapes"), model)
        return shapes

    def sizes(self, model: str) -> list[tuple[int, int]]:
        """(width, height), each once, of what images are brought to in cells of their own."""
        asked = _sizes(self.section(model, "infer"))
        return [size for size, entries in asked.items() if any(model in one.get("models", [model]) for one in entries)]

    def _output_op(self, model: str) -> str | None:
        """What the model's exported program ends in, where that is not argmax, as in any run of before."""
        return output_ops.if_asked(self.section(model, "export").get("output_op", output_ops.ARGMAX))

    def _controls(self, model: str) -> bool:
        """Whether the model's accuracy is controlled as it is quantised."""
        return bool(self.section(model, "quantise")["method"] == ACCURACY_CONTROL)

    def _agreement(self, model: str, precision: str) -> float:
        """The share of pixels on which label maps of a precision are to agree."""
        return float(per_model(self.section(model, "gates")["pixel_agreement"][precision], model))

    def _quantise(self, model: str, row: TrainCell) -> Cell:
        quantise = self.section(model, "quantise")
        request = Quantise(
            **{key: quantise[key] for key in ("method", "weight_bits", "images")},
            min_agreement=self._agreement(model, INT8) if self._controls(model) else None,
        )
        return self._cell(model, row, stages.QUANTISE, request)

    def _infer(self, model: str, row: TrainCell, quant: bool = False) -> Iterator[Cell]:
        """The inference matrix of a checkpoint; that of one that is quantised as it is, is not run."""
        infer, gates = self.section(model, "infer"), self.section(model, "gates")
        soaked: set[tuple[str, str, str, bool]] = set()
        for batch_size in infer["batch_sizes"]:
            asked = [_Way(CPU, entry, threads) for entry in infer["cpu"] for threads in infer["cpu_threads"]]
            asked += [_Way(GPU, entry, 1) for entry in infer["gpu"]]
            for way in _ways(asked, infer, model):
                device, entry, threads, streams, size = way
                request = Infer(
                    device=device,
                    engine=entry["engine"],
                    precision=entry["precision"],
                    threads=threads,
                    batch_size=batch_size,
                    output_op=self._output_op(model),
                    **{key: infer[key] for key in ("warmup", "max_warmup", "min_samples", "min_seconds", "images")},
                    jobs_beside="none" if infer["exclusive"] else "any",
                    min_agreement=self._agreement(model, entry["precision"]),
                    max_miou_drop=per_model(gates["miou_drop"][entry["precision"]], model),
                    max_logits_l2=per_model(gates["logits"]["l2"][entry["precision"]], model),
                    max_logits_peak=per_model(gates["logits"]["peak"][entry["precision"]], model),
                    roundings=(gates["logits"].get("roundings") or None) if entry["precision"] == "fp32" else None,
                    logger=self.settings["benchmark"]["logger"],
                    streams=streams if streams > 1 else None,
                    server_p99_ms=infer["server_p99_ms"] if streams > 1 and "server" in infer["scenarios"] else None,
                    shapes=DYNAMIC if size or self._is_free(model) else None,
                    size=size,
                )
                name = infer_name(device, request.engine, request.precision, threads, batch_size, streams, size)
                why_not = self._why_not(model, request, quant)
                # Whether memory grows is a matter of the engine: one cell tells of it, and one whose sizes change.
                engine = (device, request.engine, request.precision, bool(size))
                if infer.get("soak") and streams == 1 and not why_not and engine not in soaked:
                    soaked.add(engine)
                    most = gates["memory_mb_per_1000_batches"]
                    request = replace(request, soak=infer["soak"], max_growth_mb=most)
                yield self._cell(model, row, stages.INFER, request, why_not, name)

    def _scripts(self, model: str, row: TrainCell) -> Iterator[Cell]:
        """PaddleSeg's own scripts, on a checkpoint that was trained in fp32 on one device, and not as a graph."""
        if (row.topology, row.precision, row.graph) != ("single", "fp32", "dynamic"):
            return
        if not (self.scripts and own_scripts.wanted(self.settings, model)):
            return
        for script in own_scripts.ALL:
            request = self._script_request(model, script)
            yield self._cell(model, row, stages.SCRIPTS, request, self._why_no_script(request), script.cell)

    def _script_request(self, model: str, script: own_scripts.Script) -> RunScript:
        train, infer, evaluate = (self.section(model, name) for name in ("train", "infer", "evaluate"))
        gates = self.section(model, "gates")["paddleseg_scripts"]
        trains, evaluates = script.file == own_scripts.TRAIN, script.file == own_scripts.VAL
        images = None if trains else (evaluate if evaluates else infer)["images"]
        as_exported = not evaluates or evaluate["transforms"] == "export"
        return RunScript(
            script=script.file,
            digest=self.scripts.get(script.file, "none"),
            device=script.device or self._device(model),
            engine=script.engine,
            threads=train["threads"],
            iters=per_model(train["iters"], model) if trains else None,
            batch_size=per_model(train["batch_size"], model) if trains else None,
            input_size=self.input_size(model) if trains or not as_exported else self.export_size(model),
            seed=self.section(model, "seed") if trains else None,
            transforms="export" if as_exported else "val",
            images=images,
            output_op=self._output_op(model) if script.file in (own_scripts.EXPORT, own_scripts.INFER) else None,
            max_first_loss=gates["first_loss"],
            max_later_loss=gates["later_loss"],
            max_history_loss=gates["history_loss"],
            max_miou_difference=gates["miou"],
            min_agreement=gates["pixel_agreement"],
        )

    def _why_no_script(self, asked: RunScript) -> tuple[statuses.Status, str] | None:
        """The status that a script's cell has without running, and why; None: it is to run."""
        if asked.script not in self.scripts:
            return statuses.SKIPPED, f"the PaddleSeg at hand has no {asked.script}"
        if asked.device == GPU and (why_not := self.hardware.why_no_gpu("paddle")):
            return statuses.UNVERIFIED, f"needs a GPU; {why_not}"
        return None

    def _why_not(self, model: str, asked: Infer, quant: bool) -> tuple[statuses.Status, str] | None:
        """The status that an inference cell has without running, and why; None: it is to run."""
        if reason := offers.left_out(self.settings["rules"], asked.device, asked.engine, asked.precision, quant):
            return statuses.SKIPPED, reason
        if quant:
            return statuses.SKIPPED, "quantised models are not taken here yet: it is exports that are quantised here"
        if asked.shapes and (rule := offers.free_shapes_left_out(asked.engine, asked.precision)):
            return statuses.SKIPPED, rule
        computes_in = {"fp16": "float16", "bf16": "bfloat16"}.get(asked.precision, asked.precision)
        library = engines.by_name(asked.engine).gpu_library
        cores = self.hardware.cores
        if asked.device == GPU and (why_not := self.hardware.why_no_gpu(library, computes_in)):
            return statuses.UNVERIFIED, f"needs a GPU; {why_not}"
        if asked.device == GPU and asked.streams:
            return statuses.UNVERIFIED, STREAMS_OF_A_GPU
        if asked.device == CPU and cores is not None and asked.cores > cores:
            return statuses.UNVERIFIED, f"needs {asked.cores} CPU cores; a job may use {cores} here"
        if asked.precision == INT8 and asked.engine == engines.ONNXRUNTIME.name and self._controls(model):
            return statuses.SKIPPED, NOT_OF_NNCF
        if asked.device == CPU and asked.precision == "bf16" and self.hardware.bf16 is False:
            return statuses.UNVERIFIED, "needs a CPU that computes in bfloat16 (AVX512-BF16 or AMX); this one does not"
        return None

    def _known(self, cell: Cell) -> Cell:
        """The cell with the known failures that match it; one that failed by its file alone may be such itself."""
        fields = {**cell.requested, "stage": cell.stage, "model": cell.model, "topology": cell.topology}
        matching = tuple(
            known
            for known in self.settings["known_failures"]
            if all(
                fields.get(key) in ([want] if isinstance(want, str) else want) for key, want in known["match"].items()
            )
            and self._may_be_seen(known)
        )
        for one in matching if cell.status == statuses.FAILED.name else ():
            if "gates" not in one and re.search(one["error"], cell.reason or ""):
                reason = f"{one['id']}: {one['reason']} ({one['link']}) Seen: {cell.reason}"
                return replace(cell, status=statuses.KNOWN_FAILURE.name, reason=reason)
        if not matching:
            return cell
        return replace(cell, known_failures=matching)

    def _may_be_seen(self, known: Mapping[str, Any]) -> bool:
        """Whether a known failure is one of the Paddle that is planned for: no other makes a cell another."""
        paddle = self.hardware.software.get("paddle")
        return paddle is None or paddle_is(known.get("paddle", ""), paddle)

    def _on_software(self, cell: Cell) -> Cell:
        """The cell with the software that it is to run on: another version of it makes the cell stale."""
        if not cell.planned:
            return cell
        asked = cell.request
        names = engines.by_name(asked.engine).software if isinstance(asked, Infer) else cell.definition.software
        if cell.gpus:
            names = (*names, *GPU_SOFTWARE)
        software = {name: value for name, value in self.hardware.software.items() if name in names}
        if cell.model in self.paddleseg and cell.definition.software:
            software.pop("paddleseg", None)  # the version is in the files
            software["paddleseg_hash"] = self.paddleseg[cell.model]
        return replace(cell, software=software)


class _Way(NamedTuple):
    """How an inference cell is run: by an entry of `infer.cpu` or `infer.gpu`, and how it is asked.

    Attributes:
        size: (width, height) that images are brought to; None: that of the export.
    """

    device: str
    entry: Mapping[str, Any]
    threads: int
    streams: int = 1
    size: tuple[int, int] | None = None


def _ways(asked: list[_Way], infer: Mapping[str, Any], model: str) -> Iterator[_Way]:
    """Each way with the numbers of streams that `infer.streams` asks for, and with the sizes of `infer.sizes`.

    Cells of one number stand together, in the order of the numbers: what is run serially comes first. Then those of
    each size, with one stream.
    """
    wanted = [entry if isinstance(entry, Mapping) else {"streams": entry} for entry in infer.get("streams", [1])]
    for number in sorted({entry["streams"] for entry in wanted}):
        own = [one for one in wanted if one["streams"] == number]
        yield from (way._replace(streams=number) for way in asked if any(_is_for(one, way, model) for one in own))
    for size, entries in _sizes(infer).items():
        yield from (way._replace(size=size) for way in asked if any(_is_for(one, way, model) for one in entries))


def _sizes(infer: Mapping[str, Any]) -> dict[tuple[int, int], list[Mapping[str, Any]]]:
    """(width, height) -> the entries of `infer.sizes` that have it, in their order; a run of before has none."""
    found: dict[tuple[int, int], list[Mapping[str, Any]]] = {}
    for entry in infer.get("sizes", []):
        one = entry if isinstance(entry, Mapping) else {"size": entry}
        found.setdefault((one["size"][0], one["size"][1]), []).append(one)
    return found


def _is_for(entry: Mapping[str, Any], way: _Way, model: str) -> bool:
    """Whether an entry of `infer.streams` or `infer.sizes` is for a cell, by those of its keys that say for which."""
    own = {"models": model, "devices": way.device}
    own |= {"engines": way.entry["engine"], "precisions": way.entry["precision"]}
    return all(value in entry.get(key, [value]) for key, value in own.items())


def infer_name(
    device: str,
    engine: str,
    precision: str,
    threads: int,
    batch_size: int,
    streams: int = 1,
    size: tuple[int, int] | None = None,
) -> str:
    """File name of an infer cell: TIPC's where TIPC has the cell, the same form extended elsewhere."""
    kind = engines.by_name(engine).tipc.get(device, engine)
    computing = f"_threads_{threads}" if device == CPU else ""
    several = f"_streams_{streams}" if streams > 1 else ""
    resized = f"_size_{sizes.written(size)}" if size else ""
    return f"python_infer_{device}_{kind}{computing}_precision_{precision}_batchsize_{batch_size}{several}{resized}"


def pattern(names: Iterator[str] | list[str]) -> str:
    """A wildcard constraint that admits exactly these names."""
    return "|".join(sorted(map(re.escape, set(names)))) or "(?!)"


def _pair(size: list[int] | None) -> tuple[int, int] | None:
    return (size[0], size[1]) if size else None
