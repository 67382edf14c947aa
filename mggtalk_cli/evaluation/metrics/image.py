"""How close one picture is to another.

Pictures are float32 RGB 0..1 (H, W, 3), compared at the resolution they have; squared differences
are taken in float, never in uint8, where they wrap around and a true 19 dB reads as 29 dB.
"""

from __future__ import annotations

import cv2
import numpy as np

from mggtalk_cli.core.image import LUMA
from mggtalk_cli.errors import InputError

# Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity".
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2

# Wang, Simoncelli, Bovik 2003, "Multi-scale structural similarity for image quality assessment":
# exponents from the finest scale to the coarsest.
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
MS_SSIM_MIN_SIDE = SSIM_WINDOW << (len(MS_SSIM_WEIGHTS) - 1)  # one window at the coarsest scale

# A mean gradient below this (of 1) is a flat picture: its sharpness has no ratio.
FLAT = 1e-6


def mean_squared_error(
    image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None
) -> float:
    """Return the mean squared difference over all pixels, or over those of a mask.

    0 (equal) and up, lower is better.

    Args:
        image: (H, W, 3) float, 0..1.
        truth: (H, W, 3) float, 0..1.
        mask: (H, W) bool; NaN is returned where it is empty.

    Raises:
        InputError: the pictures have different sizes.
    """
    _check_sizes(image, truth)
    difference = image.astype(np.float64) - truth
    if mask is not None:
        difference = difference[mask]
    return float((difference**2).mean()) if difference.size else float("nan")


def psnr(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the peak signal-to-noise ratio in dB, peak 1; higher is better, equal is infinite.

    PSNR = -10 log10(MSE), over all pixels and channels, or over the pixels of a mask, in float:
    scikit-image's `peak_signal_noise_ratio` with `data_range=1`.

    Raises:
        InputError: the pictures have different sizes.
    """
    return psnr_of_error(mean_squared_error(image, truth, mask))


def psnr_of_error(error: float) -> float:
    """Return the PSNR in dB of a mean squared error of pictures with peak 1.

    >>> round(psnr_of_error(0.01), 6)
    20.0
    """
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def psnr_uint8_wraparound(image: np.ndarray, truth: np.ndarray) -> float:
    """Return what `((a - b) ** 2).mean()` of uint8 pictures gives: a WRONG PSNR, dB, peak 255.

    Differences and squares wrap around at 256, so a true 25 / 19 / 14 dB becomes about 30 / 29 /
    28. Only there to recognise numbers of programs with that mistake; never a result.

    Args:
        image: (H, W, 3) uint8, or float 0..1 which is rounded to uint8 first.
        truth: the same size.
    """
    _check_sizes(image, truth)
    wrapped = (_as_uint8(image) - _as_uint8(truth)) ** 2  # uint8 arithmetic, on purpose
    return psnr_of_error(float(wrapped.mean()) / 255**2)


def ssim_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return (H - 10, W - 10) SSIM of every whole window, averaged over the colours.

    Raises:
        InputError: the pictures have different sizes, or a side below 11 px.
    """
    luminance, structure = _ssim_terms(image, truth)
    return np.asarray((luminance * structure).mean(-1))


def ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the structural similarity, at most 1 (equal); higher is better.

    Gaussian window 11 x 11 with sigma 1.5, K = .01 and .03, peak 1, population moments, mean over
    whole windows and colours: scikit-image's with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False, data_range=1, channel_axis=2`. Wang et al. 2004.

    Args:
        image: (H, W, 3) float 0..1, both sides at least 11 px.
        truth: the same size.

    Raises:
        InputError: the pictures have different sizes, or a side below 11 px.
    """
    return float(ssim_map(image, truth).mean())


def ms_ssim(image: np.ndarray, truth: np.ndarray) -> float:
    """Return the multi-scale structural similarity, 0..1 (equal); higher is better.

    Product over five scales, each half the size of the last (2 x 2 means), of the mean contrast
    and structure term of `ssim`, negative ones as 0, to the powers of `MS_SSIM_WEIGHTS`; the
    luminance term counts at the coarsest scale only. Whole windows at every scale, as in Wang,
    Simoncelli, Bovik 2003; torchmetrics' `multiscale_structural_similarity_index_measure` with
    `data_range=1` mirrors the borders at the coarsest one, which differs by some 1e-4.

    Args:
        image: (H, W, 3) float 0..1; NaN is returned where a side is below 176 px.
        truth: the same size.

    Raises:
        InputError: the pictures have different sizes.
    """
    _check_sizes(image, truth)
    if min(image.shape[:2]) < MS_SSIM_MIN_SIDE:
        return float("nan")
    a, b = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    score = 1.0
    for index, weight in enumerate(MS_SSIM_WEIGHTS):
        luminance, structure = _ssim_terms(a, b)
        coarsest = index == len(MS_SSIM_WEIGHTS) - 1
        term = float((luminance * structure if coarsest else structure).mean())
        score *= max(term, 0.0) ** weight
        a, b = _halved(a), _halved(b)
    return score


def gradient_magnitude(image: np.ndarray) -> np.ndarray:
    """Return (H, W) length of the luminance gradient, central differences, per px."""
    down, right = np.gradient(image.astype(np.float32) @ LUMA)
    return np.hypot(down, right)


def sharpness_ratio(image: np.ndarray, truth: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return mean gradient magnitude relative to the truth's; 1 is as sharp, less is blurred.

    0 and up, nearer to 1 is better. To be read beside every PSNR and SSIM: both rise when a
    misplaced picture is blurred. NaN where the truth is flat or the mask empty.
    """
    own, true = gradient_magnitude(image), gradient_magnitude(truth)
    if mask is not None:
        own, true = own[mask], true[mask]
    if not true.size or true.mean() < FLAT:
        return float("nan")
    return float(own.mean() / true.mean())


def _ssim_terms(image: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (H - 10, W - 10, 3) luminance and contrast-structure terms of whole windows."""
    _check_sizes(image, truth)
    if min(image.shape[:2]) < SSIM_WINDOW:
        raise InputError(
            f"SSIM needs sides of at least {SSIM_WINDOW} px, got "
            f"{image.shape[1]}x{image.shape[0]}: use larger pictures"
        )
    half = SSIM_WINDOW // 2

    def mean(picture: np.ndarray) -> np.ndarray:
        blurred = cv2.GaussianBlur(picture, (SSIM_WINDOW, SSIM_WINDOW), SSIM_SIGMA)
        return blurred[half:-half, half:-half]

    a, b = np.asarray(image, np.float64), np.asarray(truth, np.float64)
    mean_a, mean_b = mean(a), mean(b)
    variance = mean(a * a) - mean_a**2 + mean(b * b) - mean_b**2
    covariance = mean(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    return luminance, (2 * covariance + SSIM_C2) / (variance + SSIM_C2)


def _halved(picture: np.ndarray) -> np.ndarray:
    """Return the means of 2 x 2 pixels; an odd last row or column is dropped."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    blocks = picture[: 2 * height, : 2 * width].reshape(height, 2, width, 2, -1)
    return np.asarray(blocks.mean((1, 3)))


def _as_uint8(picture: np.ndarray) -> np.ndarray:
    if picture.dtype == np.uint8:
        return picture
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def _check_sizes(image: np.ndarray, truth: np.ndarray) -> None:
    if image.shape != truth.shape:
        raise InputError(
            f"cannot compare pictures of {_size(image)} and {_size(truth)} px: "
            "scale one to the size of the other first"
        )


def _size(picture: np.ndarray) -> str:
    return "x".join(str(n) for n in (*picture.shape[1::-1], *picture.shape[2:]))
