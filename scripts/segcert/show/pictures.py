"""Predictions as small pictures for the page: the photo once, and label maps that lie over it."""

from __future__ import annotations

import base64
import colorsys
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from segcert import stages
from segcert.concluded import Concluded
from segcert.data import layouts
from segcert.data.images import read_image, read_label
from segcert.errors import StageError

WIDTH = 240  # pixels, at most
HEIGHT = 240
MOST_ENGINES = 10  # per checkpoint
MOST_BYTES = 3_000_000  # of all pictures together
IGNORED = 255


@dataclass
class Tile:
    """One label map over the photo.

    Attributes:
        what: photo | truth | checkpoint | engine.
        cell: the inference cell that predicted it.
        labels, differences: PNG as a data URL; None where there is nothing to lay over the photo.
    """

    what: str
    cell: Concluded | None = None
    labels: str | None = None
    differences: str | None = None


@dataclass
class Strip:
    """What was predicted on one image by every engine that ran a checkpoint."""

    model: str
    train_cell: str
    image: str
    photo: str
    width: int
    height: int
    tiles: list[Tile] = field(default_factory=list)
    left_out: int = 0

    @property
    def size(self) -> int:
        parts = [self.photo, *(part for tile in self.tiles for part in (tile.labels, tile.differences) if part)]
        return sum(map(len, parts))


def strip(cells: list[Concluded]) -> Strip | None:
    """The pictures of one checkpoint: on the image on which an engine agrees least with the checkpoint.

    All in the size of its export: label maps of another size have nothing beside them that they could be held to.

    Args:
        cells: the inference cells of one model and train cell.
    Returns:
        None where nothing was predicted, or where the data set is no longer there.
    """
    ran = [cell for cell in cells if cell.status.exercised and cell.metrics.get("images")]
    ran = [cell for cell in ran if "size" not in cell.requested]
    folders = {id(cell): _predictions(cell) for cell in ran}
    ran = [cell for cell in ran if any(folders[id(cell)].glob("*.png"))]
    if not ran:
        return None
    worst = min(ran, key=lambda cell: _least_agreement(cell)[0])
    name = _least_agreement(worst)[1] or min(path.name for path in folders[id(worst)].glob("*.png"))
    found = _image_and_truth(worst, Path(name).stem)
    if found is None:
        return None
    image, truth = found
    size = _open_labels(folders[id(worst)] / name).size
    # A cell each of engine, device and precision: threads and batch sizes change no label map to speak of.
    distinct: dict[str, Concluded] = {}
    for cell in ran:
        distinct.setdefault(cell.label("engine"), cell)
    chosen = list(distinct.values())[:MOST_ENGINES]
    reference = _labels_or_none(Path(stages.INFER.folder(worst["record"], worst["cell"]), stages.REFERENCE, name))
    predicted = [(cell, _labels_or_none(folders[id(cell)] / name)) for cell in chosen]
    fitted = _fit(*size)
    maps = [labels for labels in (truth, reference, *(labels for _, labels in predicted)) if labels is not None]
    two_classes = max(map(_highest, maps)) <= 1
    result = Strip(
        model=worst["model"],
        train_cell=worst["train_cell"],
        image=image.name,
        photo=_photo(image, fitted),
        width=fitted[0],
        height=fitted[1],
        left_out=len(distinct) - len(chosen),
    )
    result.tiles.append(Tile("photo"))
    for what, labels in (("truth", truth), ("checkpoint", reference)):
        if labels is not None:
            result.tiles.append(Tile(what, labels=_labels_url(labels, fitted, two_classes)))
    for cell, labels in predicted:
        if labels is not None:
            shown = _labels_url(labels, fitted, two_classes)
            result.tiles.append(Tile("engine", cell, shown, _differences_url(labels, reference)))
    return result


def _predictions(cell: Concluded) -> Path:
    """The folder of a cell's label maps; those of a cell whose gates do not hold stand aside."""
    return Path((cell.get("set_aside") or {}).get("predictions") or Path(cell["record"]).with_suffix(""))


def _least_agreement(cell: Concluded) -> tuple[float, str | None]:
    """The least agreement of one image that the cell's record names, and that image."""
    images = cell.metrics.get("worst_images") or [{"agreement": 1.0, "image": None}]
    return images[0]["agreement"], images[0]["image"]


def _image_and_truth(cell: Mapping[str, Any], stem: str) -> tuple[Path, Any | None] | None:
    """The photo and the true label map of an image, in the data set that the cell's record names."""
    manifest_path = next((Path(path) for path in cell.get("inputs", {}) if path.endswith("/manifest.json")), None)
    if manifest_path is None or not manifest_path.is_file():
        return None
    folder = manifest_path.parent
    manifest = json.loads(manifest_path.read_text(encoding="utf-8"))
    pairs, first = layouts.inference_list(manifest), layouts.first_class(manifest)
    for image, label in pairs:
        if Path(str(image)).stem == stem and (folder / str(image)).is_file():
            return folder / str(image), _labels_or_none(folder / label, first) if label else None
    return None


def _fit(width: int, height: int) -> tuple[int, int]:
    """The size at which a label map is shown: its own, or smaller."""
    scale = min(1.0, WIDTH / width, HEIGHT / height)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _photo(path: Path, size: tuple[int, int]) -> str:
    from PIL import Image

    picture = Image.fromarray(read_image(path)).resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return _url("jpeg", stream)


def _open_labels(path: Path, first: int = 0) -> Any:
    """A label map as Pillow's image of 8 bits; numbers that do not fit are no classes and shown as ignored.

    Args:
        first: the number in it that is class 0.
    """
    from PIL import Image

    label = read_label(path, first)
    return Image.fromarray(np.where((label < 0) | (label > IGNORED), IGNORED, label).astype(np.uint8))


def _labels_or_none(path: Path, first: int = 0) -> Any | None:
    try:
        return _open_labels(path, first) if path.is_file() else None
    except StageError:  # data of an earlier version's run, which read labels otherwise
        return None


def _highest(labels: Any) -> int:
    """The highest class of a label map."""
    return max((number for _, number in labels.getcolors() if number != IGNORED), default=0)


def _labels_url(labels: Any, size: tuple[int, int], two_classes: bool) -> str:
    """A label map as a PNG with a colour per class; background of two classes, and what is ignored, see-through."""
    from PIL import Image

    picture = Image.frombytes("L", labels.size, labels.tobytes()).resize(size, Image.Resampling.NEAREST)
    picture.putpalette([part for number in range(256) for part in colour(number)])
    clear = {0, IGNORED} if two_classes else {IGNORED}
    stream = io.BytesIO()
    picture.save(stream, "PNG", transparency=bytes(0 if n in clear else 255 for n in range(256)), optimize=True)
    return _url("png", stream)


def _differences_url(predicted: Any, reference: Any | None) -> str | None:
    """Where two label maps differ, as a PNG that is see-through elsewhere; None where they do not."""
    from PIL import Image, ImageChops

    if reference is None or reference.size != predicted.size:
        return None
    one, other = (Image.frombytes("L", item.size, item.tobytes()) for item in (predicted, reference))
    differing = ImageChops.difference(one, other).point(lambda value: 255 if value else 0)
    if not differing.getbbox():
        return None
    # Made smaller so that a single differing pixel stays visible.
    factor = max(1, -(-differing.width // _fit(*differing.size)[0]))
    small = differing.reduce(factor).point(lambda value: 1 if value else 0).resize(_fit(*differing.size))
    small.putpalette([0, 0, 0, 255, 0, 170] + [0] * 762)
    stream = io.BytesIO()
    small.save(stream, "PNG", transparency=bytes([0, 255]), optimize=True, bits=1)
    return _url("png", stream)


def colour(number: int) -> tuple[int, int, int]:
    """A colour per class: hues a golden angle apart, and none near that of the differences."""
    hue = 0.78 * ((0.75 + 0.61803399 * number) % 1)
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85, 0.95 if number % 2 else 0.75)
    return round(red * 255), round(green * 255), round(blue * 255)


def _url(kind: str, stream: io.BytesIO) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
