"""Notes what a script's process imported, as that ends: Python imports this module first, by way of PYTHONPATH.

It needs nothing but Python, and stands in nobody's way: a module of this name that somebody else has is run as well.
"""

import atexit
import importlib.machinery
import importlib.util
import json
import os
import sys

NOTED = ("paddleseg", "paddle", "numpy", "cv2", "PIL")


def note(path: str) -> None:
    """Write name -> [version, file] of what is noted, and of each module of PaddleSeg."""
    found = {}
    for name, module in list(sys.modules.items()):
        if name in NOTED or name.startswith("paddleseg."):
            found[name] = [getattr(module, "__version__", None), getattr(module, "__file__", None)]
    with open(path, "w", encoding="utf-8") as stream:  # noqa: PTH123  (before anything else is imported)
        json.dump(found, stream, default=str)


if os.environ.get("SEGCERT_IMPORTED"):
    atexit.register(note, f"{os.environ['SEGCERT_IMPORTED']}.{os.getpid()}.json")
here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120
sys.path[:] = [place for place in sys.path if os.path.abspath(place) != here]  # noqa: PTH100
other = importlib.machinery.PathFinder.find_spec("sitecustomize", sys.path)
if other and other.loader:
    other.loader.exec_module(importlib.util.module_from_spec(other))
