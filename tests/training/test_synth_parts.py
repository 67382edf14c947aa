"""The parts made-up heads are put together from, on shapes whose truth is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli import face
from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.core.mesh import rasterize_mesh
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.training.synth.compare import comparable_depth, similarity
from mggtalk_cli.training.synth.draw import Figure
from mggtalk_cli.training.synth.hair import STYLES, Hair, hair_of, scalp_cover
from mggtalk_cli.training.synth.light import SKY_DIRECTIONS, Light, shadow_map
from mggtalk_cli.training.synth.noise import Field
from mggtalk_cli.training.synth.person import (
    NECK_CM,
    NECK_PIVOT,
    Face,
    Material,
    Person,
    Surface,
    bent,
    landmarks_of,
    posed_head,
    sample_face,
)
from mggtalk_cli.training.synth.skin import Look
from mggtalk_cli.training.synth.strands import FRINGE_END_CM, Body, Growth, Roots, Strands, grow

DOWN = np.array([0.0, -1.0, 0.0])
STILL = Face(np.zeros(52, np.float32), np.zeros(2, np.float32))


def plain_person() -> Person:
    model = face.load_face_model()
    return Person(np.zeros(40, np.float32), np.zeros_like(model.rest), np.eye(3))


def ball(radius: float, centre: tuple[float, float, float], rows: int = 60) -> Surface:
    """A sphere whose triangles look outwards."""
    rise, turn = np.meshgrid(
        np.linspace(-np.pi / 2, np.pi / 2, rows), np.linspace(0, 2 * np.pi, 2 * rows), indexing="ij"
    )
    unit = np.stack(
        [np.cos(rise) * np.sin(turn), np.sin(rise), np.cos(rise) * np.cos(turn)], -1
    ).reshape(-1, 3)
    index = np.arange(rows * 2 * rows).reshape(rows, -1)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate([np.stack(t, -1).reshape(-1, 3) for t in ((a, b, c), (b, d, c))])
    vertices = (unit * radius + centre).astype(np.float32)
    return Surface(vertices, triangles, np.zeros(len(triangles), np.uint8), vertices)


def white(material: np.ndarray, rest: np.ndarray) -> Look:
    return Look(np.ones((len(rest), 3)), np.zeros(len(rest)), np.ones(len(rest)))


def even_light(lamp: float = 0.0) -> Light:
    index = np.arange(SKY_DIRECTIONS)
    sky = np.stack([np.sin(index), 0 * index, np.cos(index)], -1)
    up = np.array([0.0, 0.0, 1.0])
    return Light(sky, np.ones((SKY_DIRECTIONS, 3)), up, np.full(3, lamp))


def front_camera(size: int = 96, distance: float = 80.0) -> Camera:
    pose = viewmat_from_pose(np.eye(3), np.array([0.0, 0.0, -distance]))
    return Camera(pose, 2.0 * size, size, size)


def test_field_has_unit_deviation_and_repeats() -> None:
    points = np.random.default_rng(0).uniform(-100, 100, (20000, 3))
    field = Field(np.random.default_rng(1))
    values = field(points, 2.0, octaves=3)
    assert 0.8 < values.std() < 1.2
    np.testing.assert_array_equal(values, Field(np.random.default_rng(1))(points, 2.0, octaves=3))
    near = field(points + 1e-3, 2.0)
    assert np.abs(near - field(points, 2.0)).max() < 0.01


def test_similarity_is_recovered() -> None:
    random = np.random.default_rng(2)
    scene = random.normal(size=(468, 3)) * 5
    turn = matrix_from_angles(20, -10, 5)
    fitted = 1.3 * scene @ turn.T + (1, 2, 3)
    found = similarity(scene, fitted)
    np.testing.assert_allclose(found[:3, :3], 1.3 * turn, atol=1e-9)
    np.testing.assert_allclose(found[:3, 3], (1, 2, 3), atol=1e-9)


def test_comparable_depth_takes_scale_and_offset_out() -> None:
    true = np.random.default_rng(3).uniform(60, 80, (20, 20))
    true[:3] = 0
    fitted = 1.2 * true + 15
    fitted[10:] += 4  # a wrong part outside the face
    where = np.zeros(true.shape, bool)
    where[3:10] = True
    found = comparable_depth(true, fitted, where, np.diag([1.2, 1.2, 1.2, 1]))
    assert np.isnan(found[:3]).all()
    np.testing.assert_allclose(found[3:10], fitted[3:10], atol=1e-4)
    np.testing.assert_allclose(found[10:], fitted[10:] - 4, atol=1e-4)


@pytest.mark.parametrize("seed", range(8))
def test_faces_stay_within_the_coefficients_range(seed: int) -> None:
    moment = sample_face(np.random.default_rng(seed))
    assert moment.beta.shape == (52,)
    assert moment.beta.min() >= 0
    assert moment.beta.max() <= 1
    right = moment.beta[ARKIT_INDEX["eyeLookOutRight"]]
    assert (right > 0) == (moment.gaze_deg[0] < 0)  # the subject's right is at image left


def test_the_mean_head_has_its_landmarks_where_photos_show_them() -> None:
    model = face.load_face_model()
    found = landmarks_of(posed_head(plain_person(), STILL))
    bare = np.einsum("lkc,lk->lc", model.rest[model.landmark_vertices], model.landmark_weights)
    left, before = found - model.landmark_rest, bare - model.landmark_rest
    # The skin follows smoothly, so not every landmark's own offset is met.
    assert np.linalg.norm(left, axis=1).mean() < 0.7 * np.linalg.norm(before, axis=1).mean()
    assert np.abs(left.mean(0)).max() < 0.02


def test_eyes_turn_with_the_gaze() -> None:
    model = face.load_face_model()
    looking = posed_head(plain_person(), Face(STILL.beta, np.array([20.0, 10.0])))
    still = posed_head(plain_person(), STILL)
    used = np.unique(model.triangles[model.part == Material.LEFT_EYE])
    front = used[np.argmax(still.vertices[used, 2])]
    moved = looking.vertices[front] - still.vertices[front]
    assert moved[0] > 0.3  # towards the subject's left
    assert moved[1] > 0.15
    skin = np.unique(model.triangles[model.part == Material.SKIN])
    np.testing.assert_array_equal(looking.vertices[skin], still.vertices[skin])


def test_the_neck_bends_below_the_head_only() -> None:
    person = Person(np.zeros(40), np.zeros((1, 3)), matrix_from_angles(30, 0, 0))
    points = np.array([[3.0, NECK_CM[0] + 1, 2.0], [3.0, NECK_CM[1] - 1, 2.0]])
    moved = bent(person, points)
    np.testing.assert_allclose(moved[0], points[0])
    whole = (points[1] - NECK_PIVOT) @ person.torso.T + NECK_PIVOT
    np.testing.assert_allclose(moved[1], whole, atol=1e-5)


def test_the_mouths_inside_is_seen_only_when_it_is_open() -> None:
    camera = Camera(viewmat_from_pose(np.eye(3), np.array([0.0, 0.0, -80.0])), 800.0, 256, 256)

    def inside_px(beta: np.ndarray) -> int:
        head = posed_head(plain_person(), Face(beta, np.zeros(2)))
        seen = camera.project(head.vertices)
        index, _, _ = rasterize_mesh(seen[:, :2], seen[:, 2], head.triangles, height=256, width=256)
        return int((head.material[index[index >= 0]] == Material.MOUTH).sum())

    open_ = np.zeros(52, np.float32)
    open_[ARKIT_INDEX["jawOpen"]] = 0.7
    assert inside_px(STILL.beta) < 12
    assert inside_px(open_) > 40


def test_points_are_lifted_out_of_a_body() -> None:
    random = np.random.default_rng(4)
    points = random.normal(size=(300, 3))
    points *= (random.uniform(8.5, 11, 300) / np.linalg.norm(points, axis=1))[:, None]
    out = Body(ball(10, (0, 0, 0), 90)).outside(points, np.full(300, 0.5))
    radius = np.linalg.norm(out, axis=1)
    inside = np.linalg.norm(points, axis=1) < 10.5
    assert radius[inside].min() > 10.3 - 0.5  # at most 1.5 cm a time, from 8.5 on
    assert np.abs(radius[np.linalg.norm(points, axis=1) > 9.5] - 10.5).min() < 0.1
    np.testing.assert_allclose(out[~inside], points[~inside], atol=0.06)


def roots_on_top(count: int, random: np.random.Generator) -> Roots:
    normals = random.normal(size=(count, 3)) * (0.4, 0, 0.4) + (0, 1, 0)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Roots(10 * normals, normals, np.tile([1.0, 0, 0], (count, 1)))


def test_strands_stay_outside_and_hang_down() -> None:
    random = np.random.default_rng(5)
    growth = Growth((20.0, 0.0), lift_cm=1.0, weight=0.8, locks=0, free=True)
    strands = grow(roots_on_top(200, random), growth, Body(ball(10, (0, 0, 0), 90)), DOWN, random)
    radius = np.linalg.norm(strands, axis=2)
    assert radius.min() > 9.9
    assert 10.3 < np.median(radius[:, 3:6]) < 11.5
    assert np.median(strands[:, -1, 1]) < np.median(strands[:, 0, 1]) - 5


def test_tied_strands_end_at_the_knot() -> None:
    random, knot = np.random.default_rng(6), (0.0, 4.0, -16.0)
    growth = Growth((10.0, 0.0), lift_cm=0.5, locks=0, tied=knot, free=True)
    strands = grow(roots_on_top(50, random), growth, Body(ball(10, (0, 4, -4), 90)), DOWN, random)
    np.testing.assert_allclose(strands[:, -1], np.tile(knot, (50, 1)), atol=0.1)


def test_a_fringe_ends_above_the_eyes() -> None:
    random = np.random.default_rng(7)
    growth = Growth((12.0, 0.0), weight=1.0, locks=0, fringe=True)
    roots = Roots(
        np.tile([0.0, 9.0, 6.0], (40, 1)), np.tile([0.0, 0, 1], (40, 1)),
        np.tile([0.0, -1, 0], (40, 1)),
    )  # fmt: skip
    far = Body(ball(1, (0, 50, 0)))
    strands = grow(roots, growth, far, DOWN, random)
    assert strands[..., 1].min() > FRINGE_END_CM - 2
    free = Growth((12.0, 0.0), weight=1.0, locks=0, free=True)
    assert grow(roots, free, far, DOWN, random)[..., 1].min() < 0


@pytest.mark.parametrize("style", STYLES)
def test_every_style_leaves_the_face_free(style: str) -> None:
    head = posed_head(plain_person(), STILL)
    hair = Hair(style, np.full(3, 0.1), np.full(3, 0.1), 0.0, "none", 3)
    eyes_and_mouth = landmarks_of(head)[[159, 386, 13, 1]]
    assert scalp_cover(eyes_and_mouth, hair).max() == 0
    brows, *made = hair_of(hair, head, Body(head), DOWN)
    assert np.isfinite(brows.points).all()
    assert bool(made) == (STYLES[style].share > 0)
    for strands in made:
        assert np.isfinite(strands.points).all()
        x, y, z = strands.points.reshape(-1, 3).T
        assert ((np.abs(x) < 4) & (np.abs(y) < 3.5) & (z > 3)).mean() < 0.002


def test_hair_stands_off_the_scalp() -> None:
    head = posed_head(plain_person(), STILL)
    top = {}
    for style in ("buzz", "afro"):
        hair = Hair(style, np.full(3, 0.1), np.full(3, 0.1), 0.0, "none", 3)
        top[style] = hair_of(hair, head, Body(head), DOWN)[1].points[..., 1].max()
    scalp = float(head.vertices[:, 1].max())
    assert scalp < top["buzz"] < scalp + 1.2
    assert top["afro"] > scalp + 3


def test_a_ball_is_drawn_where_it_is() -> None:
    figure = Figure(ball(8, (0, 0, 0)), [], white, even_light(), np.eye(3))
    camera = front_camera()
    seen = figure.seen(camera)
    middle = seen.depth[47:49, 47:49]
    np.testing.assert_allclose(middle, 72, atol=0.05)
    np.testing.assert_allclose(seen.normals[47:49, 47:49], np.tile([0, 0, 1], (2, 2, 1)), atol=0.06)
    # A sphere of 8 cm at 80 cm looks like a disc of tangent angle asin(.1).
    radius = camera.focal_px * np.tan(np.arcsin(0.1))
    assert seen.coverage.sum() == pytest.approx(np.pi * radius**2, rel=0.01)
    assert seen.depth[0, 0] == 0
    assert seen.normals[48, 62, 0] > 0.5  # the image's right side looks right,
    assert seen.normals[34, 48, 1] > 0.5  # the upper one up


def test_the_lamp_lights_its_side_and_bodies_throw_shadows() -> None:
    lit = Figure(ball(8, (0, 0, 0)), [], white, even_light(2.0), np.eye(3)).seen(front_camera())
    assert lit.color[48, 48].mean() > lit.color[48, 60].mean() > 0
    shadow = shadow_map(np.array([0.0, 0.0, 1.0]), *ball(5, (0, -6, 10))[:2], 200)
    shade = shadow.visible(np.array([[0, -6, -5], [9, -6, -5], [0, -6, 18]], np.float32), 0.2)
    np.testing.assert_allclose(shade, [0, 1, 1])


def test_strands_are_drawn_in_front_of_what_they_cover() -> None:
    line = np.stack([np.linspace(-4, 4, 17), np.zeros(17), np.full(17, 12.0)], -1)
    strand = Strands(line[None], np.array([0.8]), np.array([[1.0, 0, 0]]))
    seen = Figure(ball(8, (0, 0, 0)), [strand], white, even_light(), np.eye(3)).seen(front_camera())
    assert seen.depth[48, 48] == pytest.approx(68, abs=0.3)
    assert seen.hair[48, 48] == pytest.approx(1)
    assert seen.color[48, 48, 1] < 0.1 * seen.color[30, 48, 1]
    assert seen.hair[30, 48] == 0


def test_no_file_of_this_package_is_needed_beyond_the_face_model() -> None:
    folder = Path(face.__file__).parents[1] / "training" / "synth"
    assert {path.suffix for path in folder.iterdir() if path.is_file()} == {".py"}
