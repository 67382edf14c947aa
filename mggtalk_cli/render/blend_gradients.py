"""The CPU renderer's backward blending: image gradients -> sums per Gaussian and tile.

Front to back again, with the same weights as the forward pass. What lies behind Gaussian i is what
is left of the pixel, so one number per pixel is carried instead of the colours behind:

    L = sum_j a_j T_j (c_j . g) + T_end (b . g - g_alpha)
    dL/da_i = T_i (c_i . g) - rest_i / (1 - a_i)

with g the gradient of the pixel's colour and rest_i the part of L that lies behind i. Each Gaussian
and tile gets a row of sums of its own: no two threads add to the same number, hence the same bits
for any number of threads.
"""

from __future__ import annotations

import numpy as np

from mggtalk_cli.core.parallel import jit
from mggtalk_cli.render import lanes
from mggtalk_cli.render.kernels import (
    ALPHA_MAX,
    CHECK_EVERY,
    ONE,
    RECORDS_AHEAD,
    T_STOP,
    ZERO,
    _alpha,
    _finished,
    _rows,
)
from mggtalk_cli.render.lanes import LANES, spread
from mggtalk_cli.render.layout import (
    BLUE,
    GREEN,
    L11,
    L22,
    LOG2_OPACITY,
    RED,
    SLOPE_HI,
    TILE_ROWS,
)

# See projection.SOURCES: numba's cache would not notice a change in the files used here.
SOURCES = "4f1b1c709f78"

# A row of sums over the pixels of one tile, with w = a dL/da: w, w u, w v, w u^2, w u v, w v^2 in
# the Gaussian's own coordinates u, v (see `layout`; no cancellation for thin Gaussians), then the
# gradients of its colour channels.
MOMENTS = 6


@jit
def pair_counts(begin, end, order, boxes, counts):  # type: ignore[no-untyped-def]
    """Write how many tiles each Gaussian of order[begin:end] touches into `counts` (N,)."""
    for k in range(begin, end):
        lanes.prefetch(boxes, order[min(k + RECORDS_AHEAD, end - 1)])
        box = boxes[order[k]]
        counts[order[k]] = (box[1] - box[0]) * (box[3] - box[2])


@jit
def _slopes(trans, rest, row, u, peak, dot):  # type: ignore[no-untyped-def]
    """Return eight blending weights and eight w = a dL/da; advance that tile row.

    A finished pixel keeps its transmittance with a minus sign, as in the forward pass.
    """
    before = lanes.load(trans, row)
    alpha = _alpha(u, peak)
    weight = alpha * before
    after = before - weight
    going = after > T_STOP
    lanes.store(trans, row, lanes.select(going, after, lanes.minus_magnitude(before)))
    weight = lanes.select(going, weight, spread(ZERO))
    own = weight * dot
    behind = lanes.load(rest, row) - own
    lanes.store(rest, row, behind)
    slope = own - behind * (weight / after)
    # min(.999, .) has no slope beyond
    return weight, lanes.select(alpha < ALPHA_MAX, slope, spread(ZERO))


@jit
def _load_tile(  # type: ignore[no-untyped-def]
    left, top, colors, alphas, d_colors, d_alphas, trans, rest, gradient
):
    """Fill a tile's transmittance, rest and colour gradients (channels * TILE_ROWS, LANES)."""
    height, width, channels = colors.shape
    trans[:], rest[:], gradient[:] = -ONE, ZERO, ZERO  # outside the picture: finished
    for row in range(min(TILE_ROWS, height - top)):
        for lane in range(min(LANES, width - left)):
            y, x = top + row, left + lane
            total = (alphas[y, x] - ONE) * d_alphas[y, x]
            for d in range(channels):
                gradient[d * TILE_ROWS + row, lane] = d_colors[y, x, d]
                total += colors[y, x, d] * d_colors[y, x, d]
            trans[row, lane], rest[row, lane] = ONE, total


@jit
def _place(box, first, tile_x, tile_y, width):  # type: ignore[no-untyped-def]
    """Return where the sums of a Gaussian and a tile of its box are kept."""
    return (first + (tile_y - box[2]) * (box[1] - box[0]) + (tile_x - box[0])) * width


@jit
def blend_rgb_gradients(  # type: ignore[no-untyped-def]
    begin, end, tiles_x, offsets, lists, records, boxes, first,
    colors, alphas, d_colors, d_alphas, sums,
):  # fmt: skip
    """Write the sums (pairs * (MOMENTS + 3),) of tiles begin..end; colours are in the records.

    `first` (N,) is the number of each Gaussian's first pair. colors (H, W, 3) and alphas (H, W) are
    what the forward pass returned, d_colors and d_alphas the gradients that come in.
    """
    columns = MOMENTS + 3
    trans = np.empty((TILE_ROWS, LANES), np.float32)
    rest = np.empty_like(trans)
    gradient = np.empty((3 * TILE_ROWS, LANES), np.float32)
    for tile in range(begin, end):
        tile_x, tile_y = tile % tiles_x, tile // tiles_x
        left, top = tile_x * LANES, tile_y * TILE_ROWS
        _load_tile(left, top, colors, alphas, d_colors, d_alphas, trans, rest, gradient)
        list_begin, list_end = offsets[tile], offsets[tile + 1]
        finished = False
        for k in range(list_begin, list_end):
            if (k - list_begin) % CHECK_EVERY == CHECK_EVERY - 1:
                finished = finished or _finished(trans)
            lanes.prefetch(records, lists[min(k + RECORDS_AHEAD, list_end - 1)])
            lanes.prefetch(boxes, lists[min(k + RECORDS_AHEAD, list_end - 1)])
            gaussian = lists[k]
            place = _place(boxes[gaussian], first[gaussian], tile_x, tile_y, columns)
            if finished:
                sums[place : place + columns] = ZERO
                continue
            record = records[gaussian]
            l11, l22, slope, peak = record[L11], record[L22], record[SLOPE_HI], record[LOG2_OPACITY]
            r, g, b = record[RED], record[GREEN], record[BLUE]
            x, y, row_begin, row_end = _rows(record, left, top)
            zero = spread(ZERO)
            w, wu, wv, wuu, wuv, wvv = zero, zero, zero, zero, zero, zero
            d_red, d_green, d_blue = zero, zero, zero
            for row in range(row_begin, row_end):
                red, green = lanes.load(gradient, row), lanes.load(gradient, TILE_ROWS + row)
                blue = lanes.load(gradient, 2 * TILE_ROWS + row)
                dy = np.float32(row) - y
                v = l22 * dy
                u = l11 * (lanes.indices() - (x + slope * np.float32(row)))
                dot = red * r + green * g + blue * b
                weight, pull = _slopes(trans, rest, row, u, peak - v * v, dot)
                d_red, d_green = d_red + weight * red, d_green + weight * green
                d_blue = d_blue + weight * blue
                tilted = pull * u
                w, wu, wuu = w + pull, wu + tilted, wuu + tilted * u
                wv, wvv, wuv = wv + pull * v, wvv + pull * (v * v), wuv + tilted * v
            lanes.store_at(sums, place, lanes.totals(w, wu, wv, wuu, wuv, wvv, d_red, d_green))
            sums[place + MOMENTS + 2] = lanes.total(d_blue)


@jit
def blend_feature_gradients(  # type: ignore[no-untyped-def]
    begin, end, tiles_x, offsets, lists, records, features, boxes, first,
    colors, alphas, d_colors, d_alphas, sums,
):  # fmt: skip
    """Write the sums (pairs * (MOMENTS + D),) of tiles begin..end for features (N, D)."""
    channels = features.shape[1]
    columns = MOMENTS + channels
    trans = np.empty((TILE_ROWS, LANES), np.float32)
    rest = np.empty_like(trans)
    gradient = np.empty((channels * TILE_ROWS, LANES), np.float32)
    d_feature = np.empty((channels, LANES), np.float32)
    for tile in range(begin, end):
        tile_x, tile_y = tile % tiles_x, tile // tiles_x
        left, top = tile_x * LANES, tile_y * TILE_ROWS
        _load_tile(left, top, colors, alphas, d_colors, d_alphas, trans, rest, gradient)
        list_begin, list_end = offsets[tile], offsets[tile + 1]
        finished = False
        for k in range(list_begin, list_end):
            if (k - list_begin) % CHECK_EVERY == CHECK_EVERY - 1:
                finished = finished or _finished(trans)
            gaussian = lists[k]
            place = _place(boxes[gaussian], first[gaussian], tile_x, tile_y, columns)
            sums[place : place + columns] = ZERO
            if finished:
                continue
            record, feature = records[gaussian], features[gaussian]
            l11, l22, slope, peak = record[L11], record[L22], record[SLOPE_HI], record[LOG2_OPACITY]
            x, y, row_begin, row_end = _rows(record, left, top)
            zero = spread(ZERO)
            w, wu, wv, wuu, wuv, wvv = zero, zero, zero, zero, zero, zero
            d_feature[:] = ZERO
            for row in range(row_begin, row_end):
                dot = zero
                for d in range(channels):
                    dot = dot + lanes.load(gradient, d * TILE_ROWS + row) * feature[d]
                dy = np.float32(row) - y
                v = l22 * dy
                u = l11 * (lanes.indices() - (x + slope * np.float32(row)))
                weight, pull = _slopes(trans, rest, row, u, peak - v * v, dot)
                for d in range(channels):
                    share = weight * lanes.load(gradient, d * TILE_ROWS + row)
                    lanes.store(d_feature, d, lanes.load(d_feature, d) + share)
                tilted = pull * u
                w, wu, wuu = w + pull, wu + tilted, wuu + tilted * u
                wv, wvv, wuv = wv + pull * v, wvv + pull * (v * v), wuv + tilted * v
            moments = (w, wu, wv, wuu, wuv, wvv)
            for number in range(MOMENTS):
                sums[place + number] = lanes.total(moments[number])
            for d in range(channels):
                sums[place + MOMENTS + d] = lanes.total(lanes.load(d_feature, d))
