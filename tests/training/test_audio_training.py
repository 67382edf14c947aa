"""Training end to end on made-up speakers: it learns, it is repeatable, it holds speakers out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.network import mouth_network_bytes, stacked
from mggtalk_cli.training.audio import AudioTraining, train_audio
from mggtalk_cli.training.clips import Clip
from mggtalk_cli.training.model_card import model_card
from mggtalk_cli.training.mouth import Recipe
from mggtalk_cli.training.recordings import Recording, Refused

QUICK = Recipe(steps=40, batch=8, copies=False)


@pytest.fixture(scope="module")
def training(recordings: list[Recording]) -> AudioTraining:
    refused = Refused(Clip(Path("fay_01.mp4"), "fay"), "no face")
    return train_audio([*recordings, refused], QUICK, only_ship=True)


def test_it_learns_the_mouth_of_speakers_it_never_heard(training: AudioTraining) -> None:
    (score,) = training.held_out
    assert score.speaker == "eve"
    assert score.r > 0.8
    assert score.width_r > 0.8
    assert score.closed_found > 0.4
    assert 0.6 < score.amplitude < 1.5
    assert score.lag == 0


def test_only_clips_that_may_ship_are_learned_from(training: AudioTraining) -> None:
    assert {r.clip.speaker for r in training.learned} == {"ann", "bob", "cyd", "dan"}


def test_the_same_clips_give_the_same_bytes(
    training: AudioTraining, recordings: list[Recording]
) -> None:
    again = train_audio(recordings, QUICK, only_ship=True)
    assert mouth_network_bytes(again.network) == mouth_network_bytes(training.network)


def test_a_fifth_of_the_speakers_is_held_out(recordings: list[Recording]) -> None:
    result = train_audio(recordings, Recipe(steps=2, batch=2, copies=False))
    assert len(result.held_out) == 1
    assert result.held_out[0].speaker not in {r.clip.speaker for r in result.learned}


def test_shapes_are_in_avatar_units(training: AudioTraining, recordings: list[Recording]) -> None:
    shapes = training.network.shapes(stacked(recordings[0].voice.features[0]))
    assert shapes.opening.min() == 0.0
    assert 0.6 < shapes.opening.max() <= 1.0
    assert np.abs(shapes.width).max() <= 1.0
    assert shapes.closure[shapes.opening == 0].mean() > shapes.closure[shapes.opening > 0.3].mean()


def test_the_card_names_data_licences_and_numbers(training: AudioTraining) -> None:
    card = model_card(training, name="mouth.safetensors", sha256="abc")
    for text in ("| ann | 2 | 16 | CC0 | made up |", "| eve |", "| median |", "fay_01.mp4", "abc"):
        assert text in card


def test_nothing_to_learn_from() -> None:
    with pytest.raises(InputError, match="no face"):
        train_audio([Refused(Clip(Path("a.mp4"), "a"), "no face")], QUICK)
