"""The inference engines: this file alone says what each is asked for, and what follows from its name.

It is read while Snakemake parses, so it imports no engine. How one is built, run and observed stands in a file of its
own in compute/engines/.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segcert.errors import StageError
from segcert.stages import PADDLE

CPU, GPU = "cpu", "gpu"
INT8 = "int8"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Everything that is asked of an engine before it is there. Nothing has a default, so a new one has to say it all.

    Attributes:
        offers: device -> precisions that it computes in, as far as that is known beforehand; in int8 it runs the
            quantised model, in all others the export.
        software: what its results follow from, by its name in a record's env: another version makes them stale.
        needs_onnx: whether it reads the export's ONNX model; otherwise Paddle's own program.
        gpu_library: whose build for CUDA it computes with, as `machine.GPU_LIBRARIES` has it; empty without a GPU.
        tipc: device -> what TIPC's file names call it, where TIPC has it.
    """

    name: str
    offers: Mapping[str, tuple[str, ...]]
    software: tuple[str, ...]
    needs_onnx: bool
    gpu_library: str
    tipc: Mapping[str, str]


NATIVE = Kind(
    name="native", offers={CPU: ("fp32",), GPU: ("fp32", "fp16")}, software=PADDLE,
    needs_onnx=False, gpu_library="paddle", tipc={CPU: "usemkldnn_False", GPU: "usetrt_False"},
)  # fmt: skip
ONEDNN = Kind(
    name="onednn", offers={CPU: ("fp32", "bf16")}, software=PADDLE,
    needs_onnx=False, gpu_library="", tipc={CPU: "usemkldnn_True"},
)  # fmt: skip
ONEDNN_CONVOLUTIONS = Kind(  # a way around what oneDNN computes wrongly: docs/findings/onednn-interpolate.md
    name="onednn_convolutions", offers={CPU: ("fp32",)}, software=PADDLE,
    needs_onnx=False, gpu_library="", tipc={},
)  # fmt: skip
TENSORRT = Kind(
    name="tensorrt", offers={GPU: ("fp32", "fp16")}, software=PADDLE,
    needs_onnx=False, gpu_library="paddle", tipc={GPU: "usetrt_True"},
)  # fmt: skip
ONNXRUNTIME = Kind(
    name="onnxruntime", offers={CPU: ("fp32", INT8), GPU: ("fp32",)}, software=("onnxruntime", "numpy", "opencv"),
    needs_onnx=True, gpu_library="onnxruntime", tipc={},
)  # fmt: skip
OPENVINO = Kind(
    name="openvino", offers={CPU: ("fp32", "bf16", INT8)}, software=("openvino", "numpy", "opencv"),
    needs_onnx=True, gpu_library="", tipc={},
)  # fmt: skip

# In the order in which they are listed.
ALL = (NATIVE, ONEDNN, ONEDNN_CONVOLUTIONS, TENSORRT, ONNXRUNTIME, OPENVINO)
BY_NAME = {kind.name: kind for kind in ALL}


def by_name(name: str) -> Kind:
    """The engine called `name`; StageError names the known ones."""
    try:
        return BY_NAME[name]
    except KeyError:
        raise StageError(f"engine {name}: no such engine; known: {', '.join(BY_NAME)}") from None


def on(device: str) -> list[str]:
    """Names of the engines that are offered on a device."""
    return [kind.name for kind in ALL if device in kind.offers]
