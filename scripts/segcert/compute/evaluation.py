"""Evaluation of a checkpoint, and the label maps that inference is compared with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddleseg.core.infer import aug_inference, inference

from segcert.compute import components, feeding
from segcert.compute.device import use as use_device
from segcert.compute.dtypes import DtypeProbe
from segcert.compute.dtypes import name as dtype_of
from segcert.compute.logits import SUMMARY, Store
from segcert.compute.metrics import REFERENCE_SUMMARY, Confusion
from segcert.compute.preprocess import Preprocess, require_size
from segcert.data import layouts
from segcert.data.images import read_label, write_label
from segcert.errors import StageError
from segcert.files import write_json
from segcert.requests.evaluate import Evaluate
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
    model = components.load_model(config, checkpoint)
    asked = {} if as_exported else components.test_config(config)
    probe = DtypeProbe(model)
    validation = components.builder(config).val_dataset
    count = min(request.images or len(validation), len(validation))
    if not count:
        raise StageError(f"{dataset}: the validation split is empty")
    notes = feeding.hold({"val": validation}, dataset, told=("val", "test"))
    components.require_repeatable(validation, config)
    confusion = Confusion(validation.num_classes, validation.ignore_index)
    bar = progress(count, f"evaluate {Path(config_path).stem}")
    sizes = set()
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
            sizes.add((tensor.shape[3], tensor.shape[2]))
            prediction = _predicted(model, tensor, sample["trans_info"], asked)
            label = np.squeeze(sample["label"])
            confusion.add(np.squeeze(prediction.numpy()), label, validation.file_list[index][1])
            bar.update()
        written = _write_reference(model, config, dataset, reference, request, confusion.empty())
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
    if as_exported and len(sizes) == 1:
        effective["input_size"] = list(next(iter(sizes)))
    return Result(effective, {**metrics, **written})


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


def _write_reference(
    model: Any, config: Any, dataset: str, folder: Path, request: Evaluate, confusion: Confusion
) -> dict[str, Any]:
    """The checkpoint's label maps of the inference list, what they come to against the truth, and its first logits."""
    manifest = json.loads((Path(dataset) / "manifest.json").read_text(encoding="utf-8"))
    preprocess = Preprocess(config.dic["export"]["transforms"], components.export_size(config))
    folder.mkdir()
    listed = layouts.inference_list(manifest)
    pairs = listed[: request.reference_images]
    store = Store(folder, request.logits_images, request.logits_mb)
    for image, truth in pairs:
        logits = model(paddle.to_tensor(preprocess.batch([Path(dataset) / image])))[0]
        label = logits.argmax(axis=1)[0].numpy()
        write_label(folder / layouts.label_map(image), label)
        store.offer(layouts.label_map(image), logits[0])
        if truth:
            confusion.add_undone(label, preprocess.done[0], read_label(Path(dataset) / truth), truth)
    miou = confusion.miou()
    summary = {**confusion.labels(), "images": len(pairs), "miou": miou, SUMMARY: store.told()}
    write_json(folder / REFERENCE_SUMMARY, summary)
    return {
        "reference_images": len(pairs),
        "inference_images": len(listed),
        "reference_miou": miou,
        "reference_logits": store.told(),
    }
