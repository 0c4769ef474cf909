"""Export a checkpoint as an inference model with deploy.yaml, and as ONNX."""

import argparse
import sys

from segcert import modelconfig
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import exporting

    return exporting.export(
        args.config, args.checkpoint, staging.path("export"), opset=args.opset, input_size=args.input_size
    )


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--config", required=True, help="PaddleSeg configuration of the model")
    options.add_argument("--checkpoint", required=True)
    options.add_argument("--input-size", nargs=2, type=int, metavar=("W", "H"))
    options.add_argument("--opset", type=int, default=13, help="ONNX operator set")
    options.add_argument("--export", required=True, help="the folder to make")
    args = parse(options)
    requested = {"device": "cpu", "precision": "fp32", "input_size": args.input_size, "onnx": True, "opset": args.opset}
    plan = Plan("export", requested, [*modelconfig.inputs(args.config), args.checkpoint], {"export": args.export}, work)
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
