"""From image files to a model's input: this project's way or PaddleSeg's, in a process of its own."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))


def build(options):
    import hashlib

    import cv2

    from segcert.compute import preprocess

    sides = {
        "ours": preprocess.Preprocess,
        "theirs": preprocess._paddleseg_transforms,
        "decode": lambda transforms: cv2.imread,
    }
    run, images = sides[options["side"]](options["transforms"]), options["images"]
    digest = hashlib.sha256(b"".join(run(image).tobytes() for image in images)).hexdigest()

    def measure(rounds):
        spans = []
        for _ in range(rounds):
            for image in images:
                begun = time.perf_counter()
                run(image)
                spans.append((time.perf_counter() - begun) * 1000)
        return spans

    measure(1)
    return {"digest": digest}, measure
