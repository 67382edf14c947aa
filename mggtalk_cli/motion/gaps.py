"""Frames in which the face was lost: hold the last state, blend back when it returns."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np

from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.rotation import rotation_exp, rotation_log
from mggtalk_cli.errors import InputError

log = logging.getLogger("mggtalk")

BLEND_FRAMES = 6  # a quarter of a second at 25 fps: quick, but not a jump


def fill_gaps(states: Iterator[FaceState | None]) -> Iterator[FaceState]:
    """Yield one state per frame, with no gaps.

    A gap holds the last state; the face then blends back over six frames. A gap at the start
    repeats the first state found. The number of filled frames is logged as a warning at the end.

    Args:
        states: One tracked state per frame, None where no face was found.

    Raises:
        InputError: No frame has a face.
    """
    held: FaceState | None = None
    frames = missing = gaps = blend = 0
    lost = False
    for state in states:
        frames += 1
        if state is None:
            missing += 1
            gaps += not lost
            lost = True
            if held is not None:
                yield held
            continue
        if held is None:
            for _ in range(frames - 1):
                yield state
        elif lost:
            blend = BLEND_FRAMES
        lost = False
        if blend > 0 and held is not None:
            # 1/6 of the way to the newest state, then 1/5 of what is left, ... then all of it
            state = blend_states(held, state, 1.0 / blend)
            blend -= 1
        held = state
        yield state
    if held is None:
        raise InputError(f"no face in any of {frames} frames; use a clip that shows a face")
    if missing:
        log.warning(
            "no face in %d of %d frames: held still there (gaps: %d)", missing, frames, gaps
        )


def blend_states(first: FaceState, second: FaceState, share: float) -> FaceState:
    """Return the state `share` of the way from the first (0) to the second (1)."""

    def mix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return ((1.0 - share) * a + share * b).astype(np.float32)

    turn = rotation_log(first.rotation.T @ second.rotation)
    return FaceState(
        beta=mix(first.beta, second.beta),
        rotation=(first.rotation @ rotation_exp(share * turn)).astype(np.float32),
        translation=mix(first.translation, second.translation),
        gaze=mix(first.gaze, second.gaze),
        residual=mix(first.residual, second.residual),
    )
