"""Zip archives as streams: written front to back, read front to back from a pipe.

The writer knows each member before it writes it, so sizes and checksums stand in the local headers
and the same bytes go to a file and into a pipe. The reader follows local headers, understands data
descriptors, deflate and zip64 (archives by `numpy.savez` and others), checks every CRC, and takes
the archive for whole only when the central directory has ended. Layout: PKWARE APPNOTE 6.3.10.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Any, BinaryIO

from mggtalk_cli.errors import ArtifactError

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END64, LOCATOR64, DESCRIPTOR = b"PK\x06\x06", b"PK\x06\x07", b"PK\x07\x08"

_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _HAS_DESCRIPTOR = 0x1, 0x8
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_EPOCH_DATE = 0x21  # 1980-01-01: equal content gives equal bytes
_MADE_BY = 3 << 8 | 45  # Unix, zip64
_FILE_MODE = 0o644 << 16

# Take at once what is certainly affordable; grow beyond it only as bytes really arrive.
_TRUSTED_BYTES = 32 * 2**20
_CHUNK = 1 << 16

TRUNCATED = "is cut off: its writer failed or was stopped; make it again"

Buffer = bytes | bytearray | memoryview


class ZipWriter:
    """Writes stored members to any stream; keeps 60-odd bytes a member for the directory."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._offset = 0
        self._directory = bytearray()
        self._count = 0

    def write(self, name: str, parts: Sequence[Buffer]) -> None:
        """Write one member made of `parts`, each contiguous bytes."""
        size, crc = sum(memoryview(part).nbytes for part in parts), 0
        for part in parts:
            crc = zlib.crc32(part, crc)
        encoded = name.encode("ascii")
        extra, offset, version = b"", self._offset, 20
        if offset >= _MAX32:
            extra, offset, version = struct.pack("<HHQ", 1, 8, offset), _MAX32, 45
        common = struct.pack(
            "<HHHHHLLLHH",
            *(version, 0, _STORED, 0, _EPOCH_DATE, crc, size, size, len(encoded), 0),
        )
        self._directory += CENTRAL + struct.pack("<H", _MADE_BY) + common[:-2]
        self._directory += struct.pack("<HHHHLL", len(extra), 0, 0, 0, _FILE_MODE, offset)
        self._directory += encoded + extra
        self._count += 1
        self._put(LOCAL + common + encoded)
        for part in parts:
            self._put(part)

    def flush(self) -> None:
        """Hand everything written so far to the reader at the other end."""
        self._stream.flush()

    def close(self) -> None:
        """Write the central directory, which marks the archive as whole; leave the stream open."""
        start, size, count = self._offset, len(self._directory), self._count
        self._put(self._directory)
        if start >= _MAX32 or size >= _MAX32 or count >= _MAX16:
            end64 = self._offset
            record = struct.pack("<QHHLLQQQQ", 44, 45, 45, 0, 0, count, count, size, start)
            self._put(END64 + record + LOCATOR64 + struct.pack("<LQL", 0, end64, 1))
            start, size, count = min(start, _MAX32), min(size, _MAX32), min(count, _MAX16)
        self._put(END + struct.pack("<HHHHLLH", 0, 0, count, count, size, start, 0))
        self.flush()

    def _put(self, data: Buffer) -> None:
        view = memoryview(data).cast("B")
        self._offset += view.nbytes
        while view.nbytes:  # raw streams may take less than they are given
            view = view[self._stream.write(view) :]


class ByteSource:
    """Exact reads from a stream, with room to give bytes back; `label` names it in errors."""

    def __init__(self, stream: BinaryIO, label: str) -> None:
        self._stream = stream
        self._pending = b""
        self.label = label

    def fail(self, text: str) -> ArtifactError:
        """Return the error `<label> <text>`."""
        return ArtifactError(f"{self.label} {text}")

    def some(self, limit: int) -> bytes:
        """Return 1 to `limit` bytes, as soon as there are any; b"" at the end."""
        if self._pending:
            data, self._pending = self._pending[:limit], self._pending[limit:]
            return data
        read: Any = getattr(self._stream, "read1", self._stream.read)
        return read(limit) or b""

    def give_back(self, data: bytes) -> None:
        """Put bytes back in front."""
        self._pending = data + self._pending

    def up_to(self, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        data = b""
        while len(data) < size and (chunk := self.some(size - len(data))):
            data += chunk
        return data

    def exact(self, size: int) -> bytearray:
        """Return `size` bytes; memory beyond 32 MiB is taken only as the bytes arrive."""
        data = bytearray(min(size, _TRUSTED_BYTES))
        filled = 0
        while filled < size:
            if filled == len(data):
                data.extend(bytes(min(size - filled, len(data))))
            got = self._fill(memoryview(data)[filled:])
            if not got:
                raise self.fail(TRUNCATED)
            filled += got
        return data

    def _fill(self, view: memoryview) -> int:
        readinto: Any = getattr(self._stream, "readinto", None)
        if self._pending or readinto is None:
            chunk = self.some(min(view.nbytes, _CHUNK))
            view[: len(chunk)] = chunk
            return len(chunk)
        return readinto(view) or 0


class Member:
    """One member of an archive, read exactly once: `read` its bytes, then `finish`."""

    def __init__(self, source: ByteSource) -> None:
        """Read the local header that follows the 4 signature bytes."""
        fields = struct.unpack("<HHHHHLLLHH", source.exact(26))
        _, flags, self._method, _, _, self._crc, packed, size, name_length, extra_length = fields
        raw_name, extra = bytes(source.exact(name_length)), bytes(source.exact(extra_length))
        self.name = raw_name.decode("utf-8", "replace")
        self._source = source
        if not self.name.isprintable():  # messages quote names, and are one line
            raise source.fail("is damaged: the name of a member is no text")
        if flags & _ENCRYPTED or self._method not in (_STORED, _DEFLATED):
            raise source.fail(f"has member '{self.name}' encrypted or packed in an unknown way")
        sizes64 = _zip64_sizes(extra)
        if sizes64 is not None:
            size = sizes64[0] if size == _MAX32 else size
            packed = sizes64[1] if packed == _MAX32 else packed
        self._descriptor = ("<LQQ" if sizes64 is not None else "<LLL", flags & _HAS_DESCRIPTOR)
        self.size: int | None = None if self._descriptor[1] else size
        if self.size is not None and self._method == _STORED and packed != size:
            raise source.fail(f"is damaged: member '{self.name}' has two sizes")
        self._packed_left = None if self.size is None else packed
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if self._method else None
        self._done, self._sum, self._packed_done = 0, 0, 0

    def read(self, size: int) -> bytearray:
        """Return exactly `size` further bytes of content."""
        if self.size is not None and size > self.size - self._done:
            raise self._source.fail(f"is damaged: member '{self.name}' is shorter than it claims")
        data = self._source.exact(size) if self._inflate is None else self._inflated(size)
        if self._inflate is None:
            self._packed_done += size
        self._done += size
        self._sum = zlib.crc32(data, self._sum)
        return data

    def finish(self) -> None:
        """Check that the content ended where it should, and its checksum."""
        if self._inflate is not None:
            self._end_of_deflate(self._inflate)
        size, crc = self.size, self._crc
        if self._descriptor[1]:
            size, crc = self._read_descriptor()
        if size != self._done:
            raise self._source.fail(f"is damaged: member '{self.name}' is longer than its array")
        if crc != self._sum:
            raise self._source.fail(f"is damaged: the checksum of '{self.name}' is wrong")

    def _inflated(self, size: int) -> bytearray:
        assert self._inflate is not None
        data = bytearray()
        while len(data) < size:
            chunk = self._inflate.unconsumed_tail or self._packed_chunk()
            if not chunk or self._inflate.eof:
                raise self._source.fail(f"is damaged: member '{self.name}' ends early")
            data += self._decompress(chunk, min(size - len(data), _TRUSTED_BYTES))
        return data

    def _decompress(self, chunk: bytes, limit: int) -> bytes:
        assert self._inflate is not None
        try:
            return self._inflate.decompress(chunk, limit)
        except zlib.error as error:
            raise self._source.fail(f"is damaged: member '{self.name}': {error}") from error

    def _packed_chunk(self) -> bytes:
        limit = _CHUNK if self._packed_left is None else min(_CHUNK, self._packed_left)
        chunk = self._source.some(limit) if limit else b""
        if limit and not chunk:
            raise self._source.fail(TRUNCATED)
        if self._packed_left is not None:
            self._packed_left -= len(chunk)
        self._packed_done += len(chunk)
        return chunk

    def _end_of_deflate(self, inflate: Any) -> None:
        while not inflate.eof:
            chunk = inflate.unconsumed_tail or self._packed_chunk()
            if not chunk or self._decompress(chunk, 1):
                raise self._source.fail(f"is damaged: member '{self.name}' does not end in time")
        rest = inflate.unused_data
        if self._packed_left is None:
            self._source.give_back(rest)
        elif rest or self._packed_left:
            raise self._source.fail(f"is damaged: member '{self.name}' holds extra bytes")

    def _read_descriptor(self) -> tuple[int, int]:
        layout = self._descriptor[0]
        data = bytes(self._source.exact(4))
        if data == DESCRIPTOR:  # the signature is usual, but optional
            data = b""
        data += self._source.exact(struct.calcsize(layout) - len(data))
        crc, _, size = struct.unpack(layout, data)
        return size, crc


def _zip64_sizes(extra: bytes) -> tuple[int, int] | None:
    """Return (size, packed size) of the zip64 field of a local header, None without one."""
    while len(extra) >= 4:
        tag, length = struct.unpack("<HH", extra[:4])
        if tag == 1 and length >= 16 and len(extra) >= 20:
            size, packed = struct.unpack("<QQ", extra[4:20])
            return size, packed
        extra = extra[4 + length :]
    return None


def next_member(source: ByteSource, *, seen: int) -> Member | None:
    """Return the next member of a stream; None once the directory has ended and agrees.

    Args:
        source: stands before a local header or the central directory.
        seen: members read so far.

    Raises:
        ArtifactError: the stream ends early, is damaged, or is no zip archive.
    """
    signature = bytes(source.exact(4))
    if signature == LOCAL:
        return Member(source)
    listed = 0
    total: int | None = None
    while signature != END:
        if signature == CENTRAL:
            fields = struct.unpack("<24x3H12x", source.exact(42))
            source.exact(sum(fields))
            listed += 1
        elif signature == END64:
            record = source.exact(52)
            total = struct.unpack("<Q", record[28:36])[0]
        elif signature == LOCATOR64:
            source.exact(16)
        else:
            raise source.fail("is damaged: unknown bytes between its members")
        signature = bytes(source.exact(4))
    count, comment = struct.unpack("<6xH8xH", source.exact(18))
    source.exact(comment)
    total = count if total is None else total
    if not seen == listed == total:
        raise source.fail(f"is damaged: {seen} members, but {total} in its directory")
    return None
