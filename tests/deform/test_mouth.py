"""What shows between the lips: where the lips part, crowns, teeth, tongue, and closing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.landmark_groups import (
    CANONICAL,
    FACE_OVAL,
    LIPS_OUTER,
    LOWER_LIP_INNER,
    UPPER_LIP_INNER,
)
from mggtalk_cli.core.sheet import Sheet
from mggtalk_cli.deform import MOUTH, HeadRig, Part, bind_face, mouth_sheets, posed_landmarks
from mggtalk_cli.deform.aperture import signed_distance
from mggtalk_cli.deform.binding import _polygon_mask
from mggtalk_cli.deform.lips import REACH, snap_lips
from mggtalk_cli.deform.mouth import placed, seen_teeth, tinted
from mggtalk_cli.deform.teeth import LOWER, UPPER, crowns

SIZE = 256
CAMERA = Camera(viewmat_from_pose(np.eye(3), np.array([0, 0, -80.0])), 1600.0, SIZE, SIZE)
SKIN, RED, WHITE, BLACK = (
    (0.8, 0.62, 0.55),
    (0.7, 0.25, 0.28),
    (0.85, 0.84, 0.8),
    (0.03, 0.02, 0.02),
)
UPPER_IDS, LOWER_IDS = list(UPPER_LIP_INNER), list(LOWER_LIP_INNER)


def face(gap_cm: float) -> np.ndarray:
    """The canonical face, mouth in the middle of the picture, lips `gap_cm` apart."""
    landmarks = CANONICAL - CANONICAL[[13, 14]].mean(0)
    middle = (landmarks[UPPER_IDS] + landmarks[LOWER_IDS]) / 2
    half = np.sin(np.linspace(0, np.pi, len(UPPER_IDS))) * gap_cm / 2
    landmarks[UPPER_IDS] = landmarks[LOWER_IDS] = middle
    landmarks[UPPER_IDS, 1] += half
    landmarks[LOWER_IDS, 1] -= half
    return landmarks.astype(np.float32)


def picture(landmarks: np.ndarray, between: tuple[float, float, float]) -> np.ndarray:
    """A photo of those lips: red, with one colour between them."""
    xy = CAMERA.project(landmarks)[:, :2]
    image = np.full((SIZE, SIZE, 3), SKIN, np.float32)
    image[_polygon_mask(xy[list(LIPS_OUTER)], SIZE, SIZE)] = RED
    image[_polygon_mask(xy[UPPER_IDS + LOWER_IDS[-2:0:-1]], SIZE, SIZE)] = between
    return image


@pytest.mark.parametrize("between", [WHITE, BLACK])
@pytest.mark.parametrize(("true", "detected"), [(0.5, 0.2), (0.3, 0.6), (0.5, 0.5)])
def test_lips_part_where_the_photo_shows_it(
    between: tuple[float, float, float], true: float, detected: float
) -> None:
    given, wanted = face(detected), face(true)
    snapped = snap_lips(picture(wanted, between), given, CAMERA)
    middle = slice(3, 8)
    for ids in (UPPER_IDS[middle], LOWER_IDS[middle]):
        np.testing.assert_allclose(snapped[ids, 1], wanted[ids, 1], atol=0.07)
    others = np.setdiff1d(np.arange(468), LIPS_INSIDE)
    np.testing.assert_array_equal(snapped[others], given[others])
    width = float(np.ptp(given[UPPER_IDS, 0]))
    assert np.abs(snapped - given).max() < 1.05 * REACH * width


LIPS_INSIDE = np.array(
    [
        *(191, 80, 81, 82, 13, 312, 311, 310, 415, 95, 88, 178, 87, 14, 317, 402, 318, 324),
        *(183, 42, 41, 38, 12, 268, 271, 272, 407, 96, 89, 179, 86, 15, 316, 403, 319, 325),
        *(184, 74, 73, 72, 11, 302, 303, 304, 408, 77, 90, 180, 85, 16, 315, 404, 320, 307),
    ]
)


def test_grey_and_tiny_lips_stay_as_detected() -> None:
    grey = np.repeat(picture(face(0.5), WHITE).mean(-1, keepdims=True), 3, -1)
    np.testing.assert_array_equal(snap_lips(grey, face(0.2), CAMERA), face(0.2))
    far = replace(CAMERA, focal_px=200.0)
    np.testing.assert_array_equal(snap_lips(picture(face(0.5), WHITE), face(0.2), far), face(0.2))


def test_lips_never_cross_where_they_touch() -> None:
    snapped = snap_lips(picture(face(0.0), RED), face(0.3), CAMERA)
    assert (snapped[UPPER_IDS, 1] >= snapped[LOWER_IDS, 1] - 1e-5).all()


def test_teeth_below_the_dark_gap_go_with_the_lower_lip() -> None:
    landmarks = face(0.9)
    image = picture(landmarks, WHITE)
    line = round(float(CAMERA.project(landmarks)[[13, 14], 1].mean()))
    inside = (image == np.array(WHITE, np.float32)).all(-1)
    image[line - 1 : line + 2][inside[line - 1 : line + 2]] = BLACK
    binding = bind_face(image, CAMERA.project(landmarks), landmarks)
    mouth = binding.layer == MOUTH
    rows = np.arange(SIZE)[:, None] + np.zeros((1, SIZE))
    above, below = mouth & (rows < line - 2), mouth & (rows > line + 2)
    assert min(above.sum(), below.sum()) > 50
    assert np.abs(binding.weight[above]).max() == 0
    np.testing.assert_allclose(binding.weight[below].sum(-1), 1, atol=1e-6)
    assert np.isin(binding.index[below], LOWER_IDS).all()
    # One row of teeth only: nothing of it follows the lower lip.
    plain = bind_face(picture(landmarks, WHITE), CAMERA.project(landmarks), landmarks)
    assert np.abs(plain.weight[plain.layer == MOUTH]).max() == 0


def strip(z_bend: float = 0.2) -> tuple[np.ndarray, np.ndarray]:
    """A dental arch seen from the front: (h, w, 3) points, 1 cm high, and where it is."""
    y, x = np.meshgrid(np.linspace(0, -1.2, 121), np.linspace(-2, 2, 401), indexing="ij")
    points = np.stack([x, y, -z_bend * x**2], -1).astype(np.float32)
    return points, np.ones(x.shape, bool)


def test_crowns_have_human_widths() -> None:
    points, valid = strip(z_bend=0.05)
    _, shade, _ = crowns(LOWER, points, valid)
    row = shade[30]
    dark = np.flatnonzero((row[1:-1] < row[:-2]) & (row[1:-1] < row[2:])) + 1
    ends = np.cumsum(LOWER.widths_cm)[:3]
    found = points[30, dark, 0]
    # The arch bends little in front: arc length is about x.
    for end in (0.0, *ends[:2], *-ends[:2]):
        assert np.abs(found - end).min() < 0.05


@pytest.mark.parametrize(("arch", "flip"), [(LOWER, 1), (UPPER, -1)])
def test_crowns_end_in_rounded_corners_and_gums(arch: object, flip: int) -> None:
    points, valid = strip()
    points[..., 1] *= flip
    coverage, shade, gum = crowns(arch, points, valid)
    middle = slice(195, 206) if arch is UPPER else slice(212, 222)
    assert (coverage[30:] > 0.99).all()
    assert coverage[8:].mean() > 0.9
    assert coverage[0].mean() < 0.5
    assert gum[:40].max() < 0.05
    assert gum[-3:, middle].min() > 0.9
    assert shade.min() >= 0
    assert shade.max() <= 1


def test_tongue_lies_between_the_lower_teeth() -> None:
    box = np.array([[-2.3, -6.6, -3.8], [2.3, -3.4, 3.8]], np.float32)
    low, high = placed("tongue", box)
    assert low[1] == pytest.approx(-6.6)
    assert high[1] < -4.5
    assert high[2] < 3.4
    assert np.ptp([low[0], high[0]]) < 4.6
    np.testing.assert_array_equal(placed("other", box), box)


def part_sheets(pitch_lift: float = 0.0) -> dict[str, Sheet]:
    """A mouth with a plate of upper teeth 1 cm behind the lip, `pitch_lift` above its edge."""
    controls = np.zeros((472, 3), np.float32)
    controls[:468] = face(0.4)
    x, y = np.array([-2, 2, -2, 2]), np.array([2, 2, 0.2, 0.2]) + pitch_lift
    controls[468:] = np.stack([x, y, np.full(4, -1.0)], -1)
    part = Part("teeth_upper", np.array([[468, 469, 470], [469, 471, 470]]))
    sheets = mouth_sheets(
        [part],
        controls,
        np.zeros((52, 472, 3), np.float32),
        camera=CAMERA,
        mouth_box=(60, 60, 196, 196),
        light_rgb=np.ones(3, np.float32),
    )
    return {sheet.name: sheet for sheet in sheets}


def test_upper_teeth_show_below_the_lip_and_behind_it() -> None:
    for lift in (0.0, 0.2):
        teeth = part_sheets(lift)["teeth_upper"]
        points = teeth.positions[teeth.valid]
        seen = CAMERA.project(points)[:, 1].max() - CAMERA.project(np.array([[0, 0.2, 0.0]]))[0, 1]
        assert 0.2 < seen / 20 < 0.45  # 20 px are 1 cm
        assert points[:, 2].max() < -1.2


def test_cavity_is_dark_and_behind_the_teeth() -> None:
    sheets = part_sheets()
    cavity, teeth = sheets["cavity"], sheets["teeth_upper"]
    assert cavity.color.max() < 0.15
    points = cavity.positions[cavity.valid]
    assert points[:, 2].max() < teeth.positions[teeth.valid][:, 2].min() - 2
    assert cavity.gate.max() == 0
    # It hides behind the face: within its outline and behind its surface.
    outline = CAMERA.project(face(0.4))[list(FACE_OVAL), :2]
    assert signed_distance(CAMERA.project(points)[:, :2], outline).min() > 0
    skin = (cavity.weight[cavity.valid][..., None] * face(0.4)[cavity.index[cavity.valid]]).sum(1)
    assert (points[:, 2] < skin[:, 2] - 0.99).all()
    assert teeth.color[teeth.valid].mean() > 4 * cavity.color.mean()


def test_teeth_take_the_colour_the_photo_shows() -> None:
    image = np.full((20, 20, 3), BLACK, np.float32)
    mouth = np.zeros((20, 20), bool)
    mouth[5:15, 5:15] = True
    assert seen_teeth(image, mouth) is None
    image[5:11, 5:15] = WHITE
    np.testing.assert_allclose(seen_teeth(image, mouth), WHITE)
    image[5:11, 5:15] = RED
    assert seen_teeth(image, mouth) is None
    assert seen_teeth(image, np.zeros_like(mouth)) is None
    assert np.ptp(tinted(TONGUE := (0.7, 0.3, 0.3), np.full(3, 0.8))) == pytest.approx(0)
    assert np.ptp(tinted(TONGUE, np.array([0.9, 0.8, 0.7]))) > 0.3


def test_lips_close_whatever_gap_the_photo_has(head_rig: HeadRig, source: FaceState) -> None:
    shut = source.beta.copy()
    for name, index in ARKIT_INDEX.items():
        if name.startswith(("mouth", "jaw")):
            shut[index] = 0
    rest = head_rig.rig.controls.numpy()
    gap_before = (rest[UPPER_IDS, 1] - rest[LOWER_IDS, 1])[4:7]
    assert gap_before.min() > 0.1
    posed = posed_landmarks(head_rig, source, replace(source, beta=shut))
    gap = (posed[UPPER_IDS, 1] - posed[LOWER_IDS, 1])[4:7]
    assert gap.max() < 0.06
    same = posed_landmarks(head_rig, source, source)
    np.testing.assert_allclose(same, rest[:468], atol=1e-6)
