"""The logits of a checkpoint in fp32, which inference is held to: a file an image, beside its label maps.

Label maps say nothing where one class wins everywhere, and nothing of how near a tie was. Logits do, and are large: so
there are those of the first images of the inference list alone, the same ones for every cell of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert.errors import StageError
from segcert.numbers import finite

Logits = NDArray[np.float32]  # C x H x W, of one image

MIB = 2**20
SUMMARY = "logits"  # in the summary of the reference: what `Store.told` returns
ROUNDING = "rounding"  # within: what `rounding` returns
DRAWS = 2  # of weights that are off; what they come to differs by up to three times between draws


class Store:
    """Logits being written, image by image in the order of the inference list.

    Args:
        folder: where the checkpoint's label maps are.
        images: of so many images at most; 0: of none.
        megabytes: in so many MiB at most; the first image counts whatever its size.
    """

    def __init__(self, folder: Path, images: int, megabytes: float) -> None:
        self._folder, self._images, self._megabytes = folder, images, megabytes
        self._written: list[str] = []
        self.fed: dict[str, NDArray[np.float32]] = {}  # by label map, of those that are kept: the image as it was fed
        self._bytes = 0
        self._full = images == 0
        self._bound = False

    def offer(self, label_map: str, logits: Any, fed: NDArray[np.float32]) -> None:
        """Keep those of an image, a Paddle tensor, by the name of its label map; and the image, 1 x 3 x H x W.

        After the first that has no room none is kept; one of an image that is listed again is kept once.
        """
        if self._full or label_map in self._written:
            return
        own: Logits = np.ascontiguousarray(logits.numpy(), np.float32)
        if self._written and self._bytes + own.nbytes > self._megabytes * MIB:
            self._full = self._bound = True
            return
        np.save(file_of(self._folder, label_map), own)
        self._written.append(label_map)
        self.fed[label_map] = fed
        self._bytes += own.nbytes
        self._full = len(self._written) == self._images

    def told(self) -> dict[str, Any]:
        """images: whose there are, by their label maps; megabytes: what they take; bound: whether that ended it."""
        return {"images": self._written, "megabytes": finite(self._bytes / MIB), "bound": self._bound}


def rounding(model: Any, store: Store, folder: Path) -> dict[str, float | None]:
    """By how much rounding alone moves the logits that are kept, in the worst image: `l2` and `peak` as in `parity`.

    Each weight is off by one unit in its last place, up or down by chance, which is what fp32 leaves open. Engines
    round after each operation, and come to 0.4 to 5 times of this on PaddleSeg's zoo, whatever it is: 3e-7 to 1e-2.
    """
    import paddle

    weights = [(parameter, parameter.numpy()) for parameter in model.parameters()]
    found = {"l2": 0.0, "peak": 0.0}
    try:
        for draw in range(DRAWS):
            random = np.random.default_rng(draw)
            for parameter, value in weights:
                way = np.where(random.random(value.shape) < 0.5, np.inf, -np.inf).astype(value.dtype)
                parameter.set_value(np.nextafter(value, way))
            for label_map, fed in store.fed.items():
                with paddle.no_grad():
                    moved = model(paddle.to_tensor(fed))[0].numpy()[0].astype(np.float64)
                right = read(folder, label_map).astype(np.float64)
                size, span = np.linalg.norm(right), right.max() - right.min()
                with np.errstate(all="ignore"):  # of logits that are all the same it is no number
                    off = {"l2": np.linalg.norm(moved - right) / size, "peak": np.abs(moved - right).max() / span}
                found = {name: max(found[name], float(off[name])) for name in found}
    finally:
        for parameter, value in weights:
            parameter.set_value(value)
    return {name: finite(value) for name, value in found.items()}


def stored(folder: Path, summary: Mapping[str, Any]) -> list[str]:
    """Whose logits there are, by their label maps, from the summary of a reference.

    Raises:
        StageError: there are none.
    """
    names: list[str] = (summary.get(SUMMARY) or {}).get("images") or []
    if not names:
        raise StageError(
            f"{folder}: holds no logits of its checkpoint, so nothing can be held to them; evaluate it again"
        )
    return names


def read(folder: Path, label_map: str) -> Logits:
    """Those of one image.

    Raises:
        StageError: the file is no array of logits.
    """
    path = file_of(folder, label_map)
    try:
        # Not mapped: a file that is cut short meanwhile would end the process.
        found: Logits = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise StageError(f"{path}: cannot be read: {error}; evaluate the checkpoint again") from error
    if found.ndim != 3 or found.dtype != np.float32:
        raise StageError(f"{path}: holds {found.dtype} of {found.shape}, no logits; evaluate the checkpoint again")
    return found


def file_of(folder: Path, label_map: str) -> Path:
    """Where those of an image stand."""
    return folder / f"{Path(label_map).stem}.npy"
