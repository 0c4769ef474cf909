"""What Paddle and PaddleSeg import on the way and hardly ever use: imported at its first use.

About half of the processor time that importing the two takes goes to scikit-learn (for the area under a
ROC curve), SciPy's optimizer (for one loss), setuptools (to compile operators) and httpx (to download).
"""

from __future__ import annotations

import functools
import importlib
import sys
import types
from typing import Any

# module -> its functions that are imported by name
RARELY_USED: dict[str, tuple[str, ...]] = {
    "sklearn": (),
    "sklearn.metrics": (),
    "scipy.optimize": ("linear_sum_assignment",),
    "paddle.utils.cpp_extension": (),
    "paddle.utils.cpp_extension.extension_utils": (),
    "httpx": (),
}


class _Deferred(types.ModuleType):
    """Stands in for a module until something of it is used; then the module itself takes its place."""

    def __getattr__(self, name: str) -> Any:
        if name in ("__spec__", "__file__", "__cached__"):  # asked by the import system, which can do without
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _real(name: str) -> types.ModuleType:
    """The module itself. Stand-ins above and below it must go first: each of them would import the other."""
    for other in RARELY_USED:
        related = f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")
        if related and isinstance(sys.modules.get(other), _Deferred):
            del sys.modules[other]
    return importlib.import_module(name)


def _call(module: str, function: str, *args: Any, **kwargs: Any) -> Any:
    return getattr(_real(module), function)(*args, **kwargs)


def defer() -> None:
    """Put stand-ins where the modules are not imported yet; call it before Paddle is imported."""
    for name in RARELY_USED:
        if name not in sys.modules:
            sys.modules[name] = _Deferred(name)
    for name, functions in RARELY_USED.items():
        module, (above, _, own) = sys.modules[name], name.rpartition(".")
        if isinstance(module, _Deferred):
            vars(module).update({function: functools.partial(_call, name, function) for function in functions})
            if isinstance(sys.modules.get(above), _Deferred):
                setattr(sys.modules[above], own, module)
