"""The directory of an archive on disk: where each array lies, and what is no archive at all."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np

from mggtalk_cli.artifacts.schema import KindSpec, member_name, split_member_name
from mggtalk_cli.artifacts.validation import find_spec
from mggtalk_cli.artifacts.zipstream import LOCAL, TRUNCATED
from mggtalk_cli.errors import ArtifactError

# What people hand over by mistake, by its first four bytes.
_FOREIGN = {
    b"\x93NUM": "a single .npy array",
    b"\x89PNG": "a PNG picture: run `mggtalk build-head` on it first",
    b"\xff\xd8\xff": "a JPEG picture: run `mggtalk build-head` on it first",
    b"RIFF": "a sound or video: run `mggtalk drive` on it first",
    b"ply": "a .ply file",
}


def foreign(start: bytes) -> str:
    """Return what an input is that starts with these bytes, which no archive does."""
    if not start:
        return "is empty: its writer failed or wrote nothing"
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            return f"is {name}"
    return f"is no artifact (.npz) of mggtalk: it starts with {start!r}"


def read_directory(stream: BinaryIO, label: str) -> list[tuple[str, int]]:
    """Return (member name, offset of its local header) of all members.

    Raises:
        ArtifactError: no archive, cut off, or damaged.
    """
    stream.seek(0)
    start = stream.read(len(LOCAL))
    if start != LOCAL:
        raise ArtifactError(f"{label} {foreign(start)}")
    try:
        with zipfile.ZipFile(stream) as archive:
            entries = [(info.filename, info.header_offset) for info in archive.infolist()]
    except zipfile.BadZipFile as error:
        raise ArtifactError(f"{label} {TRUNCATED}") from error
    except (NotImplementedError, ValueError, OverflowError, struct.error, OSError) as error:
        raise ArtifactError(f"{label} is damaged: {error}") from error
    if any(offset < 0 for _, offset in entries):
        raise ArtifactError(f"{label} is damaged: its directory points before its start")
    return entries


def split_directory(
    entries: Iterable[tuple[str, int]],
) -> tuple[dict[str, int], dict[str, dict[int, int]]]:
    """Return offsets of the header arrays by name, and of frame arrays by name and index."""
    header: dict[str, int] = {}
    frames: dict[str, dict[int, int]] = {}
    for member, offset in entries:
        name, index = split_member_name(member)
        places = frames.setdefault(name, {}) if index is not None else {}
        if name in header if index is None else index in places:
            raise ArtifactError(f"array '{member.removesuffix('.npy')}' appears twice")
        if index is None:
            header[name] = offset
        else:
            places[index] = offset
    return header, frames


def frame_offsets(
    spec: KindSpec, frames: dict[str, dict[int, int]]
) -> tuple[dict[str, np.ndarray], int]:
    """Return per frame array the (frames,) int64 offsets, -1 where absent, and the frame count."""
    count = len(frames.get(spec.closing or "", ()))
    offsets = {}
    for name, places in frames.items():
        find_spec(spec.frame, name, free=False)
        odd = next((index for index in places if index >= count), None)
        if odd is not None:
            raise ArtifactError(
                f"'{member_name(name, odd)}' does not belong to any of the {count} complete frames"
            )
        offsets[name] = np.full(count, -1, np.int64)
        offsets[name][list(places)] = list(places.values())
    return offsets, count
