"""`mggtalk synth`: made-up heads with known truth, as examples to train on."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mggtalk_cli.cli import options
from mggtalk_cli.cli.prepare import Examples, Jobs

# The library has the same (a test compares them).
SIZE, VIEWS = 256, 3
MAX_VIEWS, MAX_HEADS = 64, 100_000

Heads = Annotated[int, typer.Argument(metavar="N", min=1, max=MAX_HEADS, help="How many heads.")]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]
Views = Annotated[
    int,
    typer.Option(
        min=1,
        max=MAX_VIEWS,
        help="Pictures of each head: the photo, then in turns the same face from elsewhere and "
        "another expression.",
    ),
]


def synth(
    ctx: typer.Context,
    heads: Heads,
    output: Examples,
    seed: Seed = 0,
    size: options.Size = SIZE,
    views: Views = VIEWS,
    jobs: Jobs = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Draw people who do not exist, with true depth, normals and other views, to train on."""
    from mggtalk_cli.training import synth as drawing

    report, folder = ctx.obj, Path(output)
    chosen = drawing.SynthOptions(seed=seed, size=size, views=views)
    made = drawing.synthesize(
        heads, folder, chosen, jobs=jobs or os.cpu_count() or 1, overwrite=overwrite
    )
    found = []
    for one in report.track(made, heads):
        found.append(one)
        if one.refused:
            report.warn(f"{one.name} left out: {one.refused}")
    drawing.write_report(found, chosen, folder)
    report.wrote(str(folder / "report.md"), counted="head")
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
