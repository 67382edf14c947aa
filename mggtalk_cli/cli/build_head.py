"""`mggtalk build-head`: photo -> Head."""

from __future__ import annotations

import typer

from mggtalk_cli.cli import files, options


def build_head(
    ctx: typer.Context,
    photo: options.Photo,
    output: options.Artifact,
    ply: options.Ply = None,
    size: options.Size = options.SIZE,
    crop: options.CropMode = options.Crop.face,
    face: options.Face = None,
    depth: options.Depth = None,
    normals: options.Normals = None,
    voxel_size: options.VoxelSize = None,
    variant: options.Variant = None,
    threads: options.Threads = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Build a 3D head from one photo."""
    files.check_inputs(photo, depth, normals)
    files.check_targets(output, ply, overwrite=overwrite)
    from mggtalk_cli import pipeline

    build = pipeline.BuildOptions(
        size=size,
        crop=crop.value,
        face=face,
        depth="analytic" if depth is None else "file",
        depth_file=depth,
        normals_file=normals,
        voxel_size_cm=voxel_size,
    )
    variants = pipeline.choose_variants(variant, stages=("refiner",))
    head = files.build_from_photo(photo, build, variants=variants)
    files.write_artifact(ctx.obj, head, output, overwrite=overwrite)
    if ply is not None:
        pipeline.export_ply(head, ply, overwrite=overwrite)
        ctx.obj.wrote(ply)
