"""What a training step runs as: the model's own Python, layer by layer, or one program that Paddle made of it.

As with PaddleSeg's `--to_static_training` the model is converted, and its loss is not. Whole: where a part of the
source cannot be converted, that is an error, and no part goes back to Python (`full_graph`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import paddle

DYNAMIC, TO_STATIC = "dynamic", "to_static"
IN_PART = "partly to_static"  # of what was observed: neither of the two throughout
CONVOLUTIONS = (
    paddle.nn.Conv1D,
    paddle.nn.Conv2D,
    paddle.nn.Conv3D,
    paddle.nn.Conv1DTranspose,
    paddle.nn.Conv2DTranspose,
    paddle.nn.Conv3DTranspose,
)
ACCUMULATION = "GradNodeAccumulation"  # Paddle's name of the node that adds to the gradient of a weight


def convert(model: Any) -> None:
    """Let a model's forward run as a program from now on; it is built by the first step."""
    paddle.jit.to_static(model, full_graph=True)


class GraphProbe:
    """Sees what ran in each step, by two means that know nothing of what was asked for.

    Hooks on the convolutions: called with a tensor, one computed in Python; called with a variable of a program, one
    was written into a program that is being built. A program that runs calls none. And the graph of gradients that
    hangs on the loss, by which the weights are trained: a program is one node in it, through which all weights get
    their gradients; what ran outside has a node for each operator.

    Args:
        model: before it is converted.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._steps: list[bool] = []  # of each: whether all of it ran as one program
        self._inputs: set[tuple[Any, ...]] = set()
        self._outside = self._most_outside = self._written = 0
        self._hooks = [
            layer.register_forward_post_hook(self._see)
            for layer in model.sublayers(include_self=True)
            if isinstance(layer, CONVOLUTIONS)
        ]

    def _see(self, _layer: Any, _inputs: Any, output: Any) -> None:
        if isinstance(output, paddle.Tensor):
            self._outside += 1
        else:
            self._written += 1

    def look(self, images: Any, loss: Any) -> None:
        """Look at a step that was taken: at its images, and at the loss that came of them."""
        self._inputs.add((*images.shape, images.dtype))
        through, convolutions = _gradients(loss)
        # A frozen layer has no gradient, and a function that no layer calls has no hook.
        outside = max(self._outside, convolutions)
        self._outside, self._most_outside = 0, max(self._most_outside, outside)
        self._steps.append(outside == 0 and through == 1 and bool(self._programs()))

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()

    def effective(self) -> str:
        """What was observed: `to_static` only where every step was one run of a program that holds all convolutions.

        A program for each form of the images: batches of one size have one.
        """
        programs = self._programs()
        whole = bool(programs) and self._convolutions() >= self._written and len(programs) == len(self._inputs)
        if whole and all(self._steps):
            return TO_STATIC
        return IN_PART if self._written else DYNAMIC

    def metrics(self) -> dict[str, Any]:
        """The numbers behind it, for a record."""
        return {
            "programs": len(self._programs()),
            "input_forms": len(self._inputs),
            "convolutions": self._convolutions(),
            "convolution_layers": self._written,
            "steps": len(self._steps),
            "steps_as_program": sum(self._steps),
            "convolutions_outside": self._most_outside,
        }

    def _programs(self) -> list[Any]:
        # A function that may go back to Python (full_graph=False) says that it has no programs to show.
        with contextlib.suppress(AttributeError, RuntimeError):
            return [made.main_program for made in self._model.forward.program_cache.concrete_programs()]
        return []

    def _convolutions(self) -> int:
        """How many there are in all programs."""
        return sum("conv" in name for program in self._programs() for name in _operators(program))


def _operators(program: Any) -> Iterator[str]:
    """Names of the operators of a program, with those within them: Paddle 3's know their blocks, of 2's the program."""
    waiting = list(getattr(program, "blocks", None) or [program.global_block()])
    while waiting:
        for operator in waiting.pop().ops:
            yield operator.type if hasattr(operator, "type") else operator.name()
            waiting += operator.blocks() if hasattr(operator, "blocks") else []


def _gradients(loss: Any) -> tuple[int, int]:
    """(nodes from which weights get their gradients, nodes of convolutions) of a loss's graph of gradients."""
    seen: dict[Any, bool] = {}  # node -> whether a weight gets its gradient from it
    waiting = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        after = [other for other in node.next_functions if other is not None]
        seen[node] = any(other.name() == ACCUMULATION for other in after)
        waiting += [other for other in after if other.name() != ACCUMULATION]
    return sum(seen.values()), sum("Conv" in node.name() for node in seen)
