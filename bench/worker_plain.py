"""ONNX Runtime or OpenVINO on the same ONNX file, used plainly: threads are set, the rest is their default."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))


def build(options):
    import numpy as np
    from worker_common import samples, warm

    batch, model, threads = np.load(options["batch"]), options["model"], options["threads"]
    if options["library"] == "onnxruntime":
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = threads
        session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name

        def run():
            return session.run(None, {name: batch})[0]

        precision = "fp32"
    else:
        import openvino

        settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
        if options.get("precision"):
            settings["INFERENCE_PRECISION_HINT"] = options["precision"]
        compiled = openvino.Core().compile_model(model, "CPU", settings)

        def run():
            return compiled([batch])[0]

        precision = str(compiled.get_property("INFERENCE_PRECISION_HINT"))
    warm(run, options["warm_s"])
    return {"labels": int(np.asarray(run()).sum()), "precision": precision}, (lambda **how: samples(run, **how))
