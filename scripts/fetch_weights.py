"""Bring a weight file into the results: from a path or a URL, out of an archive where it lies in one."""

import argparse
import shutil
import sys
from pathlib import Path

from segcert import stages
from segcert.data import archives, download
from segcert.errors import StageError
from segcert.requests.weights import Weights
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging

SUFFIX = ".pdparams"


def take_out(file: Path, target: Path) -> str:
    """Copy the one weight file of an archive, or the file itself; the name it had there."""
    if not archives.kind(file):
        shutil.copyfile(file, target)
        return file.name
    taken = None
    for name, size, stream in archives.members(file):
        own = name.rsplit("/", 1)[-1]
        if name.startswith("__MACOSX/") or own.startswith("._") or not own.endswith(SUFFIX):
            continue
        if taken:
            raise StageError(f"{file}: holds two weight files, {taken} and {name}; name an archive with one")
        taken = name
        with target.open("wb") as out:
            archives.copy(file, name, size, stream, out)
    if not taken:
        raise StageError(f"{file}: holds no {SUFFIX} file")
    return taken


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.data import checkpoints

    weights = staging.path("weights")
    with download.obtained(args) as file:
        member = take_out(file.path, weights)
        arrays = checkpoints.check(weights, f"{file.path.name}: {member}")
    metrics = {
        "source_sha256": file.sha256,
        "fetched_from": file.fetched_from,
        "member": member,
        "arrays": arrays,
        "bytes": weights.stat().st_size,
    }
    return Result({"device": "cpu", "weights": args.weights_name}, metrics)


def main() -> int:
    options = parser(__doc__)
    options.add_argument(
        "--stage",
        choices=[stages.DATA.name, stages.RELEASED.name],
        default=stages.DATA.name,
        help=f"{stages.RELEASED.name}: these are a model's released weights",
    )
    Weights.add_to(options)
    download.add_options(options)
    options.add_argument("--weights", required=True, help="the file to make")
    args = parse(options)
    inputs = [args.location] if args.source == "path" else []
    plan = Plan(args.stage, Weights.of(args).requested, inputs, {"weights": args.weights}, work)
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
