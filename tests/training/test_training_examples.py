"""Alignment, normalisation, offsets and the loss, against known answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_cli.motion.network import CURVES
from mggtalk_cli.training.examples import examples, normalised_targets, principal_components
from mggtalk_cli.training.loss import concordance, mouth_loss
from mggtalk_cli.training.offsets import estimate_offsets
from mggtalk_cli.training.recordings import Recording
from mggtalk_cli.training.sound import changed_voice

MakeRecording = Callable[..., Recording]
OPENING = CURVES.index("opening")


def test_opening_is_zero_at_the_closed_mouth_of_each_speaker(
    make_recording: MakeRecording,
) -> None:
    one = make_recording("ann", 0)
    other = replace(one, mouth=one.mouth._replace(opening=3 * one.mouth.opening + 1))
    targets, scaled = normalised_targets([one])[0], normalised_targets([other])[0]
    assert np.percentile(targets[:, OPENING], 8) == pytest.approx(0, abs=1e-5)
    assert targets[:, OPENING].std() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(scaled, targets, atol=1e-3)


def test_a_late_sound_meets_its_picture(make_recording: MakeRecording) -> None:
    recording = make_recording("ann", 0)
    targets = normalised_targets([recording])[0]
    (example,) = examples([recording], {str(recording.clip.path): 3.0})
    np.testing.assert_allclose(example.targets[3:], targets[:-3], atol=1e-6)
    assert not example.usable[:3].any()
    assert example.usable[3:].all()


def test_a_slower_copy_meets_its_picture(make_recording: MakeRecording) -> None:
    recording = make_recording("ann", 0)
    features = recording.voice.features[0]
    voice = recording.voice._replace(features=[features, np.repeat(features, 2, 0)], slow=[1, 2])
    plain, slow = examples([replace(recording, voice=voice)], copies=True)
    np.testing.assert_allclose(slow.targets[::2], plain.targets, atol=1e-5)
    between = (plain.targets[:-1] + plain.targets[1:]) / 2
    np.testing.assert_allclose(slow.targets[1:-1:2], between, atol=1e-5)


def test_frames_without_a_face_are_not_used(make_recording: MakeRecording) -> None:
    recording = make_recording("ann", 0)
    recording.mouth.opening[10:20] = np.nan
    (example,) = examples([recording])
    recording.mouth.opening[10:20] = 0.1
    assert np.array_equal(np.flatnonzero(~example.usable), np.arange(10, 20))
    assert np.isfinite(example.targets).all()


def test_offsets_are_found_against_the_other_speakers(
    recordings: list[Recording], make_recording: MakeRecording
) -> None:
    late = make_recording("kim", 7, late=3)
    early = make_recording("lea", 8, late=-2)
    found = estimate_offsets([*recordings, late, early])
    assert found.pop(str(late.clip.path)) == 3
    assert found.pop(str(early.clip.path)) == -2
    assert set(found.values()) == {0.0}


def test_whitening_gives_unit_variance() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 6)) @ np.diag([5, 4, 3, 2, 1, 0.1]) + 7
    mean, whitening = principal_components([rows[:100], rows[100:]], [1.0, 1.0], 4)
    white = (rows - mean) @ whitening
    np.testing.assert_allclose(np.cov(white.T, bias=True), np.eye(4), atol=1e-3)


def test_concordance_sees_what_correlation_does_not() -> None:
    curve = torch.sin(torch.arange(100.0))[:, None]
    assert concordance(curve, curve).item() == pytest.approx(1)
    # half the amplitude: 2 * .5 / (1 + .25)
    assert concordance(0.5 * curve, curve).item() == pytest.approx(0.8, abs=1e-3)
    assert concordance(-curve, curve).item() == pytest.approx(-1, abs=1e-2)


def test_the_loss_ignores_unusable_frames_and_is_zero_when_right() -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(2, 30, 3, generator=generator)
    usable = torch.ones(2, 30, dtype=torch.bool)
    usable[:, 20:] = False
    wrong_where_unusable = torch.where(usable[..., None], target, target + 100)
    weights = torch.tensor([0.5, 0.3, 0.2])
    assert mouth_loss(target, target, usable, weights).item() == pytest.approx(0, abs=1e-5)
    assert mouth_loss(wrong_where_unusable, target, usable, weights).item() < 1e-5
    assert mouth_loss(target + 1, target, usable, weights).item() > 0.1


def test_changed_voices_are_repeatable_and_bounded() -> None:
    voice = np.sin(np.arange(16_000) / 20).astype(np.float32)
    changed, slow = changed_voice(voice, np.random.default_rng(4))
    again, _ = changed_voice(voice, np.random.default_rng(4))
    np.testing.assert_array_equal(changed, again)
    assert len(changed) == pytest.approx(slow * len(voice), abs=2)
    assert np.abs(changed).max() <= 1.0
    silent, _ = changed_voice(np.zeros(16_000, np.float32), np.random.default_rng(4))
    assert np.isfinite(silent).all()
