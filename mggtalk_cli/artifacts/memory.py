"""Artifacts that were never a file: what one stage hands to the next inside one process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from mggtalk_cli.artifacts.npz import write_artifact
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.artifacts.schema import FORMAT_VERSION, KINDS


def in_memory(
    kind: str,
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    frames: Iterable[dict[str, np.ndarray]] = (),
) -> Artifact:
    """Return an artifact over the given arrays; its frames can be read once.

    Args:
        kind: a key of `schema.KINDS`.
        meta: its meta data.
        arrays: its header arrays.
        frames: its frames, pulled lazily.
    """

    def read(pick: Iterable[int] | None) -> Iterator[dict[str, np.ndarray]]:
        wanted = None if pick is None else set(pick)
        for index, frame in enumerate(frames):
            if wanted is None or index in wanted:
                yield frame

    return Artifact(
        kind, dict(meta), dict(arrays), "memory", FORMAT_VERSION, meta.get("frame_count"), read
    )


def save(
    artifact: Artifact, target: Path | BinaryIO | Literal["-"], *, overwrite: bool = False
) -> None:
    """Write an artifact to a file, a stream or "-" (stdout), pulling its frames one by one."""
    frames = artifact.frames() if KINDS[artifact.kind].frame else None
    write_artifact(
        target, artifact.kind, artifact.meta, artifact.arrays, frames, overwrite=overwrite
    )
