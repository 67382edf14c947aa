"""The z-buffer against cases worked out by hand."""

from __future__ import annotations

import numpy as np

from mggtalk_cli.core.mesh import rasterize_mesh

# The half square below the diagonal y = x of a 4 x 4 picture, and the other half.
SQUARE = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0], [0.0, 4.0]])


def test_one_triangle_by_hand() -> None:
    corners = np.array([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    index, bary, depth = rasterize_mesh(
        corners, np.array([1.0, 4.0, 7.0]), np.array([[0, 1, 2]]), height=3, width=3
    )
    # Pixel centres with x + y <= 3: the diagonal ones lie on the edge and count.
    assert index.tolist() == [[0, 0, 0], [0, 0, -1], [0, -1, -1]]
    np.testing.assert_allclose(bary[0, 0], [2 / 3, 1 / 6, 1 / 6], atol=1e-6)
    # The depth is the plane 1 + x + 2 y.
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        np.testing.assert_allclose(depth[i, j], 1 + (j + 0.5) + 2 * (i + 0.5), atol=1e-6)
    assert np.isinf(depth[index < 0]).all()
    assert (bary[index < 0] == 0).all()


def test_weights_are_convex_and_give_the_pixel_back() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(-4, 36, (30, 2))
    triangles = random.integers(0, 30, (20, 3))
    index, bary, _ = rasterize_mesh(
        corners, random.uniform(1, 2, 30), triangles, height=32, width=32
    )
    hit = index >= 0
    assert 0.2 < hit.mean() <= 1
    np.testing.assert_allclose(bary[hit].sum(-1), 1, atol=1e-5)
    assert bary.min() > -1e-5
    seen = (bary[hit][..., None] * corners[triangles[index[hit]]]).sum(1)
    rows, columns = np.nonzero(hit)
    np.testing.assert_allclose(seen, np.stack([columns, rows], -1) + 0.5, atol=1e-4)


def test_shared_edge_is_covered_exactly_once() -> None:
    """No hole along the diagonal, and each pixel belongs to one triangle whatever the order."""
    for triangles in ([[0, 1, 2], [0, 2, 3]], [[0, 2, 3], [0, 1, 2]], [[2, 1, 0], [3, 2, 0]]):
        index, _, depth = rasterize_mesh(SQUARE, np.ones(4), np.array(triangles), height=4, width=4)
        assert (index >= 0).all()
        assert (depth == 1).all()
        inner = [np.count_nonzero(index == t) for t in (0, 1)]
        assert sum(inner) == 16
        assert min(inner) == 6  # strictly off the diagonal; the four on it go to one side


def test_fan_has_no_holes() -> None:
    angles = np.linspace(0, 2 * np.pi, 33)[:-1]
    ring = 20 + 15 * np.stack([np.cos(angles), np.sin(angles)], -1)
    corners = np.concatenate([[[20.3, 19.6]], ring])
    fan = np.array([[0, 1 + k, 1 + (k + 1) % 32] for k in range(32)])
    index, _, _ = rasterize_mesh(corners, np.ones(33), fan, height=40, width=40)
    y, x = np.mgrid[0:40, 0:40] + 0.5
    assert (index[np.hypot(x - 20, y - 20) < 14.8] >= 0).all()
    assert (index[np.hypot(x - 20, y - 20) > 15.01] < 0).all()


def test_nearest_triangle_wins_in_either_order_and_orientation() -> None:
    corners = np.concatenate([SQUARE, SQUARE])
    depth = np.array([2.0] * 4 + [1.0] * 4)
    for near, far in (([4, 5, 6], [0, 1, 2]), ([6, 5, 4], [2, 1, 0])):
        for triangles, expected in (([near, far], 0), ([far, near], 1)):
            index, _, found = rasterize_mesh(corners, depth, np.array(triangles), height=4, width=4)
            assert (index[index >= 0] == expected).all()
            assert (found[index >= 0] == 1).all()


def test_crossing_planes_are_split_where_they_meet() -> None:
    corners = np.concatenate([SQUARE, SQUARE]) * 2
    depth = np.concatenate([corners[:4, 0], 8 - corners[4:, 0]])  # z = x and z = 8 - x
    triangles = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    index, _, _ = rasterize_mesh(corners, depth, triangles, height=8, width=8)
    assert (index[:, :4] < 2).all()
    assert (index[:, 4:] >= 2).all()


def test_degenerate_and_outside_triangles_draw_nothing() -> None:
    corners = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [-9.0, -9.0], [-5.0, -9.0], [-7.0, -3]])
    index, _, _ = rasterize_mesh(
        corners, np.ones(6), np.array([[0, 1, 2], [0, 0, 1], [3, 4, 5]]), height=4, width=4
    )
    assert (index == -1).all()
