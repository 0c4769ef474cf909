"""paddle.jit.not_to_static marks the function of a class, for good: no object of the class is converted any more.

python not-to-static-marks-the-class.py     needs paddlepaddle; exit code 1: the fault is there; 0: it is mended
"""

import sys
import tempfile

import paddle


class Branching(paddle.nn.Layer):
    """A layer whose branch depends on a tensor, so that its source must be converted."""

    def forward(self, x):
        if x.mean() > 0:
            return x + 1
        return x - 1


def converts(layer):
    spec = [paddle.static.InputSpec([-1, 3], "float32", name="x")]
    with tempfile.TemporaryDirectory() as folder:
        try:
            paddle.jit.save(paddle.jit.to_static(layer, input_spec=spec, full_graph=True), f"{folder}/model")
        except Exception as error:
            print(f"    {type(error).__name__}: {str(error).strip().splitlines()[-1].strip()}")
            return False
    return True


def main():
    print(f"paddlepaddle {paddle.__version__} ({paddle.version.commit})")
    before = converts(Branching())
    print(f"an object of the class is converted: {before}")
    one = Branching()
    paddle.jit.not_to_static(one.forward)  # of this object, which is not used any more
    after = converts(Branching())
    print(f"another object, after not_to_static(one.forward) of the first: {after}; it should be as before")
    print(f"attributes of the class's function: {list(vars(Branching.forward))}")
    return int(before and not after)


if __name__ == "__main__":
    sys.exit(main())
