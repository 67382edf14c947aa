"""Where somebody speaks, and how loud, found as the sound comes in.

Two band energies per 10 ms frame: speech band 250-3500 Hz (below it the voiced closures of b, d, g
are as loud as vowels) and middle band 1.1-2.5 kHz (it grows as the mouth opens). Levels are
percentiles of the neighbourhood, so a quiet second speaker counts as much as a loud first one; a
file has it on both sides, a stream mostly behind. No language is assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
QUIET_DB = -62.0  # what is not louder than this is silence
FLOOR_PERCENTILE, PEAK_PERCENTILE = 8.0, 95.0
RANGE_DB = (12.0, 40.0)  # a hum has no pauses to learn a floor from; studio silence has no floor
SMOOTH_FRAMES = 3
VOICE_LEVEL = 0.33  # share of the floor-to-peak range above which somebody speaks
BRIDGE_S = 0.14  # stop gaps of p, t, k and geminates are inside speech
SHORTEST_VOICE_S = 0.05  # shorter bursts are clicks
# The mouth begins to part so long before the voice and is free to so long before it; it is free so
# long after the voice and shut so long after it. Lips move well ahead of a sound: a tighter gate
# (.1 s) cost .08 of the correlation with real mouths. A live sound's look-ahead covers the lead.
GATE_LEAD_S, GATE_RELEASE_S = (0.2, 0.15), (0.06, 0.12)
CONTEXT = 50  # frames: more than any filter here reaches
HELD = 60 * FRAME_RATE  # frames of the past that stay available: more than any reader lags behind


@dataclass(frozen=True)
class VoiceWindows:
    """Where windows lie, in frames of 10 ms.

    Window k gives the frames k * step .. (k + 1) * step, sees `ahead` frames after them and
    `length` in all; at both ends of the sound it sees what is there.
    """

    length: int
    step: int
    ahead: int


OFFLINE = VoiceWindows(length=3000, step=500, ahead=1500)  # levels from +-15 s: a few phrases
STREAM_LENGTH, STREAM_STEP = 1500, 16  # the step of the features that go with it


def streaming_windows(look_ahead_s: float) -> VoiceWindows:
    """Return windows that mostly look back; a frame waits for `look_ahead_s` + 0.16 s of sound."""
    half_spectrum = -(-WINDOW // (2 * HOP))
    ahead = max(0, round(look_ahead_s * FRAME_RATE) - half_spectrum)
    return VoiceWindows(STREAM_LENGTH, STREAM_STEP, ahead)


@dataclass(frozen=True)
class VoiceTrack:
    """Loudness and voice activity at 100 frames per second; frame k lies at k / 100 s.

    Attributes:
        level: (n,) float16 speech-band loudness, local noise floor 0 to local peak 1.
        middle: (n,) float16 middle-band loudness, weak speech 0 to local peak 1.
        active: (n,) bool, True inside speech (stop gaps bridged).
        gate: (n,) float16, 1 inside speech, 0 more than 200 ms before and 120 ms after it.
    """

    level: np.ndarray
    middle: np.ndarray
    active: np.ndarray
    gate: np.ndarray


def voice_track(audio: AudioFile) -> VoiceTrack:
    """Return loudness and voice activity of a whole sound."""
    return joined(voice_pieces(audio.blocks_16k_mono()))


def voice_pieces(
    blocks: Iterable[np.ndarray], windows: VoiceWindows = OFFLINE
) -> Iterator[VoiceTrack]:
    """Yield consecutive pieces of the voice track of 16 kHz mono blocks."""
    stream = VoiceStream(windows)
    for block in blocks:
        yield stream.push(block)
    yield stream.finish()


def joined(pieces: Iterable[VoiceTrack]) -> VoiceTrack:
    """Return consecutive pieces as one."""
    rows = zip(*((p.level, p.middle, p.active, p.gate) for p in pieces), strict=True)
    return VoiceTrack(*(np.concatenate(row) for row in rows))


class Voice:
    """A voice track that is found as far as it is asked for; the last minute is kept."""

    def __init__(self, pieces: Iterable[VoiceTrack]) -> None:
        """Take consecutive pieces, the first at time 0."""
        self._pieces = iter(pieces)
        self._first = 0  # frames forgotten
        self._rows = np.zeros((4, 0), np.float16)

    def reach(self, frame: int) -> int:
        """Return `frame`, or the number of frames where the sound ends before it."""
        while self._first + self._rows.shape[1] < frame:
            piece = next(self._pieces, None)
            if piece is None:
                return self._first + self._rows.shape[1]
            fresh = np.stack([piece.level, piece.middle, piece.active, piece.gate])
            self._rows = np.concatenate([self._rows, fresh.astype(np.float16)], axis=1)
            old = max(0, self._rows.shape[1] - max(HELD, fresh.shape[1]))
            self._rows, self._first = self._rows[:, old:], self._first + old
        return frame

    def between(self, start: int, stop: int) -> VoiceTrack:
        """Return the frames start .. stop, silence outside the sound."""
        known = self.reach(stop)
        first, last = (min(max(edge, self._first), known) for edge in (start, stop))
        rows = np.zeros((4, stop - start), np.float16)
        rows[:, first - start : last - start] = self._rows[
            :, first - self._first : last - self._first
        ]
        level, middle, active, gate = rows
        return VoiceTrack(level, middle, active > 0, gate)

    def blocks(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield the first frame of each block of `size` frames and the one after its last."""
        start = 0
        while (stop := self.reach(start + size)) > start:
            yield start, stop
            start = stop


class VoiceStream:
    """Voice track of a sound that arrives piece by piece."""

    def __init__(self, windows: VoiceWindows = OFFLINE) -> None:
        """Start a sound."""
        self._windows = windows
        # spectra are centred, before the sound there is silence
        self._samples = np.zeros(WINDOW // 2, np.float32)  # from the next spectrum's first sample
        self._first, self._given = 0, 0  # frames forgotten, frames returned
        self._decibels = np.zeros((2, 0), np.float32)
        self._level = np.zeros(0, np.float32)  # as returned, of the frames forgotten .. given
        self._active = np.zeros(0, bool)
        self._ranges: tuple[np.ndarray, np.ndarray] | None = None  # at the end of what is given

    def push(self, samples: np.ndarray) -> VoiceTrack:
        """Return the frames that the next samples complete, often none.

        Args:
            samples: (m,) 16 kHz mono in -1..1.
        """
        self._samples = np.concatenate([self._samples, samples])
        self._hear()
        pieces = [_nothing()]
        step, ahead = self._windows.step, self._windows.ahead
        while self._known() >= self._given + step + ahead:
            pieces.append(self._give(step, self._given + step + ahead))
        return joined(pieces)

    def finish(self) -> VoiceTrack:
        """Return the frames that remain; no samples may follow."""
        self._samples = np.concatenate([self._samples, np.zeros(WINDOW // 2 + HOP, np.float32)])
        self._hear()
        pieces = [_nothing()]
        while self._given < self._known():
            count = min(self._windows.step, self._known() - self._given)
            end = min(self._known(), self._given + count + self._windows.ahead)
            pieces.append(self._give(count, end))
        return joined(pieces)

    def _known(self) -> int:
        return self._first + self._decibels.shape[1]

    def _hear(self) -> None:
        """Turn samples into band levels."""
        count = (len(self._samples) - WINDOW) // HOP + 1
        if count > 0:
            fresh = _band_db(_power(self._samples, count))
            self._decibels = np.concatenate([self._decibels, fresh], axis=1)
            self._samples = self._samples[count * HOP :]

    def _give(self, count: int, end: int) -> VoiceTrack:
        """Return the next `count` frames, seen from a window that ends before frame `end`."""
        start, stop = self._given - self._first, end - self._first
        speech_db, middle_db = self._decibels[:, :stop]
        ranges = _local_range(speech_db[-self._windows.length :])
        before = self._ranges or (ranges, ranges)
        fresh = _share(speech_db[start:], before[0], ranges, self._windows.step)
        fresh[speech_db[start:] < QUIET_DB] = 0.0
        level = np.concatenate([self._level, np.clip(fresh, 0.0, 1.2)])
        near = max(0, start - CONTEXT)
        active = np.concatenate([self._active[:near], _activity(level[near:])])
        active[:start] = self._active
        used = active[-self._windows.length :]
        values = middle_db[-self._windows.length :]
        middle_ranges = _local_range(values[used] if used.any() else values)
        middle = _share(middle_db[start:], before[1], middle_ranges, self._windows.step)
        now = slice(start, start + count)
        piece = VoiceTrack(
            level[now].astype(np.float16),
            np.clip(middle[:count], 0.0, 1.0).astype(np.float16),
            active[now],
            gate_of(active[near:])[start - near :][:count].astype(np.float16),
        )
        self._ranges = (ranges, middle_ranges)
        self._given += count
        old = max(0, start + count - max(self._windows.length, CONTEXT))
        self._level, self._active = level[old : now.stop], active[old : now.stop]
        self._decibels, self._first = self._decibels[:, old:], self._first + old
        return piece


def gate_of(active: np.ndarray) -> np.ndarray:
    """Return (n,) 0..1: 1 where active, smoothly 0 within 200 ms before and 120 ms after.

    >>> gate_of(np.arange(60) == 30).nonzero()[0][[0, -1]]
    array([11, 41])
    """
    frames = np.arange(len(active))
    far = len(active) + FRAME_RATE
    since = frames - np.maximum.accumulate(np.where(active, frames, -far))
    until = np.minimum.accumulate(np.where(active, frames, 2 * far)[::-1])[::-1] - frames
    opening = np.interp(until / FRAME_RATE, GATE_LEAD_S[::-1], (0.0, 1.0))
    closing = np.interp(since / FRAME_RATE, GATE_RELEASE_S, (0.0, 1.0))
    gate: np.ndarray = 0.5 + 0.5 * np.cos(np.pi * np.minimum(opening, closing))
    return gate


def _nothing() -> VoiceTrack:
    empty = np.zeros(0, np.float16)
    return VoiceTrack(empty, empty, empty.astype(bool), empty)


def _power(samples: np.ndarray, count: int) -> np.ndarray:
    """Return (count, bins) float32 power spectra, frame k centred on sample k * HOP + 200."""
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


def _local_range(decibels: np.ndarray) -> np.ndarray:
    """Return floor and peak in dB of a neighbourhood."""
    low, high = np.percentile(decibels, (FLOOR_PERCENTILE, PEAK_PERCENTILE))
    return np.array([high - np.clip(high - low, *RANGE_DB), high])


def _share(decibels: np.ndarray, before: np.ndarray, after: np.ndarray, step: int) -> np.ndarray:
    """Return (n,) float32, 0 at the floor and 1 at the peak, which move over `step` frames."""
    blend = np.minimum(np.arange(len(decibels)) / step, 1.0)
    floor, peak = before[:, None] + (after - before)[:, None] * blend
    return ((decibels - floor) / (peak - floor)).astype(np.float32)


def _activity(level: np.ndarray) -> np.ndarray:
    """Return (n,) bool voice activity: smoothed level, gaps bridged, clicks removed."""
    loud = uniform_filter1d(level, SMOOTH_FRAMES) > VOICE_LEVEL
    gap, burst = round(BRIDGE_S * FRAME_RATE), round(SHORTEST_VOICE_S * FRAME_RATE)
    padded = np.pad(loud, gap)
    padded = binary_opening(binary_closing(padded, np.ones(gap + 1)), np.ones(burst))
    return padded[gap : gap + len(loud)]
