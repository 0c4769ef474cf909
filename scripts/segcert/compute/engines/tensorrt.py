"""Paddle Inference with TensorRT, on a GPU."""

from __future__ import annotations

from typing import Any

from segcert.compute import device
from segcert.compute.engines.paddle_inference import PaddleInference, paddles_type


class TensorRt(PaddleInference):
    """Subgraphs of TensorRT where it takes them, Paddle's own kernels elsewhere."""

    name = "tensorrt"

    def configure(self, config: Any) -> None:
        device.require_tensorrt()
        config.enable_use_gpu(100, 0)
        config.enable_tensorrt_engine(1 << 30, 1, 3, paddles_type(self.precision), False, False)
