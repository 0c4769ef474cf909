"""Paddle Inference with the kernels of its own, on a CPU or a GPU."""

from __future__ import annotations

from typing import Any

from segcert.compute.engines.paddle_inference import PaddleInference, paddles_type


class NativePaddle(PaddleInference):
    """Paddle's own kernels."""

    name = "native"

    def configure(self, config: Any) -> None:
        if self.device == "gpu":
            config.enable_use_gpu(100, 0, paddles_type(self.precision))
        else:
            config.disable_mkldnn()  # on a CPU it can be on by default
