"""oneDNN of Paddle computes `interpolate` wrongly: bilinear with align_corners or align_mode 1, nearest to an odd size.

python onednn-interpolate.py          needs paddlepaddle (CPU); exit code 1: the fault is there; 0: it is mended
python onednn-interpolate.py MODEL    whether it is what makes oneDNN wrong in a model: a folder with model.json and
                                      model.pdiparams of Paddle 3; 1: it is; 0: oneDNN is right; 3: something else is
"""

import itertools
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import paddle
from paddle import inference

HEIGHT, WIDTH, CHANNELS = 4, 8, 4
AROUND = ["onednn_placement_pass"]
SIZES = ([8, 16], [7, 13])
KINDS = (  # mode, align_corners, align_mode
    ("nearest", False, 0),
    ("bilinear", False, 0),
    ("bilinear", False, 1),
    ("bilinear", True, 0),
)


class Resize(paddle.nn.Layer):
    """A convolution that copies its input to each channel, so that oneDNN has work before it, and a resize."""

    def __init__(self, size, mode, align_corners, align_mode):
        super().__init__()
        one = paddle.ParamAttr(initializer=paddle.nn.initializer.Constant(1.0))
        self.copy = paddle.nn.Conv2D(1, CHANNELS, 1, weight_attr=one, bias_attr=False)
        self.how = {"size": size, "mode": mode, "align_corners": align_corners, "align_mode": align_mode}

    def forward(self, image):
        return paddle.nn.functional.interpolate(self.copy(image), **self.how)


def weights(to, of, mode, align_corners, align_mode):
    """By what each of `of` values counts in each of `to`, as the documentation of interpolate says."""
    place = np.arange(to)
    if align_corners:
        source = place * (of - 1) / (to - 1)
    elif mode == "nearest" or align_mode == 1:
        source = place * of / to
    else:
        source = np.maximum((place + 0.5) * of / to - 0.5, 0)
    low = np.floor(source).astype(int)
    found = np.zeros((to, of))
    share = np.zeros(to) if mode == "nearest" else source - low
    found[place, low] += 1 - share
    found[place, np.minimum(low + 1, of - 1)] += share
    return found


def predicted(stem, image, onednn, without=()):
    config = inference.Config(f"{stem}.json", f"{stem}.pdiparams")
    config.disable_glog_info()
    config.disable_gpu()
    config.enable_mkldnn() if onednn else config.disable_mkldnn()
    for name in without:
        config.delete_pass(name)
    predictor = inference.create_predictor(config)
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def kind_of(operator):
    return operator["#"].rpartition(".")[2]


def attributes(operator):
    """Name -> value, which can be written to."""
    return {one["N"]: one["AT"] for one in operator["A"]}


def shape_of(value):
    return value["TT"]["D"][1]


def is_affected(operator, shapes):
    """Whether it is an interpolate of a kind that is wrong."""
    how = {name: value.get("D") for name, value in attributes(operator).items()}
    if kind_of(operator) == "bilinear_interp":
        return bool(how["align_corners"]) or how["align_mode"] == 1
    of, to = shapes[operator["I"][0]["%"]][2:], shape_of(operator["O"][0])[2:]
    return kind_of(operator) == "nearest_interp" and (
        min(of + to) < 1 or any(b % a for a, b in zip(of, to, strict=True))
    )


def logits_of(program):
    """Have a program that ends in argmax give what that is taken of.

    Returns:
        the shape of its input, and its interpolates of the kinds that are wrong.
    """
    (block, *_) = program["program"]["regions"][0]["blocks"]
    made = {}
    for operator in block["ops"]:
        outputs = operator["O"] if isinstance(operator["O"], list) else [operator["O"]]
        made.update({output["%"]: (operator, output) for output in outputs})
    shapes = {number: shape_of(output) for number, (_, output) in made.items() if isinstance(output["TT"]["D"], list)}
    fetch = next(operator for operator in block["ops"] if kind_of(operator) == "fetch")
    (maker, _) = made[fetch["I"][0]["%"]]
    if kind_of(maker) == "argmax":
        fetch["I"] = [{"%": maker["I"][0]["%"]}]
        fetch["O"][0]["TT"] = made[maker["I"][0]["%"]][1]["TT"]
    (data,) = [shape_of(operator["O"][0]) for operator in block["ops"] if kind_of(operator) == "data"]
    affected = [
        operator for operator in block["ops"] if "_interp" in kind_of(operator) and is_affected(operator, shapes)
    ]
    return [1, *data[1:]], affected


def half_pixel(operator):
    """Make an interpolate one that oneDNN computes right: bilinear with half-pixel centres."""
    operator["#"] = operator["#"].replace("nearest_interp", "bilinear_interp")
    how = attributes(operator)
    how["interp_method"]["D"], how["align_corners"]["D"], how["align_mode"]["D"] = "bilinear", False, 0


def of_model(folder):
    """Whether oneDNN is wrong in a model, and whether it is right once nothing else but its interpolates is changed."""
    program = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    shape, affected = logits_of(program)
    if min(shape) < 1:
        print(f"{folder}: an input of {shape} is not fixed: export it for one size")
        return 2
    image = np.random.default_rng(0).standard_normal(shape).astype("float32")
    errors = []
    with tempfile.TemporaryDirectory() as place:
        shutil.copy(folder / "model.pdiparams", place)
        for changed in (False, True):
            for operator in affected if changed else ():
                half_pixel(operator)
            Path(place, "model.json").write_text(json.dumps(program), encoding="utf-8")
            own, others = (predicted(f"{place}/model", image, onednn).astype("float64") for onednn in (False, True))
            errors.append(float(np.linalg.norm(others - own) / np.linalg.norm(own)))
    print(f"{len(affected)} interpolates are of the kinds that are wrong")
    print("oneDNN against Paddle's own kernels, relative L2:")
    print(f"{errors[0]:.3g} as it is")
    print(f"{errors[1]:.3g} with these bilinear with half-pixel centres, and nothing else changed")
    if errors[0] < 1e-5:
        print("oneDNN is right")
        return 0
    if errors[1] < errors[0] / 20:  # without such interpolates both are the same
        print("so interpolate is the cause")
        return 1
    print("so something else is a cause as well")
    return 3


def main():
    print(f"paddlepaddle {paddle.__version__} ({paddle.version.commit}), numpy {np.__version__}")
    if len(sys.argv) > 1:
        return of_model(Path(sys.argv[1]))
    image = np.random.default_rng(0).standard_normal((1, 1, HEIGHT, WIDTH)).astype("float32")
    spec = [paddle.static.InputSpec(image.shape, "float32", name="x")]
    wrong = 0
    for number, (size, kind) in enumerate(itertools.product(SIZES, KINDS)):
        model = Resize(size, *kind)
        model.eval()
        rows, columns = (weights(to, of, *kind) for to, of in zip(size, (HEIGHT, WIDTH), strict=True))
        right = rows @ image[0, 0] @ columns.T
        with tempfile.TemporaryDirectory() as folder:
            stem = f"{folder}/{number}"
            paddle.jit.save(paddle.jit.to_static(model, input_spec=spec, full_graph=True), stem)
            given = [predicted(stem, image, False), predicted(stem, image, True), predicted(stem, image, True, AROUND)]
        eager = model(paddle.to_tensor(image)).numpy()
        errors = [float(np.abs(one - right).max()) for one in (eager, *given)]
        wrong += errors[2] > 1e-4
        told = zip(("eager", "Paddle's own kernels", "oneDNN", f"without {AROUND[0]}"), errors, strict=True)
        print(
            f"{HEIGHT}x{WIDTH} -> {size[0]}x{size[1]} {kind[0]}, align_corners={kind[1]}, align_mode={kind[2]}: "
            + "largest error: "
            + ", ".join(f"{name} {error:.3g}" for name, error in told)
            + (" WRONG" if errors[2] > 1e-4 else "")
        )
    print(f"oneDNN is wrong in {wrong} of {len(SIZES) * len(KINDS)} cases; values are about 1, and right is below 1e-4")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
