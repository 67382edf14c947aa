"""`mggtalk evaluate ...`: what the tool is worth, in numbers, beside honest baselines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mggtalk_cli.cli import options
from mggtalk_cli.cli.evaluate_audio import audio
from mggtalk_cli.cli.results import Row, finish, mean_of, measure_each, print_json, print_table
from mggtalk_cli.core.output import atomic_path, check_output

if TYPE_CHECKING:
    from mggtalk_cli.evaluation.reenact import ClipResult

FRAMES = 50

Clips = Annotated[
    list[str], typer.Argument(metavar="CLIP...", help="Clips of one face, or folders of them.")
]
Photos = Annotated[
    list[str], typer.Argument(metavar="PHOTO...", help="Photos of one person, or folders of them.")
]
FrameCount = Annotated[int, typer.Option("--frames", min=2, help="How many frames of each clip.")]
SheetOut = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="PNG", help="Contact sheet to write."),
]


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
    results, failed = measure_each(
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
                name: mean_of([asdict(r.scores[method])[name] for r in results])
                for name in asdict(results[0].scores[method])
            }
            for method in methods
        },
    }
    if as_json:
        print_json(results, summary, failed)
    else:
        names = ("head_db", "frame_db", "mouth_db", "eyes_db", "ssim", "sharpness")
        rows: list[Row] = [
            (r.clip, method, *(asdict(score)[name] for name in names))
            for r in results
            for method, score in r.scores.items()
        ]
        mean = summary["mean"]
        rows += [("mean", m, *(mean[m][name] for name in names)) for m in methods]  # type: ignore[index]
        print_table(("clip", "method", *names), rows)
        for other in methods[1:]:
            won = summary["won_against"][other]  # type: ignore[index]
            typer.echo(f"head PSNR above {other} on {won} of {len(results)} clips")
    finish(failed)


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
    results, failed = measure_each(ctx.obj, files, lambda path: identity_result(path, build))
    rows = [asdict(result) for result in results]
    names = [name for name in rows[0] if name != "photo"]
    mean = {name: mean_of([row[name] for row in rows]) for name in names}
    worst = {name: min(row[name] for row in rows) for name in names}
    if as_json:
        print_json(results, {"photos": len(rows), "mean": mean, "worst": worst}, failed)
    else:
        table: list[Row] = [tuple(row.values()) for row in rows]
        table += [("mean", *mean.values()), ("worst", *worst.values())]
        print_table(("photo", *names), table)
    finish(failed)


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
    found, failed = measure_each(ctx.obj, files, lambda path: photo_views(path, build))
    results = [result for photo in found for result in photo.results]
    opaque = [result.opaque for result in results]
    if output is not None:
        with atomic_path(Path(output), overwrite=overwrite) as part, part.open("wb") as file:
            write_png(file, np.vstack([photo.row for photo in found]))
        ctx.obj.wrote(output)
    summary = {"views": len(results), "mean_opaque": mean_of(opaque), "worst_opaque": min(opaque)}
    if as_json:
        print_json(results, summary, failed)
    else:
        table: list[Row] = [
            (r.photo, f"{r.yaw_deg:+.0f}", f"{100 * r.opaque:.2f} %", r.holes) for r in results
        ]
        table.append(("mean", "", f"{100 * mean_of(opaque):.2f} %", sum(r.holes for r in results)))
        print_table(("photo", "yaw deg", "opaque", "holes"), table)
    finish(failed)


# Name, function, and the example that ends its help.
COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("reenact", reenact, "mggtalk evaluate reenact clips/ --frames 50 --json"),
    ("audio", audio, "mggtalk evaluate audio clips/ --offsets av_offsets.json"),
    ("identity", identity, "mggtalk evaluate identity portraits/"),
    ("views", views, "mggtalk evaluate views portraits/ -o sheet.png"),
)


def _head(result: ClipResult, method: str) -> float:
    return result.scores[method].head_db
