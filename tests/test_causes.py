"""The cause that a reason comes to: the same of two models that failed for the same, and never of two that did not."""

import itertools

import pytest

from segcert.causes import cause

PLACE = "(paddleseg/models/rtformer.py, line 88)"
PYTHON = """\
Traceback (most recent call last):
  File "/home/a/proj é/scripts/segcert/compute/exporting.py", line {line}, in _exported
    paddle.jit.save(model, folder)
  File "{folder}/site-packages/paddleseg/models/{file}.py", line {line}, in forward
    raise {error}("of a source line: not what was raised")
{error}: {message}
"""
CHAINED = PYTHON.format(line=3, folder="/a", file="first", error="KeyError", message="'first'")
CPP = """\
--------------------------------------
C++ Traceback (most recent call last):
--------------------------------------
{frames}
----------------------
Error Message Summary:
----------------------
InvalidArgumentError: {message}
  [Hint: Expected rank == 4, but received {number}.] (at /paddle/phi/kernels/conv.cc:{number})
"""


def long_traceback(model, message, frames=60):
    """About 2,000 characters, of several frames, as it stood in a reason on one line."""
    calls = [
        f'File "/home/me/{model}/lib/site-packages/paddle/jit/api.py", line {n}, in f{n} self.f({n})'
        for n in range(frames)
    ]
    text = f"In transformed code: Traceback (most recent call last): {' '.join(calls)} TypeError: {message}"
    assert len(text) > 2000
    return text


# Reasons of one cause: (reason, model) of several models, runs or machines.
SAME = {
    "a number": [("agreement 0.9312 of the pixels", "net_a"), ("agreement 1e-3 of the pixels", "net_b")],
    "units": [("12.5GB of 64GiB are used, 3s left, 40 %", "net_a"), ("1GB of 8GiB are used, 10s left, 7 %", "net_b")],
    "a shape": [("received [1, 19, 512, 1024]", "net_a"), ("received [2, 3]", "net_b")],
    "a list": [
        ("0.9 of pixels; least: a.png 0.9, b.png 0.93, c.png 1.0; no", "net_a"),
        ("0.8 of pixels; least: b_001.png 0.8; no", "net_b"),
    ],
    "a size": [("an input of 1024x512", "net_a"), ("an input of 64x64", "net_b")],
    "a variable that is counted": [("conv2d_12.w_0 is not there", "net_a"), ("conv2d_7.w_1 is not there", "net_b")],
    "a hash": [("made from another file: 3f1c2a9e77", "net_a"), ("made from another file: 0badc0de1", "net_b")],
    "an address": [("it is at 0x7fab12", "net_a"), ("it is at 0xDEAD", "net_b")],
    "a path": [
        ("results/zoo/one/single_fp32/export/model.onnx: cannot be read", "one"),
        ("/home/me/results/smoke/two.b/export/model.onnx: cannot be read", "two.b"),
        ("model.onnx: cannot be read", "three"),
    ],
    "a URL": [
        ("https://bj.bcebos.com/a/b.pdparams: HTTP 404", "net_a"),
        ("https://bj.bcebos.com/x.pdparams: HTTP 404", "net_b"),
    ],
    "a model's name": [
        ("unet.unet_a: no operator", "unet.unet_a"),
        ("ocrnet: no operator", "ocrnet"),
    ],
    "a name that is part of words": [("net: nets internet", "net"), ("deep-er: nets internet", "deep-er")],
    "a file of two machines": [
        (f"TypeError: bool(Tensor) {PLACE}", "net_a"),
        ("TypeError: bool(Tensor) (/opt/lib/python3.11/site-packages/paddleseg/models/rtformer.py, line 88)", "net_b"),
    ],
    "a traceback": [
        (PYTHON.format(line=7, folder="/a/lib", file="one", error="KeyError", message="'seg'"), "one"),
        (PYTHON.format(line=9, folder="/b", file="two", error="KeyError", message="'seg'"), "two"),
        (CHAINED + PYTHON.format(line=1, folder="/c", file="three", error="KeyError", message="'seg'"), "three"),
        ("KeyError: 'seg'", "four"),
    ],
    "2,000 characters": [
        (long_traceback("one", "bool(Tensor) is not supported"), "one"),
        (long_traceback("two", "bool(Tensor) is not supported", 90), "two"),
        ("TypeError: bool(Tensor) is not supported", "three"),
    ],
    "a traceback of C++": [
        (CPP.format(frames="0 paddle::Run()\n1 paddle::Conv()", message="a 4-D Tensor", number=77), "net_a"),
        (CPP.format(frames="0 paddle::Predict()", message="a 5-D Tensor", number=78), "net_b"),
    ],
    "further lines": [("cannot be converted\nnode 7", "net_a"), ("cannot be converted\nnode 8 of 9", "net_b")],
}  # fmt: skip
# Reasons of several causes, of the same model.
DIFFERENT = {
    "words": ["no operator resize", "no operator softmax"],
    "a key": ["KeyError: 'seg'", "KeyError: 'edge'"],
    "an exception": ["KeyError: 'seg'", "ValueError: 'seg'"],
    "a place in code": [
        "IndexError: list index out of range (paddleseg/models/a.py, line 3)",
        "IndexError: list index out of range (paddleseg/models/b.py, line 3)",
        "IndexError: list index out of range (paddleseg/models/b.py, line 4)",
        "IndexError: list index out of range (/home/me/heads.py, line 4)",
        "IndexError: list index out of range (paddleseg/models/one.py, line 4)",
    ],
    "a kind of file": ["a/b.yml is not there", "a/b.pdparams is not there", "a/b/ is not there"],
    "a signal": ["ended with signal 6", "ended with signal 9", "ended with signal SIGSEGV"],
    "an exit code": ["ended with exit code 1", "ended with exit code 137"],
    "a system's error": ["[Errno 28] No: '/a'", "[Errno 13] No: '/a'"],
    "an answer": ["https://e.org/a: HTTP 404", "https://e.org/a: HTTP 403", "https://f.org/a: HTTP 404"],
    "a type": ["float16 is not done", "float32 is not done", "conv2d is not done", "conv3d is not done"],
    "the end of a traceback": [
        PYTHON.format(line=7, folder="/a", file="one", error="KeyError", message="'seg'"),
        PYTHON.format(line=7, folder="/a", file="one", error="KeyError", message="'edge'"),
        PYTHON.format(line=7, folder="/a", file="one", error="RuntimeError", message="'seg'"),
        CHAINED,
    ],
    "the end of 2,000 characters": [
        long_traceback("one", "bool(Tensor) is not supported"),
        long_traceback("one", "int(Tensor) is not supported"),
        "x" * 2000 + " ends so",
        "x" * 2000 + " ends otherwise",
    ],
    "a traceback that was cut": ['File "/a/b.py", line 3, in f', 'File "/a/c.py", line 3, in g'],
    "a summary of C++": [
        CPP.format(frames="0 paddle::Run()", message="one", number=7),
        CPP.format(frames="0 paddle::Run()", message="other", number=7),
    ],
    "what follows a head": ["what broke:\n  resize", "what broke:\n  softmax"],
    "nothing": ["", "0"],
}


@pytest.mark.parametrize("reasons", SAME.values(), ids=SAME)
def test_one_cause_in_several_models_is_one(reasons):
    assert len({cause(reason, model) for reason, model in reasons}) == 1


@pytest.mark.parametrize("reasons", DIFFERENT.values(), ids=DIFFERENT)
def test_two_causes_stay_two(reasons):
    found = [cause(reason, "one") for reason in reasons]
    assert len(set(found)) == len(found), found


def test_causes_of_all_these_do_not_meet():
    kinds = [{cause(reason, model) for reason, model in reasons} for reasons in SAME.values()]
    for one, other in itertools.combinations(kinds, 2):
        assert not one & other or "KeyError: 'seg'" in one & other


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("configs/x/cut.yml: is not YAML: line 3", "PATH.yml: is not YAML: line N"),
        ("net: conv2d_3.w_0 of [1, 2, 3], 5 of 7.5e-3, opset 13", "MODEL: conv2d_N.w_N of [N], N of N, opset 13"),
        (f"TypeError: bool(Tensor) {PLACE}", f"TypeError: bool(Tensor) {PLACE}"),
        ("/a/b/heads.py:12: no", "heads.py:12: no"),
        ("  two\tblanks \n", "two blanks"),
        ("file 3f1c2a9e77 of https://e.org/a/b?c=1, and https://e.org", "file HASH of https://e.org/PATH, and https://e.org/PATH"),
    ],
)  # fmt: skip
def test_what_is_taken_out_and_what_stays(reason, text):
    assert cause(reason, "net") == text


def test_a_known_failure_goes_by_its_id():
    seen = "K7.a: its converter is wrong (https://e.org/7) Seen: node {}"
    assert cause(seen.format("one"), known=True) == cause(seen.format("two"), known=True) == "K7.a"
    assert cause("K8: the same (https://e.org/7) Seen: node one", known=True) == "K8"
    assert cause("of a form of before", known=True) == "of a form of before"
    assert cause(seen.format("one")) == "K7.a: its converter is wrong (https://e.org/PATH) Seen: node one"


def test_a_models_name_is_no_word_and_no_file_of_code():
    assert cause("needs a GPU", "a") == "needs a GPU"
    assert cause("unet: no (models/unet.py, line 3), unet.a, Unet, a/unet", "unet") == (
        "MODEL: no (models/unet.py, line 3), unet.a, Unet, PATH"
    )
    assert cause("(x): no", "(x)") == "MODEL: no" and cause("a b#c: no", "a b#c") == "MODEL: no"


def test_it_is_the_same_of_itself():
    """What was taken out once has nothing more to take out."""
    for reasons in SAME.values():
        for reason, model in reasons:
            assert cause(cause(reason, model), model) == cause(reason, model)


LONG = {"letters": "x" * 50_000, "parts": "a/" * 25_000, "numbers": "1." * 25_000, "counters": "a_1" * 20_000,
        "errors": "Error." * 10_000, "heads": "a:\n" * 10_000}  # fmt: skip


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_a_reason_of_any_length_comes_to_an_end(text):
    assert cause(text) and cause(f'File "a.py", line 3 {text}')
