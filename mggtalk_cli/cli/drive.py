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
    blink: options.Blink = "auto",
    head_scale: options.HeadScale = 1.0,
    mouth_scale: options.MouthScale = 1.0,
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

    style = files.speech_style(
        seed=seed, blink=blink, head_scale=head_scale, mouth_scale=mouth_scale, still=still
    )
    with files.local_file(source) as path:
        driver = pipeline.drive(path, fps=fps, style=style)
        moments = ctx.obj.track(driver.moments, driver.frame_count)
        motion = pipeline.motion_artifact(dataclasses.replace(driver, moments=moments))
        files.write_artifact(ctx.obj, motion, output, overwrite=overwrite)
