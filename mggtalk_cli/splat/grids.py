"""Between a head's points, one row each, and the maps that convolutions want.

Maps stay whole and carry a mask: the networks never see points without their neighbours, and a
mirrored point keeps the place of its counterpart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# The sheet of the photo's own pixels, and its mirror image, which the decoders know.
FRONT, MIRROR = "front", "mirror"

# Positions are given to the networks in units of this, about the radius of a head, cm.
POSITION_CM = 10.0


class SheetGrid(NamedTuple):
    """Where the points of one sheet lie.

    Attributes:
        valid: (h, w) bool, the places of its grid that hold a point.
        places: (n,) flat indices of those places, row by row.
        rows: its points among those of all sheets.
    """

    valid: Bool[Tensor, "h w"]
    places: Int[Tensor, " n"]
    rows: slice

    @classmethod
    def of(cls, valid: Bool[Tensor, "h w"], first: int) -> SheetGrid:
        """Return the grid of a sheet whose first point is row `first`."""
        places = valid.flatten().nonzero()[:, 0]
        return cls(valid, places, slice(first, first + len(places)))

    def mask(self, like: Tensor) -> Float[Tensor, "1 1 h w"]:
        """Return 1 where there is a point, in type and device of `like`."""
        return self.valid.to(like)[None, None]

    def positions(self, points: Float[Tensor, "b m 3"]) -> Float[Tensor, "b 3 h w"]:
        """Return the sheet's points as maps in units of `POSITION_CM`, 0 where there is none.

        Args:
            points: those of all sheets, cm.
        """
        height, width = self.valid.shape
        maps = points.new_zeros(len(points), height * width, 3)
        maps = maps.index_copy(1, self.places, points[:, self.rows] / POSITION_CM)
        return maps.reshape(-1, height, width, 3).permute(0, 3, 1, 2)

    def values(self, maps: Float[Tensor, "b c h w"]) -> Float[Tensor, "b n c"]:
        """Return the values of maps at the sheet's points."""
        return maps.flatten(2).index_select(2, self.places).transpose(1, 2)


def sheet_grids(
    grid_shape: np.ndarray, valid: np.ndarray, device: str | torch.device = "cpu"
) -> list[SheetGrid]:
    """Return the grids of flattened sheets (`core.sheet.flatten`), in their order.

    Args:
        grid_shape: (s, 2) rows and columns of each sheet.
        valid: (n,) bool, all grids flattened one after another.
        device: of the tensors.
    """
    grids, first = [], 0
    ends = np.cumsum(grid_shape.astype(np.int64).prod(1))
    for shape, flat in zip(grid_shape, np.split(valid, ends[:-1]), strict=True):
        grid = SheetGrid.of(torch.from_numpy(flat.reshape(shape)).to(device), first)
        grids.append(grid)
        first = grid.rows.stop
    return grids
