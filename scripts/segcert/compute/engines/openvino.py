"""OpenVINO on the export's ONNX model, on a CPU."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from segcert.compute.engines.base import Run, free, precision_of
from segcert.compute.engines.onnx import OnnxEngine

TYPES = {"f32": "fp32", "bf16": "bf16", "u8": "int8", "i8": "int8"}  # as its graph names them
# What is to be computed in where the model does not say. Of a quantised one that is the rest of it, and the choice is
# the plugin's: what is fastest on the CPU (bfloat16 made pp_liteseg_stdc1 a third faster, and its logits no worse).
HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVino(OnnxEngine):
    """Its CPU plugin."""

    name = "openvino"
    computes_in_callers = False  # threads of its own do

    def build(self) -> None:
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": self.threads * self.several,  # of all streams
            "NUM_STREAMS": self.several,
            "PERFORMANCE_HINT": "LATENCY" if self.several == 1 else "THROUGHPUT",
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

    def streams(self) -> list[Run]:
        # Not an AsyncInferQueue: it may not be filled by several threads, and of a request that fails it says nothing.
        return [_stream(self.compiled.create_infer_request()) for _ in range(self.several)]

    def given(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        self.request.infer({0: batch}, share_inputs=True)  # else a copy of each batch is timed as well
        given: NDArray[Any] = self.request.get_output_tensor(0).data
        return given

    def input_shape(self) -> list[int | None]:
        return free(
            None if side.is_dynamic else side.get_length() for side in self.compiled.input(0).get_partial_shape()
        )

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
            "threads": self.compiled.get_property("INFERENCE_NUM_THREADS") // self.several,
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


def _stream(request: Any) -> Run:
    """A function that has a request of its own computed while its caller waits."""

    def run(batch: NDArray[np.float32]) -> NDArray[Any]:
        request.start_async({0: batch}, share_inputs=True)
        request.wait()
        return np.array(request.get_output_tensor(0).data)  # a copy: the next request writes over it

    return run
