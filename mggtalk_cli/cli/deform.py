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
    still: options.Still = False,
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
    with files.open_driver(kind, source, fps=fps, seed=seed, still=still) as driver:
        points = pipeline.deform(built, driver, absolute=absolute)
        files.write_artifact(ctx.obj, points, output, overwrite=overwrite)
