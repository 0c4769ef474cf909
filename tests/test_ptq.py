"""Params files that quantise: what of them becomes cells in int8, and what is told of the rest."""

import subprocess
import sys
from pathlib import Path

import pytest
import tipc_files
from conftest import ROOT

from segcert import cells, sections, settings
from segcert.errors import ConfigError
from segcert.machine import Hardware
from segcert.tipc import params, ptq

LINES = """
=====ptq_params=====
model_name:pp_humanseg_lite_KL
python:python3.7
##
--model_dir:test_tipc/output/pp_humanseg_lite_KL/model
##
--config:configs/model.yml
--batch_num:3
--batch_size:2
##
trainer:PTQ
PTQ:deploy/slim/quant/ptq.py
##
=====infer_params=====
inference:deploy/python/infer.py
--device:cpu|gpu
--batch_size:1
--config:quant_model/deploy.yaml
--image_path:demo.jpg
--benchmark:True
"""


@pytest.fixture
def resolve(monkeypatch, tmp_path):
    """The settings of a run of such a file, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def resolved(text, mode="whole_infer", **more):
        file = Path("ptq.txt")
        file.write_text(text, encoding="utf-8")
        asked = {"mode": mode, "params_file": str(file), **more}
        return settings.resolve(sections.merge(tipc_files.shipped(ROOT), asked), asked, "config.yaml")

    return resolved


def test_released_weights_are_quantised_and_run_in_int8(resolve):
    found = resolve(LINES)
    assert found["models"] == ["pp_humanseg_lite"]
    table = cells.CellTable(found, Hardware(0, "cpu", bf16=True))
    infer = table.planned("infer")
    assert {(cell.requested["engine"], cell.requested["precision"]) for cell in infer} == {
        ("onnxruntime", "int8"),
        ("openvino", "int8"),
    }
    (quantise,) = table.planned("quantise")
    assert quantise.requested["images"] == 6 and quantise.topology == "released"
    assert all(quantise in table.parents(cell) for cell in infer)
    (skipped,) = [cell for cell in table.cells if cell.status == "skipped"]
    assert skipped.reason == "int8 on a GPU is not done here yet (ptq.txt:17)"
    told = "\n".join(found["params"]["notes"] + found["params"]["remarks"])
    assert "released weights test_tipc/output/pp_humanseg_lite_KL/model are not there" in told
    assert "ptq.txt:13: quantised for ONNX Runtime and OpenVINO, by training images" in told


def test_in_a_mode_that_trains_nothing_of_it_is_run(resolve):
    table = cells.CellTable(resolve(LINES, "lite_train_lite_infer"), Hardware(0, "cpu", bf16=True))
    assert not table.planned()
    (cell,) = table.cells
    assert cell.status == "skipped" and "mode whole_infer (ptq.txt:13)" in cell.reason


def test_for_the_gpu_alone_nothing_is_run(resolve):
    table = cells.CellTable(resolve(LINES.replace("cpu|gpu", "gpu")), Hardware(0, "cpu", bf16=True))
    assert not table.planned("infer", "quantise")


@pytest.mark.parametrize(
    ("old", "new", "number", "words"),
    [
        ("##\n--model_dir", "--model_dir", 5, "## belongs in place 4"),
        ("=====infer_params=====", "=====serving_params=====", 15, "infer_params belongs in place 14"),
        ("--benchmark:True\n", "", 20, "19 that are not empty, 20 belong into"),
        ("--benchmark:True\n", "--benchmark:True\nmore:1\n", 22, "21 that are not empty"),
        ("--batch_num:3", "--batch_num:many", 9, "--batch_num: 'many' is refused"),
        ("model_name:pp_humanseg", "model_name:pp_humanseg/", 3, "model_name: 'pp_humanseg/_lite_KL' is refused"),
        ("--config:configs/model.yml", "--config:null", 8, "--config: no value"),
        ("deploy/slim/quant/ptq.py", "deploy/slim/quant/qat.py", 13, "only deploy/slim/quant/ptq.py is"),
        ("inference:deploy/python/infer.py", "inference:null", 16, "inference: no command"),
        ("--batch_size:1", "--batch_size:0", 18, "--batch_size: '0' is refused"),
    ],
)
def test_wrong_lines_are_told_with_their_number(resolve, old, new, number, words):
    assert LINES.count(old) == 1
    with pytest.raises(ConfigError) as told:
        resolve(LINES.replace(old, new))
    assert any(line.startswith(f"ptq.txt:{number}: error: ") and words in line for line in str(told.value).splitlines())


def test_the_linter_reads_it(tmp_path):
    (tmp_path / "train_ptq_infer_python.txt").write_text(LINES, encoding="utf-8")
    command = [sys.executable, str(ROOT / "scripts/params.py"), "lint", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and "1 understood, 0 errors" in done.stdout + done.stderr, done.stdout + done.stderr


def test_what_stands_where_is_what_the_file_says():
    assert params.kind(LINES) == ptq.KIND
    meaning, problems = ptq.understand(ptq.parse(LINES, "f.txt"))
    assert problems == [] and meaning is not None
    assert (meaning.model, meaning.calibration, meaning.infer_batch_sizes) == ("pp_humanseg_lite", 6, [1])
