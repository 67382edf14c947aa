"""Metrics against answers that are known beforehand."""

from __future__ import annotations

import ast
import inspect
import math
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.errors import InputError
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


def test_pictures_of_different_sizes_are_refused(picture: np.ndarray) -> None:
    smaller = picture[:-1]
    for metric in (metrics.psnr, metrics.ssim, metrics.ms_ssim, metrics.psnr_uint8_wraparound):
        with pytest.raises(InputError, match=r"128x96x3 and 128x95x3"):
            metric(picture, smaller)
    with pytest.raises(InputError, match="at least 11 px"):
        metrics.ssim(picture[:10], picture[:10])


@pytest.mark.parametrize(
    ("difference", "decibels"),
    [(2, 20 * math.log10(255 / 2)), (15, 20 * math.log10(255 / 15)), (16, math.inf)],
)
def test_the_wraparound_variant_is_right_until_squares_reach_256(
    difference: int, decibels: float
) -> None:
    a = np.full(SHAPE, 100, np.uint8)
    assert metrics.psnr_uint8_wraparound(a, a + np.uint8(difference)) == pytest.approx(decibels)
    assert metrics.psnr_uint8_wraparound(a + np.uint8(difference), a) == pytest.approx(decibels)


@pytest.mark.parametrize(("true_db", "claimed_db"), [(25, 30.4), (19, 28.9), (14, 28.2)])
def test_the_wraparound_variant_flatters_pictures_that_are_far_off(
    true_db: float, claimed_db: float
) -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.3, 0.7, (300, 300, 3)).astype(np.float32)
    noise = rng.laplace(0, 10 ** (-true_db / 20) / math.sqrt(2), truth.shape)
    image = (truth + noise).astype(np.float32)
    assert metrics.psnr(image, truth) == pytest.approx(true_db, abs=0.1)
    assert metrics.psnr_uint8_wraparound(image, truth) == pytest.approx(claimed_db, abs=1.2)


def test_ms_ssim_of_equal_flat_and_small_pictures(picture: np.ndarray) -> None:
    large = np.tile(picture, (2, 2, 1))
    assert metrics.ms_ssim(large, large) == pytest.approx(1)
    assert math.isnan(metrics.ms_ssim(picture, picture))
    a, b = 0.4, 0.6
    luminance = (2 * a * b + 1e-4) / (a * a + b * b + 1e-4)
    score = metrics.ms_ssim(np.full((200, 180, 3), a), np.full((200, 180, 3), b))
    assert score == pytest.approx(luminance**0.1333, abs=1e-9)


def test_ms_ssim_agrees_with_torchmetrics(picture: np.ndarray) -> None:
    image = pytest.importorskip("torchmetrics.functional.image", reason="needs torchmetrics")
    import torch

    large = np.tile(picture, (2, 2, 1))[:187]
    noisy = large + np.random.default_rng(5).normal(0, 0.1, large.shape).astype(np.float32)
    tensors = [torch.from_numpy(p.transpose(2, 0, 1))[None].double() for p in (noisy, large)]
    expected = image.multiscale_structural_similarity_index_measure(*tensors, data_range=1.0)
    # At the coarsest scale torchmetrics counts windows that reach over the (mirrored) border, too.
    assert metrics.ms_ssim(noisy, large) == pytest.approx(float(expected), abs=5e-4)


def test_psnr_and_ssim_agree_with_scikit_image(picture: np.ndarray) -> None:
    skimage = pytest.importorskip("skimage.metrics", reason="needs scikit-image")
    noisy = picture + np.random.default_rng(6).normal(0, 0.05, SHAPE).astype(np.float32)
    expected = skimage.peak_signal_noise_ratio(picture, noisy, data_range=1)
    assert metrics.psnr(noisy, picture) == pytest.approx(expected, abs=1e-3)
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    expected = skimage.structural_similarity(
        picture.astype(float), noisy.astype(float), data_range=1, channel_axis=2, **gaussian
    )
    assert metrics.ssim(noisy, picture) == pytest.approx(expected, abs=1e-6)


def test_a_mirrored_picture_is_as_far_from_its_mirror_image(picture: np.ndarray) -> None:
    other = picture + np.random.default_rng(7).normal(0, 0.05, SHAPE).astype(np.float32)
    for metric in (metrics.psnr, metrics.ssim, metrics.sharpness_ratio):
        mirrored = metric(other[:, ::-1], picture[:, ::-1])
        assert mirrored == pytest.approx(metric(other, picture), rel=1e-6)
    assert metrics.psnr(picture[:, ::-1], picture) < 25


def test_correlation() -> None:
    curve = np.array([0.0, 1, 0, 2, 5])
    assert metrics.correlation(curve, 3 * curve + 1) == pytest.approx(1)
    assert metrics.correlation(curve, -curve) == pytest.approx(-1)
    assert metrics.correlation([0, 1, 0, -1], [1, 0, -1, 0]) == pytest.approx(0)  # type: ignore[arg-type]
    assert math.isnan(metrics.correlation(curve, np.ones(5)))


@pytest.mark.parametrize("late", [-3, -1, 0, 2])
def test_the_lag_of_a_shifted_mouth(late: int) -> None:
    opening = np.random.default_rng(1).random(80)
    agreement = metrics.opening_agreement(2 * np.roll(opening, late)[5:-5] + 1, opening[5:-5])
    assert agreement.lag == late
    assert agreement.lag_r == pytest.approx(1)
    assert (agreement.r == pytest.approx(1)) == (late == 0)


def test_every_metric_is_described() -> None:
    assert all(metric.definition for metric in metrics.METRICS.values())
    assert metrics.METRICS["psnr_uint8_wraparound"].better == "none"
    assert metrics.within("ssim", "the head").definition.endswith("; over the head")
    functions = [getattr(metrics, name) for name in metrics.__all__ if name.islower()]
    assert all(inspect.getdoc(function) for function in functions)


PURE = [*Path(metrics.__file__).parent.glob("*.py")]
PURE += [Path(metrics.__file__).parents[1] / f"{name}.py" for name in ("baselines", "mouth_scores")]


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_metrics_know_neither_pipeline_nor_stages(path: Path) -> None:
    source = path.read_text("utf-8")
    own = [
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mggtalk_cli")
    ]
    allowed = ("mggtalk_cli.core", "mggtalk_cli.errors", "mggtalk_cli.evaluation")
    assert all(name.startswith(allowed) for name in own)
