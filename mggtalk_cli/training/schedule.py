"""What changes with the step: learning rate, moving average of the weights, and random seeds."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

EMA_START = 10.0  # early averages forget faster: (1 + step) / (EMA_START + step)


def rate_share(step: int, *, steps: int, warmup: int) -> float:
    """Return the share of the peak learning rate that step `step` (from 0 on) uses.

    Linear up to the peak in `warmup` steps, then half a cosine down to 0 (Loshchilov and Hutter,
    "SGDR", 2017) that reaches 0 only behind the last step.

    >>> [round(rate_share(step, steps=6, warmup=2), 3) for step in range(6)]
    [0.5, 1.0, 1.0, 0.854, 0.5, 0.146]
    """
    if step < warmup:
        return (step + 1) / warmup
    through = (step - warmup) / max(steps - warmup, 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(through, 1.0)))


def example_seed(*numbers: int) -> int:
    """Return a seed of 63 bits for, say, (seed, step, index): near numbers give unlike seeds.

    Whatever is random in an example is drawn from it alone, so that neither an interruption nor
    the number of processes changes what is learned.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def named_state(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Return the parameters and buffers of the networks themselves, as "network/entry"."""
    return {
        f"{name}/{key}": value
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }


class MovingAverage:
    """The exponential moving average of networks' weights; buffers are those of the last step.

    Attributes:
        tensors: the average by "network/entry".
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        """Start at the weights as they are.

        Args:
            networks: what is averaged.
            decay: share of the old average that a step keeps, once `EMA_START` is far behind.
        """
        self._networks, self._decay = networks, decay
        self.tensors = {key: value.clone() for key, value in named_state(networks).items()}
        self._parameters = {
            f"{name}/{key}"
            for name, network in networks.items()
            for key, _ in network.named_parameters()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after step `step`, counted from 0."""
        decay = min(self._decay, (1.0 + step) / (EMA_START + step))
        for key, value in named_state(self._networks).items():
            if key in self._parameters and value.is_floating_point():
                self.tensors[key].lerp_(value, 1.0 - decay)
            else:
                self.tensors[key].copy_(value)

    @torch.no_grad()
    def copy_to_networks(self) -> None:
        """Make the average the networks' weights."""
        for key, value in named_state(self._networks).items():
            value.copy_(self.tensors[key])

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Let the networks have the average as weights, for inference, and their own back after."""
        own = {key: value.clone() for key, value in named_state(self._networks).items()}
        training = {name: network.training for name, network in self._networks.items()}
        self.copy_to_networks()
        for network in self._networks.values():
            network.eval()
        try:
            yield
        finally:
            with torch.no_grad():
                for key, value in named_state(self._networks).items():
                    value.copy_(own[key])
            for name, network in self._networks.items():
                network.train(training[name])
