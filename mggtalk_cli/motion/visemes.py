"""Phones to mouth shapes: a viseme table, dominance blending and loudness.

Each phone pulls the mouth towards its opening and width with a weight that decays exponentially
outside the phone (Cohen and Massaro, "Modeling coarticulation in synthetic visual speech", 1993):
shape(t) = sum_i D_i(t) target_i / sum_i D_i(t). Opening is scaled by the middle-band loudness and
gated by voice activity, which repairs much of what the phone decoder gets wrong. Lips meet on
p, b, m for at least one video frame. Everything runs at 100 Hz in fixed 1 s blocks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter1d

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES
from mggtalk_cli.motion.phonemes import SILENCE, Phone, decode_phones
from mggtalk_cli.motion.voice import FRAME_RATE, Voice


class Viseme(NamedTuple):
    """Mouth target of a phone."""

    opening: float  # 0 closed .. 1 widest
    width: float  # -1 round .. 1 spread
    dominance: float  # how strongly the target beats its neighbours'


VISEMES: dict[str, Viseme] = {
    name: Viseme(*values)
    for name, values in {
        "AA": (1.0, 0.0, 0.8),
        "AE": (0.9, 0.4, 0.8),
        "AH": (0.6, 0.1, 0.5),
        "AO": (0.75, -0.5, 0.8),
        "AW": (0.85, -0.2, 0.8),
        "AY": (0.85, 0.3, 0.8),
        "B": (0.0, 0.0, 1.5),
        "CH": (0.3, -0.5, 0.8),
        "D": (0.3, 0.2, 0.4),
        "DH": (0.3, 0.2, 0.5),
        "EH": (0.65, 0.3, 0.7),
        "ER": (0.4, -0.3, 0.6),
        "EY": (0.55, 0.5, 0.7),
        "F": (0.12, 0.1, 1.1),
        "G": (0.35, 0.1, 0.3),
        "HH": (0.45, 0.1, 0.2),
        "IH": (0.45, 0.3, 0.5),
        "IY": (0.35, 0.6, 0.7),
        "JH": (0.3, -0.5, 0.8),
        "K": (0.35, 0.1, 0.3),
        "L": (0.45, 0.1, 0.5),
        "M": (0.0, 0.0, 1.5),
        "N": (0.3, 0.2, 0.4),
        "NG": (0.35, 0.2, 0.3),
        "OW": (0.55, -0.7, 0.9),
        "OY": (0.55, -0.6, 0.9),
        "P": (0.0, 0.0, 1.5),
        "R": (0.35, -0.4, 0.6),
        "S": (0.2, 0.3, 0.8),
        "SH": (0.3, -0.6, 0.9),
        "T": (0.3, 0.2, 0.4),
        "TH": (0.3, 0.2, 0.6),
        "UH": (0.4, -0.5, 0.6),
        "UW": (0.25, -0.9, 0.9),
        "V": (0.12, 0.1, 1.1),
        "W": (0.2, -1.0, 1.0),
        "Y": (0.35, 0.4, 0.5),
        "Z": (0.2, 0.3, 0.8),
        "ZH": (0.3, -0.5, 0.8),
        SILENCE: (0.08, 0.0, 0.6),
    }.items()
}
BILABIALS = frozenset({"P", "B", "M"})
LABIODENTALS = frozenset({"F", "V"})

# Measured on talking clips with tracked lips (one per speaker); all flat optima.
OPENING_DECAY_S = (0.035, 0.03)  # anticipation before a phone, carry-over after it
WIDTH_DECAY_S = (0.08, 0.05)  # lips round early: width reaches further than opening
CORE_SHARE = 0.5  # of a phone's duration at full dominance
LEAD_S = 0.02  # lips run ahead of the sound they make
LOUDNESS_SHARE = 0.7  # of the opening that follows middle-band loudness
SMOOTH_S = 0.025
CLOSURE_SHARE = 0.5  # of a p, b, m spent with the lips together
CLOSURE_FLANK_S = 0.06  # lips take about 60 ms from open to closed
LOUD_CLOSURE = 0.75  # middle-band loudness at which a decoded p, b, m cannot be one

BLOCK = FRAME_RATE  # frames a block
MARGIN = FRAME_RATE // 2  # 0.5 s on both sides: every kernel is shorter

# Coefficients at a shape value of 1; jaw and lips give the lip gaps seen on real speakers.
JAW_OPENING = 0.45
LIPS_OPENING = {"mouthLowerDownLeft": 0.22, "mouthLowerDownRight": 0.22}
LIPS_OPENING |= {"mouthUpperUpLeft": 0.14, "mouthUpperUpRight": 0.14}
# the jaw alone pulls the corners in; real mouths grow wider as they open
LIPS_OPENING |= {"mouthStretchLeft": 0.36, "mouthStretchRight": 0.36}
ROUND = {"mouthPucker": 0.65, "mouthFunnel": 0.12}
# a step to spread moves the corners as far as one to round
SPREAD = {"mouthStretchLeft": 0.36, "mouthStretchRight": 0.36}
SPREAD |= {"mouthSmileLeft": 0.16, "mouthSmileRight": 0.16}
# no mouthPress here: it widens the mouth, real closures do not
TOGETHER = {"mouthRollLower": 0.18, "mouthRollUpper": 0.14}
BITE = {"mouthRollLower": 0.3, "mouthUpperUpLeft": 0.08, "mouthUpperUpRight": 0.08}
JAW_TOGETHER = 0.05  # the jaw stays a little open behind closed lips


class MouthShapes(NamedTuple):
    """Mouth curves, one value per time.

    Attributes:
        opening: (n,) 0..1, before the lips are pressed together.
        width: (n,) -1 round .. 1 spread.
        together: (n,) 0..1, upper lip on lower lip (p, b, m).
        bite: (n,) 0..1, lower lip under the upper teeth (f, v).
    """

    opening: np.ndarray
    width: np.ndarray
    together: np.ndarray
    bite: np.ndarray


def mouth_from_phones(
    blocks: Iterable[np.ndarray],
    voice: Voice,
    *,
    fps: float,
    look_ahead_s: float | None = None,
) -> Iterator[np.ndarray]:
    """Yield the mouth's (52,) float32 coefficients frame by frame, frame i at i / fps seconds.

    Args:
        blocks: 16 kHz mono sound.
        voice: Its voice track.
        fps: Video frames per second.
        look_ahead_s: Has no effect: phones are decoded phrase by phrase.

    Raises:
        ImportError: pocketsphinx is not installed.
    """
    shapes = _shape_blocks(decode_phones(blocks, voice), voice, fps=fps)
    yield from betas_at_frames(shapes, fps=fps)


def betas_at_frames(blocks: Iterator[MouthShapes], *, fps: float) -> Iterator[np.ndarray]:
    """Yield (52,) float32 coefficients at i / fps from consecutive blocks of 100 Hz shapes."""
    index, start = 0, 0  # next video frame; first 100 Hz frame held
    held: np.ndarray | None = None
    for block in blocks:
        rows = np.stack(block)
        held = rows if held is None else np.concatenate([held, rows], axis=1)
        stop = start + held.shape[1]
        count = int(np.floor((stop - 1) * fps / FRAME_RATE + 1e-9)) + 1 - index
        if count > 0:
            times = np.arange(index, index + count) * (FRAME_RATE / fps) - start
            grid = np.arange(held.shape[1])
            shapes = MouthShapes(*(np.interp(times, grid, row) for row in held))
            yield from mouth_beta(shapes)
            index += count
        drop = min(held.shape[1] - 1, int(index * FRAME_RATE / fps) - start)
        held, start = held[:, drop:], start + drop


def mouth_beta(shapes: MouthShapes) -> np.ndarray:
    """Return (n, 52) float32 ARKit coefficients of n mouth shapes."""
    beta = np.zeros((len(shapes.opening), len(ARKIT_NAMES)), np.float32)

    def add(weights: dict[str, float], amount: np.ndarray) -> None:
        for name, weight in weights.items():
            beta[:, ARKIT_INDEX[name]] += weight * amount

    apart = 1.0 - shapes.together
    opening = shapes.opening * apart
    jaw_together = JAW_TOGETHER * shapes.together * np.minimum(1.0, 4.0 * shapes.opening)
    add({"jawOpen": JAW_OPENING}, opening)
    add({"jawOpen": 1.0, "mouthClose": 1.0}, jaw_together)
    add(LIPS_OPENING, opening)
    add(ROUND, np.maximum(-shapes.width, 0.0))
    add(SPREAD, np.maximum(shapes.width, 0.0))
    add(TOGETHER, shapes.together)
    add(BITE, shapes.bite)
    return beta


def _shape_blocks(phones: Iterator[Phone], voice: Voice, *, fps: float) -> Iterator[MouthShapes]:
    """Yield consecutive 1 s blocks of shapes as soon as the phones they need are known."""
    near: deque[Phone] = deque()
    known_s = 0.0
    for start, stop in voice.blocks(BLOCK):
        while known_s < (stop + 2 * MARGIN) / FRAME_RATE:
            phone = next(phones, None)
            if phone is None:
                known_s = np.inf
                break
            near.append(phone)
            known_s = phone.end_s
        while near and near[0].end_s < (start - 2 * MARGIN) / FRAME_RATE:
            near.popleft()
        yield _shapes(near, voice, start, stop, fps=fps)


def _shapes(
    phones: deque[Phone], voice: Voice, start: int, stop: int, *, fps: float
) -> MouthShapes:
    """Return the shapes of the 100 Hz frames start..stop."""
    times = np.arange(start - MARGIN, stop + MARGIN) / FRAME_RATE
    near = voice.between(start - MARGIN, stop + MARGIN)
    gate = near.gate.astype(np.float32)
    loudness = _smooth(near.middle.astype(np.float32), SMOOTH_S)
    table = np.array([VISEMES.get(p.name, VISEMES[SILENCE]) for p in phones]).reshape(-1, 3)
    edges = np.array([(p.start_s, p.end_s) for p in phones]).reshape(-1, 2) - LEAD_S
    opening = _blend(times, edges, table[:, 2], table[:, 0], OPENING_DECAY_S)
    width = _blend(times, edges, table[:, 2], table[:, 1], WIDTH_DECAY_S)
    opening *= (1.0 - LOUDNESS_SHARE) + LOUDNESS_SHARE * loudness
    together, bite = np.zeros_like(times), np.zeros_like(times)
    for phone, (begin, end) in zip(phones, edges, strict=True):
        if phone.name in LABIODENTALS:
            bite = np.maximum(bite, _plateau(times, begin, end, fps=fps))
        elif phone.name in BILABIALS:
            middle = (times >= begin) & (times <= end)
            if loudness[middle].min(initial=0.0 if not middle.any() else 1.0) < LOUD_CLOSURE:
                together = np.maximum(together, _plateau(times, begin, end, fps=fps))
    keep = slice(MARGIN, MARGIN + stop - start)
    return MouthShapes(
        np.clip(_smooth(opening, SMOOTH_S) * gate, 0.0, 1.0)[keep],
        (_smooth(width, SMOOTH_S) * gate)[keep],
        (together * gate)[keep],
        (bite * gate)[keep],
    )


def _blend(
    times: np.ndarray,
    edges: np.ndarray,
    dominance: np.ndarray,
    target: np.ndarray,
    decay_s: tuple[float, float],
) -> np.ndarray:
    """Return the dominance-weighted mean target at each time."""
    core = (edges[:, 1] - edges[:, 0])[:, None] * (1.0 - CORE_SHARE) / 2.0
    before = np.maximum(edges[:, :1] + core - times, 0.0) / decay_s[0]
    after = np.maximum(times - edges[:, 1:] + core, 0.0) / decay_s[1]
    weight = dominance[:, None] * np.exp(-before - after)
    return (weight * target[:, None]).sum(axis=0) / (weight.sum(axis=0) + 1e-9)


def _plateau(times: np.ndarray, begin: float, end: float, *, fps: float) -> np.ndarray:
    """Return a bump of 1 around the phone's middle, at least one video frame wide."""
    half = max((end - begin) * CLOSURE_SHARE, 1.0 / fps + 1.0 / FRAME_RATE) / 2.0
    beyond = (np.abs(times - (begin + end) / 2.0) - half) / CLOSURE_FLANK_S
    return 0.5 + 0.5 * np.cos(np.pi * np.clip(beyond, 0.0, 1.0))


def _smooth(values: np.ndarray, sigma_s: float) -> np.ndarray:
    return gaussian_filter1d(values, sigma_s * FRAME_RATE, truncate=3.0)
