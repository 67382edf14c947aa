"""Analytic depth and normals of an ellipsoid head, whose truth is known."""

import numpy as np
import pytest
from ellipsoid_scene import ellipsoid_head, head_view_of

from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.head.depth import RIM_SLOPE, analytic_depth, inner_distance, soft_minimum
from mggtalk_cli.head.normals import analytic_normals, normals_from_depth
from mggtalk_cli.head.view import HeadView, head_view, model_maps


def test_soft_minimum_bounds_and_far_equality():
    a, b = np.linspace(-3, 3, 61), np.zeros(61)
    low = soft_minimum(a, b, 0.5)
    assert (low <= np.minimum(a, b) + 1e-12).all()
    far = np.abs(a) > 0.51
    np.testing.assert_allclose(low[far], np.minimum(a, b)[far], atol=1e-12)


def test_inner_distance_ignores_the_picture_border():
    mask = np.zeros((9, 9), bool)
    mask[3:, :] = True
    distance = inner_distance(mask, border_is_edge=False)
    np.testing.assert_allclose(distance[:, 4], [0, 0, 0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5])
    assert inner_distance(np.ones((4, 4), bool), border_is_edge=False).min() > 4


@pytest.mark.parametrize("yaw", [0.0, 30.0])
def test_face_is_exact_and_head_is_round(yaw):
    head = ellipsoid_head(yaw)
    view = head_view_of(head)
    depth = analytic_depth(view)
    assert np.isfinite(depth[view.valid]).all()
    assert np.isnan(depth[~view.valid]).all()
    deep = inner_distance(view.face, border_is_edge=False) * view.cm_per_px > 1.5
    assert np.abs(depth - head.depth)[deep].max() < 0.05
    assert np.abs(depth - head.depth)[view.valid].mean() < 0.9


def test_no_skull_known_still_inflates():
    head = ellipsoid_head()
    view = head_view_of(head, skull=False)
    error = np.abs(analytic_depth(view) - head.depth)
    assert error[view.valid & ~view.face].mean() < 2.5


def test_no_step_across_the_oval_and_limited_rim_slope():
    view = head_view_of(ellipsoid_head())
    depth = analytic_depth(view)
    step = np.abs(np.diff(depth, axis=1)) / view.cm_per_px
    border = view.face[:, 1:] != view.face[:, :-1]
    border &= np.abs(np.nan_to_num(np.diff(depth, axis=1), nan=9)) < 9
    assert step[border].max() < 3.0
    assert np.nanpercentile(step, 99.5) < 1.6 * RIM_SLOPE


@pytest.mark.parametrize("size", [(256, 256), (200, 320), (300, 180)])
def test_any_size_and_shape(size):
    height, width = size
    head = ellipsoid_head(width=width, height=height)
    view = head_view_of(head)
    depth, normals = analytic_depth(view), analytic_normals(view)
    assert depth.shape == size
    assert np.abs(depth - head.depth)[view.valid].mean() < 0.8
    np.testing.assert_allclose(np.linalg.norm(normals[view.valid], axis=-1), 1, atol=1e-4)


def test_face_cut_by_the_picture_border():
    head = ellipsoid_head(frame_cm=17.0)
    view = head_view_of(head)
    depth, normals = analytic_depth(view), analytic_normals(view)
    assert np.isfinite(depth[view.valid]).all()
    assert np.isfinite(normals[view.valid]).all()


def test_veil_does_not_rise_before_the_face():
    head = ellipsoid_head()
    view = head_view_of(head, skull=False)
    rows, columns = np.mgrid[: view.matte.shape[0], : view.matte.shape[1]]
    wide = (np.abs(columns - 64) < 55) & (rows > 20)
    veiled = HeadView(
        np.maximum(view.matte, wide).astype(np.float32),
        view.model_depth,
        view.model_normals,
        view.landmarks,
        view.focal_px,
    )
    depth = analytic_depth(veiled)
    beside = veiled.valid & ~veiled.face & (rows > 50) & (rows < 70)
    assert depth[beside].min() > np.nanmin(depth[veiled.face]) + 0.5


def test_other_people_are_left_out():
    view = head_view_of(ellipsoid_head())
    matte = view.matte.copy()
    matte[:10, :10] = 1
    other = HeadView(matte, view.model_depth, view.model_normals, view.landmarks, view.focal_px)
    assert not other.valid[:10, :10].any()
    assert other.valid[64, 64]


def test_normals_face_exact_rim_sideways():
    head = ellipsoid_head()
    view = head_view_of(head)
    normals = analytic_normals(view)
    deep = inner_distance(view.face, border_is_edge=False) * view.cm_per_px > 1.5
    assert (normals * head.normals).sum(-1)[deep].min() > 0.999
    middle = np.flatnonzero(view.valid[64])
    assert normals[64, middle[0], 0] < -0.8
    assert normals[64, middle[-1], 0] > 0.8
    top = np.flatnonzero(view.valid[:, 64])[0]
    assert normals[top, 64, 1] > 0.8


def test_normals_from_depth_match_the_ellipsoid():
    head = ellipsoid_head(20)
    normals = normals_from_depth(head.depth, head.camera.focal_px)
    inner = inner_distance(head.valid, border_is_edge=False) > 6
    assert (normals * head.normals).sum(-1)[inner].min() > 0.995


def test_model_maps_of_a_tetrahedron_and_head_view():
    head = ellipsoid_head()
    vertices = np.array([[0, 9, 0], [-9, -9, 0], [9, -9, 0]], np.float32)
    triangles = np.array([[0, 1, 2]])
    depth, normals = model_maps(vertices, triangles, head.camera)
    assert depth[64, 64] == pytest.approx(75, abs=1e-3)
    np.testing.assert_allclose(normals[64, 64], [0, 0, 1], atol=1e-5)
    assert np.isnan(depth[0, 0])
    landmarks = head.camera.unproject(
        head_view_of(head).landmarks[:, :2], head_view_of(head).landmarks[:, 2]
    )
    view = head_view(head.valid.astype(np.float32), landmarks, vertices, triangles, head.camera)
    assert view.face[64, 64]


def test_smoothstep_ends():
    np.testing.assert_allclose(smoothstep(np.array([-1.0, 0.5, 2.0]), 0, 1), [0, 0.5, 1])
