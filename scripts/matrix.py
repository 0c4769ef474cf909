"""Print every combination of a run, and whether it is run, skipped or unverified, and why."""

import argparse
import sys
from pathlib import Path

import yaml

from segcert import cells, listing, machine, sections, settings
from segcert.errors import ConfigError
from segcert.paths import SHIPPED


def load(args: argparse.Namespace) -> cells.CellTable:
    """The cell table of a run that was planned, or of a configuration, where no PaddleSeg is looked for."""
    if args.run_config:
        return cells.CellTable.of_run(yaml.safe_load(args.run_config.read_text(encoding="utf-8")))
    given = {"mode": args.mode, "hardware": args.hardware, "rules": args.rules, "params_file": args.params_file}
    overrides: dict = {}
    for file in args.configfile:
        overrides = sections.merge(overrides, yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    overrides = sections.merge(overrides, {key: value for key, value in given.items() if value})
    shipped = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    resolved = settings.resolve(sections.merge(shipped, overrides), overrides, str(SHIPPED))
    return cells.CellTable(resolved, machine.hardware(resolved["hardware"]))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    options.add_argument("--run-config", type=Path, help="run_config.yaml of a run; excludes the others")
    options.add_argument("--configfile", type=Path, action="append", default=[], help="as snakemake's")
    options.add_argument("--mode")
    options.add_argument("--hardware", choices=["auto", "cpu", "gpu"])
    options.add_argument("--rules", choices=["strict", "tipc"])
    options.add_argument("--params-file", nargs="+", help="TIPC params files or folders of them")
    args = options.parse_args()
    try:
        print(listing.text(load(args)), flush=True)
    except BrokenPipeError:  # `... | head`
        pass
    except (ConfigError, ValueError, OSError, yaml.YAMLError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
