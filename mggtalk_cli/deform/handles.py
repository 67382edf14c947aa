"""Handles: the few hundred places of a head that a network moves, and how its points follow them.

Handles are the landmarks and a lattice of the photo's pixels. A point takes the displacement of
the landmarks it hangs on, as in skinning, and for the rest (1 - sum of those weights) that of the
lattice, interpolated bilinearly at the pixel its rest position projects to:

    D(P) = sum_k w_k D(landmark_k) + (1 - sum_k w_k) D_lattice(pixel of P)

The first part goes the way of the controls' motion; this module computes the second.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mggtalk_cli.core.compiled import kernel_fits, run_over
from mggtalk_cli.core.expression import LANDMARK_COUNT
from mggtalk_cli.deform import kernels
from mggtalk_cli.deform.edges import HeadRig

# Lattice cells along the photo's longer side: about 2 cm on a face that fills half of it. What is
# finer than that is left to the landmarks.
LATTICE_CELLS = 28

# Points whose landmarks leave less than this to the lattice need none of it.
LEAST_SHARE = 1e-4


@dataclass(frozen=True)
class Handles:
    """The handles of one head and what hangs on its lattice.

    Attributes:
        rest: (h, 3) rest positions, head frame, cm: 468 landmarks, then the lattice.
        rows: (r,) int32 points that follow the lattice.
        corner: (r, 4) int32 handles around each of them.
        weight: (r, 4) float32 their weights; they sum to the share that landmarks leave.
    """

    rest: Float[Tensor, "h 3"]
    rows: Int[Tensor, " r"]
    corner: Int[Tensor, "r 4"]
    weight: Float[Tensor, "r 4"]

    @staticmethod
    def of(head: HeadRig) -> Handles:
        """Return the handles of a head: its lattice, and how its points hang on that, once."""
        rig, camera = head.rig, head.camera
        points, landmarks = rig.points.detach(), rig.controls.detach()[:LANDMARK_COUNT]
        seen = camera.project(points.numpy())
        cell_px = max(camera.width, camera.height) / LATTICE_CELLS
        size = np.array([camera.width, camera.height], np.float32)
        at = np.clip(seen[:, :2], 0, size) / cell_px
        point = _nodes(at, seen[:, 2], cell_px)
        share = 1 - rig.weight.detach().numpy().sum(1)
        rows = np.flatnonzero(share > LEAST_SHARE)
        corner, weight = _bilinear(at[rows], point >= 0)
        handle = LANDMARK_COUNT + np.maximum(np.cumsum(point >= 0) - 1, 0)
        return Handles(
            torch.cat([landmarks, points[point[point >= 0]]]),
            torch.from_numpy(rows.astype(np.int32)),
            torch.from_numpy(handle[corner].astype(np.int32)),
            torch.from_numpy((weight * share[rows, None]).astype(np.float32)),
        )


# Nodes of a lattice, row by row, are numbered with this stride.
_STRIDE = LATTICE_CELLS + 1


def _nodes(at: np.ndarray, depth: np.ndarray, cell_px: float) -> np.ndarray:
    """Return the point that stands for each node of the lattice, -1 where none is near.

    Of the points nearest to a node, within a pixel, it is the foremost. A node nearest to any
    point has one, so every point finds at least one of the four around it.

    Args:
        at: (m, 2) where the points project to, in cells.
        depth: (m,) their camera depth, cm.
        cell_px: size of a cell.
    """
    nearest = np.rint(at).astype(np.int64)
    node = nearest[:, 1] * _STRIDE + nearest[:, 0]
    apart_px = np.floor(np.linalg.norm(at - nearest, axis=1) * cell_px)
    order = np.lexsort((depth, apart_px, node))
    found, first = np.unique(node[order], return_index=True)
    chosen = np.full(_STRIDE * _STRIDE, -1, np.int64)
    chosen[found] = order[first]
    return chosen


def _bilinear(at: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (r, 4) the nodes around points and their weights, which sum to 1 over known nodes.

    Args:
        at: (r, 2) where the points project to, in cells.
        known: (n,) bool, the nodes that stand for a point.
    """
    low = np.minimum(np.floor(at).astype(np.int64), LATTICE_CELLS - 1)
    x, y = (at - low).T
    corner = (low[:, 1] * _STRIDE + low[:, 0])[:, None] + np.array([0, 1, _STRIDE, _STRIDE + 1])
    weight = np.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], 1) * known[corner]
    return corner, weight / np.maximum(weight.sum(1, keepdims=True), 1e-6)


def carry(
    points: Float[Tensor, "m 3"], handles: Handles, displacement: Float[Tensor, "h 3"]
) -> Float[Tensor, "m 3"]:
    """Return points at rest as the lattice carries them, cm.

    Args:
        points: (m, 3) rest positions of the head whose handles these are.
        handles: of that head.
        displacement: (h, 3) of the handles, cm.
    """
    rows, corner, weight = handles.rows, handles.corner, handles.weight
    if not kernel_fits(points, weight, displacement):
        moved = (weight.to(displacement)[..., None] * displacement[corner]).sum(1)
        return points.index_add(0, rows, moved)
    carried = points.clone()
    run_over(len(rows), kernels.carry, rows, corner, weight, displacement, carried)
    return carried
