"""Training: fp32 or mixed precision, on one device or on several of one machine."""

from __future__ import annotations

import base64
import contextlib
import csv
import itertools
import math
import pickle
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import paddle
import paddle.distributed as dist
from paddle.utils import unique_name
from paddleseg.core.train import loss_computation

from segcert import proof
from segcert.compute import components, feeding, graphs, soak
from segcert.compute.device import use as use_device
from segcert.compute.dtypes import DtypeProbe
from segcert.compute.forks import forkable
from segcert.compute.pretrained import Loaded
from segcert.compute.pretrained import gate as gate_of
from segcert.compute.snapshots import BROKEN, Snapshots
from segcert.errors import StageError
from segcert.numbers import finite
from segcert.requests.train import Train
from segcert.stage.progress import progress, say
from segcert.stage.worker import Result, die_with_parent

HISTORY = ("iter", "epoch", "loss", "lr", "batch_cost_s", "reader_cost_s", "ips", "loss_scale", "skipped")
# PaddleSeg's own lists for mixed precision: these run in low precision as well, that one never.
WHITE_LIST = {"elementwise_add", "batch_norm", "sync_batch_norm"}
BLACK_LIST = {"bilinear_interp_v2"}
INITIAL_LOSS_SCALE = 1024.0
NOTED = ("trans_info", "gt_fields")  # of a sample: what its transforms did, and what they did it to
RANK_TOLERANCE = 1e-3  # of a sum of absolute weights, which runs to thousands
# Dynamic loss scaling leaves out a step now and then until its scale fits; where it leaves out more than every
# other one, most of what the record calls a training was none.
MAX_SKIPPED_SHARE = 0.5
# Each step in a row that is left out halves the scale: after so many it is a millionth of what it was, and what
# overflows is no gradient that a smaller scale would save, but the model's own numbers.
MAX_SKIPPED_IN_A_ROW = 20


class NonFiniteLoss(StageError):
    """The loss became NaN or infinite, in a step that was taken or in too many that were not."""


class Files(NamedTuple):
    """What a training reads and makes.

    Attributes:
        config: PaddleSeg configuration of the model.
        dataset: folder of the data set.
        checkpoint: file for the weights (`paddle.save` of the state dict).
        history: CSV file, a row per iteration: HISTORY. Losses are rank 0's; ips counts all ranks' images.
        weights: key of the configuration -> file of weights to start from, in place of what stands there.
        left_out: keys of the configuration that name weights and are not followed.
        min_pretrained_share: share of variables that must be in the file from which they are to be loaded.
    """

    config: str
    dataset: str
    checkpoint: Path
    history: Path
    weights: Mapping[str, str] = MappingProxyType({})
    left_out: Sequence[str] = ()
    min_pretrained_share: float = 0.9


class Kept(NamedTuple):
    """Folder of a training's snapshots, and what it is the training of."""

    folder: Path
    identity: str


@dataclass(frozen=True)
class Precision:
    """What a training computes in: fp32, or amp with level O1 | O2 and dtype float16 | bfloat16."""

    name: str
    level: str | None = None
    dtype: str | None = None

    @property
    def amp(self) -> bool:
        return self.name == "amp"

    def context(self) -> Any:
        if not self.amp:
            return contextlib.nullcontext()
        return paddle.amp.auto_cast(
            level=self.level, dtype=self.dtype, custom_white_list=WHITE_LIST, custom_black_list=BLACK_LIST
        )


def train(request: Train, files: Files, kept: Kept | None = None) -> Result:
    """Train a model and write its checkpoint and its history (on rank 0).

    Args:
        kept: snapshots to go on from, and to save; None: start anew and save nothing.

    Raises:
        NonFiniteLoss: at the first loss that is not a number. Where the loss is scaled (float16) such a step is left
            out and the training goes on, as PaddleSeg's does; there it is raised after MAX_SKIPPED_IN_A_ROW steps
            that were left out, at a step that was taken all the same, and where the last loss is not a number.
        Unverified: the device is not to be had here.
    """
    ranks = dist.ParallelEnv().nranks
    device, iters, batch_size = request.device, request.iters, request.batch_size
    precision = Precision(request.precision, request.level, request.dtype)
    use_device(device, ranks, precision.dtype)
    if ranks > 1:
        dist.init_parallel_env()
    rank = dist.get_rank()
    notes: list[str] = []
    barrier = dist.barrier if ranks > 1 else lambda: None
    saved = kept and Snapshots(kept.folder, kept.identity, request.snapshot_iters, rank, ranks, barrier)

    loads: list[Loaded] = []
    replaced: dict[str, str] = {}

    def begin(
        content: Mapping[str, Any] | None,
    ) -> tuple[list[dict[str, Any]], Iterator[tuple[int, dict[str, Any]]], _State]:
        """The rows so far, the batches from there on, and what is trained; from a snapshot's content or anew."""
        rows = list(content["rows"]) if content else []
        start = components.Start(files.weights, files.left_out)
        config = components.load_config(files.config, files.dataset, request.input_size, iters, batch_size, start)
        replaced.update(config.replaced_losses)
        build = components.builder(config)
        held = {"train": build.train_dataset, "val": build.val_dataset}
        notes[:] = feeding.hold(held, files.dataset, told=("train",))
        dataset = components.CheckedDataset(build.train_dataset, alike=batch_size > 1)
        batches = _batches(dataset, batch_size, request.workers, request.seed, len(rows))
        components.seed_all(request.seed)  # the same on every rank: they must start from equal weights
        loads[:] = build.loads()
        build.model = _over_ranks(build.model, device, ranks)
        _set_momentum(build.model, request.batch_norm_momentum)
        components.seed_all(request.seed + rank)
        return rows, batches, _State(build, precision, content and content["state"])

    found, resumed_at = saved.latest() if saved else None, []
    if saved and found:
        done, content = found
        try:
            rows, batches, state = begin(content)
            resumed_at = [*content["resumed_at"], done]
            say(f"going on after iteration {done}, from the snapshot of an earlier attempt")
        except BROKEN as error:
            saved.set_aside(done, error)
            found = None
            unique_name.switch()  # parameters are known by name: a later attempt must find the same
    if not found:
        rows, batches, state = begin(None)
    for line in (line for load in loads for line in load.lines()):
        say(line)
    for kind, why in replaced.items():
        say(f"{kind} of this PaddleSeg fails on this Paddle, so a corrected one is in its place: {why}")
    weights = {"pretrained": [load.metric() for load in loads]}
    gates = [gate_of(loads, files.min_pretrained_share)] if loads else []
    if proof.broken(gates):  # at once: nobody wants to wait for a training of something else
        return Result({"device": device}, weights, gates)
    model, optimizer, scaler = state.model, state.optimizer, state.scaler
    probe, ran = DtypeProbe(model), graphs.GraphProbe(model)
    static = request.graph == graphs.TO_STATIC
    if static:
        graphs.convert(model)
    parallel = paddle.DataParallel(model) if ranks > 1 else model
    first = len(rows) + 1
    shape: list[int] = []
    looked_at = request.soak or 0
    looks = soak.Looks("iterations", looked_at, before=iters - looked_at, trims=True)
    bar = progress(iters if rank == 0 else 0, Path(files.config).stem)
    started = time.perf_counter()
    for iteration in range(first, iters + 1):
        begun = time.perf_counter()
        epoch, batch = next(batches)
        reader_cost = time.perf_counter() - begun
        shape = list(batch["img"].shape)
        _require_size(files.config, shape, request.input_size)
        scaling = _Scaling.of(scaler)
        loss = step(parallel, model, state.losses, optimizer, scaler, precision, batch)
        if iteration == first:
            probe.remove()
        value = float(loss)
        lr = optimizer.get_lr()
        step_lr(optimizer, value)
        cost = time.perf_counter() - begun
        if static or iteration == first:  # a program may be left again; Python alone stays what it was
            ran.look(batch["img"], loss)
            if not static:
                ran.remove()
        skipped = int(scaler.is_enable() and scaling.skipped_before(_Scaling.of(scaler)))
        values = (iteration, epoch, value, lr, cost, reader_cost, shape[0] * ranks / cost, scaling.scale, skipped)
        rows.append(dict(zip(HISTORY, values, strict=True)))
        bar.update()
        if problem := _problem(rows, iters):
            _write_history(files.history, rows, rank)
            raise NonFiniteLoss(
                f"{problem} (lr {lr:g}, loss scale {scaling.scale:g}); the log has the iterations before"
            )
        if iteration % request.log_iters == 0 or iteration == iters:
            say(_line(rows[-request.log_iters :], iters))
        looks.after(iteration)
        # None within a long run, which is of one process: a training that is killed there goes on from before it.
        if saved and saved.due(iteration, iters - max(0, looked_at - 1)):
            saved.save(iteration, {"rows": rows, "state": state.content(), "resumed_at": resumed_at})
    bar.close()
    _require_finite_weights(model)
    wall = time.perf_counter() - started
    metrics = _metrics(rows, _Scaling.of(scaler).scale, wall, model, [0, *resumed_at])
    long = looks.judge(request.max_growth_mb or 0) if looked_at else Result({})
    metrics |= {"resumed_at": resumed_at, "notes": notes, "replaced_losses": replaced, **weights, **long.metrics}
    if static:
        metrics["graph"] = {**ran.metrics(), "first_step_s": finite(rows[first - 1]["batch_cost_s"])}
    gates += [_rank_gate(model)] if ranks > 1 else []
    gates += [_skip_gate(rows)] if scaler.is_enable() else []
    gates += long.gates
    if device == "gpu":
        metrics["peak_gpu_mb"] = round(paddle.device.cuda.max_memory_allocated() / 2**20, 1)
    if rank == 0:
        paddle.save(model.state_dict(), str(files.checkpoint))
        _write_history(files.history, rows, rank)
    effective = {
        "device": paddle.get_device().split(":")[0],
        "devices": ranks,
        **probe.effective(),
        "graph": ran.effective(),
        "iters": len(rows),
        "batch_size": shape[0],
        "input_size": [shape[3], shape[2]],
        **probe.counts(),
        "batch_norms": _batch_norms(model, ranks),
        "batch_norm_momentum": _momentum(model),
        **long.effective,
    }
    return Result(effective, metrics, gates, long.extra)


class _State:
    """Everything that a training step changes: a model, its optimizer, the scale of its loss.

    The order of the data and their augmentation follow from the seed and the iteration, not from here.

    Args:
        build: PaddleSeg's builder. What it has built is built.
        saved: what `content` gave, to go on from; None: from the start.

    Raises:
        ValueError: what was saved does not fit this model.
    """

    def __init__(self, build: Any, precision: Precision, saved: Mapping[str, Any] | None) -> None:
        self.model, self.optimizer, self.losses = build.model, build.optimizer, build.loss
        self.model.train()
        self.scaler = paddle.amp.GradScaler(
            enable=precision.amp and precision.dtype == "float16", init_loss_scaling=INITIAL_LOSS_SCALE
        )
        if saved:
            # Before O2 makes the weights low: they are saved as float32, and Paddle loads them into nothing else.
            # The optimizer keeps float32 twins of them besides (master weights), and takes up the saved ones.
            _require_fitting(self.model, saved)
            self.model.set_state_dict(saved["model"])
            self.optimizer.set_state_dict(saved["optimizer"])
        if precision.amp and precision.level == "O2":
            self.model, self.optimizer = paddle.amp.decorate(
                models=self.model,
                optimizers=self.optimizer,
                level="O2",
                dtype=precision.dtype,
                save_dtype="float32",
            )
        if saved:
            if self.scaler.is_enable():
                self.scaler.load_state_dict(saved["scaler"])
            # A snapshot is loaded only where its hash is what the training wrote (Snapshots.latest).
            paddle.set_rng_state(pickle.loads(base64.b64decode(saved["random"])))  # noqa: S301

    def content(self) -> dict[str, Any]:
        # Paddle's own generators: dropout draws from them. Its state has no form but a pickle.
        random_state = base64.b64encode(pickle.dumps(paddle.get_rng_state())).decode()
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": random_state,
        }


def _require_fitting(model: Any, saved: Mapping[str, Any]) -> None:
    """Raise ValueError for what Paddle would leave out with a warning, or find out at the first step."""
    own = model.state_dict()
    for key, weight in own.items():
        shape = list(saved["model"][key].shape) if key in saved["model"] else None
        if shape != list(weight.shape):
            raise ValueError(f"{key} has the shape {list(weight.shape)}, in the snapshot {shape}")
    if more := sorted(saved["model"].keys() - own.keys()):
        raise ValueError(f"the model has no {more[0]}")
    names = tuple(parameter.name for parameter in model.parameters())
    of_weights = saved["optimizer"].keys() - {"LR_Scheduler", "master_weights"}
    for key in sorted(of_weights | saved["optimizer"].get("master_weights", {}).keys()):
        if not key.startswith(names):
            raise ValueError(f"{key} of the optimizer belongs to no weight of the model")


def _require_size(config: str, shape: Sequence[int], asked: Sequence[int] | None) -> None:
    """Raise StageError where training images have another size than the run asks for."""
    if asked and [shape[3], shape[2]] != list(asked):
        raise StageError(
            f"{config}: train_dataset.transforms: images come out of it as {shape[3]}x{shape[2]}, where `input_size` "
            f"of the run's configuration asks for {asked[0]}x{asked[1]}; end it in a Resize or a RandomPaddingCrop"
        )


def _over_ranks(model: Any, device: str, ranks: int) -> Any:
    """The model with its batch norms over the images of all ranks, as PaddleSeg trains on several GPUs.

    On a CPU they stay each rank's own: Paddle has no such kernel there, and PaddleSeg does the same.
    """
    if device == "gpu" and ranks > 1:
        return paddle.nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def _batch_norms(model: Any, ranks: int) -> dict[str, int]:
    """How many batch norms of the model are over the images of all ranks, and how many over one rank's own."""
    layers = _batch_norm_layers(model)
    synchronised = sum(isinstance(layer, paddle.nn.SyncBatchNorm) for layer in layers) if ranks > 1 else 0
    return {"over_ranks": synchronised, "of_each_rank": len(layers) - synchronised}


def _batch_norm_layers(model: Any) -> list[Any]:
    # Paddle's classes have no base of their own in its interface; the name of each has these words.
    return [layer for layer in model.sublayers(include_self=True) if "BatchNorm" in type(layer).__name__]


def _set_momentum(model: Any, momentum: float | None) -> None:
    """What share of their running statistics the batch norms keep at each step; None: as the model has it.

    They start at mean 0 and variance 1. Of these, PaddleSeg's 0.9 leaves 0.59 after 5 steps, and then a network of many
    layers whose numbers are small, as an HRNet's are at first, answers almost the same to every image.
    """
    for layer in _batch_norm_layers(model) if momentum is not None else ():
        layer._momentum = momentum


def _momentum(model: Any) -> float | None:
    """That of all batch norms, as they hold it; None where they differ, or there is none."""
    (found, *others) = {layer._momentum for layer in _batch_norm_layers(model)} or {None}
    return None if others else found


class _Batches:
    """Endless batches of one rank's share as [(epoch, index), ...], from the batch after `done` on.

    What the data loader takes for its sampler; `of_epoch` is the number of batches of an epoch.
    """

    def __init__(self, dataset: Any, batch_size: int, done: int) -> None:
        ranks = dist.get_world_size()
        if len(dataset) < batch_size * ranks:
            raise StageError(
                f"{len(dataset)} training images are fewer than one batch of {batch_size} on {ranks} devices; "
                "lower train.batch_size"
            )
        self._sampler = paddle.io.DistributedBatchSampler(dataset, batch_size=batch_size, shuffle=True, drop_last=True)
        self.of_epoch, self._done = len(self._sampler), done

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        first, left_out = divmod(self._done, self.of_epoch)
        for epoch in itertools.count(first):
            self._sampler.set_epoch(epoch)
            for batch in itertools.islice(self._sampler, left_out, None):
                yield [(epoch, index) for index in batch]
            left_out = 0


class _Seeded(paddle.io.Dataset):  # type: ignore[misc]  # Paddle has no types
    """A data set by (epoch, index), where the augmentation of a sample follows from the two and the seed.

    So it is the same whichever process reads it, and a training goes on without reading what it had read.
    """

    def __init__(self, dataset: Any, seed: int) -> None:
        self._dataset, self._seed = dataset, seed

    def __getitem__(self, key: tuple[int, int] | int) -> Any:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        own = np.random.SeedSequence([self._seed, epoch, index]).generate_state(1).item()
        random.seed(own)
        np.random.seed(own)
        # What PaddleSeg notes of a sample may have another form for another, and is of no use to a loss.
        return {name: value for name, value in self._dataset[index].items() if name not in NOTED}


def _batches(
    dataset: Any, batch_size: int, workers: int, seed: int, done: int = 0
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Endless (epoch, batch) from the batch after `done` on, reproducible.

    A batch is `img` (N x 3 x H x W), `label` (N x H x W, int64), and what the model's configuration asks for
    besides, such as `edge`.

    The worker processes start here and stay. Call it before the model is built: a process keeps what was in
    memory when it was forked, and each would keep the weights, gradients and momenta of its time (1.2 GB of
    OCRNet-W48's).
    """
    sampler = _Batches(dataset, batch_size, done)
    seeded = _Seeded(dataset, seed)

    def start_worker(_worker: int) -> None:
        die_with_parent()  # it may wait in a full queue and never notice

    if workers:
        with forkable():
            loader = iter(
                paddle.io.DataLoader(
                    seeded, batch_sampler=sampler, num_workers=workers, return_list=True, worker_init_fn=start_worker
                )
            )
    else:
        # Paddle's loader would read in a thread, and wait for ever where that thread breaks.
        loader = (collated([seeded[key] for key in batch]) for batch in sampler)
    read = enumerate(loader, done)
    return (
        (number // sampler.of_epoch + 1, {**batch, "label": batch["label"].astype("int64")}) for number, batch in read
    )


def collated(values: Sequence[Any]) -> Any:
    """Values of the samples of a batch as one: mappings and tuples part by part, as Paddle's loader does it."""
    first = values[0]
    if isinstance(first, Mapping):
        return {key: collated([value[key] for value in values]) for key in first}
    if isinstance(first, list | tuple):
        return [collated(parts) for parts in zip(*values, strict=True)]
    return paddle.to_tensor(np.stack(values))


def step(
    parallel: Any,
    model: Any,
    losses: Any,
    optimizer: Any,
    scaler: Any,
    precision: Precision,
    batch: Mapping[str, Any],
) -> Any:
    """One optimizer step; the loss of this rank's batch."""
    with precision.context():
        logits = parallel(batch["img"])
        if hasattr(model, "loss_computation"):
            parts = model.loss_computation(logits, losses, batch)
        else:
            edges = batch["edge"].astype("int64") if "edge" in batch else None
            parts = loss_computation(logits_list=logits, labels=batch["label"], edges=edges, losses=losses)
        loss = sum(parts)
    if scaler.is_enable():
        scaler.scale(loss).backward()
        # Not `minimize`, which refuses parameter groups. Both leave the step out where a gradient is not finite.
        scaler.step(optimizer)
        scaler.update()
    else:
        loss.backward()
        optimizer.step()
    model.clear_gradients()
    return loss


class _Scaling(NamedTuple):
    """Where dynamic loss scaling stands.

    Attributes:
        scale: what the loss is multiplied with; 1 where it is not scaled.
        taken: steps that were taken in a row, since one was left out or the scale was raised.
    """

    scale: float
    taken: int

    @classmethod
    def of(cls, scaler: Any) -> _Scaling:
        if not scaler.is_enable():
            return cls(1.0, 0)
        state = scaler.state_dict()
        return cls(float(state["scale"][0]), int(state["incr_count"]))

    def skipped_before(self, later: _Scaling) -> bool:
        """Whether the one step between here and `later` was left out.

        A step that is taken is counted, or raises the scale when enough are. That the scale fell would not do:
        at 0, where halving ends, it cannot.
        """
        return later.taken <= self.taken and later.scale <= self.scale


def _problem(rows: Sequence[Mapping[str, Any]], iters: int) -> str | None:
    """In words, why a training ends with the last of these iterations as one that broke; None where it does not.

    A loss that is not finite moves no weights where its step is left out, and the next has half the scale: PaddleSeg
    goes on there. Elsewhere nothing leaves the step out, and the weights are lost with it.
    """
    last = rows[-1]
    where = f"in iteration {last['iter']} of {iters}"
    in_a_row = rows[-MAX_SKIPPED_IN_A_ROW:]
    if len(in_a_row) == MAX_SKIPPED_IN_A_ROW and all(row["skipped"] for row in in_a_row):
        return (
            f"{MAX_SKIPPED_IN_A_ROW} steps in a row were left out because gradients overflowed in float16, the last "
            f"{where} with a loss of {last['loss']:g}; a smaller scale does not help, try bfloat16"
        )
    if math.isfinite(last["loss"]):
        return None
    if not last["skipped"]:
        return f"loss is {last['loss']} {where}"
    return f"loss is {last['loss']} {where}, the last" if last["iter"] == iters else None


def step_lr(optimizer: Any, loss: float) -> None:
    scheduler = optimizer._learning_rate
    if isinstance(scheduler, paddle.optimizer.lr.ReduceOnPlateau):
        scheduler.step(loss)
    elif isinstance(scheduler, paddle.optimizer.lr.LRScheduler):
        scheduler.step()


def _line(rows: list[dict[str, Any]], iters: int) -> str:
    """A line of the log in the form that PaddleSeg's trainer prints and TIPC's tools read."""
    last = rows[-1]
    mean = {key: sum(row[key] for row in rows) / len(rows) for key in ("loss", "batch_cost_s", "reader_cost_s", "ips")}
    left = (iters - last["iter"]) * mean["batch_cost_s"]
    return (
        f"[TRAIN] epoch: {last['epoch']}, iter: {last['iter']}/{iters}, "
        f"loss: {mean['loss']:.4f}, lr: {last['lr']:.6f}, "
        f"batch_cost: {mean['batch_cost_s']:.4f}, reader_cost: {mean['reader_cost_s']:.5f}, "
        f"ips: {mean['ips']:.4f} samples/sec | "
        f"ETA {int(left // 3600):02d}:{int(left % 3600 // 60):02d}:{int(left % 60):02d}"
    )


def _write_history(path: Path, rows: list[dict[str, Any]], rank: int) -> None:
    if rank == 0:
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, HISTORY)
            writer.writeheader()
            writer.writerows(
                {key: f"{value:.9g}" if isinstance(value, float) else value for key, value in row.items()}
                for row in rows
            )


def _metrics(
    rows: list[dict[str, Any]], scale: float, wall: float, model: Any, starts: Sequence[int]
) -> dict[str, Any]:
    """Numbers of the whole training.

    Args:
        scale: of the loss, after it.
        starts: iterations after which a process of it began. The next is left out of the speeds: it warms up.
    """
    steady = [row for done, row in enumerate(rows) if done not in starts] or rows
    busy = sum(row["batch_cost_s"] for row in steady)
    scales = [*(row["loss_scale"] for row in rows), scale]
    losses = [row["loss"] for row in rows if math.isfinite(row["loss"])]
    return {
        "first_loss": finite(rows[0]["loss"]),
        "last_loss": finite(rows[-1]["loss"]),
        "min_loss": finite(min(losses, default=None)),
        "ips": finite(sum(row["ips"] * row["batch_cost_s"] for row in steady) / busy),
        "batch_cost_s": finite(busy / len(steady)),
        "reader_share": finite(sum(row["reader_cost_s"] for row in steady) / busy),
        "train_s": finite(wall),
        "parameters": int(sum(p.size for p in model.parameters())),
        "loss_scale": {
            "first": scales[0],
            "last": scales[-1],
            "min": min(scales),
            "decreases": sum(after < before for before, after in itertools.pairwise(scales)),
        },
        "skipped_steps": sum(row["skipped"] for row in rows),
        "nonfinite_losses": len(rows) - len(losses),
    }


def _require_finite_weights(model: Any) -> None:
    """The loss is seen before the step that follows it: the last step is checked by what it made."""
    for name, weight in model.named_parameters():
        if not bool(paddle.isfinite(weight.astype("float32").abs().sum())):
            raise NonFiniteLoss(f"{name}: holds values that are not finite after the last iteration")


def _rank_gate(model: Any) -> dict[str, Any]:
    """Data parallel training averages gradients, so ranks that started equal must end equal."""
    difference = _rank_difference(model)
    return proof.gate(
        "rank_weight_difference",
        finite(difference),
        "at most",
        RANK_TOLERANCE,
        f"ranks ended with different weights: sums of absolute values differ by {difference:g}, "
        f"allowed {RANK_TOLERANCE:g}",
    )


def _skip_gate(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A training whose steps were left out moved no weights, and its loss tells nothing of them."""
    skipped = sum(row["skipped"] for row in rows)
    return proof.gate(
        "skipped_share",
        skipped / len(rows),
        "at most",
        MAX_SKIPPED_SHARE,
        f"{skipped} of {len(rows)} steps were left out because gradients overflowed in float16, "
        f"a share of at most {MAX_SKIPPED_SHARE:g} is allowed; train for longer, or in bfloat16",
    )


def _rank_difference(model: Any) -> float:
    """The largest difference between ranks of the sums of a weight's absolute values; 0 where they agree.

    Running statistics of batch norms, which Paddle counts as untrained parameters, are each rank's own.
    """
    trained = [parameter for parameter in model.parameters() if not parameter.stop_gradient]
    sums = paddle.stack([parameter.astype("float32").abs().sum() for parameter in trained])
    every: list[Any] = []
    dist.all_gather(every, sums)
    # No `or`, no `max` of Python's: both would make a number of what is not one.
    return float(paddle.stack([(other - every[0]).abs().max() for other in every]).max())
