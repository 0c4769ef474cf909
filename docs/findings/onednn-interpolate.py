"""oneDNN of Paddle computes `interpolate` wrongly: bilinear with align_corners or align_mode 1, nearest to an odd size.

python onednn-interpolate.py        needs paddlepaddle (CPU); exit code 1: the fault is there; 0: it is mended
"""

import itertools
import sys
import tempfile

import numpy as np
import paddle
from paddle import inference

HEIGHT, WIDTH, CHANNELS = 4, 8, 4
AROUND = ["onednn_placement_pass"]
SIZES = ([8, 16], [7, 13])
KINDS = (  # mode, align_corners, align_mode
    ("nearest", False, 0),
    ("bilinear", False, 0),
    ("bilinear", False, 1),
    ("bilinear", True, 0),
)


class Resize(paddle.nn.Layer):
    """A convolution that copies its input to each channel, so that oneDNN has work before it, and a resize."""

    def __init__(self, size, mode, align_corners, align_mode):
        super().__init__()
        one = paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(1.0))
        self.copy = paddle.nn.Conv2D(1, CHANNELS, 1, weight_attr=one, bias_attr=False)
        self.how = {"size": size, "mode": mode, "align_corners": align_corners, "align_mode": align_mode}

    def forward(self, image):
        return paddle.nn.functional.interpolate(self.copy(image), **self.how)


def weights(to, of, mode, align_corners, align_mode):
    """By what each of `of` values counts in each of `to`, as the documentation of interpolate says."""
    place = np.arange(to)
    if align_corners:
        source = place * (of - 1) / (to - 1)
    elif mode == "nearest" or align_mode == 1:
        source = place * of / to
    else:
        source = np.maximum((place + 0.5) * of / to - 0.5, 0)
    low = np.floor(source).astype(int)
    found = np.zeros((to, of))
    share = np.zeros(to) if mode == "nearest" else source - low
    found[place, low] += 1 - share
    found[place, np.minimum(low + 1, of - 1)] += share
    return found


def predicted(stem, image, onednn, without=()):
    config = inference.Config(f"{stem}.json", f"{stem}.pdiparams")
    config.disable_glog_info()
    config.disable_gpu()
    config.enable_mkldnn() if onednn else config.disable_mkldnn()
    for name in without:
        config.delete_pass(name)
    predictor = inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def main():
    print(f"paddlepaddle {paddle.__version__} ({paddle.version.commit}), numpy {np.__version__}")
    image = np.random.default_rng(0).standard_normal((1, 1, HEIGHT, WIDTH)).astype("float32")
    spec = [paddle.static.InputSpec(image.shape, "float32", name="x")]
    wrong = 0
    for number, (size, kind) in enumerate(itertools.product(SIZES, KINDS)):
        model = Resize(size, *kind)
        model.eval()
        rows, columns = (weights(to, of, *kind) for to, of in zip(size, (HEIGHT, WIDTH), strict=True))
        right = rows @ image[0, 0] @ columns.T
        with tempfile.TemporaryDirectory() as folder:
            stem = f"{folder}/{number}"
            paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), stem)
            given = [predicted(stem, image, False), predicted(stem, image, True), predicted(stem, image, True, AROUND)]
        eager = model(paddle.to_tensor(image)).numpy()
        errors = [float(np.abs(one - right).max()) for one in (eager, *given)]
        wrong += errors[2] > 1e-4
        told = zip(("eager", "Paddle's own kernels", "oneDNN", f"without {AROUND[0]}"), errors, strict=True)
        print(
            f"{HEIGHT}x{WIDTH} -> {size[0]}x{size[1]} {kind[0]}, align_corners={kind[1]}, align_mode={kind[2]}: "
            + "largest error: "
            + ", ".join(f"{name} {error:.3g}" for name, error in told)
            + (" WRONG" if errors[2] > 1e-4 else "")
        )
    print(f"oneDNN is wrong in {wrong} of {len(SIZES) * len(KINDS)} cases; values are about 1, and right is below 1e-4")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
