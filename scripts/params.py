"""Check TIPC params files: `python scripts/params.py lint FILE_OR_FOLDER ...`. Exit code 1 where one has errors."""

import argparse
import sys
from pathlib import Path

import yaml

from segcert.paths import SHIPPED
from segcert.tipc import layer, params


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    commands = options.add_subparsers(dest="command", required=True)
    lint = commands.add_parser("lint", help="every error with its file and line", allow_abbrev=False)
    lint.add_argument("paths", nargs="+", metavar="FILE_OR_FOLDER", help=f"folders: every {layer.PATTERN}")
    lint.add_argument("--paddleseg-root", help="folder that paths in the files start from; default: found from them")
    lint.add_argument("--config", type=Path, default=SHIPPED, help="configuration whose models are known")
    args = options.parse_args()
    config = yaml.safe_load(args.config.read_text(encoding="utf-8"))
    try:
        meanings, problems = layer.lint(args.paths, config, args.paddleseg_root)
    except params.ParamsError as error:
        meanings, problems = [], error.problems
    for problem in problems:
        print(problem)
    errors = sum(problem.error for problem in problems)
    print(f"{len(meanings)} understood, {errors} errors, {len(problems) - errors} warnings", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
