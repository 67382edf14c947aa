"""A number over time: the same throughout, or a column of a CSV that a person wrote."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.table import number, places, read_rows

TIME = "time"  # name of the column of seconds
MAX_ROWS, MAX_TIME_S = 2_000_000, 100_000.0


@dataclass(frozen=True)
class Curve:
    """A number over time; after its last value it stays.

    Attributes:
        values: (n,) at least one.
        times_s: Their increasing times; None: one value per frame.
    """

    values: tuple[float, ...] = (0.0,)
    times_s: tuple[float, ...] | None = None

    def at(self, index: int, fps: float) -> float:
        """Return the value at frame `index`.

        >>> Curve((0.0, 10.0), (0.0, 1.0)).at(5, 10.0)
        5.0
        """
        if self.times_s is None:
            return self.values[min(index, len(self.values) - 1)]
        return float(np.interp(index / fps, self.times_s, self.values))


def read_curve(path: str, name: str, *, limit: float) -> Curve:
    """Return the column `name` of a CSV, in frames or by its column `time` (s).

    Args:
        path: The file.
        name: The column's name in the first line.
        limit: Largest magnitude of a value.

    Raises:
        InputError: No such column, no rows, or what is there is no number or too large.
    """
    rows = read_rows(path)
    _, header = next(rows, (0, []))
    (place,) = places(header, [name], path)
    timed = TIME in (cell.lower() for cell in header)
    clock = places(header, [TIME], path)[0] if timed else None
    values, times = [], []
    for line, cells in rows:
        if len(values) == MAX_ROWS:
            raise InputError(f"{path} has more than {MAX_ROWS} rows: cut it")
        values.append(number(cells, place, limit=limit, where=f"{path}, line {line}, {name}"))
        if clock is not None:
            where = f"{path}, line {line}, {TIME}"
            times.append(number(cells, clock, limit=MAX_TIME_S, where=where))
    if not values:
        raise InputError(f"{path} has a header but no rows: write one per frame")
    if any(later <= earlier for earlier, later in pairwise(times)):
        raise InputError(f"{path}: the times do not increase: sort the rows by {TIME}")
    return Curve(tuple(values), tuple(times) if timed else None)
