"""Smooth transitions, for weights that fade."""

from __future__ import annotations

from typing import Any

import numpy as np


def smoothstep(x: Any, low: float, high: float) -> Any:
    """Return 0 below `low`, 1 above `high` and a smooth cubic between, for numbers or arrays.

    >>> float(smoothstep(0.5, 0.0, 1.0))
    0.5
    """
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)
