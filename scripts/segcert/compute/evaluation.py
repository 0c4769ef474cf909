"""Evaluation of a checkpoint, and the label maps that inference is compared with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddleseg.core.infer import aug_inference, inference

from segcert import proof, published, sizes
from segcert.compute import components, feeding
from segcert.compute.device import use as use_device
from segcert.compute.dtypes import DtypeProbe
from segcert.compute.dtypes import name as dtype_of
from segcert.compute.logits import ROUNDING, SUMMARY, Store, rounding
from segcert.compute.metrics import REFERENCE_SUMMARY, Confusion
from segcert.compute.preprocess import Preprocess, require_size
from segcert.data import layouts
from segcert.data.images import read_label, write_label
from segcert.errors import StageError
from segcert.files import write_json
from segcert.requests.evaluate import Evaluate
from segcert.stage import reasons
from segcert.stage.progress import progress, say
from segcert.stage.worker import Result


def evaluate(request: Evaluate, config_path: str, dataset: str, checkpoint: str, reference: Path) -> Result:
    """mIoU, acc, kappa, Dice and per-class IoU on the validation split, at the labels' own size.

    Args:
        reference: folder that gets the fp32 label maps of the inference list, at the model's size, and the logits of
            its first images: what every inference cell of this checkpoint must reproduce.
    """
    use_device(request.device)
    as_exported = request.transforms == "export"
    config = components.load_config(config_path, dataset, request.input_size, evaluate_as_exported=as_exported)
    notes: list[str] = []
    model = components.load_model(config, checkpoint, notes)
    finite = _Finite(model)
    left_out = components.left_out(model, checkpoint) if request.published else []
    asked = {} if as_exported else components.test_config(config)
    probe = DtypeProbe(model)
    validation = components.builder(config).val_dataset
    count = min(request.images or len(validation), len(validation))
    if not count:
        raise StageError(f"{dataset}: the validation split is empty")
    notes += feeding.hold({"val": validation}, dataset, told=("val", "test"))
    components.require_repeatable(validation, config)
    confusion = Confusion(validation.num_classes, validation.ignore_index)
    bar = progress(count, f"evaluate {Path(config_path).stem}")
    seen = set()
    with paddle.no_grad():
        for index in range(count):
            try:
                sample = validation[index]
            except (AttributeError, OSError) as error:  # OpenCV answers None where it cannot decode, Pillow raises
                image, label = validation.file_list[index]
                raise StageError(f"{image}, or its label {label}, cannot be decoded: {error}") from error
            except ValueError as error:
                image, _ = validation.file_list[index]
                raise StageError(f"{image}: its transforms cannot be done: {error}") from error
            tensor = paddle.to_tensor(sample["img"][None].astype(np.float32))
            if as_exported:
                size = (tensor.shape[3], tensor.shape[2])
                require_size(validation.file_list[index][0], size, components.export_size(config))
            seen.add((tensor.shape[3], tensor.shape[2]))
            prediction = _predicted(model, tensor, sample["trans_info"], asked)
            finite.require(validation.file_list[index][0])
            label = np.squeeze(sample["label"])
            validation.transforms.require(validation.file_list[index][0], label)
            confusion.add(np.squeeze(prediction.numpy()), label, validation.file_list[index][1])
            bar.update()
        written = _write_reference(model, config, dataset, reference, request, confusion.empty(), finite)
        for word in request.sizes or ():
            of_size, failed = _write_of_size(word, model, config_path, dataset, reference, request, confusion, finite)
            written.setdefault("reference_sizes", {})[word] = {"failed": failed} if failed else of_size
    bar.close()
    probe.remove()
    if not confusion.counted:
        raise StageError(
            f"{dataset}: no pixel of the labels of {count} validation images is counted: all are "
            f"{validation.ignore_index}, which is ignored, so nothing was judged; raise evaluate.images"
        )
    metrics = {**confusion.metrics(), "val_images": len(validation), "notes": notes}
    say(
        f"[EVAL] #Images: {count} mIoU: {metrics['miou']:.4f} Acc: {metrics['acc']:.4f} "
        f"Kappa: {metrics['kappa']:.4f} Dice: {metrics['dice']:.4f}"
    )
    effective: dict[str, Any] = {
        "device": paddle.get_device().split(":")[0],
        "precision": _precision(model, probe),
        "transforms": "export" if as_exported else "val",
        **probe.counts(),
    }
    if asked:
        effective["test_config"] = asked
    if as_exported and len(seen) == 1:
        effective["input_size"] = list(next(iter(seen)))
    if not request.published:
        return Result(effective, {**metrics, **written})
    told = request.requested["published"]
    observed = {
        "dataset": Path(dataset).name,
        "split": "val",  # whose pairs these are: they were held to the manifest
        "sizes": sorted(map(list, seen)),
        "transforms": components.described(validation.transforms.transforms),
        "test_config": asked,
        "left_out": left_out,
    }
    gates, held = held_to_published(told, observed, metrics)
    return Result(effective, {**metrics, **written, published.METRIC: held}, gates)


def held_to_published(
    told: Mapping[str, Any], observed: Mapping[str, Any], metrics: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The gate on what is published of the checkpoint, where all is as it was published; and what the record tells.

    Args:
        told: what is published, as it was asked for.
        observed: as `published.unmet` takes it, but for what is counted in the metrics and `published_transforms`.
    """
    observed = {**observed, "published_transforms": components.described_as_configured(told["transforms"])}
    unmet = published.unmet(told, {**observed, "images": metrics["images"], "val_images": metrics["val_images"]})
    apart = published.difference(told, metrics["miou"])
    held = {**observed, "difference": apart, "unmet": unmet}
    if unmet:
        say(f"published mIoU {told['miou']}: unverified: {'; '.join(unmet)}")
        return [], held
    words = published.in_words(told, metrics["miou"], metrics["images"])
    sentence = f"{words}; they may be {told['tolerance']} apart at most ({told['from']})"
    value = None if apart is None else abs(apart)
    return [proof.gate(published.GATE, value, "at most", told["tolerance"], sentence)], held


class _Finite:
    """Sees whether a model's outputs are numbers: of what is none, argmax makes a class all the same."""

    def __init__(self, model: Any) -> None:
        self._holds = True
        model.register_forward_post_hook(self._see)

    def _see(self, _model: Any, _inputs: Any, outputs: Any) -> None:
        self._holds = self._holds and bool(paddle.isfinite(outputs[0]).all())

    def require(self, image: str) -> None:
        """Raise StageError where the outputs since the last call were not all finite."""
        if not self._holds:
            raise StageError(
                f"{image}: the checkpoint computes values for it that are not finite, so its classes say nothing; "
                "look at its weights and at the statistics of its batch norms"
            )


def _predicted(model: Any, tensor: Any, trans_info: Any, asked: Mapping[str, Any]) -> Any:
    """The label map of an image at its own size, as PaddleSeg's evaluation makes it with this `test_config`."""
    slide = {key: asked[key] for key in ("is_slide", "crop_size", "stride")} if asked.get("is_slide") else {}
    if asked.get("aug_eval"):
        flips = {key: bool(asked.get(key)) for key in ("flip_horizontal", "flip_vertical")}
        return aug_inference(model, tensor, trans_info, scales=asked.get("scales", 1.0), **flips, **slide)[0]
    return inference(model, tensor, trans_info=trans_info, **slide)[0]


def _precision(model: Any, probe: DtypeProbe) -> str:
    """fp32 where all weights and all outputs of convolutions are float32; otherwise the types that there are."""
    dtypes = {dtype_of(parameter) for parameter in model.parameters()} | set(probe.outputs)
    return "fp32" if dtypes == {"float32"} else "+".join(sorted(dtypes))


def _write_of_size(
    word: str,
    model: Any,
    config_path: str,
    dataset: str,
    reference: Path,
    request: Evaluate,
    confusion: Confusion,
    finite: _Finite,
) -> tuple[dict[str, Any], str | None]:
    """The same of images brought to another size, in a folder below; or why the model does not compute them."""
    folder = reference / word
    try:
        config = components.load_config(config_path, dataset, sizes.read(word))
        return _write_reference(model, config, dataset, folder, request, confusion.empty(), finite), None
    except (MemoryError, OSError):
        raise
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        why = reasons.reason(error)
        say(f"images of {word} are not computed: {why}")
        write_json(folder / REFERENCE_SUMMARY, {"failed": why})
        return {}, why


def _write_reference(
    model: Any, config: Any, dataset: str, folder: Path, request: Evaluate, confusion: Confusion, finite: _Finite
) -> dict[str, Any]:
    """The checkpoint's label maps of the inference list, what they come to against the truth, and its first logits."""
    manifest = json.loads((Path(dataset) / "manifest.json").read_text(encoding="utf-8"))
    preprocess = Preprocess(config.dic["export"]["transforms"], components.export_size(config))
    folder.mkdir()
    listed = layouts.inference_list(manifest)
    pairs = listed[: request.reference_images]
    store = Store(folder, request.logits_images, request.logits_mb)
    for image, truth in pairs:
        fed = preprocess.batch([Path(dataset) / image])
        logits = model(paddle.to_tensor(fed))[0]
        finite.require(image)
        label = logits.argmax(axis=1)[0].numpy()
        write_label(folder / layouts.label_map(image), label)
        store.offer(layouts.label_map(image), logits[0], fed)
        if truth:
            own = read_label(Path(dataset) / truth, layouts.first_class(manifest))
            confusion.add_undone(label, preprocess.done[0], own, truth)
    miou = confusion.miou()
    kept = store.told() | ({ROUNDING: rounding(model, store, folder)} if store.fed else {})
    summary = {**confusion.labels(), "images": len(pairs), "miou": miou, SUMMARY: kept}
    write_json(folder / REFERENCE_SUMMARY, summary)
    return {
        "reference_images": len(pairs),
        "inference_images": len(listed),
        "reference_miou": miou,
        "reference_logits": kept,
    }
