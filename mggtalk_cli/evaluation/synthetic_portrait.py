"""A made-up portrait and a made-up voice, for benchmarks where no photo and no speech is given.

The face model is shaded and its lips, eyes and brows are painted on: nobody's face, but enough of
one for the detector, so that every stage has its usual work to do.
"""

from __future__ import annotations

import wave
from pathlib import Path

import cv2
import numpy as np

from mggtalk_cli import face
from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.landmark_groups import (
    BROW_LEFT,
    BROW_RIGHT,
    EYE_LEFT_LOWER,
    EYE_LEFT_UPPER,
    EYE_RIGHT_LOWER,
    EYE_RIGHT_UPPER,
    LIPS_INNER,
    LIPS_OUTER,
)
from mggtalk_cli.core.mesh import rasterize_mesh
from mggtalk_cli.core.rotation import matrix_from_angles

SKIN_RGB, LIP_RGB, BROW_RGB = (0.80, 0.62, 0.52), (0.66, 0.36, 0.35), (0.25, 0.18, 0.14)
WHITE_RGB, IRIS_RGB, HAIR_RGB = (0.92, 0.90, 0.88), (0.22, 0.16, 0.12), (0.20, 0.15, 0.12)
WALL_RGB, CLOTH_RGB = (0.55, 0.62, 0.68), (0.25, 0.32, 0.45)

# Light from above, from the viewer's side (head frame).
LIGHT = np.array([0.35, 0.55, 0.75]) / np.linalg.norm([0.35, 0.55, 0.75])
DISTANCE_CM, FOCAL_SIDES = 90.0, 2.3
SOUND_RATE = 16000


def draw_portrait(side: int = 640) -> np.ndarray:
    """Return a (side, side, 3) uint8 picture of a head with shoulders before a wall."""
    model = face.load_face_model()
    beta, identity = np.zeros(52, np.float32), np.zeros(40, np.float32)
    rotation = matrix_from_angles(4, 2, 0)
    pose = viewmat_from_pose(rotation, np.array([0.0, 1.0, -DISTANCE_CM]))
    camera = Camera(pose, FOCAL_SIDES * side, side, side)
    vertices = model.vertices(beta, identity)
    picture = _wall(side)
    landmarks = camera.project(model.landmarks(beta, identity))[:, :2]
    _paint_behind(picture, landmarks, side)
    _paint_skin(picture, vertices, model.triangles[model.part == 0], camera)
    _paint_features(picture, landmarks)
    # Cameras blur a little and are noisy.
    picture = cv2.GaussianBlur(picture, (0, 0), 0.8)
    picture += np.random.default_rng(0).normal(0, 0.01, picture.shape).astype(np.float32)
    return (picture.clip(0, 1) * 255).round().astype(np.uint8)


def _wall(side: int) -> np.ndarray:
    light = np.linspace(1.05, 0.8, side, dtype=np.float32)[:, None, None]
    wall = np.array(WALL_RGB, np.float32) * light
    return np.ascontiguousarray(np.broadcast_to(wall, (side, side, 3)))


def _paint_behind(picture: np.ndarray, landmarks: np.ndarray, side: int) -> None:
    """Hair behind the head, and shoulders below it."""
    left, right = landmarks[234], landmarks[454]
    centre, width = (left + right) / 2, float(np.linalg.norm(right - left))
    axes = (round(0.72 * width), round(0.95 * width))
    middle = (round(float(centre[0])), round(float(centre[1] - 0.15 * width)))
    cv2.ellipse(picture, middle, axes, 0, 0, 360, HAIR_RGB, -1, cv2.LINE_AA)
    chin = landmarks[152]
    shoulders = (round(float(chin[0])), round(float(chin[1] + 1.2 * width)))
    cv2.ellipse(
        picture, shoulders, (round(1.5 * width), round(0.85 * width)), 0, 0, 360, CLOTH_RGB, -1,
        cv2.LINE_AA,
    )  # fmt: skip


def _paint_skin(
    picture: np.ndarray, vertices: np.ndarray, triangles: np.ndarray, camera: Camera
) -> None:
    corners = vertices[triangles]
    flat = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(vertices, dtype=np.float64)
    for corner in range(3):
        np.add.at(normals, triangles[:, corner], flat)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    shade = 0.35 + 0.65 * np.clip(normals @ LIGHT, 0, 1)
    seen = camera.project(vertices)
    index, bary, _ = rasterize_mesh(
        seen[:, :2], seen[:, 2], triangles, height=camera.height, width=camera.width
    )
    hit = index >= 0
    lit = (bary[hit] * shade[triangles[index[hit]]]).sum(-1)
    picture[hit] = (lit[:, None] * np.array(SKIN_RGB)).astype(np.float32)


def _paint_features(picture: np.ndarray, landmarks: np.ndarray) -> None:
    def fill(ring: tuple[int, ...], color: tuple[float, ...]) -> None:
        cv2.fillPoly(picture, [landmarks[list(ring)].round().astype(np.int32)], color, cv2.LINE_AA)

    fill(LIPS_OUTER, LIP_RGB)
    fill(LIPS_INNER, (0.35, 0.15, 0.15))
    for brow in (BROW_RIGHT, BROW_LEFT):
        fill(brow[:5] + brow[:4:-1], BROW_RGB)
    for upper, lower in ((EYE_RIGHT_UPPER, EYE_RIGHT_LOWER), (EYE_LEFT_UPPER, EYE_LEFT_LOWER)):
        ring = landmarks[[*upper, *lower[-2:0:-1]]]
        eye = np.zeros(picture.shape[:2], np.uint8)
        cv2.fillPoly(eye, [ring.round().astype(np.int32)], 255, cv2.LINE_AA)
        ball = np.broadcast_to(np.array(WHITE_RGB, np.float32), picture.shape).copy()
        width = float(np.ptp(ring[:, 0]))
        centre = tuple(ring.mean(0).round().astype(int).tolist())
        cv2.circle(ball, centre, round(0.22 * width), IRIS_RGB, -1, cv2.LINE_AA)
        cv2.circle(ball, centre, round(0.09 * width), (0.03, 0.03, 0.03), -1, cv2.LINE_AA)
        share = (eye.astype(np.float32) / 255)[..., None]
        picture[:] = picture * (1 - share) + ball * share
        lash = landmarks[list(upper)].round().astype(np.int32)
        cv2.polylines(picture, [lash], False, BROW_RGB, max(1, round(0.05 * width)), cv2.LINE_AA)


def write_voice(path: Path, seconds: float, *, seed: int = 0) -> None:
    """Write a mono wav that babbles: pulses through two moving resonances, in syllables."""
    random = np.random.default_rng(seed)
    count = round(seconds * SOUND_RATE)
    time = np.arange(count) / SOUND_RATE
    pitch = 120 + 15 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / SOUND_RATE
    syllables = np.clip(np.sin(2 * np.pi * 4 * time), 0, 1) ** 0.7
    sound = np.zeros(count)
    for harmonic in range(1, 30):
        hertz = harmonic * pitch
        first = 550 + 200 * np.sin(2 * np.pi * 2.1 * time)
        second = 1500 + 500 * np.sin(2 * np.pi * 1.3 * time)
        gain = np.exp(-(((hertz - first) / 150) ** 2)) + 0.5 * np.exp(
            -(((hertz - second) / 200) ** 2)
        )
        sound += gain * np.sin(harmonic * phase)
    sound = 0.3 * syllables * sound / np.abs(sound).max() + 0.001 * random.normal(size=count)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SOUND_RATE)
        file.writeframes((sound.clip(-1, 1) * 32767).astype("<i2").tobytes())
