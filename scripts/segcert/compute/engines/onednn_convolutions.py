"""Paddle Inference with oneDNN's kernels for convolutions and products of matrices alone, on a CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from segcert.compute.engines.onednn import OneDnn

# By which Paddle hands operators to oneDNN one by one, in Paddle 3 and in Paddle 2. What fuses convolutions stays, and
# hands those over.
PLACEMENT = ("onednn_placement_pass", "mkldnn_placement_pass")
# Primitives that may be executed all the same; a reorder brings memory into the layout of the next one.
KINDS = {"convolution", "deconvolution", "inner_product", "matmul", "reorder"}


class OneDnnConvolutions(OneDnn):
    """oneDNN's kernels for the work, Paddle's own for all else."""

    name = "onednn_convolutions"

    def configure(self, config: Any) -> None:
        super().configure(config)
        for name in PLACEMENT:
            config.delete_pass(name)

    def observe(self, batch: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, Any]]:
        effective, evidence = super().observe(batch)
        if effective["engine"] == OneDnn.name and set(evidence["onednn"]["kinds"]) <= KINDS:
            effective["engine"] = self.name
        return effective, evidence
