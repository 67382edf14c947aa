"""The truth every fast renderer is tested against: 3D Gaussian splatting in plain torch, dense.

Each Gaussian is projected (EWA: cov2d = J W Sigma W^T J^T + eps2d I) and evaluated at every pixel
centre; alpha = min(.999, o exp(-s)), skipped below 1/255; front to back by depth, a pixel ends
before its transmittance falls to 1e-4. Works in the dtype of its inputs (float64 for gradcheck),
differentiable by autograd. Cost and memory grow with N x pixels: use it for small scenes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mggtalk_cli.render.harmonics import COEFFICIENTS, sh_basis
from mggtalk_cli.render.inputs import RasterInputs

ALPHA_MAX = 0.999
ALPHA_MIN = 1.0 / 255.0  # fainter contributions are skipped, as in 3DGS
T_STOP = 1e-4  # a pixel ends before its transmittance falls to this
# The Jacobian is taken no further outside the image than this share of half its extent.
VIEW_MARGIN = 0.3
# Gaussian-pixel pairs evaluated at once; bounds memory at about 1 GB in float64.
PAIRS_AT_ONCE = 1 << 23


def rasterize(inputs: RasterInputs) -> tuple[Tensor, Tensor, dict]:
    """Return colors (C, H, W, D), alphas (C, H, W, 1) and meta of checked inputs."""
    views = [_render_camera(inputs, camera) for camera in range(inputs.viewmats.shape[0])]
    colors, alphas, visible = zip(*views, strict=True)
    meta = {"backend": "reference", "visible": list(visible)}
    return torch.stack(colors), torch.stack(alphas), meta


def _render_camera(inputs: RasterInputs, camera: int) -> tuple[Tensor, Tensor, int]:
    means2d, depths, conics, opacities, order = project(inputs, camera)
    parts = [camera_colors(inputs, camera)[order]] if inputs.has_color else []
    parts += [depths[:, None]] if inputs.has_depth else []
    features = torch.cat(parts, -1)
    background = inputs.background(camera, features.shape[-1])
    rows_at_once = max(1, PAIRS_AT_ONCE // max(1, inputs.width * len(order)))
    bands = []
    for top in range(0, inputs.height, rows_at_once):
        rows = torch.arange(top, min(top + rows_at_once, inputs.height))
        pixels = _pixel_centres(rows, inputs.width).to(means2d)
        bands.append(_blend(pixels, means2d, conics, opacities, features, background))
    colors, alphas = (torch.cat(parts) for parts in zip(*bands, strict=True))
    if inputs.render_mode.endswith("ED"):
        depth = colors[..., -1:] / alphas.clamp_min(1e-10)
        colors = torch.cat([colors[..., :-1], depth], -1)
    image = (inputs.height, inputs.width, -1)
    return colors.reshape(image), alphas.reshape(image), len(order)


def project(inputs: RasterInputs, camera: int) -> tuple[Tensor, ...]:
    """Return the M visible Gaussians of one camera, nearest first.

    Returns:
        means2d (M, 2) px, depths (M,), inverse 2D covariances (M, 2, 2), opacities (M,) and the
        Gaussians' indices (M,).
    """
    rotation, shift = inputs.viewmats[camera, :3, :3], inputs.viewmats[camera, :3, 3]
    points = inputs.means @ rotation.T + shift
    depth = points[:, 2]
    seen = (depth >= inputs.near_plane) & (depth <= inputs.far_plane)
    seen &= torch.isfinite(points).all(-1)
    index = seen.nonzero()[:, 0]
    points, covars = points[index], rotation @ inputs.world_covariances()[index] @ rotation.T
    K = inputs.Ks[camera]
    slopes = points[:, :2] / points[:, 2:]
    focal, centre = torch.stack([K[0, 0], K[1, 1]]), K[:2, 2]
    jacobian = _jacobian(slopes, points[:, 2], focal, centre, inputs)
    covars2d = jacobian @ covars @ jacobian.mT
    blurred = covars2d + inputs.eps2d * torch.eye(2, dtype=covars2d.dtype, device=covars2d.device)
    determinant = _determinant(blurred)
    opacities = inputs.opacities[index]
    if inputs.rasterize_mode == "antialiased":
        ratio = _determinant(covars2d) / determinant.clamp_min(1e-30)
        opacities = opacities * ratio.clamp_min(1e-30).sqrt()
    keep = ((determinant > 0) & (opacities >= ALPHA_MIN)).nonzero()[:, 0]
    # Equal float32 depths keep their order, in every back end.
    keep = keep[torch.argsort(points[keep, 2].to(torch.float32), stable=True)]
    conics = torch.linalg.inv(blurred[keep])
    means2d = slopes[keep] * focal + centre
    return means2d, points[keep, 2], conics, opacities[keep], index[keep]


def _jacobian(
    slopes: Tensor, depth: Tensor, focal: Tensor, centre: Tensor, inputs: RasterInputs
) -> Tensor:
    """Return d(pixel)/d(camera point) (M, 2, 3) at x/z, y/z clamped near the field of view."""
    size = slopes.new_tensor([inputs.width, inputs.height])
    margin = VIEW_MARGIN * 0.5 * size / focal
    low, high = -centre / focal - margin, (size - centre) / focal + margin
    clamped = torch.minimum(torch.maximum(slopes, low), high)
    diagonal = torch.diag_embed(focal / depth[:, None])
    return torch.cat([diagonal, (-focal * clamped / depth[:, None])[..., None]], -1)


def _determinant(matrix: Tensor) -> Tensor:
    return matrix[:, 0, 0] * matrix[:, 1, 1] - matrix[:, 0, 1] * matrix[:, 1, 0]


def camera_colors(inputs: RasterInputs, camera: int) -> Tensor:
    """Return the colours (N, D) one camera sees: as given, or spherical harmonics + 0.5, >= 0."""
    colors = inputs.camera_colors(camera)
    if inputs.sh_degree is None:
        return colors
    view = inputs.viewmats[camera]
    position = -torch.linalg.solve(view[:3, :3], view[:3, 3])
    directions = torch.nn.functional.normalize(inputs.means - position, dim=-1)
    terms = COEFFICIENTS[inputs.sh_degree]
    basis = torch.stack(sh_basis(*directions.unbind(-1))[:terms], -1)
    return ((basis[..., None] * colors[:, :terms]).sum(1) + 0.5).clamp_min(0.0)


def _pixel_centres(rows: Tensor, width: int) -> Tensor:
    """Return (len(rows) * width, 2) pixel centres x, y, row by row."""
    y, x = torch.meshgrid(rows + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x, y], -1).reshape(-1, 2)


def _blend(
    pixels: Tensor, means2d: Tensor, conics: Tensor, opacities: Tensor, features: Tensor,
    background: Tensor,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Return colours (P, D) and alphas (P, 1) of pixels (P, 2) under M sorted Gaussians."""
    offset = pixels[:, None] - means2d
    exponent = 0.5 * torch.einsum("pmi,mij,pmj->pm", offset, conics, offset)
    alpha = (opacities * torch.exp(-exponent)).clamp_max(ALPHA_MAX)
    alpha = torch.where(alpha >= ALPHA_MIN, alpha, 0.0)
    going = torch.cumprod(1.0 - alpha, -1) > T_STOP
    alpha = torch.where(going, alpha, 0.0)
    after = torch.cumprod(1.0 - alpha, -1)
    ones = torch.ones_like(pixels[:, :1])
    before = torch.cat([ones, after], -1)
    colors = (alpha * before[:, :-1]) @ features + before[:, -1:] * background
    return colors, 1.0 - before[:, -1:]
