"""What `evaluate audio` measures: speakers, sounds, films, and files that are of no use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mggtalk_cli.core.audio import media_kind
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError, MggTalkError
from mggtalk_cli.evaluation import speech, speech_video
from mggtalk_cli.evaluation.runs import Source


@dataclass(frozen=True)
class AudioOptions:
    """What is measured.

    Attributes:
        offsets: frames at 25 fps by which a clip's sound is late, by its file name's stem.
        seconds: how much of the beginning of each is used.
        portraits: photos that say everything.
        own_face: whether frame 0 of each clip says its own sound.
        pose: "free" or "fixed", what the head does in films.
        size: longer side of the films, px.
        sheets: whether to make strips of mouths beside phones.
    """

    offsets: Mapping[str, float] = field(default_factory=dict)
    seconds: float = speech.SECONDS
    portraits: tuple[Path, ...] = ()
    own_face: bool = False
    pose: str = speech_video.FREE
    size: int = 512
    sheets: bool = True


@dataclass(frozen=True)
class Speaker:
    """The clips of one speaker."""

    clips: tuple[Path, ...]


@dataclass(frozen=True)
class Sound:
    """A sound without a picture."""

    path: Path


@dataclass(frozen=True)
class Film:
    """A photo that says a sound; without a photo, frame 0 of the clip says its own."""

    sound: Path
    photo: Path | None


@dataclass(frozen=True)
class Unusable:
    """A file that cannot be measured, and why."""

    reason: str


def audio_sources(files: Sequence[Path], options: AudioOptions) -> list[Source]:
    """Return one source per speaker, per sound, per film, and per file that is of no use."""
    speakers: dict[str, list[Path]] = {}
    sources: list[Source] = []
    usable: list[Path] = []
    for path in files:
        try:
            is_clip = has_picture(path)
        except MggTalkError as error:
            sources.append(Source(path.stem, (path,), Unusable(str(error))))
            continue
        usable.append(path)
        if is_clip:
            speakers.setdefault(speech.speaker_of(path), []).append(path)
        else:
            sources.append(Source(f"{path.stem}-alone", (path,), Sound(path)))
    clips = [path for paths in speakers.values() for path in paths]
    sources += [
        Source(name, tuple(paths), Speaker(tuple(paths))) for name, paths in speakers.items()
    ]
    if options.own_face:
        sources += [Source(f"{path.stem}-itself", (path,), Film(path, None)) for path in clips]
    sources += [
        Source(f"{photo.stem}-says-{path.stem}", (photo, path), Film(path, photo))
        for photo in options.portraits
        for path in usable
    ]
    return sources


def has_picture(path: Path) -> bool:
    """Return whether a file is a clip.

    Raises:
        InputError: unreadable, or a clip without sound.
    """
    if media_kind(path) == "audio":
        return False
    if not VideoReader(path).has_audio:
        raise InputError(f"{path} has no sound: audio is scored on clips of people who talk")
    return True
