"""One motion of several: the mouth of this one, the head of that one, over the rest of a main one.

A part is what of a face state moves together: some coefficients, the landmarks there (their motion
beyond the face model), and for the head its pose, for the gaze the gaze.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

import numpy as np

from mggtalk_cli.core.expression import ARKIT_NAMES, LANDMARK_COUNT, FaceState
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.landmark_groups import CANONICAL, EYES, LIPS
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.gaps import blend_states

log = logging.getLogger("mggtalk")

# part -> beginnings of the names of its coefficients
PARTS: dict[str, tuple[str, ...]] = {
    "mouth": ("mouth", "jaw", "cheekPuff", "tongueOut"),
    "head": (),
    "blink": ("eyeBlink",),
    "gaze": ("eyeLook",),
}
SHAPES = {
    part: np.array([i for i, name in enumerate(ARKIT_NAMES) if name.startswith(starts or "-")], int)
    for part, starts in PARTS.items()
}

# Landmarks that go with a part: those as near (cm, on the canonical face) as the first number to
# its own ones do so fully, those beyond the second one not at all.
_NEAR_CM = {"mouth": (LIPS, 1.5, 3.5), "blink": (EYES, 0.4, 1.0)}


@cache
def landmark_share(part: str) -> np.ndarray:
    """Return (468, 1) float32: how far each landmark goes with a part."""
    share = np.zeros((LANDMARK_COUNT, 1), np.float32)
    if part in _NEAR_CM:
        own, full, none = _NEAR_CM[part]
        apart = np.linalg.norm(CANONICAL[:, None] - CANONICAL[list(own)], axis=-1).min(1)
        share[:, 0] = 1 - smoothstep(apart, full, none)
    return share


def merged_state(main: FaceState, others: Mapping[str, FaceState]) -> FaceState:
    """Return the main state with the parts of others."""
    beta, residual = main.beta.copy(), main.residual
    merged = main
    for part, other in others.items():
        beta[SHAPES[part]] = other.beta[SHAPES[part]]
        residual = residual + landmark_share(part) * (other.residual - main.residual)
        if part == "head":
            merged = replace(merged, rotation=other.rotation, translation=other.translation)
        elif part == "gaze":
            merged = replace(merged, gaze=other.gaze)
    return replace(merged, beta=beta, residual=residual)


def held(states: Iterator[FaceState], part: str, *, fps: float) -> Iterator[FaceState]:
    """Yield the states, then the last of them for ever, with one warning.

    Raises:
        InputError: There are none.
    """
    last: FaceState | None = None
    count = 0
    for count, last in enumerate(states, 1):  # noqa: B007
        yield last
    if last is None:
        raise InputError(f"the motion for the {part} has no frames: use a longer one")
    log.warning("the motion of the %s ends at %.1f s: it holds still from there", part, count / fps)
    while True:
        yield last


def resampled(states: Iterator[FaceState], *, rate: float, fps: float) -> Iterator[FaceState]:
    """Yield states at another rate, blended in time.

    Args:
        states: At `rate` frames per second.
        rate: Of the states.
        fps: Of what comes out.
    """
    if rate == fps:
        yield from states
        return
    start, before, after = 0, next(states, None), next(states, None)
    for index in itertools.count():
        place = index * rate / fps + 1e-9
        while after is not None and place >= start + 1:
            start, before, after = start + 1, after, next(states, None)
        if before is None or place >= start + 1:
            return
        same = after is None or place - start < 1e-6
        yield before if same else blend_states(before, after, place - start)
