"""paddle2onnx converts AdaptiveAvgPool2D wrongly, in silence, where one size does not divide the other.

python paddle2onnx-adaptive-pool.py          needs paddlepaddle, paddle2onnx, onnx, onnxruntime
                                             exit code 1: the fault is there; 0: it is mended
python paddle2onnx-adaptive-pool.py MODEL    whether it is what makes an ONNX model wrong: a folder with model.json and
                                             model.pdiparams of Paddle 3, and the model.onnx that was made of them;
                                             1: it is; 0: the ONNX model is right; 3: something else is
"""

import json
import shutil
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import paddle
import paddle2onnx
from paddle import inference

CASES = (((4, 4), 2), ((16, 32), 3), ((16, 32), 6), ((8, 16), 3), ((2, 4), 6))


def pooled(image, to):
    """Means over rows floor(i * H / to) to ceil((i + 1) * H / to), as AdaptiveAvgPool2D is documented."""

    def spans(of):
        return [(i * of // to, -(-(i + 1) * of // to)) for i in range(to)]

    height, width = image.shape[2:]
    return np.array(
        [[image[0, :, a:b, c:d].mean((1, 2)) for c, d in spans(width)] for a, b in spans(height)]
    ).transpose(2, 0, 1)[None]


def kind_of(operator):
    return operator["#"].rpartition(".")[2]


def shape_of(value):
    return value["TT"]["D"][1]


def shares(of, to):
    """By what each of `of` values counts in each of `to`."""
    found = np.zeros((to, of), "float32")
    for i in range(to):
        a, b = i * of // to, -(-(i + 1) * of // to)
        found[i, a:b] = 1 / (b - a)
    return found


def logits_of(program):
    """Have a program that ends in argmax give what that is taken of.

    Returns:
        the shape of its input, and (number among its poolings, H x W of input, of output) of each adaptive one of means
        whose output does not divide its input.
    """
    (block, *_) = program["program"]["regions"][0]["blocks"]
    values = {}
    for operator in block["ops"]:
        outputs = operator["O"] if isinstance(operator["O"], list) else [operator["O"]]
        values.update({output["%"]: (operator, output) for output in outputs})
    fetch = next(operator for operator in block["ops"] if kind_of(operator) == "fetch")
    (maker, _) = values[fetch["I"][0]["%"]]
    if kind_of(maker) == "argmax":
        fetch["I"] = [{"%": maker["I"][0]["%"]}]
        fetch["O"][0]["TT"] = values[maker["I"][0]["%"]][1]["TT"]
    (data,) = [shape_of(operator["O"][0]) for operator in block["ops"] if kind_of(operator) == "data"]
    affected = []
    for number, operator in enumerate(one for one in block["ops"] if kind_of(one) == "pool2d"):
        how = {one["N"]: one["AT"]["D"] for one in operator["A"]}
        of, to = shape_of(values[operator["I"][0]["%"]][1])[2:], shape_of(operator["O"][0])[2:]
        if how["adaptive"] and how["pooling_type"] == "avg" and any(a % b for a, b in zip(of, to, strict=True)):
            affected.append((number, of, to))
    return [1, *data[1:]], affected


def by_paddle(program, folder, image):
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(folder / "model.pdiparams", place)
        Path(place, "model.json").write_text(json.dumps(program), encoding="utf-8")
        config = inference.Config(f"{place}/model.json", f"{place}/model.pdiparams")
        config.disable_glog_info()
        config.disable_gpu()
        config.disable_mkldnn()
        predictor = inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def by_onnxruntime(model, image):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; it warns of every initializer that it drops
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def give_logits(model):
    """Have an ONNX model that ends in ArgMax give what that is taken of."""
    makers = {name: node for node in model.graph.node for name in node.output}
    node = makers[model.graph.output[0].name]
    while node.op_type in ("Cast", "Identity"):
        node = makers[node.input[0]]
    if node.op_type == "ArgMax":
        del model.graph.output[:]
        model.graph.output.append(onnx.helper.make_tensor_value_info(node.input[0], onnx.TensorProto.FLOAT, None))


def mend(model, number, of, to):
    """Have products with shares in the place of a pooling."""
    name = f"p2o.pd_op.pool2d.{number}.0"
    (place,) = [at for at, node in enumerate(model.graph.node) if name in node.output]
    taken = model.graph.node[place].input[0]
    rows, columns = shares(of[0], to[0]), shares(of[1], to[1]).T.copy()
    made = [
        onnx.helper.make_node("Constant", [], [f"{name}.rows"], value=onnx.numpy_helper.from_array(rows)),
        onnx.helper.make_node("Constant", [], [f"{name}.columns"], value=onnx.numpy_helper.from_array(columns)),
        onnx.helper.make_node("MatMul", [f"{name}.rows", taken], [f"{name}.between"]),
        onnx.helper.make_node("MatMul", [f"{name}.between", f"{name}.columns"], [name]),
    ]
    del model.graph.node[place]
    for node in reversed(made):
        model.graph.node.insert(place, node)


def of_model(folder):
    """Whether an ONNX model is wrong, and whether it is right once nothing else but such poolings is changed."""
    program = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    shape, affected = logits_of(program)
    if min(shape) < 1:
        print(f"{folder}: an input of {shape} is not fixed: export it for one size")
        return 2
    image = np.random.default_rng(0).standard_normal(shape).astype("float32")
    model = onnx.load(folder / "model.onnx")
    give_logits(model)
    right = by_paddle(program, folder, image).astype("float64")
    errors = []
    for changed in ([], affected):
        for pooling in changed:
            mend(model, *pooling)
        errors.append(float(np.linalg.norm(by_onnxruntime(model, image) - right) / np.linalg.norm(right)))
    print(f"poolings whose output does not divide their input: {len(affected)}")
    for _, of, to in affected:
        print(f"  {of[0]}x{of[1]} -> {to[0]}x{to[1]}")
    print("the ONNX model in onnxruntime against Paddle's own kernels, relative L2:")
    print(f"{errors[0]:.3g} as it is")
    print(f"{errors[1]:.3g} with these poolings written as products with shares, and nothing else changed")
    if errors[0] < 1e-5:
        print("the ONNX model is right")
        return 0
    if errors[1] < errors[0] / 20:  # without such poolings both are the same
        print("so the pooling is the cause")
        return 1
    print("so something else is a cause as well")
    return 3


def main():
    names = ("paddlepaddle", "paddle2onnx", "onnx", "onnxruntime", "numpy")
    print(", ".join(f"{name} {metadata.version(name)}" for name in names))
    if len(sys.argv) > 1:
        return of_model(Path(sys.argv[1]))
    wrong = 0
    for size, to in CASES:
        model = paddle.nn.AdaptiveAvgPool2D(to)
        image = np.random.default_rng(0).standard_normal((1, 3, *size)).astype("float32")
        right = pooled(image, to)
        spec = [paddle.static.InputSpec([-1, 3, *size], "float32", name="x")]
        eager = float(np.abs(model(paddle.to_tensor(image)).numpy() - right).max())
        with tempfile.TemporaryDirectory() as folder:
            paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), f"{folder}/pool")
            target = f"{folder}/pool.onnx"
            paddle2onnx.export(
                f"{folder}/pool.json",
                f"{folder}/pool.pdiparams",
                target,
                opset_version=13,
                enable_onnx_checker=True,
                optimize_tool="none",
            )
            nodes = [
                f"{node.op_type} {' '.join(f'{a.name}={list(a.ints)}' for a in node.attribute if a.ints)}".strip()
                for node in onnx.load(target).graph.node
            ]
            try:
                session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
                given = session.run(None, {"x": image})[0]
                said = "another shape" if given.shape != right.shape else f"error {np.abs(given - right).max():.3g}"
                bad = given.shape != right.shape or not np.allclose(given, right, atol=1e-4)
            except Exception as error:
                said, bad = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}", True
        wrong += bad
        print(
            f"{size[0]}x{size[1]} -> {to}x{to}: Paddle: error {eager:.1g}; the ONNX model in onnxruntime: {said}"
            f"{' WRONG' if bad else ''}\n    its nodes: {'; '.join(nodes)}"
        )
    print(f"wrong in {wrong} of {len(CASES)} cases; paddle2onnx says of each that it converted it")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
