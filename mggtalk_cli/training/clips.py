"""Which clips there are, who speaks in them, and which may go into weights that ship."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.clips import VIDEO_SUFFIXES, find_files

MANIFEST = "MANIFEST.tsv"
MANIFEST_LEVELS = 3  # looked for in the folder of a clip and in two above
NUMBERED = re.compile(r"_\d+$")


@dataclass(frozen=True)
class Clip:
    """One clip of one speaker.

    Attributes:
        path: the file.
        speaker: who talks.
        ship: whether weights trained on it may be given away.
        licence: as the manifest says, "" without one.
        origin: where it came from, "" without a manifest.
        start_s: second of the file at which it begins.
    """

    path: Path
    speaker: str
    ship: bool = True
    licence: str = ""
    origin: str = ""
    start_s: float = 0.0


def find_clips(sources: list[str]) -> list[Clip]:
    """Return the clips named and those in the folders named, sorted by path.

    A manifest (tab-separated; columns file, identity, ship) beside a clip, or up to two folders
    above, names its speaker; clips that it does not list, or lists as a kind
    that ends in _synthetic (a generated face is no teacher), are left out. Without a manifest the
    speaker is the file name up to the last _NN.

    Raises:
        InputError: a source does not exist, or a manifest cannot be read.
    """
    manifests: dict[Path, dict[Path, Clip] | None] = {}
    clips = []
    for path in find_files(sources, VIDEO_SUFFIXES):
        folder = path.parent
        if folder not in manifests:
            manifests[folder] = _manifest_of(folder)
        listed = manifests[folder]
        if listed is None:
            clips.append(Clip(path, NUMBERED.sub("", path.stem)))
        elif path.resolve() in listed:
            clips.append(listed[path.resolve()])
    if not clips:
        raise InputError(f"no clip in {', '.join(sources)} is listed in its {MANIFEST}")
    return sorted(clips, key=lambda clip: str(clip.path))


def pieces(clips: Sequence[Clip], most: int, *, seconds: float, least_s: float) -> Iterator[Clip]:
    """Yield the pieces of clips, one after another; the last one of a clip may be shorter.

    Args:
        clips: from their first frame on. One that cannot be read, or does not tell how long it
            is, is one piece.
        most: pieces of one clip.
        seconds: length of a piece.
        least_s: what is shorter is left over.
    """
    for clip in clips:
        yield clip
        lasts = _duration_s(clip.path) if most > 1 else 0.0
        for number in range(1, most):
            if number * seconds + least_s > lasts:
                break
            yield replace(clip, start_s=number * seconds)


def _duration_s(path: Path) -> float:
    """Return a clip's length as it announces it, 0 where it does not or cannot be read."""
    try:
        return VideoReader(path).duration_s or 0.0
    except InputError:
        return 0.0


def _manifest_of(folder: Path) -> dict[Path, Clip] | None:
    above = folder.resolve()
    for place in (above, *above.parents)[:MANIFEST_LEVELS]:
        if (place / MANIFEST).is_file():
            return _read_manifest(place / MANIFEST)
    return None


def _read_manifest(path: Path) -> dict[Path, Clip]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        return {
            (path.parent / row["file"]).resolve(): Clip(
                path=path.parent / row["file"],
                speaker=row["identity"],
                ship=row["ship"].strip() == "yes",
                licence=row.get("repo_licence") or "",
                origin=" ".join(row.get(key) or "" for key in ("source_repo", "notes")).strip(),
            )
            for row in rows
            if not (row.get("kind") or "").endswith("_synthetic")
        }
    except (OSError, UnicodeDecodeError, KeyError, AttributeError, csv.Error) as error:
        raise InputError(
            f"{path}: {type(error).__name__} {error}; columns file, identity, ship are expected"
        ) from error
