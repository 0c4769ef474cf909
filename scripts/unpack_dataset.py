"""Unpack a data set's tar into its folder, look at every image and label, and list every file in manifest.json."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from segcert.data import archives, layouts
from segcert.errors import StageError
from segcert.files import sha256, write_json
from segcert.stage import entry
from segcert.stage.plan import Plan, parse, parser
from segcert.stage.worker import Result, Staging


def work(args: argparse.Namespace, staging: Staging) -> Result:
    from segcert.data import classes, inspection

    unpacked = staging.path("unpacked")
    archives.unpack(Path(args.tarball), unpacked)
    root = layouts.find_root(unpacked, args.layout)
    splits = layouts.splits(root, args.layout, args.cell)
    inspected = inspection.inspect(root, splits, args.layout, args.threads, args.cell)
    manifest = {
        "dataset": args.cell,
        "layout": args.layout,
        "splits": splits,
        "counts": inspected.counts,
        "files": files(args.cell, root, inspected.hashes),
    }
    classes.require_a_model(args.cell, root, manifest, inspected.values)
    write_json(root / "manifest.json", manifest)
    root.rename(staging.path("dataset"))
    counts = {f"{split}_images": len(pairs) for split, pairs in splits.items()}
    size = sum(file["bytes"] for file in manifest["files"])
    metrics = {**counts, "files": len(manifest["files"]), "bytes": size, "notes": inspected.notes}
    return Result({"layout": args.layout}, metrics)


def files(dataset: str, root: Path, hashes: Mapping[str, str]) -> list[dict[str, Any]]:
    """Path, size and hash of every file of a data set, but for a manifest that it brought along.

    Args:
        hashes: those that are known.

    Raises:
        StageError: with the names that cannot be written down.
    """
    found = []
    odd = []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or name == "manifest.json":
            continue
        try:
            name.encode()
        except UnicodeEncodeError:
            odd.append(f"{name!a} is no name in UTF-8; rename the file")
            continue
        found.append({"path": name, "bytes": path.stat().st_size, "sha256": hashes.get(name) or sha256(path)})
    if odd:
        raise StageError.of(dataset, odd)
    return found


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--layout", required=True, choices=["mini_supervisely", "cityscapes"])
    options.add_argument("--tarball", required=True, help="the tar to unpack")
    options.add_argument("--dataset", required=True, help="the folder to make")
    options.add_argument("--threads", type=int, default=1, help="files to look at at a time")
    args = parse(options)
    plan = Plan("data", {"layout": args.layout}, [args.tarball], {"dataset": args.dataset}, work)
    return entry.run(args, plan)


if __name__ == "__main__":
    sys.exit(main())
