"""Brows and beards of made-up people."""

from __future__ import annotations

import numpy as np

from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.landmark_groups import BROW_LEFT, BROW_RIGHT
from mggtalk_cli.training.synth.person import Surface, landmarks_of
from mggtalk_cli.training.synth.strands import (
    Body,
    Growth,
    Roots,
    Strands,
    areas,
    grow,
    radii,
    roots_on,
    skin_density,
    tinted,
    unit,
)

AXIS_Z_CM = -4.0  # the head's axis runs through x = 0 and this depth, head frame
BROW_STRANDS, BROW_CM = 520, 0.032
BEARD_STRANDS_PER_CM2, BEARD_CM = 34.0, 0.028
# Length of each kind of beard, cm.
BEARDS = {
    "none": 0.0,
    "stubble": 0.25,
    "short": 0.8,
    "full": 2.2,
    "long": 5.0,
    "goatee": 1.2,
    "moustache": 0.8,
}


def azimuth_deg(rest: np.ndarray) -> np.ndarray:
    """Return (...) how far points (..., 3) at rest lie from the front around the head, 0..180."""
    return np.asarray(np.degrees(np.arctan2(np.abs(rest[..., 0]), rest[..., 2] - AXIS_Z_CM)))


def beard_cover(rest: np.ndarray, kind: str) -> np.ndarray:
    """Return (...) share 0..1 of points (..., 3) at rest on which a beard grows."""
    angle, height = azimuth_deg(rest), rest[..., 1]
    upper = np.interp(angle, (0, 14, 24, 34, 52, 66, 76), (-6.3, -6.1, -3.6, -3.3, -2.2, 0.3, 1.5))
    lower = np.interp(angle, (0, 40, 70), (-10.0, -9.0, -5.5))
    jaw = smoothstep(upper - height, -0.2, 0.5) * smoothstep(height - lower, -0.2, 0.8)
    jaw = jaw * smoothstep(80.0 - angle, 0.0, 8.0)
    if kind == "goatee":
        jaw = jaw * (1 - smoothstep(angle, 14.0, 20.0))
    if kind == "moustache":
        jaw = jaw * 0
    top = np.interp(angle, (0, 10, 20), (-2.5, -2.4, -3.2))
    lip = smoothstep(height, -3.8, -3.3) * smoothstep(top - height, -0.2, 0.3)
    lip = lip * (1 - smoothstep(angle, 13.0, 20.0)) * (0.4 + 0.6 * smoothstep(angle, 0.0, 3.0))
    nose = smoothstep(rest[..., 2], 6.3, 6.8)  # the nose hangs over the lip
    inside = smoothstep(rest[..., 2], -2.5, -1.0)  # not the back of the throat
    return np.asarray(np.maximum(jaw, lip) * (1 - nose) * inside * (kind != "none"))


def brows(head: Surface, color: np.ndarray, random: np.random.Generator) -> Strands:
    """Return both brows, between the brow landmarks' upper and lower edge."""
    landmarks = landmarks_of(head)
    strands = []
    density = random.uniform(0.5, 1.0)
    for group in (BROW_RIGHT, BROW_LEFT):
        upper, lower = landmarks[list(group[:5])], landmarks[list(group[5:])]
        count = int(BROW_STRANDS * density)
        along, across = random.beta(1.2, 1.1, count) * 4, random.uniform(-0.1, 0.9, count)
        # Narrow at the outer end.
        across = 0.45 + (across - 0.45) * np.clip(0.35 + along / 3, 0, 1)
        at = np.minimum(along.astype(int), 3)
        share = (along - at)[:, None]
        top = upper[at] + share * (upper[at + 1] - upper[at])
        bottom = lower[at] + share * (lower[at + 1] - lower[at])
        root = bottom + across[:, None] * (top - bottom) + (0, 0, 0.02)
        outward = unit(upper[at] - upper[at + 1])
        lean = 0.7 * unit(top - bottom) * (across < 0.5)[:, None] * (0.3 + along[:, None] / 4)
        aim = unit(outward + lean + 0.15 * random.normal(size=root.shape))
        length = random.uniform(0.35, 0.8, (count, 1, 1))
        steps = np.linspace(0, 1, 5)[None, :, None]
        strands.append(root[:, None] + length * steps * aim[:, None] + (0, 0, 0.06) * steps)
    points = np.concatenate(strands)
    count = len(points)
    return Strands(points, radii(count, BROW_CM, random), tinted(0.8 * color, count, random))


def beard(
    kind: str,
    color: np.ndarray,
    head: Surface,
    body: Body,
    down: np.ndarray,
    random: np.random.Generator,
) -> Strands:
    """Return a beard of a kind of `BEARDS`; the rest is as `hair.hair_of` takes it."""
    length = BEARDS[kind]
    density = skin_density(head, beard_cover(head.rest, kind))
    count = round(BEARD_STRANDS_PER_CM2 * float((areas(head) * density).sum()))
    points, normals, _ = roots_on(head, density, count, random)
    aside = np.sign(points[:, :1]) * np.array([0.5, 0, 0])
    aim = aside + np.array([0, -1.0, 0.1]) + 0.25 * random.normal(size=points.shape)
    growth = Growth(
        (length, 0.3), lift_cm=min(0.3 * length, 1.2), rise=0.6, weight=0.3, locks=600, gather=0.4,
        curl_cm=(0.05 * length, 1.5), frizz=0.2, free=True,
    )  # fmt: skip
    strands = grow(Roots(points, normals, aim), growth, body, down, random)
    count = len(strands)
    return Strands(strands, radii(count, BEARD_CM, random), tinted(color, count, random))
