"""The fast CPU renderer: projects, sorts by depth, bins into tiles and blends, in float32.

One global radix sort by depth, then stable counting into tiles, so every tile's list is in depth
order without sorting pairs. Results are the same bits for any number of threads. Several Python
threads may render at once: each has its own workspace, kept between frames.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mggtalk_cli.core.parallel import even_ranges, run_all, weighted_ranges
from mggtalk_cli.errors import BackendError
from mggtalk_cli.render import kernels, projection
from mggtalk_cli.render.harmonics import COEFFICIENTS
from mggtalk_cli.render.inputs import RasterInputs, check
from mggtalk_cli.render.lanes import LANES
from mggtalk_cli.render.layout import DEPTH, RADIX, RADIX_BITS, RECORD, TILE_ROWS

_log = logging.getLogger("mggtalk")
_local = threading.local()
_warm_lock = threading.Lock()
_warm = False

# Blending work is cut finer than the threads, so that none waits long for the others.
BLEND_PARTS_PER_THREAD = 8
# Tile lists are indexed by 32-bit integers; this many pairs take 8 GB.
MAX_PAIRS = 2**31 - 1


class Sorted(NamedTuple):
    """One camera's visible Gaussians: projected, sorted and binned."""

    records: np.ndarray  # (N, RECORD) float32; rows of culled Gaussians are undefined
    lists: np.ndarray  # (pairs,) int32 Gaussians of each tile, nearest first
    offsets: np.ndarray  # (tiles + 1,) int64 where each tile's list begins
    visible: int


class Clock:
    """Adds up milliseconds per stage."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        """Book the time since the last lap under `stage`."""
        now = time.perf_counter()
        self.milliseconds[stage] = self.milliseconds.get(stage, 0.0) + 1e3 * (now - self._last)
        self._last = now


def rasterize(inputs: RasterInputs) -> tuple[Tensor, Tensor, dict]:
    """Return colors (C, H, W, D), alphas (C, H, W, 1) and meta of checked inputs.

    Meta holds `visible` (Gaussians per camera), `pairs` (Gaussian-tile pairs per camera) and
    `milliseconds` per stage.

    Raises:
        BackendError: inputs are not float32 on the CPU, or need gradients.
    """
    _refuse(inputs)
    warm_up()
    return _rasterize(inputs)


def _rasterize(inputs: RasterInputs) -> tuple[Tensor, Tensor, dict]:
    cameras = inputs.viewmats.shape[0]
    base = 3 if inputs.sh_degree is not None else inputs.colors.shape[-1]
    channels = base * inputs.has_color + inputs.has_depth
    colors = torch.empty(cameras, inputs.height, inputs.width, channels)
    alphas = torch.empty(cameras, inputs.height, inputs.width, 1)
    meta: dict[str, Any] = {"backend": "cpu", "visible": [], "pairs": []}
    clock = Clock()
    threads = max(1, torch.get_num_threads())
    kind, shapes = _shapes(inputs, threads)
    for camera in range(cameras):
        seen = _camera_colors(inputs, camera, threads)
        clock.lap("prepare")
        frame = _sort(inputs, camera, kind, shapes, seen, threads, clock)
        _blend(inputs, camera, frame, seen, colors[camera], alphas[camera], threads)
        clock.lap("blend")
        meta["visible"].append(frame.visible)
        meta["pairs"].append(len(frame.lists))
    if inputs.render_mode.endswith("ED"):
        colors[..., -1:] /= alphas.clamp_min(1e-10)
    meta["milliseconds"] = clock.milliseconds
    return colors, alphas, meta


def _refuse(inputs: RasterInputs) -> None:
    for name, tensor in inputs.tensors().items():
        if tensor.dtype != torch.float32:
            raise BackendError(
                f"backend 'cpu' renders float32, {name} is {tensor.dtype}: convert it or use "
                "backend='reference'"
            )
        if tensor.device.type != "cpu":
            raise BackendError(f"backend 'cpu' cannot read {name} on {tensor.device}: move it")
        if tensor.requires_grad and torch.is_grad_enabled():
            raise BackendError(
                f"backend 'cpu' has no gradients yet, {name} requires one: use "
                "backend='reference' or torch.no_grad()"
            )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


def _workspace(name: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return this thread's scratch array `name`; it is kept and grows, contents undefined."""
    arrays = vars(_local).setdefault("arrays", {})
    size = int(np.prod(shape))
    held = arrays.get(name)
    if held is None or held.size < size:
        held = arrays[name] = np.empty(size, dtype)
    return held[:size].reshape(shape)


def _shapes(inputs: RasterInputs, threads: int) -> tuple[int, np.ndarray]:
    """Return the kernels' kind of shape (2 or 3 vectors, 0 covariance) and its flat rows."""
    count = inputs.means.shape[0]
    if inputs.covars is not None:
        return 0, _array(inputs.covars).reshape(count, 9)
    if inputs.tangents is not None:
        return 2, _array(inputs.tangents).reshape(count, 6)
    axes = _workspace("axes", (count, 9), np.float32)
    quats, scales = _array(inputs.quats), _array(inputs.scales)
    tasks = [
        partial(projection.axes_from_quats, begin, end, quats, scales, axes)
        for begin, end in even_ranges(count, threads)
    ]
    run_all(tasks, threads)
    return 3, axes


def _camera_colors(inputs: RasterInputs, camera: int, threads: int) -> np.ndarray:
    """Return the float32 colours (N, D) one camera sees; D = 0 for depth alone."""
    count = inputs.means.shape[0]
    if not inputs.has_color:
        return np.empty((count, 0), np.float32)
    given = _array(inputs.camera_colors(camera))
    if inputs.sh_degree is None:
        return given
    colors = _workspace("colors", (count, 3), np.float32)
    position = np.linalg.inv(_array(inputs.viewmats[camera]).astype(np.float64))[:3, 3].copy()
    terms, means = COEFFICIENTS[inputs.sh_degree], _array(inputs.means)
    tasks = [
        partial(projection.evaluate_harmonics, begin, end, means, position, given, terms, colors)
        for begin, end in even_ranges(count, threads)
    ]
    run_all(tasks, threads)
    return colors


def _sort(  # type: ignore[no-untyped-def]
    inputs: RasterInputs, camera: int, kind, shapes, colors, threads: int, clock: Clock
) -> Sorted:
    """Project the Gaussians, sort the visible ones by depth and bin them into tiles."""
    count = inputs.means.shape[0]
    view, K = _array(inputs.viewmats[camera]), _array(inputs.Ks[camera])
    pose = projection.camera_vector(view, K, inputs.width, inputs.height)
    settings = np.array(
        [inputs.width, inputs.height, inputs.near_plane, inputs.far_plane, inputs.eps2d,
         inputs.rasterize_mode == "antialiased"], np.float64,
    )  # fmt: skip
    records = _workspace("records", (count, RECORD), np.float32)
    boxes = _workspace("boxes", (count, 4), np.int16)
    keys = [_workspace(f"keys{i}", (count,), np.uint32) for i in (0, 1)]
    orders = [_workspace(f"order{i}", (count,), np.int32) for i in (0, 1)]
    arrays = (_array(inputs.means), shapes, kind, float(inputs.tangent_eps))
    arrays += (_array(inputs.opacities), colors, pose, settings, records, boxes, keys[0], orders[0])
    ranges = even_ranges(count, threads)
    found = run_all([partial(projection.project, *r, *arrays) for r in ranges], threads)
    clock.lap("project")
    ranges = [(r[0], r[0] + f[0]) for r, f in zip(ranges, found, strict=True)]
    visible = sum(f[0] for f in found)
    low, high = min(f[1] for f in found), max(f[2] for f in found)
    order = _radix_sort(keys, orders, ranges, visible, low, high - low, threads)
    clock.lap("sort")
    lists, offsets = _bin(order, boxes, inputs.width, inputs.height, threads)
    clock.lap("bin")
    return Sorted(records, lists, offsets, visible)


def _places(counts: np.ndarray) -> np.ndarray:
    """Return where each part's items of each bin go, (parts, bins), from counts (parts, bins).

    Bins follow each other; within a bin the parts do: the order is kept for any number of parts.
    """
    by_bin = np.ascontiguousarray(counts.T).ravel().astype(np.int64)
    return np.ascontiguousarray((np.cumsum(by_bin) - by_bin).reshape(counts.shape[::-1]).T)


def _radix_sort(  # type: ignore[no-untyped-def]
    keys, orders, ranges, visible: int, low: int, spread: int, threads: int
) -> np.ndarray:
    """Return the visible Gaussians by increasing key; ranges say where they lie in keys[0].

    Only the digits in which the keys differ are sorted: a head needs two passes, not three.
    """
    passes = max(1, -(-max(spread, 0).bit_length() // RADIX_BITS))
    source = 0
    counts = _workspace("digits", (len(ranges), RADIX), np.int32)
    for number in range(passes):
        key, order, shift = keys[source], orders[source], number * RADIX_BITS
        tasks = [
            partial(kernels.radix_count, *r, key, low, shift, counts[part])
            for part, r in enumerate(ranges)
        ]
        run_all(tasks, threads)
        starts = _places(counts)
        outputs = (keys[1 - source], orders[1 - source])
        tasks = [
            partial(kernels.radix_scatter, *r, key, order, low, shift, starts[part], *outputs)
            for part, r in enumerate(ranges)
        ]
        run_all(tasks, threads)
        source = 1 - source
        ranges = even_ranges(visible, len(ranges))
    return orders[source][:visible]


def _bin(  # type: ignore[no-untyped-def]
    order, boxes, width: int, height: int, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return each tile's Gaussians, nearest first, as one list and the tiles' offsets in it."""
    tiles_x, tiles_y = _tiles(width, height)
    ranges = even_ranges(len(order), threads)
    counts = _workspace("tiles", (len(ranges), tiles_x * tiles_y), np.int32)
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
    lists = _workspace("lists", (pairs,), np.int32)
    tasks = [
        partial(kernels.tile_scatter, *r, order, boxes, tiles_x, starts[part], lists)
        for part, r in enumerate(ranges)
    ]
    run_all(tasks, threads)
    return lists, offsets


def _tiles(width: int, height: int) -> tuple[int, int]:
    return -(-width // LANES), -(-height // TILE_ROWS)


def _blend(  # type: ignore[no-untyped-def]
    inputs: RasterInputs, camera: int, frame: Sorted, seen, colors, alphas, threads: int
) -> None:
    """Blend one camera's tiles into colors (H, W, D) and alphas (H, W, 1)."""
    channels = colors.shape[-1]
    kernel, features = kernels.blend_rgb, ()
    if not (channels == 3 and inputs.has_color and not inputs.has_depth):
        depth = frame.records[:, DEPTH : DEPTH + 1]
        parts = [seen, depth] if inputs.has_depth else [seen]
        kernel, features = kernels.blend_features, (np.concatenate(parts, 1),)
    background = _array(inputs.background(camera, channels))
    lists = (frame.offsets, frame.lists, frame.records, *features)
    arrays = (_tiles(inputs.width, inputs.height)[0], *lists, background)
    outputs = (colors.numpy(), alphas[..., 0].numpy())
    ranges = weighted_ranges(
        # a tile costs something even without Gaussians
        frame.offsets + np.arange(len(frame.offsets)),
        threads * BLEND_PARTS_PER_THREAD if threads > 1 else 1,
    )
    run_all([partial(kernel, *r, *arrays, *outputs) for r in ranges], threads)


def warm_up() -> None:
    """Load the compiled kernels, or compile them once per machine (some seconds, announced).

    Renders two Gaussians in every way that has its own kernel. Cheap after the first call.
    """
    global _warm
    with _warm_lock:
        if _warm:
            return
        begin = time.perf_counter()
        first = projection.axes_from_quats
        for number, scene in enumerate(_tiny_scenes()):
            _rasterize(scene)
            if number == 0 and sum(first.stats.cache_misses.values()):
                _log.info("compiling the CPU renderer (once on this machine, some seconds)")
        _log.debug("CPU renderer ready after %.2f s", time.perf_counter() - begin)
        _warm = True


def _tiny_scenes() -> list[RasterInputs]:
    """Return scenes of two Gaussians that between them run every kernel; quickest first."""
    ones, eye = torch.ones(2, 3), torch.eye(3)[None]
    common = {
        "means": 5 * ones, "opacities": ones[:, 0], "viewmats": torch.eye(4)[None], "Ks": eye,
        "backgrounds": None, "width": 1, "height": 1, "near_plane": 0.1, "far_plane": 9.0,
        "eps2d": 0.3, "rasterize_mode": "classic", "tangent_eps": 0.0, "covars": None,
    }  # fmt: skip
    quats = {"quats": torch.ones(2, 4), "scales": ones, "tangents": None}
    plane = {"quats": None, "scales": None, "tangents": torch.ones(2, 2, 3)}
    harmonics = {"colors": torch.ones(2, 1, 3), "sh_degree": 0, "render_mode": "RGB"}
    depth = {"colors": ones, "sh_degree": None, "render_mode": "RGB+D"}
    return [
        check(RasterInputs(**common, **quats, **depth)),  # type: ignore[arg-type]
        check(RasterInputs(**common, **plane, **harmonics)),  # type: ignore[arg-type]
    ]
