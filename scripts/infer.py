"""Run an exported model in one inference configuration: predictions, benchmark log, record."""

import argparse
import sys

from segcert import engines, machine, record
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import inference

    return inference.infer(
        args.export,
        args.dataset,
        args.reference,
        staging.path("benchmark_log"),
        staging.path("predictions"),
        model=args.model,
        device=args.device,
        engine=args.engine,
        precision=args.precision,
        threads=args.threads,
        batch_size=args.batch_size,
        images=args.images,
        timing=inference.Timing(args.warmup, args.max_warmup, args.min_samples, args.min_seconds),
        gates=inference.Gates(args.min_agreement, args.max_miou_drop),
        logger=args.logger,
        exported_by=exporter(args.upstream),
    )


def exporter(upstream: list[str]) -> str | None:
    """The version of Paddle that made the export, from its record among those of what this is made from."""
    records = [record.read(path) for path in upstream]
    return next((above["env"].get("paddle") for above in records if above["stage"] == "export"), None)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--export", required=True, help="folder of the exported model")
    options.add_argument("--dataset", required=True, help="folder of the data set")
    options.add_argument("--reference", required=True, help="folder of the checkpoint's own label maps")
    options.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    options.add_argument("--engine", choices=sorted(engines.BY_NAME), default="native")
    options.add_argument("--precision", choices=["fp32", "fp16", "bf16", "int8"], default="fp32")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--batch-size", type=int, default=1)
    options.add_argument("--images", type=int, help="at most so many images of the inference list")
    options.add_argument("--warmup", type=int, default=5, help="untimed batches first, at least")
    options.add_argument("--max-warmup", type=int, default=50, help="and at most, until their times are steady")
    options.add_argument("--min-samples", type=int, default=20, help="timed batches at least")
    options.add_argument("--min-seconds", type=float, default=0, help="time for so long at least")
    options.add_argument(
        "--min-agreement", type=float, required=True, help="gate: share of pixels equal to the reference's"
    )
    options.add_argument(
        "--max-miou-drop", type=float, required=True, help="gate: mIoU of the reference less that of this, at most"
    )
    options.add_argument(
        "--logger", choices=["builtin", "auto_log"], default="builtin", help="who writes the benchmark log"
    )
    options.add_argument("--benchmark-log", required=True, help="the benchmark log to make")
    options.add_argument("--predictions", required=True, help="the folder of label maps to make")
    args = parse(options)
    requested = {
        "device": args.device,
        "engine": args.engine,
        "precision": args.precision,
        "threads": args.threads,
        "batch_size": args.batch_size,
    }
    outputs = {"benchmark_log": args.benchmark_log, "predictions": args.predictions}
    plan = Plan(
        "infer",
        requested,
        [args.export, args.dataset, args.reference],
        outputs,
        work,
        threads=args.threads,
        environment=machine.float32_environment(args.device, args.precision),
        gpus=int(args.device == "gpu"),
        set_aside=["predictions"],
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
