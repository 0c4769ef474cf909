"""Make the history of all kept runs: a static folder with index.html, history.json and badge.json."""

import argparse
import json
import sys
from pathlib import Path

from segcert import comparison, keeping, trends
from segcert.errors import ConfigError
from segcert.show import trendpage
from segcert.stage.advice import with_advice


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--kept", type=Path, required=True, help="the folder of kept runs")
    options.add_argument("--folder", type=Path, required=True, help="the folder to make")
    options.add_argument("--mode", help="the mode that --settings are of; of other modes those that are shipped count")
    options.add_argument("--settings", type=json.loads, help="section `compare` as JSON")
    args = options.parse_args()

    def tolerances(mode: str) -> comparison.Tolerances:
        own = args.settings if mode == args.mode else None
        return comparison.Tolerances.of(own or comparison.shipped_section(mode))

    try:
        runs, broken = keeping.read_all(args.kept)
        found = trends.collect(runs, tolerances)
        trendpage.write(args.folder, runs, broken, found)
    except (ConfigError, OSError) as error:
        print(f"no history: {with_advice(str(error), args.folder)}", file=sys.stderr)
        return 1
    for line in broken:
        print(f"not in the history: {line}", file=sys.stderr)
    changes = sum(len(series.changes) for series in found)
    print(
        f"history: {args.folder / 'index.html'} ({len(runs)} runs, {len(found)} series, {changes} steps); "
        f"badge: {trends.badge(runs, broken)['message']}",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
