"""Export of a checkpoint: an inference model, deploy.yaml, and an ONNX model beside them."""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from paddleseg.deploy.export import WrappedModel

from segcert import proof
from segcert.compute import apart, components, proving
from segcert.compute.engines import library
from segcert.compute.logits import Logits
from segcert.errors import StageError
from segcert.numbers import finite
from segcert.requests.export import Export
from segcert.stage import reasons
from segcert.stage.progress import say
from segcert.stage.worker import Result

CANNOT = "paddle2onnx cannot convert"
FIXED = 1  # size of batches where it cannot be free, unless others are asked for


def export(request: Export, config_path: str, checkpoint: str, folder: Path) -> Result:
    """Write model.json (or model.pdmodel), model.pdiparams and deploy.yaml; model.onnx where an engine runs it right.

    The exported graph ends in argmax: N x 3 x H x W float32 -> N x H x W int32. Height and width are
    fixed, because paddle2onnx cannot convert PP-LiteSeg otherwise. The batch is free, or where that cannot be, of the
    first size that is asked for; programs for the others are in folders below, each with all that belongs to it.

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
    made = _program(model, folder, fed, sizes[0])
    programs = {folder: made}
    for size in sizes[1:] if made.batch else ():
        below = library.of_batch(folder, size)
        below.mkdir()
        programs[below] = _exported(model, below, fed, size)
    exported = time.perf_counter()
    for place, program in programs.items():
        _write_deploy(place / "deploy.yaml", program.program, config, program.batch)
    batches = [program.batch for program in programs.values()]
    trial = proving.together([program.trial for program in programs.values()])
    effective: dict[str, Any] = {
        "device": "cpu",
        "precision": "fp32",
        "input_size": [width, height],
        "batch": "free" if made.batch is None else batches if len(batches) > 1 else made.batch,
        "program": made.program,
        "converted": "traced" if made.traced else "from source",
    }
    metrics: dict[str, Any] = {
        "export_s": finite(exported - begun),
        "model_mb": finite((folder / "model.pdiparams").stat().st_size / 2**20),
        "parameters": int(sum(np.prod(p.shape) for p in model.parameters())),
        "native": trial.as_json(),
        "classes_compared": len(np.unique(made.expected)),
        "exported_agreement": min(trial.agreement.values()),
    }
    gates = [_gate(metrics["exported_agreement"])]
    if trial.logits is not None:
        gates.append(_gate_of_logits(trial.logits))
    if not all(gate["holds"] for gate in gates):
        return Result(effective, metrics, gates)
    models = [_onnx(place, program, request.opset, fed) for place, program in programs.items()]
    onnx = models[0]
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
    weak = trial.weak and f"the proof of this export is weak, because the model gives one class on it: {trial.weak}"
    remarks = dict.fromkeys(filter(None, [why, weak, *(model.remark for model in models)]))
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
        right: logits of the model in memory, where label maps say little.
    """

    program: str
    batch: int | None
    traced: bool
    expected: proving.Labels
    trial: proving.Trial
    remark: str | None = None
    right: Logits | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """Those of batches that it must be right in."""
        return (self.batch,) if self.batch else proving.BATCHES


def _program(model: Any, folder: Path, fed: proving.Images, size: int) -> Program:
    """The program, with a free batch if it can be, else for batches of `size`.

    A model may make a shape of the batch's size (ENet): it is then not converted, or wrong in batches of another size.
    """
    try:
        made = _exported(model, folder, fed, None)
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
    return replace(_exported(model, folder, fed, size), remark=why)


def _exported(model: Any, folder: Path, fed: proving.Images, batch: int | None) -> Program:
    wrapped = WrappedModel(model, "argmax")
    wrapped.eval()
    height, width = fed.shape[2:]
    traced = _save(wrapped, folder / "model", height, width, batch)
    program = "model.json" if (folder / "model.json").is_file() else "model.pdmodel"  # Paddle 2 writes the latter
    sizes = (batch,) if batch else proving.BATCHES
    expected = proving.labels(model, fed[: max(sizes)])  # now: what a model keeps of a batch is not to be exported
    right = proving.logits(model, fed[: max(sizes)]) if proving.is_weak(expected) else None
    trial = proving.paddles(folder, program, fed, expected, sizes, right)
    return Program(program, batch, traced, expected, trial, right=right)


def _gate(agreement: float) -> dict[str, Any]:
    sentence = (
        f"the exported program, run by Paddle's own predictor, agrees with the model on {agreement:.5f} of pixels of "
        f"made-up images, at least {proving.AGREE} is asked"
    )
    return proof.gate("exported_agreement", agreement, "at least", proving.AGREE, sentence)


def _gate_of_logits(off: float) -> dict[str, Any]:
    sentence = (
        f"one class everywhere would agree as well, so logits are compared: those of the exported program are off the "
        f"model's by {off:.3g} of how much these vary, at most {proving.LOGITS} is asked"
    )
    return proof.gate("exported_logits", finite(off), "at most", proving.LOGITS, sentence)


def _save(wrapped: Any, stem: Path, height: int, width: int, batch: int | None = None) -> bool:
    """Save the graph; True where tracing sufficed, False where the source had to be converted.

    Converting every layer's Python source to graph code takes most of an export's time and changes
    nothing for models whose control flow does not depend on tensors, which are nearly all (the graphs
    are equal byte for byte). Where it does, tracing raises on Paddle 3; Paddle 2 takes one branch in silence.

    Args:
        batch: the size of batches; None: any.
    """
    spec = [paddle.static.InputSpec([batch or -1, 3, height, width], "float32", name="x")]
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
    whole = WrappedModel(wrapped.model, "argmax")
    whole.eval()
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


def _write_deploy(path: Path, program: str, config: Any, batch: int | None = None) -> None:
    """deploy.yaml as `paddleseg.deploy.infer.DeployConfig` reads it."""
    deploy = {
        "Deploy": {
            "model": program,
            "params": "model.pdiparams",
            "transforms": config.dic["export"]["transforms"],
            "input_shape": [batch or -1, 3, *reversed(components.export_size(config))],
            "output_op": "argmax",
            "output_dtype": "int32",
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
    trials = proving.by_onnx(folder, made.program, fed, made.expected, made.sizes, made.right)
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
