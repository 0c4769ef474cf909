"""Look whether this machine can give evidence of a GPU, and say what to type where it cannot. `make gpu-evidence`
begins with this."""

import argparse
import sys
from pathlib import Path

from segcert import readiness


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--stages", type=Path, required=True, help="folder of the stages' environment")
    options.add_argument("--anyway", action="store_true", help="go on with what there is")
    args = options.parse_args()
    problems = readiness.hindrances(args.stages)
    for problem in problems:
        print(f"gpu-evidence: {problem}", file=sys.stderr)
    for remark in readiness.remarks(args.stages):
        print(f"note: {remark}", file=sys.stderr)
    if not problems:
        return 0
    if args.anyway:
        print("gpu-evidence: going on all the same: what needs a GPU will be unverified", file=sys.stderr)
        return 0
    print(
        "gpu-evidence: nothing was started. With ANYWAY=1 it goes on with what there is: what needs a GPU is then "
        "unverified",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
