"""A slow function over many inputs, in one process or several, results in the inputs' order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch

Given = TypeVar("Given")
Made = TypeVar("Made")


def in_processes(
    function: Callable[[Given], Made], inputs: Iterable[Given], jobs: int
) -> Iterator[Made]:
    """Yield the function's result for every input, in order.

    Args:
        function: of one input; picklable where `jobs` > 1 (a module's own, or a partial of one).
        inputs: what it is called with.
        jobs: processes that work at once, one thread each; 1 works in this one.
    """
    if jobs == 1:
        yield from map(function, inputs)
        return
    # spawn: libraries with threads do not survive a fork
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, torch.set_num_threads, (1,))
    try:
        yield from pool.map(function, inputs)
        pool.shutdown()
    except BaseException:  # an interrupt must not wait for the work that is under way
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()
        raise
