"""`input_size` as a shorter side: each model small, in the aspect of its own size."""

import pytest
import tipc_files
import yaml
from conftest import ROOT

from segcert import sections, settings, sizes
from segcert.errors import ConfigError
from segcert.run import Start

CROP = {"type": "RandomPaddingCrop", "crop_size": [1024, 512]}
SCALE = {"type": "ResizeStepScaling"}
NORMALIZE = {"type": "Normalize"}
KEEPS = {"type": "Resize", "target_size": [2048, 512], "keep_ratio": True}


def content(train, val=(NORMALIZE,), **more):
    return {"train_dataset": {"transforms": train}, "val_dataset": {"transforms": list(val)}, **more}


def resize(width, height):
    return {"type": "Resize", "target_size": [width, height]}


@pytest.mark.parametrize(
    ("configuration", "size"),
    [
        (content([SCALE, CROP, NORMALIZE]), [512, 256]),  # of the training, where images are validated as they are
        (content([{**CROP, "crop_size": [512, 512]}], [KEEPS, NORMALIZE]), [256, 256]),
        (content([{**CROP, "crop_size": [769, 769]}]), [256, 256]),
        (content([CROP], [resize(1920, 1080), NORMALIZE]), [448, 256]),  # of the exported model first
        (content([CROP], [resize(1920, 1080)], export={"transforms": [resize(300, 900)]}), [256, 768]),
        (content([CROP], [resize(398, 224)]), [398, 224]),  # no larger than it is
        (content([{**CROP, "crop_size": [256, 640]}]), [256, 640]),
    ],
)
def test_a_shorter_side_brings_a_models_own_size_down(configuration, size):
    assert sizes.of(256, configuration) == size


def test_what_is_no_shorter_side_is_taken_as_it_is():
    assert sizes.of([96, 64], content([CROP])) == [96, 64] and sizes.of(None, content([CROP])) is None
    assert sizes.told([96, 64]) == "96 x 64 (width x height)"


@pytest.mark.parametrize(
    "configuration", [content([SCALE, NORMALIZE]), content(None), content([{"type": "Resize", "target_size": 3}])]
)
def test_a_configuration_without_a_size_is_refused(configuration):
    with pytest.raises(
        ConfigError, match=r"input_size: 256 is a shorter side, .* leaves its size open.*\[width, height"
    ):
        sizes.of(256, configuration)


# -- in a run ---------------------------------------------------------------------------------

SHIPPED = tipc_files.shipped(ROOT)
SHIPPED_MODEL = str(ROOT / "config/models/fcn_hrnet_w18.yml")


def resolve(**given):
    return settings.resolve(sections.merge(SHIPPED, given), given, "config/config.yaml")


def size(resolved, name):
    return sections.per_model(sections.of_model(resolved, name, "input_size"), name)


def test_each_model_has_its_own():
    """And what one of them says, or a file of another, goes over it."""
    own = {"pp_humanseg_server": {"settings": {"input_size": 128}}}
    resolved = resolve(models="all", input_size={"default": 64, "pp_humanseg_mobile": [96, 32]}, model_zoo=own)
    assert size(resolved, "fcn_hrnet_w18") == size(resolved, "pp_humanseg_lite") == [128, 64]
    assert size(resolved, "pp_humanseg_mobile") == [96, 32] and size(resolved, "pp_humanseg_server") == [128, 128]
    assert size(resolve(input_size=None), "fcn_hrnet_w18") is None


def test_a_mode_may_say_so_and_the_user_goes_over_it():
    assert size(resolve(mode="zoo", models=["fcn_hrnet_w18"]), "fcn_hrnet_w18") == [512, 256]
    assert size(resolve(mode="zoo", models=["fcn_hrnet_w18"], input_size=[64, 64]), "fcn_hrnet_w18") == [64, 64]
    by_model = {"default": 64, "fcn_hrnet_w18": [96, 96]}
    assert size(resolve(mode="zoo", models=["fcn_hrnet_w18"], input_size=by_model), "fcn_hrnet_w18") == [96, 96]
    # Of what a command line nests, Snakemake makes text.
    nested = resolve(mode="smoke", models=["fcn_hrnet_w18"], input_size={"default": "64"})
    assert size(nested, "fcn_hrnet_w18") == [128, 64]


@pytest.mark.parametrize("wrong", [250, 16, 0, 64.5, {"default": 250}, {"fcn_hrnet_w18": 256}])
def test_what_is_no_such_side_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"input_size.*(a multiple of 32, the shorter side|this key is needed)"):
        resolve(input_size=wrong)


def test_a_model_that_leaves_it_open_is_refused_by_file(tmp_path):
    file = tmp_path / "open.yml"
    part = {"transforms": [NORMALIZE]}
    file.write_text(yaml.safe_dump({"_base_": SHIPPED_MODEL, "export": part, "train_dataset": part}))
    entry = {"algorithm": "X", "config": str(file), "data": "cityscapes"}
    with pytest.raises(ConfigError, match=r"open\.yml: input_size: 64 is .* as in input_size: \{default: 64, mine: \["):
        resolve(models=["mine"], model_zoo={"mine": entry}, input_size=64)


@pytest.mark.parametrize(
    ("text", "words"), [("model: {type: X}", "model.yml: train_dataset: this key is needed"), (None, "model.yml")]
)
def test_what_else_is_wrong_with_a_configuration_is_told_as_ever(tmp_path, plan_run, text, words):
    if text:
        (tmp_path / "model.yml").write_text(text)
    entry = {"algorithm": "X", "config": "model.yml", "data": "cityscapes"}
    config = {"models": ["mine"], "model_zoo": {"mine": entry}, "input_size": 64, "hardware": "cpu"}
    with pytest.raises(ConfigError) as refused:
        plan_run(config, Start())
    assert words in str(refused.value) and "input_size" not in str(refused.value)


def test_a_params_file_gives_way_to_it(tmp_path):
    """What its --input_shape says is told not to be exported."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/model.yml").write_text(f"_base_: {SHIPPED_MODEL}\n")
    export = "tools/export.py --config {config} --input_shape 1 3 512 512"
    file = tipc_files.write(tmp_path / "train_infer_python.txt", model_name="mine", norm_export=export)
    resolved = resolve(params_file=str(file), mode="zoo", paddleseg="installed")
    assert resolved["models"] == ["mine"] and size(resolved, "mine") == [512, 256]
    (told,) = {note for note in resolved["params"]["notes"] if "--input_shape" in note}
    assert told.endswith("is not exported: the model's own size with a shorter side of 256 (`input_size`) is taken")
