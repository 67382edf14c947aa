"""Run a protocol over its sources and write down what it finds, item by item.

`DIR/items/` gets every item as soon as it is measured: its numbers, contact sheet and features. A
run that was interrupted takes up the items that still fit (see `item_files`). At the end
`DIR/report.json`, `report.md` and `report.html` are written. Nothing in them depends on the time,
the machine or where the files lie.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from typing import Protocol as Interface

import numpy as np

from mggtalk_cli import __version__
from mggtalk_cli.core.output import atomic_path, explained_write_errors
from mggtalk_cli.errors import InputError, MggTalkError
from mggtalk_cli.evaluation.item_files import (
    Features,
    input_hashes,
    item_key,
    read_kept,
    write_kept,
)
from mggtalk_cli.evaluation.report import Item, Metric, Report, read_report, to_json

ITEMS = "items"  # the folder of the items within that of the report
REPORT = "report.json"

_MAX_STEM = 120  # characters of a file name, well below the 255 bytes of most file systems

T = TypeVar("T")

log = logging.getLogger("mggtalk")


class Track(Interface):
    """Goes through items while it shows how far it is, as `Reporter.track` does."""

    def __call__(self, items: Iterable[T], total: int | None = None, /) -> Iterator[T]:
        """Yield the items."""
        ...


@dataclass(frozen=True)
class Source:
    """One thing to measure.

    Attributes:
        name: unique within a run.
        files: what is hashed into the item; a folder counts as all files below it.
        detail: whatever the protocol needs (a clip, a pair, a sentence).
    """

    name: str
    files: tuple[Path, ...]
    detail: Any = None


class Measured(NamedTuple):
    """What was found on one source.

    Attributes:
        values: method -> metric -> number.
        curves: curve -> method -> number per frame.
        sheet: contact sheet (h, w, 3) uint8 RGB.
        features: method, or "truth" -> (n, d) float32 for FID and KID.
    """

    values: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Mapping[str, Sequence[float]]] = {}
    sheet: np.ndarray | None = None
    features: Mapping[str, np.ndarray] = {}


@dataclass(frozen=True)
class Protocol:
    """What is measured, and how it is to be read.

    Attributes:
        name: the command's name.
        settings: everything that changes the numbers, as JSON can hold it.
        main: the metric that decides who won.
        ours: the method judged.
        others: the methods it is compared with, baselines first.
        metrics: metric -> how to read it.
        measure: returns the numbers of a source; an MggTalkError leaves the source out.
        left_out: metric -> why it cannot be computed.
        overall: returns numbers over all items (method -> metric) from all features together.
    """

    name: str
    settings: Mapping[str, Any]
    main: str
    ours: str
    others: tuple[str, ...]
    metrics: Mapping[str, Metric]
    measure: Callable[[Source], Measured]
    left_out: Mapping[str, str] = field(default_factory=dict)
    overall: Callable[[Features], Mapping[str, Mapping[str, float]]] | None = None


def _untracked(items: Iterable[T], total: int | None = None, /) -> Iterator[T]:
    return iter(items)


def _silent(message: str) -> None:
    pass


def run_protocol(
    protocol: Protocol,
    sources: Sequence[Source],
    *,
    directory: Path | None,
    track: Track = _untracked,
    warn: Callable[[str], None] = _silent,
) -> Report:
    """Return the report of a protocol, and write it where a folder is given.

    Args:
        protocol: what to measure.
        sources: what to measure it on; their order is that of the report.
        directory: folder of the report, made if need be; items in it that fit are taken up.
        track: shows how far the run is.
        warn: told about every source that is left out.

    Raises:
        InputError: no sources, two of one name, not one that can be measured, or a folder that
            cannot take the report (see `open_folder`).
    """
    check_names(sources)
    check_declared(protocol, [protocol.main], [])
    if directory is not None:
        open_folder(directory, protocol)
    frame = _frame(protocol)
    found = {} if directory is None else _taken_up(frame, sources, directory)
    failed: dict[str, str] = {}
    todo = [source for source in sources if source.name not in found]
    for source in track(todo, len(todo)):
        try:
            found[source.name] = _measured(protocol, frame, source, directory)
        except MggTalkError as error:
            failed[source.name] = _placeless(str(error), source)
            warn(f"{source.name} left out: {error}")
            continue
        for method, table in found[source.name][0].values.items():
            check_declared(protocol, table, [method])
    if not found:
        name, reason = next(iter(failed.items()))
        raise InputError(f"none of {len(sources)} can be measured; the first, {name}: {reason}")
    measured = [found[source.name] for source in sources if source.name in found]
    report = replace(frame, items=tuple(item for item, _ in measured), failed=failed)
    report = replace(report, overall=_overall(protocol, [features for _, features in measured]))
    if directory is not None:
        _write_report(report, directory)
    return report


def check_names(sources: Sequence[Source]) -> None:
    """Check that there are sources and that each has a name of its own.

    Raises:
        InputError: no sources, or two of one name.
    """
    if not sources:
        raise InputError("nothing to measure: name clips, photos or folders of them")
    twice = [name for name, count in Counter(s.name for s in sources).items() if count > 1]
    if twice:
        raise InputError(f"{twice[0]!r} is there twice: rename one, or measure them one by one")


def check_declared(protocol: Protocol, metrics: Iterable[str], methods: Iterable[str]) -> None:
    """Check that the protocol says how its numbers are to be read; what it does not is not shown.

    Raises:
        ValueError: a metric or a method that it does not name.
    """
    if odd := set(metrics) - set(protocol.metrics):
        raise ValueError(f"protocol {protocol.name} does not declare the metrics {sorted(odd)}")
    if odd := set(methods) - {protocol.ours, *protocol.others}:
        raise ValueError(f"protocol {protocol.name} does not declare the methods {sorted(odd)}")


def open_folder(directory: Path, protocol: Protocol) -> None:
    """Make the folder of a report, or check that it holds nothing but one with the same settings.

    Raises:
        InputError: a file, in a folder that does not exist, not writable, another protocol's
            report or one with other settings, or a folder with other things in it.
    """
    if directory.exists() and not directory.is_dir():
        raise InputError(f"-o {directory} is a file: a report is a folder, name one")
    if not directory.parent.is_dir():
        raise InputError(f"output folder {directory.parent} does not exist: create it or change -o")
    with explained_write_errors(directory):
        foreign = directory.is_dir() and any(directory.iterdir())
        if foreign and not (directory / ITEMS).is_dir():
            raise InputError(f"-o {directory} holds other things: name a new or empty folder")
        (directory / ITEMS).mkdir(parents=True, exist_ok=True)
    if (directory / REPORT).exists():
        there, now = read_report(directory / REPORT), _frame(protocol)
        if there.protocol != protocol.name:
            raise InputError(
                f"-o {directory} holds a report of `evaluate {there.protocol}`: name another folder"
            )
        before, after = (json.loads(to_json(report))["settings"] for report in (there, now))
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        if changed:
            raise InputError(
                f"-o {directory} holds a report with another setting ({changed[0]}: "
                f"{before.get(changed[0])!r}, now {after.get(changed[0])!r}): name another folder"
            )


def file_stem(name: str) -> str:
    """Return a file name without suffix for an item; other items have other ones.

    >>> file_stem("monroe_01"), file_stem("a/b")
    ('monroe_01', 'a_b-c14cddc0')
    """
    plain = re.sub(r"[^\w.+-]", "_", name).lstrip(".")[:_MAX_STEM]
    if plain == name:
        return plain
    return f"{plain}-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _frame(protocol: Protocol) -> Report:
    """Return the report before anything was measured."""
    return Report(
        protocol=protocol.name,
        version=__version__,
        settings=protocol.settings,
        main=protocol.main,
        ours=protocol.ours,
        others=protocol.others,
        metrics=protocol.metrics,
        items=(),
        failed={},
        left_out=protocol.left_out,
    )


def _taken_up(
    frame: Report, sources: Sequence[Source], directory: Path
) -> dict[str, tuple[Item, Features]]:
    """Return what an earlier run left in the folder and still fits, by name, and say so."""
    found = {}
    for source in sources:
        try:
            inputs = input_hashes(source.files)
        except MggTalkError:
            continue  # said when it is measured
        base = directory / ITEMS / file_stem(source.name)
        kept = read_kept(base, item_key(frame, source.name, inputs))
        if kept is not None:
            found[source.name] = kept
    if found:
        log.info(
            "%s holds %d of %d items of an earlier run: these are not measured again",
            *(directory, len(found), len(sources)),
        )
    return found


def _measured(
    protocol: Protocol, frame: Report, source: Source, directory: Path | None
) -> tuple[Item, Features]:
    """Return the item of a source and its features, and write them down where there is a folder."""
    inputs = input_hashes(source.files)
    measured = protocol.measure(source)
    if directory is None:
        return _item(source.name, inputs, measured, sheet=""), measured.features
    key = item_key(frame, source.name, inputs)
    base = directory / ITEMS / file_stem(source.name)
    sheet = f"{base.name}.png" if measured.sheet is not None else ""
    item = _item(source.name, inputs, measured, sheet=sheet)
    write_kept(base, key, item, sheet=measured.sheet, features=measured.features)
    return item, measured.features


def _item(name: str, inputs: Mapping[str, str], measured: Measured, *, sheet: str) -> Item:
    """Return the item as its file gives it back: plain floats, NaN for all that is not finite."""
    return Item(
        name=name,
        inputs=inputs,
        values={
            method: {metric: _finite(value) for metric, value in table.items()}
            for method, table in measured.values.items()
        },
        curves={
            curve: {method: [_finite(value) for value in row] for method, row in rows.items()}
            for curve, rows in measured.curves.items()
        },
        sheet=sheet,
    )


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else math.nan


def _overall(protocol: Protocol, features: Sequence[Features]) -> Mapping[str, Mapping[str, float]]:
    """Return the numbers over all items together."""
    if protocol.overall is None:
        return {}
    names = dict.fromkeys(name for found in features for name in found)
    pooled = {
        name: np.concatenate([found[name] for found in features if name in found]) for name in names
    }
    found = protocol.overall(pooled) if pooled else {}
    return {m: {k: _finite(value) for k, value in table.items()} for m, table in found.items()}


def _placeless(message: str, source: Source) -> str:
    """Return a message without the folders of the source's files: reports name no places."""
    for path in source.files:
        for text in (str(path.absolute()), str(path)):
            message = message.replace(text, path.name)
    return message


def _write_report(report: Report, directory: Path) -> None:
    """Write report.html, report.md and, last, report.json."""
    from mggtalk_cli.evaluation.pages import html_page, markdown_page

    pages = {
        "report.html": html_page(report, directory / ITEMS),
        "report.md": markdown_page(report),
        REPORT: to_json(report),
    }
    for name, text in pages.items():
        with atomic_path(directory / name, overwrite=True) as part:
            part.write_bytes(text.encode("utf-8", "replace"))  # a name may hold any bytes
