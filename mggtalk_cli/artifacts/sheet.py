"""A picture of what is in an artifact: labelled tiles, drawn with numpy and Pillow."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mggtalk_cli.artifacts.describe import Samples
from mggtalk_cli.artifacts.ply import SH_C0, GaussianCloud
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.camera import Camera

TILE = 256  # px, each tile's picture
_CAPTION = 18  # px below it
_COLUMNS = 4
_GREY = 128  # behind transparent pixels
_PAPER, _INK = 245, 40
# At rest the lips close the mouth's dark cavity in; drawn openly it would cover the neck.
_UNDRAWN = "cavity"
_INVISIBLE = 0.05  # opacity below which a point is not drawn

Tile = tuple[str, np.ndarray]


def contact_sheet(artifact: Artifact, samples: Samples) -> np.ndarray:
    """Return a (H, W, 3) uint8 RGB picture of a head, points or frames, and some of its frames.

    Motion has a sheet of its own, `motion_sheet`, which needs the face model.
    """
    if artifact.kind == "head":
        return _grid(_head_tiles(artifact))
    if artifact.kind == "points":
        return _grid(_points_tiles(artifact, samples))
    tiles = [
        (f"frame {index}", over_grey(frame["rgba"]))
        for index, frame in zip(samples.indices, samples.frames, strict=True)
    ]
    return _grid(tiles)


def cloud_sheet(cloud: GaussianCloud) -> np.ndarray:
    """Return a (H, W, 3) uint8 picture of Gaussians' centres from front and side."""
    seen = cloud.opacities > _INVISIBLE
    means = cloud.means[seen] if seen.any() else cloud.means
    color = (cloud.sh[:, 0][seen] if seen.any() else cloud.sh[:, 0]) * SH_C0 + 0.5
    tiles = []
    for name, axis in (("front", 0), ("side", 2)):
        xy, depth = _orthographic(means, axis)
        tiles.append((f"{name}, colour", scatter(xy, depth, _to_uint8(color), TILE, TILE)))
        tiles.append((f"{name}, depth", scatter(xy, depth, _shade(depth), TILE, TILE)))
    return _grid(tiles)


def over_grey(rgba: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) uint8 of a straight-alpha (h, w, 4) uint8 picture over mid grey."""
    alpha = rgba[..., 3:].astype(np.float32) / 255
    mixed = rgba[..., :3] * alpha + _GREY * (1 - alpha)
    return mixed.round().astype(np.uint8)


def scatter(
    xy: np.ndarray, depth: np.ndarray, color: np.ndarray, width: int, height: int
) -> np.ndarray:
    """Return a (height, width, 3) picture of points as 2 x 2 px dots, the nearest on top.

    Args:
        xy: (n, 2) positions in px, pixel centres at .5.
        depth: (n,) smaller is nearer.
        color: (n, 3) uint8.
        width: of the picture, px.
        height: of the picture, px.
    """
    picture = np.full((height, width, 3), _PAPER, np.uint8)
    order = np.argsort(-depth, kind="stable")
    corner = np.floor(np.clip(xy[order] - 0.5, -2, max(width, height) + 1)).astype(np.int64)
    for dx, dy in ((1, 1), (0, 1), (1, 0), (0, 0)):
        x, y = corner[:, 0] + dx, corner[:, 1] + dy
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        picture[y[inside], x[inside]] = color[order][inside]
    return picture


def _head_tiles(artifact: Artifact) -> list[Tile]:
    arrays = artifact.arrays
    xy, depth, (width, height) = _project(artifact, arrays["positions"])

    seen = arrays["opacity"] > _INVISIBLE
    if _UNDRAWN in artifact.meta["sheets"]:
        sizes = arrays["grid_shape"].astype(np.int64).prod(axis=1)
        sheet = np.repeat(np.arange(len(sizes)), sizes)[arrays["valid"]]
        seen &= sheet != artifact.meta["sheets"].index(_UNDRAWN)

    def view(color: np.ndarray) -> np.ndarray:
        return scatter(xy[seen], depth[seen], color[seen], width, height)

    def grey(values: np.ndarray) -> np.ndarray:
        return np.repeat(_to_uint8(values)[:, None], 3, axis=1)

    matte = np.repeat(arrays["matte"][..., None], 3, axis=2)
    tiles = [
        *(("image", arrays["image"]), ("plate", arrays["plate"]), ("matte", matte)),
        ("points, colour", view(_to_uint8(arrays["color"]))),
        ("points, depth", view(_shade(depth))),
        ("points, normals", view(_to_uint8(arrays["normals"] / 2 + 0.5))),
        ("points, opacity", view(grey(arrays["opacity"]))),
        ("points, head weight", view(grey(arrays["head_weight"]))),
    ]
    return tiles + _validity_tiles(artifact)


def _validity_tiles(artifact: Artifact) -> list[Tile]:
    """Return a tile per sheet: its grid in colour, white where it holds no point."""
    arrays = artifact.arrays
    color = np.full((arrays["valid"].size, 3), _PAPER, np.uint8)
    color[arrays["valid"]] = _to_uint8(arrays["color"])
    tiles, start = [], 0
    for name, (rows, columns) in zip(artifact.meta["sheets"], arrays["grid_shape"], strict=True):
        size = int(rows) * int(columns)
        count = int(arrays["valid"][start : start + size].sum())
        if size:
            picture = color[start : start + size].reshape(rows, columns, 3)
            tiles.append((f"sheet {name}: {count} points", picture))
        start += size
    return tiles


def _points_tiles(artifact: Artifact, samples: Samples) -> list[Tile]:
    places = sorted({0, len(samples.frames) // 2, len(samples.frames) - 1})
    tiles = []
    for place in places:
        frame = samples.frames[place]
        seen = artifact.arrays["opacity"] * frame["gate"] > _INVISIBLE
        points = frame["points"][seen]
        if not len(points):
            continue
        xy, depth, (width, height) = _project(artifact, points)
        color = _to_uint8(artifact.arrays["color"][seen])
        name = f"frame {samples.indices[place]}"
        tiles.append((f"{name}, colour", scatter(xy, depth, color, width, height)))
        tiles.append((f"{name}, depth", scatter(xy, depth, _shade(depth), width, height)))
        xy, depth = _orthographic(points, 2)
        tiles.append((f"{name}, side", scatter(xy, depth, color, TILE, TILE)))
        tiles.append((f"{name}, side depth", scatter(xy, depth, _shade(depth), TILE, TILE)))
    return tiles


def _project(
    artifact: Artifact, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
    """Return positions in px (n, 2), camera depth (n,), and the picture's (width, height)."""
    meta = artifact.meta["camera"]
    viewmat = np.array(meta["viewmat"], np.float32).reshape(4, 4)
    # A tile shows no more than its own pixels; smaller pictures keep the dots dense.
    scale = TILE / max(meta["width"], meta["height"])
    width, height = (max(1, round(meta[key] * scale)) for key in ("width", "height"))
    projected = Camera(viewmat, meta["focal_px"] * scale, width, height).project(points)
    return projected[:, :2], projected[:, 2], (width, height)


def _orthographic(points: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Return tile positions and depth of points seen along z (axis 0 across) or x (axis 2)."""
    across = points[:, 0] if axis == 0 else -points[:, 2]
    depth = -points[:, 2] if axis == 0 else -points[:, 0]
    flat = np.stack([across, -points[:, 1]], axis=1)
    low, high = flat.min(axis=0), flat.max(axis=0)
    scale = 0.94 * TILE / max(float((high - low).max()), 1e-6)
    return (flat - (low + high) / 2) * scale + TILE / 2, depth


def _shade(depth: np.ndarray) -> np.ndarray:
    """Return (n, 3) uint8 greys, near is light; the range leaves out 1 % at each end."""
    if not len(depth):
        return np.zeros((0, 3), np.uint8)
    low, high = np.percentile(depth, (1, 99))
    value = 1 - (depth - low) / max(float(high - low), 1e-6)
    return _to_uint8(np.stack([value * 0.9] * 3, axis=1))


def _to_uint8(values: np.ndarray) -> np.ndarray:
    return np.asarray((np.clip(values, 0, 1) * 255).round(), np.uint8)


# ---------------------------------------------------------------- layout


def _grid(tiles: Sequence[Tile]) -> np.ndarray:
    rows = -(-len(tiles) // _COLUMNS)
    columns = min(_COLUMNS, len(tiles))
    sheet = Image.new("RGB", (columns * TILE, max(rows, 1) * (TILE + _CAPTION)), (_PAPER,) * 3)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for number, (caption, picture) in enumerate(tiles):
        x, y = number % _COLUMNS * TILE, number // _COLUMNS * (TILE + _CAPTION)
        image = Image.fromarray(np.ascontiguousarray(picture))
        scale = TILE / max(image.size)
        size = tuple(max(1, round(side * scale)) for side in image.size)
        enlarged = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
        sheet.paste(image.resize((size[0], size[1]), enlarged), (x, y))
        draw.text((x + 4, y + TILE + 2), caption, fill=(_INK,) * 3, font=font)
    return np.asarray(sheet)
