"""What labels and lists mean to the stages: one reading everywhere, and what is fed is what is listed."""

import io
import json
import shutil
import struct
import tarfile
from base64 import b64decode
from pathlib import Path

import cv2
import makers
import numpy as np
import paddle
import pytest
import stages
import yaml
from conftest import planned_jobs, snakemake
from PIL import Image

from segcert import conclusions, record
from segcert.compute import feeding, metrics, preprocess
from segcert.data import archives, classes, folders, images, inspection, layouts
from segcert.errors import StageError
from segcert.files import write_json

SIZE = (makers.WIDTH, makers.HEIGHT)


def unpacked(folder, files, layout="mini_supervisely"):
    """A data set's folder with its manifest; what was noted of it is left out."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    write_json(folder / "manifest.json", inspection.inspect(folder, layout, folder.name).manifest)
    return folder


# -- one reading, through the chain -----------------------------------------------------------


def as_png(files):
    """Photos as PNG under their old names: they can be turned and stay the same, pixel for pixel."""
    return makers.every(files, "Images/", makers.as_kind("PNG"))


def turned(content):
    """A photo that is stored lying and shown upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return makers.saved(makers.picture(content).transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)


def plain():
    """With a line of the test list three times."""
    files = as_png(makers.people({"train": 6, "val": 3, "test": 3}))
    lines = files["test.txt"].splitlines(keepends=True)
    return files | {"test.txt": b"".join(lines + lines[:1] * 2)}


def odd():
    """The same in other forms: labels of other kinds in each split, photos turned."""
    files = plain()
    kinds = {"train_0": makers.as_kind("PNG", "P"), "train_1": makers.small_png(1, 0),
             "train_2": makers.as_numbers(np.uint16, ".png"), "train_3": makers.small_png(4, 3),
             "val_6": makers.small_png(1, 0), "val_7": makers.as_numbers(np.int32, ".tiff"),
             "val_8": makers.as_kind("GIF"), "test_9": makers.as_kind("PNG", "P"),
             "test_10": makers.small_png(1, 0), "test_11": makers.as_numbers(np.uint16, ".png")}  # fmt: skip
    for name, change in kinds.items():
        files[f"Annotations/{name}.png"] = change(files[f"Annotations/{name}.png"])
    for name in ("train_2", "val_7", "test_10"):
        files[f"Images/{name}.jpg"] = turned(files[f"Images/{name}.jpg"])
    return files


@pytest.fixture(scope="module")
def chains(tmp_path_factory):
    made = {}
    for name, make in (("plain", plain), ("odd", odd)):
        folder = tmp_path_factory.mktemp(name)
        dataset = unpacked(folder / "d", make())
        done = [stages.train(folder, "d", "--iters", "8", "--batch-size", "3", "--threads", "2")]
        done += [stages.evaluate(folder, "d"), stages.export(folder)]
        done += [stages.infer(folder, "d", "native", "--batch-size", "2")]
        assert [one.returncode for one in done] == [0] * 4, [one.stderr for one in done]
        made[name] = (folder, dataset)
    return made


def test_labels_of_other_kinds_give_the_numbers_of_plain_ones(chains):
    """To the last digit, in training, evaluation, the reference and inference."""
    (one, _), (other, _) = chains["plain"], chains["odd"]
    assert stages.losses(one) == stages.losses(other)
    for name in ("eval", "native"):
        plain, odd = (record.read(folder / f"{name}.json")["metrics"] for folder in (one, other))
        for key in ("miou", "acc", "class_iou", "reference_miou", "miou_reference", "pixel_agreement", "images"):
            assert plain.get(key) == odd.get(key), key
    assert record.read(one / "eval.json")["metrics"]["classes_present"] == 2


def test_an_image_counts_as_often_as_it_is_listed_on_both_sides(chains):
    """It counted for the checkpoint as often, for a cell once: the drop was of two different lists."""
    folder, dataset = chains["plain"]
    evaluated, cell = (record.read(folder / f"{name}.json")["metrics"] for name in ("eval", "native"))
    assert evaluated["inference_images"] == 5 == cell["images"]
    assert cell["miou_drop"] == 0 and cell["miou"] == cell["miou_reference"] == evaluated["reference_miou"]
    once, listed = metrics.Confusion(2), metrics.Confusion(2)
    pairs = layouts.manifest(dataset)["splits"]["test"]
    for confusion, which in ((once, pairs[:3]), (listed, pairs)):
        for image, label in which:
            predicted = images.read_label(folder / "reference" / layouts.label_map(image))
            confusion.add_undone(predicted, [("resize", SIZE[::-1])], images.read_label(dataset / label))
    assert listed.miou() == cell["miou"] != once.miou()


def test_a_list_that_is_not_the_manifests_is_not_trained_on(chains, tmp_path):
    """The configuration's own list is read by PaddleSeg, train.txt by all else."""
    shutil.copytree(chains["plain"][1], tmp_path / "d")
    lines = (tmp_path / "d/train.txt").read_text().splitlines()
    swapped = [lines[0].split()[0] + " " + lines[1].split()[1], *lines[1:]]
    for name, text, words in (
        ("swapped.txt", swapped, ["Images/train_0.jpg with", "Annotations/train_1.png"]),
        ("short.txt", lines[1:], ["holds 5 pairs of train, manifest.json lists 6", "it does not hold"]),
        ("long.txt", [*lines, lines[0]], ["holds 7 pairs of train, manifest.json lists 6", "it holds"]),
    ):
        (tmp_path / "d" / name).write_text("\n".join(text) + "\n")
        own = {"_base_": stages.CONFIG, "train_dataset": {"train_path": name}}
        (tmp_path / "own.yml").write_text(yaml.safe_dump(own))
        options = ["--config", "own.yml", "--iters", "1", "--batch-size", "2"]
        done = stages.train(tmp_path, "d", *options)
        assert done.returncode == 1
        reason = record.read(tmp_path / "train.failed.json")["reason"]
        for word in words:
            assert word in reason, reason


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ({"train_0": makers.valued((1, 9))}, ["train.txt line 1: Annotations/train_0.png: holds the value 9; allowed"]),
        ({"val_7": makers.valued((1, 9))}, ["val.txt line 2: Annotations/val_7.png: holds the value 9"]),
        ({"train_0": makers.valued((1, 2)), "test_9": makers.valued((0, 300))}, ["2 faults", "value 2", "value 300"]),
        (
            dict.fromkeys(("val_6", "val_7", "val_8"), makers.valued((0, 255), (1, 255))),
            ["val: none of the 24000 pixels of its 3 labels is counted: all are 255"],
        ),
    ],
)
def test_no_stage_begins_on_labels_that_the_model_cannot_use(chains, tmp_path, spoil, words):
    """What the unpacking may not know: whose classes they are to be. Before the first iteration, by list and line."""
    files = plain()
    for name, change in spoil.items():
        files[f"Annotations/{name}.png"] = change(files[f"Annotations/{name}.png"])
    unpacked(tmp_path / "d", files)
    shutil.copy2(chains["plain"][0] / "model.pdparams", tmp_path / "model.pdparams")
    done = {"train": stages.train(tmp_path, "d", "--iters", "1", "--batch-size", "2", "--checkpoint", "new.pdparams")}
    if "train_0" not in spoil:
        done["eval"] = stages.evaluate(tmp_path, "d")
    for name, one in done.items():
        assert one.returncode == 1
        reason = record.read(tmp_path / f"{name}.failed.json")["reason"]
        for word in words:
            assert word in reason, reason
        assert "iter:" not in (tmp_path / f"{name}.log").read_text()


def test_an_evaluation_that_judges_no_pixel_fails(chains, tmp_path):
    files = plain()
    files["Annotations/val_6.png"] = makers.valued((0, 255), (1, 255))(files["Annotations/val_6.png"])
    unpacked(tmp_path / "d", files)
    shutil.copy2(chains["plain"][0] / "model.pdparams", tmp_path / "model.pdparams")
    done = stages.evaluate(tmp_path, "d", "--images", "1")
    assert done.returncode == 1
    assert "no pixel of the labels of 1 validation images" in record.read(tmp_path / "eval.failed.json")["reason"]


def test_an_evaluation_of_what_is_no_number_fails(chains, tmp_path):
    """The weights are finite, and what follows from them is not: argmax makes class 0 of it everywhere."""
    folder, _ = chains["plain"]
    weights = dict(paddle.load(str(folder / "model.pdparams")))
    for part in ("weight", "bias"):
        name = f"depthwise_separable2.piontwise_conv._batch_norm.{part}"
        weights[name] = paddle.full_like(weights[name], 3.4e38)
    paddle.save(weights, str(tmp_path / "model.pdparams"))
    assert stages.evaluate(tmp_path, folder / "d").returncode == 1
    reason = record.read(tmp_path / "eval.failed.json")["reason"]
    assert "val_6.jpg: the checkpoint computes values for it that are not finite" in reason


def test_an_export_for_another_size_is_fed_nothing(chains, tmp_path):
    folder, _ = chains["plain"]
    for name in ("export", "reference", "d"):
        shutil.copytree(folder / name, tmp_path / name)
    deploy = yaml.safe_load((tmp_path / "export/deploy.yaml").read_text())
    deploy["Deploy"]["transforms"].insert(1, {"type": "Padding", "target_size": [160, 160]})
    (tmp_path / "export/deploy.yaml").write_text(yaml.safe_dump(deploy))
    assert stages.infer(tmp_path, "d", "native").returncode == 1
    reason = record.read(tmp_path / "native.failed.json")["reason"]
    assert "Images/test_9.jpg: is fed as 160x160, the exported model takes 128x96" in reason


# -- readers ----------------------------------------------------------------------------------


def test_numbers_that_need_more_than_8_bits_reach_the_loss(tmp_path):
    """As uint16 they would not: Paddle takes that for bfloat16."""
    import paddle
    from paddleseg.datasets import Dataset
    from paddleseg.transforms import RandomPaddingCrop

    files = makers.every(makers.people(), "Annotations", makers.valued((0, 65535)))
    folder = unpacked(tmp_path / "d", files)
    sets = {
        split: Dataset(split, str(folder), [RandomPaddingCrop([60, 60])] * (split == "train"), 2, ignore_index=65535,
                       **{f"{split}_path": str(folder / f"{split}.txt")})
        for split in ("train", "val")
    }  # fmt: skip
    feeding.hold(sets, str(folder), ())
    label = sets["train"][0]["label"]
    assert label.dtype == np.int32
    assert set(paddle.to_tensor(label).astype("int64").numpy().ravel().tolist()) <= {1, 65535}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_images_are_turned_alike_by_training_and_inference(tmp_path, kind, turn):
    (tmp_path / "a").write_bytes(makers.oriented(turn, kind)(makers.png(makers.scene(1)[0])))
    theirs = preprocess._paddleseg_transforms([])(str(tmp_path / "a"))[0]
    assert np.array_equal(images.read_image(tmp_path / "a").transpose(2, 0, 1), theirs)
    lying = turn > 4 and kind != "WEBP"
    assert theirs.shape[1:] == (SIZE if lying else SIZE[::-1])


@pytest.mark.parametrize("change", [
    makers.by_opencv(".pam"), makers.pam("RGB"), makers.sun_with_palette, makers.by_opencv(".ras"), makers.ppm(255),
    makers.ppm(65535), makers.by_opencv(".bmp"), makers.as_kind("BMP", "P"), makers.as_kind("TIFF", "CMYK"),
    makers.as_kind("JPEG", "CMYK"), makers.as_kind("JPEG2000"), makers.as_kind("PNG", "LA"), makers.as_kind("PNG", "1"),
    makers.in_tiff("jpeg"), makers.tiff_oriented(3), makers.grey_and_more, makers.as_kind("WEBP", "RGBA"),
], ids=range(17))  # fmt: skip
def test_images_of_every_kind_are_read_alike_by_training_and_inference(tmp_path, change):
    (tmp_path / "a").write_bytes(change(makers.png(makers.scene(1)[0])))
    theirs = preprocess._paddleseg_transforms([])(str(tmp_path / "a"))[0]
    assert np.array_equal(images.read_image(tmp_path / "a").transpose(2, 0, 1), theirs)


def test_the_page_shows_photos_and_labels_as_the_model_saw_them(tmp_path):
    from segcert.show import pictures

    photo, label = makers.scene(1)
    for turn in (1, 3, 6):
        (tmp_path / "a.jpg").write_bytes(makers.oriented(turn)(makers.jpeg(photo)))
        size = SIZE[::-1] if turn == 6 else SIZE
        shown = pictures._photo(tmp_path / "a.jpg", size)
        read = images.read_image(tmp_path / "a.jpg").astype(float)
        seen = np.asarray(Image.open(io.BytesIO(b64decode(shown.partition(",")[2]))), float)
        assert seen.shape == read.shape and np.abs(seen - read).mean() < 12
    (tmp_path / "only.tif").write_bytes(makers.grey_and_more(makers.png(photo)))  # which Pillow cannot read
    assert pictures._photo(tmp_path / "only.tif", SIZE).startswith("data:image/jpeg")
    cv2.imwrite(str(tmp_path / "deep.png"), photo[..., 0].astype(np.uint16) * 257)
    shown = pictures._photo(tmp_path / "deep.png", SIZE)
    seen = np.asarray(Image.open(io.BytesIO(b64decode(shown.partition(",")[2]))), float)
    assert np.abs(seen[..., 0] - photo[..., 0]).mean() < 12
    for change in (makers.small_png(1, 0), makers.as_kind("PNG", "P"), makers.as_numbers(np.uint16, ".png")):
        (tmp_path / "l.png").write_bytes(change(makers.png(label)))
        assert np.array_equal(np.asarray(pictures._open_labels(tmp_path / "l.png")), label)
    (tmp_path / "l.png").write_bytes(makers.valued((1, 65535))(makers.png(label)))
    assert set(np.unique(np.asarray(pictures._open_labels(tmp_path / "l.png")))) == {0, 255}
    (tmp_path / "l.png").write_bytes(makers.png(photo))
    assert pictures._labels_or_none(tmp_path / "l.png") is None, "an older run's, which read it otherwise"


def test_a_label_map_is_brought_back_by_what_was_done_and_by_nothing_else():
    """A label that lies where its image stands was stretched over it, and every gate held."""
    truth = np.zeros((80, 100), np.uint8)
    truth[:40] = 1
    predicted = np.zeros((32, 32), np.int32)
    predicted[:16] = 1
    confusion = metrics.Confusion(2)
    confusion.add_undone(predicted, [("resize", (80, 100))], truth, "a.png")
    assert confusion.miou() == 1
    with pytest.raises(StageError, match=r"a\.png: is 80x100, its image is 100x80; they must be equal"):
        confusion.add_undone(predicted, [("resize", (80, 100))], truth.T, "a.png")
    padded = np.zeros((100, 120), np.int32)
    padded[:40, :100] = 1
    confusion = metrics.Confusion(2)
    confusion.add_undone(padded, [("padding", (80, 100))], truth, "a.png")
    assert confusion.miou() == 1
    assert metrics.Confusion(2).miou() is None, "nothing was judged"


def test_a_size_that_the_model_does_not_take_is_named(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), makers.scene(1)[0])
    resize = {"type": "Resize", "target_size": [64, 64]}
    assert preprocess.Preprocess([resize], (64, 64))(tmp_path / "a.png").shape == (3, 64, 64)
    for more in ([{"type": "Padding", "target_size": [96, 96]}], [{"type": "ResizeByLong", "long_size": 96}]):
        with pytest.raises(StageError, match=r"a\.png: is fed as 96x96, the exported model takes 64x64"):
            preprocess.Preprocess([resize, *more], (64, 64))(tmp_path / "a.png")
    assert preprocess.input_size({"input_shape": [-1, 3, 48, 64]}) == (64, 48)
    assert preprocess.input_size({"input_shape": [-1, 3, -1, -1]}) is None is preprocess.input_size({})


# -- what is fed ------------------------------------------------------------------------------


def cityscapes(folder):
    from paddleseg.datasets import Cityscapes

    return {split: Cityscapes([], str(folder), split) for split in ("train", "val")}


def test_pairs_that_paddleseg_would_swap_are_told_of(tmp_path):
    """`f1_h` sorts before `f1` in front of one ending, and after it in front of the other."""
    folder = unpacked(tmp_path / "d", makers.streets({"train": ["f1", "f1_h", "f2"], "val": ["b0"]}), "cityscapes")
    sets = cityscapes(folder)
    assert sets["train"].file_list[0][0].endswith("f1_h_leftImg8bit.png")
    assert sets["train"].file_list[0][1].endswith("f1_gtFine_labelTrainIds.png")
    (note,) = feeding.hold(sets, str(folder), ())
    assert "train: PaddleSeg's Cityscapes would give 2 of 3 images the label of another" in note
    for image, label in sets["train"].file_list:
        assert Path(image).name.partition("_left")[0] == Path(label).name.partition("_gtFine")[0]
    assert feeding.hold(sets, str(folder), ()) == [], "they are held again as they are now"


def test_a_picture_that_came_later_is_not_fed(tmp_path):
    folder = unpacked(tmp_path / "d", makers.streets(), "cityscapes")
    assert feeding.hold(cityscapes(folder), str(folder), ()) == []
    for name in ("leftImg8bit/train/town/{}_leftImg8bit.png", "gtFine/train/town/{}_gtFine_labelTrainIds.png"):
        shutil.copy2(folder / name.format("a0"), folder / name.format("new"))
    with pytest.raises(StageError, match=r"holds 4 pairs of train, manifest\.json lists 3.*it holds .*new_leftImg8bit"):
        feeding.hold(cityscapes(folder), str(folder), ())


def test_classes_without_a_pixel_are_told_of(tmp_path):
    folder = unpacked(tmp_path / "d", makers.streets(), "cityscapes")
    train, val = feeding.hold(cityscapes(folder), str(folder), ("train", "val", "test"))
    assert train.startswith(f"train: classes {', '.join(map(str, range(3, 19)))} of 0 to 18 have no pixel; ")
    assert val.startswith("val: ") and "0.0 % of the pixels are 255, which is ignored" in val
    binary = makers.every(makers.people(), "Annotations", makers.valued((1, 255)))
    manifest = json.loads((unpacked(tmp_path / "b", binary) / "manifest.json").read_text())
    (note,) = classes.notes(manifest, "train", classes.Classes(2, 255))
    assert note.startswith("train: class 1 of 0 to 1 has no pixel; ")
    hidden = makers.streets({"train": ["a"], "val": ["b"], "test": ["c"]})
    hidden = makers.every(hidden, "gtFine/test", makers.valued((0, 255), (1, 255), (2, 255)))
    manifest = json.loads((unpacked(tmp_path / "h", hidden, "cityscapes") / "manifest.json").read_text())
    (note,) = classes.notes(manifest, "test", classes.Classes(19, 255))
    assert note == "test: no pixel of its labels is counted, so it is taken for a split without labels"
    assert list(classes.faults(tmp_path / "h", manifest, "test", classes.Classes(19, 255), None)) == []
    (fault,) = classes.faults(tmp_path / "h", manifest, "test", classes.Classes(300, 255), None)
    assert "the model has 300 classes, and label maps are kept in 8 bits" in fault


def test_labels_with_too_many_numbers_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(inspection, "MOST_VALUES", 2)
    with pytest.raises(StageError, match="the labels of train hold 3 different numbers, more than 2"):
        unpacked(tmp_path / "d", makers.streets(), "cityscapes")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"splits": {}}', '{"splits": {}, "counts": {"train": {}}}'])
def test_a_manifest_of_an_earlier_version_is_told_of(tmp_path, content):
    if content:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(StageError, match=r"manifest\.json: .*unpack it again"):
        layouts.manifest(tmp_path)


# -- at the unpacking -------------------------------------------------------------------------


def config(path, **section):
    sections = {name: {"type": "Dataset", "num_classes": 2} | section for name in ("train_dataset", "val_dataset")}
    path.write_text(yaml.safe_dump(sections))
    return str(path)


def test_what_only_some_models_can_use_is_left_to_the_stages(tmp_path, monkeypatch):
    files = makers.every(makers.people(), "Annotations", makers.valued((1, 2)))
    found = inspection.inspect(unpacked(tmp_path / "d", files), "mini_supervisely", "d")
    two, three = config(tmp_path / "2.yml"), config(tmp_path / "3.yml", num_classes=3)
    odd = config(tmp_path / "odd.yml", type="ADE20K")
    (tmp_path / "none.yml").write_text("{}")

    def required(**models):
        planned = [("d", name, file) for name, file in models.items()] + [("other", "m", two)]
        monkeypatch.setenv(classes.MODELS, classes.environment(planned)[classes.MODELS])
        classes.require_a_model("d", tmp_path / "d", found.manifest, found.values)

    required(a=two, b=three)
    required(a=three)
    required()
    for unknown in (odd, str(tmp_path / "none.yml"), str(tmp_path / "gone.yml")):
        required(a=two, b=unknown)
    with pytest.raises(StageError, match=r"d, for a: 8 faults: .*line 1.*the value 2; allowed are 0 to 1 and 255"):
        required(a=two)
    with pytest.raises(StageError, match=r"d, for a, b: 8 faults"):
        required(a=two, b=two)
    monkeypatch.delenv(classes.MODELS)
    classes.require_a_model("d", tmp_path / "d", found.manifest, found.values)


def test_a_run_refuses_labels_before_any_training_and_unpacks_once_for_all_models(project):
    """By the names of its models; a set that is unpacked stays so whatever models come."""
    bad = makers.every(makers.people(), "Annotations", makers.valued((1, 2)))
    for name, files in (("bad", bad), ("good", makers.people())):
        (project / f"{name}.tar").write_bytes(makers.tar(files))
    mine = {
        "mode": "smoke",
        "hardware": "cpu",
        "models": ["pp_humanseg_lite"],
        "data": {"mini_supervisely": "bad"},
        "datasets": {
            name: {"layout": "mini_supervisely", "source": "path", "path": f"{name}.tar"} for name in ("bad", "good")
        },
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(mine))
    done = snakemake(project, "results/data/bad.json", "--configfile", "mine.yaml")
    assert done.returncode != 0
    reason = record.read(project / "results/data/bad.failed.json")["reason"]
    assert "bad, for pp_humanseg_lite: 8 faults: (1) train.txt line 1: Annotations/train_0.png: holds the" in reason
    more = ["--configfile", "mine.yaml", "--config", "data={mini_supervisely: good}"]
    done = snakemake(project, "results/data/good.json", *more)
    assert done.returncode == 0, done.stdout + done.stderr
    planned = snakemake(project, "-n", *more, "models=[pp_humanseg_lite,pp_humanseg_mobile]")
    jobs = planned_jobs(planned.stdout + planned.stderr)
    assert jobs["train"] > 1 and "unpack_dataset" not in jobs


def test_what_a_folder_lists_twice_and_what_a_mac_puts_there(tmp_path):
    """One list for two splits is one file; `._` files are left out."""
    for name, content in makers.people({"train": 2, "val": 0, "test": 0}).items():
        (tmp_path / "p" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "p" / name).write_bytes(content)
    (tmp_path / "p/lists").mkdir()
    (tmp_path / "p/train.txt").rename(tmp_path / "p/lists/all.txt")
    (tmp_path / "p/val.txt").unlink()
    (tmp_path / "p/test.txt").unlink()
    lists = {"train": "lists/all.txt", "val": "lists/../lists/all.txt", "test": "lists/all.txt"}
    with pytest.raises(StageError, match="leads out of the folder"):
        folders.to_tar(tmp_path / "p", "mini_supervisely", lists, tmp_path / "p.tar")
    (tmp_path / "p/link.txt").symlink_to("lists/all.txt")
    lists |= {"val": "./lists/all.txt", "test": "link.txt"}
    folders.to_tar(tmp_path / "p", "mini_supervisely", lists, tmp_path / "p.tar")
    with tarfile.open(tmp_path / "p.tar") as packed:
        assert sorted(packed.getnames()) == sorted(
            ["train.txt", "val.txt", "test.txt", "all.txt", "link.txt", "Images/train_0.jpg", "Images/train_1.jpg",
             "Annotations/train_0.png", "Annotations/train_1.png"])  # fmt: skip
    (tmp_path / "p/lists/all.txt").write_text("Images/train_0.jpg\tAnnotations/train_0.png\n\n")
    with pytest.raises(StageError, match=r"p: 2 faults: \(1\) lists/all\.txt line 1.* a tab.*\(2\) .*line 2 is empty"):
        folders.to_tar(tmp_path / "p", "mini_supervisely", lists, tmp_path / "p.tar")
    (tmp_path / "p/lists/all.txt").write_text("Images/train_0.JPG Annotations/train_0.png\n")
    with pytest.raises(StageError, match=r"line 1: 'Images/train_0\.JPG' is listed but not there .*case differ"):
        folders.to_tar(tmp_path / "p", "mini_supervisely", lists, tmp_path / "p.tar")
    for name, content in makers.streets().items():
        beside = name.rpartition("/")[0] + "/._" + name.rpartition("/")[2]
        for path in (name, beside):
            (tmp_path / "c" / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "c" / path).write_bytes(content)
    assert folders.to_tar(tmp_path / "c", "cityscapes", {}, tmp_path / "c.tar") == 10


def test_links_that_go_round_and_lists_of_test_of_another_name_in_a_folder(tmp_path):
    folder = tmp_path / "p"
    for name, content in makers.renamed(makers.people(), "test.txt", "Test.txt").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    folders.to_tar(folder, "mini_supervisely", {}, tmp_path / "p.tar")
    archives.unpack(tmp_path / "p.tar", tmp_path / "out")
    assert (tmp_path / "out/Test.txt").is_file() and not (tmp_path / "out/Images/test_6.jpg").exists()
    assert any(
        "Test.txt is not read" in note for note in inspection.inspect(tmp_path / "out", "mini_supervisely", "p")[2]
    )
    for name in ("Images/train_1.jpg", "val.txt"):
        (folder / name).unlink()
        (folder / name).symlink_to(Path(name).name)
        with pytest.raises(StageError, match=rf"'{name}': .*put a file there"):
            folders.to_tar(folder, "mini_supervisely", {}, tmp_path / "p.tar")
    streets = tmp_path / "c/leftImg8bit/train/town"
    streets.mkdir(parents=True)
    (streets / "a_leftImg8bit.png").symlink_to("a_leftImg8bit.png")
    with pytest.raises(StageError, match=r"a_leftImg8bit\.png': .*put a file there"):
        folders.to_tar(tmp_path / "c", "cityscapes", {}, tmp_path / "c.tar")


def test_what_decoders_print_is_caught_from_the_process_itself(capfd):
    import os

    with inspection._printed() as since:
        os.write(2, b"of a decoder\n")
        assert since() == "of a decoder\n" and since() == ""
        os.write(2, b"more\n")
        assert since() == "more\n"
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


# -- what is told of them ---------------------------------------------------------------------


def test_notes_of_the_data_are_in_the_conclusions_once(chains):
    """Of the data set for all, of a model's classes with the models that they are told of."""
    made = str(chains["plain"][0] / "train.json")
    assert record.read(made)["metrics"]["notes"] == [] == conclusions._source(made, lost=False)["metrics"]["notes"]

    class Table:
        @staticmethod
        def dataset(model):
            return "set"

    sources = [{"cell": "set", "metrics": {"notes": ["one"]}}, {"cell": "set.tar"}, {"cell": "w", "metrics": None}]
    told = (("a", ["x"]), ("b", ["x", "y"]), ("b", ["x"]))
    entries = [{"model": model, "metrics": {"notes": notes}} for model, notes in told]
    assert conclusions.notes_of(Table, sources, [*entries, {"model": "c"}]) == [
        {"data": "set", "note": "one", "models": []},
        {"data": "set", "note": "x", "models": ["a", "b"]},
        {"data": "set", "note": "y", "models": ["b"]},
    ]


def test_an_image_beyond_the_decoders_limit_is_none(tmp_path):
    """A bitmap's head alone, of 50,000 x 50,000 pixels."""
    head = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54)
    head += struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0)
    (tmp_path / "a.bmp").write_bytes(head)
    with pytest.raises(cv2.error):
        cv2.imread(str(tmp_path / "a.bmp"))
    assert inspection._decoded(tmp_path / "a.bmp", cv2.IMREAD_COLOR) is None


def test_classes_that_only_paddleseg_knows_are_left_to_the_stages():
    for kind in ("PPHumanSeg14K", "PascalContext"):
        with pytest.raises(KeyError, match=kind):
            classes._of_section({"type": kind})
    assert classes._of_section({"type": "Dataset", "num_classes": 3}) == classes.Classes(3, 255)


def test_transforms_that_cannot_be_done_name_the_image(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 32, 3), np.uint8))
    fed = preprocess.Preprocess([{"type": "Padding", "target_size": [8, 8]}])
    with pytest.raises(StageError, match=r"a\.png: its transforms cannot be done: "):
        fed(tmp_path / "a.png")


def test_a_flat_photo_that_is_cut_is_told_of_and_printed_of_nowhere(tmp_path, capfd):
    """Its decoder has been listened to; nothing decodes it once more."""
    flat = makers.jpeg(np.full((80, 100, 3), 90, np.uint8))
    files = makers.changed(makers.people(), Images_train_0_jpg=makers.without_end(30)(flat))
    with pytest.raises(StageError, match=r"Images/train_0\.jpg: ") as found:
        unpacked(tmp_path / "d", files)
    assert "label map" not in str(found.value) and capfd.readouterr().err == ""


def test_a_reason_names_a_label_once_whatever_its_name_holds(tmp_path):
    odd = "Annotations/a\tb'c.png"
    files = makers.relisted(makers.renamed(makers.people(), "Annotations/val_4.png", odd), "Annotations/val_4.png", odd)
    assert odd in files
    with pytest.raises(StageError) as found:
        unpacked(tmp_path / "d", {**files, odd: b"no image"})
    assert odd in str(found.value) and str(tmp_path) not in str(found.value)
