"""Speech against the speaker's lips: made-up speakers whose scores are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.core.expression import neutral_state
from mggtalk_cli.core.mouth import MouthCurves, model_mouth
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import speech, speech_strips, speech_video
from mggtalk_cli.evaluation.mouth_crops import MouthCutter
from mggtalk_cli.evaluation.views import with_coefficients
from mggtalk_cli.motion.phonemes import Phone
from mggtalk_cli.motion.voice import VoiceTrack

FRAMES = 200


def talking(
    seed: int, *, late: int = 0, scale: float = 1.0, name: str = "ann_01.mp4"
) -> speech.ClipMouth:
    """A clip whose prediction is the tracked mouth, late by some frames and scaled."""
    rng = np.random.default_rng(seed)
    opening, width = rng.uniform(0.02, 0.2, FRAMES), rng.uniform(0.5, 0.6, FRAMES)
    guess = MouthCurves(scale * np.roll(opening, late), 0.5 * np.roll(width, late))
    speaking = np.arange(FRAMES) < 150
    tracked = MouthCurves(opening, width)
    points = np.zeros((FRAMES, 468, 3), np.float32)
    return speech.ClipMouth(Path(name), 0, tracked, {"phones": guess}, speaking, ~speaking, points)


def test_a_perfect_speaker() -> None:
    [result] = speech.speaker_results([talking(0), talking(1, name="ann_02.mp4")])
    assert (result.speaker, result.variant, result.frames) == ("ann", "phones", 2 * FRAMES)
    assert (result.r, result.width_r, result.closed_found) == pytest.approx((1, 1, 1))
    assert (result.amplitude, result.lag, result.open_in_silence) == (1, 0, 1)
    assert result.width_amplitude == pytest.approx(0.5)


def test_a_late_and_lazy_speaker() -> None:
    [result] = speech.speaker_results([talking(0, late=2, scale=0.4)])
    assert result.lag == 2
    assert result.lag_r == pytest.approx(1)
    assert abs(result.r) < 0.3
    assert result.amplitude == pytest.approx(0.4)


def test_frames_without_a_face_or_sound_do_not_count() -> None:
    clip = talking(0)
    clip.tracked.opening[20:] = np.nan
    [result] = speech.speaker_results([clip])
    assert result.frames == 20
    assert result.r == pytest.approx(1)
    clip.predicted["phones"].opening[:5] = np.nan
    with pytest.raises(InputError, match="15 frames"):
        speech.speaker_results([clip])


def test_fractional_offsets() -> None:
    curves = MouthCurves(np.arange(10.0), np.arange(10.0) ** 2)
    moved = speech.at_frames(curves, np.arange(10) + 0.5)
    assert moved.opening[:9].tolist() == [index + 0.5 for index in range(9)]
    assert math.isnan(moved.opening[9])


def test_speech_and_silence_of_a_voice() -> None:
    active = np.zeros(400, bool)
    active[100:200] = True
    empty = np.zeros(400, np.float16)
    voice = VoiceTrack(empty, empty, active, empty)
    speaking, silent = speech.voice_at(voice, np.arange(100))
    assert np.flatnonzero(speaking).tolist() == list(range(25, 50))
    assert np.flatnonzero(~silent).tolist() == list(range(20, 55))


def test_mouths_of_states() -> None:
    rest = neutral_state()
    opened = with_coefficients(rest, jawOpen=0.5)
    rounded = with_coefficients(rest, mouthPucker=0.8)
    curves = speech.states_mouth([rest, opened, rounded])
    assert curves.opening[1] > curves.opening[0] + 0.05
    assert curves.width[2] < curves.width[0] - 0.02


def test_crossed_lips_are_closed() -> None:
    lips = np.zeros((2, 468, 3), np.float32)
    lips[:, 33, 0], lips[:, 263, 0] = -4, 4
    lips[0, 13, 1], lips[1, 13, 1] = 1, -1
    assert model_mouth(lips).opening.tolist() == [0.125, 0]


def test_the_strip_shows_the_most_closures() -> None:
    names = ["AA"] * 30 + ["P", "AA", "B"] + ["AA"] * 30
    phones = [Phone(name, float(index), index + 1.0) for index, name in enumerate(names)]
    found = speech_strips.fullest(phones)
    assert len(found) == speech_strips.PHONES
    assert [phone.name for phone in found].count("AA") == speech_strips.PHONES - 2
    assert found[0].start_s == 33 - speech_strips.PHONES
    assert speech_strips.fullest(phones[:5]) == phones[:5]


def test_what_pixels_lose() -> None:
    clip = talking(0, scale=1.0)
    asked = clip.predicted["phones"]
    seen = MouthCurves(0.5 * asked.opening, asked.width[::-1])
    talk = speech_video.Talk(clip.path, clip)
    result = speech_video.video_result("photo", speech_video.SpokenVideo(asked, seen, {}), talk)
    assert (result.kept, result.r, result.lost) == pytest.approx((1, 1, 0))
    assert result.lag == 0
    assert result.kept_amplitude == pytest.approx(0.5)
    assert result.width_lost == pytest.approx(1 - result.width_r_pixels)
    alone = speech_video.Talk(clip.path, None)
    result = speech_video.video_result("photo", speech_video.SpokenVideo(asked, seen, {}), alone)
    assert math.isnan(result.lost)


def test_a_fixed_head_does_not_move() -> None:
    assert speech_video.style_of("fixed").head_scale == 0
    assert speech_video.style_of("free").head_scale == 1


def test_strips_are_made_where_something_is_shown() -> None:
    picture = np.full((32, 32, 3), 200, np.uint8)
    empty = MouthCurves(np.zeros(3), np.zeros(3))
    video = speech_video.SpokenVideo(empty, empty, {2: picture})
    talk = speech_video.Talk(Path("ann.wav"), None)
    assert speech_video.strip_sheet("photo", video, talk) is None
    shown = speech_strips.Sentence(["P", "AA"], [2, 7])
    sheet = speech_video.strip_sheet("photo", video, talk._replace(shown=shown))
    assert sheet is not None
    assert sheet.shape[0] == speech_strips.LINE_PX + speech_strips.CELL_PX


def test_own_mouths_are_compared_at_the_time_they_are_heard() -> None:
    rng = np.random.default_rng(0)
    mouths = list(rng.integers(0, 255, (8, 20, 20, 3), np.uint8))
    cutter = MouthCutter(np.random.default_rng(1).uniform(0, 50, (468, 3)))
    true = speech_video.TrueMouths(mouths[0], cutter, mouths[:6])
    empty = MouthCurves(np.zeros(8), np.zeros(8))
    # The film is two frames ahead of the clip, whose sound is two frames late.
    film = speech_video.SpokenVideo(empty, empty, {}, [mouths[0], mouths[0], *mouths[:6]])
    late = speech_video.own_mouth_scores(film, true, 2.0)
    assert late["mouth_db"] == math.inf
    assert late["mouth_ssim"] == pytest.approx(1)
    assert speech_video.own_mouth_scores(film, true, 0.0)["mouth_db"] < 15
    assert speech_video.repeated_mouth_scores(true)["mouth_db"] < 15
