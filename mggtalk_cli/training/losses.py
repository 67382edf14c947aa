"""The terms of the losses; a recipe weighs them.

Pictures are (b, 3, h, w) RGB 0..1, masks (b, 1, h, w) 0..1, both float; every term is a scalar and
0 where there is nothing to compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

# Wang et al. 2004, as in `evaluation.metrics`.
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2

TINY = 1e-8  # guards a division by the size of an empty mask
SCALE_FREE = 0.3  # change of a log scale that costs nothing: a third larger or a quarter smaller
LARGE_OFFSET_CM = 0.5  # below, the cost of an offset is quadratic, above, linear

# The sync term counts only once the expert's held-out loss is below the gate; it teaches noise
# before. The gate alone is not enough: who always answers "maybe" has a loss of ln 2 = .693.
SYNC_GATE, SYNC_LEAST_ACCURACY, SYNC_WEIGHT = 0.75, 0.6, 0.03

Picture = Float[Tensor, "b 3 h w"]
Mask = Float[Tensor, "b 1 h w"]
Distance = Callable[[Tensor, Tensor], Tensor]


def masked_mean(values: Float[Tensor, "b c h w"], mask: Mask | None = None) -> Tensor:
    """Return the mean over all values, or over those of a mask, each pixel by its weight."""
    if mask is None:
        return values.mean()
    return (values * mask).sum() / (mask.sum() * values.shape[1] + TINY)


def l1(image: Picture, truth: Picture, mask: Mask | None = None) -> Tensor:
    """Return the mean absolute difference, over a mask where one is given."""
    return masked_mean((image - truth).abs(), mask)


def ssim(image: Picture, truth: Picture, mask: Mask | None = None) -> Tensor:
    """Return the mean structural similarity, at most 1; that of `evaluation.metrics.ssim`.

    Args:
        image: sides of at least 11 px.
        truth: the same size.
        mask: whose windows count, by the weight at their centre.

    Raises:
        ValueError: a side is below 11 px.
    """
    if min(image.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(f"SSIM needs sides of at least {SSIM_WINDOW} px, got {image.shape}")
    pair = torch.cat([image, truth, image * image, truth * truth, image * truth], 1)
    mean_a, mean_b, aa, bb, ab = _window_means(pair).split(image.shape[1], 1)
    variance = aa - mean_a**2 + bb - mean_b**2
    covariance = ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    similarity = luminance * (2 * covariance + SSIM_C2) / (variance + SSIM_C2)
    half = SSIM_WINDOW // 2
    return masked_mean(similarity, None if mask is None else mask[..., half:-half, half:-half])


def _window_means(values: Tensor) -> Tensor:
    """Return Gaussian means of every whole window, channel by channel."""
    along = torch.arange(SSIM_WINDOW, dtype=values.dtype, device=values.device) - SSIM_WINDOW // 2
    weights = torch.exp(-0.5 * (along / SSIM_SIGMA) ** 2)
    weights = weights / weights.sum()
    count = values.shape[1]
    column = weights.view(1, 1, -1, 1).expand(count, 1, -1, 1)
    down = functional.conv2d(values, column, groups=count)
    return functional.conv2d(down, column.transpose(2, 3), groups=count)


def picture_terms(
    image: Picture,
    truth: Picture,
    *,
    mask: Mask | None = None,
    perceptual: Distance | None = None,
) -> dict[str, Tensor]:
    """Return the terms l1, ssim (as 1 - SSIM) and, with a backbone, perceptual of a picture."""
    terms = {"l1": l1(image, truth, mask), "ssim": 1.0 - ssim(image, truth, mask)}
    if perceptual is not None:
        terms["perceptual"] = perceptual(image, truth)
    return terms


def mean_terms(*each: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean of each of several pictures' terms, over those pictures that have it.

    >>> mean_terms({"l1": torch.tensor(1.0)}, {"l1": torch.tensor(3.0), "gan": torch.tensor(5.0)})
    {'l1': tensor(2.), 'gan': tensor(5.)}
    """
    return {name: torch.stack(values).mean() for name, values in _gathered(each).items()}


def summed_terms(*each: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return all terms; those of one name are added up.

    >>> summed_terms({"l1": torch.tensor(1.0)}, {"l1": torch.tensor(3.0)})
    {'l1': tensor(4.)}
    """
    return {name: torch.stack(values).sum() for name, values in _gathered(each).items()}


def _gathered(each: Sequence[dict[str, Tensor]]) -> dict[str, list[Tensor]]:
    names = dict.fromkeys(name for terms in each for name in terms)
    return {name: [terms[name] for terms in each if name in terms] for name in names}


def mask_loss(alpha: Mask, head_mask: Mask) -> Tensor:
    """Return how far the rendered opacity is from the mask of the head, 0..1."""
    return (alpha - head_mask).abs().mean()


def depth_loss(
    depth: Float[Tensor, "b 1 h w"], truth: Float[Tensor, "b 1 h w"], mask: Mask
) -> Tensor:
    """Return the mean absolute error of depth inside the mask, cm."""
    return masked_mean((depth - truth).abs(), mask)


def normal_loss(normals: Picture, truth: Picture, mask: Mask) -> Tensor:
    """Return the mean 1 - cosine between normals inside the mask; neither need have length 1."""
    cosine = functional.cosine_similarity(normals, truth, dim=1, eps=TINY)
    return masked_mean(1.0 - cosine[:, None], mask)


def offset_loss(offsets_cm: Float[Tensor, "*n d"]) -> Tensor:
    """Return the mean size of offsets: half the square below 0.5 cm, half the length above.

    The pseudo-Huber loss: smooth at 0, where every network starts.

    Args:
        offsets_cm: d = 1 (depth) or 3, cm.
    """
    square = offsets_cm.square().sum(-1) / LARGE_OFFSET_CM**2
    return LARGE_OFFSET_CM**2 * ((1.0 + square).sqrt() - 1.0).mean()


def slope_loss(offset_cm: Mask, mask: Mask) -> Tensor:
    """Return the mean square of an offset's differences (cm) between neighbours on the mask."""
    steps = []
    for axis in (2, 3):
        length = offset_cm.shape[axis]
        both = mask.narrow(axis, 1, length - 1) * mask.narrow(axis, 0, length - 1)
        steps.append(masked_mean(offset_cm.diff(dim=axis).square(), both))
    return steps[0] + steps[1]


def scale_loss(log_scale: Float[Tensor, "*n d"], *, free: float = SCALE_FREE) -> Tensor:
    """Return the mean square of how far changes of log scales go beyond what is free."""
    return functional.relu(log_scale.abs() - free).square().mean()


def temporal_loss(frames: Float[Tensor, "t 3 h w"], truth: Float[Tensor, "t 3 h w"]) -> Tensor:
    """Return how unlike the change between neighbouring frames is to the true change."""
    if len(frames) < 2:
        return frames.sum() * 0.0
    return (frames.diff(dim=0) - truth.diff(dim=0)).abs().mean()


def adversary_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Return the adversary's hinge loss of its scores, any shapes (Lim and Ye 2017).

    >>> adversary_hinge(torch.tensor([2.0]), torch.tensor([-0.5])).item()
    0.5
    """
    return functional.relu(1.0 - real).mean() + functional.relu(1.0 + fake).mean()


def generator_hinge(fake: Tensor) -> Tensor:
    """Return the generator's hinge loss: minus the mean score of its pictures."""
    return -fake.mean()


def sync_loss(
    lips: Float[Tensor, "n d"], sounds: Float[Tensor, "n d"], together: Float[Tensor, " n"]
) -> Tensor:
    """Return the cross-entropy of "lips and sound belong together".

    The probability is the cosine of the rectified embeddings, 0..1 (Prajwal et al. 2020).

    Args:
        lips: embeddings of windows of frames.
        sounds: embeddings of windows of sound.
        together: 1 where they are of one moment, 0 where not.
    """
    cosine = functional.cosine_similarity(lips.relu(), sounds.relu(), dim=1, eps=TINY)
    # Under bf16 a probability of 1 - 1e-6 would round to 1.
    probability = cosine.float().clamp(1e-6, 1.0 - 1e-6)
    return functional.binary_cross_entropy(probability, together.float())


def sync_weight(held_out_loss: float, held_out_accuracy: float) -> float:
    """Return the weight of the sync term: 0 until the expert has passed the gate.

    >>> sync_weight(0.8, 0.7), sync_weight(0.69, 0.5), sync_weight(0.6, 0.7)
    (0.0, 0.0, 0.03)
    """
    passed = held_out_loss < SYNC_GATE and held_out_accuracy >= SYNC_LEAST_ACCURACY
    return SYNC_WEIGHT if passed else 0.0
