"""Normal integration against surfaces known in closed form, and DiLiGenT's bear and cat."""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from mggtalk_cli.errors import InputError
from mggtalk_cli.head.integration import integrate_normals
from mggtalk_cli.head.stencil import solve_stencil

DILIGENT = Path(__file__).parents[3] / "shared" / "data" / "diligent"


def plane_normals(shape: tuple[int, int], slope_x: float, slope_y: float) -> np.ndarray:
    """Normals (y up, to the viewer) of depth = slope_x * column + slope_y * row."""
    normal = np.array([slope_x, -slope_y, 1.0])
    return np.broadcast_to(normal / np.linalg.norm(normal), (*shape, 3)).astype(np.float32)


def step_scene() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two flat halves 8 px apart, the nearer one with a narrow slope towards the edge."""
    columns = np.arange(48)
    slope = np.where((columns > 10) & (columns < 20), 0.3, 0.0)
    depth = np.cumsum(slope) + np.where(columns >= 24, 8.0, 0.0)
    normals = np.stack([slope, 0 * slope, np.ones(48)], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    return (
        np.tile(normals[None], (32, 1, 1)).astype(np.float32),
        np.ones((32, 48), bool),
        np.tile(depth[None], (32, 1)),
    )


def test_plane_orthographic_with_sign():
    rows, columns = np.mgrid[:40, :50]
    depth = integrate_normals(plane_normals((40, 50), 0.4, -0.2), np.ones((40, 50), bool))
    truth = 0.4 * columns - 0.2 * rows
    error = depth - truth
    assert np.abs(error - np.median(error)).max() < 0.05


def test_sphere_perspective_up_to_scale():
    size, focal, radius, distance = 80, 200.0, 10.0, 40.0
    x = (np.arange(size) + 0.5 - size / 2) / focal
    ray = np.stack([*np.meshgrid(x, x), np.ones((size, size))], -1)
    a, b = (ray**2).sum(-1), -2 * distance * ray[..., 2]
    inside = b * b - 4 * a * (distance**2 - radius**2)
    depth = (-b - np.sqrt(np.maximum(inside, 0))) / (2 * a)
    point = ray * depth[..., None]
    normal = (point - [0, 0, distance]) / radius * np.array([1, -1, -1])
    mask = (inside > 0) & (normal[..., 2] > 0.3)
    result = integrate_normals(normal, mask, focal_px=focal)
    assert np.isnan(result[~mask]).all()
    assert np.median(result[mask]) == pytest.approx(1, abs=1e-3)
    scaled = result * np.median(depth[mask] / result[mask])
    assert np.abs(scaled - depth)[mask].mean() < 0.005 * radius
    # Taken as orthographic the same normals give a visibly wrong shape.
    flat = integrate_normals(normal, mask) / focal * distance
    flat += np.median((depth - flat)[mask])
    assert np.abs(flat - depth)[mask].mean() > 2 * np.abs(scaled - depth)[mask].mean()


@pytest.mark.parametrize(("k", "least", "most"), [(2.0, 0.0, 0.3), (0.0, 0.5, 8.0)])
def test_step_stays_open_only_with_bilateral_weights(k, least, most):
    normals, mask, truth = step_scene()
    noisy = truth + np.random.default_rng(0).normal(0, 0.2, truth.shape)
    depth = integrate_normals(
        normals, mask, depth_prior=noisy, prior_weight=1e-2, fit_prior=False, k=k
    )
    error = np.abs(depth - truth)[:, 21:27].mean()
    assert least <= error <= most


def test_prior_gives_the_scale_in_perspective():
    prior = np.full((30, 30), 75.0)
    prior[10:20, 10:20] = np.nan
    normals = plane_normals((30, 30), 0, 0)
    depth = integrate_normals(
        normals, np.ones((30, 30), bool), focal_px=900, depth_prior=prior, prior_weight=1e-2
    )
    assert np.abs(depth - 75).max() < 0.05


def test_prior_of_wrong_relief_is_rescaled_first():
    size = 60
    y, x = (np.mgrid[:size, :size] - size / 2 + 0.5) / 30
    truth = 12 * (x**2 + 0.5 * y**2)
    normals = np.stack([24 * x / 30, -12 * y / 30, np.ones_like(x)], -1)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    mask = np.ones((size, size), bool)
    flat = 0.5 * truth + 3
    fitted = integrate_normals(normals, mask, depth_prior=flat, prior_weight=0.1)
    trusted = integrate_normals(normals, mask, depth_prior=flat, prior_weight=0.1, fit_prior=False)

    def error(depth):
        return np.abs(depth - truth - np.median(depth - truth)).mean()

    assert error(fitted) < 0.1
    assert error(trusted) > 3 * error(fitted)


def test_values_outside_the_mask_do_not_matter():
    normals = plane_normals((20, 20), 0.1, 0.1).copy()
    mask = np.zeros((20, 20), bool)
    mask[3:15, 4:16] = True
    clean = integrate_normals(normals, mask)
    normals[~mask] = np.nan
    np.testing.assert_array_equal(integrate_normals(normals, mask), clean)


def test_stencil_solver_matches_dense():
    rng = np.random.default_rng(1)
    right, down = rng.random((5, 6)), rng.random((5, 6))
    right[:, -1] = down[-1] = 0
    diagonal = right + down + 0.5
    diagonal[:, 1:] += right[:, :-1]
    diagonal[1:] += down[:-1]
    rhs = rng.normal(size=(5, 6))
    matrix = np.diag(diagonal.ravel())
    for index in range(30):
        row, column = divmod(index, 6)
        if column < 5:
            matrix[index, index + 1] = matrix[index + 1, index] = -right[row, column]
        if row < 4:
            matrix[index, index + 6] = matrix[index + 6, index] = -down[row, column]
    solution, _ = solve_stencil(np.zeros((5, 6)), rhs, diagonal, right, down, tolerance=1e-12)
    np.testing.assert_allclose(
        solution.ravel(), np.linalg.solve(matrix, rhs.ravel()), rtol=1e-8, atol=1e-10
    )


def test_bad_shapes_and_empty_mask():
    with pytest.raises(InputError, match="do not fit"):
        integrate_normals(np.zeros((4, 5, 3)), np.ones((5, 4), bool))
    with pytest.raises(InputError, match="empty"):
        integrate_normals(np.zeros((4, 4, 3)), np.zeros((4, 4), bool))


def diligent_error(name: str) -> float:
    """Mean absolute depth error in mm after the best (median) scale."""
    folder = DILIGENT / name
    mask = iio.imread(folder / "mask.png")
    mask = (mask if mask.ndim == 2 else mask[..., 0]) > 0
    colors = iio.imread(folder / "normal_map.png")
    normals = colors[..., :3] / np.iinfo(colors.dtype).max * 2.0 - 1
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    intrinsics = np.loadtxt(folder / "K.txt")
    with np.load(folder / "depth_gt.npz") as stored:
        truth = stored[stored.files[0]]
    centre = intrinsics[0, 2] + 0.5, intrinsics[1, 2] + 0.5
    depth = integrate_normals(normals, mask, focal_px=intrinsics[0, 0], centre=centre)
    known = mask & (truth > 0) & np.isfinite(truth)
    depth = depth * np.median((truth / depth)[known])
    return float(np.abs(depth - truth)[known].mean())


@pytest.mark.skipif(not DILIGENT.is_dir(), reason="DiLiGenT data (benchmark only) is absent")
@pytest.mark.parametrize(("name", "limit_mm"), [("bear", 0.45), ("cat", 0.09)])
def test_diligent(name, limit_mm):
    assert diligent_error(name) < limit_mm


if __name__ == "__main__":  # all nine objects: python tests/head/test_integration.py
    errors = {folder.name: diligent_error(folder.name) for folder in sorted(DILIGENT.iterdir())}
    for name, error in errors.items():
        print(f"{name:8} {error:.3f} mm")  # noqa: T201
    print(f"average  {np.mean(list(errors.values())):.3f} mm")  # noqa: T201
