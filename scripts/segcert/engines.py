"""Inference engines: how each is built, run, and seen to be what it was asked to be.

Every engine takes N x 3 x H x W float32 and gives N x H x W label maps. `observe` runs one batch and
returns what really computed it, read from the engine itself: oneDNN's own trace of the primitives
that it executed, OpenVINO's compiled graph, ONNX Runtime's providers. A setting that was merely
passed on proves nothing: engines fall back in silence.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segcert.errors import StageError, Unverified

MOST_OUTSIDE = 0.1  # of the convolutions, where the engine is still called onednn
# Operators that are products of matrices.
PRODUCTS = {
    "matmul",
    "matmul_v2",
    "matmul_with_flatten",
    "mul",
    "bmm",
    "baddbmm",
    "addmm",
    "mv",
    "fc",
    "linear",
    "linear_v2",
}


class Engine(ABC):
    """One engine on one exported model.

    Args:
        folder: an exported model's folder.
        program: its graph (model.json or model.pdmodel).
        device: cpu | gpu.
        precision: fp32 | fp16 | bf16 | int8.
        threads: CPU threads to compute with.

    Attributes:
        library: what computes, by the name of its Python package.
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
        """The Conf block of the benchmark log: AutoLog's keys, and the engine where they cannot tell it."""
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

    library = "paddle"

    def __init__(self, folder: Path, program: str, device: str, precision: str, threads: int, kind: str) -> None:
        super().__init__(folder, program, device, precision, threads)
        from paddle import inference

        if device == "gpu":
            from segcert.device import require_gpu

            require_gpu()
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
        trace = onednn_trace(lambda: self.run(batch))
        asked = program_work(self.folder / self.program)
        outside = outside_onednn(trace, asked)
        effective = cpu_effective(trace, asked, outside, self.config.cpu_math_library_num_threads())
        return effective, {"onednn": trace, "program": asked, "outside_onednn": outside}

    def _observe_gpu(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        # On a clone, because a hook cannot be taken off again and would be timed with the cell.
        ran = executed_operators(self.predictor.clone(), batch)
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


def outside_onednn(trace: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, int | None]:
    """What a program asks for and oneDNN did not execute: convolutions, products (None: not known).

    Args:
        trace: what oneDNN executed, as `onednn_trace` returns it.
        asked: what the program asks for, as `program_work` returns it.
    """
    return {
        kind: None if asked[kind] is None else max(0, asked[kind] - sum(trace[kind].values()))
        for kind in ("convolutions", "products")
    }


def cpu_effective(
    trace: Mapping[str, Any], asked: Mapping[str, Any], outside: Mapping[str, int | None], threads_set: int
) -> dict[str, Any]:
    """device, engine, precision and threads of a Paddle predictor on a CPU.

    What ran outside oneDNN ran on Paddle's own CPU kernels, which compute in float32 (or more). Where that is more
    than MOST_OUTSIDE of the convolutions, or more than half of all, two engines computed: `native+onednn`. A few
    may be, because oneDNN lacks kernels that models use: a batched product, in OCRNet.
    """
    work = Counter(trace["convolutions"]) + Counter(trace["products"])
    if not work:
        return {"device": "cpu", "engine": "native", "precision": "fp32", "threads": threads_set}
    missed = sum(filter(None, outside.values()))
    mixed = (outside["convolutions"] or 0) > MOST_OUTSIDE * (asked["convolutions"] or 0) or missed > sum(work.values())
    work["f32"] += missed
    engine = "native+onednn" if mixed else "onednn"
    return {"device": "cpu", "engine": engine, "threads": trace["threads"], "precision": _precision_of(work)}


def program_work(program: Path) -> dict[str, Any]:
    """How many convolutions and products of matrices an exported program holds, from its file.

    Returns:
        convolutions, products; or both None, and `unread` with the reason, where this Paddle cannot tell.
    """
    try:
        operators = _operators(program)
    except Exception as error:  # a form of another Paddle: no reason to fail, and none to believe
        return {"convolutions": None, "products": None, "unread": f"{program.name}: {type(error).__name__}: {error}"}
    return {
        "convolutions": sum("conv" in operator for operator in operators),
        "products": sum(operator in PRODUCTS for operator in operators),
    }


def _operators(program: Path) -> list[str]:
    """The operators of a program, without their dialect: model.json of Paddle 3 or model.pdmodel of Paddle 2."""
    if program.suffix == ".json":
        return list(_json_operators(json.loads(program.read_text(encoding="utf-8"))["program"]))
    from paddle.base import core

    described = core.ProgramDesc(program.read_bytes())
    blocks = [described.block(index) for index in range(described.num_blocks())]
    return [block.op(index).type() for block in blocks for index in range(block.op_size())]


def _json_operators(node: Any) -> Iterator[str]:
    """The operators of a region, a block or an operator with regions of its own (`"#": "1.conv2d"`)."""
    for region in node.get("regions", []):
        for block in region["blocks"]:
            for operator in block["ops"]:
                yield operator["#"].rpartition(".")[2]
                yield from _json_operators(operator)


@dataclass(frozen=True)
class ExecutedOperators:
    """What a Paddle predictor executed: (operator, dtype of an output, place of it) -> how many."""

    counts: Mapping[tuple[str, str, str], int]

    def effective(self) -> dict[str, Any]:
        """device, engine and precision of the convolutions.

        Raises:
            Unverified: TensorRT took them in; what a subgraph of its computes in cannot be seen from outside.
            StageError: there is no convolution.
        """
        subgraphs = sum(count for (operator, _, _), count in self.counts.items() if "tensorrt_engine" in operator)
        if subgraphs:
            raise Unverified(
                f"{subgraphs} TensorRT subgraphs ran; this Paddle does not tell what precision they compute in"
            )
        convolutions = Counter[str]()
        places, engines = set(), set()
        for (operator, dtype, place), count in self.counts.items():
            if "conv2d" in operator:
                convolutions[dtype] += count
                places.add("gpu" if "gpu" in place else "cpu")
                engines.add("onednn" if operator.startswith("onednn") else "native")
        if not convolutions:
            raise StageError("the predictor executed no convolution that it tells of; what computed is unknown")
        names = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
        (dtype, _), *_ = convolutions.most_common(1)
        return {
            "device": "+".join(sorted(places)),
            "engine": "+".join(sorted(engines)),
            "precision": names.get(dtype, dtype),
        }

    def evidence(self) -> dict[str, Any]:
        operators = [
            {"operator": operator, "dtype": dtype, "place": place, "count": count}
            for (operator, dtype, place), count in sorted(self.counts.items())
        ]
        return {"operators": operators}


def executed_operators(predictor: Any, batch: NDArray[np.float32]) -> ExecutedOperators:
    """Run a batch through a Paddle predictor and note every operator that it executes.

    The predictor calls the hook for each output of each operator (Paddle Inference,
    Predictor.register_output_hook); from then on it is slow, so give it a clone.
    """
    seen: Counter[tuple[str, str, str]] = Counter()

    def note(operator: str, name: str, tensor: Any) -> None:
        # Paddle 3 numbers its operators ("pd_op.conv2d:12").
        kind = operator.split(":")[0]
        seen[kind, str(tensor.dtype).removeprefix("paddle."), str(tensor.place)] += 1

    predictor.register_output_hook(note)
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    handle.reshape(batch.shape)
    handle.copy_from_cpu(batch)
    predictor.run()
    return ExecutedOperators(seen)


PROVIDERS = {"cpu": "CPUExecutionProvider", "gpu": "CUDAExecutionProvider"}
PRECISIONS = {"f32": "fp32", "bf16": "bf16"}
PRECISION_HINTS = {ours: theirs for theirs, ours in PRECISIONS.items()}
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
        self.session = self._session(onnxruntime.SessionOptions(), provider)
        if self.session.get_providers()[0] != provider:
            raise Unverified(
                f"onnxruntime could not start {provider}, see the log: do its CUDA and cuDNN fit the driver?"
            )
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
            "precision": _precision_of(precisions),
        }
        return effective, {
            "convolutions": dict(precisions),
            "plugin": str(self.compiled.get_property("EXECUTION_DEVICES")),
        }


def _precision_of(convolutions: Mapping[str, int]) -> str:
    """The precision that most convolutions computed in; `unknown` where none of those known does so.

    Args:
        convolutions: how many there were by dtype, as oneDNN and OpenVINO name it.
    """
    total = sum(convolutions.values())
    names = (name for dtype, name in PRECISIONS.items() if convolutions.get(dtype, 0) > total / 2)
    return next(names, "unknown")


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
        primitives: how many were executed; kinds: by kind; convolutions, and products (of matrices, which
        do the work of a transformer): by the dtype of their source; threads: as oneDNN reports them (None
        where it executed nothing).

    Source of the format: oneDNN developer guide, "Verbose mode": fields by commas; a memory is
    `src:bf16::blocked:...` in the v1 lines of Paddle 3's oneDNN, `src_bf16::blocked:...` in Paddle 2's.
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
    products: Counter[str] = Counter()
    for line in text.splitlines():
        fields = line.split(",")
        if len(fields) > 8 and fields[0] in ("onednn_verbose", "dnnl_verbose") and "exec" in fields[:4]:
            kind, layouts = fields[fields.index("exec") + 2], fields[fields.index("exec") + 5]
            kinds[kind] += 1
            if kind in ("convolution", "deconvolution", "inner_product", "matmul"):
                source = re.search(r"\bsrc[:_]([a-z0-9]+):", layouts)
                counted = convolutions if kind.endswith("convolution") else products
                counted[source[1] if source else "unknown"] += 1
    threads = re.search(r"nthr:(\d+)", text)
    return {
        "primitives": sum(kinds.values()),
        "kinds": dict(kinds),
        "convolutions": dict(convolutions),
        "products": dict(products),
        "threads": int(threads[1]) if threads else None,
    }
