"""Move the points of a head: expression on the control mesh, then the rigid head pose.

P_d = w T(P + sum_k W_k d_k) + (1 - w) (P + torso), with d = shapes^T (beta_d - beta_s) + residual
on the controls (468 landmarks and the teeth and tongue of the face model), T the head motion
relative to the photo, w the head weight (1 on the head, 0 on the torso). Equal source and driving
states give exactly P. This is the analytic part of Eq 9; a learned displacement adds to it.
Without gradients a kernel does all of it in one pass.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mggtalk_cli.core.compiled import kernel_fits, run_over
from mggtalk_cli.deform import kernels


class Rig(NamedTuple):
    """What deformation needs to know about the points of one head.

    Attributes:
        points: (m, 3) rest positions, head frame, cm.
        index: (m, 3) int32 controls each point hangs on.
        weight: (m, 3) their weights.
        iris: (m,) bool, points that turn with the gaze.
        head_weight: (m,) 1 = moves with the head, 0 = torso.
        torso_follow: (m,) share of the head's translation that a torso point follows.
        controls: (c, 3) control rest positions; the first 468 are the landmarks.
        shapes: (52, c, 3) control motion per unit of each coefficient, cm.
    """

    points: Float[Tensor, "m 3"]
    index: Int[Tensor, "m 3"]
    weight: Float[Tensor, "m 3"]
    iris: Bool[Tensor, " m"]
    head_weight: Float[Tensor, " m"]
    torso_follow: Float[Tensor, " m"]
    controls: Float[Tensor, "c 3"]
    shapes: Float[Tensor, "52 c 3"]


def control_motion(
    rig: Rig,
    beta_change: Float[Tensor, " 52"],
    residual_change: Float[Tensor, "468 3"] | None = None,
) -> Float[Tensor, "c 3"]:
    """Return how far each control moves (cm, head frame) for a change of the coefficients."""
    motion = torch.einsum("k,kcd->cd", beta_change, rig.shapes)
    if residual_change is not None:
        landmarks = residual_change.shape[0]
        motion = torch.cat([motion[:landmarks] + residual_change, motion[landmarks:]])
    return motion


def deform_points(
    rig: Rig,
    motion: Float[Tensor, "c 3"],
    gaze: Float[Tensor, " 3"],
    rotation: Float[Tensor, "3 3"],
    translation: Float[Tensor, " 3"],
) -> Float[Tensor, "m 3"]:
    """Return the posed points, cm.

    Args:
        rig: the head's points and controls.
        motion: how far each control moves, cm.
        gaze: how far irises move, cm.
        rotation: of the head relative to the photo.
        translation: of the head relative to the photo, cm.
    """
    weights = (rig.weight, rig.head_weight, rig.torso_follow)
    if not kernel_fits(rig.points, *weights, motion, gaze, rotation, translation):
        return pose_points(rig, move_points(rig, motion, gaze), rotation, translation)
    points = torch.empty_like(rig.points)
    run_over(
        len(points), kernels.pose, rig.points, rig.index, rig.weight, rig.iris, rig.head_weight,
        rig.torso_follow, motion, gaze, rotation, translation,
        neck_shift(rotation, translation), points,
    )  # fmt: skip
    return points


def move_points(
    rig: Rig, motion: Float[Tensor, "c 3"], gaze: Float[Tensor, " 3"]
) -> Float[Tensor, "m 3"]:
    """Return the points after expression and gaze, before head motion (head frame, cm)."""
    moved = rig.points + rig.iris[:, None] * gaze
    for corner in range(3):
        moved = moved + rig.weight[:, corner, None] * motion[rig.index[:, corner]]
    return moved


def pose_points(
    rig: Rig,
    points: Float[Tensor, "m 3"],
    rotation: Float[Tensor, "3 3"],
    translation: Float[Tensor, " 3"],
) -> Float[Tensor, "m 3"]:
    """Return points after the head motion x -> R x + t (head frame of the photo, cm).

    Torso points stay, but for `torso_follow` of the head's shift at the neck.
    """
    head = points @ rotation.T + translation
    shift = neck_shift(rotation, translation)
    torso = points + rig.torso_follow[:, None] * shift
    return torch.lerp(torso, head, rig.head_weight[:, None])


# The neck's joint under the skull, head frame, cm: shoulders see the head's motion there.
NECK_PIVOT_CM = (0.0, -8.0, -5.0)


def neck_shift(
    rotation: Float[Tensor, "3 3"], translation: Float[Tensor, " 3"]
) -> Float[Tensor, " 3"]:
    """Return how far the head motion carries the neck's joint, cm."""
    pivot = rotation.new_tensor(NECK_PIVOT_CM)
    return rotation @ pivot + translation - pivot
