"""paddle2onnx converts AdaptiveAvgPool2D wrongly, in silence, where one size does not divide the other.

python paddle2onnx-adaptive-pool.py   needs paddlepaddle, paddle2onnx, onnx, onnxruntime
exit code 1: the fault is there; 0: it is mended
"""

import sys
import tempfile
from importlib import metadata

import numpy as np
import onnx
import onnxruntime
import paddle
import paddle2onnx

CASES = (((4, 4), 2), ((16, 32), 3), ((16, 32), 6), ((8, 16), 3), ((2, 4), 6))


def pooled(image, to):
    """Means over rows floor(i * H / to) to ceil((i + 1) * H / to), as AdaptiveAvgPool2D is documented."""

    def spans(of):
        return [(i * of // to, -(-(i + 1) * of // to)) for i in range(to)]

    height, width = image.shape[2:]
    return np.array(
        [[image[0, :, a:b, c:d].mean((1, 2)) for c, d in spans(width)] for a, b in spans(height)]
    ).transpose(2, 0, 1)[None]


def main():
    names = ("paddlepaddle", "paddle2onnx", "onnx", "onnxruntime", "numpy")
    print(", ".join(f"{name} {metadata.version(name)}" for name in names))
    wrong = 0
    for size, to in CASES:
        model = paddle.nn.AdaptiveAvgPool2D(to)
        image = np.random.default_rng(0).standard_normal((1, 3, *size)).astype("float32")
        right = pooled(image, to)
        spec = [paddle.static.InputSpec([-1, 3, *size], "float32", name="x")]
        eager = float(np.abs(model(paddle.to_tensor(image)).numpy() - right).max())
        with tempfile.TemporaryDirectory() as folder:
            paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), f"{folder}/pool")
            target = f"{folder}/pool.onnx"
            paddle2onnx.export(
                f"{folder}/pool.json",
                f"{folder}/pool.pdiparams",
                target,
                opset_version=13,
                enable_onnx_checker=True,
                optimize_tool="none",
            )
            nodes = [
                f"{node.op_type} {' '.join(f'{a.name}={list(a.ints)}' for a in node.attribute if a.ints)}".strip()
                for node in onnx.load(target).graph.node
            ]
            try:
                session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
                given = session.run(None, {"x": image})[0]
                said = "another shape" if given.shape != right.shape else f"error {np.abs(given - right).max():.3g}"
                bad = given.shape != right.shape or not np.allclose(given, right, atol=1e-4)
            except Exception as error:
                said, bad = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}", True
        wrong += bad
        print(
            f"{size[0]}x{size[1]} -> {to}x{to}: Paddle: error {eager:.1g}; the ONNX model in onnxruntime: {said}"
            f"{' WRONG' if bad else ''}\n    its nodes: {'; '.join(nodes)}"
        )
    print(f"wrong in {wrong} of {len(CASES)} cases; paddle2onnx says of each that it converted it")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
