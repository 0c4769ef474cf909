"""Compare the conclusions of two runs. Exit code 1: the candidate got worse; 2: there was nothing to compare."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from segcert import SCHEMA_VERSION, comparison, sections, statuses
from segcert.errors import ConfigError
from segcert.files import write_json, write_text
from segcert.paths import SHIPPED
from segcert.show import compared


def read(path: Path) -> dict[str, Any]:
    """The content of a conclusions.json.

    Raises:
        ConfigError: there is none, or it is another kind of file, or of a version with other statuses.
    """
    mode = path.resolve().parent.name
    make = (
        f"`snakemake --cores all --config mode={mode}` makes it" if path.name == "conclusions.json" else "name another"
    )
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): {make}") from None
    except ValueError as error:
        raise ConfigError(f"{path}: not strict JSON: {error}; {make}") from None
    if not isinstance(found, dict) or found.get("schema_version") != SCHEMA_VERSION or "cells" not in found:
        raise ConfigError(f"{path}: not the conclusions of a run, of schema_version {SCHEMA_VERSION}; {make}")
    told = [cell["status"] for cell in found["cells"]] + [item["verdict"] for item in found.get("certificates", ())]
    if unknown := sorted(set(told) - statuses.BY_NAME.keys()):
        raise ConfigError(f"{path}: unknown status {', '.join(unknown)}; one of {', '.join(statuses.BY_NAME)}")
    return found


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not a number of JSON")


def shipped_section(mode: str) -> Mapping[str, Any]:
    """The section `compare` of the shipped configuration in a mode."""
    config = yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))
    return sections.merge(config["compare"], config["modes"].get(mode, {}).get("compare", {}))


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    several = "; several are repeats of one run"
    options.add_argument(
        "--baseline", type=Path, nargs="+", required=True, help=f"conclusions.json to compare with{several}"
    )
    options.add_argument("--candidate", type=Path, nargs="+", required=True, help=f"those that are judged{several}")
    options.add_argument("--settings", type=json.loads, help="section `compare` as JSON, if not the shipped one")
    options.add_argument("--markdown", type=Path, help="the comparison to read")
    options.add_argument("--json", type=Path, help="the comparison as data")
    args = options.parse_args()
    try:
        baseline = comparison.pool([read(path) for path in args.baseline])
        candidate = comparison.pool([read(path) for path in args.candidate], candidate=True)
        tolerances = comparison.Tolerances.of(args.settings or shipped_section(candidate["mode"]))
        found = comparison.compare(baseline, candidate, tolerances)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    if args.markdown:
        write_text(args.markdown, compared.markdown(found))
    if args.json:
        write_json(args.json, found.as_json())
    print(compared.summary(found))
    return 1 if found.regressed else 0


if __name__ == "__main__":
    sys.exit(main())
