"""Teeth drawn on the face model's dental arches: crowns of human width, necks, gums, bite edge.

The model's teeth are two smooth strips. Which crown a point of a strip belongs to follows from its
arc length along the arch; how far it lies from the strip's biting edge says whether it is crown,
gum, or the free space beside a rounded corner.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mggtalk_cli.core.interpolation import smoothstep


@dataclass(frozen=True)
class Arch:
    """One row of teeth of an adult.

    Attributes:
        widths_cm: of the crowns from the middle to the side.
        height_cm: of a front crown, biting edge to gum.
        recess_cm: how much each crown falls short of the biting line.
        bite: +1 if the biting edge looks up, -1 if it looks down.
        light: share of the light on the face that reaches the front teeth.
    """

    widths_cm: tuple[float, ...]
    height_cm: float
    recess_cm: tuple[float, ...]
    bite: int
    light: float


# Mean crown sizes of permanent teeth: central and lateral incisor, canine, premolars, molars.
UPPER = Arch(
    (0.86, 0.66, 0.76, 0.70, 0.68, 1.0, 1.0), 1.0, (0, 0.06, 0.02, 0.05, 0.06, 0.08, 0.1), -1, 0.95
)
LOWER = Arch(
    (0.53, 0.58, 0.68, 0.70, 0.71, 1.1, 1.0), 0.85, (0, 0.01, 0.0, 0.05, 0.06, 0.08, 0.1), 1, 0.8
)
ARCHES = {"teeth_upper": UPPER, "teeth_lower": LOWER}

# How far the corners of a crown are rounded off, and the width of its soft outline, cm.
CORNER_CM, SOFT_CM = 0.10, 0.04

# The line between two crowns: half its width in cm and how much it darkens.
GAP_CM, GAP_DARK = 0.035, 0.42

# Gums climb between the crowns by this much, cm.
PAPILLA_CM = 0.2


def crowns(
    arch: Arch, positions: np.ndarray, valid: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what a strip of teeth looks like, each (h, w).

    Args:
        arch: which row of teeth.
        positions: (h, w, 3) points of the strip, head frame, cm.
        valid: (h, w) bool, where it has points.

    Returns:
        coverage 0..1 (0 beside rounded corners), shade 0..1 (dark between crowns and at the side
        of the arch) and gum 0..1.
    """
    x, y, z = positions[..., 0], positions[..., 1], positions[..., 2]
    bend = _bend(x[valid], z[valid])
    along = np.abs(_arc_length(x, bend))
    ends = np.cumsum(arch.widths_cm)
    tooth = np.minimum(np.searchsorted(ends, along), len(ends) - 1)
    width = np.array(arch.widths_cm)[tooth]
    across = np.clip((along - (ends[tooth] - width / 2)) / (width / 2), -1, 1)
    depth = _biting_line(x, arch.bite * y, valid) - arch.bite * y
    corner = CORNER_CM * np.abs(across) ** 5 + np.array(arch.recess_cm)[tooth]
    coverage = smoothstep(depth - corner, -SOFT_CM / 2, SOFT_CM)
    neck = arch.height_cm * (0.85 if arch.bite > 0 else 1.0) - PAPILLA_CM * across**4
    gum = smoothstep(depth - neck, -SOFT_CM, SOFT_CM)
    to_gap = (1 - np.abs(across)) * width / 2
    line = 1 - GAP_DARK * np.exp(-((to_gap / GAP_CM) ** 2)) * (1 - gum)
    # A crown is a barrel: its flanks turn away, its neck is yellower and darker than its edge.
    barrel = 1 - 0.14 * across**2 - 0.12 * smoothstep(depth, 0.3 * arch.height_cm, arch.height_cm)
    # The arch turns its side teeth away from the light.
    facing = 1 / np.sqrt(1 + (2 * bend * x) ** 2)
    return coverage, line * barrel * (0.35 + 0.65 * facing), gum


def _bend(x: np.ndarray, z: np.ndarray) -> float:
    """Return b of the parabola z = z0 - b x^2 that the arch follows."""
    columns = np.stack([np.ones_like(x), x, -(x**2)], -1).astype(np.float64)
    solution = np.linalg.lstsq(columns, z.astype(np.float64), rcond=None)[0]
    return float(np.clip(solution[2], 0.05, 1.0))


def _arc_length(x: np.ndarray, bend: float) -> np.ndarray:
    """Return the length of z = -bend x^2 from 0 to x, cm; odd in x.

    >>> round(float(_arc_length(np.array(1.0), 1e-3)), 4)
    1.0
    """
    slope = 2 * bend * x
    return (slope * np.sqrt(1 + slope**2) + np.arcsinh(slope)) / (4 * bend)


def _biting_line(x: np.ndarray, height: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Return (h, w) the greatest height of the strip beside each point, smooth along x."""
    low, high = float(x[valid].min()), float(x[valid].max())
    count = max(6, round((high - low) / 0.25))
    cell = np.clip(((x[valid] - low) / max(high - low, 1e-6) * count).astype(int), 0, count - 1)
    top = np.full(count, -np.inf)
    np.maximum.at(top, cell, height[valid])
    known = np.isfinite(top)
    centres = low + (np.arange(count) + 0.5) * (high - low) / count
    top = np.interp(centres, centres[known], top[known])
    padded = np.pad(top, 1, mode="edge")
    smooth = (padded[:-2] + 2 * padded[1:-1] + padded[2:]) / 4
    return np.interp(x, centres, smooth)
