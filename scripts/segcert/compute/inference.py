"""An inference cell: build the engine, see what it is, predict, compare, and time."""

from __future__ import annotations

import itertools
import json
import os
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from segcert import engines, gpus, machine, output_ops, proof, sizes, transforms
from segcert.compute import int8, logits, metrics, outputs, parity, soak, stats, streams
from segcert.compute.engines import library
from segcert.compute.engines.base import Engine
from segcert.compute.preprocess import Preprocess, deploy_config, input_size
from segcert.data import layouts
from segcert.data.images import read_label, write_label
from segcert.errors import StageError, Unverified
from segcert.numbers import finite
from segcert.requests.infer import Infer
from segcert.requests.request import DYNAMIC
from segcert.stage.load import OtherLoad
from segcert.stage.reasons import short
from segcert.stage.worker import Result
from segcert.tipc import benchlog

PHASES = ("preprocess", "inference", "postprocess")
WORST_IMAGES = 3


class Files(NamedTuple):
    """What an inference cell reads and makes.

    Attributes:
        export: folder of the exported model.
        dataset: folder of the data set, with its manifest.
        reference: folder of the checkpoint's own label maps in fp32, and of its logits of some images.
        log: the benchmark log to write.
        predictions: the folder of label maps (PNG) to make.
        quantised: folder of the same model in int8, for that precision.
    """

    export: str
    dataset: str
    reference: str
    log: Path
    predictions: Path
    quantised: str | None = None


def judge(request: Infer, compared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The gates: what an inference cell must keep of its checkpoint in fp32."""
    agreement, drop = compared["pixel_agreement"], compared["miou_drop"]
    weak = _weakness(request, compared)
    worst = ", ".join(f"{item['image']} {item['agreement']:.5f}" for item in compared["worst_images"])
    gates = [
        proof.gate(
            "pixel_agreement",
            agreement,
            "at least",
            request.min_agreement,
            f"label maps agree with the checkpoint's on {agreement:.5f} of pixels, "
            f"at least {request.min_agreement} is asked; images that agree least: {worst}"
            + (f"; {weak}" if weak else ""),
        )
        | {"weak": weak is not None}
    ]
    if drop is not None:
        gates.append(
            proof.gate(
                "miou_drop",
                drop,
                "at most",
                request.max_miou_drop,
                f"mIoU {compared['miou']:.5f} on these images is {abs(drop):.5f} "
                f"{'below' if drop >= 0 else 'above'} the checkpoint's {compared['miou_reference']:.5f}; "
                f"a drop of at most {request.max_miou_drop} is allowed; images that agree least: {worst}",
            )
        )
    return gates


def _weakness(request: Infer, compared: Mapping[str, Any]) -> str | None:
    """Why agreement says little, where an engine that gave one class everywhere would pass as well."""
    if compared["classes_reference"] == 1:
        return "the reference holds one class only, so this says little"
    if compared["constant_agreement"] >= request.min_agreement:
        return f"one class covers {compared['constant_agreement']:.5f} of the reference, so this says little"
    return None


def infer(
    request: Infer,
    files: Files,
    model: str,
    exported: Mapping[str, Any] | None = None,
    quantised: Mapping[str, Any] | None = None,
) -> Result:
    """Run an exported model over the inference list and time it.

    Args:
        model: its name, for the benchmark log.
        exported: the record of the export, where there is one.
        quantised: the same of its quantisation.
    """
    if request.device == "cpu" and request.cores > machine.cores():
        raise Unverified(f"needs {request.cores} CPU cores; this process may use {machine.cores()}")
    export = program_folder(request, Path(files.export))
    deploy = deploy_config(export)
    _require_exported(request, export, deploy, exported)
    dataset = Path(files.dataset)
    manifest = layouts.manifest(dataset)
    pairs = layouts.inference_list(manifest)[: request.images]
    if not pairs:
        raise StageError(f"{dataset}: the inference list is empty")
    preprocess = preprocessing(request, deploy)
    begun = time.perf_counter()
    runner = _load(
        request, _run_from(request, files, export), deploy["model"], exported["env"].get("paddle") if exported else None
    )
    build_s = time.perf_counter() - begun
    if request.shapes:
        _require_free(runner, export, exported)
    batches = _batches(pairs, request.batch_size)
    first = preprocess.batch(dataset / image for image, _ in batches[0])
    begun = time.perf_counter()
    given = runner.run(first)
    first_run_s = time.perf_counter() - begun
    effective, evidence = runner.observe(first)
    effective |= {"batch_size": len(first), **_shapes(request, runner, first)}
    # Without a record of what the model holds in int8, all of it is to be.
    held = quantised["metrics"]["int8_share"] if quantised else 1
    effective |= _precision(request, evidence, held)
    reference = of_size(Path(files.reference), request.size)
    told = json.loads((reference / metrics.REFERENCE_SUMMARY).read_text(encoding="utf-8"))
    if why := told.get("failed"):
        raise StageError(f"the checkpoint itself computes nothing at {sizes.written(request.size or ())}: {why}")
    named = logits.stored(reference, told)  # before the work: without them it comes to nothing
    ended = _ended(request, runner, given, told["classes"])
    first_class = layouts.first_class(manifest)
    compared = _predict(
        runner, preprocess, dataset, first_class, batches, len(pairs), reference, told, files.predictions
    )
    writer = _auto_log(request, runner, model) if request.logger == "auto_log" else None
    warmed = _warm_up(request, runner, first)
    load = OtherLoad()
    samples = _time(request, runner, preprocess, dataset, batches, writer)
    load_seen = load.seen()
    summary = {phase: stats.summarize(values) for phase, values in samples.items()}
    several = Result({})
    if request.streams:
        prepared = _prepared(preprocess, dataset, batches)
        several = streams.measure(request, runner, prepared, summary["inference"]["p50"])
    long = Result({})
    if request.soak:
        fed = [batch for _, batch in _prepared(preprocess, dataset, batches[: soak.BATCHES])]
        if request.size:  # in turn with the size of the export: caches grow where sizes change
            others = _prepared(Preprocess(deploy["transforms"]), dataset, batches[: soak.BATCHES])
            fed = [batch for (_, other), own in zip(others, fed, strict=True) for batch in (own, other)]
        long = soak.measure(runner.run, fed, request.soak, request.max_growth_mb or 0)
    effective |= ended.effective | several.effective | long.effective
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    total_s = sum(map(sum, samples.values())) / 1000
    text = _own_log(request, runner, summary, model, total_s, rss_mb) if writer is None else writer.report()
    files.log.write_text(text, encoding="utf-8")
    gpu_memory_mb = gpus.memory_mb(os.getpid()) if request.device == "gpu" else None
    if runner.output_op == request.output_op == output_ops.SOFTMAX:
        ended = _probabilities(request, runner, preprocess, dataset, batches, named, reference, ended)
    parities = _parity(runner, preprocess, dataset, batches, named, reference, files.predictions)
    parities["logits"]["effective"] |= _precision(request, parities["logits"]["evidence"], held)
    measured = {
        **{f"{phase}_ms": values for phase, values in summary.items()},
        "build_s": finite(build_s),
        "first_run_s": finite(first_run_s),
        "images": len(pairs),
        "worker_rss_mb": finite(rss_mb),
        "throughput_ips": finite(1000 * request.batch_size / summary["inference"]["p50"]),
        **compared,
        **parities,
        **ended.metrics,
        **warmed,
        **several.metrics,
        **long.metrics,
        "load": {**load_seen, "jobs_beside": request.jobs_beside},
        "gpu_memory_mb": gpu_memory_mb,
        "evidence": evidence,
        "input_shape": list(first.shape),
    }
    rounded = {f"{phase}": [round(value, 4) for value in values] for phase, values in samples.items()}
    rounding = told[logits.SUMMARY].get(logits.ROUNDING) if request.roundings else None
    parities["logits"] |= {"rounding": rounding} if rounding else {}
    of_logits = parity.judge(request.max_logits_l2, request.max_logits_peak, parities, rounding, request.roundings)
    gates = [*judge(request, compared), *of_logits]
    return Result(
        effective,
        measured,
        gates + ended.gates + several.gates + long.gates,
        {"samples_ms": rounded, **several.extra, **long.extra},
    )


def program_folder(request: Infer, export: Path) -> Path:
    """The folder of the program that is run, in that of an export."""
    if request.shapes and (free := library.dynamic(export)).is_dir():
        return free
    own = library.of_batch(export, request.batch_size)
    return own if own.is_dir() else export


def preprocessing(request: Infer, deploy: Mapping[str, Any]) -> Preprocess:
    """From an image file to the input, in the size that is asked for."""
    items, taken = deploy["transforms"], input_size(deploy)
    if request.size is None:
        return Preprocess(items, taken)
    return Preprocess(transforms.laid_out(items, transforms.EXPORT, request.size), taken or request.size)


def of_size(reference: Path, size: Sequence[int] | None) -> Path:
    """The folder of what the checkpoint gives in a size, in that of a reference; None: in the size of the export."""
    return reference if size is None else reference / sizes.written(size)


def _require_free(runner: Engine, export: Path, exported: Mapping[str, Any] | None) -> None:
    """Raise StageError, with the export's own reason, where height and width of what is loaded are not free."""
    shape = runner.input_shape()
    if shape[2:] != [None, None]:
        why = f": {exported['reason']}" if exported and exported["reason"] else ""
        told = " x ".join("any" if side is None else str(side) for side in shape)
        raise StageError(
            f"{export / runner.program}: its input is fixed ({told}), and height and width are to be free; ask for "
            f"`export.shapes: both` in the configuration{why}"
        )


def _shapes(request: Infer, runner: Engine, fed: NDArray[np.float32]) -> dict[str, Any]:
    """What was observed of shapes, as far as they are asked for: of the loaded model, and of what it was fed."""
    found: dict[str, Any] = {}
    if request.shapes:
        found["shapes"] = DYNAMIC if runner.input_shape()[2:] == [None, None] else "fixed"
    if request.size:
        found["size"] = [fed.shape[3], fed.shape[2]]
    return found


def _require_exported(
    request: Infer, export: Path, deploy: Mapping[str, Any], exported: Mapping[str, Any] | None
) -> None:
    """Raise StageError, with the export's own reason, for what was not exported."""
    why = f": {exported['reason']}" if exported and exported["reason"] else ""
    if engines.by_name(request.engine).needs_onnx and not (export / library.ONNX).is_file():
        raise StageError(f"{export}: has no {library.ONNX}, which {request.engine} reads{why}")
    (only, *_) = deploy.get("input_shape") or [-1]
    if only > 0 and request.batch_size != only:
        told = f"{export}: is for batches of {only}, and {request.batch_size} is asked{why}"
        raise StageError(f"{told}; ask for it in `export.batch_sizes` of the configuration")


def _ended(request: Infer, runner: Engine, given: NDArray[Any], classes: int) -> Result:
    """What the program is seen to end in, where it is to end in something else than argmax: parts of a cell's result.

    Raises:
        StageError: it gives no label maps, and nothing else is asked for.
    """
    if request.output_op is None and given.ndim != 4:
        return Result({})
    output = outputs.seen(given, classes)
    runner.output_op = output_ops.ended_in(output)
    if request.output_op is None:
        raise StageError(f"the program ends in {runner.output_op}, and argmax is asked for; see --output-op")
    return Result({"output_op": runner.output_op}, {"output": output})


def _precision(request: Infer, evidence: Mapping[str, Any], held: float) -> dict[str, str]:
    """What of a quantised model was computed in int8, in place of what most of it was; nothing of others."""
    return {"precision": int8.observed(evidence["precisions"], held)} if request.precision == engines.INT8 else {}


def _run_from(request: Infer, files: Files, export: Path) -> Path:
    """The folder of the model that is run: the export, or the one in int8 that was made of it."""
    if request.precision != engines.INT8:
        return export
    if files.quantised is None:
        raise StageError(
            f"{export}: is not quantised, and int8 is asked: --quantised names what scripts/quantise.py made"
        )
    return Path(files.quantised) / export.relative_to(files.export)


def _load(request: Infer, export: Path, program: str, exported_by: str | None) -> Engine:
    """The engine; StageError says so where it does not load the model that another Paddle has exported."""
    try:
        return library.create(
            request.engine,
            export,
            program,
            request.device,
            request.precision,
            request.threads,
            request.streams or 1,
        )
    except (StageError, Unverified):
        raise
    except Exception as error:
        version = machine.paddle_build().get("full_version")
        told = ""
        if exported_by not in (None, version):
            told = f"; it was exported by Paddle {exported_by}, this is {version}: export it again with this one"
        raise StageError(f"{export}: {request.engine} cannot load the model: {short(error)}{told}") from error


def _batches(pairs: layouts.Pairs, size: int) -> list[layouts.Pairs]:
    """Batches of equal size; a short list is gone through again to fill the last one."""
    count = -(-len(pairs) // size)
    filled = list(itertools.islice(itertools.cycle(pairs), count * size))
    return [filled[index * size : (index + 1) * size] for index in range(count)]


def _prepared(
    preprocess: Preprocess, dataset: Path, batches: list[layouts.Pairs]
) -> Iterator[tuple[list[str], NDArray[np.float32]]]:
    """Batches as they are fed, with the names of their images' label maps."""
    for batch in batches:
        names = [layouts.label_map(str(image)) for image, _ in batch]
        yield names, preprocess.batch(dataset / image for image, _ in batch)


def _predict(
    runner: Engine,
    preprocess: Preprocess,
    dataset: Path,
    first_class: int,
    batches: list[layouts.Pairs],
    listed: int,
    reference: Path,
    told: Mapping[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """Write every label map and compare it with the reference's and with the truth.

    Args:
        first_class: the number in the data set's labels that is class 0.

    An image counts as often as it is listed, for the cell and for the checkpoint alike; what fills the last batch,
    after the first `listed` images, does not count.

    mIoU is that of the label maps brought to the images' own size by nearest neighbour, the cell's and
    the checkpoint's alike; None where the list has no labels, or none with a pixel that counts.
    """
    folder.mkdir()
    own = metrics.Confusion(told["classes"], told["ignored"])
    theirs = own.empty()
    agreements: list[tuple[str, float]] = []
    classes_seen: set[int] = set()
    shares = np.zeros(256)  # of each class in the reference's label maps, summed over these
    for batch in batches:
        labels = outputs.label_maps(runner.run(preprocess.batch(dataset / image for image, _ in batch)))
        if len(labels) != len(batch):
            raise StageError(f"the engine gave {len(labels)} label maps for {len(batch)} images")
        counting = listed - len(agreements)
        for (image, truth), label, done in list(zip(batch, labels, preprocess.done, strict=True))[:counting]:
            name = layouts.label_map(str(image))
            expected = read_label(reference / name)
            agreements.append((name, metrics.agreement(label, expected)))
            shares += np.bincount(expected.ravel(), minlength=len(shares)) / expected.size
            classes_seen |= set(np.unique(label).tolist())
            write_label(folder / name, label)
            if truth:
                true = read_label(dataset / truth, first_class)
                own.add_undone(label, done, true, truth)
                theirs.add_undone(expected, done, true, truth)
    miou, reference_miou = own.miou(), theirs.miou()
    drop = None if miou is None or reference_miou is None else finite(reference_miou - miou)
    lowest = dict(sorted(agreements, key=lambda item: -item[1]))  # of an image that is listed twice, the lower
    worst = sorted(lowest, key=lowest.__getitem__)[:WORST_IMAGES]
    return {
        "pixel_agreement": float(np.mean([value for _, value in agreements])),
        "worst_images": [{"image": name, "agreement": lowest[name]} for name in worst],
        "miou": miou,
        "miou_reference": reference_miou,
        "miou_drop": drop,
        "classes_predicted": len(classes_seen),
        "classes_reference": int(np.count_nonzero(shares)),
        "constant_agreement": float(shares.max() / len(agreements)),
    }


def _parity(
    runner: Engine,
    preprocess: Preprocess,
    dataset: Path,
    batches: list[layouts.Pairs],
    named: list[str],
    reference: Path,
    predictions: Path,
) -> dict[str, Any]:
    """The engine's logits of those images that the reference has some of, held against these and against the label
    maps that it gave; and once more what is seen to compute, now of what gives logits.

    Args:
        named: those images, by their label maps.
        predictions: folder of the label maps.
    """
    found: dict[str, parity.Parity] = {}
    for batch in batches:
        names = [layouts.label_map(str(image)) for image, _ in batch]
        if not set(names) & (set(named) - found.keys()):
            continue  # an image may be listed again before the last of them
        fed = preprocess.batch(dataset / image for image, _ in batch)
        for name, own in zip(names, runner.logits(fed), strict=True):
            if name in named and name not in found:
                right = logits.read(reference, name)
                found[name] = parity.compare(name, own, right, read_label(predictions / name))
    if missing := [name for name in named if name not in found]:
        raise StageError(f"{reference}: has logits of {missing[0]}, and the list that is run on has no such image")
    effective, evidence = runner.observe(fed)
    numbers = parity.measured(list(found.values()))
    seen = {name: effective[name] for name in proof.OF_AN_ENGINE if name in effective}
    numbers["logits"] |= {"effective": seen, "evidence": evidence}
    return numbers


def _probabilities(
    request: Infer,
    runner: Engine,
    preprocess: Preprocess,
    dataset: Path,
    batches: list[layouts.Pairs],
    named: list[str],
    reference: Path,
    ended: Result,
) -> Result:
    """How far what the timed engine gives is from the softmax of the checkpoint's logits: the same result, with that.

    Args:
        named: images that the reference has logits of, by their label maps.
    """
    off: dict[str, float] = {}
    for names, fed in _prepared(preprocess, dataset, batches):
        if set(names) & (set(named) - off.keys()):
            for name, given in zip(names, runner.run(fed), strict=True):
                if name in named:
                    off[name] = outputs.probabilities_off(given, logits.read(reference, name))
    gate = parity.judge_softmax(off, request.max_logits_peak)
    return Result(ended.effective, {**ended.metrics, proof.SOFTMAX: gate["value"]}, [gate])


def _warm_up(request: Infer, runner: Engine, batch: NDArray[np.float32]) -> dict[str, Any]:
    """Run a batch at least `warmup` times, then until its times are steady, at most `max_warmup` times."""
    spans: list[float] = []
    while len(spans) < request.warmup or (len(spans) < request.max_warmup and not stats.is_steady(spans)):
        begun = time.perf_counter()
        runner.run(batch)
        spans.append((time.perf_counter() - begun) * 1000)
    return {"warmup_batches": len(spans), "steady": stats.is_steady(spans)}


def _time(
    request: Infer,
    runner: Engine,
    preprocess: Preprocess,
    dataset: Path,
    batches: list[layouts.Pairs],
    writer: Any,
) -> dict[str, list[float]]:
    """Milliseconds of each phase of each batch.

    The list is gone through whole, as often as `min_samples` and `min_seconds` ask.
    """
    samples: dict[str, list[float]] = {phase: [] for phase in PHASES}
    started = time.monotonic()
    for number, batch in enumerate(itertools.cycle(batches)):
        enough = number >= request.min_samples and time.monotonic() - started >= request.min_seconds
        if number and number % len(batches) == 0 and enough:
            break
        if writer:
            writer.times.start()
        begun = time.perf_counter()
        tensor = preprocess.batch(dataset / image for image, _ in batch)
        prepared = time.perf_counter()
        if writer:
            writer.times.stamp()
        labels = runner.run(tensor)
        inferred = time.perf_counter()
        if writer:
            writer.times.stamp()
        np.ascontiguousarray(outputs.label_maps(labels), np.uint8)  # the label map as it would be handed on
        finished = time.perf_counter()
        if writer:
            writer.times.end(stamp=True)
        for phase, span in zip(PHASES, (prepared - begun, inferred - prepared, finished - inferred), strict=True):
            samples[phase].append(span * 1000)
    return samples


# -- the benchmark log ------------------------------------------------------------------------


def _own_log(request: Infer, runner: Engine, summary: dict[str, Any], model: str, total_s: float, rss_mb: float) -> str:
    env = machine.environment()
    fields = {
        "env": {
            "OS_version": env["os"],
            "CUDA_version": env["cuda"],
            "CUDNN_version": env["cudnn"],
            "drivier_version": env["driver"],
        },
        "paddle": {"paddle_version": env["paddle"], "paddle_commit": env["paddle_commit"], "log_api_version": 1.0},
        "conf": runner.conf(),
        "model": {"model_name": model, "precision": request.precision},
        "data": {
            "batch_size": request.batch_size,
            "input_shape": "dynamic",
            "data_num": summary["inference"]["count"],
        },
        "perf": {
            "cpu_rss(MB)": round(rss_mb, 4),
            **_gpu_memory(runner),
            "total time spent(s)": round(total_s, 4),
            **{f"{phase}_time(ms)": round(summary[phase]["mean"], 4) for phase in PHASES},
        },
    }
    return benchlog.format_log(fields, datetime.now())


def _gpu_memory(runner: Engine) -> dict[str, Any]:
    """Of this process, in MiB, as the driver counts it; None on a CPU."""
    if runner.device != "gpu":
        return {"gpu_rss(MB)": None, "gpu_util": None}
    return {"gpu_rss(MB)": gpus.memory_mb(os.getpid()), "gpu_util": None}


class _AutoLog:
    """AutoLog's logger, made to return its text: it prints line by line and ends the process."""

    def __init__(self, logger: Any, lines: list[str]) -> None:
        self._logger, self._lines = logger, lines
        self.times = logger.times

    def report(self) -> str:
        try:
            self._logger.report()
        except SystemExit as done:
            if done.code not in (None, 0):
                raise StageError(f"auto_log ended with exit code {done.code}") from None
        return "".join(self._lines)


def _auto_log(request: Infer, runner: Engine, model: str) -> _AutoLog:
    try:
        import auto_log
    except ImportError as error:
        raise StageError(
            f"benchmark.logger: auto_log: cannot be imported ({error}); install it, or set it to builtin"
        ) from error
    lines: list[str] = []

    class Lines:
        def info(self, text: str) -> None:
            stamp = f"{datetime.now():%Y-%m-%d %H:%M:%S}"
            lines.extend(f"{stamp} [INFO]    {line}\n" for line in text.splitlines() if line.strip())

    logger = auto_log.AutoLogger(
        model_name=model,
        model_precision=request.precision,
        batch_size=request.batch_size,
        data_shape="dynamic",
        save_path=None,
        inference_config=runner.conf(),
        pids=os.getpid(),
        process_name=None,
        gpu_ids=0 if runner.device == "gpu" else None,
        time_keys=[f"{phase}_time" for phase in PHASES],
        warmup=0,
        logger=Lines(),
    )
    return _AutoLog(logger, lines)
