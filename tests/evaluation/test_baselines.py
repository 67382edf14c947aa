"""The 2D warp: nothing for equal landmarks, exact for affine motion of the face."""

from __future__ import annotations

import numpy as np
import pytest

from mggtalk_cli.core.landmark_groups import CANONICAL
from mggtalk_cli.evaluation.baselines import LandmarkWarp

SIZE = 200


@pytest.fixture
def points() -> np.ndarray:
    """The canonical face in the middle of the picture, px."""
    face = CANONICAL * [5.0, -5.0, -5.0]
    return face - face.mean(0) + [SIZE / 2, SIZE / 2, 0]


@pytest.fixture
def ramp() -> np.ndarray:
    """A picture whose first two colours are the pixel's position."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    return np.stack([columns, rows, rows], -1).astype(np.uint8)


def test_equal_landmarks_change_nothing(ramp: np.ndarray, points: np.ndarray) -> None:
    warped = LandmarkWarp(ramp, points).to(points)
    assert np.abs(warped.astype(int) - ramp).max() <= 1


def test_a_shifted_face_is_shifted(ramp: np.ndarray, points: np.ndarray) -> None:
    warped = LandmarkWarp(ramp, points).to(points + np.array([7, -4, 0]))
    inside = np.s_[SIZE // 2 - 10 : SIZE // 2 + 10, SIZE // 2 - 10 : SIZE // 2 + 10]
    difference = warped[inside].astype(int) - ramp[inside]
    assert difference[..., 0].mean() == pytest.approx(-7, abs=0.3)
    assert difference[..., 1].mean() == pytest.approx(4, abs=0.3)


def test_the_border_stays_and_nothing_is_undefined(ramp: np.ndarray, points: np.ndarray) -> None:
    warped = LandmarkWarp(ramp, points).to(points + np.array([12, 9, 0]))
    edge = np.ones((SIZE, SIZE), bool)
    edge[1:-1, 1:-1] = False
    assert np.abs(warped.astype(int) - ramp)[edge].max() <= 2
