"""What a training run writes down: numbers as CSV and for TensorBoard, and sample sheets as PNG.

`log.csv` has one number a line: step, series, value. A resumed run goes on behind the step it
resumes from; what an interrupted run had written beyond it is removed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np

from mggtalk_cli.core.output import atomic_path, explained_write_errors

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LOG_FILE, SHEETS, BOARD = "log.csv", "sheets", "tensorboard"
COLUMNS = ("step", "series", "value")


class Logbook:
    """The files of a run; a context manager."""

    def __init__(self, folder: Path, *, first: int = 0) -> None:
        """Open the files in a folder.

        Args:
            folder: of the run; it exists.
            first: step from which new numbers come; older ones are kept, later ones dropped.
        """
        self.folder = folder
        if not first:
            _clear(folder)
        path = folder / LOG_FILE
        kept = [row for row in _rows(path) if first and row[0] <= first]
        with atomic_path(path, overwrite=True) as part, part.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *kept])
        with explained_write_errors(path):
            self._file = path.open("a", newline="", encoding="utf-8")
        self._csv = csv.writer(self._file)
        self._board = _board(folder / BOARD, first)

    def add(self, step: int, numbers: Mapping[str, float]) -> None:
        """Write numbers down, at a count of steps done."""
        for series, value in numbers.items():
            self._csv.writerow((step, series, f"{value:.7g}"))
            if self._board is not None:
                self._board.add_scalar(series, value, step)

    def show(self, step: int, sheet: np.ndarray) -> None:
        """Write a picture (H, W, 3) uint8 of samples."""
        from PIL import Image

        folder = self.folder / SHEETS
        folder.mkdir(exist_ok=True)
        with atomic_path(folder / f"step-{step:07d}.png", overwrite=True) as part:
            Image.fromarray(sheet).save(part)
        if self._board is not None:
            self._board.add_image("samples", sheet, step, dataformats="HWC")

    def flush(self) -> None:
        """Bring what was written to the disk."""
        with explained_write_errors(self.folder / LOG_FILE):
            self._file.flush()
        if self._board is not None:
            self._board.flush()

    def __enter__(self) -> Logbook:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()


def read_log(path: Path) -> dict[str, list[tuple[int, float]]]:
    """Return (step, value) pairs of every series in a `log.csv`, in the order written."""
    found: dict[str, list[tuple[int, float]]] = {}
    for step, series, value in _rows(path):
        found.setdefault(series, []).append((step, value))
    return found


def _rows(path: Path) -> list[tuple[int, str, float]]:
    """Return the whole lines of a log; a line cut off by a power cut is passed over."""
    if not path.is_file():
        return []
    rows = []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for row in list(csv.reader(file))[1:]:
            try:
                step, series, value = row
                rows.append((int(step), series, float(value)))
            except ValueError:
                continue
    return rows


def _clear(folder: Path) -> None:
    """Remove the sheets and TensorBoard files of an earlier run."""
    for pattern in (f"{SHEETS}/step-*.png", f"{BOARD}/events.out.tfevents.*"):
        for path in folder.glob(pattern):
            path.unlink()


def _board(folder: Path, first: int) -> SummaryWriter | None:
    """Return TensorBoard's writer; None where it is not installed: the CSV has it all."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first or None)
