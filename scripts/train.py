"""Train a model: fp32 or mixed precision, on one device or several of one machine."""

import argparse
import functools
import hashlib
import json
import sys
from pathlib import Path

from segcert import code, machine, modelconfig
from segcert.files import hashes, sha256
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging

TRAINED_WITH = ("paddle", "paddle_commit", "paddleseg", "numpy", "opencv")


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import training

    return training.train(
        args.config,
        args.dataset,
        staging.path("checkpoint"),
        staging.path("history"),
        device=args.device,
        precision=training.Precision(args.precision, args.amp_level, args.amp_dtype),
        iters=args.iters,
        batch_size=args.batch_size,
        seed=args.seed,
        workers=args.workers,
        log_iters=args.log_iters,
        input_size=args.input_size,
        backbone_weights=args.backbone_weights,
        snapshots=training.SnapshotPlan(snapshots(args), identity(args), args.snapshot_iters)
        if args.snapshot_iters
        else None,
    )


def launch(ranks: int, logs: Path) -> int:
    from segcert.compute import launching

    return launching.launch(ranks, logs)


def snapshots(args: argparse.Namespace) -> Path:
    """Where this training's snapshots are kept while it has not passed: beside its record."""
    return Path(args.record).with_name(f".{Path(args.record).stem}.snapshots")


def inputs(args: argparse.Namespace) -> list[str]:
    return [*modelconfig.inputs(args.config), args.dataset, *filter(None, [args.backbone_weights])]


def requested(args: argparse.Namespace) -> dict[str, object]:
    return {
        "device": args.device,
        "devices": args.devices,
        "precision": args.precision,
        "level": args.amp_level,
        "dtype": args.amp_dtype,
        "iters": args.iters,
        "batch_size": args.batch_size,
        "input_size": args.input_size,
        "seed": args.seed,
        "workers": args.workers,
        "threads": args.threads,
    }


def identity(args: argparse.Namespace) -> str:
    """A digest of all that a training's outcome follows from: settings, inputs, this code, Paddle, PaddleSeg, ..."""
    own = [sha256(path) for path in code.modules(__file__)]
    software = {key: value for key, value in machine.software(here=False).items() if key in TRAINED_WITH}
    parts = [requested(args), hashes(inputs(args)), own, software]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--config", required=True, help="PaddleSeg configuration of the model")
    options.add_argument("--dataset", required=True, help="folder of the data set")
    options.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    options.add_argument("--devices", type=int, default=1, help="ranks, one per device")
    options.add_argument("--precision", choices=["fp32", "amp"], default="fp32")
    options.add_argument("--amp-level", choices=["O1", "O2"])
    options.add_argument("--amp-dtype", choices=["float16", "bfloat16"])
    options.add_argument("--iters", type=int, required=True)
    options.add_argument("--batch-size", type=int, required=True, help="per device")
    options.add_argument("--input-size", nargs=2, type=int, metavar=("W", "H"))
    options.add_argument("--seed", type=int, default=100)
    options.add_argument("--workers", type=int, default=0, help="data loader processes per device")
    options.add_argument("--threads", type=int, default=1, help="CPU threads per rank")
    options.add_argument("--log-iters", type=int, default=10)
    options.add_argument("--snapshot-iters", type=int, default=0, help="save a snapshot every so many; 0: none")
    options.add_argument("--backbone-weights", help="file of the backbone's pretrained weights")
    options.add_argument("--checkpoint", required=True, help="the checkpoint to make")
    options.add_argument("--history", required=True, help="the CSV file of iterations to make")
    args = parse(options)
    if {bool(args.amp_level), bool(args.amp_dtype)} != {args.precision == "amp"}:
        options.error("--precision amp goes with --amp-level and --amp-dtype, and they go with nothing else")
    plan = Plan(
        "train",
        requested(args),
        inputs(args),
        {"checkpoint": args.checkpoint, "history": args.history},
        work,
        launch=functools.partial(launch, args.devices) if args.devices > 1 else None,
        threads=args.threads,
        environment=machine.math_environment() | machine.float32_environment(args.device, args.precision),
        gpus=args.devices if args.device == "gpu" else 0,
        kept=snapshots(args),
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
