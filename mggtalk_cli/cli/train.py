"""`mggtalk train ...`: make weights from clips of people who talk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mggtalk_cli.cli import options
from mggtalk_cli.core.output import check_output

if TYPE_CHECKING:
    from mggtalk_cli.training.audio import AudioTraining

Clips = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIP...",
        help="Clips of one person who talks, or folders of them; MANIFEST.tsv beside them or one "
        "folder up (columns file, identity, ship) names the speakers, else the file name does: "
        "SPEAKER_01.mp4.",
    ),
]
Checkpoint = Annotated[
    str,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Weights (.safetensors) to write, and a card (.md)."
    ),
]
Cache = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDER",
        show_default="OUTPUT.cache",
        help="Where tracked clips are kept; an interrupted run goes on from there.",
    ),
]
OnlyShip = Annotated[
    bool,
    typer.Option(
        "--only-ship", help="Learn only from clips that the manifest lets ship; test on the rest."
    ),
]
Jobs = Annotated[
    int | None, typer.Option(min=1, show_default="all cores", help="Clips tracked at once.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of everything random.")]


def audio(
    ctx: typer.Context,
    clips: Clips,
    output: Checkpoint,
    cache: Cache = None,
    only_ship: OnlyShip = False,
    jobs: Jobs = None,
    seed: Seed = 0,
    as_json: options.Json = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Train the network that moves the mouth, and measure it on speakers it never heard."""
    target = Path(output)
    for path in (target, target.with_suffix(".md")):
        check_output(path, overwrite=overwrite)
    from mggtalk_cli.training.audio import train_audio
    from mggtalk_cli.training.clips import find_clips
    from mggtalk_cli.training.model_card import write_network
    from mggtalk_cli.training.mouth import Recipe
    from mggtalk_cli.training.recordings import Refused, recordings

    report = ctx.obj
    named = find_clips(clips)
    folder = Path(cache) if cache is not None else target.with_suffix(".cache")
    made = recordings(named, folder, jobs=jobs or os.cpu_count() or 1, seed=seed)
    found = []
    for one in report.track(made, len(named)):
        found.append(one)
        if isinstance(one, Refused):
            report.warn(f"{one.clip.path.name} left out: {one.reason}")
    result = train_audio(found, Recipe(seed=seed), only_ship=only_ship, told=report.note)
    card = write_network(result, target, overwrite=overwrite)
    report.wrote(output)
    report.wrote(str(card))
    _print(result, as_json=as_json)


def _print(result: AudioTraining, *, as_json: bool) -> None:
    from mggtalk_cli.training.model_card import score_table
    from mggtalk_cli.training.scores import medians

    if not as_json:
        typer.echo(score_table(result.held_out))
        return

    def plain(values: dict[str, object]) -> dict[str, object]:
        return {key: None if value != value else value for key, value in values.items()}

    summary = {
        "learned_from": len(result.learned),
        "held_out": [plain(asdict(score)) for score in result.held_out],
        "median": plain(dict(medians(result.held_out))),
        "offsets": result.offsets,
        "refused": {str(one.clip.path): one.reason for one in result.refused},
    }
    typer.echo(json.dumps(summary, indent=2, allow_nan=False))


# Name, function, and the example that ends its help.
COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("audio", audio, "mggtalk train audio clips/ -o mouth.safetensors"),
)
