"""3D Gaussians as the `.ply` that standard viewers read (the layout of Kerbl et al. 2023).

Stored are activations' inverses: opacity as logit, scales as natural log, colour as spherical
harmonics, f_dc = (rgb - 0.5) / 0.28209479, f_rest channel by channel; quaternions wxyz. Positions
and scales keep the unit of the arrays (centimetres here; +y up, +z to the viewer).
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from mggtalk_cli.artifacts.ply_header import PlyHeader, read_header
from mggtalk_cli.artifacts.ply_view import PlyView, parse_view, view_comment
from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.errors import ArtifactError, InputError

# Value of the constant spherical harmonic, 1 / (2 sqrt(pi)).
SH_C0 = 0.28209479177387814

# Keeps the logit of opacities 0 and 1 finite: +-13.8 returns both to the last of 8 bits.
_OPACITY_MARGIN = 1e-6
# Keeps the log of flat Gaussians' scale finite; far below any pixel.
_MIN_SCALE = 1e-8
_REST_COUNTS = {0: 1, 9: 4, 24: 9, 45: 16}  # f_rest values -> SH coefficients per channel
_LINE_BYTES = 1 << 14  # most that is read of an ascii row; 62 values take a tenth

log = logging.getLogger("mggtalk")


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


def write_ply(
    path: Path, cloud: GaussianCloud, *, view: PlyView | None = None, overwrite: bool = False
) -> None:
    """Write Gaussians as a binary little-endian `.ply`, atomically.

    Args:
        path: the file.
        cloud: the Gaussians.
        view: how they are meant to be seen, kept in a comment that other programs skip.
        overwrite: replace the file if it exists.

    Raises:
        ArtifactError: shapes that do not fit, values that are not finite, or no Gaussians.
        InputError: the file cannot be written or exists; see `core.output.atomic_path`.
    """
    with atomic_path(path, overwrite=overwrite) as part, part.open("wb") as file:
        dump_ply(file, cloud, view=view)


def dump_ply(file: BinaryIO, cloud: GaussianCloud, *, view: PlyView | None = None) -> None:
    """Write Gaussians to an open file; see `write_ply`."""
    rows = _rows(cloud)
    comment = "" if view is None else f"comment {view_comment(view)}\n"
    properties = "".join(f"property float {name}\n" for name in rows.dtype.names or ())
    header = (
        f"ply\nformat binary_little_endian 1.0\n{comment}"
        f"element vertex {len(rows)}\n{properties}end_header\n"
    )
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

    Gaussians that viewers do not draw (values that are not finite, quaternions of length zero) are
    left out with a warning.

    Raises:
        ArtifactError: not a `.ply`, none of Gaussians, damaged, or claiming more than it holds.
        InputError: no such file.
    """
    with _explained(path):
        header = read_header(path)
        rest = _check_properties(path, dict(header.elements["vertex"].properties))
        return _usable(path, _cloud(_vertices(path, header), rest))


def read_ply_view(path: Path) -> PlyView | None:
    """Return the view that a `.ply` of ours keeps in its header, None where there is none.

    Raises:
        ArtifactError: the header or the note in it is not what this program writes.
        InputError: no such file.
    """
    with _explained(path):
        return parse_view(read_header(path).comments)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _check_properties(path: Path, kinds: dict[str, str]) -> int:
    """Return the number of f_rest values of a vertex with these properties."""
    rest = sum(re.fullmatch(r"f_rest_[0-9]+", name) is not None for name in kinds)
    required = ["x", "y", "z", *_names("f_dc", 3), "opacity", *_names("scale", 3)]
    required += [*_names("rot", 4), *_names("f_rest", rest)]
    missing = [name for name in required if name not in kinds]
    if missing:
        raise ArtifactError(
            f"{path} is no .ply of Gaussians (a mesh or plain points?): it lacks "
            f"{', '.join(missing[:6])}"
        )
    if rest not in _REST_COUNTS:
        raise ArtifactError(f"{path} has {rest} f_rest values; 0, 9, 24 or 45 are known")
    return rest


def _vertices(path: Path, header: PlyHeader) -> Any:
    """Return the rows of the vertices, a structured array."""
    count, properties = header.elements["vertex"]
    if not count:
        raise ArtifactError(f"{path} is no .ply of Gaussians: it is empty")
    if header.order:
        start = header.nbytes + header.before_vertices()
        return np.memmap(path, header.dtype("vertex"), mode="r", offset=start, shape=(count,))
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of loadtxt, where there are no rows at all
        file.seek(header.nbytes)
        lines = (line.decode("latin-1") for line in iter(lambda: file.readline(_LINE_BYTES), b""))
        dtype = np.dtype([(name, "f4") for name, _ in properties])
        skipped = header.before_vertices()
        try:
            rows = np.loadtxt(
                lines, dtype, comments=None, skiprows=skipped, max_rows=count, ndmin=1
            )
        except ValueError as error:
            raise ArtifactError(f"{path} is damaged: {error}") from error
    if len(rows) < count:
        raise ArtifactError(f"{path} claims {count} vertices, but holds {len(rows)}: it is cut off")
    return rows


def _cloud(vertices: Any, rest: int) -> GaussianCloud:
    def columns(wanted: list[str]) -> np.ndarray:
        return np.stack([np.asarray(vertices[name], np.float32) for name in wanted], axis=-1)

    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        n, k = len(vertices), _REST_COUNTS[rest]
        sh = np.empty((n, k, 3), np.float32)
        sh[:, 0] = columns(_names("f_dc", 3))
        if rest:
            sh[:, 1:] = columns(_names("f_rest", rest)).reshape(n, 3, k - 1).transpose(0, 2, 1)
        quats = columns(_names("rot", 4)).astype(np.float64)
        quats /= np.linalg.norm(quats, axis=1, keepdims=True)
        return GaussianCloud(
            means=columns(["x", "y", "z"]),
            quats=quats.astype(np.float32),
            scales=np.exp(columns(_names("scale", 3))),
            opacities=1 / (1 + np.exp(-columns(["opacity"])[:, 0])),
            sh=sh,
        )


def _usable(path: Path, cloud: GaussianCloud) -> GaussianCloud:
    """Return the Gaussians all of whose values are finite."""
    good = np.ones(len(cloud.means), bool)
    for array in vars(cloud).values():
        good &= np.isfinite(array).reshape(len(good), -1).all(axis=1)
    if good.all():
        return cloud
    bad = len(good) - int(good.sum())
    what = "not finite, rotations of length zero, or scales that are no logarithms"
    if bad == len(good):
        raise ArtifactError(f"{path} has no usable Gaussian: its values are {what}")
    log.warning("%s: %d of %d Gaussians are left out: %s", path, bad, len(good), what)
    return GaussianCloud(**{name: array[good] for name, array in vars(cloud).items()})
