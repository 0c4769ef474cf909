"""oneDNN in bfloat16: a batched matrix product before a convolution is taken for a convolution itself.

python onednn-bf16-matmul.py        needs paddlepaddle (CPU); exit code 1: the fault is there; 0: it is mended;
                                    2: this CPU has no bfloat16
"""

import sys
import tempfile

import numpy as np
import paddle
from paddle import inference


class Gather(paddle.nn.Layer):
    """OCRNet's spatial gather and the first layer behind it: features of the objects, by weights of the pixels."""

    def __init__(self):
        super().__init__()
        self.weights, self.features = paddle.nn.Conv2D(3, 8, 1), paddle.nn.Conv2D(3, 8, 1)
        self.behind = paddle.nn.Conv2D(8, 4, 1)

    def forward(self, image):
        weights = paddle.nn.functional.softmax(paddle.reshape(self.weights(image), [0, 8, -1]), axis=2)
        features = paddle.transpose(paddle.reshape(self.features(image), [0, 8, -1]), [0, 2, 1])
        objects = paddle.transpose(paddle.bmm(weights, features), [0, 2, 1])
        return self.behind(paddle.unsqueeze(objects, -1))


def predicted(stem, image, bfloat16):
    config = inference.Config(f"{stem}.json", f"{stem}.pdiparams")
    config.disable_glog_info()
    config.disable_gpu()
    config.enable_mkldnn()
    if bfloat16:
        config.enable_mkldnn_bfloat16()
    predictor = inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def main():
    print(f"paddlepaddle {paddle.__version__} ({paddle.version.commit}), numpy {np.__version__}")
    model = Gather()
    model.eval()
    image = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype("float32")
    right = model(paddle.to_tensor(image)).numpy()
    with tempfile.TemporaryDirectory() as folder:
        stem = f"{folder}/model"
        spec = [paddle.static.InputSpec([1, 3, 8, 8], "float32", name="x")]
        paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), stem)
        print(f"oneDNN in float32: runs, largest error {np.abs(predicted(stem, image, False) - right).max():.1g}")
        try:
            off = float(np.abs(predicted(stem, image, True) - right).max())
        except Exception as error:
            print(f"oneDNN in bfloat16: {type(error).__name__}: {' '.join(str(error).split())[-400:]}")
            return 1
    print(f"oneDNN in bfloat16: runs, largest error {off:.3g}; values are about 1")
    if off < 1e-4:  # bfloat16 keeps 8 bits
        print("it computed in float32, because this CPU has no bfloat16: nothing is shown")
        return 2
    return int(off > 0.1)


if __name__ == "__main__":
    sys.exit(main())
