"""PaddleSeg's own deploy/python/infer.py on a model that it exported itself: its predictor, our stopwatch.

Timed is what its own benchmark times as inference: run and copy the output back; the input is copied in as
well, as in this project's engines.
"""

import runpy
import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))


def build(options):
    import numpy as np
    from worker_common import samples, warm

    theirs = runpy.run_path(str(Path(options["paddleseg"]) / "deploy/python/infer.py"), run_name="infer")
    args = Namespace(
        cfg=str(Path(options["export"]) / "deploy.yaml"),
        device="cpu",
        enable_mkldnn=options["mkldnn"],
        cpu_threads=options["threads"],
        precision="fp32",
        batch_size=1,
        benchmark=False,
        print_detail=False,
        with_argmax=False,
    )
    predictor = theirs["Predictor"](args).predictor
    batch = np.load(options["batch"])
    source = predictor.get_input_handle(predictor.get_input_names()[0])
    result = predictor.get_output_handle(predictor.get_output_names()[0])

    def run():
        source.reshape(batch.shape)
        source.copy_from_cpu(batch)
        predictor.run()
        return result.copy_to_cpu()

    warm(run, options["warm_s"])
    return {"labels": int(np.asarray(run()).sum()), "precision": "fp32"}, (lambda **how: samples(run, **how))
