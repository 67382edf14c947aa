"""Nothing is computed before it is asked for: one frame in, one frame out."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mggtalk_cli import pipeline
from mggtalk_cli.artifacts import open_artifact
from mggtalk_cli.artifacts.memory import save
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState, neutral_state
from mggtalk_cli.driver import Drive, Moment

if TYPE_CHECKING:
    from mggtalk_cli.artifacts import Artifact

COUNT = 4
WAIT_S = 60.0
# CUDA draws several frames of a known number at once: see test_frames_together.
ON_CPU = pipeline.RenderOptions(device="cpu")


@dataclass
class Actor:
    """A driver that counts how often it was asked, and may stop until it is let go on."""

    pulled: int = 0
    may_go_on: threading.Event = field(default_factory=threading.Event)

    def moments(self) -> Iterator[Moment]:
        for index in range(COUNT):
            if index:
                assert self.may_go_on.wait(WAIT_S), "the first frame never left the pipe"
            self.pulled += 1
            yield Moment(talking(index), 1.0)

    def drive(self) -> Drive:
        return Drive("audio", 25.0, COUNT, neutral_state(), self.moments(), None, None)


def talking(index: int) -> FaceState:
    state = neutral_state()
    beta = state.beta.copy()
    beta[ARKIT_INDEX["jawOpen"]] = 0.2 * index
    return replace(state, beta=beta)


def test_nothing_is_pulled_before_the_first_frame_is_wanted(example_head: Artifact) -> None:
    actor = Actor()
    actor.may_go_on.set()
    video = pipeline.animate(example_head, actor.drive(), options=ON_CPU)
    assert actor.pulled == 0
    assert video.frame_count == COUNT
    assert video.audio_rate is None
    for expected in range(1, COUNT + 1):
        frame = next(video.frames)
        assert frame.audio is None
        assert actor.pulled == expected
    assert next(video.frames, None) is None


@pytest.mark.parametrize("stage", ["deform", "render", "inpaint"])
def test_each_stage_pulls_one_at_a_time(example_head: Artifact, stage: str) -> None:
    actor = Actor()
    actor.may_go_on.set()
    artifact = pipeline.deform(example_head, actor.drive())
    if stage != "deform":
        artifact = pipeline.render(artifact, ON_CPU)
    frames: Iterator = artifact.frames()
    if stage == "inpaint":
        frames = pipeline.inpaint(artifact).frames
    next(frames)
    assert actor.pulled == 1
    next(frames)
    assert actor.pulled == 2


def test_first_frame_leaves_two_pipes_before_the_second_is_driven(example_head: Artifact) -> None:
    """deform | render | inpaint over real pipes; the driver stalls until a frame is out."""
    actor = Actor()
    first_read, first_write = os.pipe()
    second_read, second_write = os.pipe()

    def deform() -> None:
        with os.fdopen(first_write, "wb") as stream:
            save(pipeline.deform(example_head, actor.drive()), stream)

    def render() -> None:
        with os.fdopen(first_read, "rb") as source, os.fdopen(second_write, "wb") as stream:
            save(pipeline.render(open_artifact(source, "points"), ON_CPU), stream)

    threads = [threading.Thread(target=work, daemon=True) for work in (deform, render)]
    for thread in threads:
        thread.start()
    with os.fdopen(second_read, "rb") as source:
        video = pipeline.inpaint(open_artifact(source, "frames"))
        first = next(video.frames)
        assert actor.pulled == 1
        assert first.image.shape == (256, 256, 3)
        actor.may_go_on.set()
        later = list(video.frames)
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()
    assert len(later) == COUNT - 1
    assert np.abs(later[-1].image.astype(int) - first.image).max() > 20


def test_frames_are_not_kept(example_head: Artifact) -> None:
    """A frame that has been handed out can be freed: nothing upstream holds on to it."""
    import weakref

    actor = Actor()
    actor.may_go_on.set()
    frames = pipeline.render(pipeline.deform(example_head, actor.drive()), ON_CPU).frames()
    held = []
    for frame in frames:
        held.append(weakref.ref(frame["rgba"]))
        del frame
    assert sum(ref() is not None for ref in held[:-1]) == 0
