"""`mggtalk drive`: sound or video -> Motion."""

from __future__ import annotations

import dataclasses

import typer

from mggtalk_cli.cli import files, options


def drive(
    ctx: typer.Context,
    source: options.Driver,
    output: options.Artifact,
    fps: options.Fps = options.FPS,
    seed: options.Seed = 0,
    still: options.Still = False,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Read expression, head pose and gaze from speech or a clip; its kind is found by content."""
    files.check_inputs(source)
    files.check_targets(output, overwrite=overwrite)
    from mggtalk_cli import pipeline

    with files.local_file(source) as path:
        driver = pipeline.drive(path, fps=fps, seed=seed, still=still)
        moments = ctx.obj.track(driver.moments, driver.frame_count)
        motion = pipeline.motion_artifact(dataclasses.replace(driver, moments=moments))
        files.write_artifact(ctx.obj, motion, output, overwrite=overwrite)
