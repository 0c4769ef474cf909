"""Run the matrix on several sides in turns, and say of each whether to upgrade to it. Exit code 1: not to every one."""

import argparse
import sys
from pathlib import Path

from segcert import sides, upgrading
from segcert.comparison import Tolerances
from segcert.errors import ConfigError
from segcert.series import turns
from segcert.series.alone import alone
from segcert.series.nested import Plan


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--plan", type=Path, required=True, help="what the run that is started by the user hands on")
    options.add_argument("--folder", type=Path, required=True, help="results/upgrade/<name>, where all of it goes")
    args = options.parse_args()
    try:
        plan = Plan.read(args.plan)
        tolerances = Tolerances.of(plan.settings["compare"])
        asked = sides.parse(plan.settings["sides"], "sides")
        with alone(args.folder):
            turns.forget(args.folder)
            tried = turns.run(plan, asked, plan.settings["upgrade"]["repeats"], args.folder)
            found = upgrading.judge(args.folder.name, plan.mode, tried, tolerances)
            turns.write(found, args.folder)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    for sentence in found.sentences:
        print(sentence)
    print(f"{args.folder}/upgrade.md, {args.folder}/upgrade.html")
    return 1 if found.failed else 0


if __name__ == "__main__":
    sys.exit(main())
