"""A whole checkout in one word: every configuration, and every params file, is a row, and none stops another."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import checkouts
import pytest
import tipc_files
import yaml
from conftest import ROOT, copy_project, planned_jobs, snakemake

from segcert import cells, conclusions, ending, modelkeys, sections, settings, zoo
from segcert.errors import ConfigError
from segcert.machine import Hardware
from segcert.run import Start
from segcert.show import junit, report

CPU = Hardware(0, "cpu", bf16=True)
BASE = """\
train_dataset: &data
  type: Dataset
  mode: train
  dataset_root: data/mini_supervisely
  train_path: data/mini_supervisely/train.txt
  num_classes: 2
  transforms: [{type: Resize, target_size: [64, 64]}, {type: Normalize}]
val_dataset: {<<: *data, mode: val, val_path: data/mini_supervisely/val.txt}
batch_size: 2
iters: 10
optimizer: {type: SGD, momentum: 0.9, weight_decay: 5.0e-4}
lr_scheduler: {type: PolynomialDecay, learning_rate: 0.01, power: 0.9, end_lr: 0}
loss: {types: [{type: CrossEntropyLoss}], coef: [1]}
"""
GOOD = """\
_base_: ../_base_/portraits.yml
model: {type: PPHumanSegLite, num_classes: 2, align_corners: false}
"""
THREE = (
    "\nloss: {types: [{type: MixedLoss, losses: [{type: %s}, {type: CrossEntropyLoss}], coef: [1, 1]}], coef: [1]}\n"
)
CLASSES = (
    "_base_: ../_base_/portraits.yml\ntrain_dataset: {num_classes: 3}\nval_dataset: {num_classes: 3}\n"
    "model: {type: BiSeNetV2, num_classes: 3}"
)
LEFT = {
    # file below configs/: (text, status, words of the reason)
    "bad/cut.yml": ("model: [1, 2\n", "failed", ["cut.yml: is not YAML of plain values"]),
    "bad/bytes.yml": (b"\xff\xfe", "failed", ["bytes.yml: is not text in UTF-8"]),
    "bad/list.yml": ("- 1\n", "failed", ["list.yml: must be a mapping of PaddleSeg's keys"]),
    "bad/no_base.yml": ("_base_: gone.yml\n", "failed", ["no_base.yml: _base_: cannot read", "gone.yml: No such file"]),
    "bad/circle.yml": ("_base_: circle.yml\n", "failed", ["circle.yml comes back to itself"]),
    "bad/no_model.yml": (BASE, "failed", ["model: this key is needed", "no_model.yml"]),
    "bad/{braces}.yml": (GOOD, "failed", ["a path without { }"]),
    "bad/type.yml": (f"{BASE}model: 3\n", "failed", ["model: 3 is refused; allowed: a mapping"]),
    "part/base.yml": (BASE, "skipped", ["it is a part, from which", "part/uses_base.yml inherits"]),
    "kinds/export.yml": (
        "model: {type: PPHumanSegLite, num_classes: 2}\nval_dataset: {type: Dataset}\n",
        "skipped",
        ["train_dataset, optimizer, lr_scheduler, loss", "for an export alone"],
    ),
    "kinds/faces.yml": (
        f"{GOOD}train_dataset: {{type: EG1800}}\nval_dataset: {{type: EG1800}}\n",
        "skipped",
        ["train_dataset.type EG1800: it makes its samples of three lists", "; only ", "Cityscapes"],
    ),
    "kinds/pretraining.yml": (
        "train_dataset: {type: PSSLDataset}\nmodel: {type: STDCSeg}\n",
        "skipped",
        ["train_dataset.type PSSLDataset: it is for a pretraining"],
    ),
    "kinds/labels.yml": (
        f"{CLASSES}{THREE % 'BCELoss'}",
        "skipped",
        ["loss.types.0.losses.0.type: BCELoss of 3 classes", "multi-label segmentation", "use_multilabel: false"],
    ),
    "kinds/hinge.yml": (f"{CLASSES}{THREE % 'LovaszHingeLoss'}", "skipped", ["multi-label segmentation"]),
    "kinds/auxiliary.yml": (
        f"{GOOD}val_dataset: {{transforms: [{{type: AddMultiLabelAuxiliaryCategory}}]}}\n",
        "skipped",
        ["val_dataset.transforms.0.type: AddMultiLabelAuxiliaryCategory", "multi-label segmentation"],
    ),
    "kinds/asked.yml": (f"{GOOD}test_config: {{use_multilabel: true}}\n", "skipped", ["test_config.use_multilabel"]),
    "kinds/panoptic.yml": (
        "model: {type: PanopticDeepLab}\ntrain_dataset: {type: Cityscapes}\n",
        "skipped",
        ["model.type: PanopticDeepLab", "panoptic segmentation is not done here"],
    ),
    "kinds/matting.yml": (
        "model: {type: DIM}\ntrain_dataset: {type: MattingDataset}\nlearning_rate: {value: 0.1}\n",
        "skipped",
        ["train_dataset.type: MattingDataset", "matting is not done here"],
    ),
    "kinds/lungs.yml": (
        f"{GOOD}train_dataset: {{transforms: [{{type: RandomRotation3D}}]}}\n",
        "skipped",
        ["RandomRotation3D", "3-D segmentation is not done here"],
    ),
    "kinds/graph.yml": (f"{GOOD}to_static_training: true\n", "skipped", ["to_static_training: true is refused"]),
    "kinds/edge.yml": (
        f"{GOOD.replace('num_classes', 'pretrained: https://h.example/edge.pdparams, num_classes')}"
        "train_dataset: {transforms: [{type: AddEdgeLabel}]}\n",
        "skipped",
        ["train_dataset.transforms.0: AddEdgeLabel", "own_transforms"],
    ),
    "kinds/gone.yml": (
        f"{GOOD.replace('num_classes', 'pretrained: a/b.pdparams, num_classes')}",
        "skipped",
        ["model.pretrained: a/b.pdparams is not there, looked for in"],
    ),
    "kinds/two.yml": (
        f"{GOOD}val_dataset: {{type: OpticDiscSeg}}\n",
        "skipped",
        ["train_dataset.type Dataset, val_dataset.type OpticDiscSeg"],
    ),
}
RUN = {
    "one/tiny.yml": GOOD,
    "two/tiny.yaml": GOOD,
    "part/uses_base.yml": GOOD.replace("../_base_/portraits.yml", "base.yml"),
    "discs/optic.yml": f"{GOOD}train_dataset: &d {{type: OpticDiscSeg, dataset_root: data/optic}}\nval_dataset: *d\n",
    "edges/edges.yml": f"{CLASSES}{THREE % 'BCELoss, edge_label: true'}",
    "edges/says_so.yml": f"{CLASSES}{THREE % 'BCELoss'}test_config: {{use_multilabel: false}}\n",
    "edges/two_classes.yml": f"{GOOD}{THREE % 'LovaszHingeLoss'}",
}


def zoo_of(root: Path, files: dict[str, str | bytes]) -> Path:
    """Files below configs/ of a folder that looks like a checkout, beside a part of what they inherit."""
    (root / "paddleseg").mkdir(parents=True, exist_ok=True)
    (root / "paddleseg/__init__.py").touch()
    for name, text in {"_base_/portraits.yml": BASE, "_base_/broken.yml": "[", **files}.items():
        file = root / "configs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
    (root / "configs/one/README.md").write_text("no configuration")
    return root


@pytest.fixture
def resolve():
    shipped = tipc_files.shipped(ROOT)

    def run(root, **given):
        given = {"models": "zoo", "paddleseg": str(root), "mode": "smoke", **given}
        return settings.resolve(sections.merge(shipped, given), given, "config.yaml")

    return run


@pytest.fixture
def root(tmp_path):
    return zoo_of(tmp_path / "checkout", {**RUN, **{name: text for name, (text, _, _) in LEFT.items()}})


def rows_of(resolved):
    """Model -> its cells."""
    found: dict[str, list[cells.Cell]] = {}
    for cell in cells.CellTable(resolved, CPU).cells:
        found.setdefault(cell.model, []).append(cell)
    return found


# -- configurations ---------------------------------------------------------------------------


def test_every_configuration_is_a_model_or_one_row_with_its_reason(root, resolve):
    rows = rows_of(resolve(root))
    files = [file for file in (root / "configs").rglob("*") if file.suffix in (".yml", ".yaml")]
    files = [file.relative_to(root / "configs") for file in files if file.parent.name != "_base_"]
    assert len(files) == len(rows) == len(RUN) + len(LEFT)
    assert rows.keys() == {zoo.name_of(file) for file in files}
    for name, (_, status, words) in LEFT.items():
        (row,) = rows[zoo.name_of(Path(name))]
        assert (row.stage, row.name, row.status) == ("train", "not_planned", status), row.reason
        assert all(word in row.reason for word in [*words, name]), row.reason
    for name in RUN:
        own = rows[zoo.name_of(Path(name))]
        assert any(cell.planned for cell in own) and not [cell for cell in own if cell.name == "not_planned"], (
            name,
            own[0].reason,
        )


def test_the_models_of_files_are_as_an_entry_by_hand_has_them(root, resolve):
    resolved = resolve(root)
    entry = resolved["model_zoo"]["one.tiny"]
    assert entry == {
        "algorithm": "PPHumanSegLite",
        "config": str(root / "configs/one/tiny.yml"),
        "data": "mini_supervisely",
        "backbone_weights": None,
        "pretrained_weights": None,
    }
    assert cells.CellTable(resolved, CPU).dataset("one.tiny") == "mini_supervisely_synthetic"
    note = f"{root}/configs/one/tiny.yml: data/mini_supervisely: mode smoke works on generated data"
    assert note in resolved["zoo_notes"]


def test_data_and_weights_that_the_files_name(root, resolve):
    """A folder of the checkout where it is there; without it, and without generated data, there is none."""
    url = "https://host.example/backbone/weights.tar.gz"
    pretrained = GOOD.replace("num_classes", f"backbone: {{type: R, pretrained: '{url}'}}, num_classes")
    zoo_of(root, {"one/weights.yml": pretrained, "one/elsewhere.yml": f"{GOOD}train_dataset: {{dataset_root: x}}\n"})
    (root / "data/mini_supervisely").mkdir(parents=True)
    for split in ("train", "val"):
        (root / f"data/mini_supervisely/{split}.txt").touch()
    resolved = resolve(root, mode="lite_train_lite_infer", zoo={"include": ["one/*"]})
    data = resolved["datasets"][resolved["data"][resolved["model_zoo"]["one.tiny"]["data"]]]
    assert (data["source"], data["path"]) == ("folder", str(root / "data/mini_supervisely"))
    weights = resolved["weights"][resolved["model_zoo"]["one.weights"]["backbone_weights"]]
    assert weights == {"source": "url", "url": url}
    assert not [name for name in resolved["weights"] if "edge" in name]
    (row,) = rows_of(resolved)["one.elsewhere"]
    assert row.status == "skipped" and "train_dataset and val_dataset have different dataset_root" in row.reason
    (root / "data/mini_supervisely/train.txt").unlink()
    resolved = resolve(root, mode="lite_train_lite_infer", zoo={"include": ["one/*"]})
    assert "train_path data/mini_supervisely/train.txt is not there" in rows_of(resolved)["one.tiny"][0].reason


@pytest.mark.parametrize(("section", "key", "list_"), [("val", "val_path", "test"), ("train", "train_path", "val")])
def test_a_list_of_another_split_is_not_taken_from_generated_data(root, resolve, section, key, list_):
    """It would be trained or judged on other images than the manifest has."""
    own = f"{section}_dataset: {{{key}: data/mini_supervisely/{list_}.txt}}\n"
    zoo_of(root, {"one/other.yml": f"{GOOD}{own}"})
    resolved = resolve(root)
    (row,) = rows_of(resolved)["one.other"]
    told = f"{key} data/mini_supervisely/{list_}.txt: is the list of {list_} in generated data; name data of your own"
    assert row.status == "skipped" and told in row.reason


def test_released_weights_of_the_zoo_are_nobodys(root, resolve):
    rows = rows_of(resolve(root, mode="whole_infer"))
    assert {row.status for row in rows["one.tiny"]} == {"unverified"}
    (row,) = rows["bad.cut"]
    assert (row.topology, row.name, row.status) == ("released", "released", "failed")


def test_names_are_of_the_place_alone(root, resolve):
    before = {name for name in resolve(root)["models"] if name.endswith("tiny")}
    zoo_of(root, {"three/tiny.yml": GOOD, "a.b/tiny.yml": GOOD, "a/b/tiny.yml": GOOD, "_x/y z.yml": GOOD})
    resolved = resolve(root)
    names = resolved["models"]
    assert before < set(names) and len(set(names)) == len(names) == len(RUN) + len(LEFT) + 4
    assert zoo.name_of(Path("one/tiny.yml")) == "one.tiny"
    assert zoo.name_of(Path("a.b/tiny.yml")).startswith("a_b.tiny_")
    assert zoo.name_of(Path("a/b/tiny.yml")) == "a.b.tiny"
    assert zoo.name_of(Path("two/tiny.yaml")) != zoo.name_of(Path("two/tiny.yml")) == "two.tiny"
    assert zoo.name_of(Path("_.yml")).startswith("file_") and zoo.name_of(Path("_x/y z.yml")).startswith("x.y_z_")
    assert resolve(root, zoo={"include": ["one/*"]})["models"] == ["one.tiny"]


@pytest.mark.parametrize(
    ("patterns", "models", "told"),
    [
        ({"include": ["*/tiny.y*ml"]}, 2, "2 of the"),
        ({"include": ["one/*", "discs/**/*"]}, 2, "2 of the"),
        ({"exclude": ["bad/*", "kinds/*"]}, len(RUN) + 1, f"{len(RUN) + 1} of the"),
        ({}, len(RUN) + len(LEFT), None),
    ],
)
def test_patterns_choose_files_and_the_rest_is_told(root, resolve, patterns, models, told):
    resolved = resolve(root, zoo=patterns)
    assert len(resolved["models"]) == models
    first = resolved["zoo_notes"][0]
    assert (told in first and "zoo.include, zoo.exclude" in first) if told else "are taken" not in first


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"zoo": {"include": ["one/*", "nine/*"]}}, ["zoo.include.1: 'nine/*' matches none of the", "take it out"]),
        ({"zoo": {"exclude": ["tiny"]}}, ["zoo.exclude.0: 'tiny' matches none"]),
        ({"zoo": {"include": ["_base_/*"]}}, ["zoo.include.0: '_base_/*' matches none"]),
        ({"zoo": {"include": ["/one"]}}, ["zoo.include.0: '/one' is refused", "allowed: a pattern of names"]),
        ({"zoo": {"exclude": ["**/*"]}}, ["zoo.exclude: ['**/*'] leaves none of the files"]),
        ({"zoo": {"include": []}}, ["zoo.include: [] is refused"]),
        ({"zoo": {"only": []}}, ["zoo.only: [] : no such key"]),
        ({"paddleseg": "installed"}, ["models: zoo needs a checkout", "paddleseg=FOLDER"]),
        ({"paddleseg": "auto"}, ["models: zoo needs a checkout", "paddleseg=FOLDER"]),
    ],
)
def test_what_cannot_be_meant_is_refused_by_key_and_pattern(root, resolve, given, words):
    with pytest.raises(ConfigError) as refused:
        resolve(root, **given)
    for word in words:
        assert word.replace("[] :", "[]:") in str(refused.value)


def test_a_package_without_configurations_is_refused(tmp_path, resolve):
    (tmp_path / "paddleseg").mkdir()
    (tmp_path / "paddleseg/__init__.py").touch()
    with pytest.raises(ConfigError, match=r"there is no folder .*/configs \(paddleseg: "):
        resolve(tmp_path)


def test_some_of_the_zoo_are_asked_for_by_name(root, resolve):
    """In any mode, beside others; a broken one is its row, and the conclusions say what was not asked for."""
    resolved = resolve(root, models=["bad.cut", "pp_humanseg_lite", "one.tiny"])
    assert resolved["models"] == ["bad.cut", "pp_humanseg_lite", "one.tiny"]
    everything = resolve(root)
    for name in ("one.tiny", "bad.cut"):
        assert resolved["model_zoo"][name] == everything["model_zoo"][name]
    rows = rows_of(resolved)
    assert rows.keys() == set(resolved["models"]) and [cell.status for cell in rows["bad.cut"]] == ["failed"]
    assert not [note for note in resolved["zoo_notes"] if "are taken" in note]
    left = conclusions.scope_of(cells.CellTable(resolved, CPU))["not_asked_for"]
    assert {"kinds.faces", "discs.optic", "ocrnet_hrnetw48"} <= set(left) and len(left) == len(set(left))
    assert len(left) + 3 == len(RUN) + len(LEFT) + 8
    found = conclusions.conclude(cells.CellTable(resolved, CPU))
    assert f"3 of the {len(left) + 3} models of the configuration; not asked for: " in report.markdown(found)
    assert f" and {len(left) - 20} more." in report.markdown(found) and "等。" in report.chinese(found)
    assert resolve(root, models="one.tiny")["models"] == ["one.tiny"]
    # What a configuration says of others of the zoo is no reason to refuse it.
    others = {"default": 2, "discs.optic": 3}
    assert resolve(root, models=["one.tiny"], train={"iters": others})["train"]["iters"]["discs.optic"] == 3
    with pytest.raises(ConfigError, match=r"train\.iters\.discs\.optik"):
        resolve(root, models=["one.tiny"], train={"iters": {"default": 2, "discs.optik": 3}})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"models": ["one.tny"]}, ['"one.tny" is refused', "(did you mean one.tiny?)"]),
        ({"models": ["one.tiny"], "paddleseg": "installed"}, ['"one.tiny" is refused', "with paddleseg=FOLDER"]),
    ],
)
def test_a_name_that_no_configuration_has_is_refused(root, resolve, given, words):
    with pytest.raises(ConfigError) as refused:
        resolve(root, **given)
    assert all(word in str(refused.value) for word in words)


def test_weights_are_called_the_same_whichever_models_a_run_has(root, resolve):
    """Else a shard would take another's file for its own."""
    for host in ("a", "b"):
        weights = f"pretrained: 'https://{host}.example/x/model.pdparams', num_classes"
        zoo_of(root, {f"hosts/{host}.yml": GOOD.replace("num_classes", weights)})
    both = resolve(root, zoo={"include": ["hosts/*"]})
    alone = resolve(root, models=["hosts.b"])
    names = [both["model_zoo"][f"hosts.{host}"]["pretrained_weights"] for host in ("a", "b")]
    assert len(set(names)) == 2 and alone["model_zoo"]["hosts.b"]["pretrained_weights"] == names[1]


def test_mode_zoo_is_every_model_small_and_in_its_own_aspect(root, resolve):
    zoo_of(root, {"one/open.yml": f"{GOOD}train_dataset: {{transforms: [{{type: Normalize}}]}}\nval_dataset: "
                                  "{transforms: [{type: Normalize}]}\n"})  # fmt: skip
    big = BASE.replace("[64, 64]", "[2048, 1024]")
    zoo_of(root, {"_base_/big.yml": big, "one/big.yml": GOOD.replace("portraits", "big")})
    resolved = resolve(root, mode="zoo", models=[*resolve(root)["models"]])
    assert resolved["models"] == resolve(root, mode="smoke")["models"]
    rows = rows_of(resolved)
    train = next(cell for cell in rows["one.big"] if cell.stage == "train")
    assert train.requested["input_size"] == [512, 256] and train.requested["iters"] == 2
    assert next(cell for cell in rows["one.tiny"]).requested["input_size"] == [64, 64]
    assert Counter(cell.stage for cell in rows["one.big"] if cell.planned) == {
        "train": 1, "eval": 1, "export": 1, "infer": 4,
    }  # fmt: skip
    (row,) = rows["one.open"]
    assert row.status == "skipped" and "input_size: 256 is a shorter side, and the configuration leaves" in row.reason
    assert (train.memory_gb, train.memory_mb, train.limits[-2:]) == (10, 10 * 1024 + 512, ["--memory-gb", "10"])
    assert not {"--memory-gb", "--timeout-min"} & set(train.options)


def test_ones_own_entry_says_what_is_done_with_a_file(root, resolve):
    """And what is wrong with it stops the run, as with every model of one's own."""
    own = {"algorithm": "Mine", "config": str(root / "configs/kinds/two.yml"), "data": "mini_supervisely"}
    resolved = resolve(root, model_zoo={"kinds.two": own})
    assert resolved["model_zoo"]["kinds.two"] == own and "kinds.two" in resolved["models"]
    assert any(cell.planned for cell in rows_of(resolved)["kinds.two"])


def test_a_multi_label_configuration_as_ones_own_model_is_refused(root, plan_run, tmp_path):
    """It trained as an ordinary model of three classes."""
    entry = {"algorithm": "X", "config": str(root / "configs/kinds/labels.yml"), "data": "mini_supervisely"}
    config = {"mode": "smoke", "hardware": "cpu", "models": ["x"], "model_zoo": {"x": entry}}
    with pytest.raises(ConfigError, match=r"labels\.yml: loss\.types.* multi-label segmentation, which is not done"):
        plan_run(config, Start())


def test_no_model_of_the_shipped_ones_is_for_another_task():
    from segcert import modelconfig

    for file in (ROOT / "config/models").glob("*.yml"):
        assert modelkeys.other_task(modelconfig.content(file)) is None


def test_what_the_user_asks_of_trainings_is_no_reason_to_stop(root, resolve):
    given = {"train": {"topologies": ["single"]}, "infer": {"from_topologies": ["single"]}}
    rows = rows_of(resolve(root, **given))
    assert [cell.status for cell in rows["bad.cut"]] == ["failed"]
    assert Counter(cell.topology for cell in rows["one.tiny"]) == {"single": len(rows["one.tiny"])}


def test_what_is_so_of_many_files_is_told_once(tmp_path, plan_run):
    files = {**RUN, **{name: text for name, (text, _, _) in LEFT.items()}}
    root = tmp_path / "whole"
    zoo_of(checkouts.plain(root), {**files, **{f"many/{number}.yml": GOOD for number in range(6)}})
    run = plan_run({"mode": "smoke", "hardware": "cpu", "models": "zoo", "paddleseg": str(root)}, Start())
    told = [note for note in ending.notes(run) if "data/mini_supervisely: mode smoke works on generated" in note]
    (note,) = told
    assert note.endswith(f"(the same of {len(run.models) - 2} more files)"), told
    assert any("discs/optic.yml: " in note and "generated data" in note for note in ending.notes(run))
    failed = sum(status == "failed" for _, status, _ in LEFT.values())
    total = len(RUN) + len(LEFT) + 6
    assert any(
        note.startswith(f"{failed} of {total} models are not planned, failed: bad.") for note in ending.notes(run)
    )


def test_a_broken_file_may_be_a_known_failure(root, resolve):
    """Where it is broken as it says; and every document has its row, though nothing ran."""
    known = {"match": {"model": "bad.cut", "stage": "train"}, "reason": "it is old", "link": "https://e.org/1"}
    entries = [{"id": "K0", "error": "is not YAML", "gates": {"pixel_agreement": 0.5}, **known}]
    entries += [{"id": "K1", "error": "is no such text", **known}, {"id": "K2", "error": "is not YAML", **known}]
    found = conclusions.conclude(cells.CellTable(resolve(root, known_failures=entries), CPU))
    (row,) = found.select(model="bad.cut")
    assert row["status"] == "known-failure" and row["reason"].startswith("K2: it is old (https://e.org/1) Seen: ")
    assert "\n" not in row["reason"]
    (row,) = conclusions.conclude(cells.CellTable(resolve(root, known_failures=entries[:2]), CPU)).select(
        model="bad.cut"
    )
    assert row["status"] == "failed"
    for text in (report.markdown(found), report.chinese(found), junit.junit(found)):
        assert all(zoo.name_of(Path(name)) in text for name in LEFT)


# -- params files -----------------------------------------------------------------------------


@pytest.fixture
def tipc(root):
    """Params files of every kind, as a checkout has them."""
    folder = root / "test_tipc/configs"
    good = {"config": "configs/one/tiny.yml", "infer_export": "null"}
    tipc_files.write(folder / "good/train_infer_python.txt", model_name="good", **good)
    tipc_files.write(folder / "good/train_amp_infer_python.txt", model_name="good", **good)
    tipc_files.write(folder / "known/train_infer_python.txt")
    tipc_files.write(folder / "lost/train_infer_python.txt", model_name="lost", config="configs/lost.yml")
    tipc_files.write(folder / "yaml/train_infer_python.txt", model_name="cut", config="configs/bad/cut.yml")
    tipc_files.write(folder / "part/train_infer_python.txt", model_name="part", config="configs/bad/no_model.yml")
    tipc_files.write(folder / "faces/train_infer_python.txt", model_name="faces", config="configs/kinds/faces.yml")
    tipc_files.write(folder / "labels/train_infer_python.txt", model_name="labels", config="configs/kinds/labels.yml")
    tipc_files.write(
        folder / "script/train_infer_python.txt",
        model_name="script",
        config="configs/kinds/matting.yml",
        norm_trainer="Matting/tools/train.py --config {config}",
    )
    (folder / "short").mkdir()
    (folder / "short/train_infer_python.txt").write_text("=====train_params=====\nmodel_name:short\n")
    (folder / "serving").mkdir()
    (folder / "serving/train_infer_python.txt").write_text("=====serving_params=====\nmodel_name:x\n")
    (folder / "known/train_gone_infer_python.txt").symlink_to("nowhere.txt")
    return folder


FAILED = {
    "lost": ["train_infer_python.txt:16: --config configs/lost.yml is not there"],
    "cut": ["cut.yml: is not YAML"],
    "part": ["model: this key is needed", "no_model.yml", "train_infer_python.txt:16"],
    "short-infer_python": ["short/train_infer_python.txt", "wrong number of lines"],
    "known-gone": ["train_gone_infer_python.txt", "cannot be read: No such file"],
}
SKIPPED = {
    "faces": ["train_dataset.type EG1800: it makes its samples", "Cityscapes, Dataset", "train_infer_python.txt:16"],
    "labels": ["multi-label segmentation", "labels.yml"],
    "serving-infer_python": ["its kind is serving_params, not train_params"],
}


ASKED = [
    {},
    {"train": {"topologies": ["single"]}},
    {"train": {"topologies": ["multi"]}, "infer": {"from_topologies": ["multi"]}},
]


@pytest.mark.parametrize("given", ASKED)
def test_every_params_file_of_a_folder_is_a_model_or_a_row(tipc, resolve, given):
    """Also where somebody says which trainings are wanted: that gives none to a file that has none."""
    shipped = tipc_files.shipped(ROOT)
    given = {"params_file": str(tipc), "mode": "smoke", **given}
    resolved = settings.resolve(sections.merge(shipped, given), given, "config.yaml")
    rows = rows_of(resolved)
    assert len(rows) == len(list(tipc.rglob("train_*infer_python.txt"))) == len(FAILED) + len(SKIPPED) + 4
    for status, expected in (("failed", FAILED), ("skipped", SKIPPED)):
        for name, words in expected.items():
            (row,) = rows[name]
            assert (row.stage, row.name, row.status) == ("train", "not_planned", status)
            assert all(word in row.reason for word in words), row.reason
    assert {cell.status for cell in rows["script"]} == {"skipped"}
    assert "Matting/tools/train.py is not done here" in rows["script"][0].reason
    if "train" in given:
        (trained,) = given["train"]["topologies"]
        assert {cell.topology for cell in rows["good"] if cell.planned} == {trained}
        assert [cell for cell in rows["good"] if cell.planned and cell.stage == "infer"]
    planned = {name for name, own in rows.items() if any(cell.planned for cell in own)}
    assert planned == {"good", "good-infer_python", "pp_humanseg_lite"}


def test_a_params_file_that_is_named_itself_still_stops_the_run(tipc):
    shipped = tipc_files.shipped(ROOT)
    given = {"params_file": [str(tipc / "lost/train_infer_python.txt"), str(tipc / "good")]}
    with pytest.raises(ConfigError, match=r":16: error: --config configs/lost\.yml is not there"):
        settings.resolve(sections.merge(shipped, given), given, "config.yaml")


def test_params_files_and_the_zoo_together(root, tipc, resolve):
    """The checkout is that of the params files."""
    resolved = resolve(root, paddleseg="auto", params_file=str(tipc))
    assert len(resolved["models"]) == len(FAILED) + len(SKIPPED) + 4 + len(RUN) + len(LEFT)
    assert len(rows_of(resolved)) == len(resolved["models"])


# -- a run ------------------------------------------------------------------------------------


STREETS = """\
train_dataset:
  type: Cityscapes
  dataset_root: data/cityscapes
  mode: train
  transforms: [{type: ResizeStepScaling}, {type: RandomPaddingCrop, crop_size: [1024, 512]}, {type: Normalize}]
val_dataset: {type: Cityscapes, dataset_root: data/cityscapes, mode: val, transforms: [{type: Normalize}]}
batch_size: 4
iters: 160000
optimizer: {type: SGD, momentum: 0.9, weight_decay: 4.0e-5}
lr_scheduler: {type: PolynomialDecay, learning_rate: 0.01, end_lr: 0, power: 0.9}
loss: {types: [{type: CrossEntropyLoss}], coef: [1]}
"""
# Small models of eight families, as PaddleSeg's files write them: keys of `model`, and weights of losses.
FAMILIES = {
    "bisenet/bisenet.yml": ("type: BiSeNetV2, num_classes: 19", [1, 1, 1, 1, 1]),
    "ddrnet/ddrnet23.yml": ("type: DDRNet_23, pretrained: 'https://host.invalid/ddrnet.pdparams'", [1]),
    "enet/enet.yml": ("type: ENet, num_classes: 19", [1]),
    "fastscnn/fastscnn.yml": ("type: FastSCNN, num_classes: 19, enable_auxiliary_loss: true", [1, 0.4]),
    "mobileseg/mobilenetv3.yml": ("type: MobileSeg, backbone: {type: MobileNetV3_large_x1_0}", [1, 1, 1]),
    "pp_humanseg_lite/streets.yml": ("type: PPHumanSegLite, num_classes: 19", [1]),
    "pp_liteseg/stdc1.yml": (
        "type: PPLiteSeg, backbone: {type: STDC1, pretrained: 'https://host.invalid/stdc1.tar.gz'}, "
        "arm_out_chs: [32, 64, 128], seg_head_inter_chs: [32, 64, 64]",
        [1, 1, 1],
    ),
    "segformer/b0.yml": ("type: SegFormer, backbone: {type: MixVisionTransformer_B0}, embedding_dim: 256", [1]),
}
BROKEN = "mobileseg.mobilenetv3"


def families(root: Path) -> Path:
    """A checkout with the eight, one of which its code breaks, and two files that plan nothing."""
    texts = {name: LEFT[name][0] for name in ("bad/cut.yml", "kinds/faces.yml")}
    for name, (model, weights) in FAMILIES.items():
        texts[name] = f"_base_: ../_base_/streets.yml\nmodel: {{{model}}}\nloss: {{coef: {weights}}}\n"
    zoo_of(checkouts.plain(root), {**texts, "_base_/streets.yml": STREETS, "one/tiny.yml": GOOD})
    (root / "configs/one/tiny.yml").unlink()
    forward = "    def forward(self, x):\n        x_hw"
    checkouts.edit(
        root, forward, forward.replace("x_hw", 'raise RuntimeError("broken on purpose")\n        x_hw'),
        "paddleseg/models/mobileseg.py",
    )  # fmt: skip
    return root


def concluded(project: Path) -> dict[str, Any]:
    return json.loads((project / "results/zoo/conclusions.json").read_text(encoding="utf-8"))


def test_eight_families_run_in_two_shards_one_of_them_broken(tmp_path):
    """In mode `zoo`. The broken one is red with its cause, and stops none of the others; nor does a shard another."""
    project = copy_project(tmp_path / "project")
    families(project / "checkout")
    mine = {"mode": "zoo", "hardware": "cpu", "paddleseg": "checkout", "input_size": 128}
    mine["infer"] = {"cpu": [{"engine": "native", "precision": "fp32"}]}  # exports run what reads ONNX all the same
    (project / "mine.yaml").write_text(yaml.safe_dump(mine))
    shard = ["bisenet.bisenet", "segformer.b0"]
    done = snakemake(project, "--configfile", "mine.yaml", "--config", f"models={json.dumps(shard)}")
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    first = concluded(project)
    assert not first["red"] and first["counts"] == {"passed": 8}, first["counts"]
    assert {cell["model"] for cell in first["cells"]} == set(first["scope"]["models"]) == set(shard)
    assert {BROKEN, "bad.cut", "kinds.faces", "enet.enet", "pp_humanseg_lite"} <= set(first["scope"]["not_asked_for"])
    records = {cell["record"]: (project / cell["record"]).stat().st_mtime_ns for cell in first["cells"]}

    done = snakemake(project, "--configfile", "mine.yaml")
    told = done.stdout + done.stderr
    assert done.returncode != 0, told
    assert "note: 1 of 10 models are not planned, failed: bad.cut; their rows say why" in told
    assert {path: (project / path).stat().st_mtime_ns for path in records} == records, "what the first shard made"
    whole = concluded(project)
    by_model: dict[str, list[str]] = {}
    for cell in whole["cells"]:
        by_model.setdefault(cell["model"], []).append(cell["status"])
    names = {zoo.name_of(Path(name)) for name in FAMILIES}
    assert by_model.keys() == names | {"bad.cut", "kinds.faces"}
    assert by_model.pop(BROKEN) == ["failed"] + ["blocked"] * 3
    assert by_model.pop("bad.cut") == ["failed"] and by_model.pop("kinds.faces") == ["skipped"]
    assert by_model == dict.fromkeys(names - {BROKEN}, ["passed"] * 4), by_model
    assert whole["scope"]["generated_data"] and whole["scope"]["iterations"] == [2, 2]
    red = {cell["model"]: cell for cell in whole["cells"] if cell["status"] == "failed"}
    assert red.keys() == {BROKEN, "bad.cut"}
    assert red[BROKEN]["stage"] == "train" and "RuntimeError: broken on purpose" in red[BROKEN]["reason"]
    assert "bad/cut.yml: is not YAML of plain values" in red["bad.cut"]["reason"]
    for name in ("conclusions.md", "conclusions.html", "junit.xml"):
        text = (project / "results/zoo" / name).read_text(encoding="utf-8")
        assert all(words in text for words in ("broken on purpose", "bad/cut.yml", "EG1800")), name
    trained = [cell for cell in whole["cells"] if cell["stage"] == "train" and cell["status"] == "passed"]
    assert {tuple(cell["effective"]["input_size"]) for cell in trained} == {(256, 128)}, "in the aspect of 1024x512"
    assert all("--memory-gb 10" in cell["command"] and cell["peak_rss_mb"] > 100 for cell in trained)

    # Nothing is done over again but what is red, and what is mended; also under other bounds.
    (project / "checkout/configs/bad/cut.yml").write_text(GOOD)
    bounds = ["train={memory_gb: 9, timeout_min: 19}", "infer={memory_gb: 7}"]
    again = snakemake(project, "--configfile", "mine.yaml", "-n", "--config", *bounds)
    planned = planned_jobs(again.stdout + again.stderr)
    assert {rule: planned[rule] for rule in ("train", "evaluate", "export", "infer")} == dict.fromkeys(
        ("train", "evaluate", "export", "infer"), 2
    )
