"""What stands alone for a cell that failed: made of a real red run, and run where nothing of this project is."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rtformer
import stages
import yaml
from conftest import ROOT, copy_project, snakemake

from segcert import engines, modelconfig, record
from segcert.errors import StageError
from segcert.reproduction import making, run_infer

CONFIG = {
    "mode": "smoke",
    "hardware": "cpu",
    "models": ["pp_humanseg_lite"],
    "input_size": {"default": [64, 64]},
    "train": {"iters": 3, "topologies": ["single"], "precisions": [{"precision": "fp32"}]},
    "infer": {
        "images": 2, "min_samples": 6, "warmup": 1,
        "cpu": [{"engine": name, "precision": "fp32"} for name in engines.on("cpu")],
    },
    "paddleseg_scripts": False,
    "datasets": {"mini_supervisely_synthetic": {"images": {"train": 6, "val": 2, "test": 2}}},
    # which none but an answer without any rounding holds
    "gates": {"logits": {"l2": {"fp32": 1e-12}, "peak": {"fp32": 1e-12}, "roundings": 0}},
}  # fmt: skip
CELL = "results/smoke/pp_humanseg_lite/single_fp32"
INFER = "infer/python_infer_cpu_{}_threads_1_precision_fp32_batchsize_1"
ONNX = f"{CELL}/{INFER.format('onnxruntime')}"
EXPORT = "results/test/rtformer/single_fp32"
REPRO = "results/smoke/repro/pp_humanseg_lite/single_fp32"
ALONE = {"run.py", "cell.json", "input.npy", "expected_labels.npy", "expected_logits.npy", "README.md", "record.json",
         "log.txt"}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A red run: its engines are rounded otherwise than is asked."""
    folder = copy_project(tmp_path_factory.mktemp("repro") / "a proj é")
    (folder / "mine.yaml").write_text(yaml.safe_dump(CONFIG), encoding="utf-8")
    done = snakemake(folder, "--configfile", "mine.yaml")
    assert done.returncode != 0 and "accuracy-failed" in done.stderr, done.stdout + done.stderr
    return folder


@pytest.fixture
def copied(run, tmp_path, monkeypatch):
    """Its results in a folder that a test may spoil; the working folder."""
    shutil.copytree(run / "results", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def alone(folder, to):
    """The script of a folder, where nothing else is: its exit code, and what it prints."""
    shutil.copytree(folder, to)
    command = [sys.executable, "-I", "run.py"]
    done = subprocess.run(command, cwd=to, env={}, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def spoilt(path, **changes):
    """The record at a path, written anew with changes."""
    content = {**json.loads(Path(path).read_text()), **changes}
    Path(path).write_text(json.dumps(content))
    return content


# -- inference --------------------------------------------------------------------------------


def test_the_workflow_makes_it_of_a_red_cell(run, tmp_path):
    done = snakemake(run, "repro", "--config", f"cell={ONNX}.json")
    assert done.returncode == 0, done.stdout + done.stderr
    made = run / REPRO / INFER.format("onnxruntime")
    assert {path.name for path in made.iterdir()} == ALONE | {"model.onnx", "logits.onnx"}
    text = (made / "README.md").read_text()
    failed = record.read(run / f"{ONNX}.failed.json")
    assert text.startswith("# pp_humanseg_lite: infer python_infer_cpu_onnxruntime") and failed["reason"] in text
    assert "When this folder was made: the fault shows in it." in text and "(exit code 1)" in text
    for name in ("onnxruntime", "paddle", "numpy"):
        assert f"| {name} | {failed['env'][name]} |" in text
    gates = {gate["name"]: gate for gate in failed["metrics"]["gates"]}
    assert f"| logits_l2 | {gates['logits_l2']['value']:.7g} | at most 1e-12 | no |" in text
    assert "| pixel_agreement | 1 | at least 0.999 | yes |" in text
    code, said = alone(made, tmp_path / "elsewhere")
    assert code == 1 and "the fault shows" in said
    told = float(re.search(r"logits_l2: (\S+),", said)[1])
    assert told == pytest.approx(gates["logits_l2"]["value"], rel=1e-3), "the number of the cell"
    asked = json.loads((tmp_path / "elsewhere/cell.json").read_text())
    asked["gates"] |= {"logits_l2": 1e-3, "logits_peak": 1e-3}
    (tmp_path / "elsewhere/cell.json").write_text(json.dumps(asked))
    code, said = alone(tmp_path / "elsewhere", tmp_path / "mended")
    assert code == 0 and "the fault does not show" in said
    with zipfile.ZipFile(f"{made}.zip") as packed:
        assert set(packed.namelist()) == {f"{made.name}/{path.name}" for path in made.iterdir()}
    again = snakemake(run, "repro", "--config", f"cell={ONNX}.json")
    assert again.returncode == 0 and "reproduction: " in again.stdout, "it is made anew, whatever is there"
    assert not record.is_to_be_tried_again(run / f"{ONNX}.failed.json")


@pytest.mark.parametrize(
    ("engine", "file"),
    [
        ("usemkldnn_False", "native"),
        ("usemkldnn_True", "onednn"),
        ("onednn_convolutions", "onednn_convolutions"),
        ("openvino", "openvino"),
    ],
)
def test_it_stands_alone_for_every_engine(copied, engine, file):
    """With a model that lies: another class is added to, so that other classes win."""
    cell = f"{CELL}/{INFER.format(engine)}"
    path = next(path for path in (f"{cell}.failed.json", f"{cell}.json") if Path(path).is_file())
    spoilt(path, status="accuracy-failed", reason="so it is")
    folder, how = making.make(f"{cell}.json")
    assert json.loads((folder / "cell.json").read_text())["engine"] == file
    code, said = alone(folder, copied / "elsewhere")
    assert code in (0, 1) and "logits_peak: " in said, said
    assert how.endswith("the fault shows in it" if code else "THE FAULT DOES NOT SHOW IN IT")
    assert float(re.search(r"logits_l2: (\S+),", said)[1]) < 1e-4, "the engine is right but for rounding"
    labels = np.load(copied / "elsewhere/expected_labels.npy")
    np.save(copied / "elsewhere/expected_labels.npy", 1 - labels)
    (copied / "elsewhere/expected_logits.npy").unlink()
    code, said = alone(copied / "elsewhere", copied / "lie")
    assert code == 1 and "pixel_agreement: 0, " in said and "pixels that differ: row 0, column 0" in said


def test_nothing_of_this_machine_is_in_it(copied, monkeypatch):
    secret = "hunter2-hunter2"  # noqa: S105
    monkeypatch.setenv("A_TOKEN", secret)
    failed = record.read(f"{ONNX}.failed.json")
    told = f"{sys.prefix}/lib/python3/site-packages/onnxruntime/x.py, /srv/data/me/y.py, {copied}/z, {secret}, https://a.b/c/d"
    spoilt(f"{ONNX}.failed.json", reason=f"{failed['reason']}; {told}")
    with Path(failed["log"]).open("a") as log:
        log.write(f"{told}\nhttps://user:{secret}@example.org/x?token={secret}\n")
    folder, _ = making.make(f"{ONNX}.failed.json")
    everything = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name, content in everything.items():
        for word in (secret, str(copied), str(Path.home()), sys.prefix, str(ROOT), "/srv/"):
            assert word.encode() not in content, (name, word)
    kept = "site-packages/onnxruntime/x.py, .../y.py, ./z, ***, https://a.b/c/d"
    assert all(kept in everything[name].decode() for name in ("README.md", "log.txt", "record.json"))


def test_a_model_that_cannot_be_loaded_shows_its_fault_too(copied, tmp_path):
    """What the cell fails at: its folder has no logits to compare with, because they are to be had of no such model."""
    onnx = Path(f"{CELL}/export/model.onnx")
    onnx.write_bytes(onnx.read_bytes()[:2000])
    from segcert.files import sha256

    content = record.read(f"{ONNX}.failed.json")
    inputs = {**content["inputs"], f"{CELL}/export": sha256(f"{CELL}/export")}
    spoilt(f"{ONNX}.failed.json", inputs=inputs, metrics={}, effective={}, status="failed", reason="cannot load")
    folder, how = making.make(f"{ONNX}.json")
    assert how.endswith("the fault shows in it")
    code, said = alone(folder, tmp_path / "elsewhere")
    assert code == 1 and "it does not run: " in said
    assert (
        "It does not hold the rest of the data set: one image is enough where it shows the fault; logits: "
        in (folder / "README.md").read_text()
    )


def test_of_an_export_for_sizes_of_batches_that_of_the_cell_is_taken(copied):
    from segcert.compute.engines import library
    from segcert.files import sha256

    export = Path(f"{CELL}/export")
    whole = shutil.copytree(export, copied / "whole")
    own = shutil.copytree(whole, library.of_batch(export, 1))
    for file in export.glob("model.*"):
        file.unlink()
    content = record.read(f"{ONNX}.failed.json")
    spoilt(f"{ONNX}.failed.json", inputs={**content["inputs"], f"{CELL}/export": sha256(export)})
    folder, _ = making.make(f"{ONNX}.json")
    assert (folder / "model.onnx").read_bytes() == (own / "model.onnx").read_bytes()


def test_what_is_missing_is_named(copied):
    def why(cell):
        with pytest.raises(StageError) as error:
            making.make(cell)
        assert not list(Path("results/smoke").glob("repro/**/*.partial"))
        return str(error.value)

    assert why(f"{CELL}/train.json").endswith("train.json: is passed, so there is nothing to reproduce")
    assert "there is no such record" in why(f"{CELL}/infer/x.json")
    for cell in ("/srv/results/a/b/c/x.json", "results/../a/b/c.json", "x.json", "data/a/b/c/x.json"):
        assert "is no cell's record; name one" in why(cell)
    content = spoilt(f"{CELL}/eval.json", status="unverified", reason="needs a sun")
    assert "is unverified, so there is nothing to reproduce: needs a sun" in why(f"{CELL}/eval.json")
    Path(f"{CELL}/eval.json").write_text("{}")
    assert "cell: " in why(f"{CELL}/eval.json") and "not a record" in why(f"{CELL}/eval.json")
    Path(f"{CELL}/eval.json").write_text(json.dumps(content))
    deploy = Path(f"{CELL}/export/deploy.yaml")
    deploy.write_text(deploy.read_text() + "\n# edited\n")
    assert "is not what the record of the cell says" in why(f"{ONNX}.json")
    shutil.rmtree(f"{CELL}/export")
    assert "export: is gone, of which the cell was made" in why(f"{ONNX}.json")


def test_a_cell_without_the_model_that_it_reads_is_the_exports_fault(copied):
    from segcert.files import sha256

    Path(f"{CELL}/export/model.onnx").unlink()
    content = record.read(f"{ONNX}.failed.json")
    spoilt(f"{ONNX}.failed.json", inputs={**content["inputs"], f"{CELL}/export": sha256(f"{CELL}/export")})
    with pytest.raises(StageError, match=r"model\.onnx: is not there, so the fault is the export's"):
        making.make(f"{ONNX}.json")


def test_the_command_says_why_there_is_none(copied, root):
    command = [sys.executable, root / "scripts/repro.py", "--cell", "x.json", "--paddleseg", "nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and done.stderr.startswith("no reproduction: ") and "Traceback" not in done.stderr


def test_without_a_record_nothing_starts(project):
    done = snakemake(project, "repro")
    assert done.returncode != 0 and "cell: null: name the record of a cell that failed" in done.stderr


# -- what the script says ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(run, tmp_path_factory):
    """A folder of one that reads ONNX."""
    with contextlib.chdir(run):
        folder, _ = making.make(f"{ONNX}.json")
        folder = folder.absolute()
    return shutil.copytree(folder, tmp_path_factory.mktemp("made") / "made")


def test_a_package_that_is_missing_is_another_matter(made, tmp_path):
    place = shutil.copytree(made, tmp_path / "made")
    asked = json.loads((place / "cell.json").read_text())
    (place / "cell.json").write_text(json.dumps({**asked, "engine": "native"}))
    script = (place / "run.py").read_text().replace('"native": "paddlepaddle"', '"native": "no-such-package"')
    (place / "run.py").write_text(script)
    code, said = alone(place, tmp_path / "other")
    assert code == 2 and f"pip install no-such-package=={asked['version']}" in said


def test_what_the_script_says_of_a_package_and_of_label_maps(made, monkeypatch, capsys):
    engine = json.loads((made / "cell.json").read_text())["engine"]
    with monkeypatch.context() as patched:
        patched.setattr(run_infer, "PACKAGES", {engine: "no-such-package"})
        patched.setattr(sys, "argv", ["run.py", str(made)])
        assert run_infer.main() == 2
    assert "pip install no-such-package==" in capsys.readouterr().out
    labels = np.zeros((2, 3), np.uint8)
    given = labels[np.newaxis].copy()
    given[0, 1, 2] = 7
    assert run_infer.compared({"pixel_agreement": 0.9}, given, labels, None, None) is True
    said = capsys.readouterr().out
    assert "first of 1 pixels that differ: row 1, column 2: class 0 is right, 7 was given" in said
    assert run_infer.compared({"pixel_agreement": 0.8}, given, labels, None, None) is False


def test_paddle_in_bfloat16_and_logits_that_are_nowhere(copied):
    export = Path(f"{CELL}/export")
    (program,) = (path.name for path in export.glob("model.*") if path.suffix in (".json", ".pdmodel"))
    asked = {"program": program, "engine": "onednn", "precision": "bf16", "threads": 1}
    image = np.zeros((1, 3, 64, 64), np.float32)
    given, none = run_infer.by_paddle(export, asked, image, None)
    assert given.shape == (1, 64, 64) and none is None
    with pytest.raises(RuntimeError, match="none of 0 tensors is what the label maps are the argmax of"):
        run_infer.by_paddle(export, {**asked, "precision": "fp32"}, image, np.zeros((7, 3, 3), np.float32))

    class Half:
        def numpy(self):
            return np.array([0x3F80, 0xC000], np.uint16)

    assert run_infer.float32(Half()).tolist() == [1.0, -2.0]


def test_one_that_is_not_done_yet_or_hangs_is_told_of(copied, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(making, "LONGEST_S", 0)
        folder, how = making.make(f"{ONNX}.json")
    assert "its script did not end within 0 s" in how and how.split(": ", 1)[1] in (folder / "README.md").read_text()
    content = record.read(f"{ONNX}.failed.json")
    on_gpu = content["command"].replace("--device cpu", "--device gpu")
    spoilt(f"{ONNX}.failed.json", command=on_gpu)
    folder, how = making.make(f"{ONNX}.json")
    assert how.endswith("holds no script") and not (folder / "run.py").exists()
    assert "there is none yet of onnxruntime on a GPU" in (folder / "README.md").read_text()
    spoilt(f"{ONNX}.failed.json", command=f"{content['command']} --streams 2")
    folder, _ = making.make(f"{ONNX}.json")
    assert "there is none yet of several requests at once" in (folder / "README.md").read_text()


def test_what_native_code_ends_is_the_fault_as_well(copied, monkeypatch):
    asked = []
    ended = subprocess.CompletedProcess([], -11, b"oh")
    monkeypatch.setattr(subprocess, "run", lambda *args, **more: asked.append(more) or ended)
    _, how = making.make(f"{ONNX}.json", paddleseg="a checkout")
    assert how.endswith("its script was ended by signal 11")
    assert [more["env"]["PYTHONPATH"] for more in asked] == ["a checkout"]


# -- other stages -----------------------------------------------------------------------------


# Asks for a free batch again where a fixed one would do: so the model cannot be exported at all.
NEVER_FIXED = """
import sys
sys.path.insert(0, {scripts!r})
from segcert.compute import exporting
exported = exporting._exported
exporting._exported = lambda model, folder, fed, batch: exported(model, folder, fed, None)
import export
if __name__ == "__main__":
    sys.exit(export.main())
"""


@pytest.fixture(scope="module")
def unexportable(tmp_path_factory):
    """An export that failed: RTFormer asks for a size of batches."""
    folder = rtformer.make(tmp_path_factory.mktemp("rtformer"))
    (folder / "never_fixed.py").write_text(NEVER_FIXED.format(scripts=str(ROOT / "scripts")))
    files = ["--config", "model.yml", "--checkpoint", "model.pdparams", "--export", f"{EXPORT}/export"]
    files += ["--record", f"{EXPORT}/export.json", "--log", f"{EXPORT}/export.log", "--input-size", "64", "64"]
    done = stages.script(folder / "never_fixed.py", folder, *files)
    assert done.returncode == 1, done.stderr
    return folder


def test_an_export_that_failed_stands_alone(unexportable, tmp_path, monkeypatch):
    """Nothing but the free batch of this one cannot be exported, and its folder says so."""
    monkeypatch.chdir(unexportable)
    folder, how = making.make(f"{EXPORT}/export.json")
    assert how.endswith("THE FAULT DOES NOT SHOW IN IT") and how.split(": ", 1)[1] in (folder / "README.md").read_text()
    names = {"run.py", "cell.json", "config.yml", "weights.npz", "README.md", "record.json", "log.txt"}
    assert {path.name for path in folder.iterdir()} == names
    asked = json.loads((folder / "cell.json").read_text())
    (folder / "cell.json").write_text(json.dumps({**asked, "input_size": [0, 0]}))  # which no model takes
    code, said = alone(folder, tmp_path / "elsewhere")
    assert code == 1 and "batches of 1: cannot be exported: " in said and "the fault shows" in said, said
    source = ROOT / "scripts/segcert/reproduction/run_export.py"
    done = subprocess.run([sys.executable, source, folder], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 1 and done.stdout in said, done.stderr


def test_an_export_that_is_mended_says_so(unexportable, tmp_path, monkeypatch):
    """The same script, of a network that can be exported."""
    monkeypatch.chdir(unexportable)
    folder, _ = making.make(f"{EXPORT}/export.json")
    network = modelconfig.content(ROOT / "config/models/pp_humanseg_lite.yml")["model"]
    from segcert.compute import components

    model = components.builder(components.load_config(str(ROOT / "config/models/pp_humanseg_lite.yml"))).model
    place = shutil.copytree(folder, tmp_path / "made")
    np.savez(place / "weights.npz", **{name: value.numpy() for name, value in model.state_dict().items()})
    asked = json.loads((place / "cell.json").read_text())
    (place / "cell.json").write_text(json.dumps({**asked, "model": {**network, "num_classes": 2}}))
    source = ROOT / "scripts/segcert/reproduction/run_export.py"
    done = subprocess.run([sys.executable, source, place], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "the fault does not show" in done.stdout, done.stdout + done.stderr
    hidden = tmp_path / "hidden/paddleseg"
    hidden.mkdir(parents=True)
    (hidden / "__init__.py").write_text("raise ImportError('no paddleseg')")
    done = subprocess.run(
        [sys.executable, source, place], env={**os.environ, "PYTHONPATH": str(hidden.parent)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "are needed" in done.stdout


def test_of_other_stages_there_is_what_can_be_told(copied):
    spoilt(f"{CELL}/train.json", status="failed", reason="the loss is not finite")
    folder, how = making.make(f"{CELL}/train.json")
    assert {path.name for path in folder.iterdir()} == {"README.md", "record.json", "log.txt"}
    text = (folder / "README.md").read_text()
    assert "It does not hold a script: a train needs the data set, and this workflow to run it" in text
    assert how.endswith("holds no script") and "the loss is not finite" in text
