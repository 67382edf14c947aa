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

from mggtalk_cli.core.expression import LANDMARK_COUNT, FaceState
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
from mggtalk_cli.deform.edges import HeadRig, lids_following, meet_edges, seen_through
from mggtalk_cli.deform.eyelids import lid_sheets
from mggtalk_cli.deform.eyes import EYES, eye_patch, eye_sheets, eye_shift, iris_shift
from mggtalk_cli.deform.framing import Framing
from mggtalk_cli.deform.lips import snap_lips
from mggtalk_cli.deform.mouth import Part, mouth_sheets, placed, seen_teeth
from mggtalk_cli.deform.neck import head_weight_map, torso_follow_map
from mggtalk_cli.deform.retarget import face_likeness, head_motion, retarget
from mggtalk_cli.deform.skinning import Rig, control_motion, deform_points

__all__ = [
    "DEFORMERS",
    "EYES",
    "EYE_LEFT",
    "EYE_LEFT_RING",
    "EYE_RIGHT",
    "EYE_RIGHT_RING",
    "MOUTH",
    "MOUTH_RING",
    "Binding",
    "Deformed",
    "Framing",
    "HeadRig",
    "Part",
    "Rig",
    "bind_face",
    "deform_analytic",
    "eye_patch",
    "eye_sheets",
    "face_likeness",
    "head_motion",
    "head_weight_map",
    "lid_sheets",
    "mouth_sheets",
    "placed",
    "posed_landmarks",
    "retarget",
    "seen_teeth",
    "snap_lips",
    "torso_follow_map",
]


class Deformed(NamedTuple):
    """Posed points of one frame: `points` (m, 3) cm and `visibility` (m,) 0..1."""

    points: Float[Tensor, "m 3"]
    visibility: Float[Tensor, " m"]


def deform_analytic(head: HeadRig, source: FaceState, target: FaceState) -> Deformed:
    """Return the points of `head` (photographed in state `source`) in state `target`."""
    motion = expression_motion(head.rig, source, target)
    gaze = torch.from_numpy(
        iris_shift(target.gaze - source.gaze) + eye_shift(target.residual - source.residual)
    )
    rotation, translation = map(torch.from_numpy, head_motion(target, source))
    points = deform_points(head.rig, motion, gaze, rotation, translation)
    return Deformed(points, seen_through(head, motion, gaze))


def expression_motion(rig: Rig, source: FaceState, target: FaceState) -> Float[Tensor, "c 3"]:
    """Return how far each control moves from one state to another (cm), without the pose."""
    motion = control_motion(
        rig,
        torch.from_numpy(lids_following(target) - lids_following(source, target.residual)),
        torch.from_numpy(target.residual - source.residual),
    )
    return meet_edges(rig, motion, source.beta, target.beta)


def posed_landmarks(head: HeadRig, source: FaceState, target: FaceState) -> np.ndarray:
    """Return the (468, 3) landmarks of a head in a state: in the photo's head frame, cm."""
    controls = head.rig.controls + expression_motion(head.rig, source, target)
    rotation, translation = head_motion(target, source)
    return np.asarray(controls.numpy()[:LANDMARK_COUNT] @ rotation.T + translation)


DEFORMERS: dict[str, Callable[[HeadRig, FaceState, FaceState], Deformed]] = {
    "analytic": deform_analytic
}
