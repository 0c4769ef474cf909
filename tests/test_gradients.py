"""Data parallel training averages gradients: two ranks with two images each are one rank with four."""

import os
import subprocess
import sys

import numpy as np
from conftest import ROOT

TOLERANCE = 1e-6  # absolute; the gradients are of the order of 0.01 and computed in float32


def gradients(folder, name, *launcher):
    environment = {**os.environ, "GRADIENTS": str(folder / f"{name}.npz"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(ROOT / "tests/helpers/gradient_step.py")]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with np.load(folder / f"{name}.npz") as saved:
        return [saved[key] for key in saved.files]


def test_two_ranks_of_two_equal_one_rank_of_four(tmp_path):
    one = gradients(tmp_path, "one")
    two = gradients(tmp_path, "two", "-m", "paddle.distributed.launch", "--nproc_per_node", "2", "--log_dir", "ranks")
    assert len(one) == len(two) == 4
    for alone, shared in zip(one, two, strict=True):
        assert np.abs(alone).max() > 1e-3, "a gradient that is zero shows nothing"
        assert np.abs(alone - shared).max() < TOLERANCE
