"""By how many frames a clip's sound is late: where a prediction fits the tracked mouth best.

The prediction is a ridge regression from the features to the opening, learned on the other
speakers: it needs no trained network, and a speaker's own offset cannot teach it. An offset that
all clips share cannot be seen this way; the median over speakers is kept at 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mggtalk_cli.motion.network import normalised
from mggtalk_cli.training.examples import Example, by_speaker, examples, principal_components
from mggtalk_cli.training.recordings import Recording

MAX_OFFSET = 5
ROUNDS = 2
COMPONENTS, NEIGHBOURS = 64, (-2, 0, 2)
RIDGE = 0.3
# An offset is believed where it fits well and clearly better than none.
LEAST_R, LEAST_GAIN = 0.35, 0.04
LEAST_FRAMES = 50


def estimate_offsets(recordings: Sequence[Recording]) -> dict[str, float]:
    """Return frames at 25 fps by which the sound is late, by path of the clip."""
    found = {str(recording.clip.path): 0.0 for recording in recordings}
    if len(by_speaker(recordings)) < 2:
        return found
    for _ in range(ROUNDS):
        found = offsets_by(examples(recordings, found), recordings)
        groups = by_speaker(recordings).values()
        medians = [np.median([found[str(r.clip.path)] for r in group]) for group in groups]
        middle = float(np.round(np.median(medians)))
        found = {path: offset - middle for path, offset in found.items()}
    return found


def offsets_by(teachers: list[Example], recordings: Sequence[Recording]) -> dict[str, float]:
    """Return offsets of recordings, by path, judged by examples whose offset is corrected."""
    ordered = [recording for group in by_speaker(recordings).values() for recording in group]
    plain = examples(ordered)
    return {
        str(recording.clip.path): _offset(curve, example)
        for recording, example, curve in zip(
            ordered, plain, _predict_others(teachers, plain), strict=True
        )
    }


def _predict_others(teachers: list[Example], pupils: list[Example]) -> list[np.ndarray]:
    """Return the opening of every pupil as the speakers other than its own would make it."""
    groups = by_speaker(teachers)
    weight = {name: 1.0 / np.sqrt(sum(map(len, group))) for name, group in groups.items()}
    mean, whitening = principal_components(
        [normalised_features(example) for example in teachers],
        [weight[example.speaker] for example in teachers],
        COMPONENTS,
    )

    def inputs(example: Example) -> np.ndarray:
        return _neighbours((normalised_features(example) - mean) @ whitening)

    size = COMPONENTS * len(NEIGHBOURS)
    moments, answers = np.zeros((len(groups) + 1, size, size)), np.zeros((len(groups) + 1, size))
    for index, (name, group) in enumerate(groups.items()):
        rows = np.concatenate([inputs(example)[example.usable] for example in group])
        truth = np.concatenate([example.targets[example.usable, 0] for example in group])
        if len(rows):
            rows = rows - rows.mean(axis=0)
            moments[index] = weight[name] * rows.T @ rows
            answers[index] = weight[name] * rows.T @ (truth - truth.mean())
    # the last row leaves nobody out: for speakers who do not teach
    others = moments.sum(axis=0) - moments
    ridge = RIDGE * (np.trace(others, axis1=1, axis2=2) / size + 1e-9)
    others += ridge[:, None, None] * np.eye(size)
    solved = np.linalg.solve(others, (answers.sum(axis=0) - answers)[..., None])[..., 0]
    place = {name: index for index, name in enumerate(groups)}
    return [inputs(pupil) @ solved[place.get(pupil.speaker, -1)] for pupil in pupils]


def normalised_features(example: Example) -> np.ndarray:
    """Return (n, 768) float32 features, normalised as the network does."""
    features = torch.from_numpy(example.features.astype(np.float32))
    table: np.ndarray = normalised(features).numpy()
    return table


def _neighbours(rows: np.ndarray) -> np.ndarray:
    last = len(rows) - 1
    index = np.clip(np.arange(len(rows))[:, None] + np.array(NEIGHBOURS), 0, last)
    return np.asarray(rows[index].reshape(len(rows), -1))


def _offset(predicted: np.ndarray, example: Example) -> float:
    """Return the offset at which prediction and target (unaligned) correlate best, or 0."""
    scores = {}
    for shift in range(-MAX_OFFSET, MAX_OFFSET + 1):
        picture = np.arange(len(predicted)) - shift
        inside = (picture >= 0) & (picture < len(example))
        inside[inside] &= example.usable[picture[inside]]
        if inside.sum() < LEAST_FRAMES:
            return 0.0
        pair = np.corrcoef(predicted[inside], example.targets[picture[inside], 0])
        scores[shift] = float(np.nan_to_num(pair[0, 1]))
    best = max(scores, key=lambda shift: scores[shift])
    believed = scores[best] >= LEAST_R and scores[best] >= scores[0] + LEAST_GAIN
    return float(best) if believed else 0.0
