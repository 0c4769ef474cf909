"""Export a checkpoint as an inference model with deploy.yaml, and as ONNX."""

import argparse
import sys
from dataclasses import replace

from segcert import modelconfig, stages
from segcert.requests.export import Export
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import exporting

    request = Export.of(args)
    request = replace(request, batch_sizes=request.sizes(args.model) or None)
    return exporting.export(request, args.config, args.checkpoint, staging.path("export"))


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--config", required=True, help="PaddleSeg configuration of the model")
    options.add_argument("--checkpoint", required=True)
    Export.add_to(options)
    options.add_argument("--export", required=True, help="the folder to make")
    args = parse(options)
    plan = Plan(
        stages.EXPORT.name,
        Export.of(args).requested,
        [*modelconfig.inputs(args.config), args.checkpoint],
        {"export": args.export},
        work,
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
