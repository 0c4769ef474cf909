"""Train a model: fp32 or mixed precision, on one device or several of one machine."""

import argparse
import functools
import hashlib
import json
import sys
from pathlib import Path

from segcert import code, machine, modelconfig, modelkeys, stages
from segcert.errors import ConfigError
from segcert.files import hashes, sha256
from segcert.requests.train import Train
from segcert.stage import at_hand, entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging

TRAINED_WITH = ("paddle", "paddle_commit", "paddleseg", "numpy", "opencv")


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import training

    request = Train.of(args)
    files = training.Files(
        args.config,
        args.dataset,
        staging.path("checkpoint"),
        staging.path("history"),
        fetched(args),
        args.leave_out,
        args.min_pretrained_share,
    )
    kept = training.Kept(snapshots(args), identity(args)) if request.snapshot_iters else None
    return training.train(request, files, kept)


def launch(ranks: int, logs: Path) -> int:
    from segcert.compute import launching

    return launching.launch(ranks, logs)


def snapshots(args: argparse.Namespace) -> Path:
    """Where this training's snapshots are kept while it has not passed: beside its record."""
    return Path(args.record).with_name(f".{Path(args.record).stem}.snapshots")


def fetched(args: argparse.Namespace) -> dict[str, str]:
    """Key of the model's configuration -> file of weights that is loaded there, whatever stands there."""
    named = {modelkeys.BACKBONE: args.backbone_weights, modelkeys.WHOLE_MODEL: args.pretrained_weights}
    return {key: file for key, file in named.items() if file}


def inputs(args: argparse.Namespace) -> list[str]:
    weights = [*fetched(args).values(), *own_weights(args)]
    return [*modelconfig.inputs(args.config), args.dataset, *dict.fromkeys(weights)]


def own_weights(args: argparse.Namespace) -> list[str]:
    """The files of weights that the model's configuration names itself, as far as they are there."""
    try:
        named = modelkeys.pretrained(modelconfig.content(Path(args.config)))
    except ConfigError:
        return []  # the worker says so
    files = [file for key, file in named.items() if key not in (*fetched(args), *args.leave_out)]
    return [file for file in files if isinstance(file, str) and Path(file).is_file()]


def identity(args: argparse.Namespace) -> str:
    """A digest of all that a training's outcome follows from: settings, inputs, this code, Paddle, PaddleSeg, ..."""
    own = [sha256(path) for path in code.modules(__file__)]
    software = {key: value for key, value in machine.software(here=False).items() if key in TRAINED_WITH}
    paddleseg = at_hand.look(args.paddleseg, args.model, args.config, [])
    parts = [Train.of(args).requested, hashes(inputs(args)), own, software, paddleseg and paddleseg.hash]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--config", required=True, help="PaddleSeg configuration of the model")
    options.add_argument("--dataset", required=True, help="folder of the data set")
    Train.add_to(options)
    options.add_argument("--backbone-weights", help="file of the backbone's pretrained weights")
    options.add_argument("--pretrained-weights", help="file of weights of the whole model, to start from")
    options.add_argument(
        "--leave-out",
        action="append",
        default=[],
        metavar="KEY",
        help="key of the model's configuration that names weights, and is not to be followed",
    )
    options.add_argument(
        "--min-pretrained-share",
        type=float,
        default=0.9,
        help="share of the variables of what weights are loaded into that must be in their file",
    )
    options.add_argument("--checkpoint", required=True, help="the checkpoint to make")
    options.add_argument("--history", required=True, help="the CSV file of iterations to make")
    args = parse(options)
    try:
        request = Train.of(args)
    except ValueError as error:
        options.error(str(error))
    plan = Plan(
        stages.TRAIN.name,
        request.requested,
        inputs(args),
        {"checkpoint": args.checkpoint, "history": args.history},
        work,
        launch=functools.partial(launch, request.devices) if request.devices > 1 else None,
        threads=request.threads,
        environment=machine.math_environment() | machine.float32_environment(request.device, request.precision),
        gpus=request.devices if request.device == "gpu" else 0,
        kept=snapshots(args),
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
