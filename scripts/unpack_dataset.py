"""Unpack a data set's tar into its folder, look at every image and label, and list every file in manifest.json."""

import argparse
import sys
from pathlib import Path

from segcert import layouts, stages
from segcert.data import archives
from segcert.files import write_json
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.data import classes, inspection
    from segcert.data.layouts import find_root

    unpacked = staging.path("unpacked")
    archives.unpack(Path(args.tarball), unpacked)
    root = find_root(unpacked, args.layout)
    found = inspection.inspect(root, args.layout, args.cell, args.threads)
    classes.require_a_model(args.cell, root, found.manifest, found.values)
    write_json(root / "manifest.json", found.manifest)
    root.rename(staging.path("dataset"))
    counts = {f"{split}_images": len(pairs) for split, pairs in found.manifest["splits"].items()}
    sizes = [file["bytes"] for file in found.manifest["files"]]
    metrics = {**counts, "files": len(sizes), "bytes": sum(sizes), "notes": found.notes}
    return Result({"layout": args.layout}, metrics)


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--layout", required=True, choices=list(layouts.BY_NAME))
    options.add_argument("--tarball", required=True, help="the tar to unpack")
    options.add_argument("--dataset", required=True, help="the folder to make")
    options.add_argument("--threads", type=int, default=1, help="files to look at at a time")
    args = parse(options)
    plan = Plan(stages.DATA.name, {"layout": args.layout}, [args.tarball], {"dataset": args.dataset}, work)
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
