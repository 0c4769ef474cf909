"""Make results/data/<dataset>.tar: generated, from an archive on this machine, or from a URL."""

import argparse
import sys
from pathlib import Path

from segcert import layouts, stages
from segcert.data import download
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.data import archives

    made = staging.path("tarball")
    if args.source == "synthetic":
        from segcert.data import synthetic

        images = dict(zip(("train", "val", "test"), args.images, strict=True))
        synthetic.write_tar(made, args.layout, images, args.seed, tuple(args.size) if args.size else None)
        metrics = {}
    elif args.source == "folder":
        from segcert.data import folders

        metrics = {"files": folders.to_tar(Path(args.location), args.layout, dict(args.list), made)}
    else:
        with download.obtained(args) as file:
            metrics = {
                "source_sha256": file.sha256,
                "fetched_from": file.fetched_from,
                "files": archives.to_tar(file.path, made),
            }
    return Result({"source": args.source}, {**metrics, "bytes": made.stat().st_size})


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--layout", required=True, choices=list(layouts.BY_NAME))
    download.add_options(options, "synthetic", "folder")
    options.add_argument(
        "--list", nargs=2, action="append", default=[], metavar=("SPLIT", "FILE"), help="folder: another list file"
    )
    options.add_argument(
        "--images", nargs=3, type=int, metavar=("TRAIN", "VAL", "TEST"), help="synthetic: images by split"
    )
    options.add_argument("--size", nargs=2, type=int, metavar=("W", "H"), help="synthetic: size of the images")
    options.add_argument("--seed", type=int, default=0, help="synthetic: seed")
    options.add_argument("--tarball", required=True, help="the tar to make")
    args = parse(options)
    plan = Plan(
        stages.DATA.name,
        {"source": args.source},
        [args.location] if args.source == "path" else [],
        {"tarball": args.tarball},
        work,
    )
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
