"""The CPU renderer backward: gradients of one camera's image -> gradients of what it shows."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from mggtalk_cli.core.compiled import array, run_over, threads_now
from mggtalk_cli.core.parallel import run_all
from mggtalk_cli.render import blend_gradients, projection_gradients
from mggtalk_cli.render.blend_gradients import MOMENTS
from mggtalk_cli.render.forward import (
    Clock,
    Scratch,
    Shapes,
    View,
    colors_of,
    tile_ranges,
    tiles_of,
)
from mggtalk_cli.render.inputs import RasterInputs

# Sums over all Gaussians (the camera's gradients) are taken in chunks of this many, then over the
# chunks in order: the same bits for any number of threads.
CHUNK = 8192


class ImageGradient(NamedTuple):
    """One camera's picture as it was returned, and the gradients that come in."""

    colors: np.ndarray  # (H, W, D) float32
    alphas: np.ndarray  # (H, W)
    d_colors: np.ndarray  # (H, W, D)
    d_alphas: np.ndarray  # (H, W)


class Gradients:
    """Gradients of all inputs, zero at first; every camera adds its own.

    Attributes:
        means: (N, 3) float32.
        shapes: (N, 4, 6 or 9) float32, of the rows of `Shapes`.
        scales: (N or 0, 3) float32, of the scales of `Shapes`.
        opacities: (N,) float32.
        colors: as the inputs' colors.
        viewmats: (C, 4, 4) float32.
        Ks: (C, 3, 3) float32.
        backgrounds: (C, D) float32.
    """

    def __init__(self, inputs: RasterInputs, shapes: Shapes) -> None:
        count = inputs.means.shape[0]
        self.means = np.zeros((count, 3), np.float32)
        self.shapes = np.zeros(shapes.rows.shape, np.float32)
        self.scales = np.zeros(shapes.scales.shape, np.float32)
        self.opacities = np.zeros(count, np.float32)
        self.colors = np.zeros(tuple(inputs.colors.shape), np.float32)
        self.viewmats = np.zeros(tuple(inputs.viewmats.shape), np.float32)
        self.Ks = np.zeros(tuple(inputs.Ks.shape), np.float32)
        held = inputs.backgrounds
        self.backgrounds = None if held is None else np.zeros(tuple(held.shape), np.float32)


def add_camera(
    gradients: Gradients,
    inputs: RasterInputs,
    camera: int,
    shapes: Shapes,
    view: View,
    image: ImageGradient,
    clock: Clock,
) -> None:
    """Add what one camera's picture says about every input."""
    if gradients.backgrounds is not None and inputs.has_color:
        channels = gradients.backgrounds.shape[1]
        rest = (1.0 - image.alphas)[..., None] * image.d_colors[..., :channels]
        gradients.backgrounds[camera] = rest.sum((0, 1), dtype=np.float64)
    scratch = Scratch()
    counts, first, sums = _sums(inputs, view, image, scratch)
    clock.lap("backward: blend")
    d_seen = scratch.array("d_seen", (len(view.boxes), view.channels), np.float32)
    _project(gradients, inputs, camera, shapes, view, (counts, first, sums), d_seen)
    if inputs.has_color:
        _colors(gradients, inputs, camera, view, d_seen)
    clock.lap("backward: project")


def _sums(
    inputs: RasterInputs, view: View, image: ImageGradient, scratch: Scratch
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each Gaussian's number of tiles, its first pair, and the sums of all pairs."""
    count, threads = len(view.boxes), threads_now()
    counts = scratch.array("counts", (count,), np.int32)
    counts[:] = 0
    run_over(len(view.order), blend_gradients.pair_counts, view.order, view.boxes, counts)
    first = np.cumsum(counts, dtype=np.int64)
    first -= counts
    columns = MOMENTS + image.colors.shape[-1]
    sums = scratch.array("sums", (len(view.lists) * columns,), np.float32)
    kernel, blended = blend_gradients.blend_rgb_gradients, (view.records,)
    if view.features is not None:
        kernel = blend_gradients.blend_feature_gradients
        blended = (view.records, view.features)
    tiles_x = tiles_of(inputs.width, inputs.height)[0]
    arrays = (tiles_x, view.offsets, view.lists, *blended, view.boxes, first, *image, sums)
    run_all([partial(kernel, *r, *arrays) for r in tile_ranges(view)], threads)
    return counts, first, sums


def _project(
    gradients: Gradients,
    inputs: RasterInputs,
    camera: int,
    shapes: Shapes,
    view: View,
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray],
    d_seen: np.ndarray,
) -> None:
    """Add the gradients of means, shapes, opacities and the camera; write those of the colours."""
    chunks = _chunks(len(view.boxes))
    d_camera = np.zeros((len(chunks), 16))
    arrays = (
        array(inputs.means), *shapes, array(inputs.opacities), view.camera, view.settings, *pairs,
        inputs.has_depth,
    )  # fmt: skip
    outputs = (gradients.means, gradients.shapes, gradients.scales, gradients.opacities, d_seen)
    kernel = projection_gradients.project_gradients
    tasks = [
        partial(kernel, *chunk, *arrays, *outputs, d_camera[number])
        for number, chunk in enumerate(chunks)
    ]
    run_all(tasks, threads_now())
    d_camera = d_camera.sum(0)
    gradients.viewmats[camera, :3, :3] += d_camera[:9].reshape(3, 3)
    gradients.viewmats[camera, :3, 3] += d_camera[9:12]
    gradients.Ks[camera, (0, 1, 0, 1), (0, 1, 2, 2)] += d_camera[12:16]


def _colors(
    gradients: Gradients, inputs: RasterInputs, camera: int, view: View, d_seen: np.ndarray
) -> None:
    """Add the gradients of colours; through harmonics also those of means and the camera."""
    per_camera = gradients.colors.ndim == (3 if inputs.sh_degree is None else 4)
    d_colors = gradients.colors[camera] if per_camera else gradients.colors
    if inputs.sh_degree is None:
        d_colors += d_seen
        return
    chunks = _chunks(len(d_seen))
    d_position = np.zeros((len(chunks), 3))
    arrays = (
        array(inputs.means), view.settings[6:], *colors_of(inputs, camera), view.records, d_seen,
        gradients.means, d_colors.reshape(len(d_seen), -1),
    )  # fmt: skip
    kernel = projection_gradients.harmonics_gradients
    tasks = [
        partial(kernel, *chunk, *arrays, d_position[number]) for number, chunk in enumerate(chunks)
    ]
    run_all(tasks, threads_now())
    # position = -A^-1 t of the view's rotation A and translation t
    rotation = array(inputs.viewmats[camera]).astype(np.float64)[:3, :3]
    pulled = np.linalg.solve(rotation.T, d_position.sum(0))
    gradients.viewmats[camera, :3, :3] -= np.outer(pulled, view.settings[6:])
    gradients.viewmats[camera, :3, 3] -= pulled


def _chunks(count: int) -> list[tuple[int, int]]:
    return [(begin, min(begin + CHUNK, count)) for begin in range(0, count, CHUNK)]
