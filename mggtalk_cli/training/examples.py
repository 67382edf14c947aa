"""Recordings to pairs of network input and target: sound and picture aligned, speakers comparable.

People open their mouths differently far and cameras differ, so opening is measured per speaker:
zero at the 8th percentile (closed), in standard deviations; width and coefficients from the mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from mggtalk_cli.motion.network import CURVES, MOUTH_RATE, stacked
from mggtalk_cli.motion.voice import FRAME_RATE
from mggtalk_cli.training.recordings import Recording

CLOSED_PERCENTILE = 8.0
CLOSURE_WIDTH = 0.4  # standard deviations of opening within which lips count as nearly closed
SMALLEST_SD = 1e-6
COEFFICIENT_FLOOR = 0.02  # added to their standard deviation: unused ones must not become noise

Item = TypeVar("Item")


@dataclass(frozen=True)
class Example:
    """One clip, or a changed copy of its sound, frame by frame at 25 Hz of the sound.

    Attributes:
        name: of the clip.
        speaker: who talks.
        features: (n, 768) float16 stacked features.
        targets: (n, outputs) float32, see `network.CURVES` and `COEFFICIENTS`.
        usable: (n,) bool, False where picture or face is missing.
        speaking: (n,) bool, False outside speech.
    """

    name: str
    speaker: str
    features: np.ndarray
    targets: np.ndarray
    usable: np.ndarray
    speaking: np.ndarray

    def __len__(self) -> int:
        return len(self.targets)


def by_speaker(items: Iterable[Item]) -> dict[str, list[Item]]:
    """Return recordings or examples grouped by speaker, sorted by name."""
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        speaker = item.clip.speaker if isinstance(item, Recording) else item.speaker  # type: ignore[attr-defined]
        groups[speaker].append(item)
    return dict(sorted(groups.items()))


def normalised_targets(recordings: Sequence[Recording]) -> list[np.ndarray]:
    """Return (n, outputs) float32 targets of one speaker's recordings, NaN without a face."""
    opening = _scaled([r.mouth.opening for r in recordings], CLOSED_PERCENTILE)
    jaw = _scaled([r.mouth.jaw for r in recordings], CLOSED_PERCENTILE)
    width = _scaled([r.mouth.width for r in recordings], None)
    coefficients = np.concatenate([r.mouth.coefficients for r in recordings])
    mean, spread = np.nanmean(coefficients, axis=0), np.nanstd(coefficients, axis=0)
    tables = []
    for index, recording in enumerate(recordings):
        closure = np.exp(-((np.maximum(opening[index], 0.0) / CLOSURE_WIDTH) ** 2))
        curves = {
            "opening": opening[index],
            "width": width[index],
            "jaw": jaw[index],
            "closure": closure,
        }
        rest = (recording.mouth.coefficients - mean) / (spread + COEFFICIENT_FLOOR)
        table = np.column_stack([*(curves[name] for name in CURVES), rest])
        tables.append(table.astype(np.float32))
    return tables


def _scaled(curves: list[np.ndarray], percentile: float | None) -> list[np.ndarray]:
    """Return curves over their common standard deviation, zero at a percentile or the mean."""
    everything = np.concatenate(curves)
    zero = (
        np.nanmean(everything) if percentile is None else np.nanpercentile(everything, percentile)
    )
    spread = max(float(np.nanstd(everything)), SMALLEST_SD)
    return [(curve - zero) / spread for curve in curves]


def examples(
    recordings: Iterable[Recording],
    offsets: Mapping[str, float] | None = None,
    *,
    copies: bool = False,
) -> list[Example]:
    """Return one example per recording, and one per changed copy of its sound.

    Args:
        recordings: all clips of all speakers concerned.
        offsets: frames at 25 fps by which a clip's sound is late, by path; 0 where not listed.
        copies: use the changed copies as well.
    """
    late = offsets or {}
    made = []
    for group in by_speaker(recordings).values():
        for recording, targets in zip(group, normalised_targets(group), strict=True):
            offset = late.get(str(recording.clip.path), 0.0)
            for index in range(len(recording.voice.features) if copies else 1):
                made.append(_example(recording, targets, offset, index))
    return made


def _example(recording: Recording, targets: np.ndarray, offset: float, copy: int) -> Example:
    features = stacked(recording.voice.features[copy])
    sound = np.arange(len(features)) / recording.voice.slow[copy]  # frame of the sound as it is
    picture = sound - offset
    before = np.clip(np.floor(picture + 1e-6).astype(int), 0, len(targets) - 1)
    after = np.minimum(before + 1, len(targets) - 1)
    share = np.clip(picture - before, 0.0, 1.0)[:, None].astype(np.float32)
    blended = np.where(
        share < 1e-3, targets[before], (1 - share) * targets[before] + share * targets[after]
    )
    inside = (picture > -1e-6) & (picture < len(targets) - 1 + 1e-6)
    usable = inside & np.isfinite(blended).all(axis=1)
    active = recording.voice.active
    moments = np.minimum((sound / MOUTH_RATE * FRAME_RATE).astype(int), len(active) - 1)
    return Example(
        recording.clip.path.stem,
        recording.clip.speaker,
        features.astype(np.float16),
        np.nan_to_num(blended),
        usable,
        active[moments],
    )


def principal_components(
    pool: Sequence[np.ndarray], weights: Sequence[float], count: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean (d,) and whitening (d, count), both float32, of weighted tables of rows.

    Args:
        pool: (n, d) tables.
        weights: of each table's rows.
        count: components kept, at most d.
    """
    total = sum(w * len(table) for w, table in zip(weights, pool, strict=True))
    mean = sum(
        w * table.sum(axis=0, dtype=np.float64) for w, table in zip(weights, pool, strict=True)
    )
    mean = mean / total
    covariance = np.zeros((len(mean), len(mean)))
    for w, table in zip(weights, pool, strict=True):
        centred = table - mean
        covariance += (w / total) * (centred.T @ centred)
    variance, axes = np.linalg.eigh(covariance)
    variance, axes = variance[::-1][:count], axes[:, ::-1][:, :count]
    # the sign of an axis is arbitrary: fix it, so that equal data gives equal networks
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    whitening = axes / np.sqrt(np.maximum(variance, 1e-8))
    return mean.astype(np.float32), whitening.astype(np.float32)
