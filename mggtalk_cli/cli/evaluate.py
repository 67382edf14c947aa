"""`mggtalk evaluate ...`: what the tool is worth, in numbers, beside honest baselines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mggtalk_cli.cli import options, reports
from mggtalk_cli.cli.evaluate_audio import audio
from mggtalk_cli.cli.evaluate_compare import compare
from mggtalk_cli.cli.evaluate_reenact import FRAMES, Clips, FrameCount, reenact
from mggtalk_cli.cli.results import finish_report, parse_pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mggtalk_cli.cli.progress import Reporter
    from mggtalk_cli.evaluation.runs import Protocol, Source

Photos = Annotated[
    list[str], typer.Argument(metavar="PHOTO...", help="Photos of one person, or folders of them.")
]
Levels = Annotated[
    list[float] | None,
    typer.Option(
        "--level",
        min=0,
        max=1,
        help="Standard deviation of the noise; repeatable.",
        show_default="0.05, 0.1, 0.2",
    ),
]
NoiseSeed = Annotated[int, typer.Option("--seed", min=0, help="Seed of the noise.")]
Switches = Annotated[
    list[str] | None,
    typer.Option(
        "--switch",
        metavar="NAME",
        help="Switch off this part only; repeatable; a wrong name is answered by all of them.",
        show_default="each, one at a time",
    ),
]


def noise(
    ctx: typer.Context,
    clips: Clips,
    output: reports.ReportDir = None,
    levels: Levels = None,
    seed: NoiseSeed = 0,
    frames: FrameCount = FRAMES,
    layout: reports.LayoutMode = reports.Layout.plain,
    size: options.Size = options.SIZE,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Let frame 0 of each clip be driven by the clip with noise on the expression coefficients."""
    from mggtalk_cli.evaluation.datasets import find_clips
    from mggtalk_cli.evaluation.noise import LEVELS, noise_protocol

    protocol = noise_protocol(levels=levels or LEVELS, seed=seed, frames=frames, max_side=size)
    _measure(ctx.obj, protocol, find_clips(clips, layout.value), output, as_json=as_json)


def ablation(
    ctx: typer.Context,
    clips: Clips,
    output: reports.ReportDir = None,
    switches: Switches = None,
    frames: FrameCount = FRAMES,
    layout: reports.LayoutMode = reports.Layout.plain,
    size: options.Size = options.SIZE,
    variant: options.Variant = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Switch parts off one by one, and let frame 0 of each clip be driven by the clip."""
    from mggtalk_cli.evaluation.ablation import ablation_protocol
    from mggtalk_cli.evaluation.datasets import find_clips
    from mggtalk_cli.variants import choose_variants

    protocol = ablation_protocol(
        switches=switches or (), frames=frames, max_side=size, variants=choose_variants(variant)
    )
    _measure(ctx.obj, protocol, find_clips(clips, layout.value), output, as_json=as_json)


def identity(
    ctx: typer.Context,
    photos: Photos,
    output: reports.ReportDir = None,
    size: options.Size = options.SIZE,
    crop: options.CropMode = options.Crop.face,
    variant: options.Variant = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Measure how well a head gives its photo back: at rest, and moved by a known warp."""
    from mggtalk_cli import pipeline
    from mggtalk_cli.evaluation.identity import identity_protocol

    variants = pipeline.choose_variants(variant, stages=("refiner", "decoder", "inpaint", "mouth"))
    protocol = identity_protocol(pipeline.BuildOptions(size=size, crop=crop.value), variants)
    _measure(ctx.obj, protocol, _photo_sources(photos), output, as_json=as_json)


def views(
    ctx: typer.Context,
    photos: Photos,
    output: reports.ReportDir = None,
    weights: reports.Weights = None,
    size: options.Size = options.SIZE,
    crop: options.CropMode = options.Crop.face,
    variant: options.Variant = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Look at heads from aside: holes, pose, landmarks and likeness, beside a flat card."""
    files = parse_pairs(weights)
    from mggtalk_cli import pipeline
    from mggtalk_cli.evaluation.networks import open_networks
    from mggtalk_cli.evaluation.views import views_protocol

    build = pipeline.BuildOptions(size=size, crop=crop.value)
    variants = pipeline.choose_variants(variant, stages=("refiner", "deform", "decoder"))
    protocol = views_protocol(build, open_networks(files), variants)
    _measure(ctx.obj, protocol, _photo_sources(photos), output, as_json=as_json)


def _photo_sources(photos: list[str]) -> list[Source]:
    """Return one source per photo named, or found in the folders named."""
    from mggtalk_cli.evaluation.clips import PHOTO_SUFFIXES, find_files
    from mggtalk_cli.evaluation.runs import Source

    return [Source(path.stem, (path,)) for path in find_files(photos, PHOTO_SUFFIXES)]


def _measure(
    reporter: Reporter,
    protocol: Protocol,
    sources: Sequence[Source],
    output: str | None,
    *,
    as_json: bool,
) -> None:
    """Run a protocol, write its report, print it."""
    from mggtalk_cli.evaluation.runs import run_protocol

    report = run_protocol(
        protocol,
        sources,
        directory=None if output is None else Path(output),
        track=reporter.track_items,
        warn=reporter.warn,
    )
    finish_report(reporter, report, as_json=as_json, output=output)


# Name, function, and the example that ends its help.
COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("reenact", reenact, "mggtalk evaluate reenact clips/ --frames 50 -o reenact"),
    ("audio", audio, "mggtalk evaluate audio clips/ --offsets av_offsets.json -o audio"),
    ("noise", noise, "mggtalk evaluate noise clips/ -o noise"),
    ("views", views, "mggtalk evaluate views portraits/ -o views"),
    ("identity", identity, "mggtalk evaluate identity portraits/ -o identity"),
    ("ablation", ablation, "mggtalk evaluate ablation clips/ -o ablation"),
    ("compare", compare, "mggtalk evaluate compare before/ after/ --margin head_db=0.05"),
)
