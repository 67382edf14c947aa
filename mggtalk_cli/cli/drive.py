"""`mggtalk drive`: sound, video, a phone's take or a motion, or parts of several -> Motion."""

from __future__ import annotations

import dataclasses
import sys

import typer

from mggtalk_cli.cli import controls, driving, files, options


def drive(
    ctx: typer.Context,
    source: options.Driver,
    output: options.Artifact,
    csv: options.Csv = None,
    mouth_from: controls.MouthFrom = None,
    head_from: controls.HeadFrom = None,
    blink_from: controls.BlinkFrom = None,
    gaze_from: controls.GazeFrom = None,
    fps: options.Fps = options.FPS,
    track: options.Track = options.Tracking.flow,
    seed: options.Seed = 0,
    mouth_scale: controls.MouthScale = 1.0,
    head_scale: controls.HeadScale = 1.0,
    still: controls.Still = False,
    blink: controls.Blink = "auto",
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Read expression, head pose and gaze from speech, a clip or a take; parts may be mixed."""
    parts = {"mouth": mouth_from, "head": head_from, "blink": blink_from, "gaze": gaze_from}
    files.only_one_stdin(source, *parts.values())
    if output == csv == "-":
        raise typer.BadParameter("only one of -o and --csv can go to stdout: name a file")
    files.check_inputs(source, *parts.values())
    files.check_targets(output, None if csv == "-" else csv, overwrite=overwrite)
    from mggtalk_cli import pipeline

    style = driving.speech_style(seed=seed, blink=blink)
    with driving.open_merged(
        source, parts, fps=fps, style=style, track=track, reporter=ctx.obj
    ) as (merged, kind):
        asked = controls.asked(
            kind, seed=seed, blink=blink,
            head_scale=head_scale, mouth_scale=mouth_scale, still=still,
        )  # fmt: skip
        driver = pipeline.control(merged, asked)
        moments = ctx.obj.track(driver.moments, driver.frame_count)
        motion = pipeline.motion_artifact(dataclasses.replace(driver, moments=moments))
        if csv is not None:
            target = sys.stdout if csv == "-" else csv
            pipeline.export_take(motion, target, overwrite=overwrite)
        files.write_artifact(ctx.obj, motion, output, overwrite=overwrite)
    if csv is not None:
        ctx.obj.wrote(csv)
