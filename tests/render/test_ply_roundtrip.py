"""A ply looks like the render: written, read back, turned, and drawn again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from render_scenes import camera

from mggtalk_cli import pipeline
from mggtalk_cli.artifacts.ply import GaussianCloud, read_ply, write_ply
from mggtalk_cli.clouds import rotate
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.render import rasterization

if TYPE_CHECKING:
    from mggtalk_cli.artifacts import Artifact

LEVEL = 1 / 255
SIZE = (97, 61)


def random_cloud(degree: int, *, count: int = 400) -> GaussianCloud:
    """Anisotropic Gaussians whose colour depends on the direction they are seen from."""
    rng = np.random.default_rng(degree)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    quats = normal(count, 4)
    return GaussianCloud(
        means=0.7 * normal(count, 3),
        quats=quats / np.linalg.norm(quats, axis=1, keepdims=True),
        scales=np.exp(0.6 * normal(count, 3) - 2.5),
        opacities=rng.uniform(0, 1, count).astype(np.float32),
        sh=0.4 * normal(count, (degree + 1) ** 2, 3),
    )


def draw(cloud: GaussianCloud, *, moved: np.ndarray | None = None) -> torch.Tensor:
    """Return (h, w, 4) colour and alpha; `moved` is the (4, 4) motion the camera follows."""
    view = camera(*SIZE, yaw=0.3)
    if moved is not None:
        view["viewmats"] = view["viewmats"] @ torch.from_numpy(np.linalg.inv(moved)).float()
    tensors = {name: torch.from_numpy(array) for name, array in vars(cloud).items()}
    colors = tensors.pop("sh")
    degree = int(colors.shape[1] ** 0.5) - 1
    color, alpha, _ = rasterization(**tensors, **view, colors=colors, sh_degree=degree)
    return torch.cat([color, alpha], -1)[0]


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_read_back_and_rendered(tmp_path: Path, degree: int) -> None:
    cloud = random_cloud(degree)
    write_ply(tmp_path / "a.ply", cloud)
    direct, back = draw(cloud), draw(read_ply(tmp_path / "a.ply"))
    assert direct[..., 3].max() > 0.9
    assert (direct - back).abs().max() <= LEVEL


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("angles", [(90, 0, 0), (0, 90, 0), (0, 0, 90), (33, -71, 140)])
def test_turned_and_seen_by_a_camera_that_turns_along(
    degree: int, angles: tuple[float, float, float]
) -> None:
    cloud = random_cloud(degree)
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = matrix_from_angles(*angles), (0.4, -1.0, 2.0)
    turned = rotate(cloud, moved[:3, :3], moved[:3, 3])
    assert (draw(turned, moved=moved) - draw(cloud)).abs().max() <= 2 * LEVEL
    if degree:  # without turning the harmonics along, it is another picture
        half = GaussianCloud(**{**vars(turned), "sh": cloud.sh})
        assert (draw(half, moved=moved) - draw(cloud)).abs().max() > 20 * LEVEL


def only(frames: Artifact) -> np.ndarray:
    (frame,) = frames.frames()
    return frame["rgba"].astype(int)


@pytest.mark.parametrize("densify", [False, True])
@pytest.mark.parametrize("yaw_deg", [0.0, 30.0])
def test_ply_of_a_head_looks_like_the_head(
    tmp_path: Path, example_head: Artifact, yaw_deg: float, densify: bool
) -> None:
    path = str(tmp_path / "head.ply")
    pipeline.export_ply(example_head, path, densify=densify)
    cloud, view = pipeline.open_ply(path)
    turn = pipeline.RenderOptions(yaw_deg=yaw_deg, pitch_deg=-5, device="cpu")
    drawn = only(pipeline.render_cloud(cloud, view, turn))
    direct = pipeline.RenderOptions(yaw_deg, -5, densify=densify, device="cpu")
    expected = only(pipeline.render(example_head, direct))
    opaque = expected[..., 3:] > 8  # the colour of what is not there is noise
    assert (np.abs(drawn - expected) * opaque).max() <= 1
    assert np.abs(drawn - expected)[..., 3].max() <= 1
