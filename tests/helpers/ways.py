"""The ways in which an exported model is run, as the shipped configuration has them: (engine, precision) by device."""

import yaml
from conftest import ROOT

from segcert import machine

_INFER = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["infer"]
CPU, GPU = ([(entry["engine"], entry["precision"]) for entry in _INFER[device]] for device in ("cpu", "gpu"))
# Those of a CPU that this one has.
HERE = [way for way in CPU if way[1] != "bf16" or machine.cpu_has_bf16()]
