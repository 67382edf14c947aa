"""Colours and gloss of what is not hair: skin with lips, eyes, teeth, cloth.

Everything is painted on the mean head at rest (cm), so that it moves with the face. Colours are
linear RGB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import map_coordinates

from mggtalk_cli import face
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.landmark_groups import (
    EYE_LEFT_LOWER,
    EYE_LEFT_UPPER,
    EYE_RIGHT_LOWER,
    EYE_RIGHT_UPPER,
    LIPS_INNER,
    LIPS_OUTER,
)
from mggtalk_cli.deform.teeth import ARCHES, crowns
from mggtalk_cli.training.synth.clothes import Outfit
from mggtalk_cli.training.synth.facial_hair import azimuth_deg, beard_cover
from mggtalk_cli.training.synth.hair import Hair, scalp_cover
from mggtalk_cli.training.synth.noise import Field
from mggtalk_cli.training.synth.person import Material

# Skin from light to dark, linear RGB of the diffuse albedo.
TONES = np.array(
    [(0.62, 0.42, 0.33), (0.55, 0.34, 0.24), (0.44, 0.25, 0.16), (0.30, 0.16, 0.095),
     (0.17, 0.085, 0.05), (0.085, 0.043, 0.027)]
)  # fmt: skip
IRISES = np.array(
    [(0.06, 0.03, 0.015), (0.10, 0.05, 0.02), (0.14, 0.09, 0.03), (0.10, 0.13, 0.06),
     (0.10, 0.17, 0.25), (0.17, 0.21, 0.24)]
)  # fmt: skip
SCLERA, TEETH, GUMS = (0.46, 0.42, 0.40), (0.66, 0.60, 0.48), (0.32, 0.10, 0.09)
MUCOSA, CAVITY = (0.30, 0.09, 0.08), (0.05, 0.012, 0.01)
LIMBUS = (0.02, 0.018, 0.018)
# Angles from the axis of gaze at which the iris and the pupil end, degrees.
IRIS_DEG, PUPIL_DEG = 28.0, 10.0
# The frontal map in which lips, lids and flush are painted: half its side, cm, and pixels per cm.
MAP_HALF_CM, MAP_PX_PER_CM = 12.0, 40
# Lips and teeth lie before these depths, head frame, cm.
MOUTH_FRONT_CM, LIPS_BACK_CM = 4.6, 3.2


class Look(NamedTuple):
    """How surface points look: linear RGB (n, 3), gloss (n,) strength and sharpness (n,)."""

    color: np.ndarray
    gloss: np.ndarray
    sharpness: np.ndarray


@dataclass(frozen=True)
class Skin:
    """One person's skin, eyes and teeth.

    Attributes:
        tone: (3,) linear RGB albedo.
        lips: (3,) of the lips.
        flush: redness of cheeks and nose, 0..1.
        mottled: strength of unevenness.
        freckles: strength of freckles, 0 for most.
        oily: strength of gloss.
        shadow: (3,) colour the lids are painted with and how strongly.
        iris: (3,) linear RGB.
        teeth: (3,) linear RGB.
        seed: of the noise.
    """

    tone: np.ndarray
    lips: np.ndarray
    flush: float
    mottled: float
    freckles: float
    oily: float
    shadow: tuple[np.ndarray, float]
    iris: np.ndarray
    teeth: np.ndarray
    seed: int


def sample_skin(random: np.random.Generator) -> Skin:
    """Return random skin."""
    level = random.uniform(0, len(TONES) - 1)
    tone = np.array([np.interp(level, np.arange(len(TONES)), TONES[:, c]) for c in range(3)])
    tone = tone * np.exp(random.normal(0, 0.05, 3))
    lips = tone * (0.72, 0.42, 0.45) + (0.05, 0.0, 0.008)
    if random.random() < 0.25:  # lipstick
        painted = np.array([random.uniform(0.15, 0.5), *random.uniform(0.01, 0.12, 2)])
        lips = lips + random.uniform(0.3, 0.8) * (painted - lips)
    shadow = np.array([0.03, 0.02, 0.025]), random.beta(1, 2.5)
    row = random.choice(len(IRISES), p=(0.32, 0.24, 0.14, 0.1, 0.12, 0.08))
    return Skin(
        tone=tone,
        lips=lips,
        flush=float(random.uniform(0.1, 0.8)),
        mottled=float(random.uniform(0.02, 0.07)),
        freckles=float(random.uniform(0.2, 0.6) * (random.random() < 0.12)),
        oily=float(random.uniform(0.3, 1.0)),
        shadow=shadow,
        iris=IRISES[row] * np.exp(random.normal(0, 0.2)),
        teeth=np.array(TEETH) * random.uniform(0.75, 1.1) * (1, random.uniform(0.94, 1.02), 1),
        seed=int(random.integers(2**31)),
    )


class Painter:
    """Says how every point of a person looks."""

    def __init__(self, skin: Skin, hair: Hair, outfit: Outfit) -> None:
        """Paint the frontal map."""
        self._skin, self._hair, self._outfit = skin, hair, outfit
        self._field = Field(np.random.default_rng(skin.seed))
        self._lips, self._rims = _frontal_map()
        model = face.load_face_model()
        self._axes = {
            part: model.rest[np.unique(model.triangles[model.part == part])].mean(0)
            for part in (Material.LEFT_EYE, Material.RIGHT_EYE)
        }

    def __call__(self, material: np.ndarray, rest: np.ndarray) -> Look:
        """Return the look of points of a material (n,) at rest places (n, 3)."""
        color = np.zeros((len(rest), 3), np.float32)
        gloss = np.full(len(rest), 0.02, np.float32)
        sharpness = np.full(len(rest), 12.0, np.float32)
        painters = {
            Material.SKIN: self._skin_look,
            Material.LEFT_EYE: self._eye_look,
            Material.RIGHT_EYE: self._eye_look,
            Material.MOUTH: self._mouth_look,
            Material.TONGUE: self._plain((0.36, 0.13, 0.12), 0.25, 40.0),
            Material.UPPER_TEETH: self._teeth_look,
            Material.LOWER_TEETH: self._teeth_look,
            Material.LASHES: self._plain(tuple(0.4 * self._hair.brow_color), 0.0, 8.0),
            Material.CLOTH: self._cloth_look,
            Material.UNDERSHIRT: self._plain(tuple(self._outfit.colors[1]), 0.01, 8.0),
            Material.HEADWEAR: self._plain(tuple(self._outfit.colors[2]), 0.01, 8.0),
            Material.GLASSES: self._plain(tuple(self._outfit.colors[3]), 0.5, 40.0),
        }
        for kind, paint in painters.items():
            here = np.flatnonzero(material == kind)
            if len(here):
                look = paint(rest[here], kind)
                color[here], gloss[here], sharpness[here] = look
        return Look(color, gloss, sharpness)

    @staticmethod
    def _plain(
        color: tuple[float, ...], gloss: float, sharpness: float
    ) -> Callable[[np.ndarray, Material], Look]:
        def paint(rest: np.ndarray, kind: Material) -> Look:
            count = len(rest)
            return Look(
                np.tile(np.asarray(color, np.float32), (count, 1)),
                np.full(count, gloss),
                np.full(count, sharpness),
            )

        return paint

    def _skin_look(self, rest: np.ndarray, kind: Material) -> Look:
        skin, field = self._skin, self._field
        tone = np.log(np.maximum(skin.tone, 1e-3)) + skin.mottled * (
            field(rest, 1.6, octaves=4)[:, None] * (0.7, 1.0, 1.0)
            + 0.5 * field(rest, 7.0, shift=9.0)[:, None]
        )
        red = skin.flush * self._flush(rest)
        tone = tone + red[:, None] * (-0.03, -0.35, -0.28)
        spots = smoothstep(field(rest, 0.35, shift=4.0), 1.0, 1.6) * skin.freckles
        spots = spots * smoothstep(6.0 - rest[:, 1], 0.0, 2.0) * (rest[:, 1] > -4)
        color = np.exp(tone - spots[:, None] * (0.4, 0.7, 0.9))
        lips, rims, front = self._at_front(rest)
        roots = 0.75 * scalp_cover(rest, self._hair) + 0.0
        beard = {"none": 0.0, "stubble": 0.35}.get(self._hair.beard, 0.5)
        roots = np.maximum(roots, beard * beard_cover(rest, self._hair.beard))[:, None]
        color = color + roots * (0.6 * self._hair.brow_color - color)
        shade, strength = skin.shadow
        color = color + (0.15 + 0.6 * strength) * rims[:, None] * (shade - color)
        lip = skin.lips * np.exp(0.12 * field(rest * (3, 0.6, 1), 0.6, octaves=2))[:, None]
        color = color + lips[:, None] * (lip - color)
        gloss = 0.05 * skin.oily * (1 + 1.2 * self._flush(rest)) * (1 - roots[:, 0])
        gloss = gloss + 0.12 * lips * front
        return Look(color, gloss, np.full(len(rest), 18.0) + 20 * lips)

    def _flush(self, rest: np.ndarray) -> np.ndarray:
        """Return (n,) where skin is well supplied with blood: cheeks, nose, ears."""

        def near(x: float, y: float, size: float) -> np.ndarray:
            apart = (np.abs(rest[:, 0]) - x) ** 2 + (rest[:, 1] - y) ** 2
            return np.asarray(np.exp(-apart / (2 * size**2)) * (rest[:, 2] > 0))

        ears = (np.abs(azimuth_deg(rest) - 100) < 16) & (np.abs(rest[:, 1] - 0.8) < 3.8)
        return np.asarray(near(4.2, -0.8, 1.9) + 0.8 * near(0, -1.4, 1.0) + 0.6 * ears)

    def _at_front(self, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return lips, dark rims of the lids, and the share that faces the front, each (n,)."""
        column = (rest[:, 0] + MAP_HALF_CM) * MAP_PX_PER_CM - 0.5
        row = (MAP_HALF_CM - rest[:, 1]) * MAP_PX_PER_CM - 0.5
        front = smoothstep(rest[:, 2], LIPS_BACK_CM - 0.3, LIPS_BACK_CM + 0.2)
        near = smoothstep(rest[:, 2], 0.5, 1.5)
        at = [map_coordinates(m, (row, column), order=1) for m in (self._lips, self._rims)]
        return at[0] * front, at[1] * near, front

    @staticmethod
    def _mouth_look(rest: np.ndarray, kind: Material) -> Look:
        deep = smoothstep(-rest[:, 2], -MOUTH_FRONT_CM, -1.0)[:, None]
        count = len(rest)
        flesh = np.array(MUCOSA) * (1 - deep) + np.array(CAVITY) * deep
        return Look(flesh, np.full(count, 0.1), np.full(count, 40.0))

    def _eye_look(self, rest: np.ndarray, kind: Material) -> Look:
        apart = rest - self._axes[kind]
        apart = apart / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-9)
        angle = np.degrees(np.arccos(np.clip(apart[:, 2], -1, 1)))
        around = np.arctan2(apart[:, 1], apart[:, 0])
        fibre = 0.3 * np.sin(23 * around + 5 * np.sin(7 * around)) * smoothstep(angle, 9.0, 14.0)
        ring = 1 + fibre + 0.5 * (1 - smoothstep(angle, 12.0, 18.0))
        iris = self._skin.iris * ring[:, None]
        limbus = smoothstep(angle, IRIS_DEG - 5, IRIS_DEG)[:, None]
        iris = iris + 0.8 * limbus * (np.array(LIMBUS) - iris)
        iris = iris * smoothstep(angle, PUPIL_DEG - 1, PUPIL_DEG + 1.5)[:, None] + 0.004
        white = np.array(SCLERA) * (1 - 0.25 * smoothstep(angle, 45.0, 80.0))[:, None]
        white = white - smoothstep(angle, 50.0, 80.0)[:, None] * (0.0, 0.1, 0.1)
        share = smoothstep(angle, IRIS_DEG - 1.5, IRIS_DEG + 2.0)[:, None]
        count = len(rest)
        return Look(iris + share * (white - iris), np.full(count, 0.25), np.full(count, 350.0))

    def _teeth_look(self, rest: np.ndarray, kind: Material) -> Look:
        arch = ARCHES["teeth_upper" if kind == Material.UPPER_TEETH else "teeth_lower"]
        if len(rest) < 8:
            shade, gum = np.ones(len(rest)), np.zeros(len(rest))
        else:
            _, shade, gum = (v[0] for v in crowns(arch, rest[None], np.ones((1, len(rest)), bool)))
        color = self._skin.teeth * shade[:, None]
        color = color + gum[:, None] * (np.array(GUMS) - color)
        count = len(rest)
        return Look(color, np.full(count, 0.25), np.full(count, 60.0))

    def _cloth_look(self, texture: np.ndarray, kind: Material) -> Look:
        first, second = self._outfit.colors[0], self._outfit.colors[2]
        along, height = texture[:, 0], texture[:, 1]
        pattern = self._outfit.pattern
        size = 2.0 + self._outfit.seed % 5
        down, across = np.sin(2 * np.pi * height / size), np.sin(2 * np.pi * along / size)
        mix: np.ndarray = np.zeros(len(texture))
        if pattern == "stripes":
            mix = 1.0 * (down > 0.3)
        elif pattern == "plaid":
            mix = 0.5 * (down > 0.4) + 0.5 * (across > 0.4)
        elif pattern == "knit":
            mix = 0.25 + 0.25 * np.sin(2 * np.pi * along / 0.5) * np.sin(2 * np.pi * height / 0.6)
        color = first + mix[:, None] * (second - first)
        color = color * np.exp(0.06 * self._field(texture, 0.3, octaves=2))[:, None]
        count = len(texture)
        return Look(color, np.full(count, 0.01), np.full(count, 8.0))


def _frontal_map() -> tuple[np.ndarray, np.ndarray]:
    """Return lips and lid rims (h, w) float32 0..1 over the face seen from the front."""
    model = face.load_face_model()
    points = np.einsum("lkc,lk->lc", model.rest[model.landmark_vertices], model.landmark_weights)
    side = int(2 * MAP_HALF_CM * MAP_PX_PER_CM)
    xy = np.stack([points[:, 0] + MAP_HALF_CM, MAP_HALF_CM - points[:, 1]], -1) * MAP_PX_PER_CM
    ring = np.round(xy * 16).astype(np.int32)
    lips: np.ndarray = np.zeros((side, side), np.float32)
    cv2.fillPoly(lips, [ring[list(LIPS_OUTER)]], 1.0, cv2.LINE_AA, 4)
    cv2.fillPoly(lips, [ring[list(LIPS_INNER)]], 1.0, cv2.LINE_AA, 4)
    lips = cv2.GaussianBlur(lips, (0, 0), 0.09 * MAP_PX_PER_CM)
    rims = np.zeros_like(lips)
    for upper, lower in ((EYE_RIGHT_UPPER, EYE_RIGHT_LOWER), (EYE_LEFT_UPPER, EYE_LEFT_LOWER)):
        for line, width in ((upper, 0.22), (lower, 0.1)):
            thickness = max(1, round(width * MAP_PX_PER_CM))
            cv2.polylines(rims, [ring[list(line)]], False, 1.0, thickness, cv2.LINE_AA, 4)
    return lips, cv2.GaussianBlur(rims, (0, 0), 0.12 * MAP_PX_PER_CM)
