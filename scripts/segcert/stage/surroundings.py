"""What the shell or the job around a stage sets: what would misguide it goes, what bears on its results is told.

A variable that was set for something else (a training of PaddleSeg's in the same shell, a profiler, a module
system) reaches a stage too. What the launcher of ranks and Paddle read as orders is taken away, limits on threads
as well, because the configuration sets both; the record names them. What changes how the libraries compute, or how
fast, stays, and stands in the record.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable

from segcert.masking import masked

# Orders to Paddle's launcher and to its ranks; other limits on threads than the configuration's; what makes oneDNN
# and MKL print into the trace that is evidence; options of the Python interpreter.
CLEARED = (
    *("PADDLE_*", "TRAINING_ROLE", "POD_*", "FLAGS_selected_*", "FLAGS_START_PORT", "MASTER_ADDR", "MASTER_PORT"),
    *("RANK", "LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES_*"),
    *("OMP_THREAD_LIMIT", "OMP_DYNAMIC", "KMP_DEVICE_THREAD_LIMIT", "KMP_ALL_THREADS", "KMP_TEAMS_THREAD_LIMIT"),
    *("ONEDNN_VERBOSE", "DNNL_VERBOSE", "MKLDNN_VERBOSE", "MKL_VERBOSE"),
    *("MKL_DOMAIN_NUM_THREADS", "BLIS_NUM_THREADS", "CPU_NUM"),
    *("PYTHONOPTIMIZE", "PYTHONWARNINGS", "PYTHONINSPECT", "PYTHONSAFEPATH", "PYTHONDEVMODE", "PYTHONMALLOC"),
    *("PYTHONMALLOCSTATS", "PYTHONTRACEMALLOC", "PYTHONPROFILEIMPORTTIME"),
)
# What changes how the libraries compute, or how fast.
TOLD = (
    *("FLAGS_*", "OMP_*", "KMP_*", "GOMP_*", "MKL_*", "OPENBLAS_*", "BLIS_*", "ONEDNN_*", "DNNL_*", "MKLDNN_*"),
    *("ORT_*", "OV_*", "OPENVINO_*", "OPENCV_*", "TBB_*", "GLOG_*"),
    *("NCCL_*", "GLOO_*", "CUDA_*", "CUDNN_*", "CUBLAS_*", "NVIDIA_*", "TF32_*"),
    *("PYTHONPATH", "LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "MALLOC_*", "GLIBC_TUNABLES"),
)
# Set for each stage by itself, or by Snakemake for each job.
OWN = ("*_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


def misguiding() -> list[str]:
    """Names of what is set and would misguide a stage."""
    return sorted(name for name in os.environ if _is_any(name, CLEARED))


def clear() -> list[str]:
    """Take what would misguide a stage out of this process's environment; the names of what was taken."""
    names = misguiding()
    for name in names:
        del os.environ[name]
    return names


def told() -> list[str]:
    """What is set of that which changes how the libraries compute, or how fast: NAME=value, in order."""
    names = sorted(name for name in os.environ if _is_any(name, TOLD) and not _is_any(name, OWN))
    return [masked(f"{name}={os.environ[name]}") for name in names]


def _is_any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
