"""verify.py against the package: it knows the same rules, and cannot import them.

Whatever a record shows, both take it for proved or neither does; both find the same of trainings and their twins.
"""

import ast
import copy
import json
import sys

import proofs
import pytest
import yaml
from conftest import ROOT
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from trees import edited, places

import verify
from segcert import (
    accuracy,
    cells,
    certificates,
    output_ops,
    own_scripts,
    proof,
    record,
    sections,
    settings,
    stages,
    statuses,
)
from segcert.compute import own_scripts as scripts
from segcert.compute import parity, proving, training
from segcert.concluded import Concluded
from segcert.conclusions import RUN_FIELDS
from segcert.files import sha256
from segcert.machine import Hardware
from segcert.show import certificatepack, crate, packing

SOURCE = (ROOT / "scripts/verify.py").read_text(encoding="utf-8")


def test_it_needs_nothing_but_an_old_python():
    tree = ast.parse(SOURCE, feature_version=(3, 9))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module).split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= set(sys.stdlib_module_names)


# -- the same tables --------------------------------------------------------------------------


def test_it_has_the_packages_statuses():
    assert tuple(status.name for status in statuses.ALL) == tuple(verify.STATUSES)
    assert tuple(status.name for status in statuses.ALL if status.red) == verify.RED
    assert {s.name: s.holds_up for s in statuses.ALL if s.stops and s.holds_up} == verify.HELD_UP


def test_it_has_the_packages_stages():
    assert verify.STAGES == stages.NAMES
    assert {stage.name: stage.stem for stage in stages.ALL if stage.stem} == verify.STEMS

    def key(stage):
        return stage.topology or stage.name

    assert {key(stage): stage.proves for stage in stages.ALL} == verify.PROVES
    assert {key(stage): stage.parents for stage in stages.ALL if stage.parents} == verify.PARENTS
    assert {key(stage): stage.reads for stage in stages.ALL if stage.reads} == verify.READS


def test_it_has_the_packages_fields_and_names():
    assert set(verify.OF_RUNS) == set(RUN_FIELDS) - {"record_file"} and set(verify.REQUIRED) == set(record.REQUIRED)
    assert verify.KINDS == record.KINDS and verify.GATE_OF_SCRIPT == own_scripts.GATES
    assert verify.BOUNDS == proof.GATES and (verify.LEAST, verify.MOST) == (proof.LEAST, proof.MOST)
    assert verify.LOGITS == proof.LOGITS and verify.PROVES["infer"][:3] == proof.OF_AN_ENGINE
    for name in ("SUMS", "SIGNATURE", "STATEMENT", "RUN", "NAMESPACE", "STATEMENT_TYPE", "PREDICATE_TYPE"):
        assert getattr(verify, name) == getattr(certificatepack, name), name
    assert verify.SEAL == packing.SEAL and crate.NAME != verify.STATEMENT


# -- the same proof ---------------------------------------------------------------------------

KINDS = proofs.every()
STRANGE = (None, True, False, 0, 1, -1, 0.5, 2.5, 9, "", "cpu", "gpu", "fp16", [], {}, "at most", "at least")


@pytest.mark.parametrize("kind", KINDS)
def test_what_proves_itself_is_taken_by_both(kind):
    assert proof.unproven(KINDS[kind]) == [] and list(verify.unproven(KINDS[kind])) == []


def judged(unproven, content):
    """Whether a record is taken for proved; None where it is so odd that no answer comes."""
    try:
        return not list(unproven(content))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        return None


@pytest.mark.parametrize(
    ("change", "ends_in"),
    [
        ({}, "softmax"),
        ({"sum_lowest": 0.98}, "none"),
        ({"sum_highest": None}, "none"),
        ({"dtype": "uint16"}, "uint16 of 4 dimensions"),
        ({"channels": 3}, "3 channels for 2 classes"),
        ({"dims": 3, "dtype": "int64"}, "argmax"),
        ({"dims": 3, "dtype": "uint8"}, "argmax"),
        ({"dims": 3}, "float32 of 3 dimensions"),
    ],
)
def test_both_tell_what_a_program_ends_in_by_what_it_gave(change, ends_in):
    output = {**proofs.SHARES, **change}
    assert output_ops.ended_in(output) == verify._ended_in(output) == ends_in
    assert verify.SLACK == output_ops.SLACK


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (None, "was not looked for"),
        ({"bound_ms": 200, "rate": 15.0, "trials": proofs.TRIALS}, "within 100 ms was not looked for"),
        ({"bound_ms": 100, "rate": 17.5, "trials": proofs.TRIALS}, "is 17.5, and its trials give 15"),
        ({"bound_ms": 100, "rate": 15.0, "trials": []}, "is 15.0, and its trials give None"),
        ({"bound_ms": 100, "rate": 9.0, "trials": [{"rate": 9.0, "p99_ms": 101.0, "holds": True}]}, "trials give None"),
    ],
)
def test_a_rate_that_no_trial_held_is_told_alike(server, words):
    content = copy.deepcopy(KINDS["infer of a server"])
    content["metrics"]["server"] = server
    assert any(words in one for one in proof.unproven(content)), proof.unproven(content)
    assert any(words in one for one in verify.unproven(content)), verify.unproven(content)


@pytest.mark.parametrize("gates", [None, 7, "x", [None], [[]], [{"name": []}], [{"name": {}, "value": 1}]])
@pytest.mark.parametrize("kind", ["train of a long run", "infer of a long run"])
def test_gates_that_are_none_are_told_of_and_end_nothing(kind, gates):
    """Conclusions are worked out from whatever lies there."""
    content = copy.deepcopy(KINDS[kind])
    content["metrics"]["gates"] = gates
    told = proof.unproven(content)
    assert any("its gates are no list" in one or "one of its gates is none" in one for one in told), told


def test_times_below_nothing_are_told_alike():
    for kind, name, least in (("infer of streams", "samples_offline_ips", 0), ("infer", "samples_ms", -0.1)):
        content = copy.deepcopy(KINDS[kind])
        content[name] = [least] * 3 if isinstance(content[name], list) else {"inference": [least] * 3}
        for unproven in (proof.unproven, verify.unproven):
            assert any("no times" in one or "no timed passes" in one for one in unproven(content)), kind


@pytest.mark.parametrize("kind", ["train of a long run", "infer of a long run"])
@pytest.mark.parametrize(
    ("looks", "words"),
    [
        ([[1, 100.0], [2, 100.0]], "its looks are at 1 to 2, and are to go through the second half of 200"),
        ([[150, 100.0], [100, 100.0], [200, 100.0]], "its looks are at 150 to 200"),
        ([[50, 100.0], [50, 100.0], [200, 100.0]], "its looks are at 50 to 200"),
        ([[50, 100.0], [100, 100.0], [150, 100.0], [200, 100.0]], "its memory grows by 2.9167, and its looks give 0"),
        ([[50, 100.0], [100, 100.0], [150, 100.125], [200, 500.0]], "grows by -0.25, and its looks give 399.25"),
        (None, "it has no looks at its memory"),
    ],
)
def test_looks_at_memory_that_do_not_prove_it_are_told_alike(kind, looks, words):
    content = {**copy.deepcopy(KINDS[kind]), "samples_soak_mb": looks}
    assert any(words in one for one in proof.unproven(content)), proof.unproven(content)
    assert any(words in one for one in verify.unproven(content)), verify.unproven(content)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_wrong_in_one_place_is_judged_alike(kind):
    caught = 0
    for path, _ in places(KINDS[kind]):
        if path[0] == "stage" or path in (("requested",), ("effective",), ("metrics",)):
            continue  # records with such are refused as they are read
        for value in (..., *STRANGE):
            content = edited(KINDS[kind], path, value)
            wanted = judged(proof.unproven, content)
            caught += wanted is False
            assert wanted is None or judged(verify.unproven, content) == wanted, (path, value)
    assert caught or kind == "data"


@hypothesis_settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_whatever_is_wrong_in_several_places_is_judged_alike(kind, data):
    content = KINDS[kind]
    for _ in range(data.draw(st.integers(2, 4))):
        paths = [path for path, _ in places(content) if path[0] != "stage" and len(path) > 1]
        if not paths:
            break  # nothing is left to spoil
        content = edited(content, data.draw(st.sampled_from(paths)), data.draw(st.sampled_from((..., *STRANGE))))
    wanted = judged(proof.unproven, content)
    assert wanted is None or judged(verify.unproven, content) == wanted


# -- the same of trainings and their twins ----------------------------------------------------

GATES = {
    "amp": {"loss_distance": 0.1, "miou_drop": 0.01},
    "to_static": {"first_loss": 1e-5, "loss_distance": 1e-3, "miou": 0.001},
}
HALF = {"precision": "amp", "level": "O1", "dtype": "float16"}
STATIC = {"precision": "fp32", "graph": "to_static"}


def trained(name, losses, status="passed", **asked):
    """A training of the conclusions, and its history where that is told of."""
    folder = f"results/smoke/m/{name}"
    requested = {"device": "gpu", "devices": 1, "iters": 3, "dtype": None, "graph": "dynamic", **asked}
    cell = {
        "model": "m", "topology": "single", "stage": "train", "cell": name, "train_cell": name, "status": status,
        "reason": None, "requested": requested, "record": f"{folder}/train.json", "metrics": {}, "effective": {},
    }  # fmt: skip
    if losses is not None:
        text = "iter,loss\n" + "".join(f"{number},{loss}\n" for number, loss in enumerate(losses, 1))
        cell["outputs"] = {f"{folder}/history.csv": text}
    return cell


def scored(name, miou, status="passed"):
    return {
        "model": "m", "topology": "single", "stage": "eval", "cell": name, "train_cell": name, "status": status,
        "requested": {}, "record": f"results/smoke/m/{name}/eval.json", "metrics": {"miou": miou},
    }  # fmt: skip


def judged_alike(folder, cells, gates=GATES):
    """The verdicts of both, which must be the same in all that verify.py works out."""
    files = {}
    for cell in cells:
        for name, text in (cell.get("outputs") or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
            files[name] = text.encode()
            cell["outputs"] = {name: sha256(folder / name)}
    found = certificates.certify(cells, gates)
    settings = {"mode": "smoke", "models": ["m"], "gates": {"amp": {}, "to_static": {"miou": 9}}}
    settings["model_zoo"] = {"m": {"settings": {"gates": gates}}}
    files["run_config.json"] = json.dumps({"settings": settings}).encode()
    files["results/smoke/conclusions.json"] = json.dumps({"cells": cells, "certificates": found}).encode()
    told = verify.Told(files)
    broken = told._check_certificates()
    assert told.problems == []
    assert broken == any(item["verdict"] == "accuracy-failed" for item in found)
    for item in found:  # what is forged is found
        other = {**item, "verdict": "failed" if item["verdict"] == "passed" else "passed"}
        told.conclusions["certificates"] = [other if one is item else one for one in found]
        told.problems = []
        told._check_certificates()
        assert len(told.problems) == 1 and "verdict is" in told.problems[0]
    return [item["verdict"] for item in found]


FP32 = [3.0, 2.0, 1.5]


@pytest.mark.parametrize(
    ("asked", "losses", "miou", "verdict"),
    [
        (HALF, [3.0, 2.01, 1.49], 0.5, "passed"),
        (HALF, [3.0, 2.01, 1.49], 0.3, "accuracy-failed"),
        (HALF, [3.0, 2.01, 1.49], 0.9, "passed"),
        (HALF, [3.0, 4.0, 5.0], 0.5, "accuracy-failed"),
        (HALF, [3.0, "nan", 1.5], 0.5, "unverified"),
        (HALF, [3.0, 2.0], 0.5, "unverified"),
        (HALF, None, 0.5, "unverified"),
        (HALF, [3.0, 2.01, 1.49], None, "unverified"),
        (STATIC, FP32, 0.5, "passed"),
        (STATIC, [3.001, 2.0, 1.5], 0.5, "accuracy-failed"),
        (STATIC, FP32, 0.502, "accuracy-failed"),
        (STATIC, FP32, 0.498, "accuracy-failed"),
        (STATIC, [], 0.5, "unverified"),
        ({**HALF, "iters": 9}, FP32, 0.5, "unverified"),
        ({**HALF, "device": "cpu"}, FP32, 0.5, "unverified"),
        ({**HALF, "graph": "to_static"}, FP32, 0.5, "unverified"),
    ],
)
def test_a_training_is_held_against_its_twin_alike(tmp_path, monkeypatch, asked, losses, miou, verdict):
    monkeypatch.chdir(tmp_path)
    cells = [trained("single_fp32", FP32, precision="fp32"), trained("other", losses, **asked)]
    cells += [scored("single_fp32", 0.5), scored("other", miou)]
    assert judged_alike(tmp_path, cells) == [verdict]


@pytest.mark.parametrize("status", verify.STATUSES)
def test_a_training_or_twin_of_any_status_is_judged_alike(tmp_path, monkeypatch, status):
    monkeypatch.chdir(tmp_path)
    fp32, half = trained("single_fp32", FP32, precision="fp32"), trained("half", FP32, **HALF)
    alone = [half, scored("half", 0.5)]
    assert judged_alike(tmp_path, [{**fp32, "status": status}, *alone, scored("single_fp32", 0.5, status)])
    judged_alike(tmp_path, [fp32, {**half, "status": status}, scored("single_fp32", 0.5), scored("half", 0.5)])
    judged_alike(tmp_path, alone)
    judged_alike(tmp_path, [fp32])


def test_a_history_that_is_none_or_was_changed_is_compared_with_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("iter,loss\n1,x\n", "loss\n1\n", ""):
        cells = [trained("single_fp32", FP32, precision="fp32"), trained("half", FP32, **HALF)]
        cells[1]["outputs"] = dict.fromkeys(cells[1]["outputs"], text)
        assert judged_alike(tmp_path, cells) == ["unverified"]


# -- the zip ----------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path):
    """A small zip as a certificate is one, and its bytes."""
    to = tmp_path / "a.zip"
    packing.write(to, [("é/a.json", b"{}" * 40), ("b", b""), ("c.log", b"12345")], sealed=True)
    return to.read_bytes()


def test_a_zip_is_read_as_it_was_written(sealed):
    assert verify.unzipped(sealed) == {"é/a.json": b"{}" * 40, "b": b"", "c.log": b"12345"}


def test_each_changed_bit_of_a_zip_is_found(sealed):
    """Wherever it stands: in names, heads, lists, hashes, and in the bits of compressed data that mean nothing."""
    for place in range(len(sealed)):
        for bit in range(8):
            changed = bytearray(sealed)
            changed[place] ^= 1 << bit
            with pytest.raises((verify.Broken, verify.Unreadable)):
                verify.unzipped(bytes(changed))


def test_each_missing_end_and_each_byte_more_of_a_zip_is_found(sealed):
    for end in range(len(sealed)):
        with pytest.raises((verify.Broken, verify.Unreadable)):
            verify.unzipped(sealed[:end])
    for more in (sealed + b"\0", b"\0" + sealed):
        with pytest.raises((verify.Broken, verify.Unreadable)):
            verify.unzipped(more)


def test_the_first_byte_that_does_not_fit_is_named(sealed):
    def said(place, value=0xFF):
        changed = bytearray(sealed)
        changed[place] ^= value
        with pytest.raises(verify.Broken) as told:
            verify.unzipped(bytes(changed))
        return str(told.value)

    assert said(10) == "byte 10: the head of é/a.json is not as it was made"
    begin = 30 + len("é/a.json".encode())
    held = said(begin + 2)
    assert held.startswith(f"é/a.json (bytes {begin} to ") and "of the zip)" in held
    place = sealed.index(b"PK\1\2")
    assert said(place) == f"byte {place}: the list of files is not as it was made"
    assert said(place + 5) == f"byte {place + 5}: the list of files is not as it was made"
    assert said(len(sealed) - 1) == (
        f"byte {len(sealed) - 64}: the hash at the end of the zip is not that of the bytes before it"
    )


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../a", "leads out"), ("/a", "leads out"), ("a//b", "leads out"), ("a/./b", "leads out"), ("a/", "leads out"),
        ("a\x9b1m", "character"), ("a./b", "Windows"), ("a ", "Windows"), ("con", "Windows"), ("a/Lpt1.log", "Windows"),
        ("a\\b", "character"), ("C:a", "character"), ("a\nb", "character"), ("a*", "character"),
    ],
)  # fmt: skip
def test_unsafe_names_are_refused(tmp_path, name, why):
    to = tmp_path / "a.zip"
    packing.write(to, [("fine", b""), (name, b"")], sealed=True)
    with pytest.raises(verify.Broken, match=why) as told:
        verify.unzipped(to.read_bytes())
    assert repr(name) in str(told.value)


def test_a_zip_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    to = tmp_path / "a.zip"
    packing.write(to, [("a", b"0" * 900), ("b", b"0" * 900)], sealed=True)
    monkeypatch.setattr(verify, "MOST_BYTES", 1000)
    with pytest.raises(verify.Broken, match=r"^b \(.*it would have 900 bytes"):
        verify.unzipped(to.read_bytes())


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_in_a_zip_twice_is_refused(tmp_path):
    to = tmp_path / "a.zip"
    packing.write(to, [("a", b"1"), ("a", b"2")], sealed=True)
    with pytest.raises(verify.Broken, match="a is in it twice"):
        verify.unzipped(to.read_bytes())


@pytest.mark.parametrize(
    "names",
    [
        ("statement.json", "STATEMENT.json"),
        ("caf\u00e9", "cafe\u0301"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("A/b/c", "a/b"),
        ("a/b", "a/c", "A/B"),
    ],
)
def test_names_that_some_file_system_takes_for_one_are_refused(tmp_path, names):
    to = tmp_path / "a.zip"
    packing.write(to, [(name, b"") for name in names], sealed=True)
    with pytest.raises(verify.Broken, match=f"{names[-1]} is in it twice, or is a file and a folder"):
        verify.unzipped(to.read_bytes())


def test_more_files_than_a_zip_can_count_are_refused(tmp_path, monkeypatch):
    to = tmp_path / "a.zip"
    packing.write(to, [("a", b""), ("b/c", b""), ("b/d", b"")], sealed=True)
    monkeypatch.setattr(verify, "MOST_FILES", 3)
    assert len(verify.unzipped(to.read_bytes())) == 3
    monkeypatch.setattr(verify, "MOST_FILES", 2)
    with pytest.raises(verify.Broken, match=r"^byte \d+: it has more than 2 files$"):
        verify.unzipped(to.read_bytes())


def test_a_name_that_is_no_text_is_refused(tmp_path):
    to = tmp_path / "a.zip"
    packing.write(to, [("abc", b"1")], sealed=True)
    with pytest.raises(verify.Broken, match="byte 30: the name of a file is no text"):
        verify.unzipped(to.read_bytes().replace(b"abc", b"\xff\xfe\xfd"))


# -- SHA256SUMS -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sums", "why"),
    [
        (None, "SHA256SUMS is not in it"),
        ("", "a: it is in it, and SHA256SUMS does not list it"),
        ("{a}{b}", "b: SHA256SUMS lists it, and it is not in it"),
        ("{a}{a}", "names a file again"),
        ("{a}nothing\n", "'nothing' is no line of it"),
        ("{other}", "a: its sha256 is not that of SHA256SUMS"),
    ],
)
def test_a_list_of_hashes_that_does_not_fit_is_told(sums, why):
    lines = {"a": packing.sums([("a", b"1")]), "b": packing.sums([("b", b"")]), "other": packing.sums([("a", b"2")])}
    verify.check_sums({"a": b"1", "SHA256SUMS": lines["a"].encode(), "SHA256SUMS.sig": b""})
    files = {"a": b"1"} if sums is None else {"a": b"1", "SHA256SUMS": sums.format(**lines).encode()}
    with pytest.raises(verify.Broken, match=why):
        verify.check_sums(files)


# -- what a cell is made from -----------------------------------------------------------------

CONFIGURATION = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("mode", CONFIGURATION["modes"])
@pytest.mark.parametrize("hardware", [Hardware(0, "auto", bf16=True), Hardware(8, "gpu")], ids=["cpu", "gpu"])
def test_a_cell_is_made_from_the_same_in_every_mode(mode, hardware):
    overrides = {"mode": mode} | ({"models": "all"} if mode == "zoo" else {})  # which has those of a checkout
    table = cells.CellTable(
        settings.resolve(sections.merge(CONFIGURATION, overrides), overrides, "config.yaml"), hardware
    )
    told = object.__new__(verify.Told)
    told.settings, told.sources, told.files = table.settings, {}, {}
    made = {
        cell: {
            "model": cell.model, "train_cell": cell.train_name, "topology": cell.topology, "stage": cell.stage,
            "requested": cell.requested, "record": cell.record,
        }
        for cell in table.planned()
    }  # fmt: skip
    told.at = {(c["model"], c["train_cell"], c["stage"]): c for c in made.values() if c["stage"] != "infer"}
    for cell, as_told in made.items():
        wanted = [parent.record for parent in table.parents(cell)] + table.source_records(cell)
        assert [parent["record"] for parent in told._parents(as_told)] == wanted, cell.record


@pytest.mark.parametrize("mode", CONFIGURATION["modes"])
def test_gates_of_a_cell_are_held_against_what_it_is_asked_for_in_every_mode(mode):
    overrides = {"mode": mode, "paddleseg_scripts": True} | ({"models": "all"} if mode == "zoo" else {})
    resolved = settings.resolve(sections.merge(CONFIGURATION, overrides), overrides, "config.yaml")
    table = cells.CellTable(resolved, Hardware(8, "gpu"), scripts=dict.fromkeys(own_scripts.GATES, "0a"))
    told = object.__new__(verify.Told)
    told.settings, told.at = table.settings, {}
    for cell in table.planned("infer", "scripts", "eval", "train"):
        asked = cell.request
        as_told = {"model": cell.model, "train_cell": cell.train_name, "stage": cell.stage, "requested": cell.requested}
        wanted = {}
        if cell.stage == "infer":
            wanted = {"pixel_agreement": asked.min_agreement, "miou_drop": asked.max_miou_drop, "unknown": None}
            wanted |= {"logits_l2": asked.max_logits_l2, "logits_gap": asked.max_logits_peak}
            wanted |= {"logits_peak": asked.max_logits_peak, "softmax_peak": asked.max_logits_peak}
            wanted |= {verify.GROWTH: asked.max_growth_mb, verify.RISE: proof.MOST_RISE_MB} if asked.soak else {}
        elif cell.stage == "scripts":
            wanted = {"first_loss": asked.max_first_loss, "later_loss": asked.max_later_loss}
            wanted |= {"history_loss": asked.max_history_loss, "miou_difference": asked.max_miou_difference}
            wanted |= dict.fromkeys(("pixel_agreement", "reference_agreement"), asked.min_agreement)
        elif cell.stage == "train" and cell.topology != "released":
            wanted = {verify.GROWTH: asked.max_growth_mb, verify.RISE: proof.MOST_RISE_MB} if asked.soak else {}
        elif cell.requested.get("published"):
            wanted = {"published_miou": cell.requested["published"]["tolerance"]}
        assert {name: told._threshold(as_told, name) for name in wanted} == wanted, cell.record


def test_logits_in_fp32_may_be_off_by_what_rounding_explains():
    """By the same rule as the gates are made, from what the evaluation measured, of each size its own."""
    rounding = {"l2": 3e-5, "peak": 1e-7}
    told = object.__new__(verify.Told)
    told.settings = {
        "model_zoo": {"m": {}},
        "gates": {"logits": {"l2": {"fp32": 1e-5}, "peak": {"fp32": {"default": 1e-5}}, "roundings": 8}},
    }
    metrics = {"reference_logits": {"rounding": {"l2": None, "peak": None}}}
    metrics["reference_sizes"] = {"250x190": {"reference_logits": {"rounding": rounding}}}
    told.at = {("m", "single", "eval"): {"metrics": metrics}}
    numbers = dict.fromkeys(proof.LOGITS, 0.0)
    numbers["logits"] = {"constant_l2": 1.0, "constant_peak": 1.0, "images": 1, "worst_images": [{"image": "a"}]}
    for size, of in (({}, None), ({"size": [250, 190]}, rounding), ({"size": [1, 1]}, None)):
        asked = {"precision": "fp32", **size}
        cell = {"model": "m", "train_cell": "single", "stage": "infer", "requested": asked}
        gates = {gate["name"]: gate["threshold"] for gate in parity.judge(1e-5, 1e-5, numbers, of, 8)}
        assert {name: told._threshold(cell, name) for name in gates} == gates
        assert (gates["logits_l2"] > 1e-5) == bool(of)


def test_thresholds_that_no_setting_moves_are_the_packages():
    fixed = {stage: {name: one for name, one in gates.items() if not isinstance(one, tuple)}
             for stage, gates in verify.THRESHOLDS.items()}  # fmt: skip
    assert fixed["train"] == {
        "rank_weight_difference": training.RANK_TOLERANCE,
        "skipped_share": training.MAX_SKIPPED_SHARE,
        verify.RISE: proof.MOST_RISE_MB,
    }
    assert fixed["export"] == {
        "exported_agreement": proving.AGREE,
        "exported_logits": proving.LOGITS,
        "softmax_peak": proving.PROBABILITIES,
    }
    assert fixed["scripts"] == {"learning_rate": scripts.RATE_ROUNDING * 1.001}
    assert set().union(*verify.THRESHOLDS.values()) == proof.GATES.keys()


# -- published accuracy -----------------------------------------------------------------------


@pytest.mark.parametrize("unmet", [[], ["4 of 6 images"]])
@pytest.mark.parametrize("status", verify.STATUSES)
def test_published_accuracy_has_the_same_verdict(status, unmet):
    cell = {
        "model": "m", "train_cell": "released", "topology": "released", "stage": "eval", "cell": "released",
        "status": status, "reason": None, "record": "r.json", "requested": {"published": proofs.PUBLISHED},
        "metrics": {**proofs.EVAL, "published": {**proofs.SEEN, "unmet": unmet}},
    }  # fmt: skip
    if status in ("skipped", "not-run"):
        del cell["metrics"]
    found = accuracy.verdicts([Concluded(cell)])
    told = object.__new__(verify.Told)
    told.cells, told.conclusions, told.problems = [cell], {"published": found}, []
    told._check_published()
    assert told.problems == []
    told.conclusions = {"published": [{**found[0], "verdict": "planted"}]}
    told._check_published()
    assert len(told.problems) == 1
