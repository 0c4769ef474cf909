"""The chain against PaddleSeg's own script: one model with four inference cells, and all eight models."""

from __future__ import annotations

import functools
import json
import statistics
from pathlib import Path

from harness import ROOT, Bench, BenchError, in_turns, row, say, timed
from original import CONFIG, Original, theirs_config
from ours import Workflow, dataset

NATIVE = {"engine": "native", "precision": "fp32"}
ONEDNN = {"engine": "onednn", "precision": "fp32"}
SMOKE_SIZES = CONFIG["modes"]["smoke"]["input_size"]
STAGES = {
    "topologies": ["single"],
    "precisions": [{"precision": "fp32"}],
    "pretrained_backbone": False,
    "snapshot_iters": 0,
}


def layout_of(model: str) -> str:
    return "mini_supervisely" if model.startswith("pp_humanseg") else "cityscapes"


def chain_workflow(bench: Bench, name: str = "chain") -> Workflow:
    """The chain's configuration here: the original's iterations, images and four cells."""
    few = bench.quick
    config = {
        "mode": "lite_train_lite_infer",
        "models": ["pp_humanseg_lite"],
        "train": {**STAGES, "iters": 2 if few else 10, "batch_size": 2},
        "evaluate": {"images": 1},  # the original's chain evaluates nothing; the reference maps are made all the same
        "infer": {
            "from_topologies": ["single"],
            "cpu": [NATIVE, ONEDNN],
            "gpu": [],
            "cpu_threads": [1, 2],
            "images": 2 if few else 10,
            "warmup": 5,
            "max_warmup": 5,
            "min_samples": 2 if few else 10,
            "min_seconds": 0,
            "exclusive": False,
        },
    }
    return Workflow(bench, name, config)


def image_list(bench: Bench, layout: str, count: int) -> Path:
    """A list of the first images for inference, as the original takes it: absolute paths."""
    _, folder = dataset(bench, layout)
    if layout == "mini_supervisely":
        lines = (folder / "test.txt").read_text(encoding="utf-8").splitlines()
        images = [folder / line.split()[0] for line in lines]
    else:
        images = sorted((folder / "leftImg8bit/val").rglob("*.png"))
    target = bench.work / f"data/{layout}_{count}.txt"
    target.write_text("\n".join(str(image) for image in images[:count]) + "\n", encoding="utf-8")
    return target


def chain(bench: Bench) -> list[dict]:
    """Train, export and four inference cells of pp_humanseg_lite: the original's script against snakemake."""
    ours = chain_workflow(bench)
    ours.prepare()
    original = Original(bench, bench.work / "original")
    _, folder = dataset(bench, "mini_supervisely")
    count, iters = (2, "2") if bench.quick else (10, "10")
    config = theirs_config(bench, "pp_humanseg_lite", folder, None, bench.work / "configs/chain.yml")
    images = str(image_list(bench, "mini_supervisely", count))
    values = {"iters": iters, "batch_size": "2", "images": images, "threads": "1|2", "workers": "8"}
    params = original.write_params("pp_humanseg_lite", values, config)
    if not bench.quick:
        say("chain: warming both")
        ours.from_nothing()
        original.run(params, "pp_humanseg_lite")
    say(f"chain: {bench.repeats} x both in turns, about a minute each")
    samples = in_turns(bench.repeats, ours=ours.from_nothing, theirs=lambda: original.run(params, "pp_humanseg_lite"))
    note = (
        "pp_humanseg_lite, 2 cores: train 10 iterations, export, 4 CPU cells of 10 images; ours with evaluation, gates "
        f"and conclusions besides. {'With' if bench.autolog else 'Without'} AutoLog. {_stages(ours)} {_starts(bench)}"
    )
    return [
        row(
            "chain/pp_humanseg_lite", samples["ours"], samples["theirs"], "s", "PaddleSeg's script", target=2, note=note
        )
    ]


def _stages(workflow: Workflow) -> str:
    """Where the last run's time went: wall and processor seconds of each stage."""
    spent: dict[str, list[float]] = {}
    for file in workflow.results.rglob("*.json"):
        content = json.loads(file.read_text(encoding="utf-8"))
        if "wall_s" in content and "stage" in content:
            wall, cpu = spent.setdefault(content["stage"], [0.0, 0.0])
            spent[content["stage"]] = [wall + content["wall_s"], cpu + content["cpu_s"]]
    listed = [f"{stage} {wall:.1f} s ({cpu:.1f} s of a core)" for stage, (wall, cpu) in sorted(spent.items())]
    return f"Sums over jobs of the last run of ours: {', '.join(listed)}."


def _starts(bench: Bench) -> str:
    """What each job of a stage pays before it does anything: a process of its own with Paddle in it."""
    imports = {"paddle": "import paddle", "paddleseg": "import paddle, paddleseg"}

    def start(name: str) -> float:
        code = f"from segcert.stage import deferred; deferred.defer(); {imports[name]}"
        env = {"PYTHONPATH": str(ROOT / "scripts")}
        return timed([bench.python, "-c", code], bench.work / f"logs/import_{name}.log", ROOT, env)

    contenders = {name: functools.partial(start, name) for name in imports}
    walls = {name: statistics.median(spans) for name, spans in in_turns(max(bench.repeats, 3), **contenders).items()}
    return (
        f"A process that imports Paddle takes {walls['paddle']:.2f} s, with PaddleSeg {walls['paddleseg']:.2f} s; "
        "of the seven jobs train, evaluate and export need PaddleSeg, the four cells do not."
    )


def smoke(bench: Bench) -> list[dict]:
    """The models of mode smoke: snakemake on two cores against the original's script, one model after the other."""
    count, iters = (2, 1) if bench.quick else (4, 5)
    config = {
        "mode": "smoke",
        "models": list(bench.models),
        "train": {**STAGES, "iters": iters, "workers": 1},
        "evaluate": {"images": count},
        "infer": {
            "cpu": [NATIVE, ONEDNN],
            "gpu": [],
            "images": count,
            "min_samples": count,
            "warmup": 5,
            "max_warmup": 5,
        },
    }
    ours = Workflow(bench, "smoke", config)
    ours.prepare()
    original = Original(bench, bench.work / "original")
    params = {model: _smoke_params(bench, original, model, count, iters) for model in bench.models}
    ran: dict[str, list[float]] = {}
    failed: dict[str, str] = {}

    def serial() -> float:
        total = 0.0
        for model, file in params.items():
            if model in failed:
                continue
            say(f"smoke: the original on {model}")
            try:
                wall = original.run(file, model)
            except BenchError as error:
                failed[model] = str(error)
                say(f"smoke: {error}")
                continue
            ran.setdefault(model, []).append(wall)
            total += wall
        return total

    say("smoke: the original first, to see what it can run")
    theirs = [serial()]
    if failed:
        config["models"] = [model for model in bench.models if model not in failed]
        ours = Workflow(bench, "smoke", config)
    say("smoke: snakemake, two cores")
    own = [ours.from_nothing()]
    for _ in range(bench.repeats // 5):  # it takes minutes: once, and again where many repeats are asked for
        own.append(ours.from_nothing())
        theirs.append(serial())
    note = (
        f"{len(ran)} models, each: train 5 iterations, evaluate, export, native and oneDNN cells; 2 cores. "
        "The original's script is serial. Left out on both sides, because the original has no command for them: "
        "training on two ranks on a CPU, bfloat16, ONNX Runtime, OpenVINO. "
    )
    note += f"The original cannot run {', '.join(failed)}. " if failed else ""
    each = {model: round(sum(walls) / len(walls), 1) for model, walls in ran.items()}
    return [
        row(
            "chain/smoke matrix",
            own,
            theirs,
            "s",
            "PaddleSeg's script, serially",
            target=2,
            note=note + _stages(ours),
            theirs_by_model=each,
        )
    ]


def _smoke_params(bench: Bench, original: Original, model: str, count: int, iters: int) -> Path:
    layout = layout_of(model)
    _, folder = dataset(bench, layout)
    width, height = SMOKE_SIZES.get(model, SMOKE_SIZES["default"])
    config = theirs_config(bench, model, folder, (width, height), bench.work / f"configs/smoke_{model}.yml")
    values = {
        "iters": str(iters),
        "batch_size": "2",
        "images": str(image_list(bench, layout, count)),
        "threads": "1",
        "workers": "1",
        "eval": f"tools/val.py --config {config}",
        "export": f"--input_shape 1 3 {height} {width}",
    }
    return original.write_params(model, values, config)


def rerun(bench: Bench) -> list[dict]:
    """What a run costs that has nothing to do, and one with a single stale inference cell."""
    ours = chain_workflow(bench)
    if not (ours.results / "conclusions.json").is_file():
        ours.prepare()
        ours.from_nothing()
    ours.run(log="settle.log")
    cell = next(ours.results.rglob("python_infer_cpu_usemkldnn_True_threads_1_*_1.json"))

    def stale() -> float:
        cell.unlink()
        return ours.run(log="stale.log")

    samples = in_turns(max(bench.repeats, 3), nothing=lambda: ours.run(log="nothing.log"), stale=stale)
    return [
        row("rerun/nothing to do", samples["nothing"], [5.0], "s", "limit of 5 s", target=1),
        row("rerun/one stale inference cell", samples["stale"], [10.0], "s", "limit of 10 s", target=1),
    ]
