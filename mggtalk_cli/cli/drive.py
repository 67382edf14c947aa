"""`mggtalk drive`: sound or video -> Motion."""

from __future__ import annotations

import typer

from mggtalk_cli.cli import files, options


def drive(
    ctx: typer.Context,
    source: options.Driver,
    output: options.Artifact,
    fps: options.Fps = options.FPS,
    seed: options.Seed = 0,
    still: options.Still = False,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Read expression, head pose and gaze from speech or a clip; its kind is found by content."""
    files.check_targets(output, overwrite=overwrite)
    from mggtalk_cli import pipeline

    with files.local_file(source) as path:
        driver = pipeline.drive(path, fps=fps, seed=seed, still=still)
        motion = pipeline.motion_artifact(files.tracked_driver(ctx.obj, driver))
        files.write_artifact(ctx.obj, motion, output, overwrite=overwrite)
