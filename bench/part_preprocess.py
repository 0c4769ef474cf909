"""Preprocessing: this project's against PaddleSeg's transforms, each in a process of its own, in turns."""

from __future__ import annotations

import contextlib
import statistics

from contender import Contender
from harness import Bench, BenchError, row, say
from ours import dataset
from part_latency import SIZES

SIDES = ("ours", "theirs", "decode")


def preprocess(bench: Bench) -> list[dict]:
    """Milliseconds an image: whole, and without decoding the file, which both leave to the same OpenCV."""
    rows = []
    for model, layout in (("pp_humanseg_lite", "mini_supervisely"), ("pp_liteseg_stdc1", "cityscapes")):
        say(f"preprocess: {layout}")
        _, folder = dataset(bench, layout)
        images = sorted([*folder.rglob("Images/*.jpg"), *folder.rglob("leftImg8bit/*/*/*.png")])
        options = {
            "images": [str(image) for image in images[: 2 if bench.quick else 20]],
            "transforms": [{"type": "Resize", "target_size": list(SIZES[model])}, {"type": "Normalize"}],
        }
        samples: dict[str, list[float]] = {side: [] for side in SIDES}
        with contextlib.ExitStack() as stack:
            contenders = {
                side: stack.enter_context(
                    Contender(
                        side,
                        bench.python,
                        "worker_preprocess.py",
                        {**options, "side": side},
                        bench.work / f"logs/preprocess_{side}.log",
                    )
                )
                for side in SIDES
            }
            digests = {side: contender.ready()["digest"] for side, contender in contenders.items()}
            if digests["ours"] != digests["theirs"]:
                raise BenchError(f"{layout}: the two sides' inputs differ, so their times are no comparison")
            for _ in range(2 * bench.repeats):
                for side, contender in contenders.items():
                    samples[side] += contender.measure(rounds=1 if bench.quick else 3)
        decode = statistics.median(samples["decode"])
        note = f"{decode:.3g} ms of both are decoding, by the same OpenCV; outputs are equal bit for bit"
        against = "paddleseg.transforms"
        rows.append(
            row(f"preprocess/{layout}", samples["ours"], samples["theirs"], "ms", against, target=1.5, note=note)
        )
        rest = [[max(value - decode, 1e-3) for value in samples[side]] for side in ("ours", "theirs")]
        rows.append(row(f"preprocess/{layout} but decoding", *rest, "ms", against, target=1.5))
    return rows
