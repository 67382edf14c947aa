"""`mggtalk render`: Points, a head or a .ply -> Gaussians -> Frames."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mggtalk_cli.cli import files, options
from mggtalk_cli.core.output import FrameFiles, is_pattern
from mggtalk_cli.errors import InputError

if TYPE_CHECKING:
    from mggtalk_cli.artifacts import Artifact
    from mggtalk_cli.pipeline import RenderOptions, Variants


def render(
    ctx: typer.Context,
    points: options.Points,
    output: options.FramesOut,
    ply: options.Ply = None,
    yaw: options.Yaw = 0.0,
    pitch: options.Pitch = 0.0,
    roll: options.Roll = 0.0,
    turntable: options.Turntable = False,
    densify: options.Densify = False,
    device: options.DeviceMode = options.Device.auto,
    size: options.PlySize = None,
    up: options.PlyUp = None,
    variant: options.Variant = None,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Render posed points, a head at rest or any .ply to frames with transparency."""
    files.check_inputs(points)
    files.check_targets(output, ply, overwrite=overwrite, pictures=True)
    is_ply = files.is_ply(points)
    if not is_ply and (size is not None or up is not None):
        raise InputError(f"--size and --up are for a .ply; {points} has its own size and axes")
    if is_ply and variant:
        raise InputError(
            "--variant is for heads and points: a ply's Gaussians are drawn as they are"
        )
    from mggtalk_cli import pipeline

    view = pipeline.RenderOptions(yaw, pitch, roll, turntable, densify, device.value)
    if is_ply:
        frames = _frames_of_ply(points, ply, up=up, size=size, view=view, overwrite=overwrite)
        files.write_frames(ctx.obj, frames, output, overwrite=overwrite)
    else:
        variants = pipeline.choose_variants(variant, stages=("decoder",))
        posed = files.read_artifact(points, "points", "head")
        with _exported(
            posed, ply, densify=densify, overwrite=overwrite, variants=variants
        ) as passing:
            frames = pipeline.render(passing, view, variants=variants)
            files.write_frames(ctx.obj, frames, output, overwrite=overwrite)
    if ply is not None:
        ctx.obj.wrote(ply)


def _frames_of_ply(
    path: str,
    ply: str | None,
    *,
    up: options.Up | None,
    size: int | None,
    view: RenderOptions,
    overwrite: bool,
) -> Artifact:
    """Return the frames of a .ply; write it to `ply`, +y up, if that is given."""
    from mggtalk_cli import pipeline
    from mggtalk_cli.artifacts.ply import write_ply

    if ply is not None and is_pattern(ply):
        raise InputError(f"--ply {ply}: {path} is one frame: use a name without %")
    cloud, kept = pipeline.open_ply(path, up=None if up is None else up.value)
    frames = pipeline.render_cloud(cloud, kept, view, size=size)
    if ply is not None:
        write_ply(Path(ply), cloud, view=kept, overwrite=overwrite)
    return frames


@contextmanager
def _exported(
    posed: Artifact, ply: str | None, *, densify: bool, overwrite: bool, variants: Variants
) -> Iterator[Artifact]:
    """Yield the same points, written to `ply`: the first frame, or each as it passes.

    What a sequence has written is removed if the run fails later.
    """
    from mggtalk_cli import pipeline

    if ply is None:
        yield posed
    elif is_pattern(ply):
        with FrameFiles(Path(ply), overwrite=overwrite) as sequence:
            yield pipeline.export_plys(posed, sequence, densify=densify, variants=variants)
    else:
        yield pipeline.export_ply(
            posed, ply, densify=densify, overwrite=overwrite, variants=variants
        )
