"""Training of the geometry refiner on synthetic heads, whose depth is known.

The surface it starts from is the one `build-head` integrates. A picture says nothing about scale
and distance, so the true depth is first made comparable (`synth.compare`): the faces agree on the
whole. What differs then is what the refiner is to learn: hair, ears, neck, shoulders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mggtalk_cli.assembly import visible_surface, with_seen_lips
from mggtalk_cli.core.camera import pixel_grid
from mggtalk_cli.errors import ArtifactError, InputError
from mggtalk_cli.head import (
    RefinerConfig,
    RefinerNetwork,
    inside_face,
    no_refinement,
    position_normals,
)
from mggtalk_cli.portrait import BuildOptions, measure_portrait
from mggtalk_cli.training import losses
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.example_folder import SYNTHETIC
from mggtalk_cli.training.pictures import mean_rows, side_by_side
from mggtalk_cli.training.recipe import Recipe
from mggtalk_cli.training.schedule import example_seed
from mggtalk_cli.training.synth.compare import comparable_depth

KEPT_SURFACES = 512  # in memory, 3 MB each at 256 px
CHECKED_HEADS = 48
SHOWN_HEADS = 6
# Half of the heads are seen in a mirror, and photos differ in exposure and colour.
MIRRORED, EXPOSURE = 0.5, 0.2
# Brightest in the sheet's error maps, cm.
ERROR_CM = 3.0
# Errors beyond this are where analytic and true outline do not meet, cm.
LARGEST_CM = 8.0


class TrueSurface(NamedTuple):
    """A photo, the surface integrated from it, and where the surface truly is.

    Attributes:
        rgb: (1, 3, H, W) 0..1.
        positions: (1, 3, H, W) integrated surface, head frame, cm.
        mask: (1, 1, H, W) 1 on the person.
        rays: (1, 3, H, W) how a point moves per cm of depth, head frame.
        missing: (1, 1, H, W) cm of depth that the integrated surface lacks.
        known: (1, 1, H, W) 1 where that is known.
        free: (1, 1, H, W) 1 off the face, where the surface may move; 0 well inside it.
    """

    rgb: Tensor
    positions: Tensor
    mask: Tensor
    rays: Tensor
    missing: Tensor
    known: Tensor
    free: Tensor

    def exposed(self, gain: Float[Tensor, "3"]) -> TrueSurface:
        """Return it as another camera would have seen it: each colour times its gain."""
        return self._replace(rgb=(self.rgb * gain.view(1, 3, 1, 1)).clamp(0, 1))

    def mirrored(self) -> TrueSurface:
        """Return it as it is seen in a mirror: left is right, and x is -x."""
        flipped = TrueSurface(*(each.flip(-1) for each in self))
        sign = flipped.positions.new_tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
        return flipped._replace(positions=sign * flipped.positions, rays=sign * flipped.rays)

    def changed(self, generator: np.random.Generator) -> TrueSurface:
        """Return it as another camera, and half the time a mirror, would have seen it."""
        light, *colors = generator.uniform(1 - EXPOSURE, 1 + EXPOSURE, 4)
        seen = self.exposed(self.rgb.new_tensor([light * color for color in colors]))
        return seen.mirrored() if generator.random() < MIRRORED else seen

    def to(self, device: torch.device) -> TrueSurface:
        """Return it on a device."""
        return TrueSurface(*(each.to(device) for each in self))


@lru_cache(KEPT_SURFACES)
def true_surface(example: Example) -> TrueSurface:
    """Return the surface of a synthetic example's photo beside its true depth.

    Raises:
        InputError: no face is found in the photo.
    """
    photo = example.truth("frames", 0, 1)[0]
    options = BuildOptions(size=max(photo.shape[:2]), crop="none")
    portrait = with_seen_lips(measure_portrait(photo, options))
    seen: list[Tensor] = []

    def watching(rgb: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        seen.extend((rgb, positions, mask))
        return no_refinement(rgb, positions, mask)

    view, surface = visible_surface(portrait, options, watching)
    rgb, positions, mask = (each[None].clone() for each in seen)
    camera, true = portrait.camera, example.truth("depth", 0, 1)[0]
    true = comparable_depth(true, surface.depth, view.face, _similarity(example))
    missing = np.where(view.valid, true - surface.depth, np.nan)
    covered = np.abs(missing) < LARGEST_CM  # False where one of them is not known
    missing = np.nan_to_num(missing)
    grid = pixel_grid(*covered.shape)
    ends = [camera.unproject(grid, np.full(covered.shape, z, np.float32)) for z in (0.0, 1.0)]
    return TrueSurface(
        *(rgb, positions, mask),
        torch.from_numpy((ends[1] - ends[0]).astype(np.float32)).permute(2, 0, 1)[None],
        torch.from_numpy((missing * covered).astype(np.float32))[None, None],
        torch.from_numpy(covered.astype(np.float32))[None, None],
        torch.from_numpy(1 - inside_face(view).astype(np.float32))[None, None],
    )


def _similarity(example: Example) -> np.ndarray:
    """Return the (4, 4) similarity from the scene to the fitted head that `synth` noted."""
    numbers = example.note.settings.get("fitted_from_scene")
    fits = isinstance(numbers, list) and len(numbers) == 16
    if not fits or not all(isinstance(x, int | float) and np.isfinite(x) for x in numbers):
        raise ArtifactError(
            f"{example.folder} does not say how its scene was fitted: draw it again with "
            "`mggtalk synth`"
        )
    return np.reshape(numbers, (4, 4))


@dataclass(frozen=True)
class RefinerTask:
    """See `Task`."""

    network: RefinerNetwork
    examples: Sequence[Example]
    held_out: Sequence[Example]
    recipe: Recipe

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The network, by its name in a checkpoint."""
        return {"refiner": self.network}

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the terms of one head, see `Task.loss`."""
        generator = np.random.default_rng(example_seed(self.recipe.seed, step, index))
        example = self.examples[generator.integers(len(self.examples))]
        surface = self.surface(example).changed(generator)
        offset = self.offset(surface)
        return {
            "depth": losses.depth_loss(offset, surface.missing, surface.known),
            "normal": losses.normal_loss(*normals(surface, offset), surface.known),
            "offset": losses.offset_loss(offset.flatten()[:, None]),
        }

    def surface(self, example: Example) -> TrueSurface:
        """Return an example's surface on the network's device."""
        return true_surface(example).to(next(self.network.parameters()).device)

    def offset(self, surface: TrueSurface) -> Float[Tensor, "1 1 h w"]:
        """Return the network's depth offset, cm."""
        found: Tensor = self.network(surface.rgb, surface.positions, surface.mask)
        return found.float() * surface.free

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return errors of depth (cm) and normals (degrees) of heads never seen."""
        return mean_rows([self._numbers(example) for example in self.held_out[:CHECKED_HEADS]])

    def _numbers(self, example: Example) -> dict[str, float]:
        surface = self.surface(example)
        offset = self.offset(surface)
        row = {}
        for name, given in (("analytic_", torch.zeros_like(offset)), ("", offset)):
            row[f"{name}depth_cm"] = float(losses.depth_loss(given, surface.missing, surface.known))
            cosine = 1 - float(losses.normal_loss(*normals(surface, given), surface.known))
            row[f"{name}normal_deg"] = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        return row

    @torch.no_grad()
    def sheet(self) -> np.ndarray:
        """Return photos, and the errors of depth before and after."""
        rows = []
        for example in (self.held_out or self.examples)[:SHOWN_HEADS]:
            surface = self.surface(example)
            offset = self.offset(surface)
            rows.append((surface.rgb, *(_error(surface, each) for each in (0 * offset, offset))))
        return side_by_side(rows)


def normals(
    surface: TrueSurface, offset: Float[Tensor, "1 1 h w"]
) -> tuple[Float[Tensor, "1 3 h w"], Float[Tensor, "1 3 h w"]]:
    """Return normals of the surface moved by an offset (cm of depth), and the true ones."""
    moved, true = (surface.positions + surface.rays * o for o in (offset, surface.missing))
    return position_normals(moved, surface.mask), position_normals(true, surface.known)


def _error(surface: TrueSurface, offset: Tensor) -> Tensor:
    error = surface.known * (offset - surface.missing) / ERROR_CM
    return torch.cat([error.clamp(0, 1), 0 * error, (-error).clamp(0, 1)], 1)


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> RefinerTask:
    """Return the task of the refiner stage.

    Raises:
        InputError: none of the examples is synthetic.
    """
    known = [example for example in examples if example.note.kind == SYNTHETIC]
    if not known:
        raise InputError(
            f"none of {len(examples)} examples has a known depth: make some with `mggtalk synth`"
        )
    kept = [example for example in held_out if example.note.kind == SYNTHETIC]
    network = RefinerNetwork(getattr(RefinerConfig, recipe.preset)())
    return RefinerTask(network, known, kept, recipe)
