"""`mggtalk render`: Points -> Gaussians -> Frames."""

from __future__ import annotations

import typer

from mggtalk_cli.cli import files, options
from mggtalk_cli.core.output import is_pattern


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
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Render posed points, or a head at rest, to frames with transparency."""
    files.check_inputs(points)
    files.check_targets(output, ply, overwrite=overwrite, pictures=True)
    from mggtalk_cli import pipeline

    posed = files.read_artifact(points, "points", "head")
    if ply is not None:
        posed = pipeline.export_ply(posed, ply, densify=densify, overwrite=overwrite)
    view = pipeline.RenderOptions(yaw, pitch, roll, turntable, densify, device.value)
    frames = pipeline.render(posed, view)
    if is_pattern(output):
        files.write_pictures(ctx.obj, frames, output, overwrite=overwrite)
    else:
        files.write_artifact(ctx.obj, frames, output, overwrite=overwrite)
