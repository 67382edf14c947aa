"""Training of the deformation network: by where the true frames say the points are, and by pixels.

The flow from the analytic frame to the true one tells the points of the front sheet how far they
are off; the picture itself is compared where the recipe weighs l1, ssim or perceptual.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mggtalk_cli.deform import DeformConfig, Deformed, DeformNetwork
from mggtalk_cli.splat import FRONT
from mggtalk_cli.training import losses
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.driven import DrivenHead, Moment
from mggtalk_cli.training.footage import Footage
from mggtalk_cli.training.pictures import PICTURE, head_psnr
from mggtalk_cli.training.recipe import Recipe

NEEDED = ("flow", "trust")  # of the truth
POINT_STEP = 7  # every so many points of the front sheet are looked at: enough, and quick
# Flow further off than this is an occlusion or an error, and pulls no harder (Charbonnier, px).
SOFTNESS_PX = 1.0
LEAST_TRUST = 1e-3  # divides the flow; where there is less, the flow found is as good as none


@dataclass(frozen=True)
class DeformTask:
    """See `Task`."""

    network: DeformNetwork
    footage: Footage

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The network, by its name in a checkpoint."""
        return {"deform": self.network}

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the terms of one frame, see `Task.loss`."""
        moment = self.footage.moment(step, index)
        posed, analytic = moment.learned(self.network), moment.analytic()
        moved = shift(moment, posed, analytic)
        terms = {
            "flow": flow_term(moment, posed, analytic),
            "offset": losses.offset_loss(moved),
        }
        if self.footage.weighs("temporal"):
            before = moment.before
            earlier = shift(before, before.learned(self.network), before.analytic())
            terms["temporal"] = (moved - earlier).square().sum(-1).mean()
        if self.footage.weighs(*PICTURE):
            terms |= self.footage.compared(moment.drawn(posed), moment.truth, moment.person)
        return terms

    def validate(self) -> dict[str, float]:
        """Return how far points are off (px), and the PSNR over the person, of unseen people."""
        return self.footage.measured(self._numbers)

    def _numbers(self, moment: Moment) -> dict[str, float]:
        posed, analytic = moment.learned(self.network), moment.analytic()
        moved, wanted, trust = disagreement(moment, posed, analytic)
        total = trust.sum().clamp_min(1.0)
        return {
            "analytic_flow_px": float((trust * wanted.norm(dim=-1)).sum() / total),
            "flow_px": float((trust * (moved - wanted).norm(dim=-1)).sum() / total),
            "analytic_db": head_psnr(moment.drawn(analytic), moment),
            "db": head_psnr(moment.drawn(posed), moment),
        }

    def sheet(self) -> np.ndarray:
        """Return true, analytic and learned frames of some people."""
        return self.footage.sheet(
            lambda m: (m.truth, m.drawn(m.analytic()), m.drawn(m.learned(self.network)))
        )


def looked_at(head: DrivenHead) -> slice:
    """Return the points of the front sheet that are looked at."""
    rows = head.grids[FRONT].rows
    return slice(rows.start, rows.stop, POINT_STEP)


def shift(moment: Moment, posed: Deformed, analytic: Deformed) -> Float[Tensor, "n 3"]:
    """Return how far the points looked at are from where they are analytically, cm."""
    return (posed.points - analytic.points)[looked_at(moment.head)]


def flow_term(moment: Moment, posed: Deformed, analytic: Deformed) -> Tensor:
    """Return the mean distance, px, of points from where the flow says they are."""
    moved, wanted, trust = disagreement(moment, posed, analytic)
    distance = ((moved - wanted).square().sum(-1) + SOFTNESS_PX**2).sqrt() - SOFTNESS_PX
    return (trust * distance).sum() / trust.sum().clamp_min(1.0)


def disagreement(
    moment: Moment, posed: Deformed, analytic: Deformed
) -> tuple[Float[Tensor, "n 2"], Float[Tensor, "n 2"], Float[Tensor, " n"]]:
    """Return how a deformation moves points in the picture, how it should, and the trust in that.

    Args:
        moment: whose flow starts at the analytic frame.
        posed: the learned deformation.
        analytic: the analytic one.

    Returns:
        px from the analytic place; px by the flow there; 0..1.
    """
    rows, head = looked_at(moment.head), moment.head
    before, after = (head.seen(each.points[rows]) for each in (analytic, posed))
    flow, trust = moment.flow
    size = before.new_tensor([head.camera.width, head.camera.height])
    maps = torch.cat([flow * trust[..., None], trust[..., None]], -1).permute(2, 0, 1)[None]
    grid = (2 * before / size - 1)[None, None]
    found = functional.grid_sample(maps, grid, align_corners=False)[0, :, 0].T
    wanted = found[:, :2] / found[:, 2:].clamp_min(LEAST_TRUST)
    return after - before, wanted, found[:, 2] * analytic.visibility[rows]


def new_network(preset: str) -> DeformNetwork:
    """Return an untrained network of the size "tiny" or "base"."""
    return DeformNetwork(getattr(DeformConfig, preset)())


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> DeformTask:
    """Return the task of the deform stage."""
    network = new_network(recipe.preset)
    return DeformTask(network, Footage.of(examples, held_out, recipe, network, needed=NEEDED))
