"""Binding of pixels to the landmark mesh, on the canonical face seen from the front."""

from __future__ import annotations

import numpy as np
import pytest

from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.landmark_groups import (
    CANONICAL,
    FACE_OVAL,
    LOWER_LIP_INNER,
    TRIANGLES,
    UPPER_LIP_INNER,
)
from mggtalk_cli.core.mesh import rasterize_mesh
from mggtalk_cli.deform import EYE_LEFT, EYE_RIGHT, MOUTH, Binding, bind_face
from mggtalk_cli.deform.binding import CLOSED_GAP_CM, OUTSIDE_DECAY, SKIN

SIZE = 160
CAMERA = Camera(viewmat_from_pose(np.eye(3), np.array([0, 0, -80.0])), 480.0, SIZE, SIZE)
UPPER, LOWER = np.array(UPPER_LIP_INNER), np.array(LOWER_LIP_INNER)


def face(gap_cm: float) -> np.ndarray:
    """The canonical face with its lips `gap_cm` apart in the middle."""
    landmarks = CANONICAL.copy()
    middle = (landmarks[UPPER] + landmarks[LOWER]) / 2
    half = np.sin(np.linspace(0, np.pi, len(UPPER))) * gap_cm / 2
    landmarks[UPPER], landmarks[LOWER] = middle, middle
    landmarks[UPPER, 1] += half
    landmarks[LOWER, 1] -= half
    return landmarks.astype(np.float32)


def bind(landmarks: np.ndarray) -> Binding:
    grey = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    return bind_face(grey, CAMERA.project(landmarks), landmarks)


@pytest.fixture(scope="module")
def closed() -> Binding:
    return bind(face(0.0))


@pytest.fixture(scope="module")
def opened() -> Binding:
    return bind(face(0.8))


def inside_mesh(landmarks: np.ndarray) -> np.ndarray:
    seen = CAMERA.project(landmarks)
    return rasterize_mesh(seen[:, :2], seen[:, 2], TRIANGLES, height=SIZE, width=SIZE)[0] >= 0


def test_weights_are_convex_inside_the_face(closed: Binding) -> None:
    skin = inside_mesh(face(0.0)) & (closed.layer == SKIN)
    assert skin.mean() > 0.2
    np.testing.assert_allclose(closed.weight.sum(-1)[skin], 1, atol=1e-5)
    assert closed.weight.min() > -1e-5
    assert closed.index.min() >= 0
    assert closed.index.max() < 468


def test_skin_pixels_hang_near_their_own_place(closed: Binding) -> None:
    """Bound to the landmarks' own positions, a pixel of the face is (nearly) where it is."""
    seen = CAMERA.project(face(0.0))[:, :2]
    bound = (closed.weight[..., None] * seen[closed.index]).sum(-2)
    y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
    off = np.hypot(bound[..., 0] - x, bound[..., 1] - y)
    skin = inside_mesh(face(0.0)) & (closed.layer == SKIN)
    assert np.median(off[skin]) < 1e-3
    # Skin beside a lid's edge is carried along with it, and only that.
    assert np.percentile(off[skin], 99.9) < 6


def test_influence_fades_outside_and_never_grows(closed: Binding) -> None:
    total = closed.weight.sum(-1)
    chin = CAMERA.project(face(0.0))[FACE_OVAL[18], :2].astype(int)
    down = total[chin[1] + 2 :, chin[0]]
    assert len(down) > 10
    assert (np.diff(down) <= 1e-6).all()
    width = float(np.ptp(CAMERA.project(face(0.0))[:, 0]))
    # The decay length is a share of the face's width.
    steps = np.arange(len(down))
    slope = np.polyfit(steps, np.log(down), 1)[0]
    assert slope == pytest.approx(-1 / (OUTSIDE_DECAY * width), rel=0.1)
    assert total[0, 0] < 0.05


def test_closed_lips_are_skin_split_by_side(closed: Binding) -> None:
    assert not (closed.layer == MOUTH).any()
    seen = CAMERA.project(face(0.0))
    x, line = seen[UPPER[5], 0], seen[UPPER[5], 1]
    column = int(x)
    above, below = int(line) - 3, int(line) + 3
    assert closed.lip_side[above, column] == 1
    assert closed.lip_side[below, column] == -1
    assert closed.lip_side[5, 5] == 0
    # No pixel of one side hangs on the other side's lip edge.
    only_upper, only_lower = set(UPPER[1:-1].tolist()), set(LOWER[1:-1].tolist())
    used = np.where(closed.weight > 1e-6, closed.index, -1)
    assert not only_lower & set(used[closed.lip_side == 1].ravel().tolist())
    assert not only_upper & set(used[closed.lip_side == -1].ravel().tolist())


def test_open_lips_leave_a_mouth_layer(opened: Binding) -> None:
    seen = CAMERA.project(face(0.8))
    middle = seen[[UPPER[5], LOWER[5]], :2].mean(0).astype(int)
    assert opened.layer[middle[1], middle[0]] == MOUTH
    area = np.count_nonzero(opened.layer == MOUTH)
    ring = seen[np.concatenate([UPPER, LOWER[-2:0:-1]]), :2]
    x, y = ring[:, 0], ring[:, 1]
    shoelace = abs(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2
    assert area == pytest.approx(shoelace, rel=0.1)


def test_threshold_of_closed_lips() -> None:
    assert not (bind(face(CLOSED_GAP_CM * 0.9)).layer == MOUTH).any()
    assert (bind(face(CLOSED_GAP_CM * 1.3)).layer == MOUTH).any()


def test_eyes_are_layers_of_their_own(closed: Binding) -> None:
    right, left = closed.layer == EYE_RIGHT, closed.layer == EYE_LEFT
    assert right.any()
    assert left.any()
    # The subject's right eye lies at the left of the picture, and the face is symmetric.
    assert np.nonzero(right)[1].max() < SIZE / 2 < np.nonzero(left)[1].min()
    assert np.count_nonzero(right ^ left[:, ::-1]) <= 0.15 * right.sum()
