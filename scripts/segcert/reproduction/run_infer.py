"""Runs an exported model on one image, and holds what it gives against what is right: README.md tells of which fault.

Needs numpy and the package of the engine that cell.json names, and nothing else.
Exit code 1: the fault shows; 0: it does not; 2: the engine's package is not installed.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGES = {
    "native": "paddlepaddle",
    "onednn": "paddlepaddle",
    "onednn_convolutions": "paddlepaddle",
    "onnxruntime": "onnxruntime",
    "openvino": "openvino",
}
PLACEMENT = ("onednn_placement_pass", "mkldnn_placement_pass")  # which onednn_convolutions goes without


def main() -> int:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    asked = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    image, labels = np.load(folder / "input.npy"), np.load(folder / "expected_labels.npy")
    kept = folder / "expected_logits.npy"
    right = np.load(kept) if kept.is_file() else None
    package = PACKAGES[asked["engine"]]
    try:
        print(f"{package} {metadata.version(package)}, numpy {np.__version__}")
    except metadata.PackageNotFoundError:
        print(f"{package} is not installed: pip install {package}=={asked['version']}")
        return 2
    run = {"onnxruntime": by_onnxruntime, "openvino": by_openvino}.get(asked["engine"], by_paddle)
    try:
        given, logits = run(folder, asked, image, right)
    except Exception as error:
        print(f"it does not run: {type(error).__name__}: {error}\nthe fault shows")
        return 1
    wrong = compared(asked["gates"], given, labels, logits, right)
    print("the fault shows" if wrong else "the fault does not show")
    return int(wrong)


def compared(
    gates: dict[str, float], given: NDArray[Any], labels: NDArray[Any], logits: Any, right: NDArray[np.float32] | None
) -> bool:
    """Tells how far what was given is from what is right; whether it is too far."""
    given = given.argmax(axis=1) if given.ndim == 4 else given
    held = [("pixel_agreement", min(float(np.mean(one == labels)) for one in given), "at least")]
    if right is not None:
        off = [one.astype(np.float64) - right for one in logits]
        size, span = float(np.linalg.norm(right.astype(np.float64))), float(right.max()) - float(right.min())
        held.append(("logits_l2", max(float(np.linalg.norm(one)) for one in off) / size, "at most"))
        held.append(("logits_peak", max(float(np.abs(one).max()) for one in off) / span, "at most"))
        worst = np.unravel_index(int(np.abs(off[0]).argmax()), right.shape)
        place = "class {}, row {}, column {}".format(*worst)
        print(f"largest error of a logit: {place}: {right[worst]:.7g} is right, {logits[0][worst]:.7g} was given")
    elif differing := np.argwhere(given[0] != labels).tolist():
        row, column = differing[0]
        was = f"{labels[row, column]} is right, {given[0][row, column]} was given"
        print(f"first of {len(differing)} pixels that differ: row {row}, column {column}: class {was}")
    wrong = False
    for name, value, bound in held:
        holds = value >= gates[name] if bound == "at least" else value <= gates[name]
        print(f"{name}: {value:.7g}, {bound} {gates[name]:g} is asked: {'holds' if holds else 'does not hold'}")
        wrong = wrong or not holds
    return wrong


def by_onnxruntime(folder: Path, asked: dict[str, Any], image: NDArray[np.float32], right: Any) -> tuple[Any, Any]:
    """Label maps, and logits if there are some to compare with."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads, options.inter_op_num_threads = asked["threads"], 1

    def given(file: str) -> Any:
        session = onnxruntime.InferenceSession(str(folder / file), options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: image})[0]

    return given("model.onnx"), None if right is None else given("logits.onnx")


def by_openvino(folder: Path, asked: dict[str, Any], image: NDArray[np.float32], right: Any) -> tuple[Any, Any]:
    """The same of OpenVINO."""
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": asked["threads"], "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    if hint := {"fp32": "f32", "bf16": "bf16"}.get(asked["precision"]):
        settings["INFERENCE_PRECISION_HINT"] = hint

    def given(file: str) -> Any:
        request = core.compile_model(core.read_model(str(folder / file)), "CPU", settings).create_infer_request()
        request.infer({0: image})
        return request.get_output_tensor(0).data.copy()

    return given("model.onnx"), None if right is None else given("logits.onnx")


def by_paddle(folder: Path, asked: dict[str, Any], image: NDArray[np.float32], right: Any) -> tuple[Any, Any]:
    """The same of Paddle Inference, which tells the outputs of its operators; logits are what its argmax is of."""
    predictor, labels = predicting(folder, asked["program"], asked, image)
    given, ends_in = labels(), asked.get("output_op", "argmax")
    if right is None:
        return given, None
    if ends_in == "softmax":
        return given, predicting(folder, f"logits{Path(asked['program']).suffix}", asked, image)[1]()
    if ends_in == "none":
        return given, given
    last: list[Any] = []
    found: list[NDArray[np.float32]] = []

    def note(operator: str, _name: str, tensor: Any) -> None:
        if operator.split(":")[0].rpartition(".")[2] in ("argmax", "arg_max"):
            found.extend(float32(one) for one in last)
            last.clear()
        elif list(tensor.shape[1:]) == list(right.shape) and "float" in str(tensor.dtype):
            last.append(tensor)

    predictor.register_output_hook(note)
    again = labels()
    for logits in found:
        taken = np.take_along_axis(logits, again[:, np.newaxis].astype(np.intp), axis=1)[:, 0]
        if np.array_equal(taken, logits.max(axis=1), equal_nan=True):
            return given, logits
    raise RuntimeError(f"none of {len(found)} tensors is what the label maps are the argmax of")


def predicting(folder: Path, program: str, asked: dict[str, Any], image: NDArray[np.float32]) -> tuple[Any, Any]:
    """A predictor of a program, and a function that runs the image through it."""
    from paddle import inference

    config = inference.Config(str(folder / program), str(folder / "model.pdiparams"))
    config.disable_glog_info()
    config.disable_gpu()
    config.set_cpu_math_library_num_threads(asked["threads"])
    if asked["engine"].startswith("onednn"):
        config.enable_mkldnn()
        if asked["precision"] == "bf16":
            config.enable_mkldnn_bfloat16()
        if asked["engine"] == "onednn_convolutions":
            for name in PLACEMENT:
                config.delete_pass(name)
    else:
        config.disable_mkldnn()
    predictor = inference.create_predictor(config)
    handle = predictor.get_input_handle(predictor.get_input_names()[0])
    output = predictor.get_output_handle(predictor.get_output_names()[0])

    def run() -> Any:
        handle.reshape(image.shape)
        handle.copy_from_cpu(image)
        predictor.run()
        return output.copy_to_cpu()

    return predictor, run


def float32(tensor: Any) -> NDArray[np.float32]:
    """A tensor's numbers; those of bfloat16 come as the upper half of the bits of a float32's."""
    array: NDArray[Any] = tensor.numpy()
    if array.dtype == np.uint16:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array.astype(np.float32)


if __name__ == "__main__":
    sys.exit(main())
