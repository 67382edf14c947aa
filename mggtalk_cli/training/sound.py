"""A clip's voice: the encoder's features of the sound as it is, and of changed copies of it.

Copies differ in speed, spectral tilt and resonances, gain and noise, as other microphones, rooms
and speakers would: the network has to hear the same mouth in all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.signal import resample_poly

from mggtalk_cli.core.audio import ANALYSIS_RATE, AudioFile
from mggtalk_cli.motion.network import MouthFeatures
from mggtalk_cli.motion.voice import voice_track

COPIES = 2
SPEED_PERCENT = (85, 120)  # length of a copy
TILT_DB = 4.0  # per two octaves, standard deviation
BELL_DB, BELLS, BELL_OCTAVES = 4.0, 2, 0.7
PEAK_DB = (-18.0, 0.0)
NOISE_DB = (10.0, 40.0)  # of the voice over the noise
TINY = 1e-9


class Voice(NamedTuple):
    """What is heard in a clip.

    Attributes:
        features: one (n, 384) float16 array per copy at 50 Hz, the sound as it is first.
        slow: length of each copy over that of the first.
        active: (n,) bool voice activity at 100 Hz.
    """

    features: list[np.ndarray]
    slow: list[float]
    active: np.ndarray


def hear(path: Path, *, copies: int, generator: np.random.Generator) -> Voice:
    """Return the features of a clip's sound and of changed copies.

    Raises:
        InputError: no sound, or unreadable.
    """
    audio = AudioFile(path)
    samples = np.concatenate(list(audio.blocks_16k_mono()))
    features, slow = [features_of(samples)], [1.0]
    for _ in range(copies):
        changed, length = changed_voice(samples, generator)
        features.append(features_of(changed))
        slow.append(length)
    return Voice(features, slow, voice_track(audio).active)


def features_of(samples: np.ndarray) -> np.ndarray:
    """Return (n, 384) float16 features of (m,) samples at 16 kHz."""
    stream = MouthFeatures()
    return np.concatenate([stream.push(samples), stream.finish()]).astype(np.float16)


def changed_voice(samples: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, float]:
    """Return a changed copy of (m,) samples, and its length over the original's."""
    percent = int(generator.integers(*SPEED_PERCENT))
    voice = resample_poly(samples, percent, 100)
    spectrum = np.fft.rfft(voice)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(voice), 1 / ANALYSIS_RATE), 60.0) / 1000.0)
    gain_db = generator.normal(0.0, TILT_DB) * octaves / 2.0
    for _ in range(BELLS):
        centre = np.log2(generator.uniform(200.0, 5000.0) / 1000.0)
        bell = np.exp(-0.5 * ((octaves - centre) / BELL_OCTAVES) ** 2)
        gain_db = gain_db + generator.normal(0.0, BELL_DB) * bell
    voice = np.fft.irfft(spectrum * 10.0 ** (gain_db / 20.0), len(voice))
    noise = generator.normal(size=len(voice)) * (voice.std() + TINY)
    voice = voice + noise * 10.0 ** (-generator.uniform(*NOISE_DB) / 20.0)
    voice *= 10.0 ** (generator.uniform(*PEAK_DB) / 20.0) / (np.abs(voice).max() + TINY)
    return voice.astype(np.float32), percent / 100.0
