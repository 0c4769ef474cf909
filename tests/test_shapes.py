"""Exports whose height and width are free: seen to be so, right in every size, and red where they are not."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import paddle
import pytest
import stages
import yaml
from conftest import ROOT

from segcert import cells, offers, sections, settings
from segcert.compute import evaluation, exporting, inference, proving, quantise
from segcert.compute.engines import library, paddle_inference
from segcert.compute.preprocess import Preprocess
from segcert.data.images import read_label
from segcert.errors import ConfigError, StageError
from segcert.machine import Hardware
from segcert.requests.infer import Infer
from segcert.requests.quantise import Quantise
from segcert.stage import judging
from segcert.stage.judging import Exit

ODD = (100, 70)  # no multiple of any stride
WORD = "100x70"
REQUEST = Infer(
    warmup=1, max_warmup=1, min_samples=2, shapes="dynamic", size=ODD,
    min_agreement=0.999, max_miou_drop=0.001, max_logits_l2=2e-5, max_logits_peak=5e-5,
)  # fmt: skip


@pytest.fixture(scope="module")
def exported(trained, dataset):
    """An export of both kinds, and what its checkpoint gives in another size as well."""
    done = stages.export(trained, "--beside", "dynamic")
    assert done.returncode == 0, done.stderr
    done = stages.evaluate(trained, dataset, "--sizes", WORD)
    assert done.returncode == 0, done.stderr
    return trained


@pytest.fixture
def outcome(exported, dataset, tmp_path):
    """Of an inference of this process, with another export or reference if given."""

    def run(export=None, reference=None, **asked):
        request = dataclasses.replace(REQUEST, **asked)
        files = inference.Files(
            export or exported / "export", dataset, reference or exported / "reference", tmp_path / "log",
            tmp_path / "made",
        )  # fmt: skip
        told = json.loads((exported / "export.json").read_text())
        result = inference.infer(request, files, "pp_humanseg_lite", told)
        return judging.judge("infer", request.requested, result, Exit(0), None)

    return run


# -- what is asked for -------------------------------------------------------------------------


def table(hardware=None, **asked):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    asked = {"models": ["pp_humanseg_lite", "pp_liteseg_stdc1"], **asked}
    resolved = settings.resolve(sections.merge(config, asked), asked, "config.yaml")
    return cells.CellTable(resolved, hardware or Hardware(0, "cpu", bf16=True, cores=8))


def test_each_size_is_a_cell_beside_those_of_the_export():
    plain = table()
    one = {"size": [64, 64], "models": ["pp_humanseg_lite"], "engines": ["native"], "devices": ["cpu"]}
    sized = table(export={"shapes": "both"}, infer={"sizes": [[100, 70], one]})
    found = {cell.record: cell for cell in sized.cells}
    for cell in plain.cells:
        same = found.pop(cell.record)
        assert same.requested == cell.requested
    assert {cell.stage for cell in found.values()} == {"infer"}
    asked = [cell for cell in found.values() if cell.requested["size"] == [64, 64]]
    assert {(c.model, c.requested["engine"], c.requested["precision"]) for c in asked} == {
        ("pp_humanseg_lite", "native", "fp32")
    }
    assert all(cell.name.endswith("_size_64x64") for cell in asked)
    assert all(cell.requested["shapes"] == "dynamic" for cell in found.values())
    left_out = {cell.reason for cell in found.values() if cell.status == "skipped"}
    assert left_out == {f"{rule}: {words}" for rule, words in offers.OF_SHAPES.items()}
    assert sized.sizes("pp_liteseg_stdc1") == [(100, 70)] and sized.sizes("pp_humanseg_lite") == [(100, 70), (64, 64)]
    (evaluated,) = [cell for cell in sized.planned("eval") if cell.record.endswith("lite/single_fp32/eval.json")]
    assert evaluated.options[-3:] == ["--sizes", "100x70", "64x64"]


def test_a_program_of_free_shapes_alone_runs_all_cells():
    found = table(
        Hardware(1, "gpu", bf16=True, cores=8), export={"shapes": {"default": "fixed", "pp_liteseg_stdc1": "dynamic"}}
    )
    asked = [cell for cell in found.cells if cell.model == "pp_liteseg_stdc1" and cell.stage == "infer"]
    assert {cell.requested["shapes"] for cell in asked} == {"dynamic"} and not any("size" in c.requested for c in asked)
    reasons = {cell.reason for cell in asked if cell.status == "skipped"}
    assert {f"{rule}: {words}" for rule, words in offers.OF_SHAPES.items()} <= reasons
    others = [cell for cell in found.cells if cell.model == "pp_humanseg_lite"]
    assert not any("shapes" in cell.requested for cell in others)
    exports = {cell.model: cell.options for cell in found.planned("export")}
    assert exports["pp_liteseg_stdc1"][-2:] == ["--shapes", "dynamic"] and "--shapes" not in exports["pp_humanseg_lite"]


def test_sizes_need_a_program_that_takes_them():
    allowed = "both or dynamic, because infer.sizes asks pp_humanseg_lite for other sizes"
    with pytest.raises(ConfigError, match=rf'export.shapes: "fixed" is refused; allowed: {allowed}'):
        table(infer={"sizes": [[100, 70]]})
    own = {"pp_humanseg_lite": {"settings": {"export": {"shapes": "fixed"}}}}
    with pytest.raises(ConfigError, match=r"model_zoo.pp_humanseg_lite.settings.export.shapes"):
        table(infer={"sizes": [[100, 70]]}, export={"shapes": "both"}, model_zoo=own)
    with pytest.raises(ConfigError, match=r"infer.sizes.0.models.0: \"no_such\" is refused"):
        table(infer={"sizes": [{"size": [100, 70], "models": ["no_such"]}]}, export={"shapes": "both"})
    with pytest.raises(ConfigError, match=r"infer.sizes.0: \[100\] is refused; allowed: \[width, height\] in pixels"):
        table(infer={"sizes": [[100]]}, export={"shapes": "both"})


# -- right in every engine ---------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "onednn", "onnxruntime", "openvino"])
def test_a_size_that_is_no_multiple_of_the_stride_is_right(exported, dataset, engine):
    done = stages.infer(exported, dataset, f"odd_{engine}", "--engine", engine, "--shapes", "dynamic", "--size", *ODD)
    told = json.loads((exported / f"odd_{engine}.json").read_text())
    assert done.returncode == 0 and told["status"] == "passed", told["reason"]
    assert told["effective"]["shapes"] == "dynamic" and told["effective"]["size"] == list(ODD)
    assert told["metrics"]["input_shape"] == [1, 3, *reversed(ODD)]
    maps = [read_label(path).shape for path in (exported / f"odd_{engine}").glob("*.png")]
    assert maps and set(maps) == {tuple(reversed(ODD))}
    assert told["metrics"]["logits"]["images"] and told["metrics"]["miou"] is not None


def test_what_the_export_says_of_it(exported):
    told = json.loads((exported / "export.json").read_text())
    assert told["effective"]["dynamic"] is True and told["effective"]["input_size"] == [128, 96]
    made = told["metrics"]["dynamic"]
    assert made["input_shape"] == [None, 3, None, None] and made["native"]["another_size"] == 1.0
    assert {engine: trial["another_size"] for engine, trial in made["onnx_engines"].items()} == {
        "onnxruntime": 1.0, "openvino": 1.0,
    }  # fmt: skip
    deploy = yaml.safe_load((exported / "export/dynamic/deploy.yaml").read_text())["Deploy"]
    assert deploy["input_shape"] == [-1, 3, -1, -1]
    evaluated = json.loads((exported / "eval.json").read_text())["metrics"]["reference_sizes"]
    assert evaluated[WORD]["reference_logits"]["images"] and "failed" not in evaluated[WORD]


# -- what is not as it was asked is red --------------------------------------------------------


@pytest.mark.parametrize("engine", ["native", "onnxruntime", "openvino"])
def test_a_fixed_export_that_is_asked_for_as_free_is_failed(exported, dataset, engine, tmp_path):
    """Also where it stands in the place of the free one: what is loaded counts."""
    alone, planted = tmp_path / "alone", tmp_path / "planted"
    shutil.copytree(exported / "export", alone, ignore=shutil.ignore_patterns("dynamic"))
    shutil.copytree(alone, planted / "dynamic")
    for number, export in enumerate((alone, planted)):
        name = f"fixed_{engine}_{number}"
        asked = ["--engine", engine, "--shapes", "dynamic", "--size", *ODD]
        stages.infer(exported, dataset, name, *asked, exported=export)
        told = json.loads((exported / f"{name}.failed.json").read_text())
        assert told["status"] == "failed", told
        assert "its input is fixed (any x 3 x 96 x 128), and height and width are to be free" in told["reason"]


def test_images_that_are_not_brought_to_the_size_are_red(outcome, monkeypatch):
    monkeypatch.setattr(inference, "preprocessing", lambda _request, deploy: Preprocess(deploy["transforms"]))
    with pytest.raises(StageError, match=r"label map of \(96, 128\); the checkpoint's logits are \(2, 70, 100\)"):
        outcome(engine="onnxruntime")


def test_label_maps_of_another_size_are_red(outcome, exported, tmp_path):
    shutil.copytree(exported / "reference", tmp_path / "reference")
    shutil.rmtree(tmp_path / "reference" / WORD)
    shutil.copytree(exported / "reference", tmp_path / "reference" / WORD, ignore=shutil.ignore_patterns(WORD))
    with pytest.raises(StageError, match="logits"):
        outcome(engine="onnxruntime", reference=tmp_path / "reference")


def test_what_the_checkpoint_does_not_compute_is_told(exported, outcome, dataset, monkeypatch, tmp_path):
    """An evaluation goes on; the cells of that size say why they come to nothing."""
    given = Preprocess.batch

    def batch(self, paths):
        made = given(self, paths)
        if made.shape[2:] == tuple(reversed(ODD)):
            raise ValueError("a grid of 6x4 is needed")
        return made

    monkeypatch.setattr(Preprocess, "batch", batch)
    request = evaluation.Evaluate(input_size=(128, 96), sizes=(WORD,))
    folder = tmp_path / "reference"
    result = evaluation.evaluate(request, stages.CONFIG, str(dataset), str(exported / "model.pdparams"), folder)
    why = result.metrics["reference_sizes"][WORD]["failed"]
    assert why.startswith("ValueError: a grid of 6x4 is needed")
    assert sorted(path.name for path in (folder / WORD).iterdir()) == ["summary.json"]
    monkeypatch.setattr(Preprocess, "batch", given)
    with pytest.raises(StageError, match="itself computes nothing at 100x70: ValueError: a grid of 6x4 is needed"):
        outcome(engine="onnxruntime", reference=folder)

    def full(*_args):
        raise OSError("no space left on device")

    monkeypatch.setattr(evaluation, "_write_reference", full)
    confusion = SimpleNamespace(empty=lambda: None)
    with pytest.raises(OSError, match="no space"):
        evaluation._write_of_size(WORD, None, stages.CONFIG, str(dataset), tmp_path, request, confusion, None)


def test_the_free_program_is_not_quantised(exported, dataset, tmp_path):
    """In int8 there are no cells of it."""
    files = quantise.Files(str(exported / "export"), str(dataset), tmp_path / "quantised")
    quantise.quantise(Quantise(images=2), files)
    assert [path.relative_to(files.folder).as_posix() for path in files.folder.rglob("*")] == ["model.onnx"]


# -- exports -----------------------------------------------------------------------------------


class Fixed(paddle.nn.Layer):
    """A model that knows its own size: another one does not fit its grid of positions."""

    def __init__(self):
        super().__init__()
        self.convolution = paddle.nn.Conv2D(3, 2, 3, padding=1)
        self.grid = self.create_parameter([1, 2, 16, 32])

    def forward(self, image):
        return [self.convolution(image) + self.grid]


class Halved(paddle.nn.Layer):
    """A model that is another one for images that are wider than 40: what is traced at any size computes it wrongly."""

    def __init__(self):
        super().__init__()
        self.convolution = paddle.nn.Conv2D(3, 2, 3, padding=1)

    def forward(self, image):
        made = self.convolution(image)
        return [-made if isinstance(image.shape[3], int) and image.shape[3] > 40 else made]


FED = proving.images(32, 16, 2)


def test_a_model_of_one_size_has_no_free_program(tmp_path):
    model = Fixed()
    model.eval()
    assert not exporting._exported(model, tmp_path, FED, None, free=False, output_op=None).trial.wrong()
    made, why = exporting._beside(model, tmp_path, FED, 1, None)
    assert made is None and not library.dynamic(tmp_path).exists()
    assert why.startswith("no program with free height and width: ") and "the model itself does not compute" in why


def test_a_program_that_is_wrong_in_another_size_is_none(tmp_path):
    model = Halved()
    model.eval()
    made, why = exporting._beside(model, tmp_path, FED, 1, None)
    assert made is None and "of pixels of images of another size" in why
    assert not library.dynamic(tmp_path).exists()


def test_one_that_is_fixed_all_the_same_is_none(tmp_path, monkeypatch):
    model = Halved()
    model.eval()
    save = exporting._save
    monkeypatch.setattr(
        exporting, "_save", lambda wrapped, stem, _height, _width, *more: save(wrapped, stem, 16, 32, *more)
    )
    monkeypatch.setattr(proving, "at_another_size", lambda model, *_size: (FED, proving.labels(model, FED)))
    made, why = exporting._beside(model, tmp_path, FED, 1, None)
    assert made is None and why.endswith("its input is [None, 3, 16, 32]")


def test_what_ends_a_machine_ends_an_export(tmp_path, monkeypatch):
    def full(*_args, **_more):
        raise OSError("no space left on device")

    monkeypatch.setattr(exporting, "_program", full)
    with pytest.raises(OSError, match="no space"):
        exporting._beside(None, tmp_path, FED, 1, None)


def test_the_one_program_is_free_or_the_export_is_red(exported, monkeypatch, tmp_path):
    request = exporting.Export(input_size=(128, 96), shapes="dynamic")
    checkpoint = str(exported / "model.pdparams")
    result = exporting.export(request, stages.CONFIG, checkpoint, tmp_path / "free")
    found = judging.judge("export", request.requested, result, Exit(0), None)
    assert found.status.name == "passed" and result.effective["shapes"] == "dynamic", found.reason
    assert paddle_inference.input_shape(tmp_path / "free/model.json") == [-1, 3, -1, -1]
    save = exporting._save
    monkeypatch.setattr(
        exporting, "_save", lambda wrapped, stem, _height, _width, *more: save(wrapped, stem, 96, 128, *more)
    )
    result = exporting.export(request, stages.CONFIG, checkpoint, tmp_path / "fixed")
    found = judging.judge("export", request.requested, result, Exit(0), None)
    assert found.status.red and "shapes: dynamic requested, fixed observed" in found.reason


def test_a_program_of_several_inputs_is_refused(exported, tmp_path):
    program = json.loads((exported / "export/model.json").read_text())
    operators = program["program"]["regions"][0]["blocks"][0]["ops"]
    program["program"]["regions"][0]["blocks"][0]["ops"] = [one for one in operators if one["#"] != "1.data"]
    (tmp_path / "model.json").write_text(json.dumps(program))
    with pytest.raises(StageError, match="has 0 inputs that are read from its file"):
        paddle_inference.input_shape(tmp_path / "model.json")


def test_an_engine_that_does_not_say_what_it_takes_is_refused():
    class Silent:
        name = "silent"

    with pytest.raises(StageError, match="engine silent: does not say what shapes it takes"):
        inference.Engine.input_shape(Silent())


# -- long runs ---------------------------------------------------------------------------------


def test_a_long_run_takes_sizes_in_turn(outcome, monkeypatch):
    from segcert.compute.engines.onnxruntime import OnnxRuntime

    fed, given = [], OnnxRuntime.run
    monkeypatch.setattr(OnnxRuntime, "run", lambda self, batch: fed.append(batch.shape[2:]) or given(self, batch))
    found = outcome(engine="onnxruntime", soak=200, max_growth_mb=1000)
    assert found.status.name == "passed", found.reason
    assert [tuple(reversed(size)) for size in fed[-200:]] == [ODD, (128, 96)] * 100
