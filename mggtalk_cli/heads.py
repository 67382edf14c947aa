"""A photo to its head artifact: the building side of `pipeline.py`, as one call."""

from __future__ import annotations

from typing import Any

import numpy as np

from mggtalk_cli import __version__
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.assembly import assemble
from mggtalk_cli.drawing import compensate
from mggtalk_cli.portrait import BuildOptions
from mggtalk_cli.tensors import camera_meta


def build_head(
    photo: np.ndarray,
    options: BuildOptions | None = None,
    *,
    source: dict[str, str] | None = None,
) -> Artifact:
    """Return the head artifact of a photo.

    Args:
        photo: (H, W, 3) uint8 RGB, upright.
        options: framing and variants.
        source: name and sha256 of the photo, for provenance.

    Raises:
        InputError: no usable face.
    """
    options = options or BuildOptions()
    built = assemble(photo, options)
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
