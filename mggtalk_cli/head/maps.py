"""Depth and normal maps a user brings (GeoWizard, DPT, Depth Anything, Sapiens, ...).

16-bit PNG, EXR or npy -> arrays on the working frame; depth affinely aligned to the fitted face,
its direction (depth or inverse depth) and the normals' axis signs found by comparison with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import av
import cv2
import numpy as np

from mggtalk_cli.errors import InputError
from mggtalk_cli.head.view import HeadView

# Least correlation of a depth map with the fitted face, least mean cosine of normals.
MIN_CORRELATION = 0.35
MIN_COSINE = 0.6
# Rounds and scale (cm) of the robust alignment: glasses, strands and edges must not lead it.
ALIGN_ROUNDS = 12
ALIGN_SCALE_CM = 0.5
# A person lies within these distances before and behind the face's median depth, cm.
BEFORE_CM, BEHIND_CM = 30.0, 45.0
# Sides of maps that differ by more than this share do not belong to the photo.
ASPECT_TOLERANCE = 0.02
MAX_MAP_PIXELS = 2**27


@dataclass(frozen=True)
class MapFiles:
    """Which maps to read and how they lie on the photo.

    Attributes:
        depth: path of a depth map, or None.
        normals: path of a normal map, or None.
        crop_box: x0, y0, x1, y1 of the working frame in px of the photo; None = the maps show the
            working frame itself.
        photo_size: width, height of the photo in px; needed with `crop_box`.
    """

    depth: str | None = None
    normals: str | None = None
    crop_box: tuple[float, float, float, float] | None = None
    photo_size: tuple[int, int] | None = None


def read_map(path: str | Path) -> np.ndarray:
    """Return a map (h, w) or (h, w, 3) float32 as stored; integers are scaled to 0..1.

    Raises:
        InputError: if the file is missing, of another format, damaged or has odd dimensions.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such map: {path}; give a .png, .exr or .npy file")
    readers = {".npy": _read_npy, ".png": _read_png, ".exr": _read_exr}
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: maps are read from .png, .exr or .npy, not {path.suffix!r}")
    values = readers[path.suffix.lower()](path)
    if np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.float32) / np.iinfo(values.dtype).max
    values = np.squeeze(values)
    if values.ndim == 3 and values.shape[0] == 3 and values.shape[2] != 3:
        values = values.transpose(1, 2, 0)
    if values.ndim == 3 and values.shape[2] == 4:
        values = values[..., :3]
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] != 3):
        raise InputError(f"{path}: a map of shape {values.shape}; give (h, w) or (h, w, 3)")
    if min(values.shape[:2]) < 8:
        raise InputError(f"{path}: a map of {values.shape[1]}x{values.shape[0]} px is too small")
    return values.astype(np.float32)


def _read_npy(path: Path) -> np.ndarray:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path}: not a plain .npy array ({error})") from error
    if values.size > MAX_MAP_PIXELS or values.dtype.kind not in "fiu":
        raise InputError(f"{path}: {values.dtype} of shape {values.shape}; give (h, w[, 3])")
    return np.array(values)


def _read_png(path: Path) -> np.ndarray:
    values = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise InputError(f"{path}: not a readable PNG; write it again as 16-bit PNG or .npy")
    if values.ndim == 3:
        values = values[..., 2::-1] if values.shape[2] >= 3 else values[..., 0]
    return values


def _read_exr(path: Path) -> np.ndarray:
    try:
        with av.open(str(path), format="image2", options={"pattern_type": "none"}) as container:
            frame = next(container.decode(video=0))
            return frame.to_ndarray()
    except (av.FFmpegError, StopIteration, ValueError) as error:
        raise InputError(
            f"{path}: this EXR cannot be read ({error}); write plain R, G, B or Y channels without"
            " tiles, or an .npy"
        ) from error


def resample(values: np.ndarray, view: HeadView, files: MapFiles) -> np.ndarray:
    """Return a map (h, w[, 3]) on the working frame (H, W[, 3]).

    Raises:
        InputError: if its aspect ratio is neither the photo's nor the working frame's.
    """
    height, width = view.matte.shape
    map_height, map_width = values.shape[:2]
    box = (0.0, 0.0, 1.0, 1.0)
    whole_photo = files.crop_box is not None and files.photo_size is not None
    if whole_photo and _same_aspect(map_width, map_height, *files.photo_size):
        across, down = files.photo_size
        x0, y0, x1, y1 = files.crop_box
        box = (x0 / across, y0 / down, x1 / across, y1 / down)
    elif not _same_aspect(map_width, map_height, width, height):
        raise InputError(
            f"a map of {map_width}x{map_height} px fits neither the photo nor the"
            f" {width}x{height} working frame; give a map of the photo's aspect ratio"
        )
    reduce = min(map_width * (box[2] - box[0]) / width, map_height * (box[3] - box[1]) / height)
    if reduce > 2:
        size = round(map_width / reduce), round(map_height / reduce)
        values = cv2.resize(values, size, interpolation=cv2.INTER_AREA)
        map_height, map_width = values.shape[:2]
    share_x = box[0] + (np.arange(width) + 0.5) / width * (box[2] - box[0])
    share_y = box[1] + (np.arange(height) + 0.5) / height * (box[3] - box[1])
    x, y = np.meshgrid(share_x * map_width - 0.5, share_y * map_height - 0.5)
    return cv2.remap(
        values,
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )


def _same_aspect(width: float, height: float, other_width: float, other_height: float) -> bool:
    return abs(width * other_height / (height * other_width) - 1) < ASPECT_TOLERANCE


def align_depth(values: np.ndarray, view: HeadView, fallback: np.ndarray) -> np.ndarray:
    """Return camera depth (H, W) float32 in cm of a relative depth map, NaN off the person.

    Depth (correlates with the face's) is fitted as z = a d + b, inverse depth or disparity as
    1 / z = a d + b, robustly on the face.

    Args:
        values: (H, W) relative depth of either direction, any unit.
        view: the portrait; its face model is the reference.
        fallback: (H, W) depth in cm for pixels without a finite value.

    Raises:
        InputError: if the map does not agree with the face in either direction.
    """
    if values.ndim == 3:
        values = values.mean(-1)
    finite = np.isfinite(values)
    known = view.face & finite
    reference = view.model_depth
    spread = float(np.std(values[known])) if known.sum() > 64 else 0.0
    if spread == 0.0:
        raise InputError("the depth map is constant or unknown on the face; give another map")
    correlation = float(np.corrcoef(values[known], reference[known])[0, 1])
    if abs(correlation) < MIN_CORRELATION:
        raise InputError(
            f"the depth map does not show this face (correlation {correlation:.2f} with the fitted"
            " face); check that it belongs to the photo"
        )
    d = values[known].astype(np.float64)
    z = reference[known].astype(np.float64)
    inverse = correlation < 0
    a, b = _robust_line(d, 1 / z if inverse else z, float(np.median(z)), inverse)
    line = a * np.where(finite, values, 0.0).astype(np.float64) + b
    middle = float(np.median(z))
    near, far = middle - BEFORE_CM, middle + BEHIND_CM
    depth = 1 / np.clip(line, 1 / far, 1 / max(near, 1.0)) if inverse else line
    depth = np.where(finite, np.clip(depth, max(near, 1.0), far), fallback)
    return np.where(view.valid, depth, np.nan).astype(np.float32)


def _robust_line(d: np.ndarray, y: np.ndarray, middle: float, inverse: bool) -> tuple[float, float]:
    """Return (a, b) of y ~ a d + b with Cauchy weights."""
    scale = ALIGN_SCALE_CM / (middle**2 if inverse else 1.0)
    weight = np.ones_like(d)
    a, b = 0.0, 0.0
    for _ in range(ALIGN_ROUNDS):
        total = weight.sum()
        mean_d, mean_y = (weight * d).sum() / total, (weight * y).sum() / total
        variance = (weight * (d - mean_d) ** 2).sum()
        a = float((weight * (d - mean_d) * (y - mean_y)).sum() / max(variance, 1e-30))
        b = float(mean_y - a * mean_d)
        weight = 1 / (1 + ((y - a * d - b) / scale) ** 2)
    return a, b


def align_normals(values: np.ndarray, view: HeadView, fallback: np.ndarray) -> np.ndarray:
    """Return unit normals (H, W, 3) float32 in the y-up camera frame, NaN off the person.

    Values within 0..1 are taken as colours (n + 1) / 2; the sign of each axis is chosen to agree
    best with the fitted face (OpenGL and OpenCV maps both come out right).

    Raises:
        InputError: if the map is not (H, W, 3) or agrees with the face under no choice of signs.
    """
    if values.ndim != 3:
        raise InputError(f"normals need three channels, got a map of shape {values.shape}")
    finite = np.isfinite(values).all(-1)
    filled = np.where(finite[..., None], values, 0.0)
    low, high = (float(extreme) for extreme in (filled.min(), filled.max()))
    normals = filled * 2 - 1 if low >= 0 and high <= 1 else filled
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    finite &= length[..., 0] > 0.1
    normals = normals / np.maximum(length, 1e-6)
    known = view.face & finite
    if known.sum() < 64:
        raise InputError("the normal map is empty on the face; give another map")
    # The cosine is a sum over axes: each sign may be chosen by itself.
    agreement = (normals[known] * view.model_normals[known]).mean(0)
    signs = max(product((1, -1), repeat=3), key=lambda s: float(agreement @ np.array(s)))
    cosine = float(agreement @ np.array(signs))
    if cosine < MIN_COSINE:
        raise InputError(
            f"the normal map does not show this face (mean cosine {cosine:.2f} with the fitted"
            " face); check that it belongs to the photo"
        )
    normals = normals * np.array(signs, np.float32)
    # Visible surfaces face the viewer.
    normals[..., 2] = np.maximum(normals[..., 2], 0.05)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals = np.where(finite[..., None], normals, fallback)
    return np.where(view.valid[..., None], normals, np.nan).astype(np.float32)
