"""Training of the inpainter: from the stored analytic render to the true frame.

It learns what lies between head and background: hair's edge, the collar, what a turning head
uncovers. An adversary (PatchGAN) joins late, when the reconstruction has settled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mggtalk_cli.inpaint import InpaintConfig, Inpainter, inpainted
from mggtalk_cli.training import losses
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.driven import Moment
from mggtalk_cli.training.footage import Footage
from mggtalk_cli.training.patch_gan import PatchGan, new_judge
from mggtalk_cli.training.pictures import psnr
from mggtalk_cli.training.recipe import Recipe

NEEDED = ("frames", "person", "render")  # of the truth


@dataclass(frozen=True)
class InpaintTask:
    """See `Task` and `AdversarialTask`."""

    network: Inpainter
    judge: PatchGan
    footage: Footage

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The network, by its name in a checkpoint."""
        return {"inpaint": self.network}

    @property
    def adversary(self) -> Mapping[str, nn.Module]:
        """The judge of its pictures."""
        return {"judge": self.judge}

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the terms of one frame, see `Task.loss`."""
        moment = self.footage.moment(step, index)
        image = self.final(moment)
        terms = self.footage.compared(image, moment.truth)
        terms |= self.footage.temporal(image, moment, self.final)
        if self.footage.recipe.opposed(step):
            terms["gan"] = losses.generator_hinge(self.judge(image))
        return terms

    def adversary_loss(self, step: int, index: int) -> Tensor:
        """Return how badly the judge tells true frames from inpainted ones."""
        moment = self.footage.moment(step, index)
        with torch.no_grad():
            image = self.final(moment)
        return losses.adversary_hinge(self.judge(moment.truth), self.judge(image))

    def final(self, moment: Moment) -> Tensor:
        """Return the final frame (1, 3, H, W) of the stored render."""
        return self.finished(moment, *moment.render())

    def finished(self, moment: Moment, color: Tensor, alpha: Tensor) -> Tensor:
        """Return the final frame (1, 3, H, W) of premultiplied colour and alpha."""
        head = moment.head
        return inpainted(self.network, color, alpha, head.plate, head.matte)

    def validate(self) -> dict[str, float]:
        """Return the PSNR of whole frames of people never seen."""
        return self.footage.measured(self._numbers)

    def _numbers(self, moment: Moment) -> dict[str, float]:
        analytic, final = moment.head.finished(*moment.render()), self.final(moment)
        return {
            "analytic_db": psnr(analytic, moment.truth),
            "db": psnr(final, moment.truth),
            "analytic_person_db": psnr(analytic, moment.truth, moment.person),
            "person_db": psnr(final, moment.truth, moment.person),
        }

    def sheet(self) -> np.ndarray:
        """Return true, analytic and inpainted frames of some people."""
        return self.footage.sheet(lambda m: (m.truth, m.head.finished(*m.render()), self.final(m)))


def new_network(preset: str) -> Inpainter:
    """Return an untrained network of the size "tiny" or "base"."""
    return Inpainter(getattr(InpaintConfig, preset)())


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> InpaintTask:
    """Return the task of the inpaint stage."""
    network = new_network(recipe.preset)
    footage = Footage.of(examples, held_out, recipe, network, needed=NEEDED)
    return InpaintTask(network, new_judge(recipe.preset), footage)
