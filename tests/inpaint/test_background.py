"""What is put behind the person."""

from __future__ import annotations

import numpy as np
import pytest

from mggtalk_cli.inpaint import fill_behind, fill_unknown, match_rim

HEIGHT, WIDTH = 96, 120
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
INSIDE = np.hypot(COLUMNS - 60, ROWS - 60) < 25


def ramp() -> np.ndarray:
    """A picture that rises smoothly from left to right and top to bottom."""
    return np.stack([COLUMNS / WIDTH, ROWS / HEIGHT, np.full_like(ROWS, 0.5)], -1)


def person() -> np.ndarray:
    picture = ramp()
    picture[INSIDE] = (1.0, 0.0, 0.0)
    return picture


def test_background_is_left_untouched() -> None:
    matte = INSIDE.astype(np.float32)
    filled = fill_behind(person(), matte, np.zeros_like(matte))
    far = np.hypot(COLUMNS - 60, ROWS - 60) > 28
    assert np.array_equal(filled[far], person()[far])
    assert filled.dtype == np.float32


def test_person_is_filled_smoothly_from_around() -> None:
    matte = INSIDE.astype(np.float32)
    filled = fill_behind(person(), matte, matte)
    # Nothing of the red person is left, and the fill continues the ramp.
    assert np.abs(filled[..., 2] - 0.5).max() < 0.02
    assert np.abs(filled - ramp())[INSIDE].mean() < 0.06
    across = np.abs(np.diff(filled, axis=1)).max()
    assert across < 0.06  # the ramp itself rises by .01 a pixel


def test_beside_the_head_wisps_count_as_person() -> None:
    matte = INSIDE.astype(np.float32)
    picture = ramp()
    halo = np.hypot(COLUMNS - 60, ROWS - 60) < 25.8
    picture[halo] = (1.0, 0.0, 0.0)
    head = fill_behind(picture, matte, np.ones_like(matte))
    torso = fill_behind(picture, matte, np.zeros_like(matte))
    ring = halo & ~INSIDE
    assert ring.any()
    assert head[ring][:, 0].max() < 0.9
    assert (torso[ring] == (1.0, 0.0, 0.0)).all()


def test_photo_without_background_gets_its_mean() -> None:
    picture = np.random.default_rng(0).random((32, 32, 3)).astype(np.float32)
    filled = fill_behind(picture, np.ones((32, 32), np.float32), np.ones((32, 32), np.float32))
    np.testing.assert_allclose(
        filled, np.broadcast_to(picture.mean((0, 1)), filled.shape), atol=1e-5
    )


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 5), (64, 1), (33, 47)])
def test_fill_of_any_shape_keeps_known_pixels_and_range(shape: tuple[int, int]) -> None:
    random = np.random.default_rng(1)
    picture = random.random((*shape, 3)).astype(np.float32)
    known = (random.random(shape) < 0.3).astype(np.float32)
    known.flat[0] = 1
    filled = fill_unknown(picture, known)
    assert filled.shape == picture.shape
    if min(shape) > 2:
        np.testing.assert_allclose(filled[known > 0], picture[known > 0], atol=1e-5)
    assert filled.min() >= -1e-5
    assert filled.max() <= 1 + 1e-5


def test_fill_of_nothing_is_finite() -> None:
    assert np.isfinite(fill_unknown(np.ones((16, 16, 3), np.float32), np.zeros((16, 16)))).all()


def test_constant_background_is_filled_with_itself() -> None:
    picture = np.full((48, 48, 3), 0.3, np.float32)
    known = np.ones((48, 48), np.float32)
    known[10:40, 5:43] = 0
    np.testing.assert_allclose(fill_unknown(picture, known), 0.3, atol=1e-4)


def test_rim_absorbs_a_wrong_matte() -> None:
    """I = rgb + (1 - alpha) B where a B between the fill and the photo exists."""
    alpha = np.full((8, 8, 1), 0.25, np.float32)
    person_color, fill = 0.2, 0.8
    photo = np.full((8, 8, 3), 0.5, np.float32)  # the background was darker than the fill
    rgb = np.full((8, 8, 3), person_color, np.float32) * alpha
    plate = np.full((8, 8, 3), round(fill * 255), np.uint8)
    matched = match_rim(plate, photo, rgb, alpha)
    composed = rgb + (1 - alpha) * matched.astype(np.float32) / 255
    np.testing.assert_allclose(composed, photo, atol=1 / 255)


def test_rim_leaves_covered_and_empty_pixels_alone() -> None:
    plate = np.random.default_rng(2).integers(0, 256, (8, 8, 3), np.uint8)
    photo = np.random.default_rng(3).random((8, 8, 3)).astype(np.float32)
    for alpha in (0.0, 1.0):
        full = np.full((8, 8, 1), alpha, np.float32)
        assert np.array_equal(match_rim(plate, photo, photo * full, full), plate)


def test_rim_never_makes_the_identity_worse() -> None:
    random = np.random.default_rng(4)
    plate = random.integers(0, 256, (32, 32, 3), np.uint8)
    photo = random.random((32, 32, 3)).astype(np.float32)
    alpha = random.random((32, 32, 1)).astype(np.float32)
    rgb = random.random((32, 32, 3)).astype(np.float32) * alpha

    def error(background: np.ndarray) -> np.ndarray:
        return np.abs(rgb + (1 - alpha) * background.astype(np.float32) / 255 - photo)

    assert (error(match_rim(plate, photo, rgb, alpha)) <= error(plate) + 0.6 / 255).all()
