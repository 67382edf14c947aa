"""Light on made-up heads: a sky of a few directions that bodies and hair block, and one lamp.

    irradiance(v) = sum_k visible_k(v) max(n . l_k, 0) L_k      the sky, per vertex
    + lamp, per pixel, with its own finer shadow map

Visibility is read from depth maps drawn along each direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from mggtalk_cli.core.mesh import rasterize_mesh
from mggtalk_cli.training.synth.strands import unit

SKY_DIRECTIONS = 14
# Shadow maps: half the side, cm, around this point of the head frame, and pixels per side.
HALF_CM, CENTRE = 30.0, np.array([0.0, -6.0, -4.0], np.float32)
SKY_SIDE, LAMP_SIDE = 200, 640
# A surface shadows what lies farther behind it than this, cm, and over this range of more.
SKY_BIAS_CM, LAMP_BIAS_CM, SOFT_CM = 0.6, 0.25, 0.3


@dataclass(frozen=True)
class Light:
    """How a scene is lit; directions point to the light, in the y-up camera frame.

    Attributes:
        sky: (SKY_DIRECTIONS, 3) unit directions and `sky_rgb` (SKY_DIRECTIONS, 3) radiance.
        sky_rgb: see above.
        lamp: (3,) unit direction.
        lamp_rgb: (3,) irradiance of a surface that faces it.
    """

    sky: np.ndarray
    sky_rgb: np.ndarray
    lamp: np.ndarray
    lamp_rgb: np.ndarray


def sample_light(random: np.random.Generator) -> Light:
    """Return random light: soft or hard, warm or cool, mostly from above and in front."""
    index = np.arange(SKY_DIRECTIONS) + 0.5
    rise = 1 - 2 * index / SKY_DIRECTIONS
    turn = np.pi * (1 + 5**0.5) * index
    flat = np.sqrt(1 - rise**2)
    sky = np.stack([flat * np.cos(turn), rise, flat * np.sin(turn)], -1)
    top = _tint(random, 0.15) * random.uniform(0.6, 1.4)
    ground = _tint(random, 0.15) * random.uniform(0.15, 0.7)
    share = (rise[:, None] + 1) / 2
    radiance = ground + share * (top - ground)
    # A window: one side of the sky is brighter.
    side = unit(np.array([random.normal(), random.uniform(-0.2, 0.8), random.uniform(-0.3, 1.2)]))
    window = np.maximum(sky @ side, 0)[:, None] ** 3
    radiance = radiance + random.uniform(0, 2.5) * window * _tint(random, 0.2)
    azimuth, height = random.normal(0, 0.8), random.uniform(-0.1, 1.0)
    lamp = np.array(
        [np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)]
    )
    strength = random.uniform(0.1, 1.0) ** 1.3
    # Together about the same light whatever the mixture; the exposure follows.
    total = np.maximum(sky[:, 2], 0) @ radiance / SKY_DIRECTIONS
    radiance = radiance * (1 - 0.75 * strength) / max(float(total.mean()), 1e-3)
    return Light(sky, radiance, lamp, 1.1 * strength * _tint(random, 0.12))


def _tint(random: np.random.Generator, spread: float) -> np.ndarray:
    """Return (3,) a light's colour of mean 1 between warm and cool."""
    warm = random.normal(0, spread)
    return np.asarray(np.exp(np.array([warm, 0.2 * random.normal(0, spread), -warm])))


class ShadowMap(NamedTuple):
    """The nearest surface along a light's direction.

    Attributes:
        axes: (3, 3) rows right, up, towards the light, in the head frame.
        height: (s, s) cm towards the light, -inf where nothing lies.
    """

    axes: np.ndarray
    height: np.ndarray

    def visible(self, points: np.ndarray, bias_cm: float) -> np.ndarray:
        """Return (n,) float32 share 0..1 of the light that reaches points (n, 3)."""
        x, y, z = _along(self.axes, points)
        side = len(self.height)
        column, row = (x / HALF_CM + 1) / 2 * side - 0.5, (1 - y / HALF_CM) / 2 * side - 0.5
        total = np.zeros(len(points), np.float32)
        for dx, dy in ((-0.6, -0.2), (0.2, -0.6), (0.6, 0.2), (-0.2, 0.6)):
            i = np.clip(np.rint(row + dy).astype(np.int32), 0, side - 1)
            j = np.clip(np.rint(column + dx).astype(np.int32), 0, side - 1)
            hidden = (self.height[i, j] - z - bias_cm) / SOFT_CM
            total += 1 - np.clip(hidden, 0, 1)
        return total / 4


def shadow_map(
    direction: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, side: int
) -> ShadowMap:
    """Return what a light from a direction (3,), head frame, sees of a mesh."""
    towards = unit(direction)
    helper = np.array([0.0, 1.0, 0.0]) if abs(towards[1]) < 0.9 else np.array([1.0, 0.0, 0.0])
    right = unit(np.cross(helper, towards))
    axes = np.stack([right, np.cross(towards, right), towards])
    x, y, z = _along(axes, vertices)
    xy = np.stack([(x / HALF_CM + 1) / 2 * side, (1 - y / HALF_CM) / 2 * side], -1)
    _, _, depth = rasterize_mesh(xy, -z, triangles, height=side, width=side)
    return ShadowMap(axes, -depth)


def _along(axes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return (3, n) float32 coordinates of points (n, 3) along three axes.

    Not a matrix product: threads of the linear algebra library cost more than so thin a one.
    """
    apart = (points - CENTRE).astype(np.float32)
    return np.asarray(np.einsum("ac,nc->an", axes.astype(np.float32), apart))
