"""On a CPU Paddle 3 computes with oneDNN unless it is told not to.

PaddleSeg's deploy/python/infer.py with --enable_mkldnn False tells it nothing, and so changes nothing.

python onednn-is-on-unasked.py      needs paddlepaddle 3 (CPU); exit code 1: the fault is there; 0: it is mended
"""

import os
import subprocess
import sys
import tempfile


def run(stem, how):
    """Run the program once; its lines that tell of a primitive that oneDNN executed are on standard output."""
    import numpy as np
    from paddle import inference

    config = inference.Config(f"{stem}.json", f"{stem}.pdiparams")
    config.disable_glog_info()
    config.disable_gpu()
    if how == "disabled":
        config.disable_mkldnn()
    predictor = inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(np.ones((1, 3, 8, 8), "float32"))
    predictor.run()


def main():
    import paddle

    print(f"paddlepaddle {paddle.__version__} ({paddle.version.commit})")
    model = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.ReLU())
    model.eval()
    seen = {}
    with tempfile.TemporaryDirectory() as folder:
        stem = f"{folder}/model"
        spec = [paddle.static.InputSpec([1, 3, 8, 8], "float32", name="x")]
        paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), stem)
        for how in ("nothing said", "disabled"):
            done = subprocess.run(
                [sys.executable, __file__, stem, how],
                env={**os.environ, "ONEDNN_VERBOSE": "1"},
                capture_output=True,
                text=True,
                check=True,
            )
            seen[how] = sum("convolution" in line and "exec" in line for line in done.stdout.splitlines())
            print(f"oneDNN, {how}: {seen[how]} convolutions computed by it")
    print("enable_mkldnn() was called in neither; Paddle 2 computes with its own kernels then")
    return int(seen["nothing said"] > 0)


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]) if len(sys.argv) > 1 else main())
