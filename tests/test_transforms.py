"""The table of transforms is what PaddleSeg's classes do, and what may stand where follows from it."""

import inspect
import random

import cv2
import numpy as np
import paddle
import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from paddleseg.cvlibs import manager

from segcert import transformoptions, transforms
from segcert.transforms import EXPORT, TRAINING, VALIDATION

RESIZE, NORMALIZE = {"type": "Resize", "target_size": [64, 48]}, {"type": "Normalize"}
# Options with which each transform of the table can be made and does something.
OPTIONS = {
    "Resize": {"target_size": [40, 30]},
    "ResizeByLong": {"long_size": 50},
    "ResizeByShort": {"short_size": 20},
    "LimitLong": {"max_long": 40},
    "Padding": {"target_size": [130, 120]},
    "PaddingByAspectRatio": {"aspect_ratio": 3},
    "RandomHorizontalFlip": {"prob": 0.5},
    "RandomVerticalFlip": {"prob": 0.5},
    "RandomBlur": {"prob": 0.5},
    "RandomPaddingCrop": {"crop_size": [20, 30]},
    "RandomAffine": {"size": [30, 20]},
    "RandomScaleAspect": {"min_scale": 0.3},
    "GenerateInstanceTargets": {"num_classes": 2},
    "ScalePadding": {"target_size": [40, 30]},
}


def built(items):
    return [manager.TRANSFORMS[i["type"]](**{k: v for k, v in i.items() if k != "type"}) for i in items]


def run(items, size, seed=0):
    """A picture of noise and its label, after the transforms."""
    random.seed(seed)
    np.random.seed(seed)
    noise = np.random.default_rng(1)
    width, height = size
    data = {
        "img": noise.integers(0, 255, (height, width, 3)).astype("float32"),
        "label": noise.integers(0, 2, (height, width)).astype("uint8"),
        "gt_fields": ["label"],
        "trans_info": [],
    }
    for transform in built(items):
        data = transform(data)
    return data


def size_of(data):
    height, width = data["img"].shape[:2]
    return width, height


# -- the table --------------------------------------------------------------------------------


def test_every_transform_of_paddleseg_is_in_the_table():
    assert set(transforms.TABLE) == set(manager.TRANSFORMS.components_dict)


@pytest.mark.parametrize("name", sorted(set(transforms.TABLE) - {"Compose"}))
def test_the_table_says_what_the_class_does(name):
    item = {"type": name, **OPTIONS.get(name, {})}
    kind = transforms.TABLE[name]
    seen = [run([item], (70, 50), seed) for seed in range(40)]
    pictures = {(data["img"].shape, np.asarray(data["img"], "float32").tobytes()) for data in seen}
    assert (len(pictures) > 1) is kind.random
    sizes = {size_of(data) for data in seen}
    assert (sizes == {(70, 50)}) is kind.keeps_size
    if kind.fault is None:
        told = kind.size(item, (70, 50))
        assert told is None or sizes == {told}
        noted = {len(data["trans_info"]) for data in seen}
        assert noted == ({1} if kind.back else {0}), "what PaddleSeg notes is what it undoes"
        if kind.back:
            words = {data["trans_info"][0][0] for data in seen}
            assert words == {{"resize": "resize", "crop": "padding"}[kind.back]}


@pytest.mark.parametrize("name", sorted(set(transforms.TABLE) - {"Compose"}))
def test_the_options_are_those_of_the_class(name):
    """What a class has where nothing is written may be written."""
    taken = dict(list(inspect.signature(manager.TRANSFORMS[name].__init__).parameters.items())[1:])
    known = transformoptions.OPTIONS[name]
    assert list(known) == list(taken)
    needed = {option for option, parameter in taken.items() if parameter.default is parameter.empty}
    defaults = {option: parameter.default for option, parameter in taken.items() if option not in needed}
    assert needed <= {*transformoptions.NEEDED.get(name, ()), transforms.TABLE[name].size_key,
                      *transforms.NUMBERS.get(name, {})}  # fmt: skip
    given = defaults | dict.fromkeys(transformoptions.NEEDED.get(name, ()), 2)
    assert list(transformoptions.wrong({"type": name, **given}, strict=True)) == []
    (low, least), (high, most) = transformoptions.RANGES.get(name, ((None, None), (None, None)))
    assert (taken[low].default, taken[high].default) == (least, most) if low else True


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ({"type": "Resize", "interp": "FOO"}, "k.0: Resize.interp: 'FOO' is refused; allowed: one of NEAREST, LINEAR"),
        ({"type": "Resize", "interp": "linear"}, "Resize.interp: 'linear' is refused"),
        ({"type": "Resize", "keep": True}, "Resize.keep: is no option of Resize in paddleseg 2.8.0; allowed: target_s"),
        ({"type": "Resize", "keep_ratio": "no"}, "Resize.keep_ratio: 'no' is refused; allowed: true or false"),
        ({"type": "Normalize", "to_rgb": True}, "Normalize.to_rgb: is no option of Normalize"),
        ({"type": "Normalize", "mean": 0.5}, "Normalize.mean: 0.5 is refused; allowed: a list of 1 or 3 numbers"),
        ({"type": "Normalize", "mean": [0.5, 0.5]}, "Normalize.mean: [0.5, 0.5] is refused"),
        ({"type": "Normalize", "std": [0, 1, 1]}, "Normalize.std: [0, 1, 1] is refused"),
        ({"type": "Normalize", "std": ["1"]}, "Normalize.std: ['1'] is refused"),
        ({"type": "Padding", "target_size": [64, 48], "im_padding_value": [0, 0, 0]}, "Padding.im_padding_value"),
        ({"type": "RandomHorizontalFlip", "prob": "0.5"}, "RandomHorizontalFlip.prob: '0.5' is refused"),
        ({"type": "RandomPaddingCrop", "loop_times": 1.5}, "loop_times: 1.5 is refused; allowed: a whole number"),
        ({"type": "RandomCenterCrop", "retain_ratio": [2, 1]}, "retain_ratio: [2, 1] is refused; allowed: two numbers"),
        ({"type": "ResizeRangeScaling", "min_value": 700}, "min_value: 700 is refused; allowed: at most max_value"),
        ({"type": "LimitLong", "min_long": 9, "max_long": 8}, "LimitLong.min_long: 9 is refused"),
        ({"type": "GenerateInstanceTargets"}, "GenerateInstanceTargets.num_classes: this option is needed"),
        ({"type": "PaddingByAspectRatio", "aspect_ratio": 0}, "aspect_ratio: 0 is refused; allowed: a number above 0"),
        ({"type": "RandomBlur", "prob": 7}, "RandomBlur.prob: 7 is refused; allowed: a number from 0 to 1"),
        ({"type": "RandomBlur", "blur_type": "gausian"}, "RandomBlur.blur_type: 'gausian' is refused; allowed: one of"),
        ({"type": "RandomDistort", "hue_range": 300}, "RandomDistort.hue_range: 300 is refused; allowed: a"),
        ({"type": "ResizeStepScaling", "scale_step_size": -1}, "ResizeStepScaling.scale_step_size: -1 is refused"),
        ({"type": "RandomBlur", "blur_type": None}, "RandomBlur.blur_type: None is refused; allowed: one of gaussian"),
    ],
)  # fmt: skip
def test_options_that_paddleseg_does_not_take_are_refused_by_key(item, words):
    (found,) = transforms.problems([item], "k", TRAINING)
    assert words in found
    unknown = "is no option" in words
    assert transforms.problems([item], "k", TRAINING, strict=False) == ([] if unknown else [found])


def test_targets_of_a_training_are_not_exported():
    items = [RESIZE, {"type": "GenerateInstanceTargets", "num_classes": 2}]
    assert transforms.problems(items, "k", TRAINING) == transforms.problems(items, "k", VALIDATION) == []
    (found,) = transforms.problems(items, "k", EXPORT)
    assert found.startswith("k.1: GenerateInstanceTargets: makes what a training needs of labels")


def test_what_is_drawn_at_random_by_an_option():
    for item in (
        {"type": "Resize", "target_size": [40, 30], "interp": "RANDOM"},
        {"type": "ResizeByShort", "short_size": [20, 30]},
    ):
        pictures = {
            (run([item], (70, 50), s)["img"].shape, run([item], (70, 50), s)["img"].tobytes()) for s in range(20)
        }
        assert len(pictures) > 1 and transforms.problems([item, RESIZE], "k", VALIDATION)


SIDES = st.integers(8, 200)
PAIRS = st.tuples(SIDES, SIDES).map(list)
ITEMS = st.one_of(
    st.builds(
        lambda size, keep, divisor: {
            "type": "Resize", "target_size": size, "keep_ratio": keep, **({"size_divisor": divisor} if divisor else {})
        },
        PAIRS, st.booleans(), st.sampled_from([None, 8, 32]),
    ),
    st.builds(lambda long: {"type": "ResizeByLong", "long_size": long}, SIDES),
    st.builds(lambda short: {"type": "ResizeByShort", "short_size": short}, SIDES),
    st.builds(lambda a, b: {"type": "LimitLong", "min_long": min(a, b), "max_long": max(a, b)}, SIDES, SIDES),
    st.builds(lambda size: {"type": "Padding", "target_size": size}, PAIRS),
    st.builds(lambda ratio: {"type": "PaddingByAspectRatio", "aspect_ratio": ratio}, st.sampled_from([1, 0.5, 1.5, 3])),
    st.builds(lambda size: {"type": "RandomPaddingCrop", "crop_size": size}, PAIRS),
    st.just({"type": "Normalize"}),
)  # fmt: skip


@hypothesis_settings(max_examples=300, deadline=None)
@example(
    [{"type": "Resize", "target_size": [8, 8], "keep_ratio": True}, {"type": "ResizeByShort", "short_size": 8}],
    (8, 128),
)
@example(
    [{"type": "Resize", "target_size": [8, 200], "keep_ratio": True}, {"type": "ResizeByLong", "long_size": 8}],
    (8, 200),
)
@given(st.lists(ITEMS, min_size=1, max_size=4), st.tuples(SIDES, SIDES))
def test_the_size_after_any_chain_is_known_before_it_is_run(items, size):
    try:
        told = transforms.final_size(items, size)
    except transforms.SizeError:
        with pytest.raises((ValueError, cv2.error), match=r"should be less than|inv_scale_x > 0|dsize"):
            run(items, size)
        return
    assert size_of(run(items, size)) == told
    try:
        fixed = transforms.final_size(items)
    except transforms.SizeError:
        return
    assert fixed in (None, told), "of any image"


# -- what may stand where ---------------------------------------------------------------------

KEEP = {"type": "Resize", "target_size": [64, 64], "keep_ratio": True}
PAD = {"type": "Padding", "target_size": [64, 64]}
REFUSED = {
    "an image of its own size": (
        [KEEP, NORMALIZE],
        EXPORT,
        None,
        ["k.0.keep_ratio: Resize leaves each", "keep_ratio: false"],
    ),
    "the long side": (
        [RESIZE, {"type": "ResizeByLong", "long_size": 96}],
        EXPORT,
        [64, 48],
        ["k: images come out of it as 96x72", "asks for 64x48"],
    ),
    "the long side alone": ([{"type": "ResizeByLong", "long_size": 96}], EXPORT, None, ["a Resize with target_size"]),
    "the long side before the run's size": (
        [{"type": "ResizeByLong", "long_size": 96}],
        EXPORT,
        [64, 48],
        ["come out of it as 96x72"],
    ),
    "the short side alone": (
        [{"type": "ResizeByShort", "short_size": 96}],
        EXPORT,
        None,
        ["a Resize with target_size"],
    ),
    "a limit alone": ([{"type": "LimitLong", "max_long": 96}], EXPORT, None, ["a Resize with target_size"]),
    "a larger padding": (
        [RESIZE, {"type": "Padding", "target_size": [32, 32]}],
        EXPORT,
        None,
        ["k.1: Padding: 64x48 cannot be padded to 32x32"],
    ),
    "a ratio of the image's own": (
        [{"type": "PaddingByAspectRatio"}, KEEP],
        EXPORT,
        None,
        ["k.1.keep_ratio: Resize leaves"],
    ),
    "multiples": (
        [{"type": "Resize", "target_size": [60, 40], "size_divisor": 32}],
        EXPORT,
        [60, 40],
        ["k: images come out of it as 64x64", "asks for 60x40"],
    ),
    "a step": ([RESIZE, {"type": "ResizeStepScaling"}], EXPORT, None, ["k.1: ResizeStepScaling: draws random numbers"]),
    "a step of one": (
        [RESIZE, {"type": "ResizeStepScaling", "min_scale_factor": 1.5, "max_scale_factor": 1.5}],
        VALIDATION,
        None,
        ["k.1: ResizeStepScaling: draws random numbers"],
    ),
    "a flip": (
        [RESIZE, {"type": "RandomHorizontalFlip"}],
        VALIDATION,
        None,
        ["k.1: RandomHorizontalFlip: draws random"],
    ),
    "a flip in an export": (
        [RESIZE, {"type": "RandomHorizontalFlip"}],
        EXPORT,
        None,
        ["the export must give the same"],
    ),
    "a random interpolation": (
        [{**RESIZE, "interp": "RANDOM"}],
        VALIDATION,
        None,
        ["k.0: Resize.interp: RANDOM draws random numbers"],
    ),
    "one of several sizes": (
        [{"type": "ResizeByShort", "short_size": [20, 30]}, RESIZE],
        EXPORT,
        None,
        ["k.0: ResizeByShort.short_size: a list is drawn from"],
    ),
    "a limit that stays": (
        [{"type": "ResizeByShort", "short_size": 20, "max_size": 30}],
        VALIDATION,
        None,
        ["k.0: ResizeByShort.max_size", "a fault of paddleseg 2.8.0"],
    ),
    "labels between classes": (
        [{"type": "ScalePadding"}],
        TRAINING,
        None,
        ["k.0: ScalePadding: it resizes labels by cubic"],
    ),
    "a list in the list": (
        [{"type": "Compose", "transforms": []}],
        TRAINING,
        None,
        ["k.0: Compose: it is the list that the transforms stand in"],
    ),
    "an unknown one": (
        [{"type": "AddEdgeLabel"}, RESIZE],
        TRAINING,
        None,
        ["k.0: AddEdgeLabel: is no transform of paddleseg 2.8.0", "own_transforms: {AddEdgeLabel: {random:"],
    ),
    "no list": ({"type": "Resize"}, EXPORT, None, ["k: {'type': 'Resize'} is refused; allowed: a list"]),
    "nothing": (None, EXPORT, None, ["k: None is refused; allowed: a list"]),
    "a word": (["Resize"], EXPORT, None, ["k.0: 'Resize' is refused; allowed: a mapping"]),
    "no type": ([{"target_size": [1, 2]}], EXPORT, [4, 4], ["k.0: {'target_size': [1, 2]} is refused"]),
    "one side": ([{"type": "Resize", "target_size": 64}], EXPORT, None, ["k.0: Resize.target_size: 64 is refused"]),
    "sides in words": (
        [{"type": "RandomPaddingCrop", "crop_size": ["64", "48"]}],
        TRAINING,
        None,
        ["k.0: RandomPaddingCrop.crop_size: ['64', '48'] is refused"],
    ),
    "no padding": ([RESIZE, {"type": "Padding"}], EXPORT, None, ["k.1: Padding.target_size: None is refused"]),
    "no long side": ([{"type": "ResizeByLong"}], TRAINING, None, ["k.0: ResizeByLong.long_size: None is refused"]),
    "half a divisor": ([{**RESIZE, "size_divisor": 0.5}], EXPORT, None, ["k.0: Resize.size_divisor: 0.5 is refused"]),
    "a crop that is turned": (
        [{"type": "RandomPaddingCrop", "crop_size": [64, 48]}, {"type": "RandomRotation"}],
        TRAINING,
        [64, 48],
        [
            "k: images come out of it as sizes of their own (by 1: RandomRotation)",
            "end it in a Resize or a RandomPaddingCrop",
        ],
    ),
    "a crop that is cut": (
        [{"type": "RandomPaddingCrop", "crop_size": [64, 48]}, {"type": "ResizeByLong", "long_size": 32}],
        TRAINING,
        [64, 48],
        ["k: images come out of it as 32x24"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_may_not_stand_there_is_refused_by_key(case):
    items, purpose, size, words = REFUSED[case]
    found = transforms.problems(items, "k", purpose, size)
    assert len(found) == 1
    for word in words:
        assert word in found[0], found[0]


TAKEN = {
    "a plain one": ([RESIZE, NORMALIZE], EXPORT, None, (64, 48)),
    "a default": ([{"type": "Resize"}, NORMALIZE], EXPORT, None, (512, 512)),
    "a tuple": ([{"type": "Resize", "target_size": (64, 48)}], EXPORT, None, (64, 48)),
    "the run's size": ([RESIZE, NORMALIZE], EXPORT, [20, 10], (20, 10)),
    "the run's size where there is none": ([NORMALIZE], EXPORT, [20, 10], (20, 10)),
    "a letterbox": ([KEEP, PAD, NORMALIZE], EXPORT, None, (64, 64)),
    "a letterbox of the run's size": ([KEEP, PAD, NORMALIZE], EXPORT, [20, 20], (20, 20)),
    "a frame": ([RESIZE, {"type": "Padding", "target_size": [80, 50]}], EXPORT, None, (80, 50)),
    "a padding alone": ([{"type": "Padding", "target_size": [80, 50]}, NORMALIZE], EXPORT, None, (80, 50)),
    "a padding of the run's size": ([{"type": "Padding", "target_size": [80, 50]}, NORMALIZE], EXPORT, [9, 5], (9, 5)),
    "the long side, and then all": ([{"type": "ResizeByLong", "long_size": 96}, RESIZE], EXPORT, None, (64, 48)),
    "a ratio of a known size": ([RESIZE, {"type": "PaddingByAspectRatio"}], EXPORT, None, (64, 64)),
    "a limit of a known size": ([RESIZE, {"type": "LimitLong", "max_long": 32}], EXPORT, None, (32, 24)),
    "multiples": ([{"type": "Resize", "target_size": [60, 40], "size_divisor": 32}], EXPORT, None, (64, 64)),
    "any size to validate at": ([{"type": "ResizeByLong", "long_size": 96}, NORMALIZE], VALIDATION, None, None),
    "whole images to validate with": ([NORMALIZE], VALIDATION, [20, 10], None),
    "a padding to validate with": ([{"type": "Padding", "target_size": [80, 50]}], VALIDATION, [20, 10], (80, 50)),
    "whole images to train on": ([{"type": "RandomHorizontalFlip"}, NORMALIZE], TRAINING, [20, 10], None),
    "crops": (
        [{"type": "ResizeStepScaling"}, {"type": "RandomPaddingCrop", "crop_size": [64, 64]}, {"type": "RandomNoise"}],
        TRAINING,
        [20, 10],
        (20, 10),
    ),
    "what is turned": ([{"type": "RandomAffine"}], TRAINING, [20, 10], (20, 10)),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
def test_what_may_stand_there_ends_in_the_size_that_is_told(case):
    items, purpose, asked, size = TAKEN[case]
    assert transforms.problems(items, "k", purpose, asked) == []
    laid_out = transforms.laid_out(items, purpose, asked)
    assert transforms.final_size(laid_out) == size
    if size and purpose == EXPORT:
        assert {size_of(run(laid_out, image)) for image in ((40, 30), (30, 40), (70, 8))} == {size}


DIVIDED = {"type": "Resize", "target_size": [60, 40], "size_divisor": 32}


@pytest.mark.parametrize(
    ("items", "place"),
    [
        ([KEEP, NORMALIZE], 1),
        ([NORMALIZE, {"type": "ResizeByShort", "short_size": 96}, NORMALIZE], 2),
        ([{"type": "ResizeByLong", "long_size": 96}, {"type": "PaddingByAspectRatio"}], 2),
        ([DIVIDED], 1),
        ([RESIZE, NORMALIZE], None),
        ([NORMALIZE], None),
        ([KEEP, PAD], None),
        ([PAD, NORMALIZE], None),
        ([{"type": "ResizeByLong", "long_size": 96}, RESIZE], None),
        ([{"type": "LimitLong", "min_long": 96}, PAD], None),  # which cannot be done
    ],
)
def test_what_ends_in_another_size_gets_a_resize_behind_and_is_brought_back(items, place):
    from paddleseg.core.infer import reverse_transform

    found = transforms.ended(items, [20, 12])
    put = [{"type": "Resize", "target_size": [20, 12]}]
    assert found == (items if place is None else [*items[:place], *put, *items[place:]])
    if place is None:
        return
    assert transforms.problems(found, "k", EXPORT, [20, 12]) == []
    for image in ((40, 30), (30, 40), (70, 8)):
        data = run(transforms.laid_out(found, EXPORT, [20, 12]), image)
        assert size_of(data) == (20, 12)
        back = reverse_transform(paddle.zeros([1, 1, 12, 20]), data["trans_info"], mode="nearest")
        assert tuple(back.shape[:1:-1]) == image


def test_the_numbers_in_messages_are_those_of_the_file():
    """Also where a Resize was put before them."""
    found = transforms.problems([NORMALIZE, {"type": "RandomNoise"}], "k", EXPORT, [20, 10])
    assert found[0].startswith("k.1: RandomNoise")


def test_transforms_of_ones_own_are_what_the_run_says():
    own = {
        "Sharpen": {"random": False, "size": "kept"},
        "Jitter": {"random": True, "size": "kept"},
        "Cut": {"random": False, "size": "changed"},
    }

    def refused(purpose, *names, size=None):
        items = [RESIZE, *({"type": name} for name in names)]
        return transforms.problems(items, "k", purpose, size, own)

    assert refused(EXPORT, "Sharpen") == refused(VALIDATION, "Sharpen") == refused(TRAINING, "Jitter", "Cut") == []
    assert "k.1: Jitter: draws random numbers" in refused(EXPORT, "Jitter")[0]
    assert "k.1: Cut: changes the size and PaddleSeg does not undo it" in refused(VALIDATION, "Cut")[0]
    assert "sizes of their own (by 1: Cut)" in refused(TRAINING, "Cut", size=[64, 48])[0]
    items = [RESIZE, {"type": "Nobody"}]
    assert transforms.problems(items, "k", EXPORT, strict=False) == []
    assert "is no transform" in transforms.problems(items, "k", EXPORT, own=own)[0]
