"""Head + face state to posed points.

`DEFORMERS` maps a variant to a function (HeadRig, source, target) -> Deformed. The analytic one is
linear skinning on the control mesh, lid and lip windows, and a rigid head over a still torso; the
deformation network of the paper (Eq 9) is a residual on it and becomes an entry beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import FaceState
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
)
from mggtalk_cli.deform.aperture import window
from mggtalk_cli.deform.binding import (
    EYE_LEFT,
    EYE_LEFT_RING,
    EYE_RIGHT,
    EYE_RIGHT_RING,
    MOUTH,
    MOUTH_RING,
    Binding,
    bind_face,
)
from mggtalk_cli.deform.eyelids import lid_sheets
from mggtalk_cli.deform.eyes import EYES, eye_patch, eye_sheets, iris_shift
from mggtalk_cli.deform.mouth import PART_SHIFT_CM, Part, mouth_sheets
from mggtalk_cli.deform.neck import head_weight_map, torso_follow_map
from mggtalk_cli.deform.retarget import head_motion, retarget
from mggtalk_cli.deform.skinning import Rig, control_motion, move_points, pose_points

__all__ = [
    "DEFORMERS",
    "EYES",
    "EYE_LEFT",
    "EYE_LEFT_RING",
    "EYE_RIGHT",
    "EYE_RIGHT_RING",
    "MOUTH",
    "MOUTH_RING",
    "PART_SHIFT_CM",
    "Binding",
    "Deformed",
    "HeadRig",
    "Part",
    "Rig",
    "bind_face",
    "deform_analytic",
    "eye_patch",
    "eye_sheets",
    "head_motion",
    "head_weight_map",
    "lid_sheets",
    "mouth_sheets",
    "retarget",
    "torso_follow_map",
]

RINGS = {
    GATE_MOUTH: MOUTH_RING,
    GATE_EYE_RIGHT: EYE_RIGHT_RING,
    GATE_EYE_LEFT: EYE_LEFT_RING,
    GATE_LID_RIGHT: EYE_RIGHT_RING,
    GATE_LID_LEFT: EYE_LEFT_RING,
}
LIDS = {
    GATE_LID_RIGHT: (EYE_RIGHT_UPPER, EYE_RIGHT_LOWER),
    GATE_LID_LEFT: (EYE_LEFT_UPPER, EYE_LEFT_LOWER),
}


class HeadRig(NamedTuple):
    """Everything deformation needs of one head.

    Attributes:
        rig: points, controls and their binding.
        gate: (m,) uint8 GATE_ code of every point.
        iris: (m,) bool, points that turn with the gaze.
        camera: the photo's camera; the windows of lips and lids are judged in its picture.
    """

    rig: Rig
    gate: np.ndarray
    iris: np.ndarray
    camera: Camera


class Deformed(NamedTuple):
    """Posed points of one frame: `points` (m, 3) cm and `visibility` (m,) 0..1."""

    points: Float[Tensor, "m 3"]
    visibility: Float[Tensor, " m"]


def deform_analytic(head: HeadRig, source: FaceState, target: FaceState) -> Deformed:
    """Return the points of `head` (photographed in state `source`) in state `target`."""
    rig = head.rig
    motion = control_motion(
        rig,
        torch.from_numpy(target.beta - source.beta),
        torch.from_numpy(target.residual - source.residual),
    )
    motion = _without_crossing_edges(rig, motion)
    local = move_points(rig, motion)
    local[torch.from_numpy(head.iris)] += torch.from_numpy(iris_shift(target.gaze - source.gaze))
    visibility = _visibility(head, local, (rig.controls + motion).numpy())
    rotation, translation = head_motion(target, source)
    points = pose_points(rig, local, torch.from_numpy(rotation), torch.from_numpy(translation))
    return Deformed(points, visibility)


# Edges that meet but never cross: (upper, lower, how much of a crossing the lower one takes).
EDGES = (
    (UPPER_LIP_INNER, LOWER_LIP_INNER, 0.5),
    (EYE_RIGHT_UPPER, EYE_RIGHT_LOWER, 0.0),
    (EYE_LEFT_UPPER, EYE_LEFT_LOWER, 0.0),
)


def _without_crossing_edges(rig: Rig, motion: Float[Tensor, "c 3"]) -> Float[Tensor, "c 3"]:
    """Return the motion with lips and lids that would cross more than in the photo stopped."""
    rest = rig.controls.numpy()
    moved = rest + motion.numpy()
    crossed = False
    for upper, lower, share in EDGES:
        up, low = np.array(upper[1:-1]), np.array(lower[1:-1])
        allowed = np.maximum(rest[low, 1] - rest[up, 1], 0)
        excess = np.maximum(moved[low, 1] - moved[up, 1] - allowed, 0)
        crossed |= bool(excess.any())
        moved[low, 1] -= share * excess
        moved[up, 1] += (1 - share) * excess
    return torch.from_numpy(moved - rest) if crossed else motion


def _visibility(
    head: HeadRig, local: Float[Tensor, "m 3"], controls: np.ndarray
) -> Float[Tensor, " m"]:
    """Return (m,) how far lips and lids let each point be seen."""
    visibility = np.ones(local.shape[0], np.float32)
    for code, ring in RINGS.items():
        rows = np.flatnonzero(head.gate == code)
        if len(rows):
            seen = head.camera.project(local[torch.from_numpy(rows)].numpy())[:, :2]
            opening = window(seen, head.camera.project(controls[ring])[:, :2])
            visibility[rows] = (1 - opening) if code in LIDS else opening
    for code, (upper, lower) in LIDS.items():
        visibility[head.gate == code] *= _closure(head.rig, controls, upper, lower)
    return torch.from_numpy(visibility)


# Lids count as coming down from this share of closing on, fully from the second one on.
LID_APPEARS = (0.08, 0.4)


def _closure(
    rig: Rig, controls: np.ndarray, upper: tuple[int, ...], lower: tuple[int, ...]
) -> float:
    """Return 0..1: how far lid skin hides what the photo shows of the eye."""
    rest = rig.controls[:, 1].numpy()
    before = float((rest[list(upper)] - rest[list(lower)]).mean())
    now = float((controls[list(upper), 1] - controls[list(lower), 1]).mean())
    closed = 1 - now / max(before, 1e-3)
    t = np.clip((closed - LID_APPEARS[0]) / (LID_APPEARS[1] - LID_APPEARS[0]), 0, 1)
    return float(t * t * (3 - 2 * t))


DEFORMERS: dict[str, Callable[[HeadRig, FaceState, FaceState], Deformed]] = {
    "analytic": deform_analytic
}
