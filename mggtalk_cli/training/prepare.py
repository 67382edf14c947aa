"""`mggtalk prepare`: clips of people who talk -> examples that training reads (see `dataset`).

The first frame of each clip, or piece of one, is the photo and the rest drives it, as in `evaluate
reenact`; every stage is the analytic one. What training needs again and again is done once:
tracking, the head, the analytic render, the matte of every true frame, and the flow from the
analytic final frame to the true one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from shutil import disk_usage
from typing import Any

import numpy as np

from mggtalk_cli import __version__, face, inpaint, pipeline
from mggtalk_cli.artifacts import open_artifact
from mggtalk_cli.artifacts.memory import save
from mggtalk_cli.core.audio import ANALYSIS_RATE, AudioFile
from mggtalk_cli.core.output import explained_write_errors
from mggtalk_cli.driver import drive_motion, motion_artifact
from mggtalk_cli.errors import InputError, MggTalkError
from mggtalk_cli.evaluation.lip_sync import CEPSTRA_PER_FRAME, mfcc
from mggtalk_cli.evaluation.report import file_hash
from mggtalk_cli.motion.network import MOUTH_RATE, STACK
from mggtalk_cli.training.clips import Clip, pieces
from mggtalk_cli.training.cropped import MIN_FRAMES, CroppedClip, read_cropped
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.example_folder import (
    CLIP,
    HEAD,
    MOTION,
    Note,
    new_folder,
    read_note,
    write_note,
    write_truth,
)
from mggtalk_cli.training.picture_flow import REDUCED, FlowMeter
from mggtalk_cli.training.prepared import Prepared
from mggtalk_cli.training.processes import in_processes
from mggtalk_cli.training.sound import features_of

FRAMES, SIZE = 50, 256
FPS = float(MOUTH_RATE)  # what the networks for sound are used to
PIXEL_BYTES = 10  # true frame, matte, render; head, motion and flow are small beside them
MAX_PIXELS = 1 << 27  # of one example's frames: with all that belongs to them, 1.2 GiB
# Below, the face (1 / 2.6 of a frame) is hardly larger than `build_head` needs.
MIN_SIZE = 192
HASH_LENGTH = 8  # characters of the source's hash in an example's name: stems are not unique


@dataclass(frozen=True)
class PrepareOptions:
    """How examples are made.

    Attributes:
        frames: of each example at most; the first one is the photo.
        size: side of the square frames, px.
        pieces: examples of each clip at most, one after another.
    """

    frames: int = FRAMES
    size: int = SIZE
    pieces: int = 1

    def __post_init__(self) -> None:
        if self.size % REDUCED or self.size < MIN_SIZE:
            raise InputError(
                f"--size {self.size}: a multiple of {REDUCED} from {MIN_SIZE} on is needed"
            )
        if self.frames * self.size**2 > MAX_PIXELS:
            most = MAX_PIXELS // self.size**2
            raise InputError(
                f"--frames {self.frames} of {self.size} px do not fit into memory: use at most "
                f"{most}, or a smaller --size"
            )

    def examples_of(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return the clips, or the pieces of them, of which an example is to be made each."""
        lengths = {"seconds": self.frames / FPS, "least_s": MIN_FRAMES / FPS}
        return list(pieces(clips, self.pieces, **lengths))

    @property
    def settings(self) -> dict[str, object]:
        """What must agree for an example to be kept."""
        sizes = {"frames": self.frames, "size": self.size, "fps": FPS}
        return sizes | {"cepstra": True, "mggtalk": __version__}  # older examples have none


def prepare(
    clips: Sequence[Clip],
    output: Path,
    options: PrepareOptions,
    *,
    jobs: int = 1,
    overwrite: bool = False,
) -> Iterator[Prepared]:
    """Make an example of every clip, and yield what became of each, in order.

    Clips that cannot be used are left out; examples that are there, of the same clip with the same
    settings, are kept.

    Args:
        clips: the clips.
        output: folder of the examples, created where it is missing.
        options: how they are made.
        jobs: processes that work at once.
        overwrite: replace examples that were made with other settings.

    Raises:
        InputError: the folder cannot be written.
    """
    with explained_write_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    work = partial(_prepared, output=output, options=options, overwrite=overwrite)
    yield from in_processes(work, clips, jobs)


def _prepared(clip: Clip, *, output: Path, options: PrepareOptions, overwrite: bool) -> Prepared:
    """Return what became of a clip; see `prepare`."""
    begun = time.monotonic()
    _check_space(output, options)
    try:
        content = file_hash(clip.path)
        name = f"{clip.path.stem}-{content[:HASH_LENGTH]}"
        if clip.start_s:
            name += f"-{round(clip.start_s * FPS):05d}"
        kept = _kept(output / name, clip, content, options, overwrite=overwrite)
        note = kept or write_example(clip, name, content, output, options)
    except (MggTalkError, OSError) as error:
        seconds = time.monotonic() - begun
        return Prepared(str(clip.path), clip.start_s, refused=str(error), seconds=seconds)
    return Prepared(
        clip=str(clip.path),
        start_s=clip.start_s,
        name=note.name,
        frames=note.frames,
        kept=kept is not None,
        seconds=time.monotonic() - begun,
        bytes=sum(path.stat().st_size for path in (output / name).iterdir()),
    )


def _check_space(output: Path, options: PrepareOptions) -> None:
    """Stop the run before the disk is full: every further clip would fail."""
    needed, free = options.frames * options.size**2 * PIXEL_BYTES, disk_usage(output).free
    if free < needed:
        raise InputError(
            f"{free / 2**20:.0f} MiB are free in {output}, up to {needed / 2**20:.0f} are needed "
            "for one example: free some or change -o; the run goes on from here"
        )


def _kept(
    folder: Path, clip: Clip, content: str, options: PrepareOptions, *, overwrite: bool
) -> Note | None:
    """Return the note of an example that is there and can stay, as the manifest has it now.

    Raises:
        InputError: it is another one and must not be replaced.
    """
    if not folder.exists():
        return None
    try:
        note = read_note(folder)
    except MggTalkError:
        if overwrite:
            return None
        raise
    if note.sha256 == content and dict(note.settings) == options.settings:
        if not Example.whole(folder):
            return None
        now = replace(note, **_provenance(clip))
        if now != note:
            write_note(folder, now)
        return now
    if not overwrite:
        raise InputError(
            f"{folder} was made with other settings ({json.dumps(dict(note.settings))}): add "
            "--overwrite to replace it or change -o"
        )
    return None


def _provenance(clip: Clip) -> dict[str, Any]:
    """Return what a note says of a clip's origin."""
    return {
        "identity": clip.speaker,
        "ship": clip.ship,
        "licence": clip.licence,
        "origin": clip.origin,
    }


def write_example(
    clip: Clip,
    name: str,
    content: str,
    output: Path,
    options: PrepareOptions,
) -> Note:
    """Make the example of a clip, in the place of the one that is there, and return its note.

    Args:
        clip: the clip.
        name: of the example.
        content: SHA-256 of the clip's file.
        output: folder of the examples.
        options: how it is made.

    Raises:
        InputError: the clip cannot be used.
    """
    cropped = read_cropped(
        clip.path, options.frames, size=options.size, fps=FPS, start_s=clip.start_s
    )
    build = pipeline.BuildOptions(size=options.size, crop="none")
    source = {"name": clip.path.name, "sha256": content}
    head = pipeline.build_head(cropped.frames[0], build, source=source, variants=pipeline.ANALYTIC)
    note = Note(
        name=name,
        sha256=content,
        kind=CLIP,
        fps=FPS,
        frames=len(cropped.frames),
        size=options.size,
        crop_px=cropped.crop_px,
        settings=options.settings,
        **_provenance(clip),
    )
    with new_folder(output, note, overwrite=True) as folder:
        save(head, folder / HEAD)
        save(motion_artifact(cropped.driver()), folder / MOTION)
        # From here on with what was written: training will see the same.
        truth = true_arrays(cropped, folder)
        if cropped.sound is not None:
            truth |= heard(clip.path, len(cropped.frames), clip.start_s)
        write_truth(folder, truth)
    return note


def true_arrays(clip: CroppedClip, folder: Path) -> dict[str, np.ndarray]:
    """Return what `example_folder.TRUTH` tells of a clip whose head and motion are written."""
    points = pipeline.deform(
        open_artifact(folder / HEAD, "head"),
        drive_motion(open_artifact(folder / MOTION, "motion")),
        variants=pipeline.ANALYTIC,
    )
    frames = pipeline.render(points, variants=pipeline.ANALYTIC)
    plate, meter = frames.arrays["plate"], FlowMeter()
    rows: dict[str, list[np.ndarray]] = {
        name: [] for name in ("frames", "person", "face", "render", "flow", "trust")
    }
    for true, marks, drawn in zip(clip.frames, clip.points, frames.frames(), strict=True):
        rgba = drawn["rgba"]
        box = np.concatenate([marks.min(0), marks.max(0)]).astype(np.float32)
        person = np.rint(255 * face.person_mask(true, box)).astype(np.uint8)
        final = inpaint.composite(rgba, plate)
        seen = meter.between(final, true, rgba[..., 3], person)
        row = (true, person, marks, rgba, seen.flow, seen.trust)
        for name, array in zip(rows, row, strict=True):
            rows[name].append(array)
    return {name: np.stack(arrays) for name, arrays in rows.items()}


def heard(path: Path, frames: int, start_s: float = 0.0) -> dict[str, np.ndarray]:
    """Return what `example_folder.TRUTH` tells of the sound of a clip's frames from there on."""
    blocks = islice(AudioFile(path).blocks_16k_mono(1 / FPS), round(start_s * FPS), None)
    lasting = int(FPS) * (math.ceil(frames / FPS) + 1)
    sound = list(islice(blocks, lasting)) or [np.zeros(ANALYSIS_RATE, np.float32)]
    samples = np.concatenate(sound)  # silence where it has ended before
    return {
        "audio_features": _lasting(features_of(samples), STACK * frames),
        "cepstra": _lasting(mfcc(samples).astype(np.float32), CEPSTRA_PER_FRAME * frames),
    }


def _lasting(rows: np.ndarray, count: int) -> np.ndarray:
    """Return so many rows; the last one is repeated where a track ends before the picture."""
    rows = rows[:count]
    return np.pad(rows, ((0, count - len(rows)), (0, 0)), mode="edge")
