"""Smoothing calms noise, keeps steady motion in its place, and leaves lids alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState, neutral_state
from mggtalk_cli.core.rotation import angles_from_matrix, matrix_from_angles
from mggtalk_cli.motion.smoothing import REACH, smoothed

FPS = 25.0
JAW, LID = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["eyeBlinkLeft"]


def state(yaw_deg: float = 0.0, jaw: float = 0.0, lid: float = 0.0) -> FaceState:
    beta = neutral_state().beta.copy()
    beta[[JAW, LID]] = jaw, lid
    return replace(
        neutral_state(),
        beta=beta,
        rotation=matrix_from_angles(yaw_deg, 0, 0).astype(np.float32),
        translation=np.float32([yaw_deg, 0, -80]),
        gaze=np.float32([yaw_deg, 2]),
        residual=np.full((468, 3), jaw, np.float32),
    )


def yaws(states: list[FaceState]) -> np.ndarray:
    return angles_from_matrix(np.stack([s.rotation for s in states]))[:, 0]


@pytest.mark.parametrize("count", [0, 1, 2, 7, 40])
def test_steady_motion_is_kept_without_lag(count: int) -> None:
    """Also at both ends, and however short the clip."""
    steady = [state(0.8 * i, 0.01 * i) for i in range(count)]
    calm = list(smoothed(iter(steady), 0.2, fps=FPS))
    assert len(calm) == count
    for one, other in zip(steady, calm, strict=True):
        for name in ("beta", "rotation", "translation", "gaze", "residual"):
            np.testing.assert_allclose(getattr(other, name), getattr(one, name), atol=2e-5)


def test_noise_shrinks_as_a_gaussian_says() -> None:
    """White noise keeps 1 / sqrt(2 sigma sqrt(pi)) of its deviation, sigma in frames."""
    noise = np.random.default_rng(0).normal(0, 1, 4000)
    calm = list(smoothed((state(x) for x in noise), 0.12, fps=FPS))
    expected = 1 / np.sqrt(2 * 0.12 * FPS * np.sqrt(np.pi))
    assert yaws(calm).std() == pytest.approx(expected, rel=0.05)


def test_still_face_stays_to_the_last_bit() -> None:
    still = state(13.0, 0.3, 0.2)
    for calm in smoothed(iter([still] * 9), 0.1, fps=FPS):
        for name in ("beta", "rotation", "translation", "gaze", "residual"):
            assert (getattr(calm, name) == getattr(still, name)).all()


def test_blinks_stay_sharp_while_the_jaw_is_smoothed() -> None:
    blink = [state(jaw=float(i == 10), lid=float(i == 10)) for i in range(21)]
    calm = list(smoothed(iter(blink), 0.1, fps=FPS))
    assert [s.beta[LID] for s in calm] == [s.beta[LID] for s in blink]
    assert 0.1 < calm[10].beta[JAW] < 0.5
    assert calm[9].beta[JAW] == pytest.approx(calm[11].beta[JAW])


def test_a_state_waits_for_the_kernel_only() -> None:
    taken = 0

    def source() -> Iterator[FaceState]:
        nonlocal taken
        while True:
            taken += 1
            yield state()

    calm = smoothed(source(), 0.2, fps=FPS)
    for index in range(50):
        next(calm)
        assert taken == index + 1 + int(REACH * 0.2 * FPS)


def test_zero_is_nothing() -> None:
    states = [state(1.0), state(2.0)]
    assert list(smoothed(iter(states), 0.0, fps=FPS)) == states
