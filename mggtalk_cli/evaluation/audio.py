"""Speech, measured three ways: against speakers, in sounds alone, and in finished films.

A speaker's clips are one item: the mouth that every variant of speech motion predicts against the
one that was tracked. A sound alone is an item too: there, chatter in pauses and a stuck mouth are
looked for. With portraits, every photo saying every sound is an item; with `own_face`, frame 0 of
every clip saying its own sound (the paper's Table 7), its head free to move or fixed, with the
pixels of the mouth against the truth and frame 0 repeated beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mggtalk_cli import motion, pipeline
from mggtalk_cli.core.audio import ANALYSIS_RATE, AudioFile
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import speech, speech_video
from mggtalk_cli.evaluation.audio_metrics import (
    MEDIANS,
    film_metrics,
    lip_sync_metrics,
    mouth_metrics,
    sound_metrics,
    speaker_metrics,
)
from mggtalk_cli.evaluation.audio_sources import (
    AudioOptions,
    Film,
    Sound,
    Speaker,
    has_picture,
)
from mggtalk_cli.evaluation.mouth_crops import MouthCutter
from mggtalk_cli.evaluation.report import Metric
from mggtalk_cli.evaluation.runs import Measured, Protocol, Source
from mggtalk_cli.evaluation.speech_strips import sentence

if TYPE_CHECKING:
    from mggtalk_cli.evaluation.networks import Networks

TRUTH, REPEAT = "truth", "repeat"

SYNC_FRAMES = 750  # lip sync is measured over so many first frames, which have to be held


def audio_protocol(
    options: AudioOptions, sources: Sequence[Source], networks: Networks
) -> Protocol:
    """Return the protocol for sources of `audio_sources`."""
    kinds = {type(source.detail) for source in sources}
    metrics: dict[str, Metric] = {}
    if Speaker in kinds:
        metrics |= speaker_metrics()
    if Sound in kinds:
        metrics |= sound_metrics()
    left_out: dict[str, str] = {}
    if Film in kinds:
        metrics |= film_metrics()
        sync = lip_sync_metrics()
        if networks.sync is None:
            reason = networks.left_out.get("lse_d", "needs --weights syncnet=FILE")
            left_out = dict.fromkeys(sync, reason)
        else:
            metrics |= sync
    others = speech.variants()[1:]
    if options.own_face:
        metrics |= mouth_metrics()
        others += [REPEAT] if networks.sync is None else [REPEAT, TRUTH]
    return Protocol(
        name="audio",
        settings=_settings(options, sources, networks),
        main=next(iter(metrics), "r"),
        ours=motion.DEFAULT_VARIANT,
        others=tuple(others),
        metrics=metrics or speaker_metrics(),
        measure=Measurement(options, networks),
        left_out=left_out,
        overall=medians if Speaker in kinds else None,
    )


def _settings(
    options: AudioOptions, sources: Sequence[Source], networks: Networks
) -> dict[str, Any]:
    named = {path.stem for source in sources for path in source.files}
    return {
        "seconds": options.seconds,
        "fps": speech.FPS,
        "offsets": {name: late for name, late in sorted(options.offsets.items()) if name in named},
        "own_face": options.own_face,
        "portraits": [path.stem for path in options.portraits],
        "pose": options.pose,
        "size": options.size,
        "variants": pipeline.choose_variants().settings,
        **networks.settings,
    }


def medians(pooled: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Return the medians over the speakers, by variant, of their numbers (speakers, `MEDIANS`)."""
    found = {}
    for variant, numbers in pooled.items():
        columns = (column[np.isfinite(column)] for column in numbers.T)
        middle = [float(np.median(column)) if len(column) else np.nan for column in columns]
        found[variant] = {f"median_{name}": m for name, m in zip(MEDIANS, middle, strict=True)}
    return found


class Measurement:
    """Measures the sources of one run; keeps what several of them need."""

    def __init__(self, options: AudioOptions, networks: Networks) -> None:
        self._options, self._networks = options, networks
        self._clips: dict[Path, speech.ClipMouth] = {}
        self._head: tuple[Path, pipeline.Artifact] | None = None

    def __call__(self, source: Source) -> Measured:
        """Return the numbers of a source.

        Raises:
            InputError: unreadable, no sound, or no face.
        """
        detail = source.detail
        if isinstance(detail, Speaker):
            return self._speaker(detail)
        if isinstance(detail, Sound):
            return self._sound(detail)
        if isinstance(detail, Film):
            return self._film(detail) if detail.photo is not None else self._own_film(detail)
        raise InputError(detail.reason)

    def _clip(self, path: Path) -> speech.ClipMouth:
        if path not in self._clips:
            late = self._options.offsets.get(path.stem, 0.0)
            seconds = self._options.seconds
            self._clips[path] = speech.clip_mouth(path, offset=late, seconds=seconds)
        return self._clips[path]

    def _speaker(self, speaker: Speaker) -> Measured:
        clips = [self._clip(path) for path in speaker.clips]
        values = {
            result.variant: _numbers(result, "speaker", "variant")
            for result in speech.speaker_results(clips)
        }
        opening = {
            variant: np.concatenate([clip.predicted[variant].opening for clip in clips]).tolist()
            for variant in values
        }
        opening[TRUTH] = np.concatenate([clip.tracked.opening for clip in clips]).tolist()
        rows = {
            variant: np.float32([[table[name] for name in MEDIANS]])
            for variant, table in values.items()
        }
        return Measured(values, {"opening": opening}, features=rows)

    def _sound(self, sound: Sound) -> Measured:
        results = speech.sound_results(sound.path, seconds=self._options.seconds)
        values = {
            result.variant: {
                f"sound_{name}": number
                for name, number in _numbers(result, "sound", "variant").items()
            }
            for result in results
        }
        return Measured(values)

    def _film(self, film: Film) -> Measured:
        assert film.photo is not None
        if self._head is None or self._head[0] != film.photo:
            build = pipeline.BuildOptions(size=self._options.size)
            self._head = film.photo, pipeline.build_head(read_photo(film.photo), build)
        talk = self._talk(film.sound, has_picture(film.sound))
        video = self._spoken(self._head[1], talk)
        values = film_numbers(video, talk) | self._lip_sync(video.pictures, film.sound)
        sheet = speech_video.strip_sheet(film.photo.stem, video, talk)
        return Measured({motion.DEFAULT_VARIANT: values}, _openings(video, talk.clip), sheet)

    def _own_film(self, film: Film) -> Measured:
        talk = self._talk(film.sound, True)
        assert talk.clip is not None
        true = speech_video.true_mouths(talk.clip, max_side=self._options.size)
        build = pipeline.BuildOptions(size=max(true.photo.shape[:2]), crop="none")
        video = self._spoken(pipeline.build_head(true.photo, build), talk, true.cutter)
        values = {
            motion.DEFAULT_VARIANT: {
                **film_numbers(video, talk),
                **speech_video.own_mouth_scores(video, true, talk.clip.offset),
                **self._lip_sync(video.pictures, film.sound),
            },
            REPEAT: speech_video.repeated_mouth_scores(true),
        }
        if self._networks.sync is not None:
            frames = islice(VideoReader(film.sound, fps=speech.FPS), len(video.seen.opening))
            values[TRUTH] = self._lip_sync(dict(enumerate(frames)), film.sound)
        sheet = speech_video.strip_sheet("frame 0", video, talk)
        return Measured(values, _openings(video, talk.clip), sheet)

    def _talk(self, sound: Path, picture: bool) -> speech_video.Talk:
        """Return what is said, with the stretch for strips where they are wanted and possible."""
        shown = None
        if self._options.sheets and find_spec("pocketsphinx") is not None:
            shown = sentence(sound, seconds=self._options.seconds)
        return speech_video.Talk(sound, self._clip(sound) if picture else None, shown)

    def _spoken(
        self,
        head: pipeline.Artifact,
        talk: speech_video.Talk,
        cutter: MouthCutter | None = None,
    ) -> speech_video.SpokenVideo:
        keep = set() if talk.shown is None else set(talk.shown.frames)
        if self._networks.sync is not None:
            keep |= set(range(SYNC_FRAMES))
        pose, seconds = self._options.pose, self._options.seconds
        return speech_video.spoken_video(
            head, talk.path, seconds=seconds, pose=pose, keep=keep, cutter=cutter
        )

    def _lip_sync(self, pictures: Mapping[int, np.ndarray], sound: Path) -> dict[str, float]:
        """Return LSE of frames by index with a sound; nothing without the network."""
        if self._networks.sync is None:
            return {}
        frames = [pictures[index] for index in range(SYNC_FRAMES) if index in pictures]
        wanted = round(len(frames) / speech.FPS * ANALYSIS_RATE)
        samples = np.zeros(0, np.float32)
        for block in AudioFile(sound).blocks_16k_mono():
            samples = np.concatenate([samples, block])
            if len(samples) >= wanted:
                break
        score = self._networks.sync(frames, samples[:wanted])
        return {"lse_d": score.lse_d, "lse_c": score.lse_c, "sync_offset": float(score.offset)}


def film_numbers(video: speech_video.SpokenVideo, talk: speech_video.Talk) -> dict[str, float]:
    """Return the numbers of `video_result` by their names in reports."""
    result = speech_video.video_result("", video, talk)
    return {f"film_{name}": value for name, value in _numbers(result, "portrait", "clip").items()}


def _numbers(result: Any, *without: str) -> dict[str, float]:
    """Return the fields of a result as numbers, but for some."""
    return {name: float(v) for name, v in asdict(result).items() if name not in without}


def _openings(
    video: speech_video.SpokenVideo, clip: speech.ClipMouth | None
) -> dict[str, dict[str, list[float]]]:
    """Return the mouth asked for, the one in the pixels, and the speaker's, over the film."""
    opening = {
        motion.DEFAULT_VARIANT: video.seen.opening.tolist(),
        "asked": video.asked.opening.tolist(),
    }
    if clip is not None:
        heard = np.arange(len(video.seen.opening)) - clip.offset
        opening[TRUTH] = speech.at_frames(clip.tracked, heard).opening.tolist()
    return {"opening": opening}
