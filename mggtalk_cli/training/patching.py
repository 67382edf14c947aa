"""Training of the mouth and eye networks on crops of the stored analytic frames.

Only what lies in a region's mask is learned and measured. Where a lip sync expert passed its gate,
mouths are also asked to go with their sound; an adversary may join late.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mggtalk_cli.inpaint import (
    REGIONS,
    Patch,
    PatchConfig,
    PatchNetwork,
    Region,
    cropped,
    patch_of,
    patched,
)
from mggtalk_cli.training import losses
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.driven import Moment
from mggtalk_cli.training.footage import Footage
from mggtalk_cli.training.patch_gan import PatchGan, new_judge
from mggtalk_cli.training.pictures import psnr, sharpness
from mggtalk_cli.training.recipe import Recipe

NEEDED = ("frames", "person", "render")  # of the truth
JUDGED = "mouth"  # whose crops the adversary sees
LEAST_SHARPNESS = 1e-6  # of a true crop, which divides


@dataclass(frozen=True)
class PatchTask:
    """See `Task` and `AdversarialTask`."""

    parts: Mapping[str, PatchNetwork]
    judge: PatchGan
    footage: Footage

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The networks, by their names in a checkpoint."""
        return self.parts

    @property
    def adversary(self) -> Mapping[str, nn.Module]:
        """The judge of mouths."""
        return {"judge": self.judge}

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the terms of one frame, see `Task.loss`."""
        moment = self.footage.moment(step, index)
        terms = losses.mean_terms(
            *(self._terms(region, name, moment, step) for name, region in self._regions())
        )
        return terms | self.footage.sync(moment, lambda each: self.final(each, JUDGED))

    def _terms(self, region: Region, name: str, moment: Moment, step: int) -> dict[str, Tensor]:
        crop, truth, mask = self.crops(region, name, moment)
        terms = self.footage.compared(crop, truth, mask)
        if self.footage.weighs("temporal"):
            earlier, before, _ = self.crops(region, name, moment.before)
            pair = torch.cat([earlier, crop]), torch.cat([before, truth])
            terms["temporal"] = losses.temporal_loss(*(mask * each for each in pair))
        if name == JUDGED and self.footage.recipe.opposed(step):
            terms["gan"] = losses.generator_hinge(self.judge(crop))
        return terms

    def adversary_loss(self, step: int, index: int) -> Tensor:
        """Return how badly the judge tells true mouths from ours."""
        moment = self.footage.moment(step, index)
        with torch.no_grad():
            crop, truth, _ = self.crops(REGIONS[JUDGED][0], JUDGED, moment)
        return losses.adversary_hinge(self.judge(truth), self.judge(crop))

    def _regions(self) -> Iterator[tuple[str, Region]]:
        for name in self.parts:
            for region in REGIONS[name]:
                yield name, region

    def patch(self, region: Region, name: str, moment: Moment) -> Patch:
        """Return what the network of that name is told of a region."""
        given = (moment.head.portrait, moment.landmarks, moment.state.beta)
        return patch_of(region, self.parts[name].config, *given)

    def crops(self, region: Region, name: str, moment: Moment) -> tuple[Tensor, Tensor, Tensor]:
        """Return a region's corrected and true crop (1, 3, h, w), and its mask (1, 1, h, w)."""
        patch = self.patch(region, name, moment)
        frame = patched(self.parts[name], _hwc(analytic(moment)), patch)
        crop, truth = (cropped(each, patch.placement) for each in (frame, _hwc(moment.truth)))
        mask = torch.from_numpy(patch.mask).to(crop)
        return crop[None], truth[None], mask[None, None]

    def plain(self, region: Region, name: str, moment: Moment) -> Tensor:
        """Return a region's analytic crop (1, 3, h, w)."""
        return cropped(_hwc(analytic(moment)), self.patch(region, name, moment).placement)[None]

    def final(self, moment: Moment, *names: str) -> Tensor:
        """Return the final frame (1, 3, H, W), corrected by the networks of some names."""
        frame = _hwc(analytic(moment))
        for name, region in self._regions():
            if name in names:
                frame = patched(self.parts[name], frame, self.patch(region, name, moment))
        return frame.permute(2, 0, 1)[None]

    def validate(self) -> dict[str, float]:
        """Return PSNR and sharpness inside the regions, of people never seen."""
        return self.footage.measured(self._numbers)

    def _numbers(self, moment: Moment) -> dict[str, float]:
        row: dict[str, list[float]] = {}
        for name, region in self._regions():
            crop, truth, mask = self.crops(region, name, moment)
            true = max(sharpness(truth, mask), LEAST_SHARPNESS)
            for kind, picture in (("analytic_", self.plain(region, name, moment)), ("", crop)):
                row.setdefault(f"{kind}{name}_db", []).append(psnr(picture, truth, mask))
                ratio = sharpness(picture, mask) / true
                row.setdefault(f"{kind}{name}_sharpness", []).append(ratio)
        return {key: float(np.mean(values)) for key, values in row.items()}

    def sheet(self) -> np.ndarray:
        """Return true, analytic and corrected mouths of some people."""
        region = REGIONS[JUDGED][0]

        def mouths(moment: Moment) -> tuple[Tensor, ...]:
            crop, truth, _ = self.crops(region, JUDGED, moment)
            return truth, self.plain(region, JUDGED, moment), crop

        return self.footage.sheet(mouths)


def analytic(moment: Moment) -> Tensor:
    """Return the final frame (1, 3, H, W) of the stored analytic render."""
    return moment.head.finished(*moment.render())


def _hwc(picture: Tensor) -> Tensor:
    return picture[0].permute(1, 2, 0)


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> PatchTask:
    """Return the task of the mouth stage: mouth and eyes.

    Raises:
        InputError: see `Footage.of`.
        WeightsError: see `Footage.of`.
    """
    config = getattr(PatchConfig, recipe.preset)()
    parts = {name: PatchNetwork(config) for name in REGIONS}
    footage = Footage.of(examples, held_out, recipe, parts[JUDGED], needed=NEEDED)
    return PatchTask(parts, new_judge(recipe.preset), footage)
