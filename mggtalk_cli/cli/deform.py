"""`mggtalk deform`: Head + driver -> Points."""

from __future__ import annotations

import typer

from mggtalk_cli.cli import files, options


def deform(
    ctx: typer.Context,
    head: options.Head,
    output: options.Artifact,
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
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Move a head's points by speech, a clip or a motion artifact."""
    kind, source = files.choose_driver(audio, video, motion)
    files.only_one_stdin(head, source)
    if absolute and kind == "audio":
        raise typer.BadParameter("--absolute needs a video's own pose; use it with --video")
    files.check_inputs(head, source)
    files.check_targets(output, overwrite=overwrite)
    from mggtalk_cli import pipeline

    built = files.read_artifact(head, "head")
    style = files.speech_style(
        seed=seed, blink=blink, head_scale=head_scale, mouth_scale=mouth_scale, still=still
    )
    with files.open_driver(kind, source, fps=fps, style=style, look_ahead_ms=look_ahead) as driver:
        points = pipeline.deform(built, driver, absolute=absolute)
        files.write_artifact(ctx.obj, points, output, overwrite=overwrite)
