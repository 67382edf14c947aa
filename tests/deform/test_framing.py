"""A driven head stays in its photo, and small motion is left as it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.expression import FaceState, neutral_state
from mggtalk_cli.core.rotation import matrix_from_angles, rotation_exp
from mggtalk_cli.deform import Framing
from mggtalk_cli.deform.framing import FREE, MOST_TURN_DEG, MOST_ZOOM, squeezed

SIDE, FOCAL_PX, AWAY_CM, RADIUS_CM = 256, 700.0, 80.0, 10.0


def ball(count: int = 4000) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(count, 3))
    return RADIUS_CM * points / np.linalg.norm(points, axis=1, keepdims=True)


def framing(x_cm: float = 0.0, y_cm: float = 0.0) -> Framing:
    """A ball of 175 px in a frame of 256 px, its middle at x, y."""
    source = replace(neutral_state(), translation=np.float32([x_cm, y_cm, -AWAY_CM]))
    viewmat = viewmat_from_pose(source.rotation, source.translation)
    return Framing.of(ball(), Camera(viewmat, FOCAL_PX, SIDE, SIDE), source)


def pixels(frame: Framing, state: FaceState, points: np.ndarray) -> np.ndarray:
    seen = points @ state.rotation.T.astype(np.float64) + state.translation
    return seen[:, :2] * (1, -1) / -seen[:, 2:] * FOCAL_PX + SIDE / 2


def wild(source: FaceState, seed: int) -> FaceState:
    """A driver who jumps about, turns to any side and comes as near as 10 cm."""
    random = np.random.default_rng(seed)
    return replace(
        source,
        rotation=matrix_from_angles(*random.uniform(-90, 90, 3)).astype(np.float32),
        translation=random.uniform((-90, -90, -300), (90, 90, -10)).astype(np.float32),
    )


@pytest.mark.parametrize("place", [(0.0, 0.0), (2.5, -2.0)])
def test_a_wild_driver_leaves_no_point_outside(place: tuple[float, float]) -> None:
    frame, points = framing(*place), ball()
    for seed in range(200):
        kept = frame.kept(wild(frame.source, seed))
        found = pixels(frame, kept, points)
        assert found.min() >= 0, seed
        assert found.max() <= SIDE, seed
        assert frame.holds(kept)


def test_small_motion_is_left_as_it_is() -> None:
    frame = framing()
    turn = matrix_from_angles(12, -8, 5).astype(np.float32)
    place = frame.source.translation + np.float32([1.0, -1.5, 6.0])
    small = replace(frame.source, rotation=turn, translation=place)
    assert frame.kept(small) is small
    assert frame.kept(frame.source) is frame.source


def test_room_is_what_the_photo_leaves() -> None:
    """The ball just fits when its middle is (128 - margin - 87.5) px beside the frame's."""
    frame = framing()
    far = replace(frame.source, translation=np.float32([1e4, 0, -AWAY_CM]))
    right = pixels(frame, frame.kept(far), ball())[:, 0].max()
    assert 0.975 * SIDE < right <= SIDE
    aside = framing(x_cm=3.0)  # less room to the right
    far = replace(aside.source, translation=np.float32([1e4, 0, -AWAY_CM]))
    moved = aside.kept(far).translation[0] - 3.0
    assert 0 < moved < 0.6 * frame.kept(far).translation[0]


def test_limits_are_soft_and_keep_order() -> None:
    values = np.linspace(-5, 5, 301)
    limited = np.array([squeezed(value, 1.0) for value in values])
    assert (np.diff(limited) > 0).all()
    assert np.abs(limited).max() < 1
    inside = np.abs(values) <= FREE
    assert (limited[inside] == values[inside]).all()
    assert np.abs(np.diff(limited)).max() <= np.diff(values).max() + 1e-12


def test_distance_and_turn_have_ends() -> None:
    frame = framing()
    gone = replace(frame.source, translation=np.float32([0, 0, -1e5]))
    assert -frame.kept(gone).translation[2] < MOST_ZOOM * AWAY_CM
    away = replace(frame.source, rotation=matrix_from_angles(170, 0, 0).astype(np.float32))
    turned = frame.kept(away).rotation
    angle = np.rad2deg(np.arccos((np.trace(turned) - 1) / 2))
    assert FREE * MOST_TURN_DEG < angle < MOST_TURN_DEG


def test_a_head_that_the_photo_cuts_may_still_move() -> None:
    frame = framing(x_cm=7.0)  # the frame cuts it at the right
    assert frame.box(frame.source)[1, 0] > SIDE
    nod = replace(frame.source, translation=frame.source.translation + np.float32([0.3, 0, 0]))
    assert frame.kept(nod) is nod
    assert frame.holds(frame.source)


def test_behind_the_camera_is_only_very_near() -> None:
    frame = framing()
    behind = replace(frame.source, translation=np.float32([0, 0, 30]))
    found = pixels(frame, frame.kept(behind), ball())
    assert np.isfinite(found).all()
    assert (np.abs(found - SIDE / 2) <= SIDE / 2).all()


def test_a_driver_may_go_as_far_out_as_in_its_own_picture() -> None:
    frame = framing()
    for seed in range(20):
        turn = rotation_exp(np.deg2rad(np.random.default_rng(seed).uniform(-20, 20, 3)))
        shift = np.random.default_rng(seed).uniform([-20, -20, 0], [20, 20, 0])
        far = replace(
            frame.source,
            rotation=(turn @ frame.source.rotation).astype(np.float32),
            translation=(frame.source.translation + shift).astype(np.float32),
        )
        assert frame.kept(far) is not far or abs(shift).max() < 6
        same = frame.kept(far, frame.filmed(far, frame.camera))
        np.testing.assert_allclose(same.translation, far.translation, atol=1e-3)
        np.testing.assert_array_equal(same.rotation, far.rotation)


def test_another_size_does_not_match_the_photo() -> None:
    frame = framing()
    nearer = replace(frame.source, translation=frame.source.translation * np.float32([1, 1, 0.8]))
    assert frame.matches(frame.source)
    assert not frame.matches(nearer)


@pytest.mark.parametrize(
    ("scale", "aside_cm", "sits"),
    [(1.0, 0.0, True), (1.1, 1.0, True), (1.2, 0.0, False), (0.8, 0.0, False), (1.0, 2.0, False)],
)
def test_a_head_sits_on_the_photos_neck(scale: float, aside_cm: float, sits: bool) -> None:
    frame = framing()
    place = scale * (frame.source.translation + np.float32([aside_cm, 0, 0]))
    assert frame.sits(replace(frame.source, translation=place)) == sits
    behind = replace(frame.source, translation=-frame.source.translation)
    assert not frame.sits(behind)
