"""Maps from files: formats, resampling, and every convention they come in."""

from itertools import product

import av
import cv2
import numpy as np
import pytest
from ellipsoid_scene import ellipsoid_head, head_view_of

from mggtalk_cli.errors import InputError
from mggtalk_cli.head import MapFiles, estimate
from mggtalk_cli.head.maps import align_depth, align_normals, read_map, resample


@pytest.fixture(scope="module")
def scene():
    head = ellipsoid_head(10)
    return head, head_view_of(head)


def filled(depth: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(depth), depth, 120).astype(np.float32)


def write_exr(path, values: np.ndarray) -> None:
    layout = "gbrpf32le" if values.ndim == 3 else "grayf32le"
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream = container.add_stream("exr", rate=1)
        stream.height, stream.width = values.shape[:2]
        stream.pix_fmt = layout
        stream.codec_context.options = {"format": "float"}
        frame = av.VideoFrame.from_ndarray(values.astype(np.float32), format=layout)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def test_formats_round_trip(tmp_path):
    rng = np.random.default_rng(0)
    plain, colors = rng.random((24, 30)).astype(np.float32), rng.random((24, 30, 3))
    np.save(tmp_path / "a.npy", plain)
    write_exr(tmp_path / "a.exr", plain)
    cv2.imwrite(str(tmp_path / "a.png"), np.round(plain * 65535).astype(np.uint16))
    for name, tolerance in (("a.npy", 0), ("a.exr", 0), ("a.png", 1e-5)):
        np.testing.assert_allclose(read_map(tmp_path / name), plain, atol=tolerance)
    write_exr(tmp_path / "b.exr", colors.astype(np.float32))
    np.testing.assert_allclose(read_map(tmp_path / "b.exr"), colors, atol=1e-6)
    cv2.imwrite(str(tmp_path / "b.png"), np.round(colors[..., ::-1] * 65535).astype(np.uint16))
    np.testing.assert_allclose(read_map(tmp_path / "b.png"), colors, atol=1e-5)
    np.save(tmp_path / "c.npy", colors.transpose(2, 0, 1))
    np.testing.assert_allclose(read_map(tmp_path / "c.npy"), colors, atol=1e-6)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match="no such map"):
        read_map(tmp_path / "none.png")
    for name in ("a.png", "a.npy", "a.exr"):
        (tmp_path / name).write_bytes(b"nonsense")
        with pytest.raises(InputError, match=name):
            read_map(tmp_path / name)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="jpg"):
        read_map(tmp_path / "a.jpg")
    np.save(tmp_path / "o.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(InputError, match="plain"):
        read_map(tmp_path / "o.npy")
    np.save(tmp_path / "s.npy", np.zeros((20, 20, 2)))
    with pytest.raises(InputError, match="shape"):
        read_map(tmp_path / "s.npy")


@pytest.mark.parametrize(
    "disguise",
    [
        lambda z: z,
        lambda z: 0.02 * z - 3,
        lambda z: 1000 / z - 2,
        lambda z: 0.5 - 0.004 * z,
    ],
)
def test_depth_of_any_direction_and_scale_is_aligned(scene, disguise):
    head, view = scene
    values = disguise(filled(head.depth)).astype(np.float32)
    values[view.face & (np.arange(128) % 9 == 0)[None]] += 0.3 * np.ptp(values[view.face])
    depth = align_depth(values, view, head.depth)
    clean = view.valid & (np.arange(128) % 9 != 0)[None]
    assert np.abs(depth - head.depth)[clean].mean() < 0.25


def test_depth_gaps_are_filled_and_wrong_maps_refused(scene):
    head, view = scene
    values = filled(head.depth)
    values[40:50, 40:50] = np.nan
    assert np.isfinite(align_depth(values, view, head.depth)[view.valid]).all()
    with pytest.raises(InputError, match="constant"):
        align_depth(np.ones_like(values), view, head.depth)
    noise = np.random.default_rng(0).random(values.shape).astype(np.float32)
    with pytest.raises(InputError, match="does not show this face"):
        align_depth(noise, view, head.depth)


@pytest.mark.parametrize("signs", list(product((1, -1), repeat=3)))
@pytest.mark.parametrize("colours", [True, False])
def test_normals_of_any_convention_come_out_right(scene, signs, colours):
    head, view = scene
    values = np.nan_to_num(head.normals) * np.array(signs, np.float32)
    values = 0.5 * (values + 1) if colours else values * 1.7
    fallback = np.zeros_like(head.normals) + np.array([0, 0, 1], np.float32)
    normals = align_normals(values.astype(np.float32), view, fallback)
    assert (normals * head.normals).sum(-1)[view.face].min() > 0.999


def test_foreign_normals_are_refused(scene):
    head, view = scene
    noise = np.random.default_rng(0).normal(size=head.normals.shape).astype(np.float32)
    with pytest.raises(InputError, match="does not show this face"):
        align_normals(noise, view, head.normals)
    with pytest.raises(InputError, match="three channels"):
        align_normals(head.depth, view, head.normals)


def test_resample_by_crop_box_keeps_positions(scene):
    _, view = scene
    height, width = view.matte.shape
    y, x = np.mgrid[:600, :800] + 0.5
    photo = np.stack([x, y, 0 * x], -1).astype(np.float32)
    files = MapFiles(crop_box=(200.0, 100.0, 456.0, 356.0), photo_size=(800, 600))
    out = resample(photo, view, files)
    expected = 200 + (np.arange(width) + 0.5) / width * 256
    np.testing.assert_allclose(out[5, :, 0], expected, atol=0.6)
    half = resample(photo[::2, ::2], view, files)
    assert np.abs(half[..., :2] - out[..., :2]).max() < 1.6
    framed = resample(np.zeros((256, 256), np.float32), view, files)
    assert framed.shape == (height, width)
    with pytest.raises(InputError, match="fits neither"):
        resample(np.zeros((100, 300), np.float32), view, files)


def test_file_variant_end_to_end(tmp_path, scene):
    head, view = scene
    np.save(tmp_path / "depth.npy", 30 / filled(head.depth))
    np.save(tmp_path / "normals.npy", np.nan_to_num(head.normals) * [1, -1, -1])
    files = MapFiles(str(tmp_path / "depth.npy"), str(tmp_path / "normals.npy"))
    result = estimate(view, "file", files=files)
    assert np.abs(result.depth - head.depth)[view.valid].mean() < 0.05
    assert result.edge_stiffness > 0
    only_depth = estimate(view, "file", files=MapFiles(depth=files.depth))
    assert np.isfinite(only_depth.normals[view.valid]).all()
    only_normals = estimate(view, "file", files=MapFiles(normals=files.normals))
    assert np.isfinite(only_normals.depth[view.valid]).all()
    with pytest.raises(InputError, match="needs a depth map"):
        estimate(view, "file")
