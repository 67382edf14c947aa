"""Speech to motion: silence, closures, blinks, seeds, streaming."""

from __future__ import annotations

import logging
import wave
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

import mggtalk_cli.motion as motion
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.expression import ARKIT_INDEX, NECK_CM, FaceState, neutral_state
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.deform import retarget
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion import DEFAULT_VARIANT, VARIANTS, SpeechMotion, SpeechStyle
from mggtalk_cli.motion.behaviour import Behaviour
from mggtalk_cli.motion.network import NETWORK_PATH
from mggtalk_cli.motion.phonemes import decode_phones
from mggtalk_cli.motion.voice import Voice, voice_track

SPEECH = Path(__file__).parents[2] / "examples" / "speech.wav"
EYES = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]
BROWS = [i for name, i in ARKIT_INDEX.items() if name.startswith("brow")]
JAW = ARKIT_INDEX["jawOpen"]


def speech_motion(
    path: Path, *, fps: float = 25.0, variant: str = DEFAULT_VARIANT, **style: float
) -> SpeechMotion:
    if variant == "neural" and not NETWORK_PATH.is_file():
        pytest.skip("the mouth network is not there yet")
    style_ = SpeechStyle(**style)  # type: ignore[arg-type]
    return motion.speech_motion(AudioFile(path), fps=fps, style=style_, variant=variant)


@pytest.fixture(scope="module")
def spoken() -> list[FaceState]:
    return list(speech_motion(SPEECH, seed=3).states)


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return path


def speech_samples() -> np.ndarray:
    return np.concatenate(list(AudioFile(SPEECH).blocks_16k_mono()))


def betas(states: list[FaceState]) -> np.ndarray:
    return np.stack([state.beta for state in states])


def mouth(states: list[FaceState]) -> np.ndarray:
    return np.delete(betas(states), [*EYES, *BROWS], axis=1)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_length_shapes_and_range(variant: str) -> None:
    found = speech_motion(SPEECH, variant=variant, fps=30.0)
    states = list(found.states)
    assert len(states) == found.frame_count == AudioFile(SPEECH).frame_count(30.0)
    values = betas(states)
    assert values.dtype == np.float32
    assert values.shape == (len(states), 52)
    assert values.min() >= 0.0
    assert values.max() <= 1.0
    assert 0.05 < values[:, JAW].mean() < 0.25
    assert 0.25 < values[:, JAW].max() < 0.5
    for state in states[:3]:
        assert state.rotation.dtype == state.translation.dtype == state.gaze.dtype == np.float32
        np.testing.assert_allclose(state.rotation @ state.rotation.T, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("variant", sorted(VARIANTS))
@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_keeps_the_mouth_closed_and_still(
    tmp_path: Path, variant: str, level: float
) -> None:
    hiss = level * np.random.default_rng(0).standard_normal(16_000 * 10)
    states = list(speech_motion(write_wav(tmp_path / "a.wav", hiss), variant=variant).states)
    assert len(states) == 250
    assert not mouth(states).any()
    assert betas(states)[:, EYES].max() > 0.9


def test_pause_closes_the_mouth_within_120_ms(tmp_path: Path) -> None:
    speech = speech_samples()[: 16_000 * 3]
    speech = np.concatenate([speech, np.zeros(16_000 * 2), speech])
    path = write_wav(tmp_path / "pause.wav", speech)
    values = mouth(list(speech_motion(path).states))
    # the voice itself may fade over a few analysis frames after the last sample
    silent = values[round((3.0 + 0.16) * 25) : round(4.9 * 25)]
    assert not silent.any()
    assert values[: 3 * 25].max() > 0.2
    assert values[round(5.2 * 25) :].max() > 0.2


def test_tone_bursts_gate_the_mouth(tmp_path: Path) -> None:
    times = np.arange(16_000 * 6) / 16_000
    on = (times % 2.0) < 1.0
    rng = np.random.default_rng(0)
    sound = np.where(on, 0.2 * rng.standard_normal(len(times)), 0.0)
    path = write_wav(tmp_path / "bursts.wav", sound)
    jaw = betas(list(speech_motion(path, variant="energy").states))[:, JAW]
    frame_times = np.arange(len(jaw)) / 25
    inside = (frame_times % 2.0 > 0.2) & (frame_times % 2.0 < 0.9)
    outside = (frame_times % 2.0 > 1.2) & (frame_times % 2.0 < 1.85)
    assert jaw[inside].min() > 0.03
    assert jaw[outside].max() == 0.0


def test_lips_meet_on_p_b_m_of_the_phones() -> None:
    audio = AudioFile(SPEECH)
    voice = voice_track(audio)
    phones = list(decode_phones(audio.blocks_16k_mono(), Voice([voice])))
    phones = [p for p in phones if p.name in "PBM"]
    assert len(phones) >= 4
    values = betas(list(speech_motion(SPEECH, variant="phones").states))
    gap = values[:, JAW] - values[:, ARKIT_INDEX["mouthClose"]]
    met = 0
    for phone in phones:
        near = slice(int(phone.start_s * 25) - 1, int(phone.end_s * 25) + 2)
        met += gap[near].min() < 0.005
    assert met >= 0.8 * len(phones)


def test_eyes_blink_together_and_shut(spoken: list[FaceState]) -> None:
    eyes = betas(spoken)[:, EYES]
    np.testing.assert_array_equal(eyes[:, 0], eyes[:, 1])
    begins = np.flatnonzero(np.diff((eyes[:, 0] > 0.5).astype(int)) > 0)
    assert 1 <= len(begins) <= 6
    for begin in begins:
        assert eyes[begin : begin + 5, 0].max() > 0.95
    assert (eyes[:, 0] < 0.01).mean() > 0.7


def test_seed_decides_everything_but_the_mouth(spoken: list[FaceState]) -> None:
    same = list(speech_motion(SPEECH, seed=3).states)
    other = list(speech_motion(SPEECH, seed=4).states)
    for a, b in zip(spoken, same, strict=True):
        np.testing.assert_array_equal(a.beta, b.beta)
        np.testing.assert_array_equal(a.rotation, b.rotation)
        np.testing.assert_array_equal(a.gaze, b.gaze)
    np.testing.assert_array_equal(mouth(spoken), mouth(other))
    assert any((a.rotation != b.rotation).any() for a, b in zip(spoken, other, strict=True))
    assert (betas(spoken)[:, EYES] != betas(other)[:, EYES]).any()


def test_head_scale_0_turns_only_head_motion_off(spoken: list[FaceState]) -> None:
    still = list(speech_motion(SPEECH, seed=3, head_scale=0.0).states)
    for state in still:
        np.testing.assert_array_equal(state.rotation, np.eye(3))
        np.testing.assert_array_equal(state.translation, np.zeros(3))
    np.testing.assert_array_equal(betas(still), betas(spoken))


def test_the_head_turns_about_the_neck_once() -> None:
    """Put on a photo, a turn without sway leaves the neck in place; the photo's pose is kept."""
    moment = Behaviour(0.0, 0.0, np.array([3.0, 2.0, -1.0]), np.zeros(3), np.zeros(2))
    spoken = motion._state(np.zeros(52), moment)
    pose = matrix_from_angles(15, -10, 5).astype(np.float32)
    photo = replace(neutral_state(), rotation=pose, translation=np.float32([1, 2, -70]))
    driven = retarget(spoken, reference=neutral_state(), source=photo, mode="speech")
    necks = [state.rotation @ NECK_CM + state.translation for state in (photo, driven)]
    np.testing.assert_allclose(*necks, atol=1e-4)
    assert np.abs(driven.translation - photo.translation).max() > 0.1


def test_mouth_scale_scales_the_mouth_only(spoken: list[FaceState]) -> None:
    small = list(speech_motion(SPEECH, seed=3, mouth_scale=0.5).states)
    np.testing.assert_allclose(mouth(small), 0.5 * mouth(spoken), atol=1e-6)
    np.testing.assert_array_equal(betas(small)[:, EYES], betas(spoken)[:, EYES])
    np.testing.assert_array_equal(betas(small)[:, BROWS], betas(spoken)[:, BROWS])
    large = list(speech_motion(SPEECH, mouth_scale=3.0).states)
    assert betas(large).max() <= 1.0


def test_frames_come_before_the_sound_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_wav(tmp_path / "long.wav", np.tile(speech_samples(), 6))
    found = speech_motion(path)
    taken: list[int] = []
    read = AudioFile.blocks_16k_mono

    def counted(self: AudioFile, block_s: float = 1.0) -> Iterator[np.ndarray]:
        for block in read(self, block_s):
            taken.append(len(block))
            yield block

    monkeypatch.setattr(AudioFile, "blocks_16k_mono", counted)
    assert len(list(islice(found.states, 25))) == 25
    assert sum(taken) <= 32 * 16_000  # a phrase of up to 12 s, levels of 20 s after it


@pytest.mark.parametrize("seconds", [0.01, 0.05, 1.0])
@pytest.mark.parametrize("variant", sorted(VARIANTS))
def test_very_short_sounds(tmp_path: Path, seconds: float, variant: str) -> None:
    count = int(16_000 * seconds)
    sound = 0.3 * np.random.default_rng(0).standard_normal(count)
    found = speech_motion(write_wav(tmp_path / "a.wav", sound), variant=variant)
    assert len(list(found.states)) == found.frame_count == int(np.ceil(seconds * 25))


def test_without_decoder_falls_back_to_loudness(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(motion.importlib.util, "find_spec", lambda name: None)
    with caplog.at_level(logging.WARNING, logger="mggtalk"):
        states = list(speech_motion(SPEECH, variant="phones").states)
    assert "pocketsphinx" in caplog.text
    wanted = list(speech_motion(SPEECH, variant="energy").states)
    np.testing.assert_array_equal(betas(states), betas(wanted))


def test_missing_sound_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        speech_motion(tmp_path / "none.wav")
