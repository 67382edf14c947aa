"""What a clip says about depth: when a head turns, near points move otherwise than far ones.

A point that truly lies dz farther along its ray than it was drawn is seen J dz beside where it was
drawn, J = d(px) / d(cm). Of the flow f from drawn to true frames, weighted by the trust w in it, an
offset dz leaves

    sum w |f - J dz|^2 = c - 2 b dz + a dz^2,   a = sum w J.J,  b = sum w J.f,  c = sum w f.f

so a clip of any length is three maps over its photo. Points that hardly moved have a small a and
say nothing. What else displaces them (expression, hair that swings) is noise here.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli import deform
from mggtalk_cli.splat import FRONT
from mggtalk_cli.training.driven import DrivenHead
from mggtalk_cli.training.picture_flow import REDUCED

NEEDED = ("flow", "trust")  # of the truth
# Only points that move with the head are asked, all but as a whole.
HEAD_WEIGHT = 0.95
# Flow longer than this is likely to be something else than depth, px; its weight falls.
LIKELY_PX = 3.0
# Least flow, px^2 summed over the photo, for a share of it to mean something.
LEAST_ENERGY = 1e-6


class Parallax(NamedTuple):
    """What the mean frame of a clip says of the depth at every pixel of its photo.

    Attributes:
        curvature: (1, 1, H, W) a, px^2 per cm^2.
        pull: (1, 1, H, W) b, px^2 per cm; positive where the point is farther than drawn.
        energy: (1, 1, H, W) c, px^2.
    """

    curvature: Tensor
    pull: Tensor
    energy: Tensor

    @classmethod
    def none(cls, height: int, width: int) -> Parallax:
        """Return that nothing is known."""
        return cls(*(torch.zeros(1, 1, height, width) for _ in cls._fields))

    def beyond(self, offset: Float[Tensor, "1 1 h w"]) -> Parallax:
        """Return what is said beyond an offset (cm of depth): of a surface that lies there."""
        curvature, pull, energy = self
        explained = (2 * pull - curvature * offset) * offset
        return Parallax(curvature, pull - curvature * offset, energy - explained)

    def flow_left(self, offset: Float[Tensor, "1 1 h w"]) -> Tensor:
        """Return the share of the flow's energy that an offset (cm of depth) leaves; 1 for 0 cm."""
        energy = self.energy.sum().clamp_min(LEAST_ENERGY)
        return 1 - (self.energy - self.beyond(offset).energy).sum() / energy


def drawn_depth(head: DrivenHead) -> Float[np.ndarray, "h w"]:
    """Return the camera depth (cm) of the head in its photo, NaN where it has no point."""
    grid = head.grids[FRONT]
    depth = np.full(grid.valid.numel(), np.nan, np.float32)
    seen = head.camera.project(head.artifact.arrays["positions"][grid.rows])
    depth[grid.places.cpu().numpy()] = seen[:, 2]
    return depth.reshape(grid.valid.shape)


def seen_parallax(head: DrivenHead) -> Parallax:
    """Return what the clip of a driven head says about its depth.

    Args:
        head: of an example whose truth has `NEEDED`; two frames or more.
    """
    grid = head.grids[FRONT]
    rest = head.artifact.arrays["positions"][grid.rows]
    weight = head.artifact.arrays["head_weight"][grid.rows]
    rays = head.camera.rays(head.camera.project(rest)[:, :2])
    flow, trust = (head.example.truth(name, 0, len(head.states)) for name in NEEDED)
    sums = np.zeros((3, len(rest)))
    for index in range(1, len(head.states)):
        state = head.states[index]
        posed = deform.deform_analytic(head.rig, head.source, state)
        points = np.asarray(posed.points[grid.rows])
        rotation, _ = deform.head_motion(state, head.source)
        turned = rays + weight[:, None] * (rays @ rotation.T - rays)
        place = head.camera.project(points)[:, :2]
        moved = head.camera.project(points + turned)[:, :2] - place
        seen = np.asarray(posed.visibility[grid.rows]) * (weight > HEAD_WEIGHT)
        found = _sampled(flow[index].astype(np.float32), place)
        believed = seen * _sampled(trust[index].astype(np.float32) / 255, place)
        believed /= 1 + (found**2).sum(1) / LIKELY_PX**2
        dots = (moved * moved, moved * found, found * found)
        sums += believed * np.stack([each.sum(1) for each in dots])
    maps = np.zeros((3, grid.valid.numel()), np.float32)
    maps[:, grid.places.cpu().numpy()] = sums / (len(head.states) - 1)
    return Parallax(*torch.from_numpy(maps).reshape(3, 1, 1, *grid.valid.shape))


def _sampled(picture: np.ndarray, places_px: np.ndarray) -> np.ndarray:
    """Return values (n, ...) of a picture of `REDUCED` cells at places (n, 2) px of the frame."""
    # OpenCV wants maps of fewer than 2^15 rows and columns.
    columns = 1 << 10
    rows = -(-len(places_px) // columns)
    cells = np.zeros((2, rows * columns), np.float32)
    cells[:, : len(places_px)] = places_px.T / REDUCED - 0.5
    across, down = cells.reshape(2, rows, columns)
    found = cv2.remap(picture, across, down, cv2.INTER_LINEAR)
    return np.asarray(found.reshape(rows * columns, *picture.shape[2:])[: len(places_px)])
