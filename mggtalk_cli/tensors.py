"""Artifacts to the tensors and records of the stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mggtalk_cli import deform, splat
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.rotation import matrix_from_quaternion
from mggtalk_cli.core.sheet import neighbours


def camera_of(artifact: Artifact) -> Camera:
    """Return the photo's camera stored in an artifact."""
    meta = artifact.meta["camera"]
    viewmat = np.array(meta["viewmat"], np.float32).reshape(4, 4)
    return Camera(viewmat, float(meta["focal_px"]), int(meta["width"]), int(meta["height"]))


def camera_meta(camera: Camera) -> dict[str, Any]:
    """Return the camera as an artifact's meta data."""
    return {
        "viewmat": [float(x) for x in camera.viewmat.ravel()],
        "focal_px": float(camera.focal_px),
        "width": camera.width,
        "height": camera.height,
    }


def source_state(head: Artifact) -> FaceState:
    """Return the state in which the photo shows the face."""
    arrays = head.arrays
    return FaceState(
        beta=arrays["rig_source_beta"],
        rotation=matrix_from_quaternion(arrays["rig_source_rotation"]).astype(np.float32),
        translation=arrays["rig_source_translation"],
        gaze=arrays["rig_source_gaze"],
    )


def head_rig(head: Artifact) -> deform.HeadRig:
    """Return what the deformation stage needs of a head artifact."""
    arrays = head.arrays
    rig = deform.Rig(
        points=torch.from_numpy(arrays["positions"]),
        index=torch.from_numpy(arrays["rig_index"].astype(np.int64)),
        weight=torch.from_numpy(arrays["rig_weight"]),
        head_weight=torch.from_numpy(arrays["head_weight"]),
        torso_follow=torch.from_numpy(arrays["rig_torso_follow"]),
        controls=torch.from_numpy(arrays["rig_controls"]),
        shapes=torch.from_numpy(arrays["rig_shapes"].astype(np.float32)),
    )
    return deform.HeadRig(rig, arrays["rig_gate"], arrays["rig_iris"], camera_of(head))


def gaussian_sheet(artifact: Artifact, device: str | torch.device) -> splat.GaussianSheet:
    """Return appearance and connectivity of a head or points artifact as tensors."""
    arrays = artifact.arrays
    near = neighbours(arrays["grid_shape"], arrays["valid"], arrays["links"])
    camera = camera_of(artifact)
    return splat.GaussianSheet(
        torch.from_numpy(arrays["color"]).to(device),
        torch.from_numpy(arrays["opacity"]).to(device),
        *(torch.from_numpy(index).to(device) for index in near),
        spacing_cm=float(camera.viewmat[2, 3]) / camera.focal_px,
    )
