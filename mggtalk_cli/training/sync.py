"""`mggtalk train sync`: SyncNet learns whether lips and sound are of one moment.

The architecture is the published one (Chung and Zisserman 2016; `evaluation.backbones.SyncNet`) at
the widths of the recipe's preset, on the crops and cepstra that LSE is measured with. What it is
for: `sync_expert`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.backbones import SyncConfig, SyncNet
from mggtalk_cli.evaluation.lip_sync import WINDOW
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.recipe import Recipe
from mggtalk_cli.training.schedule import example_seed
from mggtalk_cli.training.sync_expert import EXPERT
from mggtalk_cli.training.sync_pairs import (
    LEAST_FRAMES,
    draw_pairs,
    judged,
    measured,
    speech_of,
    usable,
)

# Windows in one call of the loss, of as many people as there are: batch normalisation would take a
# single clip's statistics for the world's.
WINDOWS = 8
HELD_OUT_CLIPS = 64
SHEET_ROWS = 6


class SyncTask:
    """Learns to tell true pairs from false ones; see `training.task.Task`."""

    def __init__(
        self, examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe
    ) -> None:
        """Take the examples that have enough sound.

        Raises:
            InputError: none has.
        """
        self._recipe = recipe
        self._people: dict[str, list[Example]] = {}
        for example in filter(usable, examples):
            self._people.setdefault(example.note.identity, []).append(example)
        if not self._people:
            raise InputError(
                f"none of {len(examples)} examples has {LEAST_FRAMES} frames with the cepstra of "
                "their sound: prepare clips of people who talk, older examples again"
            )
        self._held_out = [e for e in held_out if usable(e)][:HELD_OUT_CLIPS]
        self._network = SyncNet(getattr(SyncConfig, recipe.preset)())

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The expert."""
        return {EXPERT: self._network}

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the loss on pairs of several people; see `Task.loss`."""
        generator = np.random.default_rng(example_seed(self._recipe.seed, step, index))
        people = list(self._people.values())
        clips = [people[i] for i in generator.integers(len(people), size=WINDOWS)]
        speeches = [speech_of(of[generator.integers(len(of))]) for of in clips]
        return {"sync": judged(self._network, draw_pairs(speeches, generator, changed=True))[0]}

    def validate(self) -> dict[str, float]:
        """Return loss and accuracy on people it never saw; guessing is right half the time."""
        if not self._held_out:
            return {}
        loss, accuracy = measured(self._network, self._held_out)
        return {
            "sync_loss": loss,
            "sync_accuracy": accuracy,
            "analytic_sync_loss": math.log(2.0),
            "analytic_sync_accuracy": 0.5,
        }

    def sheet(self) -> np.ndarray | None:
        """Return the first window of some held-out clips, a row each, as SyncNet sees it."""
        rows = [speech_of(example).lips(0)[0] for example in self._held_out[:SHEET_ROWS]]
        if not rows:
            return None
        lines = [torch.cat([row[:, i] for i in range(WINDOW)], 2) for row in rows]
        shown = torch.cat(lines, 1).flip(0).permute(1, 2, 0)
        return np.ascontiguousarray((shown + 0.5).clamp(0, 255).byte().numpy())


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> SyncTask:
    """Return the task of `mggtalk train sync`."""
    return SyncTask(examples, held_out, recipe)
