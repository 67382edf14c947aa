"""Scenes to examples on the disk, one folder each, the same for the same seed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from mggtalk_cli import __version__
from mggtalk_cli.artifacts.memory import save
from mggtalk_cli.core.output import atomic_path, explained_write_errors
from mggtalk_cli.errors import InputError, MggTalkError
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.example_folder import (
    HEAD,
    MOTION,
    SYNTHETIC,
    Note,
    new_folder,
    read_note,
    write_truth,
)
from mggtalk_cli.training.processes import in_processes
from mggtalk_cli.training.synth.scene import sample_scene
from mggtalk_cli.training.synth.truth import FPS, description, drawing_of, motion, truth

SIZE, VIEWS = 256, 3
MIN_SIZE, MAX_SIZE, MAX_VIEWS = 128, 1024, 64
LICENCE = "CC0-1.0"
ORIGIN = "drawn by mggtalk synth from the CC0 face model"
# A scene in whose photo the face is not found, or found elsewhere, is drawn anew so often.
ATTEMPTS = 5


@dataclass(frozen=True)
class SynthOptions:
    """How examples are made: `seed` of all, `size` of the pictures in px, `views` of each head."""

    seed: int = 0
    size: int = SIZE
    views: int = VIEWS

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE or self.size % 8:
            raise InputError(
                f"--size {self.size}: a multiple of 8 from {MIN_SIZE} to {MAX_SIZE} is needed"
            )
        if not 1 <= self.views <= MAX_VIEWS:
            raise InputError(f"--views {self.views}: 1 to {MAX_VIEWS} are needed")

    def settings(self, index: int) -> dict[str, object]:
        """Return what must agree for example `index` to be kept."""
        return {
            "seed": self.seed,
            "index": index,
            "size": self.size,
            "views": self.views,
            "mggtalk": __version__,
        }


@dataclass(frozen=True)
class Made:
    """What became of one head: its example, or why there is none.

    Attributes:
        name: of the example.
        attempts: how many scenes were drawn.
        kept: whether it was there already.
        refused: why there is none, "" where there is one.
        seconds: that it took.
        bytes: on the disk.
    """

    name: str
    attempts: int = 0
    kept: bool = False
    refused: str = ""
    seconds: float = 0.0
    bytes: int = 0


def synthesize(
    count: int, output: Path, options: SynthOptions, *, jobs: int = 1, overwrite: bool = False
) -> Iterator[Made]:
    """Make examples of `count` heads and yield what became of each, in order.

    Example number i depends on the seed and i alone; those that are there are kept.

    Args:
        count: how many heads.
        output: folder of the examples, created where it is missing.
        options: how they are made.
        jobs: processes that work at once.
        overwrite: replace examples that were made otherwise.

    Raises:
        InputError: the folder cannot be written.
    """
    with explained_write_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    work = partial(_made, output=output, options=options, overwrite=overwrite)
    yield from in_processes(work, range(count), jobs)


def _made(index: int, *, output: Path, options: SynthOptions, overwrite: bool) -> Made:
    begun = time.monotonic()
    name = f"synth-{options.seed}-{index:05d}"
    folder = output / name
    if folder.exists() and not overwrite:
        note = read_note(folder)
        if note.settings.get("made_with") != options.settings(index):
            raise InputError(
                f"{folder} was made with other settings: add --overwrite to replace it or change -o"
            )
        if Example.whole(folder):
            return Made(name, kept=True, bytes=_size(folder))
    reason = ""
    for attempt in range(ATTEMPTS):
        try:
            _write_example(name, index, attempt, output, options)
        except MggTalkError as error:
            reason = str(error)
        else:
            return Made(name, attempt + 1, seconds=time.monotonic() - begun, bytes=_size(folder))
    return Made(name, ATTEMPTS, refused=reason, seconds=time.monotonic() - begun)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _write_example(
    name: str, index: int, attempt: int, output: Path, options: SynthOptions
) -> None:
    """Draw one scene and write its example, in the place of the one that is there.

    Raises:
        InputError: the face is not found in the photo, or it cannot be written.
    """
    made_with = options.settings(index)
    digest = hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()
    scene = sample_scene((options.seed, index, attempt), size=options.size, views=options.views)
    drawing = drawing_of(scene, {"name": name, "sha256": digest})
    note = Note(
        name=name,
        identity=name,
        ship=True,
        licence=LICENCE,
        origin=ORIGIN,
        sha256=digest,
        kind=SYNTHETIC,
        fps=FPS,
        frames=options.views,
        size=options.size,
        crop_px=float(options.size),
        seed=options.seed,
        settings={"made_with": made_with, "attempt": attempt, **description(drawing)},
    )
    with new_folder(output, note, overwrite=True) as folder:
        save(drawing.head, folder / HEAD)
        save(motion(drawing), folder / MOTION)
        write_truth(folder, truth(drawing))


def write_report(found: Sequence[Made], options: SynthOptions, output: Path) -> None:
    """Write report.json and report.md beside the examples."""
    refused = [one for one in found if one.refused]
    drawn_anew = sum(one.attempts > 1 for one in found)
    body = {
        "settings": asdict(options),
        "examples": [asdict(one) for one in found if not one.refused],
        "refused": [asdict(one) for one in refused],
    }
    lines = [
        "# Made-up heads",
        "",
        f"{len(found) - len(refused)} heads of {options.views} views of {options.size} px, seed "
        f"{options.seed}, {sum(one.bytes for one in found) / 2**20:.0f} MiB; {drawn_anew} drawn "
        f"anew because their face was not found at first, {len(refused)} given up.",
        *([""] if refused else []),
        *(f"- {one.name}: {one.refused}" for one in refused),
    ]
    texts = {"json": json.dumps(body, indent=1) + "\n", "md": "\n".join(lines) + "\n"}
    for suffix, text in texts.items():
        with atomic_path(output / f"report.{suffix}", overwrite=True) as part:
            part.write_text(text, "utf-8")
