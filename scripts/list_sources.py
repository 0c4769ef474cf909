"""Print where data sets and weights come from, as Markdown: the table of docs/data.md."""

import argparse
import sys
from pathlib import Path

import yaml

from segcert.data import sources


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("config", nargs="?", default="config/config.yaml", help="a whole configuration file")
    args = options.parse_args()
    print(sources.table(yaml.safe_load(Path(args.config).read_text(encoding="utf-8"))), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
