"""Video and sound as SyncNet was trained on them, and its verdict on how they fit.

The face box grows as in the reference (`syncnet_python`): square, .4 of padding at the sides and
below, median-filtered over 13 frames, 224 px; the box is that of our landmarks, not of its own
detector. Sound: 13 cepstra, 100 per second, as of `python_speech_features`. Windows: five frames
and their 20 cepstra, one per frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from scipy.fft import dct
from scipy.ndimage import median_filter

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
    crops = face_crops(frames)[..., ::-1]  # BGR, as OpenCV gave them to the reference
    cepstra = mfcc(samples)
    lips, sounds = [], []
    with torch.inference_mode():
        for start in range(0, windows, BATCH):
            firsts = range(start, min(start + BATCH, windows))
            seen = np.stack([crops[i : i + WINDOW] for i in firsts]).transpose(0, 4, 1, 2, 3)
            lips.append(network.lips(torch.from_numpy(seen.astype(np.float32))))
            heard = [cepstra[i * CEPSTRA_PER_FRAME :][: WINDOW * CEPSTRA_PER_FRAME] for i in firsts]
            sound = np.stack(heard).transpose(0, 2, 1)[:, None]
            sounds.append(network.sounds(torch.from_numpy(sound.astype(np.float32))))
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
    boxes = boxes[nearest]
    half = (boxes[:, 2:] - boxes[:, :2]).max(1) / 2
    track = np.stack([(boxes[:, 0] + boxes[:, 2]) / 2, (boxes[:, 1] + boxes[:, 3]) / 2, half], 1)
    track = median_filter(track, size=(SMOOTHING, 1), mode="nearest")
    return np.stack([_crop(frame, *place) for frame, place in zip(frames, track, strict=True)])


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


def _crop(frame: np.ndarray, x: float, y: float, half: float) -> np.ndarray:
    """Return the (224, 224, 3) crop: from the top of the box down, padded at sides and below."""
    wide = half * (1 + PADDING)
    left, top = int(x - wide), int(y - half)
    right, bottom = int(x + wide), int(y + half * (1 + 2 * PADDING))
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    height, width = frame.shape[:2]
    inside = frame[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    margins = (
        (min(max(-top, 0), bottom - top), max(bottom - max(height, top), 0)),
        (min(max(-left, 0), right - left), max(right - max(width, left), 0)),
    )
    padded = np.pad(inside, (*margins, (0, 0)), constant_values=GREY)
    return np.asarray(cv2.resize(padded, (CROP, CROP)))
