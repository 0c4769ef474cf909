"""Evaluate a checkpoint on the validation split, and keep its label maps as the reference of inference."""

import argparse
import sys

from segcert import machine, modelconfig, stages
from segcert.requests.evaluate import Evaluate
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import evaluation

    return evaluation.evaluate(Evaluate.of(args), args.config, args.dataset, args.checkpoint, staging.path("reference"))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--config", required=True, help="PaddleSeg configuration of the model")
    options.add_argument("--dataset", required=True, help="folder of the data set")
    options.add_argument("--checkpoint", required=True)
    Evaluate.add_to(options)
    options.add_argument("--reference", required=True, help="the folder of label maps to make")
    args = parse(options)
    request = Evaluate.of(args)
    plan = Plan(
        stages.EVAL.name,
        request.requested,
        [*modelconfig.inputs(args.config), args.dataset, args.checkpoint],
        {"reference": args.reference},
        work,
        threads=request.threads,
        environment=machine.math_environment() | machine.float32_environment(request.device, request.precision),
        gpus=int(request.device == "gpu"),
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
