"""Every term against a known answer, the reference metric, or its own gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from mggtalk_cli.evaluation import metrics
from mggtalk_cli.evaluation.backbones import AlexNet
from mggtalk_cli.training import losses
from mggtalk_cli.training.perceptual import Perceptual, open_perceptual


def pictures(height: int = 20, width: int = 23, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(2, 3, height, width, generator=generator)
    image = (truth + 0.2 * torch.randn(truth.shape, generator=generator)).clamp(0, 1)
    return image, truth


def test_l1_counts_the_pixels_of_a_mask() -> None:
    truth = torch.zeros(1, 3, 2, 2)
    image = torch.tensor([[0.1, 0.2], [0.3, 0.4]]).expand(1, 3, 2, 2)
    mask = torch.tensor([[[[1.0, 0.0], [0.0, 0.5]]]])
    assert losses.l1(image, truth).item() == pytest.approx(0.25)
    assert losses.l1(image, truth, mask).item() == pytest.approx((0.1 + 0.5 * 0.4) / 1.5)
    assert losses.l1(image, truth, torch.zeros(1, 1, 2, 2)).item() == 0.0


def test_ssim_is_that_of_the_metric() -> None:
    image, truth = pictures()
    expected = [
        metrics.ssim(a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy())
        for a, b in zip(image, truth, strict=True)
    ]
    assert losses.ssim(image, truth).item() == pytest.approx(np.mean(expected), abs=1e-5)
    assert losses.ssim(truth, truth).item() == pytest.approx(1.0)


def test_ssim_of_a_mask_looks_at_its_windows_only() -> None:
    image, truth = pictures(24, 24)
    image[:, :, :, :12] = truth[:, :, :, :12]
    mask = torch.zeros(2, 1, 24, 24)
    mask[..., :7] = 1.0  # their windows end before column 12
    assert losses.ssim(image, truth, mask).item() == pytest.approx(1.0, abs=1e-5)
    assert losses.ssim(image, truth, 1 - mask).item() < 0.95


def test_ssim_needs_a_window() -> None:
    with pytest.raises(ValueError, match="at least 11 px"):
        losses.ssim(*pictures(10, 20))


@pytest.mark.parametrize("name", ["l1", "ssim"])
def test_gradients_of_picture_terms(name: str) -> None:
    image, truth = (p[:1, :, :12, :12].double() for p in pictures())
    mask = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    term = getattr(losses, name)
    image.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: term(x, truth, mask), (image,))


def test_terms_of_a_picture_and_of_two_renders() -> None:
    image, truth = pictures()
    coarse = losses.picture_terms(image, truth)
    dense = losses.picture_terms(truth, truth, perceptual=lambda a, b: (a - b).abs().max())
    assert set(coarse) == {"l1", "ssim"}
    assert dense["perceptual"].item() == 0.0
    both = losses.mean_terms(coarse, dense)
    assert both["l1"].item() == pytest.approx(coarse["l1"].item() / 2)
    assert coarse["ssim"].item() == pytest.approx(1 - losses.ssim(image, truth).item())


def test_masks_depths_and_normals() -> None:
    alpha, mask = torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.5, 1.0]]]])
    assert losses.mask_loss(alpha, mask).item() == 0.25
    depth = torch.tensor([[[[1.0, 50.0]]]])
    inside = torch.tensor([[[[1.0, 0.0]]]])
    assert losses.depth_loss(depth, torch.zeros(1, 1, 1, 2), inside).item() == pytest.approx(1.0)
    normals = torch.tensor([[0.0, 0.0, 2.0], [1.0, 0.0, 0.0]]).T.reshape(1, 3, 1, 2)
    true = torch.tensor([[0.0, 1.0, 1.0], [-1.0, 0.0, 0.0]]).T.reshape(1, 3, 1, 2)
    everywhere = torch.ones(1, 1, 1, 2)
    expected = ((1 - math.sqrt(0.5)) + 2.0) / 2
    assert losses.normal_loss(normals, true, everywhere).item() == pytest.approx(expected)


def test_offsets_cost_their_square_and_then_their_length() -> None:
    small, large = torch.tensor([[0.0, 0.01, 0.0]]), torch.tensor([[0.0, 300.0, 400.0]])
    assert losses.offset_loss(small).item() == pytest.approx(0.5 * 0.01**2, rel=1e-3)
    assert losses.offset_loss(large).item() == pytest.approx(0.5 * 500.0, rel=2e-3)
    zero = torch.zeros(4, 3, requires_grad=True)
    losses.offset_loss(zero).backward()
    assert torch.equal(zero.grad, torch.zeros(4, 3))


def test_scales_are_free_within_bounds() -> None:
    assert losses.scale_loss(torch.tensor([0.29, -0.29])).item() == 0.0
    assert losses.scale_loss(torch.tensor([0.5, -0.3])).item() == pytest.approx(0.02)


def test_the_temporal_term_sees_change_only() -> None:
    truth = torch.rand(4, 3, 5, 6)
    assert losses.temporal_loss(truth + 0.3, truth).item() == pytest.approx(0.0, abs=1e-6)
    flickering = truth + torch.tensor([0.0, 0.1, 0.0, 0.1]).view(4, 1, 1, 1)
    assert losses.temporal_loss(flickering, truth).item() == pytest.approx(0.1, abs=1e-6)
    assert losses.temporal_loss(truth[:1], truth[:1]).item() == 0.0


def test_hinge_losses() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-3.0, 0.5])
    assert losses.adversary_hinge(real, fake).item() == pytest.approx(0.5 + 0.75)
    assert losses.generator_hinge(fake).item() == pytest.approx(1.25)


def test_the_sync_term_is_the_cross_entropy_of_the_cosine() -> None:
    lips = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, -5.0]])
    sounds = torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    together = torch.tensor([1.0, 0.0, 0.0])
    # cosines of the rectified rows: 1, sqrt(.5), 0
    expected = (0.0 - math.log(1 - math.sqrt(0.5)) + 0.0) / 3
    assert losses.sync_loss(lips, sounds, together).item() == pytest.approx(expected, abs=1e-5)
    assert math.isfinite(losses.sync_loss(lips, sounds, 1 - together).item())


def test_the_sync_gate() -> None:
    assert losses.sync_weight(0.76, 0.9) == 0.0
    assert losses.sync_weight(0.74, 0.9) == 0.03
    assert losses.sync_weight(math.log(2), 0.5) == 0.0  # knows nothing, but below .75


def test_the_perceptual_distance_sees_differences_and_has_a_gradient() -> None:
    torch.manual_seed(0)
    distance = Perceptual(AlexNet())
    image, truth = pictures(40, 48)
    assert distance(truth, truth).item() == 0.0
    near = truth + 0.1 * (image - truth)
    assert 0 < distance(near, truth).item() < distance(image, truth).item()
    image.requires_grad_(True)
    distance(image, truth).backward()
    assert image.grad.abs().max() > 0
    assert all(not p.requires_grad for p in distance.parameters())


def test_the_perceptual_backbone_comes_from_a_file_or_is_off(tmp_path) -> None:
    from safetensors.torch import save_file

    assert open_perceptual("") is None
    torch.manual_seed(0)
    trunk = AlexNet()
    save_file(trunk.state_dict(), tmp_path / "alexnet.safetensors")
    opened = open_perceptual(str(tmp_path / "alexnet.safetensors"))
    assert opened is not None
    image, truth = pictures(64, 64)
    assert torch.equal(opened(image, truth), Perceptual(trunk)(image, truth))
