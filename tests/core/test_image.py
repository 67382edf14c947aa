"""Photos of every kind come out upright, 8-bit and RGB; crops map positions exactly."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mggtalk_cli.core import image as img
from mggtalk_cli.errors import InputError


@pytest.fixture
def ramp() -> np.ndarray:
    """(48, 64, 3) uint8 with red rising to the right and green downwards."""
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([x * 4, y * 5, np.full_like(x, 60)], -1).astype(np.uint8)


def save(array: np.ndarray | Image.Image, path: Path, **options: object) -> Path:
    picture = array if isinstance(array, Image.Image) else Image.fromarray(array)
    picture.save(path, **options)
    return path


def difference(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b.astype(float)).mean())


def test_png_comes_back_exactly(tmp_path: Path, ramp: np.ndarray) -> None:
    img.write_png(tmp_path / "a.png", ramp)
    assert np.array_equal(img.read_photo(tmp_path / "a.png"), ramp)
    assert np.array_equal(img.read_photo((tmp_path / "a.png").read_bytes()), ramp)


def test_rgba_png_keeps_alpha_on_disk(tmp_path: Path, ramp: np.ndarray) -> None:
    rgba = np.concatenate([ramp, np.full((48, 64, 1), 7, np.uint8)], -1)
    img.write_png(tmp_path / "a.png", rgba)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), rgba)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation(tmp_path: Path, ramp: np.ndarray, orientation: int) -> None:
    # How a camera stores the upright picture for each EXIF orientation.
    stored = {
        1: ramp, 2: ramp[:, ::-1], 3: ramp[::-1, ::-1], 4: ramp[::-1],
        5: ramp.transpose(1, 0, 2), 6: np.rot90(ramp),
        7: ramp[::-1, ::-1].transpose(1, 0, 2), 8: np.rot90(ramp, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(np.ascontiguousarray(stored), tmp_path / "a.png", exif=exif)
    assert np.array_equal(img.read_photo(path), ramp)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "LA", "I", "F"])
def test_colour_modes_become_rgb(tmp_path: Path, mode: str) -> None:
    grey = Image.linear_gradient("L").resize((64, 64))
    out = img.read_photo(save(grey.convert(mode), tmp_path / "a.tif"))
    assert out.shape == (64, 64, 3)
    assert out.dtype == np.uint8
    expected = np.asarray(grey.convert("1" if mode == "1" else "L").convert("RGB"))
    assert difference(out, expected) < 3


def test_cmyk_jpeg(tmp_path: Path, ramp: np.ndarray) -> None:
    path = save(Image.fromarray(ramp).convert("CMYK"), tmp_path / "a.jpg", quality=98)
    assert difference(img.read_photo(path), ramp) < 4


def test_16_bit_is_scaled_not_clipped(tmp_path: Path) -> None:
    wide = np.linspace(0, 65535, 256, dtype=np.uint16)[None].repeat(32, 0)
    out = img.read_photo(save(wide, tmp_path / "a.png"))
    assert difference(out[0, :, 0], np.arange(256)) < 0.01


def test_float_tiff_is_scaled_by_its_white(tmp_path: Path) -> None:
    values = np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(4, 0)
    assert difference(img.read_photo(save(values, tmp_path / "a.tif"))[0, :, 1], np.arange(256)) < 1


def test_transparency_goes_over_mid_grey(tmp_path: Path, ramp: np.ndarray) -> None:
    alpha = np.zeros((48, 64, 1), np.uint8)
    alpha[:, :32] = 255
    out = img.read_photo(save(np.concatenate([ramp, alpha], -1), tmp_path / "a.png"))
    assert np.array_equal(out[:, :32], ramp[:, :32])
    assert (out[:, 32:] == img.MATTE_GREY).all()


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (32, 24), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert img.read_photo(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_wide_colour_profile_is_converted(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    photo = Image.new("RGB", (16, 16), (200, 100, 50))
    path = save(photo, tmp_path / "a.png", icc_profile=profile.tobytes())
    assert img.read_photo(path)[0, 0].tolist() == [200, 100, 50]  # unusable for RGB: ignored
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    path = save(photo, tmp_path / "b.png", icc_profile=srgb.tobytes())
    assert difference(img.read_photo(path)[0, 0], np.array([200, 100, 50])) <= 1


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_huge_photo_is_reduced(tmp_path: Path, suffix: str) -> None:
    path = save(Image.new("RGB", (10000, 10000), (10, 200, 30)), tmp_path / f"a.{suffix}")
    out = img.read_photo(path, max_side=512)
    assert out.shape == (512, 512, 3)
    assert difference(out, np.array([10, 200, 30])) < 2


def test_pixel_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(img, "MAX_PIXELS", 1000)
    path = save(np.zeros((64, 64, 3), np.uint8), tmp_path / "a.png")
    with pytest.raises(InputError, match="megapixels"):
        img.read_photo(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_truncated_photo(tmp_path: Path, suffix: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    path = save(noise, tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(InputError, match=r"damaged|not a picture|video or a sound"):
        img.read_photo(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"hello, this is text", "not a picture"),
        (b"\x00\x00\x00\x18ftypheic" + b"\0" * 40, "HEIC.*convert"),
        (b"\x00\x00\x00\x18ftypisom" + b"\0" * 40, "video or a sound"),
    ],
)
def test_no_photo(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.jpg.*{says}"):
        img.read_photo(tmp_path / "a.jpg")


def test_missing_file_folder_and_empty_stdin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="no such photo"):
        img.read_photo(tmp_path / "none.jpg")
    with pytest.raises(InputError, match="folder"):
        img.read_photo(tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    with pytest.raises(InputError, match="standard input"):
        img.read_photo("-")


def test_fit_longer_side_is_even_and_maps_corners(ramp: np.ndarray) -> None:
    fitted = img.fit_longer_side(ramp, 101)
    assert fitted.image.shape == (76, 100, 3)
    assert np.allclose(fitted.points(np.array([[64.0, 48.0]])), [[100, 76]])


def blob(size: int, centre: tuple[float, float], sigma: float) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size] + 0.5
    return np.exp(-((x - centre[0]) ** 2 + (y - centre[1]) ** 2) / (2 * sigma**2)).astype("f4")


@pytest.mark.parametrize(("side", "size"), [(200.0, 64), (77.7, 64), (64.0, 64), (40.0, 128)])
def test_crop_moves_positions_to_a_hundredth_of_a_pixel(side: float, size: int) -> None:
    where = (130.3, 141.9)
    image = blob(256, where, sigma=2.5)
    crop = img.crop_square(image, (125.0, 150.5), side, size)
    total = crop.image.sum()
    y, x = np.mgrid[0:size, 0:size] + 0.5
    found = np.array([(x * crop.image).sum(), (y * crop.image).sum()]) / total
    assert np.abs(found - crop.points(np.array(where))).max() < 0.02


def test_crop_shrinks_without_aliasing() -> None:
    stripes = (np.arange(600)[None] % 2 * 255).astype(np.uint8).repeat(600, 0)
    crop = img.crop_square(stripes, (300.3, 300.0), 500, 100).image
    assert np.abs(crop.astype(float) - 127.5).max() < 30


def test_crop_beyond_the_photo_repeats_the_edge(ramp: np.ndarray) -> None:
    crop = img.crop_square(ramp, (0.0, 24.0), 48, 48)
    assert (crop.image[:, :24] == crop.image[:, :1]).all()
    assert np.array_equal(crop.image[:, 24:], ramp[:, :24])


def test_crop_of_nothing_is_refused(ramp: np.ndarray) -> None:
    with pytest.raises(InputError, match="at least one pixel"):
        img.crop_square(ramp, (0, 0), 0.0, 64)
