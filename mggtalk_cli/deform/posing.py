"""A head in a state: control motion, gaze, head motion and windows put together.

The analytic deformation is all of it; a learned one moves the points at rest and the landmarks
beforehand and goes the same way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.expression import LANDMARK_COUNT, FaceState
from mggtalk_cli.deform.edges import HeadRig, lids_following, meet_edges, seen_through
from mggtalk_cli.deform.eyes import eye_shift, iris_shift
from mggtalk_cli.deform.retarget import head_motion
from mggtalk_cli.deform.skinning import Rig, control_motion, deform_points


class Deformed(NamedTuple):
    """One posed frame of a head.

    Attributes:
        points: (m, 3) head frame of the photo, cm.
        visibility: (m,) 0..1.
        face: (468, 3) the landmarks, as the points.
    """

    points: Float[Tensor, "m 3"]
    visibility: Float[Tensor, " m"]
    face: Float[Tensor, "468 3"]


def deform_analytic(head: HeadRig, source: FaceState, target: FaceState) -> Deformed:
    """Return the points of `head` (photographed in state `source`) in state `target`."""
    return pose(head, source, target)


def pose(
    head: HeadRig,
    source: FaceState,
    target: FaceState,
    *,
    offset: Float[Tensor, "468 3"] | None = None,
) -> Deformed:
    """Return a head (photographed in state `source`) in state `target`.

    Args:
        head: points at rest, controls and gates.
        source: the photo's state.
        target: the state asked for.
        offset: motion of the landmarks beyond the face model's, head frame, cm; None = none.
    """
    motion = expression_motion(head.rig, source, target, offset=offset)
    gaze = torch.from_numpy(
        iris_shift(target.gaze - source.gaze) + eye_shift(target.residual - source.residual)
    )
    rotation, translation = map(torch.from_numpy, head_motion(target, source))
    points = deform_points(head.rig, motion, gaze, rotation, translation)
    face = (head.rig.controls + motion)[:LANDMARK_COUNT] @ rotation.T + translation
    return Deformed(points, seen_through(head, motion, gaze), face)


def expression_motion(
    rig: Rig,
    source: FaceState,
    target: FaceState,
    *,
    offset: Float[Tensor, "468 3"] | None = None,
) -> Float[Tensor, "c 3"]:
    """Return how far each control moves from one state to another (cm), without the pose.

    Args:
        rig: the head's controls.
        source: the state to move from.
        target: the state to move to.
        offset: see `pose`.
    """
    residual = torch.from_numpy(target.residual - source.residual)
    motion = control_motion(
        rig,
        torch.from_numpy(lids_following(target) - lids_following(source, target.residual)),
        residual if offset is None else residual + offset,
    )
    return meet_edges(rig, motion, source.beta, target.beta)


def posed_landmarks(head: HeadRig, source: FaceState, target: FaceState) -> np.ndarray:
    """Return the (468, 3) landmarks of a head in a state: in the photo's head frame, cm."""
    controls = head.rig.controls + expression_motion(head.rig, source, target)
    rotation, translation = head_motion(target, source)
    return np.asarray(controls.numpy()[:LANDMARK_COUNT] @ rotation.T + translation)
