"""3D Gaussians as the `.ply` that standard viewers read (the layout of Kerbl et al. 2023).

Stored are activations' inverses: opacity as logit, scales as natural log, colour as spherical
harmonics, f_dc = (rgb - 0.5) / 0.28209479, f_rest channel by channel; quaternions wxyz. Positions
and scales keep the unit of the arrays (centimetres here; +y up, +z to the viewer).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.errors import ArtifactError, InputError

# Value of the constant spherical harmonic, 1 / (2 sqrt(pi)).
SH_C0 = 0.28209479177387814

# Keeps the logit of opacities 0 and 1 finite: +-13.8 returns both to the last of 8 bits.
_OPACITY_MARGIN = 1e-6
# Keeps the log of flat Gaussians' scale finite; far below any pixel.
_MIN_SCALE = 1e-8
_REST_COUNTS = {0: 1, 9: 4, 24: 9, 45: 16}  # f_rest values -> SH coefficients per channel
_MAX_HEADER_BYTES = 1 << 16
_MAX_GAUSSIANS = 50_000_000
_SCALARS = {
    **{"char": 1, "uchar": 1, "int8": 1, "uint8": 1, "short": 2, "ushort": 2, "int16": 2},
    **{"uint16": 2, "int": 4, "uint": 4, "int32": 4, "uint32": 4, "float": 4, "float32": 4},
    **{"double": 8, "float64": 8},
}


@dataclass(frozen=True)
class GaussianCloud:
    """Gaussians in plain (activated) values.

    Attributes:
        means: (n, 3) float32 centres.
        quats: (n, 4) float32 unit quaternions wxyz.
        scales: (n, 3) float32 standard deviations, above 0.
        opacities: (n,) float32 0..1.
        sh: (n, k, 3) float32 SH coefficients, k = 1, 4, 9 or 16; colour = C0 sh[:, 0] + .5 + ...
    """

    means: np.ndarray
    quats: np.ndarray
    scales: np.ndarray
    opacities: np.ndarray
    sh: np.ndarray


def sh_from_color(color: np.ndarray) -> np.ndarray:
    """Return (n, 1, 3) SH coefficients of view-independent RGB colours (n, 3).

    >>> sh_from_color(np.full((1, 3), 0.5)).tolist()
    [[[0.0, 0.0, 0.0]]]
    """
    return ((np.asarray(color) - 0.5) / SH_C0)[:, None, :]


def write_ply(path: Path, cloud: GaussianCloud, *, overwrite: bool = False) -> None:
    """Write Gaussians as a binary little-endian `.ply`, atomically.

    Raises:
        ArtifactError: shapes that do not fit, values that are not finite, or no Gaussians.
        InputError: the file cannot be written or exists; see `core.output.atomic_path`.
    """
    rows = _rows(cloud)
    properties = "".join(f"property float {name}\n" for name in rows.dtype.names or ())
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(rows)}\n{properties}end_header\n"
    )
    with atomic_path(path, overwrite=overwrite) as part, part.open("wb") as file:
        file.write(header.encode("ascii"))
        file.write(rows.data)


def _rows(cloud: GaussianCloud) -> np.ndarray:
    """Return the (n,) structured array of the file."""
    arrays = {name: np.asarray(value, np.float64) for name, value in vars(cloud).items()}
    n, k = len(arrays["means"]), arrays["sh"].shape[1] if arrays["sh"].ndim == 3 else 0
    shapes = {
        **{"means": (n, 3), "quats": (n, 4), "scales": (n, 3), "opacities": (n,)},
        "sh": (n, k, 3),
    }
    for name, array in arrays.items():
        if array.shape != shapes[name] or n == 0 or k not in _REST_COUNTS.values():
            raise ArtifactError(f"Gaussians' {name} have shape {array.shape}; see GaussianCloud")
        if not np.isfinite(array).all():
            raise ArtifactError(f"Gaussians' {name} hold values that are not finite")
    length = np.linalg.norm(arrays["quats"], axis=1, keepdims=True)
    if length.min() < 1e-12:
        raise ArtifactError(f"Gaussian {int(length.argmin())} has a quaternion of length zero")
    opacity = np.clip(arrays["opacities"], _OPACITY_MARGIN, 1 - _OPACITY_MARGIN)
    columns = [
        *(arrays["means"], np.zeros((n, 3)), arrays["sh"][:, 0]),
        arrays["sh"][:, 1:].transpose(0, 2, 1).reshape(n, -1),
        np.log(opacity / (1 - opacity))[:, None],
        np.log(np.maximum(arrays["scales"], _MIN_SCALE)),
        arrays["quats"] / length,
    ]
    names = ["x", "y", "z", "nx", "ny", "nz", *_names("f_dc", 3), *_names("f_rest", 3 * (k - 1))]
    names += ["opacity", *_names("scale", 3), *_names("rot", 4)]
    matrix = np.concatenate(columns, axis=1).astype("<f4")
    return matrix.view(np.dtype([(name, "<f4") for name in names]))[:, 0]


def _names(stem: str, count: int) -> list[str]:
    return [f"{stem}_{i}" for i in range(count)]


def read_ply(path: Path) -> GaussianCloud:
    """Return the Gaussians of a `.ply`: binary or ascii, any property order, SH degree 0 to 3.

    Raises:
        ArtifactError: not a `.ply`, none of Gaussians, damaged, or claiming more than it holds.
        InputError: no such file.
    """
    try:
        _check_size(path)
        import plyfile

        try:
            with np.errstate(over="ignore"):
                vertices = plyfile.PlyData.read(str(path))["vertex"].data
        except (plyfile.PlyParseError, KeyError, ValueError, TypeError, OverflowError) as error:
            raise ArtifactError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    return _cloud(vertices, path)


def _check_size(path: Path) -> None:
    """Check a file's header against its size, before a parser trusts the counts."""
    with path.open("rb") as file:
        start = file.read(_MAX_HEADER_BYTES)
    if not start:
        raise ArtifactError(f"{path} is empty")
    if not re.match(rb"ply\r?\n", start):
        raise ArtifactError(f"{path} is no .ply file: it starts with {start[:8]!r}")
    end = re.search(rb"\nend_header\r?\n", start)
    if end is None:
        raise ArtifactError(f"{path} is damaged: its header does not end")
    lines = [line.split() for line in start[: end.start()].decode("latin-1").splitlines()]
    words = {line[0]: line[1:] for line in lines if line}
    binary = words.get("format", [""])[0] != "ascii"
    elements = _elements(path, lines)
    if "vertex" not in elements or "chunk" in elements:
        kind = "a compressed one" if "chunk" in elements else "without vertices"
        raise ArtifactError(f"{path} is no .ply of Gaussians but {kind}: export a standard one")
    needed = 0
    for count, row_bytes, columns in elements.values():
        # An ascii value takes a digit and a separator at least.
        needed += count * (row_bytes if binary else 2 * columns)
    available = path.stat().st_size - end.end() + (0 if binary else 1)
    if needed > available or elements["vertex"][0] > _MAX_GAUSSIANS:
        raise ArtifactError(
            f"{path} claims {elements['vertex'][0]} vertices ({needed} bytes), but holds "
            f"{available} bytes: it is cut off or damaged"
        )


def _elements(path: Path, lines: list[list[str]]) -> dict[str, tuple[int, int, int]]:
    """Return (count, bytes a row, columns) by element name."""
    elements: dict[str, tuple[int, int, int]] = {}
    name = ""
    for line in lines:
        if line[:1] == ["element"] and len(line) == 3 and re.fullmatch(r"\d{1,15}", line[2]):
            name = line[1]
            elements[name] = (int(line[2]), 0, 0)
        elif line[:1] == ["property"]:
            if len(line) != 3 or line[1] not in _SCALARS or not name:
                raise ArtifactError(
                    f"{path} is no .ply of Gaussians: it has '{' '.join(line)[:60]}'"
                )
            count, size, columns = elements[name]
            elements[name] = (count, size + _SCALARS[line[1]], columns + 1)
        elif line[:1] == ["element"]:
            raise ArtifactError(f"{path} is damaged: '{' '.join(line)[:60]}'")
    return elements


def _cloud(vertices: Any, path: Path) -> GaussianCloud:
    names = set(vertices.dtype.names or ())
    rest = sum(bool(re.fullmatch(r"f_rest_\d+", name)) for name in names)
    required = ["x", "y", "z", *_names("f_dc", 3), "opacity", *_names("scale", 3)]
    required += [*_names("rot", 4), *_names("f_rest", rest)]
    missing = [name for name in required if name not in names]
    if missing or rest not in _REST_COUNTS or not len(vertices):
        what = f"it lacks {', '.join(missing[:6])}" if missing else f"{rest} f_rest values"
        what = what if len(vertices) else "it is empty"
        raise ArtifactError(f"{path} is no .ply of Gaussians: {what}")

    def columns(wanted: list[str]) -> np.ndarray:
        with np.errstate(over="ignore"):
            array = np.stack([np.asarray(vertices[name], np.float32) for name in wanted], axis=-1)
        if not np.isfinite(array).all():
            raise ArtifactError(f"{path} holds values of {wanted[0]}... that are not finite")
        return array

    n, k = len(vertices), _REST_COUNTS[rest]
    sh = np.empty((n, k, 3), np.float32)
    sh[:, 0] = columns(_names("f_dc", 3))
    if rest:
        sh[:, 1:] = columns(_names("f_rest", rest)).reshape(n, 3, k - 1).transpose(0, 2, 1)
    quats = columns(_names("rot", 4))
    length = np.linalg.norm(quats.astype(np.float64), axis=1, keepdims=True)
    if length.min() < 1e-12:
        raise ArtifactError(f"{path}: Gaussian {int(length.argmin())} has a zero quaternion")
    with np.errstate(over="ignore"):
        scales = np.exp(columns(_names("scale", 3)))
        opacities = 1 / (1 + np.exp(-columns(["opacity"])[:, 0]))
    if not np.isfinite(scales).all():
        raise ArtifactError(f"{path} holds scales that overflow: are they no logarithms?")
    means, quats = columns(["x", "y", "z"]), (quats / length).astype(np.float32)
    return GaussianCloud(means, quats, scales, opacities, sh)
