"""Inference engines: how each is built, run, and seen to be what it was asked to be.

Every engine takes N x 3 x H x W float32 and gives N x H x W label maps. `observe` runs one batch and
returns what really computed it, read from the engine itself: oneDNN's own trace of the primitives
that it executed, OpenVINO's compiled graph, ONNX Runtime's providers. A setting that was merely
passed on proves nothing: engines fall back in silence.
"""

from __future__ import annotations

import ctypes
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from segcert.errors import StageError, Unverified


class Engine(ABC):
    """One engine on one exported model.

    Args:
        folder: an exported model's folder.
        program: its graph (model.json or model.pdmodel).
        device: cpu | gpu.
        precision: fp32 | fp16 | bf16 | int8.
        threads: CPU threads to compute with.
    """

    def __init__(self, folder: Path, program: str, device: str, precision: str, threads: int) -> None:
        self.folder, self.program = folder, program
        self.device, self.precision, self.threads = device, precision, threads

    @abstractmethod
    def run(self, batch: np.ndarray) -> np.ndarray:
        """Label maps of a batch."""

    @abstractmethod
    def observe(self, batch: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was seen to compute a batch (under the names of a request), and the evidence for it."""

    def conf(self) -> dict[str, Any]:
        """The Conf block of the benchmark log."""
        return {
            "runtime_device": self.device,
            "ir_optim": True,
            "enable_memory_optim": False,
            "enable_tensorrt": False,
            "enable_mkldnn": False,
            "cpu_math_library_num_threads": self.threads,
        }


class PaddleEngine(Engine):
    """Paddle Inference: its native kernels, oneDNN, or TensorRT."""

    def __init__(self, folder: Path, program: str, device: str, precision: str, threads: int, kind: str) -> None:
        super().__init__(folder, program, device, precision, threads)
        import paddle
        from paddle import inference

        self.kind = kind
        if device == "gpu":
            if not paddle.is_compiled_with_cuda():
                raise Unverified(f"needs a GPU build of Paddle; this is {paddle.__version__} for the CPU")
            if not paddle.device.cuda.device_count():
                raise Unverified("needs a GPU; none is visible here")
        config = inference.Config(str(folder / program), str(folder / "model.pdiparams"))
        config.disable_glog_info()
        if device == "gpu":
            half = inference.PrecisionType.Half if precision == "fp16" else inference.PrecisionType.Float32
            if kind == "tensorrt":
                config.enable_use_gpu(100, 0)
                config.enable_tensorrt_engine(1 << 30, 1, 3, half, False, False)
            else:
                config.enable_use_gpu(100, 0, half)
        else:
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(threads)
            if kind == "onednn":
                config.enable_mkldnn()
                if precision == "bf16":
                    config.enable_mkldnn_bfloat16()
            else:
                config.disable_mkldnn()  # on a CPU it can be on by default
        self.config = config
        self.predictor = inference.create_predictor(config)
        self._input = self.predictor.get_input_handle(self.predictor.get_input_names()[0])
        self._output = self.predictor.get_output_handle(self.predictor.get_output_names()[0])

    def run(self, batch: np.ndarray) -> np.ndarray:
        self._input.reshape(batch.shape)
        self._input.copy_from_cpu(batch)
        self.predictor.run()
        return self._output.copy_to_cpu()  # waits for the device

    def observe(self, batch: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.device == "gpu":
            return self._observe_gpu(batch)
        trace = onednn_trace(lambda: self.run(batch))
        if not trace["convolutions"]:
            # No convolution of oneDNN's ran: Paddle's own CPU kernels did, which exist in float32 alone.
            effective = {"engine": "native", "precision": "fp32", "threads": self.config.cpu_math_library_num_threads()}
        else:
            convolutions = trace["convolutions"]
            low = convolutions.get("bf16", 0)
            effective = {
                "engine": "onednn",
                "threads": trace["threads"],
                "precision": "bf16" if low > sum(convolutions.values()) / 2 else "fp32",
            }
        return {"device": "cpu", **effective}, {"onednn": trace}

    def _observe_gpu(self, batch: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        self.run(batch)
        if self.kind == "tensorrt":
            raise Unverified("no evidence of TensorRT subgraphs can be read from this Paddle's predictor yet")
        if self.precision != "fp32":
            raise Unverified(f"no evidence of {self.precision} kernels can be read from this Paddle's predictor yet")
        device = "gpu" if self.config.use_gpu() else "cpu"
        return {"device": device, "engine": "native", "precision": self.precision}, {}

    def conf(self) -> dict[str, Any]:
        config = self.config
        return {
            "runtime_device": "gpu" if config.use_gpu() else "cpu",
            "ir_optim": config.ir_optim(),
            "enable_memory_optim": False,  # never asked for here: it raises on some exported graphs of Paddle 3
            "enable_tensorrt": config.tensorrt_engine_enabled(),
            "enable_mkldnn": config.mkldnn_enabled(),
            "cpu_math_library_num_threads": config.cpu_math_library_num_threads(),
        }


PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
PRECISION_HINTS = {"fp32": "f32", "bf16": "bf16"}


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the model's ONNX export: its CPU or its CUDA provider."""

    def __init__(self, folder: Path, program: str, device: str, precision: str, threads: int) -> None:
        super().__init__(folder, program, device, precision, threads)
        import onnxruntime

        provider = PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise Unverified(f"this onnxruntime has no {provider}; install its GPU package")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        if device == "gpu":
            # Otherwise nodes that CUDA does not take run on the CPU in silence.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=[provider])
        self._name = self.session.get_inputs()[0].name

    def run(self, batch: np.ndarray) -> np.ndarray:
        return self.session.run(None, {self._name: batch})[0]

    def observe(self, batch: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        self.run(batch)
        providers = self.session.get_providers()
        device = "gpu" if providers[0] == PROVIDERS["gpu"] else "cpu"
        kind = self.session.get_inputs()[0].type
        effective = {
            "device": device,
            "engine": "onnxruntime",
            "precision": {"tensor(float)": "fp32", "tensor(float16)": "fp16"}.get(kind, kind),
            "threads": self.session.get_session_options().intra_op_num_threads,
        }
        return effective, {"providers": providers, "input_type": kind}


class OpenVinoEngine(Engine):
    """OpenVINO on the model's ONNX export, CPU plugin."""

    def __init__(self, folder: Path, program: str, device: str, precision: str, threads: int) -> None:
        super().__init__(folder, program, device, precision, threads)
        import openvino

        core = openvino.Core()
        settings = {
            # Without the hint the plugin takes bfloat16 on a CPU that has it, whatever the model says.
            "INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
        }
        self.compiled = core.compile_model(core.read_model(str(folder / "model.onnx")), "CPU", settings)
        self.request = self.compiled.create_infer_request()

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.request.infer({0: batch})
        return self.request.get_output_tensor(0).data

    def observe(self, batch: np.ndarray) -> tuple[dict[str, Any], dict[str, Any]]:
        self.run(batch)
        precisions: Counter[str] = Counter()
        for node in self.compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            if "layerType" in info and info["layerType"].astype(str) == "Convolution":
                precisions[info["runtimePrecision"].astype(str)] += 1
        low = precisions.get("bf16", 0)
        effective = {
            "device": "cpu",
            "engine": "openvino",
            "threads": self.compiled.get_property("INFERENCE_NUM_THREADS"),
            "precision": "bf16"
            if low > sum(precisions.values()) / 2
            else "fp32"
            if precisions.get("f32")
            else "unknown",
        }
        return effective, {
            "convolutions": dict(precisions),
            "plugin": str(self.compiled.get_property("EXECUTION_DEVICES")),
        }


def create(engine: str, folder: Path, program: str, device: str, precision: str, threads: int) -> Engine:
    """An engine by its name in the configuration: native, onednn, tensorrt, onnxruntime, openvino."""
    if engine == "onnxruntime":
        return OnnxRuntimeEngine(folder, program, device, precision, threads)
    if engine == "openvino":
        return OpenVinoEngine(folder, program, device, precision, threads)
    return PaddleEngine(folder, program, device, precision, threads, engine)


# -- oneDNN's trace ---------------------------------------------------------------------------


def onednn_trace(run: Any) -> dict[str, Any]:
    """What oneDNN executed while `run` ran, from its own verbose output.

    Returns:
        primitives: how many were executed; kinds: by kind; convolutions: by the dtype of their
        source; threads: as oneDNN reports them (None where it executed nothing).

    Source of the format: oneDNN developer guide, "Verbose mode" (v1 lines, fields by commas).
    """
    import paddle

    library = Path(paddle.__file__).parent / "libs" / "libdnnl.so.3"
    if not library.is_file():
        raise StageError(f"{library}: not there, so what oneDNN executes cannot be seen; is this Paddle a Linux wheel?")
    onednn = ctypes.CDLL(str(library))
    libc = ctypes.CDLL(None)
    with tempfile.TemporaryFile() as trace:
        libc.fflush(None)
        stdout = os.dup(1)
        try:
            os.dup2(trace.fileno(), 1)
            onednn.dnnl_set_verbose(1)
            try:
                run()
            finally:
                onednn.dnnl_set_verbose(0)
                libc.fflush(None)
        finally:
            os.dup2(stdout, 1)
            os.close(stdout)
        trace.seek(0)
        text = trace.read().decode(errors="replace")
    return parse_onednn_trace(text)


def parse_onednn_trace(text: str) -> dict[str, Any]:
    """The summary of verbose output that `onednn_trace` returns."""
    kinds: Counter[str] = Counter()
    convolutions: Counter[str] = Counter()
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 8 and fields[0] in ("onednn_verbose", "dnnl_verbose") and "exec" in fields[:4]:
            kind, layouts = fields[fields.index("exec") + 2], fields[fields.index("exec") + 5]
            kinds[kind] += 1
            if kind == "convolution":
                source = re.search(r"src\w*:(\w+)", layouts)
                convolutions[source[1] if source else "unknown"] += 1
    threads = re.search(r"nthr:(\d+)", text)
    return {
        "primitives": sum(kinds.values()),
        "kinds": dict(kinds),
        "convolutions": dict(convolutions),
        "threads": int(threads[1]) if threads else None,
    }
