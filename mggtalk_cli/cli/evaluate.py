"""`mggtalk evaluate ...`: what the tool is worth, in numbers, beside honest baselines."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mggtalk_cli.cli import options
from mggtalk_cli.core.output import atomic_path, check_output
from mggtalk_cli.errors import InputError, MggTalkError

if TYPE_CHECKING:
    from mggtalk_cli.cli.progress import Reporter
    from mggtalk_cli.evaluation.reenact import ClipResult

# Some files failed, the others were finished and printed.
EXIT_PARTLY = 4

FRAMES, SECONDS = 50, 10.0
_FILE_WIDTH = 140  # columns where no terminal sets them

Clips = Annotated[
    list[str], typer.Argument(metavar="CLIP...", help="Clips of one face, or folders of them.")
]
Photos = Annotated[
    list[str], typer.Argument(metavar="PHOTO...", help="Photos of one person, or folders of them.")
]
FrameCount = Annotated[int, typer.Option("--frames", min=2, help="How many frames of each clip.")]
Seconds = Annotated[float, typer.Option(min=1, max=600, help="How much of each clip's beginning.")]
Offsets = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="Frames at 25 fps by which a clip's sound is late, by name."),
]
SheetOut = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="PNG", help="Contact sheet to write."),
]

Result = TypeVar("Result")
Row = Sequence[object]


def reenact(
    ctx: typer.Context,
    clips: Clips,
    frames: FrameCount = FRAMES,
    size: options.Size = options.SIZE,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Let frame 0 of each clip be driven by the clip; compare with its frames, by PSNR and SSIM."""
    from mggtalk_cli.evaluation.clips import VIDEO_SUFFIXES, find_files
    from mggtalk_cli.evaluation.reenact import reenact_clip

    files = find_files(clips, VIDEO_SUFFIXES)
    results, failed = _each(
        ctx.obj, files, lambda path: reenact_clip(path, frames=frames, max_side=size)
    )
    methods = list(results[0].scores)
    summary = {
        "clips": len(results),
        "won_against": {
            other: sum(_head(r, methods[0]) > _head(r, other) for r in results)
            for other in methods[1:]
        },
        "mean": {
            method: {
                name: _mean([asdict(r.scores[method])[name] for r in results])
                for name in asdict(results[0].scores[method])
            }
            for method in methods
        },
    }
    if as_json:
        _print_json(results, summary, failed)
    else:
        names = ("head_db", "frame_db", "mouth_db", "eyes_db", "ssim", "sharpness")
        rows: list[Row] = [
            (r.clip, method, *(asdict(score)[name] for name in names))
            for r in results
            for method, score in r.scores.items()
        ]
        mean = summary["mean"]
        rows += [("mean", m, *(mean[m][name] for name in names)) for m in methods]  # type: ignore[index]
        _print_table(("clip", "method", *names), rows)
        for other in methods[1:]:
            won = summary["won_against"][other]  # type: ignore[index]
            typer.echo(f"head PSNR above {other} on {won} of {len(results)} clips")
    _finish(failed)


def audio(
    ctx: typer.Context,
    clips: Clips,
    offsets: Offsets = None,
    seconds: Seconds = SECONDS,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Compare the mouth that speech predicts with the speaker's own, clip by clip."""
    from mggtalk_cli.evaluation.clips import VIDEO_SUFFIXES, find_files
    from mggtalk_cli.evaluation.speech import speaker_result

    late = _read_offsets(offsets)
    files = find_files(clips, VIDEO_SUFFIXES)
    results, failed = _each(
        ctx.obj,
        files,
        lambda path: speaker_result(path, offset=late.get(path.stem, 0), seconds=seconds),
    )
    rows = [asdict(result) for result in results]
    names = [name for name in rows[0] if name != "clip"]
    median = {name: _median([row[name] for row in rows]) for name in names}
    if as_json:
        _print_json(results, {"speakers": len(rows), "median": median}, failed)
    else:
        table: list[Row] = [tuple(row.values()) for row in rows]
        _print_table(("clip", *names), [*table, ("median", *median.values())])
    _finish(failed)


def identity(
    ctx: typer.Context,
    photos: Photos,
    size: options.Size = options.SIZE,
    crop: options.CropMode = options.Crop.face,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure how well a head gives its photo back: at rest, and moved by a known warp."""
    from mggtalk_cli import pipeline
    from mggtalk_cli.evaluation.clips import PHOTO_SUFFIXES, find_files
    from mggtalk_cli.evaluation.identity import identity_result

    build = pipeline.BuildOptions(size=size, crop=crop.value)
    files = find_files(photos, PHOTO_SUFFIXES)
    results, failed = _each(ctx.obj, files, lambda path: identity_result(path, build))
    rows = [asdict(result) for result in results]
    names = [name for name in rows[0] if name != "photo"]
    mean = {name: _mean([row[name] for row in rows]) for name in names}
    worst = {name: min(row[name] for row in rows) for name in names}
    if as_json:
        _print_json(results, {"photos": len(rows), "mean": mean, "worst": worst}, failed)
    else:
        table: list[Row] = [tuple(row.values()) for row in rows]
        table += [("mean", *mean.values()), ("worst", *worst.values())]
        _print_table(("photo", *names), table)
    _finish(failed)


def views(
    ctx: typer.Context,
    photos: Photos,
    output: SheetOut = None,
    size: options.Size = options.SIZE,
    crop: options.CropMode = options.Crop.face,
    threads: options.Threads = None,
    as_json: options.Json = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Look at heads from aside, talking and blinking: holes in numbers, the rest as a sheet."""
    if output is not None:
        check_output(Path(output), overwrite=overwrite)
    import numpy as np

    from mggtalk_cli import pipeline
    from mggtalk_cli.core.image import write_png
    from mggtalk_cli.evaluation.clips import PHOTO_SUFFIXES, find_files
    from mggtalk_cli.evaluation.views import photo_views

    build = pipeline.BuildOptions(size=size, crop=crop.value)
    files = find_files(photos, PHOTO_SUFFIXES)
    found, failed = _each(ctx.obj, files, lambda path: photo_views(path, build))
    results = [result for photo in found for result in photo.results]
    opaque = [result.opaque for result in results]
    if output is not None:
        with atomic_path(Path(output), overwrite=overwrite) as part, part.open("wb") as file:
            write_png(file, np.vstack([photo.row for photo in found]))
        ctx.obj.wrote(output)
    summary = {"views": len(results), "mean_opaque": _mean(opaque), "worst_opaque": min(opaque)}
    if as_json:
        _print_json(results, summary, failed)
    else:
        table: list[Row] = [
            (r.photo, f"{r.yaw_deg:+.0f}", f"{100 * r.opaque:.2f} %", r.holes) for r in results
        ]
        table.append(("mean", "", f"{100 * _mean(opaque):.2f} %", sum(r.holes for r in results)))
        _print_table(("photo", "yaw deg", "opaque", "holes"), table)
    _finish(failed)


# Name, function, and the example that ends its help.
COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("reenact", reenact, "mggtalk evaluate reenact clips/ --frames 50 --json"),
    ("audio", audio, "mggtalk evaluate audio clips/ --offsets av_offsets.json"),
    ("identity", identity, "mggtalk evaluate identity portraits/"),
    ("views", views, "mggtalk evaluate views portraits/ -o sheet.png"),
)


def _each(
    report: Reporter, files: list[Path], measure: Callable[[Path], Result]
) -> tuple[list[Result], dict[str, str]]:
    """Return the results of the files, and the reason for each file that has none.

    Raises:
        InputError: not one file could be measured.
    """
    results, failed = [], {}
    for path in report.track(files, len(files)):
        try:
            results.append(measure(path))
        except MggTalkError as error:
            failed[str(path)] = str(error)
            report.warn(f"{path.name} left out: {error}")
    if not results:
        reason = next(iter(failed.values()))
        raise InputError(f"none of {len(files)} files can be measured; the first one: {reason}")
    return results, failed


def _finish(failed: dict[str, str]) -> None:
    if failed:
        raise typer.Exit(EXIT_PARTLY)


def _head(result: ClipResult, method: str) -> float:
    return result.scores[method].head_db


def _read_offsets(path: str | None) -> dict[str, int]:
    """Return frames of lateness by clip name: a JSON object, or one under "offset_frames"."""
    if path is None:
        return {}
    try:
        loaded = json.loads(Path(path).read_text("utf-8"))
        table = loaded.get("offset_frames", loaded)
        return {str(name): int(frames) for name, frames in table.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f'--offsets {path}: {error}; a JSON object {{"clip name": frames}} is expected'
        ) from None


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if value == value]


def _mean(values: Iterable[float]) -> float:
    finite = _finite(values)
    return statistics.fmean(finite) if finite else float("nan")


def _median(values: Iterable[float]) -> float:
    finite = _finite(values)
    return statistics.median(finite) if finite else float("nan")


def _print_json(results: Sequence[Any], summary: object, failed: dict[str, str]) -> None:
    """Print results as JSON, in which NaN and infinity are null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        odd = isinstance(value, float) and (value != value or abs(value) == float("inf"))
        return None if odd else value

    report = {"results": [asdict(r) for r in results], "summary": summary, "failed": failed}
    typer.echo(json.dumps(plain(report), indent=2, allow_nan=False))


def _print_table(columns: Sequence[str], rows: Sequence[Row]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    table = Table(box=None)
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=True)
    for row in rows:
        table.add_row(*(escape(_text(value)) for value in row))
    console.print(table)


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
