"""`mggtalk evaluate reenact`: clips that drive their own first frame, or one another's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mggtalk_cli.cli import options, reports
from mggtalk_cli.cli.results import finish_report, parse_pairs

if TYPE_CHECKING:
    from mggtalk_cli.evaluation.cross import CrossOptions
    from mggtalk_cli.evaluation.networks import Networks
    from mggtalk_cli.evaluation.reenact import ReenactOptions
    from mggtalk_cli.evaluation.runs import Protocol, Source

# The library has the same (a test compares them).
FRAMES = 50
MAX_FRAMES = 500  # of one clip and every method: 4 GiB at 512 px
ALL = "all"

Clips = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIP...", help="Clips of one face, or folders of them; with --cross, photos too."
    ),
]
FrameCount = Annotated[
    int,
    typer.Option("--frames", min=2, max=MAX_FRAMES, help="How many frames of each clip."),
]
Cross = Annotated[
    str | None,
    typer.Option(
        metavar="all|PAIRS.csv",
        help="Let each face be driven by the clips of others instead of its own: all of them, or "
        "the pairs in a file of lines PHOTO,DRIVER (names of what is given).",
    ),
]
KeepFrames = Annotated[
    bool,
    typer.Option(
        "--keep-frames",
        help="Write every method's frames to DIR/frames/CLIP/METHOD/0000.png: frame 0 is the "
        "photo, the numbers are over the others.",
    ),
]


def reenact(
    ctx: typer.Context,
    clips: Clips,
    output: reports.ReportDir = None,
    cross: Cross = None,
    methods: reports.OtherMethods = None,
    frames: FrameCount = FRAMES,
    keep_frames: KeepFrames = False,
    layout: reports.LayoutMode = reports.Layout.plain,
    weights: reports.Weights = None,
    size: options.Size = options.SIZE,
    variant: options.Variant = None,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Drive frame 0 of each clip by the clip itself, or by others, beside honest baselines."""
    files = parse_pairs(weights)
    peers = parse_pairs(methods, "--method")
    if keep_frames and output is None:
        raise typer.BadParameter("--keep-frames writes into the report's folder: name one with -o")
    if cross is not None and (peers or keep_frames):
        raise typer.BadParameter(
            "--cross has no true frames to compare with: leave out --method and --keep-frames"
        )
    from mggtalk_cli.evaluation.cross import CrossOptions
    from mggtalk_cli.evaluation.networks import open_networks
    from mggtalk_cli.evaluation.reenact import ReenactOptions
    from mggtalk_cli.evaluation.runs import run_protocol
    from mggtalk_cli.variants import choose_variants

    networks, how = open_networks(files), {"frames": frames, "max_side": size}
    variants = choose_variants(variant)
    if cross is not None:
        pairing = CrossOptions(**how, variants=variants)
        protocol, sources = _cross(clips, cross, layout.value, pairing, networks)
    else:
        kept = Path(output) / "frames" if keep_frames and output is not None else None
        chosen = ReenactOptions(**how, peers=peers, kept=kept, variants=variants)
        protocol, sources = _self(clips, layout.value, chosen, networks)
    report = run_protocol(
        protocol,
        sources,
        directory=None if output is None else Path(output),
        track=ctx.obj.track_items,
        warn=ctx.obj.warn,
    )
    finish_report(ctx.obj, report, as_json=as_json, output=output)


def _self(
    clips: list[str], layout: str, chosen: ReenactOptions, networks: Networks
) -> tuple[Protocol, list[Source]]:
    """Return self-reenactment and its clips."""
    from mggtalk_cli.evaluation.datasets import find_clips
    from mggtalk_cli.evaluation.reenact import reenact_protocol, with_peers

    protocol = reenact_protocol(chosen, networks)
    return protocol, with_peers(find_clips(clips, layout), chosen)


def _cross(
    inputs: list[str], cross: str, layout: str, chosen: CrossOptions, networks: Networks
) -> tuple[Protocol, list[Source]]:
    """Return cross-reenactment and its pairs."""
    from mggtalk_cli.evaluation.clips import PHOTO_SUFFIXES, find_files
    from mggtalk_cli.evaluation.cross import all_pairs, cross_protocol, listed_pairs
    from mggtalk_cli.evaluation.datasets import find_clips

    named = [name for name in inputs if Path(name).suffix.lower() in PHOTO_SUFFIXES]
    photos = find_files(named, PHOTO_SUFFIXES)
    clips = find_clips([name for name in inputs if name not in named], layout)
    protocol = cross_protocol(chosen, networks)
    if cross == ALL:
        return protocol, all_pairs(photos, clips)
    return protocol, listed_pairs(Path(cross), photos, clips)
