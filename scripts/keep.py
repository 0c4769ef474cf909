"""Keep a compact copy of a run's conclusions for the history: no samples, no pictures, no logs. Prints its path."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from segcert import keeping
from segcert.errors import ConfigError
from segcert.stage.advice import with_advice


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--conclusions", type=Path, required=True, help="the run's conclusions.json")
    options.add_argument("--folder", type=Path, required=True, help="where copies are kept")
    args = options.parse_args()
    try:
        content = keeping.conclusions(args.conclusions)
        written = datetime.fromtimestamp(args.conclusions.stat().st_mtime, UTC).isoformat(timespec="seconds")
        path, kept, new = keeping.keep(content, args.folder, Path(), written.replace("+00:00", "Z"))
    except (ConfigError, OSError) as error:
        print(f"not kept: {with_advice(str(error), args.folder)}", file=sys.stderr)
        return 1
    commit = kept["commit"]
    why = f"; its commit is not known: {commit['why']}" if "why" in commit else ""
    print(f"{'kept' if new else 'kept already'}: {path} ({path.stat().st_size / 1e3:.0f} kB){why}", file=sys.stderr)
    print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
