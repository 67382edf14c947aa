"""`mggtalk prepare`: clips -> examples to train on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mggtalk_cli.cli import options

# The library has the same (a test compares them).
FRAMES, SIZE = 50, 256
MIN_FRAMES, MAX_FRAMES = 10, 2000

Clips = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIP...",
        help="Clips of one face, or folders of them; MANIFEST.tsv beside them or one folder up "
        "(columns file, identity, ship) names the people, else the file name does: PERSON_01.mp4.",
    ),
]
Examples = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder of the examples, and of report.json and .md; takes up a run that was "
        "interrupted.",
    ),
]
FrameCount = Annotated[
    int,
    typer.Option(
        "--frames",
        min=MIN_FRAMES,
        max=MAX_FRAMES,
        help="How many frames of each example, 25 a second; the first one is the photo.",
    ),
]
Pieces = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Examples of each clip at most, one after another from its start.",
    ),
]
Jobs = Annotated[
    int | None, typer.Option(min=1, show_default="all cores", help="Examples made at once.")
]


def prepare(
    ctx: typer.Context,
    clips: Clips,
    output: Examples,
    frames: FrameCount = FRAMES,
    pieces: Pieces = 1,
    size: options.Size = SIZE,
    jobs: Jobs = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Turn clips into examples to train on: heads, motion, true frames, and ours beside them."""
    from mggtalk_cli.training import prepare as preparing
    from mggtalk_cli.training.clips import find_clips
    from mggtalk_cli.training.prepared import check_any, write_report

    report, folder = ctx.obj, Path(output)
    chosen = preparing.PrepareOptions(frames=frames, size=size, pieces=pieces)
    named = chosen.examples_of(find_clips(clips))
    made = preparing.prepare(
        named, folder, chosen, jobs=jobs or os.cpu_count() or 1, overwrite=overwrite
    )
    found = []
    for one in report.track(made, len(named)):
        found.append(one)
        if one.refused:
            report.warn(f"{one.title} left out: {one.refused}")
    check_any(found)
    write_report(found, chosen.settings, folder)
    report.wrote(str(folder / "report.md"), counted="example")
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
