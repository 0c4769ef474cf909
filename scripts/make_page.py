"""Make conclusions.html from conclusions.json and the files of the run."""

import argparse
import sys
from pathlib import Path

from segcert.show import page


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--conclusions", type=Path, required=True, help="conclusions.json of the run's folder")
    options.add_argument("--run-config", type=Path, required=True, help="the run's run_config.yaml")
    options.add_argument("--page", type=Path, required=True, help="the page to write")
    args = options.parse_args()
    size = page.write(args.conclusions, args.run_config, args.page)
    print(f"page: {args.page} ({size / 1e6:.1f} MB), for any browser", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
