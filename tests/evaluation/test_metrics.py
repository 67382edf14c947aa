"""Metrics against answers that are known beforehand."""

from __future__ import annotations

import ast
import math
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.evaluation import metrics

SHAPE = (96, 128, 3)


@pytest.fixture
def picture() -> np.ndarray:
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    waves = [np.sin(rows / 7 + c) * np.cos(columns / (5 + c)) for c in range(3)]
    return (0.5 + 0.3 * np.stack(waves, -1)).astype(np.float32)


def test_psnr_of_equal_pictures_is_infinite(picture: np.ndarray) -> None:
    assert metrics.psnr(picture, picture) == math.inf


@pytest.mark.parametrize(("offset", "decibels"), [(0.1, 20.0), (0.01, 40.0), (-0.05, 26.0206)])
def test_psnr_of_a_constant_offset(picture: np.ndarray, offset: float, decibels: float) -> None:
    assert metrics.psnr(picture + offset, picture) == pytest.approx(decibels, abs=1e-3)


@pytest.mark.parametrize("sigma", [0.02, 0.1])
def test_psnr_of_noise_of_known_variance(sigma: float) -> None:
    truth = np.full((700, 700, 3), 0.5)
    noise = np.random.default_rng(3).normal(0, sigma, truth.shape)
    assert metrics.psnr(truth + noise, truth) == pytest.approx(-20 * math.log10(sigma), abs=0.01)


def test_psnr_of_uint8_pictures_does_not_wrap_around() -> None:
    dark, bright = np.zeros(SHAPE, np.uint8), np.full(SHAPE, 2, np.uint8)
    assert metrics.psnr(dark, bright) == pytest.approx(-10 * math.log10(4))


def test_psnr_within_a_mask(picture: np.ndarray) -> None:
    mask = np.zeros(SHAPE[:2], bool)
    mask[20:40, 30:60] = True
    changed = picture + np.where(mask, 0.1, 0.9)[..., None].astype(np.float32)
    assert metrics.psnr(changed, picture, mask) == pytest.approx(20, abs=1e-3)
    assert math.isnan(metrics.psnr(changed, picture, np.zeros_like(mask)))


def test_ssim_of_equal_pictures_is_one(picture: np.ndarray) -> None:
    assert metrics.ssim(picture, picture) == pytest.approx(1)


def test_ssim_of_flat_pictures_is_its_luminance_term() -> None:
    a, b = 0.4, 0.6
    expected = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    score = metrics.ssim(np.full(SHAPE, a), np.full(SHAPE, b))
    assert score == pytest.approx(expected, abs=1e-9)


def test_ssim_of_one_window_by_hand() -> None:
    """11 x 11 pixels hold one window: moments are weighted sums."""
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 11, 11, 3))
    weight = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    weight = np.outer(weight, weight)
    weight /= weight.sum()

    def mean(x: np.ndarray) -> np.ndarray:
        return (x * weight[..., None]).sum((0, 1))

    mu_a, mu_b = mean(a), mean(b)
    spread = mean(a * a) - mu_a**2 + mean(b * b) - mu_b**2
    joint = mean(a * b) - mu_a * mu_b
    by_hand = (2 * mu_a * mu_b + 1e-4) / (mu_a**2 + mu_b**2 + 1e-4)
    by_hand = by_hand * (2 * joint + 9e-4) / (spread + 9e-4)
    assert metrics.ssim(a, b) == pytest.approx(by_hand.mean(), abs=1e-9)


def test_sharpness_ratio_is_linear_in_contrast(picture: np.ndarray) -> None:
    assert metrics.sharpness_ratio(picture, picture) == pytest.approx(1)
    assert metrics.sharpness_ratio(0.5 * picture + 0.2, picture) == pytest.approx(0.5, rel=1e-4)
    assert math.isnan(metrics.sharpness_ratio(picture, np.full(SHAPE, 0.3, np.float32)))


def test_correlation() -> None:
    curve = np.array([0.0, 1, 0, 2, 5])
    assert metrics.correlation(curve, 3 * curve + 1) == pytest.approx(1)
    assert metrics.correlation(curve, -curve) == pytest.approx(-1)
    assert metrics.correlation([0, 1, 0, -1], [1, 0, -1, 0]) == pytest.approx(0)  # type: ignore[arg-type]
    assert math.isnan(metrics.correlation(curve, np.ones(5)))


@pytest.mark.parametrize("module", ["metrics", "baselines", "mouth_scores"])
def test_metrics_know_neither_pipeline_nor_stages(module: str) -> None:
    source = Path(metrics.__file__).with_name(f"{module}.py").read_text("utf-8")
    own = [
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mggtalk_cli")
    ]
    allowed = ("mggtalk_cli.core", "mggtalk_cli.evaluation")
    assert all(name.startswith(allowed) for name in own)
