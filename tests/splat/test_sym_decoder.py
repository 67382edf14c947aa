"""The mirrored side's networks: a mirror image at first, offsets later."""

from __future__ import annotations

import torch
from learned_scenes import learned, scene, toy_networks

from mggtalk_cli.splat import SymConfig, SymDecoder, mirrored
from mggtalk_cli.splat.sym_decoder import PARTS


def test_untrained_the_mirrored_side_is_the_mirror_image_of_the_front() -> None:
    """The decoder is trained, the sym decoder is not: its rows are the front's, reflected."""
    of, networks = scene(), toy_networks(trained=True)
    for part in networks.sym_decoder.parts.values():
        torch.nn.init.zeros_(part[-1].weight)
    decoder = learned(of, networks)
    raw = decoder.raw(of.points[None])[0]
    front = torch.zeros(20, *decoder.front.valid.shape)
    front[:, decoder.front.valid] = raw[decoder.front.rows].T
    both = decoder.front.valid & decoder.mirror.valid
    side = torch.zeros_like(front)
    side[:, decoder.mirror.valid] = raw[decoder.mirror.rows].T
    assert both.sum() > 20
    assert raw[decoder.mirror.rows].abs().max() > 0.01
    assert torch.equal(side[:, both], mirrored(front[None])[0][:, both])
    assert not raw[decoder.mirror.rows.stop :].any()


def test_each_part_has_its_own_channels() -> None:
    network = SymDecoder(SymConfig(features=4, width=4))
    maps = torch.rand(1, 4, 5, 7), torch.rand(2, 3, 5, 7), torch.ones(1, 1, 5, 7)
    assert torch.equal(network(*maps), torch.zeros(2, 20, 5, 7))
    first = 0
    for name, channels in PARTS.items():
        torch.nn.init.ones_(network.parts[name][-1].bias)
        own = slice(first, first + channels)
        assert (network(*maps)[:, own] == 1).all(), name
        assert not network(*maps)[:, own.stop :].any(), name
        first += channels
    assert first == 20


def test_gradients_of_the_sym_decoder() -> None:
    network = toy_networks(trained=True).sym_decoder.double()
    features = torch.rand(1, 4, 3, 4, dtype=torch.float64, requires_grad=True)
    positions = torch.rand(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    mask = (torch.rand(1, 1, 3, 4) > 0.3).double()
    assert torch.autograd.gradcheck(lambda f, p: network(f, p, mask), (features, positions))
