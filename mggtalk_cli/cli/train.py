"""`mggtalk train ...`: make weights from clips of people who talk, or from prepared examples."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mggtalk_cli.cli import options
from mggtalk_cli.core.output import check_output

if TYPE_CHECKING:
    from mggtalk_cli.training.audio import AudioTraining
    from mggtalk_cli.training.stage import StageTraining

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

Data = Annotated[
    list[str],
    typer.Argument(
        metavar="DATA",
        help="Examples that `prepare` or `synth` made, or folders of them.",
    ),
]
StageFile = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Checkpoint (.safetensors) to write, with a card (.md) and the run's folder (.train): "
        "state, log.csv, TensorBoard, sample sheets.",
    ),
]
RecipeFile = Annotated[
    str | None,
    typer.Option("--recipe", metavar="FILE", help="TOML file that changes the stage's recipe."),
]
Steps = Annotated[
    int | None, typer.Option(min=1, show_default="the recipe's", help="Steps of the optimiser.")
]
RecipeSeed = Annotated[
    int | None, typer.Option(min=0, show_default="the recipe's", help="Of everything random.")
]
StageShip = Annotated[
    bool,
    typer.Option("--only-ship", help="Learn only from examples whose licence lets weights ship."),
]
Start = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Checkpoint whose networks of the same names begin it."),
]
Until = Annotated[
    int | None,
    typer.Option(min=1, metavar="STEP", help="Stop there, to go on with --resume another time."),
]
Resume = Annotated[
    bool, typer.Option("--resume", help="Go on where the run in FILE's .train folder stopped.")
]
TrainingDevice = Annotated[
    options.Device, typer.Option(help="Where to train; several GPUs: start it with torchrun.")
]


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


def _stage_command(stage: str, about: str) -> Callable[..., None]:
    """Return the command that trains a stage."""

    def command(
        ctx: typer.Context,
        data: Data,
        output: StageFile,
        recipe: RecipeFile = None,
        steps: Steps = None,
        seed: RecipeSeed = None,
        only_ship: StageShip = False,
        start: Start = None,
        until: Until = None,
        device: TrainingDevice = options.Device.auto,
        resume: Resume = False,
        as_json: options.Json = False,
        overwrite: options.Overwrite = False,
        quiet: options.Quiet = False,
        log_json: options.LogJson = False,
        debug: options.Debug = False,
    ) -> None:
        from mggtalk_cli.training.launch import is_first_process
        from mggtalk_cli.training.recipe import stage_recipe
        from mggtalk_cli.training.stage import card_path, train_stage

        report = ctx.obj
        report.quiet = report.quiet or not is_first_process()
        how = stage_recipe(
            stage,
            Path(recipe) if recipe is not None else None,
            **{"steps": steps, "seed": seed, "only_ship": only_ship or None},
        )
        made = train_stage(
            stage,
            data,
            how,
            Path(output),
            resume=resume,
            overwrite=overwrite,
            start=Path(start) if start is not None else None,
            until=until,
            device=device.value,
            track=partial(report.track, counted="step"),
            told=report.note,
        )
        if is_first_process():
            if made.finished:
                report.wrote(output)
                report.wrote(str(card_path(Path(output))))
            _print_stage(made, as_json=as_json)

    command.__name__ = stage
    command.__doc__ = about
    return command


def _print_stage(made: StageTraining, *, as_json: bool) -> None:
    from mggtalk_cli.training.stage import finite
    from mggtalk_cli.training.stage_card import number_table

    outcome = made.outcome
    if not as_json:
        typer.echo(number_table(outcome.before, outcome.after))
        return
    summary = asdict(outcome) | {"before": finite(outcome.before), "after": finite(outcome.after)}
    speed = finite({k: summary[k] for k in ("steps_per_s", "examples_per_s", "peak_mib")})
    told = {"stage": made.stage, "learned_from": len(made.learned), "finished": made.finished}
    typer.echo(json.dumps({**told, **summary, **speed}, indent=2, allow_nan=False))


# Stage -> what its command does; the first line of its help.
STAGES = {
    "refiner": "Train the network that corrects a head's depth (`build-head`).",
    "deform": "Train the network that moves a head's points with its expression (`deform`).",
    "decoder": "Train the networks that make Gaussians of a head's points (`render`).",
    "inpaint": "Train the network that joins head and background (`inpaint`).",
    "mouth": "Train the networks that correct mouth and eyes in the final frame (`inpaint`).",
    "joint": "Train the networks of several stages together.",
    "sync": "Train SyncNet, which tells whether lips and sound belong together.",
}

# Name, function, and the example that ends its help.
COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("audio", audio, "mggtalk train audio clips/ -o mouth.safetensors"),
    *(
        (stage, _stage_command(stage, about), f"mggtalk train {stage} data/ -o {stage}.safetensors")
        for stage, about in STAGES.items()
    ),
)
