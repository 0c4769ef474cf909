"""enable_memory_optim() raises for a program of Paddle 3 (model.json).

python memory-optim-model-json.py       needs paddlepaddle 3; exit code 1: the fault is there; 0: it is mended
"""

import sys
import tempfile

import numpy as np
import paddle
from paddle import inference


def main():
    print(f"paddlepaddle {paddle.__version__} ({paddle.version.commit})")
    model = paddle.nn.Sequential(paddle.nn.Conv2D(3, 4, 3), paddle.nn.ReLU())
    model.eval()
    image = np.ones((1, 3, 8, 8), "float32")
    with tempfile.TemporaryDirectory() as folder:
        stem = f"{folder}/model"
        spec = [paddle.static.InputSpec([1, 3, 8, 8], "float32", name="x")]
        paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), stem)
        for optimised in (False, True):
            config = inference.Config(f"{stem}.json", f"{stem}.pdiparams")
            config.disable_glog_info()
            config.disable_gpu()
            if optimised:
                config.enable_memory_optim()
            try:
                predictor = inference.create_predictor(config)
                predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
                predictor.run()
                print(f"enable_memory_optim: {optimised}: runs")
            except Exception as error:
                print(
                    f"enable_memory_optim: {optimised}: {type(error).__name__}: {' '.join(str(error).split())[-300:]}"
                )
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
