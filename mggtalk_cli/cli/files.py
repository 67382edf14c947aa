"""Where commands read from and write to: paths, "-" and patterns, checked before any computing."""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import typer

from mggtalk_cli.core.output import FrameFiles, atomic_path, check_output, is_pattern
from mggtalk_cli.errors import InputError, MggTalkError

if TYPE_CHECKING:
    from mggtalk_cli.artifacts import Artifact
    from mggtalk_cli.cli.progress import Reporter
    from mggtalk_cli.pipeline import BuildOptions, Variants, Video

log = logging.getLogger("mggtalk")

_ZIP_MAGIC = b"PK\x03\x04"  # how every artifact begins
_PLY_MAGIC = b"ply"
_TURNED_DEG = 40.0  # beyond it half of the face is a guess
FILM_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")


def only_one_stdin(*sources: str | None) -> None:
    """Refuse "-" for two inputs of one command (a usage error)."""
    if sum(source == "-" for source in sources) > 1:
        raise typer.BadParameter("only one input can come from stdin: give a file for the others")


def check_transparency(output: str, background: str | None) -> None:
    """Refuse a film type that cannot hold the transparency asked for."""
    if background == "transparent" and Path(output).suffix.lower() in (".mp4", ".mkv"):
        raise InputError(
            f"{output}: {Path(output).suffix} holds no transparency; use .webm, .mov or %05d.png"
        )
    if background == "transparent" and output == "-":
        raise InputError("a stream of mp4 holds no transparency; write .webm, .mov or %05d.png")


def check_targets(
    output: str, *others: str | None, overwrite: bool, film: bool = False, pictures: bool = False
) -> None:
    """Refuse outputs that cannot work, before anything is computed.

    Args:
        output: The -o option.
        *others: Further files to write, such as --ply.
        overwrite: Whether existing files may be replaced.
        film: The command writes films (or pictures) rather than artifacts.
        pictures: Patterns such as %05d.png are welcome, and without `film` one .png.

    Raises:
        InputError: A terminal, a type this command does not write, or see `check_output`.
    """
    if output == "-":
        if sys.stdout.isatty():
            raise InputError("stdout is a terminal: name a file with -o or pipe into a command")
    else:
        if not is_pattern(output):
            _check_suffix(output, film=film, picture=pictures)
        elif pictures and Path(output).suffix.lower() != ".png":
            raise InputError(f"{output}: frame sequences are PNG; use a pattern like %05d.png")
        _check_file_or_pattern(output, overwrite=overwrite, pattern=pictures)
    for other in others:
        if other is None:
            continue
        if other == "-":
            raise InputError("only -o can write to stdout: name a file")
        if output != "-" and Path(other).resolve() == Path(output).resolve():
            raise InputError(f"{other}: two outputs cannot be the same file")
        _check_file_or_pattern(other, overwrite=overwrite, pattern=pictures)


def _check_file_or_pattern(path: str, *, overwrite: bool, pattern: bool) -> None:
    if not is_pattern(path):
        check_output(Path(path), overwrite=overwrite)
    elif pattern:
        FrameFiles(Path(path), overwrite=overwrite)
    else:
        raise InputError(f"{path}: this command writes one file: use a name without %")


def is_picture(output: str) -> bool:
    """Return whether an output is one picture."""
    return Path(output).suffix.lower() == ".png" and not is_pattern(output)


def is_ply(source: str) -> bool:
    """Return whether an input is a .ply, by its name or its first bytes."""
    path = Path(source)
    if path.suffix.lower() == ".ply":
        return True
    if not path.is_file():  # a pipe's first bytes cannot be looked at and put back
        return False
    with path.open("rb") as file:
        return file.read(len(_PLY_MAGIC)) == _PLY_MAGIC


def _check_suffix(output: str, *, film: bool, picture: bool) -> None:
    suffix = Path(output).suffix.lower()
    if film and suffix not in FILM_SUFFIXES and not Path(output).is_dir():
        known = ", ".join(FILM_SUFFIXES)
        raise InputError(f"{output}: unknown film type {suffix!r}; use {known} or %05d.png")
    if film or (picture and suffix == ".png"):
        return
    if suffix == ".ply":
        raise InputError(f"{output}: -o writes no .ply; --ply of build-head and render does")
    if suffix in (*FILM_SUFFIXES, ".png", ".jpg"):
        raise InputError(
            f"{output}: this command writes an artifact (.npz); "
            "films come from `mggtalk inpaint` and `mggtalk animate`"
        )


@contextmanager
def local_file(source: str) -> Iterator[str]:
    """Yield a path that can be opened again and again: stdin and pipes are copied to a file."""
    path = Path(source)
    piped = source == "-" or path.is_fifo() or path.is_char_device()
    if not piped:
        yield source
        return
    if source == "-" and sys.stdin.isatty():
        raise InputError("stdin is a terminal: name a file or pipe one into the command")
    with tempfile.NamedTemporaryFile(prefix="mggtalk-stdin-") as copy:
        if source == "-":
            shutil.copyfileobj(sys.stdin.buffer, copy)
        else:
            with path.open("rb") as stream:
                shutil.copyfileobj(stream, copy)
        copy.flush()
        named = "stdin" if source == "-" else source
        if not copy.tell():
            raise InputError(f"{named} is empty: nothing came in")
        try:
            yield copy.name
        except MggTalkError as error:
            raise type(error)(str(error).replace(copy.name, named)) from error


def read_artifact(source: str, *kinds: str) -> Artifact:
    """Open an artifact from a path or "-"; its frames follow lazily."""
    from mggtalk_cli.artifacts import open_artifact

    return open_artifact("-" if source == "-" else Path(source), kinds)


def write_artifact(report: Reporter, artifact: Artifact, output: str, *, overwrite: bool) -> None:
    """Write an artifact, frame by frame, to a path or "-"."""
    from mggtalk_cli.artifacts import KINDS
    from mggtalk_cli.artifacts import write_artifact as write

    frames: Any = None
    if KINDS[artifact.kind].frame:
        frames = artifact.frames()
        if artifact.kind != "motion":  # whose frames are blocks of sound
            frames = report.track(frames, artifact.meta.get("frame_count"))
    target: Path | Literal["-"] = "-" if output == "-" else Path(output)
    write(target, artifact.kind, artifact.meta, artifact.arrays, frames, overwrite=overwrite)
    report.wrote(output)


def write_film(report: Reporter, video: Video, output: str, *, overwrite: bool) -> None:
    """Encode a finished video to a film, to pictures or to stdout, frame by frame."""
    from mggtalk_cli.core.encode import frame_writer

    target: Path | BinaryIO = sys.stdout.buffer if output == "-" else Path(output)
    with frame_writer(
        target,
        video.width,
        video.height,
        video.fps,
        audio_rate=video.audio_rate,
        audio_channels=video.audio_channels or 1,
        alpha=video.transparent,
        overwrite=overwrite,
    ) as writer:
        for frame in report.track(video.frames, video.frame_count):
            writer.write(frame.image, frame.audio)
    report.wrote(output)


def write_pictures(report: Reporter, frames: Artifact, pattern: str, *, overwrite: bool) -> None:
    """Write the RGBA pictures of a frames artifact as numbered PNGs."""
    from mggtalk_cli.core.encode import PngSequence

    with PngSequence(pattern, overwrite=overwrite) as sequence:
        for frame in report.track(frames.frames(), frames.meta.get("frame_count")):
            sequence.write(frame["rgba"])
    report.wrote(pattern)


def write_frames(report: Reporter, frames: Artifact, output: str, *, overwrite: bool) -> None:
    """Write frames as an artifact, as numbered pictures or, if there is one only, as a picture."""
    if is_pattern(output):
        write_pictures(report, frames, output, overwrite=overwrite)
    elif is_picture(output):
        write_picture(report, frames, output, overwrite=overwrite)
    else:
        write_artifact(report, frames, output, overwrite=overwrite)


def write_picture(report: Reporter, frames: Artifact, output: str, *, overwrite: bool) -> None:
    """Write the RGBA picture of a frames artifact that has one frame only.

    Raises:
        InputError: It has more.
    """
    from mggtalk_cli.core.image import write_png

    count = frames.meta.get("frame_count")
    sequence = report.track(frames.frames(), count)
    picture = None if count not in (None, 1) else next(sequence)["rgba"]
    if picture is None or next(sequence, None) is not None:
        many = "many" if count is None else count
        raise InputError(
            f"{output} is one picture, but there are {many} frames: use a pattern like %05d.png"
        )
    with atomic_path(Path(output), overwrite=overwrite) as part:
        write_png(part, picture)
    report.wrote(output)


def build_from_photo(
    source: str, build: BuildOptions, *, variants: Variants, name: str | None = None
) -> Artifact:
    """Return the head of the photo in a path or stdin, noted under `name`."""
    from mggtalk_cli import pipeline
    from mggtalk_cli.core.image import read_photo

    if source == "-" and sys.stdin.isatty():
        raise InputError("stdin is a terminal: name a photo or pipe one into the command")
    data = sys.stdin.buffer.read() if source == "-" else b""
    photo = read_photo(data if source == "-" else source)
    provenance = {
        "name": name or ("stdin" if source == "-" else Path(source).name),
        "sha256": hashlib.sha256(data or Path(source).read_bytes()).hexdigest(),
    }
    head = pipeline.build_head(photo, build, source=provenance, variants=variants)
    turned_deg = abs(pipeline.yaw_of(head))
    if turned_deg > _TURNED_DEG:
        log.warning(
            "the face is turned by %.0f degrees: what the photo does not show will look wrong; use "
            "one turned by less than %.0f",
            *(turned_deg, _TURNED_DEG),
        )
    return head


def head_of(source: str, build: BuildOptions, variants: Variants) -> Artifact:
    """Return a head artifact as it is, or the head of a photo."""
    with local_file(source) as path:
        with Path(path).open("rb") as file:
            built = file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC
        if not built:
            name = "stdin" if source == "-" else None
            return build_from_photo(path, build, variants=variants, name=name)
        if build != type(build)():
            log.warning("the head is built already: --size, --crop and --face do not change it")
        if variants.refiner is not None and "refiner" not in variants.optional:
            log.warning("the head is built already: --variant refiner=... does not change it")
        return read_artifact(path, "head")


def check_inputs(*sources: str | None) -> None:
    """Refuse inputs that are not there, before anything is loaded.

    Raises:
        InputError: No such file, or a folder.
    """
    for source in sources:
        if source is None or source == "-":
            continue
        if not Path(source).exists():
            raise InputError(f"no such file: {source}; check the path")
        if Path(source).is_dir():
            raise InputError(f"{source} is a folder: name a file in it")


def check_background(background: str | None) -> None:
    """Refuse a background that is neither a colour, a picture nor "transparent"."""
    if background is None or background == "transparent" or Path(background).is_file():
        return
    from PIL import ImageColor

    try:
        ImageColor.getrgb(background)
    except ValueError:
        raise InputError(
            f"--background {background}: neither a colour (name or #rrggbb), a picture file nor"
            " 'transparent'"
        ) from None
