"""`mggtalk bench ...`: speed on this machine, of each stage and of the renderer alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mggtalk_cli.cli import options

if TYPE_CHECKING:
    from mggtalk_cli.evaluation.bench import Bench, Run
    from mggtalk_cli.evaluation.bench_render import Cell, RenderBench
    from mggtalk_cli.evaluation.machine import Machine

ROUNDS = 5
_FILE_WIDTH = 120  # columns where no terminal sets them

Photo = Annotated[
    str | None, typer.Argument(metavar="[PHOTO]", help="Photo to build from; else a made-up face.")
]
Rounds = Annotated[int, typer.Option(min=1, help="Measured rounds, after one to warm up.")]
Counts = Annotated[
    list[int] | None,
    typer.Option(
        "--count",
        min=1,
        metavar="N",
        show_default="100k, 262k, 524k",
        help="Gaussians; repeatable.",
    ),
]
Sizes = Annotated[
    list[int] | None,
    typer.Option(
        "--size",
        min=1,
        max=4096,
        metavar="PX",
        show_default="256, 512, 1024",
        help="Side of the image; repeatable.",
    ),
]
Peers = Annotated[
    bool, typer.Option("--peers/--no-peers", help="Measure other renderers found here, too.")
]


def pipeline(
    ctx: typer.Context,
    photo: Photo = None,
    audio: options.Audio = None,
    video: options.Video = None,
    size: options.Size = options.SIZE,
    rounds: Rounds = ROUNDS,
    device: options.DeviceMode = options.Device.auto,
    variant: options.Variant = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure each stage from photo to film: medians of several rounds."""
    from mggtalk_cli.evaluation.bench import bench as measure
    from mggtalk_cli.variants import choose_variants

    found = measure(
        photo,
        audio=audio,
        video=video,
        size=size,
        rounds=rounds,
        device=device.value,
        variants=choose_variants(variant),
        progress=ctx.obj.track_items,
    )
    if as_json:
        plain = _plain(found)
        for row, run in zip(plain["runs"], found.runs, strict=True):
            row["per_second"] = run.per_second
            row["finished_per_second"] = run.finished_per_second
        typer.echo(json.dumps(plain, indent=2))
    else:
        _print_pipeline(found)


def render(
    ctx: typer.Context,
    count: Counts = None,
    size: Sizes = None,
    rounds: Rounds = ROUNDS,
    peers: Peers = True,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure the CPU renderer, forward and backward, beside other renderers."""
    from mggtalk_cli.evaluation.bench_render import COUNTS, SIZES, bench_render

    found = bench_render(
        count or COUNTS, size or SIZES, rounds=rounds, peers=peers, progress=ctx.obj.track_items
    )
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=2))
    else:
        _print_render(found)


# Name, function, and the example that ends its help.
COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("pipeline", pipeline, "mggtalk bench pipeline portrait.jpg --rounds 3"),
    ("render", render, "mggtalk bench render --count 262144 --size 512"),
)


def _plain(found: Bench | RenderBench) -> dict[str, Any]:
    """Return what JSON can hold; a timing becomes an object of its median, least and most."""

    def named(value: Any) -> Any:
        if hasattr(value, "_asdict"):
            return value._asdict()
        if isinstance(value, dict):
            return {key: named(item) for key, item in value.items()}
        return [named(item) for item in value] if isinstance(value, list) else value

    plain: dict[str, Any] = named(asdict(found))
    return plain


def _console() -> Any:
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_FILE_WIDTH)


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Any:
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for heading in left:
        table.add_column(heading)
    for heading in right:
        table.add_column(heading, justify="right")
    return table


def _about(version: str, machine: Machine) -> str:
    load = f", load {machine.load[0]:.1f} -> {machine.load[1]:.1f}" if machine.load else ""
    return (
        f"mggtalk {version}, python {machine.python}, {machine.platform}\n"
        f"{machine.processor}: {machine.processors} usable, {machine.torch_threads} threads{load}\n"
        + ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    )


def _print_pipeline(found: Bench) -> None:
    console = _console()
    console.print(
        f"{_about(found.version, found.machine)}\n"
        f"animated on: {found.device}\n"
        f"{found.photo}, {found.size} px, {found.points} points; medians of {found.rounds}"
        f" rounds, {found.frames} frames each",
        markup=False,
    )
    learned = {stage: how for stage, how in found.variants.items() if how != "analytic"}
    for stage, how in learned.items():
        console.print(f"{stage}: {how}", markup=False)
    for run in found.runs:
        console.print(_stages(run))


def _stages(run: Run) -> Any:
    title = f"{run.name}: {run.per_second:.2f} {run.unit}s/s"
    if run.unit == "frame":
        title += f"\n{run.finished_per_second:.2f} frames/s without start and encode"
    table = _table(title, ["stage"], [f"ms/{run.unit}", "least", "most", "share"])
    rows = [*run.stages.items(), ("total", run.total)]
    for name, timing in rows:
        share = timing.median / max(run.total.median, 1e-9)
        numbers = (f"{value:.1f}" for value in timing)
        table.add_row(name, *numbers, f"{share:.0%}", end_section=name == rows[-2][0])
    table.add_row("total in the first round", f"{run.first_ms:.1f}")
    return table


def _print_render(found: RenderBench) -> None:
    from mggtalk_cli.evaluation.bench_render import BOTH, FORWARD

    console = _console()
    console.print(
        f"{_about(found.version, found.machine)}\n"
        f"medians of {found.rounds} rounds, ms; {LIMIT.format(**asdict(found.limits))}",
        markup=False,
    )
    console.print(_overview(found.cells))
    for work in (FORWARD, BOTH):
        console.print(_split(found.cells, work))
    others = _compared(found.cells)
    if others.row_count:
        console.print(others)
    if found.cost is not None:
        console.print(COST.format(**asdict(found.cost)), markup=False)
    for name, reason in found.left_out.items():
        console.print(f"left out: {name}: {reason}", markup=False)


LIMIT = (
    "the limit is the least time to move a scene's bytes and do its arithmetic at this machine's "
    "best, measured: copying {gigabytes:.1f} GB/s, multiplying matrices {gflops:.0f} Gflop/s"
)
COST = (
    "forward = {fixed_ms:.1f} ms + {ns_per_gaussian:.0f} ns per Gaussian + {ns_per_pair:.2f} ns "
    "per blended pair, within {worst:.0%} everywhere"
)


def _overview(cells: list[Cell]) -> Any:
    from mggtalk_cli.evaluation.bench_render import BOTH, FORWARD, speed_up
    from mggtalk_cli.evaluation.renderers import OURS

    columns = ["forward", "pairs", "pairs/s", "of limit", "against 1 thread"]
    columns += ["forward + backward", "against 1 thread"]
    table = _table("mggtalk on the CPU", [], ["Gaussians", "px", *columns])
    for cell in cells:
        table.add_row(
            str(cell.gaussians),
            str(cell.size),
            _milliseconds(cell, OURS, FORWARD),
            f"{cell.pairs / 1e6:.1f} M",
            f"{cell.pairs_per_second / 1e6:.0f} M",
            f"{cell.limit_share:.1%}",
            _times(speed_up(cell, FORWARD)),
            _milliseconds(cell, OURS, BOTH),
            _times(speed_up(cell, BOTH)),
        )
    return table


def _split(cells: list[Cell], work: str) -> Any:
    """Return our stages, scene by scene."""
    from mggtalk_cli.evaluation.renderers import OURS

    runs = [(cell, run) for cell in cells if (run := cell.run(OURS, work)) is not None]
    names = list(runs[0][1].stages) if runs else []
    table = _table(f"stages of {work}", [], ["Gaussians", "px", *names])
    for cell, run in runs:
        spent = (f"{timing.median:.1f}" for timing in run.stages.values())
        table.add_row(str(cell.gaussians), str(cell.size), *spent)
    return table


def _compared(cells: list[Cell]) -> Any:
    from mggtalk_cli.evaluation.bench_render import BOTH, FORWARD
    from mggtalk_cli.evaluation.renderers import OURS, OURS_ALONE

    columns = ["Gaussians", "px", "forward", "x ours", "forward + backward", "x ours"]
    table = _table("other renderers", ["renderer"], columns)
    for cell in cells:
        for name in dict.fromkeys(run.renderer for run in cell.runs):
            if name not in (OURS, OURS_ALONE):
                numbers = [
                    text
                    for work in (FORWARD, BOTH)
                    for text in (_milliseconds(cell, name, work), _ratio(cell, name, work))
                ]
                table.add_row(name, str(cell.gaussians), str(cell.size), *numbers)
    return table


def _milliseconds(cell: Cell, renderer: str, work: str) -> str:
    run = cell.run(renderer, work)
    return "-" if run is None else f"{run.total.median:.1f}"


def _ratio(cell: Cell, renderer: str, work: str) -> str:
    run = cell.run(renderer, work)
    return _times(None if run is None else run.times_ours)


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f} x"
