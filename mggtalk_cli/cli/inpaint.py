"""`mggtalk inpaint`: Frames -> film."""

from __future__ import annotations

import typer

from mggtalk_cli.cli import files, options


def inpaint(
    ctx: typer.Context,
    frames: options.Frames,
    output: options.FilmOut,
    background: options.Background = None,
    device: options.DeviceMode = options.Device.auto,
    variant: options.Variant = None,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Put rendered heads over the background and write a film with the sound."""
    files.check_inputs(frames)
    files.check_background(background)
    files.check_targets(output, overwrite=overwrite, film=True, pictures=True)
    files.check_transparency(output, background)
    from mggtalk_cli import pipeline

    variants = pipeline.choose_variants(variant, stages=("inpaint", "mouth"))
    rendered = files.read_artifact(frames, "frames")
    video = pipeline.inpaint(
        rendered, background=background, device=device.value, variants=variants
    )
    files.write_film(ctx.obj, video, output, overwrite=overwrite)
