"""What every inference engine has: how it is built, run, and seen to be what it was asked to be.

Every engine takes N x 3 x H x W float32 and gives N x H x W label maps; of a program that ends in softmax or in logits
it gives N x C x H x W float32, and these make label maps (`segcert.compute.outputs`). `observe` runs one batch and
returns what really computed it, read from the engine itself: oneDNN's own trace of the primitives
that it executed, OpenVINO's compiled graph, ONNX Runtime's providers. A setting that was merely
passed on proves nothing: engines fall back in silence. `logits` gives what the label maps are the argmax of.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from segcert import output_ops
from segcert.errors import StageError

Run = Callable[[NDArray[np.float32]], NDArray[Any]]  # a batch in, label maps or what makes them out


class Engine(ABC):
    """One engine on one exported model, built as it is made.

    Args:
        folder: an exported model's folder.
        program: the file in it that the engine reads.
        device: cpu | gpu.
        precision: fp32 | fp16 | bf16 | int8.
        threads: CPU threads to compute with; of several streams each has so many.
        several: how many requests it is to compute at once, each in a stream of its own.

    Attributes:
        name: the engine's in the configuration.
        output_op: what the program was seen to end in, by which `logits` are had of it.
        computes_in_callers: whether a request is computed, at least in part, by the thread that asks for it.
    """

    name: ClassVar[str]
    output_op: str = output_ops.ARGMAX
    computes_in_callers: ClassVar[bool] = True

    def __init__(self, folder: Path, program: str, device: str, precision: str, threads: int, several: int = 1) -> None:
        self.folder, self.program = folder, program
        self.device, self.precision, self.threads, self.several = device, precision, threads, several
        self.build()

    @abstractmethod
    def build(self) -> None:
        """Load the model, so that batches can be run.

        Raises:
            Unverified: this machine or its software lacks what the engine needs.
        """

    @abstractmethod
    def run(self, batch: NDArray[np.float32]) -> NDArray[Any]:
        """What the program gives for a batch: its label maps, or what makes them."""

    def streams(self) -> list[Run]:
        """As many functions like `run` as it is to compute requests at once, each for a thread of its own.

        What each returns is the caller's: no later request changes it.

        Raises:
            StageError: it knows no way.
        """
        raise StageError(f"engine {self.name}: does not say how it computes several requests at once")

    @abstractmethod
    def logits(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the label maps of a batch are the argmax of: N x C x H x W, of the same weights and settings.

        For when label maps are done with: from then on the engine may be slow, may hold more memory and may give
        label maps no more, and `observe` tells of what gives logits.

        Raises:
            StageError: they cannot be had.
        """

    def input_shape(self) -> list[int | None]:
        """Shape of the input, N x 3 x H x W, as the loaded model has it: None where any number goes.

        Raises:
            StageError: it knows no way to tell.
        """
        raise StageError(f"engine {self.name}: does not say what shapes it takes")

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
            "engine": self.name,
        }


def free(shape: Iterable[Any]) -> list[int | None]:
    """A shape with None where it has no number, as each library has another sign for that."""
    return [side if isinstance(side, int) and side > 0 else None for side in shape]


def precision_of(counted: Mapping[str, int], names: Mapping[str, str]) -> str:
    """The precision that more than half computed in; `unknown` where that is none of those known.

    Args:
        counted: how many operations there were by dtype, as the engine names it.
        names: dtype, as the engine names it -> precision.
    """
    total = sum(counted.values())
    return next((name for dtype, name in names.items() if counted.get(dtype, 0) > total / 2), "unknown")
