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


def run_over(count: int, kernel: Callable[..., Any], *arguments: Any) -> None:
    """Run `kernel(begin, end, *arguments)` over 0..count on torch's number of threads.

    Args:
        count: number of items; each range is one call.
        kernel: compiled by `core.parallel.jit`.
        arguments: passed on, tensors as contiguous arrays.
    """
    threads = max(1, torch.get_num_threads())
    passed = [_array(value) if isinstance(value, Tensor) else value for value in arguments]
    run_all([partial(kernel, *part, *passed) for part in even_ranges(count, threads)], threads)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()
