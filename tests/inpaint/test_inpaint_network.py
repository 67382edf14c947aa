"""The learned inpainter: nothing until trained, never the photo's own background, and it learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from mggtalk_cli.core.checkpoint import read_checkpoint, restore, write_checkpoint
from mggtalk_cli.inpaint import (
    InpaintConfig,
    Inpainter,
    composite,
    inpainted,
    learned_inpainter,
)
from mggtalk_cli.inpaint.network import LARGEST_CHANGE

TOY = InpaintConfig(widths=(4, 8))


def scene(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random head, plate and matte; the left third is the photo's own background."""
    random = np.random.default_rng(0)
    rgba = random.integers(0, 256, (height, width, 4), np.uint8)
    plate = random.integers(0, 256, (height, width, 3), np.uint8)
    matte = random.integers(0, 256, (height, width), np.uint8)
    rgba[:, : width // 3, 3] = matte[:, : width // 3] = 0
    return rgba, plate, matte


def stirred(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return network


@pytest.mark.parametrize("config", [InpaintConfig.tiny(), InpaintConfig.base()])
@pytest.mark.parametrize(("height", "width"), [(32, 40), (45, 61)])
def test_untrained_network_is_the_composite(config: InpaintConfig, height: int, width: int) -> None:
    rgba, plate, matte = scene(height, width)
    for known in (matte, None):
        finished = learned_inpainter(Inpainter(config), known)(rgba, plate)
        assert np.array_equal(finished, composite(rgba, plate))


def test_background_that_the_photo_shows_stays() -> None:
    rgba, plate, matte = scene(45, 60)
    network = stirred(Inpainter(TOY))
    finished = learned_inpainter(network, matte)(rgba, plate)
    change = finished.astype(int) - composite(rgba, plate)
    assert (change[:, :20] == 0).all()
    assert np.abs(change[:, 20:]).mean() > 5
    assert np.abs(change).max() <= 255 * LARGEST_CHANGE + 1


def test_holes_are_for_the_photos_own_plate_alone() -> None:
    rgba, plate, matte = scene(24, 30)
    rgba[..., 3] = 0
    network = stirred(Inpainter(TOY))
    assert np.array_equal(learned_inpainter(network, None)(rgba, plate), plate)
    assert (learned_inpainter(network, matte)(rgba, plate) != plate).any()


def as_maps(picture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(picture / 255).float().permute(2, 0, 1)[None]


def test_bytes_are_what_training_sees() -> None:
    rgba, plate, matte = scene(21, 34)
    network = stirred(Inpainter(TOY))
    alpha = as_maps(rgba[..., 3:])
    trained = inpainted(
        network, as_maps(rgba[..., :3]) * alpha, alpha, as_maps(plate), as_maps(matte[..., None])
    )
    wanted = 255 * trained[0].permute(1, 2, 0).detach().numpy().clip(0, 1)
    assert np.abs(learned_inpainter(network, matte)(rgba, plate) - wanted).max() < 1.01


def test_gradients_are_those_of_finite_differences() -> None:
    network = stirred(Inpainter(InpaintConfig(widths=(2, 2)))).double()
    names = dict(network.named_parameters())
    generator = torch.Generator().manual_seed(1)

    def maps(channels: int) -> torch.Tensor:
        values = torch.rand(1, channels, 3, 5, generator=generator, dtype=torch.float64)
        return values.requires_grad_()

    def frame(*tensors: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, tensors[4:], strict=True))
        called = lambda *a: torch.func.functional_call(network, given, a)  # noqa: E731
        return inpainted(called, *tensors[:4])

    weights = [weight.detach().requires_grad_() for weight in names.values()]
    inputs = (maps(3), maps(1), maps(3), maps(1), *weights)
    assert torch.autograd.gradcheck(frame, inputs, fast_mode=True)


def test_it_learns_what_the_plate_lacks() -> None:
    torch.manual_seed(0)
    network = Inpainter(TOY)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    plate = torch.rand(2, 3, 20, 20)
    alpha = torch.zeros(2, 1, 20, 20)
    matte = alpha.clone()
    matte[..., 5:15, 5:15] = 1
    truth = torch.where(matte > 0, 0.6 * plate, plate)  # a shadow where the person stood

    def error() -> torch.Tensor:
        made = inpainted(network, torch.zeros_like(plate), alpha, plate, matte)
        return (made - truth).square().mean()

    before = error().item()
    for _ in range(40):
        optimiser.zero_grad()
        error().backward()
        optimiser.step()
    assert error().item() < 0.3 * before


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    network = stirred(Inpainter(TOY))
    write_checkpoint(tmp_path / "inpaint.safetensors", {"inpaint": network}, {})
    stored = read_checkpoint(tmp_path / "inpaint.safetensors").networks["inpaint"]
    again = restore(stored, "inpaint", Inpainter, InpaintConfig)
    assert again.config == TOY
    rgba, plate, matte = scene(19, 23)
    assert np.array_equal(
        learned_inpainter(again, matte)(rgba, plate), learned_inpainter(network, matte)(rgba, plate)
    )
