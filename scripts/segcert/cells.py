"""The cell table: every combination that the settings ask for, and whether it can be exercised.

A *train cell* is model x topology x precision; evaluation, export and the *infer cells* hang on it.
This module is the only place that knows names, paths and options of cells. Nothing parses a name back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from segcert import engines, offers, record, statuses
from segcert.engines import CPU, GPU, PADDLE
from segcert.machine import GPU_SOFTWARE, Hardware
from segcert.sections import MODEL_SECTIONS, of_model, per_model

# Software that stages run on, where it is more than Paddle; that of an inference cell is its engine's.
RUNS_ON = {"export": (*PADDLE, "paddle2onnx")}
MINUTES_OF_GRACE = 5  # between a stage's own time limit and the scheduler's


@dataclass(frozen=True)
class Cell:
    """One thing to certify: a stage of a train cell.

    Attributes:
        stage: train | eval | export | infer.
        name: of the train cell, or the file name of the infer cell.
        train_name: of the train cell that this belongs to; the folder's name.
        topology: single | multi | released.
        requested: what the configuration asks for, by field.
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
    requested: Mapping[str, Any] = field(hash=False)
    flags: tuple[str, ...] = ()
    timeout_min: int = 60
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
    def record(self) -> str:
        """Where the record of this cell stands once it ran."""
        return f"{self.folder}/infer/{self.name}.json" if self.stage == "infer" else f"{self.folder}/{self.stage}.json"

    @property
    def outputs(self) -> list[str]:
        """Every file and folder that the cell's rule makes; a run is complete when all are there."""
        if self.stage == "infer":
            stem = self.record.removesuffix(".json")
            return [self.record, f"{stem}.log", stem]
        names = {"train": ["model.pdparams", "history.csv"], "eval": ["reference"], "export": ["export"]}[self.stage]
        if self.topology == "released":
            names = [name for name in names if name != "history.csv"]
        return [self.record, *(f"{self.folder}/{name}" for name in names)]

    @property
    def failure(self) -> str:
        """Where the record of its last failed attempt stands."""
        return record.failure(self.record)

    @property
    def log(self) -> str:
        """What the process printed."""
        stem = self.record.removesuffix(".json")
        return f"{stem}.process.log" if self.stage == "infer" else f"{stem}.log"

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
        if self.stage != "train":
            return each
        readers: int = self.requested.get("workers", 0) if self.requested["device"] == GPU else 0
        devices: int = self.requested.get("devices", 1)
        return (each + readers) * devices

    @property
    def runtime(self) -> int:
        """Minutes after which a scheduler may end its job."""
        return self.timeout_min + MINUTES_OF_GRACE

    @property
    def options(self) -> list[str]:
        """The command-line options that make the stage's script run this cell."""
        options = ["--mode", self.mode, "--model", self.model, "--algorithm", self.algorithm, "--cell", self.name]
        options += ["--timeout-min", str(self.timeout_min)]
        for known in self.known_failures:
            # No option may be empty: Snakemake leaves empty ones out of a command, quoted or not.
            fields = (known["id"], known["error"], known["reason"], known["link"], known.get("paddle", "any"))
            options += ["--known-failure", *fields]
        return options + list(self.flags)


@dataclass(frozen=True)
class TrainCell:
    """A row of the training matrix, before it is cut into stages."""

    topology: str  # single | multi | released
    precision: str = "fp32"
    level: str | None = None
    dtype: str | None = None
    named: str | None = None  # a row that is not run has a name of its own

    @property
    def name(self) -> str:
        precision = None if self.topology == "released" else self.precision
        return self.named or "_".join(part for part in (self.topology, precision, self.level, self.dtype) if part)


class CellTable:
    """All cells of a run, in the order of the models and of the configuration.

    Args:
        settings: as `segcert.settings.resolve` returns them.
        hardware: what the jobs' machines have.
    """

    def __init__(self, settings: Mapping[str, Any], hardware: Hardware) -> None:
        self.settings = settings
        self.hardware = hardware
        self.mode: str = settings["mode"]
        self.trains = self.mode != "whole_infer"
        self._sections = {
            (model, name): of_model(settings, model, name) for model in settings["models"] for name in MODEL_SECTIONS
        }

    def section(self, model: str, name: str) -> Any:
        """A section of the settings as it is for one model."""
        return self._sections[model, name]

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

    def planned(self, *stages: str) -> list[Cell]:
        """The cells of these stages that are to run."""
        return [cell for cell in self.cells if cell.planned and cell.stage in stages]

    def find(self, stage: str, model: str, train_cell: str, name: str | None = None) -> Cell:
        """The planned cell at that place; KeyError where there is none."""
        return self._index[stage, model, train_cell, name or train_cell]

    @cached_property
    def _index(self) -> dict[tuple[str, str, str, str], Cell]:
        return {(cell.stage, cell.model, cell.train_name, cell.name): cell for cell in self.cells if cell.planned}

    def parents(self, cell: Cell) -> list[Cell]:
        """What the cell is made from, nearest first: infer <- export, eval <- train."""
        stages = {"train": (), "eval": ("train",), "export": ("train",), "infer": ("export", "eval", "train")}[
            cell.stage
        ]
        return [
            self._index[stage, cell.model, cell.train_name, cell.train_name]
            for stage in stages
            if (stage, cell.model, cell.train_name, cell.train_name) in self._index
        ]

    def source_records(self, cell: Cell) -> list[str]:
        """Records of the data set and the weights that a cell is made from first; of no other's.

        Training needs the data; released weights need none, so there it is their evaluation.
        """
        if cell.stage != ("eval" if cell.topology == "released" else "train"):
            return []
        dataset = self.dataset(cell.model)
        weights = self.backbone(cell.model) if cell.stage == "train" else None
        records = [f"results/data/{dataset}.tar.json", f"results/data/{dataset}.json"]
        return records + ([f"results/weights/{weights}.json"] if weights else [])

    def backbone(self, model: str) -> str | None:
        """The entry of `weights` that the model's training starts from, if any."""
        wanted = self.section(model, "train")["pretrained_backbone"]
        return self.weights(model, "backbone_weights") if wanted else None

    def dataset(self, model: str) -> str:
        """The entry of `datasets` that the model works on in this mode."""
        name: str = self.settings["data"][self.settings["model_zoo"][model]["data"]]
        return name

    def input_size(self, model: str) -> list[int] | None:
        size: list[int] | None = per_model(self.section(model, "input_size"), model)
        return size

    def export_size(self, model: str) -> list[int] | None:
        """The size of the exported model, where it is not that of the training."""
        size: list[int] | None = self.section(model, "export")["input_size"]
        return size or self.input_size(model)

    def weights(self, model: str, kind: str) -> str | None:
        """The entry of `weights` that is the model's `backbone_weights` or `released_weights`, if any."""
        name: str | None = self.settings["model_zoo"][model].get(kind)
        return name

    # -- building -----------------------------------------------------------------------------

    def _of_model(self, model: str) -> Iterator[Cell]:
        rows = list(self._train_rows(model))
        for row, train in rows:
            yield train
            if train.planned:
                yield self._eval(model, row, train)
        for row, train in rows:
            if train.planned and self.is_exported(model, row):
                export = self._export(model, row, train)
                yield export
                yield from self._infer(model, row, export)
        for item in self._items(model):
            row, left_out = self._left_out(model, item)
            if item["name"] != "released":
                yield left_out
            if item.get("quant"):
                yield from self._infer(model, row, left_out, quant=True)

    def _items(self, model: str) -> list[Mapping[str, Any]]:
        """What is asked for and not done, of this mode."""
        items = self.settings["model_zoo"][model].get("skipped", [])
        return [item for item in items if item["stage"] != "train" or (item["topology"] == "released") != self.trains]

    def _left_out(self, model: str, item: Mapping[str, Any]) -> tuple[TrainCell, Cell]:
        """A cell, and the row that it would stand in, for an item of the model's `skipped`."""
        row = TrainCell(item["topology"], named=item["name"])
        requested: dict[str, Any] = {"device": self._device(model), "devices": item.get("devices", 1)}
        if item["stage"] == "infer":
            requested |= {"engine": "native", "threads": 1, "batch_size": self._batch_sizes(model)[0]}
        return row, Cell(
            **self._base(model, row, item["stage"]),
            name=item["name"],
            requested={**requested, "precision": item["what"]},
            status=statuses.SKIPPED.name,
            reason=item["reason"],
        )

    def _batch_sizes(self, model: str) -> list[int]:
        sizes: list[int] = self.section(model, "infer")["batch_sizes"]
        return sizes

    def _base(self, model: str, row: TrainCell, stage: str) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "model": model,
            "algorithm": self.settings["model_zoo"][model]["algorithm"],
            "stage": stage,
            "train_name": row.name,
            "topology": row.topology,
        }

    def _train_rows(self, model: str) -> Iterator[tuple[TrainCell, Cell]]:
        if not self.trains:
            yield self._released(model)
            return
        train = self.section(model, "train")
        for topology in train["topologies"]:
            for precision in train["precisions"]:
                row = TrainCell(topology, **precision)
                yield row, self._train(model, row)

    def _train(self, model: str, row: TrainCell) -> Cell:
        train = self.section(model, "train")
        devices = train["devices"] if row.topology == "multi" else 1
        status: str | None = None
        reason: str | None = None
        device = self._device(model)
        if row.precision == "amp" and device == CPU:
            why = self.hardware.why_no_gpu("paddle") or "train.device is cpu"
            device = GPU
            status, reason = (
                statuses.UNVERIFIED.name,
                f"mixed precision needs a GPU (on a CPU Paddle computes in fp32); {why}",
            )
        elif device == GPU and (too_few := self.hardware.why_not_so_many(devices)):
            status, reason = statuses.UNVERIFIED.name, too_few
        elif device == GPU and row.dtype and (lacking := self.hardware.why_no_gpu(row.dtype)):
            status, reason = statuses.UNVERIFIED.name, f"needs a GPU that computes in {row.dtype}; {lacking}"
        size = self.input_size(model)
        requested = {
            "device": device,
            "devices": devices,
            "precision": row.precision,
            "level": row.level,
            "dtype": row.dtype,
            "iters": per_model(train["iters"], model),
            "batch_size": per_model(train["batch_size"], model),
            "input_size": size,
            "seed": self.section(model, "seed"),
            "workers": train["workers"],
            "threads": train["threads"],
        }
        flags = ["--device", device, "--devices", str(devices), "--precision", row.precision]
        if row.precision == "amp":
            flags += ["--amp-level", str(row.level), "--amp-dtype", str(row.dtype)]
        for key in ("iters", "batch_size", "seed", "workers", "threads"):
            flags += [f"--{key.replace('_', '-')}", str(requested[key])]
        flags += ["--log-iters", str(train["log_iters"]), "--snapshot-iters", str(train["snapshot_iters"])]
        flags += _size_flags(size)
        return Cell(
            **self._base(model, row, "train"),
            name=row.name,
            requested=requested,
            flags=tuple(flags),
            timeout_min=train["timeout_min"],
            status=status,
            reason=reason,
        )

    def _device(self, model: str) -> str:
        """Where the model is trained and evaluated."""
        return CPU if self.section(model, "train")["device"] == CPU or self.hardware.why_no_gpu("paddle") else GPU

    def _released(self, model: str) -> tuple[TrainCell, Cell]:
        for item in self._items(model):
            if item["name"] == "released":
                return self._left_out(model, item)
        row = TrainCell("released")
        weights = self.weights(model, "released_weights")
        known = weights is not None
        return row, Cell(
            **self._base(model, row, "train"),
            name=row.name,
            requested={"device": CPU, "weights": weights},
            timeout_min=self.section(model, "export")["timeout_min"],
            status=None if known else statuses.UNVERIFIED.name,
            reason=None if known else "no released weights",
        )

    def is_exported(self, model: str, row: TrainCell) -> bool:
        """Whether the model is exported and run from this checkpoint."""
        if row.topology == "released":
            return True
        infer = self.section(model, "infer")
        wanted = infer["from_precision"]
        if wanted == "auto":
            asked = {entry["precision"] for entry in self.section(model, "train")["precisions"]}
            wanted = "amp" if self._device(model) == GPU and "amp" in asked else "fp32"
        return row.topology in infer["from_topologies"] and wanted in ("all", row.precision)

    def _eval(self, model: str, row: TrainCell, train: Cell) -> Cell:
        evaluate = self.section(model, "evaluate")
        device = self._device(model)
        size = self.export_size(model) if evaluate["transforms"] == "export" else self.input_size(model)
        requested = {
            "device": device,
            "precision": "fp32",
            "transforms": evaluate["transforms"],
            "images": evaluate["images"],
            "reference_images": self.section(model, "infer")["images"],
            "input_size": size,
            "threads": self.section(model, "train")["threads"],
        }
        flags = ["--device", device, "--transforms", evaluate["transforms"], "--threads", str(requested["threads"])]
        flags += [
            *_limit_flags("--images", evaluate["images"]),
            *_limit_flags("--reference-images", requested["reference_images"]),
        ]
        return Cell(
            **self._base(model, row, "eval"),
            name=row.name,
            requested=requested,
            flags=(*flags, *_size_flags(size)),
            timeout_min=evaluate["timeout_min"],
        )

    def _export(self, model: str, row: TrainCell, train: Cell) -> Cell:
        export = self.section(model, "export")
        size = self.export_size(model)
        requested = {"device": CPU, "precision": "fp32", "input_size": size, "onnx": True, "opset": export["opset"]}
        return Cell(
            **self._base(model, row, "export"),
            name=row.name,
            requested=requested,
            flags=("--opset", str(export["opset"]), *_size_flags(size)),
            timeout_min=export["timeout_min"],
        )

    def _infer(self, model: str, row: TrainCell, export: Cell, quant: bool = False) -> Iterator[Cell]:
        """The inference matrix of a checkpoint; that of a quantised one is not run."""
        infer = self.section(model, "infer")
        for batch_size in infer["batch_sizes"]:
            for entry in infer["cpu"]:
                for threads in infer["cpu_threads"]:
                    where = (CPU, entry["engine"], entry["precision"], threads, batch_size)
                    yield self._infer_cell(model, row, *where, quant)
            for entry in infer["gpu"]:
                yield self._infer_cell(model, row, GPU, entry["engine"], entry["precision"], 1, batch_size, quant)

    def _infer_cell(
        self,
        model: str,
        row: TrainCell,
        device: str,
        engine: str,
        precision: str,
        threads: int,
        batch_size: int,
        quant: bool = False,
    ) -> Cell:
        infer = self.section(model, "infer")
        status = None
        reason = offers.left_out(self.settings["rules"], device, engine, precision, quant)
        if quant and not reason:
            reason = "quantised models are not done here yet"
        computes_in = {"fp16": "float16", "bf16": "bfloat16"}.get(precision, precision)
        why_not = self.hardware.why_no_gpu(engines.by_name(engine).gpu_library, computes_in)
        cores = self.hardware.cores
        if reason:
            status = statuses.SKIPPED.name
        elif device == GPU and why_not:
            status, reason = statuses.UNVERIFIED.name, f"needs a GPU; {why_not}"
        elif device == CPU and cores is not None and threads > cores:
            status, reason = statuses.UNVERIFIED.name, f"needs {threads} CPU cores; a job may use {cores} here"
        elif device == CPU and precision == "bf16" and self.hardware.bf16 is False:
            status, reason = (
                statuses.UNVERIFIED.name,
                "needs a CPU that computes in bfloat16 (AVX512-BF16 or AMX); this one does not",
            )
        requested = {
            "device": device,
            "engine": engine,
            "precision": precision,
            "threads": threads,
            "batch_size": batch_size,
        }
        flags = ["--device", device, "--engine", engine, "--precision", precision]
        flags += ["--threads", str(threads), "--batch-size", str(batch_size)]
        for key in ("warmup", "max_warmup", "min_samples", "min_seconds"):
            flags += [f"--{key.replace('_', '-')}", str(infer[key])]
        flags += [*_limit_flags("--images", infer["images"])]
        gates = self.section(model, "gates")
        flags += ["--min-agreement", str(gates["pixel_agreement"][precision])]
        flags += ["--max-miou-drop", str(gates["miou_drop"][precision])]
        flags += ["--logger", self.settings["benchmark"]["logger"]]
        return Cell(
            **self._base(model, row, "infer"),
            name=infer_name(device, engine, precision, threads, batch_size),
            requested=requested,
            flags=tuple(flags),
            timeout_min=infer["timeout_min"],
            status=status,
            reason=reason,
        )

    def _known(self, cell: Cell) -> Cell:
        """The cell with the known failures that match it."""
        fields = {**cell.requested, "stage": cell.stage, "model": cell.model, "topology": cell.topology}
        matching = tuple(
            known
            for known in self.settings["known_failures"]
            if all(
                fields.get(key) in ([want] if isinstance(want, str) else want) for key, want in known["match"].items()
            )
        )
        if not matching:
            return cell
        return replace(cell, known_failures=matching)

    def _on_software(self, cell: Cell) -> Cell:
        """The cell with the software that it is to run on: another version of it makes the cell stale."""
        if not cell.planned or (cell.topology == "released" and cell.stage == "train"):
            return cell  # not run, or a file that was taken as it is
        of_stage = RUNS_ON.get(cell.stage, PADDLE)
        names = engines.by_name(cell.requested["engine"]).software if cell.stage == "infer" else of_stage
        if cell.gpus:
            names = (*names, *GPU_SOFTWARE)
        return replace(cell, software={name: value for name, value in self.hardware.software.items() if name in names})


def infer_name(device: str, engine: str, precision: str, threads: int, batch_size: int) -> str:
    """File name of an infer cell: TIPC's where TIPC has the cell, the same form extended elsewhere."""
    kind = engines.by_name(engine).tipc.get(device, engine)
    computing = f"_threads_{threads}" if device == CPU else ""
    return f"python_infer_{device}_{kind}{computing}_precision_{precision}_batchsize_{batch_size}"


def pattern(names: Iterator[str] | list[str]) -> str:
    """A wildcard constraint that admits exactly these names."""
    return "|".join(sorted(map(re.escape, set(names)))) or "(?!)"


def _size_flags(size: list[int] | None) -> list[str]:
    return ["--input-size", str(size[0]), str(size[1])] if size else []


def _limit_flags(flag: str, limit: int | None) -> list[str]:
    return [] if limit is None else [flag, str(limit)]
