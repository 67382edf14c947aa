"""What drives a head: speech, a video, a take or a motion artifact, all as a lazy `Drive`.

Sound travels beside the states, one chunk per frame, so that nothing has to hold a whole track.
"""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from mggtalk_cli import __version__, face, motion
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.artifacts.reading import Artifact, Frame
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.audio_stream import AudioStream
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import FaceState, neutral_state
from mggtalk_cli.core.pcm import frame_start
from mggtalk_cli.core.rotation import matrix_from_quaternion, quaternion_from_matrix
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError
from mggtalk_cli.tracking import FlowTracker

log = logging.getLogger("mggtalk")

BLOCK = 500  # moments

TRACKS = ("flow", "fast")
DEFAULT_TRACK = TRACKS[0]


class Sound(Protocol):
    """A sound track that can be cut into one chunk per frame."""

    pcm_rate: int
    pcm_channels: int

    def pcm_chunks(self, fps: float) -> Iterator[np.ndarray]:
        """Yield int16 (samples, channels), chunk i being the sound of frame i."""
        ...


class Moment(NamedTuple):
    """One frame of a driver: its state and how far the tracker trusts it (0..1)."""

    state: FaceState
    confidence: float


class Lens(NamedTuple):
    """How a driving clip was filmed: focal length and frame size in px."""

    focal_px: float
    width: int
    height: int


@dataclass(frozen=True)
class Drive:
    """A driver, frame by frame; `moments` and `sound` can be read once.

    Attributes:
        kind: how it was measured: "audio", "video" or "csv" (a phone's take).
        fps: frames per second.
        frame_count: how many moments come, None while unknown.
        reference: the driver's moment that corresponds to the source photo.
        moments: the frames.
        sound: the sound track, None without one.
        lens: how a clip was filmed; None for speech and takes.
        parts: kind of the "mouth", "head", "blink" or "gaze" that came from another driver.
        landmarks: (468, 3) cm, head frame, of the face that was measured; None for nobody's.
    """

    kind: str
    fps: float
    frame_count: int | None
    reference: FaceState
    moments: Iterator[Moment]
    sound: Sound | None
    lens: Lens | None
    parts: Mapping[str, str] = field(default_factory=dict)
    landmarks: np.ndarray | None = None

    def with_sound(self) -> Iterator[tuple[Moment, np.ndarray | None]]:
        """Yield every moment with the sound of its frame (zeros past the track's end)."""
        if self.sound is None:
            yield from ((moment, None) for moment in self.moments)
            return
        chunks = self.sound.pcm_chunks(self.fps)
        for index, moment in enumerate(self.moments):
            chunk = next(chunks, None)
            if chunk is None:
                start, end = (
                    frame_start(i, rate=self.sound.pcm_rate, fps=self.fps)
                    for i in (index, index + 1)
                )
                chunk = np.zeros((end - start, self.sound.pcm_channels), np.int16)
            yield moment, chunk


def drive_audio(
    source: str | AudioFile | AudioStream,
    *,
    fps: float = 25.0,
    style: motion.SpeechStyle | None = None,
) -> Drive:
    """Return speech, or the speech in a file, as a driver: mouth, blinks, small head motion."""
    sound = AudioFile(source) if isinstance(source, str) else source
    speech = motion.speech_motion(sound, fps=fps, style=style)
    moments = (Moment(state, 1.0) for state in speech.states)
    return Drive("audio", fps, speech.frame_count, neutral_state(), moments, sound, None)


def drive_video(path: str, *, fps: float = 25.0, track: str = DEFAULT_TRACK) -> Drive:
    """Return a clip as a driver: tracked pose, expression and gaze.

    The clip is looked through first, so that a grimace in its first frame is no trait of the face.

    Args:
        path: the clip.
        fps: frames per second.
        track: "flow" corrects the landmarks' pose and shape by optical flow, "fast" does not.
    """
    reader = VideoReader(path, fps=fps)
    tracker = face.FaceTracker(reader.size, fps=fps, known=_person_in(reader, fps=fps))
    trust: deque[float] = deque()
    states = motion.fill_gaps(_track(tracker, reader, trust, flow=track == "flow"))
    first = Moment(next(states), trust.popleft())
    sound = AudioFile(path) if reader.has_audio else None
    assert tracker.focal_px is not None
    lens = Lens(float(tracker.focal_px), *reader.size)
    rest = (Moment(state, trust.popleft()) for state in states)
    moments = itertools.chain([first], rest)
    landmarks = tracker.landmarks
    return Drive("video", fps, None, first.state, moments, sound, lens, landmarks=landmarks)


def drive_take(path: str, *, fps: float = 25.0) -> Drive:
    """Return a phone's take (a Live Link Face CSV) as a driver: measured about a neutral face."""
    take = motion.read_take(path)
    count = motion.take_length(take, fps)
    states = motion.take_states(take, fps)
    first = next(states)
    reference = replace(first, beta=neutral_state().beta)
    moments = (Moment(state, 1.0) for state in itertools.chain([first], states))
    return Drive("csv", fps, count, reference, moments, None, None)


# Who a clip shows is learnt from so many frames, spread over so many seconds at most, and over no
# more pixels than are decoded in about half a second.
LOOKS, LOOK_S, LOOK_PX = 10, 12.0, 2.5e8
_SURE = 0.2  # confidence below which a look does not count
# Looks that one person's face does not explain this well (root mean square, in distances between
# the pupils) are of two people, or too blurred: then the first frame says who it is. Usual: .015.
_AGREE = 0.025
_PUPILS = (468, 473)  # landmarks


def _person_in(reader: VideoReader, *, fps: float) -> face.PersonFit | None:
    """Return who the beginning of a clip shows; None if it shows one moment of a face, or none.

    None also where its views do not agree on a face.
    """
    width, height = reader.size
    length_s = LOOK_PX / (width * height * (reader.source_fps or fps))
    length_s = max(min(reader.duration_s or LOOK_S, LOOK_S, length_s), LOOKS / fps)
    looks = VideoReader(reader.path, fps=LOOKS / length_s)
    tracker = face.FaceTracker(looks.size, fps=looks.fps)
    last: face.TrackedFace | None = None
    views: list[np.ndarray] = []
    for frame in itertools.islice(looks, LOOKS):
        seen = tracker.update(frame)
        if seen is not None and seen is not last and seen.confidence > _SURE:
            views.append(seen.points)
            last = seen
    if len(views) < 2:
        return None
    person = face.fit_faces(views, image_size=looks.size)
    right, left = (np.stack(views)[:, pupil, :2] for pupil in _PUPILS)
    apart = float(np.median(np.linalg.norm(right - left, axis=1)))
    return person if person.rms_px < _AGREE * apart else None


def _track(
    tracker: face.FaceTracker, frames: Iterable[np.ndarray], trust: deque[float], *, flow: bool
) -> Iterator[FaceState | None]:
    """Yield a state per frame, None without a face, and append the trust in it."""
    correct: FlowTracker | None = None
    last: face.TrackedFace | None = None
    state, agreement = neutral_state(), 1.0
    for frame in frames:
        seen = tracker.update(frame)
        if seen is None:
            trust.append(0.0)
            yield None
            continue
        if seen is not last:  # the same again is a face that does not move
            state, agreement, last = seen.state, 1.0, seen
            if correct is not None:
                state, agreement = correct.update(frame, seen.state)
            elif flow:
                correct, flow = _flow_tracker(frame, seen), False
        trust.append(seen.confidence * (1 + agreement) / 2)
        yield state


def _flow_tracker(frame: np.ndarray, seen: face.TrackedFace) -> FlowTracker | None:
    """Return the corrector of a clip, None where its first face gives no head."""
    try:
        return FlowTracker(frame, seen.state, seen.points)
    except InputError as error:
        log.warning("the clip is tracked by landmarks only: %s", error)
        return None


def through_lens(state: FaceState, lens: Lens, camera: Camera) -> FaceState:
    """Return the state moved in depth so that it covers the same share of the source's frame."""
    zoom = (camera.focal_px / camera.width) / (lens.focal_px / lens.width)
    return replace(state, translation=state.translation * np.array([1, 1, zoom], np.float32))


# ---------------------------------------------------------------- as an artifact


def motion_artifact(driver: Drive) -> Artifact:
    """Return the motion artifact of a driver; reads all moments, streams the sound."""
    video, moments = "video" in (driver.kind, *driver.parts.values()), iter(driver.moments)
    parts = []
    while block := list(itertools.islice(moments, BLOCK)):  # states are large, what is kept is not
        parts.append(_columns(block, residual=video))
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    reference = {
        "reference_beta": driver.reference.beta,
        "reference_rotation": quaternion_from_matrix(driver.reference.rotation),
        "reference_translation": driver.reference.translation,
        "reference_gaze": driver.reference.gaze,
    }
    if driver.landmarks is not None:
        reference["reference_landmarks"] = driver.landmarks
    arrays |= {name: np.asarray(array, np.float32) for name, array in reference.items()}
    sound = driver.sound
    meta = {
        "fps": driver.fps,
        "source": driver.kind,
        "parts": dict(driver.parts),
        "audio": audio_meta(driver),
        "camera": None if driver.lens is None else driver.lens._asdict(),
        "created_by": f"mggtalk {__version__}",
    }
    blocks = [] if sound is None else ({"audio": block} for block in sound.pcm_chunks(1.0))
    return in_memory("motion", meta, arrays, blocks)


def _columns(moments: list[Moment], *, residual: bool) -> dict[str, np.ndarray]:
    """Return the arrays of a motion artifact for some moments."""
    states = [moment.state for moment in moments]
    arrays = {
        "beta": np.stack([state.beta for state in states]),
        "rotation": quaternion_from_matrix(np.stack([s.rotation for s in states])),
        "translation": np.stack([state.translation for state in states]),
        "gaze": np.stack([state.gaze for state in states]),
        "confidence": np.array([moment.confidence for moment in moments]),
    }
    arrays = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    if residual:
        arrays["residual"] = np.stack([state.residual for state in states]).astype(np.float16)
    return arrays


def audio_meta(driver: Drive) -> dict[str, int] | None:
    """Return rate and channels of the driver's sound for an artifact's meta data."""
    if driver.sound is None:
        return None
    return {"rate": driver.sound.pcm_rate, "channels": driver.sound.pcm_channels}


def drive_motion(artifact: Artifact) -> Drive:
    """Return the driver stored in a motion artifact."""
    arrays, meta = artifact.arrays, artifact.meta
    rotation = matrix_from_quaternion(arrays["rotation"]).astype(np.float32)
    residual = arrays.get("residual")

    def moments() -> Iterator[Moment]:
        for i, beta in enumerate(arrays["beta"]):
            extra: dict[str, Any] = {}
            if residual is not None:
                extra["residual"] = residual[i].astype(np.float32)
            state = FaceState(
                beta, rotation[i], arrays["translation"][i], arrays["gaze"][i], **extra
            )
            yield Moment(state, float(arrays["confidence"][i]))

    reference = FaceState(
        arrays["reference_beta"],
        matrix_from_quaternion(arrays["reference_rotation"]).astype(np.float32),
        arrays["reference_translation"],
        arrays["reference_gaze"],
    )
    audio, lens = meta.get("audio"), meta.get("camera")
    sound = None
    if audio is not None:
        sound = StoredSound(artifact.frames(), audio["rate"], audio["channels"])
    return Drive(
        kind=meta["source"],
        fps=float(meta["fps"]),
        frame_count=len(arrays["beta"]),
        reference=reference,
        moments=moments(),
        sound=sound,
        lens=None if lens is None else Lens(**lens),
        parts=meta.get("parts", {}),
        landmarks=arrays.get("reference_landmarks"),
    )


class StoredSound:
    """Sound blocks of a motion artifact, cut anew into one chunk per frame."""

    def __init__(self, blocks: Iterator[Frame], pcm_rate: int, pcm_channels: int) -> None:
        self._blocks, self.pcm_rate, self.pcm_channels = blocks, pcm_rate, pcm_channels

    def pcm_chunks(self, fps: float) -> Iterator[np.ndarray]:
        """Yield int16 (samples, channels), chunk i being the sound of frame i."""
        held = np.zeros((0, self.pcm_channels), np.int16)
        index, position = 0, 0
        ended = False
        while True:
            end = frame_start(index + 1, rate=self.pcm_rate, fps=fps)
            while not ended and position + len(held) < end:
                block = next(self._blocks, None)
                ended = block is None
                if block is not None:
                    held = np.concatenate([held, block["audio"]])
            if ended and not len(held):
                return
            size = end - position
            chunk, held = held[:size], held[size:]
            yield np.pad(chunk, ((0, size - len(chunk)), (0, 0)))
            index, position = index + 1, end
