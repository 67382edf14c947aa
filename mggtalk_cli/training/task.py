"""What the training loop is given: networks, the loss of an example, and held-out numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

# What the names of numbers begin with: of the analytic variant; of frames that were learned from.
ANALYTIC, OWN = "analytic_", "own_"


class Task(Protocol):
    """Something to learn.

    Attributes:
        networks: what is trained and kept, by the name it has in a checkpoint.
    """

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """What is trained."""

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the terms of the loss of one example, unweighted scalars.

        The device is that of the networks. Which example it is follows from the recipe's seed, the
        step and the index alone (`schedule.example_seed`); torch's own generator is seeded that
        way before every call. A term may be left out where an example has no truth for it.

        Args:
            step: from 0 on.
            index: 0 .. `recipe.examples_per_step` - 1.
        """

    def validate(self) -> dict[str, float]:
        """Return numbers on held-out examples; those of the analytic variant as "analytic_*".

        Where nothing is held out, they may be of what is learned from, as "own_*".
        """

    def sheet(self) -> np.ndarray | None:
        """Return a picture (H, W, 3) uint8 of samples to look at, or None."""


@runtime_checkable
class AdversarialTask(Protocol):
    """A task whose pictures an adversary judges from `recipe.gan_start` on.

    Attributes:
        adversary: networks of the adversary; not part of what is kept.
    """

    @property
    def adversary(self) -> Mapping[str, nn.Module]:
        """What is trained against the task's networks."""

    def adversary_loss(self, step: int, index: int) -> Tensor:
        """Return the adversary's loss for one example, a scalar; see `Task.loss`."""
