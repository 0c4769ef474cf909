"""Check a certificate: that no byte of it was changed, and that its statuses follow from its records.

    python verify.py certificate.zip
    python verify.py certificate.zip --export FOLDER           is this folder one of the models that it tells of?
    python verify.py certificate.zip --signer ALLOWED_SIGNERS  did one of these people sign it? (needs ssh-keygen)

It needs Python from 3.9 on, no package and no file beside it. Take it from where you trust it: a certificate that
somebody made up may hold a verify.py that was made up as well.

Exit codes: 0, it holds, also where it tells of a red run; 1, it does not hold; 2, it cannot be read or checked.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import itertools
import json
import math
import os
import re
import stat
import statistics
import struct
import subprocess
import sys
import tempfile
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

SUMS, SIGNATURE, STATEMENT, RUN = "SHA256SUMS", "SHA256SUMS.sig", "statement.json", "run_config.json"
NAMESPACE = "paddleseg-certificate"  # of signatures: one that was given for something else is none of this
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:paddleseg-certify:certificate:v1"
MOST_BYTES = 1 << 30  # of all files: more would fill the memory of whoever looks
MOST_FILES = 65_535  # that the list of files in a zip can count
MOST_TOLD = 20  # of what does not fit
MARK = ".snakemake_timestamp"  # what Snakemake leaves in a folder
SSH_S = 60  # for an answer of ssh-keygen

Json = dict[str, Any]


class Unreadable(Exception):
    """What cannot be read or checked at all: exit code 2."""


class Broken(Exception):
    """What does not fit, and keeps all else from being looked at: exit code 1."""


# -- the zip, byte by byte --------------------------------------------------------------------

# Everything in it that is no content is known beforehand, so that a byte that is not as it must be is found wherever it
# stands, and no program sees other files in it than this one.
LOCAL, CENTRAL, END = struct.Struct("<4s5H3I2H"), struct.Struct("<4s6H3I5H2I"), struct.Struct("<4s4H2IH")
VERSION, UNICODE, DEFLATED, DATE, UNIX, MODE = 20, 0x800, 8, 0x21, 3 << 8, 0o644 << 16
# What Windows takes for a device, wherever it stands.
DEVICES = re.compile(r"(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3]|conin\$|conout\$) *(\..*)?", re.IGNORECASE)
SEAL = b"sha256:"  # the comment of the zip: the hash of all bytes before it, for those that no content depends on
SEALED = len(SEAL) + 64


class Entry(NamedTuple):
    name: str
    place: int
    end: int
    crc: int
    packed: int
    size: int


def unzipped(data: bytes) -> dict[str, bytes]:
    """Name -> content of every file.

    Raises:
        Unreadable: it is no zip.
        Broken: a byte of it is not as it was made; the message says which, or in which file.
    """
    if data[:4] != b"PK\3\4":
        raise Unreadable("it is no zip file")
    found: dict[str, bytes] = {}
    alike: dict[str, str] = {}  # a path as file systems compare it that know no case -> what it is
    entries: list[Entry] = []
    place, room = 0, MOST_BYTES
    while data[place : place + 4] == b"PK\3\4":
        if len(entries) == MOST_FILES:
            raise Broken(f"byte {place}: it has more than {MOST_FILES} files")
        entry, content = _entry(data, place, room)
        room -= len(content)
        *above, own = itertools.accumulate(_folded(entry.name).split("/"), "{}/{}".format)
        if own in alike or any(alike.setdefault(path, "a folder") != "a folder" for path in above):
            raise Broken(f"byte {place}: {entry.name} is in it twice, or is a file and a folder, or differs by case")
        alike[own] = "a file"
        found[entry.name] = content
        entries.append(entry)
        place = entry.end
    _as_wanted(data, place, _directory(entries, place) + SEAL, "the list of files")
    seal = data[:-64]
    place += len(_directory(entries, place)) + len(SEAL)
    if len(data) != place + 64:
        raise Broken(f"byte {min(len(data), place + 64)}: the zip ends elsewhere than its list of files")
    if data[place:] != hashlib.sha256(seal).hexdigest().encode():
        raise Broken(f"byte {place}: the hash at the end of the zip is not that of the bytes before it")
    return found


def _entry(data: bytes, place: int, room: int) -> tuple[Entry, bytes]:
    """The file that begins at a byte, and its content."""
    try:
        *_, crc, packed, size, length, _ = LOCAL.unpack_from(data, place)
    except struct.error:
        raise Broken(f"byte {place}: the zip ends within a file") from None
    begin = place + LOCAL.size
    raw = data[begin : begin + length]
    try:
        name = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Broken(f"byte {begin}: the name of a file is no text") from None
    if why := _unsafe(name):
        raise Broken(f"byte {begin}: the name {name!r} is refused: {why}")
    _as_wanted(data, place, _local(raw, crc, packed, size), f"the head of {name}")
    begin += length
    where = f"{name} (bytes {begin} to {begin + packed - 1} of the zip)"
    if size > room:
        raise Broken(f"{where}: it would have {size} bytes, which is too much")
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(data[begin : begin + packed], size + 1)
    except zlib.error as error:
        raise Broken(f"{where}: it cannot be unpacked: {error}") from None
    if not unpacker.eof or unpacker.unused_data or len(content) != size:
        raise Broken(f"{where}: it unpacks to another length")
    if zlib.crc32(content) != crc:
        raise Broken(f"{where}: it holds something else than was packed")
    return Entry(name, place, begin + packed, crc, packed, size), content


def _folded(name: str) -> str:
    """A name as file systems compare it that know no case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _unsafe(name: str) -> str | None:
    """Why a file of that name is not to be unpacked; None where it may be."""
    if not name or any(part in ("", ".", "..") for part in name.split("/")):
        return "it leads out of its folder, or nowhere"
    if re.search(r'[\x00-\x1f\x7f-\x9f\\:*?"<>|]', name):
        return "it has a character that a file system takes for another"
    if any(part.endswith((".", " ")) or DEVICES.fullmatch(part) for part in name.split("/")):
        return "Windows takes it for another, or for a device"
    return None


def _flags(name: bytes) -> int:
    return 0 if name.isascii() else UNICODE


def _local(name: bytes, crc: int, packed: int, size: int) -> bytes:
    head = (b"PK\3\4", VERSION, _flags(name), DEFLATED, 0, DATE)
    return LOCAL.pack(*head, crc, packed, size, len(name), 0) + name


def _directory(entries: Sequence[Entry], place: int) -> bytes:
    """The list of files and the end of a zip, up to its comment."""
    made = b""
    for entry in entries:
        name = entry.name.encode()
        head = (b"PK\1\2", UNIX | VERSION, VERSION, _flags(name), DEFLATED, 0, DATE)
        made += CENTRAL.pack(*head, entry.crc, entry.packed, entry.size, len(name), 0, 0, 0, 0, MODE, entry.place)
        made += name
    count = len(entries)
    return made + END.pack(b"PK\5\6", 0, 0, count, count, len(made), place, SEALED)


def _as_wanted(data: bytes, place: int, wanted: bytes, what: str) -> None:
    found = data[place : place + len(wanted)]
    if found != wanted:
        pairs = zip(found, wanted)
        first = next((number for number, (one, other) in enumerate(pairs) if one != other), len(found))
        raise Broken(f"byte {place + first}: {what} is not as it was made")


# -- hashes and signatures --------------------------------------------------------------------


def check_sums(files: Mapping[str, bytes]) -> None:
    """Raises Broken for the first file that SHA256SUMS does not list as it is."""
    if SUMS not in files:
        raise Broken(f"{SUMS} is not in it")
    listed = {}
    for line in files[SUMS].decode("utf-8", "replace").splitlines():
        match = re.fullmatch(r"([0-9a-f]{64})  (.+)", line)
        if not match or match[2] in listed:
            raise Broken(f"{SUMS}: {line!r} is no line of it, or names a file again")
        listed[match[2]] = match[1]
    there = files.keys() - {SUMS, SIGNATURE}
    for name in sorted(listed.keys() | there):
        if name not in there:
            raise Broken(f"{name}: {SUMS} lists it, and it is not in it")
        if name not in listed:
            raise Broken(f"{name}: it is in it, and {SUMS} does not list it")
        if hashlib.sha256(files[name]).hexdigest() != listed[name]:
            raise Broken(f"{name}: its sha256 is not that of {SUMS}")


def signer(files: Mapping[str, bytes], allowed: str) -> str:
    """Who of the allowed signers signed SHA256SUMS.

    Raises:
        Broken: nobody of them did.
        Unreadable: it cannot be told.
    """
    if SIGNATURE not in files:
        raise Broken("it is not signed")
    if not Path(allowed).is_file():
        raise Unreadable(f"{allowed}: there is no such file of allowed signers")
    with tempfile.TemporaryDirectory() as folder:
        signature = f"{folder}/{SIGNATURE}"
        Path(signature).write_bytes(files[SIGNATURE])
        code, said = _ssh_keygen(["find-principals", "-s", signature, "-f", allowed], b"")
        for name in said.splitlines() if code == 0 else []:
            of = ["verify", "-f", allowed, "-I", name, "-n", NAMESPACE, "-s", signature]
            code, why = _ssh_keygen(of, files[SUMS])
            if code == 0:
                return name
            said = why
    raise Broken(
        f"{SIGNATURE}: nobody of {allowed} signed {SUMS} as it is: {said.strip() or 'ssh-keygen does not say why'}"
    )


def is_signed(files: Mapping[str, bytes]) -> str:
    """In words, what is known of a signature where nobody says who may have signed: whether it is of these files.

    Raises:
        Broken: it is not, whoever made it.
    """
    if SIGNATURE not in files:
        return "not signed"
    with tempfile.TemporaryDirectory() as folder:
        signature = f"{folder}/{SIGNATURE}"
        Path(signature).write_bytes(files[SIGNATURE])
        try:
            code, said = _ssh_keygen(["check-novalidate", "-n", NAMESPACE, "-s", signature], files[SUMS])
        except Unreadable as error:
            return f"signed; {error}"
    if code:
        raise Broken(f"{SIGNATURE}: it is no signature of {SUMS} as it is: {said.strip()}")
    return "signed; who signed it was not looked at, and anybody may have: --signer ALLOWED_SIGNERS"


def _ssh_keygen(arguments: Sequence[str], given: bytes) -> tuple[int, str]:
    """Exit code and words of `ssh-keygen -Y`."""
    try:
        done = subprocess.run(
            ["ssh-keygen", "-Y", *arguments], input=given, capture_output=True, timeout=SSH_S, check=False
        )
    except FileNotFoundError:
        raise Unreadable(
            "ssh-keygen is not installed (it is part of OpenSSH, from 8.2 on): the signature was not checked"
        ) from None
    except subprocess.TimeoutExpired:
        raise Unreadable(f"ssh-keygen gave no answer in {SSH_S} s: the signature was not checked") from None
    return done.returncode, (done.stdout if done.returncode == 0 else done.stderr).decode("utf-8", "replace")


# -- what a record must show for `passed` -----------------------------------------------------

PASSED, ACCURACY_FAILED, FAILED, KNOWN_FAILURE = "passed", "accuracy-failed", "failed", "known-failure"
BLOCKED, UNVERIFIED, SKIPPED, NOT_RUN = "blocked", "unverified", "skipped", "not-run"
# Whether it turns a run red; and the status of what is made from it, where that never starts.
STATUSES: dict[str, tuple[bool, str | None]] = {
    PASSED: (False, None),
    ACCURACY_FAILED: (True, BLOCKED),
    FAILED: (True, BLOCKED),
    KNOWN_FAILURE: (False, None),
    BLOCKED: (False, BLOCKED),
    UNVERIFIED: (False, None),
    SKIPPED: (False, None),
    NOT_RUN: (False, NOT_RUN),
}
RED = tuple(status for status, (red, _) in STATUSES.items() if red)
HELD_UP = {status: held for status, (_, held) in STATUSES.items() if held}

DATA, TRAIN, RELEASED, EVAL, EXPORT = "data", "train", "released", "eval", "export"
QUANTISE, INFER, SCRIPTS = "quantise", "infer", "scripts"
# What a record of a stage must have observed.
PROVES: dict[str, tuple[str, ...]] = {
    DATA: (),
    TRAIN: ("device", "devices", "precision", "graph", "iters", "batch_size"),
    RELEASED: ("weights",),
    EVAL: ("device", "precision", "transforms"),
    EXPORT: ("device", "precision", "onnx", "opset"),
    QUANTISE: ("device", "precision", "method", "weight_bits"),
    INFER: ("device", "engine", "precision", "batch_size"),
    SCRIPTS: ("script", "digest", "device", "outcome", "command", "exit_code"),
}
STAGES = tuple(stage for stage in PROVES if stage != RELEASED)
# Stages of the same checkpoint that one is made from, nearest first; and those whose outputs it reads itself.
PARENTS = {
    EVAL: (TRAIN,),
    EXPORT: (TRAIN,),
    QUANTISE: (EXPORT, TRAIN),
    INFER: (QUANTISE, EXPORT, EVAL, TRAIN),
    SCRIPTS: (EXPORT, EVAL, TRAIN),
}
READS = {
    TRAIN: (DATA,),
    EVAL: (DATA, TRAIN),
    EXPORT: (TRAIN,),
    QUANTISE: (DATA, EXPORT),
    INFER: (EVAL, EXPORT, QUANTISE),
    SCRIPTS: (DATA, TRAIN, EVAL, EXPORT),
}
UNREAD = (".tar", ".csv")
STEMS = {QUANTISE: "quantised", INFER: "infer/{cell}", SCRIPTS: "scripts/{cell}"}  # of records, where not the stage's
LOGITS = ("logits_l2", "logits_peak", "logits_gap")
GROWTH, RISE = "memory_mb_per_1000_batches", "memory_mb_rise"
SLACK = 0.01  # of a probability and of a sum of them
GATE_OF_SCRIPT = {
    "tools/train.py": "first_loss", "tools/val.py": "miou_difference", "tools/export.py": "pixel_agreement",
    "tools/predict.py": "pixel_agreement", "deploy/python/infer.py": "pixel_agreement",
}  # fmt: skip
PUBLISHED = "published"
# Gates, and on which side of its threshold a value is to be.
LEAST, MOST = "at least", "at most"
BOUNDS = {
    **dict.fromkeys(LOGITS, MOST), "stream_labels": LEAST, GROWTH: MOST, RISE: MOST, "softmax_peak": MOST,
    "pixel_agreement": LEAST, "miou_drop": MOST, "exported_agreement": LEAST, "exported_logits": MOST,
    "rank_weight_difference": MOST, "skipped_share": MOST, "pretrained_share": LEAST, "published_miou": MOST,
    "reference_agreement": LEAST, "first_loss": MOST, "later_loss": MOST, "history_loss": MOST, "learning_rate": MOST,
    "miou_difference": MOST,
}  # fmt: skip
# Their thresholds: keys below `gates` of the settings, or a number that is that of every run.
BY_PRECISION = "{precision}"  # in place of a key
OF_SCRIPTS = "paddleseg_scripts"
THRESHOLDS: dict[str, dict[str, tuple[str, ...] | float]] = {
    TRAIN: {
        "pretrained_share": ("pretrained_share",), "rank_weight_difference": 0.001, "skipped_share": 0.5,
        GROWTH: ("memory_mb_per_1000_iterations",), RISE: 64,
    },
    EVAL: {"published_miou": ("published_miou",)},
    EXPORT: {"exported_agreement": 0.999, "exported_logits": 0.02, "softmax_peak": 0.001},
    INFER: {
        "pixel_agreement": ("pixel_agreement", BY_PRECISION), "miou_drop": ("miou_drop", BY_PRECISION),
        "logits_l2": ("logits", "l2", BY_PRECISION), "logits_peak": ("logits", "peak", BY_PRECISION),
        "logits_gap": ("logits", "peak", BY_PRECISION), "softmax_peak": ("logits", "peak", BY_PRECISION),
        "stream_labels": 1, GROWTH: (GROWTH,), RISE: 64,
    },
    SCRIPTS: {
        "first_loss": (OF_SCRIPTS, "first_loss"), "later_loss": (OF_SCRIPTS, "later_loss"),
        "history_loss": (OF_SCRIPTS, "history_loss"), "learning_rate": 0.0000005 * 1.001,
        "miou_difference": (OF_SCRIPTS, "miou"), "pixel_agreement": (OF_SCRIPTS, "pixel_agreement"),
        "reference_agreement": (OF_SCRIPTS, "pixel_agreement"),
    },
}  # fmt: skip
PLAIN = {"aug_eval": True, "scales": 1.0}


def is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def unproven(content: Mapping[str, Any]) -> list[str]:
    """In words, what a record lacks for `passed`; nothing where it proves what was asked for."""
    stage, requested = content["stage"], content["requested"]
    effective, metrics = content["effective"], content["metrics"]
    gates = metrics.get("gates", [])
    proves = PROVES[RELEASED if stage == TRAIN and "weights" in requested else stage]
    proves += tuple(key for key in ("streams", "soak", "shapes", "size", "output_op") if key in requested)
    without = ("opset",) if effective.get("onnx") is False else ()
    problems = [f"{key} was not observed" for key in proves if key not in effective and key not in without]
    problems += _differences(requested, effective)
    problems += _broken_gates(gates)
    if not problems:
        problems += _without_gates(stage, requested, effective, metrics)
    if stage == INFER:
        problems += _unlike_samples(content.get("samples_ms"), metrics)
        problems += _other_logits(requested, metrics)
    if stage == INFER and "server_p99_ms" in requested:
        problems += _unlike_trials(requested["server_p99_ms"], metrics.get("server"))
    if stage == INFER and "streams" in requested:
        problems += _unlike_passes(content.get("samples_offline_ips"), metrics)
    if "soak" in requested:
        problems += _unlike_looks(content.get("samples_soak_mb"), requested["soak"], metrics)
    if "output_op" in requested:
        problems += _unlike_output(effective, metrics)
    if stage == QUANTISE:
        problems += _not_calibrated(requested, metrics)
    if stage == EVAL:
        problems += _not_evaluated(requested, metrics)
        problems += _unproven_of_published(requested, metrics)
    return problems


def _differences(requested: Mapping[str, Any], effective: Mapping[str, Any]) -> Iterator[str]:
    for key, want in requested.items():
        seen = effective.get(key)
        if want is None or key not in effective or seen == want:
            continue
        if not (key == "opset" and is_number(want) and is_number(seen) and seen > want):
            yield f"{key}: {want} requested, {seen} observed"


def _holds(gate: Mapping[str, Any]) -> bool:
    value, threshold, bound = gate.get("value"), gate.get("threshold"), gate.get("bound")
    if not (is_number(value) and is_number(threshold)) or bound != BOUNDS.get(gate.get("name", ""), bound):
        return False
    return bool((bound == LEAST and value >= threshold) or (bound == MOST and value <= threshold))


def _broken_gates(gates: Any) -> Iterator[str]:
    if not isinstance(gates, list):
        yield "its gates are no list"
        return
    for gate in gates:
        if not (isinstance(gate, Mapping) and isinstance(gate.get("name"), str)):
            yield "one of its gates is none"
        elif not (_holds(gate) and gate.get("holds") is True):
            numbers = f"{gate.get('value')}, {gate.get('bound')} {gate.get('threshold')} is asked"
            yield f"the gate {gate['name']} does not hold: {numbers}"


def _without_gates(
    stage: str, requested: Mapping[str, Any], effective: Mapping[str, Any], metrics: Mapping[str, Any]
) -> Iterator[str]:
    needed: list[str] = []
    if stage == INFER:
        needed = ["pixel_agreement", *LOGITS, *(["stream_labels"] if "streams" in requested else [])]
    if "soak" in requested:
        needed += [GROWTH, RISE]
    if stage == EXPORT and "onnx" not in requested:
        needed += ["exported_agreement"]
    if stage in (EXPORT, INFER) and requested.get("output_op") == "softmax":
        needed += ["softmax_peak"]
    if stage == TRAIN:
        needed += ["rank_weight_difference"] if effective.get("devices") not in (None, 1) else []
        needed += ["skipped_share"] if effective.get("dtype") == "float16" else []
        needed += ["pretrained_share"] if metrics.get("pretrained") else []
    if stage == SCRIPTS:
        needed += [GATE_OF_SCRIPT.get(str(requested.get("script")), "a script")]
    held = {gate["name"]: gate.get("value") for gate in metrics.get("gates", [])}
    yield from (f"it was not held against the gate {name}" for name in needed if name not in held)
    for name, value in held.items():
        if name in metrics and metrics[name] != value:
            yield f"the gate {name} was held against {value}, and {metrics[name]} is its metric"


def _unlike_samples(samples: Any, metrics: Mapping[str, Any]) -> Iterator[str]:
    phases = samples if isinstance(samples, Mapping) else {}
    if not phases.get("inference"):
        yield "it has no timed samples"
        return
    for phase, values in phases.items():
        if not (isinstance(values, list) and values and all(is_number(value) and value >= 0 for value in values)):
            yield f"its samples of {phase} are no times"
            continue
        told = metrics.get(f"{phase}_ms")
        told = told if isinstance(told, Mapping) else {}
        found = {"count": len(values), "p50": statistics.median(values), "mean": statistics.fmean(values)}
        for name, value in {**found, "min": min(values), "max": max(values)}.items():
            seen = told.get(name)
            if not (is_number(seen) and math.isclose(seen, value, rel_tol=1e-5, abs_tol=1e-4)):
                yield f"its {name} of {phase} is {seen}, and its samples give {value:g}"


def _unlike_looks(looks: Any, asked: Any, metrics: Mapping[str, Any]) -> Iterator[str]:
    if not (isinstance(looks, list) and len(looks) > 1 and all(map(_is_look, looks))):
        yield "it has no looks at its memory"
        return
    places = [number for number, _ in looks]
    far = is_number(asked) and places[-1] - places[0] >= 0.35 * asked
    if not (far and all(before < after for before, after in zip(places, places[1:]))):
        yield f"its looks are at {places[0]} to {places[-1]}, and are to go through the second half of {asked}"
        return
    pairs = itertools.combinations(looks, 2)
    growth = 1000 * statistics.median((later - early) / (after - before) for (before, early), (after, later) in pairs)
    held = metrics.get("gates")
    gates = [gate for gate in held if isinstance(gate, Mapping)] if isinstance(held, list) else []
    none: Mapping[str, Any] = {}
    of_growth, of_rise = (next((gate for gate in gates if gate.get("name") == name), none) for name in (GROWTH, RISE))
    most = of_growth.get("threshold")
    told = [(metrics.get("growth_mb_per_1000"), growth), (of_growth.get("value"), growth)]
    if is_number(most):
        tenth = max(1, len(looks) // 10)
        first, last = (statistics.median(taken for _, taken in part) for part in (looks[:tenth], looks[-tenth:]))
        risen = round(last - first - most * (places[-1] - places[0]) / 1000, 4)
        told.append((of_rise.get("value"), risen))
    for value, found in told:
        if not (is_number(value) and abs(value - found) <= 0.001):
            yield f"its memory grows by {value}, and its looks give {found}"


def _unlike_output(effective: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    shown, told = _ended_in(metrics.get("output")), effective.get("output_op")
    if told != shown:
        yield f"it is said to end in {told}, and what it gave shows {shown}"


def _ended_in(output: Any) -> str:
    """argmax, softmax or none, by an output; else in words."""
    told = output if isinstance(output, Mapping) else {}
    dims, dtype = told.get("dims"), str(told.get("dtype"))
    kind = dtype.rstrip("0123456789")
    if dims == 3 and kind in ("int", "uint"):
        return "argmax"
    if dims != 4 or kind != "float":
        return f"{dtype} of {dims} dimensions"
    if told.get("channels") != told.get("classes"):
        return f"{told.get('channels')} channels for {told.get('classes')} classes"
    values = [told.get(name) for name in ("lowest", "highest", "sum_lowest", "sum_highest")]
    if not all(map(is_number, values)):
        return "none"
    shares = values[0] >= -SLACK and values[1] <= 1 + SLACK and values[2] >= 1 - SLACK and values[3] <= 1 + SLACK
    return "softmax" if shares else "none"


def _is_look(look: Any) -> bool:
    return isinstance(look, list) and len(look) == 2 and all(map(is_number, look))


def _unlike_passes(samples: Any, metrics: Mapping[str, Any]) -> Iterator[str]:
    if not (isinstance(samples, list) and samples and all(is_number(value) and value > 0 for value in samples)):
        yield "it has no timed passes of its streams"
        return
    offline = metrics.get("offline")
    for told in (offline.get("ips") if isinstance(offline, Mapping) else None, metrics.get("throughput_ips")):
        if not (is_number(told) and math.isclose(told, statistics.median(samples), rel_tol=1e-5, abs_tol=1e-4)):
            yield f"its images a second are {told}, and its passes give {statistics.median(samples):g}"


def _unlike_trials(asked: Any, server: Any) -> Iterator[str]:
    found = server if isinstance(server, Mapping) else {}
    if found.get("bound_ms") != asked:
        yield f"the highest rate of requests within {asked} ms was not looked for"
        return
    held = []
    for trial in found.get("trials") or ():
        took = trial.get("p99_ms") if isinstance(trial, Mapping) and trial.get("holds") is True else None
        if is_number(took) and is_number(asked) and took <= asked * (1 + 1e-5) and is_number(trial.get("rate")):
            held.append(trial["rate"])
    best = max(held, default=None)
    if found.get("rate") != best:
        yield f"its highest rate within {asked} ms is {found.get('rate')}, and its trials give {best}"


def _other_logits(requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    told = metrics.get("logits")
    seen = told.get("effective") if isinstance(told, Mapping) else None
    if not isinstance(seen, Mapping):
        return ["what computed its logits was not observed"]
    unseen = [f"{key} of what computed its logits was not observed" for key in PROVES[INFER][:3] if key not in seen]
    return unseen + [f"its logits: {words}" for words in _differences(requested, seen)]


def _not_calibrated(requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    there, named = metrics.get("train_images"), metrics.get("calibrated_on")
    if not (is_number(there) and isinstance(named, Mapping) and named and all(named.values())):
        return ["it does not name the images that it was calibrated on"]
    asked = min(requested["images"], there)
    return [] if len(named) == asked else [f"it was calibrated on {len(named)} images, not {asked}"]


def _not_evaluated(requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> Iterator[str]:
    miou = metrics.get("miou")
    if not (is_number(miou) and 0 <= miou <= 1):
        yield f"its mIoU is {miou}"
    if metrics.get("classes_present") == 0:
        yield "no pixel of its labels was counted"
    for name, there in (("images", "val_images"), ("reference_images", "inference_images")):
        available = metrics.get(there)
        if not is_number(available) or available < 1:
            yield f"{there} is {available}"
            continue
        asked = min(requested[name], available) if is_number(requested.get(name)) else available
        if metrics.get(name) != asked:
            yield f"{name} is {metrics.get(name)}, not {asked}"


def _unproven_of_published(requested: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    published, told = requested.get(PUBLISHED), metrics.get(PUBLISHED)
    if not published:
        return []
    gates = [gate for gate in metrics.get("gates", []) if gate.get("name") == "published_miou"]
    if not isinstance(told, Mapping):
        return ["its mIoU was not held against the published one"]
    if _is_other(published, {**told, "images": metrics.get("images"), "val_images": metrics.get("val_images")}):
        return ["it was held to what is published although it was evaluated otherwise"] if gates else []
    if not gates:
        return ["its mIoU was not held against the published one, and nothing is said that would forbid it"]
    miou = metrics.get("miou")
    apart = finite(miou - published["miou"]) if is_number(miou) else None
    wrong = [gate for gate in gates if apart is None or gate.get("value") != abs(apart)]
    wrong += [gate for gate in gates if gate.get("threshold") != published["tolerance"]]
    return ["the gate published_miou was held against another difference or tolerance"] if wrong else []


def _is_other(published: Mapping[str, Any], seen: Mapping[str, Any]) -> bool:
    """Whether an evaluation was made otherwise than what is published."""
    images, there = (seen.get(key) or 0 for key in ("images", "val_images"))
    named = published.get("images") or there
    besides = {key for key, value in (seen.get("test_config") or {}).items() if PLAIN.get(key) != value}
    return bool(
        not images
        or images < max(named, there)
        or there != named
        or any(seen.get(key) != published[key] for key in ("dataset", "split"))
        or seen.get("sizes") != [published["size"]]
        or not seen.get("transforms")
        or seen["transforms"] != seen.get("published_transforms")
        or besides
        or (published.get("of") and published["of"] != published["file"])
        or (published.get("data") and published["data"] != published.get("data_file"))
        or seen.get("left_out")
    )


def finite(value: float | None, digits: int = 6) -> float | None:
    """A number as records hold it: rounded to significant digits."""
    return float(f"{value:.{digits}g}") if value is not None and math.isfinite(value) else None


# -- records and cells ------------------------------------------------------------------------

KINDS = {
    **dict.fromkeys(("stage", "cell", "status", "command", "log", "started"), str),
    **dict.fromkeys(("env", "requested", "effective", "metrics", "inputs"), dict),
}
OF_RUNS = (
    "command", "log", "started", "wall_s", "cpu_s", "peak_rss_mb", "env", "effective", "metrics", "inputs", "outputs",
    "load", "samples_ms", "scheduler_job", "gpus", "gpus_by", "set_aside", "stand_in", "try_again",
)  # fmt: skip
REQUIRED = (
    "schema_version", "model", "algorithm", "mode", "stage", "cell", "requested", "status", "reason", *OF_RUNS[:10],
)  # fmt: skip
OF_CELLS = (
    "schema_version", "model", "algorithm", "mode", "stage", "cell", "train_cell", "topology", "status", "reason",
    "requested", "record", "record_file",
)  # fmt: skip
OTHER_RUN = "the record on disk is of another run: "
# Why it is, where only the machine of the run knows: another version in its `env`, or another command.
OTHER_SOFTWARE = re.compile(r"(.+?) was (.*), now (.*)", re.DOTALL)
OTHER_COMMANDS = ("its command is none", "its command had other options")
UTC = re.compile(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-6]\dZ", re.ASCII)
NO_RECORD, NOT_ASKED = "ended without a record", "not asked for in this run"


def as_json(files: Mapping[str, bytes], name: str) -> Any:
    """Raises Broken where that is no strict JSON."""
    try:
        return json.loads(files[name].decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_once)
    except KeyError:
        raise Broken(f"{name} is not in it") from None
    except (ValueError, RecursionError) as error:
        raise Broken(f"{name}: it is no JSON: {error}") from None


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not strict JSON")


def _once(pairs: Sequence[tuple[str, Any]]) -> Json:
    """An object; programs differ in which of two values they take."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"it has a key twice: {next(name for name in names if names.count(name) > 1)}")
    return found


def record_of(files: Mapping[str, bytes], name: str) -> Json | None:
    """A record; None where the file is none."""
    try:
        found = as_json(files, name)
    except Broken:
        return None
    whole = isinstance(found, dict) and found.get("schema_version") == 1 and all(key in found for key in REQUIRED)
    if not whole or any(not isinstance(found[key], kind) for key, kind in KINDS.items()):
        return None
    return found if found["status"] in STATUSES and found["stage"] in STAGES else None


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: true is not 1."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


class Told:
    """What a certificate tells, and what is wrong with it.

    Attributes:
        problems: in words, what does not fit.
        taken: how many cells did not run, so that nothing in the certificate says why but the conclusions themselves.
        set_aside: how many records are red, and of cells that are not-run.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.problems: list[str] = []
        self.taken = self.set_aside = 0
        self.run: Json = as_json(files, RUN)
        self.settings: Json = self.run["settings"]
        self.mode: str = self.settings["mode"]
        self.top = f"results/{self.mode}"
        self.conclusions: Json = as_json(files, f"{self.top}/conclusions.json")
        self.cells: list[Json] = self.conclusions["cells"]
        self.at = {
            (cell["model"], cell["train_cell"], cell["stage"]): cell
            for cell in self.cells
            if cell["stage"] not in (INFER, SCRIPTS, DATA)
        }
        self.sources = {cell["record"]: cell for cell in self.cells if cell["stage"] == DATA}
        self.red = True

    def check(self) -> None:
        self._check_records_are_told_of()
        for cell in self.cells:
            self._check_cell(cell)
        self._check_models()
        broken = self._check_certificates()
        self._check_published()
        statuses = [cell["status"] for cell in self.cells]
        self.red = broken or any(status in RED for status in statuses) or PASSED not in statuses
        counts = {status: statuses.count(status) for status in STATUSES if status in statuses}
        self._wrong(self.conclusions["mode"] != self.mode, "conclusions.json", "its mode is another")
        self._wrong(self.conclusions["red"] is not self.red, "conclusions.json", f"red is to be {self.red}")
        self._wrong(not same(self.conclusions["counts"], counts), "conclusions.json", f"counts are to be {counts}")
        self._check_table()
        self._check_statement()

    def _wrong(self, found: bool, where: str, what: str) -> None:
        if found:
            self.problems.append(f"{where}: {what}")

    # -- cells ----------------------------------------------------------------------------------

    def _check_records_are_told_of(self) -> None:
        """No record is there that no cell tells of, and no cell twice."""
        named = [cell["record"] for cell in self.cells]
        for name in sorted({name for name in named if named.count(name) > 1}):
            self._wrong(True, name, "several cells have it")
        read = {cell.get("record_file") for cell in self.cells}
        for name in sorted(self.files):
            found = record_of(self.files, name) if name.startswith("results/") and name.endswith(".json") else None
            if found and name not in read:
                hidden = found["stage"] != DATA or found["status"] in RED
                self._wrong(hidden, name, "it is a record, and no cell of conclusions.json tells of it")

    def _check_cell(self, cell: Json) -> None:
        where = cell["record"]
        if cell["status"] not in STATUSES or cell["stage"] not in STAGES:
            self._wrong(True, where, f"unknown status {cell['status']} or stage {cell['stage']}")
            return
        self._check_place(cell)
        held = self._held(cell)
        if "record_file" not in cell:
            self._check_without_record(cell, held)
            return
        if cell["record_file"] not in (where, where.removesuffix(".json") + ".failed.json"):
            self._wrong(True, where, f"its record_file is {cell['record_file']}, which is another cell's")
        elif cell["record_file"] not in self.files:
            self._wrong(True, cell["record_file"], "it is the record of a cell, and not in the certificate")
        elif held:
            self._wrong(True, where, f"status {cell['status']}, and what it is made from gives {held[0]}")
        else:
            self._check_against_record(cell, record_of(self.files, cell["record_file"]))

    def _check_place(self, cell: Json) -> None:
        """It stands where its names say."""
        model, train_cell, name = cell["model"], str(cell["train_cell"]), cell["cell"]
        told = (model, cell["algorithm"], cell["mode"], cell["train_cell"], cell["topology"])
        if cell["stage"] == DATA:
            fits = told == (None,) * 5 and cell["record"] in (
                f"results/data/{name}.json",
                f"results/weights/{name}.json",
            )
        else:
            algorithm = self.settings["model_zoo"].get(model, {}).get("algorithm")
            stem = STEMS.get(cell["stage"], cell["stage"]).format(cell=name)
            fits = told[:3] == (model, algorithm, self.mode) and model in self.settings["models"]
            fits = fits and cell["record"] == f"{self.top}/{model}/{train_cell}/{stem}.json"
            fits = fits and ("record_file" not in cell or train_cell.startswith(cell["topology"]))
        fits = fits and cell["schema_version"] == 1
        self._wrong(not fits, cell["record"], "its names are not those of its place")

    def _check_without_record(self, cell: Json, held: tuple[str, str] | None) -> None:
        """A cell that has no record: it did not run, or was lost."""
        where, status, reason = cell["record"], cell["status"], str(cell["reason"])
        more = [key for key in cell if key not in OF_CELLS and status != FAILED]
        self._wrong(bool(more), where, f"it did not run, and tells of {', '.join(more)}")
        left_out = "what" in cell["requested"]
        if status in (BLOCKED, NOT_RUN) or reason.startswith("made from ") or reason == NOT_ASKED:
            wanted = held or (NOT_RUN, NOT_ASKED)
            self._wrong(
                (status, reason) != wanted, where, f"{status} ({reason}), and {wanted[0]} ({wanted[1]}) follows"
            )
        elif status == KNOWN_FAILURE and left_out:
            self._wrong(not self._is_known(cell), where, "known-failure, and no known failure of the settings is so")
            self.taken += 1
        elif status in (UNVERIFIED, SKIPPED) or (status == FAILED and left_out):
            self.taken += 1
        elif status != FAILED or held or not reason.startswith(NO_RECORD):
            self._wrong(True, where, f"status {status}, and there is no record of it")

    def _is_known(self, cell: Json) -> bool:
        """Whether a cell that its model's file alone made fail is told of as one of the known failures tells."""
        seen = self.settings["model_zoo"].get(cell["model"], {}).get("not_planned", {}).get("reason", "")
        fields = {**cell["requested"], **{key: cell[key] for key in ("stage", "model", "topology")}}
        for known in self.settings["known_failures"]:
            told = f"{known['id']}: {known['reason']} ({known['link']}) Seen: {seen}"
            match = (
                (fields.get(key), [want] if isinstance(want, str) else want) for key, want in known["match"].items()
            )
            if "gates" not in known and cell["reason"] == told and all(one in wanted for one, wanted in match):
                return bool(seen and re.search(known["error"], seen))
        return False

    def _check_against_record(self, cell: Json, found: Json | None) -> None:
        where, file = cell["record"], cell["record_file"]
        if found is None:
            fits = cell["status"] == FAILED and str(cell["reason"]).startswith(f"{file}: ")
            self._wrong(not fits, where, f"status {cell['status']}, and {file} is no record")
            return
        if cell["stage"] == DATA:
            self._check_fields(cell, found)
            self._check_status(cell, found["status"], found["reason"])
            return
        stale, changed = self._stale(cell, found)
        if cell["status"] == NOT_RUN and str(cell["reason"]).startswith(OTHER_RUN):
            self.taken += not stale  # of other software, or by another command: only its own machine knows
            self.set_aside += found["status"] in RED
            why = str(cell["reason"])[len(OTHER_RUN) :]
            other = OTHER_SOFTWARE.fullmatch(why)
            fits = stale or why in OTHER_COMMANDS
            fits = fits or (other and str(found["env"].get(other[1])) == other[2] != other[3])
            self._wrong(not fits, where, f"not-run ({why}), and its record does not say so")
            return
        if stale and changed and "metrics" not in cell:
            self._check_status(cell, FAILED, "", begins=True)
            return
        if stale:
            self._wrong(True, where, f"status {cell['status']}, and its record is of another run: {stale}")
            return
        self._check_fields(cell, found)
        why = unproven(found) if found["status"] == PASSED else []
        for gate in found["metrics"].get("gates", []) if found["status"] == PASSED and not why else []:
            asked = self._threshold(cell, gate["name"])
            if asked is not None and gate["threshold"] != asked:
                self._wrong(True, where, f"the gate {gate['name']} is of {gate['threshold']}, and {asked} is asked for")
        if why and cell["status"] == PASSED:
            self._wrong(True, where, f"passed, and its record does not prove it: {'; '.join(why)}")
        elif why:
            self._check_status(cell, FAILED, "its record says passed and does not prove it: ", begins=True)
        else:
            self._check_status(cell, found["status"], found["reason"])

    def _threshold(self, cell: Json, gate: str) -> float | None:
        """What a gate of a cell is to be held against; None where nothing in the certificate says so."""
        asked, model = cell["requested"], cell["model"]
        place = THRESHOLDS.get(cell["stage"], {}).get(gate)
        if not isinstance(place, tuple):
            return place
        found = self._of_model(model, "gates")
        for key in place:
            found = found[asked["precision"] if key == BY_PRECISION else key]
        plain: float = found.get(model, found["default"]) if isinstance(found, Mapping) else found
        times = self._of_model(model, "gates")["logits"].get("roundings")  # a run of before may have none
        if gate in LOGITS and asked["precision"] == "fp32" and times:
            rounding = self._rounding(cell).get("l2" if gate == "logits_l2" else "peak")
            return max(plain, times * (rounding or 0))
        return plain

    def _rounding(self, cell: Json) -> Json:
        """What rounding moves the logits by that a cell's are held against, as their evaluation measured it."""
        metrics = self.at.get((cell["model"], cell["train_cell"], EVAL), {}).get("metrics", {})
        if "size" in cell["requested"]:
            metrics = metrics.get("reference_sizes", {}).get("x".join(map(str, cell["requested"]["size"])), {})
        found: Json = metrics.get("reference_logits", {}).get("rounding", {})
        return found

    def _check_status(self, cell: Json, status: str, reason: str | None, begins: bool = False) -> None:
        """Against what the record gives; `begins`: the reason only begins so, the rest may be in other words."""
        told = cell["reason"]
        alike = told == reason or (begins and str(told).startswith(str(reason)))
        more = status == FAILED and str(told).startswith(f"{reason}; ")  # what a scheduler said of it
        if cell["status"] != status:
            self._wrong(True, cell["record"], f"status {cell['status']}, and its record gives {status}")
        elif not alike and not more:
            self._wrong(True, cell["record"], f"the reason {told!r}, and its record says {reason!r}")

    def _check_fields(self, cell: Json, found: Json) -> None:
        """All that a cell tells of its run is what its record says."""
        for key in OF_RUNS:
            if key in cell or key in found:
                fits = key in cell and key in found and same(cell[key], found[key])
                self._wrong(not fits, cell["record"], f"{key} is not what its record says")
        fits = (
            same(cell["requested"], found["requested"])
            if cell["stage"] == DATA
            else cell["algorithm"] == found["algorithm"]
        )
        self._wrong(not fits, cell["record"], "algorithm or requested is not what its record says")
        self._wrong(not UTC.fullmatch(found["started"]), cell["record"], f"it started at {found['started']!r}")
        for key in ("wall_s", "cpu_s"):
            odd = found[key] is not None and not (is_number(found[key]) and found[key] >= 0)
            self._wrong(odd, cell["record"], f"{key} is {found[key]}")
        nameless = found["status"] == PASSED and not found["env"]
        self._wrong(nameless, cell["record"], "passed, and it does not say on what it ran")

    # -- what a cell is made from -----------------------------------------------------------------

    def _parents(self, cell: Json) -> list[Json]:
        """The cells of its checkpoint that it is made from, nearest first, and then its data and weights."""
        model, stage = cell["model"], cell["stage"]
        if stage == DATA:
            return []
        quantised = stage != INFER or cell["requested"].get("precision") == "int8"
        wanted = [name for name in PARENTS.get(stage, ()) if quantised or name != QUANTISE]
        places = [(model, cell["train_cell"], name) for name in wanted]
        found = [self.at[place] for place in places if place in self.at]
        released = cell["topology"] == RELEASED
        if (stage == TRAIN) != released and stage in (TRAIN, EVAL, QUANTISE):
            found += [self._source(name) for name in self._source_names(model, stage)]
        return found

    def _source_names(self, model: str, stage: str) -> list[str]:
        entry = self.settings["model_zoo"][model]
        dataset = self.settings["data"][entry["data"]]
        names = [f"results/data/{dataset}.tar.json", f"results/data/{dataset}.json"]
        if stage == TRAIN and self._of_model(model, "train")["pretrained_backbone"]:
            weights = [entry.get(kind) for kind in ("backbone_weights", "pretrained_weights")]
            names += [f"results/weights/{name}.json" for name in weights if name]
        return names

    def _of_model(self, model: str, section: str) -> Any:
        """A section of the settings as it is for a model."""
        return merged(self.settings[section], self.settings["model_zoo"][model].get("settings", {}).get(section, {}))

    def _source(self, name: str) -> Json:
        """Data or weights, in the form of a cell."""
        if name in self.sources:
            return self.sources[name]
        found = record_of(self.files, name) or {}
        plain = {"stage": DATA, "cell": Path(name).name.removesuffix(".json"), "status": PASSED, "record": name}
        return {**plain, "outputs": found.get("outputs", {})}

    def _held(self, cell: Json) -> tuple[str, str] | None:
        """Status and reason that follow from what it is made from, where that keeps it from running."""
        for parent in reversed(self._parents(cell)):
            if parent["status"] in HELD_UP:
                return HELD_UP[parent["status"]], f"made from {parent['stage']} {parent['cell']}: {parent['status']}"
        return None

    def _stale(self, cell: Json, found: Json) -> tuple[str | None, bool]:
        """Why a record does not belong to its cell, as far as a certificate tells; and whether an input was changed."""
        why = [key for key in ("model", "mode", "stage", "cell") if found[key] != cell[key]]
        asked = found["requested"]
        now = cell["requested"]
        why += [key for key in {**now, **asked} if not same(asked.get(key), now.get(key))]
        configuration = self.run.get("configurations", {}).get(cell["model"], {})
        why += [path for path, digest in configuration.items() if found["inputs"].get(path, digest) != digest]
        reads = READS.get(RELEASED if cell["topology"] == RELEASED and cell["stage"] == TRAIN else cell["stage"], ())
        changed = False
        for parent in self._parents(cell):
            for path, digest in parent.get("outputs", {}).items():
                told = found["inputs"].get(path)
                read = parent["stage"] in reads and not path.endswith(UNREAD)
                if told is None and read and found["status"] not in RED:
                    why.append(f"it does not say from which {path} it was made")
                if told is not None and told != digest:
                    why.append(f"made from another {path}")
                    changed = True
        return (why[0] if why else None), changed

    def _check_models(self) -> None:
        there = {cell["model"] for cell in self.cells}
        for model in self.settings["models"]:
            self._wrong(model not in there, "conclusions.json", f"no cell of {model} is in it, which was asked for")

    # -- trainings and their twins ----------------------------------------------------------------

    def _check_certificates(self) -> bool:
        """Whether one of them does not hold, as it is worked out again."""
        found = [item for model in self.settings["models"] for item in self._certificates(model)]
        told = self.conclusions["certificates"]
        self._wrong(
            len(told) != len(found), "conclusions.json", f"{len(found)} certificates of trainings are to be in it"
        )
        for made, item in zip(found, told):
            for key, value in made.items():
                if not same(item.get(key), value):
                    which = f"conclusions.json, certificate of {made['model']} {made['cell']}"
                    self._wrong(True, which, f"{key} is {item.get(key)}, and {value} follows from the records")
        return any(made["verdict"] == ACCURACY_FAILED for made in found)

    def _certificates(self, model: str) -> Iterator[Json]:
        cells = [cell for cell in self.cells if cell["model"] == model]
        gates = self._of_model(model, "gates")
        for train in (cell for cell in cells if cell["stage"] == TRAIN and cell["status"] != SKIPPED):
            asked = train["requested"]
            static = asked.get("graph") == "to_static"
            if static or asked.get("precision") == "amp":
                twin = next((cell for cell in cells if _is_twin(train, cell, static)), None)
                kind = "to_static" if static else "amp"
                head = {"model": model, "topology": train["topology"], "kind": kind, "cell": train["cell"]}
                yield {**head, "twin": twin and twin["cell"], **self._verdict(train, twin, cells, static, gates[kind])}

    def _verdict(
        self, train: Json, twin: Json | None, cells: Sequence[Json], static: bool, gates: Mapping[str, float]
    ) -> Json:
        if train["status"] != PASSED:
            return {"verdict": train["status"]}
        same_keys = ("iters", "batch_size", "input_size", "seed", "devices", "workers", "device")
        if twin is None or twin["status"] != PASSED:
            return {"verdict": UNVERIFIED}
        if any(not same(train["requested"].get(key), twin["requested"].get(key)) for key in same_keys):
            return {"verdict": UNVERIFIED}
        own, theirs = self._losses(train), self._losses(twin)
        apart = first = nonfinite = None
        if own is not None and theirs is not None:
            apart, first, nonfinite = distance(own, theirs), distance(own[:1], theirs[:1]), own.count(None)
        scores = {
            cell["train_cell"]: cell["metrics"].get("miou")
            for cell in cells
            if cell["stage"] == EVAL and cell["status"] == PASSED
        }
        miou, miou_twin = scores.get(train["cell"]), scores.get(twin["cell"])
        difference = finite(miou - miou_twin) if miou is not None and miou_twin is not None else None
        verdict = PASSED if difference is not None else UNVERIFIED
        if apart is None:
            verdict = UNVERIFIED
        elif (
            apart > gates["loss_distance"]
            or (static and (first is None or first > gates["first_loss"]))
            or (
                difference is not None
                and (abs(difference) > gates["miou"] if static else -difference > gates["miou_drop"])
            )
        ):
            verdict = ACCURACY_FAILED
        return {
            "verdict": verdict, "loss_distance": apart, "first_loss_difference": first,
            "nonfinite": nonfinite,
            "miou": miou, "miou_twin": miou_twin, "miou_difference": difference,
        }  # fmt: skip

    def _losses(self, train: Json) -> list[float | None] | None:
        """The losses of a training, from its history.csv; None where that is not the one that its record names."""
        name = f"{train['record'].rpartition('/')[0]}/history.csv"
        digest = (train.get("outputs") or {}).get(name)
        if digest is None or hashlib.sha256(self.files.get(name, b"")).hexdigest() != digest:
            return None
        try:
            rows = list(csv.DictReader(io.StringIO(self.files[name].decode("utf-8"), newline="")))
            return [finite(float(row["loss"]), 9) for row in rows if int(row["iter"]) or True]
        except (KeyError, TypeError, ValueError):
            return None

    # -- what follows from the cells --------------------------------------------------------------

    def _check_published(self) -> None:
        wanted = []
        for cell in self.cells:
            if cell["stage"] == EVAL and (asked := cell["requested"].get(PUBLISHED)):
                metrics = cell.get("metrics") or {}
                unmet = cell["status"] == PASSED and (metrics.get(PUBLISHED) or {}).get("unmet")
                verdict = UNVERIFIED if unmet else cell["status"]
                wanted.append([cell["record"], verdict, asked["miou"], metrics.get("miou"), asked["tolerance"]])
        keys = ("record", "verdict", "published", "miou", "tolerance")
        told = [[item.get(key) for key in keys] for item in self.conclusions[PUBLISHED]]
        self._wrong(not same(told, wanted), "conclusions.json", f"published: {wanted} follows from the records")

    def _check_table(self) -> None:
        """conclusions.csv has the same statuses."""
        name = f"{self.top}/conclusions.csv"
        if name not in self.files:
            self._wrong(True, name, "it is not in it")
            return
        rows = csv.DictReader(io.StringIO(self.files[name].decode("utf-8"), newline=""))
        keys = ("model", "stage", "train_cell", "cell", "status")
        told = [[row[key] for key in keys] + [row["record"]] for row in rows]
        wanted = [[cell[key] or "" for key in keys] + [cell.get("record_file") or ""] for cell in self.cells]
        self._wrong(told != wanted, name, "its statuses are not those of conclusions.json")

    # -- the statement ----------------------------------------------------------------------------

    def exports(self) -> dict[str, dict[str, str]]:
        """Folder of an exported model -> its files with their sha256, by the statement's subjects."""
        found: dict[str, dict[str, str]] = {item["folder"]: {} for item in self.statement["predicate"]["exports"]}
        for subject in self.statement["subject"]:
            folder = next((folder for folder in found if subject["name"].startswith(f"{folder}/")), None)
            if folder is None:
                self._wrong(True, STATEMENT, f"{subject['name']} is in no folder that it tells of")
            else:
                name = subject["name"][len(folder) + 1 :]
                self._wrong(name in found[folder], STATEMENT, f"{subject['name']} is a subject twice")
                found[folder][name] = subject["digest"]["sha256"]
        return found

    def _check_statement(self) -> None:
        statement = self.statement
        told = statement["predicate"]
        types = statement["_type"] == STATEMENT_TYPE and statement["predicateType"] == PREDICATE_TYPE
        self._wrong(not types, STATEMENT, "it is no statement of a certificate")
        digest = hashlib.sha256(self.files[f"{self.top}/conclusions.json"]).hexdigest()
        wanted = {"mode": self.mode, "red": self.red, "counts": self.conclusions["counts"], "conclusions": digest}
        for key, value in wanted.items():
            self._wrong(not same(told.get(key), value), STATEMENT, f"{key} is {told.get(key)}, not {value}")
        made = {
            path: (cell["record"], digest)
            for cell in self.cells
            if cell["stage"] in (EXPORT, QUANTISE) and cell["status"] == PASSED
            for path, digest in (cell.get("outputs") or {}).items()
        }
        named = {item["folder"]: (item["record"], item["digest"]) for item in told["exports"]}
        self._wrong(named != made, STATEMENT, "its exports are not those that the records tell of")
        for folder, files in self.exports().items():
            known = named[folder][1]
            self._wrong(digest_of(files) != known, STATEMENT, f"the files of {folder} are not those of its record")

    @property
    def statement(self) -> Json:
        found: Json = as_json(self.files, STATEMENT)
        return found


def _is_twin(train: Json, other: Json, static: bool) -> bool:
    asked, theirs = train["requested"], other["requested"]
    if other["stage"] != TRAIN or other["topology"] != train["topology"] or theirs.get("graph") == "to_static":
        return False
    if not static:
        return bool(theirs.get("precision") == "fp32")
    return all(asked.get(key) == theirs.get(key) for key in ("precision", "level", "dtype"))


def merged(base: Any, over: Any) -> Any:
    """A section of the settings with another laid over it, key by key."""
    if not (isinstance(base, Mapping) and isinstance(over, Mapping)):
        return over
    return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}


def distance(one: Sequence[float | None], other: Sequence[float | None]) -> float | None:
    """Mean absolute distance of two curves as a share of the mean of the second; None where that is none."""
    pairs = [(a, b) for a, b in zip(one, other) if a is not None and b is not None]
    if not pairs or not len(pairs) == len(one) == len(other) or not any(b for _, b in pairs):
        return None
    return finite(sum(abs(a - b) for a, b in pairs) / sum(abs(b) for _, b in pairs))


# -- exported models --------------------------------------------------------------------------


def digest_of(files: Mapping[str, str]) -> str:
    """The hash of a folder, as records have it, from the hashes of its files."""
    digest = hashlib.sha256()
    for name in sorted(files, key=lambda name: name.split("/")):
        digest.update(name.encode() + b"\0" + files[name].encode())
    return digest.hexdigest()


def hashes_of(folder: Path) -> dict[str, str]:
    """File -> sha256 of a folder, but for the empty mark that Snakemake leaves at its top.

    Raises:
        Unreadable: there is no such folder, or a part of it cannot be read.
        Broken: something in it is no file of its own.
    """
    if not folder.is_dir():
        raise Unreadable(f"{folder}: there is no such folder")
    found = {}
    try:
        for top, folders, files in os.walk(folder, onerror=_raise):
            for path in (Path(top, name) for name in sorted(folders + files)):
                mode = path.lstat().st_mode
                # What a link leads to may be another thing by the time that somebody loads it.
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise Broken(f"{path} is a link, or no file")
                mark = path == folder / MARK and not path.lstat().st_size
                if stat.S_ISREG(mode) and not mark:
                    found[path.relative_to(folder).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise Unreadable(f"{error.filename}: it cannot be read: {error.strerror}") from None
    return found


def _raise(error: OSError) -> NoReturn:
    raise error


def of_export(told: Told, folder: Path) -> str:
    """Which exported model a folder is, and what its cells come to.

    Raises:
        Broken: it is none of them; the message names the first file that does not fit the nearest.
    """
    there, exports = hashes_of(folder), told.exports()
    if not exports:
        raise Broken(f"{folder}: the certificate tells of no exported model")
    name = max(
        exports, key=lambda name: (len(exports[name].items() & there.items()), len(exports[name].keys() & there))
    )
    wanted = exports[name]
    for file in sorted(wanted.keys() | there):
        if file not in there:
            raise Broken(f"{folder}/{file} is not there, and {name} has it")
        if file not in wanted:
            raise Broken(f"{folder}/{file} is there, and {name} has none")
        if there[file] != wanted[file]:
            raise Broken(f"{folder}/{file} is not what {name} has")
    of = next(cell for cell in told.cells if name in (cell.get("outputs") or {}))
    alike = [c["status"] for c in told.cells if (c["model"], c["train_cell"]) == (of["model"], of["train_cell"])]
    return f"{folder} is {name}: of its checkpoint's cells {_counted(alike)}"


def _counted(statuses: Sequence[str]) -> str:
    return ", ".join(f"{statuses.count(status)} {status}" for status in STATUSES if status in statuses)


# -- the command ------------------------------------------------------------------------------


def verify(path: str | Path, exports: Sequence[str] = (), allowed: str | None = None) -> list[str]:
    """What to tell of a certificate that holds, a line each.

    Raises:
        Broken: it does not hold; a line for each thing that does not fit.
        Unreadable: it cannot be read or checked.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror}") from None
    files = unzipped(data)
    check_sums(files)
    try:
        told = Told(files)
        told.check()
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, csv.Error, re.error) as error:
        raise Broken(f"what it tells lacks something, or is of another kind: {type(error).__name__}: {error}") from None
    if told.problems:
        more = len(told.problems) - MOST_TOLD
        raise Broken("\n".join(told.problems[:MOST_TOLD] + ([f"... and {more} more"] if more > 0 else [])))
    signed = f"signed by {signer(files, allowed)}" if allowed else is_signed(files)
    cells = told.cells
    set_aside = f"{told.set_aside} records are red and do not count: their cells are not-run, as of another run"
    return [
        f"mode {told.mode}, {'RED' if told.red else 'green'}: {_counted([cell['status'] for cell in cells])}",
        f"{len(files)} files as they were packed; {len(cells) - told.taken} statuses follow from the records, "
        f"{told.taken} are of cells that were left out",
        signed,
        *([set_aside] if told.set_aside else []),
        *(of_export(told, Path(folder)) for folder in exports),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    told = (__doc__ or "").partition("\n\n")
    options = argparse.ArgumentParser(description=told[0], allow_abbrev=False)
    options.add_argument("certificate", help="the certificate.zip")
    options.add_argument(
        "--export",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder that is to be one of its exported models",
    )
    options.add_argument("--signer", metavar="ALLOWED_SIGNERS", help="who may have signed it, as ssh-keygen reads it")
    args = options.parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):  # names that a terminal has no characters for are told all the same
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        lines = verify(args.certificate, args.export, args.signer)
    except Unreadable as error:
        print(f"{args.certificate}: cannot be checked: {error}", file=sys.stderr)
        return 2
    except Broken as error:
        print(f"{args.certificate}: DOES NOT HOLD", *str(error).splitlines(), sep="\n  ", file=sys.stderr)
        return 1
    print(f"{args.certificate}: holds", *lines, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
