"""A device that Paddle has and that does not do as asked is unverified. What Paddle says of it is a stand-in."""

import paddle
import pytest

from segcert.compute import device
from segcert.errors import Unverified


@pytest.fixture
def one_gpu(monkeypatch):
    """One GPU that computes as it should: on the CPU."""
    select = paddle.set_device
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(paddle, "set_device", lambda name: select("cpu"))
    for name in device.OFFERS.values():
        monkeypatch.setattr(paddle.amp, name, lambda: True)


def test_a_device_that_does_as_asked_is_used(one_gpu):
    device.use("gpu", dtype="float16")
    device.use("cpu", devices=7, dtype="bfloat16")


def test_a_build_without_gpus():
    with pytest.raises(Unverified, match="needs a GPU build of Paddle"):
        device.use("gpu")


def test_too_few_devices(one_gpu):
    with pytest.raises(Unverified, match=r"needs 2 GPUs; Paddle \S+ sees 1 here"):
        device.use("gpu", 2)


def test_a_card_that_the_build_has_no_code_for(one_gpu, monkeypatch):
    def fail(*_):
        raise RuntimeError("CUDA error 209, no kernel image is available.\n  [Hint: ...]")

    monkeypatch.setattr(paddle.nn.functional, "conv2d", fail)
    with pytest.raises(Unverified, match=r"cannot compute on this GPU: CUDA error 209, no kernel image is available.$"):
        device.use("gpu")


def test_a_card_that_computes_wrongly(one_gpu, monkeypatch):
    monkeypatch.setattr(paddle.nn.functional, "conv2d", lambda *_: paddle.zeros([1]))
    with pytest.raises(Unverified, match="a sum of 36 ones is 0"):
        device.use("gpu")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_card_that_does_not_compute_in_a_type(one_gpu, monkeypatch, dtype):
    monkeypatch.setattr(paddle.amp, device.OFFERS[dtype], lambda: False)
    with pytest.raises(Unverified, match=f"does not compute in {dtype}"):
        device.use("gpu", dtype=dtype)
    device.use("gpu", dtype={"float16": "bfloat16", "bfloat16": "float16"}[dtype])


def test_tensorrt_that_is_there(monkeypatch):
    for name in ("get_trt_compile_version", "get_trt_runtime_version"):
        monkeypatch.setattr(paddle.inference, name, lambda: (8, 5, 1))
    device.require_tensorrt()


def no_library():
    raise RuntimeError("libnvinfer.so: cannot open shared object file")


@pytest.mark.parametrize(
    ("built", "found", "words"),
    [
        ((0, 0, 0), None, "is built without TensorRT"),
        ((8, 5, 1), no_library, "does not find TensorRT's library: libnvinfer.so"),
        ((8, 5, 1), lambda: (0, 0, 0), "does not find TensorRT's library$"),
    ],
)
def test_tensorrt_that_is_not_there(monkeypatch, built, found, words):
    monkeypatch.setattr(paddle.inference, "get_trt_compile_version", lambda: built)
    monkeypatch.setattr(paddle.inference, "get_trt_runtime_version", found)
    with pytest.raises(Unverified, match=words):
        device.require_tensorrt()
