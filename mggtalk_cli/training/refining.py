"""Training of the geometry refiner: on synthetic heads, whose depth is known, and on clips.

The surface it starts from is the one `build-head` integrates. A picture says nothing about scale
and distance, so the true depth of a synthetic head is first made comparable (`synth.compare`): the
faces agree on the whole. What differs then is what the refiner is to learn: hair, ears, neck,
shoulders. Of real people only their motion is known, which shows depth as parallax.
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
from mggtalk_cli.training import losses, parallax
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.driven import DrivenHead, usable_clips
from mggtalk_cli.training.example_folder import SYNTHETIC
from mggtalk_cli.training.parallax import Parallax
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


class KnownSurface(NamedTuple):
    """A photo, the surface integrated from it, and what is known of where the surface truly is.

    Attributes:
        rgb: (1, 3, H, W) 0..1.
        positions: (1, 3, H, W) integrated surface, head frame, cm.
        mask: (1, 1, H, W) 1 on the person.
        free: (1, 1, H, W) 1 off the face, where the surface may move; 0 well inside it.
        rays: (1, 3, H, W) how a point moves per cm of depth, head frame.
        missing: (1, 1, H, W) cm of depth that the integrated surface lacks.
        known: (1, 1, H, W) 1 where that is known, nowhere of a clip.
        curvature: (1, 1, H, W) see `Parallax`; so the other two, 0 of a synthetic head.
        pull: (1, 1, H, W).
        energy: (1, 1, H, W).
    """

    rgb: Tensor
    positions: Tensor
    mask: Tensor
    free: Tensor
    rays: Tensor
    missing: Tensor
    known: Tensor
    curvature: Tensor
    pull: Tensor
    energy: Tensor

    @property
    def parallax(self) -> Parallax:
        """What the clip shows."""
        return Parallax(self.curvature, self.pull, self.energy)

    def exposed(self, gain: Float[Tensor, "3"]) -> KnownSurface:
        """Return it as another camera would have seen it: each colour times its gain."""
        return self._replace(rgb=(self.rgb * gain.view(1, 3, 1, 1)).clamp(0, 1))

    def mirrored(self) -> KnownSurface:
        """Return it as it is seen in a mirror: left is right, and x is -x."""
        flipped = KnownSurface(*(each.flip(-1) for each in self))
        sign = flipped.positions.new_tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
        return flipped._replace(positions=sign * flipped.positions, rays=sign * flipped.rays)

    def changed(self, generator: np.random.Generator) -> KnownSurface:
        """Return it as another camera, and half the time a mirror, would have seen it."""
        light, *colors = generator.uniform(1 - EXPOSURE, 1 + EXPOSURE, 4)
        seen = self.exposed(self.rgb.new_tensor([light * color for color in colors]))
        return seen.mirrored() if generator.random() < MIRRORED else seen

    def to(self, device: torch.device) -> KnownSurface:
        """Return it on a device."""
        return KnownSurface(*(each.to(device) for each in self))


@lru_cache(KEPT_SURFACES)
def known_surface(example: Example) -> KnownSurface:
    """Return the surface of an example's photo beside what is known of the truth.

    Raises:
        InputError: no face is found in the photo.
    """
    photo = example.truth("frames", 0, 1)[0]
    options = BuildOptions(size=max(photo.shape[:2]), crop="none")
    portrait = with_seen_lips(measure_portrait(photo, options))
    seen: list[Tensor] = []

    def watching(rgb: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        seen.extend(each[None].clone() for each in (rgb, positions, mask))
        return no_refinement(rgb, positions, mask)

    view, surface = visible_surface(portrait, options, watching)
    shape = surface.depth.shape
    missing, known, shown = np.zeros(shape), np.zeros(shape, bool), Parallax.none(*shape)
    if example.note.kind == SYNTHETIC:
        true = example.truth("depth", 0, 1)[0]
        true = comparable_depth(true, surface.depth, view.face, _similarity(example))
        missing = np.where(view.valid, true - surface.depth, np.nan)
        known = np.abs(missing) < LARGEST_CM  # False where one of them is not known
        missing = np.nan_to_num(missing) * known
    else:
        driven = DrivenHead.open(example, torch.device("cpu"))
        # The head that was drawn may be an older version's.
        since = np.nan_to_num(surface.depth - parallax.drawn_depth(driven))
        shown = parallax.seen_parallax(driven).beyond(torch.from_numpy(np.float32(since)))
    rgb, positions, mask = seen
    maps = [1 - inside_face(view, filled=True), missing, known]
    free, lacks, where = (torch.from_numpy(np.float32(each))[None, None] for each in maps)
    rays = torch.from_numpy(portrait.camera.rays(pixel_grid(*shape))).permute(2, 0, 1)[None]
    return KnownSurface(rgb, positions, mask, free, rays, lacks, where, *shown)


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
    """See `Task`.

    Attributes:
        network: the refiner.
        groups: synthetic heads, and clips, as far as there are any, person by person; batches
            take from them by turns.
        held_out: examples to measure on.
        recipe: how to learn.
    """

    network: RefinerNetwork
    groups: Sequence[Sequence[Sequence[Example]]]
    held_out: Sequence[Example]
    recipe: Recipe

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The network, by its name in a checkpoint."""
        return {"refiner": self.network}

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the terms of one head, see `Task.loss`: people alike, then their examples."""
        generator = np.random.default_rng(example_seed(self.recipe.seed, step, index))
        group = self.groups[index % len(self.groups)]
        person = group[int(generator.integers(len(group)))]
        example = person[int(generator.integers(len(person)))]
        surface = self.surface(example).changed(generator)
        offset = self.offset(surface)
        common = {
            "offset": losses.offset_loss(offset.flatten()[:, None]),
            "smooth": losses.slope_loss(offset, surface.mask),
        }
        if example.note.kind != SYNTHETIC:
            return common | {"parallax": surface.parallax.flow_left(offset)}
        return common | {
            "depth": losses.depth_loss(offset, surface.missing, surface.known),
            "normal": losses.normal_loss(*normals(surface, offset), surface.known),
        }

    def surface(self, example: Example) -> KnownSurface:
        """Return an example's surface on the network's device."""
        return known_surface(example).to(next(self.network.parameters()).device)

    def offset(self, surface: KnownSurface) -> Float[Tensor, "1 1 h w"]:
        """Return the network's depth offset, cm."""
        found: Tensor = self.network(surface.rgb, surface.positions, surface.mask)
        return found.float() * surface.free

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Return errors of heads never seen: depth (cm), normals (degrees), flow left (share)."""
        measured = [self._numbers(example) for example in self.held_out]
        kinds = [[row for row in measured if key in row] for key in ("depth_cm", "flow_left")]
        return {k: v for rows in kinds if rows for k, v in mean_rows(rows).items()}

    def _numbers(self, example: Example) -> dict[str, float]:
        surface = self.surface(example)
        offset = self.offset(surface)
        row = {}
        for name, given in (("analytic_", torch.zeros_like(offset)), ("", offset)):
            if example.note.kind != SYNTHETIC:
                row[f"{name}flow_left"] = float(surface.parallax.flow_left(given))
                continue
            row[f"{name}depth_cm"] = float(losses.depth_loss(given, surface.missing, surface.known))
            cosine = 1 - float(losses.normal_loss(*normals(surface, given), surface.known))
            row[f"{name}normal_deg"] = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        return row

    @torch.no_grad()
    def sheet(self) -> np.ndarray:
        """Return photos, their offsets, and of synthetic heads what is missing before and after."""
        shown = self.held_out or [example for group in self.groups for (example, *_) in group]
        rows = []
        for example in shown[:SHOWN_HEADS]:
            surface = self.surface(example)
            offset = self.offset(surface)
            errors = (surface.known * (each - surface.missing) for each in (0 * offset, offset))
            rows.append((surface.rgb, *(_in_colors(each) for each in (offset, *errors))))
        return side_by_side(rows)


def normals(
    surface: KnownSurface, offset: Float[Tensor, "1 1 h w"]
) -> tuple[Float[Tensor, "1 3 h w"], Float[Tensor, "1 3 h w"]]:
    """Return normals of the surface moved by an offset (cm of depth), and the true ones."""
    moved, true = (surface.positions + surface.rays * o for o in (offset, surface.missing))
    return position_normals(moved, surface.mask), position_normals(true, surface.known)


def _in_colors(depth_cm: Tensor) -> Tensor:
    """Return (1, 3, H, W): red where too far, blue where too near."""
    share = depth_cm / ERROR_CM
    return torch.cat([share.clamp(0, 1), 0 * share, (-share).clamp(0, 1)], 1)


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> RefinerTask:
    """Return the task of the refiner stage.

    Raises:
        InputError: no example is synthetic, or a clip that shows motion.
    """
    groups = [people for people in _by_person(examples) if people]
    if not groups:
        raise InputError(
            f"none of {len(examples)} examples says anything of depth: make some with `mggtalk "
            "synth`, or `prepare` of clips of two frames or more"
        )
    kept = [e for group in _by_person(held_out) for (e, *_) in group[:CHECKED_HEADS]]
    network = RefinerNetwork(getattr(RefinerConfig, recipe.preset)())
    return RefinerTask(network, groups, kept, recipe)


def _by_person(examples: Sequence[Example]) -> list[list[list[Example]]]:
    """Return the synthetic heads and the usable clips, each person by person."""
    drawn = [example for example in examples if example.note.kind == SYNTHETIC]
    grouped = []
    for kind in (drawn, usable_clips(examples, parallax.NEEDED)):
        people = sorted({example.note.identity for example in kind})
        grouped.append([[e for e in kind if e.note.identity == person] for person in people])
    return grouped
