"""From an image file to a model's input, as deploy.yaml says, without importing PaddleSeg.

Resize and Normalize, which every model of the certificate uses, are done here with the same
arithmetic as PaddleSeg's (pixel-identical; a test holds the two side by side). Any other transform
is left to PaddleSeg's own classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from segcert.data.images import read_image
from segcert.errors import StageError

Image = NDArray[np.float32]
# What changed an image's size, in order: resize | padding, and (height, width) before it; PaddleSeg's `trans_info`.
Done = Sequence[tuple[str, tuple[int, int]]]
INTERPOLATIONS = {
    "NEAREST": cv2.INTER_NEAREST,
    "LINEAR": cv2.INTER_LINEAR,
    "CUBIC": cv2.INTER_CUBIC,
    "AREA": cv2.INTER_AREA,
    "LANCZOS4": cv2.INTER_LANCZOS4,
}


def deploy_config(folder: Path | str) -> dict[str, Any]:
    """The `Deploy` section of an exported model's deploy.yaml."""
    path = Path(folder) / "deploy.yaml"
    try:
        deploy: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["Deploy"]
        return deploy
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise StageError(f"{path}: is not a deploy.yaml: {error!r}; export the model again") from error


def input_size(deploy: Mapping[str, Any]) -> tuple[int, int] | None:
    """(width, height) that an exported model takes, by the `Deploy` section; None where it takes any."""
    shape = deploy.get("input_shape") or (-1, -1)
    height, width = shape[-2:]
    return (width, height) if width > 0 and height > 0 else None


class Preprocess:
    """Callable: image file -> float32 array, 3 x H x W, RGB.

    Args:
        transforms: of the exported model, as deploy.yaml has them.
        size: (width, height) that every image must come to; None: any.

    Attributes:
        done: what changed the sizes of the images of the last batch.
    """

    def __init__(self, transforms: list[dict[str, Any]], size: tuple[int, int] | None = None) -> None:
        self._own = [own for item in transforms if (own := _own_transform(item)) is not None]
        self._paddleseg = None if len(self._own) == len(transforms) else _paddleseg_transforms(transforms)
        self._scratch = np.empty(0, np.float32)
        self._size = size
        self.done: list[Done] = []

    def __call__(self, path: Path | str) -> Image:
        return self.prepared(path)[0]

    def prepared(self, path: Path | str) -> tuple[Image, Done]:
        """The image, and what changed its size; StageError where it comes to another than it must."""
        try:
            image, done = self._paddleseg(str(path)) if self._paddleseg is not None else self._by_own(path)
        except ValueError as error:
            raise StageError(f"{path}: its transforms cannot be done: {error}") from error
        if self._size is not None:
            require_size(str(path), (image.shape[2], image.shape[1]), self._size)
        return image, done

    def _by_own(self, path: Path | str) -> tuple[Image, Done]:
        image = self._widened(read_image(path))
        done: list[tuple[str, tuple[int, int]]] = []
        planar = False
        for transform in self._own:
            if transform.planar and not planar:
                image, planar = _planes(image), True
            elif planar and not transform.planar:
                image, planar = np.ascontiguousarray(image.transpose(1, 2, 0)), False
            if isinstance(transform, _Resize):
                done.append(("resize", (image.shape[0], image.shape[1])))
            image = transform(image)
        return image if planar else _planes(image), done

    def _widened(self, image: NDArray[np.uint8]) -> Image:
        """The image as float32, in memory that is used again: fresh pages cost more than the conversion.

        It is overwritten by the next image, so what is handed out must not be a view of it.
        """
        if self._scratch.size < image.size:
            self._scratch = np.empty(image.size, np.float32)
        wide = self._scratch[: image.size].reshape(image.shape)
        np.copyto(wide, image)
        return wide

    def batch(self, paths: Iterable[Path | str]) -> Image:
        """N x 3 x H x W."""
        prepared = [self.prepared(path) for path in paths]
        self.done = [done for _, done in prepared]
        return np.stack([image for image, _ in prepared])


def undone(label: NDArray[np.uint8], done: Done) -> NDArray[np.uint8]:
    """A label map of a prepared image, brought to the image's own size, as PaddleSeg does: by nearest neighbour."""
    for what, (height, width) in reversed(done):
        if what == "padding":
            label = label[:height, :width]
        else:
            label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
    return label


def require_size(image: str, fed: tuple[int, int], taken: tuple[int, int]) -> None:
    """Raise StageError where an image is fed in another size, (width, height), than the exported model takes."""
    if fed != taken:
        raise StageError(
            f"{image}: is fed as {fed[0]}x{fed[1]}, the exported model takes {taken[0]}x{taken[1]}: export.transforms "
            "of the model's configuration must bring all images to that size"
        )


def _planes(image: Image) -> Image:
    """3 x H x W from H x W x 3."""
    planes = np.empty((3, *image.shape[:2]), image.dtype)
    cv2.split(image, list(planes))
    return planes


class _Resize:
    """H x W x 3 to the size [width, height]; on float32, because on uint8 OpenCV would round."""

    planar = False

    def __init__(self, target_size: list[int], interp: str = "LINEAR") -> None:
        self.size, self.interpolation = tuple(target_size), INTERPOLATIONS[interp]

    def __call__(self, image: Image) -> Image:
        resized: Image = cv2.resize(image, self.size, interpolation=self.interpolation)
        return resized


class _Normalize:
    """(image / 255 - mean) / std of 3 x H x W, in place.

    PaddleSeg's NumPy takes float32 from float64 in float64 and rounds after each step. Where mean and std
    are exact in float32, float32 arithmetic gives the same bits (Figueroa, "When is double rounding
    innocuous?", 1995) in a third of the time; otherwise it is done as there.
    """

    planar = True

    def __init__(self, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,)) -> None:
        self.mean, self.std = (_narrow(np.array(values, np.float64).reshape(-1, 1, 1)) for values in (mean, std))

    def __call__(self, image: Image) -> Image:
        image /= np.float32(255.0)
        image -= self.mean
        image /= self.std
        return image


def _narrow(values: NDArray[np.float64]) -> NDArray[np.float32] | NDArray[np.float64]:
    """The same numbers as float32 where that holds them exactly."""
    narrow = values.astype(np.float32)
    return narrow if np.array_equal(narrow, values) else values


_OWN: dict[str, Callable[..., _Resize | _Normalize]] = {"Resize": _Resize, "Normalize": _Normalize}


def _own_transform(item: dict[str, Any]) -> _Resize | _Normalize | None:
    settings = {key: value for key, value in item.items() if key != "type"}
    try:
        return _OWN[item["type"]](**settings)
    except (KeyError, TypeError):  # another transform, or an option that is not done here
        return None


def _paddleseg_transforms(transforms: list[dict[str, Any]]) -> Callable[[str], tuple[Image, Done]]:
    import paddleseg.transforms  # noqa: F401
    from paddleseg.cvlibs import manager
    from paddleseg.transforms import Compose

    built = [manager.TRANSFORMS[item["type"]](**{k: v for k, v in item.items() if k != "type"}) for item in transforms]
    compose = Compose(built)

    def prepared(path: str) -> tuple[Image, Done]:
        data = compose({"img": path})
        return data["img"], data["trans_info"]

    return prepared
