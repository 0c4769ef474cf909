"""Losses of PaddleSeg that fail on the Paddle at hand, and corrected ones in their place.

Each is tried before it is replaced, as the configuration builds it: what works is trained with as it is, edits and all.
Nor is code replaced that nobody here has read: a correction would hide what it does otherwise.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle.utils import unique_name
from paddleseg.cvlibs import manager
from paddleseg.models.losses.cross_entropy_loss import CrossEntropyLoss
from paddleseg.models.losses.ohem_cross_entropy_loss import OhemCrossEntropyLoss

from segcert.stage.progress import say
from segcert.stage.reasons import short


@manager.LOSSES.add_component
class TypedCrossEntropyLoss(CrossEntropyLoss):  # type: ignore[misc]  # Paddle has no types
    """PaddleSeg's cross entropy with the weights of pixels in the loss's own dtype.

    paddleseg 2.8.0 multiplies float masks with integer ones, which Paddle 3 refuses.
    """

    def _post_process_loss(self, _logit: Any, label: Any, semantic_weights: Any, loss: Any) -> Any:
        """Mean over the counted pixels.

        Args:
            label: N x H x W, int64.
            semantic_weights: N x H x W or None.
            loss: loss of every pixel, N x H x W.
        """
        counted = (
            (label != self.ignore_index).astype(loss.dtype)
            if self.avg_non_ignore
            else paddle.ones(label.shape, loss.dtype)
        )
        counted.stop_gradient = True
        label.stop_gradient = True
        loss = loss * counted
        if semantic_weights is not None:
            loss = loss * semantic_weights
        weight = paddle.ones_like(counted)
        if self.weight is not None:
            # Ignored pixels count for nothing; class 0 stands in for them so that the lookup is valid.
            classes = label * (label != self.ignore_index).astype(label.dtype)
            weight = paddle.gather(self.weight, classes.flatten()).reshape(label.shape).astype(loss.dtype)
        if self.top_k_percent_pixels == 1.0:
            return loss.mean() / ((counted * weight).mean() + self.EPS)
        hardest, index = paddle.topk(loss.flatten(), int(self.top_k_percent_pixels * loss.size))
        return hardest.mean() / (paddle.gather(weight.flatten(), index).mean() + self.EPS)


@manager.LOSSES.add_component
class TypedOhemCrossEntropyLoss(OhemCrossEntropyLoss):  # type: ignore[misc]  # Paddle has no types
    """PaddleSeg's online hard example mining with masks in the dtypes that they are used in.

    Kept are the pixels whose probability of the true class is below the larger of `thresh` and the
    `min_kept`-th smallest such probability (Shrivastava et al., 2016, for pixels).
    """

    def forward(self, logit: Any, label: Any) -> Any:
        """Mean loss of the kept pixels. logit: N x C x H x W; label: N x H x W or N x 1 x H x W."""
        n, c, h, w = logit.shape
        label = label.reshape((-1,)).astype("int64")
        valid = label != self.ignore_index
        safe = paddle.where(valid, label, paddle.zeros_like(label))
        kept = valid
        if int(valid.sum()) > self.min_kept > 0:
            with paddle.no_grad():
                probability = F.softmax(logit.astype("float32"), axis=1).transpose((1, 0, 2, 3)).reshape((c, -1))
                true = (probability * F.one_hot(safe, c).transpose((1, 0))).sum(axis=0)
                true = paddle.where(valid, true, paddle.ones_like(true) * 2)  # ignored: harder than none
                smallest = paddle.topk(true, self.min_kept, largest=False)[0].max()
                kept = valid & (true < paddle.maximum(smallest, paddle.to_tensor(self.thresh, smallest.dtype)))
        target = paddle.where(kept, safe, paddle.full_like(safe, self.ignore_index)).reshape((n, 1, h, w))
        target.stop_gradient = True
        mask = kept.astype("float32").reshape((n, 1, h, w))
        mask.stop_gradient = True
        loss = F.softmax_with_cross_entropy(logit, target, ignore_index=self.ignore_index, axis=1).astype("float32")
        return (loss * mask).mean() / (mask.mean() + self.EPS)


CORRECTED = {"CrossEntropyLoss": "TypedCrossEntropyLoss", "OhemCrossEntropyLoss": "TypedOhemCrossEntropyLoss"}
# The method that a correction stands for, and the first digits of a hash of its code where it is known to do the same:
# of the releases 2.8.0 and 2.9.0; 2.6.0, 2.7.0 and 2.8.0, and 2.9.0. Later ones are mended, or do more (`weight`).
METHODS = {
    "CrossEntropyLoss": ("_post_process_loss", ("f96a45633bb57718",)),
    "OhemCrossEntropyLoss": ("forward", ("22a8e02c30d2a87f", "1878dd231dc676a9", "87bbd7946c3b37c1")),
}
DIGITS = 16
# paddleseg 2.8.0 multiplies float masks with integer ones, which Paddle 3 refuses.
KNOWN = re.compile(r"^TypeError: \(InvalidType\) Type promotion only supports? calculations? between")
CLASSES = 3  # of the logits of a trial, where the loss has no weights of classes


def corrected(loss: Any) -> tuple[Any, dict[str, str]]:
    """A loss configuration with corrected losses in place of those that fail; type of each of these -> how it fails."""
    replaced: dict[str, str] = {}
    return _corrected(loss, replaced), replaced


def _corrected(loss: Any, replaced: dict[str, str]) -> Any:
    if isinstance(loss, list):
        return [_corrected(item, replaced) for item in loss]
    if not isinstance(loss, dict):
        return loss
    changed = {key: _corrected(value, replaced) for key, value in loss.items()}
    kind = loss.get("type")
    if kind in CORRECTED and (why := _failure(loss)):
        if _is_known(kind):
            replaced[kind] = why
            changed["type"] = CORRECTED[kind]
        else:
            say(
                f"{kind} of this PaddleSeg fails a trial on this Paddle, and nothing is put in its place: its "
                f"{METHODS[kind][0]} is not that of a release which the correction is of. Mend it: {why}"
            )
    return changed


def _is_known(kind: str) -> bool:
    """Whether the code that a correction would stand for is that which it was made for, but for its comments."""
    name, known = METHODS[kind]
    try:
        (method,) = ast.parse(textwrap.dedent(inspect.getsource(getattr(manager.LOSSES[kind], name)))).body
    except (OSError, TypeError, SyntaxError, AttributeError, ValueError):  # a method that is made, or is not there
        return False
    if isinstance(method, ast.FunctionDef) and ast.get_docstring(method) is not None:
        del method.body[0]
    return hashlib.sha256(ast.unparse(method).encode()).hexdigest()[:DIGITS] in known


def _failure(item: Mapping[str, Any]) -> str | None:
    """How a loss fails on a small example, forward or backward, by the fault that is known; None where it does not.

    Of another fault nothing is put in its place: it is one that the run is to find.
    """
    options = {key: value for key, value in item.items() if key != "type"}
    if item["type"] == "OhemCrossEntropyLoss":
        options["min_kept"] = 4  # of 16 pixels: with more to keep, it mines for none
    weights = options.get("weight")
    classes = len(weights) if isinstance(weights, list) else CLASSES
    rng = np.random.default_rng(0)
    logit = rng.normal(size=(1, classes, 4, 4)).astype("float32")
    label = rng.integers(0, classes, (1, 4, 4))
    label[0, 0, 0] = options.get("ignore_index", 255)
    try:
        with unique_name.guard():  # so that the names of the model's parameters stay what they were
            tried = paddle.to_tensor(logit, stop_gradient=False)
            manager.LOSSES[item["type"]](**options)(tried, paddle.to_tensor(label)).backward()
    except Exception as error:
        told = short(error)
        return told if KNOWN.search(told) else None
    return None
