"""From an image file to a model's input, as deploy.yaml says, without importing PaddleSeg.

Resize and Normalize, which every model of the certificate uses, are done here with the same
arithmetic as PaddleSeg's (pixel-identical; a test holds the two side by side). Any other transform
is left to PaddleSeg's own classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from segcert.errors import StageError

Transform = Callable[[np.ndarray], np.ndarray]
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
        return yaml.safe_load(path.read_text(encoding="utf-8"))["Deploy"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise StageError(f"{path}: is not a deploy.yaml: {error!r}; export the model again") from error


class Preprocess:
    """Callable: image file -> float32 array, 3 x H x W, RGB."""

    def __init__(self, transforms: list[dict[str, Any]]) -> None:
        self._own = [_own_transform(item) for item in transforms]
        self._paddleseg = None if all(self._own) else _paddleseg_transforms(transforms)

    def __call__(self, path: Path | str) -> np.ndarray:
        if self._paddleseg is not None:
            return self._paddleseg(str(path))
        image = read_image(path)
        # PaddleSeg turns the channels first; turned after the resize they are fewer and the same.
        image = image.astype(np.float32)
        turned = False
        for transform in self._own:
            if transform.needs_rgb and not turned:  # type: ignore[union-attr]
                image, turned = image[:, :, ::-1], True
            image = transform(image)  # type: ignore[misc]
        if not turned:
            image = image[:, :, ::-1]
        return np.ascontiguousarray(image.transpose(2, 0, 1), dtype=np.float32)

    def batch(self, paths: Iterable[Path | str]) -> np.ndarray:
        """N x 3 x H x W."""
        return np.stack([self(path) for path in paths])


def read_image(path: Path | str) -> np.ndarray:
    """H x W x 3, BGR, uint8; StageError where OpenCV cannot decode the file."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise StageError(f"{path}: is missing or is not an image that OpenCV decodes; check the data set")
    return image


class _Resize:
    needs_rgb = False

    def __init__(self, target_size: list[int], interp: str = "LINEAR") -> None:
        self.size, self.interpolation = tuple(target_size), INTERPOLATIONS[interp]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return cv2.resize(image, self.size, interpolation=self.interpolation)


class _Normalize:
    needs_rgb = True

    def __init__(self, mean: list[float] = (0.5,), std: list[float] = (0.5,)) -> None:  # type: ignore[assignment]
        self.mean, self.std = np.array(mean), np.array(std)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        image = image / np.float32(255.0)
        image -= self.mean
        image /= self.std
        return image


_OWN: dict[str, Callable[..., Any]] = {"Resize": _Resize, "Normalize": _Normalize}


def _own_transform(item: dict[str, Any]) -> Any | None:
    settings = {key: value for key, value in item.items() if key != "type"}
    try:
        return _OWN[item["type"]](**settings)
    except (KeyError, TypeError):  # another transform, or an option that is not done here
        return None


def _paddleseg_transforms(transforms: list[dict[str, Any]]) -> Callable[[str], np.ndarray]:
    import paddleseg.transforms  # noqa: F401
    from paddleseg.cvlibs import manager
    from paddleseg.transforms import Compose

    built = [manager.TRANSFORMS[item["type"]](**{k: v for k, v in item.items() if k != "type"}) for item in transforms]
    compose = Compose(built)
    return lambda path: compose({"img": path})["img"]
