"""Video and sound as SyncNet was trained on them, and its verdict on how they fit.

The face box grows as in the reference (`syncnet_python`): square, .4 of padding at the sides and
below, median-filtered over 13 frames, 224 px; the box is that of our landmarks, not of its own
detector. Sound: 13 cepstra, 100 per second, as of `python_speech_features`. Windows: five frames
and their 20 cepstra, one per frame. Crops and windows are differentiable in the frames, so that
training shows SyncNet the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.fft import dct
from scipy.ndimage import median_filter
from torch import Tensor
from torch.nn import functional

from mggtalk_cli.core.audio import ANALYSIS_RATE
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.alignment import find_face
from mggtalk_cli.evaluation.backbones import SyncNet
from mggtalk_cli.evaluation.metrics import SyncScore, lip_sync_error

WINDOW, CEPSTRA_PER_FRAME = 5, 4  # frames at 25 fps; cepstra at 100 Hz
SAMPLES_PER_FRAME = ANALYSIS_RATE // 25
CROP, PADDING, SMOOTHING, GREY = 224, 0.4, 13, 110
BATCH = 16

# python_speech_features' defaults: 25 ms without a window function every 10 ms, 26 mel filters.
FRAME, HOP, FFT_SIZE, FILTERS, CEPSTRA = 400, 160, 512, 26, 13
PREEMPHASIS, LIFTER = 0.97, 22
SMALLEST = np.finfo(np.float64).eps
FULL_SCALE = 32768.0


def sync_score(network: SyncNet, frames: Sequence[np.ndarray], samples: np.ndarray) -> SyncScore:
    """Return LSE-D, LSE-C and offset of a video with its sound.

    Args:
        network: SyncNet with its weights.
        frames: (H, W, 3) uint8 RGB at 25 fps.
        samples: (k,) float -1..1, 16 kHz mono, from the first frame's time on.

    Raises:
        InputError: less than six frames or as much sound, or no face in any frame.
    """
    # One window less than fit, as the reference has it.
    windows = min(len(frames), len(samples) // SAMPLES_PER_FRAME) - WINDOW
    if windows < 1:
        raise InputError(
            f"lip sync needs {WINDOW + 1} frames with their sound, got {len(frames)} frames and "
            f"{len(samples) / ANALYSIS_RATE:.2f} s: give a longer clip"
        )
    crops = torch.from_numpy(face_crops(frames).copy()).permute(0, 3, 1, 2)
    cepstra = torch.from_numpy(mfcc(samples).astype(np.float32))
    lips, sounds = [], []
    with torch.inference_mode():
        for start in range(0, windows, BATCH):
            firsts = range(start, min(start + BATCH, windows))
            lips.append(network.lips(lip_windows(crops, firsts).float()))
            sounds.append(network.sounds(sound_windows(cepstra, firsts)))
    return lip_sync_error(torch.cat(lips).numpy(), torch.cat(sounds).numpy())


def face_crops(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Return (n, 224, 224, 3) uint8 crops around the face; where none is found, at the last place.

    Raises:
        InputError: no frame shows a face.
    """
    boxes, points = np.full((len(frames), 4), np.nan), None
    for index, frame in enumerate(frames):
        points = find_face(frame, points)
        if points is not None:
            boxes[index] = *points[:468, :2].min(0), *points[:468, :2].max(0)
    known = np.flatnonzero(np.isfinite(boxes[:, 0]))
    if not len(known):
        raise InputError(f"no face in any of {len(frames)} frames: lip sync cannot be measured")
    nearest = known[np.clip(np.searchsorted(known, np.arange(len(frames)), "right") - 1, 0, None)]
    track = face_track(boxes[nearest])
    crops = []
    for frame, place in zip(frames, track, strict=True):
        picture = torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1)))[None].float()
        crop = cut_faces(picture, place[None])[0].permute(1, 2, 0)
        crops.append((crop + 0.5).clamp(0, 255).byte().numpy())
    return np.stack(crops)


def face_track(boxes: np.ndarray) -> np.ndarray:
    """Return (n, 3) centre and half side of square face boxes in px, smoothed over time.

    Args:
        boxes: (n, 4) left, top, right, bottom of the landmarks, px.
    """
    half = (boxes[:, 2:] - boxes[:, :2]).max(1) / 2
    track = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2, half], 1)
    return np.asarray(median_filter(track, size=(SMOOTHING, 1), mode="nearest"))


def cut_faces(
    frames: Float[Tensor, "n 3 h w"], track: np.ndarray, *, side: int = CROP
) -> Float[Tensor, "n 3 side side"]:
    """Return the crops SyncNet sees; differentiable in the frames, grey beyond their edges.

    A crop reaches from the top of the box down and is padded at the sides and below. It is
    resampled bilinearly as OpenCV's `resize` does, which repeats the crop's own edge.

    Args:
        frames: RGB, 0..255.
        track: (n, 3), see `face_track`.
        side: of the crops, px.
    """
    x, y, half = track.T
    wide = half * (1 + PADDING)
    left, top = np.trunc(x - wide), np.trunc(y - half)  # whole pixels, as in the reference
    right = np.maximum(np.trunc(x + wide), left + 1)
    bottom = np.maximum(np.trunc(y + half * (1 + 2 * PADDING)), top + 1)
    share = (np.arange(side) + 0.5) / side
    columns, rows = (
        (low + (share * (high - low)).clip(0.5, high - low - 0.5)) * 2 / size - 1
        for low, high, size in (
            (left[:, None], right[:, None], frames.shape[3]),
            (top[:, None], bottom[:, None], frames.shape[2]),
        )
    )
    shape = (len(track), side, side)
    grid = np.stack(
        [np.broadcast_to(columns[:, None], shape), np.broadcast_to(rows[:, :, None], shape)], 3
    )
    where = torch.from_numpy(grid).to(frames)
    return GREY + functional.grid_sample(frames - GREY, where, align_corners=False)


def lip_windows(
    crops: Float[Tensor, "n 3 side side"], firsts: Iterable[int]
) -> Float[Tensor, "b 3 5 side side"]:
    """Return windows of crops by their first frames, BGR, as OpenCV gave them to the reference."""
    return torch.stack([crops[i : i + WINDOW].flip(1).transpose(0, 1) for i in firsts])


def sound_windows(
    cepstra: Float[Tensor, "m 13"], firsts: Iterable[int]
) -> Float[Tensor, "b 1 13 20"]:
    """Return the cepstra of the same windows, by their first frames."""
    count = CEPSTRA_PER_FRAME
    rows = [cepstra[i * count : (i + WINDOW) * count] for i in firsts]
    return torch.stack(rows).transpose(1, 2)[:, None]


def mfcc(samples: np.ndarray) -> np.ndarray:
    """Return (n, 13) mel cepstra of 16 kHz sound, 100 per second; the first is the log energy.

    Pre-emphasis .97, 25 ms, 512-point power spectrum, 26 triangular mel filters, logarithm,
    orthonormal cosine transform, lifter 22: `python_speech_features.mfcc` of 16-bit samples.

    Args:
        samples: (k,) float -1..1.
    """
    sound = np.asarray(samples, np.float64) * FULL_SCALE
    sound = np.append(sound[:1], sound[1:] - PREEMPHASIS * sound[:-1])
    count = 1 + max(0, -(-(len(sound) - FRAME) // HOP))
    sound = np.pad(sound, (0, max(0, (count - 1) * HOP + FRAME - len(sound))))
    frames = np.lib.stride_tricks.sliding_window_view(sound, FRAME)[::HOP][:count]
    power = np.abs(np.fft.rfft(frames, FFT_SIZE)) ** 2 / FFT_SIZE
    energy = np.maximum(power.sum(1), SMALLEST)
    bands = np.log(np.maximum(power @ _mel_filters().T, SMALLEST))
    cepstra = dct(bands, type=2, axis=1, norm="ortho")[:, :CEPSTRA]
    cepstra *= 1 + LIFTER / 2 * np.sin(np.pi * np.arange(CEPSTRA) / LIFTER)
    cepstra[:, 0] = np.log(energy)
    return np.asarray(cepstra)


def _mel_filters() -> np.ndarray:
    """Return (26, 257) triangles whose corners lie on whole bins, 0..8 kHz."""
    top = 2595 * np.log10(1 + ANALYSIS_RATE / 2 / 700)
    hertz = 700 * (10 ** (np.linspace(0, top, FILTERS + 2) / 2595) - 1)
    corners = np.floor((FFT_SIZE + 1) * hertz / ANALYSIS_RATE)
    low, middle, high = (corners[i : i + FILTERS, None] for i in range(3))
    bins = np.arange(FFT_SIZE // 2 + 1)
    rising = (bins - low) / np.maximum(middle - low, 1)
    falling = (high - bins) / np.maximum(high - middle, 1)
    return np.where(bins < middle, rising, falling) * ((bins >= low) & (bins < high))
