"""The controls: a known blur is found again, and equal sharpness is equal."""

from __future__ import annotations

import numpy as np
import pytest

from mggtalk_cli.evaluation import controls

SIZE = 96


@pytest.fixture
def picture() -> np.ndarray:
    """Coarse noise: enough structure for any blur to show."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 255, (SIZE // 4, SIZE // 4, 3), np.uint8)
    return np.repeat(np.repeat(small, 4, 0), 4, 1)


@pytest.fixture
def head() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[24:72, 30:66] = True
    return mask


def sharpness(image: np.ndarray, head: np.ndarray) -> float:
    return float(controls.metrics.gradient_magnitude(image)[head].mean())


@pytest.mark.parametrize("sigma", [0.6, 1.3, 3.0])
def test_a_known_blur_is_found(picture: np.ndarray, head: np.ndarray, sigma: float) -> None:
    kept = sharpness(controls.blurred(picture, sigma), head) / sharpness(picture, head)
    assert controls.matching_sigma([picture], [head], kept) == pytest.approx(sigma, abs=0.01)


def test_nothing_softer_is_sharpened(picture: np.ndarray, head: np.ndarray) -> None:
    assert controls.matching_sigma([picture], [head], 1.0) == 0
    assert controls.matching_sigma([picture], [head], float("nan")) == 0
    assert controls.blurred(picture, 0.0) is picture


def test_without_a_head_or_structure_nothing_is_blurred(
    picture: np.ndarray, head: np.ndarray
) -> None:
    assert controls.matching_sigma([picture], [np.zeros_like(head)], 0.5) == 0
    assert controls.matching_sigma([np.zeros_like(picture)], [head], 0.5) == 0
    assert np.isnan(controls.share(0.8, 0.0))


def test_no_blur_is_beyond_the_largest(picture: np.ndarray, head: np.ndarray) -> None:
    assert controls.matching_sigma([picture], [head], 1e-6) == controls.MAX_SIGMA


def test_mush_sets_no_standard() -> None:
    assert controls.common_sharpness([1.02, 0.8, 0.3]) == 0.8
    assert np.isnan(controls.common_sharpness([0.1, float("nan")]))


def test_the_average_lies_between(picture: np.ndarray) -> None:
    assert (controls.average(picture, picture) == picture).all()
    lighter = np.clip(picture.astype(int) + 2, 0, 255).astype(np.uint8)
    middle = controls.average(picture, lighter).astype(int)
    assert ((middle >= picture) & (middle <= lighter)).all()
