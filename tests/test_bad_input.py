"""Bad input of every kind: it is named, told what to do about, and nothing that was there is lost."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile

import cv2
import numpy as np
import pytest
import stages
import yaml
from conftest import ROOT, planned_jobs, snakemake

from segcert import conclusions, record, sections, settings
from segcert.data import archives, layouts, synthetic
from segcert.errors import ConfigError, StageError
from segcert.files import sha256
from segcert.stage import inputs

FILE = "config/config.yaml"


# -- configuration ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config():
    return yaml.safe_load((ROOT / FILE).read_text(encoding="utf-8"))


def known(**changes):
    entry = {"id": "k", "match": {"stage": "infer"}, "error": "x", "reason": "r", "link": "https://example.org"}
    return {"known_failures": [{**entry, **changes}]}


WRONG = [
    ({"train": {"iters": 50.0}}, ["train.iters", "50.0", "integer"]),
    ({"train": {"iters": True}}, ["train.iters", "true", "integer"]),
    ({"infer": {"cpu_threads": [1, 2.0]}}, ["infer.cpu_threads.1", "2.0", "integer"]),
    ({"gates": {"pixel_agreement": {"fp32": float("nan")}}}, ["gates.pixel_agreement.fp32", "NaN", "number"]),
    ({"infer": {"min_seconds": float("inf")}}, ["infer.min_seconds", "Infinity", "number"]),
    ({"infer": {"min_seconds": -1}}, ["infer.min_seconds", "-1", "at least 0"]),
    ({"input_size": [64]}, ["input_size", "[64]"]),
    ({"python": "py\0thon"}, ["python", "string"]),
    ({"infer": {"warmup": 9, "max_warmup": 3}}, ["infer.max_warmup", "3", "at least infer.warmup, which is 9"]),
    (
        {"train": {"precisions": [{"precision": "fp32"}]}, "infer": {"from_precision": "amp"}},
        ["infer.from_precision", '"amp"', "auto, all, or one of train.precisions: fp32"],
    ),
    (known(error="a(b"), ["known_failures.0.error", "a(b", "a regular expression; this is none"]),
    (
        known(match={"stage": "evaluate"}),
        ["known_failures.0.match.stage", '"evaluate"', "one of train, eval, export, quantise, infer"],
    ),
    (known(match={"engine": "onedn"}), ["known_failures.0.match.engine", '"onedn"', "did you mean onednn?"]),
    (
        known(match={"precision": ["fp32", "float16"]}),
        ["known_failures.0.match.precision", '"float16"', "fp16, bf16, int8"],
    ),
    (known(match={"topology": "multiple"}), ["known_failures.0.match.topology", "one of single, multi, released"]),
    (known(match={"device": "cuda"}), ["known_failures.0.match.device", "one of cpu, gpu"]),
    (known(match={"script": "tools/trian.py"}), ["known_failures.0.match.script", "did you mean tools/train.py?"]),
    (known(match={"level": "O3"}), ["known_failures.0.match.level", "one of O1, O2"]),
    (known(match={"stage": ["eval", "moon"]}), ["known_failures.0.match.stage", '"moon"']),
    (known(link=""), ["known_failures.0.link", "not empty"]),
    (known(id="a b"), ["known_failures.0.id", "a b"]),
    (known(gates={"pixel_agreemnt": 0.9}), ["known_failures.0.gates.pixel_agreemnt", "did you mean pixel_agreement?"]),
    (known(gates={"pixel_agreement": "low"}), ["known_failures.0.gates.pixel_agreement", '"low"', "number"]),
    (known(gates={}), ["known_failures.0.gates", "not empty"]),
    (
        {"known_failures": [{"id": "k", "match": {"stage": "infer"}, "reason": "r", "link": "l"}]},
        ["known_failures.0", "an entry with `error`, `gates` or both"],
    ),
    ({"datasets": {"x y": {"layout": "cityscapes", "source": "path", "path": "a"}}}, ["datasets", "x y"]),
    ({"weights": {"w": {"source": "url", "url": "http://h:no/"}}}, ["weights.w.url", "a URL"]),
    ({"weights": {"w": {"source": "url", "url": "http:///a"}}}, ["weights.w.url", "a URL"]),
    ({"modes": {"smoke": {"train": {"iters": "five"}}}}, ["modes.smoke.train.iters", '"five"']),
    ({"model_zoo": []}, ["model_zoo", "[]", "object"]),
    ({"weights": {"w": {"source": "path", "path": "{x}/a"}}}, ["weights.w.path", "{x}/a", "without { }"]),
    ({"train": None}, ["train", "null", "object"]),
    ({"train": {"batch_norm_momentum": 1}}, ["train.batch_norm_momentum", "1"]),
    ({"train": {"batch_norm_momentum": {"default": None, "m": 0.5}}}, ["train.batch_norm_momentum.m", "`model_zoo`"]),
    ({"gates": {"logits": {"l2": {"bf16": {"default": 0.1, "m": 0.2}}}}}, ["gates.logits.l2.bf16.m", "`model_zoo`"]),
    ({"gates": {"logits": {"peak": {"bf16": {"unet": 0.2}}}}}, ["gates.logits.peak.bf16"]),
    ({"gates": {"logits": {"images": 0}}}, ["gates.logits.images", "0", "at least 1"]),
]


@pytest.mark.parametrize(("overrides", "words"), WRONG, ids=[str(case[0])[:70] for case in WRONG])
def test_configuration_that_cannot_be_used(config, overrides, words):
    with pytest.raises(ConfigError) as refused:
        settings.resolve(sections.merge(config, overrides), overrides, FILE)
    for word in ["--config or --configfile", *words]:
        assert word in str(refused.value)


@pytest.mark.parametrize(
    ("files", "arguments", "words"),
    [
        ({}, ["--config", "python=/nowhere/python"], ["python", "/nowhere/python", "a Python interpreter"]),
        ({"mine.yaml": "a: [1"}, ["--configfile", "mine.yaml"], ["not valid JSON or YAML"]),
        ({"config/config.yaml": "a: 1\nb: [1\n"}, [], ["config/config.yaml: cannot be read as YAML", "line 2"]),
        ({"mine.yaml": "- 1"}, ["--configfile", "mine.yaml"], ["keys at top level"]),
        (
            {"mine.yaml": "mode: smoke\ntrain: {iters: 3}\ninfer:\n  images: 1\n  images: 2\ntrain: {devices: 2}\n"},
            ["--configfile", "mine.yaml"],
            [
                "mine.yaml:5: images stands there twice",
                "mine.yaml:6: train stands there twice, and one would be dropped",
            ],
        ),
        (
            {"m.yml": "- 1\n"},
            ["--config", "mode=smoke", "model_zoo={pp_humanseg_lite: {config: m.yml}}"],
            ["m.yml: must be a mapping"],
        ),
    ],
)
def test_no_traceback_and_no_job_for_a_wrong_configuration(project, files, arguments, words):
    for name, text in files.items():
        (project / name).write_text(text)
    refused = snakemake(project, *arguments)
    text = refused.stdout + refused.stderr
    assert refused.returncode != 0 and "Traceback" not in text
    for word in words:
        assert word in text, text[-2000:]
    assert not (project / "results").exists()


# -- data -------------------------------------------------------------------------------------


IMAGES = {"train": 4, "val": 2, "test": 2}


def png(array):
    return cv2.imencode(".png", array)[1].tobytes()


@pytest.fixture
def altered(tmp_path):
    """A data set's tar with some of its files replaced."""

    def make(**files):
        synthetic.write_tar(tmp_path / "good.tar", "mini_supervisely", IMAGES, seed=1)
        with tarfile.open(tmp_path / "good.tar") as good, tarfile.open(tmp_path / "d.tar", "w") as out:
            for member in good:
                content = files.get(member.name.replace("/", "_").replace(".", "_"), good.extractfile(member).read())
                if content is not None:
                    member.size = len(content)
                    out.addfile(member, io.BytesIO(content))
        return tmp_path

    return make


def unpack(folder):
    options = ["--layout", "mini_supervisely", "--tarball", "d.tar", "--dataset", "r/d"]
    done = stages.script("unpack_dataset.py", folder, *options, "--record", "r/d.json", "--log", "r/d.log")
    return done, (record.read(folder / "r/d.failed.json")["reason"] if done.returncode else None)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train_txt": b""}, ["the split train is empty"]),
        ({"val_txt": b"\n\n"}, ["val.txt line 1 is empty", "val.txt line 2 is empty", "delete it"]),
        ({"train_txt": None}, ["train.txt"]),
        ({"train_txt": b"Images/person_0000.jpg\n"}, ["train", "person_0000.jpg has no label"]),
        ({"train_txt": b"\xff\xfe\x00"}, ["train.txt", "UTF-8"]),
        ({"Images_person_0001_jpg": b"no image"}, ["Images/person_0001.jpg", "is not an image"]),
        ({"Images_person_0001_jpg": b""}, ["Images/person_0001.jpg", "is not an image"]),
        ({"Annotations_person_0001_png": b"GIF"}, ["Annotations/person_0001.png", "is not an image"]),
        (
            {"Annotations_person_0002_png": png(np.zeros((8, 9), np.uint8))},
            ["person_0002.png: is 9x8", "must be equal"],
        ),
    ],
    ids=str,
)
def test_data_that_are_wrong_are_named_when_they_are_unpacked(altered, files, words):
    folder = altered(**files)
    done, reason = unpack(folder)
    assert done.returncode == 1
    for word in words:
        assert word in reason, reason
    assert not (folder / "r/d").exists() and (folder / "d.tar").exists()
    assert not list((folder / "r").glob("*.partial"))


def spoiled_dataset(dataset, folder, spoil):
    """A copy of an unpacked data set after a change to its first training image and label."""
    shutil.copytree(dataset, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    image, label = manifest["splits"]["train"][0]
    spoil(folder / image, folder / label)
    (folder / "train.txt").write_text(f"{image} {label}\n" * 4)
    manifest["splits"]["train"] = [[image, label]] * 4
    (folder / "manifest.json").write_text(json.dumps(manifest))
    sealed(folder)
    return image, label


def sealed(folder):
    """The manifest lists the files as they are: as if they had come so, past what looks at them when they do."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for item in manifest["files"]:
        file = folder / item["path"]
        item |= {"sha256": sha256(file), "bytes": file.stat().st_size}
    path.write_text(json.dumps(manifest))


def fill(value):
    def spoil(image, label):
        cv2.imwrite(str(label), np.full_like(cv2.imread(str(label), cv2.IMREAD_UNCHANGED), value))

    return spoil


def shrink(image, label):
    cv2.imwrite(str(label), np.zeros((10, 12), np.uint8))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (fill(7), ["holds the value 7", "0 to 1 and 255"]),
        (shrink, ["is 12x10", "must be equal"]),
        (
            lambda image, label: image.write_bytes(b"no image"),
            ["cannot be made into a training sample", "whole images"],
        ),
        (
            lambda image, label: label.write_bytes(b"no image"),
            ["is missing or is not an image that Pillow decodes in full"],
        ),
    ],
    ids=["value", "size", "image", "label"],
)
def test_training_names_the_file_that_is_wrong(dataset, tmp_path, spoil, words, workers):
    image, label = spoiled_dataset(dataset, tmp_path / "d", spoil)
    done = stages.train(tmp_path, tmp_path / "d", "--iters", "1", "--batch-size", "2", "--workers", str(workers))
    assert done.returncode == 1
    reason = record.read(tmp_path / "train.failed.json")["reason"]
    assert image in reason or label in reason
    for word in words:
        assert word in reason, reason
    assert "Traceback" not in reason and "Traceback" not in done.stderr
    assert not (tmp_path / "model.pdparams").exists()


def test_an_input_that_is_not_finite_is_not_trained_on(dataset):
    """A ReLU makes 0 of NaN: the loss would be finite."""
    from segcert.compute import components

    class NotFinite:
        def __call__(self, data):
            data["img"] = np.full_like(data["img"], np.nan)
            return data

    config = components.load_config(stages.CONFIG, str(dataset), [32, 32], 1, 2)
    inner = components.builder(config).train_dataset
    assert np.isfinite(components.CheckedDataset(inner)[0]["img"]).all()
    inner.transforms.transforms.append(NotFinite())
    with pytest.raises(StageError, match="is not finite after its transforms"):
        components.CheckedDataset(inner)[0]


OF_INFER = (
    "cell", "record", "log", "export", "dataset", "reference", "benchmark-log", "predictions", "min-agreement",
    "max-miou-drop", "max-logits-l2", "max-logits-peak",
)  # fmt: skip
ALL_OF_INFER = [word for name in OF_INFER for word in (f"--{name}", "1")]


@pytest.mark.parametrize(
    ("script", "arguments", "words"),
    [
        (
            "train.py",
            ["--precision", "amp", "--amp-level", "O1"],
            "--precision amp goes with --amp-level and --amp-dtype",
        ),
        ("train.py", ["--amp-dtype", "float16"], "--precision amp goes with --amp-level and --amp-dtype"),
        ("infer.py", [*ALL_OF_INFER, "--streams", "-1"], "--streams -1 is refused; allowed: 1 and more"),
        ("infer.py", [*ALL_OF_INFER, "--soak", "-5"], "--soak -5 is refused; allowed: 1 and more"),
        ("infer.py", [*ALL_OF_INFER, "--batch-size", "0"], "--batch-size 0 is refused; allowed: 1 and more"),
        ("with_gpus.py", ["-n", "0", "--", "true"], "-n: at least 1"),
    ],
)
def test_a_command_that_makes_no_sense_is_refused_before_it_does_anything(dataset, tmp_path, script, arguments, words):
    if script == "train.py":
        done = stages.train(tmp_path, dataset, "--iters", "1", "--batch-size", "2", *arguments)
    else:
        command = [sys.executable, str(ROOT / "scripts" / script), *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


# -- models and records -----------------------------------------------------------------------


def copied(trained, folder, *names):
    for name in names:
        (shutil.copytree if (trained / name).is_dir() else shutil.copy2)(trained / name, folder / name)
    return folder


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_truncated_checkpoint_is_named(trained, dataset, tmp_path, kept):
    copied(trained, tmp_path, "model.pdparams")
    checkpoint = tmp_path / "model.pdparams"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: int(len(content) * kept)])
    for done, name in ((stages.evaluate(tmp_path, dataset), "eval"), (stages.export(tmp_path), "export")):
        assert done.returncode == 1
        reason = record.read(tmp_path / f"{name}.failed.json")["reason"]
        assert "model.pdparams" in reason and "train it again" in reason
    assert not (tmp_path / "reference").exists() and not (tmp_path / "export").exists()
    assert checkpoint.stat().st_size == int(len(content) * kept), "the file itself is left as it was"


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    folder = copied(trained, tmp_path_factory.mktemp("exported"), "model.pdparams", "reference")
    done = stages.export(folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_evaluation_names_the_file_that_is_wrong(trained, dataset, tmp_path):
    copied(trained, tmp_path, "model.pdparams")
    pair = json.loads((dataset / "manifest.json").read_text())["splits"]["val"][0]

    def reason_of(number, spoil):
        folder = shutil.copytree(dataset, tmp_path / f"d{number}")
        spoil(folder)
        sealed(folder)
        done = stages.evaluate(tmp_path, folder)
        assert done.returncode == 1 and not (tmp_path / "reference").exists()
        return record.read(tmp_path / "eval.failed.json")["reason"]

    for number, name in enumerate(pair):
        reason = reason_of(number, lambda folder, name=name: (folder / name).write_bytes(b"no image"))
        assert name in reason and "decode" in reason, reason
    reason = reason_of(2, lambda folder: (folder / "val.txt").write_text(""))
    assert "d2: the validation split is empty" in reason


def test_inference_without_a_list_is_told_of(exported, dataset, tmp_path):
    copied(exported, tmp_path, "export", "reference")
    folder = shutil.copytree(dataset, tmp_path / "d")
    empty = {"splits": {"train": [], "val": [], "test": []}, "counts": {"train": {}, "val": {}, "test": {}}}
    (folder / "manifest.json").write_text(json.dumps(empty))
    assert stages.infer(tmp_path, folder, "none").returncode == 1
    assert "d: the inference list is empty" in record.read(tmp_path / "none.failed.json")["reason"]


def test_a_model_that_another_paddle_exported_is_told_of_when_it_does_not_load(exported, dataset, tmp_path):
    """The graph's text is made unreadable for this Paddle, and the record says who wrote it."""
    copied(exported, tmp_path, "export", "export.json", "reference")
    graph = tmp_path / "export/model.json"
    graph.write_text(graph.read_text().replace("1.conv2d", "1.conv2d_of_tomorrow"))
    told = record.read(tmp_path / "export.json")
    told["env"]["paddle"] = "9.9.9"
    told["outputs"]["export"] = sha256(tmp_path / "export")
    (tmp_path / "export.json").write_text(json.dumps(told))
    done = stages.infer(tmp_path, dataset, "native", "--upstream", "export.json")
    assert done.returncode == 1
    reason = record.read(tmp_path / "native.failed.json")["reason"]
    assert "cannot load the model" in reason and "exported by Paddle 9.9.9" in reason and "export it again" in reason


def test_a_stage_above_a_corrupted_record_fails_by_its_name(exported, dataset, tmp_path):
    copied(exported, tmp_path, "export", "reference")
    (tmp_path / "export.json").write_text('{"schema_version": 1')
    done = stages.infer(tmp_path, dataset, "native", "--upstream", "export.json")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    reason = record.read(tmp_path / "native.failed.json")["reason"]
    assert "export.json: not a record" in reason and "delete the file and run its target again" in reason


@pytest.mark.parametrize("text", ["", "[", '"a"', '{"schema_version": 1, "status": "passed"}', "[" * 100_000])
def test_a_corrupted_record_is_a_failed_cell(tmp_path, text, monkeypatch):
    path = tmp_path / "train.json"
    path.write_text(text)
    with pytest.raises(record.RecordError, match=r"train\.json.*delete the file and run its target again"):
        record.read(path)
    found = conclusions._source(str(path), lost=False)
    assert found["status"] == "failed" and "delete the file" in found["reason"]
    assert path.read_text() == text


def test_an_input_whose_manifest_is_spoiled_meanwhile_has_changed(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.txt").write_text("a")
    manifest = tmp_path / "set/manifest.json"
    told = json.dumps({"files": [{"path": "a.txt", "sha256": sha256(tmp_path / "set/a.txt"), "bytes": 1}]})
    for spoiled in ("{", b"\xff", told + " "):
        manifest.write_text(told)
        seen = inputs.Inputs([tmp_path / "set"])
        os.utime(tmp_path / "set/a.txt", (1, 1))
        assert seen.changed() is None, "touched and not changed"
        manifest.write_bytes(spoiled if isinstance(spoiled, bytes) else spoiled.encode())
        assert "was changed while it was worked with" in seen.changed()


def test_a_record_without_a_field_that_it_needs_is_not_written(trained, tmp_path):
    content = record.read(trained / "train.json")
    del content["started"], content["schema_version"]
    with pytest.raises(ValueError, match=r"r\.json: a record needs started"):
        record.write(tmp_path / "r.json", content)
    with pytest.raises(ValueError, match="unknown status 'flaky'; one of passed, "):
        record.write(tmp_path / "r.json", {**content, "started": "now", "status": "flaky"})
    assert list(tmp_path.iterdir()) == []


def test_a_record_whose_fields_are_of_another_kind_is_refused(trained, tmp_path):
    good = record.read(trained / "train.json")
    for key, value in (("requested", []), ("metrics", 3), ("command", None), ("inputs", "x"), ("status", {})):
        (tmp_path / "r.json").write_text(json.dumps({**good, key: value}))
        with pytest.raises(record.RecordError, match=key):
            record.read(tmp_path / "r.json")


# -- surroundings -----------------------------------------------------------------------------


@pytest.mark.long
def test_caches_that_cannot_be_written(project, monkeypatch):
    """Home and caches lie below a regular file, where nobody can make anything; Snakemake alone has one of its own."""
    blocked = project / "blocked"
    blocked.write_text("a file")
    for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "PADDLE_HOME"):
        monkeypatch.setenv(name, str(blocked / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(project / "snakemake-cache"))
    config = {"mode": "smoke", "hardware": "cpu", "models": ["pp_humanseg_lite"], "input_size": {"default": [64, 64]}}
    config |= {"train": {"iters": 1, "topologies": ["single"]}}
    (project / "mine.yaml").write_text(yaml.safe_dump(config))
    target = "results/smoke/pp_humanseg_lite/single_fp32/export.json"
    done = snakemake(project, target, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert record.read(project / target)["status"] == "passed"


FUTURE = 4_000_000_000  # the year 2096


def test_files_from_the_future_are_named_before_any_job(project):
    """Snakemake would refuse the first output that is older than what it is made from, after the work."""
    file = project / "scripts/segcert/data/archives.py"
    os.utime(file, (FUTURE, FUTURE))
    refused = snakemake(project, "--config", "mode=smoke")
    text = refused.stdout + refused.stderr
    assert refused.returncode != 0 and "Traceback" not in text
    assert "scripts/segcert/data/archives.py" in text and "2096" in text and "touch" in text
    assert not (project / "results").exists()


@pytest.mark.long
def test_results_from_the_future_are_not_made_again(project):
    config = {
        "mode": "smoke",
        "datasets": {"mini_supervisely_synthetic": {"images": {"train": 4, "val": 2, "test": 2}}},
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(config))
    target = "results/data/mini_supervisely_synthetic.json"
    done = snakemake(project, target, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert record.read(project / target)["status"] == "passed"
    for file in (project / "results").rglob("*"):
        os.utime(file, (FUTURE, FUTURE))
    again = snakemake(project, "-n", target, "--configfile", "mine.yaml")
    assert again.returncode == 0, again.stdout + again.stderr
    assert planned_jobs(again.stdout + again.stderr) == {}


# A stand-in for a clock that is set back again and again: an hour at every look.
BACKWARDS = """
import datetime, itertools, time
steps = itertools.count()
real = time.time
time.time = lambda: real() - 3600 * next(steps)
class Clock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
datetime.datetime = Clock
"""


def test_a_clock_that_goes_backwards_leaves_durations_as_they_are(altered, tmp_path, monkeypatch):
    folder = altered()
    (tmp_path / "site/sitecustomize.py").parent.mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(BACKWARDS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    done, _ = unpack(folder)
    assert done.returncode == 0, done.stderr
    found = record.read(folder / "r/d.json")
    assert 0 <= found["wall_s"] < 600 and found["started"].endswith("Z")


def test_what_is_later_does_not_hang_on_the_clock(tmp_path):
    """A failure is the last word, whatever the times say: a stage that passes takes it away."""
    base = dict.fromkeys(record.REQUIRED, "x")
    base |= {"stage": "train"} | {key: {} for key in ("env", "requested", "effective", "metrics", "inputs")}
    del base["schema_version"]
    record.write(tmp_path / "t.json", {**base, "status": "passed", "started": "2096-01-01T00:00:00Z"})
    record.write(tmp_path / "t.failed.json", {**base, "status": "failed", "started": "2001-01-01T00:00:00Z"})
    assert conclusions._latest(str(tmp_path / "t.json"))["status"] == "failed"


def test_durations_are_of_a_monotonic_clock():
    """The wall clock tells when something began, and nothing else."""
    for file in (ROOT / "scripts").rglob("*.py"):
        assert "time.time()" not in file.read_text(encoding="utf-8"), file


def test_archives_of_odd_names_go_in_and_out(tmp_path):
    synthetic.write_tar(tmp_path / "a data é.tar", "mini_supervisely", IMAGES, seed=1)
    archives.unpack(tmp_path / "a data é.tar", tmp_path / "ein Ordner ü")
    assert layouts.splits(tmp_path / "ein Ordner ü", "mini_supervisely")["train"]
