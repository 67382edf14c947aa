"""Each control does what it says to a motion, and the defaults do nothing at all."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, NECK_CM, FaceState, neutral_state
from mggtalk_cli.core.landmark_groups import EYES, LIPS
from mggtalk_cli.core.rotation import angles_from_matrix, matrix_from_angles
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.controls import (
    ALIASES,
    EYES_CM,
    MAX_GAZE_DEG,
    Controls,
    driven,
    expression_weights,
    gaze_at_camera,
    posed,
    turned_head,
)
from mggtalk_cli.motion.curve import Curve, read_curve

FPS = 25.0
JAW, BROW = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["browInnerUp"]
LIDS = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]


def state(seed: int) -> FaceState:
    random = np.random.default_rng(seed)
    beta = random.uniform(0, 0.5, 52).astype(np.float32)
    return FaceState(
        beta=beta,
        rotation=matrix_from_angles(*random.uniform(-15, 15, 3)).astype(np.float32),
        translation=random.uniform(-3, 3, 3).astype(np.float32) + np.float32([0, 0, -80]),
        gaze=random.uniform(-8, 8, 2).astype(np.float32),
        residual=random.normal(0, 0.02, (468, 3)).astype(np.float32),
    )


REFERENCE, DRIVER = state(1), state(2)


def drive(*states: FaceState, **asked: object) -> list[FaceState]:
    controls = Controls(**asked)  # type: ignore[arg-type]
    return list(driven(iter(states), controls, reference=REFERENCE, fps=FPS))


def pose(target: FaceState, *, source: FaceState = REFERENCE, **asked: object) -> FaceState:
    controls = Controls(**asked)  # type: ignore[arg-type]
    return posed(target, controls, source=source, index=0, fps=FPS)


def test_defaults_pass_states_on_untouched() -> None:
    assert drive(DRIVER, REFERENCE) == [DRIVER, REFERENCE]
    assert pose(DRIVER) is DRIVER


# ---------------------------------------------------------------- scales


def test_expression_scale_leaves_blinks_gaze_and_head() -> None:
    (half,) = drive(DRIVER, expression_scale=0.5)
    expected = REFERENCE.beta + 0.5 * (DRIVER.beta - REFERENCE.beta)
    for index, name in enumerate(ARKIT_NAMES):
        kept = name.startswith(("eyeBlink", "eyeLook"))
        assert half.beta[index] == pytest.approx(DRIVER.beta[index] if kept else expected[index])
    for name in ("rotation", "translation", "gaze"):
        assert (getattr(half, name) == getattr(DRIVER, name)).all()
    np.testing.assert_allclose(half.residual[list(EYES)], DRIVER.residual[list(EYES)], atol=1e-7)
    middle = (REFERENCE.residual + DRIVER.residual) / 2
    np.testing.assert_allclose(half.residual[list(LIPS)], middle[list(LIPS)], atol=1e-7)


def test_mouth_scale_multiplies_the_mouth_only() -> None:
    (still,) = drive(DRIVER, mouth_scale=0.0)
    assert still.beta[JAW] == REFERENCE.beta[JAW]
    assert still.beta[BROW] == DRIVER.beta[BROW]
    (both,) = drive(DRIVER, mouth_scale=0.5, expression_scale=0.5)
    change = DRIVER.beta - REFERENCE.beta
    assert both.beta[JAW] == pytest.approx(REFERENCE.beta[JAW] + 0.25 * change[JAW])
    assert both.beta[BROW] == pytest.approx(REFERENCE.beta[BROW] + 0.5 * change[BROW])


def test_scaled_shapes_stay_in_their_range() -> None:
    wide = replace(DRIVER, beta=np.full(52, 0.9, np.float32))
    (found,) = drive(wide, expression_scale=3.0, mouth_scale=3.0)
    assert found.beta.max() == 1
    low = replace(DRIVER, beta=np.zeros(52, np.float32))
    (found,) = drive(low, expression_scale=3.0)
    assert found.beta.min() == 0


def test_head_scale_takes_a_share_of_the_turn_and_keeps_what_the_eyes_see() -> None:
    turned = replace(
        REFERENCE,
        rotation=(matrix_from_angles(20, 0, 0) @ REFERENCE.rotation).astype(np.float32),
        translation=REFERENCE.translation + np.float32([2, 0, 0]),
        gaze=np.float32([-20, 0]),  # on the camera still
    )
    (half,) = drive(turned, head_scale=0.5)
    change = half.rotation @ REFERENCE.rotation.T
    np.testing.assert_allclose(angles_from_matrix(change), [10, 0, 0], atol=1e-3)
    np.testing.assert_allclose(half.translation - REFERENCE.translation, [1, 0, 0], atol=1e-5)
    np.testing.assert_allclose(half.gaze, [-10, 0], atol=1e-3)
    (still,) = drive(turned, head_scale=0.0)
    assert (still.rotation == REFERENCE.rotation).all()
    assert (still.translation == REFERENCE.translation).all()
    np.testing.assert_allclose(still.gaze, [0, 0], atol=1e-3)
    assert (still.beta == turned.beta).all()


# ---------------------------------------------------------------- blinks


def openings(states: list[FaceState]) -> np.ndarray:
    lids = np.stack([s.beta[LIDS] for s in states])
    return (1 - lids) / (1 - REFERENCE.beta[LIDS])


def test_blinks_off_hold_the_references_lids() -> None:
    found = drive(DRIVER, state(3), blinks_per_min=0.0)
    np.testing.assert_allclose(openings(found), 1, atol=1e-6)
    marks = list(EYES)
    np.testing.assert_allclose(found[0].residual[marks], REFERENCE.residual[marks], atol=1e-7)
    assert found[0].beta[JAW] == DRIVER.beta[JAW]


@pytest.mark.parametrize("rate", [6.0, 30.0])
def test_blink_rate_is_about_what_was_asked(rate: float) -> None:
    minutes = 5
    found = openings(drive(*[DRIVER] * int(60 * FPS * minutes), blinks_per_min=rate))
    assert (found[:, 0] == found[:, 1]).all() or np.abs(found[:, 0] - found[:, 1]).max() < 1e-6
    shut = found[:, 0] < 0.3
    blinks = int((shut[1:] & ~shut[:-1]).sum()) / minutes
    assert rate * 0.7 < blinks < rate * 1.3
    again = openings(drive(*[DRIVER] * 100, blinks_per_min=rate))
    assert (again == found[:100]).all()
    other = openings(drive(*[DRIVER] * 1000, blinks_per_min=rate, seed=1))
    assert (other != found[:1000]).any()


# ---------------------------------------------------------------- expression


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("jawOpen=.1", {"jawOpen": 0.1}),
        ("JAWOPEN=-1", {"jawOpen": -1.0}),
        ("smile=.4, jawOpen=1", {"mouthSmileLeft": 0.4, "mouthSmileRight": 0.4, "jawOpen": 1.0}),
        ("browOuterUp=.2", {"browOuterUpLeft": 0.2, "browOuterUpRight": 0.2}),
        ("mouthLeft=.3", {"mouthLeft": 0.3}),
        ("blink=1,eyeBlinkLeft=0", {"eyeBlinkRight": 1.0, "eyeBlinkLeft": 0.0}),
    ],
)
def test_names_of_expressions(text: str, weights: dict[str, float]) -> None:
    assert expression_weights(text) == weights


def test_every_name_and_alias_is_known() -> None:
    for name in (*ARKIT_NAMES, *ALIASES):
        assert set(expression_weights(f"{name}=.5")) <= set(ARKIT_NAMES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("smlie=.4", "'smlie'; did you mean smile?"),
        ("jawopn=.4", "did you mean jawOpen?"),
        ("xyzzy=.4", "such as smile"),
        ("smile", "'smile' is not NAME=WEIGHT"),
        ("smile=much", "is not NAME=WEIGHT"),
        ("smile=nan", "is not NAME=WEIGHT"),
        ("smile=1.5", "weight in -1..1"),
        ("mouth=.5", "no expression is called 'mouth'"),
        ("", "is not NAME=WEIGHT"),
    ],
)
def test_bad_expressions_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")):
        expression_weights(text)


def test_expression_is_added_up_to_one_and_lids_by_their_opening() -> None:
    found = pose(DRIVER, expression=expression_weights("jawOpen=.2,browInnerUp=1,blink=.5"))
    assert found.beta[JAW] == pytest.approx(DRIVER.beta[JAW] + 0.2)
    assert found.beta[BROW] == 1
    np.testing.assert_allclose(1 - found.beta[LIDS], 0.5 * (1 - DRIVER.beta[LIDS]), atol=1e-6)
    changed = np.flatnonzero(found.beta != DRIVER.beta)
    assert set(changed) == {JAW, BROW, *LIDS}


# ---------------------------------------------------------------- head and gaze


def test_head_offsets_turn_about_the_neck_as_the_camera_sees_it() -> None:
    found = pose(DRIVER, yaw_deg=Curve((20.0,)), pitch_deg=Curve((-5.0,)), roll_deg=Curve((3.0,)))
    change = found.rotation @ DRIVER.rotation.T
    np.testing.assert_allclose(angles_from_matrix(change), [20, -5, 3], atol=1e-3)
    necks = [s.rotation @ NECK_CM + s.translation for s in (DRIVER, found)]
    np.testing.assert_allclose(*necks, atol=1e-4)
    assert found.translation[0] > DRIVER.translation[0]  # the face moves to image right
    assert (found.gaze == DRIVER.gaze).all()


def looks_at(target: FaceState) -> np.ndarray:
    """Return where the eyes' axis passes the camera plane, cm; 0 is the camera."""
    across, up = np.deg2rad(target.gaze.astype(np.float64))
    axis = np.array([np.sin(across) * np.cos(up), np.sin(up), np.cos(across) * np.cos(up)])
    start = target.rotation @ EYES_CM + target.translation
    axis = target.rotation @ axis
    return (start + axis * (-start[2] / axis[2]))[:2]


def test_gaze_at_the_camera_meets_it() -> None:
    away = replace(REFERENCE, gaze=gaze_at_camera(REFERENCE).astype(np.float32) + 12)
    for seed in range(5):
        target = state(seed)
        np.testing.assert_allclose(
            looks_at(pose(target, source=away, gaze_deg=(0.0, 0.0))), 0, atol=1e-3
        )
    right = pose(DRIVER, source=away, gaze_deg=(10.0, 0.0))
    np.testing.assert_allclose(right.gaze - gaze_at_camera(DRIVER), [10, 0], atol=1e-4)


def test_a_photo_that_looks_at_the_camera_keeps_its_own_measure() -> None:
    """Its eyes then do not move at all at rest: what was measured is the error of measuring."""
    contact = replace(
        REFERENCE, gaze=(gaze_at_camera(REFERENCE) + np.array([2, -1])).astype(np.float32)
    )
    still = pose(contact, source=contact, gaze_deg=(0.0, 0.0))
    np.testing.assert_allclose(still.gaze, contact.gaze, atol=1e-5)


def test_eyes_turn_so_far_and_no_farther() -> None:
    aside = turned_head(DRIVER, matrix_from_angles(70, 0, 0))
    assert np.abs(pose(aside, gaze_deg=(0.0, 0.0)).gaze).max() <= MAX_GAZE_DEG


# ---------------------------------------------------------------- ranges and curves


@pytest.mark.parametrize(
    "asked",
    [
        {"head_scale": -0.1},
        {"mouth_scale": 3.1},
        {"expression_scale": float("nan")},
        {"blinks_per_min": 61.0},
        {"smooth_s": 2.5},
        {"gaze_deg": (31.0, 0.0)},
        {"gaze_deg": (float("nan"), 0.0)},
        {"expression": {"smile": 0.1}},
        {"expression": {"jawOpen": 1.5}},
    ],
    ids=str,
)
def test_ranges(asked: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Controls(**asked)  # type: ignore[arg-type]


def test_smoothing_comes_before_scaling() -> None:
    """Steady motion: smoothing changes nothing, scaling does."""
    steady = [
        replace(REFERENCE, translation=REFERENCE.translation + np.float32([0.1 * i, 0, 0]))
        for i in range(20)
    ]
    found = drive(*steady, smooth_s=0.2, head_scale=0.5)
    moved = [s.translation[0] - REFERENCE.translation[0] for s in found]
    np.testing.assert_allclose(moved, 0.05 * np.arange(20), atol=1e-5)


def curve_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "poses.csv"
    path.write_text(text)
    return str(path)


def test_curves_are_read_by_frame_or_by_time(tmp_path: Path) -> None:
    framed = read_curve(curve_file(tmp_path, "yaw,pitch\n1,5\n2,6\n"), "pitch", limit=90)
    assert [framed.at(i, FPS) for i in range(4)] == [5, 6, 6, 6]
    timed = read_curve(curve_file(tmp_path, "Time,Yaw\n0,0\n1,10\n"), "yaw", limit=180)
    assert timed.at(5, 10.0) == pytest.approx(5)
    assert timed.at(50, 10.0) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pitch\n1\n", "no column yaw"),
        ("jaw\n1\n", "did it mean jaw"),
        ("yaw\n", "no rows"),
        ("", "no column yaw"),
        ("yaw\n181\n", "line 2, yaw: '181' is no number within -180..180"),
        ("yaw\none\n", "'one' is no number"),
        ("time,yaw\n1,0\n0,0\n", "times do not increase"),
        ("time,yaw\nsoon,0\n", "line 2, time"),
    ],
)
def test_bad_curves_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_curve(curve_file(tmp_path, text), "yaw", limit=180)


def test_neutral_speech_blinks_by_rate() -> None:
    """About a neutral reference, as speech has: fully open to fully shut."""
    neutral = neutral_state()
    controls = Controls(blinks_per_min=30.0)
    found = list(driven(iter([neutral] * 500), controls, reference=neutral, fps=FPS))
    lids = np.stack([s.beta[LIDS] for s in found])
    assert lids.min() == 0
    assert lids.max() > 0.95
