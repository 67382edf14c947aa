"""Face distances and steadiness against answers that are known beforehand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mggtalk_cli.core.landmark_groups import CANONICAL, LIPS
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import metrics

FRAMES, SIZE = 6, (512, 384)
SHAPE = (48, 64, 3)


@pytest.fixture
def faces() -> np.ndarray:
    """(6, 468, 3) px: the canonical face drifting through 512 x 384 frames."""
    face = CANONICAL * (10, -10, -10) + np.array([256, 192, 0])
    return np.stack([face + np.array([3 * i, -2 * i, 0]) for i in range(FRAMES)])


def turned(yaw_deg: np.ndarray) -> np.ndarray:
    return np.stack([matrix_from_angles(angle, 5, -3) for angle in yaw_deg])


def test_landmark_distance_of_a_known_shift(faces: np.ndarray) -> None:
    eyes = np.linalg.norm((faces[0, 33] - faces[0, 263])[:2])
    shifted = faces + np.array([6, 8, 50])
    assert metrics.lmd(faces, faces, size=SIZE) == (0, 0)
    found = metrics.lmd(shifted, faces, size=SIZE)
    assert found.px == pytest.approx(10 * 256 / 512)
    assert found.iod == pytest.approx(10 / eyes)
    assert metrics.mouth_lmd(shifted, faces, size=SIZE).px == pytest.approx(0, abs=1e-9)


def test_mouth_distance_of_a_mouth_that_grows(faces: np.ndarray) -> None:
    lips = list(LIPS)
    grown = faces.copy()
    middle = faces[:, lips].mean(1, keepdims=True)
    grown[:, lips] = middle + 1.5 * (faces[:, lips] - middle)
    reach = np.linalg.norm((faces[:, lips] - middle)[..., :2], axis=-1).mean()
    found = metrics.mouth_lmd(grown, faces, size=SIZE)
    assert found.px == pytest.approx(0.5 * reach * 256 / 512)
    assert metrics.lmd(grown, faces, size=SIZE).px == pytest.approx(found.px * len(lips) / 468)


def test_frames_without_a_face_do_not_count(faces: np.ndarray) -> None:
    gaps = faces + np.array([3, 4, 0])
    gaps[[1, 4]] = np.nan
    assert metrics.lmd(gaps, faces, size=SIZE).px == pytest.approx(5 * 256 / 512)
    assert math.isnan(metrics.lmd(gaps[1:2], faces[1:2], size=SIZE).px)
    beta = np.full((FRAMES, 52), 0.25)
    beta[2] = np.nan
    assert metrics.aed(beta, np.zeros((FRAMES, 52))) == pytest.approx(0.25)


def test_a_mirrored_face_is_as_far_from_its_mirror_image(faces: np.ndarray) -> None:
    rng = np.random.default_rng(0)
    other = faces + rng.normal(0, 2, faces.shape)
    flip = (-1, 1, 1)
    for metric in (metrics.lmd, metrics.mouth_lmd):
        plain = metric(other, faces, size=SIZE)
        assert metric(other * flip, faces * flip, size=SIZE) == pytest.approx(plain)


def test_shapes_that_do_not_fit_are_refused(faces: np.ndarray) -> None:
    with pytest.raises(InputError, match="cannot compare landmarks"):
        metrics.lmd(faces[1:], faces, size=SIZE)
    with pytest.raises(InputError, match="468 or more"):
        metrics.lmd(faces[:, :68], faces[:, :68], size=SIZE)
    with pytest.raises(InputError, match="cannot compare values"):
        metrics.aed(np.zeros((3, 52)), np.zeros((4, 52)))
    with pytest.raises(InputError, match="3 poses with 4"):
        metrics.apd(turned(np.zeros(3)), turned(np.zeros(4)))


def test_expression_distance() -> None:
    beta = np.random.default_rng(0).random((FRAMES, 52))
    assert metrics.aed(beta, beta) == 0
    assert metrics.aed(beta + 0.1, beta) == pytest.approx(0.1)
    assert metrics.aed(beta + 0.1 * (np.arange(52) < 13), beta) == pytest.approx(0.025)


def test_pose_distance_is_in_radians_and_goes_the_short_way() -> None:
    yaw = np.array([-20.0, 0, 30])
    assert metrics.apd(turned(yaw), turned(yaw)) == pytest.approx(0, abs=1e-12)
    assert metrics.apd(turned(yaw + 9), turned(yaw)) == pytest.approx(math.radians(9) / 3)
    around = metrics.apd(turned(np.array([179.0])), turned(np.array([-179.0])))
    assert around == pytest.approx(math.radians(2) / 3)
    gap = turned(yaw)
    gap[1] = np.nan
    assert metrics.apd(gap, turned(yaw + 9)) == pytest.approx(math.radians(9) / 3)


def test_identity_similarity_is_a_cosine() -> None:
    a, b = np.array([2.0, 0, 0]), np.array([1.0, 1, 0])
    assert metrics.csim(a, 5 * a) == pytest.approx(1)
    assert metrics.csim(a, -a) == pytest.approx(-1)
    assert metrics.csim(a, b) == pytest.approx(math.sqrt(0.5))
    assert math.isnan(metrics.csim(None, a))
    assert math.isnan(metrics.csim(a, np.zeros(3)))


def test_pose_jitter_is_the_deviation_of_angle_noise() -> None:
    time = np.arange(4000)
    noise = np.random.default_rng(0).normal(0, 0.4, (4000, 3))
    slow = 10 * np.sin(2 * np.pi * time / 100)  # a quarter turn a second
    shaken = np.stack(
        [matrix_from_angles(s + y, p, r) for s, (y, p, r) in zip(slow, noise, strict=True)]
    )
    assert metrics.pose_jitter(shaken) == pytest.approx(0.4, rel=0.03)
    assert metrics.pose_jitter(turned(0.01 * time[:50] ** 2)) == pytest.approx(0, abs=1e-9)
    assert metrics.pose_jitter(turned(slow[:200])) < 10 * 0.004
    turns = np.arange(0, 2000, 40.0)  # several whole turns, without a jump at 180 degrees
    assert metrics.pose_jitter(turned(turns)) == pytest.approx(0, abs=1e-9)


def test_pose_jitter_of_few_frames_and_of_gaps() -> None:
    poses = turned(np.arange(9.0))
    assert math.isnan(metrics.pose_jitter(poses[:3]))
    poses[4] = np.nan
    assert metrics.pose_jitter(poses) == pytest.approx(0, abs=1e-9)
    assert math.isnan(metrics.pose_jitter(poses[2:7]))


@pytest.mark.parametrize("frames", [25, 50, 125])
def test_energy_above_a_frequency_is_that_of_the_faster_tone(frames: int) -> None:
    time = np.arange(frames) / 25
    slow, fast = np.sin(2 * np.pi * 3 * time), np.sin(2 * np.pi * 9 * time + 0.3)
    both = np.stack([5 * slow + 40 * time - 7, 2 * fast], 1)
    assert metrics.energy_above(both, 6, fps=25) == pytest.approx(2**2 / 2, rel=0.02)
    assert metrics.energy_above(both[:, :1], 6, fps=25) < 0.01
    two = np.stack([3 * fast, fast], 1)
    assert metrics.energy_above(two, 6, fps=25) == pytest.approx((3**2 + 1) / 2, rel=0.02)


def test_tremor_kept_is_the_energy_that_smoothing_leaves() -> None:
    time = np.arange(50) / 25
    turn, shake = 20 * np.sin(2 * np.pi * 0.5 * time), np.sin(2 * np.pi * 9 * time)
    raw = np.random.default_rng(4).normal(0, 40, (9, 3)) @ turned(turn + shake).transpose(0, 2, 1)
    moved = raw + 300 + np.outer(time, (3, 1, 0))[:, None]
    calm = turned(turn + 0.5 * shake)
    assert metrics.tremor_kept(calm, moved, fps=25) == pytest.approx(0.25, abs=0.01)
    assert metrics.tremor_kept(turned(turn + shake), moved, fps=25) == pytest.approx(1, abs=0.01)
    assert math.isnan(metrics.tremor_kept(calm[:24], moved[:24], fps=25))
    assert math.isnan(metrics.tremor_kept(calm, raw[:1].repeat(50, 0), fps=25))
    calm[3] = np.nan
    assert math.isnan(metrics.tremor_kept(calm, moved, fps=25))
    with pytest.raises(InputError, match="50 poses with 49"):
        metrics.tremor_kept(calm, moved[1:], fps=25)


@pytest.mark.parametrize("kind", [np.float32, np.uint8])
def test_pixel_jitter_is_the_deviation_of_noise(kind: type) -> None:
    rng = np.random.default_rng(0)
    grey = 128 + rng.normal(0, 5, (40, 80, 80, 1)) + np.zeros(3)  # all colours alike
    frames = grey.round().astype(np.uint8) if kind is np.uint8 else grey.astype(np.float32) / 255
    still = np.zeros((80, 80), bool)
    still[20:60, 20:60] = True
    assert metrics.pixel_jitter(frames, still) == pytest.approx(5, rel=0.02)
    assert math.isnan(metrics.pixel_jitter(frames[:2], still))
    assert math.isnan(metrics.pixel_jitter(frames, np.zeros_like(still)))


def test_a_steady_change_of_light_is_no_jitter() -> None:
    ramp = [np.full(SHAPE, 0.2 + 0.01 * i, np.float32) for i in range(8)]
    assert metrics.pixel_jitter(ramp, np.ones(SHAPE[:2], bool)) == pytest.approx(0, abs=1e-3)


def test_still_pixels_are_those_that_barely_change() -> None:
    frames = np.full((10, *SHAPE), 100, np.uint8)
    frames[::2, :, :32] += 2  # deviation 1
    frames[::2, :, 48:] += 10
    still = metrics.still_pixels(frames)
    assert still[:, :48].all()
    assert not still[:, 48:].any()
    with pytest.raises(InputError, match="no frames"):
        metrics.still_pixels([])


def test_flicker_compares_changes() -> None:
    truth = np.random.default_rng(0).integers(20, 220, (5, *SHAPE), np.uint8)
    assert metrics.temporal_flicker(truth, truth) == 0
    assert metrics.temporal_flicker(truth + np.uint8(9), truth) == 0
    blinking = truth + np.array([0, 6, 0, 6, 0], np.uint8)[:, None, None, None]
    assert metrics.temporal_flicker(blinking, truth) == pytest.approx(6)
    frozen = metrics.temporal_flicker([truth[0]] * 5, truth)
    assert frozen == pytest.approx(np.abs(np.diff(truth.astype(float), axis=0)).mean())
    floats = [frame.astype(np.float32) / 255 for frame in blinking]
    assert metrics.temporal_flicker(floats, truth) == pytest.approx(6, abs=1e-4)


def test_flicker_within_masks() -> None:
    truth = np.zeros((3, *SHAPE), np.uint8)
    frames = truth.copy()
    frames[1, :, :10] = 8
    left, nothing = np.zeros(SHAPE[:2], bool), np.zeros(SHAPE[:2], bool)
    left[:, :10] = True
    assert metrics.temporal_flicker(frames, truth, [left] * 3) == pytest.approx(8)
    assert math.isnan(metrics.temporal_flicker(frames, truth, [nothing] * 3))
    assert math.isnan(metrics.temporal_flicker(frames[:1], truth[:1]))
    with pytest.raises(InputError, match="2 frames with 3"):
        metrics.temporal_flicker(frames[:2], truth)
    with pytest.raises(InputError, match="cannot compare a frame"):
        metrics.temporal_flicker(frames[:, :-1], truth)
