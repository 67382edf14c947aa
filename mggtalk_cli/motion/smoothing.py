"""Calmer motion without lag: each frame becomes a weighted mean of those before and after it.

The kernel is a Gaussian, symmetric about the frame and shortened at both ends of the clip, so that
steady motion stays what it is, to the first and last frame. Lids are left alone: a blink is fast.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
from scipy.spatial.transform import Rotation

from mggtalk_cli.core.expression import ARKIT_NAMES, FaceState

MAX_S = 2.0
REACH = 2.5  # standard deviations; what lies beyond weighs 1 %

_LIDS = [index for index, name in enumerate(ARKIT_NAMES) if name.startswith("eyeBlink")]


def smoothed(states: Iterator[FaceState], seconds: float, *, fps: float) -> Iterator[FaceState]:
    """Yield as many states as come, each `REACH * seconds` later than it came.

    Args:
        states: One per frame.
        seconds: Standard deviation of the kernel; 0 leaves the states as they are.
        fps: Frames per second.
    """
    sigma = seconds * fps
    reach = int(REACH * sigma)
    if not reach:
        yield from states
        return
    near: deque[FaceState] = deque()
    before = 0  # frames of `near` before the one to come
    for state in states:
        near.append(state)
        if len(near) <= reach:
            continue
        yield _mean(near, before, sigma)
        before += 1
        if before > reach:
            near.popleft()
            before = reach
    while before < len(near):
        yield _mean(near, before, sigma)
        before += 1


def _mean(near: deque[FaceState], centre: int, sigma: float) -> FaceState:
    """Return the mean about one of the states, as far as there is something on both sides."""
    reach = min(centre, len(near) - 1 - centre)
    window = list(islice(near, centre - reach, centre + reach + 1))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return weighted_mean(window, weights / weights.sum())


def weighted_mean(window: list[FaceState], weights: np.ndarray) -> FaceState:
    """Return the mean of an odd number of states about the middle one; the lids are its own."""
    middle = window[len(window) // 2]

    def mean(name: str) -> np.ndarray:
        centre = getattr(middle, name)
        # As a change of the middle one, so that equal states give it back to the last bit.
        change = np.stack([getattr(state, name) for state in window]) - centre
        return np.asarray(centre + np.tensordot(weights, change, 1), np.float32)

    beta = mean("beta")
    beta[_LIDS] = middle.beta[_LIDS]
    turns = np.stack([state.rotation for state in window])
    rotation = middle.rotation
    if (turns != rotation).any():
        steps = Rotation.from_matrix(turns @ rotation.T.astype(np.float64)).as_rotvec()
        rotation = (Rotation.from_rotvec(weights @ steps).as_matrix() @ rotation).astype(np.float32)
    return replace(
        middle,
        beta=beta,
        rotation=rotation,
        translation=mean("translation"),
        gaze=mean("gaze"),
        residual=mean("residual"),
    )
