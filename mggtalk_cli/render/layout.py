"""How a projected Gaussian lies in memory, and the thresholds.

A projected Gaussian is one 64-byte record. Its footprint is kept in Cholesky form,
alpha = 2^(log2 o - u^2 - v^2) with u = l11 (dx - slope dy), v = l22 dy: the exponent never exceeds
log2(opacity). The ridge u = 0 is followed in float64 to the tile at hand, so that long thin
Gaussians do not suffer from cancellation either.
"""

from __future__ import annotations

import math

from mggtalk_cli.render.reference import ALPHA_MIN

# A tile is LANES pixels wide, so that one row of it is one 256-bit vector, and TILE_ROWS high. High
# tiles are fewer to touch, and rows a Gaussian does not reach are skipped anyway: 8, 16 and 32 rows
# took 51, 48 and 43 ms a frame (262k Gaussians, 512x512, one thread).
TILE_ROWS = 32
# Digits of the depth sort: 2048 counters stay in the first-level cache.
RADIX_BITS = 11
RADIX = 1 << RADIX_BITS

# Columns of a record: centre = hi + lo (hi whole, lo the rest: float32 keeps sub-pixel precision at
# any image size), footprint with slope = hi + lo, colour, depth, half height in pixels.
X_HI, X_LO, Y_HI, Y_LO, L11, L22, SLOPE_HI, SLOPE_LO = 0, 1, 2, 3, 4, 5, 6, 7
RED, GREEN, BLUE, DEPTH, HALF_HEIGHT, LOG2_OPACITY = 8, 9, 10, 11, 12, 13
RECORD = 16

LOG2_ALPHA_MIN = math.log2(ALPHA_MIN)
