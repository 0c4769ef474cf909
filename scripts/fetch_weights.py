"""Bring a weight file into the results: from a path or a URL, out of an archive where it lies in one."""

import argparse
import shutil
import sys
from pathlib import Path

from segcert import archives, download, stage
from segcert.errors import StageError

SUFFIX = ".pdparams"


def take_out(file: Path, target: Path) -> str:
    """Copy the one weight file of an archive, or the file itself; the name it had there."""
    if file.suffix == SUFFIX or not _is_archive(file):
        shutil.copyfile(file, target)
        return file.name
    taken = None
    for name, _, stream in archives.members(file):
        if name.endswith(SUFFIX):
            if taken:
                raise StageError(f"{file}: holds two weight files, {taken} and {name}; name an archive with one")
            taken = name
            with target.open("wb") as out:
                shutil.copyfileobj(stream, out)
    if not taken:
        raise StageError(f"{file}: holds no {SUFFIX} file")
    return taken


def _is_archive(file: Path) -> bool:
    import tarfile
    import zipfile

    return zipfile.is_zipfile(file) or tarfile.is_tarfile(file)


def work(args: argparse.Namespace, staging: stage.Staging) -> stage.Result:
    name = args.location.rsplit("/", 1)[-1]
    folder = staging.path("download")
    folder.mkdir()
    file = download.obtain(args.source, args.location, args.sha256, folder / name)
    member = take_out(file, staging.path("weights"))
    size = staging.path("weights").stat().st_size
    return stage.Result({"device": "cpu", "weights": args.weights_name}, {"member": member, "bytes": size})


def main() -> int:
    options = stage.parser(__doc__)
    options.add_argument(
        "--stage", choices=["data", "train"], default="data", help="train: these are a model's released weights"
    )
    options.add_argument("--weights-name", required=True, help="entry of `weights` in the configuration")
    download.add_options(options)
    options.add_argument("--weights", required=True, help="the file to make")
    args = stage.parse(options)
    inputs = [args.location] if args.source == "path" else []
    plan = stage.Plan(
        args.stage, {"device": "cpu", "weights": args.weights_name}, inputs, {"weights": args.weights}, work
    )
    return stage.main(args, plan)


if __name__ == "__main__":
    sys.exit(main())
