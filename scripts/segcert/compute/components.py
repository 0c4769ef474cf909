"""PaddleSeg's components, built from its own configuration files.

The files under `config/models/` are plain PaddleSeg; what a run decides (data set, sizes, iterations,
weights) is laid over them here, and losses that PaddleSeg breaks on the Paddle at hand are replaced by
corrected ones (losses.py).
"""

from __future__ import annotations

import copy
import random
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddleseg.datasets
import paddleseg.models
import paddleseg.optimizers
import paddleseg.transforms  # noqa: F401  (registers its components)
from paddleseg.cvlibs import Config, manager

from segcert import modelconfig, modelkeys, transforms
from segcert.compute import losses, pretrained
from segcert.compute.dtypes import name as dtype_of
from segcert.errors import StageError
from segcert.stage.progress import say
from segcert.stage.worker import tell

# -- configuration ----------------------------------------------------------------------------


def load_config(
    path: str,
    dataset: str | None = None,
    input_size: tuple[int, int] | None = None,
    iters: int | None = None,
    batch_size: int | None = None,
    start: Start | None = None,
    evaluate_as_exported: bool = True,
) -> Config:
    """A PaddleSeg configuration with a run's decisions laid over it.

    Args:
        path: the model's configuration.
        dataset: folder of the data set; paths of list files are taken to lie in it.
        input_size: [width, height] of training crops and of whatever is resized.
        iters, batch_size: of the training (per device).
        start: what a training starts from; None: nothing is loaded, as a checkpoint will be.
        evaluate_as_exported: evaluate under the transforms of the exported model.

    Raises:
        StageError: PaddleSeg refuses the configuration, or something in it is not done here.
    """
    try:
        config = Config(path, iters=iters, batch_size=batch_size)
        planned = modelconfig.content(Path(path))
    except Exception as error:
        raise StageError(f"{path}: PaddleSeg refuses this configuration: {error}") from error
    if Config._parse_from_yaml(path) != planned:
        raise StageError(
            f"{path}: the PaddleSeg that is imported here reads this file and its bases otherwise than paddleseg "
            "2.8.0, by which the run was planned; write one file without _base_"
        )
    content = config.dic
    _require_doable(path, planned, input_size, start, evaluate_as_exported)
    for section, split in (("train_dataset", "train"), ("val_dataset", "val")):
        _place(content[section], split, dataset, input_size)
    if start is None:
        _, exported = modelkeys.export_transforms(planned, input_size)
        content.setdefault("export", {})["transforms"] = transforms.laid_out(exported, transforms.EXPORT, input_size)
        if evaluate_as_exported:
            content["val_dataset"]["transforms"] = content["export"]["transforms"]
    content["model"] = copy.deepcopy(content["model"])  # an anchor may have it elsewhere too
    for key in modelkeys.pretrained(content):
        if start is None or key in start.left_out:
            _put(content, key, None)
    for key, file in (start.files if start else {}).items():
        _put(content, key, file)
    config.replaced_losses = {}
    if start is not None:
        content["loss"], config.replaced_losses = losses.corrected(content["loss"])
    return config


@dataclass(frozen=True)
class Start:
    """What a training starts from beside the files that the model's configuration names itself.

    Attributes:
        files: key -> file of weights, in place of what the configuration says there.
        left_out: keys of the configuration that are not loaded.
    """

    files: Mapping[str, str] = field(default_factory=dict)
    left_out: Collection[str] = ()


def _require_doable(
    path: str, content: Mapping[str, Any], input_size: tuple[int, int] | None, start: Start | None, as_exported: bool
) -> None:
    """Raise StageError for what the plan refuses: a stage that is run by hand was not planned.

    What a transform is that only this PaddleSeg has is not known here; what comes of it is looked at.
    """
    given = start or Start()
    run = modelkeys.Run(
        trains=start is not None,
        exports=start is None,
        input_size=input_size,
        export_size=input_size,
        transforms="export" if as_exported else "val",
        entries={modelkeys.ENTRIES[key]: given.files.get(key, "") for key in (*given.files, *given.left_out)},
        fetches=not given.left_out,
        strict=False,
    )
    if found := modelkeys.problems(content, run):
        raise StageError(f"{path}: {'; '.join(found)}")


def _place(section: dict[str, Any], split: str, dataset: str | None, input_size: tuple[int, int] | None) -> None:
    """Lay the data set's folder, its list and the run's size over a section."""
    root, key = section.get("dataset_root"), f"{split}_path"
    if dataset:
        section["dataset_root"] = dataset
    if dataset and isinstance(section.get(key), str):
        section[key] = _list_in(Path(dataset), section[key], root, split)
    if isinstance(section.get("transforms"), list | tuple):
        purpose = transforms.TRAINING if split == "train" else transforms.VALIDATION
        section["transforms"] = transforms.laid_out(section["transforms"], purpose, input_size)


def _list_in(dataset: Path, named: str, root: Any, split: str) -> str:
    """A list of files in a data set's folder: where the configuration has it in its own, else the split's."""
    relative = modelkeys.list_in(named, root)
    if (dataset / relative).is_file():
        return str(dataset / relative)
    own = next((name for name in (relative.name, f"{split}.txt") if (dataset / name).is_file()), f"{split}.txt")
    say(f"{split}_path: {named} is not in the data set: its list {own} is read")
    return str(dataset / own)


def _put(content: dict[str, Any], key: str, value: Any) -> None:
    """Write a value under a key of several parts."""
    *above, last = key.split(".")
    part: Any = content
    for name in above:
        part = part[int(name)] if isinstance(part, list) else part[name]
    part[last] = value


def export_size(config: Config) -> tuple[int, int]:
    """[width, height] of the exported model's input."""
    size = transforms.final_size(config.dic["export"]["transforms"])
    if size is None:
        raise StageError("export.transforms: leaves images at sizes of their own, where the exported model has one")
    return size


def test_config(config: Config) -> dict[str, Any]:
    """What PaddleSeg's evaluation is to do otherwise than it does by itself."""
    return {key: config.test_config[key] for key in modelkeys.EVALUATION if config.test_config.get(key)}


def require_repeatable(dataset: Any, config: Config) -> None:
    """Raise StageError where transforms that only this PaddleSeg has make another image of a file every time."""
    names = [item["type"] for item in config.dic["val_dataset"]["transforms"]]
    own = [name for name in names if name not in transforms.TABLE]
    if own and not np.array_equal(dataset[0]["img"], dataset[0]["img"]):
        raise StageError(
            f"{dataset.file_list[0][0]}: {', '.join(own)} of val_dataset.transforms or export.transforms gives another "
            "image every time, so it is random, whatever own_transforms says; take it out of there"
        )


def builder(config: Config) -> pretrained.Builder:
    return pretrained.Builder(config)


def load_model(config: Config, checkpoint: str, notes: list[str] | None = None) -> Any:
    """The model with a checkpoint's weights, in evaluation mode.

    Args:
        notes: gets in words what of the file the model has no use for.

    Raises:
        StageError: the file cannot be read, or it belongs to another model, or it holds what is no number.
    """
    model = builder(config).model
    try:
        state = paddle.load(checkpoint)
    except Exception as error:
        raise StageError(f"{checkpoint}: is not a checkpoint that Paddle reads: {error}; train it again") from error
    own = model.state_dict()
    missing = [key for key in own if not isinstance(state.get(key), paddle.Tensor)]
    there = [key for key in own if key not in missing]
    other = [key for key in there if tuple(own[key].shape) != tuple(state[key].shape)]
    if missing or other:
        below = [key for key, value in state.items() if isinstance(value, Mapping) and {*value} & {*own}]
        hint = f"; the file holds them below {below[0]!r}: save that part of it alone" if below else ""
        raise StageError(
            f"{checkpoint}: does not fit the model: {len(missing)} of {len(own)} weights missing, "
            f"{len(other)} of another shape, first {(missing + other)[0]}{hint}"
        )
    kernels = [state[key] for key in own if len(own[key].shape) > 1]
    if kernels and all(bool((kernel == kernel.flatten()[0]).all()) for kernel in kernels):
        raise StageError(f"{checkpoint}: each of its kernels is one number all over: they were never trained")
    nothing = "so whatever is computed says nothing"
    for key in own:
        if own[key].dtype != state[key].dtype:
            raise StageError(
                f"{checkpoint}: {key} is of {dtype_of(state[key])}, that of the model of {dtype_of(own[key])}; save "
                "the weights anew in the types of the model"
            )
        if not bool(paddle.isfinite(state[key].astype("float32")).all()):
            raise StageError(f"{checkpoint}: {key} holds values that are not finite, {nothing}")
        if key.endswith("._variance") and bool((state[key] < 0).any()):  # of its root, a ReLU makes 0
            raise StageError(f"{checkpoint}: {key}, of a batch norm, is below 0, {nothing}")
    if more := [key for key in state if key not in own]:
        told = f"{checkpoint}: {len(more)} of its {len(state)} entries are not of the model, such as {more[0]}"
        say(told)
        if notes is not None:
            notes.append(told)
    model.set_state_dict(state)
    model.eval()
    return model


def left_out(model: Any, checkpoint: str) -> list[str]:
    """Names of the variables that a checkpoint of a model holds and the model has not."""
    own = model.state_dict()
    return [key for key in paddle.load(checkpoint) if key not in own]


def described(built: Iterable[Any]) -> list[dict[str, Any]]:
    """PaddleSeg's transforms as they were built: `type`, and their settings by name, defaults among them."""
    return [
        {"type": type(item).__name__} | {key: _plain(value) for key, value in sorted(vars(item).items())}
        for item in built
    ]


def described_as_configured(listed: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]] | str:
    """The same of transforms as a configuration has them; in words, why they cannot be built."""
    try:
        return described(
            manager.TRANSFORMS[item["type"]](**{k: v for k, v in item.items() if k != "type"}) for item in listed
        )
    except Exception as error:
        return f"what this PaddleSeg has ({type(error).__name__}: {error})"


def _plain(value: Any) -> Any:
    """A setting in the form of JSON."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else repr(value)


# -- data -------------------------------------------------------------------------------------


class CheckedDataset(paddle.io.Dataset):  # type: ignore[misc]  # Paddle has no types
    """A data set of PaddleSeg's, each sample of which is looked at before anything is trained on it.

    A label of another size than its image would be stretched in silence, one with a class that there is not
    reads past the logits, and an input that is not finite can still give a finite loss (a ReLU makes 0 of it).
    So the label is looked at as it is in its file, the two after each transform, and both at the end.

    Args:
        alike: whether all samples must come out in one size, because they are put together.
    """

    def __init__(self, dataset: Any, alike: bool = False) -> None:
        self._dataset, self._alike = dataset, alike
        self._raw: Any = None  # the label of the last sample, as it is in its file
        self._shape: tuple[int, ...] | None = None  # of the images that this process has made
        self._steps = [_Watched(number, transform) for number, transform in enumerate(dataset.transforms.transforms)]
        dataset.transforms.transforms[:] = [self._begin, *self._steps]  # the list that is gone through

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The sample; StageError names the image or the label that is wrong.

        The supervisor is told at once: Paddle's loader does not pass on what its processes raise.
        """
        try:
            return self._sample(index)
        except StageError as error:
            tell(error)
            raise

    def _sample(self, index: int) -> dict[str, Any]:
        image, label = self._dataset.file_list[index]
        try:
            sample: dict[str, Any] = self._dataset[index]
        except StageError as error:
            raise StageError(str(error) if label in str(error) else f"{label}: {error}") from None
        except Exception as error:  # OpenCV answers None where it cannot decode, others raise
            raise StageError(
                f"{image}: cannot be made into a training sample with {label}: {type(error).__name__}: {error}; "
                "are both whole images?"
            ) from error
        if not np.isfinite(sample["img"]).all():
            raise StageError(f"{image}: is not finite after its transforms; check them in the model's configuration")
        values = np.asarray(sample["label"])
        wrong = values[(values != self._dataset.ignore_index) & ((values < 0) | (values >= self._dataset.num_classes))]
        if wrong.size:
            raise StageError(f"{label}: {self._about(int(wrong.flat[0]))}")
        if self._alike and self._shape not in (None, sample["img"].shape):
            (_, height, width), (_, own_height, own_width) = self._shape, sample["img"].shape
            raise StageError(
                f"{image}: is {own_width}x{own_height} after its transforms, others are {width}x{height}, and the "
                "images of a batch are of one size; end train_dataset.transforms in a RandomPaddingCrop or a Resize"
            )
        self._shape = sample["img"].shape
        return sample

    def _begin(self, data: dict[str, Any]) -> dict[str, Any]:
        """A transform that changes nothing."""
        self._raw = data["label"]
        (height, width), (own_height, own_width) = data["img"].shape[:2], np.shape(self._raw)[:2]
        if (height, width) != (own_height, own_width):
            raise StageError(f"is {own_width}x{own_height}, its image is {width}x{height}; they must be equal")
        return data

    def _about(self, value: int) -> str:
        """In words, why a label holds a value that is no class: it is in its file, or a transform put it there."""
        allowed = f"0 to {self._dataset.num_classes - 1} and {self._dataset.ignore_index} (ignored)"
        if np.any(np.asarray(self._raw) == value):
            return f"holds the value {value}; allowed are {allowed}"
        for step in self._steps:
            if getattr(step.transform, "label_padding_value", None) == value:
                return (
                    f"{step.key}: label_padding_value: {value} is put around labels, the file does not hold it; "
                    f"allowed are {allowed}: write label_padding_value: {self._dataset.ignore_index} there"
                )
        return f"one of train_dataset.transforms puts the value {value} into it; allowed are {allowed}"


class _Watched:
    """A transform of a training, after which an image must still be one, of the size of its label."""

    def __init__(self, number: int, transform: Any) -> None:
        self.transform = transform
        self.key = f"train_dataset.transforms.{number}: {type(transform).__name__}"

    def __call__(self, data: dict[str, Any]) -> Any:
        channels = data["img"].shape[2:]
        try:
            data = self.transform(data)
        except Exception as error:
            raise StageError(f"{self.key} cannot be done with it: {type(error).__name__}: {error}") from error
        image, label = data["img"].shape, np.shape(data["label"])
        if image[2:] != channels or len(image) < 2 or image[:2] != label[:2]:
            told = ""
            if getattr(self.transform, "category_max_ratio", 1) < 1:
                told = (
                    "; that is a fault of paddleseg 2.8.0 where category_max_ratio is below 1 (mended later, in pull "
                    "request 3548): write category_max_ratio: 1.0"
                )
            raise StageError(f"{self.key} makes an image of shape {image} and a label of shape {label} of it{told}")
        return data


# -- device and seeds -------------------------------------------------------------------------


def seed_all(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    paddle.seed(seed)
