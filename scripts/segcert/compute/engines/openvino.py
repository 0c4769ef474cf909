"""OpenVINO on the export's ONNX model, on a CPU."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from segcert.compute.engines.base import precision_of
from segcert.compute.engines.onnx import OnnxEngine

TYPES = {"f32": "fp32", "bf16": "bf16", "u8": "int8", "i8": "int8"}  # as its graph names them
# What is to be computed in where the model does not say. Of a quantised one that is the rest of it, and the choice is
# the plugin's: what is fastest on the CPU (bfloat16 made pp_liteseg_stdc1 a third faster, and its logits no worse).
HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVino(OnnxEngine):
    """Its CPU plugin."""

    name = "openvino"

    def build(self) -> None:
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            # Pinned, every process computes on the first cores: two cells of one thread at once took 2.1 to 2.4 times
            # as long as one alone. A cell that is alone is as fast without it.
            "ENABLE_CPU_PINNING": False,
        }
        if self.precision in HINTS:
            # Without the hint the plugin takes bfloat16 on a CPU that has it, whatever the model says.
            settings["INFERENCE_PRECISION_HINT"] = HINTS[self.precision]
        self.compiled = core.compile_model(core.read_model(self.model()), "CPU", settings)
        self.request = self.compiled.create_infer_request()

    def release(self) -> None:
        del self.request, self.compiled

    def given(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        self.request.infer({0: batch}, share_inputs=True)  # else a copy of each batch is timed as well
        given: NDArray[Any] = self.request.get_output_tensor(0).data
        return given

    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        self.given(batch)
        precisions: Counter[str] = Counter()
        for node in self.compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            if "layerType" in info and info["layerType"].astype(str) == "Convolution":
                precisions[info["runtimePrecision"].astype(str)] += 1
        effective = {
            "device": "cpu",
            "engine": "openvino",
            "threads": self.compiled.get_property("INFERENCE_NUM_THREADS"),
            "precision": precision_of(precisions, TYPES),
        }
        counted: Counter[str] = Counter()
        for name, count in precisions.items():
            counted[TYPES.get(name, name)] += count
        return effective, {
            "convolutions": dict(precisions),
            "precisions": dict(counted),
            "plugin": str(self.compiled.get_property("EXECUTION_DEVICES")),
            "hint": self.compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
            "pinned": self.compiled.get_property("ENABLE_CPU_PINNING"),
        }
