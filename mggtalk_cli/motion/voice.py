"""Where somebody speaks, and how loud: one fast pass over the whole sound.

Two band energies per 10 ms frame, kept as float16, so an hour takes about 3 MB: speech band
250-3500 Hz (below it the voiced closures of b, d, g are as loud as vowels) and middle band
1.1-2.5 kHz (it grows as the mouth opens). Levels are percentiles of the neighbourhood, so a quiet
second speaker counts as much as a loud first one. No language is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import librosa
import numpy as np
import scipy.fft
from scipy.ndimage import binary_closing, binary_opening, uniform_filter1d

from mggtalk_cli.core.audio import ANALYSIS_RATE, AudioFile

FRAME_RATE = 100  # analysis frames per second
HOP = ANALYSIS_RATE // FRAME_RATE
WINDOW = 400  # 25 ms, centred on the frame's time
FFT_SIZE = 512
SPEECH_BAND_HZ = (250.0, 3500.0)
MIDDLE_BAND_HZ = (1100.0, 2500.0)
TINY_POWER = 1e-9  # -90 dB of full scale: below 16-bit rounding noise
QUIET_DB = -62.0  # a neighbourhood that never gets louder than this is silence
LEVEL_STEP_S, LEVEL_REACH_S = 5.0, 15.0  # levels every 5 s from +-15 s: a few phrases
FLOOR_PERCENTILE, PEAK_PERCENTILE = 8.0, 95.0
RANGE_DB = (12.0, 40.0)  # a hum has no pauses to learn a floor from; studio silence has no floor
SMOOTH_FRAMES = 3
VOICE_LEVEL = 0.33  # share of the floor-to-peak range above which somebody speaks
BRIDGE_S = 0.14  # stop gaps of p, t, k and geminates are inside speech
SHORTEST_VOICE_S = 0.05  # shorter bursts are clicks


@dataclass(frozen=True)
class VoiceTrack:
    """Loudness and voice activity at 100 frames per second; frame k lies at k / 100 s.

    Attributes:
        level: (n,) float16 speech-band loudness, local noise floor 0 to local peak 1.
        middle: (n,) float16 middle-band loudness, weak speech 0 to local peak 1.
        active: (n,) bool, True inside speech (stop gaps bridged).
    """

    level: np.ndarray
    middle: np.ndarray
    active: np.ndarray


def voice_track(audio: AudioFile) -> VoiceTrack:
    """Return loudness and voice activity of a whole sound."""
    bands = [_band_db(power) for power in _power_frames(audio)]
    speech_db, middle_db = np.concatenate(bands, axis=1)
    floor, peak = _local_range(speech_db, np.ones(len(speech_db), bool), FLOOR_PERCENTILE)
    level = np.clip((speech_db - floor) / (peak - floor), 0.0, 1.2)
    level[peak < QUIET_DB] = 0.0
    active = _activity(level)
    low, high = _local_range(middle_db, active, FLOOR_PERCENTILE)
    middle = np.clip((middle_db - low) / (high - low), 0.0, 1.0)
    return VoiceTrack(level.astype(np.float16), middle.astype(np.float16), active)


def _power_frames(audio: AudioFile) -> Iterator[np.ndarray]:
    """Yield (m, bins) float32 power spectra, frame k centred on sample k * HOP."""
    held = np.zeros(WINDOW // 2, np.float32)
    for block in audio.blocks_16k_mono(1.0):
        held = np.concatenate([held, block])
        count = max(0, (len(held) - WINDOW) // HOP + 1)
        if count:
            yield _power(held, count)
            held = held[count * HOP :]
    held = np.concatenate([held, np.zeros(WINDOW // 2 + HOP, np.float32)])
    yield _power(held, (len(held) - WINDOW) // HOP + 1)


def _power(samples: np.ndarray, count: int) -> np.ndarray:
    window = np.hanning(WINDOW).astype(np.float32)
    frames = librosa.util.frame(samples, frame_length=WINDOW, hop_length=HOP, axis=0)
    spectrum = scipy.fft.rfft(frames[:count] * window, FFT_SIZE, axis=1)
    # a full-scale sine sums to about 0.5, i.e. -3 dB, over its bins
    scale = np.float32(2.0 / (FFT_SIZE * float((window**2).sum())))
    return (spectrum.real**2 + spectrum.imag**2) * scale


def _band_db(power: np.ndarray) -> np.ndarray:
    """Return (2, m) float32 decibels of the speech and the middle band."""
    hertz = librosa.fft_frequencies(sr=ANALYSIS_RATE, n_fft=FFT_SIZE)
    rows = [
        power[:, (hertz >= low) & (hertz < high)].sum(axis=1)
        for low, high in (SPEECH_BAND_HZ, MIDDLE_BAND_HZ)
    ]
    return (10.0 * np.log10(np.stack(rows) + TINY_POWER)).astype(np.float32)


def _local_range(
    decibels: np.ndarray, used: np.ndarray, percentile: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) local floor and peak in dB from percentiles of the used frames near by."""
    step, reach = round(LEVEL_STEP_S * FRAME_RATE), round(LEVEL_REACH_S * FRAME_RATE)
    centres = np.arange(0, len(decibels) + step, step)
    knots = np.zeros((len(centres), 2))
    for index, centre in enumerate(centres):
        near = slice(max(0, centre - reach), centre + reach)
        values = decibels[near][used[near]]
        if not len(values):
            values = decibels[near]
        low, high = np.percentile(values, (percentile, PEAK_PERCENTILE))
        knots[index] = high - np.clip(high - low, *RANGE_DB), high
    frames = np.arange(len(decibels))
    floor, peak = (np.interp(frames, centres, column) for column in knots.T)
    return floor.astype(np.float32), peak.astype(np.float32)


def _activity(level: np.ndarray) -> np.ndarray:
    """Return (n,) bool voice activity: smoothed level, gaps bridged, clicks removed."""
    loud = uniform_filter1d(level, SMOOTH_FRAMES) > VOICE_LEVEL
    gap, burst = round(BRIDGE_S * FRAME_RATE), round(SHORTEST_VOICE_S * FRAME_RATE)
    padded = np.pad(loud, gap)
    padded = binary_opening(binary_closing(padded, np.ones(gap + 1)), np.ones(burst))
    return padded[gap : gap + len(loud)]
