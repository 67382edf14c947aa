"""What is in an artifact or a Gaussian `.ply`: shapes, units, ranges, counts, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mggtalk_cli.artifacts.ply import SH_C0, read_ply
from mggtalk_cli.artifacts.reading import Artifact, Frame
from mggtalk_cli.artifacts.schema import KINDS, ArraySpec

# Frames looked at; ranges over more would mean reading files of many GB whole.
SAMPLED_FRAMES = 12

_PROVENANCE = ("created_by", "source", "size", "crop_box")


@dataclass(frozen=True)
class Samples:
    """Some frames spread over a sequence.

    Attributes:
        count: number of frames in the sequence.
        indices: which of them were kept, first and last included.
        frames: those, each a dict of arrays.
    """

    count: int
    indices: list[int]
    frames: list[Frame]


def sample_frames(artifact: Artifact, *, most: int = SAMPLED_FRAMES) -> Samples:
    """Return up to `most` frames spread evenly; of a pipe, read to its end, about as many."""
    if not KINDS[artifact.kind].frame:
        return Samples(0, [], [])
    if artifact.rereadable and artifact.frame_count is not None:
        count = artifact.frame_count
        picked = np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(int))
        indices = [int(i) for i in picked]
        return Samples(count, indices, list(artifact.frames(indices)))
    kept: dict[int, Frame] = {}
    step, count = 1, 0
    last: Frame = {}
    for last in artifact.frames():
        if count % step == 0:
            kept[count] = last
        count += 1
        if len(kept) > most:
            step *= 2
            kept = {index: frame for index, frame in kept.items() if index % step == 0}
    if count:
        kept[count - 1] = last
    return Samples(count, list(kept), list(kept.values()))


def describe(artifact: Artifact, samples: Samples | None = None) -> dict[str, Any]:
    """Return a JSON-ready description of an artifact.

    Args:
        artifact: an opened artifact.
        samples: its frames by `sample_frames`, if they are there already (a pipe gives them
            once); ranges of frame arrays are taken over them.
    """
    spec = KINDS[artifact.kind]
    samples = samples or sample_frames(artifact)
    description: dict[str, Any] = {
        "kind": artifact.kind,
        "what": spec.doc,
        "made_by": spec.command,
        "format_version": artifact.format_version,
        "file_bytes": artifact.nbytes,
        "provenance": {key: artifact.meta[key] for key in _PROVENANCE if key in artifact.meta},
        "meta": artifact.meta,
        "arrays": [
            _describe_array(name, [array], spec.header) for name, array in artifact.arrays.items()
        ],
    }
    if spec.frame:
        description["frame_count"] = samples.count
        if artifact.kind == "motion":  # its sequence is the sound, in blocks of a second
            description["frame_count"] = len(artifact.arrays["beta"])
            description["sound_blocks"] = samples.count
        description["frames_sampled"] = len(samples.frames)
        description["frame_arrays"] = [
            _describe_array(name, arrays, spec.frame)
            for name in spec.frame
            if (arrays := [frame[name] for frame in samples.frames if name in frame])
        ]
    return description


def describe_ply(path: Path) -> dict[str, Any]:
    """Return a JSON-ready description of the Gaussians in a `.ply`."""
    cloud = read_ply(path)
    specs = {
        "means": ArraySpec("float32", "n 3", "cm if written here", "centres"),
        "quats": ArraySpec("float32", "n 4", "quaternion wxyz", "orientations"),
        "scales": ArraySpec("float32", "n 3", "as means", "standard deviations"),
        "opacities": ArraySpec("float32", "n", "0..1", "opacity"),
        "sh": ArraySpec("float32", "n k 3", "RGB", "spherical harmonics"),
        "color": ArraySpec("float32", "n 3", "RGB 0..1", "colour of the constant harmonic"),
    }
    arrays = {**vars(cloud), "color": cloud.sh[:, 0] * np.float32(SH_C0) + np.float32(0.5)}
    return {
        "kind": "ply",
        "what": "3D Gaussians in the standard viewers' layout",
        "made_by": "mggtalk build-head --ply",
        "file_bytes": path.stat().st_size,
        "gaussians": len(cloud.means),
        "sh_degree": int(np.sqrt(cloud.sh.shape[1])) - 1,
        "meta": {},
        "arrays": [_describe_array(name, [array], specs) for name, array in arrays.items()],
    }


def _describe_array(
    name: str, arrays: list[np.ndarray], specs: Mapping[str, ArraySpec]
) -> dict[str, Any]:
    spec, first = specs.get(name), arrays[0]
    filled = [array for array in arrays if array.size]
    described: dict[str, Any] = {
        "name": name,
        "shape": list(first.shape),
        "axes": spec.shape if spec else "",
        "dtype": str(first.dtype),
        "unit": spec.unit if spec else "",
        "doc": spec.doc if spec else "part of the rig",
        **{"min": None, "max": None, "mean": None},
    }
    if filled:
        described["min"] = min(array.min().item() for array in filled)
        described["max"] = max(array.max().item() for array in filled)
        described["mean"] = float(np.mean([array.mean(dtype=np.float64) for array in filled]))
    return described
