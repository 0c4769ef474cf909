"""Run an exported model in one inference configuration: predictions, benchmark log, record."""

import argparse
import sys
from typing import Any

from segcert import machine, record, stages
from segcert.requests.infer import Infer
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import inference

    files = inference.Files(
        args.export,
        args.dataset,
        args.reference,
        staging.path("benchmark_log"),
        staging.path("predictions"),
        args.quantised,
    )
    return inference.infer(Infer.of(args), files, args.model, *made_from(args.upstream))


def made_from(upstream: list[str]) -> list[dict[str, Any] | None]:
    """The records of the export and of its quantisation, among those of what this is made from."""
    found = {above["stage"]: above for above in map(record.read, upstream)}
    return [found.get(stage.name) for stage in (stages.EXPORT, stages.QUANTISE)]


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--export", required=True, help="folder of the exported model")
    options.add_argument("--quantised", help="folder of what it is in int8, for that precision")
    options.add_argument("--dataset", required=True, help="folder of the data set")
    options.add_argument("--reference", required=True, help="folder of the checkpoint's own label maps")
    Infer.add_to(options)
    options.add_argument("--benchmark-log", required=True, help="the benchmark log to make")
    options.add_argument("--predictions", required=True, help="the folder of label maps to make")
    args = parse(options)
    try:
        request = Infer.of(args)
    except ValueError as error:
        options.error(str(error))
    plan = Plan(
        stages.INFER.name,
        request.requested,
        [*filter(None, [args.export, args.quantised, args.dataset, args.reference])],
        {"benchmark_log": args.benchmark_log, "predictions": args.predictions},
        work,
        threads=request.threads,
        environment=machine.float32_environment(request.device, request.precision),
        gpus=int(request.device == "gpu"),
        set_aside=["predictions"],
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
