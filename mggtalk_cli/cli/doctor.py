"""`mggtalk doctor`: is everything there, before any computing?"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer

import mggtalk_cli
from mggtalk_cli.cli import options

PACKAGES = (
    *("torch", "numpy", "scipy", "numba", "av", "librosa", "ai-edge-litert", "pocketsphinx"),
    *("opencv-python-headless", "pillow", "safetensors", "imageio", "typer", "rich"),
)
OPTIONAL_PACKAGES = ("gsplat",)
CODECS = {"libx264": True, "aac": True, "prores_ks": False, "libvpx-vp9": False, "libopus": False}
# A minute of 512 px film is some 10 MB, its frames artifact 1.5 GB; below this runs do fail.
MIN_FREE_BYTES = 500 * 2**20
# "SHA-256  path/to/file", as sha256sum writes it.
_SUM = re.compile(r"\s*([0-9a-f]{64})\s+(?:\S*/)?(\S+\.(?:tflite|npz|json|safetensors))\s*")
MODEL_SUFFIXES = (".tflite", ".npz", ".safetensors")


@dataclasses.dataclass(frozen=True)
class Check:
    """One finding: `ok` is None for what is merely good to know; `fix` says what to do."""

    name: str
    ok: bool | None
    value: str
    fix: str = ""
    essential: bool = True

    @property
    def broken(self) -> bool:
        """Whether the tool cannot work like this."""
        return self.ok is False and self.essential


def doctor(
    ctx: typer.Context,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Check versions, models, codecs, back ends, disk and terminal; exit 1 if it cannot work."""
    checks = [check for group in GROUPS for check in _guarded(group)]
    broken = any(check.broken for check in checks)
    if as_json:
        rows = [dataclasses.asdict(check) for check in checks]
        typer.echo(json.dumps({"ok": not broken, "checks": rows}, indent=2))
    else:
        for check in checks:
            typer.echo(_line(check))
        typer.echo("mggtalk cannot work like this" if broken else "ready")
    if broken:
        raise typer.Exit(1)


def _line(check: Check) -> str:
    mark = {None: "    ", True: "ok  ", False: "FAIL" if check.essential else "note"}[check.ok]
    fix = f"  -> {check.fix}" if check.fix and not check.ok else ""
    return f"{mark}  {check.name:<46} {check.value}{fix}"


def _guarded(group: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Run one group; a check that crashes is a finding, not the end of the report."""
    name = group.__name__.strip("_").replace("_", " ")
    try:
        yield from group()
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        yield Check(name, False, text, "reinstall with `pip install --force-reinstall mggtalk-cli`")


def _versions() -> Iterator[Check]:
    yield Check("mggtalk", None, mggtalk_cli.__version__)
    version = platform.python_version()
    supported = (3, 10) <= sys.version_info[:2] < (3, 14)
    yield Check("python", supported, version, "use Python 3.10 to 3.13")
    yield Check("platform", None, platform.platform())
    for package in PACKAGES:
        yield _package(package, essential=True)
    for package in OPTIONAL_PACKAGES:
        yield _package(package, essential=False)


def _package(name: str, *, essential: bool) -> Check:
    try:
        return Check(name, True, importlib.metadata.version(name), essential=essential)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "not installed", f"pip install {name}", essential)


def _models() -> Iterator[Check]:
    package = Path(mggtalk_cli.__file__).parent
    files = {p.name: p for p in sorted(package.glob("*/data/*")) if p.suffix in MODEL_SUFFIXES}
    recorded = _recorded_sums(package)
    for name, path in files.items():
        label, found = path.relative_to(package).as_posix(), _sha256(path)
        if name not in recorded:
            yield Check(label, None, f"sha256 {found[:12]} (none recorded)")
        else:
            fix = "the file is damaged: reinstall mggtalk-cli"
            yield Check(label, found == recorded[name], f"sha256 {found[:12]}", fix)
    for name in sorted(recorded.keys() - files.keys()):
        yield Check(name, False, "missing", "reinstall mggtalk-cli")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _recorded_sums(package: Path) -> dict[str, str]:
    """Return file name -> SHA-256: lines of the shipped notices that hold just these, and weights.

    Where a notice and the program differ about weights, the program is right: it reads no others.
    """
    sums: dict[str, str] = {}
    for notice in sorted(package.glob("*/data/NOTICE")):
        for line in notice.read_text("utf-8").splitlines():
            match = _SUM.fullmatch(line)
            if match:
                sums[match[2]] = match[1]
    from mggtalk_cli.variants import SHIPPED

    return sums | {Path(name).name: sha256 for name, sha256 in SHIPPED.values()}


def _processors() -> Iterator[Check]:
    import torch

    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Check("processors", None, f"{usable} usable of {os.cpu_count()}")
    yield Check("torch threads", None, str(torch.get_num_threads()))
    from mggtalk_cli import drawing

    works, what = drawing.cuda_status()
    fix = "nothing: the CPU renders instead"
    yield Check("cuda renderer (gsplat)", works, what, fix, essential=False)


def _codecs() -> Iterator[Check]:
    import av.codec

    for name, essential in CODECS.items():
        try:
            av.codec.Codec(name, "w")
            yield Check(f"codec {name}", True, "available", essential=essential)
        except (ValueError, LookupError):
            fix = "take the wheel: pip install --force-reinstall --only-binary :all: av"
            yield Check(f"codec {name}", False, "missing", fix, essential)


def _kernel_cache() -> Iterator[Check]:
    import numba

    config: Any = numba.config
    # Where numba looks, in this order.
    places = [config.CACHE_DIR] if config.CACHE_DIR else []
    places += [str(Path(mggtalk_cli.__file__).parent / "render"), str(Path.home() / ".cache")]
    chosen = next((place for place in places if os.access(place, os.W_OK)), None)
    fix = "set NUMBA_CACHE_DIR to a writable folder, or every start compiles for a while"
    text = chosen or f"none of {', '.join(places)} is writable"
    yield Check("compiled kernels' cache", chosen is not None, text, fix, essential=False)


def _disk() -> Iterator[Check]:
    for name, folder in (("current folder", Path.cwd()), ("temporary folder", _temporary())):
        free = shutil.disk_usage(folder).free
        enough = free > MIN_FREE_BYTES
        text = f"{free / 2**30:.1f} GiB free in {folder}"
        yield Check(f"disk, {name}", enough, text, "free some space", essential=False)
        writable = os.access(folder, os.W_OK)
        state = "writable" if writable else f"{folder} is read-only"
        fix = "write elsewhere with -o"
        yield Check(f"writing, {name}", writable, state, fix, essential=False)


def _temporary() -> Path:
    return Path(tempfile.gettempdir())


def _terminal() -> Iterator[Check]:
    encoding = (sys.stdout.encoding or "").lower()
    unicode = encoding.replace("-", "") == "utf8"
    fix = "set PYTHONUTF8=1 or a UTF-8 locale for readable progress bars"
    yield Check("terminal encoding", unicode, encoding or "unknown", fix, essential=False)
    size: Any = shutil.get_terminal_size()
    kind = "terminal" if sys.stderr.isatty() else "no terminal: no progress bar"
    yield Check("stderr", None, f"{kind}, {size.columns} columns")


GROUPS = (_versions, _models, _processors, _codecs, _kernel_cache, _disk, _terminal)
