"""Mouths cut out alike, whatever the head does in the image plane."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from mggtalk_cli.core.landmark_groups import CANONICAL
from mggtalk_cli.evaluation.mouth_crops import MouthCutter, mouth_scores, similarity

SIDE = 200


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    rough = np.random.default_rng(0).uniform(0, 255, (25, 25, 3)).astype(np.float32)
    return cv2.resize(rough, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype("u1")


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return np.asarray(CANONICAL * [8, -8, 8] + [SIDE / 2, SIDE / 2, 0])


def test_the_photo_is_cut_as_it_is(photo: np.ndarray, points: np.ndarray) -> None:
    cutter = MouthCutter(points)
    crop = cutter.cut(photo, points)
    assert crop is not None
    assert crop.shape == (cutter.side, cutter.side, 3)
    centre = points[[61, 291], :2].mean(0)
    x, y = np.round(centre - cutter.side / 2).astype(int)
    np.testing.assert_array_equal(crop, photo[y : y + cutter.side, x : x + cutter.side])


def test_turn_scale_and_shift_do_not_count(photo: np.ndarray, points: np.ndarray) -> None:
    turn = cv2.getRotationMatrix2D((90, 110), 17, 0.9)
    turn[:, 2] += (5, -3)
    moved = cv2.warpAffine(photo, turn, (SIDE, SIDE), flags=cv2.INTER_CUBIC)
    # OpenCV puts pixel centres at integers.
    places = np.c_[(points[:, :2] - 0.5) @ turn[:, :2].T + turn[:, 2] + 0.5, points[:, 2]]
    cutter = MouthCutter(points)
    scores = mouth_scores([cutter.cut(moved, places)], [cutter.cut(photo, points)])
    assert scores["mouth_db"] > 35
    assert scores["mouth_ssim"] > 0.98
    unaligned = mouth_scores([cutter.cut(moved, points)], [cutter.cut(photo, points)])
    assert unaligned["mouth_db"] < 25


def test_frames_without_a_face_do_not_count(photo: np.ndarray, points: np.ndarray) -> None:
    cutter = MouthCutter(points)
    assert cutter.cut(photo, np.full_like(points, np.nan)) is None
    crop = cutter.cut(photo, points)
    scores = mouth_scores([None, crop, crop], [crop, None, crop])
    assert scores["mouth_db"] == math.inf
    assert math.isnan(mouth_scores([None], [crop])["mouth_db"])


def test_noise_of_known_variance() -> None:
    rng = np.random.default_rng(0)
    grey = np.full((100, 100, 3), 128, np.uint8)
    noisy = np.clip(128 + rng.normal(0, 10, grey.shape).round(), 0, 255).astype(np.uint8)
    expected = 20 * math.log10(255) - 10 * math.log10(100 + 1 / 12)
    scores = mouth_scores([noisy] * 2, [grey] * 2)
    assert scores["mouth_db"] == pytest.approx(expected, abs=0.1)


def test_a_similarity_is_found_exactly() -> None:
    source = np.random.default_rng(0).normal(size=(9, 2))
    angle, scale = 0.4, 1.7
    turn = scale * np.array(
        [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
    )
    found = similarity(source, source @ turn.T + [3, -2])
    np.testing.assert_allclose(found, np.c_[turn, [3, -2]], atol=1e-12)
