"""Compiled kernels in place of torch expressions: when they may stand in, and how they are run.

A stage function that training differentiates is a torch expression; where no gradient is wanted,
a kernel computes the same in one pass, without temporaries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mggtalk_cli.core.parallel import even_ranges, run_all


def kernel_fits(*tensors: Tensor) -> bool:
    """Return whether a float32 CPU kernel may take these tensors: none of them wants a gradient."""
    wanted = torch.is_grad_enabled()
    return all(
        tensor.dtype == torch.float32
        and tensor.device.type == "cpu"
        and not (wanted and tensor.requires_grad)
        for tensor in tensors
    )


def threads_now() -> int:
    """Return how many threads torch, and so every kernel, is to use."""
    return max(1, torch.get_num_threads())


def array(tensor: Tensor) -> np.ndarray:
    """Return a tensor as a contiguous array without its history."""
    return tensor.detach().contiguous().numpy()


def run_over(count: int, kernel: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Run `kernel(begin, end, *arguments)` over 0..count; return what each thread's range gave.

    Args:
        count: number of items; each range is one call.
        kernel: compiled by `core.parallel.jit`.
        arguments: passed on, tensors as contiguous arrays.
    """
    threads = threads_now()
    passed = [array(value) if isinstance(value, Tensor) else value for value in arguments]
    return run_all(
        [partial(kernel, *part, *passed) for part in even_ranges(count, threads)], threads
    )
