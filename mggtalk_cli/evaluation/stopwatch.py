"""Seconds per stage of a pipeline that is running: functions are wrapped, not copied."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

import torch

# What the renderer reports of itself: on the CPU its stages; on CUDA nothing, so it is one stage.
RENDER_STAGES = {"cpu": ("project", "sort", "bin", "blend"), "cuda": ("rasterise",)}

Times = dict[str, float]


class Stopwatch:
    """Adds up seconds per stage; a stage called by another one counts for the outer one only.

    Args:
        device: "cpu", or "cuda": then a stage ends when the device has done its work.
    """

    def __init__(self, device: str = "cpu") -> None:
        self.seconds: Times = {}
        self._running = False
        self._device = device

    def add(self, stage: str, seconds: float) -> None:
        """Book seconds under `stage`."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, timed."""

        @wraps(function)
        def run(*arguments: Any, **options: Any) -> Any:
            if self._running:
                return function(*arguments, **options)
            self._running, begin = True, time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._running = False
                if self._device == "cuda":
                    torch.cuda.synchronize()
                self.add(stage, time.perf_counter() - begin)

        return run

    def pulled(self, stage: str, items: Iterator[Any]) -> Iterator[Any]:
        """Yield the items, timing how long each takes to come."""
        pull = self.timed(stage, partial(next, items, None))
        while (item := pull()) is not None:
            yield item

    def making(self, stage: str, make: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function that makes another one; making and what is made are timed."""

        @wraps(make)
        def run(*arguments: Any, **options: Any) -> Any:
            return self.timed(stage, self.timed(stage, make)(*arguments, **options))

        return run

    def rendering(self, rasterization: Callable[..., Any]) -> Callable[..., Any]:
        """Return the renderer, its own account of its stages booked, or all of it."""
        if self._device == "cuda":
            return self.timed(*RENDER_STAGES["cuda"], rasterization)

        @wraps(rasterization)
        def run(*arguments: Any, **options: Any) -> Any:
            result = rasterization(*arguments, **options)
            for scene in () if self._running else result[2].get("scenes", [result[2]]):
                for stage, spent in scene["milliseconds"].items():
                    self.add(stage, spent / 1e3)
            return result

        return run
