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
from mggtalk_cli.splat import DecoderNetworks, Gaussians, LearnedDecoder, densify_gaussians
from mggtalk_cli.training import losses
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.driven import FRONT, MIRROR, DrivenHead, Moment
from mggtalk_cli.training.footage import Footage
from mggtalk_cli.training.pictures import head_psnr
from mggtalk_cli.training.recipe import Recipe

NEEDED = ("frames", "person")  # of the truth
LEAST_SQUARE_CM2 = 1e-12  # of a tangent's length, whose logarithm is taken

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
        terms, image = self.terms(moment, moment.analytic())
        earlier = self.footage.temporal(image, moment, lambda m: self.final(m, m.analytic()))
        return terms | earlier

    def terms(
        self, moment: Moment, posed: Deformed, *, finish: Finish = composited, whole: bool = False
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return the terms of a frame's posed points, and its coarse final frame.

        Args:
            moment: the frame.
            posed: its points.
            finish: makes the final frame.
            whole: compare whole frames, not the person alone: `finish` learns, too.
        """
        head, decoder = moment.head, self.decoder(moment.head)
        coarse = decoder.decode(posed.points, posed.visibility, head.sheet)
        dense = decoder.densify(coarse)
        images, masks = [], []
        for gaussians in (coarse, dense):
            color, alpha = head.drawn(gaussians)
            images.append(finish(moment, color, alpha))
            masks.append(losses.mask_loss(alpha, moment.person))
        mask = None if whole else moment.person
        compared = [self.footage.compared(image, moment.truth, mask) for image in images]
        terms = {
            **losses.mean_terms(*compared),
            "mask": torch.stack(masks).mean(),
            "scale": losses.scale_loss(growth(coarse, moment.gaussians(posed))),
            "offset": losses.offset_loss(dense.means - densify_gaussians(coarse).means),
        }
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
        dense: bool = False,
        finish: Finish = composited,
    ) -> Tensor:
        """Return the final frame (1, 3, H, W) of posed points."""
        head, decoder = moment.head, self.decoder(moment.head)
        gaussians = decoder.decode(posed.points, posed.visibility, head.sheet)
        if dense:
            gaussians = decoder.densify(gaussians)
        return finish(moment, *head.drawn(gaussians))

    def validate(self) -> dict[str, float]:
        """Return the PSNR over the person, of people never seen, coarse and dense."""
        return self.footage.measured(self._numbers)

    def _numbers(self, moment: Moment) -> dict[str, float]:
        posed, head = moment.analytic(), moment.head
        four = head.finished(*head.drawn(densify_gaussians(moment.gaussians(posed))))
        return {
            "analytic_db": head_psnr(moment.drawn(posed), moment),
            "db": head_psnr(self.final(moment, posed), moment),
            "analytic_dense_db": head_psnr(four, moment),
            "dense_db": head_psnr(self.final(moment, posed, dense=True), moment),
        }

    def sheet(self) -> np.ndarray:
        """Return true, analytic and learned frames of some people."""
        return self.footage.sheet(
            lambda m: (m.truth, m.drawn(m.analytic()), self.final(m, m.analytic()))
        )


def growth(learned: Gaussians, analytic: Gaussians) -> Tensor:
    """Return (n, 2) log of how much longer learned tangents are."""
    squares = [g.tangents.square().sum(-1).clamp_min(LEAST_SQUARE_CM2) for g in (learned, analytic)]
    return 0.5 * (squares[0].log() - squares[1].log())


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> DecoderTask:
    """Return the task of the decoder stage."""
    parts = DecoderNetworks.new(recipe.preset)
    given = (examples, held_out, recipe, parts.encoder)
    return DecoderTask(parts, Footage.of(*given, needed=NEEDED))
