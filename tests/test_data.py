"""Archives, generated data and downloads: what comes in, and what is refused without a trace."""

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile

import cv2
import numpy as np
import pytest

from segcert import record
from segcert.data import archives, layouts, synthetic
from segcert.errors import StageError
from segcert.files import sha256

IMAGES = {"train": 4, "val": 2, "test": 2}


def tar_of(path, *members, kind="w"):
    with tarfile.open(path, kind) as tar:
        for info, content in members:
            if isinstance(info, str):
                info = tarfile.TarInfo(info)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_generated_data_are_the_same_bytes_every_time(tmp_path):
    for layout in ("mini_supervisely", "cityscapes"):
        one, two, other = (tmp_path / f"{layout}{n}.tar" for n in (1, 2, 3))
        synthetic.write_tar(one, layout, IMAGES, seed=1, size=(128, 64))
        synthetic.write_tar(two, layout, IMAGES, seed=1, size=(128, 64))
        synthetic.write_tar(other, layout, IMAGES, seed=2, size=(128, 64))
        assert one.read_bytes() == two.read_bytes()
        assert one.read_bytes() != other.read_bytes()


def test_generated_people_have_the_layout_of_mini_supervisely(tmp_path):
    synthetic.write_tar(tmp_path / "d.tar", "mini_supervisely", IMAGES, seed=1)
    archives.unpack(tmp_path / "d.tar", tmp_path / "d")
    found = layouts.splits(tmp_path / "d", "mini_supervisely")
    assert {split: len(pairs) for split, pairs in found.items()} == IMAGES
    for image, label in found["train"]:
        photo, truth = (
            cv2.imread(str(tmp_path / "d" / image)),
            cv2.imread(str(tmp_path / "d" / label), cv2.IMREAD_UNCHANGED),
        )
        assert image.startswith("Images/") and image.endswith(".jpg") and label.startswith("Annotations/")
        assert 600 <= photo.shape[0] <= 1200 and 600 <= photo.shape[1] <= 1200
        assert truth.shape == photo.shape[:2]
        assert set(np.unique(truth)) == {0, 1}


def test_generated_streets_have_the_layout_of_cityscapes(tmp_path):
    synthetic.write_tar(tmp_path / "d.tar", "cityscapes", {**IMAGES, "test": 0}, seed=1, size=(256, 128))
    archives.unpack(tmp_path / "d.tar", tmp_path / "d")
    found = layouts.splits(tmp_path / "d", "cityscapes")
    assert len(found["train"]) == 4 and len(found["val"]) == 2 and found["test"] == []
    image, label = found["val"][0]
    assert image.startswith("leftImg8bit/val/") and image.endswith("_leftImg8bit.png")
    assert label.startswith("gtFine/val/") and label.endswith("_gtFine_labelTrainIds.png")
    truth = cv2.imread(str(tmp_path / "d" / label), cv2.IMREAD_UNCHANGED)
    assert truth.shape == (128, 256)
    assert set(np.unique(truth)) <= {*range(19), 255}
    listed = (tmp_path / "d" / "val.list").read_text().split()
    assert listed == [path for pair in found["val"] for path in pair]
    assert layouts.inference_list({"splits": found}) == found["val"]


@pytest.mark.parametrize("split", ["val", "test"])
def test_two_images_of_one_name_are_refused_where_inference_would_mix_them_up(tmp_path, split):
    synthetic.write_tar(tmp_path / "d.tar", "mini_supervisely", {**IMAGES, "test": 0}, seed=1)
    archives.unpack(tmp_path / "d.tar", tmp_path / "d")
    image, label = layouts.splits(tmp_path / "d", "mini_supervisely")["val"][0]
    for other in ("b", "c"):
        (tmp_path / "d" / other).mkdir()
        (tmp_path / "d" / other / "x.jpg").write_bytes((tmp_path / "d" / image).read_bytes())
    lines = f"b/x.jpg {label}\nc/x.jpg {label}\n"
    with (tmp_path / "d/train.txt").open("a") as stream:
        stream.write(lines)
    layouts.splits(tmp_path / "d", "mini_supervisely")  # training keeps no label maps
    (tmp_path / f"d/{split}.txt").write_text(lines)
    with pytest.raises(StageError, match=r"b/x\.jpg and c/x\.jpg would share the label map x\.png; rename one"):
        layouts.splits(tmp_path / "d", "mini_supervisely")
    (tmp_path / f"d/{split}.txt").write_text(f"b/x.jpg {label}\nb/x.jpg {label}\n")
    layouts.splits(tmp_path / "d", "mini_supervisely")  # twice the same image is no mix-up


def test_a_list_or_a_label_that_is_missing_is_named(tmp_path):
    synthetic.write_tar(tmp_path / "people.tar", "mini_supervisely", IMAGES, seed=1)
    archives.unpack(tmp_path / "people.tar", tmp_path / "people")
    (tmp_path / "people/test.txt").unlink()
    assert layouts.splits(tmp_path / "people", "mini_supervisely")["test"] == [], "which it may do without"
    (tmp_path / "people/val.txt").unlink()
    with pytest.raises(StageError, match=r"people: val\.txt is missing"):
        layouts.splits(tmp_path / "people", "mini_supervisely")
    synthetic.write_tar(tmp_path / "streets.tar", "cityscapes", {**IMAGES, "test": 0}, seed=1, size=(64, 32))
    archives.unpack(tmp_path / "streets.tar", tmp_path / "streets")
    label = next((tmp_path / "streets/gtFine/val").rglob("*_labelTrainIds.png"))
    label.unlink()
    with pytest.raises(StageError, match=rf"streets: val: .*_leftImg8bit\.png has no label gtFine/val/.*{label.name}"):
        layouts.splits(tmp_path / "streets", "cityscapes")


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "C:\\out.txt", "..\\out.txt"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_that_climbs_out_is_refused_by_name(tmp_path, name, kind):
    archive = tmp_path / f"bad.{kind}"
    if kind == "tar":
        tar_of(archive, (name, b"x"))
    else:
        with zipfile.ZipFile(archive, "w") as packed:
            info = zipfile.ZipInfo("placeholder")
            info.filename = name
            packed.writestr(info, b"x")
    with pytest.raises(StageError, match="climbs out"):
        archives.unpack(archive, tmp_path / "inside")
    assert not list(tmp_path.rglob("out.txt"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_are_refused(tmp_path, kind):
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc/passwd"
    with pytest.raises(StageError, match="link or a device"):
        archives.to_tar(tar_of(tmp_path / "bad.tar", (info, b"")), tmp_path / "out.tar")


def test_truncated_archives_are_refused(tmp_path):
    whole = tar_of(tmp_path / "whole.tar.gz", ("a.bin", os.urandom(200_000)), kind="w:gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(StageError, match=r"cut\.tar\.gz: cannot be read as an archive"):
        archives.to_tar(tmp_path / "cut.tar.gz", tmp_path / "out.tar")


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
def test_a_compressed_tar_is_read_to_its_checksum(tmp_path, kind):
    """It is behind the end of the tar; here it alone is wrong."""
    archive = tar_of(tmp_path / f"a.tar.{kind}", ("a.bin", b"x"), kind=f"w:{kind}")
    whole = archive.read_bytes()
    assert archives.to_tar(archive, tmp_path / "out.tar") == 1
    place = {"gz": -8, "bz2": -3, "xz": -9}[kind]
    archive.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place:][1:])
    with pytest.raises(StageError, match="cannot be read as an archive"):
        archives.to_tar(archive, tmp_path / "again.tar")


def test_what_is_behind_the_end_of_a_tar_is_not_read_without_end(tmp_path, monkeypatch):
    archive = tar_of(tmp_path / "a.tar.gz", ("a.bin", b"x"), kind="w:gz")
    archive.write_bytes(archive.read_bytes() + gzip.compress(bytes(3 << 20)))
    assert archives.to_tar(archive, tmp_path / "out.tar") == 1
    monkeypatch.setattr(archives, "MAX_BEHIND", 2 << 20)
    with pytest.raises(StageError, match=f"more than {2 << 20} bytes behind its end"):
        archives.to_tar(archive, tmp_path / "again.tar")


@pytest.mark.parametrize(
    ("written", "read"),
    [("caf\u00e9/\u732b.txt".encode(), "caf\u00e9/\u732b.txt"), (b"caf\x82.txt", "caf\u00e9.txt"), (b"a.txt", "a.txt")],
)
def test_names_in_a_zip_without_the_mark_of_utf8(tmp_path, written, read):
    """Many programs write UTF-8 and do not say so; else the encoding is that of the format."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("x" * len(written), b"1")
    (tmp_path / "a.zip").write_bytes(content.getvalue().replace(b"x" * len(written), written))
    archives.unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.txt")] == [read]


def test_names_in_a_zip_that_say_that_they_are_utf8(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("caf\u00e9.txt", b"1")
    archives.unpack(tmp_path / "a.zip", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["caf\u00e9.txt"]


def test_a_zip_may_separate_folders_as_windows_does(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("d\\", b"")
        packed.writestr("d\\a.txt", b"hello")
    archives.unpack(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out/d/a.txt").read_bytes() == b"hello"
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as packed:
        packed.writestr("d/b\\c.txt", b"hello")
    with pytest.raises(StageError, match=r"a\.zip: member 'd/b\\\\c\.txt' has / and \\ in its name"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "again")


def test_a_name_that_is_too_long_is_told_without_the_folder_that_it_was_to_go_to(tmp_path):
    tar_of(tmp_path / "a.tar", ("d/" + "a" * 300, b"hello"))
    with pytest.raises(StageError, match=r"a\.tar: member 'd/a+' cannot be written: File name too long$"):
        archives.unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"])
def test_every_kind_of_archive_becomes_the_same_tar(tmp_path, kind):
    archive = tmp_path / f"data.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("d/a.txt", b"hello")
    else:
        tar_of(archive, ("d/a.txt", b"hello"), kind="w:" + kind.partition(".")[2])
    assert archives.to_tar(archive, tmp_path / "out.tar") == 1
    with tarfile.open(tmp_path / "out.tar", "r:") as tar:
        assert [(m.name, tar.extractfile(m).read()) for m in tar] == [("d/a.txt", b"hello")]


# -- the scripts, as commands -----------------------------------------------------------------


def run(root, folder, script, *arguments):
    command = [
        sys.executable,
        root / "scripts" / script,
        "--cell",
        "d",
        "--record",
        "r/d.json",
        "--log",
        "r/d.log",
        *arguments,
    ]
    return subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def make(root, folder, *arguments):
    return run(root, folder, "make_tarball.py", "--layout", "mini_supervisely", "--tarball", "r/d.tar", *arguments)


def test_a_local_archive_becomes_the_tar_and_the_folder(root, tmp_path):
    synthetic.write_tar(tmp_path / "plain.tar", "mini_supervisely", IMAGES, seed=1)
    with tarfile.open(tmp_path / "plain.tar") as tar, zipfile.ZipFile(tmp_path / "my data.zip", "w") as packed:
        for member in tar:
            packed.writestr(f"mini_supervisely/{member.name}", tar.extractfile(member).read())
    made = make(root, tmp_path, "--source", "path", "--location", "my data.zip")
    assert made.returncode == 0, made.stderr
    unpacked = run(
        root, tmp_path, "unpack_dataset.py", "--layout", "mini_supervisely", "--tarball", "r/d.tar", "--dataset", "r/d"
    )
    assert unpacked.returncode == 0, unpacked.stderr
    manifest = json.loads((tmp_path / "r/d/manifest.json").read_text())
    assert {file["path"] for file in manifest["files"]} >= {"train.txt", "Images/person_0000.jpg"}
    for file in manifest["files"]:
        assert sha256(tmp_path / "r/d" / file["path"]) == file["sha256"]
    content = record.read(tmp_path / "r/d.json")
    assert content["status"] == "passed" and content["metrics"]["train_images"] == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "path", "--location", "gone.zip"], ["gone.zip", "no such file"]),
        (["--source", "path", "--location", "text.zip"], ["text.zip", "cannot be read as an archive"]),
        (["--source", "path", "--location", "good.tar", "--sha256", "0" * 64], ["good.tar", "sha256", "0" * 64]),
    ],
)
def test_wrong_data_fail_by_name_and_leave_nothing(root, tmp_path, arguments, words):
    (tmp_path / "text.zip").write_text("not an archive")
    tar_of(tmp_path / "good.tar", ("a", b"x"))
    failed = make(root, tmp_path, *arguments)
    assert failed.returncode == 1
    assert sorted(path.name for path in (tmp_path / "r").iterdir()) == ["d.failed.json", "d.log"]
    content = record.read(tmp_path / "r/d.failed.json")
    assert content["status"] == "failed"
    for word in words:
        assert word in content["reason"]


def test_a_listed_file_that_is_missing_is_named(root, tmp_path):
    tar_of(
        tmp_path / "d.tar",
        ("train.txt", b"Images/a.jpg Annotations/a.png\n"),
        ("val.txt", b"Images/a.jpg Annotations/a.png\n"),
    )
    failed = run(
        root, tmp_path, "unpack_dataset.py", "--layout", "mini_supervisely", "--tarball", "d.tar", "--dataset", "r/d"
    )
    assert failed.returncode == 1
    assert "Images/a.jpg is listed but not there" in record.read(tmp_path / "r/d.failed.json")["reason"]
    assert not (tmp_path / "r/d").exists()


# -- weights ----------------------------------------------------------------------------------


def fetch(root, folder, location, *arguments):
    fixed = ["--weights-name", "w", "--weights", "r/w.pdparams", "--source", "path", "--location", location]
    return run(root, folder, "fetch_weights.py", *fixed, *arguments)


def test_weights_are_taken_out_of_their_archive(root, tmp_path):
    content = pickle.dumps({"conv.weight": np.arange(6.0)}, protocol=4)
    junk = ("__MACOSX/backbone/._model.pdparams", b"x")
    tar_of(tmp_path / "a.tar.gz", junk, ("backbone/model.pdparams", content), kind="w:gz")
    assert fetch(root, tmp_path, "a.tar.gz").returncode == 0
    assert (tmp_path / "r/w.pdparams").read_bytes() == content
    (tmp_path / "r/w.pdparams").unlink()
    (tmp_path / "plain.pdparams").write_bytes(content)
    assert fetch(root, tmp_path, "plain.pdparams").returncode == 0
    assert (tmp_path / "r/w.pdparams").read_bytes() == content


def test_archives_without_one_weight_file_are_refused(root, tmp_path):
    tar_of(tmp_path / "none.tar", ("a.txt", b"x"))
    tar_of(tmp_path / "two.tar", ("a.pdparams", b"x"), ("b.pdparams", b"x"))
    for name, words in (("none.tar", "holds no .pdparams file"), ("two.tar", "holds two weight files")):
        assert fetch(root, tmp_path, name).returncode == 1
        assert words in record.read(tmp_path / "r/d.failed.json")["reason"]
        assert not (tmp_path / "r/w.pdparams").exists()


def test_released_weights_go_the_whole_way(root, tmp_path):
    """whole_infer from a local archive: a checkpoint is served as the released one, and no training is planned."""
    from conftest import copy_project, planned_jobs, snakemake

    project = copy_project(tmp_path / "project")
    file = tmp_path / "w.pdparams"
    file.write_bytes(b"weights")
    nothing = "weights={pphumanseg_lite_generic: {source: url, url: null}}"
    refused = snakemake(project, "-n", "--config", "mode=whole_infer", nothing)
    assert "weights.pphumanseg_lite_generic.url" in refused.stdout + refused.stderr, "a null url is refused by name"
    config = project / "mine.yaml"
    config.write_text(
        "mode: whole_infer\nmodels: [pp_humanseg_lite]\n"
        f"weights:\n  mine: {{source: path, path: '{file}'}}\n"
        "model_zoo:\n  pp_humanseg_lite: {released_weights: mine}\n"
        "data: {mini_supervisely: mini_supervisely_synthetic}\n"
    )
    planned = snakemake(project, "-n", "--configfile", str(config))
    assert planned.returncode == 0, planned.stdout + planned.stderr
    jobs = planned_jobs(planned.stdout + planned.stderr)
    assert jobs["take_released_weights"] == 1 and "train" not in jobs
