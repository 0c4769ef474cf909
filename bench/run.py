"""The benchmark: this project against PaddleSeg's original chain and against the engines used plainly.

    make bench                                       everything, about 30 minutes on two quiet cores
    make bench PARTS="latency preprocess"            some parts; their rows replace the earlier ones
    make bench ARGS="--repeats 5 --models pp_humanseg_lite"
    make bench ARGS=--quick                          tiny sizes, one repeat: to see that it works

Writes results/bench/bench.json and bench.md after every part. docs/bench.md explains the method.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import harness
import original
import ours
import part_chain
import part_growth
import part_int8
import part_latency
import part_memory
import part_preprocess
import part_streams
import part_training
from harness import ROOT, Bench, BenchError, say

PARTS = {
    "chain": part_chain.chain,
    "rerun": part_chain.rerun,
    "smoke": part_chain.smoke,
    "preprocess": part_preprocess.preprocess,
    "latency": part_latency.latency,
    "int8": part_int8.int8,
    "limit": part_latency.limit,
    "scaling": part_latency.scaling,
    "streams": part_streams.streams,
    "training": part_training.training,
    "memory": part_memory.memory,
    "growth": part_growth.growth,
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    options.add_argument("--repeats", type=int, default=3, help="measurements of each side, in turns")
    options.add_argument("--models", nargs="+", choices=list(original.MODEL_ZOO), default=list(original.MODEL_ZOO))
    options.add_argument("--quick", action="store_true", help="tiny sizes and one repeat: measures nothing")
    options.add_argument("--out", type=Path, default=ROOT / "results/bench")
    options.add_argument(
        "--theirs",
        default=os.environ.get("ORIGINAL_PYTHON", str(ROOT / ".venv-bench/bin/python")),
        help="Python of the environment with the original's Paddle (make env-bench); also ORIGINAL_PYTHON",
    )
    args = options.parse_args()
    if args.repeats < 1:
        options.error("--repeats: at least 1")
    if not Path(args.theirs).exists():
        options.error(f"--theirs: {args.theirs} is not there; run make env-bench, or name another")
    work = args.out.resolve() / ("scratch-quick" if args.quick else "scratch")
    work.mkdir(parents=True, exist_ok=True)
    try:
        bench = prepare(args, work)
    except BenchError as error:
        say(f"stopped: {error}")
        return 1
    failed = []
    for part in args.parts:
        say(f"part {part}")
        env = harness.environment(bench)
        try:
            rows = PARTS[part](bench)
        except BenchError as error:
            failed.append(part)
            say(f"part {part} failed: {error}")
            continue
        results = harness.merge(harness.read(args.out / "bench.json"), rows, env)
        harness.write(args.out, results)
        print("\n".join(harness.table(rows)), flush=True)
    if failed:
        say(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def prepare(args: argparse.Namespace, work: Path) -> Bench:
    paddleseg = original.checkout(
        "PADDLESEG_ROOT", original.PADDLESEG, original.PADDLESEG_COMMIT, work.parent / "PaddleSeg", original.PARTS
    )
    autolog = original.autolog(work.parent / "AutoLog")
    versions = {
        "PaddleSeg": original.commit_of(paddleseg),
        "AutoLog": original.commit_of(autolog) if autolog else "none",
        **ours.python_version(args.theirs, "paddlepaddle", "numpy", "opencv-python-headless"),
    }
    return Bench(
        work=work,
        python=sys.executable,
        theirs=str(Path(args.theirs).absolute()),
        paddleseg=paddleseg,
        autolog=autolog,
        repeats=1 if args.quick else args.repeats,
        models=tuple(args.models),
        quick=args.quick,
        versions=versions,
    )


if __name__ == "__main__":
    sys.exit(main())
