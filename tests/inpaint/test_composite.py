"""The compositing kernel against plain float arithmetic."""

from __future__ import annotations

import numpy as np
import torch

from mggtalk_cli.inpaint import INPAINTERS, composite, straight_rgba


def test_composite_is_the_over_operator() -> None:
    random = np.random.default_rng(0)
    rgba = random.integers(0, 256, (64, 48, 4), np.uint8)
    plate = random.integers(0, 256, (64, 48, 3), np.uint8)
    alpha = rgba[..., 3:].astype(np.float64) / 255
    reference = rgba[..., :3] * alpha + plate * (1 - alpha)
    result = composite(rgba, plate)
    assert result.dtype == np.uint8
    assert np.abs(result - reference).max() <= 0.5 + 1e-9  # rounded to nearest: half a level


def test_opaque_and_empty_are_exact() -> None:
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgba = np.stack([every, every[::-1], every.T, np.full_like(every, 255)], -1)
    plate = np.ascontiguousarray(np.stack([every.T, every, every[::-1]], -1))
    assert np.array_equal(composite(rgba, plate), rgba[..., :3])
    rgba[..., 3] = 0
    assert np.array_equal(composite(rgba, plate), plate)


def test_inputs_are_not_changed_and_views_are_welcome() -> None:
    random = np.random.default_rng(1)
    rgba = random.integers(0, 256, (20, 30, 4), np.uint8)[::2, ::3]
    plate = random.integers(0, 256, (20, 30, 3), np.uint8)[::2, ::3]
    kept = rgba.copy(), plate.copy()
    whole = composite(np.ascontiguousarray(rgba), np.ascontiguousarray(plate))
    assert np.array_equal(composite(rgba, plate), whole)
    assert np.array_equal(rgba, kept[0])
    assert np.array_equal(plate, kept[1])


def test_straight_rgba_undoes_premultiplication() -> None:
    generator = torch.Generator().manual_seed(0)
    color = torch.rand(31, 17, 3, generator=generator) * 1.2 - 0.1
    alpha = torch.rand(31, 17, 1, generator=generator)
    alpha[0], alpha[1] = 0, 1
    rgba = straight_rgba(color * alpha, alpha)
    assert rgba.dtype == np.uint8
    wanted = torch.cat([color.clamp(0, 1), alpha], -1).numpy() * 255
    wanted[0] = 0
    assert np.abs(rgba[1:] - wanted[1:]).max() <= 0.51
    assert (rgba[0] == 0).all()


def test_variants_share_one_signature() -> None:
    rgba, plate = np.zeros((4, 6, 4), np.uint8), np.full((4, 6, 3), 7, np.uint8)
    for inpainter in INPAINTERS.values():
        assert np.array_equal(inpainter(rgba, plate), plate)
