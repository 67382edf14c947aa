"""Numbers in CSV files that anybody may have written: bounded, checked, one line at a time."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TextIO

from mggtalk_cli.errors import InputError

MAX_BYTES = 256 * 2**20  # an hour of a phone's take is about 150 MB
MAX_LINE = 2**15  # characters; 63 columns take about 700


def read_rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells without surrounding blanks) of every line that is not empty.

    Raises:
        InputError: Unreadable, too large, no UTF-8 text, or no CSV.
    """
    try:
        if (size := os.path.getsize(path)) > MAX_BYTES:
            raise InputError(
                f"{path}: {size / 2**20:.0f} MB of CSV, at most {MAX_BYTES >> 20}: cut it"
            )
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(_lines(file, path), strict=True)
            for row in reader:
                if any(cells := [cell.strip() for cell in row]):
                    yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV text: {error}") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None


def _lines(file: TextIO, path: str) -> Iterator[str]:
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise InputError(f"{path}: a line is longer than {MAX_LINE} characters: no such CSV")
        yield line


def places(header: Sequence[str], wanted: Sequence[str], path: str) -> list[int]:
    """Return where the wanted columns are; upper and lower case do not matter.

    Raises:
        InputError: One is missing, or named twice.
    """
    known = [name.lower() for name in header]
    for name in wanted:
        if known.count(name.lower()) > 1:
            raise InputError(f"{path}: column {name} appears twice: keep one")
        if name.lower() not in known:
            near = get_close_matches(name.lower(), known, 1)
            hint = f"; did it mean {header[known.index(near[0])][:40]}?" if near else ""
            raise InputError(f"{path} has no column {name}{hint}")
    return [known.index(name.lower()) for name in wanted]


def number(cells: Sequence[str], place: int, *, limit: float, where: str) -> float:
    """Return the number in a cell.

    Args:
        cells: One row.
        place: Which of its cells.
        limit: Largest magnitude.
        where: File, line and column, for the message.

    Raises:
        InputError: No cell, no number, or beyond the limit.
    """
    text = cells[place] if place < len(cells) else ""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) <= limit:
        raise InputError(f"{where}: {text[:30]!r} is no number within -{limit:g}..{limit:g}")
    return value
