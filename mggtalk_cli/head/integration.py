"""Bilateral normal integration: a depth map whose slopes follow a normal map, edges kept open.

For every pixel the normal predicts the depth difference to its four neighbours. With D+ and D- the
one-sided differences (times n_z) and b their prediction, the energy is
    sum  w (D+ u + b)^2 + (1 - w) (D- u + b)^2      horizontally, and the same vertically,
    w = sigmoid(k [(D- u)^2 - (D+ u)^2]),
plus lambda (u - u_prior)^2 where a depth prior is known. Re-weighted least squares: each round is a
Jacobi-preconditioned conjugate gradient on a 5-point stencil. Unknown u, in pixels: depth for an
orthographic view, focal * log depth for a perspective one. Cao, Santo, Shi, Okura, Matsushita,
"Bilateral Normal Integration", ECCV 2022 (equations only).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mggtalk_cli.errors import InputError
from mggtalk_cli.head.stencil import solve_stencil

ENERGY_TOLERANCE = 1e-4
# A strong prior stops the re-weighting before depth edges open: begin stiff, end at the wanted
# weight, and look at the energy only after that.
PRIOR_WEIGHT_START = 1e-1
# Smallest diagonal of the normal equations (grazing normals, isolated pixels).
MIN_DIAGONAL = 1e-9


@dataclass(frozen=True)
class _Edges:
    """Geometry of the four one-sided differences; every array (H, W) float64.

    `scale` is n_z (or its perspective form); `slope_x`, `slope_y` the predicted -scale * D u;
    `right`, `down` are 1 where a pixel and its right / lower neighbour are both in the mask.
    """

    scale: np.ndarray
    slope_x: np.ndarray
    slope_y: np.ndarray
    right: np.ndarray
    down: np.ndarray


def _edges(
    normals: np.ndarray,
    mask: np.ndarray,
    focal_px: float | None,
    centre: tuple[float, float],
) -> _Edges:
    # OpenCV orientation: x right, y down, z forward.
    nx, ny, nz = normals[..., 0], -normals[..., 1], -normals[..., 2]
    scale = nz
    if focal_px is not None:
        height, width = mask.shape
        x = (np.arange(width) + 0.5 - centre[0])[None]
        y = (np.arange(height) + 0.5 - centre[1])[:, None]
        scale = nz + (nx * x + ny * y) / focal_px
    inside = mask.astype(np.float64)
    right, down = np.zeros_like(inside), np.zeros_like(inside)
    right[:, :-1] = inside[:, :-1] * inside[:, 1:]
    down[:-1] = inside[:-1] * inside[1:]
    return _Edges(scale * inside, nx * inside, ny * inside, right, down)


def _differences(u: np.ndarray, edges: _Edges) -> tuple[np.ndarray, ...]:
    """Return n_z times the differences to the right, left, lower and upper neighbour."""
    dx, dy = np.zeros_like(u), np.zeros_like(u)
    dx[:, :-1] = (u[:, 1:] - u[:, :-1]) * edges.right[:, :-1]
    dy[:-1] = (u[1:] - u[:-1]) * edges.down[:-1]
    left, up = np.zeros_like(u), np.zeros_like(u)
    left[:, 1:] = dx[:, :-1]
    up[1:] = dy[:-1]
    return tuple(edges.scale * d for d in (dx, left, dy, up))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _weights(u: np.ndarray, edges: _Edges, k: float) -> tuple[np.ndarray, ...]:
    right, left, down, up = _differences(u, edges)
    w_right = _sigmoid(k * (left**2 - right**2))
    w_down = _sigmoid(k * (up**2 - down**2))
    return w_right, 1.0 - w_right, w_down, 1.0 - w_down


def _energy(u: np.ndarray, edges: _Edges, weights: tuple[np.ndarray, ...]) -> float:
    right, left, down, up = _differences(u, edges)
    exists_left, exists_up = np.zeros_like(u), np.zeros_like(u)
    exists_left[:, 1:] = edges.right[:, :-1]
    exists_up[1:] = edges.down[:-1]
    terms = (
        (right + edges.slope_x) ** 2 * edges.right * weights[0],
        (left + edges.slope_x) ** 2 * exists_left * weights[1],
        (down + edges.slope_y) ** 2 * edges.down * weights[2],
        (up + edges.slope_y) ** 2 * exists_up * weights[3],
    )
    return float(sum(term.sum() for term in terms))


def _normal_equations(
    edges: _Edges, weights: tuple[np.ndarray, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return (rhs, diagonal, right coupling, down coupling) of A'WA u = A'Wb."""
    w_right, w_left, w_down, w_up = weights
    s, bx, by = edges.scale, edges.slope_x, edges.slope_y
    right, down = np.zeros_like(s), np.zeros_like(s)
    flow_x, flow_y = np.zeros_like(s), np.zeros_like(s)
    right[:, :-1] = w_right[:, :-1] * s[:, :-1] ** 2 + w_left[:, 1:] * s[:, 1:] ** 2
    flow_x[:, :-1] = (w_right * s * bx)[:, :-1] + (w_left * s * bx)[:, 1:]
    down[:-1] = w_down[:-1] * s[:-1] ** 2 + w_up[1:] * s[1:] ** 2
    flow_y[:-1] = (w_down * s * by)[:-1] + (w_up * s * by)[1:]
    right *= edges.right
    flow_x *= edges.right
    down *= edges.down
    flow_y *= edges.down
    diagonal = right + down
    rhs = flow_x + flow_y
    diagonal[:, 1:] += right[:, :-1]
    diagonal[1:] += down[:-1]
    rhs[:, 1:] -= flow_x[:, :-1]
    rhs[1:] -= flow_y[:-1]
    return rhs, diagonal, right, down


def integrate_normals(
    normals: np.ndarray,
    mask: np.ndarray,
    *,
    focal_px: float | None = None,
    centre: tuple[float, float] | None = None,
    depth_prior: np.ndarray | None = None,
    prior_weight: float | np.ndarray = 1e-2,
    fit_prior: bool = True,
    k: float = 2.0,
    max_rounds: int = 150,
    min_rounds: int = 5,
) -> np.ndarray:
    """Return the depth map whose surface has the given normals.

    Args:
        normals: (H, W, 3) unit normals in the y-up camera frame: x right, y UP, z TOWARDS the
            viewer, so visible surfaces have z > 0 (the usual lilac normal map).
        mask: (H, W) bool, the pixels to integrate.
        focal_px: focal length in pixels of a perspective camera; None = orthographic.
        centre: principal point x, y in pixels (pixel centres at .5); None = the image centre.
        depth_prior: (H, W) known depth, larger = farther; NaN where unknown. Perspective: > 0.
        prior_weight: weight of the prior against one unit of n_z^2 per squared pixel, a number or
            (H, W); 0 = no prior there.
        fit_prior: first fit the prior's free scale and offset to the normals (a relative depth
            estimate); False for a metric prior.
        k: stiffness of the side choice: 0 = plain least squares, 2 keeps depth edges open.
        max_rounds: the most re-weighting rounds.
        min_rounds: rounds over which the prior weight falls from stiff to `prior_weight`; the
            energy stop is asked only after them. Used with a prior only.

    Returns:
        (H, W) float32 depth, larger = farther, NaN outside the mask. Orthographic: in pixels, up to
        an offset without a prior. Perspective: up to a factor (median 1) without a prior, else in
        the prior's unit.

    Raises:
        InputError: if shapes do not fit together or the mask is empty.
    """
    mask = np.asarray(mask, bool)
    if normals.shape != (*mask.shape, 3):
        raise InputError(
            f"normals of shape {normals.shape} do not fit a mask of shape {mask.shape};"
            " give (H, W, 3) normals and an (H, W) mask"
        )
    if not mask.any():
        raise InputError("the mask of the normals to integrate is empty; give at least one pixel")
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    if centre is None:
        centre = mask.shape[1] / 2, mask.shape[0] / 2
    centre = centre[0] - float(columns[0]), centre[1] - float(rows[0])
    inside = mask[box]
    known = np.where(inside[..., None], normals[box], 0.0).astype(np.float64)
    edges = _edges(known, inside, focal_px, centre)

    prior, weight, unit = _prepare_prior(
        None if depth_prior is None else np.asarray(depth_prior[box], np.float64),
        prior_weight[box] if isinstance(prior_weight, np.ndarray) else prior_weight,
        inside,
        edges,
        focal_px,
        fit=fit_prior,
    )
    u = _iterate(edges, inside, prior, weight, k=k, max_rounds=max_rounds, min_rounds=min_rounds)
    if focal_px is not None:
        shift = np.median(u[inside]) if prior is None else 0.0
        u = unit * np.exp((u - shift) / focal_px)
    depth = np.full(mask.shape, np.nan, np.float32)
    depth[box] = np.where(inside, u, np.nan)
    return depth


def _iterate(
    edges: _Edges,
    inside: np.ndarray,
    prior: np.ndarray | None,
    weight: np.ndarray,
    *,
    k: float,
    max_rounds: int,
    min_rounds: int,
) -> np.ndarray:
    """Run the re-weighting rounds and return u (H, W)."""
    u = np.zeros(inside.shape) if prior is None else prior.copy()
    half = np.full(inside.shape, 0.5)
    weights = (half, half, half, half)
    energy = _energy(u, edges, weights)
    warm_up = min_rounds if prior is not None and k > 0 else 0
    strongest = float(weight.max(initial=0.0))
    excess = max(PRIOR_WEIGHT_START / strongest, 1.0) if strongest > 0 else 1.0
    for round_index in range(max_rounds if k > 0 else 1):
        rhs, diagonal, right, down = _normal_equations(edges, weights)
        if prior is not None:
            left_over = max(1.0 - round_index / (warm_up - 1), 0.0) if warm_up > 1 else 0.0
            pull = weight * excess**left_over
            diagonal += pull
            rhs += pull * prior
        diagonal = np.where(inside, np.maximum(diagonal, MIN_DIAGONAL), 1.0)
        u, _ = solve_stencil(u, rhs, diagonal, right, down)
        weights = _weights(u, edges, k)
        previous, energy = energy, _energy(u, edges, weights)
        settled = abs(energy - previous) <= ENERGY_TOLERANCE * max(previous, 1e-12)
        if round_index >= warm_up and settled:
            break
    return u


def _prepare_prior(
    prior: np.ndarray | None,
    weight: float | np.ndarray,
    inside: np.ndarray,
    edges: _Edges,
    focal_px: float | None,
    *,
    fit: bool,
) -> tuple[np.ndarray | None, np.ndarray, float]:
    """Return the prior in the unknown's unit, its weight map, and the unit of depth."""
    none = np.zeros(inside.shape)
    if prior is None:
        return None, none, 1.0
    known = inside & np.isfinite(prior)
    if focal_px is not None:
        known &= prior > 0
    if not known.any():
        return None, none, 1.0
    weight_map = np.where(known, weight, 0.0)
    middle = float(np.median(prior[known]))
    filled = np.where(known, prior, middle)
    if fit:
        filled = _fit_prior(filled, known, edges, focal_px)
    if focal_px is None:
        return np.where(inside, filled, 0.0), weight_map, 1.0
    u = focal_px * np.log(np.maximum(filled, 1e-6 * middle) / middle)
    return np.where(inside, u, 0.0), weight_map, middle


# Rounds of the robust fit, and the residual (pixels of depth per pixel) beyond which a
# difference counts little: depth edges exist in the prior but never in the normals.
FIT_ROUNDS = 8
FIT_RESIDUAL = 0.5


def _fit_prior(
    prior: np.ndarray, known: np.ndarray, edges: _Edges, focal_px: float | None
) -> np.ndarray:
    """Return the prior with the scale and offset that agree best with the normals' slopes.

    Orthographic: prior -> a prior + b; the normals fix a, b keeps the median. Perspective:
    log(prior + r) has the wanted slopes; the normals fix r, the factor keeps the median.
    """
    fine = known[:, 1:] & known[:, :-1], known[1:] & known[:-1]
    scale = np.concatenate([edges.scale[:, 1:][fine[0]], edges.scale[1:][fine[1]]])
    slope = np.concatenate([edges.slope_x[:, 1:][fine[0]], edges.slope_y[1:][fine[1]]])
    steps = np.concatenate([np.diff(prior, axis=1)[fine[0]], np.diff(prior, axis=0)[fine[1]]])
    middle = float(np.median(prior[known]))
    near = prior.copy()
    if focal_px is not None:
        means = np.concatenate(
            [
                0.5 * (prior[:, 1:] + prior[:, :-1])[fine[0]],
                0.5 * (prior[1:] + prior[:-1])[fine[1]],
            ]
        )
        # With r = middle (1 - s) / s the relief is scaled by about s at an unchanged median.
        steps = steps * focal_px / means
    model = scale * steps
    s = 1.0
    for _ in range(FIT_ROUNDS):
        robust = 1.0 / (1.0 + ((s * model + slope) / FIT_RESIDUAL) ** 2)
        denominator = float((robust * model * model).sum())
        if denominator < 1e-12:
            return near
        s = -float((robust * model * slope).sum()) / denominator
    if s <= 0:
        return near
    return middle + s * (prior - middle)
