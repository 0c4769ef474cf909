"""Export of a checkpoint: an inference model, deploy.yaml, and an ONNX model beside them."""

from __future__ import annotations

import contextlib
import inspect
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from paddleseg.deploy.export import WrappedModel

from segcert.compute import components
from segcert.errors import StageError
from segcert.numbers import finite
from segcert.requests.export import Export
from segcert.stage.progress import say
from segcert.stage.reasons import short
from segcert.stage.worker import Result


def export(request: Export, config_path: str, checkpoint: str, folder: Path) -> Result:
    """Write model.json (or model.pdmodel), model.pdiparams, model.onnx and deploy.yaml.

    The exported graph ends in argmax: N x 3 x H x W float32 -> N x H x W int32. Height and width are
    fixed, because paddle2onnx cannot convert PP-LiteSeg otherwise; the batch is free.

    Raises:
        StageError: the conversion to ONNX fails.
    """
    paddle.set_device("cpu")
    config = components.load_config(config_path, input_size=request.input_size)
    width, height = components.export_size(config)
    model = components.load_model(config, checkpoint)
    wrapped = WrappedModel(model, "argmax")
    wrapped.eval()
    folder.mkdir()
    begun = time.perf_counter()
    traced = _save(wrapped, folder / "model", height, width)
    exported = time.perf_counter()
    program = "model.json" if (folder / "model.json").is_file() else "model.pdmodel"  # Paddle 2 writes the latter
    _write_deploy(folder / "deploy.yaml", program, config)
    _to_onnx(folder, program, request.opset)
    converted = time.perf_counter()
    metrics = {
        "export_s": finite(exported - begun),
        "onnx_s": finite(converted - exported),
        "model_mb": finite((folder / "model.pdiparams").stat().st_size / 2**20),
        "onnx_mb": finite((folder / "model.onnx").stat().st_size / 2**20),
        "parameters": int(sum(np.prod(p.shape) for p in model.parameters())),
        "multiply_adds": multiply_adds(model, height, width),  # last: it leaves buffers in the layers
    }
    effective: dict[str, Any] = {
        "device": "cpu",
        "precision": "fp32",
        "input_size": [width, height],
        "onnx": True,
        "opset": _opset(folder / "model.onnx"),
        "program": program,
        "converted": "traced" if traced else "from source",
    }
    return Result(effective, metrics)


def _save(wrapped: Any, stem: Path, height: int, width: int) -> bool:
    """Save the graph; True where tracing sufficed, False where the source had to be converted.

    Converting every layer's Python source to graph code takes most of an export's time and changes
    nothing for models whose control flow does not depend on tensors, which are nearly all (the graphs
    are equal byte for byte). Where it does, tracing raises on Paddle 3; Paddle 2 takes one branch in silence.
    """
    spec = [paddle.static.InputSpec([-1, 3, height, width], "float32", name="x")]
    forward = wrapped.model.forward

    def unconverted(*inputs: Any) -> Any:
        return forward(*inputs)

    if not paddle.__version__.startswith("2."):
        try:
            # Not `forward` itself: its mark would stay on the function of the class, and nothing could be converted.
            wrapped.model.forward = paddle.jit.not_to_static(unconverted)
            paddle.jit.save(paddle.jit.to_static(wrapped, input_spec=spec, full_graph=True), str(stem))
            return True
        except Exception as error:
            say(f"tracing failed, converting from source: {error}")
        wrapped.model.forward = forward
    whole = WrappedModel(wrapped.model, "argmax")
    whole.eval()
    paddle.jit.save(paddle.jit.to_static(whole, input_spec=spec, full_graph=True), str(stem))
    return False


def multiply_adds(model: Any, height: int, width: int) -> int:
    """Of one image, as `paddle.flops` counts them: a multiplication and an addition are one.

    Layers are counted; what a model computes by functions (resizing, OCRNet's attention) is not.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a table of the layers
        return int(paddle.flops(model, [1, 3, height, width]))


def _write_deploy(path: Path, program: str, config: Any) -> None:
    """deploy.yaml as `paddleseg.deploy.infer.DeployConfig` reads it."""
    deploy = {
        "Deploy": {
            "model": program,
            "params": "model.pdiparams",
            "transforms": config.dic["export"]["transforms"],
            "input_shape": [-1, 3, *reversed(components.export_size(config))],
            "output_op": "argmax",
            "output_dtype": "int32",
        }
    }
    path.write_text(yaml.safe_dump(deploy, sort_keys=False), encoding="utf-8")


def _to_onnx(folder: Path, program: str, opset: int) -> None:
    import paddle2onnx

    target = folder / "model.onnx"
    # The optimizer of paddle2onnx 2 installs packages into the running environment and takes most of a
    # minute; the runtimes fold constants themselves. paddle2onnx 1 has another one, under another name.
    has_tool = "optimize_tool" in inspect.signature(paddle2onnx.export).parameters
    unoptimized = {"optimize_tool": "none"} if has_tool else {"enable_optimize": False}
    try:
        paddle2onnx.export(
            str(folder / program),
            str(folder / "model.pdiparams"),
            str(target),
            opset_version=opset,
            auto_upgrade_opset=False,
            enable_onnx_checker=True,
            **unoptimized,
        )
    except (Exception, SystemExit) as error:  # it ends the process where it cannot read the program
        said = "its messages are in the log" if isinstance(error, SystemExit) else short(error)
        raise StageError(f"paddle2onnx cannot convert {program} with opset {opset}: {said}") from error


def _opset(path: Path) -> int:
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    version: int = next(item.version for item in model.opset_import if item.domain in ("", "ai.onnx"))
    return version
