"""Gaussian `.ply` files against plyfile, and the odd ones found in the wild."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from plyfile import PlyData, PlyElement

from mggtalk_cli.artifacts.ply import (
    GaussianCloud,
    read_ply,
    read_ply_view,
    sh_from_color,
    write_ply,
)
from mggtalk_cli.artifacts.ply_view import PlyView, view_comment
from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.rotation import matrix_from_angles
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


@pytest.mark.parametrize("k", [1, 4, 9, 16])
def test_gsply_reads_and_writes_the_same(tmp_path: Path, k: int) -> None:
    gsply = pytest.importorskip("gsply")
    cloud = make_cloud(k)
    write_ply(tmp_path / "ours.ply", cloud, view=VIEW)
    data = gsply.plyread(tmp_path / "ours.ply")
    logit = np.log(cloud.opacities / (1 - cloud.opacities))
    np.testing.assert_array_equal(data.means, cloud.means)
    np.testing.assert_allclose(data.quats, cloud.quats, atol=1e-6)
    np.testing.assert_allclose(data.scales, np.log(cloud.scales), atol=1e-5)
    np.testing.assert_allclose(data.opacities, logit, atol=1e-5)
    np.testing.assert_array_equal(data.sh0, cloud.sh[:, 0])
    np.testing.assert_array_equal(data.shN, cloud.sh[:, 1:])
    gsply.plywrite(tmp_path / "theirs.ply", data)  # without normals
    assert_close(read_ply(tmp_path / "theirs.ply"), cloud)


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


def test_odd_headers_of_other_writers(tmp_path: Path) -> None:
    """Carriage returns, comments in any script, obj_info."""
    cloud = make_cloud(4)
    write_ply(tmp_path / "head.ply", cloud)
    head, body = (tmp_path / "head.ply").read_bytes().split(b"end_header\n", 1)
    notes = "comment Größe 3 µm\nobj_info made elsewhere\ncomment end_header\n\nelement vertex"
    head = head.replace(b"element vertex", notes.encode()) + b"end_header\n"
    (tmp_path / "other.ply").write_bytes(head.replace(b"\n", b"\r\n") + body)
    assert_close(read_ply(tmp_path / "other.ply"), cloud)


def test_unusable_gaussians_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As viewers do; the logits of opacity 0 and 1 may be infinite."""
    cloud = make_cloud(4, n=7)
    write_ply(tmp_path / "a.ply", cloud)
    ply = PlyData.read(str(tmp_path / "a.ply"), mmap=False)
    rows = ply["vertex"].data
    rows["x"][0], rows["f_rest_8"][1], rows["scale_2"][2] = np.nan, np.inf, 1e4
    for name in ("rot_0", "rot_1", "rot_2", "rot_3"):
        rows[name][3] = 0
    rows["opacity"][4:6] = np.inf, -np.inf
    ply.write(str(tmp_path / "b.ply"))
    kept = read_ply(tmp_path / "b.ply")
    assert "4 of 7 Gaussians are left out" in caplog.text
    np.testing.assert_array_equal(kept.means, cloud.means[4:])
    assert kept.opacities[:2].tolist() == [1, 0]


VIEW = PlyView(
    Camera(viewmat_from_pose(matrix_from_angles(7, -3, 2), np.array([0.1, 1.7, -80.3])),
           1065.717588486409, 640, 480),
    (0.0, 0.1, -4.0),
    0.05,
)  # fmt: skip


def test_view_comes_back_to_the_bit(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", make_cloud(), view=VIEW)
    view = read_ply_view(tmp_path / "a.ply")
    assert view is not None
    np.testing.assert_array_equal(view.camera.viewmat, VIEW.camera.viewmat)
    for name in ("focal_px", "width", "height"):
        assert getattr(view.camera, name) == getattr(VIEW.camera, name)
    assert (view.pivot, view.eps2d) == (VIEW.pivot, VIEW.eps2d)
    write_ply(tmp_path / "b.ply", make_cloud())
    assert read_ply_view(tmp_path / "b.ply") is None


def with_note(path: Path, *notes: str) -> Path:
    write_ply(path, make_cloud())
    comments = "".join(f"comment {note}\n" for note in notes)
    path.write_bytes(path.read_bytes().replace(b"element", f"{comments}element".encode(), 1))
    return path


@pytest.mark.parametrize(
    "lie",
    [
        {"viewmat": None},
        {"viewmat": [0.0] * 16},
        {"viewmat": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1, 0, 0, 0, 0, 1]},
        {"viewmat": [1, 0, 0, 1e30, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]},
        {"viewmat": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 1]},
        {"viewmat": [float("nan")] * 16},
        {"width": 10**9},
        {"height": -4},
        {"height": 480.5},
        {"width": True},
        {"focal_px": 0},
        {"focal_px": float("inf")},
        {"focal_px": 10**400},
        {"pivot": [0, 0]},
        {"pivot": [0, "0", 0]},
        {"pivot": [0, 0, float("nan")]},
        {"eps2d": -0.1},
        {"eps2d": 1e9},
        {"eps2d": "0.3"},
        {"eps2d": None},
    ],
    ids=str,
)
def test_lies_about_the_view(tmp_path: Path, lie: dict[str, object]) -> None:
    note = {**json.loads(view_comment(VIEW).removeprefix("mggtalk ")), **lie}
    path = with_note(tmp_path / "a.ply", f"mggtalk {json.dumps(note)}")
    with pytest.raises(ArtifactError, match="its note on the view"):
        read_ply_view(path)
    assert_close(read_ply(path), make_cloud())


@pytest.mark.parametrize(
    "notes",
    [
        ["mggtalk {"],
        ["mggtalk {}"],
        ["mggtalk " + '{"a":' * 5000],
        [view_comment(VIEW), view_comment(VIEW)],
    ],
    ids=["cut", "empty", "deep", "twice"],
)
def test_nonsense_about_the_view(tmp_path: Path, notes: list[str]) -> None:
    with pytest.raises(ArtifactError, match="its note on the view"):
        read_ply_view(with_note(tmp_path / "a.ply", *notes))


def test_other_comments_are_no_view(tmp_path: Path) -> None:
    assert read_ply_view(with_note(tmp_path / "a.ply", "mggtalk is one program", "{}")) is None


def header(lines: str, form: str = "binary_little_endian") -> bytes:
    return f"ply\nformat {form} 1.0\n{lines}end_header\n".encode()


NAMES = ["x", "y", "z", *[f"f_dc_{i}" for i in range(3)], "opacity"]
NAMES += [*[f"scale_{i}" for i in range(3)], *[f"rot_{i}" for i in range(4)]]
F_REST = "".join(f"property float f_rest_{i}\n" for i in range(5))
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
        (header("element vertex 1\n" + GAUSSIAN * 2) + bytes(112), "twice"),
        (header("element vertex 1\nelement vertex 1\n" + GAUSSIAN) + bytes(56), "element vertex"),
        (header("property float x\nelement vertex 1\n" + GAUSSIAN) + bytes(56), "property float"),
        (header("format ascii 1.0\nelement vertex 1\n" + GAUSSIAN) + bytes(56), "format ascii"),
        (b"ply\nelement vertex 1\nend_header\n", "no format"),
        (header("element vertex 1\n" + GAUSSIAN + F_REST) + bytes(76), "5 f_rest values"),
        (header("element a 999999999999999\nelement vertex 1\n" + GAUSSIAN, "ascii"), "claims"),
        (header("element vertex 2\n" + GAUSSIAN, "ascii") + b"1 " * 13 + b"1\n" * 20, "damaged"),
        (header("element vertex 2\n" + GAUSSIAN, "ascii") + b"1 " * 14 + b"\n" * 60, "cut off"),
        (header("element vertex 1\n" + GAUSSIAN, "ascii") + b"\n" * 60, "holds 0"),
        (header("element vertex 1\n" + GAUSSIAN, "ascii") + b"1" * 100_000, "damaged"),
        (header("element vertex 1\n" + GAUSSIAN) + bytes(56), "length zero"),
        (
            header("element vertex 1\n" + GAUSSIAN) + np.full(14, np.nan, "<f4").tobytes(),
            "not finite",
        ),
        (
            header("element vertex 1\n" + GAUSSIAN) + np.full(14, 99, "<f4").tobytes(),
            "no logarithms",
        ),
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
