"""Paddle Inference with oneDNN's kernels, on a CPU."""

from __future__ import annotations

from typing import Any

from segcert.compute.engines.paddle_inference import PaddleInference


class OneDnn(PaddleInference):
    """oneDNN's kernels where it has them, Paddle's own elsewhere."""

    name = "onednn"

    def configure(self, config: Any) -> None:
        config.enable_mkldnn()
        if self.precision == "bf16":
            config.enable_mkldnn_bfloat16()
