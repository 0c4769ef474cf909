"""PaddleSeg's parts as they are used here: configurations, corrected losses, transforms, metrics."""

import importlib.util
import inspect
import re
import sys
from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
import yaml
from branching import Branching
from conftest import ROOT

from segcert import modelconfig, modelkeys, transforms
from segcert.compute import components, losses, metrics, preprocess
from segcert.data import images
from segcert.errors import StageError

MODELS = sorted((ROOT / "config/models").glob("*.yml"))

# Hyperparameters of TIPC's mixed-precision configurations of PaddleSeg, model by model.
TIPC = {
    "pp_liteseg_stdc1": ("PPLiteSeg", "STDC1", "OhemCrossEntropyLoss", 3, 0.005, 5e-4, [1024, 512], [512, 512]),
    "pp_liteseg_stdc2": ("PPLiteSeg", "STDC2", "OhemCrossEntropyLoss", 3, 0.005, 5e-4, [1024, 512], [512, 512]),
    "pp_humanseg_lite": ("PPHumanSegLite", None, "CrossEntropyLoss", 1, 0.0075, 5e-4, [398, 224], [398, 224]),
    "pp_humanseg_mobile": ("FCN", "HRNet_W18_Small_V1", "CrossEntropyLoss", 1, 0.05, 5e-4, [192, 192], [192, 192]),
    "pp_humanseg_server": ("DeepLabV3P", "ResNet50_vd", "CrossEntropyLoss", 1, 0.05, 5e-4, [512, 512], [512, 512]),
    "fcn_hrnet_w18": ("FCN", "HRNet_W18", "CrossEntropyLoss", 1, 0.01, 5e-4, [1024, 512], [1024, 512]),
    "ocrnet_hrnetw18": ("OCRNet", "HRNet_W18", "CrossEntropyLoss", 2, 0.01, 4e-5, [1024, 512], [512, 512]),
    "ocrnet_hrnetw48": ("OCRNet", "HRNet_W48", "CrossEntropyLoss", 2, 0.01, 4e-5, [1024, 512], [512, 512]),
}


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_paddleseg_reads_the_configuration_and_it_holds_tipcs_hyperparameters(path):
    from paddleseg.cvlibs import Config

    content = Config(str(path)).dic
    model, backbone, loss, losses, lr, decay, crop, export = TIPC[path.stem.removesuffix("_released")]
    assert content["model"]["type"] == model
    assert (content["model"].get("backbone") or {}).get("type") == backbone
    assert [item["type"] for item in content["loss"]["types"]] == [loss] * losses
    assert content["lr_scheduler"] == {"type": "PolynomialDecay", "learning_rate": lr, "power": 0.9, "end_lr": 0}
    assert content["optimizer"] == {"type": "SGD", "momentum": 0.9, "weight_decay": decay}
    sized = next(t for t in content["train_dataset"]["transforms"] if t["type"] in transforms.SIZED)
    assert sized[transforms.SIZED[sized["type"]]] == crop
    assert list(components.export_size(components.load_config(str(path)))) == export


def test_a_configuration_that_paddleseg_refuses_is_named(tmp_path):
    (tmp_path / "bad.yml").write_text("model: {type: FCN}\n")
    with pytest.raises(StageError, match=r"bad.yml: PaddleSeg refuses"):
        components.load_config(str(tmp_path / "bad.yml"))


def test_a_configuration_without_a_size_or_without_a_backbone_is_refused_where_it_needs_one(tmp_path):
    content = modelconfig.content(ROOT / "config/models/pp_humanseg_lite.yml")
    content.pop("_base_", None)
    content.get("export", {}).pop("transforms", None)
    content["val_dataset"]["transforms"] = [{"type": "Normalize"}]
    own = tmp_path / "own.yml"
    own.write_text(yaml.safe_dump(content))
    with pytest.raises(StageError, match=r"own\.yml: export\.transforms: a Resize with target_size"):
        components.load_config(str(own))
    config = components.load_config(str(own), input_size=[64, 32])
    assert config.dic["export"]["transforms"] == [
        {"type": "Resize", "target_size": [64, 32]},
        {"type": "Normalize"},
    ], "before what else is done"
    with pytest.raises(StageError, match=r"own\.yml: model\.backbone: there is none to load b\.pdparams into"):
        components.load_config(
            str(own), input_size=[64, 32], start=components.Start({modelkeys.BACKBONE: "b.pdparams"})
        )


def test_a_checkpoint_of_another_model_is_named(tmp_path):
    config = components.load_config(str(ROOT / "config/models/pp_humanseg_lite.yml"))
    state = components.builder(config).model.state_dict()
    name, *others = state
    file = str(tmp_path / "other.pdparams")
    paddle.save({**{key: state[key] for key in others}, "more": state[name]}, file)
    with pytest.raises(StageError, match=rf"other.pdparams: does not fit .* 1 of \d+ weights missing, 0 .*{name}"):
        components.load_model(config, file)
    paddle.save({**state, name: paddle.zeros([1, 2, 3])}, file)
    with pytest.raises(StageError, match=rf"0 of \d+ weights missing, 1 of another shape, first {name}"):
        components.load_model(config, file)
    paddle.save({"epoch": 3, "state_dict": dict(state)}, file)
    with pytest.raises(StageError, match=r"the file holds them below 'state_dict': save that part of it alone"):
        components.load_model(config, file)
    for number in (0.0, 0.5):
        paddle.save({key: value * 0 + number for key, value in state.items()}, file)
        with pytest.raises(StageError, match=r"other\.pdparams: each of its kernels is one number all over: they"):
            components.load_model(config, file)
    paddle.save(dict(state), file)
    notes = []
    assert not components.load_model(config, file, notes).training and notes == []
    paddle.save({**state, "head.more": paddle.zeros([1])}, file)
    components.load_model(config, file, notes)
    assert notes == [f"{file}: 1 of its {len(state) + 1} entries are not of the model, such as head.more"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_no_checkpoint(tmp_path, number):
    config = components.load_config(str(ROOT / "config/models/pp_humanseg_lite.yml"))
    state = components.builder(config).model.state_dict()
    name = list(state)[-1]
    spoilt = state[name].numpy()
    spoilt.flat[-1] = number
    file = str(tmp_path / "spoilt.pdparams")
    paddle.save({**state, name: paddle.to_tensor(spoilt)}, file)
    with pytest.raises(StageError, match=rf"spoilt.pdparams: {name} holds values that are not finite"):
        components.load_model(config, file)
    assert name.endswith("._variance")
    paddle.save({**state, name: -state[name]}, file)
    with pytest.raises(StageError, match=rf"spoilt.pdparams: {name}, of a batch norm, is below 0"):
        components.load_model(config, file)
    paddle.save({**state, name: state[name].astype("float64")}, file)
    with pytest.raises(StageError, match=rf"spoilt.pdparams: {name} is of float64, that of the model of float32"):
        components.load_model(config, file)


def test_input_size_replaces_every_size(tmp_path):
    config = components.load_config(str(ROOT / "config/models/ocrnet_hrnetw18.yml"), "some/where", [64, 32], 3, 1)
    crops = [t for t in config.dic["train_dataset"]["transforms"] if t["type"] == "RandomPaddingCrop"]
    assert crops == [{"type": "RandomPaddingCrop", "crop_size": [64, 32]}]
    assert config.dic["val_dataset"]["transforms"] == config.dic["export"]["transforms"]
    assert components.export_size(config) == (64, 32)
    assert config.dic["train_dataset"]["dataset_root"] == "some/where"
    assert (config.iters, config.batch_size) == (3, 1)


# -- losses -----------------------------------------------------------------------------------


def cross_entropy(logit, label):
    """Loss of every pixel by the definition, float64; N x H x W."""
    shifted = logit.astype(np.float64) - logit.max(1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    safe = np.where(label == 255, 0, label)
    return -np.take_along_axis(log_softmax, safe[:, None], 1)[:, 0], np.exp(
        np.take_along_axis(log_softmax, safe[:, None], 1)[:, 0]
    )


@pytest.fixture
def batch():
    rng = np.random.default_rng(5)
    logit = rng.normal(size=(2, 4, 6, 5)).astype("float32") * 3
    label = rng.integers(0, 4, (2, 6, 5))
    label[0, 0] = 255
    return logit, label


def gradient(loss, logit, label):
    tensor = paddle.to_tensor(logit, stop_gradient=False)
    value = loss(tensor, paddle.to_tensor(label))
    value.backward()
    return float(value), tensor.grad.numpy()


def test_cross_entropy_is_the_mean_over_counted_pixels(batch):
    logit, label = batch
    value, grad = gradient(losses.TypedCrossEntropyLoss(ignore_index=255), logit, label)
    pixels, _ = cross_entropy(logit, label)
    assert value == pytest.approx(pixels[label != 255].mean(), rel=1e-5)
    assert np.abs(grad).sum() > 0 and np.abs(grad[0, :, 0]).sum() == 0, "ignored pixels have no gradient"


def test_weighted_cross_entropy(batch):
    logit, label = batch
    weight = [0.5, 1.0, 2.0, 4.0]
    value, _ = gradient(losses.TypedCrossEntropyLoss(weight=weight, ignore_index=255), logit, label)
    pixels, _ = cross_entropy(logit, label)
    counted = label != 255
    weights = np.array(weight)[label[counted]]
    assert value == pytest.approx((pixels[counted] * weights).sum() / weights.sum(), rel=1e-4)


def test_cross_entropy_with_weights_of_pixels(batch):
    logit, label = batch
    shares = np.random.default_rng(3).random(label.shape).astype("float32")
    loss = losses.TypedCrossEntropyLoss(ignore_index=255)
    value = float(loss(paddle.to_tensor(logit), paddle.to_tensor(label), paddle.to_tensor(shares)))
    pixels, _ = cross_entropy(logit, label)
    counted = label != 255
    assert value == pytest.approx((pixels * shares)[counted].sum() / counted.sum(), rel=1e-4)


def test_hardest_share_of_cross_entropy(batch):
    logit, label = batch
    value, _ = gradient(losses.TypedCrossEntropyLoss(ignore_index=255, top_k_percent_pixels=0.2), logit, label)
    pixels, _ = cross_entropy(logit, label)
    flat = np.where(label == 255, 0, pixels).ravel()
    hardest = np.sort(flat)[::-1][: int(0.2 * flat.size)]
    assert value == pytest.approx(hardest.mean(), rel=1e-4)


CROSS, OHEM = {"type": "CrossEntropyLoss", "weight": [1.0, 2.0]}, {"type": "OhemCrossEntropyLoss", "min_kept": 9000}


def test_losses_that_fail_are_replaced_and_told_of():
    asked = {"types": [{"type": "MixedLoss", "losses": [CROSS, OHEM], "coef": [1, 1]}], "coef": [1]}
    made, replaced = losses.corrected(asked)
    assert [item["type"] for item in made["types"][0]["losses"]] == [
        "TypedCrossEntropyLoss",
        "TypedOhemCrossEntropyLoss",
    ]
    assert made["types"][0]["losses"][0]["weight"] == [1.0, 2.0] and made["types"][0]["losses"][1]["min_kept"] == 9000
    assert replaced.keys() == {"CrossEntropyLoss", "OhemCrossEntropyLoss"}
    assert all("Error" in why for why in replaced.values()), replaced
    assert asked["types"][0]["losses"][0] is CROSS and CROSS["type"] == "CrossEntropyLoss"


def test_a_loss_that_works_is_left_as_it_is(monkeypatch):
    """As those of a PaddleSeg that was mended do: then its own code is what is trained with."""
    from paddleseg.cvlibs import manager

    known = manager.LOSSES.components_dict
    monkeypatch.setitem(known, "CrossEntropyLoss", losses.TypedCrossEntropyLoss)
    made, replaced = losses.corrected({"types": [CROSS, OHEM], "coef": [1, 1]})
    assert made["types"] == [CROSS, {**OHEM, "type": "TypedOhemCrossEntropyLoss"}]
    assert replaced.keys() == {"OhemCrossEntropyLoss"}

    gradients = []

    class Backward(losses.TypedCrossEntropyLoss):
        def forward(self, logit, label, semantic_weights=None):
            logit.register_hook(gradients.append)
            return super().forward(logit, label, semantic_weights)

    monkeypatch.setitem(known, "CrossEntropyLoss", Backward)
    assert losses.corrected(CROSS) == (CROSS, {}) and len(gradients) == 1, "its gradient is tried as well"


def test_a_loss_that_fails_otherwise_is_a_finding_and_not_replaced(monkeypatch):
    from paddleseg.cvlibs import manager

    class Broken(losses.TypedCrossEntropyLoss):
        def forward(self, logit, label, semantic_weights=None):
            raise RuntimeError("somebody broke it")

    monkeypatch.setitem(manager.LOSSES.components_dict, "CrossEntropyLoss", Broken)
    assert losses.corrected(CROSS) == (CROSS, {})


LOSS = "        loss = loss * valid_mask\n"


@pytest.mark.parametrize(
    ("line", "replaced"), [("        # as it was\n" + LOSS, True), ("        loss = 2 * loss * valid_mask\n", False)]
)
def test_a_loss_is_replaced_by_the_correction_of_its_own_code_alone(tmp_path, monkeypatch, capsys, line, replaced):
    """An edit of code that is replaced would never run: such a loss fails where it is trained with."""
    from paddleseg.cvlibs import manager

    own = Path(inspect.getfile(manager.LOSSES["OhemCrossEntropyLoss"])).read_text(encoding="utf-8")
    assert own.count(LOSS) == 1
    file = tmp_path / f"edited_{replaced}.py"
    file.write_text(own.replace(LOSS, line).replace("@manager.LOSSES.add_component\n", ""))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setitem(sys.modules, file.stem, module)  # where its source is looked for
    monkeypatch.setitem(manager.LOSSES.components_dict, "OhemCrossEntropyLoss", module.OhemCrossEntropyLoss)
    made, told = losses.corrected(OHEM)
    assert made == ({**OHEM, "type": "TypedOhemCrossEntropyLoss"} if replaced else OHEM)
    assert bool(told) == replaced
    said = "is not that of a release which the correction is of. Mend it: TypeError: (InvalidType)"
    assert (said in capsys.readouterr().err) == (not replaced)
    monkeypatch.setattr(module.OhemCrossEntropyLoss, "forward", print)
    assert not losses._is_known("OhemCrossEntropyLoss"), "code that nobody can read"


@pytest.mark.parametrize(("thresh", "min_kept"), [(0.7, 5), (0.05, 20), (0.7, 1000)])
def test_ohem_keeps_the_hardest_pixels(batch, thresh, min_kept):
    logit, label = batch
    value, _ = gradient(losses.TypedOhemCrossEntropyLoss(thresh, min_kept, 255), logit, label)
    pixels, probability = cross_entropy(logit, label)
    counted = label != 255
    kept = counted
    if counted.sum() > min_kept:
        bound = max(thresh, np.sort(probability[counted])[min_kept - 1])
        kept = counted & (probability < bound)
    assert value == pytest.approx(pixels[kept].mean(), rel=1e-3)


# -- transforms and metrics -------------------------------------------------------------------


@pytest.mark.parametrize(
    "transforms",
    [
        [{"type": "Resize", "target_size": [64, 48]}, {"type": "Normalize"}],
        [{"type": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}],
        [{"type": "Resize", "target_size": [40, 80], "interp": "CUBIC"}, {"type": "Normalize"}],
        [{"type": "Resize", "target_size": [398, 224]}, {"type": "Normalize"}],
        [{"type": "Normalize", "std": [0.2, 0.25, 0.5]}, {"type": "Resize", "target_size": [70, 30]}],
    ],
)
def test_preprocessing_is_pixel_identical_to_paddlesegs(tmp_path, transforms):
    rng = np.random.default_rng(1)
    own = preprocess.Preprocess(transforms)
    assert own._paddleseg is None
    theirs = preprocess._paddleseg_transforms(transforms)
    # Of the size of photographs as well: vector code rounds the ends of rows otherwise than the rest.
    for size in (97, 131), (981, 982), (773, 846):
        photo = tmp_path / f"{size[0]}.jpg"
        cv2.imwrite(str(photo), rng.integers(0, 256, (*size, 3), np.uint8))
        (one, done), (other, told) = own.prepared(photo), theirs(str(photo))
        assert np.array_equal(one, other) and list(done) == told


def test_other_transforms_are_left_to_paddleseg(tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((20, 30, 3), np.uint8))
    own = preprocess.Preprocess([{"type": "ResizeByLong", "long_size": 60}, {"type": "Normalize"}])
    assert own(tmp_path / "photo.png").shape == (3, 40, 60)


def test_metrics_are_paddlesegs():
    from paddleseg.utils import metrics as theirs

    rng = np.random.default_rng(2)
    label = rng.integers(0, 4, (30, 40)).astype(np.uint8)
    prediction = np.where(rng.random(label.shape) < 0.7, label, rng.integers(0, 5, label.shape))
    label[:3] = 255
    confusion = metrics.Confusion(6)  # two classes that neither map holds much of
    confusion.add(prediction, label)
    own = confusion.metrics()
    counts = [
        paddle.to_tensor(values.astype("int64"))
        for values in (np.diag(confusion.counts), confusion.counts.sum(0), confusion.counts.sum(1))
    ]
    iou, miou = theirs.mean_iou(*counts)
    assert own["miou"] == pytest.approx(float(miou), rel=1e-5)
    assert own["class_iou"] == pytest.approx(list(iou), rel=1e-5)
    assert own["acc"] == pytest.approx(float(theirs.class_measurement(*counts)[0]), rel=1e-5)
    assert own["kappa"] == pytest.approx(float(theirs.kappa(*counts)), rel=1e-4)
    assert own["dice"] == pytest.approx(float(theirs.dice(*counts)[1]), rel=1e-5)


def test_wrong_labels_are_named():
    confusion = metrics.Confusion(2)
    with pytest.raises(StageError, match=r"a.png: holds the value 7; allowed are 0 to 1 and 255"):
        confusion.add(np.zeros((2, 2)), np.full((2, 2), 7), "a.png")
    with pytest.raises(StageError, match=r"a.png: is 3x2, its image is 2x2"):
        confusion.add(np.zeros((2, 2)), np.zeros((2, 3)), "a.png")


def test_files_that_are_no_images_or_no_label_maps_are_named(tmp_path):
    (tmp_path / "text.png").write_text("text")
    for name in ("text.png", "gone.png"):
        with pytest.raises(StageError, match=rf"{name}: is missing or is not an image that Pillow decodes"):
            images.read_label(tmp_path / name)
        with pytest.raises(StageError, match=rf"{name}: is missing or is not an image that OpenCV decodes"):
            images.read_image(tmp_path / name)
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 5, 3), np.uint8))
    with pytest.raises(StageError, match=r"a.png: has 3 channels \(mode RGB\); a label map has one"):
        images.read_label(tmp_path / "a.png")
    with pytest.raises(StageError, match=r"none/a.png: cannot be written"):
        images.write_label(tmp_path / "none/a.png", np.zeros((4, 5)))


@pytest.mark.parametrize("content", ["{", "- a list", "Other: {}", "", None])
def test_a_deploy_yaml_that_is_none_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "deploy.yaml").write_text(content)
    with pytest.raises(StageError, match=r"deploy\.yaml: is not a deploy\.yaml.*export the model again"):
        preprocess.deploy_config(tmp_path)


def test_deploy_yaml_is_read_by_paddleseg(tmp_path):
    from paddleseg.deploy.infer import DeployConfig

    from segcert.compute import exporting

    config = components.load_config(str(ROOT / "config/models/pp_humanseg_lite.yml"))
    exporting._write_deploy(tmp_path / "deploy.yaml", "model.json", config)
    theirs = DeployConfig(str(tmp_path / "deploy.yaml"))
    assert theirs.model == str(tmp_path / "model.json") and theirs.params == str(tmp_path / "model.pdiparams")
    assert len(theirs.transforms.transforms) == 2
    assert yaml.safe_load((tmp_path / "deploy.yaml").read_text())["Deploy"]["input_shape"] == [-1, 3, 224, 398]


def test_a_model_that_cannot_be_traced_is_exported_from_its_source(tmp_path):
    """Each of its kind: a mark against conversion that stays on the class would spoil the first, or the second."""
    from paddleseg.deploy.export import WrappedModel

    from segcert.compute import exporting

    def labels(model, batch, traced, name):
        wrapped = WrappedModel(model, "argmax")
        wrapped.eval()
        assert exporting._save(wrapped, tmp_path / name, 8, 8) is traced
        return paddle.jit.load(str(tmp_path / name))(batch).numpy()

    batch = paddle.to_tensor(np.random.default_rng(1).random((3, 3, 8, 8)).astype("float32"))
    for number in range(2):
        model = Branching()
        for sign in (1, -1):
            expected = model(batch * sign)[0].numpy().argmax(1)
            assert np.array_equal(labels(model, batch * sign, False, f"source{number}"), expected)
    plain = paddle.nn.Sequential(paddle.nn.Conv2D(3, 2, 1))
    plain.forward = lambda x, layer=plain[0]: [layer(x)]
    assert np.array_equal(labels(plain, batch, True, "traced"), plain(batch)[0].numpy().argmax(1))


@pytest.mark.parametrize(("content", "words"), [("{", r"ended with exit code 255\)"), (None, "does not exist")])
def test_a_program_that_paddle2onnx_cannot_read_is_told_of(tmp_path, content, words):
    from segcert.compute import exporting, proving

    (tmp_path / "model.pdiparams").write_bytes(b"")
    if content is not None:
        (tmp_path / "model.json").write_text(content)
    made = exporting.Program("model.json", None, True, np.zeros((2, 8, 8)), proving.Trial({}))
    found = exporting._onnx(tmp_path, made, 13, proving.images(8, 8))
    assert not found.holds
    told = rf"no ONNX model: paddle2onnx cannot convert model\.json with opset 13 or later: .*{words}"
    assert re.match(told, found.remark), found.remark


def test_weights_that_are_not_finite_are_named():
    from segcert.compute import training

    layer = paddle.nn.Linear(2, 2)
    training._require_finite_weights(layer)
    layer.weight.set_value(paddle.full([2, 2], float("nan")))
    with pytest.raises(StageError, match="weight: holds values that are not finite"):
        training._require_finite_weights(layer)
