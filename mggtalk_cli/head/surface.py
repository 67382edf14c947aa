"""P_f of the paper: depth and normals integrated to one surface, refined, back-projected.

P_c = BiNI(D, N); P_f = backproject(P_c + refine(rgb, P_c, mask)); inside the face, where the model
is right, the surface stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes

from mggtalk_cli.core.camera import Camera, pixel_grid
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.sheet import LINK_DOWN, LINK_RIGHT
from mggtalk_cli.errors import InputError
from mggtalk_cli.head.depth import inner_distance
from mggtalk_cli.head.integration import integrate_normals
from mggtalk_cli.head.normals import normals_from_depth
from mggtalk_cli.head.view import HeadView

# (rgb (3, H, W), positions (3, H, W) head frame cm, mask (1, H, W)) -> depth offset (1, H, W) cm.
Refiner = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]

# Weight of the depth prior in the integration (per n_z^2 and pixel^2): in the face the model is
# metric and right; outside both depth and normals are guesses and the normals may move it more.
FACE_PRIOR = 3e-2
OUTER_PRIOR = 1e-2
# Within this distance of the silhouette normals are unreliable: the prior leads, cm.
RIM_CM = 1.0
RIM_PRIOR = 1e-1
# The face counts as such from this far inside its oval on, cm.
FACE_EDGE_CM = 1.0
# The normal integration runs a few rounds only: the prior is already near.
MAX_ROUNDS = 8
MIN_ROUNDS = 3
# Neighbours further apart in depth than this many times their distance across are not linked.
BREAK_SLOPE = 40.0


@dataclass(frozen=True)
class Surface:
    """The visible surface of a person on the photo's pixel grid.

    Attributes:
        depth: (H, W) float32 camera z in cm, NaN off the person.
        normals: (H, W, 3) float32 unit normals of `depth`, y-up camera frame, NaN off the person.
        positions: (H, W, 3) float32 head frame, cm; 0 off the person.
        valid: (H, W) bool, the person.
        links: (H, W) uint8, bit 0 = surface runs on to the right neighbour, bit 1 = to the lower.
    """

    depth: np.ndarray
    normals: np.ndarray
    positions: np.ndarray
    valid: np.ndarray
    links: np.ndarray


def no_refinement(rgb: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return a zero depth offset (1, H, W) that keeps the graph of `positions`."""
    return positions[2:] * 0.0


REFINERS: dict[str, Refiner] = {"analytic": no_refinement}


def surface_links(depth: np.ndarray, valid: np.ndarray, focal_px: float) -> np.ndarray:
    """Return (H, W) uint8 links between neighbouring valid pixels, cut at depth steps."""
    links = np.zeros(depth.shape, np.uint8)
    filled = np.where(valid, depth, 0.0)
    for axis, bit in ((1, LINK_RIGHT), (0, LINK_DOWN)):
        first = (slice(None), slice(None, -1)) if axis else (slice(None, -1), slice(None))
        second = (slice(None), slice(1, None)) if axis else (slice(1, None), slice(None))
        spacing = np.minimum(filled[first], filled[second]) / focal_px
        near = np.abs(filled[first] - filled[second]) <= BREAK_SLOPE * spacing
        links[first] |= np.where(near & valid[first] & valid[second], bit, 0).astype(np.uint8)
    return links


def prior_weights(view: HeadView) -> np.ndarray:
    """Return (H, W) weight of the depth prior for the normal integration."""
    rim = inner_distance(view.valid, border_is_edge=False) * view.cm_per_px
    weight = RIM_PRIOR + smoothstep(rim, 0.0, RIM_CM) * (OUTER_PRIOR - RIM_PRIOR)
    return weight + inside_face(view) * (FACE_PRIOR - weight)


def inside_face(view: HeadView, *, filled: bool = False) -> np.ndarray:
    """Return (H, W) 1 well inside the face, where the model is right, 0 off it.

    Args:
        view: the portrait.
        filled: eyes, nostrils and the gap of the lips belong to it, too; the model is steep there.
    """
    face = binary_fill_holes(view.face) if filled else view.face
    inner = inner_distance(face, border_is_edge=False) * view.cm_per_px
    return np.asarray(smoothstep(inner, 0, FACE_EDGE_CM))


def build_surface(
    view: HeadView,
    camera: Camera,
    *,
    depth: np.ndarray,
    normals: np.ndarray,
    edge_stiffness: float = 0.0,
    prior_trust: float = 1.0,
    rgb: np.ndarray | None = None,
    refiner: Refiner = no_refinement,
) -> Surface:
    """Return the integrated, refined and back-projected surface of a portrait.

    Args:
        view: what is known of the portrait; `view.valid` is the surface's mask.
        camera: the photo's camera.
        depth: (H, W) camera z in cm, finite on `view.valid`.
        normals: (H, W, 3) unit normals, y-up camera frame, finite on `view.valid`.
        edge_stiffness: k of the bilateral integration. 0 for the analytic maps, which have no
            inner depth edges to keep (a k of 2 pleats their steep sides); 2 for estimated maps.
        prior_trust: share of the depth prior's usual weight against the normals.
        rgb: (H, W, 3) float32 0..1, asked for by learned refiners; None = black.
        refiner: gives depth offsets on the integrated surface, outside the face; see `REFINERS`
            and `refiner.as_refiner`.

    Raises:
        InputError: a map is not finite on the person.
    """
    valid = view.valid
    if not (np.isfinite(depth[valid]).all() and np.isfinite(normals[valid]).all()):
        raise InputError("depth or normals have gaps on the person; fill them before integrating")
    depth = integrate_normals(
        normals,
        valid,
        focal_px=camera.focal_px,
        depth_prior=depth,
        prior_weight=prior_weights(view) * prior_trust,
        fit_prior=False,
        k=edge_stiffness,
        max_rounds=MAX_ROUNDS,
        min_rounds=MIN_ROUNDS,
    )
    xy = pixel_grid(*valid.shape)
    middle = float(np.median(depth[valid]))
    filled = np.where(valid, depth, middle).astype(np.float32)
    coarse = np.where(valid[..., None], camera.unproject(xy, filled), 0.0).astype(np.float32)
    colors = np.zeros((*valid.shape, 3), np.float32) if rgb is None else rgb
    offset = refiner(
        torch.from_numpy(colors).permute(2, 0, 1),
        torch.from_numpy(coarse).permute(2, 0, 1),
        torch.from_numpy(valid)[None].float(),
    )
    free = valid * (1 - inside_face(view, filled=True))
    filled = filled + free * offset[0].detach().numpy()
    positions = np.where(valid[..., None], camera.unproject(xy, filled), 0.0)
    final = np.where(valid, filled, np.nan).astype(np.float32)
    return Surface(
        depth=final,
        normals=normals_from_depth(final, camera.focal_px),
        positions=positions.astype(np.float32),
        valid=valid,
        links=surface_links(final, valid, camera.focal_px),
    )
