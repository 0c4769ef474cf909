"""Paddle Inference with oneDNN keeps a convolution's filter of the first run, also one that is computed from the input.

python onednn-computed-filter.py          needs paddlepaddle (CPU); exit code 1: the fault is there; 0: it is mended
python onednn-computed-filter.py MODEL    whether a model's second answer is another than that of a new predictor: a
                                          folder with model.json and model.pdiparams of Paddle 3; 1: it is; 0: it is not
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import paddle
from paddle import inference

RUNS = 3
AROUND = "onednn_placement_pass"


class Attention(paddle.nn.Layer):
    """A convolution whose filter is made from the image, as in attention that is written as convolutions."""

    def __init__(self):
        super().__init__()
        self.first = paddle.nn.Conv2D(3, 8, 3, padding=1)

    def forward(self, image):
        found = self.first(image)
        filters = paddle.nn.functional.adaptive_avg_pool2d(found, 2).transpose([0, 2, 3, 1]).reshape([4, 8, 1, 1])
        return paddle.nn.functional.conv2d(found, filters)


def predictor_of(stem, onednn, without=()):
    config = inference.Config(f"{stem}.json", f"{stem}.pdiparams")
    config.disable_glog_info()
    config.disable_gpu()
    config.enable_mkldnn() if onednn else config.disable_mkldnn()
    for name in without:
        config.delete_pass(name)
    return inference.create_predictor(config)


def run(predictor, image):
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def compare(stem, shape):
    """Print how far each answer of one predictor is from a new predictor's; how many of them are another."""
    images = [np.random.default_rng(seed).standard_normal(shape).astype("float32") for seed in range(RUNS)]
    wrong = 0
    for kernels, how in {
        "Paddle's own kernels": (False,),
        "oneDNN": (True,),
        f"oneDNN without {AROUND}": (True, (AROUND,)),
    }.items():
        predictor = predictor_of(stem, *how)
        for number, image in enumerate(images, 1):
            one, new = run(predictor, image), run(predictor_of(stem, *how), image)
            differ = float(np.mean(~np.isclose(one, new, rtol=1e-3, atol=1e-5)))
            wrong += differ > 1e-3
            print(f"{kernels}, run {number}: {differ:.2%} of numbers differ from those of a new predictor")
    print(f"{wrong} of {3 * RUNS} answers depend on what was asked before")
    return wrong


def main():
    print(f"paddlepaddle {paddle.__version__} ({paddle.version.commit}), numpy {np.__version__}")
    if len(sys.argv) > 1:
        folder = Path(sys.argv[1])
        (block, *_) = json.loads((folder / "model.json").read_text(encoding="utf-8"))["program"]["regions"][0]["blocks"]
        shapes = [one["O"][0]["TT"]["D"][1] for one in block["ops"] if one["#"].rpartition(".")[2] == "data"]
        return int(compare(folder / "model", [1, *shapes[0][1:]]) > 0)
    paddle.seed(0)
    model = Attention()
    model.eval()
    shape = (1, 3, 16, 32)
    spec = [paddle.static.InputSpec(shape, "float32", name="image")]
    with tempfile.TemporaryDirectory() as folder:
        paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), f"{folder}/model")
        return int(compare(f"{folder}/model", shape) > 0)


if __name__ == "__main__":
    sys.exit(main())
