"""Compiled kernels on several threads: `jit` compiles one, `run_all` splits its range.

Kernels release the GIL, so ordinary Python threads do. Own threads instead of numba's parallel
layer: two Python threads may compute at once, a forked child gets fresh threads, and callers pass
the number, `torch.get_num_threads()`, at each call. Compiling a kernel, which happens once on a
machine, is announced by a log record.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numba.core import event as compiling

_log = logging.getLogger("mggtalk")

# "contract" allows fused multiply-adds, nothing that changes results between thread counts.
jit = numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")


class _Notice(compiling.Listener):
    """Says, when the first kernel of this package starts compiling, that it takes a while."""

    said = False

    def on_start(self, event: compiling.Event) -> None:
        module = event.data["dispatcher"].py_func.__module__
        if not self.said and module.split(".")[0] == __name__.split(".")[0]:
            self.said = True
            _log.info("compiling the kernels: once on this machine, up to a minute")

    def on_end(self, event: compiling.Event) -> None:
        pass


compiling.register("numba:compile", _Notice())  # type: ignore[no-untyped-call]

_lock = threading.Lock()
_pools: dict[int, ThreadPoolExecutor] = {}


def _forget_after_fork() -> None:
    """Drop the parent's pools: their threads do not exist in a forked child."""
    global _lock
    _lock = threading.Lock()
    _pools.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def even_ranges(count: int, parts: int) -> list[tuple[int, int]]:
    """Return `parts` consecutive ranges that cover 0..count; some may be empty.

    >>> even_ranges(5, 2)
    [(0, 2), (2, 5)]
    """
    edges = [count * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(edges))


def weighted_ranges(offsets: np.ndarray, parts: int) -> list[tuple[int, int]]:
    """Return up to `parts` consecutive item ranges of about equal weight.

    Args:
        offsets: (items + 1,) running total of the items' weights, from 0.
        parts: number of ranges wanted.
    """
    targets = np.linspace(0, offsets[-1], parts + 1)[1:-1]
    edges = [0, *np.searchsorted(offsets, targets).tolist(), len(offsets) - 1]
    return [(begin, end) for begin, end in itertools.pairwise(edges) if begin < end]


def run_all(tasks: list[Callable[[], Any]], threads: int) -> list[Any]:
    """Return the results of all tasks, in order; the caller's thread works too."""
    if threads <= 1 or len(tasks) <= 1:
        return [task() for task in tasks]
    with _lock:
        pool = _pools.get(threads)
        if pool is None:
            pool = _pools[threads] = ThreadPoolExecutor(threads - 1, "mggtalk-kernels")
    waiting = iter(enumerate(tasks))
    results: list[Any] = [None] * len(tasks)
    taking = threading.Lock()

    def work() -> None:
        while True:
            with taking:
                item = next(waiting, None)
            if item is None:
                return
            results[item[0]] = item[1]()

    helpers = [pool.submit(work) for _ in range(min(threads, len(tasks)) - 1)]
    try:
        work()
    finally:
        for helper in helpers:
            helper.result()
    return results
