"""Evaluate a checkpoint on the validation split, and keep its label maps as the reference of inference."""

import argparse
import sys

from segcert import machine, modelconfig
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import evaluation

    return evaluation.evaluate(
        args.config,
        args.dataset,
        args.checkpoint,
        staging.path("reference"),
        device=args.device,
        as_exported=args.transforms == "export",
        images=args.images,
        reference_images=args.reference_images,
        input_size=args.input_size,
    )


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--config", required=True, help="PaddleSeg configuration of the model")
    options.add_argument("--dataset", required=True, help="folder of the data set")
    options.add_argument("--checkpoint", required=True)
    options.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    options.add_argument(
        "--transforms", choices=["export", "val"], default="export", help="whose transforms to evaluate under"
    )
    options.add_argument("--input-size", nargs=2, type=int, metavar=("W", "H"))
    options.add_argument("--images", type=int, help="at most so many validation images")
    options.add_argument("--reference-images", type=int, help="at most so many images of the inference list")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--reference", required=True, help="the folder of label maps to make")
    args = parse(options)
    requested = {
        "device": args.device,
        "precision": "fp32",
        "transforms": args.transforms,
        "images": args.images,
        "reference_images": args.reference_images,
        "input_size": args.input_size,
        "threads": args.threads,
    }
    plan = Plan(
        "eval",
        requested,
        [*modelconfig.inputs(args.config), args.dataset, args.checkpoint],
        {"reference": args.reference},
        work,
        threads=args.threads,
        environment=machine.math_environment() | machine.float32_environment(args.device, "fp32"),
        gpus=int(args.device == "gpu"),
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
