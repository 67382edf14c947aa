"""Parts of several motions in one: held where they end, resampled where their rates differ."""

from __future__ import annotations

import logging
from itertools import islice

import numpy as np
import pytest

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, FaceState
from mggtalk_cli.core.landmark_groups import EYES, FACE_OVAL, LIPS
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.merge import PARTS, SHAPES, held, landmark_share, merged_state, resampled


def filled(value: float) -> FaceState:
    return FaceState(
        beta=np.full(52, value, np.float32),
        rotation=matrix_from_angles(10 * value, 0, 0).astype(np.float32),
        translation=np.full(3, value, np.float32),
        gaze=np.full(2, value, np.float32),
        residual=np.full((468, 3), value, np.float32),
    )


def test_each_part_brings_its_own_and_nothing_else() -> None:
    merged = merged_state(filled(0), {part: filled(i) for i, part in enumerate(PARTS, start=1)})
    number = {part: i for i, part in enumerate(PARTS, start=1)}
    starts = {"mouth": "mouth", "jaw": "mouth", "eyeBlink": "blink", "eyeLook": "gaze"}
    for index, name in enumerate(ARKIT_NAMES):
        part = next((p for start, p in starts.items() if name.startswith(start)), None)
        if name in ("cheekPuff", "tongueOut"):
            part = "mouth"
        assert merged.beta[index] == (0 if part is None else number[part]), name
    assert (merged.gaze == number["gaze"]).all()
    assert (merged.translation == number["head"]).all()
    np.testing.assert_array_equal(merged.rotation, filled(number["head"]).rotation)
    np.testing.assert_allclose(merged.residual[list(LIPS)], number["mouth"], atol=1e-6)
    np.testing.assert_allclose(merged.residual[list(EYES)], number["blink"], atol=1e-6)
    assert (merged.residual[10] == 0).all()  # top of the forehead


def test_parts_share_no_coefficient_and_hardly_a_landmark() -> None:
    every = np.concatenate(list(SHAPES.values()))
    assert len(every) == len(set(every.tolist()))
    assert not (landmark_share("mouth") * landmark_share("blink")).any()
    assert landmark_share("mouth")[list(FACE_OVAL[:8])].max() == 0
    assert landmark_share("head").max() == 0


def test_merging_nothing_and_oneself_changes_nothing() -> None:
    one = filled(0.25)
    for others in ({}, dict.fromkeys(PARTS, one)):
        merged = merged_state(one, others)
        for name in ("beta", "rotation", "translation", "gaze", "residual"):
            assert (getattr(merged, name) == getattr(one, name)).all()


def test_shorter_ones_hold_still_and_say_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mggtalk"):
        states = list(islice(held(iter([filled(0), filled(1)]), "head", fps=4.0), 6))
    assert [s.gaze[0] for s in states] == [0, 1, 1, 1, 1, 1]
    (record,) = caplog.records
    assert "head ends at 0.5 s" in record.getMessage()
    with pytest.raises(InputError, match="no frames"):
        next(held(iter([]), "mouth", fps=4.0))


@pytest.mark.parametrize(("rate", "fps"), [(30.0, 25.0), (25.0, 30.0), (60.0, 25.0), (25.0, 25.0)])
def test_resampling_is_by_time(rate: float, fps: float) -> None:
    """A steady motion is the same function of time at any rate; a second stays a second."""
    second = [filled(i / rate) for i in range(round(rate))]
    found = list(resampled(iter(second), rate=rate, fps=fps))
    assert len(found) == round(fps)
    times = np.minimum(np.arange(len(found)) / fps, (rate - 1) / rate)  # the last one is held
    jaw = ARKIT_INDEX["jawOpen"]
    np.testing.assert_allclose([s.beta[jaw] for s in found], times, atol=1e-6)
    expected = np.stack([matrix_from_angles(10 * time, 0, 0) for time in times])
    np.testing.assert_allclose(np.stack([s.rotation for s in found]), expected, atol=1e-5)


def test_resampling_takes_what_it_needs_only() -> None:
    taken = 0

    def source():
        nonlocal taken
        while True:
            taken += 1
            yield filled(0)

    states = resampled(source(), rate=50.0, fps=25.0)
    for _ in range(10):
        next(states)
    assert taken <= 20


@pytest.mark.parametrize("count", [0, 1])
def test_resampling_very_short_motions(count: int) -> None:
    found = list(resampled(iter([filled(1)] * count), rate=10.0, fps=25.0))
    assert len(found) == round(count * 2.5 + 0.1)
