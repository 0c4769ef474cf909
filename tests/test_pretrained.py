"""What was asked to be loaded was loaded: n of m variables, a gate on the share, and a word for what was not."""

import csv
import json

import numpy as np
import paddle
import pytest
import stages
import yaml
from conftest import ROOT
from paddleseg.cvlibs import manager

from segcert import modelconfig, record
from segcert.compute import components, pretrained
from segcert.errors import StageError

LITE = ROOT / "config/models/pp_humanseg_lite.yml"
MOBILE = ROOT / "config/models/pp_humanseg_mobile.yml"


def own(folder, source, name="own.yml", **changes):
    """A configuration like a shipped one, with changes under keys with __ for a dot."""
    content = modelconfig.content(source)
    for key, value in changes.items():
        part = content
        *above, last = key.split("__")
        for step in above:
            part = part[step]
        part[last] = value
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def lite():
    """The weights of a model, drawn with another seed than that of a training."""
    components.seed_all(5)
    model = components.builder(components.load_config(str(LITE))).model
    return {name: value.numpy() for name, value in model.state_dict().items()}


@pytest.fixture(scope="module")
def mobile():
    components.seed_all(5)
    model = components.builder(components.load_config(str(MOBILE))).model
    return {name: value.numpy() for name, value in model.state_dict().items()}


def saved(folder, state, name="weights.pdparams"):
    paddle.save(state, str(folder / name))
    return str(folder / name)


def loads(path, start=None):
    """What a training would take from files, without the training."""
    config = components.load_config(str(path), iters=1, batch_size=1, start=start or components.Start())
    components.seed_all(100)
    return components.builder(config).loads()


# -- files that fit ---------------------------------------------------------------------------


def test_a_whole_models_weights_are_loaded(tmp_path, lite):
    (load,) = loads(own(tmp_path, LITE, model__pretrained=saved(tmp_path, lite)))
    assert (load.key, load.kind) == ("model.pretrained", "PPHumanSegLite")
    assert load.loaded == load.of == len(lite) and load.share == 1
    assert pretrained.gate([load], 1.0)["holds"]
    assert load.metric()["not_loaded"] == [] and load.metric()["not_loaded_more"] == 0
    assert load.lines() == [f"pretrained: {load.sentence()}"]


def test_a_backbones_weights_are_loaded(tmp_path, mobile):
    part = {name.removeprefix("backbone."): value for name, value in mobile.items() if name.startswith("backbone.")}
    file = saved(tmp_path, part)
    (by_config,) = loads(own(tmp_path, MOBILE, model__backbone__pretrained=file))
    (by_run,) = loads(MOBILE, components.Start({"model.backbone.pretrained": file}))
    for load in (by_config, by_run):
        assert (load.key, load.kind, load.loaded, load.of) == (
            "model.backbone.pretrained",
            "HRNet",
            len(part),
            len(part),
        )


def test_a_models_weights_go_over_its_backbones(tmp_path, mobile):
    """As in PaddleSeg: the backbone's are loaded first. Both counts say what is there in the end."""
    part = {n.removeprefix("backbone."): v + 1 for n, v in mobile.items() if n.startswith("backbone.")}
    path = own(
        tmp_path,
        MOBILE,
        model__pretrained=saved(tmp_path, mobile, "whole.pdparams"),
        model__backbone__pretrained=saved(tmp_path, part, "part.pdparams"),
    )
    found = {load.key: load for load in loads(path)}
    assert found["model.pretrained"].share == found["model.backbone.pretrained"].share == 1
    lacking = [name for name in mobile if name.startswith("backbone.")][:5]
    saved(tmp_path, {n: v for n, v in mobile.items() if n not in lacking}, "whole.pdparams")
    found = {load.key: load for load in loads(path)}
    assert found["model.backbone.pretrained"].share == 1, "what the model's file lacks is the backbone's own"
    assert list(found["model.pretrained"].absent) == lacking


def test_weights_of_the_run_take_the_place_of_the_configurations(tmp_path, lite):
    path = own(tmp_path, LITE, model__pretrained="https://example.org/weights.pdparams")
    with pytest.raises(StageError, match=r"own\.yml: model\.pretrained: https://example\.org/.* is refused"):
        loads(path)
    (load,) = loads(path, components.Start({"model.pretrained": saved(tmp_path, lite)}))
    assert load.share == 1
    assert loads(path, components.Start(left_out=["model.pretrained"])) == []


def test_an_evaluation_loads_its_checkpoint_alone(tmp_path):
    config = components.load_config(str(own(tmp_path, LITE, model__pretrained="gone.pdparams")))
    assert config.dic["model"]["pretrained"] is None


@pytest.mark.parametrize("weights", [None, "weights.pdparams"])
def test_a_model_that_takes_no_weights_is_built_without_them(tmp_path, weights):
    """UNet3Plus has no argument `pretrained`."""
    path = own(tmp_path, LITE, model={"type": "UNet3Plus", "num_classes": 2})
    if weights is None:
        assert loads(path) == []
        assert components.builder(components.load_config(str(path))).model is not None
        return
    file = saved(tmp_path, {"w": np.zeros(3, "float32")})
    with pytest.raises(StageError, match=rf"UNet3Plus takes no `pretrained`, so {file} cannot be loaded into it"):
        loads(path, components.Start({"model.pretrained": file}))


# -- files that do not ------------------------------------------------------------------------


def one_more_class(state):
    """The head of a model of three classes."""
    return {n: np.zeros((3, *v.shape[1:]), v.dtype) if v.shape[:1] == (2,) else v for n, v in state.items()}


UNLIKE = {
    "nested": (lambda state: {"model": state}, 0, "below 'model'"),
    "nested twice": (lambda state: {"epoch": 5, "state_dict": state}, 0, "below 'state_dict'"),
    "a prefix": (lambda state: {f"module.{n}": v for n, v in state.items()}, 0, "begin with 'module.'"),
    "transposed": (
        lambda state: {n: v.T if v.ndim > 1 else v for n, v in state.items()},
        None,
        "are transposed: was it made by another framework?",
    ),
    "other names": (lambda state: {f"{n}_": v for n, v in state.items()}, 0, None),
    "an optimizer's": (
        lambda state: {**{f"{n}_velocity_0": v for n, v in state.items()}, "LR_Scheduler": {"last_epoch": 3}},
        0,
        None,
    ),
    "some of it": (lambda state: dict(list(state.items())[:17]), 17, None),
    "of another width": (lambda state: {n: np.append(v, v)[: v.size + 1] for n, v in state.items()}, 0, None),
}  # fmt: skip


@pytest.mark.parametrize("case", UNLIKE)
def test_weights_that_do_not_fit_break_the_gate(tmp_path, lite, case):
    change, count, hint = UNLIKE[case]
    (load,) = loads(own(tmp_path, LITE, model__pretrained=saved(tmp_path, change(lite))))
    assert count is None or load.loaded == count
    gate = pretrained.gate([load], 0.9)
    assert not gate["holds"] and gate["value"] == min(load.loaded / len(lite), load.numbers)
    assert (
        f"model.pretrained: {load.loaded} of {len(lite)} variables of PPHumanSegLite are those of" in gate["sentence"]
    )
    if hint:
        assert hint in gate["sentence"]
    assert len(load.lines()) - 1 == load.of - load.loaded, "each in the log, by name"


def test_a_whole_models_checkpoint_is_no_backbones(tmp_path, mobile):
    """The report that all of this began with: not one variable fitted, and the training passed."""
    (load,) = loads(own(tmp_path, MOBILE, model__backbone__pretrained=saved(tmp_path, mobile)))
    part = sum(name.startswith("backbone.") for name in mobile)
    assert (load.loaded, load.of) == (0, part)
    sentence = pretrained.gate([load], 0.9)["sentence"]
    assert f"begin with 'backbone.': without it {part} would fit; is it of a whole model?" in sentence


def test_a_backbones_weights_are_no_whole_models(tmp_path, mobile):
    part = {n.removeprefix("backbone."): v for n, v in mobile.items() if n.startswith("backbone.")}
    (load,) = loads(own(tmp_path, MOBILE, model__pretrained=saved(tmp_path, part)))
    assert load.loaded == 0 and f"lack 'backbone.': with it {len(part)} would fit" in load.sentence()


def test_a_head_for_other_classes_is_told_and_holds_the_gate(tmp_path, lite):
    (load,) = loads(own(tmp_path, LITE, model__pretrained=saved(tmp_path, one_more_class(lite))))
    assert load.of - load.loaded == 5 and pretrained.gate([load], 0.9)["holds"]
    assert not pretrained.gate([load], 1.0)["holds"]
    assert all(shapes.startswith("[3") and "in the model" in shapes for shapes in load.unlike.values())
    assert load.metric()["not_loaded"] == list(load.unlike)


def test_a_few_variables_may_be_most_of_a_model(tmp_path, lite):
    """Without its largest ones, of which a file has most by their number and little by what they hold."""
    by_size = sorted(lite, key=lambda name: lite[name].size, reverse=True)
    rest = {name: lite[name] for name in by_size[len(lite) // 20 :]}
    (load,) = loads(own(tmp_path, LITE, model__pretrained=saved(tmp_path, rest)))
    assert load.loaded / load.of > 0.9 > load.share == load.numbers
    assert f"variables of PPHumanSegLite are those of {load.file}; {load.numbers:.2%} of its numbers" in load.sentence()
    assert not pretrained.gate([load], 0.9)["holds"]


def test_what_a_class_gives_up_again_is_not_loaded(tmp_path, lite, monkeypatch):
    """A class that draws its weights anew after it has loaded them."""
    cls = manager.MODELS["PPHumanSegLite"]
    before = cls.init_weight if hasattr(cls, "init_weight") else cls.init_weights

    def twice(self):
        before(self)
        for weight in self.parameters():
            weight.set_value(weight * 0 + 0.5)

    monkeypatch.setattr(cls, before.__name__, twice)
    (load,) = loads(own(tmp_path, LITE, model__pretrained=saved(tmp_path, lite)))
    assert load.share < 0.9 and load.replaced and "hold something else" in load.sentence()


FILES = {
    "empty": (b"", "cannot be read as weights"),
    "text": (b"weights", "cannot be read as weights"),
    "an archive": (b"\x1f\x8b" + b"\0" * 20, "cannot be read as weights"),
    "code": (b"cos\nsystem\n(S'touch injected'\ntR.", "asks for os.system"),
    "a list": (b"(lp0\n.", "holds no arrays by name"),
    "nothing": (b"(dp0\n.", "holds no arrays by name"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_no_weights_are_refused_by_name(tmp_path, case):
    content, words = FILES[case]
    (tmp_path / "weights.pdparams").write_bytes(content)
    with pytest.raises(StageError, match=rf"weights\.pdparams: {words}"):
        loads(own(tmp_path, LITE, model__pretrained=str(tmp_path / "weights.pdparams")))
    assert not (tmp_path / "injected").exists()


@pytest.mark.parametrize(
    ("kind", "called"),
    [("float64", "float64"), ("float16", "float16"), ("bfloat16", r"bfloat16 \(or uint16\)"), ("int64", "int64"),
     ("uint8", "uint8"), ("bool", "bool"), ("complex64", "complex64")],
)  # fmt: skip
def test_weights_of_another_type_are_refused_by_key_and_file(tmp_path, lite, kind, called):
    state = {name: paddle.to_tensor(value).astype(kind) for name, value in lite.items()}
    file = saved(tmp_path, state)
    words = rf"model\.pretrained: {len(lite)} of the {len(lite)} arrays in .*weights\.pdparams .* is of {called}; save"
    with pytest.raises(StageError, match=words):
        loads(own(tmp_path, LITE, model__pretrained=file))


def test_one_variable_of_another_type_is_named(tmp_path, mobile):
    part = {name.removeprefix("backbone."): value for name, value in mobile.items() if name.startswith("backbone.")}
    last = list(part)[-1]
    file = saved(tmp_path, part | {last: part[last].astype(np.float64)})
    with pytest.raises(
        StageError, match=rf"backbone\.pretrained: 1 of the {len(part)} arrays .* such as {last}, which"
    ):
        loads(own(tmp_path, MOBILE, model__backbone__pretrained=file))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda name, value: value + np.nan if name.endswith("_mean") else value, "_mean in .* are not finite"),
        (lambda name, value: value + np.inf if value.ndim == 4 else value, "weight in .* are not finite"),
        (lambda name, value: -1 - value if name.endswith("_variance") else value, "of a batch norm, is below 0"),
    ],
)
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, lite, change, words):
    file = saved(tmp_path, {name: change(name, value) for name, value in lite.items()})
    with pytest.raises(StageError, match=rf"model\.pretrained: .*{words}.*look for another source"):
        loads(own(tmp_path, LITE, model__pretrained=file))
    unused = lite | {"of.nothing": np.full(3, np.nan, np.float32)}
    assert loads(own(tmp_path, LITE, model__pretrained=saved(tmp_path, unused)))[0].share == 1


def test_a_file_that_went_is_named(tmp_path):
    with pytest.raises(StageError, match=r"gone\.pdparams: is not there; correct `pretrained`"):
        pretrained.read(str(tmp_path / "gone.pdparams"))


def test_a_part_that_was_not_built_is_named(tmp_path, lite):
    path = own(tmp_path, LITE, model__pretrained=saved(tmp_path, lite))
    build = components.builder(components.load_config(str(path), iters=1, batch_size=1, start=components.Start()))
    assert build.model is not None
    build._parts.clear()
    with pytest.raises(StageError, match=r"model\.pretrained: .* PaddleSeg makes nothing of that part; take it out"):
        build.loads()


def test_a_part_that_paddleseg_does_not_build_is_named(tmp_path, lite):
    path = own(tmp_path, LITE, model__more={"pretrained": saved(tmp_path, lite)})
    with pytest.raises((StageError, RuntimeError), match="more"):
        loads(path)


# -- as a stage -------------------------------------------------------------------------------


def train(folder, dataset, config, *arguments):
    fixed = ["--config", config, "--dataset", dataset, "--checkpoint", "model.pdparams", "--history", "history.csv"]
    fixed += ["--record", "train.json", "--log", "train.log", *stages.SIZE, "--iters", "2", "--batch-size", "2"]
    return stages.script("train.py", folder, *fixed, *arguments)


def first_loss(folder):
    with (folder / "history.csv").open() as stream:
        return float(next(csv.DictReader(stream))["loss"])


def test_a_training_starts_from_the_weights_that_its_configuration_names(dataset, trained, tmp_path):
    """Trained weights: the first loss is below that of a start from nothing, and the record says what was loaded."""
    losses = {}
    for name, weights in (("none", None), ("own", str(trained / "model.pdparams"))):
        folder = tmp_path / name
        folder.mkdir()
        done = train(folder, dataset, own(folder, LITE, model__pretrained=weights))
        assert done.returncode == 0, done.stderr
        losses[name] = first_loss(folder)
        found = record.read(folder / "train.json")
        told = found["metrics"]["pretrained"]
        if weights is None:
            assert told == [] and "gates" not in found["metrics"]
            continue
        assert [(item["key"], item["file"], item["loaded"] == item["of"] > 100) for item in told] == [
            ("model.pretrained", weights, True)
        ]
        assert found["inputs"][weights] and found["metrics"]["gates"][0]["name"] == "pretrained_share"
    assert losses["own"] < losses["none"] - 0.1


def test_a_training_from_what_does_not_fit_ends_before_it_begins(dataset, tmp_path, mobile):
    file = saved(tmp_path, mobile)
    done = train(tmp_path, dataset, MOBILE, "--backbone-weights", file, "--min-pretrained-share", "0.5")
    assert done.returncode == 1
    found = record.read(tmp_path / "train.failed.json")
    assert found["status"] == "accuracy-failed"
    (gate,) = found["metrics"]["gates"]
    assert (gate["name"], gate["value"], gate["bound"], gate["threshold"]) == ("pretrained_share", 0.0, "at least", 0.5)
    (told,) = found["metrics"]["pretrained"]
    assert (told["key"], told["loaded"]) == ("model.backbone.pretrained", 0)
    assert f"0 of {told['of']} variables of HRNet are those of {file}" in found["reason"]
    assert len(told["not_loaded"]) == 5 and told["not_loaded_more"] == told["of"] - 5
    log = (tmp_path / "train.log").read_text()
    assert f"pretrained: not in {file}: {told['not_loaded'][0]}" in log
    assert "[TRAIN]" not in log and not (tmp_path / "model.pdparams").exists()
    done = train(tmp_path, dataset, MOBILE, "--backbone-weights", file, "--min-pretrained-share", "0")
    assert done.returncode == 0, "if only so much is meant to fit"
    content = json.loads((tmp_path / "train.json").read_text())
    assert content["metrics"]["gates"][0]["holds"]


def test_weights_that_a_stage_is_to_load_and_cannot_find_are_named(dataset, tmp_path):
    done = train(tmp_path, dataset, own(tmp_path, LITE, model__pretrained="gone.pdparams"))
    assert done.returncode == 1 and "own.yml: model.pretrained: gone.pdparams is not there" in done.stderr
