"""A certificate that travels: what is in it, what checks it, and what nobody can change in it unseen."""

import csv
import io
import json
import os
import random
import re
import resource
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from certificates import as_json, contents, repacked
from conftest import ROOT, finished_run, snakemake
from trees import edited, places

import verify
from segcert import conclusions, record
from segcert.cells import CellTable
from segcert.errors import StageError
from segcert.files import sha256
from segcert.show import certificatepack, crate, page, report

CONFIG = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": ["pp_humanseg_lite"],
    "input_size": {"default": [64, 64]},
    "train": {
        "iters": 3,
        "topologies": ["single"],
        "precisions": [{"precision": "fp32"}, {"precision": "fp32", "graph": "to_static"}],
    },
    "infer": {"images": 2, "min_samples": 6, "warmup": 1, "cpu": [{"engine": "native", "precision": "fp32"}]},
    "datasets": {"mini_supervisely_synthetic": {"images": {"train": 6, "val": 2, "test": 2}}},
}
TOP = "results/smoke"
MODEL = f"{TOP}/pp_humanseg_lite"
CELL = f"{MODEL}/single_fp32"
NATIVE = f"{CELL}/infer/python_infer_cpu_usemkldnn_False_threads_1_precision_fp32_batchsize_1"
RUN_CONFIG = Path(f"{TOP}/run_config.yaml")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished green run, and its certificate."""
    folder = finished_run(tmp_path_factory.mktemp("certificate") / "a proj é", CONFIG)
    done = snakemake(folder, "certificate", "--configfile", "mine.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / "screen.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def files(run):
    """Name -> content of all that is in it. Nobody changes it."""
    return contents(run / TOP / "certificate.zip")


@pytest.fixture
def copied(run, tmp_path, monkeypatch):
    """The run's results in a folder of their own, which a test may spoil; the working folder."""
    shutil.copytree(run / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def packed(key=None):
    to = Path(f"{TOP}/certificate.zip")
    certificatepack.pack(RUN_CONFIG, to, key, check=verify.verify)
    return to


# -- what is in it ----------------------------------------------------------------------------


def test_it_holds_all_that_the_conclusions_are_made_from(run, files):
    own = {"SHA256SUMS", "statement.json", "run_config.json", "ro-crate-metadata.json", "verify.py", "Snakefile"}
    own |= {"README.md"}
    made = {path.relative_to(run).as_posix() for path in (run / "results").rglob("*") if path.is_file()}
    records = {name for name in made if name.endswith(".json") and is_record(run / name)}
    assert len(records) == 8
    logs = {name for name in made if name.endswith(".log") and Path(name).with_suffix(".json").as_posix() in records}
    logs |= {name for name in made if name.endswith(".process.log")}
    tables = {f"{TOP}/{name}" for name in (*page.FILES, "conclusions.html")}
    histories = {f"{MODEL}/{cell}/history.csv" for cell in ("single_fp32", "single_fp32_static")}
    assert set(files) == own | records | logs | tables | histories
    assert f"{NATIVE}.process.log" in files and f"{NATIVE}.log" in files and "results/data/" in " ".join(files)
    for name in records | tables | histories:
        assert files[name] == (run / name).read_bytes(), name
    assert files["verify.py"] == (ROOT / "scripts/verify.py").read_bytes()
    assert json.loads(files["run_config.json"]) == yaml.safe_load(files[RUN_CONFIG.as_posix()])


def is_record(path):
    try:
        return bool(record.read(path))
    except record.RecordError:
        return False


def test_it_holds_no_weights_no_data_and_no_pictures(files):
    assert {Path(name).suffix for name in files} <= {
        ".json", ".log", ".csv", ".md", ".xml", ".yaml", ".html", ".py", "",
    }  # fmt: skip
    for name, content in files.items():
        assert not content.startswith((b"\x89PNG", b"\xff\xd8", b"PK", b"\x80")), name
    assert b"data:image" in files[f"{TOP}/conclusions.html"]


def test_the_same_run_gives_the_same_bytes(run, copied):
    assert packed().read_bytes() == (run / TOP / "certificate.zip").read_bytes()


def test_the_workflow_says_what_it_made_and_has_nothing_to_do_again(run):
    said = (run / "screen.txt").read_text(encoding="utf-8")
    assert re.search(r"certificate: results/smoke/certificate.zip \(\d+\.\d MB, \d+ files, not signed\)", said)
    again = snakemake(run, "-n", "certificate", "--configfile", "mine.yaml")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_in_logs_credentials_are_masked_and_middles_left_out(copied, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "abcdef123456")
    Path(f"{CELL}/train.log").write_text(
        f"got abcdef123456 in {copied}/x\n" + "of no use\n" * 500_000, encoding="utf-8"
    )
    Path(f"{CELL}/eval.log").unlink()
    found = contents(packed())
    assert found[f"{CELL}/train.log"].startswith(b"got *** in ./x\n")
    assert b"bytes are left out here" in found[f"{CELL}/train.log"]
    told = json.loads(found["statement.json"])["predicate"]["logs"]
    assert told == {"missing": [f"{CELL}/eval.log"], "cut": [f"{CELL}/train.log"], "masked": [f"{CELL}/train.log"]}


def test_a_link_is_not_followed(copied):
    (copied / "elsewhere").write_text("planted-elsewhere")
    Path(f"{CELL}/train.log").unlink()
    Path(f"{CELL}/train.log").symlink_to(copied / "elsewhere")
    found = contents(packed())
    assert f"{CELL}/train.log" not in found and not [name for name in found if b"planted-elsewhere" in found[name]]
    assert json.loads(found["statement.json"])["predicate"]["logs"]["missing"] == [f"{CELL}/train.log"]


# -- the statement and the crate --------------------------------------------------------------


def test_the_statement_names_each_file_of_each_exported_model(run, files):
    statement = json.loads(files["statement.json"])
    assert statement["_type"] == "https://in-toto.io/Statement/v1" and ":" in statement["predicateType"]
    exported = [run / CELL / "export"]
    wanted = {
        path.relative_to(run).as_posix(): {"sha256": sha256(path)}
        for folder in exported
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".snakemake_timestamp"
    }
    assert {subject["name"]: subject["digest"] for subject in statement["subject"]} == wanted and len(wanted) > 3
    told = statement["predicate"]
    assert [item["digest"] for item in told["exports"]] == [
        record.read(folder.with_suffix(".json"))["outputs"][folder.relative_to(run).as_posix()] for folder in exported
    ]
    assert told["red"] is False and told["counts"]["passed"] > 5


def test_the_crate_tells_of_every_file_and_every_job(files):
    graph = {entity["@id"]: entity for entity in json.loads(files[crate.NAME])["@graph"]}
    there = {name: content for name, content in files.items() if name not in (crate.NAME, "SHA256SUMS")}
    assert {part["@id"] for part in graph["./"]["hasPart"]} == there.keys() and "README.md" in there
    assert all(graph[name]["contentSize"] == str(len(content)) for name, content in there.items())
    for entity in graph.values():
        for value in entity.values():
            for to in value if isinstance(value, list) else [value]:
                if isinstance(to, dict) and not to["@id"].startswith("http"):
                    assert to["@id"] in graph, to
    actions = [entity for entity in graph.values() if entity["@type"] == "CreateAction"]
    cells = json.loads(files[f"{TOP}/conclusions.json"])["cells"]
    ran = [cell for cell in cells if "started" in cell]
    assert len(actions) == len(ran) + 1 and {a["@id"] for a in graph["./"]["mentions"]} == {a["@id"] for a in actions}
    trained = graph[f"#{CELL}/train.json"]
    assert trained["instrument"] == {"@id": "#train.py"} and trained["description"] == cells[0]["command"]
    assert trained["startTime"] == cells[0]["started"].replace("Z", "+00:00")
    assert graph[f"{CELL}/train.log"]["about"] == {"@id": f"#{CELL}/train.json"}
    assert graph["#run"]["endTime"] == max(action["endTime"] for action in actions)


CRATE_PYTHON = ROOT / ".venv-crate/bin/python"


def test_the_crate_is_what_its_profile_asks_for(files, tmp_path):
    """By the profile's own validator; what it recommends as well, but for who made it, which is not known."""
    assert CRATE_PYTHON.exists(), "the validator is not there; `make test` makes it: make env-crate"

    def issues(level):
        command = [CRATE_PYTHON, ROOT / "tests/crate/validate.py", tmp_path / "crate", level]
        alone = {**os.environ, "HOME": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=alone)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    for name, content in files.items():
        path = tmp_path / "crate" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    unknown = re.compile(r"SHOULD have (an agent|a url|a version)|`(author|publisher)`|absolute URI|Bioschemas")
    assert issues("REQUIRED") == []
    assert [issue for issue in issues("RECOMMENDED") if not unknown.search(issue)] == []
    metadata = json.loads(files[crate.NAME])
    metadata["@graph"] = [entity for entity in metadata["@graph"] if entity["@id"] != "Snakefile"]
    (tmp_path / "crate" / crate.NAME).write_bytes(as_json(metadata))
    assert issues("REQUIRED")


# -- verify.py, as it is in the certificate ---------------------------------------------------


def checked(folder, *arguments, python=sys.executable, environment=None):
    """verify.py alone in a folder, run by a bare interpreter."""
    command = [python, "-I", "-S", "verify.py", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


@pytest.fixture
def alone(run, files, tmp_path):
    """A folder with verify.py and the certificate in it."""
    (tmp_path / "verify.py").write_bytes(files["verify.py"])
    shutil.copy2(run / TOP / "certificate.zip", tmp_path)
    return tmp_path


def other_pythons():
    """Interpreters of other versions that are installed here."""
    folders = [*os.get_exec_path(), *Path(os.environ.get("PYENV_ROOT", "gone")).glob("versions/*/bin")]
    for minor in (9, 10, 12, 13, 14):
        found = [one for folder in folders if os.access(one := f"{folder}/python3.{minor}", os.X_OK)]
        works = [
            one for one in found if subprocess.run([one, "-c", ""], capture_output=True, check=False).returncode == 0
        ]
        yield from works[:1]


@pytest.mark.parametrize("python", [sys.executable, *other_pythons()])
def test_it_holds_by_the_standard_library_alone(alone, python):
    done = checked(alone, "certificate.zip", python=python)
    assert done.returncode == 0, done.stderr
    first, verdict, counted, signed = done.stdout.splitlines()
    assert first == "certificate.zip: holds" and signed == "  not signed"
    assert re.fullmatch(r"  mode smoke, green: \d+ passed(, \d+ \S+)*", verdict)
    assert re.search(r"files as they were packed; \d+ statuses follow from the records", counted)


def test_an_exported_model_is_known_by_its_files(alone, run):
    folder = shutil.copytree(run / CELL / "export", alone / "model")
    (folder / ".snakemake_timestamp").touch()
    done = checked(alone, "certificate.zip", "--export", "model", "--export", run / CELL / "export")
    assert done.returncode == 0, done.stderr
    assert f"  model is {CELL}/export: of its checkpoint's cells 4 passed, 4 unverified\n" in done.stdout
    assert f"/export is {CELL}/export: of" in done.stdout
    (weights,) = folder.glob("*.pdiparams")
    content = bytearray(weights.read_bytes())
    for change, said in (
        (lambda: weights.write_bytes(bytes([content[0] ^ 1]) + content[1:]), f"is not what {CELL}/export has"),
        (weights.unlink, f"{weights.name} is not there, and {CELL}/export has it"),
        (lambda: (weights.write_bytes(content), (folder / "more").touch()), "model/more is there, and "),
    ):
        change()
        done = checked(alone, "certificate.zip", "--export", "model")
        assert done.returncode == 1 and said in done.stderr, done.stderr
    done = checked(alone, "certificate.zip", "--export", "nothing")
    assert done.returncode == 2 and "there is no such folder" in done.stderr


@pytest.mark.parametrize(("make", "said"), [
    (lambda path: path.unlink(), "it cannot be read: No such file"),
    (lambda path: path.write_text("no zip"), "it is no zip file"),
])  # fmt: skip
def test_what_is_no_certificate_cannot_be_checked(alone, make, said):
    make(alone / "certificate.zip")
    done = checked(alone, "certificate.zip")
    assert done.returncode == 2 and f"certificate.zip: cannot be checked: {said}" in done.stderr


def refused(path, *arguments):
    with pytest.raises(verify.Broken) as told:
        verify.verify(path, *arguments)
    return str(told.value)


def test_one_changed_byte_is_found_wherever_it_is(run):
    """In every file, at its beginning, its middle and its end; in its heads; in the list and end of the zip."""
    data = (run / TOP / "certificate.zip").read_bytes()
    with zipfile.ZipFile(run / TOP / "certificate.zip") as found:
        entries = found.infolist()
    starts = [entry.header_offset for entry in entries] + [data.index(b"PK\1\2", entries[-1].header_offset)]
    for entry, begin, end in zip(entries, starts, starts[1:], strict=False):
        inside = begin + 30 + len(entry.filename)
        for place in (begin + 14, inside, (inside + end) // 2, end - 1):
            said, where = broken(data, place), f"{entry.filename} (bytes {inside} to {end - 1} of the zip)"
            # The first byte of what follows, where a length was changed; the hash of all, where nothing was.
            odd = place < inside or (place == end - 1 and said.startswith("byte ") and "the hash at the end" in said)
            assert said.startswith((f"byte {place}:", where)) or odd, (entry.filename, place, said)
    for place in (*range(starts[-1], len(data), 97), len(data) - 1):
        assert broken(data, place).startswith("byte ")


def broken(data, place):
    changed = bytearray(data)
    changed[place] ^= 0x10
    with pytest.raises(verify.Broken) as told:
        verify.unzipped(bytes(changed))
    return str(told.value)


# -- changed, and hashed again ----------------------------------------------------------------


def forged(files, to, **changes):
    """A certificate with other contents by name, and hashes that fit them; a content of None is left out."""
    made = {
        **files,
        **{name: as_json(content) if isinstance(content, dict) else content for name, content in changes.items()},
    }
    return repacked({name: content for name, content in made.items() if content is not None}, to)


def test_a_certificate_that_is_packed_again_is_the_same(run, files, tmp_path):
    assert repacked(files, tmp_path / "a.zip").read_bytes() == (run / TOP / "certificate.zip").read_bytes()


def another(value):
    """Something else than a value, of its kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, str):
        return f"{value}x"
    return "planted" if value is None else type(value)()


def edits(tree, most):
    """Edits of a record or the conclusions, the same every time: every place near the top, some of those below."""
    found = [(path, value) for path, value in places(tree) if value not in ({}, [])]
    below = [item for item in found if len(item[0]) > 2]
    chosen = [item for item in found if len(item[0]) <= 2]
    return chosen + random.Random(1).sample(below, min(most, len(below)))


RECORDS = [f"{CELL}/train.json", f"{CELL}/eval.json", f"{CELL}/export.json", f"{NATIVE}.json"]


@pytest.mark.parametrize("name", RECORDS)
def test_an_edit_of_a_record_is_found(files, name):
    found = json.loads(files[name])
    for path, value in edits(found, 40):
        changed = {**files, name: as_json(edited(found, path, another(value)))}
        assert problems(changed), path


def problems(files):
    """What does not fit; the error where what is there is of another kind."""
    try:
        told = verify.Told(files)
        told.check()
    except (KeyError, TypeError, AttributeError, IndexError, ValueError, verify.Broken) as error:
        return [repr(error)]
    return told.problems


def test_an_edit_of_the_conclusions_is_found(files):
    name = f"{TOP}/conclusions.json"
    found = json.loads(files[name])
    assert problems(files) == []
    judged = {key: found[key] for key in ("mode", "red", "counts", "certificates", "published", "cells")}
    unread = {"loss", "bf16_inference", "ips_ratio", "memory_ratio", "reason", "loss_scale", "skipped_steps"}
    as_told = {"cell", "stage", "reason", "requested", "topology"}
    for path, value in edits(judged, 200):
        if path[0] == "certificates" and len(path) > 2 and path[2] in unread:
            continue  # no status, and held by the hash of the file alone
        if path[0] == "cells" and len(path) > 2 and "record_file" not in found["cells"][path[1]] and path[2] in as_told:
            continue  # of a cell that was left out: only the plan of the run says why
        statement = json.loads(files["statement.json"])
        content = as_json(edited(found, path, another(value)))
        statement["predicate"]["conclusions"] = verify.hashlib.sha256(content).hexdigest()
        assert problems({**files, name: content, "statement.json": as_json(statement)}), path


def test_an_edit_of_the_statement_or_the_table_is_found(files):
    statement = json.loads(files["statement.json"])
    for path, value in edits(statement, 60):
        if path[:2] != ("predicate", "logs") and path[-1] not in ("model", "name"):
            assert problems({**files, "statement.json": as_json(edited(statement, path, another(value)))}), path
    table = files[f"{TOP}/conclusions.csv"]
    assert problems({**files, f"{TOP}/conclusions.csv": table.replace(b",passed,", b",failed,", 1)})
    assert problems({name: content for name, content in files.items() if name != f"{TOP}/conclusions.csv"})


def retold(files, change):
    """The certificate after an edit of a cell and of its record alike, with all that follows from it."""
    made = dict(files)
    found = json.loads(files[f"{TOP}/conclusions.json"])
    change(made, found)
    made[f"{TOP}/conclusions.json"] = as_json(found)
    statement = json.loads(files["statement.json"])
    statement["predicate"] |= {
        "red": found["red"],
        "counts": found["counts"],
        "conclusions": verify.hashlib.sha256(made[f"{TOP}/conclusions.json"]).hexdigest(),
    }
    made["statement.json"] = as_json(statement)
    return made


def in_both(made, found, name, **changes):
    """Edit a record, and its cell with it."""
    (cell,) = [cell for cell in found["cells"] if cell["record"] == name]
    kept = json.loads(made[name])
    for key, value in changes.items():
        kept[key] = cell[key] = {**kept[key], **value} if isinstance(value, dict) else value
    made[name] = as_json(kept)


def test_a_record_that_does_not_prove_what_it_says_is_found(files):
    """Although the conclusions say the same, and all hashes fit."""

    def gate(made, found):
        gates = json.loads(made[f"{NATIVE}.json"])["metrics"]["gates"]
        gates = [{**one, "value": 0.5} if one["name"] == "pixel_agreement" else one for one in gates]
        in_both(made, found, f"{NATIVE}.json", metrics={"gates": gates, "pixel_agreement": 0.5})

    (said,) = problems(retold(files, gate))
    assert "passed, and its record does not prove it: the gate pixel_agreement does not hold: 0.5, at least" in said
    (said,) = problems(retold(files, lambda *to: in_both(*to, f"{NATIVE}.json", effective={"engine": "onednn"})))
    assert "engine: native requested, onednn observed" in said
    (said,) = problems(retold(files, lambda *to: in_both(*to, f"{CELL}/eval.json", status="accuracy-failed")))[:1]
    assert said


@pytest.mark.parametrize(
    ("name", "gate", "change", "said"),
    [
        (f"{NATIVE}.json", "pixel_agreement", {"value": 0.1, "threshold": 0.05}, "of 0.05, and 0.999 is asked for"),
        (f"{NATIVE}.json", "pixel_agreement", {"value": 0.1, "bound": "at most"}, "hold: 0.1, at most 0.999 is asked"),
        (f"{NATIVE}.json", "logits_l2", {"value": 7.0, "threshold": 9.0}, "the gate logits_l2 is of 9.0, and 2e-05 is"),
        (f"{CELL}/export.json", "exported_agreement", {"value": 0.1, "threshold": 0}, "of 0, and 0.999 is asked for"),
    ],
)
def test_a_gate_that_was_made_looser_is_found(files, name, gate, change, said):
    def loosened(made, found):
        gates = json.loads(made[name])["metrics"]["gates"]
        gates = [{**one, **change} if one["name"] == gate else one for one in gates]
        in_both(made, found, name, metrics={"gates": gates, gate: change["value"]})

    (told,) = problems(retold(files, loosened))
    assert said in told


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        (f"{NATIVE}.json", {"started": "the day after tomorrow"}, "it started at 'the day after tomorrow'"),
        (f"{NATIVE}.json", {"wall_s": -5}, "wall_s is -5"),
        (f"{CELL}/train.json", {"cpu_s": "much"}, "cpu_s is much"),
    ],
)
def test_a_run_that_cannot_have_been_is_found(files, name, changes, said):
    assert problems(retold(files, lambda *to: in_both(*to, name, **changes))) == [f"{name}: {said}"]


def without_env(made, found):
    kept, (cell,) = json.loads(made[f"{NATIVE}.json"]), [c for c in found["cells"] if c["record"] == f"{NATIVE}.json"]
    kept["env"] = cell["env"] = {}
    made[f"{NATIVE}.json"] = as_json(kept)


def test_a_passed_record_that_does_not_say_on_what_it_ran_is_found(files):
    told = problems(retold(files, without_env))
    assert told == [f"{NATIVE}.json: passed, and it does not say on what it ran"]


def test_a_key_that_is_in_an_object_twice_is_refused(files):
    name = f"{TOP}/conclusions.json"
    twice = files[name].replace(b'"red": false', b'"red": true, "red": false', 1)
    (told,) = problems({**files, name: twice})
    assert "conclusions.json: it is no JSON: it has a key twice: red" in told


def unrecorded(made, found, **changes):
    """Take a cell's record away, and tell of it as of one that never ran."""
    del made[f"{NATIVE}.json"]
    (cell,) = [cell for cell in found["cells"] if cell["record"] == f"{NATIVE}.json"]
    for key in cell.keys() - set(verify.OF_CELLS) | {"record_file"}:
        del cell[key]
    cell.update(changes)
    planted(f"{NATIVE}.json", cell["status"])(made, found)


def test_a_known_failure_without_a_record_is_one_of_the_settings(files):
    known = {"id": "moon", "match": {"stage": "infer", "what": ["x"]}, "error": "b[ox]om", "reason": "so", "link": "l"}
    told = {"status": "known-failure", "reason": "moon: so (l) Seen: boom", "requested": {"what": "x"}}

    def judged(entry, seen="boom", **changes):
        made = retold(files, lambda *to: unrecorded(*to, **{**told, **changes}))
        run = json.loads(made["run_config.json"])
        run["settings"]["known_failures"] += [entry]
        run["settings"]["model_zoo"]["pp_humanseg_lite"]["not_planned"] = {"status": "failed", "reason": seen}
        return problems({**made, "run_config.json": as_json(run)})

    assert judged(known) == []
    wrong = [f"{NATIVE}.json: known-failure, and no known failure of the settings is so"]
    assert problems(retold(files, lambda *to: unrecorded(*to, **told))) == wrong
    assert judged(known, reason="as known") == wrong and judged({**known, "gates": {"miou_drop": 1}}) == wrong
    assert judged({**known, "match": {"stage": "train"}}) == wrong and judged({**known, "error": "bang"}) == wrong
    assert judged(known, "another") == wrong and judged(known, "", reason="moon: so (l) Seen: ") == wrong


def test_a_pattern_that_is_none_does_not_hold(files, tmp_path):
    made = retold(
        files,
        lambda *to: unrecorded(*to, status="known-failure", reason="moon: so (l) Seen: boom", requested={"what": "x"}),
    )
    run = json.loads(made["run_config.json"])
    run["settings"]["known_failures"] = [{"id": "moon", "match": {}, "error": "(", "reason": "so", "link": "l"}]
    run["settings"]["model_zoo"]["pp_humanseg_lite"]["not_planned"] = {"status": "failed", "reason": "boom"}
    made["run_config.json"] = as_json(run)
    assert "is of another kind: " in refused(repacked(made, tmp_path / "a.zip"))


def set_aside(made, found, reason, status="failed"):
    """Call a record one of another run."""
    kept = {**json.loads(made[f"{NATIVE}.json"]), "status": status, "reason": "boom"}
    made[f"{NATIVE}.json"] = as_json(kept)
    (cell,) = [cell for cell in found["cells"] if cell["record"] == f"{NATIVE}.json"]
    for key in cell.keys() - set(verify.OF_CELLS):
        del cell[key]
    cell["reason"] = f"the record on disk is of another run: {reason}"
    planted(f"{NATIVE}.json", "not-run")(made, found)


def test_a_record_of_other_software_says_so_and_a_red_one_is_counted(files, tmp_path):
    paddle = json.loads(files[f"{NATIVE}.json"])["env"]["paddle"]
    for reason in (f"paddle was {paddle}, now 9.9", "moon was None, now 1", "its command had other options"):
        assert problems(retold(files, lambda *to, reason=reason: set_aside(*to, reason))) == [], reason
    for reason in ("paddle", "paddle was 9.9, now 9.8", f"paddle was {paddle}, now {paddle}"):
        (told,) = problems(retold(files, lambda *to, reason=reason: set_aside(*to, reason)))
        assert told == f"{NATIVE}.json: not-run ({reason}), and its record does not say so"
    why = f"paddle was {paddle}, now 9.9"
    path = repacked(retold(files, lambda *to: set_aside(*to, why)), tmp_path / "a.zip")
    said = "1 records are red and do not count: their cells are not-run, as of another run"
    assert verify.verify(path)[3:] == [said]
    assert len(verify.verify(repacked(retold(files, lambda *to: set_aside(*to, why, "passed")), path))) == 3


def test_a_failure_that_is_taken_out_of_the_conclusions_is_found(files):
    def taken(made, found):
        found["cells"] = [cell for cell in found["cells"] if cell["record"] != f"{NATIVE}.json"]
        found["counts"]["passed"] -= 1

    assert f"{NATIVE}.json: it is a record, and no cell of conclusions.json tells of it" in problems(
        retold(files, taken)
    )

    def model(made, found):
        found["cells"] = [cell for cell in found["cells"] if cell["status"] != "passed"]

    told = " ".join(problems(retold({n: c for n, c in files.items() if n not in RECORDS}, model)))
    assert "no cell of pp_humanseg_lite is in it" in told or "counts are to be" in told


def test_a_cell_that_has_anothers_record_or_none_is_found(files):
    def twice(made, found):
        found["cells"] += [cell for cell in found["cells"] if cell["record"] == f"{NATIVE}.json"]

    assert f"{NATIVE}.json: several cells have it" in problems(retold(files, twice))

    def swapped(made, found):
        (cell,) = [cell for cell in found["cells"] if cell["record"] == f"{NATIVE}.json"]
        cell["record_file"] = f"{CELL}/eval.json"

    assert f"{NATIVE}.json: its record_file is {CELL}/eval.json, which is another cell's" in problems(
        retold(files, swapped)
    )
    gone = {name: content for name, content in files.items() if name != f"{NATIVE}.json"}
    assert problems(gone) == [f"{NATIVE}.json: it is the record of a cell, and not in the certificate"]


def test_a_folder_is_held_against_the_model_that_it_is_most_alike(run, files, tmp_path):
    path, folder = run / TOP / "certificate.zip", shutil.copytree(run / CELL / "export", tmp_path / "model")
    assert verify.verify(path, [folder])[-1].startswith(f"{folder} is {CELL}/export: ")
    (weights,) = folder.glob("*.pdiparams")
    content = weights.read_bytes()
    weights.write_bytes(b"another")
    assert refused(path, [folder]) == f"{weights} is not what {CELL}/export has"
    weights.unlink()
    assert refused(path, [folder]) == f"{weights} is not there, and {CELL}/export has it"
    weights.write_bytes(content)
    (folder / "more").touch()
    assert refused(path, [folder]) == f"{folder}/more is there, and {CELL}/export has none"
    with pytest.raises(verify.Unreadable, match="there is no such folder"):
        verify.verify(path, [tmp_path / "gone"])
    told = verify.Told({**files, "statement.json": b'{"predicate": {"exports": []}, "subject": []}'})
    with pytest.raises(verify.Broken, match="the certificate tells of no exported model"):
        verify.of_export(told, folder)


@pytest.mark.parametrize(
    ("plant", "name"),
    [
        (lambda folder: (folder / "sub").symlink_to(folder.parent / "evil"), "sub"),
        (lambda folder: (folder / "dangling").symlink_to("nowhere"), "dangling"),
        (lambda folder: os.mkfifo(folder / "pipe"), "pipe"),
    ],
)
def test_a_folder_with_links_or_pipes_is_no_exported_model(run, tmp_path, plant, name):
    folder = shutil.copytree(run / CELL / "export", tmp_path / "model")
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/evil.pdmodel").touch()
    plant(folder)
    assert refused(run / TOP / "certificate.zip", [folder]) == f"{folder}/{name} is a link, or no file"


def test_only_an_empty_mark_at_the_top_of_a_folder_is_none_of_the_model(run, tmp_path, monkeypatch):
    path, folder = run / TOP / "certificate.zip", shutil.copytree(run / CELL / "export", tmp_path / "model")
    mark = folder / ".snakemake_timestamp"
    mark.write_text("planted")
    assert refused(path, [folder]) == f"{mark} is there, and {CELL}/export has none"
    mark.write_text("")
    assert f"{folder} is {CELL}/export" in verify.verify(path, [folder])[-1]
    (folder / "sub").mkdir()
    (folder / "sub/.snakemake_timestamp").touch()
    assert refused(path, [folder]) == f"{folder}/sub/.snakemake_timestamp is there, and {CELL}/export has none"

    def unreadable(top, onerror):
        onerror(PermissionError(13, "Permission denied", str(top)))

    monkeypatch.setattr(verify.os, "walk", unreadable)
    with pytest.raises(verify.Unreadable, match="model: it cannot be read: Permission denied"):
        verify.hashes_of(folder)


def test_names_that_a_terminal_has_no_characters_for_are_told(alone, run):
    folder = shutil.copytree(run / CELL / "export", alone / "caf\u00e9")
    command = [sys.executable, "verify.py", "certificate.zip", "--export", folder.name]
    done = subprocess.run(
        command, cwd=alone, capture_output=True, timeout=120, check=False, env={"PYTHONIOENCODING": "ascii"}
    )
    assert done.returncode == 0 and b"caf\\xe9 is " in done.stdout, done.stderr


def test_a_model_that_stands_twice_in_the_statement_is_found(files):
    """Whoever reads the statement would take the first."""
    statement = json.loads(files["statement.json"])
    first = statement["subject"][0]
    statement["subject"].insert(0, {**first, "digest": {"sha256": "0" * 64}})
    told = problems({**files, "statement.json": as_json(statement)})
    assert any(f"{first['name']} is a subject twice" in line for line in told)


def test_numbers_that_nothing_can_be_worked_out_of_do_not_hold(files, tmp_path, capsys):
    name = next(name for name in files if "/infer/" in name and name.endswith(".json") and b'"gates"' in files[name])
    content = json.loads(files[name])
    content["metrics"]["gates"][0]["value"] = 10**400
    path = forged(files, tmp_path / "a.zip", **{name: content})
    assert verify.main([str(path)]) == 1 and "DOES NOT HOLD" in capsys.readouterr().err


def test_what_cannot_be_read_does_not_hold(files, tmp_path):
    path = forged(files, tmp_path / "a.zip", **{"statement.json": {}})
    assert refused(path) == "what it tells lacks something, or is of another kind: KeyError: 'predicate'"
    assert refused(forged(files, path, **{"run_config.json": None})) == "run_config.json is not in it"
    assert refused(forged(files, path, **{"statement.json": b'{"a": NaN}'})) == (
        "statement.json: it is no JSON: NaN is not strict JSON"
    )
    found = json.loads(files[f"{TOP}/conclusions.json"])
    for cell in found["cells"]:
        cell["reason"] = "planted"
    said = refused(forged(files, path, **{f"{TOP}/conclusions.json": found})).splitlines()
    assert len(said) <= verify.MOST_TOLD + 1


# -- every state that the conclusions tell apart ----------------------------------------------


def reconcluded(lost=()):
    """The conclusions and the page made again from what lies there; the cells by their record."""
    run = yaml.safe_load(RUN_CONFIG.read_text(encoding="utf-8"))
    found = conclusions.conclude(CellTable.of_run(run), lost, run["paddleseg"])
    report.write(found, Path(TOP))
    return {cell["record"]: cell for cell in found.cells}, found


def rewritten(name, to=None, **changes):
    content = record.read(name)
    for key, value in changes.items():
        content[key] = {**content[key], **value} if isinstance(value, dict) else value
    record.write(to or name, content)


def test_whatever_becomes_of_a_cell_follows_from_the_certificate(copied):
    """The statuses that the workflow concludes are those that verify.py works out, and no other is taken."""
    data = "results/data/mini_supervisely_synthetic"
    failed = {"status": "failed", "reason": "planted"}
    states = {
        "passed": lambda: (),
        "failed": lambda: rewritten(f"{CELL}/train.json", record.failure(f"{CELL}/train.json"), **failed),
        "accuracy-failed": lambda: rewritten(
            f"{CELL}/eval.json", record.failure(f"{CELL}/eval.json"), status="accuracy-failed", reason="too low"
        ),
        "known-failure": lambda: rewritten(f"{NATIVE}.json", status="known-failure", reason="it is known"),
        "unverified": lambda: rewritten(f"{NATIVE}.json", status="unverified", reason="it cannot be seen"),
        "no record": lambda: Path(f"{NATIVE}.json").write_text("{"),
        "half a record": lambda: Path(f"{NATIVE}.json").write_text('{"schema_version": 1}'),
        "unproven": lambda: rewritten(f"{NATIVE}.json", metrics={"gates": []}),
        "otherwise": lambda: rewritten(f"{NATIVE}.json", requested={"batch_size": 9}),
        "another command": lambda: rewritten(f"{NATIVE}.json", command="python x.py"),
        "another checkpoint": lambda: rewritten(f"{CELL}/eval.json", inputs={f"{CELL}/model.pdparams": "0"}),
        "gone": lambda: Path(f"{CELL}/export.json").unlink(),
        "data failed": lambda: rewritten(f"{data}.json", record.failure(f"{data}.json"), **failed),
        "data is no record": lambda: Path(f"{data}.tar.json").write_text("[]"),
        "a changed checkpoint": change_checkpoint,
        "a changed history": lambda: Path(f"{CELL}/history.csv").write_text("iter,loss\n1,2\n"),
    }
    seen = {}
    for name, change in states.items():
        shutil.rmtree("results/keep", ignore_errors=True)
        shutil.copytree("results/smoke", "results/keep/smoke")
        shutil.copytree("results/data", "results/keep/data", dirs_exist_ok=True)
        change()
        cells, found = reconcluded()
        seen[name] = (cells.get(f"{NATIVE}.json", {}).get("status"), found.red)
        if any("started" in cell for cell in found.cells):
            told = contents(packed())
            assert json.loads(told["statement.json"])["predicate"]["red"] is found.red
            assert verify.verify(f"{TOP}/certificate.zip")[0].startswith(
                f"mode smoke, {'RED' if found.red else 'green'}"
            )
            for cell, status in ((c, s) for c in found.cells for s in verify.STATUSES if s != c["status"]):
                as_told = "record_file" not in cell and {status, cell["status"]} == {"skipped", "unverified"}
                forged_as = problems(retold(told, planted(cell["record"], status)))
                assert bool(forged_as) != as_told, (name, cell["record"], status)
        else:
            with pytest.raises(StageError, match="nothing ran in results/smoke: there is nothing to certify"):
                packed()
        for part in ("smoke", "data"):
            shutil.rmtree(f"results/{part}")
            shutil.move(f"results/keep/{part}", f"results/{part}")
    assert seen == {
        "passed": ("passed", False), "failed": ("blocked", True), "accuracy-failed": ("blocked", True),
        "known-failure": ("known-failure", False), "unverified": ("unverified", False), "no record": ("failed", True),
        "half a record": ("failed", True), "unproven": ("failed", True), "otherwise": ("not-run", False),
        "another command": ("not-run", False), "another checkpoint": ("not-run", False), "gone": ("not-run", False),
        "data failed": ("blocked", True), "data is no record": ("blocked", True),
        "a changed checkpoint": ("blocked", True), "a changed history": ("passed", False),
    }  # fmt: skip


def change_checkpoint():
    """Somebody put another checkpoint there, and evaluated it."""
    Path(f"{CELL}/model.pdparams").write_bytes(b"another")
    rewritten(f"{CELL}/eval.json", inputs={f"{CELL}/model.pdparams": sha256(f"{CELL}/model.pdparams")})


def planted(name, status):
    """An edit that gives a cell another status, and counts it so."""

    def change(made, found):
        (cell,) = [cell for cell in found["cells"] if cell["record"] == name]
        cell["status"] = status
        statuses = [cell["status"] for cell in found["cells"]]
        found["counts"] = {name: statuses.count(name) for name in verify.STATUSES if name in statuses}
        found["red"] = any(one in verify.RED for one in statuses) or "passed" not in statuses
        rows = list(csv.DictReader(io.StringIO(made[f"{TOP}/conclusions.csv"].decode(), newline="")))
        rows[found["cells"].index(cell)] |= {"status": status, "record": cell.get("record_file") or ""}
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, rows[0])
        writer.writeheader()
        writer.writerows(rows)
        made[f"{TOP}/conclusions.csv"] = table.getvalue().encode()

    return change


def test_a_job_that_left_nothing_is_failed_in_the_certificate_too(copied):
    Path(f"{NATIVE}.json").unlink()
    cells, found = reconcluded([f"{NATIVE}.json"])
    assert cells[f"{NATIVE}.json"]["reason"].startswith("ended without a record") and found.red
    told = contents(packed())
    assert f"{NATIVE}.json" not in told and verify.verify(f"{TOP}/certificate.zip")[0].startswith("mode smoke, RED: ")
    source = "results/data/mini_supervisely_synthetic.json"
    Path(source).unlink()
    cells, _ = reconcluded([source])
    assert cells[source]["status"] == "failed" and cells[f"{CELL}/train.json"]["status"] == "blocked"
    with pytest.raises(StageError, match="nothing ran in results/smoke: there is nothing to certify"):
        packed()


# -- what cannot be packed --------------------------------------------------------------------


def test_an_exported_model_that_changed_is_told_of_by_its_name(copied):
    (weights,) = Path(f"{CELL}/export").glob("*.pdiparams")
    weights.write_bytes(b"another")
    with pytest.raises(StageError, match=f"{CELL}/export is not what {CELL}/export.json says was made"):
        packed()
    shutil.rmtree(f"{CELL}/export")
    with pytest.raises(StageError, match=f"{CELL}/export is gone, which {CELL}/export.json names"):
        packed()
    with pytest.raises(StageError, match=r"certificate\.sign: gone: there is no such key"):
        certificatepack.sign(b"", "gone")


def script(folder, *arguments, limit=None):
    command = [sys.executable, str(ROOT / "scripts/pack_certificate.py"), "--run-config", str(RUN_CONFIG)]
    return subprocess.run(
        [*command, "--pack", f"{TOP}/certificate.zip", *arguments],
        cwd=folder,
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def no_certificate(done, *words):
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert all(word in done.stderr for word in ("no certificate: ", *words)), done.stderr
    assert not Path(f"{TOP}/certificate.zip").exists() and not list(Path(TOP).glob(".*.tmp"))


def test_it_is_written_whole_or_not_at_all(copied):
    """On a file system that takes no file of more than 20 kB; and that of before is none of this run's."""
    no_certificate(script(copied, limit=20_000), "File too large")


def test_an_exported_model_that_is_not_what_was_certified_is_refused(copied):
    shutil.rmtree(f"{CELL}/export")
    no_certificate(script(copied), f"{CELL}/export is gone, which {CELL}/export.json names")


def test_what_does_not_hold_is_not_handed_out(copied):
    """Conclusions of which somebody made others, after the run."""
    path = Path(f"{TOP}/conclusions.json")
    path.write_text(path.read_text(encoding="utf-8").replace('"red": false', '"red": true'), encoding="utf-8")
    no_certificate(script(copied), "what was packed does not hold: conclusions.json: red is to be False")


# -- signatures -------------------------------------------------------------------------------


def keyed(folder, name, passphrase=""):
    """A key of ssh, and the line by which its owner is an allowed signer."""
    key = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-C", f"{name}@example.org", "-f", key]
    subprocess.run(command, check=True)
    kind, public, who = key.with_suffix(".pub").read_text(encoding="utf-8").split()
    return key, f'{who} namespaces="{verify.NAMESPACE}" {kind} {public}\n'


def test_who_signed_it_is_told(copied, tmp_path):
    key, line = keyed(tmp_path, "ann")
    _, other = keyed(tmp_path, "bob")
    (tmp_path / "allowed").write_text(other + line)
    (tmp_path / "others").write_text(other)
    done = script(copied, "--sign", key)
    assert done.returncode == 0 and "signed)" in done.stderr and "not signed" not in done.stderr, done.stderr
    path = f"{TOP}/certificate.zip"
    assert verify.verify(path, allowed="allowed")[2] == "signed by ann@example.org"
    told = "signed; who signed it was not looked at, and anybody may have: --signer ALLOWED_SIGNERS"
    assert verify.verify(path)[2] == told
    assert refused(path, (), "others").startswith("SHA256SUMS.sig: nobody of others signed SHA256SUMS as it is: ")
    with pytest.raises(verify.Unreadable, match="nobodies: there is no such file of allowed signers"):
        verify.verify(path, allowed="nobodies")


def test_an_edit_that_was_hashed_again_is_found_where_it_is_signed(copied, tmp_path):
    """Of a record and its cell alike, so that all fits but the signature."""
    key, line = keyed(tmp_path, "ann")
    (tmp_path / "allowed").write_text(line)
    found = contents(packed(str(key)))
    made = retold(found, lambda *to: in_both(*to, f"{NATIVE}.json", wall_s=0.5))
    path = repacked(made, tmp_path / "edited.zip")
    assert refused(path).startswith("SHA256SUMS.sig: it is no signature of SHA256SUMS as it is: ")
    said = refused(path, (), "allowed")
    assert "nobody of allowed signed SHA256SUMS as it is" in said and "Signature verification failed" in said
    unsigned = repacked({name: content for name, content in made.items() if name != "SHA256SUMS.sig"}, path)
    assert refused(unsigned, (), "allowed") == "it is not signed"
    assert verify.verify(unsigned)[::2] == ["mode smoke, green: 6 passed, 4 unverified", "not signed"]


def test_a_signature_that_was_given_for_something_else_is_none(copied, tmp_path):
    key, line = keyed(tmp_path, "ann")
    (tmp_path / "allowed").write_text(line.replace(verify.NAMESPACE, "*"))
    found = contents(packed())
    (tmp_path / "SHA256SUMS").write_bytes(found["SHA256SUMS"])
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-n", "file", "-f", key, tmp_path / "SHA256SUMS"], check=True)
    found["SHA256SUMS.sig"] = (tmp_path / "SHA256SUMS.sig").read_bytes()
    assert "nobody of allowed" in refused(repacked(found, tmp_path / "a.zip"), (), "allowed")


def test_a_key_that_cannot_sign_is_told_of(copied, tmp_path):
    no_certificate(
        script(copied, "--sign", tmp_path / "nokey"), f"certificate.sign: {tmp_path}/nokey: there is no such"
    )
    (tmp_path / "text").write_text("no key")
    no_certificate(script(copied, "--sign", tmp_path / "text"), "certificate.sign: ", "ssh-keygen ended with exit code")
    key, _ = keyed(tmp_path, "guarded", "open sesame")
    no_certificate(script(copied, "--sign", key), "certificate.sign: ", "passphrase")


def test_where_ssh_keygen_is_missing_it_is_named(files, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "key").write_text("a key")
    (tmp_path / "allowed").write_text("")
    with pytest.raises(StageError, match=r"certificate\.sign: .*/key: ssh-keygen is not found on PATH"):
        certificatepack.sign(b"sums", str(tmp_path / "key"))
    with pytest.raises(verify.Unreadable, match=r"^ssh-keygen is not installed \(it is part of OpenSSH"):
        verify.signer({**files, "SHA256SUMS.sig": b""}, str(tmp_path / "allowed"))
    assert verify.is_signed({**files, "SHA256SUMS.sig": b""}).startswith("signed; ssh-keygen is not installed")


def test_a_program_that_gives_no_answer_is_not_waited_for(files, tmp_path, monkeypatch):
    hangs = tmp_path / "ssh-keygen"
    hangs.write_text("#!/bin/sh\nexec sleep 60\n")
    hangs.chmod(0o755)
    (tmp_path / "allowed").write_text("")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(verify, "SSH_S", 0.3)
    with pytest.raises(verify.Unreadable, match=r"ssh-keygen gave no answer in 0\.3 s"):
        verify.signer({**files, "SHA256SUMS.sig": b""}, str(tmp_path / "allowed"))


# -- the command ------------------------------------------------------------------------------


def test_the_command_says_it_in_lines_and_an_exit_code(run, files, tmp_path, capsys):
    path = str(run / TOP / "certificate.zip")
    assert verify.main([path]) == 0 and capsys.readouterr().out.startswith(f"{path}: holds\n  mode smoke, green: ")
    changed = forged(files, tmp_path / "a.zip", **{f"{TOP}/conclusions.csv": b""})
    assert verify.main([str(changed)]) == 1
    assert capsys.readouterr().err == (
        f"{changed}: DOES NOT HOLD\n  {TOP}/conclusions.csv: its statuses are not those of conclusions.json\n"
    )
    assert verify.main([str(tmp_path / "gone.zip")]) == 2
    assert (
        capsys.readouterr().err
        == f"{tmp_path}/gone.zip: cannot be checked: it cannot be read: No such file or directory\n"
    )


# -- in the workflow --------------------------------------------------------------------------


def test_a_red_run_that_was_asked_for_one_has_one_too_and_it_is_signed(run, tmp_path):
    """A record that does not prove what it says: the certificate tells so, and holds."""
    folder = shutil.copytree(run, tmp_path / "red")
    key, line = keyed(tmp_path, "ann")
    (tmp_path / "allowed").write_text(line)
    rewritten(folder / f"{NATIVE}.json", metrics={"gates": []})
    (folder / "mine.yaml").write_text(yaml.safe_dump({**CONFIG, "certificate": {"sign": str(key)}}), encoding="utf-8")
    done = snakemake(folder, "certificate", "--configfile", "mine.yaml")
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "certificate: results/smoke/certificate.zip" in said, said
    lines = verify.verify(folder / TOP / "certificate.zip", allowed=str(tmp_path / "allowed"))
    assert lines[0].startswith("mode smoke, RED: ") and lines[2] == "signed by ann@example.org"


def test_the_commands_of_its_page_run_and_say_what_it_says(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "walked")
    text = (ROOT / "docs/certificate.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.M | re.S)
    script = "".join(f"echo '==== {number}'\n{block}" for number, block in enumerate(blocks))
    mine = script.replace("--config mode=smoke", "--configfile mine.yaml --config mode=smoke")
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", mine],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stdout
    said = re.split(r"^==== \d+\n", done.stdout, flags=re.M)[1:]
    assert len(said) == len(blocks) == 5
    (shown,) = re.findall(r"^```\n(results/smoke/certificate.*?)^```$", text, re.M | re.S)

    def numberless(words):
        return re.sub(r"\d+", "N", words)

    assert numberless(said[1]).splitlines()[0] == numberless(shown).splitlines()[0]
    assert numberless(said[1]).splitlines()[2:] == numberless(shown).splitlines()[2:]
    assert "holds" in said[2] and f"{CELL}/export is {CELL}/export: of its checkpoint's cells" in said[2]
    assert "files, signed): " in said[3] and said[4].rstrip().endswith("signed by ann@example.org")
