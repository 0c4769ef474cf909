"""What the engines of Paddle Inference have in common: its predictor, and what it tells of what it ran.

On a CPU that is oneDNN's own trace, held against what the exported program asks for; on a GPU the operators that the
predictor ran.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paddle import inference

from segcert.compute import device
from segcert.compute.engines import onednn_trace
from segcert.compute.engines.base import Engine
from segcert.errors import StageError, Unverified

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


class PaddleInference(Engine):
    """A predictor of Paddle's, which is not yet told whose kernels it is to take."""

    def build(self) -> None:
        if self.device == "gpu":
            device.require_gpu(dtype={"fp16": "float16"}.get(self.precision))
        config = inference.Config(str(self.folder / self.program), str(self.folder / "model.pdiparams"))
        config.disable_glog_info()
        if self.device == "cpu":
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(self.threads)
        self.configure(config)
        self.config = config
        self.predictor = inference.create_predictor(config)
        self._input = self.predictor.get_input_handle(self.predictor.get_input_names()[0])
        self._output = self.predictor.get_output_handle(self.predictor.get_output_names()[0])
        self._operands: ArgmaxOperands | None = None

    @abstractmethod
    def configure(self, config: Any) -> None:
        """Say whose kernels a predictor is to take."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.integer[Any]]:
        self._input.reshape(batch.shape)
        self._input.copy_from_cpu(batch)
        self.predictor.run()
        labels: NDArray[np.integer[Any]] = self._output.copy_to_cpu()  # waits for the device
        return labels

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        # Of this predictor and no other: one more takes seconds to build, and it would have to be shown to be the same.
        if self._operands is None:
            self._operands = ArgmaxOperands()
            self.predictor.register_output_hook(self._operands)
        self._operands.found.clear()
        try:
            return self._operands.of(self.run(batch))
        except StageError:
            if self._operands.looks_for is None:
                self._operands.look_further()
                return self.logits(batch)
            raise

    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.device == "gpu":
            return self._observe_gpu(batch)
        trace = onednn_trace.of(lambda: self.run(batch))
        asked = program_work(self.folder / self.program)
        outside = onednn_trace.outside(trace, asked)
        effective = onednn_trace.effective(trace, asked, outside, self.config.cpu_math_library_num_threads())
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


class ArgmaxOperands:
    """A hook on the outputs of a predictor's operators that keeps what each argmax was taken of, N x C x H x W.

    Paddle tells of outputs alone, in the order in which they are computed (Paddle Inference,
    Predictor.register_output_hook): what an argmax is taken of is the last of four dimensions before it. Whether it is,
    is held against the label maps of the same run.

    Of a model that gives several logits (FastSCNN with its auxiliary head), all argmaxes may come at the end. Then what
    has the shape of the logits is looked at wherever it is computed, of those right after one another the last: the
    others are it before its bias or activation.

    Attributes:
        found: what was kept.
        looks_for: shapes to keep, other than before an argmax; None: it has not been looked further.
    """

    def __init__(self) -> None:
        self.found: list[NDArray[np.float32]] = []
        self.looks_for: set[tuple[int, ...]] | None = None
        self._last: Any = None

    def look_further(self) -> None:
        """Look from now on for all that has a shape of what was found."""
        self.looks_for = {logits.shape for logits in self.found}

    def __call__(self, operator: str, _name: str, tensor: Any) -> None:
        if _kind(operator) in ("argmax", "arg_max"):
            self._keep()
        elif len(tensor.shape) == 4 and "float" in str(tensor.dtype):
            before = None if self._last is None else tuple(self._last.shape)
            if before != tuple(tensor.shape) and before in (self.looks_for or ()):
                self._keep()
            self._last = tensor

    def _keep(self) -> None:
        if self._last is not None:
            self.found.append(float32_of(self._last.numpy(), str(self._last.dtype)))
        self._last = None

    def of(self, labels: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Those that label maps are an argmax of.

        Raises:
            StageError: none that was seen is.
        """
        for logits in self.found:
            if logits.shape[:1] + logits.shape[2:] == labels.shape and _is_argmax(labels, logits):
                return logits
        raise StageError(
            f"what its label maps are the argmax of cannot be seen: {len(self.found)} operands of an argmax were"
        )


def _is_argmax(labels: NDArray[np.integer[Any]], logits: NDArray[np.float32]) -> bool:
    best = logits.max(axis=1)
    given = np.take_along_axis(logits, labels[:, np.newaxis].astype(np.intp), axis=1)[:, 0]
    return bool(np.all((given == best) | np.isnan(best)))


def float32_of(array: NDArray[Any], dtype: str) -> NDArray[np.float32]:
    """A tensor's numbers; those of bfloat16 come as the bits that are the upper half of a float32's."""
    if dtype.endswith("bfloat16") and array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


def _kind(operator: str) -> str:
    """An operator without its dialect and number: Paddle 3 says `pd_op.conv2d:12`, Paddle 2 `conv2d`."""
    return operator.split(":")[0].rpartition(".")[2]


def paddles_type(precision: str) -> Any:
    """What Paddle Inference is to compute in on a GPU, for fp16 or fp32."""
    return inference.PrecisionType.Half if precision == "fp16" else inference.PrecisionType.Float32


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
                f"{subgraphs} TensorRT subgraphs ran; this Paddle does not tell what precision they compute in",
                lasting=True,
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

    def note(operator: str, _name: str, tensor: Any) -> None:
        # Paddle 3 numbers its operators ("pd_op.conv2d:12").
        kind = operator.split(":")[0]
        seen[kind, str(tensor.dtype).removeprefix("paddle."), str(tensor.place)] += 1

    predictor.register_output_hook(note)
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    handle.reshape(batch.shape)
    handle.copy_from_cpu(batch)
    predictor.run()
    return ExecutedOperators(seen)
