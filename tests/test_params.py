"""TIPC params files: read, linted, understood, and run as they are."""

import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import tipc_files
import tipc_logs
import yaml
from conftest import planned_jobs, snakemake
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from segcert import cells, modelconfig, sections, settings
from segcert.concluded import Concluded
from segcert.data import archives, folders, layouts
from segcert.errors import ConfigError, StageError
from segcert.machine import Hardware
from segcert.tipc import params, planned

CPU = Hardware(0, "cpu", bf16=True)
GPU = Hardware(8, "gpu")
ALIASES = {
    "pp_liteseg_stdc1": "pp_liteseg_stdc1",
    "pp_liteseg_stdc2": "pp_liteseg_stdc2",
    "pp_humanseg_lite": "pphumanseg_lite",
    "pp_humanseg_mobile": "fcn_hrnetw18_small",
    "pp_humanseg_server": "deeplabv3p_resnet50",
    "fcn_hrnet_w18": "fcn_hrnetw18",
    "ocrnet_hrnetw18": "ocrnet_hrnetw18",
    "ocrnet_hrnetw48": "ocrnet_hrnetw48",
}
MODEL = """\
_base_: base.yml
model: {type: PPHumanSegLite, num_classes: 2, align_corners: false}
lr_scheduler: {type: PolynomialDecay, learning_rate: 0.01, power: 0.9, end_lr: 0}
"""
BASE = """\
train_dataset:
  type: Dataset
  mode: train
  dataset_root: data/people
  train_path: data/people/train_list.txt
  num_classes: 2
  transforms: [{type: Resize, target_size: [64, 64]}, {type: Normalize}]
val_dataset:
  type: Dataset
  mode: val
  dataset_root: data/people
  val_path: data/people/val_list.txt
  num_classes: 2
  transforms: [{type: Resize, target_size: [64, 64]}, {type: Normalize}]
batch_size: 2
iters: 10
optimizer: {type: SGD, momentum: 0.9, weight_decay: 5.0e-4}
loss: {types: [{type: CrossEntropyLoss}], coef: [1]}
"""


@pytest.fixture
def shipped(root):
    return tipc_files.shipped(root)


@pytest.fixture
def resolve(shipped):
    """Settings with params files and the user's other values."""

    def run(*files, **overrides):
        overrides = {**({"params_file": [str(file) for file in files]} if files else {}), **overrides}
        return settings.resolve(sections.merge(shipped, overrides), overrides, "config.yaml")

    return run


@pytest.fixture
def paddleseg(tmp_path):
    """A folder that looks like PaddleSeg's, with a model of two files and a data set with lists of its own."""
    root = tmp_path / "Paddle Seg's $(touch x) `y`;"
    (root / "configs").mkdir(parents=True)
    (root / "configs/model.yml").write_text(MODEL)
    (root / "configs/base.yml").write_text(BASE)
    return root


def people(folder: Path, images: int = 4) -> None:
    """A data set of the layout of mini_supervisely whose lists have other names."""
    import cv2
    import numpy as np

    generator = np.random.default_rng(1)
    for kind in ("Images", "Annotations"):
        (folder / kind).mkdir(parents=True)
    for split in ("train", "val"):
        rows = []
        for number in range(images):
            name = f"{split}_{number}"
            image = generator.integers(0, 255, (64, 64, 3), np.uint8)
            label = np.zeros((64, 64), np.uint8)
            label[16:48, 16 + number : 48] = 1
            image[label == 1] //= 4
            cv2.imwrite(str(folder / f"Images/{name}.png"), image)
            cv2.imwrite(str(folder / f"Annotations/{name}.png"), label)
            rows.append(f"Images/{name}.png Annotations/{name}.png")
        (folder / f"{split}_list.txt").write_text("\n".join(rows) + "\n")
    (folder / "secret.txt").write_text("not part of the data set")


def problems_of(text, file="f.txt"):
    try:
        return params.understand(params.parse(text, file))[1]
    except params.ParamsError as error:
        return error.problems


def meaning_of(**changes):
    meaning, problems = params.understand(params.parse(tipc_files.text(**changes), "f.txt"))
    assert meaning, [str(problem) for problem in problems]
    return meaning


def table_of(resolved, hardware=CPU):
    return cells.CellTable(resolved, hardware)


def skipped(resolved, hardware=CPU):
    return {cell.name: cell for cell in table_of(resolved, hardware).cells if cell.status == "skipped"}


# -- reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("tail", ["", tipc_files.TAIL, "\n\n" + tipc_files.TAIL.replace("\n", "\r\n")])
def test_every_line_is_found_with_its_number(tail):
    text = "\n" + tipc_files.text(tail)  # an empty line, which does not count
    found = params.parse(text, "f.txt")
    for name, number in tipc_files.NUMBER.items():
        line = found[name]
        assert line.number == number + 1
        assert text.split("\n")[line.number - 1].split(":")[0] == line.key
    assert set(found.tails) == set(re.findall("[a-z_]+_benchmark_params", tail))
    meaning, problems = params.understand(found)
    assert meaning and not problems


def test_the_last_line_may_be_left_out():
    lines = tipc_files.lines()[:51]
    assert not params.parse("\n".join(lines), "f")["infer_key_2"].given
    assert not params.parse("\n".join(lines) + tipc_files.TAIL, "f")["infer_key_2"].given


def test_the_size_of_the_tail_is_read_as_height_and_width():
    assert params.understand(params.parse(tipc_files.text(tipc_files.TAIL), "f"))[0].random_input == [398, 224]


TEXT = st.text(st.characters(codec="utf-8"), max_size=60)
PIECES = st.one_of(TEXT, st.sampled_from([*tipc_files.lines(), *tipc_files.TAIL.split("\n"), "##", "====x===="]))


@hypothesis_settings(max_examples=300, deadline=None)
@given(st.one_of(TEXT, st.lists(PIECES, max_size=70).map("\n".join)))
def test_arbitrary_text_never_raises_anything_but_its_own_error(text):
    try:
        params.understand(params.parse(text, "f.txt"))
    except params.ParamsError as error:
        assert error.problems and all(problem.file == "f.txt" for problem in error.problems)


@hypothesis_settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(sorted(tipc_files.NUMBER)),
    st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40),
)
def test_an_arbitrary_value_of_any_line_is_understood_or_refused(name, value):
    lines = tipc_files.lines()
    place = tipc_files.NUMBER[name] - 1
    lines[place] = f"{lines[place].split(':')[0]}:{value}"
    try:
        meaning, problems = params.understand(params.parse("\n".join(lines), "f.txt"))
    except params.ParamsError as error:
        problems, meaning = error.problems, None
    assert (meaning is None) == any(problem.error for problem in problems)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(params.ParamsError, match=r"a\.txt: error: is not text in UTF-8"):
        params.read(tmp_path / "a.txt")
    with pytest.raises(params.ParamsError, match=r"gone\.txt: error: cannot be read"):
        params.read(tmp_path / "gone.txt")


# -- the linter -------------------------------------------------------------------------------

TOO_FEW = tipc_files.lines()
del TOO_FEW[9]
TOO_MANY = tipc_files.lines()
TOO_MANY.insert(31, "more:1")
NO_SEPARATOR = [line for line in tipc_files.lines() if line != "##"]
UNKNOWN = [line.replace("eval_params", "evil_params") for line in tipc_files.lines()]
WRONG_LINES = [
    ("too few lines", TOO_FEW, 13, "wrong number of lines: ## is in place 13 and belongs in place 14: 1 line missing"),
    ("too many lines", TOO_MANY, 37, "infer_params is in place 37 and belongs in place 36: 1 line too many"),
    ("no separators", NO_SEPARATOR, 14, "## is missing; it belongs in place 14"),
    ("cut short", tipc_files.lines()[:45], 45, "wrong number of lines: 45 that are not empty"),
    ("unknown section", UNKNOWN, 23, "unknown section 'evil_params'"),
    ("more behind the last", [*tipc_files.lines(), "a:1", "b:2"], 53, "54 lines before the sections for benchmarks"),
    ("no colon", [tipc_files.lines()[0], "model_name m", *tipc_files.lines()[2:]], 2, "no colon in 'model_name m'"),
    ("another kind", ["=====serving_params=====", "model_name:x"], 1, "a params file of another kind"),
    ("empty", [""], 0, "is empty"),
]


@pytest.mark.parametrize(
    ("lines", "number", "words"), [case[1:] for case in WRONG_LINES], ids=[c[0] for c in WRONG_LINES]
)
def test_wrong_lines_are_told_with_their_number(lines, number, words):
    first = problems_of("\n".join(lines))[0]
    assert first.line == number and words in first.text and first.error


WRONG_VALUES = [
    ({"train_images": "https://host/list.txt"}, "train_images", "a second colon cuts the value of train_infer_img_dir"),
    ({"image_path": "C:\\data\\list.txt"}, "image_path", "a second colon cuts"),
    ({"python": "12:30"}, "python", "a second colon cuts"),
    ({"iters": "lite_train_lite_infer=|lite_train_whole_infer=5|whole_train_whole_infer=5"}, "iters", "has no value"),
    ({"iters": "lite_train_lite_infer=5"}, "iters", "mode lite_train_whole_infer has no value"),
    ({"iters": "lite_train_lite_infer=a|lite_train_whole_infer=5|whole_train_whole_infer=5"}, "iters", "whole number"),
    ({"iters": "light_train=5"}, "iters", "'light_train' is no mode"),
    ({"iters": "50"}, "iters", "'50' is no mode"),
    ({"iters": "lite_train_lite_infer=5|lite_train_lite_infer=6"}, "iters", "lite_train_lite_infer has two values"),
    ({"train_batch_size": "whole_infer=5=6"}, "train_batch_size", "'5=6'"),
    ({"trainer": "norm_trian"}, "trainer", "unknown trainer norm_trian; in this file: norm_train, pact_train"),
    ({"trainer": "norm_train|norm_train"}, "trainer", "twice"),
    ({"autocast": "fp8"}, "autocast", "'fp8' is refused; allowed: null, fp32, fp16"),
    ({"precision": "fp32|fp64"}, "precision", "'fp64' is refused; allowed: fp32, fp16, bf16, int8"),
    ({"norm_trainer": "tools/train.py --config {config} --precision fp8"}, "norm_trainer", "--precision: 'fp8'"),
    ({"norm_trainer": "tools/train.py --config {config} --amp_level O3"}, "norm_trainer", "--amp_level: 'O3'"),
    ({"infer_export": "tools/export.py --config {config}|null"}, "infer_export", "2 values beside 1 of infer_model"),
    ({"infer_quant": "False|True"}, "infer_quant", "2 values beside 1 of infer_model"),
    ({"infer_quant": "maybe"}, "infer_quant", "'maybe' is refused; allowed: True, False"),
    ({"use_gpu": "True|False|True"}, "use_gpu", "3 values beside 2 of gpu_list"),
    ({"gpu_list": "zero"}, "gpu_list", "'zero' is refused; allowed: 0, 0,1, -1"),
    ({"gpu_list": "0,0"}, "gpu_list", "names a GPU twice"),
    ({"gpu_list": "0|0"}, "gpu_list", "twice"),
    ({"cpu_threads": "6|six"}, "cpu_threads", "'six'"),
    ({"cpu_threads": "6|1|6"}, "cpu_threads", "'6' stands there twice"),
    ({"device": ""}, "device", "no value; cpu, gpu or both"),
    ({"norm_export": "--config a.yml"}, "norm_export", "a command begins with a script"),
    ({"infer_batch_size": "0"}, "infer_batch_size", "at least 1"),
    (
        {"norm_trainer": "tools/train.py --config {config} --seed x"},
        "norm_trainer",
        "--seed: 'x' is refused; allowed: a whole",
    ),
    ({"train_extra_key": "--log_iters", "train_extra": "0"}, "train_extra", "--log_iters: '0'"),
    ({"norm_export": "tools/export.py --config {config} --input_shape 512"}, "norm_export", "N 3 HEIGHT WIDTH"),
    ({"infer_export": "tools/export.py --config {config} --input_shape 1 3 a b"}, "infer_export", "N 3 HEIGHT WIDTH"),
    ({"mkldnn": "yes"}, "mkldnn", "'yes' is refused; allowed: True, False"),
    ({"model_name": "a b"}, "model_name", "letters, digits"),
    ({"model_name_key": "modelname"}, "model_name", "stands where model_name belongs"),
    ({"inference": "null"}, "inference", "no command"),
    ({"norm_trainer": "tools/train.py --config 'a.yml"}, "norm_trainer", "No closing quotation"),
]


@pytest.mark.parametrize(("changes", "name", "words"), WRONG_VALUES, ids=[str(c[0])[:70] for c in WRONG_VALUES])
def test_wrong_values_are_told_with_their_line(changes, name, words):
    found = [p for p in problems_of(tipc_files.text(**changes)) if p.error]
    assert any(p.line == tipc_files.NUMBER[name] and words in p.text for p in found), [str(p) for p in found]


@pytest.mark.parametrize("bad", ["$(touch x)", "`touch x`", "; touch x", "& touch x", "> x", "*.yml", "${HOME}"])
@pytest.mark.parametrize("name", ["norm_trainer", "norm_export", "infer_export", "inference", "eval"])
def test_what_only_a_shell_understands_is_refused_in_commands(name, bad):
    found = problems_of(tipc_files.text(**{name: f"tools/train.py --config a.yml {bad}"}))
    assert any(p.line == tipc_files.NUMBER[name] and "no shell reads it here" in p.text for p in found)


def lint(*arguments):
    command = [sys.executable, str(Path(__file__).parents[1] / "scripts/params.py"), "lint", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_lint_command(tmp_path, paddleseg):
    good = tipc_files.write(paddleseg / "tipc/m/train_infer_python.txt", model_name="mine")
    done = lint(good)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr
    bad = tipc_files.write(paddleseg / "tipc/n/train_x_infer_python.txt", model_name="other", cpu_threads="six")
    done = lint(paddleseg / "tipc")
    assert done.returncode == 1 and f"{bad}:43: error: --cpu_threads: 'six'" in done.stdout
    assert "1 understood, 1 errors" in done.stderr
    assert lint(tmp_path / "gone.txt").returncode == 1
    empty = tmp_path / "empty"
    empty.mkdir()
    assert lint(empty).returncode == 1


def test_lint_finds_files_that_are_missing(paddleseg):
    file = tipc_files.write(paddleseg / "tipc/train_infer_python.txt", model_name="mine", config="configs/gone.yml")
    done = lint(file)
    assert done.returncode == 1
    for line in (16, 38):
        assert f"{file}:{line}: error: --config configs/gone.yml is not there" in done.stdout
    known = tipc_files.write(paddleseg / "tipc/train_a_infer_python.txt", config="configs/gone.yml")
    done = lint(known)
    assert done.returncode == 0 and "the built-in configuration of pp_humanseg_lite is used" in done.stdout
    (paddleseg / "configs/base.yml").unlink()
    done = lint(tipc_files.write(paddleseg / "tipc/train_b_infer_python.txt", model_name="mine"))
    assert done.returncode == 1 and ":16: error:" in done.stdout and "cannot read" in done.stdout
    none = {"norm_trainer": "tools/train.py --do_eval", "infer_export": "null"}
    done = lint(tipc_files.write(paddleseg / "tipc/train_c_infer_python.txt", model_name="mine", **none))
    assert done.returncode == 1 and ":16: error: tools/train.py: no --config" in done.stdout
    done = lint(tipc_files.write(paddleseg / "tipc/train_d_infer_python.txt", **none))
    assert done.returncode == 0 and ":16: warning: tools/train.py: no --config" in done.stdout
    long = {"norm_trainer": f"tools/train.py --config {'x' * 300}.yml", "infer_export": "null"}
    done = lint(tipc_files.write(paddleseg / "tipc/train_e_infer_python.txt", model_name="mine", **long))
    assert done.returncode == 1 and "x.yml is not there" in done.stdout, done.stderr


def test_a_params_file_that_cannot_be_read_is_named_in_its_folder(paddleseg):
    tipc_files.write(paddleseg / "tipc/train_infer_python.txt")
    gone = paddleseg / "tipc/train_gone_infer_python.txt"
    gone.symlink_to("nowhere.txt")
    done = lint(paddleseg / "tipc")
    assert done.returncode == 1 and f"{gone}: error: cannot be read: No such file or directory" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_folders_files_of_another_kind_are_rows_with_their_reason(paddleseg, resolve):
    tipc_files.write(paddleseg / "tipc/train_infer_python.txt")
    (paddleseg / "tipc/train_other_infer_python.txt").write_text("=====serving_params=====\nmodel_name:x\n")
    resolved = resolve(paddleseg / "tipc")
    assert resolved["models"] == ["pp_humanseg_lite", "tipc-other"]
    assert "left out: its kind is serving_params" in skipped(resolved)["not_planned"].reason
    assert str(paddleseg / "tipc/train_other_infer_python.txt") in skipped(resolved)["not_planned"].reason
    with pytest.raises(ConfigError, match="another kind"):
        resolve(paddleseg / "tipc/train_other_infer_python.txt")
    (paddleseg / "tipc/train_infer_python.txt").unlink()
    assert resolve(paddleseg / "tipc")["models"] == ["tipc-other"]


# -- what they mean ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gpu_list", "kinds"),
    [
        ("0", [("single", 1)]),
        ("11", [("single", 1)]),
        ("0,1", [("multi", 2)]),
        ("0|0,1", [("single", 1), ("multi", 2)]),
        ("0,1,2,3|0", [("multi", 4), ("single", 1)]),
        ("-1", [("cpu", 1)]),
        ("192.168.0.1,192.168.0.2;0,1", [("machines", 4)]),
        ("0|10.0.0.1,10.0.0.2;0", [("single", 1), ("machines", 2)]),
    ],
)
def test_gpu_list_forms(gpu_list, kinds):
    assert [(entry.kind, entry.count) for entry in meaning_of(gpu_list=gpu_list).devices] == kinds


@pytest.mark.parametrize(
    ("gpu_list", "topologies", "devices", "device"),
    [("0", ["single"], 2, "auto"), ("0,1,2,3", ["multi"], 4, "auto"), ("-1", ["single"], 2, "cpu")],
)
def test_gpu_list_becomes_topologies(tmp_path, resolve, gpu_list, topologies, devices, device):
    file = tipc_files.write(tmp_path / "train_infer_python.txt", gpu_list=gpu_list)
    train = sections.of_model(resolve(file), "pp_humanseg_lite", "train")
    assert (train["topologies"], train["devices"], train["device"]) == (topologies, devices, device)
    rows = [c for c in table_of(resolve(file), GPU).cells if c.stage in ("train", "eval") and c.planned]
    assert {c.topology for c in rows} == set(topologies)
    assert {c.requested["device"] for c in rows} == {"cpu" if device == "cpu" else "gpu"}


def test_mixed_precision_on_the_cpu_is_unverified_also_where_there_are_gpus(tmp_path, resolve):
    file = tipc_files.write(tmp_path / "t.txt", gpu_list="-1", autocast_key="--precision", autocast="fp16|fp32")
    train = {c.name: c for c in table_of(resolve(file), GPU).cells if c.stage == "train"}
    assert train["single_amp_O1_float16"].status == "unverified" and "cpu" in train["single_amp_O1_float16"].reason
    assert train["single_fp32"].planned


@pytest.mark.parametrize(
    ("changes", "precisions"),
    [
        ({}, [{"precision": "fp32"}]),
        (
            {"trainer": "amp_train", "norm_trainer_key": "amp_train", "options": "--precision fp16 --amp_level O1"},
            [{"precision": "amp", "level": "O1", "dtype": "float16"}],
        ),
        ({"options": "--precision fp16 --amp_level O2"}, [{"precision": "amp", "level": "O2", "dtype": "float16"}]),
        (
            {"autocast_key": "--precision", "autocast": "fp32|bf16"},
            [{"precision": "fp32"}, {"precision": "amp", "level": "O1", "dtype": "bfloat16"}],
        ),
        ({"autocast": "null|amp"}, [{"precision": "fp32"}, {"precision": "amp", "level": "O1", "dtype": "float16"}]),
        (
            {
                "trainer": "norm_train|amp_train",
                "trainer_1_key": "amp_train",
                "trainer_1": "tools/train.py --config {config} --do_eval --seed 100 --precision fp16",
                "export_1": "tools/export.py --config {config}",
            },
            [{"precision": "fp32"}, {"precision": "amp", "level": "O1", "dtype": "float16"}],
        ),
    ],
)
def test_trainers_and_autocast_become_precisions(tmp_path, resolve, changes, precisions):
    changes = dict(changes)
    changes.setdefault("norm_trainer", f"tools/train.py --config {{config}} --seed 100 {changes.pop('options', '')}")
    resolved = resolve(tipc_files.write(tmp_path / "train_infer_python.txt", **changes))
    assert sections.of_model(resolved, "pp_humanseg_lite", "train")["precisions"] == precisions
    assert not skipped(resolved)


def test_options_and_lists_become_settings(tmp_path, resolve):
    file = tipc_files.write(
        tmp_path / "train_infer_python.txt",
        model_name="fcn_hrnetw18_small",
        norm_trainer="tools/train.py --config {config} --seed 7 --num_workers 3 --save_interval 5",
        train_extra_key="--log_iters",
        train_extra="4",
        iters="|".join(f"{mode}={i}" for i, mode in enumerate(tipc_files.TRAIN_MODES, 11)),
        norm_export="tools/export.py --config {config} --input_shape 1 3 96 160",
        device="cpu",
        mkldnn="True|False",
        cpu_threads="1|6",
        infer_batch_size="1|4",
        precision="fp32|fp16",
    )
    resolved = resolve(file, mode="lite_train_whole_infer")
    model = "pp_humanseg_mobile"
    assert resolved["models"] == [model]
    assert sections.of_model(resolved, model, "seed") == 7
    train, infer = (sections.of_model(resolved, model, key) for key in ("train", "infer"))
    assert (train["iters"], train["batch_size"], train["workers"], train["log_iters"]) == (12, 2, 3, 4)
    assert infer["cpu"] == [
        {"engine": engine, "precision": precision} for engine in ("onednn", "native") for precision in ("fp32", "fp16")
    ]
    assert (infer["gpu"], infer["cpu_threads"], infer["batch_sizes"]) == ([], [1, 6], [1, 4])
    found = table_of(resolved, GPU)
    by_stage = {cell.stage: cell.requested.get("input_size") for cell in found.cells}
    assert by_stage["train"] is None and by_stage["export"] == by_stage["eval"] == [160, 96]


SHAPED = "tools/export.py --config {config} --input_shape "


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        ({"input_size": {"default": [64, 32]}}, [[64, 32]] * 3),
        ({"input_size": [64, 32], "mode": "smoke"}, [[64, 32]] * 3),
        ({"mode": "smoke"}, [[256, 144]] * 3),
        ({"model_zoo": {"pp_humanseg_lite": {"settings": {"input_size": [64, 32]}}}}, [[64, 32]] * 3),
        ({"input_size": [64, 32], "export": {"input_size": [96, 64]}}, [[64, 32], [96, 64], [96, 64]]),
        ({}, [None, [160, 96], [160, 96]]),
    ],
)
def test_the_size_of_a_run_goes_over_that_of_a_file(tmp_path, resolve, settings, sizes):
    """Else a training would be small, and its evaluation and export as large as the file says."""
    file = tipc_files.write(tmp_path / "train_infer_python.txt", norm_export=f"{SHAPED}-1 3 96 160")
    resolved = resolve(file, **settings)
    found = {cell.stage: cell.requested.get("input_size") for cell in table_of(resolved).cells}
    assert [found[stage] for stage in ("train", "eval", "export")] == sizes
    told = [note for note in resolved["params"]["notes"] if "--input_shape: 160 x 96 is not exported" in note]
    assert bool(told) == (sizes[0] is not None)


def test_a_size_of_a_file_that_the_configuration_leaves_open_is_no_larger_than_the_runs(paddleseg, resolve):
    people(paddleseg / "data/people")
    (paddleseg / "configs/base.yml").write_text(BASE.replace("{type: Resize, target_size: [64, 64]}, ", ""))
    file = paddleseg / "train_infer_python.txt"
    file.write_text(tipc_files.text(tipc_files.TAIL, model_name="mine"))
    resolved = resolve(file, input_size=[48, 32])
    found = {cell.stage: cell.requested.get("input_size") for cell in table_of(resolved).cells}
    assert found["train"] == found["eval"] == found["export"] == [48, 32]


@pytest.mark.parametrize(("batch", "sizes"), [("2", [2]), ("-1", [1]), ("None", [1])])
def test_the_batch_of_a_file_is_exported_where_it_cannot_be_free(tmp_path, resolve, batch, sizes):
    file = tipc_files.write(tmp_path / "train_infer_python.txt", norm_export=f"{SHAPED}{batch} 3 96 160")
    assert sections.of_model(resolve(file), "pp_humanseg_lite", "export")["batch_sizes"] == sizes
    asked = resolve(file, export={"batch_sizes": [4]})
    assert sections.of_model(asked, "pp_humanseg_lite", "export")["batch_sizes"] == [4]


@pytest.mark.parametrize("line", ["norm_export", "infer_export"])
@pytest.mark.parametrize("op", ["softmax", "none", "argmax"])
def test_what_a_program_ends_in_is_what_the_export_line_says(tmp_path, resolve, line, op):
    """It goes over the mode, and the user's own goes over it."""
    mode = {"norm_export": "lite_train_lite_infer", "infer_export": "whole_infer"}[line]
    command = f"tools/export.py --config {{config}} --output_op {op}"
    file = tipc_files.write(tmp_path / "train_infer_python.txt", **{line: command})
    of_mode = {"mode": mode, "modes": {mode: {"export": {"output_op": "none"}}}}
    for asked, found in (({}, op), (of_mode, op), ({**of_mode, "export": {"output_op": "softmax"}}, "softmax")):
        resolved = resolve(file, **{"mode": mode, **asked})
        assert sections.of_model(resolved, "pp_humanseg_lite", "export")["output_op"] == found
        cells_of = table_of(resolved).planned("export", "infer")
        assert cells_of and not skipped(resolved)
        assert {cell.requested.get("output_op", "argmax") for cell in cells_of} == {found}
    plain = tipc_files.write(tmp_path / "plain.txt")
    assert sections.of_model(resolve(plain, **of_mode), "pp_humanseg_lite", "export")["output_op"] == "none"


def test_a_mode_that_the_file_does_not_know_uses_its_own_values_and_says_so(tmp_path, resolve, shipped):
    file = tipc_files.write(tmp_path / "train_infer_python.txt")
    resolved = resolve(file, mode="smoke")
    train = sections.of_model(resolved, "pp_humanseg_lite", "train")
    assert train["iters"] == shipped["modes"]["smoke"]["train"]["iters"]
    assert any(f"{file}:7: --iters: no value for mode smoke" in note for note in resolved["params"]["notes"])
    own = tipc_files.write(tmp_path / "own.txt", iters="smoke=3|" + "|".join(f"{m}=9" for m in tipc_files.TRAIN_MODES))
    assert sections.of_model(resolve(own, mode="smoke"), "pp_humanseg_lite", "train")["iters"] == 3


def test_a_list_that_is_null_leaves_the_trainers_own_option(tmp_path, resolve):
    options = {"iters": "null", "norm_trainer": "tools/train.py --config {config} --iters 7"}
    assert meaning_of(**options).iters == {}
    resolved = resolve(tipc_files.write(tmp_path / "train_infer_python.txt", **options))
    assert sections.of_model(resolved, "pp_humanseg_lite", "train")["iters"] == 7
    assert not any("--iters: no value" in note for note in resolved["params"]["notes"])


def test_the_users_own_values_win(tmp_path, resolve):
    file = tipc_files.write(tmp_path / "train_infer_python.txt", norm_trainer="tools/train.py --config c.yml --seed 5")
    resolved = resolve(
        file,
        train={"iters": 3},
        infer={"cpu_threads": [2]},
        model_zoo={"pp_humanseg_lite": {"settings": {"train": {"batch_size": 9}}}},
    )
    train = sections.of_model(resolved, "pp_humanseg_lite", "train")
    assert (train["iters"], train["batch_size"]) == (3, 9)
    assert sections.of_model(resolved, "pp_humanseg_lite", "infer")["cpu_threads"] == [2]
    assert sections.of_model(resolved, "pp_humanseg_lite", "seed") == 5
    other = tipc_files.write(tmp_path / "other.txt", model_name="ocrnet_hrnetw18")
    assert resolve(file, other, models=["ocrnet_hrnetw18"])["models"] == ["ocrnet_hrnetw18"]
    assert resolve(file, mode="gpu_evidence", params_file=str(other))["models"] == ["ocrnet_hrnetw18"]


def test_paddlesegs_own_scripts_are_run_unless_somebody_says_otherwise(tmp_path, resolve):
    """In each mode: such a file names them."""
    file = tipc_files.write(tmp_path / "train_infer_python.txt")
    assert resolve(file)["paddleseg_scripts"] is True and resolve(file, mode="smoke")["paddleseg_scripts"] is True
    assert resolve(file, mode="smoke", paddleseg_scripts=False)["paddleseg_scripts"] is False
    assert resolve()["paddleseg_scripts"] is False and resolve(mode="whole_train_whole_infer")["paddleseg_scripts"]


def test_settings_of_a_model_without_params_files(resolve):
    mine = {"pp_liteseg_stdc1": {"settings": {"train": {"batch_size": 1}, "seed": 4, "input_size": [64, 32]}}}
    found = table_of(resolve(mode="smoke", model_zoo=mine))
    train = {c.model: c.requested for c in found.cells if c.name == "single_fp32" and c.stage == "train"}
    assert [train["pp_liteseg_stdc1"][key] for key in ("batch_size", "seed", "input_size")] == [1, 4, [64, 32]]
    assert [train["pp_liteseg_stdc2"][key] for key in ("batch_size", "seed", "input_size")] == [2, 100, [256, 128]]
    both = resolve(mode="smoke", train={"batch_size": 8}, model_zoo=mine)
    assert sections.of_model(both, "pp_liteseg_stdc1", "train")["batch_size"] == 1, "one's own of the model wins"
    for wrong, words in (
        ({"train": {"batch": 1}}, r"model_zoo\.pp_liteseg_stdc1\.settings\.train\.batch.*no such key"),
        ({"speed": 1}, "no such key"),
        ({"train": {"topologies": ["multi"]}}, r"settings\.infer\.from_topologies"),
    ):
        with pytest.raises(ConfigError, match=words):
            resolve(model_zoo={"pp_liteseg_stdc1": {"settings": wrong}})


# -- what is not done -------------------------------------------------------------------------

QAT = {
    "trainer": "pact_train",
    "norm_trainer": "null",
    "pact_trainer": "deploy/slim/quant/qat_train.py --config {config}",
    "pact_export": "deploy/slim/quant/qat_export.py --config {config}",
    "precision": "int8",
}
NOT_DONE = [
    (QAT, "single_pact_train", "quantisation-aware training (pact) is not done here yet", 17),
    (QAT, "multi_pact_train", "quantisation-aware training (pact)", 17),
    ({"trainer": "norm_train|fpgm_train", "fpgm_trainer": "prune.py"}, "single_fpgm_train", "pruning (fpgm)", 18),
    ({"trainer": "norm_train|distill_train", "distill_trainer": "d.py"}, "multi_distill_train", "distillation", 19),
    ({"trainer": "norm_train|pact_train"}, "single_pact_train", "the command of trainer pact_train is null", 17),
    ({"gpu_list": "0|10.0.0.1,10.0.0.2;0,1"}, "machines_multi_norm_train", "training on several machines", 4),
    ({"gpu_list": "0|1"}, "single_norm_train", "1 is one device again", 4),
    ({"gpu_list": "0,1|0,1,2"}, "multi_norm_train", "a second group of GPUs", 4),
    ({"gpu_list": "0|-1"}, "single_norm_train", "-1 mixes CPU and GPU", 4),
    ({"use_gpu_key": "--device", "use_gpu": "npu"}, "single_norm_train", "--device=npu", 4),
    (
        {"norm_trainer": "Matting/tools/train.py --config c.yml"},
        "single_norm_train",
        "Matting/tools/train.py is not",
        16,
    ),
    (
        {"norm_trainer": "tools/train.py --config {config} --learning_rate 0.5"},
        "single_norm_train",
        "--learning_rate 0.5 of tools/train.py is not done here yet",
        16,
    ),
    ({"pretrained": "weights.pdparams"}, "single_norm_train", "--model_path weights.pdparams", 16),
    ({"autocast": "null|fp32"}, "single_norm_train_fp32", "the same training as that of another", 16),
    ({"norm_export": "null"}, "single_norm_train", "its export is null", 30),
    (
        {"norm_export": "tools/export.py --config {config} --output_op sigmoid"},
        "multi_norm_train",
        "--output_op sigmoid of tools/export.py is not done here yet",
        30,
    ),
    (
        {
            "trainer": "norm_train|amp_train",
            "trainer_1_key": "amp_train",
            "trainer_1": "tools/train.py --config {config} --seed 100 --precision fp16",
            "export_1": "tools/export.py --config {config} --output_op softmax",
        },
        "single_amp_train",
        "its --output_op softmax is not that of line 30, argmax: a model has one here",
        34,
    ),
    ({"eval": "tools/val.py --config {config} --aug_eval"}, "single_eval_line", "--aug_eval of tools/val.py", 24),
    (
        {"eval": "tools/val.py --config configs/other.yml"},
        "multi_eval_line",
        "its --config configs/other.yml is not the trainer's",
        24,
    ),
    (
        {
            "trainer": "norm_train|amp_train",
            "trainer_1_key": "amp_train",
            "trainer_1": "tools/train.py --config {config} --seed 7 --precision fp16",
        },
        "single_amp_train",
        "its --seed differs from that of line 16",
        20,
    ),
    ({"device": "cpu|npu"}, "inference_npu", "--device npu: only cpu and gpu are done", 41),
    ({"inference": "Matting/deploy/python/infer.py"}, "inference", "Matting/deploy/python/infer.py is not done", 40),
]


@pytest.mark.parametrize(("changes", "name", "words", "line"), NOT_DONE, ids=[f"{c[1]}-{c[2][:30]}" for c in NOT_DONE])
def test_what_is_not_done_is_a_skipped_cell_with_its_reason(tmp_path, resolve, changes, name, words, line):
    resolved = resolve(tipc_files.write(tmp_path / "train_infer_python.txt", **changes))
    for hardware in (CPU, GPU):
        cell = skipped(resolved, hardware)[name]
        assert words in cell.reason and cell.reason.endswith(f"(train_infer_python.txt:{line})")
        assert all(c.planned for c in table_of(resolved, hardware).planned())


def test_what_is_not_done_is_called_what_the_file_calls_it(tmp_path, resolve):
    """In the place of a precision, which it has none of."""
    changes = {**QAT, "inference": "Matting/deploy/python/infer.py"}
    cells_of = skipped(resolve(tipc_files.write(tmp_path / "train_infer_python.txt", **changes)))
    asked = {name: cells_of[name].requested for name in ("single_pact_train", "inference")}
    assert asked == {
        "single_pact_train": {"device": "cpu", "devices": 1, "what": "trainer pact_train"},
        "inference": {
            "device": "cpu", "devices": 1, "engine": "native", "threads": 1, "batch_size": 1, "what": "inference",
        },
    }  # fmt: skip
    assert Concluded({"requested": asked["single_pact_train"]}).precision == "trainer pact_train"
    assert Concluded({"stage": "infer", "requested": asked["inference"]}).label("short") == "native inference · 1T"


def test_to_static_is_a_trainer_of_the_tail(tmp_path, resolve):
    file = tmp_path / "train_infer_python.txt"
    file.write_text(tipc_files.text(tipc_files.TAIL, trainer="norm_train|to_static_train"))
    found = {cell.name: cell for cell in table_of(resolve(file), CPU).cells if cell.stage == "train"}
    static, plain = found["single_fp32_static"], found["single_fp32"]
    assert static.planned and {**static.requested, "graph": "dynamic"} == plain.requested
    assert {name: cell.reason[:3] for name, cell in skipped(resolve(file)).items()} == {"multi_fp32_static": "T1:"}


@pytest.mark.parametrize("option", ["--to_static_training", "--opts to_static_training=True"])
def test_a_static_graph_may_be_an_option_of_any_trainer(tmp_path, resolve, option):
    """Its checkpoint is the one that the file exports, and there is no twin that the file asks for."""
    command = f"tools/train.py --config {{config}} --seed 100 {option}"
    resolved = resolve(tipc_files.write(tmp_path / "train_infer_python.txt", norm_trainer=command))
    assert {cell.train_name for cell in table_of(resolved, CPU).planned("train", "export", "infer")} == {
        "single_fp32_static"
    }


def test_a_static_graph_in_mixed_precision_is_left_out_by_a_rule(tmp_path, resolve):
    file = tmp_path / "train_infer_python.txt"
    file.write_text(tipc_files.text(tipc_files.TAIL, trainer="norm_train|to_static_train", autocast="null|amp"))
    found = {cell.name: cell for cell in table_of(resolve(file), GPU).cells if cell.stage == "train"}
    assert found["single_amp_O1_float16_static"].reason.startswith("T2: ")
    assert found["single_fp32_static"].planned


def test_what_sets_other_options_of_a_training_is_not_taken(tmp_path, resolve):
    command = "tools/train.py --config {config} --opts to_static_training=True batch_size=3"
    reason = skipped(resolve(tipc_files.write(tmp_path / "t.txt", norm_trainer=command)))["single_norm_train"].reason
    assert "--opts to_static_training=True batch_size=3 of tools/train.py is not done here yet" in reason


@pytest.mark.parametrize(
    ("rules", "by_rule"),
    [
        ("tipc", {"gpu tensorrt int8": "G3", "gpu tensorrt fp32": "quan", "gpu native int8": "G2"}),
        ("strict", {"gpu tensorrt int8": "quan", "gpu tensorrt fp32": "G3", "gpu native int8": "G3"}),
    ],
)
def test_the_matrix_of_a_quantised_model_is_told_by_rule(tmp_path, resolve, rules, by_rule):
    changes = {**QAT, "mkldnn": "True|False", "precision": "int8|fp32", "use_trt": "False|True"}
    file = tipc_files.write(tmp_path / "train_infer_python.txt", **changes)
    found = {
        " ".join(c.requested[key] for key in ("device", "engine", "precision")): c.reason[:4].split(":")[0]
        for c in table_of(resolve(file, rules=rules), GPU).cells
        if c.stage == "infer" and c.train_name == "single_pact_train"
    }
    cpu = {"cpu onednn int8": "quan", "cpu onednn fp32": "C3", "cpu native int8": "C1", "cpu native fp32": "C1"}
    assert found == {**cpu, **by_rule, "gpu native fp32": "G3"}


def test_released_weights(paddleseg, resolve):
    weights = paddleseg / "out/model.pdparams"
    weights.parent.mkdir()
    weights.write_bytes(b"x")
    file = tipc_files.write(paddleseg / "t/train_infer_python.txt", infer_model="./out/model.pdparams")
    resolved = resolve(file, mode="whole_infer")
    entry = resolved["weights"][resolved["model_zoo"]["pp_humanseg_lite"]["released_weights"]]
    assert entry["source"] == "path" and Path(entry["path"]).samefile(weights)
    gone = resolve(tipc_files.write(paddleseg / "t/gone.txt"), mode="whole_infer")
    assert gone["model_zoo"]["pp_humanseg_lite"]["released_weights"] == "pphumanseg_lite_generic"
    assert any(
        "released weights ./test_tipc/output/model/model.pdparams are not there" in n for n in gone["params"]["notes"]
    )
    two = tipc_files.write(
        paddleseg / "t/two.txt",
        infer_model="a|b|c",
        infer_export="tools/export.py --config {config}|tools/export.py --config {config}|null",
        infer_quant="False|True|False",
    )
    found = skipped(resolve(two, mode="whole_infer"))
    assert "quantised models" in found["released_2"].reason and "infer_export is null" in found["released_3"].reason
    assert table_of(resolve(two, mode="whole_infer")).planned("train")[0].name == "released"
    first = skipped(resolve(tipc_files.write(paddleseg / "t/q.txt", infer_quant="True"), mode="whole_infer"))
    assert "quantised" in first["released"].reason
    export = "tools/export.py --config {config}"
    pair = {"infer_model": "a|b", "infer_export": f"{export}|{export}", "infer_quant": "False|False"}
    both = resolve(tipc_files.write(paddleseg / "t/pair.txt", **pair), mode="whole_infer")
    assert "a second infer_model" in skipped(both)["released_2"].reason
    assert [cell.name for cell in table_of(both).planned("train")] == ["released"]
    none = resolve(tipc_files.write(paddleseg / "t/none.txt", infer_model="null"), mode="whole_infer")
    assert "no infer_model that could be run (none.txt:37)" in skipped(none)["released"].reason
    assert not table_of(none).planned("train", "eval", "infer")


def test_whether_a_file_is_trained_is_said_by_a_key_and_not_by_the_modes_name(paddleseg, resolve):
    known = tipc_files.write(paddleseg / "t/train_infer_python.txt")
    other = tipc_files.write(paddleseg / "t/train_b_infer_python.txt", model_name="fcn_hrnetw18_small")
    released = {"train": {"checkpoints": "released"}}

    def trained(**overrides):
        return {cell.model: cell.train_name for cell in table_of(resolve(known, other, **overrides)).planned("train")}

    both, rows = {"pp_humanseg_lite", "pp_humanseg_mobile"}, {"single_fp32", "multi_fp32"}
    for overrides in ({"modes": {"mine": released}, "mode": "mine"}, released):
        assert trained(**overrides) == dict.fromkeys(both, "released")
    one = trained(model_zoo={"pp_humanseg_lite": {"settings": released}})
    assert one["pp_humanseg_lite"] == "released" and one["pp_humanseg_mobile"] in rows
    told = trained(mode="whole_infer", train={"checkpoints": "trained"})
    assert told.keys() == both and set(told.values()) <= rows
    # only the files that the run's own commands name are looked for
    gone = {"infer_export": "tools/export.py --config gone.yml", "model_name": "mine"}
    file = tipc_files.write(paddleseg / "t/gone.txt", **gone)
    resolve(file, mode="whole_train_whole_infer")
    with pytest.raises(ConfigError, match=r"--config gone\.yml is not there"):
        resolve(file, modes={"mine": released}, mode="mine")


def test_released_weights_without_their_data_set_are_skipped(paddleseg, resolve):
    """Once, also where their export is left out already."""
    (paddleseg / "configs/base.yml").write_text(BASE.replace("type: Dataset", "type: EG1800"))
    file = tipc_files.write(paddleseg / "t/train_infer_python.txt", model_name="mine")
    found = skipped(resolve(file, mode="whole_infer"))
    assert "train_dataset.type EG1800" in found["released"].reason
    assert not table_of(resolve(file, mode="whole_infer")).planned()


# -- PaddleSeg's own files --------------------------------------------------------------------


def test_configurations_are_found_from_the_params_file_and_used_as_they_are(paddleseg, resolve):
    people(paddleseg / "data/people")
    file = tipc_files.write(paddleseg / "test_tipc/configs/m/train_infer_python.txt", model_name="mine")
    resolved = resolve(file)
    entry = resolved["model_zoo"]["mine"]
    assert Path(entry["config"]).samefile(paddleseg / "configs/model.yml")
    assert [p.name for p in modelconfig.config_chain(Path(entry["config"]))] == ["model.yml", "base.yml"]
    assert entry["algorithm"] == "PPHumanSegLite"
    dataset = resolved["datasets"][resolved["data"][entry["data"]]]
    assert (dataset["source"], dataset["layout"]) == ("folder", "mini_supervisely")
    assert dataset["lists"] == {"train": "train_list.txt", "val": "val_list.txt"}
    assert Path(dataset["path"]).samefile(paddleseg / "data/people")
    known = resolve(tipc_files.write(paddleseg / "a/b/train_infer_python.txt"))
    assert Path(known["model_zoo"]["pp_humanseg_lite"]["config"]).samefile(paddleseg / "configs/model.yml")


def test_paddleseg_root_says_where_paths_start(tmp_path, paddleseg, resolve):
    people(paddleseg / "data/people")
    file = tipc_files.write(tmp_path / "elsewhere/train_infer_python.txt", model_name="mine")
    with pytest.raises(
        ConfigError, match=r"train_infer_python\.txt:16: error: --config configs/model\.yml is not there"
    ):
        resolve(file)
    assert resolve(file, paddleseg_root=str(paddleseg))["model_zoo"]["mine"]["algorithm"] == "PPHumanSegLite"
    known = tipc_files.write(tmp_path / "elsewhere/known.txt")
    resolved = resolve(known)
    assert resolved["model_zoo"]["pp_humanseg_lite"]["config"] == "config/models/pp_humanseg_lite.yml"
    assert any("the built-in configuration of pp_humanseg_lite is used" in note for note in resolved["params"]["notes"])


def test_data_sets_that_are_not_there(paddleseg, resolve):
    file = tipc_files.write(paddleseg / "train_infer_python.txt", model_name="mine")
    found = skipped(resolve(file))
    assert set(found) == {"not_planned"}
    assert "dataset_root data/people is not there" in found["not_planned"].reason
    base = paddleseg / "configs/base.yml"
    base.write_text(BASE.replace("data/people", "data/mini_supervisely"))
    resolved = resolve(file)
    assert resolved["model_zoo"]["mine"]["data"] == "mini_supervisely"
    assert any("data/mini_supervisely" in note and "is used" in note for note in resolved["params"]["notes"])
    base.write_text(BASE.replace("type: Dataset", "type: EG1800"))
    reason = skipped(resolve(file))["not_planned"].reason
    assert reason.startswith("train_dataset.type EG1800: it makes its samples of three lists")
    assert f"; only {', '.join(planned.TYPES)} are read" in reason
    people(paddleseg / "data/people")
    base.write_text(BASE.replace("data/people/val_list.txt", "data/other/val.txt"))
    assert "val_path data/other/val.txt is not there" in skipped(resolve(file))["not_planned"].reason
    (paddleseg / "data/other").mkdir()
    (paddleseg / "data/other/val.txt").write_text("")
    assert "val_path data/other/val.txt does not lie in dataset_root" in skipped(resolve(file))["not_planned"].reason
    mode = "  mode: val\n  dataset_root: data/"
    base.write_text(BASE.replace(f"{mode}people", f"{mode}other"))
    assert "have different dataset_root" in skipped(resolve(file))["not_planned"].reason
    base.write_text(BASE.replace("  mode: train\n", "  mode: train\n  separator: ','\n"))
    assert "train_dataset.separator: only a blank" in skipped(resolve(file))["not_planned"].reason


def test_smoke_keeps_to_generated_data(paddleseg, resolve):
    (paddleseg / "data/people").mkdir(parents=True)
    file = tipc_files.write(paddleseg / "train_infer_python.txt")
    resolved = resolve(file, mode="smoke")
    assert table_of(resolved).dataset("pp_humanseg_lite") == "mini_supervisely_synthetic"
    assert any("works on generated data" in note for note in resolved["params"]["notes"])


def test_a_size_that_is_open_is_taken_from_elsewhere_or_skipped(paddleseg, resolve):
    people(paddleseg / "data/people")
    (paddleseg / "configs/base.yml").write_text(BASE.replace("{type: Resize, target_size: [64, 64]}, ", ""))
    file = paddleseg / "train_infer_python.txt"
    tipc_files.write(file, model_name="mine")
    assert "size is open" in skipped(resolve(file))["not_planned"].reason
    whole = BASE[BASE.index("transforms") : BASE.index("\nval_dataset")]
    (paddleseg / "configs/base.yml").write_text(BASE.replace(whole, "transforms: []"))
    assert "size is open" in skipped(resolve(file))["not_planned"].reason
    (paddleseg / "configs/base.yml").write_text(BASE.replace("{type: Resize, target_size: [64, 64]}, ", ""))
    file.write_text(tipc_files.text(tipc_files.TAIL, model_name="mine"))
    resolved = resolve(file)
    assert sections.of_model(resolved, "mine", "export")["input_size"] == [398, 224] and not skipped(resolved)
    tipc_files.write(file, model_name="fcn_hrnetw18")
    assert sections.of_model(resolve(file), "fcn_hrnet_w18", "export")["input_size"] == [1024, 512]
    assert not skipped(resolve(tipc_files.write(file, model_name="mine"), input_size=[64, 64]))


def test_backbone_weights_of_a_new_model(paddleseg, resolve):
    people(paddleseg / "data/people")
    url = "https://host.example/dygraph/resnet50_vd_ssld_v2.tar.gz"
    pretrained(paddleseg, f"backbone: {{type: R, pretrained: '{url}'}}")
    resolved = resolve(tipc_files.write(paddleseg / "train_infer_python.txt", model_name="mine"))
    assert not skipped(resolved)
    weights = resolved["model_zoo"]["mine"]["backbone_weights"]
    assert resolved["weights"][weights] == {"source": "url", "url": url}


def pretrained(paddleseg, text, name="model.yml"):
    """A model of PaddleSeg's folder with these keys in its `model`."""
    scheduler = MODEL.splitlines()[2]
    text = f"_base_: base.yml\nmodel: {{type: X, num_classes: 2, {text}}}\n{scheduler}\n"
    (paddleseg / f"configs/{name}").write_text(text)


def test_files_of_weights_become_entries_and_are_loaded(paddleseg, resolve):
    """Their paths start where that of the configuration starts, as in PaddleSeg's folder."""
    people(paddleseg / "data/people")
    for name in ("part", "whole"):
        (paddleseg / f"pretrained/{name}").mkdir(parents=True)
        (paddleseg / f"pretrained/{name}/model.pdparams").write_bytes(b"x")
    keys = (
        "pretrained: pretrained/whole/model.pdparams, backbone: {type: R, pretrained: pretrained/part/model.pdparams}"
    )
    pretrained(paddleseg, keys)
    file = tipc_files.write(paddleseg / "t/train_infer_python.txt", model_name="mine")
    resolved = resolve(file)
    assert not skipped(resolved)
    entry = resolved["model_zoo"]["mine"]
    for kind, name in (("backbone_weights", "part"), ("pretrained_weights", "whole")):
        source = resolved["weights"][entry[kind]]
        assert source["source"] == "path" and Path(source["path"]).samefile(
            paddleseg / f"pretrained/{name}/model.pdparams"
        )
    found = table_of(resolved)
    assert found.starts("mine") == {kind: entry[kind] for kind in ("backbone_weights", "pretrained_weights")}
    train = next(cell for cell in found.cells if cell.stage == "train" and cell.planned)
    assert {f"results/weights/{name}.json" for name in found.starts("mine").values()} <= set(
        found.source_records(train)
    )
    (paddleseg / "pretrained/part/model.pdparams").unlink()
    cell = skipped(resolve(file))["not_planned"]
    assert "model.backbone.pretrained: pretrained/part/model.pdparams is not there, looked for" in cell.reason
    assert "model.yml" in cell.reason
    assert not table_of(resolve(file)).planned("train")


def test_weights_of_one_name_from_two_places_are_two(paddleseg, resolve):
    people(paddleseg / "data/people")
    for host in ("a", "b"):
        pretrained(paddleseg, f"pretrained: 'https://{host}.example/x/model.pdparams'", f"{host}.yml")
        tipc_files.write(paddleseg / f"t/train_{host}_infer_python.txt", model_name=host, config=f"configs/{host}.yml")
    resolved = resolve(paddleseg / "t")
    names = [resolved["model_zoo"][host]["pretrained_weights"] for host in ("a", "b")]
    urls = [resolved["weights"][name]["url"] for name in names]
    assert urls == [f"https://{host}.example/x/model.pdparams" for host in ("a", "b")]
    assert resolved["weights"][names[0]] == {"source": "url", "url": urls[0]}


def test_weights_that_the_configuration_knows_keep_their_name(paddleseg, resolve, shipped):
    """With what is known of them, such as a checksum; also those of a known model, as its file says."""
    people(paddleseg / "data/people")
    known = shipped["weights"]["resnet50_vd_ssld_v2"]["url"]
    file = tipc_files.write(paddleseg / "t/train_infer_python.txt", model_name="pphumanseg_server")
    for text, wanted in (
        (f"backbone: {{type: R, pretrained: '{known}'}}", "resnet50_vd_ssld_v2"),
        ("backbone: {type: R}", None),
    ):
        pretrained(paddleseg, text)
        assert resolve(file)["model_zoo"]["pp_humanseg_server"]["backbone_weights"] == wanted


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("{type: Normalize}]", "{type: RandomBlur}]", "train_dataset.transforms.1: RandomBlur"),
        (
            "{type: Resize, target_size: [64, 64]}",
            "{type: Resize, target_size: [64, 64], keep_ratio: true}",
            "keep_ratio",
        ),
        ("iters: 10", "iters: 10\nto_static_training: true", "to_static_training: true is refused"),
        ("  mode: val", "  mode: train", "val_dataset.mode: 'train' is refused"),
        ("{type: Normalize}]", "{type: AddEdgeLabel}]", "AddEdgeLabel: is no transform of paddleseg 2.8.0"),
    ],
)
def test_what_a_configuration_asks_for_and_is_not_done_is_skipped_by_key(paddleseg, resolve, old, new, words):
    people(paddleseg / "data/people")
    (paddleseg / "configs/base.yml").write_text(BASE.replace(old, new))
    file = tipc_files.write(paddleseg / "t/train_infer_python.txt", model_name="mine")
    if "RandomBlur" in words:
        assert not [word for word in skipped(resolve(file)) if words in word]
        words = "val_dataset.transforms.1: RandomBlur"
    assert words in skipped(resolve(file))["not_planned"].reason, skipped(resolve(file))
    own = {"AddEdgeLabel": {"random": False, "size": "kept"}}
    assert bool(skipped(resolve(file, own_transforms=own))) is ("AddEdgeLabel" not in words)


def test_lint_warns_of_what_a_configuration_asks_for(paddleseg):
    keys = "pretrained: gone.pdparams, backbone: {type: R, pretrained: 'https://host.example/a.pdparams'}"
    pretrained(paddleseg, keys)
    (paddleseg / "configs/base.yml").write_text(BASE + "itres: 3\nprecision: fp16\n")
    done = lint(tipc_files.write(paddleseg / "t/train_infer_python.txt", model_name="mine"))
    assert done.returncode == 0
    warnings = [line for line in done.stdout.splitlines() if ":16: warning: " in line]
    assert len(warnings) == len(done.stdout.splitlines()) == 3, "each once, although two lines name the configuration"
    for words in (
        "model.pretrained: gone.pdparams is not there",
        "precision: 'fp16' is refused",
        "itres: PaddleSeg reads no such key (did you mean iters?)",
    ):
        assert any(words in line for line in warnings)


def test_two_files_of_one_model_are_two_models(paddleseg, resolve):
    tipc_files.write(paddleseg / "t/train_infer_python.txt")
    tipc_files.write(
        paddleseg / "t/train_linux_gpu_normal_amp_infer_python_linux_gpu_cpu.txt",
        trainer="amp_train", norm_trainer_key="amp_train",
        norm_trainer="tools/train.py --config {config} --precision fp16 --amp_level O1",
    )  # fmt: skip
    resolved = resolve(paddleseg / "t", mode="smoke")
    assert resolved["models"] == ["pp_humanseg_lite", "pp_humanseg_lite-linux_gpu_normal_amp"]
    sizes = {c.model: c.requested["input_size"] for c in table_of(resolved, GPU).cells if c.stage == "train"}
    assert list(sizes.values()) == [[256, 144]] * 2
    names = {(c.model, c.name) for c in table_of(resolved, GPU).cells if c.stage == "train"}
    assert (resolved["models"][1], "single_amp_O1_float16") in names and (resolved["models"][0], "single_fp32") in names


# -- data sets that are folders ---------------------------------------------------------------


def test_a_folder_is_packed_file_by_file(tmp_path):
    people(tmp_path / "people")
    tar = tmp_path / "d.tar"
    lists = {"train": "train_list.txt", "val": "val_list.txt"}
    count = folders.to_tar(tmp_path / "people", "mini_supervisely", lists, tar)
    with tarfile.open(tar) as packed:
        names = packed.getnames()
    assert len(names) == count == 4 + 2 * 8 and "secret.txt" not in names
    archives.unpack(tar, tmp_path / "unpacked")
    found = layouts.splits(tmp_path / "unpacked", "mini_supervisely")
    assert {split: len(pairs) for split, pairs in found.items()} == {"train": 4, "val": 4, "test": 0}
    assert (tmp_path / "unpacked/val_list.txt").read_bytes() == (tmp_path / "people/val_list.txt").read_bytes()


def test_a_folder_in_the_layout_of_cityscapes(tmp_path):
    for split in ("train", "val"):
        for part, name in (("leftImg8bit", "a_leftImg8bit.png"), ("gtFine", "a_gtFine_labelTrainIds.png")):
            (tmp_path / "c" / part / split / "town").mkdir(parents=True)
            (tmp_path / "c" / part / split / "town" / name).write_bytes(b"x")
    (tmp_path / "c/gtFine/train/town/a_gtFine_polygons.json").write_text("{}")
    assert folders.to_tar(tmp_path / "c", "cityscapes", {}, tmp_path / "c.tar") == 4


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("../outside.png Annotations/val_0.png", "val_list.txt line 1: '../outside.png' leads out of the folder"),
        ("/etc/hostname Annotations/val_0.png", "val_list.txt line 1: '/etc/hostname' leads out of the folder"),
        ("Images/link.png Annotations/val_0.png", "leads out of the folder"),
        ("Images/gone.png Annotations/val_0.png", "listed but not there"),
        ("Images/val\0.png Annotations/val_0.png", "val_list.txt line 1: .*null byte"),
        (f"Images/{'x' * 300}.png Annotations/val_0.png", "File name too long"),
    ],
)
def test_a_folder_that_names_what_is_not_its_own_is_refused(tmp_path, line, words):
    people(tmp_path / "people")
    (tmp_path / "outside.png").write_bytes(b"x")
    (tmp_path / "people/Images/link.png").symlink_to(tmp_path / "outside.png")
    (tmp_path / "people/val_list.txt").write_text(line + "\n")
    with pytest.raises(StageError, match=words):
        folders.to_tar(
            tmp_path / "people",
            "mini_supervisely",
            {"train": "train_list.txt", "val": "val_list.txt"},
            tmp_path / "d.tar",
        )


def test_a_folder_that_is_no_data_set_is_refused_by_name(tmp_path):
    def refused(words, lists=None, layout="mini_supervisely"):
        with pytest.raises(StageError, match=words):
            folders.to_tar(tmp_path / "people", layout, lists or {}, tmp_path / "d.tar")

    refused(r"people: there is no such folder; correct `path`")
    people(tmp_path / "people")
    refused(r"'train\.txt' is listed but not there")
    refused(r"people: holds no file of the layout cityscapes", layout="cityscapes")
    (tmp_path / "people/lists/val").mkdir(parents=True)
    (tmp_path / "people/lists/val/train_list.txt").write_text("Images/val_0.png Annotations/val_0.png\n")
    refused(r"two lists are called train_list\.txt", {"train": "train_list.txt", "val": "lists/val/train_list.txt"})
    (tmp_path / "people/val_list.txt").write_bytes(b"Images/\xff.png Annotations/val_0.png\n")
    refused(r"val_list\.txt is not a list of files in UTF-8", {"train": "train_list.txt", "val": "val_list.txt"})


# -- the whole: the same plan as the built-in configuration's ---------------------------------

RESTRICTED = {
    "infer": {
        "from_topologies": ["single", "multi"],
        "from_precision": "all",
        "cpu": [{"engine": "native", "precision": "fp32"}, {"engine": "onednn", "precision": "fp32"}],
        "gpu": [
            {"engine": "native", "precision": "fp32"},
            {"engine": "tensorrt", "precision": "fp32"},
            {"engine": "tensorrt", "precision": "fp16"},
        ],
    }
}


def files_of_the_eight(folder, shipped, mode):
    return [
        tipc_files.write(
            folder / alias / "train_linux_gpu_normal_amp_infer_python_linux_gpu_cpu.txt",
            **tipc_files.like_built_in(alias, name, shipped, mode),
        )
        for name, alias in ALIASES.items()
    ]


def comparable(table):
    """Its cells but for static graphs, of which mode smoke has two and the files none."""
    static = {cell.train_name for cell in table.cells if cell.requested.get("graph") == "to_static"}
    return {
        cell.record: (
            cell.stage, cell.name, dict(cell.requested), cell.options, cell.outputs, cell.timeout_min, cell.status,
            cell.reason, cell.gpus, cell.threads, table.dataset(cell.model), table.source_records(cell),
        )
        for cell in table.cells
        if cell.status != "skipped" and cell.train_name not in static
    }  # fmt: skip


@pytest.mark.parametrize("hardware", [CPU, GPU, Hardware(1, "auto", bf16=True)], ids=["cpu", "gpu", "one gpu"])
@pytest.mark.parametrize("mode", [*tipc_files.TRAIN_MODES, "whole_infer", "smoke"])
def test_params_files_of_the_eight_plan_what_the_built_in_configuration_plans(
    tmp_path, resolve, shipped, mode, hardware
):
    files_of_the_eight(tmp_path, shipped, mode)
    theirs = resolve(tmp_path, mode=mode, rules="tipc")
    ours = resolve(mode=mode, rules="tipc", **RESTRICTED)
    assert sorted(theirs["models"]) == sorted(ours["models"])
    wanted, found = (comparable(table_of(item, hardware)) for item in (ours, theirs))
    assert len(wanted) >= 8 * 4 or mode == "whole_infer"
    assert found == wanted
    left = [cell for cell in table_of(theirs, hardware).cells if cell.status == "skipped"]
    assert {cell.reason[:3] for cell in left} == {"C2:", "C4:", "G2:"}, "fp16 without TensorRT, and on a CPU"


def outputs(text):
    return sorted(line.strip() for line in text.splitlines() if line.strip().startswith("output: "))


def test_snakemake_plans_the_same_jobs(project, shipped):
    files_of_the_eight(project / "tipc", shipped, "lite_train_lite_infer")
    (project / "restricted.yaml").write_text(yaml.safe_dump({**RESTRICTED, "hardware": "gpu", "rules": "tipc"}))
    ours = snakemake(project, "-n", "--verbose", "--configfile", "restricted.yaml")
    theirs = snakemake(project, "-n", "--verbose", "--config", "hardware=gpu", "rules=tipc", "params_file=tipc")
    assert ours.returncode == theirs.returncode == 0, theirs.stderr[-2000:]
    ours, theirs = (done.stdout + done.stderr for done in (ours, theirs))
    assert planned_jobs(theirs) == planned_jobs(ours)
    assert planned_jobs(theirs)["train"] == 8 * 2 * 2 and planned_jobs(theirs)["infer"] == 32 * (2 * 2 + 3)
    assert outputs(theirs) == outputs(ours) and len(outputs(ours)) > 300


def test_a_wrong_params_file_stops_the_workflow_with_its_line(project):
    tipc_files.write(project / "a.txt", cpu_threads="six", iters="50")
    refused = snakemake(project, "-n", "--config", "params_file=a.txt")
    text = refused.stdout + refused.stderr
    assert refused.returncode != 0 and "Traceback" not in text
    assert "a.txt:7: error: --iters: '50' is no mode" in text and "a.txt:43: error: --cpu_threads: 'six'" in text
    gone = snakemake(project, "-n", "--config", "params_file=[gone.txt]")
    assert gone.returncode != 0 and "Traceback" not in gone.stdout + gone.stderr
    assert "gone.txt: error: cannot be read" in gone.stdout + gone.stderr


# -- for real ---------------------------------------------------------------------------------


def test_a_params_file_is_run_as_it_is(project, paddleseg):
    """A model as PaddleSeg's folder has it, with its own data, trained for two iterations, through TIPC's lines."""
    people(paddleseg / "data/people")
    nasty = paddleseg / "configs/a b'; touch injected; $(touch injected) `touch injected`.yml"
    nasty.write_text(MODEL)
    quoted = str(nasty.relative_to(paddleseg))
    file = tipc_files.write(
        paddleseg / "test_tipc/train_infer_python.txt",
        config="configs/model.yml",
        gpu_list="0",
        iters="|".join(f"{mode}=2" for mode in tipc_files.TRAIN_MODES),
        cpu_threads="1",
        train_images="$(touch injected); touch injected `touch injected`",
        python="python; touch injected",
    )
    (project / "mine.yaml").write_text(
        yaml.safe_dump(
            {
                "hardware": "cpu",
                "params_file": str(file),
                "infer": {"min_samples": 3, "min_seconds": 0, "warmup": 1, "max_warmup": 2, "exclusive": False},
                "model_zoo": {"pp_humanseg_lite": {"config": str(paddleseg / quoted)}},
            }
        )
    )
    done = snakemake(project, "--configfile", "mine.yaml")
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    results = project / "results/lite_train_lite_infer"
    lines = tipc_logs.status_lines((results / "results_python.log").read_text(encoding="utf-8"))
    assert [line["model"] for line in lines] == ["pp_humanseg_lite"] * 4 and all(line["ok"] for line in lines)
    name = "python_infer_cpu_usemkldnn_True_threads_1_precision_fp32_batchsize_1"
    assert (results / f"pp_humanseg_lite/single_fp32/infer/{name}.log").is_file()
    found = json.loads((results / "conclusions.json").read_text(encoding="utf-8"))
    train = next(cell for cell in found["cells"] if cell["stage"] == "train")
    assert train["effective"]["iters"] == 2 and train["effective"]["input_size"] == [64, 64]
    assert any("base.yml" in path for path in train["inputs"])
    run = yaml.safe_load((results / "run_config.yaml").read_text(encoding="utf-8"))
    assert run["settings"]["params"]["files"] == [str(file)]
    for folder in (project, paddleseg, file.parent):
        assert not list(folder.rglob("injected"))
