"""Which file is which engine.

An engine's file is imported only where the engine is asked for, because it imports the engine's library. It is by a
statement all the same: what a job's code is, is found from those.
"""

from __future__ import annotations

from pathlib import Path

from segcert import engines
from segcert.compute.engines.base import Engine
from segcert.errors import StageError

ONNX = "model.onnx"


def of_batch(export: Path, size: int) -> Path:
    """The folder of the program for batches of that size, in an export whose batch cannot be free."""
    return export / f"batch_{size}"


def dynamic(export: Path) -> Path:
    """The folder of the program whose height and width are free, in an export that has one beside that of one size."""
    return export / "dynamic"


def of(engine: str) -> type[Engine]:
    """The class of an engine, by its name in the configuration.

    Raises:
        StageError: there is no such engine.
    """
    if engine == "native":
        from segcert.compute.engines.native_paddle import NativePaddle

        return NativePaddle
    if engine == "onednn":
        from segcert.compute.engines.onednn import OneDnn

        return OneDnn
    if engine == "onednn_convolutions":
        from segcert.compute.engines.onednn_convolutions import OneDnnConvolutions

        return OneDnnConvolutions
    if engine == "tensorrt":
        from segcert.compute.engines.tensorrt import TensorRt

        return TensorRt
    if engine == "onnxruntime":
        from segcert.compute.engines.onnxruntime import OnnxRuntime

        return OnnxRuntime
    if engine == "openvino":
        from segcert.compute.engines.openvino import OpenVino

        return OpenVino
    name = engines.by_name(engine).name
    raise StageError(f"engine {name}: it stands in scripts/segcert/engines.py, and library.py imports no file for it")


def create(
    engine: str, folder: Path, program: str, device: str, precision: str, threads: int, several: int = 1
) -> Engine:
    """An engine on an exported model.

    Args:
        engine: its name in the configuration.
        folder, device, precision, threads, several: as `Engine` has them.
        program: the export's program in Paddle's form (model.json or model.pdmodel).

    Raises:
        StageError: there is no such engine, or it does not offer that.
        Unverified: this machine or its software lacks what the engine needs.
    """
    kind = engines.by_name(engine)
    offered = kind.offers.get(device, ())
    if precision not in offered:
        raise StageError(f"engine {engine}: offers {', '.join(offered) or 'nothing'} on {device}, not {precision}")
    return of(engine)(folder, ONNX if kind.needs_onnx else program, device, precision, threads, several)
