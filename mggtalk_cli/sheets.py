"""The sheets made of the photo's own pixels: front, beyond the border, mirrored, back."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli import deform, head, inpaint
from mggtalk_cli.core.camera import Camera, pixel_grid
from mggtalk_cli.core.landmark_groups import MIRROR
from mggtalk_cli.core.sheet import (
    GATE_MOUTH,
    GATE_NONE,
    LINK_DOWN,
    LINK_RIGHT,
    Sheet,
    grid_links,
    skull_sheet,
)
from mggtalk_cli.portrait import BuildOptions, Portrait

# Opacity of a skin Gaussian: low enough that neighbours mix instead of covering each other in
# depth order (a lower value gives the photo back better), high enough that folds cover.
OPACITY = 0.85


class Cover(NamedTuple):
    """What the front sheet covers of the photo.

    Attributes:
        positions: (H, W, 3) float32 head frame, cm, soft edges of hair included.
        alpha: (H, W) float32 share of the person in each pixel, 0 where no point lies.
        head_weight: (H, W) float32, 1 on the head.
    """

    positions: np.ndarray
    alpha: np.ndarray
    head_weight: np.ndarray


# Pixels with less of the person than this are background.
MATTE_FLOOR = 0.03

# Soft edges reach at most this far beyond the surface (share of the picture's longer side).
RIM = 0.02


def cover_of(
    surface: head.Surface, matte: np.ndarray, landmarks: np.ndarray, camera: Camera
) -> Cover:
    """Return the surface with the soft edge of hair at the depth beside it."""
    distance, labels = cv2.distanceTransformWithLabels(
        (~surface.valid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    depth = np.zeros(labels.max() + 1, np.float32)
    depth[labels[surface.valid]] = surface.depth[surface.valid]
    near = distance <= RIM * max(matte.shape)
    grid = pixel_grid(*matte.shape)
    positions = np.where(
        surface.valid[..., None], surface.positions, camera.unproject(grid, depth[labels])
    ).astype(np.float32)
    alpha = np.where(surface.valid | (near & (matte > MATTE_FLOOR)), matte, 0)
    # Well inside the outline a person is solid, however unsure the matte is about dark hair.
    inner = cv2.distanceTransform(surface.valid.astype(np.uint8), cv2.DIST_L2, 5)
    alpha = np.maximum(alpha, np.clip(inner / (0.5 * RIM * max(matte.shape)) - 0.25, 0, 1))
    weight = deform.head_weight_map(positions, landmarks)
    return Cover(positions, alpha.astype(np.float32), weight)


def front_sheet(
    image: np.ndarray,
    plate: np.ndarray,
    cover: Cover,
    surface_links: np.ndarray,
    binding: deform.Binding,
) -> Sheet:
    """Return the photo's own pixels as a sheet, eyes left out, lips cut."""
    eye = (binding.layer == deform.EYE_RIGHT) | (binding.layer == deform.EYE_LEFT)
    valid = (cover.alpha > 0) & ~eye
    links = grid_links(valid, binding.layer)
    links &= np.where(surface_links > 0, surface_links, LINK_RIGHT | LINK_DOWN).astype(np.uint8)
    side = binding.lip_side
    links[:, :-1][side[:, :-1] * side[:, 1:] < 0] &= ~np.uint8(LINK_RIGHT)
    links[:-1][side[:-1] * side[1:] < 0] &= ~np.uint8(LINK_DOWN)
    every = np.arange(valid.size, dtype=np.int32).reshape(valid.shape)
    return Sheet(
        name="front",
        positions=cover.positions,
        valid=valid,
        links=links,
        color=inpaint.unmix(image, plate, cover.alpha),
        opacity=opacity_of_coverage(cover.alpha),
        index=binding.index,
        weight=binding.weight,
        head_weight=cover.head_weight,
        gate=np.where(binding.layer == deform.MOUTH, GATE_MOUTH, GATE_NONE).astype(np.uint8),
        pixel=np.where(cover.alpha > FAINT, every, -1),
    )


# Inner lips, upper and lower middle.
MOUTH_LANDMARKS = [13, 14]

# Fainter points keep their estimated colour: a picture says too little about them.
FAINT = 0.5

# Gaussians of the lattice that overlap at a pixel, weighted: 2 pi (sigma^2 + low-pass).
OVERLAP = 3.0


def opacity_of_coverage(coverage: np.ndarray) -> np.ndarray:
    """Return (H, W) float32 opacities whose overlapping Gaussians cover as much as asked.

    The lattice lets through exp(-OVERLAP o), so o = -log(1 - coverage) / OVERLAP.
    """
    opacity = -np.log1p(-np.clip(coverage, 0, 0.99)) / OVERLAP
    return np.minimum(opacity, OPACITY).astype(np.float32)


# The person goes on beyond a picture that cuts the head off, by this share of its longer side:
# what a turning or nodding head uncovers.
BEYOND = 0.06


def beyond_border(front: Sheet) -> list[Sheet]:
    """Return sheets that continue the head over the top and the sides of the picture, mirrored.

    Positions are point-reflected at the border, so the surface goes on without a kink.
    """
    depth = max(2, round(BEYOND * max(front.valid.shape)))
    sides = {
        "top": (slice(depth, 0, -1), slice(None), slice(0, 1), slice(None)),
        "left": (slice(None), slice(depth, 0, -1), slice(None), slice(0, 1)),
        "right": (slice(None), slice(-2, -depth - 2, -1), slice(None), slice(-1, None)),
    }
    sheets = []
    for name, (rows, columns, edge_rows, edge_columns) in sides.items():
        inner, edge = (rows, columns), (edge_rows, edge_columns)
        moving = front.head_weight[inner] > 0.5
        valid = front.valid[inner] & (front.valid & (front.opacity > 0.5))[edge] & moving
        if not valid.any():
            continue
        sheets.append(
            Sheet(
                name=f"beyond_{name}",
                positions=2 * front.positions[edge] - front.positions[inner],
                valid=valid,
                links=grid_links(valid),
                color=front.color[inner],
                opacity=front.opacity[inner],
                index=front.index[inner],
                weight=np.zeros_like(front.weight[inner]),
                head_weight=front.head_weight[inner],
                gate=np.zeros_like(front.gate[inner]),
                pixel=np.full_like(front.pixel[inner], -1),
            )
        )
    return sheets


def mirror_sheet(
    front: Sheet, view: head.HeadView, portrait: Portrait, gain: float, options: BuildOptions
) -> Sheet:
    """Return the front sheet mirrored into the side the photo does not show."""
    voxel = {} if options.voxel_size_cm is None else {"voxel_size_cm": options.voxel_size_cm}
    completion = head.complete_by_symmetry(
        front.positions, front.valid, camera=portrait.camera, matte=portrait.matte, **voxel
    )
    # The torso is not symmetric; hair hardly: only what moves with the head is mirrored.
    valid = completion.valid & (front.head_weight > 0.5) & (front.gate == GATE_NONE)
    return replace(
        front,
        name="mirror",
        positions=completion.positions.astype(np.float32),
        valid=valid,
        links=front.links & grid_links(valid),
        index=MIRROR[front.index].astype(np.int32),
        opacity=front.opacity * np.float32(gain),
        pixel=np.full_like(front.pixel, -1),
    )


def back_sheet(front: Sheet, landmarks: np.ndarray, eye_row: int) -> Sheet:
    """Return the rear of the head, coloured like its outline above the eyes: mostly hair.

    Args:
        front: the front sheet.
        landmarks: (468, 3) head frame, cm.
        eye_row: row of the eyes in the picture.
    """
    solid = front.valid & (front.opacity > 0.5)
    # Below the mouth the outline is neck and collar, not skull.
    skull = front.head_weight * (front.positions[..., 1] > landmarks[MOUTH_LANDMARKS, 1].mean())
    positions, valid = head.back_shell(front.positions, solid, skull)
    shape = valid.shape
    rim = head.outline_band(solid)
    if rim[:eye_row].any():
        rim[eye_row:] = False
    color = inpaint.fill_unknown(front.color, rim.astype(np.float32))
    color = color[::2, ::2][: shape[0], : shape[1]]
    return skull_sheet("back", positions, valid, color * np.float32(0.85), np.full(shape, 0.95))
