"""What the `evaluate` commands share: what is compared, and where the report goes."""

from __future__ import annotations

from enum import Enum
from typing import Annotated

import typer


class Layout(str, Enum):
    """How a data set's clips lie in its folders."""

    plain = "plain"
    hdtf = "hdtf"
    nersemble = "nersemble"
    celebvhq = "celebvhq"


_EVALUATION = "What is compared, and where the report goes"
ReportDir = Annotated[
    str | None,
    typer.Option(
        "--output",
        "-o",
        metavar="DIR",
        help="Folder for report.html, .md and .json and the contact sheets; takes up a run that "
        "was interrupted.",
        rich_help_panel=_EVALUATION,
    ),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=FILE",
        help="Weights of a metric's network (lpips, inception, arcface, syncnet); repeatable.",
        rich_help_panel=_EVALUATION,
    ),
]
OtherMethods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        metavar="NAME=DIR",
        help="Frames of another program to compare with: DIR/CLIP.mp4 or DIR/CLIP/*.png; "
        "repeatable.",
        rich_help_panel=_EVALUATION,
    ),
]
LayoutMode = Annotated[
    Layout,
    typer.Option(
        "--layout",
        help="How the clips lie in the folders named; plain: side by side.",
        rich_help_panel=_EVALUATION,
    ),
]
