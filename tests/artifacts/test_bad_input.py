"""Every bad artifact gives one ArtifactError that says what is wrong, by file and by pipe."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.lib import format as npy_format

from mggtalk_cli.artifacts import open_artifact, write_artifact
from mggtalk_cli.errors import ArtifactError, InputError

WAYS = ("file", "pipe")


class Pipe(io.RawIOBase):
    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._data.readinto(buffer)


def to_bytes(sample) -> bytes:
    buffer = io.BytesIO()
    write_artifact(buffer, *sample)
    return buffer.getvalue()


def read_all(data: bytes, way: str, expected: str | tuple[str, ...] | None = None) -> None:
    artifact = open_artifact(io.BytesIO(data) if way == "file" else Pipe(data), expected)
    for _ in artifact.frames() if artifact.frame_count != 0 else ():
        pass


def members_of(sample) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(to_bytes(sample))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def archive_of(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def npy(array: np.ndarray, **overrides) -> bytes:
    """Return `.npy` bytes of an array, its header fields overridden."""
    header = {**npy_format.header_data_from_array_1_0(array), **overrides}
    buffer = io.BytesIO()
    npy_format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + array.tobytes()


def changed_meta(members: dict[str, bytes], **changes) -> dict[str, bytes]:
    meta = json.loads(str(np.load(io.BytesIO(members["meta.npy"]))))
    meta.update(changes)
    return {**members, "meta.npy": npy(np.array(json.dumps(meta)))}


@pytest.mark.parametrize("way", WAYS)
def test_wrong_kind(head, way: str) -> None:
    with pytest.raises(
        ArtifactError, match=r"^\w+: expected points, got head: run `mggtalk deform` first$"
    ):
        read_all(to_bytes(head), way, "points")
    with pytest.raises(ArtifactError, match="expected motion or frames, got head"):
        read_all(to_bytes(head), way, ("motion", "frames"))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "format version 2 is newer than 1: update"),
        ({"format_version": 0}, "no kind and format_version"),
        ({"format_version": True}, "no kind and format_version"),
        ({"kind": "statue"}, "unknown kind 'statue'"),
        ({"kind": 3}, "no kind"),
        ({"fps": 0}, "'fps' is 0; it must be a number above 0"),
        ({"fps": "fast"}, "'fps'"),
        ({"camera": {"focal_px": 3}}, "'camera'"),
        ({"sheets": ["front"]}, "1 sheet names for 2 grids"),
        ({"audio": {"rate": 16000, "channels": 9}}, "'audio'"),
        ({"frame_count": 7}, "3 of 7 promised frames"),
        ({"audio": None}, "audio"),
    ],
)
def test_bad_meta(points, changes, words: str, way: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        read_all(archive_of(changed_meta(members_of(points), **changes)), way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"P", "is no artifact"),
        (b"Error: no face found\n", "is no artifact.*b'Erro'"),
        (npy(np.zeros(3)), "single .npy"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "build-head"),
        (b"RIFF" + bytes(50), "mggtalk drive"),
        (archive_of({"readme.txt": b"hello"}), "is no artifact of mggtalk"),
        (archive_of({}), "is no artifact"),
        (archive_of({"meta.npy": b"hello"}), "shorter than it claims"),
        (archive_of({"meta.npy": b"hello, world"}), "is no .npy array"),
        (archive_of({"meta.npy": npy(np.array("{"))}), "no JSON"),
        (archive_of({"meta.npy": npy(np.array("[]"))}), "no kind"),
        (archive_of({"meta.npy": npy(np.array("[" * 9999))}), "no JSON"),
        (archive_of({"meta.npy": npy(np.zeros(3))}), "must hold one text"),
    ],
)
def test_not_an_artifact(data: bytes, words: str, way: str) -> None:
    with pytest.raises(ArtifactError, match=words):
        read_all(data, way)


@pytest.mark.parametrize("way", WAYS)
def test_truncated_anywhere(sample, way: str) -> None:
    data = to_bytes(sample)
    for length in {1, 10, 40, 200, len(data) // 3, len(data) // 2, len(data) - 1, len(data) - 30}:
        with pytest.raises(ArtifactError, match=r"cut off|no artifact"):
            read_all(data[:length], way)


def test_truncated_pipe_yields_the_whole_frames_first(points) -> None:
    data = to_bytes(points)
    cut = data.index(b"points/000001.npy")
    frames = open_artifact(Pipe(data[:cut])).frames()
    np.testing.assert_array_equal(next(frames)["points"], points.frames[0]["points"])
    with pytest.raises(ArtifactError, match="cut off"):
        next(frames)


@pytest.mark.parametrize("way", WAYS)
def test_damaged_bytes(points, way: str) -> None:
    data = bytearray(to_bytes(points))
    data[data.index(b"points/000001.npy") + 170] ^= 1
    with pytest.raises(ArtifactError, match=r"checksum of 'points/000001.npy' is wrong"):
        read_all(bytes(data), way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("plate", npy(np.zeros((6, 8, 3))), "dtype float64; it must be uint8"),
        ("plate", npy(np.zeros((6, 8, 4), np.uint8)), r"shape \(6, 8, 4\).*h w 3.*h = 6, w = 8"),
        ("plate", npy(np.zeros((6, 9, 3), np.uint8)), r"w = 8"),
        ("plate", npy(np.zeros((0, 0, 3), np.uint8)), r"shape \(0, 0, 3\)"),
        ("plate", npy(np.zeros((6, 8, 3), np.uint8))[:-5], "shorter than it claims|ends early"),
        ("plate", npy(np.zeros((6, 8, 3), np.uint8)) + b"xx", "longer than its|not end in time"),
        ("plate", npy(np.array([None, "boom"], object)), "pickled Python objects"),
        ("color", npy(np.full((13, 3), np.nan, np.float32)), r"'color' is nan at \(0, 0\)"),
        ("color", npy(np.full((13, 3), np.inf, np.float32)), r"'color' is inf at \(0, 0\)"),
        ("valid", npy(np.full(16, 7, np.uint8), descr="|b1"), "neither true nor false"),
        ("valid", npy(np.zeros(16, bool)), "valid marks 0 points, but there are 13"),
        ("grid_shape", npy(np.full((2, 2), -2, np.int32)), "does not add up"),
        ("grid_shape", npy(np.full((2, 2), 2**31 - 1, np.int32)), "does not add up"),
        ("rig_names", npy(np.array(["a"])), "must be numeric"),
        ("junk", npy(np.zeros(3)), "unknown array 'junk'"),
        ("points/000001", npy(np.zeros((14, 3), np.float32)), "m = 13"),
        ("gate/000001", npy(np.full(13, np.nan, np.float32)), "gate.*nan"),
        ("glow/000001", npy(np.zeros(3)), "glow"),
    ],
)
def test_bad_array(points, name: str, content: bytes, words: str, method: int, way: str) -> None:
    members = members_of(points)
    if name in ("junk", "rig_names"):
        members = {"meta.npy": members.pop("meta.npy"), f"{name}.npy": b"", **members}
    if name == "glow/000001":  # in a pipe, frame members come in their order
        index = list(members).index("gate/000001.npy")
        items = list(members.items())
        members = dict([*items[:index], ("glow/000001.npy", b""), *items[index:]])
    members[f"{name}.npy"] = content
    with pytest.raises(ArtifactError, match=words):
        read_all(archive_of(members, method), way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("lost", ["meta", "plate", "gate/000001", "points/000001", "points/000002"])
def test_missing_member(points, lost: str, way: str) -> None:
    members = members_of(points)
    del members[f"{lost}.npy"]
    with pytest.raises(ArtifactError, match=r"lacks|no artifact|belong|incomplete|out of order"):
        read_all(archive_of(members), way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", ["meta.npy", "plate.npy", "points/000001.npy", "gate/000001.npy"])
def test_duplicate_member(points, name: str, way: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members_of(points).items():
            archive.writestr(member, data)
            if member == name:
                with pytest.warns(UserWarning, match="Duplicate"):
                    archive.writestr(member, data)
    with pytest.raises(ArtifactError, match=r"appears twice|out of order"):
        read_all(buffer.getvalue(), way)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("plate", (40000, 40000, 3)),
        ("plate", (2**62, 2**62, 3)),
        ("valid", (10**12,)),
        ("valid", (400 * 2**20,)),
        ("rig_x", (400 * 2**20,)),
        ("points/000000", (10**9, 3)),
        ("meta", (10**9,)),
    ],
)
def test_bombs_are_refused_before_memory_is_taken(
    points, name: str, shape: tuple[int, ...], method: int, way: str
) -> None:
    """The npy header claims far more than there is; memory must not follow the claim."""
    members = members_of(points)
    old = members.pop(f"{name}.npy", None)
    descr = np.load(io.BytesIO(old)).dtype if old else np.dtype(np.uint8)
    bomb = npy(np.zeros(0, descr), shape=shape)
    first = {} if name == "meta" else {"meta.npy": members.pop("meta.npy")}
    if "/" in name:
        items = list(members.items())
        place = [key for key, _ in items].index("audio/000001.npy")
        members = dict([*items[:place], (f"{name}.npy", bomb), *items[place:]])
        data = archive_of({**first, **members}, method)
    else:
        data = archive_of({**first, f"{name}.npy": bomb, **members}, method)
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError):
            read_all(data, way)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", WAYS)
def test_deflate_bomb(points, way: str) -> None:
    """100 MB of zeros behind a small array stay packed."""
    members = members_of(points)
    members["plate.npy"] += bytes(100 * 2**20)
    data = archive_of(members, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match="not end in time"):
            read_all(data, way)
        assert tracemalloc.get_traced_memory()[1] < 2**24
    finally:
        tracemalloc.stop()


def test_lying_local_size_in_a_pipe(points) -> None:
    """A member claims 400 MB, the pipe ends after a few bytes: nothing near that is taken."""
    head = npy(np.zeros(0, np.uint8), shape=(400 * 2**20,))
    size = 400 * 2**20 + len(head)
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 0, 0, 33, 0, size, size, 9, 0)
    data = to_bytes(points)
    first = data[: data.index(b"PK\x03\x04", 4)]
    tracemalloc.start()
    try:
        with pytest.raises(ArtifactError, match="cut off"):
            read_all(first + local + b"rig_a.npy" + head + bytes(100), "pipe")
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("way", WAYS)
def test_encrypted_and_foreign_compression(points, way: str) -> None:
    data = bytearray(to_bytes(points))
    data[6] |= 1
    with pytest.raises(ArtifactError, match="encrypted or packed"):
        read_all(bytes(data), way)
    packed = archive_of(members_of(points), zipfile.ZIP_LZMA)
    with pytest.raises(ArtifactError, match="encrypted or packed"):
        read_all(packed, way)


def test_frames_out_of_order_need_a_file(points) -> None:
    members = members_of(points)
    turned = archive_of({"meta.npy": members.pop("meta.npy"), **dict(reversed(members.items()))})
    read_all(turned, "file")
    with pytest.raises(ArtifactError, match="out of order: name the file"):
        read_all(turned, "pipe")


def test_a_pipe_is_read_once(points) -> None:
    artifact = open_artifact(Pipe(to_bytes(points)))
    assert len(list(artifact.frames())) == 3
    with pytest.raises(ArtifactError, match="only once"):
        next(artifact.frames())


def test_paths(tmp_path: Path, head) -> None:
    with pytest.raises(InputError, match=r"cannot read .*gone\.npz: No such file"):
        open_artifact(tmp_path / "gone.npz")
    with pytest.raises(InputError, match=r"cannot read .*directory"):
        open_artifact(tmp_path)
    (tmp_path / "empty.npz").touch()
    with pytest.raises(ArtifactError, match=r"empty\.npz is empty"):
        open_artifact(tmp_path / "empty.npz")


@pytest.mark.parametrize("way", WAYS)
def test_any_flipped_byte_is_an_error_or_harmless(points, way: str) -> None:
    """Whatever single byte is damaged, nothing but an ArtifactError comes out."""
    data = to_bytes(points)
    rng = np.random.default_rng(3)
    for place in rng.integers(0, len(data), 400):
        broken = bytearray(data)
        broken[place] ^= 1 << rng.integers(8)
        try:
            read_all(bytes(broken), way)
        except ArtifactError as error:
            assert "\n" not in str(error)  # noqa: PT017
