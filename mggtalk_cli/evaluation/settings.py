"""The settings of a report as flat names and texts, to be shown and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return dotted names and values as JSON.

    >>> flat({"frames": 50, "build": {"crop": "none"}})
    [('frames', '50'), ('build.crop', '"none"')]
    """
    pairs: list[tuple[str, str]] = []
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            pairs += flat(value, f"{prefix}{name}.")
        else:
            pairs.append((f"{prefix}{name}", json.dumps(value, default=str, ensure_ascii=False)))
    return pairs
