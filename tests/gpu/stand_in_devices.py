"""A stand-in for GPUs: Paddle and ONNX Runtime are told that the devices they were given are there, and compute on
the CPU in their place.

It is loaded by the interpreter that rig.py makes, and by no other; that interpreter says of itself that it is a
stand-in (SEGCERT_STAND_IN), so no cell that it runs can be passed. What is patched is Paddle's and ONNX Runtime's
view of the machine; the code under test is as it stands.
"""

import atexit
import functools
import importlib.abc
import importlib.util
import json
import os
import sys
import time
from pathlib import Path

TOLD = "SEGCERT_STAND_IN"
WORKER = "SEGCERT_WORKER"
SHOWN = ("CUDA_", "FLAGS_selected", "PADDLE_", "NVIDIA_", "TIPC_", "SEGCERT_", "OMP_")


def devices() -> int:
    return len([name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name])


# -- Paddle -----------------------------------------------------------------------------------


def patch_paddle(paddle) -> None:
    from paddle import inference
    from paddle.amp import grad_scaler
    from paddle.nn.layer import norm

    select = paddle.device.set_device

    def set_device(device):
        return select("cpu" if str(device).startswith("gpu") else device)

    paddle.set_device = paddle.device.set_device = set_device
    paddle.device.cuda.device_count = devices
    paddle.device.cuda.max_memory_allocated = lambda *_: 0
    paddle.amp.is_float16_supported = paddle.amp.is_bfloat16_supported = lambda *_: True
    # The scaler asks on what it computes, and switches itself off on a CPU: here it is on, and scales real gradients.
    grad_scaler._dygraph_tracer = lambda: _Tracer
    # There is no such kernel for a CPU; a rank's own statistics stand in for those of all ranks.
    norm.SyncBatchNorm.forward = lambda self, x: paddle.nn.functional.batch_norm(
        x, self._mean, self._variance, self.weight, self.bias, training=self.training, epsilon=self._epsilon
    )
    inference.Config.enable_use_gpu = lambda self, *_: self.disable_gpu()
    inference.Config.enable_tensorrt_engine = lambda self, *_: None
    inference.get_trt_compile_version = inference.get_trt_runtime_version = lambda: (8, 5, 1)


class _Place:
    @staticmethod
    def is_gpu_place():
        return True


class _Tracer:
    _expected_place = _Place


# -- ONNX Runtime -----------------------------------------------------------------------------


def patch_onnxruntime(onnxruntime) -> None:
    session, options = onnxruntime.InferenceSession, onnxruntime.SessionOptions
    add_entry = options.add_session_config_entry

    class StandInSession(session):
        def __init__(self, model, sess_options=None, providers=None, **more):
            super().__init__(model, sess_options, providers=["CPUExecutionProvider"], **more)
            self.stand_in_for = [provider[0] if isinstance(provider, tuple) else provider for provider in providers]

        def get_providers(self):
            return getattr(self, "stand_in_for", super().get_providers())

    def add(self, key, value):
        if key != "session.disable_cpu_ep_fallback":
            add_entry(self, key, value)

    options.add_session_config_entry = add
    onnxruntime.InferenceSession = StandInSession
    onnxruntime.preload_dlls = lambda *_, **__: None
    onnxruntime.get_available_providers = lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]


# -- hooks ------------------------------------------------------------------------------------

PATCHES = {"paddle": patch_paddle, "onnxruntime": patch_onnxruntime}


class _Finder(importlib.abc.MetaPathFinder):
    """Finds what is to be patched as others find it, and patches it once it is imported."""

    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        run = spec.loader.exec_module

        @functools.wraps(run)
        def exec_module(module):
            run(module)
            PATCHES[name](module)

        spec.loader.exec_module = exec_module
        return spec


def note(what: str) -> None:
    """A line in the rig's diary: that a process began or ends, which it is, and what it was given."""
    line = {
        "what": what,
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "at": time.monotonic(),
        "argv": sys.orig_argv[1:],
        "environment": {name: value for name, value in os.environ.items() if name.startswith(SHOWN)},
    }
    with (Path(sys.prefix) / "diary.jsonl").open("a", encoding="utf-8") as diary:
        diary.write(json.dumps(line) + "\n")


def start() -> None:
    os.environ[TOLD] = "tests/gpu: the CPU computes in place of the GPUs"
    if os.environ.get(WORKER):
        note("began")
        atexit.register(note, "ends")
    if "PADDLE_TRAINER_ID" in os.environ:
        os.environ["PADDLE_DISTRI_BACKEND"] = "gloo"  # NCCL needs devices
    sys.meta_path.insert(0, _Finder())
