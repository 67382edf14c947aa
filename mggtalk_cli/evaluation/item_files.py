"""The items of a run on the disk: what each depends on, and whether what lies there still fits.

An item is NAME.json (its numbers and its key), NAME.png (its contact sheet) and NAME.safetensors
(features for FID and KID). The key is made of this program's files, the protocol's settings, and
the hashes of what was measured; an item whose key still fits need not be measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mggtalk_cli.core.image import write_png
from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.errors import InputError, MggTalkError
from mggtalk_cli.evaluation.report import Item, Report, file_hash, read_item, to_json

FEATURES = ".safetensors"
MAX_FEATURE_BYTES = 1 << 30  # features of one item; more is not ours

Features = Mapping[str, np.ndarray]


@cache
def _program_hash() -> str:
    """Return the hash of this package's files: numbers of an older state are not taken up."""
    return _tree_hash(Path(__file__).parents[1])


def _tree_hash(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(folder).as_posix()
            digest.update(f"{name}\0{file_hash(path)}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def input_hashes(files: Sequence[Path]) -> dict[str, str]:
    """Return the hashes of files by name, with as much of their folders as tells them apart.

    Raises:
        InputError: a file cannot be read.
    """
    depth = 1
    files = list(dict.fromkeys(path.absolute() for path in files))
    while len({path.parts[-depth:] for path in files}) < len(files):
        depth += 1
    hashes = {}
    for path in files:
        try:
            found = _tree_hash(path) if path.is_dir() else file_hash(path)
        except OSError as error:
            raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
        hashes["/".join(path.parts[-depth:])] = found
    return hashes


def item_key(frame: Report, name: str, inputs: Mapping[str, str]) -> str:
    """Return the hash of all that the numbers of an item depend on."""
    depends = [_program_hash(), to_json(frame), name, sorted(inputs.items())]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()


def read_kept(base: Path, key: str) -> tuple[Item, Features] | None:
    """Return an item that was measured before, None unless all of it is there and fits."""
    path = base.with_name(base.name + ".json")
    if not path.is_file():
        return None
    try:
        item = read_item(path)
        note = json.loads(path.read_text("utf-8"))
        sheet_there = not item.sheet or (base.parent / item.sheet).is_file()
        if note.get("key") != key or not sheet_there:
            return None
        return item, _read_features(base, note.get("features", []))
    except (MggTalkError, OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None  # damaged: it is measured again


def _read_features(base: Path, names: Sequence[str]) -> Features:
    if not names:
        return {}
    path = base.with_name(base.name + FEATURES)
    if path.stat().st_size > MAX_FEATURE_BYTES:
        raise InputError(f"{path} is larger than any features")
    stored = load_file(path)
    return {name: stored[name] for name in names}


def write_kept(
    base: Path, key: str, item: Item, *, sheet: np.ndarray | None, features: Features
) -> None:
    """Write the files of an item, the .json last: with it, the item counts as measured."""
    if sheet is not None:
        with _replaced(base, ".png") as part, part.open("wb") as file:
            write_png(file, sheet)
    if features:
        plain = {name: np.ascontiguousarray(a, np.float32) for name, a in features.items()}
        with _replaced(base, FEATURES) as part:
            save_file(plain, part)
    note = {**json.loads(to_json(item)), "key": key, "features": list(features)}
    with _replaced(base, ".json") as part:
        part.write_text(json.dumps(note, indent=1, allow_nan=False) + "\n", "utf-8")


def _replaced(base: Path, suffix: str) -> AbstractContextManager[Path]:
    return atomic_path(base.with_name(base.name + suffix), overwrite=True)
