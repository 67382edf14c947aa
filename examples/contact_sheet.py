"""Frames of a film side by side in one picture.

Usage: python contact_sheet.py FILM SHEET.png [COLUMNS] [ROWS]
"""

import sys
from pathlib import Path

import numpy as np

from mggtalk_cli.core.image import resize, write_png
from mggtalk_cli.core.video import VideoReader

CELL_WIDTH_PX = 256


def main(film: str, sheet: str, columns: int = 6, rows: int = 3) -> None:
    reader = VideoReader(film)
    count = reader.frame_count or 1
    wanted = np.linspace(0, count - 1, columns * rows).round().astype(int).tolist()
    height = round(CELL_WIDTH_PX * reader.height / reader.width)
    cells = [np.zeros((height, CELL_WIDTH_PX, 3), np.uint8)] * (columns * rows)
    for index, frame in enumerate(reader):
        for place, frame_wanted in enumerate(wanted):
            if frame_wanted == index:
                cells[place] = resize(frame, CELL_WIDTH_PX, height)
    lines = [np.hstack(cells[row * columns : (row + 1) * columns]) for row in range(rows)]
    write_png(Path(sheet), np.vstack(lines))


if __name__ == "__main__":
    main(*sys.argv[1:3], *(int(number) for number in sys.argv[3:]))
