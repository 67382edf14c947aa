"""How wrong predicted mouth curves are: half distance, half agreement."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

AGREEMENT_SHARE = 0.5  # of the loss; distance alone makes timid mouths (.7 of the amplitude)
STEADY = 1e-6


def mouth_loss(predicted: Tensor, target: Tensor, usable: Tensor, weights: Tensor) -> Tensor:
    """Return (1 - s) (Huber on value + on velocity) + s (1 - concordance), weighted by output.

    Args:
        predicted: (b, n, k).
        target: (b, n, k).
        usable: (b, n) bool.
        weights: (k,), their sum is 1.
    """
    if not usable.any():
        return predicted.sum() * 0.0
    pairs = usable[:, 1:] & usable[:, :-1]
    distance = _huber(predicted[usable], target[usable])
    if pairs.any():
        distance = distance + _huber(predicted.diff(dim=1)[pairs], target.diff(dim=1)[pairs])
    agreement = concordance(predicted[usable], target[usable])
    each = (1.0 - AGREEMENT_SHARE) * distance + AGREEMENT_SHARE * (1.0 - agreement)
    return (weights * each).sum()


def _huber(predicted: Tensor, target: Tensor) -> Tensor:
    return functional.smooth_l1_loss(predicted, target, reduction="none").mean(dim=0)


def concordance(predicted: Tensor, target: Tensor) -> Tensor:
    """Return (k,) concordance correlation of (n, k) values: 1 only for equal curves.

    Lin, "A concordance correlation coefficient to evaluate reproducibility", 1989.

    >>> concordance(torch.tensor([[0.0], [2.0]]), torch.tensor([[0.0], [2.0]])).item()
    1.0
    """
    means = predicted.mean(dim=0), target.mean(dim=0)
    moved = predicted - means[0], target - means[1]
    shared = 2.0 * (moved[0] * moved[1]).mean(dim=0) + STEADY
    apart = (means[0] - means[1]).square()
    return shared / (moved[0].square().mean(dim=0) + moved[1].square().mean(dim=0) + apart + STEADY)
