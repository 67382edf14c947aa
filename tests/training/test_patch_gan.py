"""The adversary: what each score sees, how steep it may be, and that it learns to tell."""

from __future__ import annotations

import pytest
import torch

from mggtalk_cli.training.losses import adversary_hinge, generator_hinge
from mggtalk_cli.training.patch_gan import PatchGan, PatchGanConfig


def test_every_score_sees_70_px() -> None:
    network = PatchGan(PatchGanConfig(width=8)).eval()
    picture = torch.rand(1, 3, 256, 256, requires_grad=True)
    scores = network(picture)
    assert scores.shape == (1, 1, 30, 30)
    scores[0, 0, 15, 15].backward()
    assert picture.grad is not None
    for axis in (2, 3):
        seen = picture.grad.abs().sum([a for a in range(4) if a != axis]).nonzero()
        assert int(seen.max() - seen.min()) + 1 == 70


@pytest.mark.parametrize(("height", "width"), [(32, 32), (67, 45)])
def test_pictures_of_any_size(height: int, width: int) -> None:
    scores = PatchGan(PatchGanConfig.tiny())(torch.rand(2, 3, height, width))
    assert scores.shape[:2] == (2, 1)
    assert scores.isfinite().all()


def test_spectral_norms_are_one() -> None:
    network = PatchGan(PatchGanConfig(channels=4, width=8))
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(50)  # whatever training does to them
        for _ in range(40):  # power iterations
            network(torch.rand(1, 4, 40, 40))
    network.eval()
    for layer in network.layers[::2]:
        norm = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert norm.item() == pytest.approx(1, abs=0.02)


def test_it_learns_to_tell_and_says_which_way_is_better() -> None:
    torch.manual_seed(0)
    network = PatchGan(PatchGanConfig(width=4))
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    redder = torch.tensor([0.3, 0.0, 0.0])[:, None, None]

    def pictures() -> torch.Tensor:
        return 0.7 * torch.rand(2, 3, 32, 32)

    for _ in range(25):
        loss = adversary_hinge(network(pictures() + redder), network(pictures()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    fake = pictures().requires_grad_()
    assert (network(fake + redder).mean() - network(fake).mean()).item() > 0.5
    generator_hinge(network(fake)).backward()
    assert fake.grad is not None
    # Downhill for the generator is redder.
    push = -fake.grad.sum((0, 2, 3))
    assert push[0] > 3 * push[1:].abs().max()
