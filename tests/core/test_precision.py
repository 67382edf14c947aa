"""Half precision is for networks alone, where it was asked for."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mggtalk_cli.core.layers import UNet
from mggtalk_cli.core.precision import HALF_ON, halve


def test_the_cpu_keeps_every_bit() -> None:
    assert "cpu" not in HALF_ON


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_computes_in_half_and_answers_in_float32(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    network = UNet(3, 4, (8, 8), zero_last=False)
    seen: list[torch.dtype] = []
    network.last.register_forward_hook(lambda *given: seen.append(given[-1].dtype))
    picture = torch.rand(2, 3, 12, 10)
    before = copy.deepcopy(network.state_dict())
    with torch.inference_mode():
        whole = network(picture)
        halve(network, dtype)
        half = network(picture)
    assert seen == [torch.float32, dtype]
    assert half.dtype == torch.float32
    apart = (half - whole).abs().max() / whole.abs().max()
    assert 0 < apart < (0.005 if dtype == torch.float16 else 0.04)
    for name, weight in network.state_dict().items():
        assert torch.equal(weight, before[name])
    del network.forward
    with torch.inference_mode():
        assert torch.equal(network(picture), whole)


def test_several_answers_are_all_float32() -> None:
    class Two(nn.Module):
        def forward(self, x: Tensor, *, times: int) -> tuple[Tensor, Tensor]:
            return x @ x, times * x @ x

    network = Two()
    halve(network, torch.bfloat16)
    one, two = network(torch.eye(3), times=2)
    assert one.dtype == two.dtype == torch.float32
    assert torch.equal(two, 2 * torch.eye(3))
