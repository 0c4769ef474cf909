"""A folder that stands alone for one cell that failed: what was computed, on what, and what came of it.

It is for whoever is to mend the fault, and has neither this workflow nor its data: an issue is to be had of it. What of
the cell can be run again is run once as the folder is made, in a process of its own, and its words are in README.md.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segcert import engines, modelconfig, output_ops, proof, record, stages, statuses
from segcert.compute import inference, logits
from segcert.compute.engines import library, onnx, paddle_softmax
from segcert.compute.metrics import REFERENCE_SUMMARY
from segcert.compute.preprocess import deploy_config
from segcert.data import layouts
from segcert.data.images import read_label
from segcert.errors import StageError
from segcert.files import changed_since, hashes
from segcert.reproduction.run_infer import PACKAGES
from segcert.requests.export import Export
from segcert.requests.infer import Infer
from segcert.show import packing
from segcert.show.veil import Veil
from segcert.stage import plan
from segcert.stage.reasons import short

RUN, ASKED, README, RECORD, LOG, CONFIG = "run.py", "cell.json", "README.md", "record.json", "log.txt", "config.yml"
LONGEST_S = 900  # for the script
REPRODUCED = (*(status for status in statuses.ALL if status.red), statuses.KNOWN_FAILURE)
# Of a record's env: what a reader of an issue asks for.
TOLD = ("os", "python", "cpu", "paddle", "paddle_commit", "paddleseg", "paddleseg_commit", "paddleseg_edited", "numpy")


@dataclass
class Held:
    """What of a cell is in the folder.

    Attributes:
        does: what the script does, in words; None where there is none.
        asked: what the script is told, as cell.json has it.
        files: name -> what it is.
        lacks: what a reader may look for and does not find, and why.
        software: of a record's env, what the script needs besides.
    """

    does: str | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    lacks: list[str] = field(default_factory=list)
    software: tuple[str, ...] = ()


def make(cell: str, paddleseg: str | None = None) -> tuple[Path, str]:
    """Make the folder of a cell, and a zip of it beside it.

    Args:
        cell: path of its record, from the folder of the run.
        paddleseg: folder that PaddleSeg is imported from; None: where it is installed.

    Returns:
        The folder, and in words whether the fault shows in it.

    Raises:
        StageError: there is no such record or nothing to reproduce, or what the cell was made from is gone.
    """
    to = place(cell)
    content, file = _record(cell)
    partial = to.with_name(f".{to.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    veil = Clean()
    try:
        held = _held(content, partial)
        (partial / RECORD).write_text(json.dumps(veil.tree(content), indent=1, ensure_ascii=False) + "\n", "utf-8")
        if Path(content["log"]).is_file():
            said, _ = packing.read(content["log"])
            (partial / LOG).write_text(veil.text(said.decode("utf-8", "replace")), "utf-8")
        shown, how = _shown(partial, held, paddleseg)
        (partial / README).write_text(veil.text(_readme(content, held, shown, how)), "utf-8")
        shutil.rmtree(to, ignore_errors=True)
        partial.replace(to)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    files = sorted(path for path in to.rglob("*") if path.is_file())
    packed = ((path.relative_to(to.parent).as_posix(), path.read_bytes()) for path in files)
    packing.write(to.with_name(f"{to.name}.zip"), packed)
    return to, f"{file}: {how}"


def place(cell: str) -> Path:
    """Where the folder of a cell goes: results/<mode>/repro/ and then as its record.

    Raises:
        StageError: it is no record's place in a run.
    """
    path = Path(cell)
    if path.is_absolute() or ".." in path.parts or len(path.parts) < 5 or path.parts[0] != "results":
        raise StageError(
            f"cell: {cell}: is no cell's record; name one from the folder of the run, as conclusions.csv does: "
            "results/<mode>/<model>/<train cell>/infer/<cell>.json"
        )
    results, mode, *below = path.parts
    return Path(results, mode, "repro", *below[:-1], _plain(below[-1]))


def _plain(name: str) -> str:
    return name.removesuffix(".json").removesuffix(".failed")


def _record(cell: str) -> tuple[dict[str, Any], str]:
    """The record of a cell, of its last attempt; and its file."""
    whole = str(Path(cell).with_name(f"{_plain(Path(cell).name)}.json"))
    file = next((path for path in (record.failure(whole), whole) if Path(path).is_file()), None)
    if file is None:
        raise StageError(f"cell: {whole}: there is no such record; conclusions.csv names those that there are")
    try:
        content = record.read(file)
    except record.RecordError as error:
        raise StageError(f"cell: {error}") from None
    status = content["status"]
    if status not in [one.name for one in REPRODUCED]:
        why = f": {content['reason']}" if content["reason"] else ""
        raise StageError(f"cell: {file}: is {status}, so there is nothing to reproduce{why}")
    return content, file


# -- what is in it ----------------------------------------------------------------------------


def _held(content: Mapping[str, Any], folder: Path) -> Held:
    if content["stage"] == stages.INFER.name:
        return _of_inference(content, folder)
    if content["stage"] == stages.EXPORT.name:
        return _of_export(content, folder)
    lacks = f"a script: a {content['stage']} needs the data set, and this workflow to run it"
    return Held(lacks=[f"{lacks}; {RECORD} has the command that was run"])


def _arguments(content: Mapping[str, Any], request: type[Infer] | type[Export], *files: str) -> Any:
    """What the command of a record asked for."""
    options = plan.parser("")
    for name in files:
        options.add_argument(f"--{name}")
    request.add_to(options)
    arguments, _ = options.parse_known_args(shlex.split(content["command"])[2:])
    return arguments


def _require_as_it_was(content: Mapping[str, Any], *paths: str) -> None:
    """Raise StageError where what the cell was made from is gone, or another by now."""
    for path in paths:
        if not Path(path).exists():
            raise StageError(f"{path}: is gone, of which the cell was made: run it again, and then this")
        for name, digest in hashes([path]).items():
            if content["inputs"].get(name) != digest:
                raise StageError(changed_since(name, "the record of the cell"))


def _of_inference(content: Mapping[str, Any], folder: Path) -> Held:
    """The exported model, the image that is worst, and what the checkpoint gives of it."""
    told = _arguments(content, Infer, "export", "quantised", "dataset", "reference")
    request = Infer.of(told)
    if request.device != engines.CPU or request.engine not in PACKAGES:
        return Held(lacks=[f"a script: there is none yet of {request.engine} on a {request.device.upper()}"])
    if request.streams:
        return Held(lacks=["a script: there is none yet of several requests at once; the cell of one stream has one"])
    _require_as_it_was(content, *filter(None, [told.export, told.quantised, told.dataset, told.reference]))
    dataset, reference = Path(told.dataset), inference.of_size(Path(told.reference), request.size)
    export = inference.program_folder(request, Path(told.export))
    deploy = deploy_config(export)
    model = Path(told.quantised) / export.relative_to(told.export) if request.precision == engines.INT8 else export
    reads_onnx = engines.by_name(request.engine).needs_onnx
    held = Held(
        "runs the exported model on one image, and holds what it gives against the checkpoint's",
        software=engines.by_name(request.engine).software,
    )
    names = [library.ONNX] if reads_onnx else [deploy["model"], "model.pdiparams"]
    for name in names:
        if not (model / name).is_file():
            raise StageError(f"{model / name}: is not there, so the fault is the export's: name its record")
        shutil.copyfile(model / name, folder / name)
        held.files[name] = f"the exported model of {content['model']}"
    told_of = json.loads((reference / REFERENCE_SUMMARY).read_text(encoding="utf-8"))
    have_logits = logits.stored(reference, told_of)
    image, label_map = _worst(content, layouts.inference_list(layouts.manifest(dataset)), have_logits)
    preprocess = inference.preprocessing(request, deploy)
    np.save(folder / "input.npy", preprocess.batch([dataset / image] * request.batch_size))
    held.files["input.npy"] = f"{image} of the data set as it is fed, {request.batch_size} of it"
    np.save(folder / "expected_labels.npy", read_label(reference / label_map))
    held.files["expected_labels.npy"] = "what the checkpoint gives of it, in fp32: classes"
    try:
        if label_map in have_logits:
            ends_in = request.output_op or output_ops.ARGMAX
            if reads_onnx:
                (folder / "logits.onnx").write_bytes(onnx.of_logits(model / library.ONNX, ends_in))
                held.files["logits.onnx"] = f"{library.ONNX} without the argmax or softmax at its end"
            elif ends_in == output_ops.SOFTMAX:
                without = f"logits{Path(names[0]).suffix}"
                (folder / without).write_bytes(paddle_softmax.without(model / names[0]))
                held.files[without] = f"{names[0]} without the softmax at its end"
            np.save(folder / "expected_logits.npy", logits.read(reference, label_map))
            held.files["expected_logits.npy"] = "and logits"
    except Exception as error:  # of a model that the onnx package cannot read, as the engine cannot
        held.lacks.append(f"logits: {short(error)}")
    # As they were held, which is more than was asked where rounding explains more.
    held_to = {gate["name"]: gate["threshold"] for gate in content["metrics"].get("gates", [])}
    gates = {
        "pixel_agreement": request.min_agreement,
        "logits_l2": held_to.get("logits_l2", request.max_logits_l2),
        "logits_peak": held_to.get("logits_peak", request.max_logits_peak),
    }
    held.asked = {
        **{name: getattr(request, name) for name in ("engine", "precision", "threads", "batch_size")},
        "program": names[0],
        "output_op": request.output_op or output_ops.ARGMAX,
        "version": content["env"].get(held.software[0]),
        "gates": gates,
    }
    held.lacks.insert(0, "the rest of the data set: one image is enough where it shows the fault")
    return held


def _worst(content: Mapping[str, Any], pairs: layouts.Pairs, have_logits: list[str]) -> tuple[str, str]:
    """The image that shows the fault best, and its label map: by logits where they are off, else by classes."""
    metrics = content["metrics"]
    off = {gate["name"] for _, gate in proof.failing(metrics.get("gates", [])) if gate}
    told = (metrics.get("logits") or {}) if off & set(proof.LOGITS) else metrics
    named = [item["image"] for item in told.get("worst_images", [])] + have_logits
    images = {layouts.label_map(str(image)): str(image) for image, _ in pairs}
    label_map = next(name for name in named if name in images)
    return images[label_map], label_map


def _of_export(content: Mapping[str, Any], folder: Path) -> Held:
    """The checkpoint, and the network that it is of."""
    from segcert.compute import components, pretrained  # in here: they import Paddle

    told = _arguments(content, Export, "config", "checkpoint")
    request = Export.of(told)
    _require_as_it_was(content, *modelconfig.inputs(told.config), told.checkpoint)
    # No .pdparams: whoever is sent the folder would unpickle it.
    np.savez(folder / "weights.npz", **pretrained.read(told.checkpoint))
    held = Held(
        "exports the checkpoint as PaddleSeg's tools/export.py does, and runs the program on made-up values",
        files={"weights.npz": f"the checkpoint of {content['model']}"},
        lacks=["the conversion to ONNX, which fails no export: cells of ONNX engines have their own"],
        software=("paddle",),
    )
    config = components.load_config(told.config, input_size=request.input_size)
    network = {key: value for key, value in config.dic["model"].items() if key != "pretrained"}
    (folder / CONFIG).write_text(yaml.safe_dump({"model": network}, sort_keys=False), encoding="utf-8")
    held.files[CONFIG] = "the network, in PaddleSeg's words; cell.json has the same"
    held.asked = {
        "model": network,
        "input_size": components.export_size(config),
        "output_op": request.output_op or output_ops.ARGMAX,
        "version": content["env"].get("paddle"),
    }
    return held


# -- what it says -----------------------------------------------------------------------------


def _shown(folder: Path, held: Held, paddleseg: str | None) -> tuple[str, str]:
    """What the script said when the folder was made, and in words whether the fault showed."""
    if held.does is None:
        return "", "holds no script"
    (folder / ASKED).write_text(json.dumps(held.asked, indent=1) + "\n", encoding="utf-8")
    source = Path(__file__).with_name("run_infer.py" if "engine" in held.asked else "run_export.py")
    shutil.copyfile(source, folder / RUN)
    surroundings = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if paddleseg:
        surroundings["PYTHONPATH"] = paddleseg
    command = [sys.executable, str(source), str(folder)]
    try:
        done = subprocess.run(
            command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=LONGEST_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"its script did not end within {LONGEST_S} s"
    said = done.stdout.decode("utf-8", "replace").replace(str(folder), ".").strip()
    words = {1: "the fault shows in it", 0: "THE FAULT DOES NOT SHOW IN IT", 2: "its script lacks a package here"}
    ended = f"its script was ended by signal {-done.returncode}" if done.returncode < 0 else "the fault shows in it"
    return f"{said}\n(exit code {done.returncode})", words.get(done.returncode, ended)


def _readme(content: Mapping[str, Any], held: Held, shown: str, how: str) -> str:
    env = content["env"]
    told = {name: env[name] for name in (*TOLD, *held.software) if env.get(name) is not None}
    gates = [
        f"| {gate['name']} | {_number(gate['value'])} | {gate['bound']} {_number(gate['threshold'])} | "
        f"{'yes' if gate['holds'] else 'no'} |"
        for gate in content["metrics"].get("gates", [])
    ]
    parts = [
        f"# {content['model']}: {content['stage']} {content['cell']}: {content['status']}",
        content["reason"],
        f"Asked for: {_pairs(content['requested'])}. Seen: {_pairs(content['effective']) or 'nothing'}.",
    ]
    if held.does:
        parts += [
            f"## Run it\n\n```bash\npython {RUN}\n```",
            f"`{RUN}` {held.does}. Exit code 1: the fault shows; 0: it does not; 2: a package is not installed; a "
            "signal: native code ended it, which is the fault as well.",
            f"When this folder was made: {how}.",
            f"```text\n{shown}\n```",
        ]
    if gates:
        parts.append(
            "## What the cell was held against\n\nOver all of its images.\n\n| gate | value | asked | holds |\n"
            "| --- | --- | --- | --- |\n" + "\n".join(gates)
        )
    files = {**held.files, RECORD: "the record of the cell", LOG: "what its process printed"}
    parts += [
        "## Versions\n\n| | |\n| --- | --- |\n" + "\n".join(f"| {name} | {value} |" for name, value in told.items()),
        "## Files\n\n" + "\n".join(f"- `{name}`: {what}" for name, what in files.items()),
        "It does not hold " + "; ".join(held.lacks) + ".",
    ]
    return "\n\n".join(parts) + "\n"


def _pairs(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in fields.items() if value is not None)


def _number(value: Any) -> str:
    return "no number" if value is None else f"{value:.7g}"


class Clean(Veil):
    """Takes out of texts what is nobody else's: credentials, and paths of this machine."""

    _PACKAGES = re.compile(r"/[^\s\"':,;]*?/(?:site|dist)-packages/")
    _ABSOLUTE = re.compile(r"(?<![\w.~:/*<>-])/(?:[^\s\"'`:,;()|/]+/)+(?=[^\s\"'`:,;()|/])")

    def __init__(self) -> None:
        home = os.path.expanduser("~")  # noqa: PTH111 - where there is none, Path raises
        super().__init__(os.environ, home, str(Path.cwd()))

    def text(self, text: str) -> str:
        return self._ABSOLUTE.sub(".../", super().text(self._PACKAGES.sub("site-packages/", text)))
