"""Unpack a data set's tar into its folder and list every file in manifest.json."""

import argparse
import sys
from pathlib import Path

from segcert import stages
from segcert.data import archives, layouts
from segcert.files import sha256, write_json
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    unpacked = staging.path("unpacked")
    archives.unpack(Path(args.tarball), unpacked)
    root = layouts.find_root(unpacked, args.layout)
    splits = layouts.splits(root, args.layout)
    layouts.check_sizes(root, splits)
    files = [
        {"path": path.relative_to(root).as_posix(), "bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(root.rglob("*"))
        if path.is_file()
    ]
    manifest = {"dataset": args.cell, "layout": args.layout, "splits": splits, "files": files}
    write_json(root / "manifest.json", manifest)
    root.rename(staging.path("dataset"))
    counts = {f"{split}_images": len(pairs) for split, pairs in splits.items()}
    return Result(
        {"layout": args.layout}, {**counts, "files": len(files), "bytes": sum(file["bytes"] for file in files)}
    )


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--layout", required=True, choices=["mini_supervisely", "cityscapes"])
    options.add_argument("--tarball", required=True, help="the tar to unpack")
    options.add_argument("--dataset", required=True, help="the folder to make")
    args = parse(options)
    plan = Plan(stages.DATA.name, {"layout": args.layout}, [args.tarball], {"dataset": args.dataset}, work)
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
