"""Clips as training material: tracked mouth and heard voice, cached file by file.

A file of the cache is named by the clip's content, so an interrupted run goes on where it stopped
and a changed clip is looked at again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.errors import MggTalkError
from mggtalk_cli.motion.whisper import ENCODER_SHA256
from mggtalk_cli.training.clips import Clip
from mggtalk_cli.training.processes import in_processes
from mggtalk_cli.training.sound import COPIES, Voice, hear
from mggtalk_cli.training.tracking import MouthTrack, track_mouth

VERSION = 1  # of the cached files; raise it when their content changes


@dataclass(frozen=True)
class Recording:
    """A clip, looked at and listened to."""

    clip: Clip
    mouth: MouthTrack
    voice: Voice


@dataclass(frozen=True)
class Refused:
    """A clip that cannot be used, and why."""

    clip: Clip
    reason: str


def recordings(
    clips: list[Clip], cache: Path, *, jobs: int = 1, seed: int = 0
) -> Iterator[Recording | Refused]:
    """Yield every clip's recording in the order given, from the cache or freshly made.

    Args:
        clips: the clips.
        cache: folder of the cached files, created where it is missing.
        jobs: processes that work at once.
        seed: of the changed copies of the sound.
    """
    cache.mkdir(parents=True, exist_ok=True)
    record = partial(_record, cache=cache, seed=seed)
    yield from in_processes(record, clips, jobs)


def _record(clip: Clip, *, cache: Path, seed: int) -> Recording | Refused:
    try:
        content = hashlib.sha256(clip.path.read_bytes()).hexdigest()
        name = f"{clip.path.stem}-{content[:16]}"
        return Recording(
            clip,
            _mouth(clip.path, cache / f"{name}-mouth{VERSION}.npz"),
            _voice(
                clip.path, cache / f"{name}-voice{VERSION}-{ENCODER_SHA256[:8]}-{seed}.npz", seed
            ),
        )
    except (MggTalkError, OSError) as error:
        return Refused(clip, str(error))


def _mouth(path: Path, cached: Path) -> MouthTrack:
    if not cached.is_file():
        with atomic_path(cached) as part:
            np.savez(part, **track_mouth(path)._asdict())
    with np.load(cached) as stored:
        return MouthTrack(*(stored[name] for name in MouthTrack._fields))


def _voice(path: Path, cached: Path, seed: int) -> Voice:
    if not cached.is_file():
        name = int.from_bytes(hashlib.sha256(path.name.encode()).digest()[:4], "little")
        voice = hear(path, copies=COPIES, generator=np.random.default_rng([seed, name]))
        arrays = {f"features{index}": array for index, array in enumerate(voice.features)}
        with atomic_path(cached) as part:
            np.savez(part, allow_pickle=False, slow=voice.slow, active=voice.active, **arrays)
    with np.load(cached) as stored:
        slow = stored["slow"].tolist()
        features = [stored[f"features{index}"] for index in range(len(slow))]
        return Voice(features, slow, stored["active"])
