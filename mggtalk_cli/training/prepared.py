"""What became of clips that `mggtalk prepare` was given, as a report."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.errors import InputError


@dataclass(frozen=True)
class Prepared:
    """What became of one clip, or piece of one.

    Attributes:
        clip: path of the clip.
        start_s: second at which it begins.
        name: of the example, "" where there is none.
        frames: in the example.
        kept: whether it was there already.
        refused: why there is none, "" where there is one.
        seconds: that it took.
        bytes: on the disk.
    """

    clip: str
    start_s: float = 0.0
    name: str = ""
    frames: int = 0
    kept: bool = False
    refused: str = ""
    seconds: float = 0.0
    bytes: int = 0

    @property
    def title(self) -> str:
        """What it is called in a message: the clip's name, and where a later piece begins."""
        later = f" from second {self.start_s:g}" if self.start_s else ""
        return f"{Path(self.clip).name}{later}"


def check_any(found: Sequence[Prepared]) -> None:
    """Check that there is something to train on.

    Raises:
        InputError: every clip was left out.
    """
    if all(one.refused for one in found):
        first = f"; the first: {found[0].refused}" if found else ""
        raise InputError(f"not one of {len(found)} clips can be used{first}")


def write_report(found: Sequence[Prepared], settings: Mapping[str, object], output: Path) -> None:
    """Write report.json and report.md beside examples made with such settings."""
    body = {
        "settings": dict(settings),
        "examples": [asdict(one) for one in found if not one.refused],
        "refused": [asdict(one) for one in found if one.refused],
    }
    texts = {"json": json.dumps(body, indent=1) + "\n", "md": report_text(found, settings)}
    for suffix, text in texts.items():
        with atomic_path(output / f"report.{suffix}", overwrite=True) as part:
            part.write_text(text, "utf-8")


def report_text(found: Sequence[Prepared], settings: Mapping[str, object]) -> str:
    """Return the report as Markdown."""
    made = [one for one in found if not one.refused]
    refused = [one for one in found if one.refused]
    lines = [
        "# Prepared examples",
        "",
        f"{len(made)} examples of up to {settings['frames']} frames of {settings['size']} px, "
        f"{sum(one.frames for one in made)} frames, "
        f"{sum(one.bytes for one in made) / 2**20:.0f} MiB; {len(refused)} left out.",
        "",
        "| example | clip | frames | MiB | s |",
        "|---|---|---|---|---|",
    ]
    for one in made:
        seconds = "kept" if one.kept else f"{one.seconds:.1f}"
        size = f"{one.bytes / 2**20:.1f}"
        lines.append(f"| {one.name} | {one.clip} | {one.frames} | {size} | {seconds} |")
    if refused:
        lines += ["", "Left out:", "", *(f"- {one.title}: {one.refused}" for one in refused)]
    return "\n".join(lines) + "\n"
