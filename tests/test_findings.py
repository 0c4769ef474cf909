"""Faults of others that this project found or works around: each script shows that its fault is still there."""

import itertools
import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

from segcert import machine

FOLDER = ROOT / "docs/findings"
SCRIPTS = sorted(FOLDER.glob("*.py"))
PAGES = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.md")}
KNOWN = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["known_failures"]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_fault_is_still_there(script, tmp_path):
    """Once it is mended in what is installed, it is no finding any more."""
    command = [sys.executable, "-I", str(script)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    said = f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
    if done.returncode == 2 and "this CPU has no bfloat16" in said and not machine.cpu_has_bf16():
        pytest.skip("this CPU has no bfloat16, which the fault is in")
    ids = [known["id"] for known in KNOWN if known["link"].endswith(f"docs/findings/{script.stem}.md")]
    assert done.returncode != 0, (
        f"the fault of {script.name} is mended in what is installed: say so in {script.stem}.md, and take "
        f"{', '.join(ids) or 'it'} off known_failures, or bound it by `paddle`\n{said}"
    )
    assert done.returncode == 1 and "Traceback" not in said, said
    first = done.stdout.splitlines()[0]
    assert re.search(r"paddle\w* \d", first), "it begins with versions"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_each_has_a_page_that_can_be_sent(script):
    page = PAGES[f"{script.stem}.md"]
    for title in ("## Run it", "## What is seen", "## What is right", "## A way around"):
        assert f"\n{title}\n" in page, title
    assert re.search(r"^Versions: .*\d", page, re.M) and f"python {script.name}" in page
    assert f"]({script.stem}.md)" in PAGES["README.md"]


def test_every_known_failure_is_told_of():
    for known in KNOWN:
        assert f"`{known['id']}`" in PAGES["README.md"], known["id"]
        if name := re.search(r"docs/findings/(\S+\.md)$", known["link"]):
            assert name[1] in PAGES


MODEL = """
import sys
import paddle

class Model(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Conv2D(3, 4, 3, padding=1, stride=2)

    def forward(self, image):
        found = self.first(image)
        {then}
        return paddle.argmax(found, axis=1, dtype="int32")

model = Model()
model.eval()
stem = sys.argv[1] + "/model"
spec = [paddle.static.InputSpec([None, 3, {size}], "float32", name="image")]
paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), stem)
if "{name}".startswith("paddle2onnx"):
    import paddle2onnx

    paddle2onnx.export(stem + ".json", stem + ".pdiparams", stem + ".onnx", opset_version=13, optimize_tool="none")
"""
RESIZED = "found = paddle.nn.functional.interpolate(found, [32, 64], mode='bilinear', align_corners={})"
POOLED = (
    "found = paddle.nn.functional.interpolate(paddle.nn.functional.adaptive_avg_pool2d(found, {}), [32, 64], "
    "mode='bilinear')"
)
FILTERED = (
    "found = paddle.nn.functional.conv2d(found, paddle.nn.functional.adaptive_avg_pool2d(found, 2)"
    ".transpose([0, 2, 3, 1]).reshape([4, 4, 1, 1]))"
)
IN_A_MODEL = [
    ("onednn-interpolate", RESIZED.format(True), "32, 64", 1, "so interpolate is the cause"),
    ("onednn-interpolate", RESIZED.format(False), "32, 64", 0, "oneDNN is right"),
    ("paddle2onnx-adaptive-pool", POOLED.format(3), "32, 64", 1, "so the pooling is the cause"),
    ("paddle2onnx-adaptive-pool", POOLED.format(4), "32, 64", 0, "the ONNX model is right"),
    ("onednn-computed-filter", FILTERED, "32, 64", 1, "2 of 9 answers depend on what was asked before"),
    ("onednn-computed-filter", RESIZED.format(False), "32, 64", 0, "0 of 9 answers depend"),
]
RARELY = [
    ("onednn-interpolate", "found = paddle.nn.functional.interpolate(found, [21, 45], mode='nearest')", "32, 64", 1,
     "so interpolate is the cause"),
    ("onednn-interpolate", RESIZED.format(False), "-1, -1", 2, "is not fixed"),
    ("paddle2onnx-adaptive-pool", RESIZED.format(False), "-1, -1", 2, "is not fixed"),
]  # fmt: skip
CASES = [*IN_A_MODEL, *(pytest.param(*case, marks=pytest.mark.long) for case in RARELY)]


def export(folder, name, then, size="32, 64"):
    script = folder / "export.py"  # a file, because Paddle reads the source of what it makes a program of
    script.write_text(MODEL.format(name=name, then=then, size=size), encoding="utf-8")
    subprocess.run([sys.executable, "-I", script, folder], check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize(("name", "then", "size", "code", "said"), CASES, ids=itertools.count())
def test_it_is_told_to_be_the_cause_in_a_model_or_not(tmp_path, name, then, size, code, said):
    export(tmp_path, name, then, size)
    command = [sys.executable, "-I", FOLDER / f"{name}.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert said in done.stdout, done.stdout + done.stderr
    assert done.returncode == code


@pytest.mark.parametrize(
    ("name", "then", "answers"),
    [
        ("onednn-interpolate", RESIZED.format(True),
         'at["predicted"] = lambda stem, image, onednn: numpy.ones(4) + onednn'),
        ("paddle2onnx-adaptive-pool", POOLED.format(3),
         'at["by_paddle"], at["by_onnxruntime"] = lambda *_: numpy.ones(4), lambda *_: numpy.zeros(4)'),
    ],
    ids=["interpolate", "pool"],
)  # fmt: skip
def test_what_it_does_not_explain_is_something_else(tmp_path, name, then, answers):
    """No model is known that is wrong in another way: answers of both sides are made up here."""
    export(tmp_path, name, then)
    made_up = f"""
import runpy, sys
import numpy

at = (program := runpy.run_path(sys.argv[1]))["of_model"].__globals__
{answers}
sys.exit(program["of_model"](program["Path"](sys.argv[2])))
"""
    command = [sys.executable, "-I", "-c", made_up, FOLDER / f"{name}.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert "so something else is a cause as well" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 3
