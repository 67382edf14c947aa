"""Example folders: what is written is read, what is damaged is told apart in one line."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from mggtalk_cli.errors import ArtifactError, InputError
from mggtalk_cli.training.dataset import Example, find_examples, split_by_identity
from mggtalk_cli.training.example_folder import (
    CLIP,
    HEAD,
    MOTION,
    NOTE,
    SYNTHETIC,
    TRUTH_FILE,
    Note,
    new_folder,
    write_truth,
)

FRAMES, SIZE, VIEWS = 3, 16, 2
NOTE_OF = Note("ann", "ann", True, "CC0", "made up", "0" * 64, CLIP, 25.0, FRAMES, SIZE)
Change = Callable[[Path], None]


def arrays(kind: str = CLIP) -> dict[str, np.ndarray]:
    made = np.random.default_rng(0)

    def grey(*shape: int) -> np.ndarray:
        return made.integers(0, 255, shape, np.uint8)

    truth = {
        "frames": grey(FRAMES, SIZE, SIZE, 3),
        "person": grey(FRAMES, SIZE, SIZE),
        "face": made.normal(size=(FRAMES, 468, 2)).astype(np.float32),
    }
    if kind == CLIP:
        return truth | {
            "render": grey(FRAMES, SIZE, SIZE, 4),
            "flow": made.normal(size=(FRAMES, 4, 4, 2)).astype(np.float16),
            "trust": grey(FRAMES, 4, 4),
            "audio_features": made.normal(size=(2 * FRAMES, 384)).astype(np.float16),
            "cepstra": made.normal(size=(4 * FRAMES, 13)).astype(np.float32),
        }
    return truth | {
        "depth": made.normal(size=(VIEWS, SIZE, SIZE)).astype(np.float32),
        "normals": grey(VIEWS, SIZE, SIZE, 3).astype(np.int8),
        "mask": grey(VIEWS, SIZE, SIZE),
        "beta": made.normal(size=(VIEWS, 52)).astype(np.float32),
        "viewmats": made.normal(size=(VIEWS, 4, 4)).astype(np.float32),
    }


def write(place: Path, note: Note = NOTE_OF, *, overwrite: bool = False) -> Path:
    place.mkdir(exist_ok=True)
    with new_folder(place, note, overwrite=overwrite) as folder:
        for name in (HEAD, MOTION):
            (folder / name).write_bytes(b"looked at when asked for")
        write_truth(folder, arrays(note.kind))
    return place / note.name


@pytest.mark.parametrize("kind", [CLIP, SYNTHETIC])
def test_what_is_written_is_read(tmp_path: Path, kind: str) -> None:
    note = replace(NOTE_OF, kind=kind, settings={"frames": 3}, origin="Tromsø")
    folder = write(tmp_path / "out", note)
    example = Example.open(folder)
    assert example.note == note
    for name, array in arrays(kind).items():
        np.testing.assert_array_equal(example.truth(name), array)
        assert example.truth(name).dtype == array.dtype
    np.testing.assert_array_equal(example.truth("frames", 1, 2), arrays(kind)["frames"][1:2])
    for rows in ((2, 2), (0, FRAMES + 1), (-1, 2)):
        with pytest.raises(IndexError):
            example.truth("frames", *rows)
    with pytest.raises(ArtifactError, match="has no"):
        example.truth("depth" if kind == CLIP else "flow")
    with pytest.raises(ArtifactError):
        example.head()


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), new_folder(tmp_path, NOTE_OF) as folder:
        (folder / HEAD).write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    first = write(tmp_path)
    with pytest.raises(InputError, match="--overwrite"), new_folder(tmp_path, NOTE_OF):
        pass
    with pytest.raises(RuntimeError), new_folder(tmp_path, NOTE_OF, overwrite=True):
        raise RuntimeError
    assert Example.open(first).note == NOTE_OF
    write(tmp_path, replace(NOTE_OF, identity="bob"), overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["ann"]
    assert Example.open(first).note.identity == "bob"


def note_with(**changes: object) -> Change:
    def change(folder: Path) -> None:
        found = json.loads((folder / NOTE).read_text("utf-8"))
        (folder / NOTE).write_text(json.dumps({**found, **changes}), "utf-8")

    return change


def truth_with(**changes: np.ndarray | None) -> Change:
    def change(folder: Path) -> None:
        found = {**load_file(folder / TRUTH_FILE), **changes}
        write_truth(folder, {name: array for name, array in found.items() if array is not None})

    return change


def cut_short(folder: Path) -> None:
    path = folder / TRUTH_FILE
    path.write_bytes(path.read_bytes()[:-10])


DAMAGES: dict[str, tuple[Change, str]] = {
    "no json": (lambda folder: (folder / NOTE).write_text("{"), "is damaged"),
    "a list": (lambda folder: (folder / NOTE).write_text("[]"), "does not hold"),
    "deep": (lambda folder: (folder / NOTE).write_text("[" * 60_000), "is damaged"),
    "large": (lambda folder: (folder / NOTE).write_text(" " * 70_000), "larger than"),
    "more": (note_with(extra=1), "does not hold"),
    "newer": (note_with(version=2), "version 2"),
    "ship": (note_with(ship="yes"), "ship is 'yes'"),
    "frames": (note_with(frames=True), "frames is 'True'"),
    "more frames": (note_with(frames=4), "of 4 frames"),
    "rate": (note_with(fps=0.0), "cannot be"),
    "kind": (note_with(kind="dream"), "cannot be"),
    "size": (note_with(size=32), "32 are expected"),
    "no head": (lambda folder: (folder / HEAD).unlink(), "no head.npz"),
    "no motion": (lambda folder: (folder / MOTION).unlink(), "no motion.npz"),
    "no truth": (lambda folder: (folder / TRUTH_FILE).unlink(), "no truth.safetensors"),
    "cut short": (cut_short, "is damaged"),
    "array missing": (truth_with(person=None), "lacks person"),
    "odd array": (truth_with(cat=np.zeros(3, np.float32)), "'cat' besides"),
    "type": (truth_with(person=np.zeros((FRAMES, SIZE, SIZE), np.float32)), "person is F32"),
    "shape": (truth_with(flow=np.zeros((FRAMES, 4, 5, 2), np.float16)), "flow is F16"),
    "axes": (truth_with(frames=np.zeros((FRAMES, SIZE), np.uint8)), "frames is U8"),
    "short sound": (truth_with(cepstra=np.zeros((FRAMES, 13), np.float32)), "cepstra is F32"),
    "empty": (truth_with(audio_features=np.zeros((0, 384), np.float16)), "audio_features is F16"),
}


def test_older_examples_have_no_cepstra(tmp_path: Path) -> None:
    truth_with(cepstra=None)(write(tmp_path))
    (example,) = find_examples([tmp_path])
    np.testing.assert_array_equal(example.truth("face"), arrays()["face"])
    with pytest.raises(ArtifactError, match="has no 'cepstra': prepare examples that have it"):
        example.truth("cepstra")


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_examples(tmp_path: Path, damage: Change, message: str) -> None:
    folder = write(tmp_path)
    damage(folder)
    with pytest.raises(ArtifactError, match=message) as caught:
        find_examples([tmp_path])
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_values_that_are_no_number(tmp_path: Path) -> None:
    face = arrays()["face"]
    face[1, 7, 0] = np.nan
    truth_with(face=face)(write(tmp_path))
    (example,) = find_examples([tmp_path])
    assert example.truth("face", 0, 1).shape == (1, 468, 2)
    with pytest.raises(ArtifactError, match="no number"):
        example.truth("face")


def test_which_examples_are_found(tmp_path: Path) -> None:
    for name, ship in (("cyd", True), ("ann", True), ("bob", False)):
        write(tmp_path / "made", replace(NOTE_OF, name=name, identity=name, ship=ship))
    (tmp_path / "made" / ".mggtalk-0123456789ab").mkdir()
    (tmp_path / "made" / ".mggtalk-0123456789ab" / NOTE).write_text("half")
    (tmp_path / "made" / "unfinished").mkdir()
    made = tmp_path / "made"
    assert [e.note.name for e in find_examples([made, made / "bob"])] == ["ann", "bob", "cyd"]
    assert [e.note.name for e in find_examples([str(made)], only_ship=True)] == ["ann", "cyd"]
    with pytest.raises(InputError, match="none that may ship"):
        find_examples([made / "bob"], only_ship=True)
    with pytest.raises(InputError, match="no example in"):
        find_examples([made / "unfinished"])
    with pytest.raises(InputError, match="is no folder"):
        find_examples([tmp_path / "nowhere"])


def people(*names: str) -> list[Example]:
    notes = (replace(NOTE_OF, name=f"{n}_{i}", identity=n) for n in names for i in range(2))
    return [Example(Path(note.name), note, frozenset()) for note in notes]


def identities(examples: list[Example]) -> set[str]:
    return {example.note.identity for example in examples}


def test_people_are_held_out_whole() -> None:
    names = [f"person {index}" for index in range(500)]
    train, held = split_by_identity(people(*names))
    assert len(train) + len(held) == 1000
    assert not identities(train) & identities(held)
    assert 0.15 < len(held) / 1000 < 0.25
    # who else is there changes nothing
    fewer_held = split_by_identity(people(*names[:250]))[1]
    assert identities(fewer_held) == identities(held) & set(names[:250])
    assert identities(split_by_identity(people(*names), seed=1)[1]) != identities(held)


@pytest.mark.parametrize("seed", range(8))
def test_both_sides_get_somebody(seed: int) -> None:
    for share in (0.01, 0.5, 0.99):
        train, held = split_by_identity(people("ann", "bob"), share=share, seed=seed)
        assert (len(train), len(held)) == (2, 2)
        # one person alone is learned from
        assert split_by_identity(people("ann"), share=share, seed=seed)[1] == []
    assert split_by_identity(people("ann", "bob"), share=0.0, seed=seed)[1] == []


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_that_cannot_be(share: float) -> None:
    with pytest.raises(InputError, match="held out"):
        split_by_identity(people("ann"), share=share)


def test_the_note_is_json_that_people_can_read(tmp_path: Path) -> None:
    text = (write(tmp_path) / NOTE).read_text("utf-8")
    assert json.loads(text) == {**asdict(NOTE_OF), "settings": {}}
