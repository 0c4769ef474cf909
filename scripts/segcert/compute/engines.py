"""Inference engines: how each is built, run, and seen to be what it was asked to be.

Every engine takes N x 3 x H x W float32 and gives N x H x W label maps. `observe` runs one batch and
returns what really computed it, read from the engine itself: oneDNN's own trace of the primitives
that it executed, OpenVINO's compiled graph, ONNX Runtime's providers. A setting that was merely
passed on proves nothing: engines fall back in silence.
"""

from __future__ import annotations

import json
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segcert.compute import evidence
from segcert.errors import StageError, Unverified


class Engine(ABC):
    """One engine on one exported model.

    Args:
        folder: an exported model's folder.
        program: its graph (model.json or model.pdmodel).
        device: cpu | gpu.
        precision: fp32 | fp16 | bf16 | int8.
        threads: CPU threads to compute with.

    Attributes:
        library: the engine's name in the benchmark log, of one that AutoLog has no key for.
    """

    library: ClassVar[str]

    def __init__(self, folder: Path, program: str, device: str, precision: str, threads: int) -> None:
        self.folder, self.program = folder, program
        self.device, self.precision, self.threads = device, precision, threads

    @abstractmethod
    def run(self, batch: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        """Label maps of a batch."""

    @abstractmethod
    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was seen to compute a batch (under the names of a request), and the evidence for it."""

    def conf(self) -> dict[str, Any]:
        """The Conf block of the benchmark log: AutoLog's keys, and the engine, which they cannot tell."""
        return {
            "runtime_device": self.device,
            "ir_optim": True,
            "enable_memory_optim": False,
            "enable_tensorrt": False,
            "enable_mkldnn": False,
            "cpu_math_library_num_threads": self.threads,
            "engine": self.library,
        }


class PaddleEngine(Engine):
    """Paddle Inference: its native kernels, oneDNN, or TensorRT."""

    def __init__(self, folder: Path, program: str, device: str, precision: str, threads: int, kind: str) -> None:
        super().__init__(folder, program, device, precision, threads)
        from paddle import inference

        if device == "gpu":
            from segcert.compute.device import require_gpu, require_tensorrt

            require_gpu(dtype={"fp16": "float16"}.get(precision))
            if kind == "tensorrt":
                require_tensorrt()
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

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        self._input.reshape(batch.shape)
        self._input.copy_from_cpu(batch)
        self.predictor.run()
        labels: NDArray[np.integer[Any]] = self._output.copy_to_cpu()  # waits for the device
        return labels

    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.device == "gpu":
            return self._observe_gpu(batch)
        trace = evidence.onednn_trace(lambda: self.run(batch))
        asked = evidence.program_work(self.folder / self.program)
        outside = evidence.outside_onednn(trace, asked)
        effective = evidence.cpu_effective(trace, asked, outside, self.config.cpu_math_library_num_threads())
        return effective, {"onednn": trace, "program": asked, "outside_onednn": outside}

    def _observe_gpu(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        # On a clone, because a hook cannot be taken off again and would be timed with the cell.
        ran = evidence.executed_operators(self.predictor.clone(), batch)
        return ran.effective(), ran.evidence()

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
PRECISION_HINTS = {ours: theirs for theirs, ours in evidence.PRECISIONS.items()}
ONNX_DTYPES = {"float": "fp32", "float16": "fp16"}


class OnnxRuntimeEngine(Engine):
    """ONNX Runtime on the model's ONNX export: its CPU or its CUDA provider."""

    library = "onnxruntime"

    def __init__(self, folder: Path, program: str, device: str, precision: str, threads: int) -> None:
        super().__init__(folder, program, device, precision, threads)
        import onnxruntime

        provider = PROVIDERS[device]
        if provider not in onnxruntime.get_available_providers():
            raise Unverified(f"this onnxruntime has no {provider}; install onnxruntime-gpu in its place")
        if device == "gpu":
            onnxruntime.preload_dlls()  # the CUDA libraries that pip installed, where there are some
        try:
            self.session = self._session(onnxruntime.SessionOptions(), provider)
        except Exception as error:
            # Where it may not fall back, it does not say whether the provider did not start or leaves out a node.
            allowed = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=[provider])
            if provider in allowed.get_providers():
                raise
            raise Unverified(
                f"onnxruntime could not start {provider}, see the log: do its CUDA and cuDNN fit the driver?"
            ) from error
        self._name = self.session.get_inputs()[0].name

    def _session(self, options: Any, provider: str) -> Any:
        import onnxruntime

        options.log_severity_level = 3  # errors; it warns of every initializer that it drops
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        chosen: list[Any] = [provider]
        if self.device == "gpu":
            # Otherwise nodes that CUDA does not take run on the CPU in silence.
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            chosen = [(provider, {"use_tf32": "0"})]  # TF32 keeps 10 bits of a float32's 23
        return onnxruntime.InferenceSession(str(self.folder / "model.onnx"), options, providers=chosen)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        labels: NDArray[np.integer[Any]] = self.session.run(None, {self._name: batch})[0]
        return labels

    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        nodes = self._executed_nodes(batch)
        convolutions = Counter((node["provider"], node["dtype"]) for node in nodes if "Conv" in node["op"])
        if not convolutions:
            raise StageError("ONNX Runtime's profile shows no convolution; what computed is unknown")
        (provider, dtype), _ = convolutions.most_common(1)[0]
        effective = {
            "device": next((device for device, name in PROVIDERS.items() if name == provider), provider),
            "engine": "onnxruntime",
            "precision": ONNX_DTYPES.get(dtype, dtype),
            "threads": self.session.get_session_options().intra_op_num_threads,
        }
        seen = Counter(node["provider"] for node in nodes)
        shown = {f"{provider} {dtype}": count for (provider, dtype), count in convolutions.items()}
        return effective, {"nodes": dict(seen), "convolutions": shown}

    def _executed_nodes(self, batch: NDArray[np.float32]) -> list[dict[str, str]]:
        """Each node that one batch executes, with its operator, provider and input dtype, from a profile.

        Source of the format: onnxruntime documentation, "Profiling tools" (Chrome trace events).
        """
        import onnxruntime

        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder) / "profile")
            session = self._session(options, PROVIDERS[self.device])
            session.run(None, {self._name: batch})
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        nodes = []
        for event in events:
            args = event.get("args", {})
            if event.get("cat") == "Node" and "provider" in args:
                shapes = args.get("input_type_shape") or [{}]
                nodes.append(
                    {
                        "op": args.get("op_name", "unknown"),
                        "provider": args["provider"],
                        "dtype": next(iter(shapes[0]), "unknown"),
                    }
                )
        return nodes


class OpenVinoEngine(Engine):
    """OpenVINO on the model's ONNX export, CPU plugin."""

    library = "openvino"

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
            # Pinned, every process computes on the first cores: two cells of one thread at once took 2.1 to 2.4 times
            # as long as one alone. A cell that is alone is as fast without it.
            "ENABLE_CPU_PINNING": False,
        }
        self.compiled = core.compile_model(core.read_model(str(folder / "model.onnx")), "CPU", settings)
        self.request = self.compiled.create_infer_request()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        self.request.infer({0: batch})
        labels: NDArray[np.integer[Any]] = self.request.get_output_tensor(0).data
        return labels

    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        self.run(batch)
        precisions: Counter[str] = Counter()
        for node in self.compiled.get_runtime_model().get_ops():
            info = node.get_rt_info()
            if "layerType" in info and info["layerType"].astype(str) == "Convolution":
                precisions[info["runtimePrecision"].astype(str)] += 1
        effective = {
            "device": "cpu",
            "engine": "openvino",
            "threads": self.compiled.get_property("INFERENCE_NUM_THREADS"),
            "precision": evidence.precision_of(precisions),
        }
        return effective, {
            "convolutions": dict(precisions),
            "plugin": str(self.compiled.get_property("EXECUTION_DEVICES")),
            "pinned": self.compiled.get_property("ENABLE_CPU_PINNING"),
        }


def create(engine: str, folder: Path, program: str, device: str, precision: str, threads: int) -> Engine:
    """An engine by its name in the configuration: native, onednn, tensorrt, onnxruntime, openvino."""
    if engine == "onnxruntime":
        return OnnxRuntimeEngine(folder, program, device, precision, threads)
    if engine == "openvino":
        return OpenVinoEngine(folder, program, device, precision, threads)
    return PaddleEngine(folder, program, device, precision, threads, engine)
