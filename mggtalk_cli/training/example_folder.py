"""The folder of one training example: what lies in it, and how it comes to be.

    head.npz            the head of the first frame, as `build-head` makes it
    motion.npz          what the head does, as `drive` tracks it; the reference is the first frame
    truth.safetensors   what should come out, see `TRUTH`
    example.json        who and whence, see `Note`; it is written last: with it, the rest is whole

`mggtalk prepare` makes them of clips, `mggtalk synth` of a face model; training reads both alike.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from mggtalk_cli.core.output import TEMPORARY_PREFIX, atomic_path, explained_write_errors
from mggtalk_cli.errors import ArtifactError, InputError

VERSION = 1  # of the layout; raise it when the meaning of a file changes

HEAD, MOTION, TRUTH_FILE, NOTE = "head.npz", "motion.npz", "truth.safetensors", "example.json"

CLIP, SYNTHETIC = "clip", "synthetic"  # kinds of examples

MAX_NOTE_BYTES = 1 << 16  # origins and licences are a few lines


@dataclass(frozen=True)
class TrueArray:
    """One array of the truth: dtype as in safetensors, symbolic shape, meaning.

    Sizes: t frames, h w their height and width, r c those of the flow's cells, v views, a m rows
    of sound.
    """

    dtype: str
    shape: str
    doc: str
    kinds: tuple[str, ...] = ()  # of examples that must have it


TRUTH = {
    "frames": TrueArray("U8", "t h w 3", "RGB, the true frames", (CLIP, SYNTHETIC)),
    "person": TrueArray("U8", "t h w", "coverage of the person in them", (CLIP, SYNTHETIC)),
    "face": TrueArray("F32", "t 468 2", "landmarks in them, px", (CLIP, SYNTHETIC)),
    "render": TrueArray("U8", "t h w 4", "straight RGBA, the analytic render", (CLIP,)),
    "flow": TrueArray("F16", "t r c 2", "px, from the analytic final frame to the true", (CLIP,)),
    "trust": TrueArray("U8", "t r c", "share of each cell whose flow can be believed", (CLIP,)),
    "audio_features": TrueArray("F16", "a 384", "heard at 50 Hz, as `motion.network` hears it"),
    "cepstra": TrueArray("F32", "m 13", "heard at 100 Hz, as `evaluation.lip_sync` hears it"),
    "depth": TrueArray("F32", "v h w", "cm along the viewing axis, 0 outside", (SYNTHETIC,)),
    "normals": TrueArray("I8", "v h w 3", "127 x unit normals, head frame", (SYNTHETIC,)),
    "mask": TrueArray("U8", "v h w", "coverage of the head in each view", (SYNTHETIC,)),
    "beta": TrueArray("F32", "v 52", "expression in each view", (SYNTHETIC,)),
    "viewmats": TrueArray("F32", "v 4 4", "cm, head frame -> OpenCV camera", (SYNTHETIC,)),
}


@dataclass(frozen=True)
class Note:
    """Who an example shows and where it comes from.

    Attributes:
        name: of the example and its folder.
        identity: who is seen; people are held out whole.
        ship: whether weights trained on it may be given away.
        licence: of the source.
        origin: where the source came from.
        sha256: of the source file; of the settings where there is no file.
        kind: `CLIP` or `SYNTHETIC`.
        fps: frames per second.
        frames: how many.
        size: longer side of the frames, px.
        crop_px: what the longer side shows, px of the source; less than `size`: enlarged.
        seed: of a synthetic example, else 0.
        settings: what it was made with; an example made with others is another one.
        version: of the layout.
    """

    name: str
    identity: str
    ship: bool
    licence: str
    origin: str
    sha256: str
    kind: str
    fps: float
    frames: int
    size: int
    crop_px: float = 0.0
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict, hash=False)
    version: int = VERSION


def read_note(folder: Path) -> Note:
    """Return the note of an example.

    Raises:
        ArtifactError: there is none, or it is damaged, too large, or of another version.
    """
    path = folder / NOTE
    try:
        if path.stat().st_size > MAX_NOTE_BYTES:
            raise ArtifactError(f"{path} is larger than {MAX_NOTE_BYTES // 1024} KiB: not ours")
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{folder} is no finished example: it has no {NOTE}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged ({error}): prepare the example again") from None
    return _checked_note(found, path)


def write_note(folder: Path, note: Note) -> None:
    """Write the note of an example, or replace it, at once."""
    text = json.dumps(asdict(note), indent=1, allow_nan=False, ensure_ascii=False)
    with atomic_path(folder / NOTE, overwrite=True) as part:
        part.write_text(text + "\n", "utf-8")


def _checked_note(found: object, path: Path) -> Note:
    known = {item.name: str(item.type) for item in fields(Note)}
    if not isinstance(found, dict) or set(found) != set(known):
        raise ArtifactError(f"{path} does not hold what an example's note does: {', '.join(known)}")
    if found["version"] != VERSION:
        raise ArtifactError(
            f"{path} has version {str(found['version'])[:20]}, {VERSION} is expected: prepare again"
        )
    kinds = {"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float)}
    for name, value in found.items():
        allowed = kinds.get(known[name], (dict,))
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            raise ArtifactError(f"{path}: {name} is {str(value)[:40]!r}, which is no {known[name]}")
    note = Note(**found)
    whole = note.kind in (CLIP, SYNTHETIC) and note.frames >= 1 and note.size >= 1
    if not (whole and 0 < note.fps < 1000):  # also refuses nan
        raise ArtifactError(
            f"{path}: kind {note.kind[:20]!r}, {note.frames} frames of {note.size} px at "
            f"{note.fps} fps cannot be"
        )
    return note


def write_truth(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the truth of an example into its folder.

    Args:
        folder: of `new_folder`.
        arrays: by the names of `TRUTH`, of its types.
    """
    path = folder / TRUTH_FILE
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)
    path.chmod(folder.stat().st_mode & 0o666)  # else readable by its owner alone


@contextlib.contextmanager
def new_folder(place: Path, note: Note, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder that becomes `place` / note.name, note included, if all goes well.

    Args:
        place: the folder of all examples, which exists.
        note: written last.
        overwrite: replace an example that is there.

    Raises:
        InputError: it is there already, or cannot be written.
    """
    target = place / note.name
    if target.exists() and not overwrite:
        raise InputError(f"{target} exists: add --overwrite to replace it or change -o")
    temporary = place / f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}"
    try:
        with explained_write_errors(target):
            temporary.mkdir()
            yield temporary
            write_note(temporary, note)
            if target.exists():
                shutil.rmtree(target)
            os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
