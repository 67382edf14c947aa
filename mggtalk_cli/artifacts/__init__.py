"""The only place that knows formats: schema, the `.npz` on disk and in pipes, Gaussian `.ply`."""

from __future__ import annotations

from mggtalk_cli.artifacts.npz import open_artifact, write_artifact
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.artifacts.schema import FORMAT_VERSION, KINDS, ArraySpec, KindSpec

__all__ = [
    "FORMAT_VERSION",
    "KINDS",
    "ArraySpec",
    "Artifact",
    "KindSpec",
    "open_artifact",
    "write_artifact",
]
