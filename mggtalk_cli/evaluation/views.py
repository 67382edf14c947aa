"""Seen from aside: is the head whole, and what does it look like?

Numbers: the share of the head's silhouette that is opaque, and its holes, at three yaw angles. A
picture: every photo at those angles, with an open mouth, and blinking, to be looked at.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from mggtalk_cli import deform, drawing, inpaint, pipeline, splat, tensors
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.image import read_photo, resize

YAWS_DEG = (-30.0, 0.0, 30.0)
OPAQUE = 0.95

# The silhouette's own soft edge is no hole: this share of the longer side is left out (4 px of
# 512). Fewer neighbouring pixels than this are no hole either.
EDGE, HOLE_PX = 4 / 512, 4

JAW_OPEN, CELL_PX = 0.5, 256


@dataclass(frozen=True)
class ViewResult:
    """One photo at one angle: opaque share of the head's silhouette (0..1) and its holes."""

    photo: str
    yaw_deg: float
    opaque: float
    holes: int


@dataclass(frozen=True)
class PhotoViews:
    """One photo: its numbers, and a row of the contact sheet (h, w, 3) uint8."""

    results: list[ViewResult]
    row: np.ndarray


def photo_views(path: Path, options: pipeline.BuildOptions | None = None) -> PhotoViews:
    """Return the views of one photo's head.

    Raises:
        InputError: unreadable, or no face.
    """
    head = pipeline.build_head(read_photo(path), options)
    cells, results = [], []
    rest = tensors.source_state(head)
    for yaw in YAWS_DEG:
        rgba, head_alpha = _draw(head, rest, yaw)
        cells.append(inpaint.composite(rgba, head.arrays["plate"]))
        opaque, holes = silhouette(head_alpha, rgba[..., 3].astype(np.float32) / 255)
        results.append(ViewResult(path.stem, yaw, opaque, holes))
    for state in (with_coefficients(rest, jawOpen=JAW_OPEN), blinking(rest)):
        rgba, _ = _draw(head, state, 0.0)
        cells.append(inpaint.composite(rgba, head.arrays["plate"]))
    return PhotoViews(results, np.hstack([_cell(cell) for cell in cells]))


def silhouette(head_alpha: np.ndarray, alpha: np.ndarray) -> tuple[float, int]:
    """Return the opaque share of a head's silhouette, and the number of holes in it.

    Args:
        head_alpha: (H, W) coverage by what moves with the head; its filled outline at one half is
            the silhouette.
        alpha: (H, W) coverage by everything, so that the cut through the neck is no hole.
    """
    solid = (head_alpha > 0.5).astype(np.uint8)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    if not outlines:
        return 0.0, 0
    filled = np.zeros_like(solid)
    cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, cv2.FILLED)
    margin = max(1, round(EDGE * max(solid.shape)))
    # A head that reaches the picture's border has no edge there.
    padded = cv2.copyMakeBorder(filled, *(margin,) * 4, cv2.BORDER_REPLICATE)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1,) * 2)
    inner = cv2.erode(padded, kernel)[margin:-margin, margin:-margin] > 0
    if not inner.any():
        return 0.0, 0
    thin = (inner & (alpha <= OPAQUE)).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(thin, connectivity=8)
    holes = int((stats[1:, cv2.CC_STAT_AREA] >= HOLE_PX).sum())
    return float(1 - thin[inner].mean()), holes


def with_coefficients(state: FaceState, **values: float) -> FaceState:
    """Return the state with some coefficients set, by their ARKit names."""
    beta = state.beta.copy()
    for name, value in values.items():
        beta[ARKIT_INDEX[name]] = value
    return replace(state, beta=beta)


def blinking(state: FaceState) -> FaceState:
    """Return the state with both eyes closed."""
    return with_coefficients(state, eyeBlinkLeft=1.0, eyeBlinkRight=1.0)


def _draw(
    head: pipeline.Artifact, state: FaceState, yaw_deg: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (H, W, 4) uint8 RGBA, and (H, W) coverage by what moves with the head alone."""
    rig, source, camera = (
        tensors.head_rig(head),
        tensors.source_state(head),
        tensors.camera_of(head),
    )
    posed = deform.deform_analytic(rig, source, state)
    sheet = tensors.gaussian_sheet(head, "cpu")
    view = drawing.view_matrix(camera, pipeline.RenderOptions(yaw_deg=yaw_deg), 0)
    gaussians = splat.decode_analytic(posed.points, posed.visibility, sheet)
    rgba = drawing.to_rgba(*drawing.rasterize(gaussians, camera, view))
    moving = torch.from_numpy(head.arrays["head_weight"]) > 0.5
    only_head = gaussians._replace(opacities=gaussians.opacities * moving)
    _, alpha = drawing.rasterize(only_head, camera, view)
    return rgba, alpha[..., 0].numpy()


def _cell(image: np.ndarray) -> np.ndarray:
    """Return the picture scaled into a square cell of the contact sheet."""
    height, width = image.shape[:2]
    scale = CELL_PX / max(height, width)
    small = resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
    cell = np.zeros((CELL_PX, CELL_PX, 3), np.uint8)
    top, left = (CELL_PX - small.shape[0]) // 2, (CELL_PX - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small
    return cell
