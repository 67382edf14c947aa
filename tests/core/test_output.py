"""Outputs appear whole or not at all, whatever happens on the way."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from mggtalk_cli.core.output import FrameFiles, atomic_path, check_output, is_pattern
from mggtalk_cli.errors import InputError


def test_appears_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp4"
    with atomic_path(path) as part:
        assert part.parent == tmp_path
        assert part.suffix == ".mp4"
        assert part.exists()
        part.write_bytes(b"film")
        assert not path.exists()
    assert path.read_bytes() == b"film"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_nothing_stays_after_a_failure(tmp_path: Path, failure: type[BaseException]) -> None:
    with pytest.raises(failure), atomic_path(tmp_path / "talk.mp4") as part:  # noqa: PT012
        part.write_bytes(b"half")
        raise failure
    assert list(tmp_path.iterdir()) == []


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(b"old")
    with pytest.raises(ValueError), atomic_path(path, overwrite=True) as part:  # noqa: PT011, PT012
        part.write_bytes(b"half")
        raise ValueError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_overwrite_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    path.write_bytes(b"old")
    with (
        pytest.raises(InputError, match=r"head\.npz exists: add --overwrite"),
        atomic_path(path),
    ):
        pass
    with atomic_path(path, overwrite=True) as part:
        part.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_bad_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="gone does not exist"):
        check_output(tmp_path / "gone" / "head.npz", overwrite=False)
    with pytest.raises(InputError, match="is a folder"):
        check_output(tmp_path, overwrite=True)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="does not exist"):
        check_output(tmp_path / "file" / "head.npz", overwrite=True)
    with pytest.raises(InputError, match="File name too long"), atomic_path(tmp_path / ("n" * 300)):
        pass
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="not writable"):
        check_output(tmp_path / "head.npz", overwrite=False)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_read_only_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match="cannot write"), atomic_path(tmp_path / "head.npz"):
        pass


def test_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "head.npz"
    with pytest.raises(InputError, match=r"no space left.*head.npz \(\d+ MiB free\)"):  # noqa: SIM117
        with atomic_path(path):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is there on Linux only")
def test_full_device() -> None:
    with pytest.raises(InputError, match="no space left"):  # noqa: SIM117
        with atomic_path(Path("/dev/full")) as part, part.open("wb", buffering=0) as stream:
            stream.write(b"x")


def test_other_failures_pass(tmp_path: Path) -> None:
    with pytest.raises(BrokenPipeError), atomic_path(tmp_path / "head.npz"):
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")


def test_devices_and_links(tmp_path: Path) -> None:
    with atomic_path(Path(os.devnull)) as part:
        assert part == Path(os.devnull)
    assert Path(os.devnull).is_char_device()
    real, link = tmp_path / "real.npz", tmp_path / "link.npz"
    real.write_bytes(b"old")
    link.symlink_to(real)
    with atomic_path(link, overwrite=True) as part:
        part.write_bytes(b"new")
    assert link.is_symlink()
    assert real.read_bytes() == b"new"


def test_usual_permissions(tmp_path: Path) -> None:
    plain, ours = tmp_path / "plain", tmp_path / "ours"
    plain.touch()
    with atomic_path(ours):
        pass
    assert ours.stat().st_mode == plain.stat().st_mode


def test_frame_files(tmp_path: Path) -> None:
    files = FrameFiles(tmp_path / "f%05d.png")
    for index in range(3):
        with files.next() as part:
            assert part.suffix == ".png"
            part.write_bytes(b"%d" % index)
    with pytest.raises(ValueError), files.next() as part:  # noqa: PT011
        raise ValueError
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"f0000{i}.png" for i in range(3)]
    with pytest.raises(InputError, match=r"f0000\d.png exists: add --overwrite"):
        FrameFiles(tmp_path / "f%05d.png")
    FrameFiles(tmp_path / "f%05d.png", overwrite=True)
    FrameFiles(tmp_path / "g%05d.png")
    FrameFiles(tmp_path / "f%04d.png")  # f00000.png is none of its names
    (tmp_path / "f12345.png").touch()
    with pytest.raises(InputError, match="exists"):
        FrameFiles(tmp_path / "f%04d.png")


@pytest.mark.parametrize(
    "name", ["a.png", "%05d%d.png", "%s.png", "%05f.png", "100%.png", "%d%%.png", "d%/%d.png"]
)
def test_bad_patterns(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="exactly one %d"):
        FrameFiles(tmp_path / name)


def test_pattern_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        FrameFiles(tmp_path / "gone" / "%d.png")
    assert is_pattern("frames/%05d.png")
    assert not is_pattern("talk.mp4")
