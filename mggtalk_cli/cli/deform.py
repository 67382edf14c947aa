"""`mggtalk deform`: Head + driver -> Points."""

from __future__ import annotations

import typer

from mggtalk_cli.cli import controls, driving, files, options


def deform(
    ctx: typer.Context,
    head: options.Head,
    output: options.Artifact,
    driver: options.AnyDriver = None,
    audio: options.Audio = None,
    video: options.Video = None,
    motion: options.Motion = None,
    fps: options.Fps = options.FPS,
    track: options.Track = options.Tracking.flow,
    look_ahead: options.LookAhead = options.LOOK_AHEAD_MS,
    seed: options.Seed = 0,
    absolute: controls.Absolute = False,
    expression: controls.Expression = None,
    expression_scale: controls.ExpressionScale = 1.0,
    mouth_scale: controls.MouthScale = 1.0,
    head_scale: controls.HeadScale = 1.0,
    still: controls.Still = False,
    yaw: controls.HeadYaw = "0",
    pitch: controls.HeadPitch = "0",
    roll: controls.HeadRoll = "0",
    blink: controls.Blink = "auto",
    gaze: controls.Gaze = "track",
    smooth: controls.Smooth = 0.0,
    variant: options.Variant = None,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Move a head's points by speech, a clip, a phone's take or a motion artifact."""
    kind, source = driving.choose_driver(driver, audio, video, motion)
    files.only_one_stdin(head, source)
    if absolute and kind == "audio":
        raise typer.BadParameter("--absolute needs a video's own pose; use it with --video")
    files.check_inputs(head, source)
    files.check_targets(output, overwrite=overwrite)
    from mggtalk_cli import pipeline

    kind = driving.kind_of(kind, source)
    asked = controls.asked(
        kind, seed=seed, blink=blink, head_scale=head_scale, mouth_scale=mouth_scale, still=still,
        expression=expression, expression_scale=expression_scale, gaze=gaze,
        turn=(yaw, pitch, roll), smooth=smooth,
    )  # fmt: skip
    variants = pipeline.choose_variants(variant, stages=("deform",))
    built = files.read_artifact(head, "head")
    style = driving.speech_style(seed=seed, blink=blink)
    with driving.open_driver(
        kind,
        source,
        fps=fps,
        style=style,
        look_ahead_ms=look_ahead,
        track=track,
        reporter=ctx.obj,
    ) as opened:
        points = pipeline.deform(
            built, opened, absolute=absolute, controls=asked, variants=variants
        )
        files.write_artifact(ctx.obj, points, output, overwrite=overwrite)
