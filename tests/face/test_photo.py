"""Detection, landmarks, matte and tracking on the example portrait and its moved copies."""

from pathlib import Path

import cv2
import imageio.v3 as iio
import numpy as np
import pytest

from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.landmark_groups import MIRROR
from mggtalk_cli.core.rotation import angles_from_matrix
from mggtalk_cli.errors import InputError
from mggtalk_cli.face import (
    FaceTracker,
    detect_faces,
    find_landmarks,
    fit_face,
    load_face_model,
    person_mask,
)
from mggtalk_cli.face.crop import Square, crop_square

PORTRAIT = Path(__file__).parents[2] / "examples" / "portrait.png"


@pytest.fixture(scope="module")
def photo():
    return np.ascontiguousarray(iio.imread(PORTRAIT)[..., :3])


@pytest.fixture(scope="module")
def points(photo):
    return landmarks_of(photo)


def landmarks_of(image):
    return find_landmarks(image, detect_faces(image).keypoints[0]).points


def shifted(image, dx, dy):
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def test_one_face_where_it_is(photo):
    faces = detect_faces(photo)
    assert len(faces) == 1
    x0, y0, x1, y1 = faces.boxes[0]
    assert 150 < x0 < 200
    assert 250 < x1 < 300
    assert 60 < y0 < 110
    assert 150 < y1 < 210
    assert faces.scores[0] > 0.7


def test_no_face_in_noise_or_nothing():
    noise = np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)
    assert len(detect_faces(noise)) == 0
    assert len(detect_faces(np.full((200, 700, 3), 128, np.uint8))) == 0


def test_a_small_face_in_a_large_picture_is_found(photo):
    small = cv2.resize(photo, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)  # 66 px face
    large = np.full((1500, 2400, 3), 90, np.uint8)
    large[1000 : 1000 + len(small), 1700 : 1700 + len(small)] = small
    box = detect_faces(large).boxes[0]
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [1700 + 135, 1000 + 88], atol=25)


@pytest.mark.parametrize("turn_deg", [-45, 30, 60])
def test_turned_faces(photo, points, turn_deg):
    matrix = cv2.getRotationMatrix2D((225, 150), turn_deg, 1)
    found = landmarks_of(cv2.warpAffine(photo, matrix, (512, 512)))
    expected = np.c_[points[:, :2] - 0.5, np.ones(478)] @ matrix.T + 0.5
    assert np.sqrt(((found[:, :2] - expected) ** 2).sum(1).mean()) < 0.6


def test_landmarks_lie_in_plausible_places(points):
    assert 195 < points[468, 0] < points[4, 0] < points[473, 0] < 260
    assert points[468, 1] < points[4, 1] < points[13, 1] < points[152, 1] < 215
    # The nose tip is nearer than the face oval.
    assert points[4, 2] < points[234, 2]
    assert points[4, 2] < points[454, 2]


def test_landmarks_move_with_the_picture(photo, points):
    found = landmarks_of(shifted(photo, 20, -13))
    np.testing.assert_allclose(found[:, :2] - points[:, :2], [[20, -13]] * 478, atol=0.6)


def test_landmarks_scale_with_the_picture(photo, points):
    large = cv2.resize(photo, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    np.testing.assert_allclose(landmarks_of(large)[:, :2] / 2, points[:, :2], atol=0.6)


def test_landmarks_of_the_mirrored_picture_are_mirrored(photo, points):
    found = landmarks_of(np.ascontiguousarray(photo[:, ::-1]))
    mirrored = found[:468][MIRROR] * (-1, 1, 1) + (512, 0, 0)
    assert np.abs(mirrored - points[:468]).mean(0).max() < 0.3
    assert abs(512 - found[473, 0] - points[468, 0]) < 0.5


def test_crop_of_the_whole_picture_is_the_picture(photo):
    np.testing.assert_array_equal(crop_square(photo, Square(256, 256, 512), 512), photo)
    mirrored = crop_square(photo, Square(256, 256, 512), 512, flip=True)
    np.testing.assert_array_equal(mirrored, photo[:, ::-1])


def test_matte_covers_the_face_and_not_the_corners(photo, points):
    matte = person_mask(photo)
    assert matte.shape == (512, 512)
    assert matte.dtype == np.float32
    assert matte.min() >= 0
    assert matte.max() <= 1
    columns, rows = points[:468, :2].astype(int).T
    assert matte[rows, columns].mean() > 0.98
    assert matte[:40, :40].max() < 0.05
    assert matte[:40, -40:].max() < 0.05
    assert matte[440:, 150:300].mean() > 0.95  # the suit


def test_matte_leaves_out_other_people(photo):
    pair = np.full((512, 1000, 3), 200, np.uint8)
    pair[:, :430] = photo[:, 60:490]
    small = cv2.resize(photo[:, 60:490], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    pair[-256:, -215:] = small
    matte = person_mask(pair)
    assert matte[120:200, 130:200].mean() > 0.95
    assert matte[-250:, -120:].max() < 0.05


@pytest.mark.parametrize("size", [(1, 1), (40, 9), (7, 300)])
def test_odd_pictures_do_not_break_detection_or_matte(size):
    image = np.full((*size, 3), 90, np.uint8)
    assert len(detect_faces(image)) == 0
    assert person_mask(image).shape == size


def test_fit_of_the_photo_projects_onto_the_face(photo, points):
    fit = fit_face(points, image_size=(512, 512))
    distance = np.linalg.norm(points[468, :2] - points[473, :2])
    assert fit.rms_px < 0.025 * distance
    model = load_face_model().landmarks(fit.state.beta, fit.identity)
    viewmat = viewmat_from_pose(fit.state.rotation, fit.state.translation)
    seen = Camera(viewmat, fit.focal_px, 512, 512).project(model)
    error = np.linalg.norm(seen[:, :2] - points[:468, :2], axis=1)
    assert np.sqrt((error**2).mean()) == pytest.approx(fit.rms_px, rel=0.02)
    assert np.abs(angles_from_matrix(fit.state.rotation)).max() < 30


def test_tracking_a_still_picture_stands_still(photo):
    tracker = FaceTracker((512, 512))
    first = tracker.update(photo)
    for _ in range(3):
        last = tracker.update(photo)
    assert last.confidence > 0.9
    np.testing.assert_allclose(last.state.beta, first.state.beta, atol=0.02)
    np.testing.assert_allclose(last.state.translation, first.state.translation, atol=0.1)
    assert np.abs(last.state.residual).max() < 0.05
    assert not first.state.residual.any()


def test_tracking_follows_a_moving_face_at_constant_distance(photo, points):
    tracker = FaceTracker((512, 512))
    faces = [tracker.update(shifted(photo, 12 * k, 6 * k)) for k in range(5)]
    np.testing.assert_allclose(faces[-1].points[:, :2] - points[:, :2], [[48, 24]] * 478, atol=0.8)
    z = [face.state.translation[2] for face in faces]
    np.testing.assert_allclose(z, z[0], rtol=0.01)
    step = np.diff([face.state.translation[:2] for face in faces], axis=0).mean(0)
    expected = np.array([12, -6]) * -z[0] / tracker.focal_px
    np.testing.assert_allclose(step, expected, rtol=0.15)


def test_tracking_says_when_the_face_is_gone_and_finds_it_again(photo):
    tracker = FaceTracker((512, 512), fps=30)
    assert tracker.update(np.full_like(photo, 120)) is None
    first = tracker.update(photo)
    assert tracker.update(np.full_like(photo, 120)) is None
    again = tracker.update(photo)
    np.testing.assert_allclose(again.points, first.points, atol=0.7)


def test_bad_arguments_are_refused(photo):
    with pytest.raises(InputError, match="uint8"):
        detect_faces(photo.astype(np.float32))
    with pytest.raises(InputError, match="landmarks"):
        find_landmarks(photo, np.zeros(7))
    with pytest.raises(InputError, match="px"):
        FaceTracker((0, 10))
    with pytest.raises(InputError, match="10x10"):
        FaceTracker((512, 512)).update(np.zeros((10, 10, 3), np.uint8))
