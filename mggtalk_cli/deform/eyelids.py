"""Closed eyes: lid skin and a lash line that the photo of an open eye does not show.

Stretching the few pixels above the lashes over the eye smears them. Instead a patch of the
surrounding skin's colour shows wherever the lid has come down, and a thin dark line goes with the
lid's edge. Both are invisible while the eye is as open as in the photo.
"""

from __future__ import annotations

import cv2
import numpy as np

from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.core.image import LUMA
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.sheet import Sheet, skull_sheet
from mggtalk_cli.deform.aperture import signed_distance
from mggtalk_cli.deform.eyes import EYES, Eye, EyePatch, patch_sheet

# Lid skin and lashes lie this far before the eye's surface, cm: over the smeared lashes.
SKIN_BEFORE_CM, LASH_BEFORE_CM = 0.50, 0.65

# Lid skin fades out this far beyond the lid outline (share of the eye's width): outlines are often
# a little tighter than the eye. Below it the photo's own lower lashes stay.
LID_MARGIN, LOWER_MARGIN = 0.16, 0.03

# Pixels darker than this share of the usual one around the eye are hair or its shadow.
DARK = 0.78

# Rows of the lash line, px off the lid's edge (those above it show first), and their opacity.
LASH_ROWS = ((-2.5, 0.08), (-1.5, 0.3), (-0.5, 0.55), (0.5, 0.45), (1.5, 0.15))

# Skin goes wholly with the lids up to the first distance from their outline (shares of the eye's
# width), not at all beyond the second one: there rims of glasses lie, which a blink must not bend.
LID_REACH = (0.12, 0.32)
LID_SHAPES = ("eyeBlink", "eyeLookUp", "eyeLookDown")


def within_reach(rest: np.ndarray, shapes: np.ndarray) -> np.ndarray:
    """Return the shapes (52, c, 3) of a face's controls, those of the lids only near its eyes.

    Args:
        rest: (c, 3) controls at rest, head frame, cm; the landmarks come first.
        shapes: (52, c, 3) their motion per unit of each coefficient.
    """
    limited = shapes.copy()
    for eye in EYES:
        outline = rest[eye.ring, :2]
        width = max(float(np.ptp(outline[:, 0])), 1e-3)
        away = -signed_distance(rest[:, :2], outline) / width
        goes = 1 - smoothstep(away, *LID_REACH)
        for name in LID_SHAPES:
            limited[ARKIT_INDEX[name + eye.side.capitalize()]] *= goes[:, None]
    return limited


def lid_sheets(eye: Eye, patch: EyePatch, points_px: np.ndarray) -> list[Sheet]:
    """Return the sheets "lid_SIDE" and "lashes_SIDE" of one eye.

    Args:
        eye: which one.
        patch: the photo around it.
        points_px: (478, 2 or 3) landmarks in px.
    """
    margin = LID_MARGIN * patch.eye_width
    skin = patch_sheet(
        f"lid_{eye.side}",
        patch,
        _skin(patch, margin),
        opacity=smoothstep(patch.lids / _margins(eye, patch, points_px), -1.0, 0.0),
        before_cm=SKIN_BEFORE_CM,
        gate=eye.lid_gate,
    )
    return [skin, _lashes(eye, patch, points_px)]


def _margins(eye: Eye, patch: EyePatch, points_px: np.ndarray) -> np.ndarray:
    """Return (h, w) how far beyond the outline lid skin reaches, px."""
    lower = points_px[list(eye.lower), :2]
    lower = lower[np.argsort(lower[:, 0])]
    line = np.interp(patch.grid[..., 0], lower[:, 0], lower[:, 1])
    below = smoothstep((patch.grid[..., 1] - line) / patch.eye_width, -0.05, 0.02)
    return (LID_MARGIN + (LOWER_MARGIN - LID_MARGIN) * below) * patch.eye_width


def _skin(patch: EyePatch, margin: float) -> np.ndarray:
    """Return (h, w, 3) float32 skin colours continued over the eye from just outside the patch."""
    covered = patch.lids > -margin
    luminance = patch.image @ LUMA
    usual = float(np.median(luminance[~covered])) if (~covered).any() else 0.0
    # Brows, lashes and hair beside the eye are no skin.
    unknown = (covered | (luminance < DARK * usual)).astype(np.uint8)
    pixels = np.clip(patch.image * 255, 0, 255).round().astype(np.uint8)
    filled = cv2.inpaint(pixels, unknown, 3, cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(filled, (0, 0), max(1.0, 0.06 * patch.eye_width))
    return soft.astype(np.float32) / 255


def _lashes(eye: Eye, patch: EyePatch, points_px: np.ndarray) -> Sheet:
    """Return a strip along the upper lid's edge, bound to its landmarks."""
    edge = points_px[list(eye.upper), :2].astype(np.float64)
    lengths = np.linalg.norm(np.diff(edge, axis=0), axis=1)
    along = np.concatenate([[0], np.cumsum(lengths)])
    count = max(8, round(float(along[-1])))
    where = np.linspace(0, along[-1], count)
    segment = np.clip(np.searchsorted(along, where, "right") - 1, 0, len(edge) - 2)
    t = ((where - along[segment]) / np.maximum(lengths[segment], 1e-6)).astype(np.float32)
    line = edge[segment] * (1 - t[:, None]) + edge[segment + 1] * t[:, None]
    rows = np.array(LASH_ROWS, np.float32)
    grid = line[None] + np.stack([np.zeros(len(rows)), rows[:, 0]], -1)[:, None]
    cell = np.floor(grid - patch.grid[0, 0] + 0.5).astype(int)
    limit = np.array(patch.depth.shape) - 1
    row, column = np.clip(cell[..., 1], 0, limit[0]), np.clip(cell[..., 0], 0, limit[1])
    depth = (patch.depth[row, column] - LASH_BEFORE_CM).astype(np.float32)
    shape = depth.shape
    upper = np.array(eye.upper, np.int32)
    index = np.stack([upper[segment], upper[segment + 1], upper[segment]], -1)
    weight = np.stack([1 - t, t, np.zeros_like(t)], -1)
    # The line thins out towards the corners.
    taper = np.clip(np.minimum(where, along[-1] - where) / (0.15 * along[-1]), 0, 1)
    return skull_sheet(
        f"lashes_{eye.side}",
        patch.camera.unproject(grid.astype(np.float32), depth),
        np.ones(shape, bool),
        np.broadcast_to(_lash_color(patch), (*shape, 3)),
        rows[:, 1:] * taper,
        gate=eye.lid_gate,
        index=np.broadcast_to(index, (*shape, 3)),
        weight=np.broadcast_to(weight, (*shape, 3)),
    )


def _lash_color(patch: EyePatch) -> np.ndarray:
    """Return (3,) the dark of the lid's edge in the photo."""
    edge = patch.image[np.abs(patch.lids) < 2.5]
    if not len(edge):
        return np.full(3, 0.15, np.float32)
    luminance = edge @ LUMA
    return edge[luminance <= np.percentile(luminance, 25)].mean(0)
