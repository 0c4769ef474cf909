"""What params files may ask for: what is done here, what has no effect here, and why the rest is not done."""

from __future__ import annotations

from collections.abc import Sequence

from segcert import output_ops, stages
from segcert.tipc.params import Command, Devices, Released, Trainer

# Options of each of PaddleSeg's tools: those that the settings take, and those that change nothing here.
SCRIPTS = {
    "train": ("tools/train.py", "train.py"),
    "eval": ("tools/val.py", "val.py"),
    "export": ("tools/export.py", "export.py"),
    "infer": ("deploy/python/infer.py", "infer.py"),
}
TAKEN = {
    "train": {
        "--config", "--device", "--iters", "--batch_size", "--num_workers", "--log_iters", "--seed",
        "--precision", "--amp_level", "Global.use_gpu",
    },
    "eval": {"--config"},
    "export": {"--config", "--input_shape"},
    "infer": set(),
}  # fmt: skip
WITHOUT_EFFECT = {
    "train": {"--save_dir", "--save_interval", "--do_eval", "--use_vdl", "--keep_checkpoint_max"},
    "eval": {"--num_workers", "--model_path", "--device"},
    "export": {"--save_dir", "--model_path"},
    # Those with lines of their own come later in the original's command and win.
    "infer": {
        "--save_dir", "--model_name", "--benchmark", "--print_detail", "--device", "--enable_mkldnn", "--cpu_threads",
        "--batch_size", "--use_trt", "--precision", "--config", "--image_path",
    },
}  # fmt: skip
DEFAULTS = {"--data_format": "NCHW"}  # what is done here anyway
OUTPUT_OP = "--output_op"  # of an export: taken with the values that there are
SLOTS = {
    "pact": "quantisation-aware training (pact)",
    "fpgm": "pruning (fpgm)",
    "distill": "distillation",
}
# Each asks for a training as a static graph.
STATIC = {"--opts": ("to_static_training=True",), "--to_static_training": ()}
GPU_VALUES, CPU_VALUES = ("gpu", "True"), ("cpu", "False")


def on_cpu(entry: Devices) -> bool:
    return entry.kind == "cpu" or bool(entry.option and entry.option[1] in CPU_VALUES)


def unsupported_devices(entry: Devices, before: list[Devices]) -> str | None:
    """Why an entry of gpu_list is not run here, beside those that are."""
    if entry.kind == "machines":
        return f"training on several machines ({entry.text}) is not done here yet"
    if entry.option and entry.option[1] not in (*GPU_VALUES, *CPU_VALUES):
        return f"{'='.join(entry.option)}: only GPUs and CPUs are used here"
    if before and on_cpu(entry) != on_cpu(before[0]):
        return f"{entry.text} mixes CPU and GPU training in one file; use a file for each"
    if entry.kind == "multi" and any(other.kind == "multi" for other in before):
        return f"{entry.text} is a second group of GPUs; a model has one here"
    if entry.kind != "multi" and any(other.kind != "multi" for other in before):
        return f"{entry.text} is one device again: which one a training gets is decided when it starts"
    return None


def unsupported_training(trainer: Trainer) -> str | None:
    """Why a trainer is not run here; None where it is."""
    if trainer.command is None:
        return f"the command of trainer {trainer.name} is null"
    if trainer.slot in SLOTS:
        return f"{SLOTS[trainer.slot]} is not done here yet"
    return unsupported_command("train", trainer.command)


def static(command: Command) -> bool:
    """Whether a training is asked for as a static graph."""
    return any(command.options.get(option) == words for option, words in STATIC.items())


def unsupported_command(stage: str, command: Command) -> str | None:
    """Why a command cannot be done here: its script, or an option that would change what is computed."""
    stage = stages.by_name(stage).name
    script = command.script.removeprefix("./")
    if script not in SCRIPTS[stage]:
        return f"{script} is not done here: only {SCRIPTS[stage][0]} is"
    for option, words in command.options.items():
        value = " ".join(words)
        if stage == stages.TRAIN.name and STATIC.get(option) == words:
            continue
        if stage == stages.EXPORT.name and option == OUTPUT_OP and value in output_ops.ALL:
            continue
        if option in TAKEN[stage] | WITHOUT_EFFECT[stage] or DEFAULTS.get(option) == value:
            continue
        return f"{option or 'an argument'} {value}".strip() + f" of {script} is not done here yet"
    return None


def unsupported_release(released: Released) -> str | None:
    """Why released weights are not run here; None where they are."""
    if released.quant:
        return "quantised models are not taken here yet: it is exports that are quantised here"
    if released.export is None:
        return "infer_export is null: an inference model that exists already is not taken here yet"
    return unsupported_command("export", released.export)


def differing_output(export: Command, trainers: Sequence[Trainer]) -> str | None:
    """Why a trainer's export is not done here beside that of the first: a model's programs end in one thing."""
    done = [one.export for one in trainers if one.export and unsupported_command("export", one.export) is None]
    own, other = (command.option(OUTPUT_OP) or output_ops.ARGMAX for command in (export, done[0]))
    if own == other:
        return None
    return f"its {OUTPUT_OP} {own} is not that of line {done[0].line}, {other}: a model has one here"


def differing_option(command: Command, first: Command) -> str | None:
    """An option in which two trainings differ that a model has once."""
    options = ("--config", "--seed", "--num_workers", "--log_iters", "--iters", "--batch_size", "--device")
    return next((option for option in options if command.option(option) != first.option(option)), None)
