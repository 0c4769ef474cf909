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

import verify
from segcert import accuracy, cells, certificates, own_scripts, proof, record, sections, settings, stages, statuses
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


def leaves(tree, path=()):
    """The paths of everything in a record but the record itself."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from leaves(value, (*path, key))


def spoiled(tree, path, value):
    """A copy with another value at a path; without it where the value is `...`."""
    made = copy.deepcopy(tree)
    at = made
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made


def judged(unproven, content):
    """Whether a record is taken for proved; None where it is so odd that no answer comes."""
    try:
        return not list(unproven(content))
    except (KeyError, TypeError, AttributeError, IndexError, ValueError):
        return None


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_wrong_in_one_place_is_judged_alike(kind):
    caught = 0
    for path in leaves(KINDS[kind]):
        if path[0] == "stage" or path in (("requested",), ("effective",), ("metrics",)):
            continue  # records with such are refused as they are read
        for value in (..., *STRANGE):
            content = spoiled(KINDS[kind], path, value)
            wanted = judged(proof.unproven, content)
            caught += wanted is False
            assert wanted is None or judged(verify.unproven, content) == wanted, (path, value)
    assert caught or kind == "data"


@hypothesis_settings(deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.data())
def test_whatever_is_wrong_in_several_places_is_judged_alike(kind, data):
    content = KINDS[kind]
    for _ in range(data.draw(st.integers(2, 4))):
        paths = [path for path in leaves(content) if path[0] != "stage" and len(path) > 1]
        if not paths:
            break  # nothing is left to spoil
        content = spoiled(content, data.draw(st.sampled_from(paths)), data.draw(st.sampled_from((..., *STRANGE))))
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
