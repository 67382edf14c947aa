"""Pre-compensated colours on a small plane of Gaussians in front of a camera."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from mggtalk_cli.core.camera import Camera, pixel_grid, viewmat_from_pose
from mggtalk_cli.core.sheet import grid_links, neighbours
from mggtalk_cli.render import rasterization
from mggtalk_cli.splat import GaussianSheet, decode_analytic, precompensate

SIZE = 40
CAMERA = Camera(viewmat_from_pose(np.eye(3), np.array([0, 0, -60.0])), 200.0, SIZE, SIZE)
BACKGROUND = torch.tensor([0.2, 0.4, 0.1])
Render = Callable[[torch.Tensor], torch.Tensor]


def psnr(one: torch.Tensor, other: torch.Tensor) -> float:
    return float(-10 * torch.log10(((one - other) ** 2).mean()))


def plane(photo: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, Render]:
    """Colours, their pixels, and a render of a disc of one Gaussian per pixel."""
    grid = pixel_grid(SIZE, SIZE)
    valid = np.hypot(*(grid - SIZE / 2).transpose(2, 0, 1)) < 0.4 * SIZE
    points = CAMERA.unproject(grid, np.full((SIZE, SIZE), 60.0, np.float32))[valid]
    near = neighbours(np.array([[SIZE, SIZE]]), valid.ravel(), grid_links(valid).ravel())
    pixels = torch.from_numpy(np.flatnonzero(valid))
    colors = photo.reshape(-1, 3)[pixels]
    count = len(pixels)
    sheet = GaussianSheet(
        colors, torch.full((count,), 0.9), *map(torch.from_numpy, near), spacing_cm=0.3
    )

    def render(colors: torch.Tensor) -> torch.Tensor:
        gaussians = decode_analytic(
            torch.from_numpy(points.astype(np.float32)),
            torch.ones(count),
            sheet._replace(colors=colors),
        )
        image, alpha, _ = rasterization(
            gaussians.means, None, None, gaussians.opacities, gaussians.colors,
            torch.from_numpy(CAMERA.viewmat)[None], torch.from_numpy(CAMERA.intrinsics)[None],
            SIZE, SIZE, tangents=gaussians.tangents, tangent_eps=gaussians.thickness_cm**2,
            eps2d=0.1,
        )  # fmt: skip
        return image[0] + (1 - alpha[0]) * BACKGROUND

    return colors, pixels, render


def scene(name: str) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    if name == "checker":
        return ((x + y) % 2).float()[..., None].expand(SIZE, SIZE, 3).contiguous()
    if name == "noise":
        return torch.rand(SIZE, SIZE, 3, generator=torch.Generator().manual_seed(0))
    waves = torch.stack([torch.sin(x / 2.0), torch.cos(y / 1.7), torch.sin((x + y) / 3.0)], -1)
    return 0.5 + 0.4 * waves


def test_smooth_picture_comes_back() -> None:
    photo = scene("waves")
    colors, pixels, render = plane(photo)
    rows = torch.arange(len(pixels))
    better = precompensate(colors, photo, rows, pixels, render)

    def error(c: torch.Tensor) -> float:
        return psnr(render(c).reshape(-1, 3)[pixels], photo.reshape(-1, 3)[pixels])

    assert error(better) > error(colors) + 6
    assert error(better) > 35


@pytest.mark.parametrize("name", ["checker", "noise", "waves"])
@pytest.mark.parametrize("rounds", [1, 4, 12])
def test_never_diverges(name: str, rounds: int) -> None:
    """The highest frequency a picture can hold is lost in the splat, but not blown up."""
    photo = scene(name)
    colors, pixels, render = plane(photo)
    better = precompensate(colors, photo, torch.arange(len(pixels)), pixels, render, rounds=rounds)
    assert torch.isfinite(better).all()
    assert better.min() >= -0.5
    assert better.max() <= 1.5
    before = psnr(render(colors).reshape(-1, 3)[pixels], photo.reshape(-1, 3)[pixels])
    after = psnr(render(better).reshape(-1, 3)[pixels], photo.reshape(-1, 3)[pixels])
    assert after >= before


def test_more_rounds_are_not_worse() -> None:
    photo = scene("waves")
    colors, pixels, render = plane(photo)
    rows = torch.arange(len(pixels))
    found = [
        psnr(render(precompensate(colors, photo, rows, pixels, render, rounds=n)), photo)
        for n in (1, 2, 4, 8)
    ]
    assert found == sorted(found)


def test_points_without_a_pixel_keep_their_colour() -> None:
    photo = scene("waves")
    colors, pixels, render = plane(photo)
    rows = torch.arange(0, len(pixels), 2)
    better = precompensate(colors, photo, rows, pixels[rows], render)
    assert torch.equal(better[1::2], colors[1::2])
    assert not torch.equal(better[::2], colors[::2])


def test_uniform_picture_is_a_fixed_point_inside() -> None:
    photo = BACKGROUND.expand(SIZE, SIZE, 3).contiguous()
    colors, pixels, render = plane(photo)
    better = precompensate(colors, photo, torch.arange(len(pixels)), pixels, render)
    torch.testing.assert_close(better, colors, atol=1e-3, rtol=0)
