"""Round trips: what is written comes back, from files, buffers, pipes and users' own savings."""

from __future__ import annotations

import io
import os
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.artifacts import FORMAT_VERSION, KINDS, Artifact, open_artifact, write_artifact
from mggtalk_cli.artifacts.zipstream import ZipWriter
from mggtalk_cli.errors import ArtifactError, InputError


class Unseekable(io.RawIOBase):
    """The reading end of a pipe: delivers a few bytes at a time and cannot seek."""

    def __init__(self, data: bytes, step: int = 1000) -> None:
        self._data, self._step = io.BytesIO(data), step

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        chunk = self._data.read(min(len(buffer), self._step))
        buffer[: len(chunk)] = chunk
        return len(chunk)


def to_bytes(sample) -> bytes:
    buffer = io.BytesIO()
    write_artifact(buffer, *sample)
    return buffer.getvalue()


def assert_same(artifact: Artifact, sample) -> None:
    assert (artifact.kind, artifact.meta) == (sample.kind, sample.meta)
    assert artifact.format_version == FORMAT_VERSION
    assert artifact.arrays.keys() == sample.arrays.keys()
    for name, array in sample.arrays.items():
        assert artifact.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(artifact.arrays[name], array)
    frames = list(artifact.frames())
    assert len(frames) == len(sample.frames or [])
    for got, wanted in zip(frames, sample.frames or [], strict=True):
        assert got.keys() == wanted.keys()
        for name, array in wanted.items():
            assert got[name].dtype == array.dtype
            np.testing.assert_array_equal(got[name], array)


def test_file_round_trip(sample, tmp_path: Path) -> None:
    path = tmp_path / "artifact.npz"
    write_artifact(path, *sample)
    artifact = open_artifact(path, sample.kind)
    assert artifact.frame_count == len(sample.frames or [])
    assert_same(artifact, sample)
    if sample.frames:
        assert_same(artifact, sample)  # files can be read again
    assert list(tmp_path.iterdir()) == [path]


def test_unseekable_round_trip(sample) -> None:
    assert_same(open_artifact(Unseekable(to_bytes(sample)), sample.kind), sample)
    buffered = io.BufferedReader(Unseekable(to_bytes(sample), step=7))
    assert_same(open_artifact(buffered), sample)


def test_buffer_round_trip(sample) -> None:
    assert_same(open_artifact(io.BytesIO(to_bytes(sample))), sample)


def test_pipe_round_trip(sample) -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as stream:
            write_artifact(stream, *sample)

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        assert_same(open_artifact(stream), sample)
    writer.join()


def test_named_pipe_round_trip(points, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    writer = threading.Thread(target=write_artifact, args=(path, *points))
    writer.start()
    artifact = open_artifact(path)
    assert_same(artifact, points)
    writer.join()
    assert path.is_fifo()


def test_same_bytes_every_time_and_everywhere(sample, tmp_path: Path) -> None:
    path = tmp_path / "artifact.npz"
    write_artifact(path, *sample)
    assert path.read_bytes() == to_bytes(sample) == to_bytes(sample)


def test_stream_is_read_frame_by_frame(points) -> None:
    """Frame i arrives while frame i + 1 does not exist yet; the header before any frame."""
    reading, writing = os.pipe()
    may_make = [threading.Event() for _ in points.frames]

    def make():
        for event, frame in zip(may_make, points.frames, strict=True):
            assert event.wait(10)
            yield frame

    def write() -> None:
        with os.fdopen(writing, "wb") as stream:
            write_artifact(stream, points.kind, points.meta, points.arrays, make())

    writer = threading.Thread(target=write)
    writer.start()
    with os.fdopen(reading, "rb") as stream:
        frames = open_artifact(stream, "points").frames()
        for event, wanted in zip(may_make, points.frames, strict=True):
            event.set()
            np.testing.assert_array_equal(next(frames)["points"], wanted["points"])
        assert next(frames, None) is None
    writer.join()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_saved_again_with_numpy(sample, save, tmp_path: Path) -> None:
    path = tmp_path / "artifact.npz"
    write_artifact(path, *sample)
    with np.load(path, allow_pickle=False) as loaded:
        arrays = dict(loaded)
    again = tmp_path / "again.npz"
    save(again, **arrays)
    assert_same(open_artifact(again), sample)
    assert_same(open_artifact(Unseekable(again.read_bytes())), sample)
    shuffled = tmp_path / "shuffled.npz"
    save(shuffled, **dict(reversed(arrays.items())))
    reread = open_artifact(shuffled)
    assert_same(reread, sample._replace(arrays=dict(reversed(sample.arrays.items()))))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("zip64", [False, True])
def test_data_descriptors(sample, method: int, zip64: bool) -> None:
    """Archives streamed by zipfile carry sizes and checksums behind each member."""

    class Sink(io.RawIOBase):
        data = b""

        def writable(self) -> bool:
            return True

        def write(self, chunk) -> int:
            self.data += bytes(chunk)
            return len(chunk)

    sink = Sink()
    with (
        zipfile.ZipFile(io.BytesIO(to_bytes(sample))) as old,
        zipfile.ZipFile(sink, "w", method) as new,
    ):
        for name in old.namelist():
            with new.open(name, "w", force_zip64=zip64) as member:
                member.write(old.read(name))
    assert_same(open_artifact(Unseekable(sink.data)), sample)
    assert_same(open_artifact(io.BytesIO(sink.data)), sample)


def test_numpy_opens_it(points, tmp_path: Path) -> None:
    path = tmp_path / "points.npz"
    write_artifact(path, *points)
    with np.load(path) as loaded:
        assert loaded.files[0] == "meta"
        np.testing.assert_array_equal(loaded["points/000001"], points.frames[1]["points"])
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None


def test_picked_frames(points) -> None:
    data = to_bytes(points)
    for stream in (io.BytesIO(data), Unseekable(data)):
        (frame,) = open_artifact(stream).frames([1])
        np.testing.assert_array_equal(frame["points"], points.frames[1]["points"])


def test_fortran_order_and_slices(head) -> None:
    arrays = dict(head.arrays)
    arrays["positions"] = np.asfortranarray(arrays["positions"])
    arrays["rig_wide"] = np.arange(12.0).reshape(3, 4)[:, ::2]
    buffer = io.BytesIO()
    write_artifact(buffer, "head", head.meta, arrays)
    assert_same(open_artifact(buffer), head._replace(arrays=arrays))
    buffer.seek(0)
    loaded = {**arrays, "meta": np.load(buffer)["meta"]}
    again = io.BytesIO()
    np.savez(again, **loaded)  # keeps Fortran order in the file
    np.testing.assert_array_equal(open_artifact(again).arrays["positions"], arrays["positions"])


def test_more_members_than_zip32_counts(points) -> None:
    """65535 members and more need zip64 records; numpy reads them, and so do we."""
    count = 23000
    frames = (points.frames[i % 3] for i in range(count))
    buffer = io.BytesIO()
    write_artifact(buffer, "points", {**points.meta, "frame_count": None}, points.arrays, frames)
    artifact = open_artifact(buffer)
    assert artifact.frame_count == count
    (last,) = artifact.frames([count - 1])
    np.testing.assert_array_equal(last["gate"], points.frames[(count - 1) % 3]["gate"])
    piped = open_artifact(Unseekable(buffer.getvalue(), step=1 << 20))
    assert sum(1 for _ in piped.frames()) == count


def test_offsets_beyond_4_gib() -> None:
    """The directory points beyond 4 GiB (checked on a sparse stand-in for the data)."""

    class Sparse(io.BytesIO):
        skipped = 0

        def write(self, data) -> int:
            if len(data) > 1 << 20:
                self.skipped += len(data)
                return len(data)
            return super().write(data)

    stream = Sparse()
    archive = ZipWriter(stream)
    big = bytes(1 << 30)
    for index in range(5):
        archive.write(f"big{index}", [big])
    archive.write("last", [b"x"])
    archive.close()
    data = stream.getvalue()
    entry = data.index(b"last", data.index(b"last") + 1) + 4
    offset = int.from_bytes(data[entry + 4 : entry + 12], "little")
    assert offset > 5 << 30
    assert data[entry : entry + 4] == b"\x01\x00\x08\x00"
    assert zipfile.sizeEndCentDir64 == 56
    assert b"PK\x06\x06" in data
    assert b"PK\x06\x07" in data


def test_stdout_and_stdin(points, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(buffer))
    write_artifact("-", *points)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(buffer.getvalue())))
    assert_same(open_artifact("-", ("points", "frames")), points)


def test_terminals_are_refused(points, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdout", Terminal(io.BytesIO()))
    monkeypatch.setattr("sys.stdin", Terminal(io.BytesIO()))
    with pytest.raises(InputError, match="stdout is a terminal"):
        write_artifact("-", *points)
    with pytest.raises(InputError, match="stdin is a terminal"):
        open_artifact("-")


def test_broken_pipe_reaches_the_caller(points) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb", buffering=0) as stream, pytest.raises(BrokenPipeError):
        write_artifact(stream, *points)


def test_failed_run_leaves_no_file(points, tmp_path: Path) -> None:
    def frames():
        yield points.frames[0]
        raise KeyboardInterrupt

    path = tmp_path / "points.npz"
    with pytest.raises(KeyboardInterrupt):
        write_artifact(path, "points", points.meta, points.arrays, frames())
    assert list(tmp_path.iterdir()) == []


def test_existing_file_needs_overwrite(head, tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(b"old")
    with pytest.raises(InputError, match="--overwrite"):
        write_artifact(path, *head)
    assert path.read_bytes() == b"old"
    write_artifact(path, *head, overwrite=True)
    assert open_artifact(path).kind == "head"


@pytest.mark.parametrize("kind", KINDS)
def test_every_sequence_closes_with_a_required_array(kind: str) -> None:
    spec = KINDS[kind]
    if spec.frame:
        assert not spec.frame[spec.closing].optional
    assert set(spec.frame).isdisjoint(spec.header)


def test_writer_refuses_what_cannot_be_read(points) -> None:
    kind, meta, arrays, frames = points
    bad = [
        ({k: v for k, v in meta.items() if k != "fps"}, arrays, frames, "fps"),
        ({**meta, "fps": float("nan")}, arrays, frames, "fps"),
        ({**meta, "note": {1, 2}}, arrays, frames, "JSON"),
        (meta, {**arrays, "extra": np.zeros(3)}, frames, "unknown array 'extra'"),
        (meta, {k: v for k, v in arrays.items() if k != "plate"}, frames, "lacks plate"),
        (meta, arrays, [{"points": frames[0]["points"]}], "lacks gate"),
        (meta, arrays, [{**frames[0], "gate": np.zeros(9, np.float32)}], "m = 13"),
        (meta, arrays, frames[:2], "2 of 3"),
        ({**meta, "frame_count": None}, arrays, [], "no frames"),
        ({**meta, "audio": None}, arrays, frames, "audio"),
    ]
    for bad_meta, bad_arrays, bad_frames, words in bad:
        with pytest.raises(ArtifactError, match=words):
            write_artifact(io.BytesIO(), kind, bad_meta, bad_arrays, bad_frames)
