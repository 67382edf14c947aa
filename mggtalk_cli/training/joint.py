"""End-to-end training: deformation, decoders and inpainter together, as in the paper.

Gradients of the final frame go through inpainter, rasteriser, decoders and points. Where there are
synthetic heads, the refiner learns from them at the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mggtalk_cli.splat import DecoderNetworks, LearnedDecoder
from mggtalk_cli.training import decoding, deforming, inpainting, losses, refining
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.driven import Moment
from mggtalk_cli.training.example_folder import SYNTHETIC
from mggtalk_cli.training.footage import Footage
from mggtalk_cli.training.patch_gan import new_judge
from mggtalk_cli.training.pictures import head_psnr, psnr
from mggtalk_cli.training.recipe import Recipe

NEEDED = (*deforming.NEEDED, *decoding.NEEDED)  # of the truth


@dataclass(frozen=True)
class JointTask:
    """See `Task` and `AdversarialTask`."""

    deform: deforming.DeformTask
    decoder: decoding.DecoderTask
    inpaint: inpainting.InpaintTask
    refiner: refining.RefinerTask | None
    footage: Footage

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """All networks, by their names in a checkpoint."""
        parts = (self.deform, self.decoder, self.inpaint, self.refiner)
        return {k: n for part in parts if part is not None for k, n in part.networks.items()}

    @property
    def adversary(self) -> Mapping[str, nn.Module]:
        """The judge of the final frames."""
        return self.inpaint.adversary

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the terms of one frame, and of one synthetic head; see `Task.loss`."""
        moment = self.footage.moment(step, index)
        posed, analytic = moment.learned(self.deform.network), moment.analytic()
        finish = self.inpaint.finished
        decoder = self.decoder.decoder(moment.head)
        terms, image = self.decoder.terms(decoder, moment, posed, finish=finish, whole=True)
        terms["flow"] = deforming.flow_term(moment, posed, analytic)
        terms |= self.footage.temporal(image, moment, lambda m: self.final(m, decoder))
        terms |= self.footage.sync(moment, lambda m: self.final(m, decoder))
        if self.footage.recipe.opposed(step):
            terms["gan"] = losses.generator_hinge(self.inpaint.judge(image))
        more = {"offset": losses.offset_loss(deforming.shift(moment, posed, analytic))}
        known = {} if self.refiner is None else self.refiner.loss(step, index)
        return losses.summed_terms(terms, more, known)

    def adversary_loss(self, step: int, index: int) -> Tensor:
        """Return how badly the judge tells true frames from ours."""
        moment, judge = self.footage.moment(step, index), self.inpaint.judge
        with torch.no_grad():
            image = self.final(moment)
        return losses.adversary_hinge(judge(moment.truth), judge(image))

    def final(self, moment: Moment, decoder: LearnedDecoder | None = None) -> Tensor:
        """Return the final frame (1, 3, H, W) through every network; see `DecoderTask.final`."""
        posed = moment.learned(self.deform.network)
        finish = self.inpaint.finished
        return self.decoder.final(moment, posed, decoder=decoder, finish=finish)

    def validate(self) -> dict[str, float]:
        """Return the PSNR over the person and of whole frames, and the refiner's numbers."""
        known = {} if self.refiner is None else self.refiner.validate()
        return known | self.footage.measured(self._numbers)

    def _numbers(self, moment: Moment) -> dict[str, float]:
        analytic, final = moment.drawn(moment.analytic()), self.final(moment)
        return {
            "analytic_db": head_psnr(analytic, moment),
            "db": head_psnr(final, moment),
            "analytic_frame_db": psnr(analytic, moment.truth),
            "frame_db": psnr(final, moment.truth),
        }

    def sheet(self) -> np.ndarray:
        """Return true, analytic and learned frames of some people."""
        return self.footage.sheet(lambda m: (m.truth, m.drawn(m.analytic()), self.final(m)))


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> JointTask:
    """Return the task that trains the stages together."""
    network = deforming.new_network(recipe.preset)
    footage = Footage.of(examples, held_out, recipe, network, needed=NEEDED)
    painter, judge = inpainting.new_network(recipe.preset), new_judge(recipe.preset)
    synthetic = any(example.note.kind == SYNTHETIC for example in examples)
    return JointTask(
        deforming.DeformTask(network, footage),
        decoding.DecoderTask(DecoderNetworks.new(recipe.preset), footage),
        inpainting.InpaintTask(painter, judge, footage),
        refining.task(examples, held_out, recipe) if synthetic else None,
        footage,
    )
