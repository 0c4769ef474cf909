"""Compare the conclusions of two runs. Exit code 1: the candidate got worse; 2: there was nothing to compare."""

import argparse
import json
import sys
from pathlib import Path

from segcert import comparison, keeping
from segcert.errors import ConfigError
from segcert.files import write_json, write_text
from segcert.show import compared, forge


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    several = "; several are repeats of one run"
    options.add_argument(
        "--baseline",
        type=Path,
        nargs="+",
        required=True,
        help=f"conclusions.json, or kept ones, to compare with{several}",
    )
    options.add_argument("--candidate", type=Path, nargs="+", required=True, help=f"those that are judged{several}")
    options.add_argument("--settings", type=json.loads, help="section `compare` as JSON, if not the shipped one")
    options.add_argument("--markdown", type=Path, help="the comparison to read")
    options.add_argument("--json", type=Path, help="the comparison as data")
    options.add_argument("--summary", type=Path, help="a job summary of GitHub's to add it to, what got worse first")
    options.add_argument("--comment", type=Path, help="the same as long as a comment there may be")
    args = options.parse_args()
    try:
        runs = keeping.alike([keeping.conclusions(path) for path in (*args.baseline, *args.candidate)])
        baseline = comparison.pool(runs[: len(args.baseline)])
        candidate = comparison.pool(runs[len(args.baseline) :], candidate=True)
        tolerances = comparison.Tolerances.of(args.settings or comparison.shipped_section(candidate["mode"]))
        found = comparison.compare(baseline, candidate, tolerances)
        _write(found, args)
    except (ConfigError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(compared.summary(found))
    if found.regressed:
        return 1
    return 0 if found.cells_compared else 2


def _write(found: comparison.Comparison, args: argparse.Namespace) -> None:
    if args.markdown:
        write_text(args.markdown, compared.markdown(found))
    if args.json:
        write_json(args.json, found.as_json())
    if args.summary:
        before = args.summary.stat().st_size if args.summary.exists() else 0
        told = forge.text(found, forge.SUMMARY_BYTES - before)
        with args.summary.open("a", encoding="utf-8") as stream:  # what other steps wrote stays
            stream.write(told)
        if not told:
            print(f"{args.summary}: nothing was added: {before} bytes are there already", file=sys.stderr)
    if args.comment:
        write_text(args.comment, forge.text(found, forge.COMMENT_BYTES))


if __name__ == "__main__":
    sys.exit(main())
