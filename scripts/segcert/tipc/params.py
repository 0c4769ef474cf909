"""TIPC's params files of the train-and-infer kind: read, checked, and understood.

A params file is a list of `key:value` lines whose meaning is their place, counted over the lines that are
not empty. Three steps, each of which keeps the line number of everything: `parse` (text -> lines by name),
`understand` (lines -> what is to be run), and, in `paramsettings`, the settings of a run. Nothing of a
params file is ever handed to a shell.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from segcert.errors import ConfigError

T = TypeVar("T")
# Place of each line among those that are not empty, counted from 0.
HEADERS = {0: "train_params", 22: "eval_params", 26: "export_params", 35: "infer_params"}
SEPARATORS = (13, 21, 25)
FIELDS = {
    "model_name": 1,
    "python": 2,
    "gpu_list": 3,
    "use_gpu": 4,
    "autocast": 5,
    "iters": 6,
    "train_save_dir": 7,
    "train_batch_size": 8,
    "pretrained": 9,
    "checkpoint": 10,
    "train_images": 11,
    "train_extra": 12,
    "trainer": 14,
    "norm_trainer": 15,
    "pact_trainer": 16,
    "fpgm_trainer": 17,
    "distill_trainer": 18,
    "trainer_1": 19,
    "trainer_2": 20,
    "eval": 23,
    "eval_extra": 24,
    "export_save_dir": 27,
    "export_weights": 28,
    "norm_export": 29,
    "pact_export": 30,
    "fpgm_export": 31,
    "distill_export": 32,
    "export_1": 33,
    "export_2": 34,
    "infer_model": 36,
    "infer_export": 37,
    "infer_quant": 38,
    "inference": 39,
    "device": 40,
    "mkldnn": 41,
    "cpu_threads": 42,
    "infer_batch_size": 43,
    "use_trt": 44,
    "precision": 45,
    "infer_config": 46,
    "image_path": 47,
    "save_log_path": 48,
    "benchmark": 49,
    "infer_key_1": 50,
    "infer_key_2": 51,
}
# Keys that the original's readers take for granted; elsewhere the key is an option's name and free.
FIXED_KEYS = ("model_name", "python", "gpu_list", "trainer", "eval", "infer_model", "infer_export", "infer_quant")
FEWEST = 51  # the last line, infer_key_2, may be left out
TAILS = {
    "infer_benchmark_params",
    "to_static_train_benchmark_params",
    "train_benchmark_params",
    "disable_train_benchmark",
    "disable_to_static_train_benchmark",
}
OTHER_KINDS = {
    "kl_quant_params",
    "cpp_infer_params",
    "serving_params",
    "lite_params",
    "paddle2onnx_params",
}
TRAIN_MODES = ("lite_train_lite_infer", "lite_train_whole_infer", "whole_train_whole_infer")
OTHER_MODES = ("whole_infer", "klquant_whole_infer", "benchmark_train", "smoke")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")
MARK = re.compile(r"=+([^=]*)=+\Z")
SHELL = re.compile(r"[;&|<>`$(){}*\\]")
NORM_NAMES = ("norm", "norm_train")  # by custom the first trainer's, whatever its line is called


@dataclass(frozen=True)
class Problem:
    """Something wrong, or worth a word, in a params file. `line` counts from 1; 0 is the file as a whole.

    Attributes:
        left_out: no error, and the file is not read all the same.
    """

    file: str
    line: int
    text: str
    error: bool = True
    left_out: bool = False

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {'error' if self.error else 'warning'}: {self.text}"


class ParamsError(ConfigError):
    """A params file that cannot be used; `problems` has each reason with its line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True)
class Line:
    """A line `key:value`; `value` is all after the first colon, blanks around it cut."""

    number: int
    key: str
    value: str

    @property
    def given(self) -> bool:
        """Whether the original would use it: neither key nor value is null or empty."""
        return self.key not in ("null", "") and self.value not in ("null", "")

    @property
    def alternatives(self) -> list[str]:
        return [part.strip() for part in self.value.split("|")]


@dataclass(frozen=True)
class Params:
    """A params file by the meaning of its lines (FIELDS), and the sections after them."""

    file: str
    lines: Mapping[str, Line]
    tails: Mapping[str, tuple[Line, ...]]

    def __getitem__(self, name: str) -> Line:
        return self.lines[name]


# -- reading ----------------------------------------------------------------------------------


def text_of(path: Path | str) -> str:
    """What a params file holds; ParamsError where there is none, or no text."""
    try:
        return Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ParamsError([Problem(str(path), 0, f"is not text in UTF-8: {error.reason}")]) from None
    except (OSError, ValueError) as error:
        raise ParamsError([Problem(str(path), 0, f"cannot be read: {error}")]) from None


def read(path: Path | str) -> Params:
    """A params file from its path; ParamsError also where there is none."""
    return parse(text_of(path), str(path))


def kind(text: str) -> str:
    """The first section's name: `train_params` for the files that are read here."""
    first = next((line.strip() for line in text.split("\n") if line.strip()), "")
    found = MARK.match(first)
    return found[1].strip() if found else ""


def parse(text: str, file: str) -> Params:
    """The lines of a params file by name.

    Raises:
        ParamsError: sections or lines are missing, unknown, or would be cut by the original.
    """
    rows = [(number, line.strip()) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    problems = [*_marks(rows, file)] or [*_cut(rows, file)]
    if problems:
        raise ParamsError(sorted(problems, key=lambda problem: problem.line))
    lines = {name: line_of(*rows[place]) for name, place in FIELDS.items() if place < len(rows)}
    end = next((place for place in range(FEWEST, len(rows)) if MARK.match(rows[place][1])), len(rows))
    if end == FEWEST:  # the line is left out and the next section begins in its place
        lines.pop("infer_key_2", None)
    lines.setdefault("infer_key_2", Line(rows[FEWEST - 1][0], "null", "null"))
    problems = [*_keys(lines, file)]
    if end > FEWEST + 1:
        text = f"{end} lines before the sections for benchmarks, where a params file has at most {FEWEST + 1}"
        problems.append(Problem(file, rows[FEWEST + 1][0], f"wrong number of lines: {text}"))
    if problems:
        raise ParamsError(problems)
    return Params(file, lines, _tails(rows[end:]))


def line_of(number: int, text: str) -> Line:
    key, _, value = text.partition(":")
    return Line(number, key.strip(), " ".join(value.split()))


def _marks(rows: list[tuple[int, str]], file: str) -> Iterable[Problem]:
    """Headers and separators that are unknown or not in their places."""
    found = {place: mark[1].strip() for place, (_, text) in enumerate(rows) if (mark := MARK.match(text))}
    if not rows:
        yield Problem(file, 0, "is empty")
        return
    if found.get(0) in OTHER_KINDS:
        yield Problem(file, rows[0][0], f"{found[0]}: a params file of another kind; here: train_params")
        return
    known = set(HEADERS.values()) | TAILS
    unknown = [place for place, name in found.items() if name not in known]
    for place in unknown:
        text = f"unknown section {found[place]!r}; known: {', '.join([*HEADERS.values(), *sorted(TAILS)])}"
        yield Problem(file, rows[place][0], text)
    if unknown:
        return
    for place, name in sorted([*HEADERS.items(), *((place, "##") for place in SEPARATORS)]):
        there = rows[place][1] if place < len(rows) else None
        if there is not None and (found.get(place) == name or (set(there) == {"#"} and name == "##")):
            continue
        yield _misplaced(rows, found, place, name, file)
        return  # what follows is out of place for the same reason
    if len(rows) < FEWEST:
        text = f"wrong number of lines: {len(rows)} that are not empty, at least {FEWEST} are needed"
        yield Problem(file, rows[-1][0], text)


def _misplaced(rows: list[tuple[int, str]], found: Mapping[int, str], place: int, name: str, file: str) -> Problem:
    if name == "##":
        before = max((p for p in (*HEADERS, *SEPARATORS) if p < place), default=0)
        there = next((p for p in range(before + 1, len(rows)) if set(rows[p][1]) == {"#"} or p in found), None)
    else:
        there = next((p for p, header in found.items() if header == name), None)
    if there is None or (name == "##" and there in found):
        number = rows[min(place, len(rows) - 1)][0]
        return Problem(file, number, f"wrong number of lines: {name} is missing; it belongs in place {place + 1}")
    off = place - there
    what = f"{abs(off)} line{'s' * (abs(off) > 1)} {'missing' if off > 0 else 'too many'} above"
    text = f"wrong number of lines: {name} is in place {there + 1} and belongs in place {place + 1}: {what}"
    return Problem(file, rows[there][0], f"{text} (empty lines do not count)")


def _cut(rows: list[tuple[int, str]], file: str) -> Iterable[Problem]:
    """Lines without a colon, and values that the original cuts at a second one."""
    for place, (number, text) in enumerate(rows):
        if MARK.match(text) or set(text) == {"#"}:
            continue
        extra = place == len(rows) - 1 and place > FEWEST  # `log_iters:15;repeats:500`
        parts = text.split(";") if extra else [text]
        if ":" not in text and not extra:
            yield Problem(file, number, f"no colon in {_short(text)}; a line is key:value")
        elif any(part.count(":") > 1 for part in parts):
            cut = text.split(":")
            yield Problem(file, number, f"a second colon cuts the value of {cut[0]} to {_short(cut[1])}; leave it out")


def _keys(lines: Mapping[str, Line], file: str) -> Iterable[Problem]:
    for name in FIXED_KEYS:
        if lines[name].key != name:
            text = f"{_short(lines[name].key)} stands where {name} belongs: a line is missing, added or misspelt"
            yield Problem(file, lines[name].number, text)


def _tails(rows: list[tuple[int, str]]) -> dict[str, tuple[Line, ...]]:
    tails: dict[str, list[Line]] = {}
    current: list[Line] = []
    for number, text in rows:
        if mark := MARK.match(text):
            current = tails.setdefault(mark[1].strip(), [])
        else:
            current.append(line_of(number, text))
    return {name: tuple(lines) for name, lines in tails.items()}


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")


# -- understanding ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Command:
    """A script with its options: `--config x.yml` is {"--config": ("x.yml",)}."""

    line: int
    script: str
    options: Mapping[str, tuple[str, ...]]

    def option(self, name: str) -> str | None:
        words = self.options.get(name)
        return " ".join(words) if words else None

    def with_options(self, *more: tuple[str, str]) -> Command:
        """With options that come later on the command line and therefore win."""
        return Command(self.line, self.script, {**self.options, **{key: (value,) for key, value in more}})


@dataclass(frozen=True)
class Devices:
    """An entry of gpu_list, with the value of the use_gpu line that goes with it."""

    text: str
    kind: str  # cpu | single | multi | machines
    count: int
    option: tuple[str, str] | None


@dataclass(frozen=True)
class Trainer:
    """A chosen trainer; its command and its export's, or None where the file says null."""

    name: str
    slot: str  # norm | pact | fpgm | distill | free | to_static
    line: int
    command: Command | None
    export: Command | None
    export_line: int

    @property
    def quant(self) -> bool:
        return self.slot == "pact"


@dataclass(frozen=True)
class Released:
    """Released weights: an entry of infer_model, infer_export and infer_quant."""

    path: str
    line: int
    export: Command | None
    quant: bool


@dataclass(frozen=True)
class Meaning:
    """What a params file asks for. `iters` and `batch_size`: by mode; empty where the line is null."""

    file: str
    model: str
    python: str
    devices: list[Devices]
    autocasts: list[str | None]
    autocast_key: str
    iters: Mapping[str, int]
    batch_size: Mapping[str, int]
    trainers: list[Trainer]
    evaluation: Command | None
    released: list[Released]
    inference: Command
    infer_devices: list[str]
    mkldnn: list[bool]
    threads: list[int]
    infer_batch_sizes: list[int]
    trt: list[bool]
    precisions: list[str]
    lines: Mapping[str, int]
    tails: tuple[str, ...] = ()
    random_input: list[int] | None = None  # [width, height] of random_infer_input
    calibration: int | None = None  # of a file that quantises: images to calibrate on


@dataclass
class Reader:
    """Reads values of lines and collects what is wrong with them."""

    params: Params
    problems: list[Problem] = field(default_factory=list)

    def say(self, line: int, text: str, error: bool = True) -> None:
        self.problems.append(Problem(self.params.file, line, text, error))

    def among(self, name: str, allowed: Mapping[str, object] | Iterable[str], said: str | None = None) -> list[str]:
        """The alternatives of a line, each of which must be allowed and none twice."""
        known = list(allowed)
        return self._each(name, lambda value: value if value in known else None, said or ", ".join(known))

    def numbers(self, name: str) -> list[int]:
        return self._each(name, whole, "whole numbers of at least 1")

    def _each(self, name: str, read: Callable[[str], T | None], allowed: str) -> list[T]:
        """The alternatives of a line as `read` takes them, None of which it refuses."""
        line, good = self.params[name], []
        for text in line.alternatives:
            value = read(text)
            if value is None:
                self.say(line.number, f"{line.key}: {_short(text)} is refused; allowed: {allowed}")
            elif value in good:
                self.say(line.number, f"{line.key}: {_short(text)} stands there twice")
            else:
                good.append(value)
        return good

    def by_mode(self, name: str) -> dict[str, int]:
        """`MODE=value|MODE=value`. A training mode without a value would lose the option in silence."""
        line = self.params[name]
        found: dict[str, int] = {}
        if line.key == "null" or line.value == "null":
            return found
        bad = False
        for part in line.alternatives:
            mode, equals, value = part.partition("=")
            number = whole(value)
            if mode not in (*TRAIN_MODES, *OTHER_MODES):
                said = f"{_short(mode)} is no mode; one of {', '.join((*TRAIN_MODES, *OTHER_MODES))}"
            elif not equals or not value:
                said = f"mode {mode} has no value"
            elif not number:
                said = f"mode {mode}: {_short(value)} is refused; allowed: a whole number of at least 1"
            elif mode in found:
                said = f"mode {mode} has two values"
            else:
                found[mode] = number
                continue
            bad = True
            self.say(line.number, f"{line.key}: {said}")
        for mode in () if bad else TRAIN_MODES:
            if mode not in found:
                self.say(line.number, f"{line.key}: mode {mode} has no value: the option would be left out in silence")
        return found

    def command(self, line: Line, value: str | None = None) -> Command | None:
        """A command line; None where it is null. Words that only a shell understands are refused."""
        text = line.value if value is None else value
        if text in ("null", ""):
            return None
        if bad := SHELL.search(text):
            self.say(line.number, f"{line.key}: {bad[0]!r} in a command: no shell reads it here; write it out")
            return None
        try:
            words = shlex.split(text)
        except ValueError as error:
            self.say(line.number, f"{line.key}: {_short(text)}: {error}")
            return None
        if not words or words[0].startswith("-"):
            self.say(line.number, f"{line.key}: {_short(text)}: a command begins with a script")
            return None
        return Command(line.number, words[0], _options(words[1:]))


def whole(text: str, least: int = 1) -> int | None:
    """A whole number of at least `least`, in digits as a person types them; None for anything else."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    return number if number >= least else None


def _options(words: list[str]) -> dict[str, tuple[str, ...]]:
    options: dict[str, tuple[str, ...]] = {}
    current = ""
    for word in words:
        if word.startswith("--"):
            current, equals, value = word.partition("=")
            options[current] = (value,) if equals else ()
        else:
            options[current] = (*options.get(current, ()), word)
    return options


def understand(params: Params) -> tuple[Meaning | None, list[Problem]]:
    """What a params file asks for, and what is wrong with it; None where the former cannot be told."""
    reader = Reader(params)
    name = params["model_name"]
    if not NAME.match(name.value):
        reader.say(name.number, f"model_name: {_short(name.value)} is refused; allowed: letters, digits, '_', '.', '-'")
    truth = {"True": True, "False": False}
    inference = params["inference"]
    command = reader.command(inference)
    if command is None and not inference.given:
        reader.say(inference.number, f"{inference.key}: no command; the inference matrix needs one")
    asked = command or Command(inference.number, "", {})
    trainers = _trainers(reader)
    meaning = Meaning(
        file=params.file,
        model=name.value,
        python=params["python"].value,
        devices=_devices(reader),
        autocasts=_autocasts(reader),
        autocast_key=params["autocast"].key,
        iters=reader.by_mode("iters"),
        batch_size=reader.by_mode("train_batch_size"),
        trainers=trainers,
        evaluation=_with_extra(reader.command(params["eval"]), params["eval_extra"]),
        released=_released(reader),
        inference=_with_extra(asked, params["infer_key_2"]) or asked,
        infer_devices=[value for value in params["device"].alternatives if value],
        mkldnn=[truth[value] for value in reader.among("mkldnn", truth)],
        threads=reader.numbers("cpu_threads"),
        infer_batch_sizes=reader.numbers("infer_batch_size"),
        trt=[truth[value] for value in reader.among("use_trt", truth)],
        precisions=reader.among("precision", ("fp32", "fp16", "bf16", "int8")),
        lines={name: line.number for name, line in params.lines.items()},
        tails=tuple(params.tails),
        random_input=_random_input(params),
    )
    if not meaning.infer_devices:
        reader.say(params["device"].number, f"{params['device'].key}: no value; cpu, gpu or both")
    _check_places(reader)
    problems = sorted(reader.problems, key=lambda problem: problem.line)
    return (None if any(problem.error for problem in problems) else meaning), problems


def _random_input(params: Params) -> list[int] | None:
    """[width, height] of `random_infer_input:[{float32,[3,HEIGHT,WIDTH]}]`, where it stands there so."""
    for line in params.tails.get("infer_benchmark_params", ()):
        found = re.match(r"\[\{float32,\[3,(\d{1,5}),(\d{1,5})\]\}\]\Z", line.value.replace(" ", ""), re.ASCII)
        if found and int(found[1]) and int(found[2]):
            return [int(found[2]), int(found[1])]
    return None


def _with_extra(command: Command | None, line: Line) -> Command | None:
    return command.with_options((line.key, line.value)) if command and line.given else command


def _devices(reader: Reader) -> list[Devices]:
    line, use = reader.params["gpu_list"], reader.params["use_gpu"]
    entries = line.alternatives
    values = use.alternatives if len(set(use.alternatives)) > 1 else use.alternatives[:1]
    if len(values) not in (1, len(entries)):
        text = f"{use.key}: {len(values)} values beside {len(entries)} of gpu_list (line {line.number})"
        reader.say(use.number, f"{text}: one for each, or one for all")
        values = values[:1]
    found = []
    for place, entry in enumerate(entries):
        value = values[place if len(values) == len(entries) else 0]
        option = (use.key, value) if use.key != "null" and value not in ("null", "") else None
        ids = entry.rpartition(";")[2].split(",")
        if entry == "-1":
            found.append(Devices(entry, "cpu", 1, option))
        elif not all(gpu.isascii() and gpu.isdigit() and len(gpu) < 5 for gpu in ids) or entry.count(";") > 1:
            reader.say(
                line.number,
                f"gpu_list: {_short(entry)} is refused; allowed: 0, 0,1, -1 (CPU), or machines as ip,ip;0,1; by '|'",
            )
        elif len(set(ids)) < len(ids):
            reader.say(line.number, f"gpu_list: {_short(entry)}: names a GPU twice")
        elif ";" in entry:
            found.append(Devices(entry, "machines", len(ids) * len(entry.split(";")[0].split(",")), option))
        else:
            found.append(Devices(entry, "multi" if len(ids) > 1 else "single", len(ids), option))
        if entries.index(entry) < place:
            reader.say(line.number, f"gpu_list: {_short(entry)} stands there twice")
    return found


def _autocasts(reader: Reader) -> list[str | None]:
    line = reader.params["autocast"]
    if line.key == "null" or line.value == "":
        return [None]
    known = ("null", "fp32", "fp16", "bf16", "amp")
    return [None if value == "null" else value for value in reader.among("autocast", known)]


def _trainers(reader: Reader) -> list[Trainer]:
    """The chosen trainers. The first trainer line is the norm slot, whatever its name."""
    params, line = reader.params, reader.params["trainer"]
    slots = {
        params["pact_trainer"].key: ("pact", "pact_trainer", "pact_export"),
        params["fpgm_trainer"].key: ("fpgm", "fpgm_trainer", "fpgm_export"),
        params["distill_trainer"].key: ("distill", "distill_trainer", "distill_export"),
        params["trainer_1"].key: ("free", "trainer_1", "export_1"),
        params["trainer_2"].key: ("free", "trainer_2", "export_2"),
    }
    slots.pop("null", None)
    norm = ("norm", "norm_trainer", "norm_export")
    static = next(iter(params.tails.get("to_static_train_benchmark_params", ())), None)
    commands = {slot[part]: reader.command(params[slot[part]]) for slot in (norm, *slots.values()) for part in (1, 2)}
    extra = params["train_extra"]
    _check_options(reader, _with_extra(Command(extra.number, "", {}), extra))
    found: list[Trainer] = []
    for name in line.alternatives:
        if not NAME.match(name):
            reader.say(line.number, f"trainer: {_short(name)} is refused; allowed: names of the trainer lines below")
            continue
        if any(trainer.name == name for trainer in found):
            reader.say(line.number, f"trainer: {name} stands there twice")
            continue
        slot, training, export = slots.get(name, norm)
        command = commands[training]
        number = params[training].number
        if static and name == static.key:
            slot = "to_static"
            command = command and reader.command(static, f"{params[training].value} {static.value}")
        elif slot == "norm" and name not in (params["norm_trainer"].key, *NORM_NAMES):
            known = [params["norm_trainer"].key, *slots, *([static.key] if static else [])]
            reader.say(line.number, f"unknown trainer {name}; in this file: {', '.join(known)}")
            continue
        _check_options(reader, command)
        for key in ("pretrained", "train_extra"):
            command = _with_extra(command, params[key])
        _check_shape(reader, commands[export])
        found.append(Trainer(name, slot, number, command, commands[export], params[export].number))
    return found


def _check_options(reader: Reader, command: Command | None) -> None:
    """Values of the options of a training."""
    for option, least in (("--seed", 0), ("--num_workers", 0), ("--log_iters", 1), ("--iters", 1), ("--batch_size", 1)):
        if command and option in command.options and whole(text := command.option(option) or "", least) is None:
            reader.say(
                command.line, f"{option}: {_short(text)} is refused; allowed: a whole number of at least {least}"
            )
    for option, allowed in (("--precision", ("fp32", "fp16", "bf16")), ("--amp_level", ("O1", "O2"))):
        value = command.options.get(option) if command else None
        if command and value is not None and (len(value) != 1 or value[0] not in allowed):
            reader.say(command.line, f"{option}: {_short(' '.join(value))} is refused; allowed: {', '.join(allowed)}")


def shape(command: Command | None) -> list[int] | None:
    """[width, height] of an export's `--input_shape N 3 HEIGHT WIDTH`; None where it has none, or no valid one."""
    words = " ".join(command.options.get("--input_shape", ())).replace(",", " ").split() if command else []
    sizes = [whole(word, 1) for word in words[2:]]
    return [sizes[1], sizes[0]] if len(words) == 4 and sizes[0] and sizes[1] else None


def batch(command: Command | None) -> int | None:
    """N of an export's `--input_shape N 3 HEIGHT WIDTH`; None where it is open, or there is none."""
    words = " ".join(command.options.get("--input_shape", ())).replace(",", " ").split() if command else []
    return whole(words[0], 1) if shape(command) else None


def _check_shape(reader: Reader, command: Command | None) -> None:
    if command and "--input_shape" in command.options and shape(command) is None:
        text = " ".join(command.options["--input_shape"])
        reader.say(command.line, f"--input_shape: {_short(text)} is refused; allowed: N 3 HEIGHT WIDTH")


def _released(reader: Reader) -> list[Released]:
    """Three parallel lists: weights, how to export them, whether they are quantised."""
    params = reader.params
    weights, exports, quant = (params[name] for name in ("infer_model", "infer_export", "infer_quant"))
    paths = weights.alternatives if weights.given else []
    for other in (exports, quant):
        if paths and len(other.alternatives) != len(paths):
            text = f"{other.key}: {len(other.alternatives)} values beside {len(paths)} of infer_model"
            reader.say(other.number, f"{text} (line {weights.number}): one for each")
            return []
    flags = quant.alternatives
    for flag in flags:
        if paths and flag not in ("True", "False"):
            reader.say(quant.number, f"infer_quant: {_short(flag)} is refused; allowed: True, False")
    found = [
        Released(path, weights.number, reader.command(exports, export), flag == "True")
        for path, export, flag in zip(paths, exports.alternatives, flags, strict=False)
    ]
    for released in found:
        _check_shape(reader, released.export)
    return found


def _check_places(reader: Reader) -> None:
    """A word where the original does something that the file cannot mean."""
    line = reader.params["infer_key_1"]
    if line.value not in ("", "null"):
        text = f"{line.key}: its value {_short(line.value)} is replaced by the results' folder: is a line missing?"
        reader.say(line.number, text, error=False)
