"""Numbers as records hold them: finite ones alone."""

from __future__ import annotations

import math
from typing import Any, TypeGuard


def finite(value: float | None, digits: int = 6) -> float | None:
    """A number for a record: rounded to significant digits, None where it is not finite."""
    if value is None or not math.isfinite(value):
        return None
    return float(f"{value:.{digits}g}")


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
