"""What the stages that learn from clips share: whose frames, how they are compared and measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mggtalk_cli.errors import InputError
from mggtalk_cli.training import losses
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.driven import Clips, Moment, usable_clips
from mggtalk_cli.training.perceptual import Perceptual, open_perceptual
from mggtalk_cli.training.pictures import mean_rows, side_by_side
from mggtalk_cli.training.recipe import Recipe
from mggtalk_cli.training.sync_expert import SyncExpert, open_expert
from mggtalk_cli.training.task import ANALYTIC, OWN

CHECKED_FRAMES = 4  # of every held-out person, at least
OWN_FRAMES = 100  # in all, where nobody is held out: every frame of one short clip
SHOWN_PEOPLE = 6  # on a sample sheet


@dataclass(frozen=True)
class Footage:
    """Clips to learn from, clips of people held out, and how their frames are compared.

    Attributes:
        clips: to learn from.
        held_out: of people who are never learned from; None = nobody.
        recipe: how to learn.
        perceptual: the perceptual distance; None = without.
        expert: of lip sync; None = without.
        network: the device of which everything is to be on.
    """

    clips: Clips
    held_out: Clips | None
    recipe: Recipe
    perceptual: Perceptual | None
    expert: SyncExpert | None
    network: nn.Module

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        held_out: Sequence[Example],
        recipe: Recipe,
        network: nn.Module,
        *,
        needed: Sequence[str],
    ) -> Footage:
        """Return the clips among examples.

        Args:
            examples: to learn from, of any kind.
            held_out: to measure on.
            recipe: how to learn.
            network: one of those that learn.
            needed: arrays of the truth that clips must have.

        Raises:
            InputError: none of the examples is such a clip of two frames or more.
            WeightsError: the file of the perceptual distance or of the expert is missing or
                damaged.
        """
        usable, kept = usable_clips(examples, needed), usable_clips(held_out, needed)
        if not usable:
            raise InputError(
                f"none of {len(examples)} examples is a clip: make some with `mggtalk prepare`"
            )
        held = Clips(kept) if kept else None
        heard = recipe.expert if recipe.losses.get("sync", 0.0) > 0 else ""
        experts = open_perceptual(recipe.perceptual), open_expert(heard, usable, kept)
        return cls(Clips(usable), held, recipe, *experts, network)

    @property
    def device(self) -> torch.device:
        """Of the networks."""
        return next(self.network.parameters()).device

    def moment(self, step: int, index: int) -> Moment:
        """Return the frame that is learned from, see `Task.loss`."""
        return self.clips.drawn(self.recipe.seed, step, index, device=self.device)

    def weighs(self, *terms: str) -> bool:
        """Return whether the recipe gives any of these terms a weight."""
        return any(self.recipe.losses.get(term, 0.0) > 0 for term in terms)

    def compared(
        self, image: Tensor, truth: Tensor, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return the terms l1, ssim and perceptual of a picture (1, 3, H, W)."""
        distance = self.perceptual.to(image.device) if self.perceptual is not None else None
        return losses.picture_terms(image, truth, mask=mask, perceptual=distance)

    def temporal(
        self, image: Tensor, moment: Moment, final: Callable[[Moment], Tensor]
    ) -> dict[str, Tensor]:
        """Return the term `temporal` of a frame and the one before, {} where it weighs nothing.

        Args:
            image: (1, 3, H, W) final frame of the moment.
            moment: any but the photo.
            final: makes the final frame of the moment before.
        """
        if not self.weighs("temporal"):
            return {}
        frames = torch.cat([final(moment.before), image])
        truth = torch.cat([moment.before.truth, moment.truth])
        return {"temporal": losses.temporal_loss(frames, truth)}

    def sync(self, moment: Moment, final: Callable[[Moment], Tensor]) -> dict[str, Tensor]:
        """Return the term `sync` of the frames around a moment, {} without an expert.

        Args:
            moment: any frame.
            final: makes the final frame (1, 3, H, W) of a moment.
        """
        return {} if self.expert is None else self.expert.term(moment, final)

    @torch.no_grad()
    def measured(self, numbers: Callable[[Moment], Mapping[str, float]]) -> dict[str, float]:
        """Return the mean of numbers over frames of people held out.

        Where nobody is held out, they are of frames learned from and named so: "own_db" and
        "analytic_own_db" instead of "db" and "analytic_db".
        """
        clips, count = self.held_out, CHECKED_FRAMES
        if clips is None:
            clips = self.clips
            count = max(count, OWN_FRAMES // clips.people)
        means = mean_rows([numbers(m) for m in clips.spread(count, device=self.device)])
        return means if self.held_out is not None else {_own(n): v for n, v in means.items()}

    @torch.no_grad()
    def sheet(self, pictures: Callable[[Moment], Sequence[Tensor]]) -> np.ndarray:
        """Return pictures (1, 3, h, w) of one frame of some people, a row each."""
        moments = (self.held_out or self.clips).spread(1, device=self.device)
        shown = zip(range(SHOWN_PEOPLE), moments, strict=False)
        return side_by_side([pictures(moment) for _, moment in shown])


def _own(name: str) -> str:
    """Return the name of a number of frames that were learned from.

    >>> _own("db"), _own("analytic_db")
    ('own_db', 'analytic_own_db')
    """
    if name.startswith(ANALYTIC):
        return ANALYTIC + OWN + name.removeprefix(ANALYTIC)
    return OWN + name
