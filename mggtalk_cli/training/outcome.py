"""What a training came to, and how it ends early."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass

import torch

from mggtalk_cli.errors import MggTalkError


class DivergedError(MggTalkError):
    """A loss or a gradient is not finite any more."""


@dataclass(frozen=True)
class Outcome:
    """What a training came to.

    Attributes:
        steps: done in all, of `recipe.steps`.
        before: numbers of the untrained networks, see `Task.validate`.
        after: those of the averaged weights; the last ones measured.
        device: where it ran, and in how many processes.
        steps_per_s: of this run, validation not counted.
        examples_per_s: likewise.
        peak_mib: most memory this process (on CUDA, its tensors on the device) held.
    """

    steps: int
    before: dict[str, float]
    after: dict[str, float]
    device: str
    steps_per_s: float
    examples_per_s: float
    peak_mib: float


def peak_mib(device: torch.device) -> float:
    """Return the most memory held so far: of tensors on CUDA, else of this process, MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB on Linux, bytes on macOS
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
