"""The stages: their table agrees with itself, the rules and the settings, and an unknown one is an error by name."""

import json
import re

import pytest
import yaml
from conftest import ROOT, snakemake

from segcert import cells, conclusions, own_scripts, proof, record, sections, settings, stages
from segcert.machine import Hardware
from segcert.stage.plan import Plan
from segcert.tipc import support

OF_CELLS = [stage for stage in stages.ALL if stage is not stages.DATA]
RULES = {
    name: text
    for file in sorted((ROOT / "rules").glob("*.smk"))
    for name, text in re.findall(r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(encoding="utf-8"), re.M | re.S)
}


def part_of(rule, directive):
    """The text below a directive of a rule."""
    (text,) = re.findall(rf"^    {directive}:\n((?:        .*\n)+)", RULES[rule], re.M)
    return text


def table(mode="smoke", gpus=8):
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    asked = {"mode": mode}
    resolved = settings.resolve(sections.merge(shipped, asked), asked, "config.yaml")
    scripts = dict.fromkeys(own_scripts.FILES, "0")  # as of a checkout
    return cells.CellTable(resolved, Hardware(gpus, "auto", bf16=True), {}, scripts)


def test_what_a_stage_says_of_itself_holds_together():
    places = [(stage.name, stage.topology) for stage in stages.ALL]
    assert len(set(places)) == len(places) and stages.NAMES[0] == stages.DATA.name
    before = [stages.DATA.name]
    for stage in OF_CELLS:
        assert set(stage.parents) < {*before, ""} and stages.DATA.name not in stage.parents, (
            "its parents come before it"
        )
        # what it reads stops it where it failed, and what that is made from as well
        assert set(stage.reads) <= {*stage.parents, stages.DATA.name}
        assert all(set(stages.by_name(parent).parents) <= set(stage.parents) for parent in stage.parents)
        assert stage.makes and stage.proves and stage.section
        made = [stage.record, stage.log, *stage.makes]
        assert len(set(made)) == len(made)
        before.append(stage.name)
    found = {stages.by_name(stage.name, stage.topology): stage for stage in stages.ALL}
    assert all(looked_up is stage for looked_up, stage in found.items()) and len(found) == len(stages.ALL)
    assert stages.by_name("train", "multi") is stages.TRAIN and stages.by_name("eval", "released") is stages.EVAL


@pytest.mark.parametrize("stage", OF_CELLS, ids=lambda stage: stage.rule)
def test_a_rule_makes_what_the_table_says_from_what_it_says(stage):
    """And logs there; for a reader of the rules, and so that no cell waits for a file that no rule makes."""
    folder = f"results/{{mode}}/{{model}}/{stage.topology or '{train_cell}'}/"
    made = set(re.findall(r'"(results/.+?)"', part_of(stage.rule, "output")))
    assert made == {folder + name for name in (stage.record, *stage.makes)}
    assert re.findall(r'"(.+?)"', part_of(stage.rule, "log")) == [folder + stage.log]
    read = part_of(stage.rule, "input")
    for name in stage.reads:
        if name == stages.DATA.name:
            assert "model_dataset" in read
        else:
            parent = stages.by_name(name)
            assert f'"{folder}{parent.record}"' in read, "--upstream, by which it knows whether that passed"
            assert any(f'"{folder}{path}"' in read for path in parent.makes)
    (script,) = re.findall(r'code_of\("(\w+\.py)"', RULES[stage.rule])
    assert (ROOT / "scripts" / script).is_file()
    assert f'of_cell("{stage.name}"' in RULES[stage.rule] or f'TABLE.find("{stage.name}"' in RULES[stage.rule]
    bounds = f'limits_of("{stage.name}")' if stage.topology is None else ", resources: TABLE.find("
    assert (
        f"limits={bounds}" in RULES[stage.rule].replace("lambda wildcards", "")
        and "{params.limits:q}" in RULES[stage.rule]
    )


def test_every_rule_file_is_included():
    included = re.findall(r'^include: "rules/(.+)"$', (ROOT / "Snakefile").read_text(encoding="utf-8"), re.M)
    assert sorted(included) == sorted(file.name for file in (ROOT / "rules").glob("*.smk"))


def test_the_table_of_cells_has_every_stage():
    seen = {
        cell.definition for mode in ("smoke", "whole_infer") for gpus in (0, 8) for cell in table(mode, gpus).planned()
    }
    assert seen == set(OF_CELLS)


def test_a_cell_is_found_with_what_it_is_made_from():
    whole = table()
    for cell in whole.planned():
        name = cell.name if "{cell}" in cell.definition.record else None
        assert whole.find(cell.stage, cell.model, cell.train_name, name) is cell
        quantised = cell.stage != stages.INFER.name or cell.requested["precision"] == "int8"
        made_from = [name for name in cell.definition.parents if quantised or name != stages.QUANTISE.name]
        assert [parent.stage for parent in whole.parents(cell)] == made_from == list(cell.parents)
        assert cell.definition.folder(cell.record, cell.name) == cell.folder
        assert cell.timeout_min == whole.section(cell.model, cell.definition.section)["timeout_min"]


def test_the_sections_of_stages_are_in_the_configuration_and_its_schema():
    shipped = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    schema = settings.whole_schema()
    for section in stages.SECTIONS:
        bounds = {"timeout_min", "memory_gb"}
        assert bounds <= shipped[section].keys() and bounds <= set(schema["properties"][section]["required"])
    of_mode = schema["properties"]["modes"]["additionalProperties"]["properties"]
    assert of_mode.keys() == set(settings.MODE_SECTIONS) and len(of_mode) == len(settings.MODE_SECTIONS)
    of_model = schema["$defs"]["model"]["properties"]["settings"]["properties"]
    assert of_model.keys() == set(sections.MODEL_SECTIONS)
    skipped = schema["$defs"]["model"]["properties"]["skipped"]["items"]["properties"]["stage"]["enum"]
    assert support.SCRIPTS.keys() == set(skipped) <= set(stages.OF_CELLS)
    assert support.SCRIPTS.keys() == support.TAKEN.keys() == support.WITHOUT_EFFECT.keys()


def test_weights_that_were_taken_prove_that_and_no_training():
    asked = {"device": "cpu", "weights": "w"}
    content = {"stage": "train", "requested": asked, "effective": asked, "metrics": {}}
    assert proof.unproven(content) == []
    assert proof.unproven({**content, "effective": {"device": "cpu"}}) == ["weights was not observed"]
    trained = proof.unproven({**content, "requested": {"device": "cpu"}})
    assert trained == [f"{name} was not observed" for name in ("devices", "precision", "graph", "iters", "batch_size")]


def test_one_that_is_unknown_is_an_error_by_name(tmp_path):
    of_kind = {key: (kind[0] if isinstance(kind, tuple) else kind)() for key, kind in record.KINDS.items()}
    content = {
        **dict.fromkeys(record.REQUIRED, ""),
        **of_kind,
        "schema_version": 1,
        "status": "passed",
        "stage": "moon",
    }
    found = conclusions.Conclusions("smoke", [])
    for asked in (
        lambda: stages.by_name("moon"),
        lambda: stages.by_name("moon", "released"),
        lambda: table().planned("train", "moon"),
        lambda: table().find("moon", "pp_humanseg_lite", "single_fp32"),
        lambda: found.select(stage="moon"),
        lambda: proof.unproven(content),
        lambda: record.write(tmp_path / "r.json", content),
        lambda: Plan("moon", {}, [], {}, lambda args, staging: None),
        lambda: support.unsupported_command("moon", None),
    ):
        with pytest.raises(ValueError, match=f"unknown stage 'moon'; one of {', '.join(stages.NAMES)}$"):
            asked()
    assert not (tmp_path / "r.json").exists()
    (tmp_path / "r.json").write_text(json.dumps(content))
    with pytest.raises(record.RecordError, match=r"r.json: a record with the unknown stage 'moon'; delete the file"):
        record.read(tmp_path / "r.json")


def test_one_that_is_unknown_stops_the_workflow_as_its_rules_are_read(project):
    rule = project / "rules/export.smk"
    rule.write_text(rule.read_text().replace('resource_of("export", "gpus")', 'resource_of("exprot", "gpus")'))
    train = "results/smoke/pp_humanseg_lite/single_fp32/train.json"  # which no export is needed for
    done = snakemake(project, "-n", train, "--config", "mode=smoke", "hardware=cpu")
    assert done.returncode != 0 and "unknown stage 'exprot'; one of data, train, eval" in done.stdout + done.stderr
