"""Half precision for networks alone: poses, rasteriser and losses need the other bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

# Devices on which trained networks compute in half precision, and in which. Activations are
# normalised, so float16 holds them; it rounds them eight times finer than bfloat16. Where networks
# change frames by 4 to 8 of 255 on average, it changes pixels by 3 at most, and all but 1 in 10^5
# by at most 2 (bfloat16: 5, and 3 in 10^4 by more than 2).
HALF_ON: dict[str, torch.dtype] = {"cuda": torch.float16}


def halve(network: nn.Module, dtype: torch.dtype) -> None:
    """Let a network compute in half precision from now on, and answer in float32.

    Its weights stay as they are; `del network.forward` ends it.

    Args:
        network: called by `network(...)`, a tensor first.
        dtype: torch.float16 or torch.bfloat16.
    """
    setattr(network, "forward", partial(_in_half, network.forward, dtype))  # noqa: B010


def _in_half(forward: Callable[..., Any], dtype: torch.dtype, *inputs: Tensor, **more: Any) -> Any:
    with torch.autocast(inputs[0].device.type, dtype):
        made = forward(*inputs, **more)
    return made.float() if isinstance(made, Tensor) else tuple(each.float() for each in made)
