"""`mggtalk animate`: photo + driver -> film, through every stage."""

from __future__ import annotations

import typer

from mggtalk_cli.cli import controls, driving, files, options


def animate(
    ctx: typer.Context,
    photo: options.PhotoOrHead,
    output: options.FilmOut,
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
    size: options.Size = options.SIZE,
    crop: options.CropMode = options.Crop.face,
    face: options.Face = None,
    turntable: options.Turntable = False,
    densify: options.Densify = False,
    background: options.Background = None,
    device: options.DeviceMode = options.Device.auto,
    variant: options.Variant = None,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Animate a photo by speech, a clip, a phone's take or a motion: all stages, streaming."""
    kind, source = driving.choose_driver(driver, audio, video, motion)
    files.only_one_stdin(photo, source)
    if absolute and kind == "audio":
        raise typer.BadParameter("--absolute needs a video's own pose; use it with --video")
    files.check_inputs(photo, source)
    files.check_background(background)
    files.check_targets(output, overwrite=overwrite, film=True, pictures=True)
    files.check_transparency(output, background)
    from mggtalk_cli import pipeline

    kind = driving.kind_of(kind, source)
    asked = controls.asked(
        kind, seed=seed, blink=blink, head_scale=head_scale, mouth_scale=mouth_scale, still=still,
        expression=expression, expression_scale=expression_scale, gaze=gaze,
        turn=(yaw, pitch, roll), smooth=smooth,
    )  # fmt: skip
    build = pipeline.BuildOptions(size=size, crop=crop.value, face=face)
    view = pipeline.RenderOptions(turntable=turntable, densify=densify, device=device.value)
    variants = pipeline.choose_variants(variant)
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
        head = files.head_of(photo, build, variants)
        film = pipeline.animate(
            head, opened, absolute=absolute, controls=asked, options=view, background=background,
            variants=variants,
        )  # fmt: skip
        files.write_film(ctx.obj, film, output, overwrite=overwrite)
