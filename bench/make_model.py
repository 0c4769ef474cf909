"""Make a checkpoint with seeded weights and export it: python bench/make_model.py CONFIG WIDTH HEIGHT FOLDER

What a model computes takes the same time whatever its weights are, as long as they are of sane size.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

from segcert.stage import deferred

deferred.defer()

import paddle  # noqa: E402

from segcert.compute import components, exporting  # noqa: E402
from segcert.requests.export import Export  # noqa: E402


def main(path: str, width: str, height: str, folder: str) -> None:
    size = int(width), int(height)
    components.seed_all(1)
    model = components.builder(components.load_config(path, input_size=size)).model
    checkpoint = Path(folder) / "model.pdparams"
    paddle.save(model.state_dict(), str(checkpoint))
    result = exporting.export(Export(input_size=size), path, str(checkpoint), Path(folder) / "export")
    (Path(folder) / "multiply_adds").write_text(str(result.metrics["multiply_adds"]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
