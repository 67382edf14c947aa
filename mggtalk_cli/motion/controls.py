"""What a user asks of a motion: less of it, a smile on top, another gaze, the head turned.

Two moments, both called by `pipeline.deform`: `driven` changes the driver, relative to its
reference, before it is put on a head; `posed` changes what the head is then asked to do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache

import numpy as np

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, NECK_CM, FaceState
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.landmark_groups import CANONICAL
from mggtalk_cli.core.rotation import (
    angles_from_matrix,
    matrix_from_angles,
    rotation_exp,
    rotation_log,
)
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.behaviour import (
    BLINKS,
    MAX_BLINKS_PER_MIN,
    MAX_SCALE,
    Blinks,
)
from mggtalk_cli.motion.curve import Curve
from mggtalk_cli.motion.merge import SHAPES, landmark_share
from mggtalk_cli.motion.smoothing import MAX_S, smoothed

# Names people use -> ARKit's; without Left or Right they mean both.
ALIASES = {
    "smile": "mouthSmile",
    "frown": "mouthFrown",
    "pucker": "mouthPucker",
    "funnel": "mouthFunnel",
    "blink": "eyeBlink",
    "wide": "eyeWide",
    "squint": "eyeSquint",
    "sneer": "noseSneer",
    "puff": "cheekPuff",
}
MAX_WEIGHT = 1.0

# Both eyes' middle, head frame, cm; from there one looks at the camera.
EYES_CM = CANONICAL[[33, 133, 263, 362]].mean(0).astype(np.float64)
MAX_GAZE_DEG = 30.0  # an eye turns no further in its head
# A photo whose measured gaze is this near to the camera looks at it, and the rest is the error of
# the measurement; beyond the second number it looks elsewhere. Degrees.
EYE_CONTACT_DEG = (4.0, 8.0)


@dataclass(frozen=True)
class Controls:
    """What is asked of a motion; the defaults change nothing.

    Attributes:
        expression: coefficient -> what is added to it (lids: share of their opening taken), -1..1.
        expression_scale: factor on the motion of the face but for blinks, 0..3.
        mouth_scale: further factor on the motion of the mouth, 0..3.
        head_scale: factor on the motion of the head, 0..3; eyes keep their target.
        blinks_per_min: this many in place of the driver's own, 0..60; None keeps those.
        gaze_deg: where the eyes look, to image right and up from the camera; None as driven.
        yaw_deg: turns the head to image right.
        pitch_deg: tilts it down.
        roll_deg: tilts it counter-clockwise.
        smooth_s: standard deviation of smoothing in time, 0..2 s.
        seed: of the blinks.
    """

    expression: Mapping[str, float] = field(default_factory=dict)
    expression_scale: float = 1.0
    mouth_scale: float = 1.0
    head_scale: float = 1.0
    blinks_per_min: float | None = None
    gaze_deg: tuple[float, float] | None = None
    yaw_deg: Curve = field(default_factory=Curve)
    pitch_deg: Curve = field(default_factory=Curve)
    roll_deg: Curve = field(default_factory=Curve)
    smooth_s: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            InputError: An unknown coefficient, or a value outside its range.
        """
        limits = dict.fromkeys(("expression_scale", "mouth_scale", "head_scale"), MAX_SCALE)
        limits |= {"blinks_per_min": MAX_BLINKS_PER_MIN, "smooth_s": MAX_S}
        for name, limit in limits.items():
            value = getattr(self, name)
            if value is not None and not 0.0 <= value <= limit:
                raise InputError(f"{name} {value} is outside 0..{limit:g}; choose one inside")
        for name, value in self.expression.items():
            if name not in ARKIT_INDEX:
                raise InputError(f"unknown coefficient {name}; they are {', '.join(ARKIT_NAMES)}")
            if not abs(value) <= MAX_WEIGHT:
                raise InputError(f"{name}={value} is outside -1..1; choose one inside")
        if self.gaze_deg is not None and not max(map(abs, self.gaze_deg)) <= MAX_GAZE_DEG:
            raise InputError(f"gaze {self.gaze_deg} is beyond {MAX_GAZE_DEG:g} degrees")


def expression_weights(text: str) -> dict[str, float]:
    """Return coefficient -> weight of a text like "smile=.4,jawOpen=.1".

    >>> expression_weights("jawOpen=.1")
    {'jawOpen': 0.1}

    Raises:
        InputError: A name or number that is none.
    """
    weights: dict[str, float] = {}
    for item in text.split(","):
        name, _, value = (part.strip() for part in item.partition("="))
        try:
            weight = float(value)
        except ValueError:
            weight = np.nan
        if not abs(weight) <= MAX_WEIGHT:
            raise InputError(f"{item.strip()[:40]!r} is not NAME=WEIGHT with a weight in -1..1")
        weights |= dict.fromkeys(_coefficients(name), weight)
    return weights


def _coefficients(name: str) -> tuple[str, ...]:
    """Return the coefficients that a name, an alias or a name without its side means."""
    names = _names()
    if name.lower() in names:
        return names[name.lower()][1]
    near = get_close_matches(name.lower(), names, 1)
    hint = f"did you mean {names[near[0]][0]}?" if near else f"such as {', '.join(ALIASES)}"
    raise InputError(f"no expression is called {name[:40]!r}; {hint}")


@cache
def _names() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Return name in lower case -> how it is written, and its coefficients."""
    names: dict[str, tuple[str, tuple[str, ...]]] = {}
    for full in ARKIT_NAMES:
        names[full.lower()] = full, (full,)
        base = full.removesuffix("Left")
        if base != full and base not in ("mouth", "jaw"):  # mouthLeft and mouthRight are no pair
            names[base.lower()] = base, (full, f"{base}Right")
    return names | {alias: (alias, names[base.lower()][1]) for alias, base in ALIASES.items()}


# ---------------------------------------------------------------- before: what the driver does


def driven(
    states: Iterator[FaceState], controls: Controls, *, reference: FaceState, fps: float
) -> Iterator[FaceState]:
    """Yield the driver's states smoothed, with other blinks, and scaled about its reference."""
    blinks = None
    if controls.blinks_per_min:
        random = np.random.default_rng([controls.seed, BLINKS])
        blinks = Blinks(random, controls.blinks_per_min)
    scale = _shape_scale(controls)
    scaled = bool((scale != 1).any())
    marks = landmark_share("mouth") * (controls.mouth_scale - 1) + 1
    for index, state in enumerate(smoothed(states, controls.smooth_s, fps=fps)):
        if controls.blinks_per_min is not None:
            shut = 0.0 if blinks is None else min(1.0, blinks.at(index / fps))
            state = _blinking(state, reference, shut)
        if scaled:
            state = _scaled_face(state, reference, scale, controls.expression_scale * marks)
        if controls.head_scale != 1:
            state = _scaled_head(state, reference, controls.head_scale)
        yield state


def _shape_scale(controls: Controls) -> np.ndarray:
    """Return (52,) float32 factors on the change of the coefficients."""
    scale = np.full(len(ARKIT_NAMES), controls.expression_scale, np.float32)
    scale[SHAPES["mouth"]] *= controls.mouth_scale
    scale[SHAPES["blink"]] = scale[SHAPES["gaze"]] = 1
    return scale


def _blinking(state: FaceState, reference: FaceState, shut: float) -> FaceState:
    """Return the state with lids `shut` of the reference's opening, 0..1."""
    beta = state.beta.copy()
    rest = reference.beta[SHAPES["blink"]]
    beta[SHAPES["blink"]] = 1 - (1 - rest) * (1 - shut)
    lids = landmark_share("blink") * (reference.residual - state.residual)
    return replace(state, beta=beta, residual=state.residual + lids)


def _scaled_face(
    state: FaceState, reference: FaceState, scale: np.ndarray, marks: np.ndarray
) -> FaceState:
    """Return the state with its change of coefficients and landmarks scaled, the first in 0..1."""
    wanted = reference.beta + scale * (state.beta - reference.beta)
    bounds = np.minimum(state.beta, 0), np.maximum(state.beta, 1)
    beta = np.where(scale == 1, state.beta, np.clip(wanted, *bounds))
    lids = landmark_share("blink")
    marks = lids + (1 - lids) * marks
    residual = reference.residual + marks * (state.residual - reference.residual)
    return replace(state, beta=beta.astype(np.float32), residual=residual.astype(np.float32))


def _scaled_head(state: FaceState, reference: FaceState, scale: float) -> FaceState:
    """Return the state with its head motion scaled and the eyes on their target."""
    change = state.rotation @ reference.rotation.T.astype(np.float64)
    scaled = rotation_exp(scale * rotation_log(change))
    turned = angles_from_matrix(change) - angles_from_matrix(scaled)
    shift = scale * (state.translation - reference.translation)
    rotation = scaled @ reference.rotation if scale else reference.rotation
    return replace(
        state,
        rotation=np.asarray(rotation, np.float32),
        translation=(reference.translation + shift).astype(np.float32),
        gaze=(state.gaze + turned[:2] * (1, -1)).astype(np.float32),
    )


# ---------------------------------------------------------------- after: what the head does


def posed(
    target: FaceState, controls: Controls, *, source: FaceState, index: int, fps: float
) -> FaceState:
    """Return what the head is to do in frame `index`, with expression, turn and gaze as asked.

    Args:
        target: What it would do without them.
        controls: What is asked.
        source: The state in the photo.
        index: Of the frame.
        fps: Frames per second.
    """
    if controls.expression:
        target = replace(target, beta=_expressed(target.beta, controls.expression))
    curves = (controls.yaw_deg, controls.pitch_deg, controls.roll_deg)
    angles = [curve.at(index, fps) for curve in curves]
    if any(angles):
        target = turned_head(target, matrix_from_angles(*angles))
    if controls.gaze_deg is not None:
        contact = source.gaze - gaze_at_camera(source)
        trust = 1 - smoothstep(np.hypot(*contact), *EYE_CONTACT_DEG)
        gaze = gaze_at_camera(target) + trust * contact + controls.gaze_deg
        gaze = np.clip(gaze, -MAX_GAZE_DEG, MAX_GAZE_DEG)
        target = replace(target, gaze=gaze.astype(np.float32))
    return target


def _expressed(beta: np.ndarray, expression: Mapping[str, float]) -> np.ndarray:
    """Return (52,) coefficients with an expression on them; none is carried beyond 1."""
    beta = beta.copy()
    for name, weight in expression.items():
        place = ARKIT_INDEX[name]
        if name.startswith("eyeBlink"):
            beta[place] += weight * (1 - beta[place])
        else:
            beta[place] = min(beta[place] + weight, max(beta[place], 1.0))
    return beta


def turned_head(state: FaceState, turn: np.ndarray) -> FaceState:
    """Return the state with its head turned about the neck by (3, 3), as the camera sees it."""
    arm = state.rotation @ NECK_CM
    return replace(
        state,
        rotation=(turn @ state.rotation).astype(np.float32),
        translation=(state.translation + arm - turn @ arm).astype(np.float32),
    )


def gaze_at_camera(state: FaceState) -> np.ndarray:
    """Return (2,) degrees, to image right and up: where the camera is, seen from the head."""
    x, y, z = -(state.rotation.T @ state.translation.astype(np.float64)) - EYES_CM
    return np.rad2deg([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))])
