"""Derive from cpu.txt what must agree with it: gpu.txt, gpu-paddle.txt and the conda scripts.

The GPU environment is the CPU one with other builds of Paddle (gpu-paddle.txt) and of ONNX Runtime
(gpu-onnxruntime.txt).

`make lock` runs this after it has renewed cpu.txt; a test holds the files against each other.
"""

import re
from pathlib import Path

ENVS = Path(__file__).resolve().parent
ENTRY = re.compile(r"\n(?=\S)")
# What runs the workflow is not needed in the environment of a job.
WORKFLOW = (
    "snakemake",
    "snakemake-logger-plugin-rich",
    "snakemake-executor-plugin-slurm",
    "plotly",
    "itables",
    "junitparser",
)

GPU_PADDLE = """\
# The GPU build of the Paddle that cpu.txt pins. It is on Paddle's own package index, one index per CUDA
# version: take its address from the pip section of Paddle's installation page
# (https://www.paddlepaddle.org.cn/en/install/quick) and give it as PADDLE_INDEX.
paddlepaddle-gpu=={version}
"""

CONDA = """\
# Environment of the stages for `snakemake --sdm conda`. Python packages are installed by
# {kind}.post-deploy.sh, because pip must not follow the requirements of paddleseg (see overrides.txt).
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.11
  - pip=25.0
"""

SCRIPT = """\
#!/usr/bin/env bash
# Made by envs/derive.py from cpu.txt: the pins of the stages, into the active environment.
set -euo pipefail
pins="$(mktemp)"
trap 'rm -f "$pins"' EXIT
cat > "$pins" <<'PINS'
{pins}
PINS
python -m pip install --no-input --no-deps --no-compile -r "$pins"
{more}packages="$(python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
python -m compileall -q -j 0 "$packages" > /dev/null || true
"""

SCRIPT_GPU = """\
: "${{PADDLE_INDEX:?set it to the package index of your CUDA version: see envs/gpu-paddle.txt}}"
# Its CUDA libraries come with it, so here pip does follow requirements, held to the pins.
python -m pip install --no-input --no-compile -c "$pins" --index "$PADDLE_INDEX" paddlepaddle-gpu=={version}
"""


def name(entry: str) -> str:
    return entry.split("==")[0].strip()


def main() -> None:
    entries = ENTRY.split((ENVS / "cpu.txt").read_text(encoding="utf-8").strip())
    version = next(entry for entry in entries if name(entry) == "paddlepaddle").split("==")[1].split()[0]
    others = [entry for entry in entries if name(entry) not in ("paddlepaddle", "onnxruntime")]
    others += ENTRY.split((ENVS / "gpu-onnxruntime.txt").read_text(encoding="utf-8").strip())
    (ENVS / "gpu.txt").write_text("\n".join(others) + "\n", encoding="utf-8")
    (ENVS / "gpu-paddle.txt").write_text(GPU_PADDLE.format(version=version), encoding="utf-8")
    for kind, chosen, more in (("cpu", entries, ""), ("gpu", others, SCRIPT_GPU.format(version=version))):
        pins = [entry.split("\\")[0].strip() for entry in chosen if name(entry) not in WORKFLOW]
        script = SCRIPT.format(pins="\n".join(pins), more=more)
        (ENVS / f"{kind}.post-deploy.sh").write_text(script, encoding="utf-8")
        (ENVS / f"{kind}.yaml").write_text(CONDA.format(kind=kind), encoding="utf-8")


if __name__ == "__main__":
    main()
