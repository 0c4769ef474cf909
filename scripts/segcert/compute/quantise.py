"""Quantisation of an export to int8, after training: one ONNX model that every engine computes in int8.

The model is in the form QDQ: weights are integers, and pairs of QuantizeLinear and DequantizeLinear say in which range
the tensors between operators are rounded to 8 bits. Ranges are those that training images span.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from segcert.compute import outputs
from segcert.compute.engines import library
from segcert.compute.preprocess import Preprocess, deploy_config, input_size
from segcert.data import layouts
from segcert.engines import INT8
from segcert.errors import StageError, Unverified
from segcert.files import sha256
from segcert.numbers import finite
from segcert.requests.quantise import ACCURACY_CONTROL, STATIC, Quantise
from segcert.stage.worker import Result

MODEL = "model.onnx"  # in an export, in the folders of its batches, and in what is made of them
CONVOLUTIONS = ("Conv", "ConvTranspose")
DEQUANTIZE = "DequantizeLinear"
# What hands on the values that it is given, so that rounded ones stay rounded.
MOVING = ("Concat", "Flatten", "Identity", "MaxPool", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
# Computed in fp32: they decide between classes, for which 8 bits are coarse, and take no time to speak of.
LEFT_OUT = ("ArgMax", "Resize", "Softmax")


class Convolutions(NamedTuple):
    """The convolutions of a model, by their names: those that are quantised, and those that are left as they were."""

    quantised: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def share(self) -> float:
        """Of those that are quantised; 0 where there is none."""
        total = len(self.quantised) + len(self.left)
        return len(self.quantised) / total if total else 0.0


def convolutions(model: onnx.ModelProto) -> Convolutions:
    """Those of an ONNX model: one is quantised where both image and weights are rounded, by a DequantizeLinear.

    It is by this form that engines know what to compute in integers (ONNX Runtime documentation, "Quantize ONNX
    models"). What only moves values may stand between the two.
    """
    rounded: set[str] = set()
    found: dict[bool, list[str]] = {True: [], False: []}
    for node in model.graph.node:  # each after what it is made from
        if node.op_type in CONVOLUTIONS:
            found[set(node.input[:2]) <= rounded].append(node.name or node.output[0])
        moved = node.input if node.op_type == "Concat" else node.input[:1]
        if node.op_type == DEQUANTIZE or (node.op_type in MOVING and set(moved) <= rounded):
            rounded |= {*node.output}
    return Convolutions(tuple(found[True]), tuple(found[False]))


class Files(NamedTuple):
    """What a quantisation reads and makes.

    Attributes:
        export: folder of the exported model.
        dataset: folder of the data set, with its manifest.
        folder: to make: the model in int8, in folders as the export's.
    """

    export: str
    dataset: str
    folder: Path


def quantise(request: Quantise, files: Files, exported: Mapping[str, Any] | None = None) -> Result:
    """Write a QDQ model for each ONNX model of an export.

    Args:
        exported: the record of the export, where there is one.

    Raises:
        StageError: there is no ONNX model, or an image to calibrate on is one that inference runs on.
        Unverified: a package that it needs is not installed.
    """
    export, dataset = Path(files.export), Path(files.dataset)
    free = library.dynamic(export)  # which is run in fp32 alone
    models = sorted(path for path in export.rglob(MODEL) if not path.is_relative_to(free))
    if not models:
        why = f": {exported['reason']}" if exported and exported["reason"] else ""
        raise StageError(f"{export}: has no {MODEL} to quantise{why}")
    manifest = layouts.manifest(dataset)
    chosen = calibration_images(dataset, manifest, request.images)
    deploy = deploy_config(export)
    preprocess = Preprocess(deploy["transforms"], input_size(deploy))
    images = [preprocess(dataset / name) for name in chosen]
    begun = time.perf_counter()
    method = {STATIC: _static, ACCURACY_CONTROL: _controlled}[request.method]
    held: list[Convolutions] = []
    bits = 0
    for model in models:
        target = files.folder / model.relative_to(export)
        target.parent.mkdir(parents=True, exist_ok=True)
        method(request, model, target, images)
        made = onnx.load(str(target))
        held.append(convolutions(made))
        bits = max(bits, weight_bits(made, depthwise=request.method == STATIC))
    effective = {
        "device": "cpu",
        "precision": _precision(request, held),
        "method": request.method,
        "weight_bits": bits,
    }
    metrics = {
        "quantise_s": finite(time.perf_counter() - begun),
        "train_images": len(distinct_images(manifest)),
        "calibrated_on": chosen,
        "convolutions": len(held[0].quantised) + len(held[0].left),
        "int8_share": min(found.share for found in held),
        "left_in_fp32": sorted({name for found in held for name in found.left}),
        "onnx_mb": finite((files.folder / MODEL).stat().st_size / 2**20),
    }
    return Result(effective, metrics)


def calibration_images(dataset: Path, manifest: Mapping[str, Any], count: int) -> dict[str, str]:
    """Training images and their sha256, from all over the list, at most so many; what is listed again is left out.

    Raises:
        StageError: one is, byte for byte, an image of the inference list, by which the result is judged; or it is
            not what the manifest says.
    """
    known = {item["path"]: item["sha256"] for item in manifest["files"]}
    judged = {known[image]: image for image, _ in reversed(layouts.inference_list(manifest))}
    train = distinct_images(manifest)
    count = min(count, len(train))
    chosen = {image: sha256(dataset / image) for image in (train[n * len(train) // count] for n in range(count))}
    for image, digest in chosen.items():
        if digest != known[image]:
            raise StageError(f"{dataset / image}: is not the file that was unpacked; unpack the data set again")
        if digest in judged:
            raise StageError(
                f"{dataset}: the training image {image} is {judged[digest]} of the inference list, byte for byte: a "
                "model must not be judged on what it was calibrated on; take it out of one of the two lists"
            )
    return chosen


def distinct_images(manifest: Mapping[str, Any]) -> list[str]:
    """The training images, of those that are equal byte for byte the first."""
    known = {item["path"]: item["sha256"] for item in manifest["files"]}
    first: dict[str, str] = {}
    for image, _ in manifest["splits"]["train"]:
        first.setdefault(known[image], image)
    return list(first.values())


def weight_bits(model: onnx.ModelProto, *, depthwise: bool = True) -> int:
    """How many the weights of a model's convolutions take, with the sign; 0 where none is an integer.

    Args:
        depthwise: count depthwise convolutions too. NNCF leaves them at 8 bits where it is asked for 7: OpenVINO
            computes them without sums of 16 bits, so that nothing there overflows.
    """
    weights = {item.name: item for item in model.graph.initializer if item.data_type == onnx.TensorProto.INT8}
    made_of = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == DEQUANTIZE}
    found = []
    for node in model.graph.node:
        name = made_of.get(node.input[1], "") if node.op_type in CONVOLUTIONS else ""
        if name in weights and (depthwise or not _is_depthwise(node, weights[name])):
            found.append(np.abs(onnx.numpy_helper.to_array(weights[name]).astype(int)).max())
    return 1 + int(max(found) - 1).bit_length() if found else 0


def _is_depthwise(node: onnx.NodeProto, weight: onnx.TensorProto) -> bool:
    groups = next((found.i for found in node.attribute if found.name == "group"), 1)
    return groups > 1 and weight.dims[1] == 1


def _static(request: Quantise, model: Path, target: Path, images: Sequence[NDArray[np.float32]]) -> None:
    """Write what ONNX Runtime makes of a model: QDQ, weights i8 of each channel of their own, activations u8.

    The same images give the same file, byte for byte.
    """
    with _packages():
        from onnxruntime import quantization
        from onnxruntime.quantization import registry

    class Images(quantization.CalibrationDataReader):  # type: ignore[misc]
        """The images one by one, in batches of the size that the model takes."""

        def __init__(self) -> None:
            self.feeds = _feeds(model, images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.feeds, None)

    with _prepared(model, target.parent) as prepared:
        quantization.quantize_static(
            str(prepared),
            str(target),
            Images(),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=sorted({*registry.QLinearOpsRegistry, *registry.QDQRegistry} - {*LEFT_OUT}),
            per_channel=True,
            reduce_range=request.weight_bits < 8,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )


def _controlled(request: Quantise, model: Path, target: Path, images: Sequence[NDArray[np.float32]]) -> None:
    """Write what NNCF makes of a model: operators stay in fp32 until the label maps of the images agree with fp32's."""
    with _packages():
        import nncf
        import onnxruntime

    def labels(made: onnx.ModelProto, feeds: Sequence[Mapping[str, Any]]) -> list[NDArray[np.integer[Any]]]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        # As the model says: the engines' own ways of computing it are for the gates of inference cells.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(made.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [outputs.label_maps(session.run(None, dict(feed))[0]) for feed in feeds]

    def agreement(made: onnx.ModelProto, items: Iterable[tuple[Mapping[str, Any], Any]]) -> tuple[float, list[float]]:
        feeds, expected = zip(*items, strict=True)
        pairs = zip(labels(made, feeds), expected, strict=True)
        each = [float(np.mean(found == right)) for found, right in pairs]
        return float(np.mean(each)), each

    with _prepared(model, target.parent) as prepared:
        whole = onnx.load(str(prepared))
        feeds = list(_feeds(model, images))
        items = list(zip(feeds, labels(whole, feeds), strict=True))
        overflow = nncf.OverflowFix.ENABLE if request.weight_bits < 8 else nncf.OverflowFix.DISABLE
        made = nncf.quantize_with_accuracy_control(
            whole,
            calibration_dataset=nncf.Dataset(items, lambda item: item[0]),
            validation_dataset=nncf.Dataset(items),
            validation_fn=agreement,
            max_drop=1 - (request.min_agreement or 1),
            subset_size=len(items),
            advanced_quantization_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=overflow),
        )
    onnx.save(made, str(target))


@contextmanager
def _prepared(model: Path, beside: Path) -> Iterator[Path]:
    """The model as it is quantised: batch norm is in the convolutions, and each tensor has a shape."""
    with _packages():
        import onnxruntime
        from onnxruntime import quantization
    onnxruntime.set_default_logger_severity(3)  # errors; it warns of every initializer that it drops
    with TemporaryDirectory(dir=beside) as scratch:
        prepared = Path(scratch) / MODEL
        # The shapes are plain: nobody needs SymPy, which is not installed, to infer them.
        quantization.quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
        yield prepared


@contextmanager
def _packages() -> Iterator[None]:
    """Where packages are imported that quantise; Unverified says which one is not installed."""
    try:
        yield
    except ImportError as error:
        raise Unverified(f"cannot quantise: {error}; install the pins of envs/, which have what is needed") from error


def _feeds(model: Path, images: Sequence[NDArray[np.float32]]) -> Iterator[dict[str, NDArray[np.float32]]]:
    """What a model is fed by its input's name: batches of one, or of its fixed size, filled from the beginning."""
    (taken, *_) = onnx.load(str(model), load_external_data=False).graph.input
    size = taken.type.tensor_type.shape.dim[0].dim_value or 1
    for start in range(0, len(images), size):
        yield {taken.name: np.stack([images[(start + n) % len(images)] for n in range(size)])}


def _precision(request: Quantise, held: Sequence[Convolutions]) -> str:
    """What the made models are: int8 where enough convolutions of each are quantised, else in words how many.

    That is all of them, or, where accuracy may bring some back to fp32, more than half.
    """
    least = min(held, key=lambda found: found.share)
    if least.share == 1 or (request.method == ACCURACY_CONTROL and least.share > 0.5):
        return INT8
    return f"{INT8} in {len(least.quantised)} of {len(least.quantised) + len(least.left)} convolutions"
