"""The CPU renderer forward: one camera's Gaussians projected, sorted, binned into tiles, blended.

One global radix sort by depth, then stable counting into tiles, so every tile's list is in depth
order without sorting pairs. Results are the same bits for any number of threads.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from mggtalk_cli.core.compiled import array, run_over, threads_now
from mggtalk_cli.core.parallel import even_ranges, run_all, weighted_ranges
from mggtalk_cli.errors import BackendError
from mggtalk_cli.render import kernels, projection
from mggtalk_cli.render.harmonics import COEFFICIENTS
from mggtalk_cli.render.inputs import RasterInputs
from mggtalk_cli.render.lanes import LANES
from mggtalk_cli.render.layout import DEPTH, RADIX, RADIX_BITS, RECORD, RED, TILE_ROWS
from mggtalk_cli.render.projection import COVARIANCE, QUATS, TANGENTS

# Blending work is cut finer than the threads, so that none waits long for the others.
BLEND_PARTS_PER_THREAD = 8
# Tile lists are indexed by 32-bit integers; this many pairs take 8 GB.
MAX_PAIRS = 2**31 - 1
# Frames' worth of scratch memory kept for the next frames.
SPARE_SCRATCH = 4

_spare: list[dict[str, np.ndarray]] = []


class Scratch:
    """Arrays of one frame: fresh memory costs a third of the time, so they are kept and lent again.

    Lent to nobody else until this object is gone; a frame to be differentiated holds it till then.
    """

    def __init__(self) -> None:
        self._arrays = _spare.pop() if _spare else {}

    def __del__(self) -> None:
        if len(_spare) < SPARE_SCRATCH:
            _spare.append(self._arrays)

    def array(self, name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return scratch array `name`, contents undefined."""
        size = int(np.prod(shape))
        held = self._arrays.get(name)
        if held is None or held.size < size:
            held = self._arrays[name] = np.empty(size, dtype)
        return held[:size].reshape(shape)


class Shapes(NamedTuple):
    """World shapes as the kernels read them, see `projection`; `rows` (N, 4, 6 or 9) float32."""

    kind: int
    rows: np.ndarray  # quaternions, tangents or covariances
    scales: np.ndarray  # (N, 3) float32 beside quaternions, else none
    eps: float  # isotropic variance added


class View(NamedTuple):
    """One camera's visible Gaussians: projected, sorted and binned."""

    camera: np.ndarray  # (20,) see projection.camera_vector
    settings: np.ndarray  # (9,) see projection.project
    channels: int  # of colour
    records: np.ndarray  # (N, RECORD) float32; rows of culled Gaussians are undefined
    boxes: np.ndarray  # (N, 4) int16 tiles; the same
    order: np.ndarray  # (visible,) int32 Gaussians, nearest first
    lists: np.ndarray  # (pairs,) int32 Gaussians of each tile, nearest first
    offsets: np.ndarray  # (tiles + 1,) int64 where each tile's list begins
    features: np.ndarray | None  # (N, D) float32 if the records do not hold all that is blended


class Clock:
    """Adds up milliseconds per stage."""

    def __init__(self, milliseconds: dict[str, float] | None = None) -> None:
        self.milliseconds = {} if milliseconds is None else milliseconds
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap under `stage`."""
        now = time.perf_counter()
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + 1e3 * (now - self._last)
        self._last = now


def shapes_of(inputs: RasterInputs) -> Shapes:
    """Return the Gaussians' shapes as the kernels read them."""
    count = inputs.means.shape[0]
    none = np.empty((0, 3), np.float32)
    if inputs.covars is not None:
        return Shapes(COVARIANCE, array(inputs.covars).reshape(count, 9), none, 0.0)
    if inputs.tangents is not None:
        tangents = array(inputs.tangents).reshape(count, 6)
        return Shapes(TANGENTS, tangents, none, float(inputs.tangent_eps))
    assert inputs.quats is not None
    assert inputs.scales is not None
    return Shapes(QUATS, array(inputs.quats), array(inputs.scales), 0.0)


def colors_of(inputs: RasterInputs, camera: int) -> tuple[np.ndarray, int]:
    """Return colours (N, D) or harmonics (N, 3 K) of one camera, and how many harmonics count."""
    count = inputs.means.shape[0]
    if not inputs.has_color:
        return np.empty((count, 0), np.float32), 0
    given = array(inputs.camera_colors(camera))
    terms = 0 if inputs.sh_degree is None else COEFFICIENTS[inputs.sh_degree]
    return given.reshape(count, int(np.prod(given.shape[1:]))), terms


def camera_position(inputs: RasterInputs, camera: int) -> np.ndarray:
    """Return where camera number `camera` stands in the world, (3,) float64."""
    view = array(inputs.viewmats[camera]).astype(np.float64)
    return -np.linalg.solve(view[:3, :3], view[:3, 3])


def view_of(
    inputs: RasterInputs, camera: int, shapes: Shapes, scratch: Scratch, clock: Clock
) -> View:
    """Project the Gaussians, sort the visible ones by depth and bin them into tiles."""
    count = inputs.means.shape[0]
    colors, terms = colors_of(inputs, camera)
    pose = projection.camera_vector(
        array(inputs.viewmats[camera]), array(inputs.Ks[camera]), inputs.width, inputs.height
    )
    settings = np.array(
        [inputs.width, inputs.height, inputs.near_plane, inputs.far_plane, inputs.eps2d,
         inputs.rasterize_mode == "antialiased", *camera_position(inputs, camera)], np.float64,
    )  # fmt: skip
    records = scratch.array("records", (count, RECORD), np.float32)
    boxes = scratch.array("boxes", (count, 4), np.int16)
    keys = [scratch.array(f"keys{i}", (count,), np.uint32) for i in (0, 1)]
    orders = [scratch.array(f"order{i}", (count,), np.int32) for i in (0, 1)]
    found = run_over(
        count, projection.project, array(inputs.means), *shapes, array(inputs.opacities),
        colors, terms, pose, settings, records, boxes, keys[0], orders[0],
    )  # fmt: skip
    clock.lap("project")
    ranges = even_ranges(count, len(found))
    ranges = [(r[0], r[0] + f[0]) for r, f in zip(ranges, found, strict=True)]
    low, high = min(f[1] for f in found), max(f[2] for f in found)
    order = _radix_sort(keys, orders, ranges, low, high - low, scratch)
    clock.lap("sort")
    lists, offsets = _bin(order, boxes, inputs.width, inputs.height, scratch)
    clock.lap("bin")
    features = _features(inputs, colors, terms, records)
    channels = 3 if terms else colors.shape[1]
    return View(pose, settings, channels, records, boxes, order, lists, offsets, features)


def _features(
    inputs: RasterInputs, colors: np.ndarray, terms: int, records: np.ndarray
) -> np.ndarray | None:
    """Return what is blended, (N, D); None where it is the colour in the records."""
    in_records = terms > 0 or colors.shape[1] == 3
    if in_records:
        return records[:, RED : DEPTH + 1].copy() if inputs.has_depth else None
    if inputs.has_depth:
        return np.concatenate([colors, records[:, DEPTH : DEPTH + 1]], 1)
    return colors


def _places(counts: np.ndarray) -> np.ndarray:
    """Return where each part's items of each bin go, (parts, bins), from counts (parts, bins).

    Bins follow each other; within a bin the parts do: the order is kept for any number of parts.
    """
    by_bin = np.ascontiguousarray(counts.T).ravel().astype(np.int64)
    return np.ascontiguousarray((np.cumsum(by_bin) - by_bin).reshape(counts.shape[::-1]).T)


def _radix_sort(
    keys: list[np.ndarray],
    orders: list[np.ndarray],
    ranges: list[tuple[int, int]],
    low: int,
    spread: int,
    scratch: Scratch,
) -> np.ndarray:
    """Return the visible Gaussians by increasing key; ranges say where they lie in keys[0].

    Only the digits in which the keys differ are sorted: a head needs two passes, not three.
    """
    visible = sum(end - begin for begin, end in ranges)
    passes = max(1, -(-max(spread, 0).bit_length() // RADIX_BITS))
    parts, source = len(ranges), 0
    counts = scratch.array("digits", (parts, RADIX), np.int32)
    for number in range(passes):
        key, order, shift = keys[source], orders[source], number * RADIX_BITS
        tasks = [
            partial(kernels.radix_count, *r, key, low, shift, counts[part])
            for part, r in enumerate(ranges)
        ]
        run_all(tasks, parts)
        starts = _places(counts)
        outputs = (keys[1 - source], orders[1 - source])
        tasks = [
            partial(kernels.radix_scatter, *r, key, order, low, shift, starts[part], *outputs)
            for part, r in enumerate(ranges)
        ]
        run_all(tasks, parts)
        source = 1 - source
        ranges = even_ranges(visible, parts)
    return orders[source][:visible]


def _bin(
    order: np.ndarray, boxes: np.ndarray, width: int, height: int, scratch: Scratch
) -> tuple[np.ndarray, np.ndarray]:
    """Return each tile's Gaussians, nearest first, as one list and the tiles' offsets in it."""
    tiles_x, tiles_y = tiles_of(width, height)
    threads = threads_now()
    ranges = even_ranges(len(order), threads)
    counts = scratch.array("tiles", (threads, tiles_x * tiles_y), np.int32)
    tasks = [
        partial(kernels.tile_count, *r, order, boxes, tiles_x, counts[part])
        for part, r in enumerate(ranges)
    ]
    run_all(tasks, threads)
    pairs = int(counts.sum(dtype=np.int64))
    if pairs > MAX_PAIRS:
        raise BackendError(
            f"{len(order)} Gaussians touch {pairs} tiles, more than {MAX_PAIRS}: render smaller "
            "or fewer Gaussians"
        )
    starts = _places(counts)
    offsets = np.append(starts[0], pairs)
    lists = scratch.array("lists", (pairs,), np.int32)
    tasks = [
        partial(kernels.tile_scatter, *r, order, boxes, tiles_x, starts[part], lists)
        for part, r in enumerate(ranges)
    ]
    run_all(tasks, threads)
    return lists, offsets


def tiles_of(width: int, height: int) -> tuple[int, int]:
    """Return how many tiles lie beside and above each other."""
    return -(-width // LANES), -(-height // TILE_ROWS)


def tile_ranges(view: View) -> list[tuple[int, int]]:
    """Return ranges of tiles of about equal work, finer than the threads."""
    threads = threads_now()
    # a tile costs something even without Gaussians
    work = view.offsets + np.arange(len(view.offsets))
    return weighted_ranges(work, threads * BLEND_PARTS_PER_THREAD if threads > 1 else 1)


def blend(
    view: View, background: np.ndarray, colors: np.ndarray, alphas: np.ndarray, tiles_x: int
) -> None:
    """Blend one camera's tiles into colors (H, W, D) and alphas (H, W)."""
    kernel, blended = kernels.blend_rgb, (view.records,)
    if view.features is not None:
        kernel, blended = kernels.blend_features, (view.records, view.features)
    lists = (tiles_x, view.offsets, view.lists, *blended, background, colors, alphas)
    run_all([partial(kernel, *r, *lists) for r in tile_ranges(view)], threads_now())
