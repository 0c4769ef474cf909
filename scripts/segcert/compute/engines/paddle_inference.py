"""What the engines of Paddle Inference have in common: its predictor, and what it tells of what it ran.

On a CPU that is oneDNN's own trace, held against what the exported program asks for; on a GPU the operators that the
predictor ran.
"""

from __future__ import annotations

import json
import tempfile
from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from paddle import inference

from segcert import output_ops
from segcert.compute import device
from segcert.compute.engines import onednn_trace, paddle_softmax
from segcert.compute.engines.base import Engine, Run, free
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

    _of_logits: Path | None = None  # the program that is loaded in place of one that ends in softmax

    def build(self) -> None:
        if self.device == "gpu":
            device.require_gpu(dtype={"fp16": "float16"}.get(self.precision))
        program = self._of_logits or self.folder / self.program
        config = inference.Config(str(program), str(self.folder / "model.pdiparams"))
        config.disable_glog_info()
        if self.device == "cpu":
            config.disable_gpu()
            config.set_cpu_math_library_num_threads(self.threads)
        self.configure(config)
        self.config = config
        self.predictor = inference.create_predictor(config)
        self._run = _runner(self.predictor)
        self._operands: ArgmaxOperands | None = None

    @abstractmethod
    def configure(self, config: Any) -> None:
        """Say whose kernels a predictor is to take."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        return self._run(batch)

    def streams(self) -> list[Run]:
        # A predictor may be called by one thread alone. Its clones share the weights.
        return [self._run, *(_runner(self.predictor.clone()) for _ in range(1, self.several))]

    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.output_op == output_ops.SOFTMAX and self._of_logits is None:
            self._leave_out_softmax()
        if self.output_op in (output_ops.SOFTMAX, output_ops.NONE):
            return self.run(batch).astype(np.float32, copy=False)
        # Of this predictor and no other: one more takes seconds to build, and it would have to be shown to be the same.
        if self._operands is None:
            self._operands = ArgmaxOperands(self.run(batch).shape[1:], len(self.predictor.get_output_names()))
            self.predictor.register_output_hook(self._operands)
        self._operands.found.clear()
        labels = self.run(batch)
        return self._operands.of(labels)

    def _leave_out_softmax(self) -> None:
        """From now on run the program without the softmax at its end.

        What goes into that cannot be seen as the outputs of other operators are: oneDNN hands it to its own softmax in
        a layout that no tensor can be read in.
        """
        del self.predictor, self._run  # so that two models never take memory at a time
        with tempfile.TemporaryDirectory() as place:
            self._of_logits = Path(place) / self.program
            self._of_logits.write_bytes(paddle_softmax.without(self.folder / self.program))
            self.build()

    def input_shape(self) -> list[int | None]:
        return free(input_shape(self.folder / self.program))  # the predictor does not tell

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


def _runner(predictor: Any) -> Run:
    """A function that runs a batch through a predictor."""
    fed = predictor.get_input_handle(predictor.get_input_names()[0])
    given = predictor.get_output_handle(predictor.get_output_names()[0])

    def run(batch: NDArray[np.float32]) -> NDArray[Any]:
        fed.reshape(batch.shape)
        fed.copy_from_cpu(batch)
        predictor.run()
        output: NDArray[Any] = given.copy_to_cpu()  # waits for the device
        return output

    return run


class ArgmaxOperands:
    """A hook on the outputs of a predictor's operators that keeps what an argmax may be taken of, N x C x H x W.

    Paddle tells of outputs alone, in the order in which they are computed (Paddle Inference,
    Predictor.register_output_hook). What an argmax is taken of is one of the last of four dimensions and of the label
    maps' size before it, as many as the model has outputs: auxiliary ones may come between. Which one it is, is found
    by the label maps of the same run. Where those fit two, a wrong one is caught by the gates on logits.
    """

    def __init__(self, size: Sequence[int], outputs: int) -> None:
        """`size` is that of the label maps, H x W; `outputs` is how many the model has."""
        self.found: list[NDArray[np.float32]] = []
        self._size = list(size)
        self._last: deque[Any] = deque(maxlen=outputs)

    def __call__(self, operator: str, _name: str, tensor: Any) -> None:
        if _kind(operator) in ("argmax", "arg_max"):
            self.found += [float32_of(operand.numpy(), str(operand.dtype)) for operand in self._last]
            self._last.clear()
        elif len(tensor.shape) == 4 and list(tensor.shape[2:]) == self._size and "float" in str(tensor.dtype):
            self._last.append(tensor)

    def of(self, labels: NDArray[np.integer[Any]]) -> NDArray[np.float32]:
        """Those that label maps are an argmax of.

        Raises:
            StageError: none that was seen is.
        """
        for logits in self.found:
            if logits.shape[:1] + logits.shape[2:] == labels.shape and _is_argmax(labels, logits):
                return logits
        raise StageError(
            f"what its label maps are the argmax of cannot be seen: {len(self.found)} tensors that it may be of were"
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


def input_shape(program: Path) -> list[int]:
    """N x 3 x H x W of an exported program's input, from its file: -1 where any number goes.

    Raises:
        StageError: it has not one input.
    """
    found = list(_input_shapes(program))
    if len(found) != 1:
        raise StageError(f"{program}: has {len(found)} inputs that are read from its file, and one is known here")
    return found[0]


def _input_shapes(program: Path) -> Iterator[list[int]]:
    if program.suffix == ".json":
        (region,) = json.loads(program.read_text(encoding="utf-8"))["program"]["regions"]
        for operator in region["blocks"][0]["ops"]:
            if operator["#"].rpartition(".")[2] == "data":
                yield operator["O"][0]["TT"]["D"][1]
        return
    from paddle.base import core

    described = core.ProgramDesc(program.read_bytes())  # held: a block does not keep its program
    block = described.block(0)
    for operator in (block.op(index) for index in range(block.op_size())):
        if operator.type() == "feed":
            (name,) = operator.output("Out")
            yield block.find_var(name.encode()).shape()


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
