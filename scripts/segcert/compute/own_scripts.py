"""One of PaddleSeg's own scripts, run as a person runs it, and what it did held against this run's own results.

The script is a process of its own. What it is given is written here: a configuration with this run's decisions in it,
lists of images, options. What it did is read from what it printed and wrote; what it says of itself is believed of
nothing that can be seen.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import itertools
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import yaml
from numpy.typing import NDArray
from paddleseg.core.infer import inference
from paddleseg.transforms import Compose
from paddleseg.utils.metrics import mean_iou

from segcert import gpus, modelconfig, output_ops, own_scripts, proof
from segcert.checkout import beside, pinned
from segcert.compute import components, metrics, outputs, pretrained, training
from segcert.compute.device import use as use_device
from segcert.compute.engines import library, onednn_trace, paddle_inference
from segcert.compute.preprocess import Preprocess, deploy_config, input_size
from segcert.data import layouts
from segcert.data.images import read_label, write_label
from segcert.errors import StageError, Unverified
from segcert.masking import masked
from segcert.numbers import finite
from segcert.requests.scripts import RunScript
from segcert.stage import reasons
from segcert.stage.progress import say
from segcert.stage.worker import Result

# Names in the folder in which a script runs.
CONFIG, IMAGES, VALIDATION, OUTPUT, MAPS = "config.yml", "images.txt", "validation.txt", "output", "label_maps"
IMPORTED = "imported"
LABELS = "labels"  # beside VALIDATION
KEPT = (CONFIG, IMAGES, VALIDATION, LABELS, MAPS)
TRACE = ("onednn_verbose", "dnnl_verbose")  # what a line of oneDNN's trace begins with
# What Paddle says of each predictor that it builds, unless it is told to be silent (Paddle 3, Paddle 2); and of what it
# is named by that gives operators to oneDNN.
PASS = re.compile(r"--- Running P?IR pass \[(\w+)\]")
OF_PADDLE_3 = "--- Running PIR pass ["
RUNS = "interpreter is running by"  # what Paddle 3 says as such a program is run for the first time
TO_ONEDNN = re.compile(r"(?:onednn|mkldnn)_placement_pass")
UNSEEN = (
    "what computed was not seen: oneDNN's trace has no convolution or product, and {why}; {script}, or what it "
    "imports, sets ONEDNN_VERBOSE, silences Paddle's log (--print_detail), redirects the output, or computes otherwise"
)
# Lines of tools/train.py and tools/val.py. A loss has 4 decimals there, a rate 6, a mIoU 4.
TRAINED = re.compile(r"\[TRAIN\].*?\biter: (\d+)/\d+, loss: (\S+?), lr: (\S+?),")
EVALUATED = re.compile(r"\[EVAL\] #Images: (\d+) mIoU: (\S+)")
# Seconds of a batch and samples per second, each with 4 decimals: their product is how many samples there were.
SPEED = re.compile(r"\[TRAIN\].*?\bbatch_cost: ([\d.]+),.*?\bips: ([\d.]+) samples/sec")
LOSS_ROUNDING, RATE_ROUNDING, MIOU_ROUNDING, SPEED_ROUNDING = 0.00005, 0.0000005, 0.00005, 0.00005
CLASS_IOU = re.compile(r"\[EVAL\] Class IoU: *\n\[([^\]]*)\]")
ABSENT = (
    "this PaddleSeg takes an IoU of 1 for each of {whole} of {of} classes that neither labels nor label maps hold, "
    "eval.json takes 0: its mIoU of {miou:.5f} is compared without them"
)
LATER = 2  # losses after the first that are compared one by one
OF_HISTORY = 10  # first losses whose mean is compared with that of history.csv
# What says why a script went no further: an error of Paddle's, or the last line of a traceback.
SAID = re.compile(r"\([A-Z]\w+\) |(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b")
STAMP = re.compile(r"^\[\d[^\]]*\] (?:[A-Z]+: )?")  # before each message of its log
MOST_SAID = 400  # characters of that line and those after it
PNG = ".png"
COMPLETE = RunScript.outcome

Labels = Mapping[str, NDArray[np.integer[Any]]]


@dataclass(frozen=True, kw_only=True)
class Files:
    """What a run of a script reads and makes.

    Attributes:
        config: PaddleSeg configuration of the model.
        dataset, checkpoint, history, reference, export: as this run made them.
        evaluated: metrics of this run's evaluation.
        weights, left_out: what the training starts from, as `components.Start` has it.
        made: the folder to make, in which the script runs.
        final: where that folder comes to lie.
    """

    config: str
    dataset: Path
    checkpoint: Path
    history: Path
    reference: Path
    export: Path
    evaluated: Mapping[str, Any]
    weights: Mapping[str, str]
    left_out: Sequence[str]
    made: Path
    final: str


@dataclass(frozen=True)
class Ran:
    """How a script ended.

    Attributes:
        code: its exit code; below 0: less the number of the signal that killed it.
        text: what it printed, without oneDNN's trace.
        trace: oneDNN's trace of what it executed.
        gpu_mb: most GPU memory that the driver said it held; None: none, or nobody knows.
    """

    code: int
    text: str
    trace: str
    gpu_mb: float | None

    @property
    def why(self) -> str:
        """In words, how it ended, with the last that it said of an error, up to the next message of its log."""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        telling = [number for number, line in enumerate(lines) if SAID.match(STAMP.sub("", line))]
        first, *others = lines[telling[-1] :] if telling else lines[-1:] or ["nothing"]
        own = itertools.takewhile(lambda line: not STAMP.match(line), others)
        said = " ".join([STAMP.sub("", first), *own])
        return f"exit code {self.code}; it said: {said[:MOST_SAID]}{' ...' if len(said) > MOST_SAID else ''}"


@dataclass(frozen=True)
class Found:
    """What came of a script.

    Attributes:
        outcome: COMPLETE, or in words what it did not do.
        effective: what was observed to run, besides what is so of every script.
        remark: what a person must know of it although it passes.
    """

    outcome: str
    effective: Mapping[str, Any]
    metrics: Mapping[str, Any]
    gates: Sequence[dict[str, Any]] = ()
    remark: str | None = None


def run(request: RunScript, files: Files) -> Result:
    """Run a script, of the PaddleSeg that this process has imported, and judge it.

    Raises:
        StageError: there is no such script, or it would import another PaddleSeg.
    """
    checkout = Path(next(iter(pinned.imported()), ""))
    script = checkout / request.script
    if not script.is_file():
        raise StageError(f"{script}: is not there; name a checkout that has it, or take it out of paddleseg_scripts")
    use_device(request.device)
    files.made.mkdir(parents=True)
    environment = _environment(checkout, files.made.absolute() / IMPORTED)
    _require_own_package(checkout, script, environment)
    digest = beside.digest(checkout, request.script)
    for compiled in beside.drop_other_code(checkout, request.script):
        say(f"{compiled}: held other code than its file does, so it was taken away")
    kind = KINDS[request.script]
    options, judge = kind(request, files)
    command = [sys.executable, str(script), *options]
    shown = f"cd {shlex.quote(files.final)} && PYTHONPATH={shlex.quote(str(checkout))} {shlex.join(command)}"
    say(f"$ {masked(shown)}")
    ran = _execute(command, files.made, environment, on_gpu=request.device == "gpu")
    written = _written(files.made)
    if beside.digest(checkout, request.script) != digest:
        raise StageError(f"{script}, or code beside it, was edited while it ran; run it again")
    found = judge(ran) if ran.code == 0 else Found(f"ended with {ran.why}", {}, {})
    imported = _imported(files.made)
    if ran.code == 0 and (why := _not_of(checkout, imported)):
        found = replace(found, outcome=why)
    _clear(files.made)
    effective = {
        "script": request.script,
        "digest": digest,
        "device": "gpu" if ran.gpu_mb else "cpu",
        "outcome": masked(found.outcome),
        "exit_code": ran.code,
        "command": masked(shown),
        **found.effective,
    }
    said = re.search(r"^PaddlePaddle: (\S+)", ran.text, re.M)  # infer.py does not say
    versions = {name: version for name, (version, _) in imported.items() if "." not in name}
    measured = {
        "written": written,
        "imported": versions,
        "gpu_memory_mb": ran.gpu_mb,
        "paddle_said": said and said[1],
        **found.metrics,
    }
    return Result(effective, measured, list(found.gates), remark=found.remark)


# -- the process ------------------------------------------------------------------------------


def _environment(checkout: Path, imported: Path) -> dict[str, str]:
    """The variables of a script: this process's, with the checkout before what is installed, and what makes it seen.

    Args:
        imported: what the names of files begin with in which it is noted what was imported.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith("SEGCERT_")}
    seen = {"ONEDNN_VERBOSE": "1", "GLOG_minloglevel": "0", "PYTHONUNBUFFERED": "1"}
    path = os.pathsep.join([str(Path(sys.path[0]).absolute() / "observer"), str(checkout)])
    return {**own, **seen, "PYTHONPATH": path, "SEGCERT_IMPORTED": str(imported)}


def _imported(folder: Path) -> dict[str, tuple[str | None, str | None]]:
    """Module -> its version and file, of what the script's processes noted that they had imported."""
    found: dict[str, tuple[str | None, str | None]] = {}
    for noted in sorted(folder.glob(f"{IMPORTED}.*.json")):
        with contextlib.suppress(ValueError):
            found |= {name: (version, file) for name, (version, file) in json.loads(noted.read_bytes()).items()}
    return found


def _not_of(checkout: Path, imported: Mapping[str, tuple[str | None, str | None]]) -> str | None:
    """In words, that a script imported another PaddleSeg than its own, or none; None where it was its own."""
    files = [Path(file) for name, (_, file) in imported.items() if name.split(".")[0] == pinned.PACKAGE and file]
    own = (checkout / pinned.PACKAGE).resolve()  # however a script comes to it: `deploy/python/../..`, a link
    other = [file for file in files if not file.resolve().is_relative_to(own)]
    if other:
        return f"it imported {other[0]}, which is not of {checkout}"
    return None if files else "it imported no paddleseg, or ended without saying what it imported"


def _require_own_package(checkout: Path, script: Path, environment: Mapping[str, str]) -> None:
    """Raise StageError where the script would import another PaddleSeg than that which it belongs to."""
    # The folder of a script is looked at before all others.
    asked = "import sys; sys.path[0] = sys.argv[1]; import importlib.util as u; print(u.find_spec('paddleseg').origin)"
    answer = subprocess.run(
        [sys.executable, "-c", asked, str(script.parent)],
        env={name: value for name, value in environment.items() if name != "SEGCERT_IMPORTED"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = answer.stdout.strip()
    if not found or Path(found) != checkout / "paddleseg/__init__.py":
        raise StageError(
            f"{checkout}: with it as PYTHONPATH, {found or 'no paddleseg'} would be imported; take that out of "
            f"the environment of {sys.executable}"
        )


# Becomes the command, once it is sure to end with this process (prctl(2)). Not between fork and exec, as Popen offers:
# what libraries do there with their locks and descriptors is not made for it.
ENDS_WITH_US = (
    "import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGKILL); "
    "os.getppid() == int(sys.argv[1]) or os._exit(1); os.execv(sys.argv[2], sys.argv[2:])"
)


def _execute(command: Sequence[str], folder: Path, environment: Mapping[str, str], on_gpu: bool) -> Ran:
    """Run a script and print what it prints as it does, but for oneDNN's trace, of which there is a lot."""
    text: list[str] = []
    trace: list[str] = []
    memory: list[float] = []
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", ENDS_WITH_US, str(os.getpid()), *command],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    for line in child.stdout or ():
        if line.startswith(TRACE):
            trace.append(line)
            continue
        text.append(line)
        print(line, end="", flush=True)
        if on_gpu and (held := gpus.memory_mb(child.pid)):
            memory.append(held)
    code = child.wait()
    if trace:
        print(f"({len(trace)} lines of oneDNN's trace are left out)", flush=True)
    return Ran(code, "".join(text), "".join(trace), max(memory, default=None))


def _written(folder: Path) -> dict[str, int]:
    """File -> bytes of what a script wrote, label maps and pictures counted by folder alone (`x/*.png`: how many)."""
    found: dict[str, int] = {}
    for path in sorted((folder / OUTPUT).rglob("*")):
        if path.is_file():
            name = path.relative_to(folder)
            if path.suffix.lower() in (PNG, ".jpg", ".jpeg", ".bmp"):
                among = f"{OUTPUT}/*{path.suffix.lower()}"
                found[among] = found.get(among, 0) + 1
            else:
                found[name.as_posix()] = path.stat().st_size
    return found


def _clear(folder: Path) -> None:
    """Leave in the folder what the script was given, and label maps; weights and pictures go."""
    for path in folder.iterdir():
        if path.name not in KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


# -- what scripts are given -------------------------------------------------------------------


Judge = Callable[[Ran], Found]


def _write_config(request: RunScript, files: Files, start: components.Start | None, images: int | None) -> Any:
    """Write the model's configuration with this run's decisions; PaddleSeg's own form of it, as the stages have it.

    Args:
        images: the only validation images that there are to be; None: all.
    """
    as_exported = start is None and request.transforms == "export"
    config = components.load_config(
        files.config,
        str(files.dataset.absolute()),
        request.input_size,
        request.iters,
        request.batch_size,
        start,
        as_exported,
    )
    content = copy.deepcopy(config.dic)
    content["loss"] = modelconfig.content(Path(files.config))["loss"]  # PaddleSeg's, also where it fails
    if as_exported:
        content.pop("test_config", None)  # the exported model knows nothing of it
    if images is not None:
        content["val_dataset"] = _limited(content["val_dataset"], config, images, files.made)
    # By way of JSON: without anchors, tuples and types of NumPy's.
    text = yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False, allow_unicode=True)
    (files.made / CONFIG).write_text(text, encoding="utf-8")
    return config


def _limited(section: Mapping[str, Any], config: Any, images: int, folder: Path) -> Mapping[str, Any]:
    """The section of a data set of which only the first images are there: they are listed."""
    dataset = components.builder(config).val_dataset
    if images >= len(dataset):
        return section
    pairs = dataset.file_list[:images]
    if first := layouts.first_class(
        layouts.manifest(section["dataset_root"])
    ):  # what reads lists takes none from labels
        pairs = [(image, _by_classes(label, first, folder)) for image, label in pairs]
    lines = [f"{image} {label}" for image, label in pairs]
    _write_list(folder / VALIDATION, lines, [path for pair in pairs for path in pair])
    # Beside the list, in which all paths are whole: where the script runs, and where the folder comes to lie.
    return {
        "type": "Dataset",
        "mode": "val",
        "dataset_root": ".",
        "val_path": VALIDATION,
        "num_classes": dataset.num_classes,
        "ignore_index": dataset.ignore_index,
        "transforms": section["transforms"],
    }


def _by_classes(label: str, first: int, folder: Path) -> str:
    """The path, from the folder, of a copy of a label in which 0 is class 0."""
    made = folder / LABELS / Path(label).name
    made.parent.mkdir(exist_ok=True)
    write_label(made, read_label(label, first))
    return made.relative_to(folder).as_posix()


def _write_list(file: Path, lines: Sequence[str], paths: Sequence[Any]) -> None:
    if blanks := [path for path in paths if len(str(path).split()) != 1]:
        raise StageError(
            f"{blanks[0]}: PaddleSeg's scripts read lists in which a blank ends a path; run in a folder without blanks"
        )
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _inference_list(request: RunScript, files: Files) -> list[Path]:
    """The images of the inference list, in a file that scripts read."""
    pairs = layouts.inference_list(layouts.manifest(files.dataset))[: request.images]
    images = [files.dataset.absolute() / image for image, _ in pairs]
    _write_list(files.made / IMAGES, [str(image) for image in images], images)
    return images


# -- tools/train.py ---------------------------------------------------------------------------


def _train(request: RunScript, files: Files) -> tuple[list[str], Judge]:
    config = _write_config(request, files, components.Start(files.weights, files.left_out), None)
    options = ["--config", CONFIG, "--device", request.device, "--seed", str(request.seed), "--log_iters", "1"]
    # Samples are read by the process itself, so that their random numbers have one order.
    options += ["--num_workers", "0", "--save_dir", OUTPUT, "--save_interval", str(request.iters)]

    def judge(ran: Ran) -> Found:
        rows = [(int(number), float(loss), float(rate)) for number, loss, rate in TRAINED.findall(ran.text)]
        printed = _printed_batch_size(ran.text)
        effective = {"iters": len(rows), **({"batch_size": printed} if printed else {})}
        told = {"losses": [finite(loss) for _, loss, _ in rows[:OF_HISTORY]]}
        weights = files.made / OUTPUT / f"iter_{request.iters}" / "model.pdparams"
        if not rows or not weights.is_file():
            return Found(f"{weights.relative_to(files.made)} is not there: {ran.why}", effective, told)
        wrong = [number for number, loss, _ in rows if not math.isfinite(loss)]
        if wrong:
            return Found(f"the loss of iteration {wrong[0]} is not finite", effective, told)
        if wrong_weights := _not_trained(config, weights):
            return Found(f"{weights.relative_to(files.made)}: {wrong_weights}", effective, told)
        own = _own_losses(request, config)
        return Found(COMPLETE, effective, *_held_to(request, rows, own, _history(files.history), told))

    return options, judge


def _not_trained(config: Any, weights: Path) -> str | None:
    """In words, what keeps a file from holding the weights of a trained model; None where nothing does."""
    model = components.builder(config).model
    started = {name: value.numpy() for name, value in model.state_dict().items()}
    try:
        found = {name: np.asarray(value) for name, value in pretrained.read(str(weights)).items()}
    except Exception as error:
        return f"cannot be loaded: {reasons.reason(error)}"
    if lacking := [name for name, value in started.items() if name not in found or found[name].shape != value.shape]:
        return f"has not {len(lacking)} of {len(started)} variables, such as {lacking[0]}"
    if wrong := [name for name in started if not np.isfinite(found[name]).all()]:
        return f"{wrong[0]} is not finite"
    return None


def _printed_batch_size(text: str) -> int | None:
    """Samples of a batch, as a training's lines say it by how long one took; None where they do not say it exactly."""
    found = [(float(seconds), float(rate)) for seconds, rate in SPEED.findall(text)]
    # Of the slowest batches: the fewer milliseconds, the less do 4 decimals tell.
    if not found:
        return None
    seconds, rate = max(found)
    product, uncertain = seconds * rate, SPEED_ROUNDING * (seconds + rate)
    return round(product) if uncertain < 0.25 and abs(product - round(product)) <= 2 * uncertain else None


def _own_losses(request: RunScript, config: Any) -> list[float]:
    """The first losses of this project's training step, on the samples that tools/train.py has.

    That seeds all generators once, builds the model, and then draws the samples one after another, in the order that
    Paddle's sampler gives them.
    """
    components.seed_all(request.seed or 0)
    build = components.builder(config)
    model, dataset = build.model, build.train_dataset
    model.train()
    scaler = paddle.amp.GradScaler(enable=False)
    sampler = paddle.io.DistributedBatchSampler(dataset, batch_size=config.batch_size, shuffle=True, drop_last=True)
    losses: list[float] = []
    while len(losses) < min(1 + LATER, request.iters or 1):
        for indexes in sampler:
            samples = [
                {key: value for key, value in dataset[index].items() if key not in training.NOTED} for index in indexes
            ]
            batch = training.collated(samples)
            batch["label"] = batch["label"].astype("int64")
            fp32 = training.Precision("fp32")
            losses.append(float(training.step(model, model, build.loss, build.optimizer, scaler, fp32, batch)))
            training.step_lr(build.optimizer, losses[-1])
            if len(losses) == min(1 + LATER, request.iters or 1):
                break
    return losses


def _history(path: Path) -> list[tuple[float, float]]:
    """(loss, learning rate) of each iteration of this run's training."""
    with path.open(newline="", encoding="utf-8") as stream:
        return [(float(row["loss"]), float(row["lr"])) for row in csv.DictReader(stream)]


def _held_to(
    request: RunScript,
    rows: Sequence[tuple[int, float, float]],
    own: Sequence[float],
    history: Sequence[tuple[float, float]],
    told: Mapping[str, Any],
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Metrics and gates of a training: against our step on its samples, and against this run's training."""
    losses = [loss for _, loss, _ in rows]
    apart = [_relative(one, other, LOSS_ROUNDING) for one, other in zip(losses, own, strict=False)]
    count = min(OF_HISTORY, len(losses), len(history))
    kept = [loss for loss, _ in history]
    means = (float(np.mean(losses[:count])), float(np.mean(kept[:count])))
    lasts = (float(np.mean(losses[-count:])), float(np.mean(kept[-count:])))
    rates = [abs(row[2] - rate) for row, (_, rate) in zip(rows, history, strict=False)]
    measured = {
        **told,
        "own_losses": [finite(loss) for loss in own],
        "first_loss": finite(apart[0]),
        "later_loss": finite(max(apart[1:], default=0.0)),
        "history_loss": finite(max(_relative(*means, 0.0), _relative(*lasts, 0.0))),
        "learning_rate": finite(max(rates)),
    }
    said = "on the same samples" if len(own) == 1 else f"{', '.join(f'{loss:.4f}' for loss in own)} on the same samples"
    numbers = ", ".join(f"{loss:.4f}" for loss in losses[: len(own)])
    words = {
        "first_loss": (request.max_first_loss, f"its first losses are {numbers}, this project's {said}"),
        "later_loss": (request.max_later_loss, f"its first losses are {numbers}, this project's {said}"),
        "history_loss": (
            request.max_history_loss,
            f"its first {count} losses are {means[0]:.4f} in the mean, {means[1]:.4f} in history.csv, its last "
            f"{lasts[0]:.4f} and {lasts[1]:.4f}",
        ),
        "learning_rate": (
            RATE_ROUNDING * 1.001,
            f"its learning rates are up to {max(rates):g} from those of history.csv",
        ),
    }
    gates = [
        proof.gate(
            name, measured[name], "at most", most, f"{sentence}: {measured[name]:.3g}, at most {most:g} is asked"
        )
        for name, (most, sentence) in words.items()
    ]
    return measured, gates


def _relative(one: float, other: float, rounding: float) -> float:
    """How far a printed number is from another, as a share of that, but for its rounding."""
    return max(0.0, abs(one - other) - rounding) / max(abs(other), 1e-12)


# -- tools/val.py -----------------------------------------------------------------------------


def _val(request: RunScript, files: Files) -> tuple[list[str], Judge]:
    _write_config(request, files, None, files.evaluated["images"])
    options = ["--config", CONFIG, "--device", request.device, "--model_path", str(files.checkpoint.absolute())]

    def judge(ran: Ran) -> Found:
        said = EVALUATED.findall(ran.text)
        by_class = CLASS_IOU.findall(ran.text)
        if not said or not by_class:
            return Found(f"no line with a mIoU and those of classes: {ran.why}", {}, {})
        images, miou = int(said[-1][0]), float(said[-1][1])
        own, own_by_class = files.evaluated["miou"], files.evaluated["class_iou"]
        whole = _counted_as_whole(list(map(float, by_class[-1].split())), own_by_class)
        difference = max(0.0, abs(miou - whole / len(own_by_class) - own) - MIOU_ROUNDING)
        measured = {
            "images": images,
            "miou": finite(miou),
            "classes_counted_as_whole": whole,
            "miou_difference": finite(difference),
        }
        if images != files.evaluated["images"]:
            return Found(f"it evaluated {images} images, not {files.evaluated['images']}", {}, measured)
        remark = ABSENT.format(whole=whole, of=len(own_by_class), miou=own) if whole else None
        most = request.max_miou_difference
        sentence = (
            f"its mIoU is {miou}, that of eval.json {own:.5f}: apart by {difference:.5f}, at most {most} is asked"
            + (f"; {remark}" if remark else "")
        )
        gate = proof.gate("miou_difference", measured["miou_difference"], "at most", most, sentence)
        return Found(COMPLETE, {}, measured, [gate], remark)

    return options, judge


def _counted_as_whole(theirs: Sequence[float], own: Sequence[float]) -> int:
    """How many classes that neither labels nor label maps hold have an IoU of 1 in a script's mean, and of 0 in ours.

    Which of the two PaddleSeg takes, its own function says: 2.8.0 takes 0, later ones take 1.
    """
    nothing = paddle.zeros([1], "int64")
    _, absent = mean_iou(nothing, nothing, nothing)
    return sum(one == 1 and other == 0 for one, other in zip(theirs, own, strict=True)) if absent else 0


# -- label maps: tools/export.py, tools/predict.py, deploy/python/infer.py -----------------------


def _export(request: RunScript, files: Files) -> tuple[list[str], Judge]:
    config = _write_config(request, files, None, None)
    images = _inference_list(request, files)
    options = ["--config", CONFIG, "--model_path", str(files.checkpoint.absolute()), "--save_dir", OUTPUT]
    options += ["--output_op", request.output_op] if request.output_op else []

    def judge(ran: Ran) -> Found:
        folder = files.made / OUTPUT
        programs = [name for name in ("model.json", "model.pdmodel") if (folder / name).is_file()]
        if not programs or not (folder / "deploy.yaml").is_file():
            return Found(f"no program with deploy.yaml: {ran.why}", {}, {})
        deploy = deploy_config(folder)
        outcome = COMPLETE
        if deploy["model"] not in programs:
            outcome = f"deploy.yaml names {deploy['model']}, which is not there ({programs[0]} is)"
        engine = library.create("native", folder, programs[0], "cpu", "fp32", request.threads)
        preprocess = Preprocess(deploy["transforms"], components.export_size(config))
        maps = files.made / MAPS
        maps.mkdir()
        for image in images:
            given = engine.run(preprocess.batch([image]))
            labels = outputs.label_maps(given) if request.output_op else given
            write_label(maps / layouts.label_map(image.name), labels[0])
        found = _compared(request, images, maps, _reference(files, images), outcome, {"program": programs[0]})
        return _ended(files, found, given) if request.output_op else found

    return options, judge


def _predict(request: RunScript, files: Files) -> tuple[list[str], Judge]:
    config = _write_config(request, files, None, None)
    images = _inference_list(request, files)
    options = ["--config", CONFIG, "--device", request.device, "--model_path", str(files.checkpoint.absolute())]
    options += ["--image_path", IMAGES, "--save_dir", OUTPUT]

    def judge(ran: Ran) -> Found:
        maps = _collect(files.made, images, "pseudo_color_prediction")
        if lacking := _lacking(maps, images, ran):
            return Found(lacking, {}, {})
        own, reference = _own_predictions(config, files, images)
        found = _compared(request, images, maps, own, COMPLETE, {})
        agreement = _mean_agreement(reference, _reference(files, images))
        sentence = f"the checkpoint's label maps agree with the reference on {agreement:.5f} of pixels"
        gate = proof.gate("reference_agreement", agreement, "at least", request.min_agreement, sentence)
        measured = {**found.metrics, "reference_agreement": agreement}
        return Found(found.outcome, found.effective, measured, [*found.gates, gate])

    return options, judge


def _infer(request: RunScript, files: Files) -> tuple[list[str], Judge]:
    images = _inference_list(request, files)
    # Of a model whose batch cannot be free, the program for one image.
    export = next(filter(Path.is_dir, [library.of_batch(files.export, 1), files.export])).absolute()
    options = [
        "--config",
        str(export / "deploy.yaml"),
        "--image_path",
        IMAGES,
        "--save_dir",
        OUTPUT,
        "--device",
        request.device,
        *(["--with_argmax"] if request.output_op else []),
    ]
    if request.device == "cpu":
        options += ["--enable_mkldnn", str(request.engine == "onednn"), "--cpu_threads", str(request.threads)]
    else:
        options += ["--use_trt", "False", "--precision", "fp32"]

    def judge(ran: Ran) -> Found:
        maps = _collect(files.made, images)
        if lacking := _lacking(maps, images, ran):
            return Found(lacking, {}, {})
        effective, evidence, unseen = _engine(request, export, ran, len(images))
        found = _compared(request, images, maps, _reference(files, images), COMPLETE, effective)
        if request.output_op:
            found = _ended(files, found, _given(request, export, images[0]))
        if unseen and not proof.broken(found.gates):  # label maps that are wrong are red all the same
            raise Unverified(unseen, lasting=True)
        return Found(found.outcome, found.effective, {**found.metrics, "evidence": evidence}, found.gates)

    return options, judge


def _given(request: RunScript, export: Path, image: Path) -> NDArray[Any]:
    """What the exported program gives for an image."""
    deploy = deploy_config(export)
    engine = library.create("native", export, deploy["model"], "cpu", "fp32", request.threads)
    return engine.run(Preprocess(deploy["transforms"], input_size(deploy)).batch([image]))


def _ended(files: Files, found: Found, given: NDArray[Any]) -> Found:
    """The same, with what the program is seen to end in by what it gave."""
    told = json.loads((files.reference / metrics.REFERENCE_SUMMARY).read_text(encoding="utf-8"))
    output = outputs.seen(given, told["classes"])
    effective = {**found.effective, "output_op": output_ops.ended_in(output)}
    return replace(found, effective=effective, metrics={**found.metrics, "output": output})


def _engine(
    request: RunScript, export: Path, ran: Ran, images: int
) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """What computed: `effective`, the evidence of it, and in words why it was not seen; on a GPU nothing tells of it.

    OneDNN's own trace tells what that computed. Its silence proves nothing, because a script may be the reason: then
    Paddle must have said how it built the program, with nothing in it of oneDNN, and that the program ran. How many
    threads Paddle's own kernels had, nothing tells.
    """
    if request.device == "gpu":
        return {}, {}, None
    trace = onednn_trace.parse(ran.trace)
    asked = paddle_inference.program_work(export / deploy_config(export)["model"])
    of_all = {kind: asked[kind] and asked[kind] * images for kind in ("convolutions", "products")}
    missed = onednn_trace.outside(trace, of_all)
    effective = onednn_trace.effective(trace, of_all, missed, request.threads)
    del effective["device"]  # seen otherwise
    passes = PASS.findall(ran.text)
    evidence = {"onednn": trace, "program": asked, "outside_onednn": missed, "passes": len(passes)}
    if trace["convolutions"] or trace["products"]:
        return effective, evidence, None
    del effective["threads"]
    why = _why_not_native(ran.text, passes)
    unseen = UNSEEN.format(why=why, script=request.script) if why else None
    return ({} if unseen else effective), evidence, unseen


def _why_not_native(text: str, passes: Sequence[str]) -> str | None:
    """In words, what of Paddle's log says no more than that something may have run natively; None where it says it."""
    if not passes:
        return "Paddle lists no pass as it builds the program"
    if to_onednn := next(filter(TO_ONEDNN.fullmatch, passes), None):
        return f"Paddle lists {to_onednn} as it builds the program"
    _, of_paddle_3, after = text.rpartition(OF_PADDLE_3)
    return "Paddle says of no program that it ran once it was built" if of_paddle_3 and RUNS not in after else None


def _collect(folder: Path, images: Sequence[Path], below: str = "") -> Path:
    """The folder of label maps, which scripts leave below folders of the images' own."""
    maps = folder / MAPS
    maps.mkdir()
    wanted = {layouts.label_map(image.name) for image in images}
    for path in sorted((folder / OUTPUT / below).rglob(f"*{PNG}")):
        if path.name in wanted:
            path.rename(maps / path.name)
    return maps


def _lacking(maps: Path, images: Sequence[Path], ran: Ran) -> str | None:
    """In words, that label maps were not written; None where all were."""
    there = sum((maps / layouts.label_map(image.name)).is_file() for image in images)
    return None if there == len(images) else f"{there} of {len(images)} label maps were written: {ran.why}"


def _reference(files: Files, images: Sequence[Path]) -> Labels:
    """The checkpoint's own label maps, of the size of the model."""
    names = [layouts.label_map(image.name) for image in images]
    return {name: read_label(files.reference / name) for name in names}


def _own_predictions(config: Any, files: Files, images: Sequence[Path]) -> tuple[Labels, Labels]:
    """The checkpoint's label maps at the images' own sizes, as PaddleSeg brings logits to them, and at the model's."""
    model = components.load_model(config, str(files.checkpoint))
    compose = Compose(components.builder(config).val_transforms)
    whole, small = {}, {}
    with paddle.no_grad():
        for image in images:
            data = compose({"img": str(image)})
            tensor = paddle.to_tensor(data["img"][np.newaxis])
            name = layouts.label_map(image.name)
            whole[name] = np.squeeze(inference(model, tensor, trans_info=data["trans_info"])[0].numpy())
            small[name] = model(tensor)[0].argmax(axis=1)[0].numpy()
    return whole, small


def _agreements(labels: Labels, expected: Labels) -> Iterator[tuple[str, float]]:
    return ((name, metrics.agreement(labels[name], right)) for name, right in expected.items())


def _mean_agreement(labels: Labels, expected: Labels) -> float:
    return float(np.mean([value for _, value in _agreements(labels, expected)]))


def _compared(
    request: RunScript,
    images: Sequence[Path],
    maps: Path,
    expected: Labels,
    outcome: str,
    effective: Mapping[str, Any],
) -> Found:
    """What label maps come to against those that are right."""
    labels = {name: read_label(maps / name) for name in expected}
    worst, agreement = min(_agreements(labels, expected), key=lambda item: item[1]), _mean_agreement(labels, expected)
    shares = np.mean([np.bincount(right.ravel(), minlength=256) / right.size for right in expected.values()], axis=0)
    constant = float(shares.max())
    sentence = (
        f"its label maps agree with the checkpoint's on {agreement:.5f} of pixels, at least {request.min_agreement} is "
        f"asked; least: {worst[0]} {worst[1]:.5f}"
    )
    gate = proof.gate("pixel_agreement", agreement, "at least", request.min_agreement, sentence)
    measured = {
        "pixel_agreement": agreement,
        "constant_agreement": constant,
        "label_maps": len(images),
        "classes_reference": int(np.count_nonzero(shares)),
    }
    return Found(outcome, effective, measured, [{**gate, "weak": constant >= request.min_agreement}])


KINDS: Mapping[str, Callable[[RunScript, Files], tuple[list[str], Judge]]] = {
    own_scripts.TRAIN: _train,
    own_scripts.VAL: _val,
    own_scripts.EXPORT: _export,
    own_scripts.PREDICT: _predict,
    own_scripts.INFER: _infer,
}
