"""What a protocol found: items by methods by metrics, as `report.json` holds it.

An item is what one measurement is about (a clip, a pair, a photo, a speaker); a method is what was
measured on it (ours, a baseline, a control, another program's frames). Numbers that do not exist
(NaN, infinity) are null in the file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from mggtalk_cli.errors import InputError

FORMAT = "mggtalk evaluation report"
SCHEMA = 1
MAX_BYTES = 256 << 20  # no report is larger; a file that is, is something else

OURS = "ours"

Better = Literal["higher", "lower", "one", "zero", "none"]


@dataclass(frozen=True)
class Metric:
    """How a number is to be read.

    Attributes:
        definition: one line: what is computed, over what, at which resolution.
        better: "higher", "lower", nearer to "one" or "zero", or "none" where there is no better.
        unit: "dB", "px", ...; empty for a plain number.
        digits: decimals worth printing.
        key: whether a short table holds it; `main` always is there.
    """

    definition: str
    better: Better = "higher"
    unit: str = ""
    digits: int = 3
    key: bool = False

    def gain(self, value: float, other: float) -> float:
        """Return by how much `value` is better than `other`; NaN where there is no better."""
        if self.better == "none":
            return math.nan
        target = {"one": 1.0, "zero": 0.0}.get(self.better)
        if target is not None:
            return abs(other - target) - abs(value - target)
        return value - other if self.better == "higher" else other - value


@dataclass(frozen=True)
class Item:
    """The numbers of one item.

    Attributes:
        name: unique within the report; a file name without its suffix.
        inputs: file name -> SHA-256 of what was measured.
        values: method -> metric -> number.
        curves: curve (a metric over time) -> method -> number per frame.
        sheet: file name of its contact sheet beside the report, empty without one.
    """

    name: str
    inputs: Mapping[str, str]
    values: Mapping[str, Mapping[str, float]]
    curves: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    sheet: str = ""


@dataclass(frozen=True)
class Report:
    """All of a protocol's numbers.

    Attributes:
        protocol: its name.
        version: the version of this program.
        settings: everything that changes the numbers.
        main: the metric that decides who won.
        ours: the method judged.
        others: the methods it is compared with, baselines first.
        metrics: metric -> how to read it.
        items: one entry per item that was measured.
        failed: item -> why it was not.
        left_out: metric -> why it could not be computed at all (weights that are not there).
        overall: method -> metric -> number over all items together (FID, KID).
    """

    protocol: str
    version: str
    settings: Mapping[str, Any]
    main: str
    ours: str
    others: tuple[str, ...]
    metrics: Mapping[str, Metric]
    items: tuple[Item, ...]
    failed: Mapping[str, str]
    left_out: Mapping[str, str] = field(default_factory=dict)
    overall: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def methods(self) -> tuple[str, ...]:
        """All methods, ours first."""
        return (self.ours, *self.others)

    def column(self, method: str, metric: str) -> list[float]:
        """Return the metric of every item, NaN where an item lacks it."""
        return [item.values.get(method, {}).get(metric, math.nan) for item in self.items]


def to_json(report: Report | Item) -> str:
    """Return the text of `report.json`; equal reports give equal text."""
    plain = _plain(report)
    if isinstance(report, Report):
        plain = {"format": FORMAT, "schema": SCHEMA, **plain}
    return json.dumps(plain, indent=1, allow_nan=False) + "\n"


def read_report(path: Path) -> Report:
    """Return the report in a file.

    Raises:
        InputError: unreadable, not a report, or of another schema.
    """
    loaded = _load(path)
    if loaded.get("format") != FORMAT:
        raise InputError(f"{path} is not a report of `mggtalk evaluate ... -o DIR`")
    if loaded.get("schema") != SCHEMA:
        raise InputError(
            f"{path} has schema {loaded.get('schema')!r}, this version reads {SCHEMA}: "
            "run the evaluation again"
        )
    try:
        return Report(
            protocol=str(loaded["protocol"]),
            version=str(loaded["version"]),
            settings=dict(loaded["settings"]),
            main=str(loaded["main"]),
            ours=str(loaded["ours"]),
            others=tuple(str(name) for name in loaded["others"]),
            metrics={str(k): Metric(**v) for k, v in loaded["metrics"].items()},
            items=tuple(_item(entry) for entry in loaded["items"]),
            failed={str(k): str(v) for k, v in loaded["failed"].items()},
            left_out={str(k): str(v) for k, v in loaded["left_out"].items()},
            overall={str(k): _numbers(v) for k, v in loaded["overall"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: damaged report ({type(error).__name__}: {error})") from None


def read_item(path: Path) -> Item:
    """Return the item in a file.

    Raises:
        InputError: unreadable or damaged.
    """
    try:
        return _item(_load(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error})") from None


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _item(entry: Any) -> Item:
    return Item(
        name=str(entry["name"]),
        inputs={str(k): str(v) for k, v in entry["inputs"].items()},
        values={str(method): _numbers(table) for method, table in entry["values"].items()},
        curves={
            str(curve): {str(m): [_number(x) for x in row] for m, row in rows.items()}
            for curve, rows in entry["curves"].items()
        },
        sheet=Path(str(entry["sheet"])).name,
    )


def _numbers(table: Any) -> dict[str, float]:
    return {str(name): _number(value) for name, value in table.items()}


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _load(path: Path) -> Any:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path} is larger than any report ({MAX_BYTES >> 20} MiB)")
        loaded = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not JSON: a report.json is expected") from None
    if not isinstance(loaded, dict):
        raise InputError(f"{path} is not a report of `mggtalk evaluate ... -o DIR`")
    return loaded


def _plain(value: Any) -> Any:
    if isinstance(value, Report | Item | Metric):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    number = float(value)
    return number if math.isfinite(number) else None
