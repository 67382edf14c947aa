"""One made-up portrait: who, in what clothes and light, before what, seen by which camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.rotation import angles_from_matrix, matrix_from_angles
from mggtalk_cli.training.synth.clothes import (
    Outfit,
    glasses,
    headwear_cover,
    outfit_of,
    sample_outfit,
)
from mggtalk_cli.training.synth.draw import Drawn, Figure
from mggtalk_cli.training.synth.hair import Hair, hair_of, sample_hair
from mggtalk_cli.training.synth.light import Light, sample_light
from mggtalk_cli.training.synth.person import (
    Face,
    Person,
    Surface,
    joined,
    landmarks_of,
    posed_head,
    sample_face,
    sample_person,
)
from mggtalk_cli.training.synth.skin import Painter, Skin, sample_skin
from mggtalk_cli.training.synth.strands import Body, Strands

# What random numbers are for.
SCENE, BACKGROUND, CAMERA, NOISE = range(4)
# Head turns in photos: deviation and limit of yaw, pitch and roll, degrees.
TURN_DEG, TURN_MOST_DEG = (17.0, 7.0, 5.0), (40.0, 20.0, 15.0)
# The torso turns with the head by this share, give or take so many degrees.
TORSO_SHARE, TORSO_DEG = 0.45, (10.0, 4.0, 3.0)
# Side of the picture around the face, cm, and the middle of what is framed, head frame.
FRAME_CM, FRAME_CENTRE = (33.0, 44.0), np.array([0.0, 0.5, 0.0])
DISTANCE_CM = (55.0, 160.0)
# Further views are turned from the photo by up to this, degrees.
VIEW_YAW_DEG, VIEW_PITCH_DEG = 50.0, 15.0


@dataclass(frozen=True)
class Scene:
    """A made-up portrait before it is drawn; `seed` gives it all."""

    person: Person
    faces: list[Face]
    skin: Skin
    hair: Hair
    outfit: Outfit
    light: Light
    cameras: list[Camera]
    seed: tuple[int, ...]


def sample_scene(seed: tuple[int, ...], *, size: int, views: int) -> Scene:
    """Return the scene of a seed.

    View 0 is the photo; odd views see the same face from elsewhere, even ones another expression.
    """
    random = np.random.default_rng([SCENE, *seed])
    angles = np.clip(random.normal(0, TURN_DEG), -np.array(TURN_MOST_DEG), TURN_MOST_DEG)
    torso = TORSO_SHARE * angles + random.normal(0, TORSO_DEG)
    head = matrix_from_angles(*angles)
    person = sample_person(random, head.T @ matrix_from_angles(*torso))
    first = sample_face(random, awake=random.random() < 0.9)
    outfit = sample_outfit(random)
    hair = sample_hair(random, bearded=random.random() < 0.4)
    if outfit.headwear == "scarf":
        hair = replace(hair, style="bald")
    camera = _photo_camera(head, size, random)
    faces, cameras = [first], [camera]
    for view in range(1, views):
        faces.append(first if view % 2 else sample_face(random))
        cameras.append(_turned(camera, random))
    return Scene(
        person, faces, sample_skin(random), hair, outfit, sample_light(random), cameras, seed
    )


def _photo_camera(head: np.ndarray, size: int, random: np.random.Generator) -> Camera:
    distance = float(np.exp(random.uniform(*np.log(DISTANCE_CM))))
    side = random.uniform(*FRAME_CM)
    shift = np.array([*random.normal(0, (0.8, 1.0)), 0.0])
    translation = -head @ FRAME_CENTRE + shift + (0, 0, -distance)
    return Camera(viewmat_from_pose(head, translation), size * distance / side, size, size)


def _turned(camera: Camera, random: np.random.Generator) -> Camera:
    """Return the camera moved about the head."""
    yaw = random.uniform(-VIEW_YAW_DEG, VIEW_YAW_DEG)
    turn = matrix_from_angles(yaw, random.uniform(-VIEW_PITCH_DEG, VIEW_PITCH_DEG), 0)
    flip = np.diag([1.0, -1.0, -1.0])
    rotation = flip @ camera.viewmat[:3, :3]
    centre = rotation @ FRAME_CENTRE + flip @ camera.viewmat[:3, 3]
    turned = turn @ rotation
    return replace(camera, viewmat=viewmat_from_pose(turned, centre - turned @ FRAME_CENTRE))


class Studio:
    """Draws the views of one scene; figures of one expression are built once."""

    def __init__(self, scene: Scene) -> None:
        """Prepare colours and background."""
        self.scene = scene
        self._painter = Painter(scene.skin, scene.hair, scene.outfit)
        self._figures: dict[int, Figure] = {}
        self._heads: dict[int, Surface] = {}

    def landmarks(self, view: int) -> np.ndarray:
        """Return the (468, 3) landmarks of a view, cm, head frame."""
        return landmarks_of(self._head(view))

    def draw(self, view: int) -> Drawn:
        """Return what the camera of a view sees."""
        return self._figure(view).seen(self.scene.cameras[view])

    def _key(self, view: int) -> int:
        """Return the first view with the same expression."""
        return next(k for k, f in enumerate(self.scene.faces) if f is self.scene.faces[view])

    def _head(self, view: int) -> Surface:
        key = self._key(view)
        if key not in self._heads:
            self._heads[key] = posed_head(self.scene.person, self.scene.faces[key])
        return self._heads[key]

    def _figure(self, view: int) -> Figure:
        key = self._key(view)
        if key not in self._figures:
            surface, strands = self._dressed(view)
            to_camera = np.diag([1, -1, -1]) @ self.scene.cameras[0].viewmat[:3, :3]
            self._figures[key] = Figure(
                surface, strands, self._painter, self.scene.light, to_camera
            )
        return self._figures[key]

    def _dressed(self, view: int) -> tuple[Surface, list[Strands]]:
        scene, head = self.scene, self._head(view)
        clothes = outfit_of(scene.outfit, scene.person)
        down = np.array([0.0, -1.0, 0.0]) @ (
            np.diag([1, -1, -1]) @ scene.cameras[0].viewmat[:3, :3]
        )
        skin = Surface(head.vertices, head.triangles[head.material == 0], head.material, head.rest)
        strands = hair_of(scene.hair, head, Body(joined([skin, *clothes])), down)
        if scene.outfit.headwear:
            strands = [_uncovered(s, scene.outfit.headwear) for s in strands]
        worn = [head, *clothes]
        if scene.outfit.glasses > 0:
            worn.append(glasses(scene.outfit.glasses, landmarks_of(head)))
        return joined(worn), strands


def _uncovered(strands: Strands, headwear: str) -> Strands:
    """Return the strands whose roots a cap or scarf leaves free."""
    free = ~headwear_cover(headwear, strands.points[:, 0] * (1, 1, 1))
    return Strands(strands.points[free], strands.radius[free], strands.color[free])


def yaw_deg(camera: Camera) -> float:
    """Return by how much the head is turned aside before a camera, degrees."""
    return float(angles_from_matrix(np.diag([1, -1, -1]) @ camera.viewmat[:3, :3])[0])


def background(scene: Scene) -> np.ndarray:
    """Return (H, W, 3) float32 linear RGB of what lies behind: a wall, a blurred room, a garden."""
    random = np.random.default_rng([BACKGROUND, *scene.seed])
    height, width = scene.cameras[0].height, scene.cameras[0].width
    base = random.dirichlet((30, 30, 30)) * 3 * random.uniform(0.03, 0.7)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    slope = random.normal(0, 0.6, 2)
    picture = base * np.exp(slope[0] * (x - 0.5) + slope[1] * (y - 0.5))[..., None]
    picture = picture.astype(np.float32)
    for _ in range(random.choice([0, 6, 30, 80])):
        color = base * np.exp(random.normal(0, 0.7)) * np.exp(random.normal(0, 0.2, 3))
        low = random.uniform(-0.1, 1, 2) * (width, height)
        size = random.uniform(0.03, 0.5, 2) * (width, height)
        a, b = np.rint(low).astype(int), np.rint(low + size).astype(int)
        if random.random() < 0.6:
            cv2.rectangle(picture, a.tolist(), b.tolist(), color.tolist(), -1)
        else:
            cv2.circle(picture, a.tolist(), int(size[0] / 3) + 1, color.tolist(), -1, cv2.LINE_AA)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), float(random.uniform(0.004, 0.05)) * width))


def developed(drawn: Drawn, behind: np.ndarray, scene: Scene, view: int) -> np.ndarray:
    """Return the finished picture (H, W, 3) uint8: exposed, blurred, noisy, compressed.

    Exposure and white balance are those of the photo's face in every view.
    """
    random = np.random.default_rng([CAMERA, *scene.seed])
    linear = drawn.color + (1 - drawn.coverage[..., None]) * behind
    tone = float(np.mean(scene.skin.tone @ np.array([0.3, 0.6, 0.1])))
    # Cameras expose dark skin longer, but not until it is light.
    exposure = 0.95 * (0.3 / tone) ** 0.45 * np.exp(random.normal(0, 0.15))
    linear = linear * exposure * np.exp(random.normal(0, 0.05, 3))
    linear = cv2.GaussianBlur(linear, (0, 0), float(random.uniform(0.35, 0.8)))
    linear = linear / (1 + 0.25 * np.maximum(linear - 0.2, 0))  # film's soft shoulder
    picture = np.clip(linear, 0, 1) ** (1 / 2.2)
    noise = np.random.default_rng([NOISE, view, *scene.seed]).normal(size=picture.shape)
    picture = picture + random.uniform(0.002, 0.012) * noise
    return np.asarray(np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8))
