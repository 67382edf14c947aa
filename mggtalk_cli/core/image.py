"""Photos in, pictures out: every pixel is uint8 RGB (H, W, 3) once it is past this module.

Resampling keeps to the house convention that the pixel in row i, column j is centred at
(j + .5, i + .5). So enlarging a picture by s multiplies positions by s, with no half-pixel terms,
and every function that moves pixels hands back the (2, 3) matrix that moves landmarks along.
"""

from __future__ import annotations

import io
import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from mggtalk_cli.errors import InputError

# Longest side kept of a photo: eight times the default frame, and 48 MB as RGB.
MAX_SIDE = 4096
# Largest photo that is opened at all; phones take 200 megapixels (16384 x 12288) today.
MAX_PIXELS = 202_000_000
# Seen behind transparent pixels: mid grey pulls neither light nor dark hair edges.
MATTE_GREY = 128
# Luminance of gamma-coded RGB (ITU-R BT.601).
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
# Fast zlib level for PNG sequences: four times quicker than the default, 10 % larger.
PNG_COMPRESSION = 1

_PILLOW_FAILURES = (
    OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError,
    TypeError, OverflowError,
)  # fmt: skip
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")


class Mapped(NamedTuple):
    """A picture and the (2, 3) float64 matrix that maps source positions (px) to its own."""

    image: np.ndarray
    matrix: np.ndarray

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Return source positions (..., 2) in px of this picture."""
        return np.asarray(xy @ self.matrix[:, :2].T + self.matrix[:, 2])


def read_photo(source: str | Path | bytes, *, max_side: int = MAX_SIDE) -> np.ndarray:
    """Return the photo upright as uint8 sRGB (H, W, 3), its longer side at most `max_side` px.

    Args:
        source: A path, "-" for standard input, or the file's bytes. JPEG, PNG, WebP, AVIF, TIFF,
            BMP, GIF (first frame): grey, palette, CMYK, 16-bit and transparent ones too.
        max_side: Larger photos are reduced while they are decoded, in bounded memory.

    Raises:
        InputError: The file is missing, empty, damaged, no picture, or above `MAX_PIXELS`.
    """
    name, stream = _open_source(source)
    with stream, _pixel_limit(name):
        try:
            with Image.open(stream) as photo:
                return _decode(photo, max_side)
        except UnidentifiedImageError:
            raise InputError(_why_unreadable(name, stream)) from None
        except Image.DecompressionBombError:
            raise InputError(
                f"{name} has more than {MAX_PIXELS // 10**6} megapixels: make it smaller first"
            ) from None
        except _PILLOW_FAILURES as error:
            raise InputError(
                f"{name} is damaged or cut short ({error}): save or download it again"
            ) from None


def write_png(target: Path | BinaryIO, image: np.ndarray) -> None:
    """Write a uint8 (H, W), (H, W, 3) or (H, W, 4) picture as PNG."""
    Image.fromarray(image).save(target, format="PNG", compress_level=PNG_COMPRESSION)


def resize(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return (height, width[, c]), averaged over areas when shrinking, bicubic when enlarging.

    uint8 and float32 pictures keep their type; enlarged float32 may overshoot its range.
    """
    if image.shape[:2] == (height, width):
        return image
    shrinks = height * width < image.shape[0] * image.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method))


def even(length: float) -> int:
    """Return the nearest even integer, at least 2: H.264 in yuv420p has no odd sizes.

    >>> even(511.2), even(512.9), even(0.1)
    (512, 512, 2)
    """
    return max(2, 2 * round(length / 2))


def fit_longer_side(image: np.ndarray, size: int) -> Mapped:
    """Return the picture scaled so that its longer side is `size` px and both sides are even."""
    height, width = image.shape[:2]
    scale = size / max(height, width)
    new_width, new_height = even(width * scale), even(height * scale)
    matrix = np.array([[new_width / width, 0, 0], [0, new_height / height, 0]], np.float64)
    return Mapped(resize(image, new_width, new_height), matrix)


def crop_square(
    image: np.ndarray,
    centre: tuple[float, float],
    side: float,
    size: int,
    *,
    border: Literal["replicate", "reflect"] = "replicate",
) -> Mapped:
    """Return the square of `side` px around `centre` (x, y) as a (size, size[, c]) picture.

    Pixels beyond the photo repeat its edge; "reflect" mirrors it instead, which looks better on
    plain backgrounds but may show a second face. Shrinking averages, so nothing aliases.

    Raises:
        InputError: `side` or `size` is below one pixel.
    """
    if not side >= 1 or size < 1:
        raise InputError(f"a crop needs at least one pixel, got side {side} and size {size}")
    scale = size / side
    left, top = centre[0] - side / 2, centre[1] - side / 2
    matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float64)
    # Shrinking by more than one: sample at `oversample` times the size, then average blocks.
    oversample = max(1, int(np.ceil(1 / scale - 1e-6)))
    # OpenCV puts pixel centres at integers, so its matrix differs by half-pixel shifts.
    fine = matrix * oversample
    fine[:, 2] += fine[:, :2].sum(1) * 0.5 - 0.5
    mode = cv2.BORDER_REPLICATE if border == "replicate" else cv2.BORDER_REFLECT
    big = cv2.warpAffine(
        image, fine, (size * oversample,) * 2, flags=cv2.INTER_CUBIC, borderMode=mode
    )
    return Mapped(resize(np.asarray(big), size, size), matrix)


def _open_source(source: str | Path | bytes) -> tuple[str, BinaryIO]:
    """Return the name to use in messages and a seekable binary stream."""
    if isinstance(source, bytes) or str(source) == "-":
        data = source if isinstance(source, bytes) else sys.stdin.buffer.read()
        if not data:
            raise InputError("no photo came in on standard input: it was empty")
        return "the photo on standard input", io.BytesIO(data)
    path = Path(source)
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"no such photo: {path}") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder: name one photo in it") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if not stream.seekable():  # A named pipe: Pillow needs to go back and forth.
        with stream:
            return str(path), io.BytesIO(stream.read())
    return str(path), stream


@contextmanager
def _pixel_limit(name: str) -> Iterator[None]:
    """Let Pillow open photos up to `MAX_PIXELS` (its own limits are lower), without a warning."""
    previous = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # Pillow refuses above twice this.
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Bomb warnings, and notes on odd metadata.
            yield
    except MemoryError:
        raise InputError(f"{name} does not fit into memory: make it smaller first") from None
    finally:
        Image.MAX_IMAGE_PIXELS = previous


def _decode(photo: Image.Image, max_side: int) -> np.ndarray:
    if max(photo.size) > max_side:
        # JPEG only: decode at 1/2, 1/4 or 1/8 size, still at least `max_side`.
        photo.draft(photo.mode, _fit(photo.size, max_side))
    photo.load()
    profile = photo.info.get("icc_profile")
    orientation = photo.getexif().get(0x0112)
    if photo.mode in ("I", "F") or photo.mode.startswith("I;16"):
        photo = _to_8_bit(photo)
    if photo.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in photo.info:
        photo = photo.convert("RGBA")
    if max(photo.size) > max_side:
        # `reducing_gap` averages blocks first, which bounds the memory of the resampling.
        photo = photo.resize(_fit(photo.size, max_side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    if orientation in range(2, 9):
        photo.getexif()[0x0112] = orientation
        photo = ImageOps.exif_transpose(photo)
    photo = _to_srgb(photo, profile)
    if photo.mode == "RGBA":
        ground = Image.new("RGBA", photo.size, (MATTE_GREY,) * 3 + (255,))
        photo = Image.alpha_composite(ground, photo)
    return np.array(photo.convert("RGB"))


def _fit(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    scale = max_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _to_8_bit(photo: Image.Image) -> Image.Image:
    """Scale (never clip) 16-bit, 32-bit and float grey to 8 bits."""
    values = np.asarray(photo).astype(np.float32)
    if photo.mode.startswith("I;16"):
        white = 65535.0
    else:
        top = float(np.nanmax(values, initial=0.0))
        # The usual whites of wide files; anything brighter is scaled to its own maximum.
        white = next((w for w in (1.0, 255.0, 65535.0) if top <= w), top)
    grey = np.nan_to_num(values / white * 255).clip(0, 255)
    return Image.fromarray((grey + 0.5).astype(np.uint8))


def _to_srgb(photo: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert a photo with an embedded colour profile (Display P3, Adobe RGB, a press) to sRGB."""
    target = photo.mode if photo.mode in ("RGB", "RGBA") else "RGB"
    if not profile or photo.mode not in ("RGB", "RGBA", "CMYK"):
        return photo if photo.mode == target else photo.convert(target)
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            photo, embedded, ImageCms.createProfile("sRGB"), outputMode=target
        )
    except (ImageCms.PyCMSError, OSError):  # A broken profile: the plain values are the best guess.
        return photo.convert(target)
    return converted or photo


def _why_unreadable(name: str, stream: BinaryIO) -> str:
    stream.seek(0)
    start = stream.read(16)
    if not start:
        return f"{name} is empty: expected a photo"
    if start[4:8] == b"ftyp" and start[8:12] in _HEIF_BRANDS:
        return f"{name} is a HEIC photo, which is not supported: convert it to JPEG or PNG first"
    if start[4:8] == b"ftyp" or start[:4] in (b"\x1a\x45\xdf\xa3", b"RIFF", b"OggS", b"fLaC"):
        return f"{name} is a video or a sound: expected a photo (JPEG, PNG, WebP, TIFF)"
    return f"{name} is not a picture: expected a photo (JPEG, PNG, WebP, TIFF)"
