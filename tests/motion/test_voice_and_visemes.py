"""Voice activity, phones and viseme blending on known signals."""

from __future__ import annotations

import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.motion import visemes
from mggtalk_cli.motion.phonemes import Phone, decode_phones
from mggtalk_cli.motion.visemes import VISEMES, MouthShapes, betas_at_frames, mouth_beta
from mggtalk_cli.motion.voice import (
    FRAME_RATE,
    OFFLINE,
    Voice,
    VoiceStream,
    VoiceTrack,
    VoiceWindows,
    gate_of,
    joined,
    streaming_windows,
    voice_pieces,
    voice_track,
)

SPEECH = Path(__file__).parents[2] / "examples" / "speech.wav"


def write_wav(path: Path, samples: np.ndarray) -> AudioFile:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return AudioFile(path)


def full_voice(frames: int) -> VoiceTrack:
    ones = np.ones(frames, np.float16)
    return VoiceTrack(level=ones, middle=0.5 * ones, active=np.ones(frames, bool), gate=ones)


def shapes_of(phones: list[Phone], voice: VoiceTrack, fps: float = 25.0) -> MouthShapes:
    blocks = list(visemes._shape_blocks(iter(phones), Voice([voice]), fps=fps))
    return MouthShapes(*(np.concatenate(rows) for rows in zip(*blocks, strict=True)))


@pytest.mark.parametrize("gain", [1.0, 0.01])
def test_activity_finds_bursts_at_any_gain(tmp_path: Path, gain: float) -> None:
    times = np.arange(16_000 * 6) / 16_000
    noise = np.random.default_rng(0).standard_normal(len(times))
    burst = ((times % 2) > 0.5) & ((times % 2) < 1.5)
    sound = gain * (0.2 * noise * burst + 0.0005 * noise)
    voice = voice_track(write_wav(tmp_path / "a.wav", sound))
    truth = np.interp(np.arange(len(voice.active)) / FRAME_RATE, times, burst) > 0.5
    assert (voice.active == truth).mean() > 0.98


def test_activity_ignores_hum_below_the_speech_band(tmp_path: Path) -> None:
    times = np.arange(16_000 * 4) / 16_000
    tone = 0.3 * np.sin(2 * np.pi * 1000 * times) * (times > 2) * (times < 3)
    hum = 0.3 * np.sin(2 * np.pi * 50 * times)
    voice = voice_track(write_wav(tmp_path / "a.wav", tone + hum))
    assert voice.active[205:295].all()
    assert not voice.active[5:190].any()


def test_stop_gaps_are_bridged_and_clicks_dropped(tmp_path: Path) -> None:
    sound = np.zeros(16_000 * 4)
    noise = 0.2 * np.random.default_rng(0).standard_normal(16_000)
    sound[16_000:32_000] = noise
    sound[22_400:23_680] = 0.0  # 80 ms
    sound[48_000:48_160] = 0.2  # 10 ms
    voice = voice_track(write_wav(tmp_path / "a.wav", sound))
    assert voice.active[105:195].all()
    assert not voice.active[250:].any()


def test_quiet_second_half_is_heard(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    times = np.arange(16_000 * 120) / 16_000
    syllables = (times % 1.0) < 0.6
    gain = np.where(times < 60, 0.3, 0.01)
    voice = voice_track(
        write_wav(tmp_path / "a.wav", gain * syllables * rng.standard_normal(len(times)) * 0.5)
    )
    assert voice.active[-3000:].mean() == pytest.approx(0.6, abs=0.05)
    assert voice.level[-3000:].max() > 0.9


@pytest.mark.parametrize("windows", [OFFLINE, streaming_windows(0.24), streaming_windows(0.0)])
@pytest.mark.parametrize("piece", [160, 1234, 50_000])
def test_voice_does_not_depend_on_how_the_sound_is_cut(windows: VoiceWindows, piece: int) -> None:
    samples = np.concatenate(list(AudioFile(SPEECH).blocks_16k_mono()))
    whole = joined(voice_pieces([samples], windows))
    cuts = (samples[i : i + piece] for i in range(0, len(samples), piece))
    found = joined(voice_pieces(cuts, windows))
    assert len(found.active) == len(samples) // 160 + 2
    for a, b in zip(vars(found).values(), vars(whole).values(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_stream_hears_what_a_file_does_and_waits_no_longer_than_it_says() -> None:
    samples = np.concatenate(list(AudioFile(SPEECH).blocks_16k_mono()))
    whole = joined(voice_pieces([samples]))
    stream = VoiceStream(streaming_windows(0.24))
    pieces = []
    for start in range(0, len(samples), 160):
        pieces.append(stream.push(samples[start : start + 160]))
        known_s = sum(len(p.active) for p in pieces) / FRAME_RATE
        assert start / 16_000 < known_s + 0.24 + 0.16
    found = joined(pieces)
    same = slice(0, len(found.active))
    assert (found.active == whole.active[same]).mean() > 0.95
    for name in ("level", "middle"):
        a, b = getattr(found, name).astype(float), getattr(whole, name)[same].astype(float)
        assert np.corrcoef(a, b)[0, 1] > 0.95


def test_stream_hears_a_voice_after_a_long_silence() -> None:
    noise = np.random.default_rng(0).standard_normal(16_000).astype(np.float32)
    samples = np.concatenate([np.zeros(16_000 * 20, np.float32), 0.1 * noise])
    found = joined(voice_pieces([samples], streaming_windows(0.24)))
    assert not found.active[:1990].any()
    assert found.active[2010:2090].all()


def test_gate_opens_before_the_voice_and_closes_within_120_ms() -> None:
    active = np.zeros(200, bool)
    active[50:100] = True
    gate = gate_of(active)
    assert (gate[35:106] == 1.0).all()
    assert not gate[:31].any()
    assert not gate[111:].any()
    assert (np.diff(gate[30:36]) > 0).all()
    assert (np.diff(gate[105:111]) < 0).all()


def test_voice_keeps_the_last_minute_and_is_silent_outside() -> None:
    voice = Voice(full_voice(100) for _ in range(100))
    assert voice.between(-20, 30).active.sum() == 30
    assert voice.between(9_950, 10_050).active.sum() == 50
    assert voice.reach(20_000) == 10_000
    assert not voice.between(10_100, 10_200).active.any()
    assert voice.between(4_100, 4_200).active.all()
    assert voice._rows.shape[1] == 6_000


def test_phones_cover_the_sound_without_gaps() -> None:
    audio = AudioFile(SPEECH)
    phones = list(decode_phones(audio.blocks_16k_mono(), Voice([voice_track(audio)])))
    assert phones[0].start_s == 0.0
    assert phones[-1].end_s == pytest.approx(audio.duration_s, abs=1e-3)
    for before, after in pairwise(phones):
        assert before.end_s == pytest.approx(after.start_s)
        assert before.end_s > before.start_s
    assert {p.name for p in phones} <= set(VISEMES)
    assert len(phones) > 40


def test_silence_is_not_decoded(tmp_path: Path) -> None:
    audio = write_wav(tmp_path / "a.wav", np.zeros(16_000 * 30))
    phones = list(decode_phones(audio.blocks_16k_mono(), Voice([voice_track(audio)])))
    assert {p.name for p in phones} == {"SIL"}
    assert max(p.end_s - p.start_s for p in phones) <= 12.5


def test_one_long_phone_reaches_its_target() -> None:
    found = shapes_of([Phone("AA", 0.0, 2.0)], full_voice(200))
    middle = slice(50, 150)
    loudness = 1.0 - visemes.LOUDNESS_SHARE * 0.5
    np.testing.assert_allclose(found.opening[middle], loudness, atol=1e-3)
    np.testing.assert_allclose(found.width[middle], 0.0, atol=1e-6)
    assert not found.together.any()


def test_rounding_begins_before_the_round_phone() -> None:
    found = shapes_of([Phone("T", 0.0, 1.0), Phone("UW", 1.0, 2.0)], full_voice(200))
    assert found.width[93] < found.width[60] - 0.05
    assert found.width[150] == pytest.approx(-0.9, abs=0.01)


@pytest.mark.parametrize("fps", [12.0, 25.0, 60.0])
@pytest.mark.parametrize("start", [0.50, 0.513, 0.537])
def test_short_closure_is_seen_at_any_frame_rate(fps: float, start: float) -> None:
    phones = [Phone("AA", 0, start), Phone("B", start, start + 0.04), Phone("AA", start + 0.04, 2)]
    blocks = visemes._shape_blocks(iter(phones), Voice([full_voice(200)]), fps=fps)
    beta = np.stack(list(betas_at_frames(blocks, fps=fps)))
    gap = beta[:, ARKIT_INDEX["jawOpen"]] - beta[:, ARKIT_INDEX["mouthClose"]]
    near = slice(int(0.35 * fps), int(0.75 * fps) + 1)
    assert gap[near].min() < 1e-3
    assert gap[int(1.5 * fps)] > 0.2


def test_loud_open_vowel_overrules_a_wrong_closure() -> None:
    voice = full_voice(200)
    loud = VoiceTrack(voice.level, np.ones(200, np.float16), voice.active, voice.gate)
    phones = [Phone("AA", 0.0, 0.5), Phone("M", 0.5, 0.6), Phone("AA", 0.6, 2.0)]
    assert shapes_of(phones, voice).together.max() == pytest.approx(1.0, abs=1e-3)
    assert shapes_of(phones, loud).together.max() == 0.0


def test_frame_times_are_kept_for_any_rate() -> None:
    ramp = np.arange(730) / 1000.0
    zero = np.zeros(730)
    cuts = [ramp[i : i + 100] for i in range(0, 730, 100)]
    for fps in (10.0, 24.0, 25.0, 29.97, 60.0):
        blocks = (
            MouthShapes(cut, zero[: len(cut)], zero[: len(cut)], zero[: len(cut)]) for cut in cuts
        )
        jaw = np.stack(list(betas_at_frames(blocks, fps=fps)))[:, ARKIT_INDEX["jawOpen"]]
        times = np.arange(len(jaw)) / fps
        np.testing.assert_allclose(jaw, visemes.JAW_OPENING * times * 0.1, atol=1e-6)
        assert times[-1] > 7.29 - 1.0 / fps


def test_mouth_beta_of_closed_and_open() -> None:
    rows = [np.array(values, float) for values in ([0, 1, 1], [0, 0, 0], [0, 0, 1], [0, 0, 0])]
    beta = mouth_beta(MouthShapes(*rows))
    assert not beta[0].any()
    assert beta[1, ARKIT_INDEX["jawOpen"]] == pytest.approx(visemes.JAW_OPENING)
    # pressed lips: what the jaw still opens, mouthClose takes back
    assert beta[2, ARKIT_INDEX["jawOpen"]] == beta[2, ARKIT_INDEX["mouthClose"]]
    assert beta[2, ARKIT_INDEX["mouthRollLower"]] > 0.1
