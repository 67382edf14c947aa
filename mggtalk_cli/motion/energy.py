"""Mouth shapes from loudness alone: the baseline, and the fallback without a phone decoder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mggtalk_cli.motion.visemes import BLOCK, MARGIN, MouthShapes, betas_at_frames
from mggtalk_cli.motion.voice import FRAME_RATE, Voice

SMOOTH_S = 0.04  # a syllable lasts about 200 ms
MIDDLE_SHARE = 0.6  # middle-band loudness grows with the opening, all loudness with the voice
OPENING_GAIN = 0.8


def mouth_from_energy(
    blocks: Iterable[np.ndarray],
    voice: Voice,
    *,
    fps: float,
    look_ahead_s: float | None = None,
) -> Iterator[np.ndarray]:
    """Yield the mouth's (52,) float32 coefficients frame by frame; see `mouth_from_phones`."""
    yield from betas_at_frames(_shape_blocks(voice), fps=fps)


def _shape_blocks(voice: Voice) -> Iterator[MouthShapes]:
    for start, stop in voice.blocks(BLOCK):
        near = voice.between(start - MARGIN, stop + MARGIN)
        loud = MIDDLE_SHARE * near.middle.astype(np.float32)
        loud += (1.0 - MIDDLE_SHARE) * near.level.astype(np.float32)
        smooth = gaussian_filter1d(loud, SMOOTH_S * FRAME_RATE, truncate=3.0)
        opening = np.clip(OPENING_GAIN * smooth * near.gate, 0.0, 1.0)[MARGIN:-MARGIN]
        still = np.zeros_like(opening)
        yield MouthShapes(opening, still, still, still)
