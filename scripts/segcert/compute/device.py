"""Paddle's device of a process: seen to compute before a stage relies on it."""

from __future__ import annotations

import paddle

from segcert.errors import Unverified

OFFERS = {"float16": "is_float16_supported", "bfloat16": "is_bfloat16_supported"}  # functions of paddle.amp


def use(device: str, devices: int = 1, dtype: str | None = None) -> None:
    """Select cpu or gpu for this process.

    Raises:
        Unverified: this build of Paddle or this machine does not have it, or it does not compute, or not in `dtype`.
    """
    if device == "gpu":
        require_gpu(devices, dtype)
    paddle.set_device(device)


def require_tensorrt() -> None:
    """Raise Unverified unless Paddle was built with TensorRT and finds its library."""
    from paddle import inference

    name = f"Paddle {paddle.__version__}"
    if not any(inference.get_trt_compile_version()):
        raise Unverified(f"{name} is built without TensorRT")
    try:
        found = inference.get_trt_runtime_version()
    except Exception as error:
        raise Unverified(f"{name} does not find TensorRT's library: {error}") from error
    if not any(found):
        raise Unverified(f"{name} does not find TensorRT's library")


def require_gpu(devices: int = 1, dtype: str | None = None) -> None:
    """Raise Unverified unless Paddle sees so many GPUs and runs a convolution on the first, which computes in `dtype`.

    A build without machine code for a card is noticed only by its first kernel.
    """
    if not paddle.is_compiled_with_cuda():
        raise Unverified(f"needs a GPU build of Paddle; this is {paddle.__version__} for the CPU")
    visible = paddle.device.cuda.device_count()
    if visible < devices:
        wanted = "a GPU" if devices == 1 else f"{devices} GPUs"
        raise Unverified(f"needs {wanted}; Paddle {paddle.__version__} sees {visible or 'none'} here")
    try:
        paddle.set_device("gpu")
        tried = paddle.nn.functional.conv2d(paddle.ones([1, 1, 4, 4]), paddle.ones([1, 1, 3, 3]))
        finds = float(tried.sum())
    except Exception as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise Unverified(f"Paddle {paddle.__version__} cannot compute on this GPU: {first}") from error
    if finds != 36:  # 2 x 2 sums of nine ones
        raise Unverified(f"Paddle {paddle.__version__} computes wrongly on this GPU: a sum of 36 ones is {finds}")
    if dtype and not getattr(paddle.amp, OFFERS[dtype])():  # it asks the card
        raise Unverified(f"this GPU does not compute in {dtype}, as Paddle {paddle.__version__} says")
