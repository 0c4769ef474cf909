"""Where a stage's script starts: as the supervisor, or, started again by that, as the worker or a launcher of ranks.

The supervisor measures the process tree, keeps what it prints, ends it when its time is up or when it is itself told
to stop, decides the status, and moves the outputs into place. So a worker that crashes, is killed or hangs still
leaves a record, and an output appears whole or not at all.
"""

from __future__ import annotations

import argparse
import os

from segcert.stage import at_hand, worker
from segcert.stage.plan import Plan


def run(args: argparse.Namespace, plan: Plan) -> int:
    """Run the stage as what this process is; the exit code."""
    folder = os.environ.get(worker.WORKER)
    if not folder:
        from segcert.stage.supervisor import Supervisor  # in here: no worker waits for what it imports

        return Supervisor(args, plan).run()
    staging = worker.Staging(folder)
    at_hand.pin(args.paddleseg)
    if plan.launch and not worker.is_rank():
        return worker.launch(plan.launch, staging)
    return worker.run(lambda: plan.work(args, staging), staging, on_gpus=plan.gpus > 0)
