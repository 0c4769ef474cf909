"""Export of a checkpoint: an inference model, deploy.yaml, and an ONNX model beside them."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from paddleseg.deploy.export import WrappedModel

from segcert import output_ops, proof
from segcert.compute import apart, components, proving
from segcert.compute.engines import library
from segcert.compute.logits import Logits
from segcert.errors import StageError
from segcert.numbers import finite
from segcert.requests.export import Export
from segcert.requests.request import DYNAMIC
from segcert.stage import reasons
from segcert.stage.progress import say
from segcert.stage.worker import Result

CANNOT = "paddle2onnx cannot convert"
FIXED = 1  # size of batches where it cannot be free, unless others are asked for


def export(request: Export, config_path: str, checkpoint: str, folder: Path) -> Result:
    """Write model.json (or model.pdmodel), model.pdiparams and deploy.yaml; model.onnx where an engine runs it right.

    The exported graph ends in argmax: N x 3 x H x W float32 -> N x H x W int32; or, where that is asked for, in softmax
    or in logits: -> N x C x H x W float32. Height and width are fixed unless they are asked to be free, because
    paddle2onnx cannot convert PP-LiteSeg then. The batch is free, or where that cannot be, of the first size that is
    asked for. Other programs are in folders below, each with all that belongs to it: those for batches of other sizes,
    and one whose height and width are free, where that is asked for beside.

    Raises:
        StageError: the model cannot be exported, or Paddle's own predictor cannot run it.
    """
    paddle.set_device("cpu")
    config = components.load_config(config_path, input_size=request.input_size)
    width, height = components.export_size(config)
    model = components.load_model(config, checkpoint)
    sizes = request.batch_sizes or (FIXED,)
    fed = proving.images(width, height, max(proving.BATCHES + sizes))
    begun = time.perf_counter()
    folder.mkdir()
    free, output_op = request.shapes == DYNAMIC, request.output_op
    made = _program(model, folder, fed, sizes[0], free, output_op)
    programs = {folder: made}
    for size in sizes[1:] if made.batch else ():
        below = library.of_batch(folder, size)
        below.mkdir()
        programs[below] = _exported(model, below, fed, size, free, output_op)
    beside, why_not = _beside(model, folder, fed, sizes[0], output_op) if request.beside else (None, None)
    exported = time.perf_counter()
    for place, program in [*programs.items(), *([(library.dynamic(folder), beside)] if beside else [])]:
        is_free = program.other is not None
        _write_deploy(place / "deploy.yaml", program.program, config, program.batch, is_free, output_op)
    batches = [program.batch for program in programs.values()]
    trial = proving.together([program.trial for program in programs.values()])
    effective: dict[str, Any] = {
        "device": "cpu",
        "precision": "fp32",
        "input_size": [width, height],
        "batch": "free" if made.batch is None else batches if len(batches) > 1 else made.batch,
        "program": made.program,
        "converted": "traced" if made.traced else "from source",
        **({"shapes": made.shapes} if request.shapes else {}),
        **({"dynamic": beside is not None} if request.beside else {}),
        **({"output_op": output_ops.ended_in(trial.output)} if trial.output else {}),
    }
    metrics: dict[str, Any] = {
        "export_s": finite(exported - begun),
        "model_mb": finite((folder / "model.pdiparams").stat().st_size / 2**20),
        "parameters": int(sum(np.prod(p.shape) for p in model.parameters())),
        "native": trial.as_json(),
        "classes_compared": len(np.unique(made.expected)),
        "exported_agreement": min(trial.shares()),
        **({"input_shape": trial.input_shape} if request.shapes else {}),
    }
    gates = [_gate(metrics["exported_agreement"])]
    if trial.logits is not None:
        gates.append(_gate_of_logits(trial.logits, output_op))
    if trial.output:
        metrics["output"] = trial.output
    if trial.softmax is not None:
        metrics["softmax_peak"] = finite(trial.softmax)
        gates.append(_gate_of_softmax(trial.softmax))
    if not all(gate["holds"] for gate in gates):
        return Result(effective, metrics, gates)
    models = [_onnx(place, program, request.opset, fed) for place, program in programs.items()]
    onnx = models[0]
    if beside is not None:
        converted = _onnx(library.dynamic(folder), beside, request.opset, fed)
        metrics["dynamic"] = {
            "input_shape": beside.trial.input_shape,
            "native": beside.trial.as_json(),
            "onnx": converted.holds,
            "onnx_engines": {engine: tried.as_json() for engine, tried in converted.trials.items()},
        }
        why_not = converted.remark and f"of the program with free height and width: {converted.remark}"
    effective |= {"onnx": onnx.holds, **({"opset": onnx.opset} if onnx.holds else {})}
    metrics |= {
        "onnx_s": finite(time.perf_counter() - exported),
        **({"onnx_mb": finite((folder / library.ONNX).stat().st_size / 2**20)} if onnx.holds else {}),
        "onnx_engines": {
            engine: proving.together([model.trials[engine] for model in models if engine in model.trials]).as_json()
            for engine in onnx.trials
        },
        "multiply_adds": multiply_adds(model, height, width),  # last: it leaves buffers in the layers
    }
    why = made.remark and f"exported for batches of {' and '.join(map(str, batches))} only: {made.remark}"
    but = "" if output_op else ", because the model gives one class on it"
    weak = trial.weak and f"the proof of this export is weak{but}: {trial.weak}"
    remarks = dict.fromkeys(filter(None, [why, weak, *(model.remark for model in models), why_not]))
    return Result(effective, metrics, gates, remark="; ".join(remarks) or None)


@dataclass(frozen=True)
class Program:
    """An exported program.

    Attributes:
        program: its file.
        batch: the only size of batches that it takes; None: any.
        traced: as `_save` has it.
        expected: label maps of the model in memory.
        trial: of the program, with Paddle's own predictor.
        remark: why its batch is not free.
        right: logits of the model in memory, where label maps say little, or are not what it gives.
        other: images of another size and label maps of the model in memory, where height and width are to be free.
        output_op: what it is to end in, in place of argmax.
    """

    program: str
    batch: int | None
    traced: bool
    expected: proving.Labels
    trial: proving.Trial
    remark: str | None = None
    right: Logits | None = None
    other: proving.Other | None = None
    output_op: str | None = None

    @property
    def shapes(self) -> str:
        """Whether height and width are seen to be free in what Paddle's own predictor has loaded."""
        return DYNAMIC if self.trial.is_free() else "fixed"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Those of batches that it must be right in."""
        return (self.batch,) if self.batch else proving.BATCHES


def _beside(
    model: Any, folder: Path, fed: proving.Images, size: int, output_op: str | None = None
) -> tuple[Program | None, str | None]:
    """The program whose height and width are free, in its folder; or none, and why not."""
    below = library.dynamic(folder)
    below.mkdir()
    try:
        made = _program(model, below, fed, size, True, output_op)
        why = made.trial.wrong() if made.shapes == DYNAMIC else f"its input is {made.trial.input_shape}"
    except (MemoryError, OSError):
        raise
    except Exception as error:
        why = reasons.reason(error)
    if why is None:
        return made, None
    shutil.rmtree(below)
    return None, f"no program with free height and width: {why}"


def _program(
    model: Any, folder: Path, fed: proving.Images, size: int, free: bool = False, output_op: str | None = None
) -> Program:
    """The program, with a free batch if it can be, else for batches of `size`.

    A model may make a shape of the batch's size (ENet): it is then not converted, or wrong in batches of another size.
    """
    try:
        made = _exported(model, folder, fed, None, free, output_op)
        why = None if made.trial.holds(max(proving.BATCHES)) or not made.trial.holds(FIXED) else made.trial.wrong()
    except (MemoryError, OSError):
        raise
    except Exception as error:
        why = reasons.reason(error)
    if why is None:
        return made
    say(f"a free batch cannot be exported, so it is fixed: {why}")
    for file in folder.iterdir():
        file.unlink()
    return replace(_exported(model, folder, fed, size, free, output_op), remark=why)


class Unended(paddle.nn.Layer):  # type: ignore[misc]
    """A model as it is, in the form of PaddleSeg's wrapper."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Any) -> Any:
        return self.model(x)


def _wrapped(model: Any, output_op: str | None) -> Any:
    made = Unended(model) if output_op == output_ops.NONE else WrappedModel(model, output_op or output_ops.ARGMAX)
    made.eval()
    return made


def _exported(
    model: Any, folder: Path, fed: proving.Images, batch: int | None, free: bool = False, output_op: str | None = None
) -> Program:
    """The program for batches of a size (None: of any), and of the images' height and width, or of any (`free`)."""
    height, width = fed.shape[2:]
    tall, wide = (None, None) if free else (height, width)
    traced = _save(_wrapped(model, output_op), folder / "model", tall, wide, batch, output_op)
    program = "model.json" if (folder / "model.json").is_file() else "model.pdmodel"  # Paddle 2 writes the latter
    sizes = (batch,) if batch else proving.BATCHES
    expected = proving.labels(model, fed[: max(sizes)])  # now: what a model keeps of a batch is not to be exported
    right = proving.logits(model, fed[: max(sizes)]) if output_op or proving.is_weak(expected) else None
    other = proving.at_another_size(model, width, height, batch or FIXED) if free else None
    trial = proving.paddles(folder, program, fed, expected, sizes, right, other, output_op)
    return Program(program, batch, traced, expected, trial, right=right, other=other, output_op=output_op)


def _gate(agreement: float) -> dict[str, Any]:
    sentence = (
        f"the exported program, run by Paddle's own predictor, agrees with the model on {agreement:.5f} of pixels of "
        f"made-up images, at least {proving.AGREE} is asked"
    )
    return proof.gate("exported_agreement", agreement, "at least", proving.AGREE, sentence)


def _gate_of_logits(off: float, output_op: str | None) -> dict[str, Any]:
    what = "logits" if output_op else "one class everywhere would agree as well, so logits are compared: those"
    sentence = (
        f"{what} of the exported program are off the model's by {off:.3g} of how much these vary, at most "
        f"{proving.LOGITS} is asked"
    )
    return proof.gate("exported_logits", finite(off), "at most", proving.LOGITS, sentence)


def _gate_of_softmax(off: float) -> dict[str, Any]:
    sentence = (
        f"probabilities of the exported program are off the softmax of the model's logits by {off:.3g} of the range of "
        f"these, at most {proving.PROBABILITIES} is asked"
    )
    return proof.gate(proof.SOFTMAX, finite(off), "at most", proving.PROBABILITIES, sentence)


def _save(
    wrapped: Any,
    stem: Path,
    height: int | None,
    width: int | None,
    batch: int | None = None,
    output_op: str | None = None,
) -> bool:
    """Save the graph; True where tracing sufficed, False where the source had to be converted.

    Converting every layer's Python source to graph code takes most of an export's time and changes
    nothing for models whose control flow does not depend on tensors, which are nearly all (the graphs
    are equal byte for byte). Where it does, tracing raises on Paddle 3; Paddle 2 takes one branch in silence.

    Args:
        height, width: of images; None: any.
        batch: the size of batches; None: any.
        output_op: what the program is to end in, in place of argmax.
    """
    spec = [paddle.static.InputSpec([batch or -1, 3, height or -1, width or -1], "float32", name="x")]
    forward = wrapped.model.forward

    def unconverted(*inputs: Any) -> Any:
        return forward(*inputs)

    if not paddle.__version__.startswith("2."):
        try:
            with _as_it_was(wrapped.model):
                # Not `forward` itself: the mark would stay on the function of the class, for good.
                wrapped.model.forward = paddle.jit.not_to_static(unconverted)
                paddle.jit.save(paddle.jit.to_static(wrapped, input_spec=spec, full_graph=True), str(stem))
            return True
        except Exception as error:
            say(f"tracing failed, converting from source: {error}")
    whole = _wrapped(wrapped.model, output_op)
    with _as_it_was(wrapped.model):
        paddle.jit.save(paddle.jit.to_static(whole, input_spec=spec, full_graph=True), str(stem))
    return False


@contextlib.contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """Afterwards the layers have the attributes that they had.

    What a forward keeps of its input (a grid that it makes once, the last features) is a variable of the program that
    was being built. Neither the next attempt nor the model in memory can compute with it.
    """
    before = [
        (layer, {name: copy.copy(value) if isinstance(value, dict | list | set) else value for name, value in held})
        for layer in model.sublayers(include_self=True)
        for held in [list(vars(layer).items())]
    ]
    try:
        yield
    finally:
        for layer, held in before:
            vars(layer).clear()
            vars(layer).update(held)


def multiply_adds(model: Any, height: int, width: int) -> int:
    """Of one image, as `paddle.flops` counts them: a multiplication and an addition are one.

    Layers are counted; what a model computes by functions (resizing, OCRNet's attention) is not.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a table of the layers
        return int(paddle.flops(model, [1, 3, height, width]))


def _write_deploy(
    path: Path,
    program: str,
    config: Any,
    batch: int | None = None,
    free: bool = False,
    output_op: str | None = None,
) -> None:
    """deploy.yaml as `paddleseg.deploy.infer.DeployConfig` reads it."""
    width, height = (-1, -1) if free else components.export_size(config)
    deploy = {
        "Deploy": {
            "model": program,
            "params": "model.pdiparams",
            "transforms": config.dic["export"]["transforms"],
            "input_shape": [batch or -1, 3, height, width],
            "output_op": output_op or output_ops.ARGMAX,
            "output_dtype": "float32" if output_op else "int32",
        }
    }
    path.write_text(yaml.safe_dump(deploy, sort_keys=False), encoding="utf-8")


@dataclass(frozen=True)
class Onnx:
    """What became of the ONNX model.

    Attributes:
        holds: whether an engine ran it right, so that it is there.
        opset: its operator set, where it is there.
        trials: engine -> its trial.
        remark: what a person must know of it.
    """

    holds: bool
    opset: int | None = None
    trials: Mapping[str, proving.Trial] = field(default_factory=dict)
    remark: str | None = None


def _onnx(folder: Path, made: Program, opset: int, fed: proving.Images) -> Onnx:
    """Convert the program, and let every engine that reads ONNX run what came of it.

    A file that none of them runs right goes, whatever paddle2onnx says of it: it writes one without weights where
    it finds no parameters, and one that pools with a stride of 0.
    """
    target = folder / library.ONNX
    try:
        apart.run(_to_onnx, folder, made.program, opset)  # apart: it ends its process where it knows no way
    except StageError as error:
        target.unlink(missing_ok=True)
        return Onnx(False, remark=f"no ONNX model: {CANNOT} {made.program} with opset {opset} or later: {error}")
    asked = (made.expected, made.sizes, made.right, made.other, made.output_op)
    trials = proving.by_onnx(folder, made.program, fed, *asked)
    wrong = "; ".join(f"{engine} {why}" for engine, trial in trials.items() if (why := trial.wrong()))
    if any(trial.holds(size) for trial in trials.values() for size in made.sizes):
        is_of = _opset(target)
        raised = f"the ONNX model needs opset {is_of}, where {opset} is asked" if is_of != opset else None
        told = "; ".join(filter(None, [raised, f"of the ONNX model: {wrong}" if wrong else None]))
        return Onnx(True, is_of, trials, told or None)
    target.unlink()
    why = wrong or f"none of {', '.join(proving.onnx_engines())} is installed to try it"
    return Onnx(False, None, trials, f"no ONNX model, because what paddle2onnx made of {made.program} is wrong: {why}")


def _to_onnx(folder: Path, program: str, opset: int) -> None:
    """Convert the program; where paddle2onnx knows no way, it raises, or ends the process.

    Args:
        opset: the operator set, which paddle2onnx raises to what the program needs.
    """
    import paddle2onnx

    target = folder / library.ONNX
    # The optimizer of paddle2onnx 2 installs packages into the running environment and takes most of a
    # minute; the runtimes fold constants themselves. paddle2onnx 1 has another one, under another name.
    has_tool = "optimize_tool" in inspect.signature(paddle2onnx.export).parameters
    unoptimized = {"optimize_tool": "none"} if has_tool else {"enable_optimize": False}
    paddle2onnx.export(
        str(folder / program),
        str(folder / "model.pdiparams"),
        str(target),
        opset_version=opset,
        auto_upgrade_opset=True,
        enable_onnx_checker=True,
        **unoptimized,
    )


def _opset(path: Path) -> int:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    version: int = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    return version
