"""Where a benchmark ran: processor, packages, and how busy the machine was."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path

import torch

PACKAGES = ("torch", "numpy", "numba", "opencv-python-headless", "av", "ai-edge-litert")


@dataclass(frozen=True)
class Machine:
    """Where it ran; `load` is the load average before and after, None where there is none."""

    processors: int
    processor: str
    torch_threads: int
    platform: str
    python: str
    packages: dict[str, str]
    load: tuple[float, float] | None


def load_average() -> float | None:
    """Return how many processes have wanted to compute lately, None where nobody counts."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # not on every system
        return None


def describe_machine(before: float | None) -> Machine:
    """Return where this runs; `before` is the load average before measuring."""
    after = load_average()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Machine(
        processors=usable or 1,
        processor=_processor(),
        torch_threads=torch.get_num_threads(),
        platform=platform.platform(),
        python=platform.python_version(),
        packages={name: importlib.metadata.version(name) for name in PACKAGES},
        load=None if before is None or after is None else (before, after),
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())
