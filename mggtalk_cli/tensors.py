"""Artifacts to the tensors and records of the stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mggtalk_cli import deform, splat
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import LANDMARK_COUNT, FaceState
from mggtalk_cli.core.landmark_groups import CANONICAL
from mggtalk_cli.core.rotation import matrix_from_quaternion
from mggtalk_cli.core.sheet import GATE_LID_LEFT, neighbours
from mggtalk_cli.errors import ArtifactError


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


def photo_landmarks(artifact: Artifact) -> dict[str, np.ndarray]:
    """Return the face in the photo as arrays of points or frames, none where it is not known.

    Raises:
        ArtifactError: a head whose rig does not fit its points.
    """
    name, arrays = "photo_landmarks", artifact.arrays
    if artifact.kind != "head":
        return {name: arrays[name]} if name in arrays else {}
    seen = camera_of(artifact).project(_rig_arrays(arrays)["rig_controls"][:LANDMARK_COUNT])
    return {name: seen[:, :2].astype(np.float32)}


# Type and shape of the rig's arrays, for m points and c controls.
RIG_ARRAYS: dict[str, tuple[Any, str]] = {
    "rig_index": (np.int32, "m 3"),
    "rig_weight": (np.float32, "m 3"),
    "rig_iris": (np.bool_, "m"),
    "rig_torso_follow": (np.float32, "m"),
    "rig_gate": (np.uint8, "m"),
    "rig_controls": (np.float32, "c 3"),
    "rig_shapes": (np.float32, "52 c 3"),
}


def head_rig(head: Artifact) -> deform.HeadRig:
    """Return what the deformation stage needs of a head artifact.

    Raises:
        ArtifactError: the rig does not fit the points; kernels would read beyond its arrays.
    """
    arrays = _rig_arrays(head.arrays)
    tensors = {name.removeprefix("rig_"): torch.from_numpy(a) for name, a in arrays.items()}
    tensors["points"] = torch.from_numpy(head.arrays["positions"])
    tensors["head_weight"] = torch.from_numpy(head.arrays["head_weight"])
    gate = tensors.pop("gate").numpy()
    return deform.HeadRig(deform.Rig(**tensors), gate, camera_of(head))


def _rig_arrays(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    missing = [name for name in RIG_ARRAYS if name not in given]
    if missing:
        raise ArtifactError(f"head without {', '.join(missing)}: build it again")
    sizes = {"m": len(given["positions"]), "c": max(len(given["rig_controls"]), len(CANONICAL))}
    for name, (_, shape) in RIG_ARRAYS.items():
        wanted = tuple(sizes.get(symbol) or int(symbol) for symbol in shape.split())
        if given[name].shape != wanted:
            raise ArtifactError(f"{name} has shape {given[name].shape}; it must be {wanted}")
    arrays = {n: given[n].astype(dtype, copy=False) for n, (dtype, _) in RIG_ARRAYS.items()}
    for name, last in (("rig_index", sizes["c"] - 1), ("rig_gate", GATE_LID_LEFT)):
        if arrays[name].min() < 0 or arrays[name].max() > last:
            raise ArtifactError(f"{name} leaves its range 0..{last}: build the head again")
    return arrays


def named_grids(
    artifact: Artifact, device: str | torch.device = "cpu"
) -> dict[str, splat.SheetGrid]:
    """Return where the points of every sheet of a head or points artifact lie, by its name.

    Raises:
        ArtifactError: its sheets have no names.
    """
    grids = splat.sheet_grids(artifact.arrays["grid_shape"], artifact.arrays["valid"], device)
    names = artifact.meta.get("sheets")
    named = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not named or len(names) != len(grids):
        raise ArtifactError(
            f"{artifact.kind} without names of its {len(grids)} sheets: make it again"
        )
    return dict(zip(names, grids, strict=True))


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
