"""How close two sets of pictures are as distributions: FID and KID of Inception features.

`networks` makes the features (n, 2048), at 299 x 299. Both numbers depend on how many pictures
there are: compare only equal counts, and trust KID below some thousand.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mggtalk_cli.errors import InputError

TRUTH = "truth"
BLOCK = 1024  # rows of a kernel matrix held at once


def fid(features: np.ndarray, truth: np.ndarray) -> float:
    """Return the Frechet inception distance, 0 (equal) and up; lower is better.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of means and covariances (over n - 1). The trace of
    the root is taken as the nuclear norm of X1 X2', X = centred features / sqrt(n - 1), which is
    exact for fewer pictures than dimensions, where a matrix root is not. Biased upwards for few
    pictures. Heusel et al. 2017, "GANs trained by a two time-scale update rule".

    Args:
        features: (n, d), one row per picture; NaN is returned below two.
        truth: (m, d) of the true pictures.

    Raises:
        InputError: the features have different lengths.
    """
    a, b = _pair(features, truth)
    if min(len(a), len(b)) < 2:
        return float("nan")
    first, second = _covariance_root(a), _covariance_root(b)
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    spread = (first**2).sum() + (second**2).sum() - 2 * shared
    return max(float(((a.mean(0) - b.mean(0)) ** 2).sum() + spread), 0.0)


def kid(features: np.ndarray, truth: np.ndarray) -> float:
    """Return the kernel inception distance; 0 is equal, lower is better, chance may go below 0.

    Unbiased squared maximum mean discrepancy with the kernel (x y' / d + 1)^3, over all pictures
    at once: the value that means over random subsets, as usually reported, scatter around.
    Binkowski et al. 2018, "Demystifying MMD GANs".

    Args:
        features: (n, d), one row per picture; NaN is returned below two.
        truth: (m, d) of the true pictures.

    Raises:
        InputError: the features have different lengths.
    """
    a, b = _pair(features, truth)
    if min(len(a), len(b)) < 2:
        return float("nan")
    n, m = len(a), len(b)
    own = (_kernel_sum(a, a) - _diagonal_sum(a)) / (n * (n - 1))
    true = (_kernel_sum(b, b) - _diagonal_sum(b)) / (m * (m - 1))
    return own + true - 2 * _kernel_sum(a, b) / (n * m)


def distribution_scores(features: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return method -> {"fid", "kid"} against the features named "truth"; empty without these.

    Args:
        features: method -> (n, d) features of all its pictures together.
    """
    if TRUTH not in features:
        return {}
    true = features[TRUTH]
    return {
        name: {"fid": fid(own, true), "kid": kid(own, true)}
        for name, own in features.items()
        if name != TRUTH
    }


def _pair(features: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(features, np.float64), np.asarray(truth, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise InputError(f"cannot compare features {a.shape} with {b.shape}: both must be (n, d)")
    return a, b


def _covariance_root(features: np.ndarray) -> np.ndarray:
    """Return R (min(n, d), d) with R' R = covariance."""
    centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"))


def _kernel(products: np.ndarray, dimensions: int) -> np.ndarray:
    return np.asarray((products / dimensions + 1) ** 3)


def _kernel_sum(a: np.ndarray, b: np.ndarray) -> float:
    blocks = (a[start : start + BLOCK] @ b.T for start in range(0, len(a), BLOCK))
    return sum(float(_kernel(block, a.shape[1]).sum()) for block in blocks)


def _diagonal_sum(a: np.ndarray) -> float:
    return float(_kernel((a**2).sum(1), a.shape[1]).sum())
