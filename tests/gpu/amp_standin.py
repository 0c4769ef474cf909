"""A place that mixed precision takes for a GPU, on a CPU: what a machine without a GPU can show of it.

Real are Paddle's GradScaler, auto_cast, amp.decorate, the optimizers with their parameter groups, clipping and master
weights, and every float32 kernel. Paddle has no convolution, batch norm or optimizer of low precision for a CPU, so
these are stand-ins, and what follows from them is proved for a GPU only as far as they behave as its kernels:

- the place that GradScaler, decorate and auto_cast ask for;
- auto_cast's lists: each operator takes float32;
- convolutions give the type of mixed precision: the numbers of float32, rounded, so that they overflow as on a GPU;
- a batch norm over the images of all ranks, by sums over the ranks;
- the finite-or-not check and the step of Momentum on gradients of low precision: computed in float32;
- the memory that a GPU's allocator reports.
"""

import contextlib
import importlib
from unittest import mock

import numpy as np
import paddle
import paddle.distributed as dist
from paddle.base import core

LOW = (paddle.float16, paddle.bfloat16)
PEAK_BYTES = 3 * 2**20  # that the stand-in's allocator reports

# The functions of these names hide the modules.
auto_cast = importlib.import_module("paddle.amp.auto_cast")
grad_scaler = importlib.import_module("paddle.amp.grad_scaler")


class _Place:
    """Of a GPU, whatever is asked."""

    def __getattr__(self, question):
        return lambda: question == "is_gpu_place"


class _Tracer:
    """Paddle's own tracer, at the place of a stand-in."""

    def __init__(self, tracer):
        object.__setattr__(self, "_tracer", tracer)

    def __getattr__(self, name):
        return _Place() if name == "_expected_place" else getattr(self._tracer, name)

    def __setattr__(self, name, value):
        setattr(self._tracer, name, value)


@contextlib.contextmanager
def gpu_place():
    """Mixed precision takes effect in this context."""
    operators = set(core._get_registered_phi_kernels("all")) | set(core._get_all_register_op_kernels())
    tracer = auto_cast._dygraph_tracer
    with contextlib.ExitStack() as stack:

        def stand_in(target, name, what):
            stack.enter_context(mock.patch.object(target, name, what))

        for module in (auto_cast, grad_scaler):
            stand_in(module, "_dygraph_tracer", lambda: _Tracer(tracer()))
        for question in ("_is_gpu_float16_supported", "_is_gpu_bfloat16_supported"):
            stand_in(auto_cast, question, lambda: True)
        stand_in(auto_cast, "_update_list", lambda *lists: (set(), operators))
        stand_in(paddle.nn.Conv2D, "forward", _rounded(paddle.nn.Conv2D.forward))
        check = grad_scaler._legacy_C_ops.check_finite_and_unscale
        stand_in(grad_scaler._legacy_C_ops, "check_finite_and_unscale", _checked_in_float32(check))
        stand_in(paddle._C_ops, "momentum_", _stepped_in_float32(paddle._C_ops.momentum_))
        stand_in(paddle._C_ops, "sync_batch_norm_", _normed_over_ranks)
        stand_in(paddle.device.cuda, "max_memory_allocated", lambda: PEAK_BYTES)
        yield


def _rounded(forward):
    def of_low_precision(layer, images):
        given = forward(layer, images)
        state = auto_cast.amp_state()
        return given.astype(state["dtype"]) if state else given

    return of_low_precision


def _checked_in_float32(check):
    def checked(gradients, scale, unscaled, found):
        if gradients[0].dtype not in LOW:
            return check(gradients, scale, unscaled, found)
        wide = [gradient.astype("float32") for gradient in gradients]
        check(wide, scale, wide, found)
        for gradient, value in zip(unscaled, wide, strict=True):
            paddle.assign(value.astype(gradient.dtype), gradient)
        return unscaled, found

    return checked


def _stepped_in_float32(step):
    """Momentum's step on the master weight; the weight itself is that, rounded."""

    def stepped(weight, gradient, velocity, rate, master, *settings):
        if weight.dtype not in LOW:
            return step(weight, gradient, velocity, rate, master, *settings)
        *settings, low, factor = settings
        assert low and master.dtype == velocity.dtype == paddle.float32
        step(master, gradient.astype("float32"), velocity, rate, None, *settings, False, factor)
        paddle.assign(master.astype(weight.dtype), weight)
        return weight, velocity, master

    return stepped


class _SumOverRanks(paddle.autograd.PyLayer):
    @staticmethod
    def forward(context, value):
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context, gradient):
        total = gradient.clone()
        dist.all_reduce(total)
        return total


def _normed_over_ranks(images, mean, variance, scale, shift, testing, momentum, epsilon, layout, *_):
    """Normed by mean and variance over the images of all ranks, N x C x H x W; the statistics follow them."""
    assert layout == "NCHW" and not testing
    images, ranks = images.astype("float32"), dist.get_world_size()
    found = _SumOverRanks.apply(images.mean(axis=[0, 2, 3], keepdim=True)) / ranks
    spread = _SumOverRanks.apply(((images - found) ** 2).mean(axis=[0, 2, 3], keepdim=True)) / ranks
    with paddle.no_grad():
        for kept, new in ((mean, found), (variance, spread)):
            paddle.assign(momentum * kept + (1 - momentum) * new.flatten(), kept)
    shape = [1, -1, 1, 1]
    given = (images - found) / (spread + epsilon).sqrt() * scale.reshape(shape) + shift.reshape(shape)
    return given, mean, variance, None, None, None


class Watch:
    """What a training did in each iteration, whoever's loop it is: seen where the loop clears the gradients.

    Attributes:
        steps: a dict for each iteration: scale, taken (steps in a row), left_out (in a row), weights and masters by
            name as float32 arrays.
    """

    def __init__(self, raise_after=2):
        """raise_after: steps in a row after which the scale is raised; Paddle's own 2000 are too many to try."""
        self.steps, self.raise_after = [], raise_after

    @contextlib.contextmanager
    def on(self):
        watch, used = self, {}
        clear, begin = paddle.nn.Layer.clear_gradients, paddle.optimizer.Optimizer.__init__

        class Watched(paddle.amp.GradScaler):
            def __init__(self, *arguments, **settings):
                super().__init__(*arguments, **{"incr_every_n_steps": watch.raise_after, **settings})
                used["scaler"] = self

        def optimizer_begins(optimizer, *arguments, **settings):
            begin(optimizer, *arguments, **settings)
            used["optimizer"] = optimizer

        def cleared(model):
            state = used["scaler"].state_dict()
            watch.steps.append(
                {
                    "scale": float(state["scale"][0]) if state else 1.0,
                    "taken": state.get("incr_count"),
                    "left_out": state.get("decr_count"),
                    "weights": {name: _array(weight) for name, weight in model.named_parameters()},
                    # Paddle's AdamW begins by itself; it is tried where no weight has a master.
                    "masters": {
                        name: _array(weight)
                        for name, weight in getattr(used.get("optimizer"), "_master_weights", {}).items()
                    },
                    "trained": {name for name, weight in model.named_parameters() if not weight.stop_gradient},
                }
            )
            clear(model)

        with (
            mock.patch.object(paddle.amp, "GradScaler", Watched),
            mock.patch.object(paddle.optimizer.Optimizer, "__init__", optimizer_begins),
            mock.patch.object(paddle.nn.Layer, "clear_gradients", cleared),
        ):
            yield self

    @property
    def scales(self):
        return [step["scale"] for step in self.steps]

    def still(self):
        """Iterations, counted from 1, in which no trained weight moved; the first is not known."""
        return {
            number
            for number, (before, after) in enumerate(zip(self.steps, self.steps[1:], strict=False), 2)
            if all(np.array_equal(before["weights"][name], after["weights"][name]) for name in after["trained"])
        }


def _array(tensor):
    return tensor.astype("float32").numpy().copy()
