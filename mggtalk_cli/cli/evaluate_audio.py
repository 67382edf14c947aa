"""`mggtalk evaluate audio`: speech motion against real speakers, in silence, and on video."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mggtalk_cli.cli import options
from mggtalk_cli.cli.results import Row, finish, measure_each, median_of, print_json, print_table
from mggtalk_cli.core.output import atomic_path, check_output
from mggtalk_cli.errors import InputError, MggTalkError

if TYPE_CHECKING:
    import numpy as np

    from mggtalk_cli.cli.progress import Reporter
    from mggtalk_cli.evaluation.speech import ClipMouth, SoundResult, SpeakerResult

SECONDS = 30.0

Results = dict[str, list[Any]]  # speakers, sounds and videos: dataclasses with a name up front

Sounds = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIP|SOUND...",
        help="Clips of people who talk, NAME_01.mp4, NAME_02.mp4 being one speaker's; sounds, "
        "looked at without a picture; or folders of them.",
    ),
]
Seconds = Annotated[float, typer.Option(min=1, max=600, help="How much of each one's beginning.")]
Offsets = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="Frames at 25 fps by which a clip's sound is late, by name."),
]
Portraits = Annotated[
    list[str] | None,
    typer.Option(
        "--portrait",
        metavar="PHOTO",
        help="Also let this photo say each of them, and measure the finished video; repeatable.",
    ),
]
StripsOut = Annotated[
    str | None,
    typer.Option(
        "--output", "-o", metavar="PNG", help="With --portrait: mouths beside phones, to look at."
    ),
]


def audio(
    ctx: typer.Context,
    sounds: Sounds,
    offsets: Offsets = None,
    seconds: Seconds = SECONDS,
    portraits: Portraits = None,
    output: StripsOut = None,
    size: options.Size = options.SIZE,
    threads: options.Threads = None,
    as_json: options.Json = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Compare the mouth that speech predicts with each speaker's own, by every variant."""
    if output is not None:
        if not portraits:
            raise typer.BadParameter("-o writes strips of videos: name a photo with --portrait")
        check_output(Path(output), overwrite=overwrite)
    late = _read_offsets(offsets)
    from mggtalk_cli.core.audio import media_kind
    from mggtalk_cli.evaluation import clips, speech

    photos = clips.find_files(portraits or [], clips.PHOTO_SUFFIXES)
    files = clips.find_files(sounds, clips.VIDEO_SUFFIXES + clips.SOUND_SUFFIXES)

    def measure(path: Path) -> ClipMouth | list[SoundResult]:
        if media_kind(path) == "audio":
            return speech.sound_results(path, seconds=seconds)
        return speech.clip_mouth(path, offset=late.get(path.stem, 0), seconds=seconds)

    measured, failed = measure_each(ctx.obj, files, measure)
    own = {one.path: one for one in measured if isinstance(one, speech.ClipMouth)}
    results: Results = {
        "speakers": _by_speaker(ctx.obj, list(own.values()), failed),
        "sounds": [one for many in measured if isinstance(many, list) for one in many],
        "videos": [],
    }
    if photos:
        from mggtalk_cli.evaluation.speech_strips import sentence
        from mggtalk_cli.evaluation.speech_video import Talk, portrait_talks, strip_sheet
        from mggtalk_cli.pipeline import BuildOptions

        talks = [
            Talk(path, own.get(path), sentence(path, seconds=seconds) if output else None)
            for path in files
            if str(path) not in failed
        ]
        build = BuildOptions(size=size)
        done, missed = measure_each(
            ctx.obj, photos, lambda photo: portrait_talks(photo, talks, build, seconds=seconds)
        )
        failed |= missed
        results["videos"] = [result for portrait in done for result in portrait.results]
        if output is not None:
            _write(ctx.obj, strip_sheet(talks, done), output, overwrite=overwrite)
    _print(results, failed, as_json=as_json)


def _by_speaker(
    report: Reporter, clips: list[ClipMouth], failed: dict[str, str]
) -> list[SpeakerResult]:
    """Return the results of every speaker; those without one go to `failed`."""
    from mggtalk_cli.evaluation.speech import speaker_results

    results: list[SpeakerResult] = []
    for speaker in sorted({clip.speaker for clip in clips}):
        try:
            results += speaker_results([clip for clip in clips if clip.speaker == speaker])
        except MggTalkError as error:
            failed[speaker] = str(error)
            report.warn(f"{speaker} left out: {error}")
    return results


def _print(results: Results, failed: dict[str, str], *, as_json: bool) -> None:
    """Print the results of each kind, and their medians by variant."""
    medians: dict[str, dict[str, dict[str, float]]] = {}
    for kind, found in results.items():
        if not found:
            continue
        rows = [asdict(result) for result in found]
        # The first two columns say what a row is about; videos have the default variant only.
        first, second = list(rows[0])[:2]
        names = list(rows[0])[2:]
        groups = dict.fromkeys(row.get("variant", "all") for row in rows)
        medians[kind] = {
            group: {
                name: median_of(row[name] for row in rows if row.get("variant", "all") == group)
                for name in names
            }
            for group in groups
        }
        if not as_json:
            table: list[Row] = [tuple(row.values()) for row in rows]
            table += [("median", group, *medians[kind][group].values()) for group in groups]
            print_table((first, second, *names), table)
    if as_json:
        print_json(results, {"median": medians}, failed)
    finish(failed)


def _write(report: Reporter, picture: np.ndarray, path: str, *, overwrite: bool) -> None:
    from mggtalk_cli.core.image import write_png

    with atomic_path(Path(path), overwrite=overwrite) as part, part.open("wb") as file:
        write_png(file, picture)
    report.wrote(path)


def _read_offsets(path: str | None) -> dict[str, float]:
    """Return frames of lateness by clip name: a JSON object, or one under "offset_frames"."""
    if path is None:
        return {}
    try:
        loaded = json.loads(Path(path).read_text("utf-8"))
        table = loaded.get("offset_frames", loaded)
        return {str(name): float(frames) for name, frames in table.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f'--offsets {path}: {error}; a JSON object {{"clip name": frames}} is expected'
        ) from None
