"""Frames that other programs made of the same clips, and our own written down for anybody's use.

A folder of another program's frames holds CLIP.mp4 or CLIP/*.png for every clip. A film is read at
the rate of the evaluation, pictures one by one in the order of the numbers in their names; the
first one stands for frame 0 of the clip in either case.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from mggtalk_cli.core.image import read_photo, write_png
from mggtalk_cli.core.output import explained_write_errors
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.clips import VIDEO_SUFFIXES

PICTURE = "{:04d}.png"

_SHOWN = 5  # names in a warning

log = logging.getLogger("mggtalk")

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}")


def check_peers(peers: Mapping[str, Path], taken: Sequence[str]) -> None:
    """Check the names and folders of other programs' frames.

    Args:
        peers: folder by name.
        taken: names that mean something else already.

    Raises:
        InputError: a name that is taken or cannot be a folder's, or a folder that is not there.
    """
    for name, folder in peers.items():
        if name in taken:
            raise InputError(f"--method {name}={folder}: {name} is one of our own, take another")
        if not _NAME.fullmatch(name):
            raise InputError(f"--method {name}={folder}: a name has letters, digits and ._+- only")
        if not folder.is_dir():
            raise InputError(f"--method {name}={folder}: this folder does not exist")


def peer_files(folder: Path, clip: str) -> tuple[Path, ...]:
    """Return the film, or the pictures in order, that a program made of a clip; () of none."""
    for suffix in VIDEO_SUFFIXES:
        film = folder / f"{clip}{suffix}"
        if film.is_file():
            return (film,)
    pictures = [path for path in (folder / clip).glob("*.png") if path.is_file()]
    return tuple(sorted(pictures, key=_by_number))


def check_clips(name: str, folder: Path, clips: Sequence[str], missing: Sequence[str]) -> None:
    """Say of which clips a program made nothing: there it is left out.

    Raises:
        InputError: it has nothing of any clip.
    """
    what = f"--method {name}={folder}: nothing of"
    if len(missing) == len(clips):
        raise InputError(f"{what} {clips[0]}; {clips[0]}.mp4 or {clips[0]}/*.png is expected")
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        log.warning("%s %s%s: left out there", what, ", ".join(missing[:_SHOWN]), more)


def read_peer(files: Sequence[Path], count: int, *, fps: float) -> list[np.ndarray]:
    """Return the first `count` frames (H, W, 3) uint8, or fewer where there are fewer.

    Args:
        files: what `peer_files` returned.
        count: how many.
        fps: rate at which a film is read.

    Raises:
        InputError: unreadable.
    """
    if files[0].suffix.lower() in VIDEO_SUFFIXES:
        return list(islice(VideoReader(files[0], fps=fps), count))
    return [read_photo(path) for path in files[:count]]


def write_frames(directory: Path, methods: Mapping[str, Sequence[np.ndarray]]) -> None:
    """Write DIR/METHOD/0000.png and so on, one per frame of every method, frame 0 included.

    Raises:
        InputError: the disk is full, or not to be written.
    """
    for method, images in methods.items():
        folder = directory / method
        with explained_write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for index, image in enumerate(images):
                write_png(folder / PICTURE.format(index), image)


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Return a key that puts 10.png behind 9.png."""
    parts = re.split(r"(\d+)", path.stem)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]
