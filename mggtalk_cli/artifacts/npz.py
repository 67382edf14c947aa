"""The one artifact format, the same on disk and in a pipe: an ordinary `.npz`.

First member `meta` (one text: JSON with kind and format_version), then the header arrays, then, for
sequences, members `NAME/000000` frame by frame. `numpy.load` opens it; what `numpy.savez` saved
again is read too. Files are read by random access, pipes front to back, one frame at a time.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from mggtalk_cli.artifacts.npy import npy_parts
from mggtalk_cli.artifacts.reading import Artifact, FileReader, PipeReader, labelled
from mggtalk_cli.artifacts.schema import FORMAT_VERSION, HEADER_KEY, KINDS, META, member_name
from mggtalk_cli.artifacts.validation import (
    check_count,
    check_frame,
    check_header,
    check_layout,
    check_meta,
    check_values,
    find_spec,
    initial_sizes,
)
from mggtalk_cli.artifacts.zipstream import ZipWriter
from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.errors import ArtifactError, InputError


def write_artifact(
    target: Path | BinaryIO | Literal["-"],
    kind: str,
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    frames: Iterable[Mapping[str, np.ndarray]] | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write an artifact to a file (atomically), a binary stream, or "-" (stdout), frame by frame.

    Args:
        target: where to; a stream is left open.
        kind: a key of `schema.KINDS`.
        meta: its meta data (JSON values).
        arrays: its header arrays.
        frames: its frame arrays, pulled one frame at a time and flushed at once.
        overwrite: replace an existing file.

    Raises:
        ArtifactError: the content does not fit the schema.
        InputError: the target cannot be written, or stdout is a terminal.
        BrokenPipeError: the reader at the other end has gone.
    """
    if isinstance(target, Path):
        with atomic_path(target, overwrite=overwrite) as path, path.open("wb") as file:
            _write(file, kind, meta, arrays, frames)
    elif target == "-":
        if sys.stdout.isatty():
            raise InputError("stdout is a terminal: name a file with -o or pipe into a command")
        _write(sys.stdout.buffer, kind, meta, arrays, frames)
    else:
        _write(target, kind, meta, arrays, frames)


def open_artifact(
    source: Path | BinaryIO | Literal["-"], expected: str | tuple[str, ...] | None = None
) -> Artifact:
    """Open an artifact and read its header arrays; frames follow lazily by `Artifact.frames`.

    Args:
        source: a file, a binary stream (left open), or "-" (stdin).
        expected: the kind or kinds that will do; any by default.

    Raises:
        ArtifactError: another kind, a newer format, damaged, unsafe or no artifact at all.
        InputError: no such file, or stdin is a terminal.
    """
    kinds = (expected,) if isinstance(expected, str) else expected
    if isinstance(source, Path):
        return _open_path(source, kinds)
    if source == "-":
        if sys.stdin.isatty():
            raise InputError("stdin is a terminal: name a file or pipe an artifact into it")
        return _open_stream(sys.stdin.buffer, "stdin", kinds)
    return _open_stream(source, "input", kinds)


def _open_path(path: Path, kinds: tuple[str, ...] | None) -> Artifact:
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if file.seekable():
        with file, labelled(str(path)):
            return FileReader(file, str(path), kinds, path).artifact()
    with contextlib.ExitStack() as closing, labelled(str(path)):
        closing.enter_context(file)
        artifact = PipeReader(file, str(path), kinds, close=True).artifact()
        if KINDS[artifact.kind].frame:
            closing.pop_all()  # a named pipe: the frames still to come keep it open
        return artifact


def _open_stream(stream: BinaryIO, label: str, kinds: tuple[str, ...] | None) -> Artifact:
    with labelled(label):
        if stream.seekable():
            return FileReader(stream, label, kinds).artifact()
        return PipeReader(stream, label, kinds).artifact()


def _write(
    stream: BinaryIO,
    kind: str,
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    frames: Iterable[Mapping[str, np.ndarray]] | None,
) -> None:
    spec = KINDS[kind]
    check_meta(kind, meta)
    arrays = {name: _plain(array) for name, array in arrays.items()}
    sizes = initial_sizes(meta)
    for name, array in arrays.items():
        array_spec = find_spec(spec.header, name, free=True)
        check_layout(name, array_spec, array.dtype, array.shape, sizes)
        check_values(name, array)
    check_header(kind, meta, arrays)
    if frames is not None and not spec.frame:
        raise ArtifactError(f"{kind} artifacts hold no frames")

    archive = ZipWriter(stream)
    archive.write(member_name(META), npy_parts(np.array(_meta_text(kind, meta, arrays))))
    for name, array in arrays.items():
        archive.write(member_name(name), npy_parts(array))
    archive.flush()
    count = 0
    for frame in frames or ():
        _write_frame(archive, kind, meta, count, frame, sizes)
        count += 1
    check_count(kind, meta, count)
    archive.close()


def _meta_text(kind: str, meta: Mapping[str, Any], arrays: Iterable[str]) -> str:
    own = {"kind": kind, "format_version": FORMAT_VERSION, HEADER_KEY: list(arrays)}
    try:
        return json.dumps({**own, **meta, **own}, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ArtifactError(f"meta data of {kind} are no JSON values: {error}") from error


def _write_frame(
    archive: ZipWriter,
    kind: str,
    meta: Mapping[str, Any],
    index: int,
    frame: Mapping[str, np.ndarray],
    sizes: dict[str, int],
) -> None:
    spec = KINDS[kind]
    plain = {name: _plain(array) for name, array in frame.items()}
    for name, array in plain.items():
        array_spec = find_spec(spec.frame, name, free=False)
        check_layout(name, array_spec, array.dtype, array.shape, sizes)
        check_values(name, array)
    check_frame(kind, meta, index, plain)
    for name in spec.frame:  # in the schema's order: the closing array comes last
        if name in plain:
            archive.write(member_name(name, index), npy_parts(plain[name]))
    archive.flush()


def _plain(array: np.ndarray) -> np.ndarray:
    """Return the array C-contiguous and little-endian."""
    array = np.asarray(array)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)
