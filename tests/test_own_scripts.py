"""PaddleSeg's own scripts as cells: what they do is seen, and each fault of theirs is red.

The checkout is a copy of the installed package in a repository, with scripts that were written for this
(tests/checkout/): they take the command lines of PaddleSeg's.
"""

import importlib.util
import json
import os
import py_compile
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import paddleseg
import psutil
import pytest
import stages as run_stage
import yaml
from conftest import ROOT, interpreter, snakemake
from PIL import Image

from segcert import cells, listing, own_scripts, proof, sections, settings, stages
from segcert.checkout import beside
from segcert.concluded import Concluded
from segcert.data import layouts
from segcert.data.images import read_label
from segcert.errors import ConfigError
from segcert.machine import Hardware
from segcert.requests.scripts import RunScript

CELLS = {script.cell: script for script in own_scripts.ALL}
GATES = ["--max-first-loss", "0.001", "--max-later-loss", "0.02", "--max-history-loss", "0.5"]
GATES += ["--max-miou-difference", "0.0005", "--min-agreement", "0.999"]
INSTALLED = Path(paddleseg.__file__).parent
PROVED = dict.fromkeys(stages.SCRIPTS.proves, "x")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout with package and scripts, in a repository."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(INSTALLED, folder / "paddleseg", ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("tools", "deploy"):
        shutil.copytree(ROOT / "tests/checkout" / part, folder / part)
    for words in (
        ["init", "-q"],
        ["add", "-A"],
        ["-c", "user.name=T", "-c", "user.email=t@example.org", "commit", "-qm", "."],
    ):
        subprocess.run(["git", "-C", folder, *words], check=True)
    return folder


@pytest.fixture(scope="module")
def exported(trained):
    done = run_stage.export(trained, to="export")
    assert done.returncode == 0, done.stderr
    return trained


@pytest.fixture(scope="module")
def history(tmp_path_factory, dataset):
    """That of a training as short as the scripts' own."""
    folder = tmp_path_factory.mktemp("short")
    done = run_stage.train(folder, dataset, "--iters", "5", "--batch-size", "4")
    assert done.returncode == 0, done.stderr
    return folder / "history.csv"


@pytest.fixture
def planted(checkout):
    """Changes a file of the checkout for one test."""
    before = {}

    def plant(file, *changes):
        path = checkout / file
        before.setdefault(path, path.read_text(encoding="utf-8"))
        text = path.read_text(encoding="utf-8")
        for old, new in changes:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")

    yield plant
    for path, text in before.items():
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def run(checkout, exported, history, dataset, tmp_path):
    """Runs a cell as its rule does; its record, and what the command printed."""

    def run(cell, *more, python=sys.executable, digest=None, export="export"):
        script = CELLS[cell]
        out = tmp_path / "scripts"
        options = ["--cell", cell, "--own-script", script.file, "--paddleseg", checkout]
        options += ["--digest", digest or beside.digest(checkout, script.file)]
        options += ["--device", "cpu", *(["--engine", script.engine] if script.engine else []), *run_stage.SIZE]
        if script.file == own_scripts.TRAIN:
            options += ["--iters", "5", "--batch-size", "4", "--seed", "100"]
        options += ["--config", run_stage.CONFIG, "--dataset", dataset, *GATES, *more]
        options += ["--checkpoint", "model.pdparams", "--history", history]
        options += ["--reference", "reference", "--export", export, "--made", out / cell]
        for name in ("train", "eval", "export"):
            options += ["--upstream", f"{name}.json"]
        options += ["--record", out / f"{cell}.json", "--log", out / f"{cell}.log"]
        command = [python, ROOT / "scripts/run_paddleseg.py", *run_stage.MODEL[:-2], *options]
        done = subprocess.run(
            list(map(str, command)), cwd=exported, capture_output=True, text=True, timeout=300, check=False
        )
        files = [out / f"{cell}.failed.json", out / f"{cell}.json"]
        record = json.loads(next(file for file in files if file.is_file()).read_text(encoding="utf-8"))
        assert (record["status"] in ("failed", "accuracy-failed")) == (done.returncode == 1), done.stderr
        return record

    return run


# -- what is seen of one that does what it is to do ----------------------------------------------


def test_training_has_the_losses_of_our_step_on_the_same_samples(run, tmp_path, checkout, exported):
    told = run("tools_train")
    assert told["status"] == "passed", told["reason"]
    seen, measured = told["effective"], told["metrics"]
    assert seen["iters"] == 5 and seen["exit_code"] == 0 and seen["outcome"] == "complete" and seen["device"] == "cpu"
    assert seen["batch_size"] == 4, "worked out from how long a batch took, and how many samples a second that is"
    assert len(measured["losses"]) == 5 and len(measured["own_losses"]) == 3
    for theirs, ours in zip(measured["losses"], measured["own_losses"], strict=False):
        assert theirs == pytest.approx(ours, abs=1e-4)
    assert 0 < measured["history_loss"] < 0.5, "the augmentation has other random numbers there"
    assert {gate["name"] for gate in measured["gates"]} == {
        "first_loss", "later_loss", "history_loss", "learning_rate",
    }  # fmt: skip
    assert list(measured["written"]) == ["output/iter_5/model.pdparams"] and measured["paddle_said"] == "3.2.2"
    made = tmp_path / "scripts/tools_train"
    assert [path.name for path in made.iterdir()] == ["config.yml"], "weights do not stay"
    content = yaml.safe_load((made / "config.yml").read_text(encoding="utf-8"))
    assert content["iters"] == 5 and content["batch_size"] == 4
    assert [item["type"] for item in content["loss"]["types"]] == ["CrossEntropyLoss"], "PaddleSeg's own, no other"
    assert [item["target_size"] for item in content["train_dataset"]["transforms"] if item["type"] == "Resize"] == [
        [128, 96]
    ]
    assert f"PYTHONPATH={checkout}" in seen["command"] and f"{checkout}/tools/train.py" in shlex.split(seen["command"])
    assert seen["command"].startswith(f"cd {made} && ") and told["env"]["paddleseg_folder"] == str(checkout)


def test_an_evaluation_has_our_miou_also_on_a_part_of_the_images(run, exported, dataset, tmp_path):
    told = run("tools_val")
    assert told["status"] == "passed", told["reason"]
    own = json.loads((exported / "eval.json").read_text(encoding="utf-8"))["metrics"]
    assert told["metrics"]["images"] == own["images"] == 6 and told["metrics"]["miou_difference"] == 0
    assert told["metrics"]["miou"] == pytest.approx(own["miou"], abs=1e-4)
    assert [path.name for path in (tmp_path / "scripts/tools_val").iterdir()] == ["config.yml"]
    done = run_stage.evaluate(exported, dataset, "--images", "2")
    try:
        assert done.returncode == 0, done.stderr
        told = run("tools_val")
        assert told["status"] == "passed", told["reason"]
        assert told["metrics"]["images"] == 2
        assert len((tmp_path / "scripts/tools_val/validation.txt").read_text().splitlines()) == 2
    finally:
        assert run_stage.evaluate(exported, dataset).returncode == 0


@pytest.mark.parametrize("cell", ["tools_export", "tools_predict", "deploy_infer_native", "deploy_infer_onednn"])
def test_label_maps_are_the_checkpoints(run, exported, dataset, tmp_path, cell):
    told = run(cell)
    assert told["status"] == "passed", told["reason"]
    measured = told["metrics"]
    assert measured["pixel_agreement"] >= 0.999 and measured["label_maps"] == 2 and measured["classes_reference"] == 2
    assert measured["gates"][0]["weak"] is False
    folder = tmp_path / "scripts" / cell
    maps = sorted(path.name for path in (folder / "label_maps").iterdir())
    assert maps == sorted(path.name for path in (exported / "reference").glob("*.png"))
    sizes = {read_label(folder / "label_maps" / name).shape for name in maps}
    if cell == "tools_predict":
        listed = layouts.inference_list(layouts.manifest(dataset))
        assert sizes == {Image.open(dataset / image).size[::-1] for image, _ in listed}, "at the images' own sizes"
        assert measured["reference_agreement"] == 1
    else:
        assert sizes == {(96, 128)}
    if CELLS[cell].engine:
        assert told["effective"]["engine"] == CELLS[cell].engine and told["effective"]["precision"] == "fp32"
        counted = sum(measured["evidence"]["onednn"]["convolutions"].values())
        assert counted == (96 if CELLS[cell].engine == "onednn" else 0), "48 of each image"
        assert measured["evidence"]["passes"] > 5
        assert told["effective"].get("threads") == (1 if CELLS[cell].engine == "onednn" else None), "nothing tells it"
    log = (tmp_path / f"scripts/{cell}.log").read_text(encoding="utf-8")
    assert "onednn_verbose" not in log and f"$ cd {folder}" in log
    assert ("lines of oneDNN's trace are left out" in log) == (cell == "deploy_infer_onednn")


@pytest.mark.parametrize("cell", ["tools_export", "deploy_infer_onednn"])
def test_a_program_that_ends_in_softmax_is_exported_and_run_as_such(run, exported, planted, cell):
    if not (exported / "softmax").exists():
        done = run_stage.export(exported, "--output-op", "softmax", to="softmax")
        assert done.returncode == 0, done.stderr
    asked = ["--output-op", "softmax"]
    told = run(cell, *asked, export="softmax")
    assert told["status"] == "passed", told["reason"]
    assert told["requested"]["output_op"] == told["effective"]["output_op"] == "softmax"
    assert told["metrics"]["output"]["sum_highest"] == pytest.approx(1)
    option = "--output_op softmax" if cell == "tools_export" else "--with_argmax"
    assert option in told["effective"]["command"]
    if cell == "tools_export":
        planted(own_scripts.EXPORT, ("WrappedModel(model, args.output_op)", 'WrappedModel(model, "argmax")'))
        told = run(cell, *asked, export="softmax")
    else:
        told = run(cell, *asked)  # on the export that ends in argmax
    assert told["status"] == "failed", told["reason"]


# -- faults, each of which is red ---------------------------------------------------------------

SAVE = 'get_pseudo_color_map(label).save(f"{args.save_dir}/{Path(image).stem}.png")'
NOT_FOUND = "(InvalidArgument) Not find predictor_id 0 and pass_name memory_optimize_pass"
MEMORY = f"""    print("[2026/1/1 1:1:1] INFO: {NOT_FOUND}")
    print("  [Hint: so]"); print("[2026/1/1 1:1:2] INFO: If the above error is ..."); break"""
SCORES = 'print(f"[EVAL] #Images: {len(dataset)} mIoU: {mean:.4f} Acc: 0")'
CLASSES = 'print(f"[EVAL] Class IoU: \\n{np.round(by_class, 4)}")'
NOT = "(lambda *words, **more: None)("
DATASET = "dataset = builder.val_dataset"
LABELS = "label = (np.argmax(results, axis=1) if args.with_argmax else results)[0]"
TURNED = """from paddleseg.core import infer
right = infer.inference
infer.inference = lambda *words, **more: (1 - right(*words, **more)[0], None)
"""
# cell, file, what is planted, status, what the reason says.
FAULTS = {
    "writes nothing and exits 0": (
        "deploy_infer_onednn", own_scripts.INFER, [("    " + SAVE, MEMORY)],
        "failed", f"0 of 2 label maps were written: exit code 0; it said: {NOT_FOUND} [Hint: so]",
    ),
    "runs oneDNN when told not to": (
        "deploy_infer_native", own_scripts.INFER, [(" else config.disable_mkldnn()", " else None")],
        "failed", "engine: native requested, onednn observed",
    ),
    "does not run oneDNN when told to": (
        "deploy_infer_onednn", own_scripts.INFER, [("config.enable_mkldnn() if", "config.disable_mkldnn() if")],
        "failed", "engine: onednn requested, native observed",
    ),
    "a label map off": (
        "deploy_infer_native", own_scripts.INFER, [(LABELS, LABELS + "; label[:9] = 1 - label[:9]")],
        "accuracy-failed", "its label maps agree with the checkpoint's on 0.90625 of pixels",
    ),
    "a prediction off": (
        "tools_predict", own_scripts.PREDICT,
        [("args = options.parse_args()", "args = options.parse_args()\n" + TURNED)],
        "accuracy-failed", "its label maps agree with the checkpoint's on 0.00000 of pixels",
    ),
    "another program": (
        "tools_export", own_scripts.EXPORT, [("model.set_state_dict(", NOT)],
        "accuracy-failed", "its label maps agree with the checkpoint's on",
    ),
    "deploy.yaml names what is not there": (
        "tools_export", own_scripts.EXPORT, [('{"model": program', '{"model": "model.pdmodel"')],
        "failed", "deploy.yaml names model.pdmodel, which is not there (model.json is)",
    ),
    "no program": (
        "tools_export", own_scripts.EXPORT, [("paddle.jit.save(", "raise SystemExit  # ")],
        "failed", "no program with deploy.yaml: exit code 0; it said: ",
    ),
    "another loss": (
        "tools_train", own_scripts.TRAIN, [("loss.backward()", "loss = 1.01 * loss; loss.backward()")],
        "accuracy-failed", "its first losses are ",
    ),
    "another optimizer": (
        "tools_train", own_scripts.TRAIN, [("        optimizer.step()", "        pass")],
        "accuracy-failed", "its first losses are ",
    ),
    "another learning rate": (
        "tools_train", own_scripts.TRAIN, [("optimizer._learning_rate.step()", "pass")],
        "accuracy-failed", "its learning rates are up to",
    ),
    "a loss that is not finite": (
        "tools_train", own_scripts.TRAIN, [("loss: {float(loss):.4f}", "loss: nan")],
        "failed", "the loss of iteration 1 is not finite",
    ),
    "no weights": (
        "tools_train", own_scripts.TRAIN, [("paddle.save(", NOT)],
        "failed", "output/iter_5/model.pdparams is not there: exit code 0",
    ),
    "no variable": (
        "tools_train", own_scripts.TRAIN, [("paddle.save(model.state_dict(),", "paddle.save({},")],
        "failed", "output/iter_5/model.pdparams: cannot be loaded: ",
    ),
    "a variable less": (
        "tools_train", own_scripts.TRAIN,
        [("paddle.save(model.state_dict(),", "paddle.save(dict(list(model.state_dict().items())[1:]),")],
        "failed", "output/iter_5/model.pdparams: has not 1 of ",
    ),
    "no file of weights": (
        "tools_train", own_scripts.TRAIN, [("paddle.save(", "(lambda state, name: open(name, 'w').close())(")],
        "failed", "output/iter_5/model.pdparams: cannot be loaded: ",
    ),
    "weights that are no numbers": (
        "tools_train", own_scripts.TRAIN,
        [("paddle.save(model.state_dict(),", "paddle.save({k: v * np.nan for k, v in model.state_dict().items()},")],
        "failed", " is not finite",
    ),
    "fewer iterations": (
        "tools_train", own_scripts.TRAIN, [("        print(f", "        done == 2 or print(f")],
        "failed", "iters: 5 requested, 4 observed",
    ),
    "another batch size": (
        "tools_train", own_scripts.TRAIN, [("batch_size=config.batch_size", "batch_size=2")],
        "failed", "batch_size: 4 requested, 2 observed",
    ),
    "another PaddleSeg": (
        "tools_val", own_scripts.VAL,
        [("import argparse", f"import argparse, sys; sys.path.insert(0, {str(INSTALLED.parent)!r})")],
        "failed", f"it imported {INSTALLED}/",
    ),
    "no word of what was imported": (
        "tools_val", own_scripts.VAL, [(CLASSES, f"{CLASSES}; import os, sys; sys.stdout.flush(); os._exit(0)")],
        "failed", "it imported no paddleseg, or ended without saying what it imported",
    ),
    "another mIoU": (
        "tools_val", own_scripts.VAL, [("utils.load_entire_model(", NOT)],
        "accuracy-failed", "its mIoU is ",
    ),
    "fewer images": (
        "tools_val", own_scripts.VAL, [(DATASET, f"{DATASET}\ndataset.file_list.pop()")],
        "failed", "it evaluated 5 images, not 6",
    ),
    "no mIoU": (
        "tools_val", own_scripts.VAL, [(CLASSES, "pass")],
        "failed", "no line with a mIoU and those of classes: exit code 0; it said:",
    ),
    "an exception": (
        "tools_val", own_scripts.VAL, [(SCORES, "raise RuntimeError('so it is\\nand so')")],
        "failed", "ended with exit code 1; it said: RuntimeError: so it is and so",
    ),
    "fewer predictions": (
        "tools_predict", own_scripts.PREDICT, [("image_list=images", "image_list=images[1:]")],
        "failed", "1 of 2 label maps were written: exit code 0; it said:",
    ),
}  # fmt: skip


# One fault of each kind is enough to see that a change let them by: of those that are judged by the same lines.
SHORT = {
    "another loss",
    "a loss that is not finite",
    "no weights",
    "another batch size",
    "another PaddleSeg",
    "no word of what was imported",
    "no variable",
    "a variable less",
    "no file of weights",
    "weights that are no numbers",
    "fewer images",
    "no mIoU",
    "no program",
    "deploy.yaml names what is not there",
    "fewer predictions",
    "writes nothing and exits 0",
    "runs oneDNN when told not to",
}


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=[pytest.mark.long] * (fault not in SHORT)) for fault in FAULTS]
)
def test_a_fault_is_red(run, planted, fault):
    cell, file, changes, status, reason = FAULTS[fault]
    planted(file, *changes)
    told = run(cell)
    assert (told["status"], reason in told["reason"]) == (status, True), told["reason"]
    assert told["effective"]["command"] and told["effective"]["exit_code"] == (1 if fault == "an exception" else 0)


ON = (" else config.disable_mkldnn()", " else None")  # oneDNN, unless it is told otherwise
SILENT = ('os.environ["ONEDNN_VERBOSE"] = "0"', "config.disable_glog_info()")
EAGER = """import paddle
    whole = paddle.jit.load(deploy.model.removesuffix(".json"))(paddle.to_tensor(batch)).numpy()
    made = type("Made", (), {"copy_to_cpu": lambda self, whole=whole: whole})()"""
# What is planted -> what Paddle still says. In all but the last oneDNN computes.
UNSEEN = {
    "the trace is silenced": (
        [ON, ("import argparse", f"import argparse\nimport os; {SILENT[0]}")],
        "lists onednn_placement_pass",
    ),
    "so is Paddle's log": (
        [
            ON,
            ("import argparse", f"import argparse\nimport os; {SILENT[0]}"),
            ("config.set_cpu", f"{SILENT[1]}; config.set_cpu"),
        ],
        "lists no pass",
    ),
    "Paddle's log is silenced": ([("config.set_cpu", f"{SILENT[1]}; config.set_cpu")], "lists no pass"),
    "the program is built, and another computes": ([("predictor.run()", EAGER)], "says of no program that it ran"),
}


@pytest.mark.parametrize("way", UNSEEN)
def test_an_engine_that_was_not_seen_is_no_tick(run, planted, monkeypatch, way):
    changes, said = UNSEEN[way]
    planted(own_scripts.INFER, *changes)
    told = run("deploy_infer_native")
    assert (told["status"], told["try_again"]) == ("unverified", False)
    assert f"oneDNN's trace has no convolution or product, and Paddle {said}" in told["reason"]
    assert "deploy/python/infer.py, or what it imports, sets ONEDNN_VERBOSE" in told["reason"]
    if way == "Paddle's log is silenced":
        planted(own_scripts.INFER, (LABELS, LABELS + "; label[:9] = 1 - label[:9]"))
        told = run("deploy_infer_native")
        assert told["status"] == "accuracy-failed" and "on 0.90625 of pixels" in told["reason"], told["reason"]


def test_a_training_that_stops_learning_is_not_that_of_history():
    from segcert.compute import own_scripts as work

    falling = [(0.9 - 0.03 * number, 0.01) for number in range(20)]
    request = RunScript(script=own_scripts.TRAIN, digest="0", iters=20, max_history_loss=0.25)

    def held(losses):
        rows = [(number + 1, loss, 0.01) for number, loss in enumerate(losses)]
        measured, gates = work._held_to(request, rows, losses[:3], falling, {})
        return measured["history_loss"], [gate["name"] for gate in gates if not gate["holds"]]

    losses = [loss for loss, _ in falling]
    assert held(losses) == (0, [])
    value, broken = held([*losses[:2], *[losses[2]] * 18])
    assert value > 0.25 and broken == ["history_loss"], "its first ten alone are near"


@pytest.mark.parametrize("asked", [True, False])
def test_what_a_process_imported_is_noted_as_it_ends_and_nobodys_start_is_lost(tmp_path, asked):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "sitecustomize.py").write_text("import sys; print('begun', sys.path[0] or '.')\n")
    (theirs / "paddleseg").mkdir()
    (theirs / "paddleseg/__init__.py").write_text("__version__ = '9'\nfrom . import part\n")
    (theirs / "paddleseg/part.py").write_text("")
    path = os.pathsep.join([str(ROOT / "scripts/observer"), str(theirs)])
    variables = {
        **os.environ,
        "PYTHONPATH": path,
        **({"SEGCERT_IMPORTED": str(tmp_path / "imported")} if asked else {}),
    }
    code = "import sys, numpy, paddleseg; print([p for p in sys.path if 'observer' in p])"
    done = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("begun") and done.stdout.splitlines()[-1] == "[]"
    noted = list(tmp_path.glob("imported.*.json"))
    assert len(noted) == int(asked)
    for file in noted:
        found = json.loads(file.read_text())
        assert found["paddleseg"] == ["9", str(theirs / "paddleseg/__init__.py")] and found["numpy"][0]
        assert found["paddleseg.part"] == [None, str(theirs / "paddleseg/part.py")]


def test_what_a_script_imported_is_its_own_however_it_came_to_it(tmp_path):
    from segcert.compute import own_scripts as work

    (tmp_path / "seg/paddleseg").mkdir(parents=True)
    (tmp_path / "link").symlink_to("seg")

    def told(*files):
        return work._not_of(tmp_path / "link", {f"paddleseg.m{n}": (None, str(file)) for n, file in enumerate(files)})

    one = tmp_path / "seg/deploy/../paddleseg/m.py"
    assert told(one, tmp_path / "link/paddleseg/n.py") is None
    assert told(one, tmp_path / "other/paddleseg/n.py").startswith(
        f"it imported {tmp_path}/other/paddleseg/n.py, which"
    )
    assert told().startswith("it imported no paddleseg")


def test_a_batch_size_is_what_the_lines_of_a_training_come_to():
    from segcert.compute import own_scripts as work

    def size(*lines):
        said = (
            "[TRAIN] epoch: 1, iter: 1/5, loss: 0.7, batch_cost: {:.4f}, reader_cost: 0.1, ips: {:.4f} samples/sec | E"
        )
        return work._printed_batch_size("\n".join(said.format(*line) for line in lines))

    assert size((0.5, 8.0), (0.0031, 4 / 0.0031)) == size((2.0, 2.0)) == 4
    assert size() is None and size((0.0005, 16 / 0.0005)) is None, "four decimals of a batch that fast tell nothing"
    assert size((1.0, 3.5)) is None


def test_a_known_one_is_known_and_is_said_to_be_gone(run, planted):
    known = ["--known-failure", "K1", "memory_optimize_pass", "so it is", "https://example.org/1", "any"]
    told = run("deploy_infer_onednn", *known)
    assert told["status"] == "passed" and "passes although listed as known failure K1" in told["reason"]
    planted(own_scripts.INFER, ("    " + SAVE, MEMORY))
    told = run("deploy_infer_onednn", *known)
    assert told["status"] == "known-failure" and told["reason"].startswith(
        "K1: so it is (https://example.org/1) Seen: 0 of 2"
    )


@pytest.mark.long
def test_a_class_that_nothing_holds_is_no_difference_of_the_miou(run, planted, exported):
    """PaddleSeg 2.8.0 takes an IoU of 0 for it, a later one of 1."""
    record = exported / "eval.json"
    before = record.read_text(encoding="utf-8")
    planted("paddleseg/utils/metrics.py", ("            iou = 0\n", "            iou = 1\n"))
    told = run("tools_val")
    assert told["status"] == "passed" and told["reason"] is None and told["metrics"]["classes_counted_as_whole"] == 0
    # As if one of the two classes were nowhere: the other's IoU is all that there is.
    changed = json.loads(before)
    changed["metrics"] |= {"class_iou": [0.25, 0.0], "miou": 0.125}
    line = "[EVAL] #Images: 6 mIoU: 0.6250 Acc: 0"
    planted(own_scripts.VAL, (SCORES, f'print("{line}")'), (CLASSES, 'print("[EVAL] Class IoU: \\n[0.25 1.  ]")'))
    try:
        record.write_text(json.dumps(changed), encoding="utf-8")
        told = run("tools_val")
        assert told["status"] == "passed" and told["metrics"]["classes_counted_as_whole"] == 1
        assert "takes an IoU of 1 for each of 1 of 2 classes that neither labels nor label maps hold" in told["reason"]
        planted("paddleseg/utils/metrics.py", ("            iou = 1\n", "            iou = 0\n"))
        told = run("tools_val")
        assert told["status"] == "accuracy-failed" and "its mIoU is 0.625, that of eval.json 0.12500" in told["reason"]
    finally:
        record.write_text(before, encoding="utf-8")


def test_one_that_is_not_there_or_not_the_one_that_was_asked_for_is_told(run, checkout):
    told = run("tools_val", digest="0" * 16)
    assert told["status"] == "failed" and "digest: 0000000000000000 requested" in told["reason"]
    path = checkout / own_scripts.VAL
    kept = path.rename(path.with_suffix(".kept"))
    try:
        told = run("tools_val", digest="0" * 16)
        assert told["status"] == "failed" and f"{path}: is not there; name a checkout that has it" in told["reason"]
    finally:
        kept.rename(path)


def test_another_package_than_the_scripts_own_is_refused(run, tmp_path, checkout):
    """A package installed to be edited (`pip install -e`) may come before PYTHONPATH."""
    finder = (
        "import sys\nfrom importlib.machinery import PathFinder\n"
        "class First:\n    def find_spec(self, name, path=None, target=None):\n"
        f"        return PathFinder.find_spec(name, [{str(INSTALLED.parent)!r}]) if name == 'paddleseg' else None\n"
        "sys.meta_path.insert(0, First())\n"
    )
    told = run("tools_val", python=interpreter(tmp_path / "python", finder))
    assert told["status"] == "failed" and "with it as PYTHONPATH, " in told["reason"], told["reason"]
    assert f"{INSTALLED}/__init__.py would be imported" in told["reason"]


def test_a_package_beside_the_script_is_not_taken_for_the_checkouts(run, checkout):
    """Python looks first in the folder of the script that it runs."""
    beside = checkout / "tools/paddleseg"
    beside.mkdir()
    try:
        (beside / "__init__.py").write_text("raise SystemExit(0)\n")
        told = run("tools_val")
    finally:
        shutil.rmtree(beside)
    assert told["status"] == "failed" and f"{beside}/__init__.py would be imported" in told["reason"]


def test_a_blank_in_a_path_is_told(run, dataset, tmp_path):
    spaced = tmp_path / "with blank"
    spaced.symlink_to(dataset)
    told = run("tools_predict", "--dataset", spaced)
    assert told["status"] == "failed" and "lists in which a blank ends a path" in told["reason"]


SLEEPS = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(600)"
EXECUTES = f"""
import os, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT / "scripts")!r})
from segcert.compute import own_scripts
own_scripts._execute([sys.executable, "-c", {SLEEPS!r}], Path("."), os.environ, False)
"""


def test_a_script_ends_with_the_process_that_runs_it(tmp_path):
    worker = subprocess.Popen([sys.executable, "-c", EXECUTES], cwd=tmp_path)
    pid = tmp_path / "pid"
    for _ in range(1200):
        if pid.exists() and pid.read_text():
            break
        time.sleep(0.1)
    script = psutil.Process(int(pid.read_text()))
    assert script.cmdline()[1:2] == ["-c"] and "time.sleep(600)" in script.cmdline()[2]
    worker.kill()
    worker.wait()
    _, left = psutil.wait_procs([script], timeout=60)
    assert not left


def test_a_checkout_must_be_named():
    command = [sys.executable, str(ROOT / "scripts/run_paddleseg.py"), "--cell", "c", "--record", "r", "--log", "l"]
    files = [f"--{name}" for name in ("config", "dataset", "checkpoint", "history", "reference", "export", "made")]
    command += [word for name in files for word in (name, "x")] + ["--own-script", own_scripts.VAL, "--digest", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and "--paddleseg: name the checkout whose script is to run" in done.stderr


def test_on_a_gpu_it_is_the_driver_that_is_asked(dataset, tmp_path, monkeypatch):
    """The driver alone is played: there is no device here."""
    from segcert.compute import own_scripts as work

    monkeypatch.setattr(work.gpus, "memory_mb", lambda pid: 612.0)
    command = [sys.executable, "-c", "print('onednn_verbose,v1,info'); print('so it is')"]
    ran = work._execute(command, tmp_path, work._environment(tmp_path, tmp_path / "imported"), on_gpu=True)
    assert (ran.code, ran.text, ran.trace, ran.gpu_mb) == (0, "so it is\n", "onednn_verbose,v1,info\n", 612.0)
    assert (
        work._execute(command, tmp_path, work._environment(tmp_path, tmp_path / "imported"), on_gpu=False).gpu_mb
        is None
    )
    made = tmp_path / "made"
    made.mkdir()
    request = RunScript(script=own_scripts.INFER, digest="0", device="gpu", engine="native", images=1)
    nowhere = dict.fromkeys(("checkpoint", "history", "reference", "export"), tmp_path)
    given = {"config": run_stage.CONFIG, "evaluated": {}, "weights": {}, "left_out": (), "final": "f"}
    files = work.Files(dataset=dataset, made=made, **nowhere, **given)
    options, judge = work.KINDS[own_scripts.INFER](request, files)
    assert options[-6:] == ["--device", "gpu", "--use_trt", "False", "--precision", "fp32"]
    assert judge(ran).outcome == "0 of 1 label maps were written: exit code 0; it said: so it is"
    assert work._engine(request, tmp_path, ran, 1) == ({}, {}, None), "nothing tells what computed there"


# -- the plan --------------------------------------------------------------------------------


def table(scripts, gpus=0, **given):
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    asked = {"mode": "smoke", **given}
    resolved = settings.resolve(sections.merge(shipped, asked), asked, "config.yaml")
    return cells.CellTable(resolved, Hardware(gpus, "auto", bf16=True), {}, scripts)


def of_scripts(made):
    return [cell for cell in made.cells if cell.stage == "scripts"]


def test_they_are_planned_on_what_is_trained_in_fp32_on_one_device_and_exported():
    there = dict.fromkeys(own_scripts.FILES, "1234")
    planned = of_scripts(table(there))
    assert {cell.model for cell in planned} == {"pp_humanseg_lite"} and {cell.train_name for cell in planned} == {
        "single_fp32"
    }
    assert [cell.name for cell in planned] == list(CELLS)
    told = {cell.name: (cell.status, cell.reason) for cell in planned}
    assert told.pop("deploy_infer_gpu")[0] == "unverified" and set(told.values()) == {(None, None)}
    assert {cell.model for cell in of_scripts(table(there, paddleseg_scripts=True))} == set(
        table({}).settings["models"]
    )
    assert of_scripts(table(there, paddleseg_scripts=False)) == []
    assert of_scripts(table({}, paddleseg_scripts=True)) == [], "the installed package has none"
    assert of_scripts(table(there, mode="whole_infer", paddleseg_scripts=True)) == [], "nothing is trained"
    assert of_scripts(table(there, infer={"from_precision": "amp"})) == []
    on_gpu = {cell.name: cell for cell in of_scripts(table(there, gpus=2, infer={"from_precision": "fp32"}))}
    assert on_gpu["deploy_infer_gpu"].gpus == 1 and on_gpu["tools_val"].gpus == 1 and not on_gpu["tools_export"].gpus


def test_each_is_called_by_its_name():
    made = table(dict.fromkeys(own_scripts.FILES, "1"))
    (line,) = (line for line in listing.text(made).splitlines() if "tools_val" in line)
    assert line.split() == ["pp_humanseg_lite", "scripts", "single_fp32:", "tools_val", "run"]
    cell = Concluded({"stage": "scripts", "cell": "tools_val", "train_cell": "single_fp32", "requested": {}})
    assert {cell.label(form) for form in ("short", "full", "engine", "column")} == {"tools_val"}


def test_one_that_the_checkout_has_not_is_skipped_with_the_reason():
    there = {own_scripts.VAL: "1234"}
    told = {cell.name: (cell.status, cell.reason) for cell in of_scripts(table(there))}
    assert told.pop("tools_val") == (None, None)
    assert told["tools_train"] == ("skipped", "the PaddleSeg at hand has no tools/train.py")
    assert {status for status, _ in told.values()} == {"skipped"}


def test_what_lies_beside_a_script_is_part_of_it(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "paddleseg/models").mkdir(parents=True)
    texts = {"tools/val.py": "import helper\n", "paddleseg/models/unet.py": "class UNet: pass\n"}
    texts |= {"paddleseg/models/a.py": "class A: pass\n", "deploy.py": ""}
    changes = {"tools/helper.py": "", "yaml.py": "", "tools/deep/er.py": "", "deploy.py": "x = 1\n"}
    changes |= {"tools/unet.py": "from paddleseg.models.unet import UNet\n"}
    changes |= {"paddleseg/models/unet.py": "class UNet: x = 1\n"}
    digests = []
    for name, text in (*texts.items(), *changes.items()):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        digests.append(beside.digest(tmp_path, own_scripts.VAL))
    digests = digests[len(texts) - 1 :]
    assert len(set(digests)) == len(digests) == 7
    # Neither what it does not import, nor what an editor leaves, nor what is no file.
    (tmp_path / "paddleseg/models/a.py").write_text("class A: x = 1\n")
    (tmp_path / "tools/.#val.py").symlink_to("somebody@a.host:1")
    (tmp_path / "tools/folder.py").mkdir()
    assert beside.there(tmp_path) == {own_scripts.VAL: digests[-1]}


def test_what_a_script_runs_is_what_the_files_hold_and_not_code_that_was_compiled_before(tmp_path, run, checkout):
    """Edits that keep a file's size and time, by which Python takes compiled code for a file's own."""
    init, tool = checkout / "paddleseg/utils/__init__.py", checkout / "tools/other.py"
    tool.write_text("x = 1\n")
    kept = {}
    for file, other in ((init, "raise RuntimeError"), (tool, "x = 2\n")):
        text, stat = file.read_bytes(), file.stat()
        file.write_bytes(other.encode().ljust(len(text), b"\n"))
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        kept[file] = Path(py_compile.compile(str(file), doraise=True))
        file.write_bytes(text)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    unlooked = checkout / "tools/predict.py"
    kept[unlooked] = Path(
        py_compile.compile(str(tool), cfile=importlib.util.cache_from_source(str(unlooked)),
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    )  # fmt: skip
    right = Path(py_compile.compile(str(checkout / own_scripts.VAL)))
    Path(importlib.util.cache_from_source(str(checkout / own_scripts.TRAIN))).write_bytes(b"of another Python")
    try:
        told = run("tools_val")
        assert told["status"] == "passed", told["reason"]
        log = (tmp_path / "scripts/tools_val.log").read_text(encoding="utf-8")
        for compiled in kept.values():
            assert f"{compiled}: held other code than its file does, so it was taken away" in log
        assert log.count("held other code") == 3 and right.is_file()
        right.write_bytes(importlib.util.MAGIC_NUMBER + b"damaged")
        assert beside.drop_other_code(checkout, own_scripts.VAL) == [right]
    finally:
        tool.unlink()


def test_compiled_code_that_cannot_be_taken_away_is_refused(tmp_path, monkeypatch):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "tools").mkdir()
    (tmp_path / own_scripts.VAL).write_text("x = 1\n")
    compiled = Path(py_compile.compile(str(tmp_path / own_scripts.VAL)))
    (tmp_path / own_scripts.VAL).write_text("x = 2\n")
    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(ConfigError, match=f"^{compiled}: holds other code than .*Permission denied; remove it"):
        beside.drop_other_code(tmp_path, own_scripts.VAL)


def test_an_edit_while_a_script_runs_fails_its_cell(run, planted, checkout):
    planted(own_scripts.VAL, (SCORES, f"open({str(checkout / 'tools/more.py')!r}, 'w').close()\n{SCORES}"))
    try:
        told = run("tools_val")
    finally:
        (checkout / "tools/more.py").unlink()
    assert told["reason"] == f"{checkout / own_scripts.VAL}, or code beside it, was edited while it ran; run it again"


def test_an_edit_of_a_script_makes_its_cell_another():
    one, other = ({**dict.fromkeys(own_scripts.FILES, "1"), own_scripts.VAL: digest} for digest in ("1", "2"))
    changed = [
        cell.name
        for cell, edited in zip(of_scripts(table(one)), of_scripts(table(other)), strict=True)
        if cell.options != edited.options
    ]
    assert changed == ["tools_val"]


def test_a_model_that_there_is_not_is_refused():
    with pytest.raises(
        settings.ConfigError, match=r'paddleseg_scripts\.0: "moon" is refused; allowed: a key of `model_zoo`'
    ):
        table({}, paddleseg_scripts=["moon"])


def test_none_passes_without_its_gate():
    for file, name in own_scripts.GATES.items():
        content = {"stage": "scripts", "requested": {"script": file}, "effective": {**PROVED, "script": file}}
        gate = proof.gate(name, 1, proof.GATES[name], 1, "so")
        assert proof.unproven({**content, "metrics": {"gates": [gate]}}) == []
        assert proof.unproven({**content, "metrics": {}}) == [f"its result was not held against this run's ({name})"]


# -- a whole run ------------------------------------------------------------------------------


def test_a_run_plans_runs_and_concludes_them(project, checkout, tmp_path):
    mine = {
        "mode": "smoke",
        "hardware": "cpu",
        "paddleseg": str(checkout),
        "models": ["pp_humanseg_lite"],
        "input_size": [128, 64],
        "train": {"iters": 3, "topologies": ["single"], "precisions": [{"precision": "fp32"}]},
        "infer": {"cpu": [{"engine": "native", "precision": "fp32"}], "images": 2, "min_samples": 4, "warmup": 1},
        "datasets": {"mini_supervisely_synthetic": {"images": {"train": 6, "val": 2, "test": 2}}},
    }
    (project / "mine.yaml").write_text(yaml.safe_dump(mine), encoding="utf-8")
    done = snakemake(project, "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((project / "results/smoke/conclusions.json").read_text(encoding="utf-8"))
    told = {cell["cell"]: cell for cell in found["cells"] if cell["stage"] == "scripts"}
    assert list(told) == list(CELLS)
    assert told.pop("deploy_infer_gpu")["status"] == "unverified"
    assert {cell["status"] for cell in told.values()} == {"passed"}
    fields = {*told["tools_val"]["requested"], *told["tools_val"]["effective"]}
    for cell in told.values():
        fields |= {*cell["requested"], *cell["effective"], *cell["metrics"]}
    page = (ROOT / "docs/reference/records.md").read_text(encoding="utf-8")
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []
    written = (project / "results/smoke/conclusions.md").read_text(encoding="utf-8")
    (row,) = (line for line in written.splitlines() if "| tools_val " in line)
    assert "✓ passed" in row and "miou_difference 0.0" in row
    assert "tools_val" in (project / "results/smoke/conclusions.html").read_text(encoding="utf-8")
    again = snakemake(project, "-n", "--configfile", "mine.yaml")
    assert "Nothing to be done" in again.stdout + again.stderr
    script = checkout / own_scripts.VAL
    text = script.read_text(encoding="utf-8")
    try:
        script.write_text(text + "# edited\n", encoding="utf-8")
        edited = snakemake(project, "-n", "--configfile", "mine.yaml")
        assert "run_paddleseg" in edited.stdout + edited.stderr and "evaluate" not in edited.stdout
    finally:
        script.write_text(text, encoding="utf-8")
    installed = snakemake(project, "-n", "--configfile", "mine.yaml", "--config", "paddleseg=installed")
    assert "note: paddleseg_scripts: none" in installed.stderr
