"""Released weights and the accuracy that is published of them: held to it only where all is as it was published.

The weights are trained here, on generated data; what is "published" of them is what an evaluation finds.
"""

import copy
import dataclasses
import json

import pages
import pytest
import stages
import yaml
from conftest import ROOT

from segcert import accuracy, cells, proof, published, record, sections, settings
from segcert.compute import components, evaluation
from segcert.conclusions import Conclusions
from segcert.errors import ConfigError
from segcert.machine import Hardware
from segcert.requests.evaluate import Evaluate
from segcert.show import page, report

SIZE = (128, 96)
TRANSFORMS = [{"type": "Resize", "target_size": list(SIZE)}, {"type": "Normalize"}]
WEIGHTS = {"source": "url", "url": "https://me:secret@example.org/w.pdparams"}
DATA = {"source": "path", "path": "d.tar"}


def asked(miou, **changes):
    """What an evaluation on the generated data is told: as it is done there, but for the changes."""
    entry = {"miou": miou, "dataset": "d", "split": "val", "images": 6, "size": list(SIZE), "transforms": TRANSFORMS}
    entry |= {"from": "https://example.org/README.md", "of": None, **changes}
    return published.asked("w", {**WEIGHTS, "published": entry}, DATA, 0.005)


@pytest.fixture
def evaluated(trained, dataset, tmp_path, monkeypatch):
    """Evaluates the checkpoint here; a record of it, as far as proof looks at it."""
    monkeypatch.chdir(tmp_path)

    def run(told, config=stages.CONFIG, **request):
        request = Evaluate(**{"input_size": SIZE, "reference_images": 1, **request}, published=told)
        checkpoint = str(trained / "model.pdparams")
        result = evaluation.evaluate(request, str(config), str(dataset), checkpoint, tmp_path / f"r{len(runs)}")
        runs.append(result)
        metrics = {**result.metrics, "gates": result.gates}
        asked = request.requested
        return {"stage": "eval", "requested": asked, "effective": result.effective, "metrics": metrics}

    runs = []
    return run


@pytest.fixture(scope="session")
def miou(trained):
    return record.read(trained / "eval.json")["metrics"]["miou"]


def test_a_published_accuracy_holds_and_misses_with_both_numbers(trained, dataset, miou):
    """As a job: the record passes, and the other is accuracy-failed."""
    done = stages.evaluate(trained, dataset, "--published", asked(round(miou, 4)), "--record", "as.json")
    assert done.returncode == 0, done.stderr
    found = record.read(trained / "as.json")
    (gate,) = found["metrics"]["gates"]
    assert found["status"] == "passed" and proof.unproven(found) == []
    assert gate["name"] == "published_miou" and gate["value"] <= 1e-4 and gate["threshold"] == 0.005
    assert found["metrics"]["published"]["unmet"] == [] and found["requested"]["published"]["miou"] == round(miou, 4)
    far = miou - 0.02
    done = stages.evaluate(trained, dataset, "--published", asked(far), "--record", "far.json")
    failed = record.read(trained / "far.failed.json")
    assert done.returncode == 1 and failed["status"] == "accuracy-failed"
    said = f"mIoU {miou:.4f} on all 6 images of d val, {far:.4f} is published; they may be 0.005 apart at most"
    assert said in failed["reason"] and "https://example.org/README.md" in failed["reason"]
    assert "secret" not in json.dumps(failed) and not (trained / "far.json").exists()


@pytest.fixture(scope="module")
def observed(trained):
    """The record of an evaluation that may be held to what is published; which is told anew by `held`."""
    return record.read(trained / "as.json")


def held(observed, told):
    """The record of the same evaluation, asked to be held to something else."""
    told = json.loads(told)
    gates, part = evaluation.held_to_published(told, observed["metrics"]["published"], observed["metrics"])
    requested = {**observed["requested"], "published": told}
    return {**observed, "requested": requested, "metrics": {**observed["metrics"], "published": part, "gates": gates}}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"images": 500}, "6 of 500 images"),
        ({"images": 2}, "6 images, where it is published of 2"),
        ({"split": "test"}, "split val, not test"),
        ({"dataset": "cityscapes"}, "data set d, not cityscapes"),
        ({"size": [96, 128]}, "images of 128x96, not of 96x128"),
        ({"transforms": [{"type": "Normalize"}]}, "not Normalize(mean=[0.5], std=[0.5])"),
        (
            {"transforms": [TRANSFORMS[0], {"type": "Normalize", "std": [0.25]}]},
            "transforms Resize(interp=LINEAR, keep_ratio=False, size_divisor=None, target_size=[128, 96]), "
            "Normalize(mean=[0.5], std=[0.5]), not Resize(",
        ),
        ({"transforms": [{"type": "Moon"}]}, "not what this PaddleSeg has (KeyError"),
        ({"of": "https://example.org/other.zip"}, "published of https://example.org/other.zip"),
        ({"data": "https://example.org/d.tar"}, "data set d from d.tar, not from https://example.org/d.tar"),
    ],
)
def test_what_is_not_as_it_was_published_verifies_nothing(observed, miou, changes, told):
    """Also where the number would be the same, or far from it."""
    for published_miou in (miou, miou / 2):
        found = held(observed, asked(published_miou, **changes))
        (unmet,) = found["metrics"]["published"]["unmet"]
        assert told in unmet and found["metrics"]["gates"] == [] and proof.unproven(found) == []


def test_conditions_are_those_of_the_evaluation_as_it_was(evaluated, miou):
    """Fewer images, and another size: whatever is published, and whatever comes out."""
    few = evaluated(asked(miou, images=None), images=2)
    assert few["metrics"]["published"]["unmet"] == ["2 of 6 images"] and few["metrics"]["gates"] == []
    assert held(few, asked(miou, images=2))["metrics"]["published"]["unmet"] == ["2 of 6 images"]
    small = evaluated(asked(miou), input_size=(64, 64))["metrics"]
    size, transforms = small["published"]["unmet"]
    assert size == "images of 64x64, not of 128x96" and "target_size=[64, 64]" in transforms and small["gates"] == []


def test_transforms_are_those_that_were_done_and_not_a_name(observed, evaluated, miou):
    """`val` and `export` of this model are the same, and defaults that are written out are no others."""
    written = [{**TRANSFORMS[0], "interp": "LINEAR"}, {"type": "Normalize", "mean": [0.5], "std": [0.5]}]
    told = asked(miou, transforms=written, images=None)
    for found in (held(observed, told), evaluated(told, transforms="val")):
        assert found["metrics"]["published"]["unmet"] == [] and len(found["metrics"]["gates"]) == 1


def test_flips_are_no_plain_evaluation(observed, evaluated, miou, tmp_path):
    config = tmp_path / "flip.yml"
    config.write_text(f"_base_: {stages.CONFIG}\ntest_config: {{aug_eval: true, scales: 1.0, flip_horizontal: true}}\n")
    found = evaluated(asked(miou), config=config, transforms="val")
    assert found["metrics"]["published"]["unmet"] == ["not a plain evaluation: flip_horizontal True"]
    assert found["metrics"]["gates"] == []
    plain = copy.deepcopy(observed)
    plain["metrics"]["published"]["test_config"] = {"aug_eval": True, "scales": 1.0}  # as PP-LiteSeg's has
    assert held(plain, asked(miou))["metrics"]["published"]["unmet"] == []


def test_weights_of_another_network_are_not_what_was_published(observed, miou):
    lost = copy.deepcopy(observed)
    lost["metrics"]["published"]["left_out"] = ["head.cls.bias"]
    unmet = held(lost, asked(miou))["metrics"]["published"]["unmet"]
    assert unmet == ["another network: 1 variables of the weights are in no part of it, such as head.cls.bias"]


def test_variables_that_no_part_of_the_model_takes_are_seen(tmp_path):
    """TIPC's FCN has no biases in its head: PaddleSeg's released weights have them, and would lose them in silence."""
    import paddle

    def model(name):
        return components.builder(components.load_config(str(ROOT / f"config/models/{name}.yml"))).model

    other = model("fcn_hrnet_w18_released")
    paddle.save(other.state_dict(), str(tmp_path / "w.pdparams"))
    assert components.left_out(other, str(tmp_path / "w.pdparams")) == []
    lost = components.left_out(model("fcn_hrnet_w18"), str(tmp_path / "w.pdparams"))
    assert "head.cls.bias" in lost and all("bias" in name for name in lost)
    assert other.backbone.conv_layer1_1._conv._padding == "same"


# -- what a record must show ----------------------------------------------------------------------


def test_a_record_cannot_claim_what_was_not_held(observed, miou):
    good, short = held(observed, asked(miou)), held(observed, asked(miou, images=500))
    assert proof.unproven(good) == proof.unproven(short) == []

    def said(found, change):
        found = copy.deepcopy(found)
        change(found["metrics"])
        return "; ".join(proof.unproven(found))

    gates = good["metrics"]["gates"]
    assert "although: 6 of 500 images" in said(short, lambda m: m.update(gates=gates))
    assert "although: 5 of 6 images" in said(good, lambda m: m.update(images=5))
    assert "nothing is said that would forbid it" in said(good, lambda m: m.update(gates=[]))
    assert "was not held against the published one" in said(good, lambda m: m.pop("published"))
    assert "lies between" in said(good, lambda m: m.update(miou=miou / 2))
    wide = [{**gates[0], "threshold": 0.5}]
    assert "lies between" in said(good, lambda m: m.update(gates=wide))


# -- conclusions ----------------------------------------------------------------------------------


def concluded(folder, status="passed", reason=None, unmet=()):
    told = {**json.loads(asked(0.77)), "weights": "w_<b>"}
    cell = pages.cell(folder, "model", "eval", "released", status, train_cell="released", reason=reason, published=told)
    if "metrics" in cell:
        cell["metrics"] = {"miou": 0.7712, "images": 6, "published": {"unmet": list(unmet)}}
    return Conclusions("whole_infer", [cell])


@pytest.mark.parametrize(
    ("made", "verdict", "reason"),
    [
        ({}, "passed", "mIoU 0.7712 on all 6 images of d val, 0.7700 is published"),
        ({"unmet": ["20 of 500 images", "split val, not test"]}, "unverified", "20 of 500 images; split val, not test"),
        ({"status": "accuracy-failed", "reason": "too far"}, "accuracy-failed", "too far"),
        ({"status": "blocked", "reason": "made from"}, "blocked", "made from"),
    ],
)
def test_the_conclusions_tell_of_it_beside_the_evaluation(tmp_path, made, verdict, reason):
    """An evaluation that passed is a tick, and its published accuracy is none where it was not held to it."""
    found = concluded(tmp_path, **made)
    (item,) = found.as_json()["published"]
    assert (item["verdict"], item["reason"], item["published"]) == (verdict, reason, 0.77)
    assert found.cells[0]["status"] == made.get("status", "passed")
    assert Conclusions.of_json(found.as_json()).published == found.published
    symbol = accuracy.statuses.by_name(verdict).symbol
    english = report.markdown(found).split("## Published accuracy")[1].split("##")[0]
    assert f"- {symbol} **model** `w_<b>`, 0.77 is published: {verdict}: {reason}" in english
    chinese = report.chinese(found).split("公布的精度")[1]
    assert f"- {symbol} model" in chinese and reason in chinese
    shown = page.render(found, "", tmp_path)
    assert 'id="published"' in shown and f'<li class="finding s-{verdict}">' in shown and reason in shown
    assert ("published accuracy unverified: 1" in report.summary(found, tmp_path)) is (verdict == "unverified")


def test_nothing_is_told_where_nothing_is_published(tmp_path):
    found = Conclusions("smoke", [pages.cell(tmp_path, "m", "eval", "single_fp32", "passed", published=None)])
    assert found.published == []
    for text in (report.markdown(found), report.chinese(found), page.render(found, "", tmp_path)):
        assert "Published accuracy" not in text and "公布的精度" not in text


# -- the configuration ----------------------------------------------------------------------------


def resolved(**mine):
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    mine = {"mode": "whole_infer", **mine}
    return settings.resolve(sections.merge(shipped, mine), mine, "config/config.yaml")


def evaluations(**mine):
    return {cell.model: cell for cell in cells.CellTable(resolved(**mine), Hardware(0, "cpu")).planned("eval")}


def test_all_eight_models_have_released_weights_with_a_published_accuracy():
    """Shares, of README tables in percent."""
    found = {name: cell.requested["published"] for name, cell in evaluations().items()}
    assert {name: told["miou"] for name, told in found.items()} == {
        "pp_liteseg_stdc1": 0.7704, "pp_liteseg_stdc2": 0.7904, "pp_humanseg_lite": 0.8602,
        "pp_humanseg_mobile": 0.9164, "pp_humanseg_server": 0.9647, "fcn_hrnet_w18": 0.7897,
        "ocrnet_hrnetw18": 0.8067, "ocrnet_hrnetw48": 0.8215,
    }  # fmt: skip
    people = {name for name, told in found.items() if told["of"] != told["file"]}
    assert people == {"pp_humanseg_lite", "pp_humanseg_mobile", "pp_humanseg_server"}
    assert all(told["file"].startswith("https://") and told["tolerance"] == 0.005 for told in found.values())
    assert evaluations(gates={"published_miou": 0.01})["fcn_hrnet_w18"].requested["published"]["tolerance"] == 0.01


def test_it_is_asked_of_released_weights_alone():
    assert {cell.requested["published"] for cell in evaluations(mode="smoke").values()} == {None}
    none = evaluations(weights={"ocrnet_hrnetw18_cityscapes": {"published": None}})["ocrnet_hrnetw18"]
    assert none.requested["published"] is None and "--published" not in none.options
    mine = {"w": {"source": "path", "path": "w.pdparams", "published": {**json.loads(asked(0.5))}}}
    for key in ("weights", "file", "data_file", "tolerance"):
        del mine["w"]["published"][key]
    mine["w"]["published"]["dataset"] = "cityscapes"
    own = evaluations(weights=mine, model_zoo={"pp_liteseg_stdc1": {"released_weights": "w"}})["pp_liteseg_stdc1"]
    assert own.requested["published"]["file"] == "w.pdparams"
    assert own.requested["published"]["data_file"] == "https://paddleseg.bj.bcebos.com/tipc/data/cityscapes_20imgs.tar"
    # another file and other data under the shipped names are told by what they are
    name = "pp_liteseg_stdc1_cityscapes"
    other = evaluations(
        weights={name: {"source": "path", "path": "w.pdparams"}}, data={"cityscapes": "cityscapes_synthetic"}
    )
    told = other["pp_liteseg_stdc1"].requested["published"]
    assert told["of"] != told["file"] == "w.pdparams" and told["data"] != told["data_file"] == "generated here"
    assert dataclasses.replace(own.request, published=None).requested["published"] is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"miou": 79.04},
            "weights.ocrnet_hrnetw18_cityscapes.published.miou: 79.04 is refused; allowed: a share above 0",
        ),
        ({"miou": 0}, "published.miou: 0 is refused"),
        ({"dataset": "moon"}, 'published.dataset: "moon" is refused; allowed: a key of `datasets`: mini_supervisely'),
        ({"split": "all"}, 'published.split: "all" is refused; allowed: one of train, val, test'),
        ({"size": [2048]}, "published.size: [2048] is refused; allowed: [width, height]"),
        ({"transforms": "val"}, 'published.transforms: "val" is refused; allowed: a list of transforms'),
        ({"mIoU": 0.7}, "published.mIoU: 0.7: no such key (did you mean miou?)"),
        ({"of": "w.zip"}, 'published.of: "w.zip" is refused'),
    ],
)
def test_what_is_published_is_checked_by_key(change, told):
    with pytest.raises(ConfigError) as refused:
        resolved(weights={"ocrnet_hrnetw18_cityscapes": {"published": change}})
    assert told in str(refused.value)


def test_a_tolerance_in_percent_is_refused():
    with pytest.raises(
        ConfigError, match=r"gates\.published_miou: 0\.5 is refused; allowed: a difference of mIoU as a"
    ):
        resolved(gates={"published_miou": 0.5})


def test_weights_of_another_network_bring_their_configuration(plan_run):
    from segcert.run import Start

    def config(**mine):
        return plan_run(resolved(**mine), Start(main=False)).model_config("fcn_hrnet_w18").name

    assert config() == "fcn_hrnet_w18_released.yml" and config(mode="smoke") == "fcn_hrnet_w18.yml"
    own = {"weights": {"fcn_hrnetw18_cityscapes": {"config": None}}}
    assert config(**own) == "fcn_hrnet_w18.yml"
