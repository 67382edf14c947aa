"""A perceptual distance from a backbone whose weights the user has; off without them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from mggtalk_cli.core.weights import fill, read_weights
from mggtalk_cli.evaluation.backbones import AlexNet
from mggtalk_cli.evaluation.networks import LPIPS_EPS, LPIPS_MIN_SIDE, LPIPS_SCALE, LPIPS_SHIFT


class Perceptual(nn.Module):
    """How differently AlexNet sees two pictures: LPIPS without its learned linear layers.

    Mean over each layer's places of the squared difference of unit feature vectors, summed over
    the five layers (Zhang et al. 2018, the variant they call "baseline").
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, trunk: AlexNet) -> None:
        """Take the trunk; it is not trained."""
        super().__init__()
        self.trunk = trunk.eval().requires_grad_(False)
        self.register_buffer("shift", torch.tensor(LPIPS_SHIFT).view(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(LPIPS_SCALE).view(1, 3, 1, 1))

    def forward(self, image: Tensor, truth: Tensor) -> Tensor:
        """Return the distance of (b, 3, h, w) pictures, 0..1; differentiable in both.

        Small pictures are enlarged until the last layer sees something (63 px).
        """
        pictures = torch.cat([image, truth])
        smallest = min(pictures.shape[-2:])
        if smallest < LPIPS_MIN_SIDE:
            factor = LPIPS_MIN_SIDE / smallest
            pictures = functional.interpolate(
                pictures, scale_factor=factor, mode="bilinear", align_corners=False
            )
        outputs = self.trunk((pictures * 2 - 1 - self.shift) / self.scale)
        distance = pictures.new_zeros(())
        for output in outputs:
            unit = functional.normalize(output, dim=1, eps=LPIPS_EPS)
            own, true = unit.chunk(2)
            distance = distance + (own - true).square().sum(1).mean()
        return distance


def open_perceptual(file: str, device: torch.device | str = "cpu") -> Perceptual | None:
    """Return the distance whose AlexNet weights lie in a file; None for "".

    Raises:
        WeightsError: missing, damaged, or of another network.
    """
    if not file:
        return None
    trunk = fill(AlexNet, read_weights(Path(file)), unused=("classifier.",))
    return Perceptual(trunk).to(device)
