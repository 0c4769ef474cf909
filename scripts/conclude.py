"""Work out the conclusions of a run from its records. The exit code is 1 where the run is red."""

import argparse
import sys
from pathlib import Path

import yaml

from segcert import cells, conclusions
from segcert.show import report
from segcert.stage.advice import with_advice


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--run-config", type=Path, required=True, help="the run's run_config.yaml")
    options.add_argument(
        "--json", type=Path, required=True, help="conclusions.json of the run's folder; the others go beside it"
    )
    options.add_argument("--lost", action="append", default=[], help="record of a job that failed and left none")
    args = options.parse_args()
    run = yaml.safe_load(args.run_config.read_text(encoding="utf-8"))
    table = cells.CellTable.of_run(run)
    found = conclusions.conclude(table, args.lost, run.get("paddleseg"))
    try:
        report.write(found, args.json.parent)
    except OSError as error:
        print(f"no conclusions: {with_advice(str(error), args.json.parent)}", file=sys.stderr)
        return 1
    print(report.summary(found, args.json.parent), file=sys.stderr)
    return 1 if found.red else 0


if __name__ == "__main__":
    sys.exit(main())
