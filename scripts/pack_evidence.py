"""Pack what a run left in writing into one file: records, logs, versions, what the driver says; no weights."""

import argparse
import sys
from pathlib import Path

from segcert.show import evidencepack
from segcert.stage.advice import with_advice


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--run-config", type=Path, required=True, help="the run's run_config.yaml")
    options.add_argument("--python", help="the interpreter of the stages, for its versions")
    options.add_argument("--but", action="append", default=[], metavar="FILE", help="a file that stays out")
    options.add_argument("--pack", type=Path, required=True, help="the zip to write")
    args = options.parse_args()
    try:
        made = evidencepack.pack(args.run_config, args.python, args.pack, args.but)
    except OSError as error:
        print(f"no evidence: {with_advice(str(error), args.pack.parent)}", file=sys.stderr)
        return 1
    print(
        f"evidence: {args.pack} ({made.bytes / 1e6:.1f} MB, {len(made.names)} files, {len(made.missing)} missing, "
        f"{len(made.left_out)} left out): this one file is to be sent",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
