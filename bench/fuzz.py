"""Run the property-based tests again and again, each round with another seed, until the time is over.

    .venv/bin/python bench/fuzz.py --seconds 600

They are the tests that pytest runs too: the readers of data sets, archives, weights, params files, benchmark
logs, records and status lines, and the masking of credentials. Prints what ran; the exit code is 1 where a round
failed, with the example that breaks the property, and 0 otherwise.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# hypothesis prints for each test and phase: "100 passing, 0 failing, and 3 invalid test cases"
TEST = re.compile(r"^(tests/\S+::\S+):$", re.M)
EXAMPLES = re.compile(r"(\d+) passing, (\d+) failing")


def round_of(seed: int) -> tuple[int, Counter[str], str]:
    """Exit code, examples by test, and the output of one round."""
    command = [sys.executable, "-m", "pytest", "-m", "hypothesis", "--durations=0", "-p", "no:cacheprovider"]
    command += [f"--hypothesis-seed={seed}", "--hypothesis-profile=default", "--hypothesis-show-statistics", "tests"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    examples: Counter[str] = Counter()
    parts = TEST.split(done.stdout)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        examples[name] += sum(int(passing) + int(failing) for passing, failing in EXAMPLES.findall(text))
    return done.returncode, examples, done.stdout + done.stderr


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=600, help="a round that began is ended")
    options.add_argument("--seed", type=int, default=int(time.time_ns() % 10**6), help="of the first round")
    args = options.parse_args()
    begun, seed, total = time.monotonic(), args.seed, Counter[str]()
    while True:
        code, examples, output = round_of(seed)
        total += examples
        if code != 0 or not sum(examples.values()):
            print(output)
            print(f"failed in the round with seed {seed}; again: bench/fuzz.py --seconds 0 --seed {seed}")
            return 1
        spent = time.monotonic() - begun
        print(f"seed {seed}: {sum(examples.values())} examples passed; {spent:.0f} of {args.seconds:.0f} s", flush=True)
        seed += 1
        if spent >= args.seconds:
            break
    for name, count in sorted(total.items()):
        print(f"{count:8} {name}")
    print(f"{sum(total.values())} examples of {len(total)} properties in {seed - args.seed} rounds, none failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
