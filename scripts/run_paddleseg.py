"""Run one of PaddleSeg's own scripts, of a checkout, on a checkpoint and its data, and hold what it does to account."""

import argparse
import sys
from pathlib import Path

from segcert import machine, modelconfig, modelkeys, record, stages
from segcert.requests.scripts import RunScript
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.compute import own_scripts

    files = own_scripts.Files(
        config=args.config,
        dataset=Path(args.dataset),
        checkpoint=Path(args.checkpoint),
        history=Path(args.history),
        reference=Path(args.reference),
        export=Path(args.export),
        evaluated=evaluated(args.upstream),
        weights=fetched(args),
        left_out=args.leave_out,
        made=staging.path("made"),
        final=args.made,
    )
    return own_scripts.run(RunScript.of(args), files)


def evaluated(upstream: list[str]) -> dict[str, object]:
    """The metrics of the evaluation, of the records that this is made from; empty where there is none."""
    records = map(record.read, upstream)
    return next((above["metrics"] for above in records if above["stage"] == stages.EVAL.name), {})


def fetched(args: argparse.Namespace) -> dict[str, str]:
    """Key of the model's configuration -> file of weights that a training loads there."""
    named = {modelkeys.BACKBONE: args.backbone_weights, modelkeys.WHOLE_MODEL: args.pretrained_weights}
    return {key: file for key, file in named.items() if file}


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--config", required=True, help="PaddleSeg configuration of the model")
    options.add_argument("--dataset", required=True, help="folder of the data set")
    options.add_argument("--checkpoint", required=True, help="of this run's training")
    options.add_argument("--history", required=True, help="history.csv of this run's training")
    options.add_argument("--reference", required=True, help="folder of the checkpoint's own label maps")
    options.add_argument("--export", required=True, help="folder of the exported model")
    RunScript.add_to(options)
    options.add_argument("--backbone-weights", help="file of weights that the training starts from")
    options.add_argument("--pretrained-weights", help="the same, of the whole model")
    options.add_argument("--min-pretrained-share", help="as the training has it; not looked at here")
    options.add_argument("--leave-out", action="append", default=[], metavar="KEY", help="as the training has it")
    options.add_argument("--made", required=True, help="the folder of configuration and label maps to make")
    args = parse(options)
    if args.paddleseg is None:
        options.error("--paddleseg: name the checkout whose script is to run")
    request = RunScript.of(args)
    plan = Plan(
        stages.SCRIPTS.name,
        request.requested,
        [
            *modelconfig.inputs(args.config),
            *(args.dataset, args.checkpoint, args.history, args.reference, args.export),
            *fetched(args).values(),
        ],
        {"made": args.made},
        work,
        threads=request.threads,
        environment=machine.math_environment() | machine.float32_environment(request.device, request.precision),
        gpus=int(request.device == "gpu"),
        set_aside=["made"],
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
