"""Building blocks of networks: sizes, zero starts, gradients."""

from __future__ import annotations

import math

import pytest
import torch

from mggtalk_cli.core.layers import (
    ConvBlock,
    UNet,
    mlp,
    pad_to_multiple,
    positional_encoding,
    soft_limit,
)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (7, 13), (16, 16), (33, 5)])
@pytest.mark.parametrize("widths", [(4,), (8, 12, 16)])
def test_a_unet_keeps_any_size(height: int, width: int, widths: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = UNet(3, 5, widths, zero_last=False)
    output = network(torch.rand(2, 3, height, width))
    assert output.shape == (2, 5, height, width)
    assert torch.isfinite(output).all()


def test_a_zero_last_layer_gives_exactly_zero_and_still_learns() -> None:
    network = UNet(3, 2, (8, 16))
    output = network(torch.rand(1, 3, 9, 9))
    assert not output.any()
    (output - 1).square().sum().backward()
    assert network.last.weight.grad is not None
    assert network.last.weight.grad.abs().max() > 0


def test_a_unet_sees_far_through_its_levels() -> None:
    torch.manual_seed(0)
    network = UNet(1, 1, (4, 8, 8, 8), zero_last=False).double()
    x = torch.rand(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    network(x)[0, 0, 16, 16].backward()
    assert x.grad is not None
    assert (x.grad[0, 0] != 0).float().mean() > 0.9


def test_gradients_of_a_unet() -> None:
    torch.manual_seed(0)
    network = UNet(2, 1, (4, 8), zero_last=False).double()
    x = torch.rand(1, 2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(network, (x,))


def test_levels_are_limited() -> None:
    for widths in ((), (4,) * 8):
        with pytest.raises(ValueError, match=f"not {len(widths)}"):
            UNet(3, 3, widths)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 8, 18, 32])
def test_a_block_takes_any_number_of_channels(channels: int) -> None:
    output = ConvBlock(3, channels)(torch.rand(1, 3, 4, 4))
    assert output.shape == (1, channels, 4, 4)


def test_padding_repeats_the_edge() -> None:
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_multiple(x, 4)
    assert padded[0, 0].tolist() == [
        *([0.0, 1.0, 2.0, 2.0], [3.0, 4.0, 5.0, 5.0], [3.0, 4.0, 5.0, 5.0], [3.0, 4.0, 5.0, 5.0]),
    ]
    assert pad_to_multiple(padded, 4) is padded


def test_positional_encoding_by_hand() -> None:
    encoded = positional_encoding(torch.tensor([[0.25, -0.5]], dtype=torch.float64), 2)
    root = math.sqrt(0.5)
    wanted = [0.25, -0.5, root, 1.0, -1.0, 0.0, root, 0.0, 0.0, -1.0]
    torch.testing.assert_close(encoded, torch.tensor([wanted], dtype=torch.float64))


def test_a_perceptron_starts_at_zero_and_has_its_layers() -> None:
    network = mlp(3, 2, width=16, layers=2)
    assert not network(torch.rand(5, 3)).any()
    assert sum(p.numel() for p in network.parameters()) == 4 * 16 + 17 * 16 + 17 * 2
    torch.manual_seed(0)
    assert mlp(3, 2, width=16, layers=1, zero_last=False)(torch.rand(5, 3)).any()


def test_soft_limit() -> None:
    x = torch.tensor([-50.0, -1e-3, 0.0, 1e-3, 50.0])
    bent = soft_limit(x, 0.5)
    assert bent.abs().max() <= 0.5
    torch.testing.assert_close(bent[1:4], x[1:4], rtol=1e-5, atol=0)
