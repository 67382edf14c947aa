"""Mouth shapes from loudness alone: the baseline, and the fallback without a phone decoder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.motion.visemes import BLOCK, MARGIN, MouthShapes, betas_at_frames, voice_gate
from mggtalk_cli.motion.voice import FRAME_RATE, VoiceTrack

SMOOTH_S = 0.04  # a syllable lasts about 200 ms
MIDDLE_SHARE = 0.6  # middle-band loudness grows with the opening, all loudness with the voice
OPENING_GAIN = 0.8


def mouth_from_energy(audio: AudioFile, voice: VoiceTrack, *, fps: float) -> Iterator[np.ndarray]:
    """Yield the mouth's (52,) float32 coefficients frame by frame, frame i at i / fps seconds."""
    yield from betas_at_frames(_shape_blocks(voice), fps=fps)


def _shape_blocks(voice: VoiceTrack) -> Iterator[MouthShapes]:
    total = len(voice.active)
    for start in range(0, total, BLOCK):
        stop = min(start + BLOCK, total)
        near = np.clip(np.arange(start - MARGIN, stop + MARGIN), 0, total - 1)
        loud = MIDDLE_SHARE * voice.middle[near].astype(np.float32)
        loud += (1.0 - MIDDLE_SHARE) * voice.level[near].astype(np.float32)
        smooth = gaussian_filter1d(loud, SMOOTH_S * FRAME_RATE, truncate=3.0)[MARGIN:-MARGIN]
        opening = np.clip(OPENING_GAIN * smooth * voice_gate(voice, start, stop), 0.0, 1.0)
        still = np.zeros_like(opening)
        yield MouthShapes(opening, still, still, still)
