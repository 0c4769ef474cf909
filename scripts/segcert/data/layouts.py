"""Data sets of every layout, read into one form: pairs of image and label by split.

By lists: `train.txt`, `val.txt`, `test.txt` with `Images/a.jpg Annotations/a.png` a line (test.txt may leave the label
out). By folders: images and labels whose names fit two patterns and agree. By names: lists of what stands for the star
of such patterns. `segcert/layouts.py` says which, and with what names. PaddleSeg reads the same lists and folders once
more in its own data sets: what it would read otherwise than is written here is refused, and no list is read by two
rules.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from segcert.data.archives import checked_name
from segcert.errors import StageError
from segcert.layouts import Folders, Lists, Names, by_name

SPLITS = ("train", "val", "test")
LABELLED = ("train", "val")  # the splits whose images need labels
Pair = tuple[str, str | None]
Pairs = list[Pair]
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")  # names that nobody gives to anything else
DEEPEST = 3  # folders that an archive may wrap around the data
SEPARATORS = {"\t": "a tab", ",": "a comma", ";": "a semicolon", "|": "a bar", "\xa0": "a no-break space (U+00A0)",
              "\u3000": "an ideographic space (U+3000)"}  # fmt: skip


def find_root(folder: Path, layout: str) -> Path:
    """The folder that has the layout: `folder` itself, or the one inside it that has.

    What lies beside that one, such as a README, is no part of the data.

    Raises:
        StageError: none has the layout, or more than one, or its name is in no encoding.
    """
    marker = by_name(layout).marker
    level = [folder]
    for _ in range(DEEPEST + 1):
        found = [root for root in level if (root / marker).exists()]
        if len(found) > 1:
            names = ", ".join(shown(root.relative_to(folder).as_posix()) for root in found)
            raise StageError(f"{folder.name}: more than one folder has {marker}: {names}; pack the one that is meant")
        if found:
            if fault := no_name(found[0].relative_to(folder).as_posix()):
                raise StageError(f"{folder.name}: {fault}")
            return found[0]
        level = [path for root in level for path in sorted(root.iterdir()) if path.is_dir() and not _is_junk(path)]
    inside = ", ".join(sorted(shown(path.name) for path in folder.iterdir() if not _is_junk(path)))
    raise StageError(f"{folder.name}: has no {marker}, which the layout {layout} needs; found {inside[:200]}")


def _is_junk(path: Path) -> bool:
    """The folder that a Mac puts beside the data, and what is hidden, which PaddleSeg's patterns do not find either."""
    return path.name == "__MACOSX" or path.name.startswith(".")


def splits(root: Path, layout: str, name: str | None = None) -> dict[str, Pairs]:
    """Pairs (image, label or None) by split, as paths relative to the root.

    Args:
        name: what to call the data set in messages, if not as its folder is called.

    Raises:
        StageError: with all that is wrong: a line that PaddleSeg would not read so, a listed file that is missing,
            a label without an image; or there is nothing to train on or to evaluate with, or two images of the
            inference list have one name.
    """
    name = name or root.name
    found: dict[str, Pairs] = {}
    faults: list[str] = []
    for split in SPLITS:
        pairs, wrong = _pairs(root, split, by_name(layout).pairs)
        found[split] = list(pairs.values())
        faults += wrong
        for index, pair in pairs.items():
            faults += (f"{place(layout, split, index)}: {fault}" for fault in _absent(root, pair))
    if faults:
        raise StageError.of(name, faults)
    for split in LABELLED:
        if not found[split]:
            raise StageError(
                f"{name}: the split {split} is empty; an evaluation needs train and val images with labels"
            )
    inference_list({"splits": found})
    return found


def _pairs(root: Path, split: str, form: Lists | Folders | Names) -> tuple[dict[int, Pair], list[str]]:
    """The pairs of a split by their place, and in words what is wrong."""
    if isinstance(form, Lists):
        return _listed(root, split, form)
    return _paired(root, split, form) if isinstance(form, Folders) else _named(root, split, form)


def remarks(root: Path, layout: str, found: Mapping[str, Pairs]) -> Iterator[str]:
    """In words, what of a data set that reads well may not be as it was meant."""
    form = by_name(layout).pairs
    if not found["test"] and isinstance(form, Lists) and (root / form.name.format(split="test")).is_file():
        yield f"{form.name.format(split='test')} lists no image, so inference runs on the images of val"
    elif not found["test"] and isinstance(form, Lists) and (others := like_test_lists(root)):
        name = form.name.format(split="test")
        yield f"{others[0].name} is not read: the list of test is called {name}, so inference runs on the images of val"
    unlabelled = [image for image, label in found["test"] if label is None]
    if unlabelled and len(unlabelled) < len(found["test"]):
        yield f"{len(unlabelled)} of the {len(found['test'])} images of test have no label, such as {unlabelled[0]}"
    if isinstance(form, Folders):
        yield from _passed_over(root, form, found)


def like_test_lists(root: Path) -> list[Path]:
    """Files beside the lists whose names say that they are the list of test."""
    files = sorted(path for path in root.iterdir() if path.suffix.casefold() in (".txt", ".lst", ".list", ".csv"))
    return [path for path in files if re.search(r"(?<![a-z])test", path.stem.casefold()) and path.is_file()]


def _passed_over(root: Path, form: Folders, found: Mapping[str, Pairs]) -> Iterator[str]:
    """In words, which pictures lie in the folder of a split without being read: their names or folders do not fit."""
    top = root / form.images.partition("/")[0]
    read = {image for pairs in found.values() for image, _ in pairs}
    for split in SPLITS:
        called = form.called.get(split, split)
        folders = [path for path in sorted(top.iterdir()) if path.is_dir() and path.name.casefold() == called]
        files = [path.relative_to(root) for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        left = [
            path.as_posix()
            for path in files
            if path.suffix.casefold() in PICTURES and path.as_posix() not in read and not path.name.startswith("._")
        ]
        if left:
            expected, _ = form.of(split)
            yield f"{len(left)} pictures of {split} are not read, such as {left[0]}: the layout reads {expected}"


def place(layout: str, split: str, index: int) -> str:
    """Where a pair of a split stands, for a message."""
    form = by_name(layout).pairs
    if isinstance(form, Names):  # of one list or of several
        return f"image {index + 1} of {split}"
    return f"{form.name.format(split=split)} line {index + 1}" if isinstance(form, Lists) else split


def _absent(root: Path, pair: Pair) -> Iterator[str]:
    """In words, what is wrong with the paths of a pair."""
    for path in filter(None, pair):
        try:
            if "\0" in path:
                yield f"{path!r} holds a NUL, which no name of a file does"
            elif not is_inside(path):
                yield f"{path!r} leads out of the data set; names are relative to its folder, without .."
            elif (root / path).is_dir():
                yield f"{path} is a folder, not a file"
            elif path.endswith(("/", "/.")):  # which pathlib takes away, and nobody else
                yield f"{path} is named as a folder is; take what stands behind the file's name away"
            elif not (root / path).is_file():
                yield f"{path} is listed but not there{meant(root, path)}"
        except OSError as error:  # a name too long
            yield f"{path[:80]} ...: {error.strerror}"
    if pair[0] == pair[1]:
        yield f"{pair[0]} is listed as its own label"


def shown(path: str) -> str:
    """A path for a message, which must be UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()


def no_name(path: str) -> str | None:
    """In words, why no stage can read a file of that name: a path that is not UTF-8 ends the process in OpenCV."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return f"{path!a} is no name in UTF-8; rename it"
    return None


def is_inside(path: str) -> bool:
    """Whether a name stays in the folder that it is relative to."""
    try:
        checked_name(path, "")
    except StageError:
        return False
    return True


def meant(root: Path, path: str) -> str:
    """What may have been meant by a name that is not there, to go behind the message; empty where nothing shows."""
    for character, called in SEPARATORS.items():
        if character in path:
            return f" ({called} stands in it: one blank separates image and label)"
    if "\\" in path:
        return " (folders are separated by /)"
    if (root / path.replace("/", "\\")).is_file():
        return f" ({path.replace('/', chr(92))} is: the archive separates folders by \\; pack them anew)"
    folder = root / PurePosixPath(path).parent
    there = [other.name for other in folder.iterdir()] if folder.is_dir() else []
    own = PurePosixPath(path).name
    for other in sorted(there):
        if unicodedata.normalize("NFC", other) == unicodedata.normalize("NFC", own):
            return f" ({own!a} is listed, {other!a} is there: another spelling of the same letters in Unicode)"
        if other.casefold() == own.casefold():
            return f" ({other} is: upper and lower case differ)"
    hidden = [character for character in path if unicodedata.category(character) in ("Cf", "Cc", "Zs", "Zl", "Zp")]
    return f" (it holds U+{ord(hidden[0]):04X}, which does not show: {path!a})" if hidden else ""


def first_class(manifest: Mapping[str, Any]) -> int:
    """The number in a label of the data set that is class 0."""
    return by_name(manifest["layout"]).first_class


def inference_list(manifest: Mapping[str, Any]) -> Pairs:
    """What inference runs on: the test split, or the validation split where there is none.

    Raises:
        StageError: two images have one name, by which label maps are kept, or an image has two labels.
    """
    pairs: Pairs = [(image, label) for image, label in manifest["splits"]["test"] or manifest["splits"]["val"]]
    images: dict[str, str] = {}
    labels: dict[str, str | None] = {}
    for image, label in pairs:
        other = images.setdefault(label_map(image), image)
        if other != image:
            raise StageError(
                f"{other} and {image} would share the label map {label_map(image)}; rename one of them and its line "
                "in the list, so that every image that inference runs on has a name of its own"
            )
        if labels.setdefault(image, label) != label:
            raise StageError(f"{image} is listed with two labels, {labels[image]} and {label}; which one is right?")
    return pairs


def label_map(image: str) -> str:
    """The file name of the label map that is made of an image."""
    return f"{Path(image).stem}.png"


def manifest(folder: Path | str) -> dict[str, Any]:
    """What the unpacked data set says of itself.

    Raises:
        StageError: it has no manifest, or that of an earlier version, which counted no labels.
    """
    path = Path(folder) / "manifest.json"
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        counted = content["counts"].keys() >= set(SPLITS)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StageError(f"{path}: is not the manifest of a data set: {error!r}; unpack it again") from None
    if not counted:
        raise StageError(f"{path}: does not say what its labels hold; unpack it again")
    return content


# -- lists ------------------------------------------------------------------------------------


def _listed(root: Path, split: str, form: Lists) -> tuple[dict[int, Pair], list[str]]:
    listing = root / form.name.format(split=split)
    if not listing.is_file():
        return {}, [] if split == "test" else [f"{listing.name} is missing"]
    return read_list(listing.read_bytes(), listing.name, form.separator, labelled=split in LABELLED)


def read_list(content: bytes, name: str, separator: str | None, *, labelled: bool) -> tuple[dict[int, Pair], list[str]]:
    """The pairs of a list by their line, counted from 0, and in words what PaddleSeg would not read, or read otherwise.

    Its data sets strip each line and split it at every separator: two parts are image and label. A line of
    any other number is an error to them, or, where labels are not needed, an image without one.

    Args:
        separator: as of `Lists`.
        labelled: whether every image needs a label.
    """
    lines, faults = _lines(content, name)
    pairs: dict[int, Pair] = {}
    for index, line in enumerate(lines):
        words = line.strip().split(separator)
        if len(words) == 2 and all(words):
            pairs[index] = (words[0], words[1])
        elif len(words) == 1 and words[0] and not labelled:
            pairs[index] = (words[0], None)
        else:
            faults.append(f"{name} line {index + 1}{_unread(line.strip(), words, separator)}")
    return pairs, faults


def _lines(content: bytes, name: str) -> tuple[list[str], list[str]]:
    """The lines of a list, and in words why it is none, or has a mark that is no part of it."""
    try:
        lines = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8").readlines()
    except UnicodeDecodeError:
        wide = " (UTF-16 it may be)" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ""
        return [], [f"{name} is not a list of files in UTF-8{wide}"]
    if not lines or not lines[0].startswith("\ufeff"):
        return lines, []
    lines[0] = lines[0].removeprefix("\ufeff")
    return lines, [
        f"{name} line 1 begins with a byte order mark (U+FEFF), which does not show and which PaddleSeg takes for "
        "a part of the first name; save the list as UTF-8 without one"
    ]


def _unread(line: str, words: list[str], separator: str | None) -> str:
    """In words, why a line is no pair, to go behind its number."""
    if not line:
        return " is empty, and PaddleSeg reads no list with an empty line; delete it"
    by = "blanks" if separator is None else {" ": "one blank", **SEPARATORS}[separator]
    for character, called in SEPARATORS.items():
        if character in line and character != separator:
            return f": {line!r} holds {called}; image and label are separated by {by}"
    if len(words) == 1:
        return f": {line} has no label"
    if "" in words:
        has = "two blanks in a row" if separator == " " else "nothing on one side of a separator"
        return f": {line!r} has {has}; image and label are separated by {by}"
    return f": {line!r} has {len(words)} parts; image and label are separated by {by}, and names have none"


# -- folders ----------------------------------------------------------------------------------


def _paired(root: Path, split: str, form: Folders) -> tuple[dict[int, Pair], list[str]]:
    pairs: Pairs = []
    faults: list[str] = []
    patterns = form.of(split)
    images, labels = (_found(root, pattern) for pattern in patterns)
    for key, image in images.items():
        label = labels.pop(key, None)
        if label is None and split in LABELLED:
            expected = _filled(patterns[1], key)
            faults.append(f"{split}: {PurePosixPath(image).name} has no label {expected}")
        pairs.append((image, label))
    if split in LABELLED:
        # Where PaddleSeg pairs by sorted order, from there on each image would have the label of another.
        faults += (f"{split}: {label} has no image {_filled(patterns[0], key)}" for key, label in labels.items())
    return dict(enumerate(pairs)), faults


def _found(root: Path, pattern: str) -> dict[tuple[str, ...], str]:
    """What the stars of a pattern stand for -> file, from the root, in order."""
    form = re.compile("([^/]*)".join(map(re.escape, pattern.split("*"))))
    fixed = pattern.partition("*")[0].count("/")  # folders whose names the pattern says
    found: dict[tuple[str, ...], str] = {}
    for path in sorted(root.glob(pattern)):
        relative = path.relative_to(root)
        name = relative.as_posix()
        if (fits := form.fullmatch(name)) and not any(part.startswith(".") for part in relative.parts[fixed:]):
            found[fits.groups()] = name
    return found


def _filled(pattern: str, key: tuple[str, ...]) -> str:
    """A pattern with something in the place of each of its stars."""
    first, *others = pattern.split("*")
    return first + "".join(part + other for part, other in zip(key, others, strict=True))


# -- names ------------------------------------------------------------------------------------


def _named(root: Path, split: str, form: Names) -> tuple[dict[int, Pair], list[str]]:
    pairs: Pairs = []
    faults: list[str] = []
    for name, labels in form.lists[split]:
        if (root / name).is_file():
            stems, wrong = _stems((root / name).read_bytes(), name)
            faults += wrong
            pairs += ((_put(form.images, stem), _put(labels, stem) if split in LABELLED else None) for stem in stems)
        elif split in LABELLED:
            faults.append(f"{name} is missing")
    return dict(enumerate(pairs)), faults


def named(root: Path, form: Names) -> list[str]:
    """The lists of a data set, and all that they name.

    Raises:
        StageError: one is missing, or PaddleSeg would not read it so.
    """
    found = dict.fromkeys(
        name for split in SPLITS for name, _ in form.lists[split] if split in LABELLED or (root / name).is_file()
    )
    for split in SPLITS:
        pairs, faults = _named(root, split, form)
        if faults:
            raise StageError.of(str(root), faults)
        found |= dict.fromkeys(name for pair in pairs.values() for name in pair if name)
    return list(found)


def _put(pattern: str, stem: str) -> str:
    return pattern.replace("*", stem)


def _stems(content: bytes, name: str) -> tuple[list[str], list[str]]:
    """The names that a list holds, and in words what of it is none; PaddleSeg takes each line for one."""
    lines, faults = _lines(content, name)
    stems = []
    for index, line in enumerate(map(str.strip, lines)):
        if len(line.split()) == 1:
            stems.append(line)
        elif line:
            faults.append(f"{name} line {index + 1}: {line!r} is no name; a line is one, without folder and ending")
        else:
            faults.append(f"{name} line {index + 1} is empty, and PaddleSeg takes that for a name; delete it")
    return stems, faults
