"""The ways in which an exported model is run, as the shipped configuration has them: (engine, precision) by device."""

import yaml
from conftest import ROOT

from segcert import machine

_CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
_INFER = _CONFIG["infer"]
CPU, GPU = ([(entry["engine"], entry["precision"]) for entry in _INFER[device]] for device in ("cpu", "gpu"))
# Those of a CPU that this one has.
HERE = [way for way in CPU if way[1] != "bf16" or machine.cpu_has_bf16()]
# Cells of several streams that mode smoke has of pp_humanseg_lite besides, of no other model, on as many cores.
(_SEVERAL,) = [entry for entry in _CONFIG["modes"]["smoke"]["infer"]["streams"] if entry != 1]
STREAMED = len(_SEVERAL["engines"]) if _SEVERAL["streams"] <= machine.cores() else 0
# And those of another size.
(_OTHER,) = _CONFIG["modes"]["smoke"]["infer"]["sizes"]
SIZED = len(_OTHER["engines"])
BESIDE = STREAMED + SIZED
# Those of them that run in ONNX Runtime.
BESIDE_BY_IT = sum(entry["engines"].count("onnxruntime") for entry in (_OTHER, *[_SEVERAL] * bool(STREAMED)))
