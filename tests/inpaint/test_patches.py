"""Mouth and eye patches: where crops lie, what they show, and that only what they own changes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mggtalk_cli.core.camera import pixel_grid
from mggtalk_cli.core.checkpoint import read_checkpoint, restore, write_checkpoint
from mggtalk_cli.core.expression import ARKIT_NAMES
from mggtalk_cli.core.landmark_groups import CANONICAL
from mggtalk_cli.errors import ArtifactError
from mggtalk_cli.inpaint import (
    REGIONS,
    PatchConfig,
    PatchNetwork,
    Photo,
    learned_patches,
    patch_of,
    patched,
)
from mggtalk_cli.inpaint.patches import cropped, pasted
from mggtalk_cli.inpaint.regions import (
    EYE_LEFT,
    EYE_RIGHT,
    MOUTH,
    NUMBERS,
    Region,
    place,
    region_mask,
    warped_photo,
)

HEIGHT, WIDTH = 131, 117
ALL = [region for regions in REGIONS.values() for region in regions]
TOY = PatchConfig(widths=(4, 8), height=26, width=35)


def face(scale: float = 6.0) -> np.ndarray:
    """Landmarks (468, 2) px of a frontal face in the middle of the frame."""
    return CANONICAL[:, :2] * [scale, -scale] + [WIDTH / 2, HEIGHT / 2]


def portrait() -> np.ndarray:
    """A smooth picture (H, W, 3) float32 0..1, mirror symmetric."""
    x, y = np.moveaxis(pixel_grid(HEIGHT, WIDTH), -1, 0)
    x = np.abs(x - WIDTH / 2)
    waves = [np.sin(x / 9) + np.cos(y / 7), np.cos(x / 13 + y / 11), np.sin(y / 15)]
    return (0.5 + 0.2 * np.stack(waves, -1)).astype(np.float32)


def stirred(config: PatchConfig = TOY) -> PatchNetwork:
    network = PatchNetwork(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return network


def as_bytes(picture: np.ndarray) -> np.ndarray:
    return (picture * 255).round().astype(np.uint8)


BETA = np.linspace(0, 1, 52).astype(np.float32)


# ---------------------------------------------------------------- regions


@pytest.mark.parametrize("region", ALL, ids=lambda region: region.name)
def test_crop_and_frame_are_one_similarity_apart(region: Region) -> None:
    placement = place(region, face(), 30, 41)
    uv = np.random.default_rng(0).uniform(0, 40, (20, 2))
    np.testing.assert_allclose(placement.to_crop(placement.to_frame(uv)), uv, atol=1e-9)
    assert np.linalg.det(placement.axes) == pytest.approx(-1 if region.mirrored else 1)
    ring = placement.to_crop(face()[list(region.ring)])
    assert (ring > 0).all()
    assert (ring < [41, 30]).all()


@pytest.mark.parametrize("region", ALL, ids=lambda region: region.name)
def test_the_crop_goes_with_the_face(region: Region) -> None:
    turn, shift = 0.4, np.array([3.0, -7.0])
    rotation = 0.5 * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    before, after = face(), face() @ rotation + shift
    uv = np.random.default_rng(0).uniform(0, 30, (20, 2))
    moved = place(region, after, 30, 41).to_frame(uv)
    expected = place(region, before, 30, 41).to_frame(uv) @ rotation + shift
    np.testing.assert_allclose(moved, expected, atol=1e-4)


@pytest.mark.parametrize("region", ALL, ids=lambda region: region.name)
def test_mask_is_the_region_with_a_soft_edge(region: Region) -> None:
    placement = place(region, face(), 37, 52)
    mask = region_mask(region, placement, face())
    assert mask.dtype == np.float32
    assert mask.min() == 0
    assert mask.max() == 1
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert (border == 0).all()
    u, v = np.floor(placement.to_crop(face()[list(region.ring)]).mean(0)).astype(int)
    assert mask[v, u] == 1
    ring = placement.to_crop(face()[list(region.ring)])
    reach = region.feather * 52 + 2
    uv = pixel_grid(37, 52)
    polygon = np.round(ring * 16).astype(np.int32)
    inside = np.array(
        [
            cv2.pointPolygonTest(polygon.astype(np.float32) / 16, tuple(map(float, p)), True)
            for p in uv.reshape(-1, 2)
        ]
    ).reshape(37, 52)
    assert (mask[inside < -reach] == 0).all()
    assert mask[inside > 1].min() > 0.9


def test_both_eyes_of_a_symmetric_face_look_alike_to_the_network() -> None:
    photo = Photo(portrait(), face())
    beta = np.zeros(52, np.float32)
    beta[[ARKIT_NAMES.index(f"eyeBlink{side}") for side in ("Left", "Right")]] = 0.7
    right, left = (patch_of(eye, TOY, photo, face(), beta) for eye in (EYE_RIGHT, EYE_LEFT))
    np.testing.assert_allclose(right.mask, left.mask, atol=0.15)  # outlines are of whole pixels
    np.testing.assert_allclose(right.warped, left.warped, atol=1e-3)
    frame = torch.from_numpy(portrait())
    torch.testing.assert_close(
        cropped(frame, right.placement), cropped(frame, left.placement), atol=1e-3, rtol=0
    )
    np.testing.assert_allclose(right.numbers, [0.7, *[0] * 7])
    np.testing.assert_allclose(left.numbers, right.numbers)


def test_numbers_are_means_of_named_coefficients() -> None:
    for region in ALL:
        assert len(region.numbers) == NUMBERS
    names = [{ARKIT_NAMES[i] for i in group} for group in MOUTH.numbers]
    assert {"jawOpen"} in names
    assert {"mouthSmileLeft", "mouthSmileRight"} in names
    found = patch_of(MOUTH, TOY, Photo(portrait(), face()), face(), BETA).numbers
    np.testing.assert_allclose(found, [np.mean(BETA[list(group)]) for group in MOUTH.numbers])


def test_warped_photo_is_the_photo_under_the_landmarks_motion() -> None:
    turn = 0.2
    matrix = 1.2 * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    moved = (face() - middle) @ matrix + middle + [4, 2]
    placement = place(MOUTH, moved, 40, 50)
    warped, covered = warped_photo(Photo(portrait(), face()), placement, moved)
    assert covered.all()
    frame = placement.to_frame(pixel_grid(40, 50).astype(np.float64))
    source = (frame - middle - [4, 2]) @ np.linalg.inv(matrix) + middle
    grid = (source - 0.5).astype(np.float32)
    expected = cv2.remap(portrait(), grid[..., 0], grid[..., 1], cv2.INTER_LINEAR)
    assert np.abs(warped - expected).max() < 2e-3


def test_off_the_face_the_frame_stands_for_the_photo() -> None:
    yaw = np.radians(60)  # the far eye lies at the face's outline
    across = np.cos(yaw) * CANONICAL[:, 0] + np.sin(yaw) * CANONICAL[:, 2]
    turned = np.stack([6 * across + WIDTH / 2, face()[:, 1]], 1)
    placement = place(EYE_LEFT, turned, 30, 60)
    _, covered = warped_photo(Photo(portrait(), face()), placement, turned)
    assert 0.05 < 1 - covered.mean() < 0.9


# ---------------------------------------------------------------- cutting and pasting


def test_crops_of_a_ramp_are_exact() -> None:
    x, y = np.moveaxis(pixel_grid(HEIGHT, WIDTH), -1, 0)
    ramp = torch.from_numpy(np.stack([x, y, x + 2 * y], -1))
    placement = place(MOUTH, face(), 31, 44)
    found = cropped(ramp, placement).movedim(0, -1).numpy()
    at = placement.to_frame(pixel_grid(31, 44))
    expected = np.stack([at[..., 0], at[..., 1], at[..., 0] + 2 * at[..., 1]], -1)
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_pasting_undoes_cropping() -> None:
    placement = place(MOUTH, face(), 60, 80)
    top, bottom, left, right = placement.box(HEIGHT, WIDTH)
    frame = torch.from_numpy(portrait())
    back = pasted(cropped(frame, placement), placement, HEIGHT, WIDTH)
    error = (back - frame[top:bottom, left:right]).abs()
    assert error[2:-2, 2:-2].max() < 1e-2
    assert pasted(torch.ones(3, 60, 80), placement, HEIGHT, WIDTH).max() <= 1 + 1e-6


@pytest.mark.parametrize("config", [PatchConfig.tiny(), PatchConfig.base(), TOY])
def test_untrained_networks_change_no_byte(config: PatchConfig) -> None:
    image = as_bytes(portrait())
    networks = {name: PatchNetwork(config) for name in REGIONS}
    finished = learned_patches(networks, image, face())(image, face() + 2, BETA)
    assert np.array_equal(finished, image)


@pytest.mark.parametrize("name", list(REGIONS))
def test_only_the_region_changes(name: str) -> None:
    image = as_bytes(portrait())
    finished = learned_patches({name: stirred()}, image, face())(image, face(), BETA)
    change = np.abs(finished.astype(int) - image).max(-1)
    allowed = np.zeros((HEIGHT, WIDTH), bool)
    for region in REGIONS[name]:
        placement = place(region, face(), TOY.height, TOY.width)
        mask = torch.from_numpy(region_mask(region, placement, face()))[None]
        top, bottom, left, right = placement.box(HEIGHT, WIDTH)
        allowed[top:bottom, left:right] |= (pasted(mask, placement, HEIGHT, WIDTH) > 0)[
            ..., 0
        ].numpy()
    assert (change[~allowed] == 0).all()
    assert change[allowed].mean() > 3


def test_bytes_are_what_training_sees() -> None:
    image, network = as_bytes(portrait()), stirred()
    frame = torch.from_numpy(image.astype(np.float32) / 255)
    patch = patch_of(MOUTH, TOY, Photo(image.astype(np.float32) / 255, face()), face() + 1, BETA)
    trained = 255 * patched(network, frame, patch).detach().clamp(0, 1).numpy()
    finished = learned_patches({"mouth": network}, image, face())(image, face() + 1, BETA)
    assert np.abs(finished - trained).max() <= 0.51


def test_coverage_stays() -> None:
    image = as_bytes(portrait())
    rgba = np.dstack([image, np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)])
    finished = learned_patches({"mouth": stirred()}, image, face())(rgba, face(), BETA)
    assert np.array_equal(finished[..., 3], rgba[..., 3])
    assert (finished[..., :3] != image).any()


@pytest.mark.parametrize("shift", [(70, 0), (-60, 55), (500, 0), (0, -500)])
def test_faces_partly_or_wholly_out_of_the_picture(shift: tuple[int, int]) -> None:
    image, away = as_bytes(portrait()), face() + shift
    network = stirred()
    finished = learned_patches(dict.fromkeys(REGIONS, network), image, face())(image, away, BETA)
    assert finished.shape == image.shape
    frame = torch.from_numpy(portrait())
    patch = patch_of(MOUTH, TOY, Photo(portrait(), face()), away, BETA)
    assert patched(network, frame, patch).shape == frame.shape
    if max(map(abs, shift)) == 500:
        assert np.array_equal(finished, image)


def test_frames_without_landmarks_are_told() -> None:
    image = as_bytes(portrait())
    with pytest.raises(ArtifactError, match="without landmarks"):
        learned_patches({"mouth": stirred()}, image, None)
    with pytest.raises(ArtifactError, match="run `mggtalk deform`"):
        learned_patches({"mouth": stirred()}, image, face())(image, None, BETA)


def test_gradients_are_those_of_finite_differences() -> None:
    network = stirred(PatchConfig(widths=(2, 2), height=8, width=9)).double()
    names = dict(network.named_parameters())
    small = (face(0.9) - [WIDTH / 2, HEIGHT / 2]) + [7, 6]
    patch = patch_of(MOUTH, network.config, Photo(portrait()[:13, :15], small), small, BETA)
    generator = torch.Generator().manual_seed(1)
    frame = torch.rand(13, 15, 3, generator=generator, dtype=torch.float64)

    class Called(torch.nn.Module):
        def __init__(self, weights: tuple[torch.Tensor, ...]) -> None:
            super().__init__()
            self.given = dict(zip(names, weights, strict=True))

        def parameters(self, recurse: bool = True):  # type: ignore[no-untyped-def]
            return iter(self.given.values())

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(network, self.given, inputs)

    def result(frame: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return patched(Called(weights), frame, patch)  # type: ignore[arg-type]

    weights = [weight.detach().requires_grad_() for weight in names.values()]
    assert torch.autograd.gradcheck(result, (frame.requires_grad_(), *weights), fast_mode=True)


def test_it_learns_what_the_frame_lacks() -> None:
    torch.manual_seed(0)
    photo = Photo(portrait(), face())
    network = PatchNetwork(TOY)
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    frame = torch.from_numpy(portrait())
    patch = patch_of(MOUTH, TOY, photo, face(), BETA)
    paste = pasted(torch.from_numpy(patch.mask)[None], patch.placement, HEIGHT, WIDTH)
    top, bottom, left, right = patch.placement.box(HEIGHT, WIDTH)
    truth = frame.clone()
    truth[top:bottom, left:right] -= 0.2 * paste

    def error() -> torch.Tensor:
        return (patched(network, frame, patch) - truth).square().sum()

    before = error().item()
    for _ in range(40):
        optimiser.zero_grad()
        error().backward()
        optimiser.step()
    assert error().item() < 0.1 * before


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    networks = {"mouth": stirred(), "eyes": stirred(PatchConfig(widths=(3,), height=9, width=17))}
    write_checkpoint(tmp_path / "mouth.safetensors", networks, {})
    stored = read_checkpoint(tmp_path / "mouth.safetensors").networks
    again = {name: restore(stored[name], name, PatchNetwork, PatchConfig) for name in networks}
    assert again["eyes"].config == PatchConfig(widths=(3,), height=9, width=17)
    image = as_bytes(portrait())
    finished = [learned_patches(n, image, face())(image, face(), BETA) for n in (networks, again)]
    assert np.array_equal(*finished)
    assert (finished[0] != image).any()
