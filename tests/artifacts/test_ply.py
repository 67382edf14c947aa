"""Gaussian `.ply` files against plyfile, and the odd ones found in the wild."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from mggtalk_cli.artifacts.ply import GaussianCloud, read_ply, sh_from_color, write_ply
from mggtalk_cli.errors import ArtifactError, InputError


def make_cloud(k: int = 4, n: int = 50) -> GaussianCloud:
    rng = np.random.default_rng(5)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    quats = normal(n, 4)
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    opacities = rng.uniform(0.01, 0.99, n).astype(np.float32)
    return GaussianCloud(normal(n, 3), quats, np.exp(normal(n, 3)), opacities, normal(n, k, 3))


def assert_close(actual: GaussianCloud, wanted: GaussianCloud) -> None:
    for name, array in vars(wanted).items():
        assert getattr(actual, name).dtype == np.float32
        np.testing.assert_allclose(getattr(actual, name), array, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("k", [1, 4, 9, 16])
def test_round_trip(tmp_path: Path, k: int) -> None:
    cloud = make_cloud(k)
    write_ply(tmp_path / "head.ply", cloud)
    assert_close(read_ply(tmp_path / "head.ply"), cloud)


def test_layout_as_viewers_expect(tmp_path: Path) -> None:
    cloud = make_cloud(4)
    write_ply(tmp_path / "head.ply", cloud)
    ply = PlyData.read(str(tmp_path / "head.ply"))
    assert (ply.text, ply.byte_order) == (False, "<")
    vertex = ply["vertex"]
    names = [p.name for p in vertex.properties]
    assert names[:9] == ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2"]
    assert names[9:18] == [f"f_rest_{i}" for i in range(9)]
    assert names[18:] == [
        "opacity",
        *[f"scale_{i}" for i in range(3)],
        *[f"rot_{i}" for i in range(4)],
    ]
    assert {p.val_dtype for p in vertex.properties} == {"f4"}
    np.testing.assert_array_equal(vertex["y"], cloud.means[:, 1])
    np.testing.assert_array_equal(vertex["f_dc_2"], cloud.sh[:, 0, 2])
    np.testing.assert_array_equal(vertex["f_rest_4"], cloud.sh[:, 2, 1])  # green, second of three
    np.testing.assert_allclose(np.exp(vertex["scale_1"]), cloud.scales[:, 1], rtol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-vertex["opacity"])), cloud.opacities, rtol=1e-5)
    np.testing.assert_allclose(vertex["rot_0"], cloud.quats[:, 0], rtol=1e-5)


def test_color_and_limits(tmp_path: Path) -> None:
    sh = sh_from_color(np.array([[0.0, 0.5, 1.0], [1.2, 0.5, -0.1]]))
    ones, quats = np.ones(2), np.array([[2.0, 0, 0, 0], [0, 0, 0, 3]])
    write_ply(
        tmp_path / "a.ply", GaussianCloud(np.zeros((2, 3)), quats, np.zeros((2, 3)), ones, sh)
    )
    cloud = read_ply(tmp_path / "a.ply")
    np.testing.assert_allclose(
        cloud.sh[:, 0] * 0.28209479 + 0.5, sh[:, 0] * 0.28209479 + 0.5, atol=1e-6
    )
    np.testing.assert_allclose(cloud.opacities, 1, atol=2e-6)
    np.testing.assert_allclose(cloud.quats, [[1, 0, 0, 0], [0, 0, 0, 1]])
    assert (cloud.scales > 0).all()


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tolerant_reading(tmp_path: Path, text: bool, order: str) -> None:
    """Other order, no normals, doubles, extra columns and elements, ascii, big-endian."""
    cloud = make_cloud(9)
    write_ply(tmp_path / "head.ply", cloud)
    data = PlyData.read(str(tmp_path / "head.ply"))["vertex"].data
    names = [n for n in reversed(data.dtype.names) if n[0] != "n"]
    other = np.zeros(len(data), [("id", "i4"), *[(n, "f8") for n in names]])
    for name in names:
        other[name] = data[name]
    extra = PlyElement.describe(np.zeros(2, [("a", "u1")]), "camera")
    ply = PlyData([extra, PlyElement.describe(other, "vertex")], text=text, byte_order=order)
    ply.comments = ["made elsewhere"]
    ply.write(str(tmp_path / "other.ply"))
    assert_close(read_ply(tmp_path / "other.ply"), cloud)


def header(lines: str, form: str = "binary_little_endian") -> bytes:
    return f"ply\nformat {form} 1.0\n{lines}end_header\n".encode()


NAMES = ["x", "y", "z", *[f"f_dc_{i}" for i in range(3)], "opacity"]
NAMES += [*[f"scale_{i}" for i in range(3)], *[f"rot_{i}" for i in range(4)]]
GAUSSIAN = "".join(f"property float {name}\n" for name in NAMES)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04....", "is no .ply file"),
        (b"ply\nformat ascii 1.0\n", "header does not end"),
        (header("element vertex 1\nproperty float x\n") + bytes(4), "lacks y, z, f_dc_0"),
        (header("element face 0\nproperty int a\n"), "without vertices"),
        (header("element vertex 1\nproperty list uchar int vertex_indices\n"), "property list"),
        (
            header("element chunk 1\nproperty float x\nelement vertex 1\nproperty uint p\n"),
            "compressed",
        ),
        (header("element vertex 999999999\n" + GAUSSIAN) + bytes(56), "999999999 vertices"),
        (
            header("element vertex 999999999\n" + GAUSSIAN, "ascii") + b"1 " * 14,
            "999999999 vertices",
        ),
        (header("element vertex -3\n" + GAUSSIAN), "element vertex -3"),
        (header("element vertex 0\n" + GAUSSIAN), "it is empty"),
        (header("element vertex 2\n" + GAUSSIAN) + bytes(60), "cut off"),
        (header("element vertex 1\n" + GAUSSIAN) + bytes(56), "zero quaternion"),
        (
            header("element vertex 1\n" + GAUSSIAN) + np.full(14, np.nan, "<f4").tobytes(),
            "not finite",
        ),
        (header("element vertex 1\n" + GAUSSIAN) + np.full(14, 99, "<f4").tobytes(), "overflow"),
        (header("element vertex 1\n" + GAUSSIAN, "ascii") + b"a " * 13 + b"b\n", "damaged"),
        (header("element vertex 1\n" + GAUSSIAN, "binary_middle_endian") + bytes(56), "damaged"),
    ],
)
def test_bad_files(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "bad.ply"
    path.write_bytes(data)
    with pytest.raises(ArtifactError, match=words):
        read_ply(path)


def test_bad_arrays_and_paths(tmp_path: Path) -> None:
    path, good = tmp_path / "a.ply", vars(make_cloud())
    for name, value in [
        ("means", np.zeros((50, 2))),
        ("sh", np.zeros((50, 3))),
        ("sh", np.zeros((50, 3, 3))),
        ("opacities", np.full(50, np.nan)),
        ("quats", np.zeros((50, 4))),
    ]:
        with pytest.raises(ArtifactError):
            write_ply(path, GaussianCloud(**{**good, name: value}))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="cannot read"):
        read_ply(path)
    write_ply(path, GaussianCloud(**good))
    with pytest.raises(InputError, match="--overwrite"):
        write_ply(path, GaussianCloud(**good))
