"""Make a folder that stands alone for one cell that failed: model, input, what is right, and a script that shows it."""

import argparse
import sys

from segcert.checkout import tree
from segcert.errors import ConfigError, StageError
from segcert.reproduction import making
from segcert.stage import at_hand


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--cell", required=True, metavar="RECORD", help="the record of the cell")
    options.add_argument(
        "--paddleseg", default=tree.INSTALLED, metavar="FOLDER", help="the PaddleSeg to import: installed, or a folder"
    )
    args = options.parse_args()
    try:
        at_hand.pin(args.paddleseg)
        folder, how = making.make(args.cell, None if args.paddleseg == tree.INSTALLED else args.paddleseg)
    except (OSError, ConfigError, StageError) as error:
        print(f"no reproduction: {error}", file=sys.stderr)
        return 1
    print(f"reproduction: {folder}, {folder}.zip: {how}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
