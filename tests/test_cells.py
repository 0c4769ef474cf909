"""The cell table: PaddleSeg's matrix in every mode, on every hardware."""

import dataclasses
import re
from collections import Counter

import pytest
import ways
import yaml

from segcert import cells, conclusions, machine, offers, sections, settings
from segcert.machine import Hardware

CPU = Hardware(0, "auto", bf16=True)
GPU = Hardware(8, "gpu")
EIGHT = [
    "pp_liteseg_stdc1",
    "pp_liteseg_stdc2",
    "pp_humanseg_lite",
    "pp_humanseg_mobile",
    "pp_humanseg_server",
    "fcn_hrnet_w18",
    "ocrnet_hrnetw18",
    "ocrnet_hrnetw48",
]


@pytest.fixture
def table(root):
    config = yaml.safe_load((root / "config/config.yaml").read_text(encoding="utf-8"))

    def make(hardware, **overrides):
        return cells.CellTable(settings.resolve(sections.merge(config, overrides), overrides, "config.yaml"), hardware)

    return make


def count(table, planned=True):
    return Counter(cell.stage for cell in table.cells if cell.planned == planned)


def test_the_seeds_models_are_all_there(table):
    assert list(dict.fromkeys(cell.model for cell in table(CPU).cells)) == EIGHT


def test_seed_matrix_on_gpus(table):
    planned = table(GPU).planned()
    amp = [c for c in planned if c.stage == "train" and c.requested["precision"] == "amp"]
    assert Counter((c.model, c.topology) for c in amp) == {(m, t): 1 for m in EIGHT for t in ("single", "multi")}
    assert {(c.requested["level"], c.requested["device"]) for c in amp} == {("O1", "gpu")}
    assert {c.gpus for c in amp if c.topology == "multi"} == {2}
    exports = [c for c in planned if c.stage == "export"]
    assert len(exports) == 16 and all("amp" in c.train_name for c in exports)
    for model in EIGHT:
        devices = {c.requested["device"] for c in planned if c.stage == "infer" and c.model == model}
        assert devices == {"cpu", "gpu"}


def test_smoke_matrix_without_a_gpu(table):
    smoke = table(CPU, mode="smoke")
    inferred = 8 * len(ways.CPU) + 2 + ways.SIZED  # two of several streams
    assert count(smoke) == {"train": 18, "eval": 18, "export": 8, "quantise": 8, "infer": inferred}
    static = [cell.model for cell in smoke.planned("train") if cell.requested["graph"] == "to_static"]
    assert static == ["pp_liteseg_stdc1", "pp_humanseg_lite"], "those whose programs are built fastest"
    left_out = [cell for cell in smoke.cells if not cell.planned]
    assert {cell.status for cell in left_out} == {"unverified"}
    assert Counter(cell.stage for cell in left_out) == {"train": 16, "infer": 8 * len(ways.GPU)}
    assert all("GPU" in cell.reason for cell in left_out)


STATIC = {"precision": "fp32", "graph": "to_static"}


def test_static_graphs_stand_beside_their_dynamic_twins(table):
    """For the models of the entry, or for all; evaluated, and not exported unless that is asked for."""
    asked = {"precisions": [{"precision": "fp32"}, {**STATIC, "models": [EIGHT[2]]}], "topologies": ["single"]}
    one = table(CPU, mode="smoke", train=asked)
    assert [cell.model for cell in one.planned("train") if cell.name == "single_fp32_static"] == [EIGHT[2]]
    every = table(CPU, mode="smoke", train={**asked, "precisions": [{"precision": "fp32"}, STATIC]})
    assert count(every) == {
        "train": 16,
        "eval": 16,
        "export": 8,
        "quantise": 8,
        "infer": 8 * len(ways.CPU) + 2 + ways.SIZED,
    }
    static, plain = (every.find("train", EIGHT[0], f"single_fp32{end}") for end in ("_static", ""))
    assert {**static.requested, "graph": "dynamic"} == plain.requested
    assert "--graph to_static" in " ".join(static.options)
    exported = table(CPU, mode="smoke", train=asked, infer={"from_graphs": ["dynamic", "to_static"]})
    assert {cell.train_name for cell in exported.planned("export")} == {"single_fp32", "single_fp32_static"}


def test_static_graphs_are_trained_in_fp32_on_one_device(table):
    low = {"precision": "amp", "level": "O1", "dtype": "float16", "graph": "to_static"}
    made = table(GPU, train={"precisions": [{"precision": "fp32"}, STATIC, low]}, infer={"from_precision": "fp32"})
    found = {cell.name: cell for cell in made.cells if cell.stage == "train" and cell.model == EIGHT[0]}
    assert found["single_fp32_static"].planned and found["single_fp32_static"].gpus == 1
    left_out = {name: cell.reason for name, cell in found.items() if not cell.planned}
    assert left_out == {
        "multi_fp32_static": f"T1: {offers.OF_GRAPHS['T1']}",
        "multi_amp_O1_float16_static": f"T1: {offers.OF_GRAPHS['T1']}",
        "single_amp_O1_float16_static": f"T2: {offers.OF_GRAPHS['T2']}",
    }
    assert {found[name].status for name in left_out} == {"skipped"}


def test_the_table_of_a_run_of_before_knows_no_graphs(table):
    """Its run_config.yaml holds neither keys nor gates of them."""
    old = table(CPU, mode="smoke", train={"precisions": [{"precision": "fp32"}]})
    before = dict(old.settings)
    before["infer"] = {key: value for key, value in before["infer"].items() if key != "from_graphs"}
    before["gates"] = {key: value for key, value in before["gates"].items() if key != "to_static"}
    assert cells.CellTable(before, CPU).cells == old.cells


def test_one_gpu_leaves_multi_unverified(table):
    one = table(Hardware(1, "auto", bf16=True))
    multi = [cell for cell in one.cells if cell.stage == "train" and cell.topology == "multi"]
    assert multi and all(cell.status == "unverified" and "needs 2 GPUs" in cell.reason for cell in multi)


def test_a_gpu_that_paddle_cannot_use_still_serves_onnxruntime(table):
    mixed = table(Hardware(1, "auto", bf16=True, lacks={"paddle": "Paddle 3.2.2 is a build for the CPU"}))
    trained = [cell for cell in mixed.cells if cell.stage == "train"]
    assert {cell.status for cell in trained if cell.requested["precision"] == "amp"} == {"unverified"}
    assert {cell.requested["device"] for cell in trained if cell.planned} == {"cpu"}
    on_gpu = [cell for cell in mixed.cells if cell.stage == "infer" and cell.requested["device"] == "gpu"]
    assert {cell.requested["engine"] for cell in on_gpu if cell.planned} == {"onnxruntime"}
    assert all("build for the CPU" in cell.reason for cell in on_gpu if not cell.planned)


@pytest.mark.parametrize(
    ("build", "words"),
    [
        ({}, "no Paddle"),
        ({"full_version": "3.2.2", "cuda_version": "False"}, "build for the CPU"),
        (
            {"full_version": "2.6.2", "cuda_version": "11.8", "compiled_cuda_archs": [61, 70, 75, 80, 86]},
            "no machine code for H100 (compute capability 9.0), only for 6.1, 7.0, 7.5, 8.0, 8.6",
        ),
        ({"full_version": "3.2.2", "cuda_version": "12.6", "compiled_cuda_archs": [80, 90]}, None),
        ({"full_version": "3.2.2", "cuda_version": "12.6", "compiled_cuda_archs": []}, None),
    ],
)
def test_a_build_of_paddle_is_held_against_the_card_before_anything_runs(build, words):
    why = machine.why_paddle_has_no_gpu(build, ({"name": "H100", "compute_cap": "9.0"},))
    assert why is None if words is None else words in why


def test_an_onnxruntime_without_cuda_is_known_by_its_files(tmp_path):
    assert "no onnxruntime" in machine.why_onnxruntime_has_no_gpu(None)
    (tmp_path / "capi").mkdir()
    assert "onnxruntime-gpu" in machine.why_onnxruntime_has_no_gpu(tmp_path)
    (tmp_path / "capi/libonnxruntime_providers_cuda.so").touch()
    assert machine.why_onnxruntime_has_no_gpu(tmp_path) is None


def test_threads_need_so_many_cores(table):
    """With every engine alike: more of them would share a core, and the time would be of something else."""
    overrides = {"mode": "smoke", "infer": {"cpu_threads": [1, 2]}}
    few = [c for c in table(Hardware(0, "auto", bf16=True, cores=1), **overrides).cells if c.stage == "infer"]
    on_cpu = [cell for cell in few if cell.requested["device"] == "cpu"]
    assert {cell.requested["threads"] for cell in on_cpu if cell.planned} == {1}
    told = {cell.requested["engine"]: cell.reason for cell in on_cpu if cell.requested["threads"] == 2}
    assert told == {engine: "needs 2 CPU cores; a job may use 1 here" for engine, _ in ways.CPU}
    unknown = table(Hardware(0, "auto", bf16=True), **overrides).planned("infer")
    assert {cell.requested["threads"] for cell in unknown} == {1, 2}


def test_bf16_needs_a_cpu_that_has_it(table):
    old = table(Hardware(0, "auto", bf16=False), mode="smoke")
    bf16 = [cell for cell in old.cells if cell.requested.get("precision") == "bf16"]
    assert bf16 and all(cell.status == "unverified" and "bfloat16" in cell.reason for cell in bf16)


def test_whole_infer_needs_no_training(table):
    whole = table(CPU, mode="whole_infer")
    assert {cell.train_name for cell in whole.cells} == {"released"}
    assert {cell.model for cell in whole.planned("train")} == set(EIGHT)
    models = {model: {"released_weights": None} for model in ("fcn_hrnet_w18", "ocrnet_hrnetw48")}
    whole = table(CPU, mode="whole_infer", model_zoo=models)
    without = [cell for cell in whole.cells if not cell.planned and cell.stage == "train"]
    assert {cell.model for cell in without} == {"fcn_hrnet_w18", "ocrnet_hrnetw48"}
    assert {cell.reason for cell in without} == {"no released weights"}


MINE = {"modes": {"mine": {"train": {"checkpoints": "released"}}}, "mode": "mine"}
RELEASED = {"settings": {"train": {"checkpoints": "released"}}}


def test_a_mode_of_any_name_takes_released_weights(table):
    """Each cell is that of whole_infer, but for the mode's name."""
    quiet = {"infer": {"images": None, "min_samples": 100}}
    mine, whole = (table(GPU, **quiet, **mode) for mode in (MINE, {"mode": "whole_infer"}))
    assert {cell.train_name for cell in mine.cells} == {"released"} and mine.planned("train", "eval", "export", "infer")
    changed = [dataclasses.replace(cell, mode="whole_infer") for cell in mine.cells]
    assert changed == list(whole.cells)


def test_a_mode_called_whole_infer_trains_where_it_is_told_to(table):
    trained = table(CPU, mode="whole_infer", models=["pp_humanseg_lite"], train={"checkpoints": "trained"})
    assert {cell.topology for cell in trained.planned("train", "eval", "export")} == {"single", "multi"}


def test_one_models_released_weights_stand_beside_others_that_are_trained(table):
    both = table(CPU, mode="smoke", models=EIGHT[2:4], model_zoo={EIGHT[2]: RELEASED})
    found = {(cell.model, cell.train_name) for cell in both.planned("train")}
    assert found == {(EIGHT[2], "released"), (EIGHT[3], "single_fp32"), (EIGHT[3], "multi_fp32")}
    assert {cell.train_name for cell in both.planned("infer") if cell.model == EIGHT[2]} == {"released"}
    assert conclusions.scope_of(both)["iterations"] == [30, 30]  # those of the model that is trained
    mode = {"mode": "whole_infer", "model_zoo": {EIGHT[3]: {"settings": {"train": {"checkpoints": "trained"}}}}}
    turned = table(CPU, models=EIGHT[2:4], **mode)
    assert {cell.train_name for cell in turned.planned("export")} == {"released", "single_fp32", "multi_fp32"}
    assert {cell.train_name for cell in turned.cells if cell.model == EIGHT[2]} == {"released"}


def test_the_name_whole_infer_stands_where_tipc_reads_it_alone(root):
    """Whatever else a mode does is in its keys."""
    files = [*root.glob("scripts/**/*.py"), *root.glob("rules/*.smk"), root / "Snakefile"]
    quoted = re.compile(r"[\"']whole_infer\b")
    assert [file.name for file in files if quoted.search(file.read_text(encoding="utf-8"))] == ["params.py"]


def test_unsupported_precision_is_skipped_in_words(table):
    odd = table(CPU, infer={"cpu": [{"engine": "native", "precision": "int8"}]})
    skipped = [cell for cell in odd.cells if cell.status == "skipped"]
    assert skipped and "int8" in skipped[0].reason


def test_tipc_file_names():
    assert (
        cells.infer_name("cpu", "onednn", "fp32", 1, 1)
        == "python_infer_cpu_usemkldnn_True_threads_1_precision_fp32_batchsize_1"
    )
    assert cells.infer_name("gpu", "native", "fp32", 1, 1) == "python_infer_gpu_usetrt_False_precision_fp32_batchsize_1"
    assert (
        cells.infer_name("cpu", "openvino", "fp32", 2, 1)
        == "python_infer_cpu_openvino_threads_2_precision_fp32_batchsize_1"
    )


def test_a_cell_follows_from_the_software_that_computes_it(table):
    paddle = {"paddle", "paddle_commit", "cuda", "cudnn", "paddleseg", "numpy", "opencv"}
    runs_on = {
        "train": paddle,
        "eval": paddle,
        "export": paddle | {"paddle2onnx"},
        "native": paddle,
        "onednn": paddle,
        "tensorrt": paddle,
        "onnxruntime": {"onnxruntime", "numpy", "opencv"},
        "openvino": {"openvino", "numpy", "opencv"},
    }
    card = {"gpu", "driver"}
    all_of_it = Hardware(8, "gpu", software=dict.fromkeys(set().union(card, *runs_on.values()), "1"))
    seen = set()
    for cell in table(all_of_it).planned("train", "eval", "export", "infer"):
        what = cell.requested.get("engine", cell.stage)
        if what in runs_on:
            assert set(cell.software) == runs_on[what] | (card if cell.requested["device"] == "gpu" else set()), what
            seen.add(what)
    assert seen == runs_on.keys()


@pytest.mark.parametrize("paddle", ["2.6.2", "3.2.2", "3.3.1", None])
def test_known_failures_reach_the_cells_they_match_on_the_paddle_that_has_them(table, paddle):
    planned = table(dataclasses.replace(CPU, software={"paddle": paddle} if paddle else {}), mode="smoke")
    marked = {
        (one["id"], cell.model, cell.requested["engine"], cell.requested["precision"])
        for cell in planned.cells
        for one in cell.known_failures
    }
    bf16 = {("onednn-bf16-ocrnet", model, "onednn", "bf16") for model in ("ocrnet_hrnetw18", "ocrnet_hrnetw48")}
    of_3_3 = {
        ("onednn-paddle-3.3", model, "onednn", precision)
        for model in planned.settings["models"]
        for precision in ("fp32", "bf16")
    }
    assert marked == {"2.6.2": set(), "3.2.2": bf16, "3.3.1": bf16 | of_3_3, None: bf16 | of_3_3}[paddle]


def test_what_is_known_of_gates_is_told_to_the_stage(table):
    entry = {"id": "K1", "match": {"stage": "infer"}, "reason": "so it is", "link": "https://e.org"}
    by_gates = {**entry, "gates": {"pixel_agreement": 0.9, "logits_l2": 0.5}}
    both = {**by_gates, "id": "K2", "error": "no", "paddle": ">=3"}
    asked = {"models": ["pp_humanseg_lite"], "known_failures": [by_gates, both, {**entry, "id": "K3", "error": "x"}]}
    planned = [cell.options for cell in table(CPU, mode="smoke", **asked).planned("infer")]
    (words,) = {tuple(words[(first := words.index("--known-gates")) : first + 20]) for words in planned}
    gates = "logits_l2=0.5,pixel_agreement=0.9"
    assert words == (
        "--known-gates", "K1", gates, ".", "so it is", "https://e.org", "any",
        "--known-gates", "K2", gates, "no", "so it is", "https://e.org", ">=3",
        "--known-failure", "K3", "x", "so it is", "https://e.org", "any",
    )  # fmt: skip


def test_exports_are_asked_for_sizes_of_batches_where_they_are_not_that_of_one_image(table):
    def options(**settings):
        cells = table(CPU, mode="smoke", models=["pp_humanseg_mobile"], **settings).cells
        return {tuple(cell.options) for cell in cells if cell.stage == "export"}

    assert options(infer={"batch_sizes": [1, 4]}) == options()  # so that no export is made anew
    for words in options(export={"batch_sizes": [2, 4]}):
        assert words[-3:] == ("--batch-sizes", "2", "4")


def test_doubled_cells_are_refused(table):
    doubled = table(CPU)
    doubled.settings["infer"]["batch_sizes"] = [1, 1]
    with pytest.raises(ValueError, match="share the record"):
        doubled.cells  # noqa: B018
