"""Metrics with pinned definitions; each has a known-answer test.

Pictures are float32 RGB 0..1 (H, W, 3); squared differences are taken in float, never in uint8,
where they wrap around and a true 19 dB reads as 29 dB.
"""

from __future__ import annotations

import cv2
import numpy as np

from mggtalk_cli.core.image import LUMA

# Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2

# A mean gradient below this (of 1) is a flat picture: its sharpness has no ratio.
FLAT = 1e-6


def mean_squared_error(
    image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None
) -> float:
    """Return the mean squared difference over all pixels, or over those of a mask.

    Args:
        image: (H, W, 3) float, 0..1.
        truth: (H, W, 3) float, 0..1.
        mask: (H, W) bool; NaN is returned where it is empty.
    """
    difference = image.astype(np.float64) - truth
    if mask is not None:
        difference = difference[mask]
    return float((difference**2).mean()) if difference.size else float("nan")


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB, peak 1; higher is better, equal is infinite.

    PSNR = -10 log10(MSE), over all pixels and channels, or over the pixels of a mask.
    """
    return psnr_of_error(mean_squared_error(image, truth, mask))


def psnr_of_error(error: float) -> float:
    """Return the PSNR in dB of a mean squared error of pictures with peak 1.

    >>> round(psnr_of_error(0.01), 6)
    20.0
    """
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def ssim_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return (H - 10, W - 10) SSIM of every whole window, averaged over the colours."""
    half = SSIM_WINDOW // 2

    def mean(picture: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(picture, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA)
        return blurred[half:-half, half:-half]

    a, b = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    mean_a, mean_b = mean(a), mean(b)
    variance = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    return (luminance * (2 * covariance + SSIM_C2) / (variance + SSIM_C2)).mean(-1)


def ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the structural similarity, at most 1 (equal); higher is better.

    Gaussian window 11 x 11 with sigma 1.5, K = .01 and .03, peak 1, population moments, mean over
    whole windows and colours: scikit-image's with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1, channel_axis=2`.

    Args:
        image: (H, W, 3) float 0..1, both sides at least 11 px.
        truth: the same size.
    """
    return float(ssim_map(image, truth).mean())


def gradient_magnitude(image: np.ndarray) -> np.ndarray:
    """Return (H, W) length of the luminance gradient, central differences, per px."""
    down, right = np.gradient(image.astype(np.float32) @ LUMA)
    return np.hypot(down, right)


def sharpness_ratio(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return mean gradient magnitude relative to the truth's; 1 is as sharp, less is blurred.

    To be read beside every PSNR and SSIM: both rise when a misplaced picture is blurred. NaN where
    the truth is flat.
    """
    own, true = gradient_magnitude(image), gradient_magnitude(truth)
    if mask is not None:
        own, true = own[mask], true[mask]
    if not true.size or true.mean() < FLAT:
        return float("nan")
    return float(own.mean() / true.mean())


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's r of two curves (n,), -1..1; NaN where one of them is constant."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])
