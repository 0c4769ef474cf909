"""Whether this machine can give evidence of a GPU, and what to type where it cannot.

Asked before anything is installed or started, by the Python of the system: the standard library must do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segcert import asked, gpus, machine

DRIVER_S = 10  # for nvidia-smi; one that works answers within two or three
INSTALLATION_PAGE = "https://www.paddlepaddle.org.cn/en/install/quick"
# The GPU build that is on the package registry, for cards that are not too new: envs/paddle-gpu-2.6.in.
REGISTRY_BUILD = {
    "full_version": "2.6.2",
    "cuda_version": "11.8",
    "compiled_cuda_archs": ["61", "70", "75", "80", "86"],
}
REGISTRY_STAGES = ".venv-paddle-gpu-2.6"


def hindrances(stages: Path) -> list[str]:
    """In words, each thing for want of which no GPU would compute, with what to do; none where all is there.

    Args:
        stages: the folder of the stages' environment.
    """
    answer = asked.ask(["nvidia-smi", "-q"], DRIVER_S)
    found = () if answer.why_not else gpus.listed().gpus
    problems = []
    if answer.why_not:
        words = f"; its own words: {' '.join(answer.text.split())[:300]}" if answer.text.strip() else ""
        problems.append(f"no NVIDIA driver answers: {answer.why_not}{words}")
    elif not found:
        problems.append("the NVIDIA driver lists no GPU: run nvidia-smi by hand")
    python = stages / "bin" / "python"
    if not python.is_file():
        problems.append(
            f"the environment of the stages is missing: there is no {python}\n{_how_to_make(answer, found)}"
        )
        return problems
    why_not = machine.why_paddle_has_no_gpu(machine.paddle_build(str(python)), found)
    if why_not:
        problems.append(f"the environment {stages} cannot compute on a GPU: {why_not}\n{_how_to_make(answer, found)}")
    return problems


def remarks(stages: Path) -> list[str]:
    """In words, what an environment that is there cannot show beside what it can."""
    python = stages / "bin" / "python"
    if not python.is_file():
        return []
    why_not = machine.why_onnxruntime_has_no_gpu(machine.package_folder("onnxruntime", str(python)))
    return [f"ONNX Runtime will be unverified on the GPU: {why_not}"] if why_not else []


def _how_to_make(answer: asked.Answer, found: Sequence[Mapping[str, Any]]) -> str:
    """What to type for an environment with the GPU build of Paddle."""
    newest = re.search(r"^CUDA Version\s*:\s*(\S+)", answer.text, re.M)
    takes = f"; this driver takes CUDA up to {newest[1]}" if newest and not answer.why_not else ""
    return (
        "  make env-gpu PADDLE_INDEX=ADDRESS\n"
        f"    makes .venv-gpu. The address, one for each CUDA version, is in the pip section of\n"
        f"    {INSTALLATION_PAGE}{takes}\n"
        f"  make env-{REGISTRY_STAGES.removeprefix('.venv-')}, then make gpu-evidence STAGES={REGISTRY_STAGES}\n"
        "    needs no address: Paddle 2.6.2 for cards from Pascal to Ampere (compute capability 6.1 to 8.6)"
        f"{_fits(found)}"
    )


def _fits(found: Sequence[Mapping[str, Any]]) -> str:
    """Whether the registry's build has machine code for the cards of this machine."""
    if not found or not all(map(gpus.capability, found)):
        return ""
    cards = ", ".join(dict.fromkeys(f"{gpu.get('name')} ({gpu['compute_cap']})" for gpu in found))
    fits = machine.why_paddle_has_no_gpu(REGISTRY_BUILD, found) is None
    return f";\n    it has machine code for {cards}" if fits else f";\n    it has none for {cards}"
