"""What the source does when the driver does something."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mggtalk_cli.core.expression import ARKIT_INDEX, NECK_CM, FaceState, neutral_state
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.deform import head_motion, retarget
from mggtalk_cli.deform.retarget import (
    ABSOLUTE_LIPS,
    BLINKS,
    MOUTH,
    OPENING,
    PARTING,
    STRANGER_CM,
    anchored,
    carried,
    face_likeness,
)


def state(seed: int, lid: float = 0.2) -> FaceState:
    random = np.random.default_rng(seed)
    beta = random.uniform(0, 0.5, 52).astype(np.float32)
    beta[list(BLINKS)] = lid
    return FaceState(
        beta=beta,
        rotation=matrix_from_angles(*random.uniform(-20, 20, 3)).astype(np.float32),
        translation=random.uniform(-5, 5, 3).astype(np.float32) + np.float32([0, 0, -80]),
        gaze=random.uniform(-10, 10, 2).astype(np.float32),
        residual=random.normal(0, 0.02, (468, 3)).astype(np.float32),
    )


def same(one: FaceState, other: FaceState, atol: float = 1e-5) -> None:
    for name in ("beta", "rotation", "translation", "gaze", "residual"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=atol)


SOURCE, REFERENCE, DRIVER = state(1, lid=0.1), state(2, lid=0.3), state(3)


def test_absolute_passes_through() -> None:
    assert retarget(DRIVER, reference=REFERENCE, source=SOURCE, mode="absolute") is DRIVER


def test_an_anchored_head_moves_as_the_driver_does_from_the_photos_neck() -> None:
    first = anchored(REFERENCE, reference=REFERENCE, source=SOURCE)
    now = anchored(DRIVER, reference=REFERENCE, source=SOURCE)
    necks = [s.rotation @ NECK_CM + s.translation for s in (SOURCE, first, now, REFERENCE, DRIVER)]
    np.testing.assert_allclose(necks[1], necks[0], atol=1e-4)
    np.testing.assert_allclose(necks[2] - necks[1], necks[4] - necks[3], atol=1e-4)
    same(replace(now, translation=DRIVER.translation), DRIVER)
    same(anchored(DRIVER, reference=SOURCE, source=SOURCE), DRIVER)


def test_own_first_frame_is_the_source_again() -> None:
    same(retarget(SOURCE, reference=SOURCE, source=SOURCE, mode="relative"), SOURCE)


def test_self_reenactment_is_the_driver_itself() -> None:
    driven = retarget(DRIVER, reference=SOURCE, source=SOURCE, mode="relative")
    same(driven, DRIVER)


def test_still_driver_leaves_all_but_the_lips() -> None:
    driven = retarget(REFERENCE, reference=REFERENCE, source=SOURCE, mode="relative", likeness=0.0)
    lips, parting = list(MOUTH), list(PARTING)
    expected = SOURCE.beta.copy()
    expected[lips] += ABSOLUTE_LIPS * (REFERENCE.beta[lips] - SOURCE.beta[lips])
    expected[parting] = np.minimum(expected[parting], REFERENCE.beta[parting])
    same(driven, replace(SOURCE, beta=expected))


SMILE, JAW = ARKIT_INDEX["mouthSmileLeft"], ARKIT_INDEX["jawOpen"]


def shaped(index: int, weight: float) -> FaceState:
    neutral = neutral_state()
    beta = neutral.beta.copy()
    beta[index] = weight
    return replace(neutral, beta=beta)


@pytest.mark.parametrize("mode", ["relative", "phone", "speech"])
@pytest.mark.parametrize(
    ("before", "now"), [(0.6, 0.8), (0.0, 0.8), (0.3, 0.6), (0.0, 0.6), (0.6, 0.6)]
)
def test_two_smiles_are_one(mode: str, before: float, now: float) -> None:
    """The photo smiles with .6; its driver begins with `before` and comes to `now`."""
    begun = 0.0 if mode == "speech" else before
    driven = retarget(
        shaped(SMILE, now), reference=shaped(SMILE, begun), source=shaped(SMILE, 0.6), mode=mode,
        likeness=0.0,
    )  # fmt: skip
    most = 0.6 + now * 0.4 if mode == "speech" else max(0.6, now)
    assert min(0.6, now) - 1e-6 <= driven.beta[SMILE] <= most + 1e-6
    if now > before and mode != "speech":
        less = retarget(
            shaped(SMILE, before), reference=shaped(SMILE, before), source=shaped(SMILE, 0.6),
            mode=mode, likeness=0.0,
        )  # fmt: skip
        assert driven.beta[SMILE] > less.beta[SMILE], "a smile that grows is seen"


@pytest.mark.parametrize("mode", ["relative", "phone", "speech"])
@pytest.mark.parametrize("begun", [0.0, 0.3])
def test_closed_lips_of_the_driver_close_an_open_mouth(mode: str, begun: float) -> None:
    driven = retarget(
        neutral_state(), reference=shaped(JAW, begun), source=shaped(JAW, 0.4), mode=mode,
        likeness=0.0,
    )  # fmt: skip
    assert driven.beta[JAW] == pytest.approx(0, abs=1e-6)


def test_one_face_keeps_the_lips_of_its_photo() -> None:
    """The photo is the driver's own frame, measured a little otherwise: no lip moves."""
    driven = retarget(REFERENCE, reference=REFERENCE, source=SOURCE, mode="relative", likeness=1.0)
    np.testing.assert_allclose(driven.beta[list(MOUTH)], SOURCE.beta[list(MOUTH)], atol=1e-6)


def test_relative_pose_is_the_drivers_change() -> None:
    driven = retarget(DRIVER, reference=REFERENCE, source=SOURCE, mode="relative")
    np.testing.assert_allclose(
        driven.rotation @ SOURCE.rotation.T, DRIVER.rotation @ REFERENCE.rotation.T, atol=1e-5
    )
    np.testing.assert_allclose(
        driven.translation - SOURCE.translation,
        DRIVER.translation - REFERENCE.translation,
        atol=1e-4,
    )
    np.testing.assert_allclose(driven.gaze - SOURCE.gaze, DRIVER.gaze - REFERENCE.gaze, atol=1e-5)


@pytest.mark.parametrize("mode", ["relative", "speech"])
@pytest.mark.parametrize("source_lid", [0.0, 0.1, 0.6])
def test_lids_follow_by_opening_ratio(mode: str, source_lid: float) -> None:
    source, reference = state(1, lid=source_lid), state(2, lid=0.2)
    # A tracker's half-shut eye is the bottom of a blink; speech says what it means.
    half = 0.0 if mode == "relative" else 0.5
    for opening, expected in ((0.0, 0.0), (0.5, half), (0.9, 0.9), (1.0, 1.0)):
        driver = replace(DRIVER, beta=DRIVER.beta.copy())
        driver.beta[list(BLINKS)] = 1 - opening * 0.8
        driven = retarget(driver, reference=reference, source=source, mode=mode)
        np.testing.assert_allclose(
            1 - driven.beta[list(BLINKS)], expected * (1 - source_lid), atol=1e-6
        )


def test_closed_reference_eyes_do_not_divide_by_zero() -> None:
    driven = retarget(DRIVER, reference=state(2, lid=1.0), source=SOURCE, mode="relative")
    assert np.isfinite(driven.beta).all()
    assert np.abs(driven.beta[list(BLINKS)]).max() < 3


@pytest.mark.parametrize(("mode", "share"), [("speech", 0.0), ("phone", ABSOLUTE_LIPS)])
def test_measured_about_neutral_owns_the_opening_of_the_mouth(mode: str, share: float) -> None:
    driven = retarget(DRIVER, reference=neutral_state(), source=SOURCE, mode=mode, likeness=0.0)
    opening = list(OPENING)
    assert ARKIT_INDEX["jawOpen"] in opening
    np.testing.assert_array_equal(driven.beta[opening], DRIVER.beta[opening])
    own, now = SOURCE.beta[SMILE], DRIVER.beta[SMILE]
    expected = own + (1 - own) * now if share == 0 else share * now + (1 - share) * max(own, now)
    np.testing.assert_allclose(driven.beta[SMILE], expected, atol=1e-6)


def test_silence_closes_the_mouth_and_keeps_the_pose() -> None:
    neutral = neutral_state()
    driven = retarget(neutral, reference=neutral, source=SOURCE, mode="speech")
    assert (driven.beta[list(OPENING)] == 0).all()
    keeps = np.setdiff1d(np.arange(52), OPENING)
    np.testing.assert_allclose(driven.beta[keeps], SOURCE.beta[keeps], atol=1e-6)
    same(driven, replace(SOURCE, beta=driven.beta))


def test_speech_turns_the_head_about_the_skulls_base() -> None:
    turn = matrix_from_angles(10, 5, 3).astype(np.float32)
    driver = replace(neutral_state(), rotation=turn)
    driven = retarget(driver, reference=neutral_state(), source=SOURCE, mode="speech")
    before = SOURCE.rotation @ NECK_CM + SOURCE.translation
    after = driven.rotation @ NECK_CM + driven.translation
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_a_phones_head_turns_about_the_skulls_base_and_its_lids_are_believed() -> None:
    turn = matrix_from_angles(20, 5, 3).astype(np.float32)
    neutral = neutral_state()
    driver = replace(neutral, rotation=turn, beta=neutral.beta.copy())
    driver.beta[list(BLINKS)] = 0.6
    driven = retarget(driver, reference=neutral, source=SOURCE, mode="phone")
    before = SOURCE.rotation @ NECK_CM + SOURCE.translation
    np.testing.assert_allclose(driven.rotation @ NECK_CM + driven.translation, before, atol=1e-4)
    np.testing.assert_allclose(
        1 - driven.beta[list(BLINKS)], 0.4 * (1 - SOURCE.beta[list(BLINKS)]), atol=1e-6
    )


@pytest.mark.parametrize("mode", ["relative", "speech", "phone"])
def test_equal_driver_and_reference_move_no_head_to_the_last_bit(mode: str) -> None:
    driven = retarget(REFERENCE, reference=REFERENCE, source=SOURCE, mode=mode)
    rotation, translation = head_motion(driven, SOURCE)
    assert (rotation == np.eye(3)).all()
    assert (translation == 0).all()
    assert (driven.gaze == SOURCE.gaze).all()
    assert (driven.residual == SOURCE.residual).all()


def test_parts_are_taken_as_they_were_measured() -> None:
    """A spoken mouth and lids on a tracked head are those of speech, the rest of the video."""
    spoken, tracked = (
        retarget(DRIVER, reference=REFERENCE, source=SOURCE, mode=mode)
        for mode in ("speech", "relative")
    )
    mixed = retarget(
        DRIVER,
        reference=REFERENCE,
        source=SOURCE,
        mode="relative",
        parts={"mouth": "speech", "blink": "speech"},
    )
    same(mixed, replace(spoken, translation=tracked.translation))
    turned = retarget(
        DRIVER, reference=REFERENCE, source=SOURCE, mode="speech", parts={"head": "relative"}
    )
    same(turned, mixed)


def test_inputs_are_not_changed() -> None:
    source = state(1)
    retarget(DRIVER, reference=REFERENCE, source=source, mode="speech")
    same(source, state(1), atol=0)


def test_head_motion_carries_the_source_pose_to_the_target() -> None:
    rotation, translation = head_motion(DRIVER, SOURCE)
    random = np.random.default_rng(0).uniform(-10, 10, (20, 3)).astype(np.float32)
    moved = random @ rotation.T + translation
    np.testing.assert_allclose(
        moved @ SOURCE.rotation.T + SOURCE.translation,
        random @ DRIVER.rotation.T + DRIVER.translation,
        atol=1e-3,
    )
    still = head_motion(SOURCE, SOURCE)
    assert (still[0] == np.eye(3)).all()
    assert (still[1] == 0).all()


def test_another_face_takes_small_landmark_motion_and_limits_large_one() -> None:
    random = np.random.default_rng(2)
    small, large = (size * random.normal(size=(468, 3)) for size in (0.01, 2.0))
    np.testing.assert_allclose(carried(small, 0.0), small, atol=2e-3)
    assert np.linalg.norm(carried(large, 0.0), axis=1).max() < STRANGER_CM
    np.testing.assert_allclose(carried(large, 1.0), large, rtol=1e-5)


def test_likeness_of_one_photo_and_of_two_people() -> None:
    face = np.random.default_rng(3).uniform(-7, 7, (468, 3))
    noise = np.random.default_rng(4).normal(scale=0.03, size=face.shape)
    assert face_likeness(face, face + noise + 5) == 1
    assert face_likeness(face, face * [1.05, 1.1, 1]) == 0
