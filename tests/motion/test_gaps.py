"""Lost faces: hold, blend back, count."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.rotation import angles_from_matrix, matrix_from_angles
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion import fill_gaps
from mggtalk_cli.motion.gaps import BLEND_FRAMES, blend_states


def state(value: float, yaw_deg: float = 0.0) -> FaceState:
    return FaceState(
        beta=np.full(52, value, np.float32),
        rotation=matrix_from_angles(yaw_deg, 0, 0).astype(np.float32),
        translation=np.full(3, value, np.float32),
        gaze=np.full(2, value, np.float32),
        residual=np.full((468, 3), value, np.float32),
    )


def values(states: list[FaceState]) -> list[float]:
    return [round(float(s.beta[0]), 4) for s in states]


def test_no_gap_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    states = [state(i / 10) for i in range(5)]
    with caplog.at_level(logging.WARNING, logger="mggtalk"):
        assert list(fill_gaps(iter(states))) == states
    assert not caplog.records


def test_gap_is_held_and_blended_back(caplog: pytest.LogCaptureFixture) -> None:
    states = [state(0.0), None, None, *[state(0.6, 30.0)] * 8, None]
    with caplog.at_level(logging.WARNING, logger="mggtalk"):
        filled = list(fill_gaps(iter(states)))
    wanted = [0.0, 0.0, 0.0, *np.arange(1, BLEND_FRAMES + 1) / 10, 0.6, 0.6, 0.6]
    np.testing.assert_allclose(values(filled), wanted, atol=1e-4)
    yaw = [angles_from_matrix(s.rotation)[0] for s in filled]
    np.testing.assert_allclose(yaw, np.array(wanted) * 50, atol=1e-2)
    np.testing.assert_allclose([s.residual[7, 1] for s in filled], wanted, atol=1e-4)
    assert "no face in 3 of 12 frames" in caplog.text


def test_leading_gap_repeats_the_first_face(caplog: pytest.LogCaptureFixture) -> None:
    states = [None, None, state(0.3), state(0.4)]
    with caplog.at_level(logging.WARNING, logger="mggtalk"):
        assert values(list(fill_gaps(iter(states)))) == [0.3, 0.3, 0.3, 0.4]


def test_streams() -> None:
    def forever():  # type: ignore[no-untyped-def]
        while True:
            yield state(0.1)

    assert values([next(fill_gaps(forever()))]) == [0.1]


def test_no_face_at_all() -> None:
    with pytest.raises(InputError, match="no face in any of 4 frames"):
        list(fill_gaps(iter([None] * 4)))


def test_blend_of_rotations_is_geodesic() -> None:
    middle = blend_states(state(0.0, -20.0), state(1.0, 40.0), 0.25)
    assert angles_from_matrix(middle.rotation)[0] == pytest.approx(-5.0, abs=1e-4)
    assert middle.beta[0] == pytest.approx(0.25)
