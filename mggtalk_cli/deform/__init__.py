"""Head + face state to posed points.

`DEFORMERS` maps a variant to a function (HeadRig, source, target) -> Deformed. The analytic one is
linear skinning on the control mesh, lid and lip windows, and a rigid head over a still torso; the
deformation network of the paper (Eq 9) is a residual on it and becomes an entry beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.expression import FaceState
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
from mggtalk_cli.deform.edges import HeadRig, meet_edges, seen_through
from mggtalk_cli.deform.eyelids import lid_sheets
from mggtalk_cli.deform.eyes import EYES, eye_patch, eye_sheets, iris_shift
from mggtalk_cli.deform.mouth import PART_SHIFT_CM, Part, mouth_sheets
from mggtalk_cli.deform.neck import head_weight_map, torso_follow_map
from mggtalk_cli.deform.retarget import head_motion, retarget
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
    motion = meet_edges(rig, motion, source.beta, target.beta)
    gaze = torch.from_numpy(iris_shift(target.gaze - source.gaze))
    rotation, translation = map(torch.from_numpy, head_motion(target, source))
    points = deform_points(rig, motion, gaze, rotation, translation)
    return Deformed(points, seen_through(head, motion, gaze))


DEFORMERS: dict[str, Callable[[HeadRig, FaceState, FaceState], Deformed]] = {
    "analytic": deform_analytic
}
