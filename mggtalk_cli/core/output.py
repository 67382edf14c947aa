"""Output files that appear whole or not at all: written beside their place, then renamed.

A run that fails, is interrupted or fills the disk leaves the folder as it was. Frame sequences
("frames/%05d.png") get the same care file by file.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from mggtalk_cli.errors import InputError

log = logging.getLogger("mggtalk")

# A run's unfinished files start with this, so that a folder can be cleared of them after a power
# cut; the suffix stays, because encoders choose the container by it.
TEMPORARY_PREFIX = ".mggtalk-"

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PLACEHOLDER = re.compile(r"%(0\d)?d")


def check_output(path: Path, *, overwrite: bool) -> None:
    """Check that `path` can be written, so that a run fails before it computes.

    Raises:
        InputError: no such folder, a folder itself, read-only, or existing without `overwrite`.
    """
    with explained_write_errors(path):
        is_folder, is_file, exists = path.is_dir(), path.is_file(), path.exists()
    if is_folder:
        raise InputError(f"output {path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise InputError(f"output folder {path.parent} does not exist: create it or change -o")
    if is_file and not overwrite:
        raise InputError(f"output {path} exists: add --overwrite to replace it or change -o")
    writable = path.parent if is_file or not exists else path
    if not os.access(writable, os.W_OK):
        raise InputError(f"output folder {path.parent} is not writable: change -o")


@contextlib.contextmanager
def atomic_path(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the folder of `path`, renamed to it if all goes well.

    The temporary file exists already (empty), has the suffix of `path`, and is removed on any
    exception, KeyboardInterrupt included. What is no regular file (/dev/stdout, a named pipe) is
    yielded as it is.

    Args:
        path: the output file; a symbolic link is followed.
        overwrite: allow an existing file to be replaced.

    Raises:
        InputError: see `check_output`; also when the disk fills up on the way.
    """
    check_output(path, overwrite=overwrite)
    if path.exists() and not path.is_file():
        with explained_write_errors(path):
            yield path
        return
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}{target.suffix}")
    try:
        with explained_write_errors(path):
            temporary.open("xb").close()
            yield temporary
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def explained_write_errors(path: Path) -> Iterator[None]:
    """Turn a full disk and a refused write on the way to `path` into an InputError."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_SPACE:
            raise InputError(f"no space left to write {path}{_free_space(path)}") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG):
            raise InputError(f"cannot write {path}: {error.strerror}; change -o") from error
        if error.errno in (errno.EEXIST, errno.ENOTDIR):
            raise InputError(
                f"cannot write {path}: it, or what holds it, "
                "is to be a folder, but there is a file: change -o"
            ) from error
        raise


def _free_space(path: Path) -> str:
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        return ": free some or change -o"
    return f" ({free / 2**20:.0f} MiB free): free some or change -o"


class FrameFiles:
    """The files of a sequence, such as frames/%05d.png: one per frame, each written atomically.

    As a context manager it removes what it wrote when the run fails.

    Attributes:
        count: files written so far, from 0 on.
    """

    def __init__(self, pattern: Path, *, overwrite: bool = False) -> None:
        """Check the pattern, its folder, and that no frame is there already.

        Args:
            pattern: path with exactly one %d or %0Nd, in the file name.
            overwrite: allow existing frames to be replaced; others are left alone.

        Raises:
            InputError: a bad pattern, folder, or frames that exist without `overwrite`.
        """
        parts = _PLACEHOLDER.split(pattern.name)
        if "%" in str(pattern.parent) or pattern.name.count("%") != 1 or len(parts) != 3:
            raise InputError(
                f"output pattern {pattern} must hold exactly one %d or %0Nd, in the file name: "
                "for example frames/%05d.png"
            )
        self.pattern, self.overwrite, self.count = pattern, overwrite, 0
        check_output(self.path(0), overwrite=True)
        self._numbered = re.compile(re.escape(parts[0]) + r"(\d+)" + re.escape(parts[2]))
        if not overwrite:
            self._refuse_existing()

    def path(self, index: int) -> Path:
        """Return the path of frame `index`."""
        return self.pattern.with_name(self.pattern.name % index)

    @contextlib.contextmanager
    def next(self) -> Iterator[Path]:
        """Yield the temporary path of the next frame; see `atomic_path`."""
        with atomic_path(self.path(self.count), overwrite=self.overwrite) as temporary:
            yield temporary
        self.count += 1

    def __enter__(self) -> FrameFiles:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            for index in range(self.count):
                self.path(index).unlink(missing_ok=True)
        elif self.path(self.count).exists():
            log.warning("%s: older frames follow from here", self.path(self.count))

    def _refuse_existing(self) -> None:
        with os.scandir(self.pattern.parent) as entries:
            for entry in entries:
                match = self._numbered.fullmatch(entry.name)
                if match and self.pattern.name % int(match[1]) == entry.name:
                    raise InputError(
                        f"output {self.pattern.parent / entry.name} exists: add --overwrite to "
                        "replace frames or change -o"
                    )


def is_pattern(path: str | Path) -> bool:
    """Return whether an output path asks for a sequence of files."""
    return "%" in Path(path).name
