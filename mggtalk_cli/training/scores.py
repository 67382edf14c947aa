"""Predicted against tracked mouth, speaker by speaker, in units of the speaker's own spread."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from mggtalk_cli.evaluation import mouth_scores
from mggtalk_cli.motion.network import CURVES, MouthNetwork
from mggtalk_cli.training.examples import Example, by_speaker

MAX_LAG = 3
LEAST_FRAMES = 25  # a second: correlations of less mean nothing
OPENING, WIDTH = CURVES.index("opening"), CURVES.index("width")


@dataclass(frozen=True)
class SpeakerScore:
    """One speaker.

    Attributes:
        speaker: who.
        frames: with face and sound.
        r: correlation of predicted and tracked opening.
        width_r: the same of width.
        closed_found: of the in-speech frames with lips together (opening at or below the
            speaker's zero, his 8th percentile), the share among the fifth with the least predicted
            opening; NaN below five such frames.
        amplitude: standard deviation of predicted over tracked opening.
        width_amplitude: the same of width.
        lag: frames by which the prediction is late, where r is best (-3..3).
        lag_r: r there.
    """

    speaker: str
    frames: int
    r: float
    width_r: float
    closed_found: float
    amplitude: float
    width_amplitude: float
    lag: int
    lag_r: float


def mouth_score(network: MouthNetwork, plain: Sequence[Example]) -> list[SpeakerScore]:
    """Return one score per speaker who has at least a second of usable frames."""
    return [
        _score(speaker, group, [predict(network, example) for example in group])
        for speaker, group in by_speaker(plain).items()
        if sum(int(example.usable.sum()) for example in group) >= LEAST_FRAMES
    ]


@torch.inference_mode()
def predict(network: MouthNetwork, example: Example) -> np.ndarray:
    """Return (n, curves) in the units of the targets."""
    features = torch.from_numpy(example.features.astype(np.float32))
    curves: np.ndarray = network.curves(features).numpy()
    return curves


def _score(speaker: str, group: Sequence[Example], guesses: list[np.ndarray]) -> SpeakerScore:
    truths = [np.where(e.usable[:, None], e.targets, np.nan) for e in group]
    openings = [g[:, OPENING] for g in guesses], [t[:, OPENING] for t in truths]
    widths = [g[:, WIDTH] for g in guesses], [t[:, WIDTH] for t in truths]
    usable = np.concatenate([e.usable for e in group])
    speaking = np.concatenate([e.speaking for e in group])[usable]
    opening, true_opening = (np.concatenate(curves)[usable] for curves in openings)
    width, true_width = (np.concatenate(curves)[usable] for curves in widths)
    lag, lag_r = mouth_scores.pooled_lag(*openings, MAX_LAG)
    closed = true_opening[speaking] <= 0
    return SpeakerScore(
        speaker=speaker,
        frames=len(opening),
        r=mouth_scores.pooled_r(*openings),
        width_r=mouth_scores.pooled_r(*widths),
        closed_found=mouth_scores.closed_found(opening[speaking], closed),
        amplitude=mouth_scores.amplitude_ratio(opening, true_opening),
        width_amplitude=mouth_scores.amplitude_ratio(width, true_width),
        lag=lag,
        lag_r=lag_r,
    )


def medians(scores: Sequence[SpeakerScore]) -> dict[str, float]:
    """Return the median over speakers of every number; NaN where there is none."""
    table = {}
    for field in fields(SpeakerScore):
        if field.name != "speaker":
            values = np.array([getattr(score, field.name) for score in scores], float)
            values = values[np.isfinite(values)]
            table[field.name] = float(np.median(values)) if len(values) else float("nan")
    return table
