"""`mggtalk inspect`: what is in an artifact, a take or a checkpoint, as table, JSON or picture."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mggtalk_cli.cli import files, options
from mggtalk_cli.core.output import atomic_path, check_output
from mggtalk_cli.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from mggtalk_cli.artifacts import Artifact

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")
_FILE_WIDTH = 140  # columns where no terminal sets them
_LONG_META = 100  # characters shown of one meta value
_NESTED = ("recipe", "before", "after")  # notes of a checkpoint that get a line per entry

AnyArtifact = Annotated[
    str,
    typer.Argument(
        metavar="ARTIFACT",
        help="Any .npz artifact or Gaussian .ply, or -; a phone's take (Live Link Face CSV); or a "
        "checkpoint (.safetensors) of `train`.",
    ),
]
Sheet = Annotated[
    str | None, typer.Option(metavar="PNG", help="Also write a picture of what is in it.")
]


def inspect(
    path: AnyArtifact,
    as_json: options.Json = False,
    sheet: Sheet = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Show what is in an artifact or a checkpoint: shapes, units, ranges, counts, provenance."""
    if sheet is not None:
        if Path(sheet).suffix.lower() not in _PICTURES:
            raise InputError(f"--sheet {sheet} must end in one of {', '.join(_PICTURES)}")
        check_output(Path(sheet), overwrite=overwrite)
    if path.lower().endswith(".ply"):
        description, picture = _read_ply(Path(path), sheet is not None)
    elif path.lower().endswith(".csv"):
        description, picture = _read_take(path, sheet is not None)
    elif path.lower().endswith(".safetensors"):
        if sheet is not None:
            raise InputError(f"--sheet {sheet}: a checkpoint has no picture, leave it out")
        description, picture = _read_networks(Path(path)), None
    else:
        description, picture = _read_artifact(path, sheet is not None)
    if sheet is not None and picture is not None:
        _write_picture(Path(sheet), picture, overwrite=overwrite)
    if as_json:
        typer.echo(json.dumps({"path": path, **description}, indent=2))
    else:
        _print_tables(path, description)


def _read_artifact(path: str, with_picture: bool) -> tuple[dict[str, Any], np.ndarray | None]:
    from mggtalk_cli.artifacts import open_artifact
    from mggtalk_cli.artifacts.describe import describe, sample_frames

    artifact = open_artifact("-" if path == "-" else Path(path))
    if with_picture and artifact.kind == "motion":
        return _read_motion(artifact)
    samples = sample_frames(artifact)
    picture = None
    if with_picture:
        from mggtalk_cli.artifacts.sheet import contact_sheet

        picture = contact_sheet(artifact, samples)
    return describe(artifact, samples), picture


def _read_motion(artifact: Artifact) -> tuple[dict[str, Any], np.ndarray]:
    """Return description and sheet of a motion, whose sound is read for both: a pipe is copied."""
    from mggtalk_cli.artifacts import open_artifact
    from mggtalk_cli.artifacts.describe import describe
    from mggtalk_cli.artifacts.memory import save
    from mggtalk_cli.motion_sheet import motion_sheet

    with tempfile.TemporaryFile() as copy:
        if not artifact.rereadable:
            save(artifact, copy)
            artifact = open_artifact(copy)
        return describe(artifact), motion_sheet(artifact)


def _read_ply(path: Path, with_picture: bool) -> tuple[dict[str, Any], np.ndarray | None]:
    from mggtalk_cli.artifacts.describe import describe_ply

    description = describe_ply(path)
    if not with_picture:
        return description, None
    from mggtalk_cli.artifacts.ply import read_ply
    from mggtalk_cli.artifacts.sheet import cloud_sheet

    return description, cloud_sheet(read_ply(path))


def _read_take(path: str, with_picture: bool) -> tuple[dict[str, Any], np.ndarray | None]:
    from mggtalk_cli import takes

    files.check_inputs(path)
    description = takes.describe_take(path)
    if not with_picture:
        return description, None
    from mggtalk_cli.motion_sheet import motion_sheet
    from mggtalk_cli.pipeline import motion_artifact

    return description, motion_sheet(motion_artifact(takes.drive(path)))


def _read_networks(path: Path) -> dict[str, Any]:
    from mggtalk_cli.core.checkpoint import describe, read_checkpoint

    return describe(read_checkpoint(path))


def _write_picture(path: Path, picture: np.ndarray, *, overwrite: bool) -> None:
    from PIL import Image

    with atomic_path(path, overwrite=overwrite) as part:
        Image.fromarray(picture).save(part)


def _print_tables(path: str, description: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    size = description["file_bytes"]
    console.print(
        f"[bold]{escape(path)}[/]: [bold]{description['kind']}[/], {description['what']}"
        + (f", {size / 2**20:.1f} MiB" if size is not None else "")
    )
    facts = {
        "made by": description["made_by"],
        **{
            key.replace("_", " "): description[key]
            for key in ("format_version", "gaussians", "sh_degree", "sound_blocks", "sha256")
            if key in description
        },
        **_flat(description["meta"]),
    }
    if "frame_count" in description:
        facts["frame_count"] = description["frame_count"]
    table = Table(show_header=False, box=None)
    for key, value in facts.items():
        text = _plain(value)
        text = text if len(text) <= _LONG_META else text[: _LONG_META - 3] + "..."
        table.add_row(escape(_plain(key)), escape(text))
    console.print(table)
    if "networks" in description:
        console.print(_network_table(description["networks"]))
        return
    console.print(_array_table(description["arrays"], "arrays"))
    if "frame_arrays" in description:
        each = "block" if description["kind"] == "motion" else "frame"
        title = f"in each {each} (ranges over {description['frames_sampled']} of them)"
        console.print(_array_table(description["frame_arrays"], title))


def _flat(meta: dict[str, Any]) -> dict[str, Any]:
    """Return meta data with the entries of objects in it as "object.entry".

    >>> _flat({"steps": 5, "recipe": {"rate": 0.1}})
    {'steps': 5, 'recipe.rate': 0.1}
    """
    found: dict[str, Any] = {}
    for key, value in meta.items():
        nested = isinstance(value, dict) and key in _NESTED
        found |= {f"{key}.{name}": one for name, one in value.items()} if nested else {key: value}
    return found


def _plain(value: Any) -> str:
    """Return text as it is, and anything else, or what a terminal might obey, as JSON."""
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


def _network_table(networks: list[dict[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="networks", title_justify="left")
    table.add_column("name", no_wrap=True)
    for column in ("parameters", "tensors"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("config")
    for network in networks:
        config = ", ".join(f"{_plain(k)} {json.dumps(v)}" for k, v in network["config"].items())
        config = config if len(config) <= _LONG_META else config[: _LONG_META - 3] + "..."
        numbers = (f"{network[key]:,}" for key in ("parameters", "tensors"))
        table.add_row(network["name"], *numbers, escape(config))
    return table


def _array_table(arrays: list[dict[str, Any]], title: str) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for column in ("name", "shape", "dtype", "unit", "min", "max", "mean", "meaning"):
        number = column in ("min", "max", "mean")
        table.add_column(
            column, justify="right" if number else "left", no_wrap=number or column == "name"
        )
    for array in arrays:
        numbers = (array["min"], array["max"], array["mean"])
        table.add_row(
            *(escape(array["name"]), " x ".join(map(str, array["shape"])) or "-", array["dtype"]),
            escape(array["unit"]),
            *("" if value is None else _number(value) for value in numbers),
            escape(array["doc"]),
        )
    return table


def _number(value: float) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(int(value))
