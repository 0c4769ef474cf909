"""Exports a checkpoint, as PaddleSeg's tools/export.py does, and runs what came of it: README.md tells of which fault.

Needs paddlepaddle and PaddleSeg, and nothing else.
Exit code 1: the fault shows; 0: it does not; 2: a package is not installed.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

AGREE = 0.999  # share of pixels, at least


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    asked = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    try:
        import numpy as np
        import paddle
        import paddleseg.models  # noqa: F401  (it registers them)
        from paddleseg.cvlibs import SegBuilder
        from paddleseg.deploy.export import WrappedModel
    except ImportError as error:
        print(f"{error}: paddlepaddle {asked['version']} and PaddleSeg are needed")
        return 2
    print(f"paddlepaddle {paddle.__version__}")
    paddle.set_device("cpu")
    for batch in (None, 1):
        model = SegBuilder(None).build_component(asked["model"])  # anew: a failed export may leave its graph in layers
        with np.load(folder / "weights.npz") as weights:
            model.set_state_dict({name: paddle.to_tensor(weights[name]) for name in weights})
        wrapped = model if asked["output_op"] == "none" else WrappedModel(model, asked["output_op"])
        wrapped.eval()
        try:
            share = exported(wrapped, asked["input_size"], batch)
        except Exception as error:
            print(f"batches of {batch or 'any size'}: cannot be exported: {type(error).__name__}: {error}")
            continue
        print(f"batches of {batch or 'any size'}: agrees with the model on {share:.5f} of pixels, {AGREE} is asked")
        if share >= AGREE:
            print("the fault does not show")
            return 0
    print("the fault shows")
    return 1


def exported(model: Any, size: tuple[int, int], batch: int | None) -> float:
    """Exports the model, runs the program; the share of pixels on which the classes are the model's."""
    import numpy as np
    import paddle
    from paddle import inference

    width, height = size
    image = np.random.default_rng(0).standard_normal((batch or 1, 3, height, width)).astype("float32")
    right = model(paddle.to_tensor(image))[0].numpy()
    spec = [paddle.static.InputSpec([batch or -1, 3, height, width], "float32", name="x")]
    with tempfile.TemporaryDirectory() as place:
        stem = f"{place}/model"
        paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), stem)
        program = next(path for path in Path(place).iterdir() if path.suffix in (".json", ".pdmodel"))
        config = inference.Config(str(program), f"{stem}.pdiparams")
        config.disable_glog_info()
        config.disable_gpu()
        config.disable_mkldnn()
        predictor = inference.create_predictor(config)
        handle = predictor.get_input_handle(predictor.get_input_names()[0])
        handle.copy_from_cpu(image)
        predictor.run()
        given = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    given, right = (one.argmax(axis=1) if one.ndim == 4 else one for one in (given, right))
    return float(np.mean(given == right))


if __name__ == "__main__":
    sys.exit(main())
