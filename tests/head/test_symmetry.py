"""Symmetric completion and the rear shell on an ellipsoid, whose hidden side is known."""

import numpy as np
import pytest
from ellipsoid_scene import AXES, ellipsoid_head
from scipy.spatial import cKDTree

from mggtalk_cli.head import back_shell, complete_by_symmetry, outline_band, symmetry_gain


def completed(yaw, **options):
    head = ellipsoid_head(yaw)
    matte = head.valid.astype(np.float32)
    return head, complete_by_symmetry(
        head.positions, head.valid, camera=head.camera, matte=matte, **options
    )


@pytest.mark.parametrize("yaw", [-45.0, 30.0, 45.0])
def test_hidden_side_is_filled_on_the_true_surface(yaw):
    head, completion = completed(yaw)
    points = completion.positions[completion.valid]
    np.testing.assert_allclose(head.level(points), 1, atol=1e-3)
    surface = np.random.default_rng(0).normal(size=(4000, 3))
    surface = surface / np.linalg.norm(surface, axis=1, keepdims=True) * AXES
    eye = -head.camera.viewmat[:3, :3].T @ head.camera.viewmat[:3, 3]

    def seen(at):
        return ((eye - at) * at / AXES**2).sum(1) > 0

    hidden = ~seen(surface) & seen(surface * [-1, 1, 1])
    gap, _ = cKDTree(np.concatenate([points, head.positions[head.valid]])).query(surface[hidden])
    assert np.median(gap) < 0.4
    assert np.percentile(gap, 95) < 1.2


@pytest.mark.parametrize("yaw", [0.0, 15.0, 30.0])
def test_nothing_doubles_the_visible_side(yaw):
    head, completion = completed(yaw)
    if yaw == 0:
        assert not completion.valid.any()
        return
    distance, _ = cKDTree(head.positions[head.valid]).query(completion.positions[completion.valid])
    assert distance.min() > 0.25


def test_maps_stay_whole_and_mirrored():
    head, completion = completed(30.0)
    np.testing.assert_array_equal(completion.positions, head.positions * [-1, 1, 1])
    assert not completion.valid[~head.valid].any()


def test_points_that_would_show_in_the_photo_are_dropped():
    head = ellipsoid_head(30.0)
    positions, valid = head.positions.copy(), head.valid.copy()
    row, column = np.argwhere(valid)[len(np.argwhere(valid)) // 2]
    # Its mirror image floats beside the head, outside the person; the next one before the face.
    positions[row, column] = (-30, 0, 0)
    positions[row, column + 1] = (0.5, 0, 25)
    completion = complete_by_symmetry(
        positions, valid, camera=head.camera, matte=head.valid.astype(np.float32)
    )
    assert not completion.valid[row, column]
    assert not completion.valid[row, column + 1]


def test_voxel_size_is_felt_and_empty_input_is_fine():
    _, fine = completed(30.0, voxel_size_cm=0.2)
    _, coarse = completed(30.0, voxel_size_cm=1.5)
    assert coarse.valid.sum() < fine.valid.sum()
    head = ellipsoid_head()
    nothing = np.zeros_like(head.valid)
    empty = complete_by_symmetry(
        head.positions, nothing, camera=head.camera, matte=nothing.astype(np.float32)
    )
    assert not empty.valid.any()


def test_detached_pieces_are_dropped():
    head = ellipsoid_head(30.0)
    positions = head.positions.copy()
    wide = head.valid & (head.positions[..., 0] > 0.9 * head.positions[..., 0].max())
    positions[wide, 0] += 6  # a lock of hair far out on the visible side only
    completion = complete_by_symmetry(
        positions, head.valid, camera=head.camera, matte=np.ones_like(head.depth)
    )
    assert completion.valid.any()
    assert not completion.valid[wide].any()


def test_the_other_half_of_a_profile_stays():
    """Its middle is hidden, so the halves do not touch."""
    head = ellipsoid_head(60.0)
    side = np.sign(head.positions[head.valid][:, 0].mean())
    half = head.valid & (side * head.positions[..., 0] > 1.5)
    completion = complete_by_symmetry(
        head.positions, half, camera=head.camera, matte=np.ones_like(head.depth)
    )
    assert completion.valid.sum() > 0.3 * half.sum()


def test_gain_fades_in_with_yaw():
    values = [symmetry_gain(yaw) for yaw in (0, 10, 18, 26, -26)]
    assert values[0] == values[1] == 0
    assert 0 < values[2] < 1
    assert values[3] == values[4] == 1


@pytest.mark.parametrize("yaw", [0.0, 30.0])
def test_back_shell_lies_inside_the_head_behind_the_front(yaw):
    head = ellipsoid_head(yaw, width=192, height=160)
    valid = head.valid.copy()
    valid[70:74, 90:100] = False  # cut-out eyes must not leave holes
    shell, shell_valid = back_shell(head.positions, valid, head.valid.astype(np.float32))
    assert shell.shape == (80, 96, 3)
    assert shell_valid[36, 47]
    assert head.level(shell[shell_valid]).max() < 1.1
    toward = head.camera.to_camera(shell)[..., 2] - np.nan_to_num(head.depth[::2, ::2])
    assert toward[shell_valid].min() > -0.5
    assert toward[40, 48] > 12
    assert not shell_valid[~head.valid[::2, ::2]].any()


def test_back_shell_leaves_the_torso_alone():
    head = ellipsoid_head()
    weight = (np.arange(128) < 64)[:, None] * np.ones((1, 128))
    _, shell_valid = back_shell(head.positions, head.valid, weight)
    assert not shell_valid[32:].any()
    _, nothing = back_shell(head.positions, head.valid, 0 * weight)
    assert not nothing.any()


def test_outline_band_is_a_ring_inside():
    head = ellipsoid_head()
    band = outline_band(head.valid)
    assert band.any()
    assert not band[~head.valid].any()
    assert not band[64, 64]
