"""What a command says while it works, always on stderr: stdout is data.

A terminal gets a progress bar with frames per second (items where it is no film that is made) and
the time left; `--log-json` gets one JSON object per line: start, note, warning, progress (at most
one a second), done, error.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from mggtalk_cli import __version__

Item = TypeVar("Item")

PROGRESS_EVERY_S = 1.0  # between two progress events


# Set by a signal: an exception raised inside a callback of a compiled library is swallowed there,
# so the loop over frames raises it again.
_stopped: list[BaseException] = []


def stop_with(reason: BaseException) -> None:
    """Raise `reason` here, and once more at the next frame should a library swallow it."""
    _stopped.append(reason)
    raise reason


def check_stopped() -> None:
    """Raise what a signal asked for."""
    if _stopped:
        raise _stopped[-1]


class Reporter:
    """The voice of one command; a context manager that carries the package's warnings too.

    Attributes:
        expected: how many frames will probably come where a sequence does not know it.
    """

    def __init__(
        self, command: str, *, quiet: bool = False, log_json: bool = False, debug: bool = False
    ) -> None:
        """Take the command's name and its reporting flags."""
        self.command, self.quiet, self.log_json, self.debug = command, quiet, log_json, debug
        self._begun = time.monotonic()
        self._count, self._counted = 0, "frame"
        self.expected: int | None = None
        self._bar: Any = None
        self._handler = _Relay(self)

    def __enter__(self) -> Reporter:
        logger = logging.getLogger("mggtalk")
        logger.addHandler(self._handler)
        logger.setLevel(logging.DEBUG if self.debug else logging.INFO)
        self._event("start", command=self.command, version=__version__)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        logging.getLogger("mggtalk").removeHandler(self._handler)
        if kind is None:
            seconds = round(time.monotonic() - self._begun, 3)
            self._event("done", seconds=seconds, **{f"{self._counted}s": self._count})

    def track(
        self, items: Iterable[Item], total: int | None = None, *, counted: str = "frame"
    ) -> Iterator[Item]:
        """Yield the items, named `counted`, and report their number, rate and the time left."""
        total = self.expected if total is None else total
        self._count, self._counted = 0, counted
        begun = reported = time.monotonic()
        with self._progress_bar(total) as bar:
            for count, item in enumerate(items, 1):
                check_stopped()
                yield item
                self._count = count
                now = time.monotonic()
                rate = count / max(now - begun, 1e-6)
                bar.advance(rate)
                if now - reported >= PROGRESS_EVERY_S and not self.quiet:
                    reported = now
                    self._progress(total, rate)

    def track_items(self, items: Iterable[Item], total: int | None = None, /) -> Iterator[Item]:
        """Yield what is measured one by one, such as files, and report as `track` does."""
        return self.track(items, total, counted="item")

    def wrote(self, target: str, *, counted: str | None = None, count: int | None = None) -> None:
        """Say what was written, and from how many of what; nothing for stdout.

        Args:
            target: where to.
            counted: what they are called; as when they were tracked.
            count: how many are in it; all that were tracked.
        """
        if target == "-" or self.quiet:
            return
        seconds = time.monotonic() - self._begun
        if self.log_json:
            self._event("wrote", path=target)
            return
        count = self._count if count is None else count
        made = f"{count} {counted or self._counted}{'s' * (count != 1)} in " if count else ""
        self._line(f"wrote {target} ({made}{seconds:.1f} s)")

    def warn(self, message: str) -> None:
        """Say what the user should know, unless `--quiet`."""
        if self.quiet:
            return
        if self.log_json:
            self._event("warning", message=message)
        else:
            self._line(f"warning: {message}")

    def note(self, message: str) -> None:
        """Say what explains a wait, unless `--quiet`."""
        if self.quiet:
            return
        if self.log_json:
            self._event("note", message=message)
        else:
            self._line(message)

    def fail(self, message: str, exit_code: int) -> None:
        """Say in one line why the command stops."""
        message = " ".join(message.split())
        if self.log_json:
            self._event("error", message=message, exit_code=exit_code)
        else:
            self._line(f"error: {message}")

    def _progress(self, total: int | None, rate: float) -> None:
        left = None if total is None else round(max(total - self._count, 0) / rate, 1)
        pace = "fps" if self._counted == "frame" else f"{self._counted}s_per_minute"
        speed = round(rate if pace == "fps" else 60 * rate, 2)
        counts = {f"{self._counted}s": self._count, "total": total}
        self._event("progress", **counts, **{pace: speed}, seconds_left=left)

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(f"mggtalk: {text}", markup=False, highlight=False)
        else:
            sys.stderr.write(f"mggtalk: {text}\n")
            sys.stderr.flush()

    def _event(self, event: str, **fields: object) -> None:
        if self.log_json:
            sys.stderr.write(json.dumps({"event": event, "time": time.time(), **fields}) + "\n")
            sys.stderr.flush()

    def _progress_bar(self, total: int | None) -> _Bar:
        shown = not (self.quiet or self.log_json) and sys.stderr.isatty()
        # In a shell pipe only the last command draws, or their bars would overwrite each other.
        return _Bar(self, total) if shown and sys.stdout.isatty() else _Bar(None, total)


def paced(rate: float, counted: str) -> str:
    """Return a rate in items per second as it is read best.

    >>> paced(12.34, "frame"), paced(0.05, "item")
    ('12.3 frames/s', '20.0 s/item')
    """
    if counted == "frame" or rate >= 1:
        return f"{rate:.1f} {counted}s/s"
    return f"{1 / max(rate, 1e-6):.1f} s/{counted}"


class _Bar:
    """A rich progress bar, or nothing."""

    def __init__(self, reporter: Reporter | None, total: int | None) -> None:
        self._reporter, self._total = reporter, total
        self._rich: Any = None

    def __enter__(self) -> _Bar:
        if self._reporter is not None:
            from rich import progress
            from rich.console import Console

            self._rich = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[rate]}"),
                progress.TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._rich.start()
            self._task = self._rich.add_task(self._reporter.command, total=self._total, rate="")
            self._reporter._bar = self._rich
        return self

    def advance(self, rate: float) -> None:
        if self._rich is not None and self._reporter is not None:
            shown = paced(rate, self._reporter._counted)
            self._rich.update(self._task, advance=1, rate=shown)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._reporter is not None:
            self._reporter._bar = None
            self._rich.stop()


class _Relay(logging.Handler):
    """Hands the package's log records to the reporter."""

    def __init__(self, reporter: Reporter) -> None:
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.levelno >= logging.WARNING:
            self._reporter.warn(message)
        elif record.levelno == logging.INFO:
            self._reporter.note(message)
        elif not self._reporter.log_json:
            self._reporter._line(f"{record.levelname.lower()}: {message}")
