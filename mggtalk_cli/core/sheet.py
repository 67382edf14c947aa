"""Sheets: the surface patches a head is made of.

A sheet is a regular grid of points with a validity mask; neighbours know whether they are
connected. Grids stay whole until they are flattened for an artifact, so that learned decoders see
maps, a mirrored sheet keeps the row of its counterpart, and covariances come from neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

LINK_RIGHT, LINK_DOWN = 1, 2

# What limits the visibility of a point: nothing, the open lips, an eye's open lids, or an eye's
# closed lids (what a lid has come to cover).
GATE_NONE, GATE_MOUTH, GATE_EYE_RIGHT, GATE_EYE_LEFT = 0, 1, 2, 3
GATE_LID_RIGHT, GATE_LID_LEFT = 4, 5


@dataclass(frozen=True)
class Sheet:
    """One patch on an (h, w) grid.

    Attributes:
        name: what it is: "front", "mirror", "back", "teeth_upper", ...
        positions: (h, w, 3) float32 head frame, cm.
        valid: (h, w) bool.
        links: (h, w) uint8, bit LINK_RIGHT to column + 1 and bit LINK_DOWN to row + 1.
        color: (h, w, 3) float32 RGB.
        opacity: (h, w) float32 0..1.
        index: (h, w, 3) int32 controls each point hangs on.
        weight: (h, w, 3) float32 their weights.
        head_weight: (h, w) float32, 1 moves with the head, 0 with the torso.
        gate: (h, w) uint8, a GATE_ code.
        pixel: (h, w) int32 flat index of the photo's pixel that shows this point, -1 for none.
    """

    name: str
    positions: np.ndarray
    valid: np.ndarray
    links: np.ndarray
    color: np.ndarray
    opacity: np.ndarray
    index: np.ndarray
    weight: np.ndarray
    head_weight: np.ndarray
    gate: np.ndarray
    pixel: np.ndarray


def grid_links(valid: np.ndarray, *labels: np.ndarray) -> np.ndarray:
    """Return (h, w) uint8 links between valid neighbours whose labels all agree."""
    links = np.zeros(valid.shape, np.uint8)
    right = valid[:, :-1] & valid[:, 1:]
    down = valid[:-1] & valid[1:]
    for label in labels:
        right &= label[:, :-1] == label[:, 1:]
        down &= label[:-1] == label[1:]
    links[:, :-1] |= right.astype(np.uint8) * LINK_RIGHT
    links[:-1] |= down.astype(np.uint8) * LINK_DOWN
    return links


def skull_sheet(
    name: str,
    positions: np.ndarray,
    valid: np.ndarray,
    color: np.ndarray,
    opacity: np.ndarray,
    *,
    gate: int = GATE_NONE,
    pixel: np.ndarray | None = None,
    index: np.ndarray | None = None,
    weight: np.ndarray | None = None,
) -> Sheet:
    """Return a sheet that moves with the skull, linked wherever it is valid.

    Args:
        name: of the sheet.
        positions: (h, w, 3) head frame, cm.
        valid: (h, w) bool.
        color: (h, w, 3) RGB.
        opacity: (h, w) 0..1.
        gate: what limits its visibility.
        pixel: (h, w) pixels of the photo that show it; None = none does.
        index: (h, w, 3) controls it hangs on besides; None = none.
        weight: (h, w, 3) their weights.
    """
    shape = valid.shape
    return Sheet(
        name=name,
        positions=positions.astype(np.float32),
        valid=valid,
        links=grid_links(valid),
        color=color.astype(np.float32),
        opacity=opacity.astype(np.float32),
        index=np.zeros((*shape, 3), np.int32) if index is None else index.astype(np.int32),
        weight=np.zeros((*shape, 3), np.float32) if weight is None else weight.astype(np.float32),
        head_weight=np.ones(shape, np.float32),
        gate=np.full(shape, gate, np.uint8),
        pixel=np.full(shape, -1, np.int32) if pixel is None else pixel.astype(np.int32),
    )


class Neighbours(NamedTuple):
    """Compact indices of each valid point's connected neighbours, itself where there is none.

    Each is (m,) int32: `right`, `left`, `down`, `up`.
    """

    right: np.ndarray
    left: np.ndarray
    down: np.ndarray
    up: np.ndarray


def neighbours(grid_shape: np.ndarray, valid: np.ndarray, links: np.ndarray) -> Neighbours:
    """Return the neighbour indices of flattened sheets; links to places without a point are none.

    Args:
        grid_shape: (s, 2) rows and columns of each sheet.
        valid: (n,) bool, all grids flattened one after another.
        links: (n,) uint8.
    """
    compact = np.cumsum(valid, dtype=np.int32) - 1
    columns = np.repeat(grid_shape[:, 1], grid_shape.astype(np.int64).prod(1))
    result = []
    for bit, step in ((LINK_RIGHT, np.ones_like(columns)), (LINK_DOWN, columns)):
        source = np.flatnonzero(valid & ((links & bit) > 0))
        target = source + step[source]
        joined = valid[np.minimum(target, len(valid) - 1)] & (target < len(valid))
        source, target = source[joined], target[joined]
        forward, backward = compact.copy(), compact.copy()
        forward[source] = compact[target]
        backward[target] = compact[source]
        result += [forward[valid], backward[valid]]
    return Neighbours(*result)


class FlatSheets(NamedTuple):
    """Sheets flattened one after another; arrays over m hold the valid points only.

    Attributes:
        grid_shape: (s, 2) int32.
        valid: (n,) bool.
        links: (n,) uint8.
        columns: every other field of `Sheet` by name, (m, ...).
    """

    grid_shape: np.ndarray
    valid: np.ndarray
    links: np.ndarray
    columns: dict[str, np.ndarray]


def flatten(sheets: list[Sheet]) -> FlatSheets:
    """Return the sheets as flat arrays, in their order."""
    fields = ("positions", "color", "opacity", "index", "weight", "head_weight", "gate", "pixel")
    columns = {
        field: np.concatenate([getattr(sheet, field)[sheet.valid] for sheet in sheets])
        for field in fields
    }
    return FlatSheets(
        np.array([sheet.valid.shape for sheet in sheets], np.int32),
        np.concatenate([sheet.valid.ravel() for sheet in sheets]),
        np.concatenate([sheet.links.ravel() for sheet in sheets]),
        columns,
    )
