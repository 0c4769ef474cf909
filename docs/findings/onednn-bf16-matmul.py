"""cpu_bfloat16_pass of Paddle 3.2 and 3.3 takes a batched matrix product after a convolution for a convolution.

python onednn-bf16-matmul.py        needs paddlepaddle (CPU); exit code 1: the fault is there; 0: it is mended
"""

import sys
import tempfile

import numpy as np
import paddle
from paddle import inference


class Attention(paddle.nn.Layer):
    """Features and their weights from two convolutions, flattened and multiplied: OCRNet's spatial gather."""

    def __init__(self):
        super().__init__()
        self.features, self.weights = paddle.nn.Conv2D(3, 8, 1), paddle.nn.Conv2D(3, 4, 1)

    def forward(self, image):
        features = paddle.transpose(paddle.flatten(self.features(image), 2), [0, 2, 1])
        weights = paddle.nn.functional.softmax(paddle.flatten(self.weights(image), 2), axis=2)
        return paddle.bmm(weights, features)


def main():
    print(f"paddlepaddle {paddle.__version__} ({paddle.version.commit})")
    model = Attention()
    model.eval()
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype("float32")
    right = model(paddle.to_tensor(image)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        stem = f"{folder}/model"
        spec = [paddle.static.InputSpec([1, 3, 8, 8], "float32", name="x")]
        paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), stem)
        config = inference.Config(f"{stem}.json", f"{stem}.pdiparams")
        config.disable_glog_info()
        config.disable_gpu()
        config.enable_mkldnn()
        config.enable_mkldnn_bfloat16()
        try:
            predictor = inference.create_predictor(config)
            predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
            predictor.run()
        except Exception as error:
            print(f"oneDNN in bfloat16: {type(error).__name__}: {' '.join(str(error).split())[-400:]}")
            return 1
        given = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    off = float(np.abs(given - right).max())
    print(f"oneDNN in bfloat16: runs, largest error {off:.3g}; values are about 1")
    return int(off > 0.1)


if __name__ == "__main__":
    sys.exit(main())
