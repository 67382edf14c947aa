"""Flow of pictures that were moved by a known amount."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mggtalk_cli.training.picture_flow import FlowMeter, displaced

SIZE = 128


@pytest.fixture
def texture() -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, (SIZE, SIZE, 3)).astype(np.float32)
    # without a seam, so that it can be rolled
    soft = cv2.GaussianBlur(np.tile(noise, (3, 3, 1)), (0, 0), 3.0)[
        SIZE : 2 * SIZE, SIZE : 2 * SIZE
    ]
    return np.clip(128 + 6 * (soft - soft.mean()), 0, 255).astype(np.uint8)


def everywhere() -> np.ndarray:
    return np.full((SIZE, SIZE), 255, np.uint8)


def test_a_moved_picture(texture: np.ndarray) -> None:
    moved = np.roll(texture, (2, -3), axis=(0, 1))
    found = FlowMeter().between(texture, moved, everywhere(), everywhere())
    middle = (slice(4, -4), slice(4, -4))
    assert found.flow.dtype == np.float16
    assert found.trust.shape == (SIZE // 4, SIZE // 4)
    assert (found.trust[middle] > 200).mean() > 0.95
    flow = found.flow[middle][found.trust[middle] > 200].astype(float)
    assert np.abs(flow - [-3, 2]).mean() < 0.15
    assert found.trust[:, 0].max() < 128  # it ends outside


def test_only_the_person_is_trusted(texture: np.ndarray) -> None:
    person, moved_person = everywhere(), everywhere()
    person[:64] = 0
    moved_person[:, :64] = 0
    trust = FlowMeter().between(texture, texture, person, moved_person).trust
    assert trust[:16].max() == 0
    assert trust[:, :16].max() == 0
    assert trust[16:, 16:].min() == 255


def test_what_is_another_thing_is_not_trusted(texture: np.ndarray) -> None:
    other = texture.copy()
    patch = np.random.default_rng(1).uniform(0, 255, (64, 64, 3)).astype(np.float32)
    patch = cv2.GaussianBlur(patch, (0, 0), 3.0)
    other[32:96, 32:96] = np.clip(128 + 6 * (patch - patch.mean()), 0, 255)
    trust = FlowMeter().between(texture, other, everywhere(), everywhere()).trust.astype(float)
    # much of one noise can be bent into another, there and back
    assert trust[11:21, 11:21].mean() < 0.7 * trust[:6].mean()


def test_displaced_takes_the_value_at_the_end(texture: np.ndarray) -> None:
    flow = np.broadcast_to(np.float32([5, -2]), (SIZE, SIZE, 2))
    ahead = displaced(texture, flow)
    np.testing.assert_array_equal(ahead[10:20, 10:20], texture[8:18, 15:25])
