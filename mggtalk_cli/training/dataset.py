"""Examples on the disk as training reads them: lazily, and only after they have been looked over.

An example folder may come from anybody: its note, the names, types and shapes of its truth, and
every value that is read are checked; artifacts go through their own reader. Nothing is executed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open

from mggtalk_cli.artifacts import Artifact, open_artifact
from mggtalk_cli.driver import Drive, drive_motion
from mggtalk_cli.errors import ArtifactError, InputError, MggTalkError
from mggtalk_cli.evaluation.lip_sync import CEPSTRA_PER_FRAME
from mggtalk_cli.motion.network import STACK
from mggtalk_cli.training.example_folder import (
    CLIP,
    HEAD,
    MOTION,
    NOTE,
    TRUTH,
    TRUTH_FILE,
    Note,
    read_note,
)
from mggtalk_cli.training.picture_flow import REDUCED

HELD_OUT_SHARE = 0.2  # of the people

Value = TypeVar("Value")


@dataclass(frozen=True)
class Example:
    """One example; its arrays are read when they are asked for.

    Attributes:
        folder: where it lies.
        note: who it shows and whence.
        names: the arrays of its truth.
    """

    folder: Path
    note: Note
    names: frozenset[str]

    @classmethod
    def open(cls, folder: Path) -> Example:
        """Return an example whose note and table of contents are sound.

        Raises:
            ArtifactError: unfinished, damaged, or not what `example_folder` describes.
        """
        note = read_note(folder)
        for name in (HEAD, MOTION) if note.kind == CLIP else (HEAD,):
            if not (folder / name).is_file():
                raise ArtifactError(f"{folder} has no {name}: prepare the example again")
        shapes = _read(folder, lambda file: {k: _layout(file, k) for k in file.keys()})  # noqa: SIM118
        _check_contents(folder / TRUTH_FILE, note, shapes)
        return cls(folder, note, frozenset(shapes))

    @classmethod
    def whole(cls, folder: Path) -> bool:
        """Return whether all files of a finished example can be read."""
        try:
            example = cls.open(folder)
            example.head()
            example.driver()
        except MggTalkError:
            return False
        return True

    def head(self) -> Artifact:
        """Return the head of the first frame.

        Raises:
            ArtifactError: it is damaged.
        """
        return open_artifact(self.folder / HEAD, "head")

    def motion(self) -> Artifact:
        """Return the tracked motion, one row per frame, and the sound.

        Raises:
            ArtifactError: it is damaged, or not as long as the frames.
        """
        artifact = open_artifact(self.folder / MOTION, "motion")
        if len(artifact.arrays["beta"]) != self.note.frames:
            raise ArtifactError(
                f"{self.folder / MOTION} has {len(artifact.arrays['beta'])} rows, the example "
                f"{self.note.frames} frames: prepare it again"
            )
        return artifact

    def driver(self) -> Drive:
        """Return the motion as a driver, as `pipeline.deform` takes it; it can be used once."""
        return drive_motion(self.motion())

    def truth(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Return rows start..stop of one array of `example_folder.TRUTH`, all by default.

        Raises:
            ArtifactError: the example has none, it is damaged, or a value is not finite.
            IndexError: rows that are not there.
        """
        if name not in self.names:
            raise ArtifactError(f"{self.folder} has no {name!r}: prepare examples that have it")

        def rows(file: Any) -> np.ndarray:
            stored = file.get_slice(name)
            count = stored.get_shape()[0]
            end = count if stop is None else stop
            if not 0 <= start < end <= count:
                raise IndexError(f"rows {start}..{end} of {count} in {name} of {self.folder}")
            return np.asarray(stored[start:end])

        array = _read(self.folder, rows)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtifactError(f"{self.folder / TRUTH_FILE}: {name} has values that are no number")
        return array


def _read(folder: Path, use: Callable[[Any], Value]) -> Value:
    """Return what `use` makes of the opened truth."""
    path = folder / TRUTH_FILE
    try:
        with safe_open(path, framework="numpy") as file:
            return use(file)
    except FileNotFoundError:
        raise ArtifactError(f"{folder} has no {TRUTH_FILE}: prepare the example again") from None
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path} is damaged ({error}): prepare the example again") from None


def _layout(file: Any, name: str) -> tuple[str, tuple[int, ...]]:
    stored = file.get_slice(name)
    return stored.get_dtype(), tuple(stored.get_shape())


def _check_contents(
    path: Path, note: Note, found: Mapping[str, tuple[str, tuple[int, ...]]]
) -> None:
    """Check names, types and shapes of a truth against `TRUTH` and the note."""
    missing = [k for k, array in TRUTH.items() if note.kind in array.kinds and k not in found]
    unknown = sorted(set(found) - set(TRUTH))
    if missing or unknown:
        wrong = f"lacks {', '.join(missing)}" if missing else f"has {unknown[0][:40]!r} besides"
        raise ArtifactError(f"{path} {wrong}: not what an example of kind {note.kind} holds")
    height, width = found["frames"][1][1:3] if len(found["frames"][1]) == 4 else (0, 0)
    sizes = {"t": note.frames, "h": height, "w": width}
    sizes |= {"r": height // REDUCED, "c": width // REDUCED}
    sizes |= {"a": STACK * note.frames, "m": CEPSTRA_PER_FRAME * note.frames}
    for name, array in TRUTH.items():
        dtype, shape = found.get(name, (array.dtype, ()))
        if name in found and not (dtype == array.dtype and _fits(shape, array.shape, sizes)):
            raise ArtifactError(
                f"{path}: {name} is {dtype} {shape}, {array.dtype} ({array.shape}) is expected, "
                f"of {note.frames} frames"
            )
    if max(height, width) != note.size:
        raise ArtifactError(f"{path}: frames of {width}x{height} px, {note.size} are expected")


def _fits(shape: tuple[int, ...], symbols: str, sizes: dict[str, int]) -> bool:
    """Return whether a shape is as its symbols say; sizes met for the first time are kept."""
    named = symbols.split()
    if len(shape) != len(named):
        return False
    for symbol, length in zip(named, shape, strict=True):
        expected = sizes.setdefault(symbol, length) if symbol.isalpha() else int(symbol)
        if length != expected or length < 1:
            return False
    return True


def find_examples(sources: Iterable[str | Path], *, only_ship: bool = False) -> list[Example]:
    """Return the examples named, and those in the folders named, sorted by name.

    Args:
        sources: folders: examples, or folders of them.
        only_ship: leave out what may not go into weights that ship.

    Raises:
        InputError: a folder does not exist, or there is no example in all of them.
        ArtifactError: an example is damaged.
    """
    folders: set[Path] = set()
    given = [Path(source) for source in sources]
    for place in given:
        if not place.is_dir():
            raise InputError(f"{place} is no folder: name those that `mggtalk prepare` wrote")
        if (place / NOTE).is_file():
            folders.add(place.resolve())
        else:  # unfinished ones have no note
            folders |= {path.parent.resolve() for path in place.glob(f"[!.]*/{NOTE}")}
    found = [Example.open(folder) for folder in sorted(folders)]
    chosen = [example for example in found if example.note.ship or not only_ship]
    if not chosen:
        which = f"{len(found)} examples, but none that may ship," if found else "no example"
        raise InputError(
            f"{which} in {', '.join(map(str, given))}: make some with `mggtalk prepare`"
        )
    return sorted(chosen, key=lambda example: (example.note.name, str(example.folder)))


def split_by_identity(
    examples: Sequence[Example], *, share: float = HELD_OUT_SHARE, seed: int = 0
) -> tuple[list[Example], list[Example]]:
    """Return the examples to learn from and those of held-out people.

    Who is held out depends on seed and name alone, so it stays so when others come or go. There is
    always somebody to learn from, and of two people or more one is held out, unless the share is 0.

    Args:
        examples: all of them.
        share: of the people that is held out, about; 0..1.
        seed: another one holds out others.

    Raises:
        InputError: the share is not within 0..1.
    """
    if not 0 <= share < 1:
        raise InputError(f"a share of {share} cannot be held out: give one from 0 to below 1")
    lots = {example.note.identity: 0.0 for example in examples}
    lots = {identity: _lot(identity, seed) for identity in lots}
    held = {identity for identity, lot in lots.items() if lot < share}
    if share > 0:
        ordered = sorted(lots, key=lambda identity: (lots[identity], identity))
        held = (held or set(ordered[:1])) - set(ordered[-1:])
    train = [example for example in examples if example.note.identity not in held]
    return train, [example for example in examples if example.note.identity in held]


def _lot(identity: str, seed: int) -> float:
    """Return a number 0..1 that depends on a name and a seed alone."""
    digest = hashlib.sha256(f"{seed}\0{identity}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
