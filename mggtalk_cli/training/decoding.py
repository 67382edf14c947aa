"""Training of the Gaussian decoders, end to end through the rasteriser.

The points are the analytic ones; encoder, decoder, symmetric decoder and densifier learn from the
true frame, on the coarse AND on the dense render, as in the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mggtalk_cli.deform import Deformed
from mggtalk_cli.splat import (
    FRONT,
    MIRROR,
    DecoderNetworks,
    LearnedDecoder,
    corrected,
    densify_gaussians,
    log_scales,
)
from mggtalk_cli.training import losses
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.driven import DrivenHead, Moment
from mggtalk_cli.training.footage import Footage
from mggtalk_cli.training.pictures import head_psnr
from mggtalk_cli.training.recipe import Recipe

NEEDED = ("frames", "person")  # of the truth

# A moment's premultiplied colour and alpha to its final frame.
Finish = Callable[[Moment, Tensor, Tensor], Tensor]


def composited(moment: Moment, color: Tensor, alpha: Tensor) -> Tensor:
    """Return the analytic final frame."""
    return moment.head.finished(color, alpha)


@dataclass(frozen=True)
class DecoderTask:
    """See `Task`."""

    parts: DecoderNetworks
    footage: Footage

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks, by their names in a checkpoint."""
        return self.parts.by_name()

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the terms of one frame, see `Task.loss`."""
        moment = self.footage.moment(step, index)
        decoder = self.decoder(moment.head)
        terms, image = self.terms(decoder, moment, moment.analytic())

        def final(each: Moment) -> Tensor:
            return self.final(each, each.analytic(), decoder=decoder)

        terms |= self.footage.temporal(image, moment, final)
        return terms | self.footage.sync(moment, final)

    def terms(
        self,
        decoder: LearnedDecoder,
        moment: Moment,
        posed: Deformed,
        *,
        finish: Finish = composited,
        whole: bool = False,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms of a frame's posed points, and its coarse final frame.

        Args:
            decoder: of the head.
            moment: the frame.
            posed: its points.
            finish: makes the final frame.
            whole: compare whole frames, not the person alone: `finish` learns, too.
        """
        raw = decoder.raw(posed.points[None])[0]
        coarse = corrected(moment.gaussians(posed), raw)
        terms = {"scale": losses.scale_loss(log_scales(raw)[:, :2])}
        drawn = [coarse]
        if self.footage.recipe.dense:
            dense = decoder.densify(coarse)
            drawn.append(dense)
            terms["offset"] = losses.offset_loss(dense.means - densify_gaussians(coarse).means)
        images, masks = [], []
        for gaussians in drawn:
            color, alpha = moment.head.drawn(gaussians)
            images.append(finish(moment, color, alpha))
            masks.append(losses.mask_loss(alpha, moment.person))
        mask = None if whole else moment.person
        compared = [self.footage.compared(image, moment.truth, mask) for image in images]
        terms |= losses.mean_terms(*compared)
        terms["mask"] = torch.stack(masks).mean()
        return terms, images[0]

    def decoder(self, head: DrivenHead) -> LearnedDecoder:
        """Return the decoder of a head."""
        return LearnedDecoder.of(
            self.parts, head.photo[0], head.grids[FRONT], head.grids.get(MIRROR)
        )

    def final(
        self,
        moment: Moment,
        posed: Deformed,
        *,
        decoder: LearnedDecoder | None = None,
        dense: bool = False,
        finish: Finish = composited,
    ) -> Tensor:
        """Return the final frame (1, 3, H, W) of posed points; `decoder` is that of the head."""
        head = moment.head
        decoder = decoder or self.decoder(head)
        gaussians = decoder.decode(posed.points, posed.visibility, head.sheet)
        if dense:
            gaussians = decoder.densify(gaussians)
        return finish(moment, *head.drawn(gaussians))

    def validate(self) -> dict[str, float]:
        """Return the PSNR over the person, of people never seen, coarse and dense."""
        return self.footage.measured(self._numbers)

    def _numbers(self, moment: Moment) -> dict[str, float]:
        posed, head, decoder = moment.analytic(), moment.head, self.decoder(moment.head)
        four = head.finished(*head.drawn(densify_gaussians(moment.gaussians(posed))))
        return {
            "analytic_db": head_psnr(moment.drawn(posed), moment),
            "db": head_psnr(self.final(moment, posed, decoder=decoder), moment),
            "analytic_dense_db": head_psnr(four, moment),
            "dense_db": head_psnr(self.final(moment, posed, decoder=decoder, dense=True), moment),
        }

    def sheet(self) -> np.ndarray:
        """Return true, analytic and learned frames of some people."""
        return self.footage.sheet(
            lambda m: (m.truth, m.drawn(m.analytic()), self.final(m, m.analytic()))
        )


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> DecoderTask:
    """Return the task of the decoder stage."""
    parts = DecoderNetworks.new(recipe.preset)
    given = (examples, held_out, recipe, parts.encoder)
    return DecoderTask(parts, Footage.of(*given, needed=NEEDED))
