"""How hair grows: strands from roots on the skin, combed, bent by weight, kept off the body.

A strand is a polyline. Each step turns its direction towards comb and weight and pushes it out of
the body to its own height above the skin, so that hair gets a volume that differs from the scalp.
Locks then draw neighbouring strands together, and curls wind them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from mggtalk_cli.training.synth.person import Material, Surface, vertex_normals

STEPS = 16  # pieces of a strand
# No strand hangs before the face: in front of this depth it keeps off the midline, by so much at a
# height (cm, head frame; from chest to forehead), like a curtain; a fringe ends above the eyes.
FACE_FRONT_CM = -1.5
CURTAIN_CM = np.array([(-17.0, 3.0), (-9.0, 6.6), (4.0, 7.0), (7.0, 5.0), (9.6, 0.0)])
FRINGE_END_CM, FRINGE_SPREAD_CM = 5.3, 0.35
# Farther than this from the nearest vertex, or this far beside its normal (past a rim), a point has
# left the body, cm.
NEAR_CM, BESIDE_CM = 3.0, 1.0
_UP = np.array([0.0, 1.0, 0.0], np.float32)


class Strands(NamedTuple):
    """Hair. `points` (n, k, 3) cm from root to tip, `radius` (n,) cm, `color` (n, 3) linear RGB."""

    points: np.ndarray
    radius: np.ndarray
    color: np.ndarray


class Roots(NamedTuple):
    """Where strands start: `points`, unit `normals` and the `comb` direction, each (n, 3)."""

    points: np.ndarray
    normals: np.ndarray
    comb: np.ndarray


@dataclass(frozen=True)
class Growth:
    """How strands of one kind grow.

    Attributes:
        length_cm: of a strand, and its share of deviation.
        lift_cm: greatest height above the skin that a strand is held at.
        rise: share of the skin's normal in the first direction.
        stiffness: how much a strand keeps its direction.
        weight: pull down.
        curl_cm: radius of curls, cm, and wavelength along the strand, cm.
        locks: number of locks, 0 = every strand for itself.
        gather: how far the tips of a lock come together, 0..1.
        frizz: random turn of each step.
        cling: share by which a strand that stands off higher than its own height comes back.
        fringe: strands may cover the forehead, and end above the eyes.
        free: strands may cover the face (a beard).
        tied: where all strands end, cm, head frame; None = nowhere.
    """

    length_cm: tuple[float, float] = (4.0, 0.2)
    lift_cm: float = 0.8
    rise: float = 0.5
    stiffness: float = 1.0
    weight: float = 0.2
    curl_cm: tuple[float, float] = (0.0, 4.0)
    locks: int = 200
    gather: float = 0.5
    frizz: float = 0.08
    cling: float = 0.0
    fringe: bool = False
    free: bool = False
    tied: tuple[float, float, float] | None = None


class Body:
    """What strands may not enter."""

    def __init__(self, surface: Surface) -> None:
        """Index the vertices of a closed surface."""
        used = np.unique(surface.triangles)
        self._vertices = surface.vertices[used]
        self._normals = vertex_normals(surface.vertices, surface.triangles)[used]
        self._tree = cKDTree(self._vertices)

    def outside(
        self, points: np.ndarray, height_cm: np.ndarray, *, cling: float = 0.0
    ) -> np.ndarray:
        """Return the points (n, 3), those below a height (n,) above the skin lifted to it.

        Those above it come back by the share `cling` of what they are too high.
        """
        distance, near = self._tree.query(points)
        normal = self._normals[near]
        height = ((points - self._vertices[near]) * normal).sum(1)
        short = height_cm - height
        push = np.where(short > 0, np.minimum(short, 1.5), cling * np.maximum(short, -2.0))
        beside = distance**2 - height**2
        push = np.where((distance < NEAR_CM) & (beside < BESIDE_CM**2), push, 0)
        return np.asarray(points + push[:, None] * normal)


def areas(surface: Surface) -> np.ndarray:
    """Return (F,) areas of triangles at rest, cm^2: the same whatever the face does."""
    corner = surface.rest[surface.triangles]
    normal = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    return np.asarray(np.linalg.norm(normal, axis=1) / 2)


def roots_on(
    surface: Surface, density: np.ndarray, count: int, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return points (n, 3), normals (n, 3) and places at rest (n, 3) of random roots.

    Args:
        surface: the posed skin.
        density: (F,) relative number of roots per area of each triangle.
        count: how many.
        random: generator.
    """
    share = areas(surface) * density
    if share.sum() <= 0 or count == 0:
        return np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3))
    chosen = random.choice(len(share), count, p=share / share.sum())
    a, b = np.sqrt(random.random(count)), random.random(count)
    weight = np.stack([1 - a, a * (1 - b), a * b], -1)
    faces = surface.triangles[chosen]

    def mixed(values: np.ndarray) -> np.ndarray:
        return np.asarray(np.einsum("nk,nkc->nc", weight, values[faces]))

    normals = mixed(vertex_normals(surface.vertices, surface.triangles))
    return mixed(surface.vertices), unit(normals), mixed(surface.rest)


def skin_density(head: Surface, cover: np.ndarray) -> np.ndarray:
    """Return (F,) root density of cover (V,) on the skin's triangles."""
    return np.asarray(cover[head.triangles].mean(1) * (head.material == Material.SKIN))


def radii(count: int, radius: float, random: np.random.Generator) -> np.ndarray:
    """Return (count,) radii of strands, some thicker, some thinner."""
    return radius * random.uniform(0.7, 1.3, count)


def tinted(color: np.ndarray, count: int, random: np.random.Generator) -> np.ndarray:
    """Return (count, 3) the colours of strands: brighter and darker ones, some grey."""
    return np.asarray(color * np.exp(random.normal(0, 0.25, (count, 1))), np.float32)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return vectors (..., 3) of length one."""
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))


def grow(
    roots: Roots, growth: Growth, body: Body, down: np.ndarray, random: np.random.Generator
) -> np.ndarray:
    """Return the strands' points (n, STEPS + 1, 3) cm.

    Args:
        roots: where they start.
        growth: how they grow.
        body: what they may not enter.
        down: (3,) direction of weight, head frame.
        random: generator.
    """
    count = len(roots.points)
    length = growth.length_cm[0] * (1 + growth.length_cm[1] * random.normal(size=count))
    step = np.maximum(length, 0.1)[:, None] / STEPS
    lift = growth.lift_cm * np.sqrt(random.uniform(0.02, 1, count))
    tangent = unit(roots.comb - (roots.comb * roots.normals).sum(1, keepdims=True) * roots.normals)
    direction = unit(tangent + growth.rise * roots.normals)
    place, points = roots.points, [roots.points]
    for index in range(STEPS):
        along = (index + 1) / STEPS
        aim = 0.25 * (1 - along) * tangent + growth.weight * (0.3 + along) * down
        noise = growth.frizz * random.normal(size=(count, 3))
        direction = unit(growth.stiffness * direction + aim + noise)
        place = place + step * direction
        place = body.outside(place, lift * min(1.0, 0.15 + 2.5 * along), cling=growth.cling)
        direction = unit(place - points[-1])
        points.append(place)
    strands = np.stack(points, 1)
    if growth.tied is not None:
        strands = _tied(strands[:, 0], np.array(growth.tied), lift, body)
    group = _locks(roots.points, growth.locks, random)
    strands = _curled(_gathered(strands, group, growth.gather), group, length, growth, random)
    if growth.free:
        return strands
    return _cut(strands, random) if growth.fringe else _aside(strands, random)


def _tied(roots: np.ndarray, knot: np.ndarray, lift: np.ndarray, body: Body) -> np.ndarray:
    """Return strands (n, STEPS + 1, 3) that run from their roots round the head to a knot."""
    centre = np.array([0.0, 4.0, -4.0])
    first, last = roots - centre, knot - centre
    along = np.linspace(0, 1, STEPS + 1)
    angle = np.arccos(np.clip(unit(first) @ unit(last), -1, 0.9999))[:, None]
    turn = np.sin((1 - along) * angle)[..., None] * unit(first)[:, None]
    turn = turn + np.sin(along * angle)[..., None] * unit(last)
    ends = np.linalg.norm(first, axis=1)[:, None], float(np.linalg.norm(last))
    # Close to the skull until shortly before the knot.
    radius = ends[0] + along**4 * (ends[1] - ends[0])
    strands = centre + unit(turn) * radius[..., None]
    for index in range(1, STEPS + 1):
        strands[:, index] = body.outside(strands[:, index], lift * min(1.0, 4 * along[index]))
    return np.asarray(strands)


def _cut(strands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return strands (n, k, 3), those before the face ended above the eyes."""
    end = FRINGE_END_CM + FRINGE_SPREAD_CM * random.normal(size=(len(strands), 1))
    before = (strands[..., 2] > FACE_FRONT_CM) & (strands[..., 1] < end)
    # From the first place that is too low on, all points are the one above it.
    last = np.where(before.any(1), np.maximum(before.argmax(1) - 1, 0), strands.shape[1] - 1)
    index = np.minimum(np.arange(strands.shape[1]), last[:, None])
    return np.asarray(np.take_along_axis(strands, index[..., None], 1))


def _aside(strands: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return strands (n, k, 3), what hangs before the face drawn to the side it came from."""
    side = np.where(strands[:, :1, 0] < 0, -1.0, 1.0)
    half = np.interp(strands[..., 1], *CURTAIN_CM.T) * random.normal(1, 0.04, (len(strands), 1))
    before = np.clip((strands[..., 2] - FACE_FRONT_CM) / 1.5, 0, 1)
    short = np.maximum(half - side * strands[..., 0], 0) * before
    moved = strands.copy()
    moved[..., 0] += side * short
    return moved


def _locks(roots: np.ndarray, locks: int, random: np.random.Generator) -> np.ndarray:
    """Return (n,) which strand each strand follows; itself without locks."""
    count = len(roots)
    if not 0 < locks < count:
        return np.arange(count)
    leaders = random.choice(count, locks, replace=False)
    return np.asarray(leaders[cKDTree(roots[leaders]).query(roots)[1]])


def _gathered(strands: np.ndarray, group: np.ndarray, gather: float) -> np.ndarray:
    """Return the strands (n, k, 3) drawn towards their lock's leader, the more the nearer the tip.

    A strand keeps its distance to the leader at the root in a shrinking measure.
    """
    along = np.linspace(0, 1, strands.shape[1])[None, :, None]
    apart = (strands[:, :1] - strands[group][:, :1]) * (1 - 0.6 * along)
    return np.asarray(strands + gather * np.sqrt(along) * (strands[group] + apart - strands))


def _curled(
    strands: np.ndarray,
    group: np.ndarray,
    length: np.ndarray,
    growth: Growth,
    random: np.random.Generator,
) -> np.ndarray:
    """Return the strands (n, k, 3) wound into curls that each lock shares."""
    radius, wavelength = growth.curl_cm
    if radius <= 0:
        return strands
    along = np.linspace(0, 1, strands.shape[1])
    phase = random.uniform(0, 2 * np.pi, len(strands))[group] + random.normal(0, 0.35, len(strands))
    angle = phase[:, None] + 2 * np.pi * length[group][:, None] * along / wavelength
    tangent = unit(np.gradient(strands, axis=1))
    first = unit(np.cross(tangent, _UP + 1e-3))
    second = np.cross(tangent, first)
    size = radius * np.minimum(1, 3 * along)[None, :, None]
    return np.asarray(
        strands + size * (np.cos(angle)[..., None] * first + np.sin(angle)[..., None] * second)
    )
