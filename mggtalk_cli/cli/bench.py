"""`mggtalk bench`: speed of each stage on this machine."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mggtalk_cli.cli import options

if TYPE_CHECKING:
    from mggtalk_cli.evaluation.bench import Bench, Run

ROUNDS = 5

Photo = Annotated[
    str | None, typer.Argument(metavar="[PHOTO]", help="Photo to build from; else a made-up face.")
]
Rounds = Annotated[int, typer.Option(min=1, help="Measured rounds, after one to warm up.")]


def bench(
    ctx: typer.Context,
    photo: Photo = None,
    audio: options.Audio = None,
    video: options.Video = None,
    size: options.Size = options.SIZE,
    rounds: Rounds = ROUNDS,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure the speed of each stage on this machine: medians of several rounds."""
    from mggtalk_cli.evaluation.bench import bench as measure

    found = measure(
        photo, audio=audio, video=video, size=size, rounds=rounds, progress=ctx.obj.track
    )
    if as_json:
        typer.echo(json.dumps(_as_json(found), indent=2))
    else:
        _print_tables(found)


def _as_json(found: Bench) -> dict[str, Any]:
    runs = [
        {
            **asdict(run),
            "stages": {name: timing._asdict() for name, timing in run.stages.items()},
            "total": run.total._asdict(),
            "per_second": run.per_second,
        }
        for run in found.runs
    ]
    return {**asdict(found), "runs": runs}


def _print_tables(found: Bench) -> None:
    from rich.console import Console

    console = Console()
    machine = found.machine
    console.print(
        f"mggtalk {found.version}, python {machine.python}, {machine.platform}\n"
        f"{machine.processor}: {machine.processors} usable, {machine.torch_threads} threads"
        + (f", load {machine.load[0]:.1f} -> {machine.load[1]:.1f}" if machine.load else "")
        + "\n"
        + ", ".join(f"{name} {version}" for name, version in machine.packages.items())
        + f"\n{found.photo}, {found.size} px, {found.points} points; medians of {found.rounds}"
        f" rounds, {found.frames} frames each",
        highlight=False,
        markup=False,
    )
    for run in found.runs:
        console.print(_table(run))


def _table(run: Run) -> Any:
    from rich.table import Table

    table = Table(title=f"{run.name}: {run.per_second:.2f} {run.unit}s/s", title_justify="left")
    table.add_column("stage")
    for heading in (f"ms/{run.unit}", "least", "most", "share"):
        table.add_column(heading, justify="right")
    rows = [*run.stages.items(), ("total", run.total)]
    for name, timing in rows:
        share = timing.median / max(run.total.median, 1e-9)
        numbers = (f"{value:.1f}" for value in timing)
        table.add_row(name, *numbers, f"{share:.0%}", end_section=name == rows[-2][0])
    table.add_row("total in the first round", f"{run.first_ms:.1f}")
    return table
