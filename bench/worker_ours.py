"""This project's engine on an exported model, as its inference cells run it."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / "scripts"), str(Path(__file__).resolve().parent)]

from segcert.stage import deferred  # noqa: E402

deferred.defer()


def build(options):
    import numpy as np
    from worker_common import samples, warm

    from segcert.compute.engines import library
    from segcert.compute.preprocess import deploy_config

    export = Path(options["export"])
    folder = Path(options.get("folder", export))  # of the model: its export, or that in int8
    batch = np.load(options["batch"])
    program = deploy_config(export)["model"]
    engine = library.create(options["engine"], folder, program, "cpu", options["precision"], options["threads"])
    warm(lambda: engine.run(batch), options["warm_s"])
    effective, _ = engine.observe(batch)
    return {"labels": int(np.asarray(engine.run(batch)).sum()), **effective}, (
        lambda **how: samples(lambda: engine.run(batch), **how)
    )
