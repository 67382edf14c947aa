"""Reading artifacts: files by random access, pipes front to back; `npz.open_artifact` chooses."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mggtalk_cli.artifacts.directory import (
    foreign,
    frame_offsets,
    read_directory,
    split_directory,
)
from mggtalk_cli.artifacts.npy import read_npy, read_text
from mggtalk_cli.artifacts.schema import (
    FORMAT_VERSION,
    HEADER_KEY,
    KINDS,
    META,
    member_name,
    split_member_name,
)
from mggtalk_cli.artifacts.validation import (
    MAX_HEADER_BYTES,
    check_count,
    check_frame,
    check_header,
    check_meta,
    find_spec,
    initial_sizes,
    wrong_kind,
)
from mggtalk_cli.artifacts.zipstream import LOCAL, ByteSource, Member, next_member
from mggtalk_cli.errors import ArtifactError

Frame = dict[str, np.ndarray]

_OWN_KEYS = ("kind", "format_version", HEADER_KEY)

_OUT_OF_ORDER = "out of order: name the file instead of piping it"


@dataclass
class Artifact:
    """An opened artifact.

    Attributes:
        kind: a key of `schema.KINDS`.
        meta: the JSON meta data, without kind and format version.
        arrays: the header arrays by name.
        label: what it was read from, for messages.
        format_version: the file's.
        frame_count: number of frames; None while a pipe has not told it.
        nbytes: size of the file; None where there is none, and frames come only once.
    """

    kind: str
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    label: str
    format_version: int
    frame_count: int | None
    _read_frames: Callable[[Iterable[int] | None], Iterator[Frame]] = field(repr=False)
    nbytes: int | None = None

    @property
    def rereadable(self) -> bool:
        """Whether frames can be picked and read again; False for pipes."""
        return self.nbytes is not None

    def frames(self, pick: Iterable[int] | None = None) -> Iterator[Frame]:
        """Return a lazy iterator over the frames, each a dict of arrays; on a pipe only once.

        Args:
            pick: increasing indices of the frames to hand out; all by default.

        Raises:
            ArtifactError: while iterating, at the first damaged, missing or odd frame.
        """
        return self._read_frames(pick)


@contextlib.contextmanager
def labelled(label: str) -> Iterator[None]:
    """Put the name of the input in front of the errors raised inside."""
    try:
        yield
    except ArtifactError as error:
        if str(error).startswith(label):
            raise
        raise ArtifactError(f"{label}: {error}") from error


def _parse_meta(text: str, kinds: tuple[str, ...] | None) -> tuple[str, int, dict[str, Any]]:
    """Return kind, format version and all meta data; version and kind are checked first."""
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"its meta data are no JSON: {error}") from error
    kind = meta.get("kind") if isinstance(meta, dict) else None
    version = meta.get("format_version") if isinstance(meta, dict) else None
    if not isinstance(kind, str) or type(version) is not int or version < 1:
        raise ArtifactError("its meta data name no kind and format_version")
    if version > FORMAT_VERSION:
        raise ArtifactError(
            f"format version {version} is newer than {FORMAT_VERSION}: update mggtalk-cli"
        )
    if kind not in KINDS:
        raise ArtifactError(f"unknown kind '{kind[:40]}'; known are {', '.join(KINDS)}")
    if kinds is not None and kind not in kinds:
        raise wrong_kind(kind, kinds)
    check_meta(kind, meta)
    return kind, version, meta


class _Content:
    """What both readers gather: meta data, header arrays, and the sizes they bind."""

    def __init__(self, member: Member, kinds: tuple[str, ...] | None) -> None:
        self.kind, self.version, full_meta = _parse_meta(read_text(member), kinds)
        self.spec = KINDS[self.kind]
        listed = full_meta.get(HEADER_KEY)
        self.promised = set(listed) if isinstance(listed, list) else None
        self.meta = {key: value for key, value in full_meta.items() if key not in _OWN_KEYS}
        self.sizes = initial_sizes(self.meta)
        self.arrays: dict[str, np.ndarray] = {}

    @property
    def has_header(self) -> bool:
        """Whether all required header arrays are in."""
        return all(a.optional or name in self.arrays for name, a in self.spec.header.items())

    def read_header_array(self, member: Member, name: str) -> None:
        if name in self.arrays or name == META:
            raise ArtifactError(f"array '{name}' appears twice")
        spec = find_spec(self.spec.header, name, free=True)
        self.arrays[name] = read_npy(member, name, spec, self.sizes)
        if sum(array.nbytes for array in self.arrays.values()) > MAX_HEADER_BYTES:
            raise ArtifactError(f"its header arrays exceed {MAX_HEADER_BYTES // 2**30} GiB")

    def read_frame_array(self, member: Member, name: str) -> np.ndarray:
        return read_npy(member, name, find_spec(self.spec.frame, name, free=False), self.sizes)

    def artifact(
        self,
        label: str,
        frame_count: int | None,
        nbytes: int | None,
        read_frames: Callable[[Iterable[int] | None], Iterator[Frame]],
    ) -> Artifact:
        check_header(self.kind, self.meta, self.arrays)
        own = (self.kind, self.meta, self.arrays, label, self.version)
        return Artifact(*own, frame_count, read_frames, nbytes)


class PipeReader:
    """Reads an artifact front to back; a frame is handed out when its closing array is in."""

    def __init__(
        self,
        stream: BinaryIO,
        label: str,
        kinds: tuple[str, ...] | None,
        *,
        close: bool = False,
    ) -> None:
        """Read the header; `close` asks to close the stream after the frames."""
        self._source = ByteSource(stream, label)
        self._closing = contextlib.closing(stream) if close else contextlib.nullcontext()
        self._seen = 0
        self._started = self._ended = False
        self._ahead: Member | None = None
        start = self._source.up_to(len(LOCAL))
        if start != LOCAL:
            raise self._source.fail(foreign(start))
        self._source.give_back(start)
        first = self._next()
        if first is None or first.name != member_name(META):
            raise self._source.fail("is no artifact of mggtalk: it does not begin with 'meta'")
        self._content = _Content(first, kinds)
        self._read_header()

    def artifact(self) -> Artifact:
        """Return the opened artifact."""
        promised = self._content.meta.get("frame_count")
        return self._content.artifact(self._source.label, promised, None, self._frames)

    def _next(self) -> Member | None:
        member, self._ahead = self._ahead, None
        if member is None:
            member = next_member(self._source, seen=self._seen)
            self._seen += 1
        return member

    def _read_header(self) -> None:
        content = self._content
        while not content.spec.frame or content.promised != set(content.arrays):
            member = self._next()
            if member is None:
                self._ended = True
                return
            name, index = split_member_name(member.name)
            if index is not None and content.spec.frame:
                self._ahead = member
                if not content.has_header:
                    raise self._source.fail(f"has '{member.name}' {_OUT_OF_ORDER}")
                return
            content.read_header_array(member, name)

    def _frames(self, pick: Iterable[int] | None) -> Iterator[Frame]:
        if self._started:
            raise self._source.fail("was already read to its end: a pipe can be read only once")
        self._started = True
        picked = None if pick is None else set(pick)
        index = 0
        with self._closing:
            while True:
                with labelled(self._source.label):
                    frame = self._read_frame(index)
                if frame is None:
                    return
                if picked is None or index in picked:
                    yield frame
                index += 1

    def _read_frame(self, index: int) -> Frame | None:
        content, frame = self._content, Frame()
        while content.spec.closing not in frame:
            member = None if self._ended else self._next()
            if member is None:
                if frame:
                    raise ArtifactError(f"frame {index} is incomplete")
                check_count(content.kind, content.meta, index)
                return None
            name, number = split_member_name(member.name)
            if number != index or name in frame:
                raise self._source.fail(f"has '{member.name}' {_OUT_OF_ORDER}")
            frame[name] = content.read_frame_array(member, name)
        check_frame(content.kind, content.meta, index, frame)
        return frame


class FileReader:
    """Reads an artifact through its directory; a file named by path is not kept open."""

    def __init__(
        self,
        stream: BinaryIO,
        label: str,
        kinds: tuple[str, ...] | None,
        path: Path | None = None,
    ) -> None:
        self._stream, self._label, self._path = stream, label, path
        header, frames = split_directory(read_directory(stream, label))
        if META not in header:
            raise ArtifactError(f"{label} is no artifact of mggtalk: it has no member 'meta'")
        self._content = _Content(self._member(stream, header.pop(META), META, None), kinds)
        for name, offset in header.items():
            self._content.read_header_array(self._member(stream, offset, name, None), name)
        self._offsets, self._count = frame_offsets(self._content.spec, frames)
        check_count(self._content.kind, self._content.meta, self._count)

    def artifact(self) -> Artifact:
        """Return the opened artifact."""
        nbytes = self._stream.seek(0, os.SEEK_END)
        return self._content.artifact(self._label, self._count, nbytes, self._frames)

    def _member(self, stream: BinaryIO, offset: int, name: str, index: int | None) -> Member:
        stream.seek(offset)
        source = ByteSource(stream, self._label)
        if source.exact(4) != LOCAL:
            raise source.fail("is damaged: its directory points to the wrong place")
        member = Member(source)
        if split_member_name(member.name) != (name, index):
            raise source.fail(f"is damaged: its directory calls '{member.name}' '{name}'")
        return member

    def _frames(self, pick: Iterable[int] | None) -> Iterator[Frame]:
        opened: contextlib.AbstractContextManager[BinaryIO] = (
            contextlib.nullcontext(self._stream) if self._path is None else self._path.open("rb")
        )
        with opened as stream:
            for index in range(self._count) if pick is None else pick:
                with labelled(self._label):
                    frame = self._read_frame(stream, index)
                yield frame

    def _read_frame(self, stream: BinaryIO, index: int) -> Frame:
        content, frame = self._content, Frame()
        for name, offsets in self._offsets.items():
            if offsets[index] >= 0:
                member = self._member(stream, int(offsets[index]), name, index)
                frame[name] = content.read_frame_array(member, name)
        check_frame(content.kind, content.meta, index, frame)
        return frame
