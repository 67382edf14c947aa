"""Who is drawn: shape, expression, gaze, and the posed head of the face model with its torso.

    vertices = rest + identity . I + beta . E + landmark offset + smooth noise, neck bent

The frame is the canonical head frame (cm). Every vertex also keeps its place on the mean head at
rest, to which textures, the hairline and everything else painted on a head refer.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import NamedTuple

import numpy as np

from mggtalk_cli import face
from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.mesh import rasterize_mesh
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.training.synth.noise import Field, vectors


class Material(IntEnum):
    """What a triangle is made of; up to the lashes as the parts of the face model are numbered."""

    SKIN = 0
    LEFT_EYE = 1
    RIGHT_EYE = 2
    TONGUE = 3
    UPPER_TEETH = 4
    LOWER_TEETH = 5
    LASHES = 6
    MOUTH = 7
    CLOTH = 10
    UNDERSHIRT = 11
    HEADWEAR = 12
    GLASSES = 13
    HAIR = 14


class Surface(NamedTuple):
    """A triangle mesh.

    Attributes:
        vertices: (V, 3) float32 cm, head frame.
        triangles: (F, 3) int64.
        material: (F,) uint8 `Material`.
        rest: (V, 3) float32 cm, where the vertex lies on the mean head at rest; for cloth and the
            like (along, across, height) texture coordinates in cm.
    """

    vertices: np.ndarray
    triangles: np.ndarray
    material: np.ndarray
    rest: np.ndarray


# Expressions people wear in photos and when they speak: coefficients at full strength. "Pair"
# stands for both sides.
_MOODS: dict[str, dict[str, float]] = {
    "neutral": {},
    "smile": {"mouthSmilePair": 0.7, "cheekSquintPair": 0.5, "eyeSquintPair": 0.3},
    "laugh": {
        **{"mouthSmilePair": 0.9, "jawOpen": 0.3, "mouthUpperUpPair": 0.45},
        **{"cheekSquintPair": 0.7, "eyeSquintPair": 0.5},
    },
    "grin": {"mouthSmilePair": 0.7, "mouthUpperUpPair": 0.5, "mouthLowerDownPair": 0.5},
    "surprise": {"jawOpen": 0.5, "browInnerUp": 0.8, "browOuterUpPair": 0.7, "eyeWidePair": 0.7},
    "frown": {"mouthFrownPair": 0.6, "browDownPair": 0.7, "mouthPressPair": 0.3},
    "doubt": {"browOuterUpLeft": 0.8, "browDownRight": 0.5, "mouthLeft": 0.3},
    "ah": {"jawOpen": 0.55, "mouthLowerDownPair": 0.3},
    "ee": {"jawOpen": 0.15, "mouthStretchPair": 0.5, "mouthLowerDownPair": 0.4},
    "oo": {"jawOpen": 0.15, "mouthPucker": 0.8, "mouthFunnel": 0.3},
    "oh": {"jawOpen": 0.35, "mouthFunnel": 0.6, "mouthPucker": 0.2},
    "mm": {"mouthClose": 0.1, "mouthPressPair": 0.4, "mouthRollLower": 0.4},
    "ef": {"jawOpen": 0.1, "mouthRollLower": 0.6, "mouthUpperUpPair": 0.3},
    "blink": {"eyeBlinkPair": 1.0},
    "sleepy": {"eyeBlinkPair": 0.45, "browInnerUp": 0.2},
}
# What a portrait shows oftener than the rest of the moods: times as often.
_COMMON = {"neutral": 4.0, "smile": 4.0, "laugh": 2.0, "blink": 0.4}
_JITTER = ("browInnerUp", "browDownPair", "eyeSquintPair", "jawOpen", "mouthSmilePair",
           "mouthFrownPair", "mouthPucker", "mouthLeft", "mouthRight", "cheekPuff")  # fmt: skip

# Eyes look this far aside and up, one standard deviation and at most, degrees.
GAZE_DEG, GAZE_MOST_DEG = (9.0, 5.0), (26.0, 16.0)
# Turn of the eyes at which the lids' eyeLook shapes are at 1, degrees.
GAZE_SHAPE_DEG = 30.0
# Where the landmarks' mean offset moves the skin: as a Gaussian of the distance, cm.
OFFSET_REACH_CM = 0.9
OFFSET_FADE_CM = 7.0  # and how far from them it ends
# Unevenness that no shape of the model holds: wavelength and deviation, cm.
UNEVEN_CM = ((9.0, 0.16), (4.0, 0.06))
# The neck bends about this point, between these heights, cm, head frame.
NECK_PIVOT = np.array([0.0, -9.0, -7.0], np.float32)
NECK_CM = (-7.0, -15.0)
# The model's own shoulders are left out from here on: half width and height, cm.
SHOULDERS_CM = (9.5, -15.5)
# Resolution at which it is found what the closed lips hide.
HIDDEN_PX_PER_CM = 12.0


@dataclass(frozen=True)
class Face:
    """What a face does in one moment: `beta` (52,), `gaze_deg` (2,) as `FaceState` means them."""

    beta: np.ndarray
    gaze_deg: np.ndarray


def sample_face(random: np.random.Generator, *, awake: bool = False) -> Face:
    """Return a plausible expression: one mood, a trace of another, noise, lids that follow gaze."""
    names = list(_MOODS)
    odds = np.array([_COMMON.get(name, 1.0) for name in names])
    first, second = random.choice(names, 2, p=odds / odds.sum())
    beta = np.zeros(len(ARKIT_INDEX), np.float32)
    _add(beta, _MOODS[first], float(random.uniform(0.45, 1.05)))
    _add(beta, _MOODS[second], float(random.uniform(0.0, 0.25)))
    for name in _JITTER:
        _add(beta, {name: 1.0}, float(max(random.normal(0, 0.06), 0)))
    gaze = np.clip(random.normal(0, GAZE_DEG), -np.array(GAZE_MOST_DEG), GAZE_MOST_DEG)
    if awake:
        beta[[ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]] *= 0.3
    _look(beta, gaze)
    return Face(np.clip(beta, 0, 1), gaze.astype(np.float32))


def _add(beta: np.ndarray, mood: dict[str, float], strength: float) -> None:
    for name, value in mood.items():
        for side in ("Left", "Right") if name.endswith("Pair") else ("",):
            beta[ARKIT_INDEX[name.removesuffix("Pair") + side]] += value * strength


def _look(beta: np.ndarray, gaze_deg: np.ndarray) -> None:
    """Set the eyeLook coefficients of a gaze: + x to the subject's left, + y up."""
    across, up = gaze_deg / GAZE_SHAPE_DEG
    for side, outward in (("Left", across), ("Right", -across)):
        beta[ARKIT_INDEX[f"eyeLookOut{side}"]] = max(outward, 0)
        beta[ARKIT_INDEX[f"eyeLookIn{side}"]] = max(-outward, 0)
        beta[ARKIT_INDEX[f"eyeLookUp{side}"]] = max(up, 0)
        beta[ARKIT_INDEX[f"eyeLookDown{side}"]] = max(-up, 0)


@dataclass(frozen=True)
class Person:
    """A head that can be posed.

    Attributes:
        identity: (40,) float32 coefficients in standard deviations.
        uneven: (V, 3) float32 cm, own small deviations of every vertex.
        torso: (3, 3) rotation of the torso relative to the head.
    """

    identity: np.ndarray
    uneven: np.ndarray
    torso: np.ndarray


def sample_person(random: np.random.Generator, torso: np.ndarray) -> Person:
    """Return a person of random shape."""
    model = face.load_face_model()
    field = Field(random)
    uneven = np.zeros_like(model.rest)
    for index, (wavelength, strength) in enumerate(UNEVEN_CM):
        uneven += strength * vectors(field, model.rest, wavelength, 5.0 * index)
    own = model.part != Material.SKIN  # eyes, teeth and lashes stay as they are
    apart = np.unique(model.triangles[own])
    centre = model.rest[apart]
    # Their surroundings move with them: what they share is the mean motion near them.
    uneven[apart] = 0
    near = np.exp(-(_distance(model.rest, centre) ** 2) / 2)
    identity = np.clip(random.normal(size=len(model.identity_basis)), -2.5, 2.5)
    return Person(identity.astype(np.float32), uneven * (1 - near)[:, None], torso)


def _distance(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(others).query(points)[0])


@cache
def _mean_offset() -> np.ndarray:
    """Return (V, 3) cm that moves the mean head's skin to where photos show its landmarks."""
    model = face.load_face_model()
    carried = np.einsum("lkc,lk->lc", model.rest[model.landmark_vertices], model.landmark_weights)
    offset = model.landmark_rest - carried
    apart = ((model.rest[:, None] - carried[None]) ** 2).sum(-1)
    weight = np.exp(-apart / (2 * OFFSET_REACH_CM**2))
    total = weight.sum(1)
    moved = np.einsum("vl,lc->vc", weight, offset) / np.maximum(total, 1e-12)[:, None]
    fade = 1 - smoothstep(np.sqrt(apart.min(1)), 0.0, OFFSET_FADE_CM)
    return np.asarray(moved * fade[:, None], np.float32)


def posed_head(person: Person, moment: Face) -> Surface:
    """Return the head model in one moment, neck bent, eyes turned."""
    model = face.load_face_model()
    vertices = model.vertices(moment.beta, person.identity) + _mean_offset() + person.uneven
    still = model.vertices(np.zeros_like(moment.beta), person.identity) + _mean_offset()
    for part in (Material.LEFT_EYE, Material.RIGHT_EYE):
        used = np.unique(model.triangles[model.part == part])
        centre = still[used].mean(0)
        turn = matrix_from_angles(float(moment.gaze_deg[0]), -float(moment.gaze_deg[1]), 0)
        vertices[used] = (still[used] - centre) @ turn.T + centre
    kept = _kept()
    return Surface(
        bent(person, vertices).astype(np.float32),
        model.triangles[kept].astype(np.int64),
        _materials()[kept],
        model.rest,
    )


@cache
def _kept() -> np.ndarray:
    """Return (F,) bool the triangles above the shoulders, whose rim is ragged."""
    model = face.load_face_model()
    centre = model.rest[model.triangles].mean(1)
    return np.asarray((centre[:, 1] > SHOULDERS_CM[1]) & (np.abs(centre[:, 0]) < SHOULDERS_CM[0]))


@cache
def _materials() -> np.ndarray:
    """Return (F,) uint8 materials of the triangles; skin that closed lips hide is MOUTH."""
    model = face.load_face_model()
    material = np.where(model.part > Material.LASHES, Material.LASHES, model.part)
    skin = np.flatnonzero(material == Material.SKIN)
    seen = np.zeros(len(skin), bool)
    for yaw in (-60, -25, 0, 25, 60):
        for pitch in (-40, 0, 30):
            turned = model.rest @ matrix_from_angles(yaw, pitch, 0).T
            xy = (turned[:, :2] * (1, -1) + 30) * HIDDEN_PX_PER_CM
            side = int(60 * HIDDEN_PX_PER_CM)
            index, _, _ = rasterize_mesh(
                xy, -turned[:, 2], model.triangles[skin], height=side, width=side
            )
            seen[np.unique(index[index >= 0])] = True
    centre = model.rest[model.triangles[skin]].mean(1)
    near = (np.abs(centre[:, 0]) < 4) & (centre[:, 1] < -1.8) & (centre[:, 1] > -8)
    material[skin[~seen & near & (centre[:, 2] > -6)]] = Material.MOUTH
    return np.asarray(material, np.uint8)


def bent(person: Person, points: np.ndarray) -> np.ndarray:
    """Return points (n, 3) of an upright body with the neck bent; the head stays."""
    weight = smoothstep(-points[:, 1], -NECK_CM[0], -NECK_CM[1])[:, None]
    turned = (points - NECK_PIVOT) @ person.torso.T + NECK_PIVOT
    return np.asarray(points + weight * (turned - points))


def landmarks_of(head: Surface) -> np.ndarray:
    """Return the (468, 3) landmarks of a posed head, cm, head frame."""
    model = face.load_face_model()
    corners = head.vertices[model.landmark_vertices]
    return np.asarray(np.einsum("lkc,lk->lc", corners, model.landmark_weights))


def vertex_normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return (V, 3) float32 unit normals, mean of the triangles' weighted by area."""
    corner = vertices[triangles]
    area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    flat = triangles.ravel()
    normal: np.ndarray = np.stack(
        [np.bincount(flat, np.repeat(area[:, c], 3), len(vertices)) for c in range(3)], -1
    )
    length = np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    return np.asarray(normal / length, np.float32)


def joined(surfaces: list[Surface]) -> Surface:
    """Return several surfaces as one."""
    starts = np.cumsum([0, *(len(s.vertices) for s in surfaces[:-1])])
    return Surface(
        np.concatenate([s.vertices for s in surfaces]).astype(np.float32),
        np.concatenate([s.triangles + n for s, n in zip(surfaces, starts, strict=True)]),
        np.concatenate([s.material for s in surfaces]),
        np.concatenate([s.rest for s in surfaces]).astype(np.float32),
    )
