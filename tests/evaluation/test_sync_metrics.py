"""LSE-D and LSE-C of embeddings shifted by a known offset, and what SyncNet is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mggtalk_cli.core.image import read_photo
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import lip_sync, metrics


@pytest.fixture
def embeddings() -> np.ndarray:
    """(100, 16) independent unit vectors."""
    vectors = np.random.default_rng(0).normal(size=(100, 16))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.mark.parametrize("late", [-15, -4, 0, 1, 15])
def test_the_offset_of_shifted_embeddings_is_found_exactly(
    embeddings: np.ndarray, late: int
) -> None:
    """The rows that the shift moves beyond the end meet zeros, at distance one."""
    score = metrics.lip_sync_error(embeddings[20:80], embeddings[20 - late : 80 - late])
    assert score.offset == late
    assert score.lse_d == pytest.approx(abs(late) / 60)


def test_the_confidence_by_hand() -> None:
    """Constant lips at distance 5 from every sound: only the zeros beyond the ends differ."""
    lips, sounds = np.tile([3.0, 0], (30, 1)), np.tile([3.0, 5], (30, 1))
    score = metrics.lip_sync_error(lips, sounds, max_shift=3)
    # distances 5 (no shift) down to (27 * 5 + 3 * 3) / 30
    assert score.lse_d == pytest.approx((27 * 5 + 3 * 3) / 30)
    assert score.lse_c == pytest.approx((28 * 5 + 2 * 3) / 30 - score.lse_d)
    assert abs(score.offset) == 3


def test_equal_embeddings_are_a_perfect_match(embeddings: np.ndarray) -> None:
    score = metrics.lip_sync_error(embeddings, embeddings)
    assert score.lse_d == 0
    assert score.lse_c > 1
    unrelated = metrics.lip_sync_error(embeddings, embeddings[::-1])
    assert unrelated.lse_c < score.lse_c / 3


@pytest.mark.parametrize("shape", [(0, 4), (5, 3)])
def test_embeddings_that_do_not_fit_are_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="cannot compare lips"):
        metrics.lip_sync_error(np.zeros(shape), np.zeros((shape[0], 4 if shape[1] == 3 else 5)))


def test_cepstra_by_their_definition() -> None:
    """One frame, worked out without the shortcuts of the implementation."""
    sound = np.random.default_rng(1).integers(-9000, 9000, 400).astype(float)
    emphasised = [sound[0], *(sound[i] - 0.97 * sound[i - 1] for i in range(1, 400))]
    turn = np.exp(-2j * np.pi * np.outer(np.arange(257), np.arange(400)) / 512)
    power = np.abs(turn @ np.array(emphasised)) ** 2 / 512
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    corners = [int(513 * 700 * (10 ** (mel / 2595) - 1) / 16000) for mel in mels]
    bands = []
    for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
        rising = sum(power[i] * (i - low) / (middle - low) for i in range(low, middle))
        falling = sum(power[i] * (high - i) / (high - middle) for i in range(middle, high))
        bands.append(np.log(rising + falling))
    waves = np.cos(np.pi * np.outer(np.arange(13), np.arange(26) + 0.5) / 26) * np.sqrt(2 / 26)
    expected = waves @ bands * (1 + 11 * np.sin(np.pi * np.arange(13) / 22))
    expected[0] = np.log(power.sum())
    assert lip_sync.mfcc(sound / 32768) == pytest.approx(expected[None])


@pytest.mark.parametrize(("samples", "rows"), [(10, 1), (400, 1), (401, 2), (16000, 99)])
def test_a_hundred_cepstra_per_second(samples: int, rows: int) -> None:
    assert lip_sync.mfcc(np.zeros(samples)).shape == (rows, 13)
    assert np.isfinite(lip_sync.mfcc(np.zeros(samples))).all()


class Brightness:
    """Stands in for SyncNet: brightness of the frames, loudness of the sound."""

    def __init__(self, zero: float) -> None:
        self.zero = zero

    def lips(self, frames: torch.Tensor) -> torch.Tensor:
        assert frames.shape[1:] == (3, 5, 224, 224)
        return frames.mean((1, 3, 4))

    def sounds(self, mfcc: torch.Tensor) -> torch.Tensor:
        assert mfcc.shape[1:] == (1, 13, 20)
        return mfcc[:, 0, 0].reshape(-1, 5, 4).mean(2) * 10 + self.zero


@pytest.mark.parametrize("late", [-2, 0, 3])
def test_frames_and_sound_meet_at_the_same_time(monkeypatch: Any, late: int) -> None:
    """Frames as bright as their sound is loud; the sound is then delayed by whole frames."""
    rng = np.random.default_rng(0)
    loudness = rng.uniform(-1, 1, 70)
    noise = rng.normal(0, 0.01, (70, 640)) * np.exp(loudness[:, None])
    zero = 120 - 10 * float(lip_sync.mfcc(noise.ravel())[:, 0].mean())
    bright = (120 + 20 * loudness).astype(np.uint8)[:, None, None, None]
    crops = np.broadcast_to(bright, (70, 224, 224, 3))
    monkeypatch.setattr(lip_sync, "face_crops", lambda frames: crops[10 : 10 + len(frames)])
    sound = noise[10 - late : 60 - late].ravel()
    network: Any = Brightness(zero)
    score = lip_sync.sync_score(network, list(crops[10:60]), sound)
    assert score.offset == late
    assert score.lse_c > score.lse_d


def test_crops_follow_the_face_and_are_grey_beyond_the_picture(portrait_path: Path) -> None:
    photo = read_photo(portrait_path)
    [whole] = lip_sync.face_crops([photo])
    assert whole.shape == (224, 224, 3)
    moved = np.pad(photo, ((0, 0), (64, 0), (0, 0)))[:, : photo.shape[1]]
    [shifted] = lip_sync.face_crops([moved])
    assert np.abs(shifted.astype(float) - whole).mean() < 6
    frames = [photo, np.zeros_like(photo), photo]
    assert (lip_sync.face_crops(frames)[1] == 0).all()  # the last place, where no face is
    cut = photo[:, photo.shape[1] // 2 - 60 :]
    [beyond] = lip_sync.face_crops([cut])
    assert (beyond[:, :5] == lip_sync.GREY).all()


def opencv_crop(frame: np.ndarray, x: float, y: float, half: float) -> np.ndarray:
    """The reference's crop: grey padding, then OpenCV's resize."""
    rows, columns = (int(y - half), int(y + 1.8 * half)), (int(x - 1.4 * half), int(x + 1.4 * half))
    far = 400
    padded = np.pad(frame, ((far, far), (far, far), (0, 0)), constant_values=110)
    inside = padded[far + rows[0] : far + rows[1], far + columns[0] : far + columns[1]]
    return np.asarray(cv2.resize(inside, (224, 224)))


@pytest.mark.parametrize(
    "place", [(60.2, 40.9, 30.3), (60, 50, 9.7), (10.5, 12.5, 20.25), (110, 80, 100)]
)
def test_crops_are_the_references(place: tuple[float, float, float]) -> None:
    """Inside, enlarged, beyond an edge, and beyond all of them; OpenCV rounds to whole levels."""
    noise = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    frame = cv2.GaussianBlur(noise, (0, 0), 1.0)
    [crop] = lip_sync.cut_faces(
        torch.from_numpy(frame).permute(2, 0, 1)[None].float(), np.array([place])
    )
    expected = opencv_crop(frame, *place)
    assert np.abs(crop.permute(1, 2, 0).numpy() - expected).max() < 1.01
    assert expected.std() > 5


def test_crops_are_differentiable() -> None:
    frames = 255 * torch.rand(2, 3, 8, 9, dtype=torch.float64, requires_grad=True)
    track = np.array([[4.2, 4.0, 2.5], [5.0, 3.0, 4.0]])
    assert torch.autograd.gradcheck(lambda f: lip_sync.cut_faces(f, track, side=4), (frames,))


def test_windows_are_bgr_and_of_one_time() -> None:
    crops = torch.arange(9.0)[:, None, None, None] + torch.tensor([0.1, 0.2, 0.3])[:, None, None]
    cepstra = torch.arange(36.0)[:, None] / 4 + torch.zeros(13)
    lips = lip_sync.lip_windows(crops, [0, 3])
    assert lips.shape == (2, 3, 5, 1, 1)
    assert lips[1, :, 0, 0, 0].tolist() == pytest.approx([3.3, 3.2, 3.1])
    sounds = lip_sync.sound_windows(cepstra, [0, 3])
    assert sounds.shape == (2, 1, 13, 20)
    assert torch.equal(sounds[1, 0, 5, ::4], torch.arange(3.0, 8.0))


def test_clips_that_cannot_be_measured() -> None:
    network: Any = Brightness(0)
    blank = [np.zeros((64, 64, 3), np.uint8)] * 10
    with pytest.raises(InputError, match="got 5 frames"):
        lip_sync.sync_score(network, blank[:5], np.zeros(16000))
    with pytest.raises(InputError, match=r"0\.10 s"):
        lip_sync.sync_score(network, blank, np.zeros(1600))
    with pytest.raises(InputError, match="no face"):
        lip_sync.sync_score(network, blank, np.zeros(16000))
