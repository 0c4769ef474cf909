"""What a model's configuration asks for is refused, told or done when a run is planned: before any job."""

import os
import re
from types import SimpleNamespace

import paddle
import pytest
import yaml
from conftest import ROOT, copy_project, planned_jobs, snakemake

from segcert import modelconfig, record
from segcert.compute import components
from segcert.errors import StageError

LITE = ROOT / "config/models/pp_humanseg_lite.yml"
SERVER = ROOT / "config/models/pp_humanseg_server.yml"
URL = "https://example.org/weights/resnet50.tar.gz"
RESIZE = {"type": "Resize", "target_size": [64, 64]}
MINE = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": ["mine"],
    "model_zoo": {"mine": {"algorithm": "X", "config": "models/mine.yml", "data": "mini_supervisely"}},
    "input_size": {"default": [64, 64]},
    "train": {"iters": 2, "topologies": ["single"]},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("planned") / "project")


def plan(project, *arguments, source=LITE, change=None, files=None, settings=None):
    """What a dry run says of a model's configuration, which may be changed or written anew."""
    folder = project / "models"
    folder.mkdir(exist_ok=True)
    content = modelconfig.content(source)
    if change:
        change(content)
    (folder / "mine.yml").write_text(yaml.safe_dump(content))
    for name, text in (files or {}).items():
        (folder / name).write_text(text)
    whole = {**MINE, **(settings or {})}
    (project / "mine.yaml").write_text(yaml.safe_dump(whole))
    done = snakemake(project, *(arguments or ("-n",)), "--configfile", "mine.yaml")
    return done, done.stdout + done.stderr


def put(key, value):
    def change(content):
        *above, last = key.split(".")
        for name in above:
            content = content.setdefault(name, {})
        content[last] = value

    return change


REFUSED = {
    "a URL, and amp": (
        lambda content: (put("precision", "fp16")(content), put("model.pretrained", URL)(content)),
        [
            "models/mine.yml: precision: 'fp16' is refused",
            f"models/mine.yml: model.pretrained: {URL}",
            "model_zoo.mine.pretrained_weights",
        ],
    ),
    "a ratio that is kept": (
        put("export.transforms", [{**RESIZE, "keep_ratio": True}]),
        ["mine.yml: export.transforms.0.keep_ratio: Resize leaves each image at a size of its own"],
    ),
    "an unknown transform": (
        put("train_dataset.transforms", [RESIZE, {"type": "Mine"}]),
        ["mine.yml: train_dataset.transforms.1: Mine: is no transform of paddleseg 2.8.0"],
    ),
    "another layout": (
        lambda content: [content[s].update(type="Cityscapes") for s in ("train_dataset", "val_dataset")],
        ["mine.yml: train_dataset.type: Cityscapes is refused", "has the layout mini_supervisely"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_before_any_job_by_file_and_key(project, case):
    change, words = REFUSED[case]
    done, text = plan(project, change=change)
    assert done.returncode != 0 and "Traceback" not in text
    for word in words:
        assert word in text, text[-3000:]
    assert not (project / "results").exists()


def test_a_chain_that_paddleseg_cannot_read_is_refused_by_file_and_key(project):
    text = "_base_: mine.yml\nmodel: {type: {a: 1}}\n"
    zoo = {"mine": {**MINE["model_zoo"]["mine"], "config": "models/odd.yml"}}
    done, said = plan(project, files={"odd.yml": text}, settings={"model_zoo": zoo})
    assert done.returncode != 0 and "Traceback" not in said
    assert "odd.yml: model.type: a mapping cannot be laid over" in said, said[-2000:]


def test_of_several_bases_the_run_takes_the_data_set_that_paddleseg_takes(project):
    """The first base wins, in the plan and in the stage."""
    base = yaml.safe_dump({"model": {"pretrained": "first.pdparams"}})
    other = yaml.safe_dump({"model": {"pretrained": None, "type": "Other"}, "iters": 7})
    zoo = {"mine": {**MINE["model_zoo"]["mine"], "config": "models/odd.yml"}}
    files = {"odd.yml": "_base_: [first.yml, other.yml, mine.yml]\n", "first.yml": base, "other.yml": other}
    done, text = plan(project, files=files, settings={"model_zoo": zoo})
    assert done.returncode != 0 and "odd.yml: model.pretrained: first.pdparams is not there" in text


def test_it_is_told_what_is_done_otherwise(project):
    """Each thing by file and key, at every planning; nothing where there is nothing to tell."""

    def change(content):
        put("itres", 3)(content)
        put("test_config", {"is_slide": True, "crop_size": [64, 64], "stride": [32, 32]})(content)
        put("model.backbone", {"type": "HRNet_W18_Small_V1", "pretrained": URL})(content)

    done, text = plan(project, change=change)
    assert done.returncode == 0, text[-3000:]
    for words in (
        "itres: PaddleSeg reads no such key (did you mean iters?)",
        "test_config: crop_size, is_slide, stride: not used",
        f"model.backbone.pretrained: {URL} is not loaded: train.pretrained_backbone is false",
    ):
        assert f"note: models/mine.yml: {words}" in text, text[-3000:]
    done, text = plan(project)
    assert done.returncode == 0 and "note: models/" not in text


def test_a_key_that_stands_there_twice_is_told(project):
    folder = project / "models"
    plan(project)
    text = (folder / "mine.yml").read_text() + "iters: 4\n"
    zoo = {"mine": {**MINE["model_zoo"]["mine"], "config": "models/twice.yml"}}
    done, said = plan(project, files={"twice.yml": text}, settings={"model_zoo": zoo})
    assert done.returncode == 0 and re.search(r"twice\.yml:\d+: iters stands there twice; the last one counts", said)


def test_entries_of_weights_take_the_place_of_urls(project):
    """Also weights of the whole model, and with the share that is asked for on the command line."""
    zoo = {"mine": {**MINE["model_zoo"]["mine"], "backbone_weights": "part", "pretrained_weights": "whole"}}
    sources = {name: {"source": "url", "url": f"{URL}.{name}"} for name in ("part", "whole")}
    train = {**MINE["train"], "pretrained_backbone": True}
    settings = {"model_zoo": zoo, "weights": sources, "train": train, "gates": {"pretrained_share": 0.7}}
    change = put("model.backbone.pretrained", URL)
    done, text = plan(project, "-n", "-p", source=SERVER, change=change, settings=settings)
    assert done.returncode == 0, text[-3000:]
    assert f"model.backbone.pretrained: {URL} is not loaded: backbone_weights of the model is, part" in text
    assert planned_jobs(text)["fetch_weights"] == 2
    assert (
        "--backbone-weights results/weights/part.pdparams --pretrained-weights results/weights/whole.pdparams" in text
    )
    assert "--min-pretrained-share 0.7" in text
    scratch = {**settings, "train": MINE["train"]}
    done, text = plan(project, "-n", "-p", source=SERVER, change=change, settings=scratch)
    assert done.returncode == 0 and "fetch_weights" not in planned_jobs(text)
    assert "--leave-out model.backbone.pretrained" in text and "--backbone-weights" not in text
    assert "pretrained_weights: whole is not loaded: train.pretrained_backbone is false" in text


def test_a_transform_of_ones_own_has_a_way(project):
    change = put("train_dataset.transforms", [RESIZE, {"type": "Mine"}, {"type": "Normalize"}])
    own = {"own_transforms": {"Mine": {"random": True, "size": "kept"}}}
    done, text = plan(project, change=change, settings=own)
    assert done.returncode == 0, text[-2000:]
    done, text = plan(project, settings={"own_transforms": {"Mine": {"random": True}}})
    assert done.returncode != 0 and "own_transforms.Mine.size: this key is needed" in text
    done, text = plan(project, settings={"own_transforms": {"Resize": {"random": False, "size": "kept"}}})
    assert done.returncode != 0 and "own_transforms.Resize: is PaddleSeg's own" in text


def test_a_file_of_weights_is_an_input_of_the_training(project):
    """It is loaded, stands in the record with its hash, and another one makes the training again."""
    target = "results/smoke/mine/single_fp32/train.json"
    components.seed_all(5)
    state = components.builder(components.load_config(str(LITE))).model.state_dict()
    file = project / "start.pdparams"
    paddle.save(state, str(file))
    change = put("model.pretrained", "start.pdparams")
    done, text = plan(project, target, change=change)
    assert done.returncode == 0, text[-3000:]
    found = record.read(project / target)
    (told,) = found["metrics"]["pretrained"]
    assert (told["file"], told["loaded"]) == ("start.pdparams", len(state))
    assert "start.pdparams" in found["inputs"]
    again = ("-n", target)
    assert planned_jobs(plan_again(project, *again)) == {}
    times = file.stat()
    paddle.save({name: value + 1 for name, value in state.items()}, str(file))
    assert planned_jobs(plan_again(project, *again)) == {"train": 1}
    paddle.save(state, str(file))
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert planned_jobs(plan_again(project, *again)) == {}


def plan_again(project, *arguments):
    done = snakemake(project, *arguments, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_paddleseg_that_reads_bases_otherwise_than_the_plan_is_refused(monkeypatch):
    """As one of another version may: what is planned would not be what is built."""
    own = components.Config._parse_from_yaml
    monkeypatch.setattr(components.Config, "_parse_from_yaml", classmethod(lambda _, path: {**own(path), "iters": 7}))
    with pytest.raises(StageError, match=r"pp_humanseg_lite\.yml: the PaddleSeg that is imported here reads this file"):
        components.load_config(str(LITE))


def test_a_list_that_a_data_set_does_not_have_is_that_of_the_split(tmp_path, capfd):
    """A configuration of PaddleSeg's names lists of its own data set."""
    assert components._list_in(tmp_path, "data/x/mine.txt", "data/x", "val") == str(tmp_path / "val.txt")
    assert "val_path: data/x/mine.txt is not in the data set: its list val.txt is read" in "".join(capfd.readouterr())
    (tmp_path / "val.txt").touch()
    assert components._list_in(tmp_path, "data/x/fold2/val.txt", "data/x", "val") == str(tmp_path / "val.txt")
    assert "val_path: data/x/fold2/val.txt is not in the data set" in "".join(capfd.readouterr()), "another is told of"
    (tmp_path / "mine.txt").touch()
    assert components._list_in(tmp_path, "data/x/mine.txt", "data/x", "val") == str(tmp_path / "mine.txt")


def test_an_export_without_a_size_has_none():
    free = SimpleNamespace(dic={"export": {"transforms": [{"type": "Normalize"}]}})
    with pytest.raises(StageError, match=r"export\.transforms: leaves images at sizes of their own"):
        components.export_size(free)
