"""Head + face state to posed points.

`DEFORMERS` maps a variant to a function (HeadRig, source, target) -> Deformed. The analytic one is
linear skinning on the control mesh, lid and lip windows, and a rigid head over a still torso; the
deformation network of the paper (Eq 9) is a residual on it: `learned_deformer` makes one of the
same kind out of its weights.
"""

from __future__ import annotations

from collections.abc import Callable

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
from mggtalk_cli.deform.edges import HeadRig
from mggtalk_cli.deform.eyelids import lid_sheets, within_reach
from mggtalk_cli.deform.eyes import EYES, eye_patch, eye_sheets
from mggtalk_cli.deform.framing import Framing
from mggtalk_cli.deform.handles import Handles
from mggtalk_cli.deform.lips import snap_lips
from mggtalk_cli.deform.mouth import Part, mouth_sheets, placed, seen_teeth
from mggtalk_cli.deform.neck import head_weight_map, torso_follow_map
from mggtalk_cli.deform.network import (
    DeformConfig,
    DeformNetwork,
    deform_learned,
    learned_deformer,
    state_vector,
)
from mggtalk_cli.deform.posing import Deformed, deform_analytic, posed_landmarks
from mggtalk_cli.deform.retarget import anchored, face_likeness, head_motion, retarget
from mggtalk_cli.deform.skinning import Rig

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
    "DeformConfig",
    "DeformNetwork",
    "Deformed",
    "Framing",
    "Handles",
    "HeadRig",
    "Part",
    "Rig",
    "anchored",
    "bind_face",
    "deform_analytic",
    "deform_learned",
    "eye_patch",
    "eye_sheets",
    "face_likeness",
    "head_motion",
    "head_weight_map",
    "learned_deformer",
    "lid_sheets",
    "mouth_sheets",
    "placed",
    "posed_landmarks",
    "retarget",
    "seen_teeth",
    "snap_lips",
    "state_vector",
    "torso_follow_map",
    "within_reach",
]


DEFORMERS: dict[str, Callable[[HeadRig, FaceState, FaceState], Deformed]] = {
    "analytic": deform_analytic
}
