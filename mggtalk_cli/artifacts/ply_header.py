"""The header of a `.ply`: what it claims, checked against the file before anything is allocated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mggtalk_cli.errors import ArtifactError

MAX_HEADER_BYTES = 1 << 16
MAX_GAUSSIANS = 50_000_000
# Names of scalars -> numpy's; lists belong to meshes.
_SCALARS = {
    **{"char": "i1", "uchar": "u1", "int8": "i1", "uint8": "u1", "short": "i2", "ushort": "u2"},
    **{"int16": "i2", "uint16": "u2", "int": "i4", "uint": "u4", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "float32": "f4", "double": "f8", "float64": "f8"},
}
_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}


class Element(NamedTuple):
    """Rows of one kind: their number, and the properties (name, numpy type) of each."""

    rows: int
    properties: list[tuple[str, str]]


class PlyHeader(NamedTuple):
    """What a header says.

    Attributes:
        order: "<" or ">" for binary files, "" for ascii.
        elements: by name, in the order of the file.
        comments: the texts of its comment lines.
        nbytes: its length; the data follow.
    """

    order: str
    elements: dict[str, Element]
    comments: list[str]
    nbytes: int

    def dtype(self, name: str) -> np.dtype:
        """Return the type of one row of a binary file's element."""
        return np.dtype([(p, self.order + kind) for p, kind in self.elements[name].properties])

    def before_vertices(self) -> int:
        """Return how much of other elements comes before the vertices: bytes, in ascii rows."""
        names = list(self.elements)
        return sum(
            self.elements[name].rows * (self.dtype(name).itemsize if self.order else 1)
            for name in names[: names.index("vertex")]
        )


def read_header(path: Path) -> PlyHeader:
    """Return the checked header of a `.ply` that has vertices and no lists.

    Raises:
        ArtifactError: no `.ply`, a mesh, damaged, or claiming more than the file holds.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        start = file.read(MAX_HEADER_BYTES)
    if not start:
        raise ArtifactError(f"{path} is empty")
    if not re.match(rb"ply\r?\n", start):
        raise ArtifactError(f"{path} is no .ply file: it starts with {start[:8]!r}")
    end = re.search(rb"\nend_header\r?\n", start)
    if end is None:
        raise ArtifactError(f"{path} is damaged: its header does not end")
    # Comments may hold anything; latin-1 reads every byte.
    lines = start[: end.start()].decode("latin-1").split("\n")[1:]
    header = _parse(path, [line.rstrip("\r") for line in lines], end.end())
    _check_claims(path, header)
    return header


def _parse(path: Path, lines: list[str], nbytes: int) -> PlyHeader:
    order, elements, comments = None, dict[str, Element](), list[str]()
    element = None
    for line in lines:
        match line.split():
            case ["format", name, "1.0"] if name in _ORDERS and order is None:
                order = _ORDERS[name]
            case ["comment" | "obj_info", *_]:
                comments.append(line.partition(" ")[2])
            case ["element", name, count] if name not in elements and _is_count(count):
                element = elements[name] = Element(int(count), [])
            case ["property", "list", *_]:
                raise ArtifactError(f"{path} is a mesh, no .ply of Gaussians: '{line[:60]}'")
            case ["property", kind, name] if kind in _SCALARS and element is not None:
                element.properties.append((name, _SCALARS[kind]))
            case []:
                pass
            case _:
                raise ArtifactError(f"{path} is damaged: its header says '{line[:60]}'")
    if order is None:
        raise ArtifactError(f"{path} is damaged: its header names no format")
    for element in elements.values():
        if len(dict(element.properties)) != len(element.properties):
            raise ArtifactError(f"{path} is damaged: a property appears twice in its header")
    return PlyHeader(order, elements, comments, nbytes)


def _is_count(text: str) -> bool:
    return re.fullmatch(r"[0-9]{1,15}", text) is not None


def _check_claims(path: Path, header: PlyHeader) -> None:
    elements = header.elements
    if "vertex" not in elements or "chunk" in elements:
        kind = "a compressed one" if "chunk" in elements else "without vertices"
        raise ArtifactError(f"{path} is no .ply of Gaussians but {kind}: export a standard one")
    needed = 0
    for name, element in elements.items():
        # An ascii value takes a digit and a separator at least, a row its end.
        row = header.dtype(name).itemsize if header.order else 2 * len(element.properties) or 1
        needed += element.rows * row
    available = path.stat().st_size - header.nbytes + (0 if header.order else 1)
    count = elements["vertex"].rows
    if needed > available or count > MAX_GAUSSIANS:
        raise ArtifactError(
            f"{path} claims {count} vertices ({needed} bytes), but holds {available} bytes: "
            "it is cut off or damaged"
        )
