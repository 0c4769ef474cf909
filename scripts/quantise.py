"""Quantise an exported model to int8 after training, for the engines that read ONNX."""

import argparse
import sys

from segcert import record, stages
from segcert.requests.quantise import Quantise
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import quantise

    files = quantise.Files(args.export, args.dataset, staging.path("quantised"))
    exported = next((above for above in map(record.read, args.upstream) if above["stage"] == stages.EXPORT.name), None)
    return quantise.quantise(Quantise.of(args), files, exported)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--export", required=True, help="folder of the exported model")
    options.add_argument("--dataset", required=True, help="folder of the data set")
    Quantise.add_to(options)
    options.add_argument("--quantised", required=True, help="the folder to make")
    args = parse(options)
    plan = Plan(
        stages.QUANTISE.name,
        Quantise.of(args).requested,
        [args.export, args.dataset],
        {"quantised": args.quantised},
        work,
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
