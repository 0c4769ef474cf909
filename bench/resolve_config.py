"""Write a model's configuration as one plain PaddleSeg file, with data set and size laid over it.

    python bench/resolve_config.py config/models/MODEL.yml --dataset FOLDER [--size W H] --out FILE

--no-random leaves out what is random in the training's transforms, so that two trainings see the same data.
"""

import argparse
import sys
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from segcert.stage import deferred

deferred.defer()

from segcert.compute import components, losses  # noqa: E402

RANDOM = ("Random", "ResizeStepScaling")


def restored(content: object, names: dict[str, str]) -> object:
    if isinstance(content, dict):
        return {key: restored(value, names) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [restored(item, names) for item in content]
    return names.get(content, content) if isinstance(content, str) else content


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("config")
    options.add_argument("--dataset", required=True)
    options.add_argument("--size", nargs=2, type=int)
    options.add_argument("--no-random", action="store_true")
    options.add_argument("--out", required=True, type=Path)
    args = options.parse_args()
    config = components.load_config(args.config, args.dataset, args.size, iters=10, batch_size=2)
    content = restored(config.dic, {own: theirs for theirs, own in losses.CORRECTED.items()})
    if args.no_random:
        kept = [item for item in content["train_dataset"]["transforms"] if not item["type"].startswith(RANDOM)]
        if not any(item["type"] == "Resize" for item in kept):
            kept.insert(0, {"type": "Resize", "target_size": args.size})
        content["train_dataset"]["transforms"] = kept
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


if __name__ == "__main__":
    main()
