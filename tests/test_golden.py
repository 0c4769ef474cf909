"""What each cell's script is called with, word for word and in order, against what was written down.

Records hold the command that made them, and a result is stale where the command is another: an option that moves
makes every user's every result stale. Where that is meant, write it down anew: `python tests/test_golden.py`.
"""

import json
import shlex
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
WRITTEN = ROOT / "tests/golden/cells.txt"
MODELS = ["pp_liteseg_stdc1", "pp_humanseg_lite"]
RUNS = [("smoke", 0), ("smoke", 2), ("whole_train_whole_infer", 2), ("whole_infer", 2)]
# So that each option is there: limits, sizes, levels and types of mixed precision, weights.
PLANS = {
    "one of each": {"models": MODELS},
    "limits": {
        "models": MODELS[:1],
        "evaluate": {"images": 7, "transforms": "val"},
        "export": {"input_size": [64, 32]},
        "train": {
            "precisions": [{"precision": "amp", "level": "O2", "dtype": "bfloat16"}],
            "topologies": ["multi"],
            "threads": 3,
        },
        "infer": {"from_topologies": ["multi"], "batch_sizes": [3], "cpu_threads": [4], "images": 5},
        "known_failures": [
            {"id": "K1", "match": {"stage": "train"}, "error": "a b", "reason": "so 'it' is", "link": "https://e.org"}
        ],
        "benchmark": {"logger": "auto_log"},
    },
    "own scripts": {"models": MODELS[:1], "paddleseg_scripts": True, "infer": {"cpu_threads": [1], "batch_sizes": [1]}},
}


def described() -> str:
    from segcert import cells, own_scripts, sections, settings
    from segcert.machine import Hardware

    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))

    def hardware(gpus):
        return Hardware(gpus, "auto", bf16=True, cores=8, software={"paddle": "3.2.2"})

    lines = []
    for mode, gpus in RUNS:
        for name, plan in PLANS.items():
            lines.append(f"# {mode}, {gpus} GPUs, {name}")
            asked = {**plan, "mode": mode}
            resolved = settings.resolve(sections.merge(shipped, asked), asked, "config.yaml")
            there = {script.file: "a digest" for script in own_scripts.ALL if resolved["paddleseg_scripts"]}
            for cell in cells.CellTable(resolved, hardware(gpus), scripts=there).cells:
                state = cell.status or f"threads={cell.threads} gpus={cell.gpus} runtime={cell.runtime}"
                lines.append(f"{cell.stage} {cell.record} {state}")
                lines.append(f"  {json.dumps(cell.requested)}")
                if cell.planned:
                    lines.append(f"  {' '.join(cell.outputs)}")
                    lines.append(f"  {shlex.join([*cell.options, *cell.limits])}")
    return "\n".join(lines) + "\n"


def test_every_cell_is_asked_for_as_it_was():
    assert described().splitlines() == WRITTEN.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    import sys

    sys.path.insert(0, str(ROOT / "scripts"))
    WRITTEN.write_text(described(), encoding="utf-8")
