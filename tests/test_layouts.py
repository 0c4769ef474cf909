"""The table of layouts: each can be generated, packed, unpacked and read; of an unknown one the error lists them."""

import subprocess
import sys

import pytest
from conftest import ROOT

from segcert import layouts
from segcert.data import archives, folders, synthetic
from segcert.data import layouts as reading
from segcert.errors import StageError

IMAGES = {"train": 3, "val": 2, "test": 1}


def lists_of(form):
    if isinstance(form, layouts.Names):
        return [name for split in form.lists.values() for name, _ in split]
    return [form.name.format(split=split) for split in IMAGES] if isinstance(form, layouts.Lists) else []


@pytest.mark.parametrize("layout", layouts.BY_NAME)
def test_every_layout_is_generated_packed_and_unpacked_again(tmp_path, layout):
    synthetic.write_tar(tmp_path / "made.tar", layout, IMAGES, seed=3, size=(64, 32))
    archives.unpack(tmp_path / "made.tar", tmp_path / "made")
    assert reading.find_root(tmp_path / "made", layout) == tmp_path / "made"
    found = reading.splits(tmp_path / "made", layout)
    assert {split: len(pairs) for split, pairs in found.items()} == IMAGES
    assert all(label for split in reading.LABELLED for _, label in found[split])
    # Only what the layout names is packed from a folder, and it is read as before.
    (tmp_path / "made/notes.md").write_text("not of the data")
    named = {name for pairs in found.values() for pair in pairs for name in pair if name}
    lists = set(lists_of(layouts.by_name(layout).pairs))
    assert folders.to_tar(tmp_path / "made", layout, {}, tmp_path / "packed.tar") == len(named | lists)
    archives.unpack(tmp_path / "packed.tar", tmp_path / "again")
    assert reading.splits(tmp_path / "again", layout) == found


@pytest.mark.parametrize("layout", layouts.ALL, ids=lambda layout: layout.name)
def test_the_fields_of_a_layout_fit_each_other(layout):
    assert layout.params_type in layout.types
    if isinstance(layout.pairs, layouts.Names):
        assert layout.pairs.lists.keys() == IMAGES.keys()
        labels = [pattern for split in layout.pairs.lists.values() for _, pattern in split]
        assert {pattern.count("*") for pattern in [layout.pairs.images, *labels]} == {1}
        return
    patterns = [layout.pairs.name] if isinstance(layout.pairs, layouts.Lists) else [
        layout.pairs.images, layout.pairs.labels,
    ]  # fmt: skip
    assert all(pattern.count("{split}") == 1 for pattern in patterns)
    assert len({pattern.count("*") for pattern in patterns}) == 1


def test_nothing_is_of_two_layouts():
    assert list(layouts.BY_NAME.values()) == list(layouts.ALL)
    read = [(kind, layout.train_mode) for layout in layouts.ALL for kind in layout.types]
    assert len(set(read)) == len(read) and layouts.BY_TYPE.keys() == {kind for kind, _ in read}
    for kind, mode in read:
        assert layouts.of_section({"type": kind, "mode": mode.title()}).train_mode == mode
        (classes,) = {layout.types[kind] for layout in layouts.BY_TYPE[kind]}
        assert classes is None or len(classes) == 2
    for kind, found in layouts.BY_TYPE.items():
        assert layouts.of_section({"type": kind}) is found[0] is layouts.of_section({"type": kind, "mode": "other"})
    assert layouts.of_section({"type": "Mine"}) is None is layouts.of_section({})
    assert len({(layout.marker, str(layout.pairs)) for layout in layouts.ALL}) == len(layouts.ALL)


def test_an_unknown_layout_is_an_error_that_lists_the_known(tmp_path):
    known = ", ".join(layouts.BY_NAME)
    for asked in (
        lambda: layouts.by_name("voc"),
        lambda: reading.find_root(tmp_path, "voc"),
        lambda: reading.splits(tmp_path, "voc"),
        lambda: folders.to_tar(tmp_path, "voc", {}, tmp_path / "d.tar"),
    ):
        with pytest.raises(StageError, match=f"layout voc: no such layout; known: {known}$"):
            asked()
    made = ", ".join(synthetic.MAKERS)
    with pytest.raises(StageError, match=f"layout voc: nothing generates it; generated can be: {made}$"):
        synthetic.write_tar(tmp_path / "d.tar", "voc", IMAGES, seed=3)
    assert not (tmp_path / "d.tar").exists()
    for script in ("make_tarball", "unpack_dataset"):
        command = [sys.executable, ROOT / f"scripts/{script}.py", "--layout", "voc"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2 and "invalid choice: 'voc'" in done.stderr and "'cityscapes'" in done.stderr


def test_what_a_pattern_leaves_open_is_the_same_in_an_image_and_in_its_label(tmp_path):
    """In every folder that it leaves open, and not in what is hidden."""
    form = layouts.Folders("i/{split}/*/a_*_b.png", "l/{split}/*/*.png")
    for name in ("i/train/x/a_1_b.png", "i/train/y/a_1_b.png", "i/train/x/1.png", "l/train/x/1.png", "l/train/z/1.png",
                 "i/train/.x/a_2_b.png", "l/train/x/.2.png", "i/val/x/a_3_b.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    pairs, faults = reading._paired(tmp_path, "train", form)
    assert list(pairs.values()) == [("i/train/x/a_1_b.png", "l/train/x/1.png"), ("i/train/y/a_1_b.png", None)]
    assert faults == [
        "train: a_1_b.png has no label l/train/y/1.png",
        "train: l/train/z/1.png has no image i/train/z/a_1_b.png",
    ]
    assert reading._paired(tmp_path, "test", form) == ({}, [])
