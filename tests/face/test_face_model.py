"""The face model: symmetry, rest, consistency, provenance."""

import hashlib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

import mggtalk_cli
from mggtalk_cli.core import landmark_groups as groups
from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES
from mggtalk_cli.face.model import PART_NAMES, load_face_model
from mggtalk_cli.face.models import DATA_DIR, MODEL_FILES
from mggtalk_cli.face.rebuild_models import noticed_hashes

FLIP = np.array([-1, 1, 1], np.float32)
ZERO_ID = np.zeros(40, np.float32)


def swap_sides(beta):
    other = [
        name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
        for name in ARKIT_NAMES
    ]
    return beta[..., [ARKIT_INDEX[name] for name in other]]


def test_arrays_have_the_promised_shapes():
    model = load_face_model()
    count = len(model.rest)
    assert model.expression.shape == (52, count, 3)
    assert model.identity_basis.shape == (40, count, 3)
    assert model.triangles.max() < count
    assert model.part.max() == len(PART_NAMES) - 1
    assert model.landmark_triangles.shape == (898, 3)
    assert not model.rest.flags.writeable


def test_zero_coefficients_give_the_rest_face():
    model = load_face_model()
    np.testing.assert_array_equal(model.vertices(np.zeros(52), ZERO_ID), model.rest)
    np.testing.assert_allclose(model.landmarks(np.zeros(52), ZERO_ID), model.landmark_rest)


def test_rest_landmarks_lie_on_the_canonical_face():
    model = load_face_model()
    distance = np.linalg.norm(model.landmark_rest - groups.CANONICAL, axis=1)
    assert np.sqrt((distance**2).mean()) < 0.5  # cm
    assert distance.max() < 1.5


def test_swapped_coefficients_mirror_the_head():
    model = load_face_model()
    beta = np.random.default_rng(0).uniform(0, 0.6, 52).astype(np.float32)
    mirror = cKDTree(model.rest).query(model.rest * FLIP)[1]
    one = model.vertices(beta, ZERO_ID)
    other = model.vertices(swap_sides(beta), ZERO_ID)
    np.testing.assert_allclose(other[mirror] * FLIP, one, atol=2e-3)


def test_swapped_coefficients_mirror_the_landmarks():
    model = load_face_model()
    beta = np.random.default_rng(1).uniform(0, 0.6, 52).astype(np.float32)
    one = model.landmarks(beta, ZERO_ID)
    other = model.landmarks(swap_sides(beta), ZERO_ID)
    np.testing.assert_allclose(other[groups.MIRROR] * FLIP, one, atol=1e-3)


def test_landmarks_broadcast_over_frames():
    model = load_face_model()
    beta = np.random.default_rng(2).uniform(0, 1, (3, 52)).astype(np.float32)
    many = model.landmarks(beta, ZERO_ID)
    assert many.shape == (3, 468, 3)
    np.testing.assert_allclose(many[1], model.landmarks(beta[1], ZERO_ID), atol=1e-5)


def test_jaw_opens_downwards_and_blink_closes_the_lids():
    model = load_face_model()
    beta = np.zeros(52, np.float32)
    beta[ARKIT_INDEX["jawOpen"]] = 1
    assert model.landmarks(beta, ZERO_ID)[152, 1] < model.landmark_rest[152, 1] - 1
    beta[:] = 0
    beta[ARKIT_INDEX["eyeBlinkRight"]] = 1
    upper, lower = groups.EYE_RIGHT_UPPER[4], groups.EYE_RIGHT_LOWER[4]
    closed = model.landmarks(beta, ZERO_ID)
    assert abs(closed[upper, 1] - closed[lower, 1]) < 0.01
    # The other eye stays open.
    np.testing.assert_allclose(
        closed[groups.EYE_LEFT_UPPER[4]], model.landmark_rest[386], atol=0.02
    )


def test_mesh_of_the_landmarks_is_symmetric_and_faces_the_viewer():
    mirrored = groups.CANONICAL[groups.MIRROR] * FLIP
    np.testing.assert_array_equal(mirrored, groups.CANONICAL)
    corner = groups.CANONICAL[groups.TRIANGLES]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    assert (normal[:, 2] > 0).mean() > 0.98
    swapped = {frozenset(groups.MIRROR[t].tolist()) for t in groups.TRIANGLES}
    assert swapped == {frozenset(t.tolist()) for t in groups.TRIANGLES}


@pytest.mark.parametrize(
    "name",
    [
        *("UPPER_LIP_INNER", "LOWER_LIP_INNER", "LIPS_OUTER", "LIPS_INNER", "FACE_OVAL"),
        *("EYE_RIGHT_UPPER", "EYE_RIGHT_LOWER", "EYE_LEFT_UPPER", "EYE_LEFT_LOWER"),
    ],
)
def test_ordered_groups_follow_edges_of_the_mesh(name):
    edges = {frozenset(e) for t in groups.TRIANGLES.tolist() for e in pairwise([*t, t[0]])}
    line = getattr(groups, name)
    assert len(set(line)) == len(line)
    assert all(frozenset(edge) in edges for edge in pairwise(line))


def test_groups_mirror_onto_their_partners():
    def mirrored(group):
        return [int(groups.MIRROR[i]) for i in group]

    assert mirrored(groups.UPPER_LIP_INNER) == list(groups.UPPER_LIP_INNER[::-1])
    assert mirrored(groups.LOWER_LIP_INNER) == list(groups.LOWER_LIP_INNER[::-1])
    assert mirrored(groups.EYE_RIGHT_UPPER) == list(groups.EYE_LEFT_UPPER)
    for name in ("FACE_OVAL", "LIPS", "EYES", "NOSE", "RIGID", "BROWS"):
        assert set(mirrored(getattr(groups, name))) == set(getattr(groups, name))


def test_shipped_files_are_those_the_notice_lists():
    package = Path(mggtalk_cli.__file__).parent
    listed = noticed_hashes()
    assert set(MODEL_FILES) < set(listed)
    shipped = {path.name for path in DATA_DIR.iterdir()} - {"NOTICE"}
    assert shipped <= set(listed)
    for name, digest in listed.items():
        path = package / name if "/" in name else DATA_DIR / name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, name
