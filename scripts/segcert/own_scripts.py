"""PaddleSeg's own scripts, of a checkout of it: which there are, and what each is run for.

The installed package has none of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CPU, GPU = "cpu", "gpu"  # not those of engines.py: a new engine makes no training anew
TRAIN = "tools/train.py"
VAL = "tools/val.py"
EXPORT = "tools/export.py"
PREDICT = "tools/predict.py"
INFER = "deploy/python/infer.py"


@dataclass(frozen=True)
class Script:
    """A cell of each checkpoint on which the scripts are run.

    Attributes:
        cell: its name.
        file: in the checkout.
        device: where it is run; None: where the model is trained.
        engine: of Paddle Inference, which it is told to use; None: it uses none.
        gate: that its result is held against, without which it does not pass.
    """

    cell: str
    file: str
    gate: str
    device: str | None = None
    engine: str | None = None


ALL = (
    Script("tools_train", TRAIN, gate="first_loss"),
    Script("tools_val", VAL, gate="miou_difference"),
    Script("tools_export", EXPORT, gate="pixel_agreement", device=CPU),
    Script("tools_predict", PREDICT, gate="pixel_agreement"),
    Script("deploy_infer_native", INFER, gate="pixel_agreement", device=CPU, engine="native"),
    Script("deploy_infer_onednn", INFER, gate="pixel_agreement", device=CPU, engine="onednn"),
    Script("deploy_infer_gpu", INFER, gate="pixel_agreement", device=GPU, engine="native"),
)
FILES = tuple(dict.fromkeys(script.file for script in ALL))
GATES = {script.file: script.gate for script in ALL}
ENGINES = tuple(dict.fromkeys(script.engine for script in ALL if script.engine))


def wanted(settings: Mapping[str, Any], model: str) -> bool:
    """Whether a run asks for them on a model; one of before asks for none."""
    asked = settings.get("paddleseg_scripts", False)
    return asked is True or (isinstance(asked, list) and model in asked)
