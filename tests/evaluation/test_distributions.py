"""FID and KID of features whose distance is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg

from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import metrics
from mggtalk_cli.evaluation.metrics import distributions


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("count", [10, 300])  # fewer and more than dimensions
def test_fid_of_equal_and_of_shifted_features(rng: np.random.Generator, count: int) -> None:
    features = rng.normal(size=(count, 64))
    shift = rng.normal(size=64)
    assert metrics.fid(features, features) == pytest.approx(0, abs=1e-9)
    assert metrics.fid(features, features[::-1]) == pytest.approx(0, abs=1e-9)
    assert metrics.fid(features + shift, features) == pytest.approx(shift @ shift)


def test_fid_of_scaled_features(rng: np.random.Generator) -> None:
    features = rng.normal(size=(50, 8))
    centred = features - features.mean(0)
    # Covariances S and 9 S: the trace of S + 9 S - 2 (3 S).
    spread = np.trace(np.cov(centred.T))
    assert metrics.fid(3 * centred, centred) == pytest.approx(4 * spread)


def test_fid_by_a_matrix_root(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(200, 12)), rng.normal(size=(150, 12)) @ rng.normal(size=(12, 12))
    own, true = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(own @ true).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(own + true - 2 * root)
    assert metrics.fid(a, b) == pytest.approx(expected)


def test_kid_by_hand(rng: np.random.Generator) -> None:
    a, b = rng.normal(size=(5, 3)), rng.normal(size=(4, 3)) + 1

    def mean(x: np.ndarray, y: np.ndarray, *, same: bool) -> float:
        pairs = [
            (p @ q / 3 + 1) ** 3
            for i, p in enumerate(x)
            for j, q in enumerate(y)
            if not (same and i == j)
        ]
        return float(np.mean(pairs))

    expected = mean(a, a, same=True) + mean(b, b, same=True) - 2 * mean(a, b, same=False)
    assert metrics.kid(a, b) == pytest.approx(expected)


def test_kid_in_blocks_and_without_a_difference(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distributions, "BLOCK", 64)
    a, b = rng.normal(size=(2, 500, 16))
    assert abs(metrics.kid(a, b)) < 0.02
    assert metrics.kid(a + 0.5, b) > 0.1
    products = a @ a.T / 16 + 1
    own = (np.sum(products**3) - np.trace(products**3)) / (500 * 499)
    both = 2 * own - 2 * (products**3).mean()
    assert metrics.kid(a, a) == pytest.approx(both)


def test_kid_agrees_with_torchmetrics(rng: np.random.Generator) -> None:
    reference = pytest.importorskip("torchmetrics.image.kid", reason="needs torchmetrics")
    import torch

    a, b = rng.normal(size=(2, 40, 16))
    expected = reference.poly_mmd(torch.from_numpy(a), torch.from_numpy(b))
    assert metrics.kid(a, b) == pytest.approx(float(expected))


def test_features_that_cannot_be_compared() -> None:
    assert math.isnan(metrics.fid(np.zeros((1, 4)), np.zeros((9, 4))))
    assert math.isnan(metrics.kid(np.zeros((9, 4)), np.zeros((1, 4))))
    with pytest.raises(InputError, match="must be"):
        metrics.fid(np.zeros((5, 4)), np.zeros((5, 3)))


def test_every_method_is_scored_against_the_truth(rng: np.random.Generator) -> None:
    truth = rng.normal(size=(9, 4))
    scores = metrics.distribution_scores({"ours": truth + 1, "truth": truth})
    assert scores.keys() == {"ours"}
    assert scores["ours"]["fid"] == pytest.approx(4)
    assert scores["ours"]["kid"] == metrics.kid(truth + 1, truth)
    assert metrics.distribution_scores({"ours": truth}) == {}
