"""`mggtalk animate`: photo + driver -> film, through every stage."""

from __future__ import annotations

import typer

from mggtalk_cli.cli import files, options


def animate(
    ctx: typer.Context,
    photo: options.PhotoOrHead,
    output: options.FilmOut,
    audio: options.Audio = None,
    video: options.Video = None,
    motion: options.Motion = None,
    absolute: options.Absolute = False,
    fps: options.Fps = options.FPS,
    seed: options.Seed = 0,
    blink: options.Blink = "auto",
    head_scale: options.HeadScale = 1.0,
    mouth_scale: options.MouthScale = 1.0,
    still: options.Still = False,
    look_ahead: options.LookAhead = options.LOOK_AHEAD_MS,
    size: options.Size = options.SIZE,
    crop: options.CropMode = options.Crop.face,
    face: options.Face = None,
    yaw: options.Yaw = 0.0,
    pitch: options.Pitch = 0.0,
    roll: options.Roll = 0.0,
    turntable: options.Turntable = False,
    densify: options.Densify = False,
    background: options.Background = None,
    device: options.DeviceMode = options.Device.auto,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Animate a photo by speech, a clip or a motion artifact: all stages, streaming."""
    kind, source = files.choose_driver(audio, video, motion)
    files.only_one_stdin(photo, source)
    if absolute and kind == "audio":
        raise typer.BadParameter("--absolute needs a video's own pose; use it with --video")
    files.check_inputs(photo, source)
    files.check_background(background)
    files.check_targets(output, overwrite=overwrite, film=True, pictures=True)
    files.check_transparency(output, background)
    from mggtalk_cli import pipeline

    build = pipeline.BuildOptions(size=size, crop=crop.value, face=face)
    view = pipeline.RenderOptions(yaw, pitch, roll, turntable, densify, device.value)
    style = files.speech_style(
        seed=seed, blink=blink, head_scale=head_scale, mouth_scale=mouth_scale, still=still
    )
    with files.open_driver(kind, source, fps=fps, style=style, look_ahead_ms=look_ahead) as driver:
        head = files.head_of(photo, build)
        film = pipeline.animate(
            head, driver, absolute=absolute, options=view, background=background
        )
        files.write_film(ctx.obj, film, output, overwrite=overwrite)
