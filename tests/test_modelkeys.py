"""Every key of a model's configuration is done, laid over in a way that is told, or refused by name."""

import copy
import dataclasses

import pytest
from conftest import ROOT

from segcert import modelconfig, modelkeys
from segcert.modelkeys import Run

MODELS = sorted((ROOT / "config/models").glob("*.yml"))
URL = "https://example.org/weights/resnet.tar.gz"


@pytest.fixture
def content():
    """A configuration with a backbone."""
    return copy.deepcopy(modelconfig.content(ROOT / "config/models/pp_humanseg_server.yml"))


def put(content, key, value):
    """A copy with a value under a key of several parts."""
    changed = copy.deepcopy(content)
    part = changed
    *above, last = key.split(".")
    for name in above:
        part = part.setdefault(name, {}) if isinstance(part, dict) else part[int(name)]
    part[last] = value
    return changed


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
@pytest.mark.parametrize("size", [None, [64, 64]])
@pytest.mark.parametrize("under", ["export", "val"])
def test_nothing_is_said_of_the_shipped_ones(path, size, under):
    run = Run(input_size=size, export_size=size, transforms=under)
    assert modelkeys.problems(modelconfig.content(path), run) == []
    assert modelkeys.notes(modelconfig.content(path), run) == []


REFUSED = {
    "amp": ("precision", "fp16", "precision: 'fp16' is refused", "train.precisions"),
    "its level": ("amp_level", "O2", "amp_level: 'O2' is refused", "train.precisions"),
    "a seed": ("seed", 7, "seed: 7 is refused", "`seed` in the run's configuration"),
    "a checkpoint to go on from": ("resume_model", "out/iter_5", "resume_model: ", "model.pretrained: a file"),
    "averaged weights": ("use_ema", True, "use_ema: True", "not kept here"),
    "a graph": (
        "to_static_training",
        True,
        "to_static_training: true is refused",
        "graph: to_static in train.precisions",
    ),
    "another layout of memory": ("model.data_format", "NHWC", "model.data_format: 'NHWC'", "NCHW"),
    "the same of a loss": ("loss.types.0.data_format", "NHWC", "loss.types.0.data_format: 'NHWC'", "NCHW"),
    "grey images": ("train_dataset.img_channels", 1, "train_dataset.img_channels: 1", "allowed: 3"),
    "grey input": ("model.backbone.in_channels", 1, "model.backbone.in_channels: 1", "allowed: 3"),
    "a comma in lists": ("val_dataset.separator", ",", "val_dataset.separator: ','", "a blank"),
    "a data set that is not read": ("train_dataset.type", "EG1800", "train_dataset.type: EG1800", "allowed: Dataset"),
    "two kinds of data set": ("val_dataset.type", "OpticDiscSeg", "val_dataset.type: 'OpticDiscSeg'", "'Dataset'"),
    "no data set": ("val_dataset.type", None, "val_dataset.type: None is refused", "the name of a data set"),
    "training on what validates": ("train_dataset.mode", "val", "train_dataset.mode: 'val'", "allowed: train"),
    "validating on what trains": ("val_dataset.mode", "train", "val_dataset.mode: 'train'", "allowed: val"),
    "no model": ("model.type", None, "model.type: None is refused", "the name of a model"),
    "several labels": ("test_config", {"use_multilabel": True}, "test_config.use_multilabel", "not evaluated here"),
    "a mark that meets no base": ("optimizer._inherited_", False, "optimizer._inherited_: False", "take it out"),
    "a mark deep below": ("loss.types.0._inherited_", True, "loss.types.0._inherited_: True", "take it out"),
    "a random transform": (
        "export.transforms",
        [{"type": "Resize"}, {"type": "RandomBlur"}],
        "export.transforms.1: RandomBlur",
        "random",
    ),
    "an unknown transform": (
        "train_dataset.transforms",
        [{"type": "Mine"}],
        "train_dataset.transforms.0: Mine",
        "own_transforms",
    ),
    "a class that only the loss ignores": (
        "loss.types.0.ignore_index",
        0,
        "loss.types.0.ignore_index: 0 is refused",
        "allowed: 255",
    ),
    "a class that only training ignores": (
        "train_dataset.ignore_index",
        0,
        "val_dataset.ignore_index: 255 is refused",
        "allowed: 0, as train_dataset",
    ),
    "a class that only what validates ignores": (
        "val_dataset.ignore_index",
        0,
        "val_dataset.ignore_index: 0 is refused",
        "allowed: 255",
    ),
    "a number in words": (
        "train_dataset.ignore_index",
        "255",
        "train_dataset.ignore_index: '255' is refused",
        "a whole number",
    ),
    "a section that is a list": ("optimizer", [1], "optimizer: [1] is refused", "a mapping"),
    "an export that is none": ("export", None, "export: None is refused", "a mapping"),
    "weights in a file that is not there": ("model.pretrained", "gone.pdparams", "gone.pdparams is not there", "file"),
    "weights in a folder": ("model.backbone.pretrained", str(ROOT), "model.backbone.pretrained: ", "is a folder"),
    "weights of a URL": ("model.pretrained", URL, f"model.pretrained: {URL} is refused", "pretrained_weights"),
    "a backbone's of a URL": (
        "model.backbone.pretrained",
        URL,
        f"model.backbone.pretrained: {URL} is refused",
        "backbone_weights; or write null",
    ),
    "a part's of a URL": ("model.head", {"pretrained": URL}, "model.head.pretrained: ", "fetch it, and name the file"),
    "weights, yes": ("model.pretrained", True, "model.pretrained: True is refused", "null, or a file"),
    "weights, no": ("model.pretrained", False, "model.pretrained: False is refused", "null, or a file"),
    "weights without a name": ("model.pretrained", "", "model.pretrained: '' is refused", "null, or a file"),
    "weights that Snakemake takes for a pattern": ("model.pretrained", "{a}.pdparams", "model.pretrained: '{a}", "{ }"),
}


def test_a_number_that_is_ignored_everywhere_is_the_configurations_own(content):
    for key in ("train_dataset.ignore_index", "val_dataset.ignore_index", "loss.types.0.ignore_index"):
        content = put(content, key, 4)
    assert modelkeys.problems(content, Run()) == []
    content["loss"]["types"][0] = {"type": "MixedLoss", "losses": [{"type": "DiceLoss", "ignore_index": 255}]}
    (found,) = modelkeys.problems(content, Run())
    assert found.startswith("loss.types.0.losses.0.ignore_index: 255 is refused; allowed: 4")
    content["train_dataset"]["type"] = content["val_dataset"]["type"] = "PPHumanSeg14K"
    assert modelkeys.problems(content, Run()) == [], "only PaddleSeg knows its number, and compares it"


@pytest.mark.parametrize(
    "first",
    [
        {"type": "Resize", "target_size": [2048, 512], "keep_ratio": True, "size_divisor": 32},
        {"type": "ResizeByShort", "short_size": 512},
    ],
)
def test_a_validation_of_any_size_is_exported_in_the_runs_and_told(content, first):
    """An export's own transforms are left as somebody wrote them."""
    content["val_dataset"]["transforms"] = [first, {"type": "Normalize"}]
    written = content.pop("export")
    assert modelkeys.problems(content, Run())
    run = Run(export_size=[64, 48])
    assert modelkeys.problems(content, run) == []
    told = "val_dataset.transforms: ends in no size or in another than 64x48 (`input_size`), so the exported model and"
    assert [note for note in modelkeys.notes(content, run) if note.startswith(told)]
    content["export"] = {"transforms": content["val_dataset"]["transforms"]}
    assert modelkeys.problems(content, run)
    content["export"] = written
    assert not [note for note in modelkeys.notes(content, run) if "can say otherwise" in note]
    del content["export"]
    content["val_dataset"]["transforms"] = [first, {"type": "RandomBlur"}]
    (found,) = modelkeys.problems(content, run)
    assert found.startswith("val_dataset.transforms.1: RandomBlur: draws random numbers")


NORMALIZE, LETTERBOX = {"type": "Normalize"}, {"type": "Resize", "target_size": [96, 64], "keep_ratio": True}


@pytest.mark.parametrize(
    ("transforms", "run", "words"),
    [
        ([{"type": "Resize", "target_size": [96, 64]}, NORMALIZE], Run(), None),
        ([LETTERBOX, {"type": "Padding", "target_size": [96, 64]}, NORMALIZE], Run(), None),
        (
            [{"type": "ResizeByShort", "short_size": 64}, {"type": "Padding", "target_size": [256, 256]}, NORMALIZE],
            Run(),
            "export.transforms has no Resize that could have another size (ResizeByShort, Padding, Normalize)",
        ),
        # The run puts a Resize before them in the export too, so that images are as in that.
        ([{"type": "Padding", "target_size": [96, 64]}, NORMALIZE], Run(export_size=[96, 64]), None),
        (
            [{"type": "Resize", "target_size": [96, 64]}, {"type": "LimitLong", "max_long": 200}, NORMALIZE],
            Run(),
            "export.transforms: images come out of it",
        ),
        ([{"type": "Padding", "target_size": [96, 64]}, NORMALIZE], Run(exports=False), None),
    ],
)
def test_transforms_that_cannot_be_given_another_size_are_refused(content, transforms, run, words):
    content = put(content, "export.transforms", transforms)
    assert modelkeys.problems(content, run) == []
    found = modelkeys.problems(content, dataclasses.replace(run, sizes=[(500, 300)]))
    assert len(found) == bool(words)
    assert all(one.startswith("infer.sizes: 500x300: ") and words in one for one in found), found


def test_transforms_that_are_refused_anyway_are_told_of_once(content):
    content = put(content, "export.transforms", [{"type": "Resize", "target_size": [96, 64]}, {"type": "RandomBlur"}])
    found = modelkeys.problems(content, Run())
    assert found and found == modelkeys.problems(content, Run(sizes=[(500, 300)]))


def test_an_export_that_normalises_otherwise_than_the_training_is_told(content):
    (told,) = modelkeys.notes(put(content, "export.transforms", [{"type": "Resize"}]), Run())
    assert told.startswith("export.transforms: normalises otherwise than train_dataset.transforms")
    same = [{"type": "Normalize", "mean": [0.5, 0.5, 0.5]}]
    assert modelkeys.notes(put(content, "export.transforms", same), Run()) == [], "0.5 is what is not written"
    other = [{"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}]
    assert modelkeys.notes(put(content, "export.transforms", other), Run())
    assert modelkeys.notes(put(content, "export.transforms", other), Run(trains=False)) == []


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_done_is_refused_by_key(content, case):
    key, value, *words = REFUSED[case]
    found = modelkeys.problems(put(content, key, value), Run())
    assert len(found) == 1, found
    for word in words:
        assert word in found[0]


@pytest.mark.parametrize("key", modelkeys.NEEDED)
def test_what_is_needed_is_named(content, key):
    del content[key]
    assert modelkeys.problems(content, Run()) == [f"{key}: this key is needed"]


EVALUATION = [
    ({"is_slide": True, "crop_size": [64, 64], "stride": [48, 48]}, None),
    ({"aug_eval": True, "scales": [0.5, 1.0], "flip_horizontal": True}, None),
    ({"aug_eval": True, "scales": 0.75}, None),
    ({"auc_roc": True}, None),
    ({"sliding": True}, "test_config.sliding: PaddleSeg's evaluation takes no such key"),
    ({"is_slide": True, "crop_size": [64, 64]}, "test_config.stride: None is refused"),
    ({"is_slide": True, "crop_size": 64, "stride": [48, 48]}, "test_config.crop_size: 64 is refused"),
    ({"is_slide": True, "crop_size": [64, 64], "stride": [96, 48]}, "test_config.stride: [96, 48] is refused: pixels"),
    ({"aug_eval": True, "scales": 1}, "test_config.scales: 1 is refused"),
]


@pytest.mark.parametrize(("asked", "words"), EVALUATION, ids=str)
def test_a_test_config_is_used_or_told(content, asked, words):
    content["test_config"] = asked
    found = modelkeys.problems(content, Run(transforms="val"))
    assert found == [] if words is None else words in found[0]
    assert modelkeys.problems(content, Run()) == []
    assert "evaluate.transforms: val uses it" in modelkeys.notes(content, Run())[0]
    told = modelkeys.notes(content, Run(transforms="val"))
    assert told == (["test_config.auc_roc: is not worked out here"] if "auc_roc" in asked else [])


def test_the_layout_of_the_data_set_must_be_that_of_the_type(content):
    assert modelkeys.problems(content, Run(layout="mini_supervisely")) == []
    assert "train_dataset.type: Dataset is refused" in modelkeys.problems(content, Run(layout="cityscapes"))[0]
    for section in modelkeys.DATASETS:
        content[section]["type"] = "MyOwnData"
    assert modelkeys.problems(content, Run(layout="cityscapes")) == []


def test_what_changes_nothing_is_told(content):
    content |= {"learning_rate": 0.1, "itres": 7, "distill_loss": {"types": [], "coef": []}}
    content["export"]["input_size"] = [1, 2]
    told = modelkeys.notes(content, Run())
    assert told == [
        "learning_rate: PaddleSeg reads no such key; by itself it changes nothing",
        "itres: PaddleSeg reads no such key (did you mean iters?); by itself it changes nothing",
        "distill_loss: is for distillation, which is not done here",
        "export.input_size: only transforms is read of export",
    ]
    assert modelkeys.problems(content, Run()) == []


# -- weights ----------------------------------------------------------------------------------


def test_files_of_weights_are_the_trainings_input(content, tmp_path):
    whole, part = tmp_path / "whole.pdparams", tmp_path / "part.pdparams"
    for file in (whole, part):
        file.write_bytes(b"x")
    content["model"] |= {"pretrained": str(whole)}
    content["model"]["backbone"]["pretrained"] = str(part)
    for fetches in (True, False):
        run = Run(fetches=fetches)
        assert modelkeys.problems(content, run) == modelkeys.notes(content, run) == []
        assert modelkeys.files(content, run) == [str(whole), str(part)]
        assert modelkeys.left_out(content, run) == []
    content["model"]["pretrained"] = "results/weights/mine.pdparams"
    assert modelkeys.problems(content, Run(made=["results/weights/mine.pdparams"])) == []
    assert "is not there" in modelkeys.problems(content, Run(made=["results/weights/other.pdparams"]))[0]
    content["model"]["pretrained"] = "gone.pdparams"
    assert modelkeys.problems(content, Run(trains=False)) == [], "nothing is trained, so nothing is loaded"


def test_weights_of_the_run_go_before_those_of_the_configuration(content):
    content["model"]["backbone"]["pretrained"] = URL
    entries = {"backbone_weights": "resnet"}
    assert modelkeys.problems(content, Run(entries=entries)) == []
    assert modelkeys.notes(content, Run(entries=entries)) == [
        f"model.backbone.pretrained: {URL} is not loaded: backbone_weights of the model is, resnet"
    ]
    scratch = Run(entries=entries, fetches=False)
    assert modelkeys.problems(content, scratch) == []
    assert modelkeys.left_out(content, scratch) == ["model.backbone.pretrained"]
    assert modelkeys.notes(content, scratch) == [
        f"model.backbone.pretrained: {URL} is not loaded: train.pretrained_backbone is false"
    ]
    assert modelkeys.notes(content, Run(trains=False, entries=entries)) == []
    content["model"]["pretrained"] = URL
    assert "model.pretrained: " in modelkeys.problems(content, scratch)[0], "no key says that it is to be left out"
    whole = {"pretrained_weights": "mine"}
    assert modelkeys.problems(content, Run(entries={**entries, **whole})) == []
    told = modelkeys.notes(content, Run(entries=whole, fetches=False))
    assert "pretrained_weights: mine is not loaded: train.pretrained_backbone is false" in told


def test_secrets_in_urls_are_not_shown(content):
    content["model"]["pretrained"] = "https://me:secret@example.org/a.pdparams"
    told = [*modelkeys.problems(content, Run()), *modelkeys.notes(content, Run(entries={"pretrained_weights": "a"}))]
    assert len(told) == 2 and "secret" not in "".join(told)


def test_weights_for_a_backbone_that_is_not_there(content):
    del content["model"]["backbone"]
    found = modelkeys.problems(content, Run(entries={"backbone_weights": "resnet"}))
    assert found == ["model.backbone: there is none to load resnet into; take backbone_weights out"]


def test_transforms_of_paddlesegs_are_not_ones_own(content):
    own = {"Resize": {"random": False, "size": "kept"}}
    assert "own_transforms.Resize: is PaddleSeg's own" in modelkeys.problems(content, Run(own_transforms=own))[0]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        (
            "train_dataset.num_classes",
            "2",
            "train_dataset.num_classes: '2' is refused; allowed: a whole number above 0",
        ),
        ("train_dataset.num_classes", 2.0, "train_dataset.num_classes: 2.0 is refused"),
        ("train_dataset.num_classes", None, "train_dataset.num_classes: None is refused"),
        ("train_dataset.num_classes", 0, "train_dataset.num_classes: 0 is refused"),
        ("val_dataset.num_classes", 3, "val_dataset.num_classes: 3 is refused; allowed: 2, as train_dataset has it"),
        ("val_dataset.num_classes", None, "val_dataset.num_classes: None is refused"),
        ("model.num_classes", 3, "model.num_classes: 3 is refused; allowed: 2, as train_dataset has it"),
        ("model.num_classes", True, "model.num_classes: True is refused"),
        ("val_dataset.ignore_index", 255.0, "val_dataset.ignore_index: 255.0 is refused; allowed: 255"),
        ("loss.coef", None, "loss.coef: None is refused; allowed: a list"),
        ("loss.types", {}, "loss.types: {} is refused; allowed: a list"),
        ("loss.coef", [], "loss.coef: [] is refused"),
        ("loss.coef", [0], "loss.coef: [0] is refused: with it nothing is learnt; allowed: numbers whose sum is above"),
        ("loss.coef", [-1], "loss.coef: [-1] is refused"),
        ("loss.types.0.weight", [0, 0.0], "loss.types.0.weight: [0, 0.0] is refused: with it nothing is learnt"),
        ("lr_scheduler.learning_rate", 0, "lr_scheduler.learning_rate: 0 is refused: with it nothing is learnt; allow"),
        ("lr_scheduler.learning_rate", "5e-4", "lr_scheduler.learning_rate: '5e-4' is refused: to YAML that is text"),
        ("optimizer.weight_decay", "1E-5", "optimizer.weight_decay: '1E-5' is refused: to YAML that is text"),
        (
            "loss.coef",
            ["5e-1"],
            "loss.coef.0: '5e-1' is refused: to YAML that is text; allowed: a number, which is writ",
        ),
        ("lr_scheduler.learning_rate", -0.1, "lr_scheduler.learning_rate: -0.1 is refused"),
        ("loss.types", [{"type": "CrossEntropyLoss"}] * 3, "loss.types: 3 items are refused; allowed: 1 or "),
    ],
)
def test_numbers_of_classes_and_losses_are_the_same_everywhere(content, key, value, words):
    (found,) = modelkeys.problems(put(content, key, value), Run())
    assert found.startswith(words)


def test_what_is_taken_for_what_it_is_not_is_told(content):
    assert modelkeys.notes(content, Run()) == []
    content["train_dataset"] |= {"ignore_index": 1}
    normalize = {"type": "Normalize", "mean": [123.7, 116.3, 103.5], "std": [0.5, 0.5, 0.5]}
    content["train_dataset"]["transforms"] = [normalize, {"type": "RandomDistort"}]
    content["val_dataset"]["transforms"] = [{"type": "Padding"}, {"type": "Normalize"}, {"type": "Padding"}]
    content["export"] = {"transforms": [{"type": "Normalize"}, {"type": "Padding", "im_padding_value": 0}]}
    found = modelkeys.notes(content, Run())
    ignored, mean, distort, padding = found[:4]
    assert ignored.startswith(
        "train_dataset.ignore_index: 1 is one of the 2 classes: its pixels are neither learnt nor"
    )
    assert mean.startswith("train_dataset.transforms.0.mean: [123.7, 116.3, 103.5]: Normalize divides images by 255")
    assert distort.startswith(
        "train_dataset.transforms.1: RandomDistort changes colours, as of images of 0 to 255, and"
    )
    assert padding.startswith("val_dataset.transforms.2: Padding pads with 127.5")


def test_keys_that_paddleseg_drops_deep_inside_are_told_of(content):
    """Of 206 configurations of its own four have one."""
    groups = [{"name": "backbone", "lr_mult": 0.1}, {"name": "head", "lr_multi": 10}]
    content["optimizer"] = {"type": "SGD", "custom_cfg": groups}
    content["loss"]["coeff"] = [1]
    told = modelkeys.notes(content, Run())
    words = "PaddleSeg reads no such key there, and says nothing of it; it reads"
    assert f"loss.coeff: {words} types, coef" in told
    assert f"optimizer.custom_cfg.1.lr_multi: {words} name, lr_mult, weight_decay_mult" in told
    assert not [note for note in told if note.startswith("optimizer.custom_cfg.0")]


def test_what_a_data_set_of_paddlesegs_says_itself(content):
    """The classes of Cityscapes are 19, and 255 is ignored, whatever stands there."""
    for section in ("train_dataset", "val_dataset"):
        content[section] = {"type": "Cityscapes", "mode": section.partition("_")[0],
                            "transforms": content[section]["transforms"]}  # fmt: skip
    assert modelkeys.problems(put(content, "model.num_classes", 19), Run()) == []
    (found,) = modelkeys.problems(content, Run())
    assert found == "model.num_classes: 2 is refused; allowed: 19, the number of classes of Cityscapes"
    del content["model"]["num_classes"]
    (found,) = modelkeys.problems(put(content, "loss.types.0.ignore_index", 0), Run())
    assert found == "loss.types.0.ignore_index: 0 is refused; allowed: 255, as Cityscapes has it"


LISTS = Run(layout="mini_supervisely", data="mine", folder="people", lists={"val": "lists/val.txt"})


@pytest.mark.parametrize(
    ("root", "train", "words"),
    [
        ("people", "people/train.txt", ""),
        ("data/x", "data/x/train.txt", ""),
        ("data/there", "data/there/train.txt", ""),
        ("people", "people/same.txt", ""),
        ("people", "people/train_small.txt", "is read by people/train.txt, which says otherwise"),
        ("people", "people/train_small.txt", "write `lists: {train: train_small.txt}` in datasets.mine"),
        ("people", "people/fold2/train.txt", "write `lists: {train: fold2/train.txt}`"),
        ("./people", "people/fold2/train.txt", "which says otherwise"),
        (None, "people/fold2/train.txt", "which says otherwise"),
        ("data/x", "data/x/fold2/train.txt", "which says otherwise"),
        ("data/x", "data/x/train_small.txt", "which says otherwise"),
        ("people", "splits/train.txt", "`lists: {train: <a list in it>}`"),
        ("people", "people/none.txt", "and that list is not there"),
        ("people", "people/fold3/train.txt", "and that list is not there"),
        ("people", None, "None is refused; allowed: the path of a list"),
        ("people", ["people/train.txt"], "is refused; allowed: the path of a list"),
    ],
)
def test_a_list_that_is_not_the_data_sets_is_refused(content, tmp_path, monkeypatch, root, train, words):
    monkeypatch.chdir(tmp_path)
    lines = {"people/train.txt": "a b\nc d\n", "people/same.txt": "c d\r\na b", "people/lists/val.txt": "e f\n",
             "people/train_small.txt": "a b\n", "people/fold2/train.txt": "c d\n", "splits/train.txt": "c d\n",
             "data/there/train.txt": "x y\n"}  # fmt: skip
    for name, text in lines.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    content["train_dataset"] |= {"dataset_root": root, "train_path": train}
    content["val_dataset"] |= {"dataset_root": "people", "val_path": "people/lists/val.txt"}
    found = modelkeys.problems(content, LISTS)
    assert len(found) == bool(words), found
    assert all(text.startswith("train_dataset.train_path: ") and words in text for text in found), found
    assert modelkeys.notes(content, LISTS) == []


@pytest.mark.parametrize(
    ("folder", "told"),
    [
        ("people", "the data set mine has no such list, so people/train.txt is read"),
        (None, "where the data set mine has no such list, its own list of train is read"),
    ],
)
def test_a_list_that_may_be_another_data_sets_is_told_of(content, tmp_path, monkeypatch, folder, told):
    monkeypatch.chdir(tmp_path)
    content["train_dataset"] |= {"dataset_root": "data/x", "train_path": "data/x/train_list.txt"}
    run = Run(layout="mini_supervisely", data="mine", folder=folder)
    assert modelkeys.problems(content, run) == []
    assert modelkeys.notes(content, run) == [f"train_dataset.train_path: data/x/train_list.txt: {told}"]
