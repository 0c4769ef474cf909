"""The rules of the inference matrix, and the matrix that explains itself."""

import itertools
import subprocess
import sys

import pytest
import tipc_files
import yaml
from conftest import snakemake

from segcert import cells, listing, offers, settings
from segcert.machine import Hardware

CPU = Hardware(0, "cpu", bf16=True)
ENGINES = {"cpu": ("native", "onednn"), "gpu": ("native", "tensorrt")}
PRECISIONS = ("fp32", "fp16", "int8")


def runs(rules, device, quant):
    """{(engine, precision)} that are run."""
    return {
        (engine, precision)
        for engine, precision in itertools.product(ENGINES[device], PRECISIONS)
        if offers.left_out(rules, device, engine, precision, quant) is None
    }


def test_tipc_rules_leave_what_the_originals_loops_leave():
    assert runs("tipc", "cpu", quant=False) == {("native", "fp32"), ("onednn", "fp32")}
    assert runs("tipc", "cpu", quant=True) == {("onednn", "int8")}
    assert runs("tipc", "gpu", quant=False) == {("native", "fp32"), ("tensorrt", "fp32"), ("tensorrt", "fp16")}
    assert runs("tipc", "gpu", quant=True) == {("tensorrt", "fp32"), ("tensorrt", "fp16")}


def test_strict_rules_correct_what_the_original_gets_wrong():
    assert runs("strict", "gpu", quant=True) == {("tensorrt", "int8")}, "the original has it the other way round"
    assert offers.left_out("strict", "cpu", "onednn", "bf16") is None
    assert offers.left_out("tipc", "cpu", "onednn", "bf16").startswith("C4: ")
    assert offers.left_out("strict", "cpu", "onnxruntime", "int8") is None, "it is quantised here"
    assert "(onednn on cpu is offered in fp32, bf16 here, not in int8)" in offers.left_out(
        "strict", "cpu", "onednn", "int8"
    )
    assert runs("strict", "gpu", quant=False) == {
        ("native", "fp32"),
        ("native", "fp16"),
        ("tensorrt", "fp32"),
        ("tensorrt", "fp16"),
    }


@pytest.mark.parametrize(
    ("rules", "device", "engine", "precision", "quant", "rule"),
    [
        ("tipc", "cpu", "native", "int8", True, "C1"),
        ("tipc", "cpu", "native", "fp16", False, "C2"),
        ("tipc", "cpu", "onednn", "fp32", True, "C3"),
        ("tipc", "cpu", "onednn", "fp16", False, "C4"),
        ("tipc", "gpu", "tensorrt", "int8", False, "G1"),
        ("tipc", "gpu", "native", "fp16", False, "G2"),
        ("tipc", "gpu", "tensorrt", "int8", True, "G3"),
        ("tipc", "gpu", "native", "fp32", True, "G3"),
        ("tipc", "gpu", "onnxruntime", "bf16", False, "E1"),
        ("strict", "cpu", "openvino", "int8", True, "C1"),
        ("strict", "cpu", "onednn", "fp16", False, "C2"),
        ("strict", "cpu", "onednn", "fp32", True, "C3"),
        ("tipc", "cpu", "openvino", "int8", False, "C4"),
        ("strict", "cpu", "onednn", "int8", False, "C4"),
        ("strict", "cpu", "native", "int8", False, "C4"),
        ("strict", "gpu", "native", "int8", False, "G1"),
        ("strict", "gpu", "onnxruntime", "fp16", False, "G2"),
        ("strict", "gpu", "tensorrt", "fp32", True, "G3"),
    ],
)
def test_each_rule_says_its_id_and_why(rules, device, engine, precision, quant, rule):
    reason = offers.left_out(rules, device, engine, precision, quant)
    assert reason.startswith(f"{rule}: {offers.RULES[rules][rule]}")


def test_every_rule_is_documented(root):
    page = (root / "docs/matrix.md").read_text(encoding="utf-8")
    for rules in (*offers.RULES.values(), offers.OF_GRAPHS, offers.OF_SHAPES):
        for rule, words in rules.items():
            assert f"| {rule} |" in page
            assert words in page, f"{rule}: {words}"


def test_the_built_in_matrix_leaves_nothing_out_by_rule(root):
    shipped = tipc_files.shipped(root)
    for mode in shipped["modes"]:
        given = {"mode": mode} | ({"models": "all"} if mode == "zoo" else {})  # which has those of a checkout
        for hardware in (CPU, Hardware(8, "gpu")):
            table = cells.CellTable(settings.resolve({**shipped, **given}, given, "c"), hardware)
            assert not [cell for cell in table.cells if cell.status == "skipped"], mode


def test_tipc_rules_on_the_built_in_matrix(root):
    overrides = {"rules": "tipc", "mode": "smoke"}
    table = cells.CellTable(settings.resolve({**tipc_files.shipped(root), **overrides}, overrides, "c"), CPU)
    skipped = [cell for cell in table.cells if cell.status == "skipped"]
    assert {cell.requested["precision"] for cell in skipped} == {"bf16", "int8"}
    assert all(cell.reason.startswith("C4: ") for cell in skipped)


def test_the_text_has_every_combination_and_its_decision(root):
    overrides = {"rules": "tipc", "mode": "smoke", "models": ["pp_humanseg_lite"]}
    table = cells.CellTable(settings.resolve({**tipc_files.shipped(root), **overrides}, overrides, "c"), CPU)
    lines = listing.text(table).splitlines()
    for cell in table.cells:
        decision = "run" if cell.planned else cell.status
        found = [line for line in lines if f"{cell.model} {cell.stage} " in line and cell.name in line]
        assert any(decision in line.split() for line in found), cell.name
        assert cell.reason is None or any(cell.reason in line for line in found)
    legend = next(line for line in lines if line.startswith("engines in names"))
    assert "usemkldnn_False is native, usemkldnn_True is onednn, usetrt_False is native" in legend
    multi = next(line for line in lines if "multi_fp32" in line and " train " in line)
    assert "not exported" in multi, "smoke infers from single alone"


def test_snakemake_prints_the_matrix_without_results(project):
    asked = ("matrix", "--config", "mode=smoke", "hardware=cpu", "rules=tipc", "models=[pp_humanseg_lite]")
    for _ in range(2):  # each time that it is asked for
        done = snakemake(project, *asked)
        assert done.returncode == 0, done.stderr
        assert "skipped     C4: " in done.stdout and "unverified" in done.stdout
    assert "single_fp32: python_infer_cpu_usemkldnn_True_threads_1_precision_fp32_batchsize_1" in done.stdout
    assert sorted(path.name for path in (project / "results").iterdir()) == ["smoke"]
    assert not list((project / "results").rglob("*.pdparams"))


def test_the_script_explains_a_configuration_of_ones_own(root, tmp_path):
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"models": ["pp_humanseg_lite"], "mode": "smoke"}))
    command = [sys.executable, str(root / "scripts/matrix.py"), "--configfile", str(tmp_path / "mine.yaml")]
    done = subprocess.run([*command, "--hardware", "gpu"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "mode smoke, rules strict, 8 GPUs" in done.stdout and "pp_humanseg_lite train" in done.stdout
    one = {"infer": {"cpu": [{"engine": "native", "precision": "fp32"}], "gpu": []}}
    (tmp_path / "one.yaml").write_text(yaml.safe_dump(one))  # so little that it is still in Python's buffer at the end
    for more in ([], ["--configfile", str(tmp_path / "one.yaml")]):
        unread = subprocess.Popen([*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        unread.stdout.close()  # as `| head` does when it has enough
        assert unread.stderr.read() == "" and unread.wait(120) == 0
    wrong = subprocess.run([*command, "--mode", "quick"], capture_output=True, text=True, timeout=120, check=False)
    assert wrong.returncode == 2 and "quick" in wrong.stderr and "Traceback" not in wrong.stderr
