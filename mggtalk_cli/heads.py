"""A photo to its head artifact: the building side of `pipeline.py`, as one call."""

from __future__ import annotations

from typing import Any

import numpy as np

from mggtalk_cli import __version__
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.assembly import assemble
from mggtalk_cli.core.rotation import angles_from_matrix
from mggtalk_cli.drawing import compensate
from mggtalk_cli.portrait import BuildOptions
from mggtalk_cli.tensors import camera_meta, source_state
from mggtalk_cli.variants import Variants, choose_variants


def build_head(
    photo: np.ndarray,
    options: BuildOptions | None = None,
    *,
    source: dict[str, str] | None = None,
    variants: Variants | None = None,
) -> Artifact:
    """Return the head artifact of a photo.

    Args:
        photo: (H, W, 3) uint8 RGB, upright.
        options: framing, depth and normals.
        source: name and sha256 of the photo, for provenance.
        variants: its refiner is used; None: weights that ship, else no refinement.

    Raises:
        InputError: no usable face.
    """
    options = options or BuildOptions()
    variants = variants or choose_variants(stages=("refiner",))
    refiner = variants.refinement(measured=options.depth != BuildOptions.depth)
    built = assemble(photo, options, refiner)
    meta: dict[str, Any] = {
        "camera": camera_meta(built.camera),
        "sheets": built.sheet_names,
        "size": options.size,
        "crop_box": [float(x) for x in built.crop_box],
        "created_by": f"mggtalk {__version__}",
    }
    if source is not None:
        meta["source"] = source
    head = in_memory("head", meta, built.arrays)
    compensate(head, built.pixel)
    return head


def yaw_of(head: Artifact) -> float:
    """Return by how many degrees the face is turned in its photo, positive to image right."""
    return float(angles_from_matrix(source_state(head).rotation)[0])
