"""Fitting the face model to synthetic projections whose truth is known."""

import numpy as np
import pytest

from mggtalk_cli.core.camera import FOCAL_INTERPUPIL, Camera, viewmat_from_pose
from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.core.rotation import angles_from_matrix, matrix_from_angles
from mggtalk_cli.errors import InputError
from mggtalk_cli.face import fit_face, fit_faces, load_face_model
from mggtalk_cli.face.least_squares import bounded_solve

SIZE = (512, 512)


def synthetic_face(beta, identity, angles_deg, translation=(1.0, -2.0, -75.0), gaze_cm=(0.0, 0.0)):
    """Return (478, 3) landmarks of the model as a camera of 12 inter-pupil units sees it."""
    model = load_face_model()
    head = model.landmarks(beta, identity)
    irises = []
    for outer, inner in ((33, 133), (263, 362)):
        corner = (head[outer] + head[inner]) / 2
        width = np.linalg.norm(head[outer] - head[inner])
        forward = np.array([0, 0.044, -0.18 + 0.39], np.float32) * width
        irises += [corner + forward + np.array([*gaze_cm, 0], np.float32)] * 5
    head = np.concatenate([head, irises])
    rotation = matrix_from_angles(*angles_deg).astype(np.float32)
    viewmat = viewmat_from_pose(rotation, np.array(translation, np.float32))
    focal_px = 900.0
    for _ in range(5):  # the focal length that fit_face will assume
        seen = Camera(viewmat, focal_px, *SIZE).project(head)
        points = seen.copy()
        points[:, 2] = (seen[:, 2] + translation[2]) * focal_px / -translation[2]
        focal_px = FOCAL_INTERPUPIL * np.linalg.norm(points[473] - points[468])
    return points.astype(np.float32), head[:468], rotation


def some_expression():
    beta = np.zeros(52, np.float32)
    for name, value in (
        *(("jawOpen", 0.5), ("mouthSmileLeft", 0.6), ("mouthSmileRight", 0.6)),
        *(("eyeBlinkLeft", 0.8), ("browInnerUp", 0.5)),
    ):
        beta[ARKIT_INDEX[name]] = value
    return beta


@pytest.mark.parametrize("angles", [(0, 0, 0), (25, -10, 8), (-30, 12, -15)])
def test_pose_and_expression_come_back(angles):
    beta = some_expression()
    identity = np.random.default_rng(0).normal(0, 0.7, 40).astype(np.float32)
    points, _, rotation = synthetic_face(beta, identity, angles)
    fit = fit_face(points, image_size=SIZE, identity=identity)
    assert fit.rms_px < 0.5
    difference = angles_from_matrix(fit.state.rotation) - angles_from_matrix(rotation)
    assert np.abs(difference).max() < 0.5
    np.testing.assert_allclose(fit.state.beta, beta, atol=0.12)


def test_unknown_identity_is_fitted_too():
    identity = np.random.default_rng(1).normal(0, 0.5, 40).astype(np.float32)
    points, _, rotation = synthetic_face(np.zeros(52, np.float32), identity, (10, 5, 0))
    fit = fit_face(points, image_size=SIZE)
    assert fit.rms_px < 1.0
    assert fit.state.beta.max() < 0.35
    difference = angles_from_matrix(fit.state.rotation) - angles_from_matrix(rotation)
    assert np.abs(difference).max() < 2


def test_head_landmarks_project_exactly_onto_the_detected_ones():
    noise = np.random.default_rng(2).normal(0, 2, (478, 3))
    points, _, _ = synthetic_face(some_expression(), np.zeros(40, np.float32), (15, 5, 3))
    points = (points + noise).astype(np.float32)
    fit = fit_face(points, image_size=SIZE)
    viewmat = viewmat_from_pose(fit.state.rotation, fit.state.translation)
    seen = Camera(viewmat, fit.focal_px, *SIZE).project(fit.landmarks_head)
    np.testing.assert_allclose(seen[:, :2], points[:468, :2], atol=0.02)


def test_straight_eyes_look_straight_and_sideways_eyes_sideways():
    beta, identity = np.zeros(52, np.float32), np.zeros(40, np.float32)
    centred = {"translation": (0.0, -2.7, -75.0)}  # the eyes on the optical axis
    straight, _, _ = synthetic_face(beta, identity, (0, 0, 0), **centred)
    gaze = fit_face(straight, image_size=SIZE).state.gaze
    np.testing.assert_allclose(gaze, 0, atol=4)
    aside, _, _ = synthetic_face(beta, identity, (0, 0, 0), gaze_cm=(0.3, 0.2), **centred)
    moved = fit_face(aside, image_size=SIZE).state.gaze - gaze
    assert 8 < moved[0] < 25
    assert 5 < moved[1] < 20


def test_bounded_solve_meets_bounds_and_beats_clipping():
    rng = np.random.default_rng(3)
    root = rng.normal(size=(6, 6))
    hessian, gradient = root @ root.T + np.eye(6), rng.normal(size=6) * 5
    low, high = np.full(6, -0.3), np.full(6, 0.3)

    def cost(x):
        return x @ hessian @ x / 2 - gradient @ x

    x = bounded_solve(hessian, gradient, low, high)
    assert (x >= low).all()
    assert (x <= high).all()
    assert cost(x) <= cost(np.clip(np.linalg.solve(hessian, gradient), low, high)) + 1e-9
    wide = bounded_solve(hessian, gradient, low - 1e6, high + 1e6)
    np.testing.assert_allclose(wide, np.linalg.solve(hessian, gradient))


def test_bad_landmarks_are_refused():
    with pytest.raises(InputError, match="478"):
        fit_face(np.zeros((468, 3)), image_size=SIZE)
    with pytest.raises(InputError, match="finite"):
        fit_face(np.full((478, 3), np.nan), image_size=SIZE)


def grimaces(random, identity, count):
    """Return the expressions of one person in several views, and their landmarks."""
    betas, views = np.zeros((count, 52), np.float32), []
    names = ("mouthSmile", "browOuterUp", "mouthUpperUp", "eyeBlink", "browDown")
    shapes = [[ARKIT_INDEX[name + side] for side in ("Left", "Right")] for name in names]
    shapes += [[ARKIT_INDEX["mouthPucker"]], [ARKIT_INDEX["jawOpen"]]]
    for beta in betas:
        for both in shapes:
            beta[both] = random.uniform(0, 0.8) * (random.random() < 0.5)
        points, _, _ = synthetic_face(beta, identity, random.uniform(-15, 15, 3))
        views.append(points + 0.5 * random.normal(size=points.shape).astype(np.float32))
    return betas, views


def test_several_views_tell_the_identity_better_than_one():
    relaxed, model = np.zeros(52, np.float32), load_face_model()
    alone, together = [], []
    for seed in range(4):
        random = np.random.default_rng(seed)
        identity = random.normal(0, 0.7, 40).astype(np.float32)
        _, views = grimaces(random, identity, 6)
        true = model.landmarks(relaxed, identity)
        one, all_of_them = (fit_faces(chosen, image_size=SIZE) for chosen in (views[:1], views))
        for fit, errors in ((one, alone), (all_of_them, together)):
            found = model.landmarks(relaxed, fit.identity)
            errors.append(np.sqrt(((found - true) ** 2).sum(1).mean()))
    assert np.mean(together) < 0.75 * np.mean(alone)
    assert (np.array(together) < alone).all()


def test_one_view_among_several_keeps_its_own_expression_and_pose():
    random = np.random.default_rng(7)
    identity = random.normal(0, 0.7, 40).astype(np.float32)
    betas, views = grimaces(random, identity, 5)
    fit = fit_faces(views, image_size=SIZE)
    assert len(fit.states) == 5
    assert fit.rms_px < 1.5
    assert np.abs(fit.static).max() < 0.3
    jaw = ARKIT_INDEX["jawOpen"]
    found = np.array([state.beta[jaw] for state in fit.states])
    np.testing.assert_allclose(found, betas[:, jaw], atol=0.2)


def test_no_view_is_refused():
    with pytest.raises(InputError, match="at least one"):
        fit_faces([], image_size=SIZE)
    with pytest.raises(InputError, match="478"):
        fit_faces([np.zeros((468, 3))], image_size=SIZE)


@pytest.mark.parametrize(("noise_px", "most"), [(0.0, 0.03), (0.5, 0.04)])
def test_trusted_coefficients_make_the_round_trip(noise_px, most):
    pairs = ("eyeBlink", "mouthSmile", "browOuterUp", "mouthUpperUp")
    trusted = [[ARKIT_INDEX[name + side] for side in ("Left", "Right")] for name in pairs]
    trusted += [[ARKIT_INDEX["mouthPucker"]], [ARKIT_INDEX["jawOpen"]]]
    random = np.random.default_rng(6)
    errors = []
    for _ in range(12):
        identity = random.normal(0, 0.7, 40).astype(np.float32)
        beta = np.zeros(52, np.float32)
        for both in trusted:
            beta[both] = random.uniform(0, 0.8) * (random.random() < 0.4)
        points, _, _ = synthetic_face(beta, identity, random.uniform(-15, 15, 3))
        points += noise_px * random.normal(size=points.shape).astype(np.float32)
        found = fit_face(points, image_size=SIZE, identity=identity).state.beta
        errors += [np.abs(found[both] - beta[both]).mean() for both in trusted]
    assert np.mean(errors) < most
