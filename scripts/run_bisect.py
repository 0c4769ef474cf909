"""Search the first of several candidates in which a cell is worse. Exit code 1: it is not known; 2: no search."""

import argparse
import sys
from pathlib import Path

from segcert import bisecting
from segcert.errors import ConfigError, StageError
from segcert.series import probes
from segcert.series.alone import alone
from segcert.series.nested import Plan


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--plan", type=Path, required=True, help="what the run that is started by the user hands on")
    options.add_argument("--folder", type=Path, required=True, help="results/bisect/<name>, where all of it goes")
    args = options.parse_args()
    try:
        plan = Plan.read(args.plan)
        asked = probes.question(plan)
        with alone(args.folder):
            answer = probes.Search(plan, asked, args.folder).run()
    except (ConfigError, StageError) as error:
        print(error, file=sys.stderr)
        return 2
    print(bisecting.sentence(answer, asked.names, asked.what))
    print(args.folder / probes.TEXT)
    return 0 if answer.kind == bisecting.FOUND else 1


if __name__ == "__main__":
    sys.exit(main())
