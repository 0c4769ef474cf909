"""Data sets of the types that PaddleSeg's zoo names: read as PaddleSeg's own classes read them, or refused."""

import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import checkouts
import cv2
import numpy as np
import pytest
import tipc_files
import yaml
from conftest import ROOT, copy_project, snakemake
from paddleseg.cvlibs import manager
from PIL import Image
from test_zoo import BASE, zoo_of

from segcert import layouts, modelkeys, sections, settings
from segcert.compute import components, feeding, own_scripts
from segcert.data import archives, classes, folders, images, inspection, synthetic
from segcert.data import layouts as reading
from segcert.errors import StageError
from segcert.files import write_json

# Of `Dataset` the configuration says what it reads: tests/corpus.
TYPES = [(layout, kind) for layout in layouts.ALL for kind in layout.types if kind != "Dataset"]
NAMES = [f"{layout.name}-{kind}" for layout, kind in TYPES]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes the folder of a generated data set, with its manifest; once for each layout."""
    base = tmp_path_factory.mktemp("made")

    def make(layout):
        folder = base / layout.name
        if not folder.exists():
            synthetic.write_tar(base / "d.tar", layout.name, {"train": 4, "val": 2, "test": 1}, seed=5, size=(96, 64))
            archives.unpack(base / "d.tar", folder)
            listed(folder, layout)
        return folder

    return make


@pytest.fixture
def copied(made, tmp_path):
    return lambda layout: shutil.copytree(made(layout), tmp_path / "d")


def listed(folder, layout):
    """The data set as it is now, with its manifest."""
    found = inspection.inspect(folder, layout.name, folder.name)
    write_json(folder / "manifest.json", found.manifest)
    return found


def sets(folder, layout, kind):
    """PaddleSeg's own data sets."""
    modes = {"train": layout.train_mode, "val": "val"}
    build = kind if isinstance(kind, type) else manager.DATASETS[kind]
    return {split: build(dataset_root=str(folder), transforms=[], mode=mode) for split, mode in modes.items()}


def truth(dataset, index):
    return np.squeeze(np.asarray(dataset[index]["label"]))


# -- what PaddleSeg reads ---------------------------------------------------------------------


@pytest.mark.parametrize(("layout", "kind"), TYPES, ids=NAMES)
def test_pairs_and_classes_are_those_that_paddlesegs_own_class_has(made, layout, kind):
    """As it reads them by itself, before the stages have a hand in it; and then as they have it read them."""
    folder = made(layout)
    manifest = json.loads((folder / "manifest.json").read_text())
    fed = sets(folder, layout, kind)
    number, ignored = classes_of(layout)
    for split, dataset in fed.items():
        pairs = [[str(folder / name) for name in pair] for pair in manifest["splits"][split]]
        assert sorted(pairs) == sorted(map(list, dataset.file_list))
        assert (dataset.num_classes, dataset.ignore_index) == (number, ignored)
        values = Counter()
        for index, (_, label) in enumerate(dataset.file_list):
            read = truth(dataset, index)
            assert np.array_equal(read, images.read_label(label, layout.first_class))
            values.update(map(str, read.ravel().tolist()))
        assert values == manifest["counts"][split]["values"]
        assert values.keys() - {str(ignored)} <= set(map(str, range(number)))
    assert feeding.hold(fed, str(folder), ()) == []
    for split, dataset in fed.items():
        for index, (image, label) in enumerate(dataset.file_list):
            given = truth(dataset, index)
            assert np.array_equal(given, images.read_label(label, layout.first_class))
            if split == "val":
                dataset.transforms.require(image, given)
                with pytest.raises(StageError, match=f"PaddleSeg's {kind} makes other classes of it"):
                    dataset.transforms.require(image, given + np.uint8(1))


def classes_of(layout):
    """Number of classes, and what is ignored."""
    return next(iter(layout.types.values())) or (2, 255)


# Generated streets have not the last classes. Of two classes 0 and 1 become 255 and 0, as masks of white are: a note.
SHIFTED = [(layout, 1) for layout in layouts.ALL if layout is not layouts.CITYSCAPES]
SHIFTED += [(layout, -1) for layout, _ in SHIFTED if classes_of(layout)[0] > 2]


@pytest.mark.parametrize(("layout", "shift"), SHIFTED, ids=[f"{layout.name}{shift:+}" for layout, shift in SHIFTED])
def test_labels_that_are_one_class_off_are_refused(copied, layout, shift):
    """Also those from which somebody has taken the first class already."""
    number, ignored = classes_of(layout)
    folder = copied(layout)
    for label in {label for pairs in pairs_of(folder).values() for _, label in pairs if label}:
        numbers = np.asarray(Image.open(folder / label))
        cv2.imwrite(str(folder / label), numbers + np.uint8(shift % 256))
    found = listed(folder, layout)
    meant = classes.Classes(number, ignored)
    wrong = layouts.number_of(number if shift == 1 else ignored - 1, layout.first_class)
    for values in (found.values, None):
        for split in ("train", "val"):
            (first, *_) = classes.faults(folder, found.manifest, split, meant, values)
            held = first.partition("holds the value ")[2].partition("; ")
            assert str(wrong) in held[0].split(", ")
            last = layout.first_class + number - 1
            nothing = layouts.number_of(ignored, layout.first_class)
            assert held[2] == f"allowed are {layout.first_class} to {last} and {nothing} (ignored)"


def pairs_of(folder):
    return json.loads((folder / "manifest.json").read_text())["splits"]


# -- what another PaddleSeg may read ----------------------------------------------------------


@pytest.mark.parametrize("taken", [0, 2])
def test_code_that_takes_another_class_for_the_first_is_refused(made, monkeypatch, taken):
    """In a checkout with an edit: PaddleSeg's ADE20K takes 1 from each number, this one does not, or takes 2."""
    from paddleseg.datasets import ade

    more = np.uint8((1 - taken) % 256)
    edited = SimpleNamespace(asarray=lambda image: np.asarray(image) + more, newaxis=np.newaxis)
    monkeypatch.setattr(ade, "np", edited)
    folder = made(layouts.ADE20K)
    fed = sets(folder, layouts.ADE20K, "ADE20K")
    assert feeding.hold(fed, str(folder), ()) == []
    told = (
        r"annotations/.*\.png: PaddleSeg's ADE20K makes other classes of it than the layout ade20k has, in which 1 is"
    )
    with pytest.raises(StageError, match=told):
        fed["train"][0]
    given = truth(fed["val"], 0)
    with pytest.raises(StageError, match=told):
        fed["val"].transforms.require(fed["val"].file_list[0][0], given)


def reading_otherwise(kind, name, change):
    """A class of PaddleSeg's, or of one's own, that hands on what it has made of a label."""
    base = manager.DATASETS[kind]

    def item(self, index):
        image, label = self.file_list[index]
        return self.transforms({"img": image, "label": change(label), "gt_fields": ["label"]})

    return type(name, (base,), {"__getitem__": item})


def one_more(label):
    return np.asarray(Image.open(label)) + np.uint8(1)


def test_what_is_handed_on_is_held_to_the_layout(made):
    """A path is read as PaddleSeg would read it, and nobody takes the first class from what it has."""
    unshifted = reading_otherwise("ADE20K", "ADE20K", str)
    of_ones_own = reading_otherwise("ADE20K", "Mine", str)
    for layout, kind, differing in (
        (layouts.ADE20K, unshifted, "1, not 0|0, not 255"),
        (layouts.ADE20K, of_ones_own, "1, not 0|0, not 255"),
        (layouts.CITYSCAPES, reading_otherwise("Cityscapes", "Cityscapes", one_more), "11, not 10"),
        (layouts.CITYSCAPES, reading_otherwise("Cityscapes", "Cityscapes", lambda _: np.zeros((4, 4))), "of shape"),
    ):
        folder = made(layout)
        fed = sets(folder, layout, kind)
        feeding.hold(fed, str(folder), ())
        for dataset in fed.values():
            with pytest.raises(StageError, match=differing):
                dataset[0]
    folder = made(layouts.CITYSCAPES)
    fed = sets(folder, layouts.CITYSCAPES, reading_otherwise("Cityscapes", "Mine", one_more))
    feeding.hold(fed, str(folder), ())
    fed["train"][0]  # what a class of one's own makes of labels is its own affair


# -- ADE20K -----------------------------------------------------------------------------------


def test_a_folder_is_gone_through_in_one_order_whatever_is_beside_it_is_refused(copied, monkeypatch):
    from paddleseg.datasets import ade

    folder = copied(layouts.ADE20K)
    names = ade.os.listdir
    monkeypatch.setattr(ade.os, "listdir", lambda path: sorted(names(path), reverse=True))
    fed = sets(folder, layouts.ADE20K, "ADE20K")
    assert [image for image, _ in fed["train"].file_list] != sorted(image for image, _ in fed["train"].file_list)
    assert feeding.hold(fed, str(folder), ()) == []
    assert [image for image, _ in fed["train"].file_list] == sorted(image for image, _ in fed["train"].file_list)
    (folder / "images/training/Thumbs.db").touch()
    with pytest.raises(StageError, match=r"holds 5 pairs of train, manifest\.json lists 4, .*Thumbs\.db.* other files"):
        feeding.hold(sets(folder, layouts.ADE20K, "ADE20K"), str(folder), ())


def test_labels_of_which_one_cannot_be_taken_in_8_bits_are_refused(tmp_path):
    label = np.array([[0, 1], [150, 1]], np.uint8)
    for name, picture in (
        ("deep", Image.fromarray(label.astype(np.uint16))),
        ("one bit", Image.fromarray(label > 1)),
    ):
        picture.save(tmp_path / f"{name}.png")
        assert inspection.look_at_label(tmp_path / f"{name}.png").problem is None
        told = inspection.look_at_label(tmp_path / f"{name}.png", 1).problem
        assert told.startswith("has numbers of mode ") and told.endswith("save it with 8 bits a pixel")
    palette = Image.fromarray(label, "P")
    palette.putpalette([part for number in range(256) for part in (number, 0, 0)])
    for picture in (Image.fromarray(label), palette):
        picture.save(tmp_path / "label.png")
        seen = inspection.look_at_label(tmp_path / "label.png", 1)
        assert (seen.problem, seen.values) == (None, {255: 1, 0: 2, 149: 1})
        assert seen.colours in ({}, {number: (number, 0, 0) for number in (0, 1, 150)})
        assert images.read_label(tmp_path / "label.png", 1).tolist() == [[255, 0], [149, 0]]
        assert images.read_label(tmp_path / "label.png").tolist() == label.tolist()
    grey = Image.fromarray(label, "P")
    grey.putpalette([part for number in range(256) for part in [(number + 7) % 256] * 3])
    grey.save(tmp_path / "grey.png")
    assert "entry 0 is the grey 7" in inspection.look_at_label(tmp_path / "grey.png", 1).problem


def test_the_page_shows_classes(made):
    from segcert.show import pictures

    folder = made(layouts.ADE20K)
    (image, label), *_ = pairs_of(folder)["test"]
    cell = {"inputs": {str(folder / "manifest.json"): "0"}}
    photo, shown = pictures._image_and_truth(cell, (folder / image).stem)
    assert photo == folder / image
    assert np.array_equal(np.asarray(shown), images.read_label(folder / label, 1))


# -- Pascal VOC -------------------------------------------------------------------------------

VOC = [layout for layout in layouts.ALL if "PascalVOC" in layout.types]
SETS = "VOC2012/ImageSets/Segmentation"


def test_labels_of_pascal_voc_have_its_palette_and_those_of_sbd_have_none(made):
    folder = made(layouts.PASCAL_VOC_AUG)
    pairs = pairs_of(folder)["train"]
    assert [Path(label).parent.name for _, label in pairs] == ["SegmentationClass"] * 2 + ["SegmentationClassAug"] * 2
    for _, label in pairs:
        with Image.open(folder / label) as opened:
            if "Aug" in label:
                assert opened.mode == "L"
                continue
            palette = np.array(opened.getpalette()).reshape(-1, 3).tolist()
            colours = {1: [128, 0, 0], 7: [128, 128, 128], 15: [192, 128, 128], 20: [0, 64, 128], 255: [224, 224, 192]}
            assert (opened.mode, {number: palette[number] for number in colours}) == ("P", colours)
    joined = made(layouts.PASCAL_VOC_TRAINVAL)
    assert [pair for pair in pairs_of(joined)["train"] if pair not in pairs_of(joined)["val"]]
    notes = listed(joined, layouts.PASCAL_VOC_TRAINVAL).notes
    assert any("pictures of val are in train as well" in note for note in notes)


def test_the_mode_says_which_lists_are_the_training_data(made):
    """By hand a stage may be given the data set of another one."""
    folder = made(layouts.PASCAL_VOC_AUG)
    fed = sets(folder, layouts.PASCAL_VOC, "PascalVOC")
    with pytest.raises(StageError, match=r"holds 2 pairs of train, manifest\.json lists 4.* is read by mode: trainaug"):
        feeding.hold(fed, str(folder), ())


@pytest.mark.parametrize("layout", VOC, ids=lambda layout: layout.name)
def test_a_mode_is_held_to_the_layout_before_anything_runs(layout):
    for mode in ("train", "trainval", "trainaug", "TrainAug", "val", "test"):
        own = model_of(layout, "PascalVOC").partition("\n")[2].replace("  _inherited_: false\n", "")
        content = yaml.safe_load(BASE + own)
        content["train_dataset"]["mode"] = mode
        found = modelkeys.problems(content, modelkeys.Run(layout=layout.name))
        refused = f"train_dataset.mode: {mode!r} is refused: this is the split train; allowed: {layout.train_mode}"
        assert found == ([] if mode.lower() == layout.train_mode else [refused])
    (unknown,) = modelkeys.problems(content, modelkeys.Run())
    assert unknown.endswith("allowed: train or trainval or trainaug")
    content["train_dataset"]["mode"] = layout.train_mode
    content["val_dataset"]["mode"] = layout.train_mode
    (found,) = modelkeys.problems(content, modelkeys.Run(layout=layout.name))
    assert found == f"val_dataset.mode: {layout.train_mode!r} is refused: this is the split val; allowed: val"
    (other, *_) = modelkeys.problems(content, modelkeys.Run(layout="ade20k"))
    assert "it reads the layout pascal_voc or pascal_voc_trainval or pascal_voc_aug, and the data set of" in other


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("train", b"2007_000000\n\n", ["train.txt line 2 is empty"]),
        ("val", b"2007_000004 1\n", ["val.txt line 1: '2007_000004 1' is no name; a line is one, without folder"]),
        ("train", b"\xef\xbb\xbf2007_000000\n", ["train.txt line 1 begins with a byte order mark"]),
        ("aug", b"\xff\xfe2", ["aug.txt is not a list of files in UTF-8 (UTF-16 it may be)"]),
        ("aug", None, ["aug.txt is missing"]),
        ("val", None, ["val.txt is missing"]),
        ("aug", b"../../x\n", ["image 3 of train: 'VOC2012/JPEGImages/../../x.jpg' leads out of the data set"]),
        ("val", b"gone\n", ["JPEGImages/gone.jpg is listed but not there", "SegmentationClass/gone.png is listed"]),
        ("train", b"2007_000004\n", ["VOC2012/SegmentationClass/2007_000004.png is listed but not there"]),
    ],
)
def test_lists_of_names_are_read_as_paddleseg_reads_them_or_refused(copied, tmp_path, name, content, words):
    folder = copied(layouts.PASCAL_VOC_AUG)
    (folder / SETS / f"{name}.txt").unlink()
    if content is not None:
        (folder / SETS / f"{name}.txt").write_bytes(content)
    with pytest.raises(StageError) as refused:
        reading.splits(folder, "pascal_voc_aug")
    assert all(word in str(refused.value) for word in words), str(refused.value)
    with pytest.raises(StageError):
        folders.to_tar(folder, "pascal_voc_aug", {}, tmp_path / "d.tar")


def test_ends_of_lines_are_no_part_of_a_name_and_only_what_is_named_is_packed(copied, tmp_path):
    folder = copied(layouts.PASCAL_VOC)
    text = (folder / SETS / "train.txt").read_bytes()
    (folder / SETS / "train.txt").write_bytes(text.replace(b"\n", b" \r\n").rstrip())
    (folder / SETS / "test.txt").unlink()
    pairs = reading.splits(folder, "pascal_voc")
    assert [len(of_split) for of_split in pairs.values()] == [4, 2, 0]
    held = sets(folder, layouts.PASCAL_VOC, "PascalVOC")["train"].file_list
    assert [[str(folder / part) for part in pair] for pair in pairs["train"]] == held
    folders.to_tar(folder, "pascal_voc", {}, tmp_path / "d.tar")
    archives.unpack(tmp_path / "d.tar", tmp_path / "again")
    names = {path.relative_to(tmp_path / "again").as_posix() for path in (tmp_path / "again").rglob("*.*")}
    assert names == {part for of_split in pairs.values() for pair in of_split for part in pair} | {
        f"{SETS}/train.txt", f"{SETS}/val.txt",
    }  # fmt: skip


# -- lists ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("separator", "line", "meant"),
    [
        (None, "a.jpg \t  b.png", ("a.jpg", "b.png")),
        (None, " a.jpg\tb.png ", ("a.jpg", "b.png")),
        (None, "a.jpg", " line 1: a.jpg has no label"),
        (None, "", " line 1 is empty"),
        (None, "a.jpg b.png c", " has 3 parts; image and label are separated by blanks, and names have none"),
        (None, "a.jpg,b.png", " holds a comma; image and label are separated by blanks"),
        ("|", "a b.jpg|b.png", ("a b.jpg", "b.png")),
        ("|", "a.jpg b.png", " line 1: a.jpg b.png has no label"),
        ("|", "a.jpg\tb.png", " holds a tab; image and label are separated by a bar"),
        ("|", "a.jpg|", " has nothing on one side of a separator; image and label are separated by a bar"),
        ("|", "a|b|c", " has 3 parts; image and label are separated by a bar, and names have none"),
    ],
)
def test_image_and_label_are_separated_as_the_data_set_of_paddlesegs_has_it(tmp_path, separator, line, meant):
    pairs, faults = reading.read_list(f"{line}\n".encode(), "list.txt", separator, labelled=True)
    if isinstance(meant, str):
        assert not pairs and meant in faults[0]
        return
    assert (pairs, faults) == ({0: meant}, [])
    names = {None: ("DRIVE", "{}_list.txt"), "|": ("MiniDeepGlobeRoadExtraction", "{}.txt")}
    kind, name = names[separator]
    for split in ("train", "val"):
        (tmp_path / name.format(split)).write_text(f"{line}\n")
    own = manager.DATASETS[kind](dataset_root=str(tmp_path), transforms=[], mode="train")
    assert own.file_list == [[str(tmp_path / part) for part in meant]]


def test_what_one_data_set_of_a_layout_is_says_nothing_of_another(tmp_path, resolve):
    """DRIVE and OpticDiscSeg are laid out alike, and are not the same pictures."""
    own = {"source": "folder", "path": "somewhere", "layout": "optic_disc"}
    given = {"mode": "lite_train_lite_infer", "datasets": {"mine": own}, "data": {"optic_disc": "mine"}}
    root = zoo_of(tmp_path / "checkout", {"one/own.yml": model_of(layouts.OPTIC_DISC, "DRIVE")})
    assert "is not there" in resolve(root, **given)["model_zoo"]["one.own"]["not_planned"]["reason"]


# -- in a run ---------------------------------------------------------------------------------


MODEL = """\
_base_: ../_base_/portraits.yml
train_dataset: &d
  _inherited_: false
  type: {kind}
  dataset_root: data/{root}
  mode: {mode}
  transforms: [{{type: Resize, target_size: [64, 64]}}, {{type: Normalize}}]
val_dataset: {{<<: *d, mode: val, transforms: {validation}}}
model: {{type: PPHumanSegLite, num_classes: {number}, align_corners: false}}
"""


PLAIN = "[{type: Resize, target_size: [64, 64]}, {type: Normalize}]"
# As most of the zoo's configurations for ADE20K have it.
OF_ANY_SIZE = "[{type: Resize, target_size: [2048, 512], keep_ratio: true, size_divisor: 32}, {type: Normalize}]"


def model_of(layout, kind, validation=PLAIN):
    number, _ = classes_of(layout)
    root = f"{layout.name}_there"
    return MODEL.format(kind=kind, root=root, mode=layout.train_mode, number=number, validation=validation)


@pytest.fixture
def resolve():
    shipped = tipc_files.shipped(ROOT)

    def run(root, **given):
        given = {"models": "zoo", "paddleseg": str(root), **given}
        return settings.resolve(sections.merge(shipped, given), given, "config.yaml")

    return run


@pytest.mark.parametrize(("layout", "kind"), TYPES, ids=NAMES)
def test_a_configuration_of_the_zoo_runs_on_generated_data_or_its_own(tmp_path, made, resolve, layout, kind):
    root = zoo_of(tmp_path / "checkout", {"one/own.yml": model_of(layout, kind)})
    resolved = resolve(root, mode="smoke")
    entry = resolved["model_zoo"]["one.own"]
    assert "not_planned" not in entry, entry["not_planned"]
    dataset = resolved["datasets"][resolved["data"][entry["data"]]]
    assert (dataset["source"], dataset["layout"]) == ("synthetic", layout.name)
    if layout is not layouts.CITYSCAPES:  # of which the configuration has some
        left = resolve(root, mode="lite_train_lite_infer")["model_zoo"]["one.own"]["not_planned"]
        assert f"dataset_root data/{layout.name}_there is not there" in left["reason"]
    shutil.copytree(made(layout), root / f"data/{layout.name}_there")
    resolved = resolve(root, mode="lite_train_lite_infer", input_size=[64, 64])
    dataset = resolved["datasets"][resolved["data"][resolved["model_zoo"]["one.own"]["data"]]]
    assert (dataset["source"], dataset["layout"]) == ("folder", layout.name)


def test_paddlesegs_scripts_are_given_classes(tmp_path, made, monkeypatch):
    """A list of some images is read by a data set that takes no class from their labels."""
    (tmp_path / "_base_").mkdir()
    (tmp_path / "_base_/portraits.yml").write_text(BASE)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/own.yml").write_text(model_of(layouts.ADE20K, "ADE20K"))
    folder = made(layouts.ADE20K)
    config = components.load_config(str(tmp_path / "a/own.yml"), str(folder))
    section = config.dic["val_dataset"]
    assert own_scripts._limited(section, config, 2, tmp_path) == section
    monkeypatch.chdir(tmp_path)
    limited = dict(own_scripts._limited(section, config, 1, tmp_path))
    assert limited.pop("type") == "Dataset"
    (image, label), *_ = manager.DATASETS["Dataset"](**{**limited, "transforms": []}).file_list
    assert image == config_pair(folder)[0]
    assert np.array_equal(images.read_label(label), images.read_label(config_pair(folder)[1], 1))


def config_pair(folder):
    (image, label), *_ = sets(folder, layouts.ADE20K, "ADE20K")["val"].file_list
    return image, label


CHAIN = [(layouts.ADE20K, "ADE20K")]
LONG = [
    (layouts.PASCAL_VOC, "PascalVOC"),
    (layouts.PASCAL_VOC_AUG, "PascalVOC"),
    (layouts.OPTIC_DISC, "DRIVE"),
    (layouts.ROAD_EXTRACTION, "MiniDeepGlobeRoadExtraction"),
]


TINY = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": "zoo",
    "paddleseg": "checkout",
    "input_size": [64, 64],
    "train": {"iters": 2, "topologies": ["single"], "precisions": [{"precision": "fp32"}]},
    "infer": {
        "images": 2,
        "min_samples": 2,
        "warmup": 1,
        "cpu": [{"engine": "native", "precision": "fp32"}],
        "gpu": [],
    },
    "evaluate": {"images": 2},
}


@pytest.mark.parametrize("types", [CHAIN, pytest.param(LONG, marks=pytest.mark.long)], ids=["short", "long"])
def test_a_small_configuration_of_each_type_goes_the_whole_way(tmp_path, types):
    project = copy_project(tmp_path / "project")
    files = {f"one/{layout.name}.yml": model_of(layout, kind, OF_ANY_SIZE) for layout, kind in types}
    zoo_of(checkouts.plain(project / "checkout"), files)
    (project / "mine.yaml").write_text(yaml.safe_dump(TINY))
    done = snakemake(project, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((project / "results/smoke/conclusions.json").read_text(encoding="utf-8"))
    assert found["counts"] == {"passed": 4 * len(types)}, found["counts"]
    for layout, kind in types:
        number, _ = layout.types[kind]
        record = json.loads((project / f"results/smoke/one.{layout.name}/single_fp32/eval.json").read_text())
        assert record["effective"]["input_size"] == TINY["input_size"]
        assert len(record["metrics"]["class_iou"]) == number and record["metrics"]["classes_present"] > 1
        manifest = pairs_of(project / f"results/data/{layout.name}_synthetic")
        assert manifest["val"] and not manifest["test"]
