"""The CPU renderer's inner loops: sort by depth, bin into tiles, blend.

Each kernel works on one range of its input and releases the GIL, so the caller splits work over
ordinary Python threads; no kernel writes what another range writes, hence the same bits for any
split. Blending evaluates eight pixels of a tile row at once, without branches.
"""

from __future__ import annotations

import math

import numpy as np

from mggtalk_cli.core.parallel import jit
from mggtalk_cli.render import lanes, layout, reference
from mggtalk_cli.render.lanes import LANES, spread
from mggtalk_cli.render.layout import (
    BLUE,
    GREEN,
    HALF_HEIGHT,
    L11,
    L22,
    LOG2_OPACITY,
    RADIX,
    RED,
    SLOPE_HI,
    SLOPE_LO,
    TILE_ROWS,
    X_HI,
    X_LO,
    Y_HI,
    Y_LO,
)  # fmt: skip

# See projection.SOURCES: numba's cache would not notice a change in these files.
SOURCES = "e2d501d5ca99"

# How often, in Gaussians, a tile looks whether all its pixels are finished.
CHECK_EVERY = 32
# How far ahead, in Gaussians, memory is asked for what depth order has scattered: a quarter less
# time in binning.
BOXES_AHEAD, RECORDS_AHEAD = 16, 8

# float32 scalars: a Python float would turn the arithmetic into float64.
ZERO, ONE, EIGHTH = (np.float32(value) for value in (0.0, 1.0, 0.125))
ALPHA_MAX, T_STOP = np.float32(reference.ALPHA_MAX), np.float32(reference.T_STOP)
POWER_MIN = np.float32(layout.LOG2_ALPHA_MIN)
LAST_ROW = np.float32(TILE_ROWS - 1)

# 2^(8 t) = q(t)^8 on -1 <= t <= 0: q is the degree-6 minimax fit of 2^t (relative error 4e-8, all
# float32 resolves); three squarings are cheaper than exponent bits.
POWER_FLOOR = np.float32(-8.0)  # below log2(1/255): everything there is skipped
FIT = (1.0, 0.693147004, 0.240223974, 0.0554894209, 0.00957701169, 0.00127305207, 0.000108511274)
Q0, Q1, Q2, Q3, Q4, Q5, Q6 = (np.float32(value) for value in FIT)


@jit
def radix_count(begin, end, keys, low, shift, counts):  # type: ignore[no-untyped-def]
    """Count the digits of keys[begin:end] into `counts` (RADIX,)."""
    counts[:] = 0
    for i in range(begin, end):
        counts[((keys[i] - low) >> shift) & (RADIX - 1)] += 1


@jit
def radix_scatter(  # type: ignore[no-untyped-def]
    begin, end, keys, order, low, shift, starts, keys_out, order_out
):
    """Move keys[begin:end] and their Gaussians to their digit's place; `starts` is consumed."""
    for i in range(begin, end):
        digit = ((keys[i] - low) >> shift) & (RADIX - 1)
        place = starts[digit]
        starts[digit] = place + 1
        keys_out[place] = keys[i]
        order_out[place] = order[i]


@jit
def tile_count(begin, end, order, boxes, tiles_x, counts):  # type: ignore[no-untyped-def]
    """Count into `counts` (tiles,) how often order[begin:end] touch each tile."""
    counts[:] = 0
    for k in range(begin, end):
        lanes.prefetch(boxes, order[min(k + BOXES_AHEAD, end - 1)])
        box = boxes[order[k]]
        for ty in range(box[2], box[3]):
            for tile in range(ty * tiles_x + box[0], ty * tiles_x + box[1]):
                counts[tile] += 1


@jit
def tile_scatter(begin, end, order, boxes, tiles_x, starts, lists):  # type: ignore[no-untyped-def]
    """Append order[begin:end] to the lists of their tiles, in order; `starts` is consumed."""
    for k in range(begin, end):
        lanes.prefetch(boxes, order[min(k + BOXES_AHEAD, end - 1)])
        gaussian = order[k]
        box = boxes[gaussian]
        for ty in range(box[2], box[3]):
            for tile in range(ty * tiles_x + box[0], ty * tiles_x + box[1]):
                lists[starts[tile]] = gaussian
                starts[tile] += 1


@jit
def _alpha(u, peak):  # type: ignore[no-untyped-def]
    """Opacity min(.999, 2^(peak - u^2)) of eight pixels, 0 below 1/255."""
    power = peak - u * u
    t = lanes.greatest(power, spread(POWER_FLOOR)) * EIGHTH
    q = Q0 + t * (Q1 + t * (Q2 + t * (Q3 + t * (Q4 + t * (Q5 + t * Q6)))))
    q = q * q
    q = q * q
    q = lanes.least(q * q, spread(ALPHA_MAX))
    return lanes.select(power >= POWER_MIN, q, spread(ZERO))


@jit
def _rows(record, left, top):  # type: ignore[no-untyped-def]
    """Where a Gaussian lies in a tile, relative to the tile's first pixel.

    Returns:
        The ridge's x in the first row, the centre's y, the first and one past the last row reached.
    """
    above = (np.float64(record[Y_HI]) - top - 0.5) + np.float64(record[Y_LO])
    slope = np.float64(record[SLOPE_HI]) + np.float64(record[SLOPE_LO])
    x = np.float32(
        (np.float64(record[X_HI]) - left - 0.5) + np.float64(record[X_LO]) - slope * above
    )
    y = np.float32(above)
    first = max(0, math.ceil(max(y - record[HALF_HEIGHT], ZERO)))
    last = math.floor(min(y + record[HALF_HEIGHT], LAST_ROW)) + 1
    return x, y, first, last


@jit
def _composite(trans, row, u, peak):  # type: ignore[no-untyped-def]
    """Return eight blending weights; lower the transmittance of that tile row.

    A finished pixel keeps its transmittance with a minus sign: no branch, no second array.
    """
    before = lanes.load(trans, row)
    weight = _alpha(u, peak) * before
    after = before - weight
    going = after > T_STOP
    lanes.store(trans, row, lanes.select(going, after, lanes.minus_magnitude(before)))
    return lanes.select(going, weight, spread(ZERO))


@jit
def _finished(trans):  # type: ignore[no-untyped-def]
    """Return whether every pixel of the tile is finished."""
    for row in range(TILE_ROWS):  # noqa: SIM110 (numba compiles loops, not generators)
        if lanes.any_positive(lanes.load(trans, row)):
            return False
    return True


@jit
def blend_rgb(  # type: ignore[no-untyped-def]
    begin, end, tiles_x, offsets, lists, records, background, colors, alphas
):
    """Blend tiles begin..end front to back into colors (H, W, 3) and alphas (H, W)."""
    height, width = alphas.shape
    trans = np.empty((TILE_ROWS, LANES), np.float32)
    red, green, blue = np.empty_like(trans), np.empty_like(trans), np.empty_like(trans)
    for tile in range(begin, end):
        left, top = (tile % tiles_x) * LANES, (tile // tiles_x) * TILE_ROWS
        trans[:] = ONE
        red[:], green[:], blue[:] = ZERO, ZERO, ZERO
        list_begin, list_end = offsets[tile], offsets[tile + 1]
        for k in range(list_begin, list_end):
            if (k - list_begin) % CHECK_EVERY == CHECK_EVERY - 1 and _finished(trans):
                break
            lanes.prefetch(records, lists[min(k + RECORDS_AHEAD, list_end - 1)])
            record = records[lists[k]]
            l11, l22, slope, peak = record[L11], record[L22], record[SLOPE_HI], record[LOG2_OPACITY]
            r, g, b = record[RED], record[GREEN], record[BLUE]
            x, y, first, last = _rows(record, left, top)
            for row in range(first, last):
                dy = np.float32(row) - y
                v = l22 * dy
                u = l11 * (lanes.indices() - (x + slope * np.float32(row)))
                weight = _composite(trans, row, u, peak - v * v)
                lanes.store(red, row, lanes.load(red, row) + weight * r)
                lanes.store(green, row, lanes.load(green, row) + weight * g)
                lanes.store(blue, row, lanes.load(blue, row) + weight * b)
        for row in range(min(TILE_ROWS, height - top)):
            for lane in range(min(LANES, width - left)):
                rest = abs(trans[row, lane])
                alphas[top + row, left + lane] = ONE - rest
                pixel = colors[top + row, left + lane]
                pixel[0] = red[row, lane] + rest * background[0]
                pixel[1] = green[row, lane] + rest * background[1]
                pixel[2] = blue[row, lane] + rest * background[2]


@jit
def blend_features(  # type: ignore[no-untyped-def]
    begin, end, tiles_x, offsets, lists, records, features, background, colors, alphas
):
    """Blend tiles begin..end of any channels: features (N, D) into colors (H, W, D)."""
    height, width = alphas.shape
    channels = features.shape[1]
    trans = np.empty((TILE_ROWS, LANES), np.float32)
    total = np.empty((channels * TILE_ROWS, LANES), np.float32)
    for tile in range(begin, end):
        left, top = (tile % tiles_x) * LANES, (tile // tiles_x) * TILE_ROWS
        trans[:] = ONE
        total[:] = ZERO
        list_begin, list_end = offsets[tile], offsets[tile + 1]
        for k in range(list_begin, list_end):
            if (k - list_begin) % CHECK_EVERY == CHECK_EVERY - 1 and _finished(trans):
                break
            lanes.prefetch(records, lists[min(k + RECORDS_AHEAD, list_end - 1)])
            record, feature = records[lists[k]], features[lists[k]]
            l11, l22, slope, peak = record[L11], record[L22], record[SLOPE_HI], record[LOG2_OPACITY]
            x, y, first, last = _rows(record, left, top)
            for row in range(first, last):
                dy = np.float32(row) - y
                v = l22 * dy
                u = l11 * (lanes.indices() - (x + slope * np.float32(row)))
                weight = _composite(trans, row, u, peak - v * v)
                for d in range(channels):
                    place = d * TILE_ROWS + row
                    lanes.store(total, place, lanes.load(total, place) + weight * feature[d])
        for row in range(min(TILE_ROWS, height - top)):
            for lane in range(min(LANES, width - left)):
                rest = abs(trans[row, lane])
                alphas[top + row, left + lane] = ONE - rest
                pixel = colors[top + row, left + lane]
                for d in range(channels):
                    pixel[d] = total[d * TILE_ROWS + row, lane] + rest * background[d]
