"""Lips and lids: edges that meet but never cross, and what shows between them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.compiled import run_over
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.landmark_groups import (
    EYE_LEFT_LOWER,
    EYE_LEFT_UPPER,
    EYE_RIGHT_LOWER,
    EYE_RIGHT_UPPER,
    LOWER_LIP_INNER,
    UPPER_LIP_INNER,
)
from mggtalk_cli.core.sheet import (
    GATE_EYE_LEFT,
    GATE_EYE_RIGHT,
    GATE_LID_LEFT,
    GATE_LID_RIGHT,
    GATE_MOUTH,
    GATE_NONE,
)
from mggtalk_cli.deform import kernels
from mggtalk_cli.deform.aperture import EDGE_PX
from mggtalk_cli.deform.binding import EYE_LEFT_RING, EYE_RIGHT_RING, MOUTH_RING
from mggtalk_cli.deform.skinning import Rig

# Gate -> the controls around its window, in order of the codes.
RINGS = {
    GATE_NONE: np.zeros(0, np.int64),
    GATE_MOUTH: MOUTH_RING,
    GATE_EYE_RIGHT: EYE_RIGHT_RING,
    GATE_EYE_LEFT: EYE_LEFT_RING,
    GATE_LID_RIGHT: EYE_RIGHT_RING,
    GATE_LID_LEFT: EYE_LEFT_RING,
}
_CORNERS = np.concatenate(list(RINGS.values()))
_RING_AT = np.cumsum([0, *map(len, RINGS.values())])
# Gate of an eye -> gate of its lid skin, upper and lower lid edge.
LIDS = {
    GATE_EYE_RIGHT: (GATE_LID_RIGHT, EYE_RIGHT_UPPER, EYE_RIGHT_LOWER),
    GATE_EYE_LEFT: (GATE_LID_LEFT, EYE_LEFT_UPPER, EYE_LEFT_LOWER),
}


@dataclass(frozen=True)
class HeadRig:
    """Everything deformation needs of one head.

    Attributes:
        rig: points, controls and their binding.
        gate: (m,) uint8 GATE_ code of every point.
        camera: the photo's camera; the windows of lips and lids are judged in its picture.
    """

    rig: Rig
    gate: np.ndarray
    camera: Camera

    @cached_property
    def gated(self) -> np.ndarray:
        """(g,) int32 rows of the points behind windows."""
        return np.flatnonzero(self.gate != GATE_NONE).astype(np.int32)


# Edges that meet but never cross: (upper, lower, how much of a crossing the lower one takes).
EDGES = (
    (UPPER_LIP_INNER, LOWER_LIP_INNER, 0.5),
    (EYE_RIGHT_UPPER, EYE_RIGHT_LOWER, 0.0),
    (EYE_LEFT_UPPER, EYE_LEFT_LOWER, 0.0),
)
LID_BLINKS = (
    (EYE_RIGHT_UPPER, EYE_RIGHT_LOWER, ARKIT_INDEX["eyeBlinkRight"]),
    (EYE_LEFT_UPPER, EYE_LEFT_LOWER, ARKIT_INDEX["eyeBlinkLeft"]),
)

# Lids follow an eye that looks up or down: by the face model's own shapes for this gaze, degrees.
FULL_LOOK_DEG = 30.0
LOOKS = tuple(
    (ARKIT_INDEX[f"eyeLook{way}{side}"], sign)
    for way, sign in (("Up", 1), ("Down", -1))
    for side in ("Left", "Right")
)


def lids_following(state: FaceState, residual: np.ndarray | None = None) -> np.ndarray:
    """Return (52,) coefficients of a state whose lids have followed its gaze up or down.

    Args:
        state: a moment of a face.
        residual: measured landmark motion, None = the state's own. Where there is any, landmarks
            say where the lids are, and the coefficients stay as they are.
    """
    if (state.residual if residual is None else residual).any():
        return state.beta
    beta = state.beta.copy()
    for index, sign in LOOKS:
        beta[index] = max(beta[index], np.clip(sign * state.gaze[1] / FULL_LOOK_DEG, 0, 1))
    return beta


# Between these blink coefficients the lids take over from the face model: whatever the person's
# eye, at the second one it is shut.
SHUTTING = (0.7, 0.95)


def meet_edges(
    rig: Rig, motion: Float[Tensor, "c 3"], source_beta: np.ndarray, target_beta: np.ndarray
) -> Float[Tensor, "c 3"]:
    """Return the control motion (cm) with lids that shut, and no lip or lid edge crossed.

    Args:
        rig: the head's controls.
        motion: control motion of the face model.
        source_beta: (52,) coefficients of the photo.
        target_beta: (52,) coefficients asked for.
    """
    rest = rig.controls.detach().numpy()
    free = rest + motion.detach().numpy()
    moved = free.copy()
    changed = _close_lips(moved, rest, rig, source_beta, target_beta)
    for upper, lower, blink in LID_BLINKS:
        changed |= _shut(moved, rest, upper, lower, source_beta[blink], target_beta[blink])
    for upper, lower, share in EDGES:
        up, low = np.array(upper[1:-1]), np.array(lower[1:-1])
        allowed = np.maximum(rest[low, 1] - rest[up, 1], 0)
        excess = np.maximum(moved[low, 1] - moved[up, 1] - allowed, 0)
        changed |= bool(excess.any())
        moved[low, 1] -= share * excess
        moved[up, 1] += (1 - share) * excess
    return motion + torch.from_numpy(moved - free) if changed else motion


# Lips that the photo shows this far apart or less (cm, by the face model) close within this way.
LEAST_GAP_CM = 0.15


def _close_lips(
    moved: np.ndarray,
    rest: np.ndarray,
    rig: Rig,
    source_beta: np.ndarray,
    target_beta: np.ndarray,
) -> bool:
    """Bring the lips together (in place) as far as their coefficients ask; whether anything moved.

    What a photo's lips are farther apart than its coefficients say would stay open for ever.
    """
    up, low = np.array(UPPER_LIP_INNER[1:-1]), np.array(LOWER_LIP_INNER[1:-1])
    opens = (rig.shapes[:, up, 1] - rig.shapes[:, low, 1]).detach().numpy()
    before, now = source_beta @ opens, target_beta @ opens
    middle = slice(3, 6)
    way = float((before[middle] - now[middle]).mean())
    if way <= 0:
        return False
    share = min(way / max(float(before[middle].mean()), LEAST_GAP_CM), 1.0)
    excess = np.maximum(rest[up, 1] - rest[low, 1] - np.maximum(before, 0), 0)
    moved[up, 1] -= 0.5 * share * excess
    moved[low, 1] += 0.5 * share * excess
    return True


def _shut(
    moved: np.ndarray,
    rest: np.ndarray,
    upper: tuple[int, ...],
    lower: tuple[int, ...],
    before: float,
    now: float,
) -> bool:
    """Lower the upper lid (in place) to the opening its blink coefficient asks for."""
    shutting = smoothstep(float(now), *SHUTTING)
    if shutting == 0 or now == before:
        return False
    up, low = np.array(upper[1:-1]), np.array(lower[1:-1])
    ratio = max(0.0, (SHUTTING[1] - now) / max(SHUTTING[1] - before, 0.1))
    wanted = ratio * np.maximum(rest[up, 1] - rest[low, 1], 0)
    moved[up, 1] -= shutting * np.maximum(moved[up, 1] - moved[low, 1] - wanted, 0)
    return True


def seen_through(
    head: HeadRig, motion: Float[Tensor, "c 3"], gaze: Float[Tensor, " 3"]
) -> Float[Tensor, " m"]:
    """Return (m,) how far lips and lids let each point be seen; it carries no gradient.

    Args:
        head: points, controls and gates.
        motion: how far each control moves, cm.
        gaze: how far irises move, cm.
    """
    rig, camera = head.rig, head.camera
    controls = (rig.controls + motion).detach().numpy()
    # How much of a point is seen inside its window, and outside it.
    shares = np.zeros((len(RINGS), 2), np.float32)
    shares[GATE_MOUTH] = 1, 0
    for eye_gate, (lid_gate, upper, lower) in LIDS.items():
        closed = _closure(rig, controls, upper, lower)
        shares[eye_gate] = 1 - smoothstep(closed, *EYE_VANISHES), 0
        shares[lid_gate] = 0, smoothstep(closed, *LID_APPEARS)
    corners = camera.project(controls[_CORNERS])[:, :2].astype(np.float32)
    centre = np.array([camera.width / 2, camera.height / 2], np.float32)
    visibility = np.ones(len(head.gate), np.float32)
    run_over(
        len(head.gated), kernels.look_through, head.gated, head.gate, rig.points, rig.index,
        rig.weight, rig.iris, motion, gaze, camera.viewmat, np.float32(camera.focal_px), centre,
        corners, _RING_AT, np.float32(EDGE_PX), shares, visibility,
    )  # fmt: skip
    return torch.from_numpy(visibility)


# Lids count as coming down from this share of closing on, fully from the second one on.
LID_APPEARS = (0.08, 0.4)

# A shut eye is not to be seen through the line its lids leave.
EYE_VANISHES = (0.85, 0.97)


def _closure(
    rig: Rig, controls: np.ndarray, upper: tuple[int, ...], lower: tuple[int, ...]
) -> float:
    """Return how far an eye is closed: 0 as open as in the photo, 1 shut."""
    rest = rig.controls[:, 1].detach().numpy()
    before = float((rest[list(upper)] - rest[list(lower)]).mean())
    now = float((controls[list(upper), 1] - controls[list(lower), 1]).mean())
    return 1 - now / max(before, 1e-3)
