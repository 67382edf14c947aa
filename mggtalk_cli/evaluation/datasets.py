"""Find the clips of a data set on the disk, with names and the people in them.

The files are the user's; what is expected is what each set's own download script leaves behind:

    plain      DIR/NAME.mp4, .mov, ...: NAME_01, NAME_02, ... are clips of one person.
    hdtf       DIR/{RD,WDA,WRA}_VIDEO_NNN.mp4, as the script of github.com/universome/HDTF cuts them
               (its DIR/_videos_raw is left alone). BernieSanders0 and BernieSanders1 are one
               person; RD_Radio1 and RD_Radio2 are not.
    nersemble  DIR/PPP/sequences/SEQUENCE/images/cam_SERIAL.mp4, as `nersemble-benchmark-download
               DIR mono_flame_avatar` and `... nvs` write them (DIR may also be their parent). One
               clip per sequence: the front camera 222200037 (NeRSemble-Mono), or the only one.
    celebvhq   DIR/YOUTUBE_N.mp4 or DIR/processed/YOUTUBE_N.mp4, as download_and_process.py of
               github.com/CelebV-HQ/CelebV-HQ cuts them (DIR/raw is left alone). The set names no
               people: clips of one video count as one person.

A clip named by itself is taken in any layout.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.clips import VIDEO_SUFFIXES
from mggtalk_cli.evaluation.runs import Source

PLAIN = "plain"

NERSEMBLE_FRONT = "cam_222200037"  # the middle one of its 16 cameras; the benchmark's training view

_HDTF = re.compile(r"(RD|WDA|WRA)_(.+?)(?:_\d+_clip)?_\d+")
_NUMBERED = re.compile(r"(.+)_\d+")


@dataclass(frozen=True)
class Clip:
    """A clip of a data set.

    Attributes:
        path: the file.
        identity: who is seen in it, so that splits by person can be made.
    """

    path: Path
    identity: str


@dataclass(frozen=True)
class Layout:
    """How a data set lies on the disk.

    Attributes:
        expected: what a folder has to hold, for the error message.
        find: yields the clips below a folder.
        name: returns the name and the identity of a clip.
    """

    expected: str
    find: Callable[[Path], Iterator[Path]]
    name: Callable[[Path], tuple[str, str]]


def find_clips(sources: Sequence[str | Path], layout: str = PLAIN) -> list[Source]:
    """Return a source per clip, sorted by path within each folder; `detail` is its `Clip`.

    Args:
        sources: clips, or folders in the given layout.
        layout: one of `LAYOUTS`.

    Raises:
        InputError: an unknown layout, a source that does not exist, or a folder without clips.
    """
    if layout not in LAYOUTS:
        raise InputError(f"layout {layout!r} is unknown: choose from {', '.join(LAYOUTS)}")
    rule = LAYOUTS[layout]
    paths = list(dict.fromkeys(path for source in sources for path in _files(source, rule)))
    names = [rule.name(path)[0] for path in paths]
    count = Counter(names)
    return [
        Source(
            name if count[name] == 1 else f"{path.absolute().parent.name}_{name}",
            (path,),
            Clip(path, rule.name(path)[1]),
        )
        for path, name in zip(paths, names, strict=True)
    ]


def _files(source: str | Path, rule: Layout) -> list[Path]:
    path = Path(source)
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise InputError(f"{source} does not exist: name clips or folders of them")
    found = sorted(rule.find(path))
    if not found:
        raise InputError(f"{source}: no clips there; expected {rule.expected}")
    return found


def _is_clip(path: Path) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in VIDEO_SUFFIXES and not hidden and path.is_file()


def _side_by_side(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if _is_clip(path))


def _hdtf(folder: Path) -> Iterator[Path]:
    return (path for path in _side_by_side(folder) if _HDTF.fullmatch(path.stem))


def _nersemble(folder: Path) -> Iterator[Path]:
    below = "sequences/*/images"
    people = "[0-9][0-9][0-9]"
    for pattern in (below, f"{people}/{below}", f"*/{people}/{below}"):
        for images in folder.glob(pattern):
            cameras = [path for path in _side_by_side(images) if path.stem.startswith("cam_")]
            front = [path for path in cameras if path.stem == NERSEMBLE_FRONT]
            if front or len(cameras) == 1:
                yield (front or cameras)[0]


def _celebvhq(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / "processed"):
        if place.is_dir():
            yield from (path for path in _side_by_side(place) if _NUMBERED.fullmatch(path.stem))


def _numbered_name(path: Path) -> tuple[str, str]:
    """Return the names of clips whose identity is all before the last number."""
    match = _NUMBERED.fullmatch(path.stem)
    return path.stem, match[1] if match else path.stem


def _hdtf_name(path: Path) -> tuple[str, str]:
    match = _HDTF.fullmatch(path.stem)
    if match is None:
        return path.stem, path.stem
    subset, video = match.groups()
    return path.stem, video if subset == "RD" else video.rstrip("0123456789") or video


def _nersemble_name(path: Path) -> tuple[str, str]:
    parts = path.absolute().parts
    if len(parts) < 6 or parts[-4] != "sequences":
        return path.stem, path.stem
    name = f"{parts[-5]}_{parts[-3]}"
    return name if path.stem == NERSEMBLE_FRONT else f"{name}_{path.stem}", parts[-5]


LAYOUTS = {
    PLAIN: Layout(
        f"files with one of {', '.join(VIDEO_SUFFIXES)} side by side",
        _side_by_side,
        _numbered_name,
    ),
    "hdtf": Layout("RD_*_NNN.mp4, WDA_*_NNN.mp4, WRA_*_NNN.mp4", _hdtf, _hdtf_name),
    "nersemble": Layout(
        f"PPP/sequences/SEQUENCE/images/{NERSEMBLE_FRONT}.mp4", _nersemble, _nersemble_name
    ),
    "celebvhq": Layout("YOUTUBE_N.mp4, or processed/YOUTUBE_N.mp4", _celebvhq, _numbered_name),
}
