"""The checks that schema.py asks for: meta, dtypes, shapes and values, before they are trusted.

Writer and reader run the same checks, so nothing is written that could not be read back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mggtalk_cli.artifacts.schema import FREE_PREFIX, KINDS, LOOSE_SIZES, ArraySpec, KindSpec
from mggtalk_cli.errors import ArtifactError

# Nothing legitimate comes near: 40 million points or an 11000 x 11000 RGBA image.
MAX_ARRAY_BYTES = 512 * 2**20
# All header arrays together stay well below the 4 GB the program may use.
MAX_HEADER_BYTES = 2 * 2**30
MAX_AXES = 8


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_intrinsics(value: object) -> bool:
    return (
        isinstance(value, dict)
        and _is_number(value.get("focal_px"))
        and value["focal_px"] > 0
        and all(_is_count(value.get(key)) and value[key] > 0 for key in ("width", "height"))
    )


def _is_list_of(value: object, check: Callable[[object], bool], length: int | None = None) -> bool:
    return (
        isinstance(value, list | tuple)
        and (length is None or len(value) == length)
        and all(check(item) for item in value)
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


META_FORMS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "camera": (
        lambda v: _is_intrinsics(v) and _is_list_of(v.get("viewmat"), _is_number, 16),
        "an object with viewmat (16 numbers), focal_px > 0, width, height",
    ),
    "intrinsics": (_is_intrinsics, "an object with focal_px > 0, width, height"),
    "audio": (
        lambda v: (
            isinstance(v, dict)
            and _is_count(v.get("rate"))
            and 0 < v["rate"] <= 192_000
            and v.get("channels") in (1, 2)
        ),
        "an object with rate (Hz) and channels (1 or 2)",
    ),
    "positive": (lambda v: _is_number(v) and v > 0, "a number above 0"),
    "count": (_is_count, "a whole number"),
    "text": (_is_text, "a text"),
    "texts": (
        lambda v: isinstance(v, dict) and all(map(_is_text, (*v.keys(), *v.values()))),
        "an object of texts",
    ),
    "names": (lambda v: _is_list_of(v, _is_text), "a list of names"),
    "box": (lambda v: _is_list_of(v, _is_number, 4), "four numbers"),
    "source": (
        lambda v: isinstance(v, dict) and _is_text(v.get("name")) and _is_text(v.get("sha256", "")),
        "an object with name and sha256",
    ),
}


def check_meta(kind: str, meta: Mapping[str, Any]) -> None:
    """Raise ArtifactError where a meta key of `kind` is missing or malformed."""
    for key, spec in KINDS[kind].meta.items():
        value = meta.get(key)
        if key not in meta:
            if spec.optional or spec.nullable:
                continue
            raise ArtifactError(f"{kind} without meta key '{key}' ({spec.doc})")
        if value is None and spec.nullable:
            continue
        check, wanted = META_FORMS[spec.form]
        if not check(value):
            raise ArtifactError(f"meta key '{key}' is {_short(value)}; it must be {wanted}")


def initial_sizes(meta: Mapping[str, Any]) -> dict[str, int]:
    """Return the symbolic sizes that the meta data already fix: the audio channels."""
    audio = meta.get("audio")
    return {"c": audio["channels"]} if isinstance(audio, dict) and "channels" in audio else {}


def find_spec(arrays: Mapping[str, ArraySpec], name: str, *, free: bool) -> ArraySpec | None:
    """Return the spec of an array, None for a free `rig_` array where those are allowed.

    Raises:
        ArtifactError: the schema knows no such array.
    """
    if name in arrays:
        return arrays[name]
    if free and name.startswith(FREE_PREFIX):
        return None
    known = ", ".join(arrays)
    raise ArtifactError(f"unknown array '{name}'; known are {known} and names with {FREE_PREFIX}")


def check_layout(
    name: str,
    spec: ArraySpec | None,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    sizes: dict[str, int],
) -> int:
    """Check a declared dtype and shape before any memory is taken; return the bytes needed.

    Sizes met for the first time are added to `sizes`; loose ones are left out.

    Raises:
        ArtifactError: pickled objects, another dtype or shape than the schema's, or too large.
    """
    if dtype.hasobject:
        raise ArtifactError(f"array '{name}' holds pickled Python objects, which are never loaded")
    nbytes = math.prod(shape) * dtype.itemsize
    if len(shape) > MAX_AXES or nbytes > MAX_ARRAY_BYTES:
        size = f"{nbytes / 2**20:.0f} MiB"
        limit = f"{MAX_ARRAY_BYTES // 2**20} MiB and {MAX_AXES} axes"
        raise ArtifactError(f"array '{name}' claims shape {shape}, {size}; allowed are {limit}")
    if spec is None:
        if dtype.kind not in "biuf":
            raise ArtifactError(f"array '{name}' has dtype {dtype}; it must be numeric")
        return nbytes
    if dtype != np.dtype(spec.dtype):
        raise ArtifactError(f"array '{name}' has dtype {dtype}; it must be {spec.dtype}")
    if not _shape_fits(shape, spec, sizes):
        known = {s: sizes[s] for s in spec.sizes if s in sizes and s not in LOOSE_SIZES}
        where = " with " + ", ".join(f"{s} = {v}" for s, v in known.items()) if known else ""
        raise ArtifactError(f"array '{name}' has shape {shape}; it must be ({spec.shape}){where}")
    return nbytes


def _shape_fits(shape: tuple[int, ...], spec: ArraySpec, sizes: dict[str, int]) -> bool:
    if len(shape) != len(spec.sizes):
        return False
    for actual, symbol in zip(shape, spec.sizes, strict=True):
        if symbol in LOOSE_SIZES:
            continue
        if actual < 1:
            return False
        wanted = int(symbol) if symbol.isdigit() else sizes.setdefault(symbol, actual)
        if actual != wanted:
            return False
    return True


def check_values(name: str, array: np.ndarray) -> None:
    """Raise ArtifactError on NaN, infinity, or bytes that are no booleans."""
    if array.dtype.kind == "f" and array.size:
        with np.errstate(all="ignore"):
            total = array.sum(dtype=np.float64 if array.dtype == np.float64 else np.float32)
        # A finite sum proves all terms finite at a third of the cost of isfinite().all().
        if not np.isfinite(total) and not np.isfinite(array).all():
            where = np.unravel_index(int(np.argmin(np.isfinite(array))), array.shape)
            index = tuple(int(i) for i in where)
            raise ArtifactError(f"array '{name}' is {array[where]} at {index}; it must be finite")
    if array.dtype == np.bool_ and array.size and array.view(np.uint8).max() > 1:
        raise ArtifactError(f"array '{name}' holds bytes that are neither true nor false")


def check_header(kind: str, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ArtifactError where a header array is missing or the sheets do not add up."""
    spec = KINDS[kind]
    check_complete(spec, spec.header, arrays, f"a {kind} file")
    if "grid_shape" not in spec.header:
        return
    grid_shape, valid = arrays["grid_shape"].astype(np.int64), arrays["valid"]
    if (grid_shape < 0).any() or int((grid_shape[:, 0] * grid_shape[:, 1]).sum()) != valid.size:
        raise ArtifactError(
            f"grid_shape {grid_shape.tolist()} does not add up to the {valid.size} places of valid"
        )
    count = int(np.count_nonzero(valid))
    if count != len(arrays["color"]):
        raise ArtifactError(f"valid marks {count} points, but there are {len(arrays['color'])}")
    if len(meta["sheets"]) != len(grid_shape):
        raise ArtifactError(f"{len(meta['sheets'])} sheet names for {len(grid_shape)} grids")


def check_complete(
    spec: KindSpec, wanted: Mapping[str, ArraySpec], arrays: Mapping[str, np.ndarray], what: str
) -> None:
    """Raise ArtifactError naming the required arrays that `what` lacks."""
    missing = [name for name, s in wanted.items() if not s.optional and name not in arrays]
    if missing:
        names = ", ".join(missing)
        raise ArtifactError(f"{what} lacks {names}: write it again with `{spec.command}`")


def check_frame(
    kind: str, meta: Mapping[str, Any], index: int, frame: Mapping[str, np.ndarray]
) -> None:
    """Raise ArtifactError where a frame is incomplete or has sound of unknown rate."""
    check_complete(KINDS[kind], KINDS[kind].frame, frame, f"frame {index}")
    if "audio" in frame and meta.get("audio") is None:
        raise ArtifactError(f"frame {index} has audio, but meta key 'audio' names no rate")


def check_count(kind: str, meta: Mapping[str, Any], count: int) -> None:
    """Raise ArtifactError where frames are fewer than promised or than the kind needs."""
    command = KINDS[kind].command
    promised = meta.get("frame_count")
    if promised is not None and promised != count:
        raise ArtifactError(f"{count} of {promised} promised frames: run `{command}` again")
    if count < KINDS[kind].min_frames:
        raise ArtifactError(f"no frames in it: run `{command}` again")


def wrong_kind(kind: str, expected: tuple[str, ...]) -> ArtifactError:
    """Return the error for an artifact of another kind, naming the command to run."""
    command = KINDS[expected[0]].command
    return ArtifactError(f"expected {' or '.join(expected)}, got {kind}: run `{command}` first")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
