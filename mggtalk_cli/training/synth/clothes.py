"""What made-up people wear: garments on a simple torso, caps, headscarves, glasses.

A garment is rings round the torso from its neckline down. Its profile is measured on the head
model's own neck and shoulders, and continued below them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, maximum_filter

from mggtalk_cli import face
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.face.model import FaceModel
from mggtalk_cli.training.synth.noise import Field
from mggtalk_cli.training.synth.person import Material, Person, Surface, bent, joined
from mggtalk_cli.training.synth.strands import Body

# Garments: neckline's height in front, its half-opening angle, and at the back (cm, degrees).
NECKLINES = {
    "crew": (-14.5, 60.0, -11.0),
    "wide": (-17.0, 80.0, -12.0),
    "vneck": (-21.0, 38.0, -11.0),
    "high": (-11.2, 60.0, -8.5),
    "hood": (-15.0, 60.0, -10.0),
    "shirt": (-15.5, 22.0, -10.0),
    "jacket": (-36.0, 42.0, -10.2),
}
# Torso below the model's shoulders: height, half width, front and back depth, cm, head frame.
BELOW = np.array([(-22.0, 20.5, -0.5, -17.5), (-28.0, 21.5, 1.5, -18.5), (-60.0, 21.0, 2.0, -18.5)])
MEASURED_CM = (-12.0, -16.5)  # heights at which the model itself is measured
LIFTS = 4
LEAST_VERTICES = 6  # a slab of fewer shows no profile
NECK_TOP_CM = -8.0
COLUMNS, ROWS = 144, 64
BOTTOM_CM = -58.0
FOLD_CM, FOLD_MOST_CM = 0.35, 0.3  # strength of folds, and how far in they go at most
# Skin below the model's own starts inside it at the first height and comes out at the second, cm.
CHEST_CM, CHEST_INSIDE_CM = (-12.5, -16.5), -0.9
# Caps and scarves: the head seen from this point in so many directions.
CENTRE = np.array([0.0, 3.0, -4.0])
HULL_GRID = (120, 200)
HEADWEAR_CM = 0.4  # least distance of cap or scarf to the skin
GLASSES_SHARE, HEADWEAR_SHARE = 0.14, 0.1


@dataclass(frozen=True)
class Outfit:
    """What a person wears.

    Attributes:
        garments: keys of `NECKLINES`, the inner first.
        headwear: "", "cap" or "scarf".
        glasses: radius of the frame's tube, cm; 0 = none.
        colors: (4, 3) linear RGB of outer garment, undershirt, headwear and frame.
        pattern: "plain", "stripes", "plaid" or "knit" of the outer garment.
        seed: of folds.
    """

    garments: tuple[str, ...]
    headwear: str
    glasses: float
    colors: np.ndarray
    pattern: str
    seed: int


def sample_outfit(random: np.random.Generator) -> Outfit:
    """Return random clothes."""
    outer = str(random.choice(list(NECKLINES), p=(0.26, 0.1, 0.14, 0.1, 0.12, 0.14, 0.14)))
    garments = ("shirt", "jacket") if outer == "jacket" else (outer,)
    headwear = str(random.choice(["cap", "scarf"])) if random.random() < HEADWEAR_SHARE else ""
    glasses = float(random.uniform(0.1, 0.24)) if random.random() < GLASSES_SHARE else 0.0
    colors = random.dirichlet((9, 9, 9), 4) * random.uniform(0.05, 1.6, (4, 1))
    if outer == "jacket":
        colors[0] *= 0.25
        colors[1] = random.uniform(0.4, 0.8)
    colors[3] *= 0.2
    pattern = str(random.choice(["plain", "stripes", "plaid", "knit"], p=(0.6, 0.13, 0.12, 0.15)))
    seed = int(random.integers(2**31))
    return Outfit(garments, headwear, glasses, colors.astype(np.float32), pattern, seed)


def outfit_of(outfit: Outfit, person: Person) -> list[Surface]:
    """Return the surfaces of everything worn but glasses, neck bent with the person."""
    random = np.random.default_rng(outfit.seed)
    field = Field(random)
    profile = _Profile(person)
    made = [_chest(profile)]
    for index, kind in enumerate(outfit.garments):
        outer = index == len(outfit.garments) - 1
        material = Material.CLOTH if outer else Material.UNDERSHIRT
        inflated = 0.6 + 0.9 * index
        own = [_garment(kind, profile, inflated, field, material)]
        own += _collar(kind, profile, inflated, material)
        made += [_over(s, profile.body, inflated - 0.2) for s in own]
    upright = [s._replace(vertices=bent(person, s.vertices).astype(np.float32)) for s in made]
    if outfit.headwear:
        worn = _headwear(outfit.headwear, person, field)
        upright.append(_over(worn, profile.body, HEADWEAR_CM))
    return upright


def _over(surface: Surface, body: Body, height_cm: float) -> Surface:
    """Return cloth lifted to where it lies outside the body."""
    height = np.full(len(surface.vertices), height_cm)
    vertices = surface.vertices
    for _ in range(LIFTS):  # each lifts a little
        vertices = body.outside(vertices, height)
    return surface._replace(vertices=vertices.astype(np.float32))


def _chest(profile: _Profile) -> Surface:
    """Return the skin below the head model's, which ends at the collar bones."""
    angle, height = np.broadcast_arrays(
        np.linspace(-np.pi, np.pi, COLUMNS)[None], np.linspace(CHEST_CM[0], -40, ROWS)[:, None]
    )
    inside = CHEST_INSIDE_CM * (1 - smoothstep(-height, -CHEST_CM[0], -CHEST_CM[1]))
    points = profile.points(angle, height, inside - 0.1)
    return _grid_surface(points, points, Material.SKIN)


class _Profile:
    """Half width, front and back of a torso over the height, cm; `body` is the model's skin."""

    def __init__(self, person: Person) -> None:
        model = face.load_face_model()
        skin = np.unique(model.triangles[model.part == Material.SKIN])
        rest = model.vertices(np.zeros(model.expression.shape[0]), person.identity)[skin]
        self.body = Body(Surface(rest, _renumbered(model, skin), np.zeros(0), rest))
        rows = []
        for height in np.linspace(*MEASURED_CM, 7):
            slab = rest[np.abs(rest[:, 1] - height) < 1.2]
            middle = slab[np.abs(slab[:, 0]) < 6]
            if len(middle) >= LEAST_VERTICES:
                half = np.abs(slab[:, 0]).max()
                rows.append((height, half, middle[:, 2].max(), middle[:, 2].min()))
        first = np.array(rows[0])
        neck = first + (NECK_TOP_CM - first[0]) * np.array([1, 0, 0.15, 0.2])
        neck[1] = min(first[1], 6.3)
        table = np.array([neck, *rows, *BELOW])
        table[:, 1] = np.maximum.accumulate(table[:, 1])  # the model is cut off slantwise
        table[: -len(BELOW), 3] = np.minimum.accumulate(table[: -len(BELOW), 3])
        self._table = table[::-1]

    def points(self, angle: np.ndarray, height: np.ndarray, inflated: np.ndarray) -> np.ndarray:
        """Return (..., 3) points at an angle (rad, 0 = front) and height on the inflated torso."""
        heights, width, front, back = self._table.T
        half = np.interp(height, heights, width) + inflated
        ahead = np.interp(height, heights, front) + inflated
        behind = np.interp(height, heights, back) - inflated
        z = (ahead + behind) / 2 + (ahead - behind) / 2 * np.cos(angle)
        return np.stack([half * np.sin(angle), height, z], -1)


def _renumbered(model: FaceModel, vertices: np.ndarray) -> np.ndarray:
    """Return (F, 3) the skin's triangles as indices into `vertices`, those used, sorted."""
    return np.asarray(np.searchsorted(vertices, model.triangles[model.part == Material.SKIN]))


def _neckline(kind: str, angle: np.ndarray) -> np.ndarray:
    """Return (...) height of the neckline at angles (rad, 0 = front)."""
    front, opening, back = NECKLINES[kind]
    apart = np.abs(np.degrees(angle))
    pointed = kind in ("vneck", "jacket", "shirt")
    share = np.clip(apart / opening, 0, 1) if pointed else smoothstep(apart, 0.0, 1.6 * opening)
    return np.asarray(front + (back - front) * share)


def _garment(
    kind: str, profile: _Profile, inflated: float, field: Field, material: Material
) -> Surface:
    angle = np.linspace(-np.pi, np.pi, COLUMNS)[None]
    top = _neckline(kind, angle)
    share = np.linspace(0, 1, ROWS)[:, None] ** 1.4
    height = top + (BOTTOM_CM - top) * share
    angle = np.broadcast_to(angle, height.shape)
    flat = profile.points(angle, height, np.full_like(height, inflated))
    folds = field(flat * (1, 0.5, 1), 7.0, octaves=2)
    folds = 0.5 * folds + 1 - np.abs(field(flat * (0.6, 0.45, 0.6), 9.0, shift=11.0))
    loose = inflated + np.maximum(FOLD_CM * folds, -FOLD_MOST_CM) * smoothstep(
        top - height, 0.0, 4.0
    )
    hem = 0.12 * (smoothstep(top - height, -0.1, 0.3) - smoothstep(top - height, 1.2, 1.5))
    vertices = profile.points(angle, height, loose + hem)
    texture = np.stack([angle * 14.0, height, np.full_like(height, inflated)], -1)
    return _grid_surface(vertices, texture, material)


def _collar(kind: str, profile: _Profile, inflated: float, material: Material) -> list[Surface]:
    """Return what stands round the neckline: a fold, a hood's roll, the collar of a shirt."""
    angle = np.linspace(-np.pi, np.pi, COLUMNS)
    top = _neckline(kind, angle)
    rows: tuple[tuple[float, float], ...]
    if kind == "shirt":
        opening = np.radians(9.0)
        angle = np.linspace(opening, 2 * np.pi - opening, COLUMNS)
        turned = np.where(angle > np.pi, angle - 2 * np.pi, angle)
        top = np.maximum(_neckline(kind, turned), -13.5)
        rows = ((0.2, -0.3), (1.6, -0.2), (2.3, 0.1), (2.2, 0.6), (0.4, 0.9), (-1.4, 1.2))
        return [_strip(profile, angle, top, inflated, rows, material)]
    if kind == "high":
        rows = ((0.0, 0.0), (0.3, 0.5), (-1.2, 0.8), (-2.8, 0.6), (-3.0, 0.0))
        return [_strip(profile, angle, top, inflated, rows, material)]
    size = 1.7 if kind == "hood" else 0.22
    circle = np.linspace(0, 2 * np.pi, 9)
    behind = 1 + 0.8 * (np.abs(angle) / np.pi) ** 2 if kind == "hood" else np.ones_like(angle)
    rows = tuple((size * np.sin(a), size * (0.4 - np.cos(a))) for a in circle)
    return [_strip(profile, angle, top, inflated, rows, material, swell=behind)]


def _strip(
    profile: _Profile,
    angle: np.ndarray,
    top: np.ndarray,
    inflated: float,
    rows: tuple[tuple[float, float], ...],
    material: Material,
    *,
    swell: np.ndarray | None = None,
) -> Surface:
    """Return a band along the neckline; rows (up, out) cm are its profile."""
    grow = np.ones_like(angle) if swell is None else swell
    lines, texture = [], []
    for up, out in rows:
        base = profile.points(angle, top, np.full_like(top, inflated) + out * grow)
        lines.append(base + np.stack([0 * top, up * grow, 0 * top], -1))
        texture.append(np.stack([angle * 14.0, top + up, 0 * top + 5], -1))
    return _grid_surface(np.array(lines), np.array(texture), material)


def _grid_surface(vertices: np.ndarray, texture: np.ndarray, material: Material) -> Surface:
    rows, columns = vertices.shape[:2]
    index = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    triangles = np.concatenate(
        [np.stack(t, -1).reshape(-1, 3) for t in ((a, c, b), (b, c, d))]
    ).astype(np.int64)
    return Surface(
        vertices.reshape(-1, 3).astype(np.float32),
        triangles,
        np.full(len(triangles), material, np.uint8),
        texture.reshape(-1, 3).astype(np.float32),
    )


def headwear_cover(kind: str, points: np.ndarray) -> np.ndarray:
    """Return (...) bool: places (..., 3), head frame, that a cap or scarf covers."""
    angle = np.degrees(np.arctan2(np.abs(points[..., 0]), points[..., 2] - CENTRE[2]))
    if kind == "cap":
        line = np.interp(angle, (0, 60, 90, 120, 180), (8.3, 7.2, 5.0, 3.0, 0.0))
        return np.asarray(points[..., 1] > line)
    opening = np.interp(points[..., 1], (-9.0, -8.0, 0.0, 6.0, 8.8, 9.2), (0, 30, 52, 50, 15, 0))
    return np.asarray((angle > opening) & (points[..., 1] > -17))


def _headwear(kind: str, person: Person, field: Field) -> Surface:
    """Return a cap or scarf: the head's smooth hull, cut open before the face."""
    model = face.load_face_model()
    vertices = model.vertices(np.zeros(model.expression.shape[0]), person.identity) - CENTRE
    rows, columns = HULL_GRID
    rise = np.linspace(-1.35, np.pi / 2, rows)[:, None]
    turn = np.linspace(-np.pi, np.pi, columns)[None]
    radius = np.linalg.norm(vertices, axis=1)
    up = np.arcsin(vertices[:, 1] / np.maximum(radius, 1e-6))
    around = np.arctan2(vertices[:, 0], vertices[:, 2])
    near = (up > -1.2) & (vertices[:, 1] > -19)
    i = np.clip(np.round((up + 1.35) / (1.35 + np.pi / 2) * (rows - 1)).astype(int), 0, rows - 1)
    j = np.round((around + np.pi) / (2 * np.pi) * (columns - 1)).astype(int)
    hull = np.zeros(HULL_GRID)
    np.maximum.at(hull, (i[near], j[near]), radius[near])
    hull = maximum_filter(hull, (7, 9), mode=("nearest", "wrap"))
    hull = gaussian_filter(hull, (3, 5), mode=("nearest", "wrap"))
    loose = (0.35, 0.25) if kind == "cap" else (0.9, 0.5)
    ray = np.stack(
        [np.cos(rise) * np.sin(turn), np.sin(rise) + 0 * turn, np.cos(rise) * np.cos(turn)], -1
    )
    folds = np.abs(field(ray * 9, 6.0, octaves=2))
    grid = CENTRE + (hull + loose[0] + loose[1] * folds)[..., None] * ray
    if kind == "cap":  # stands off on top
        grid[..., 1] += 1.5 * smoothstep(rise, 0.7, 1.6)
    texture = np.stack(np.broadcast_arrays(turn * 9.0, rise * 11.0, 0 * rise), -1)
    surface = _grid_surface(grid, texture, Material.HEADWEAR)
    # The grid runs upwards: turn its triangles to face outwards.
    triangles = surface.triangles[:, ::-1]
    kept = headwear_cover(kind, surface.vertices)[triangles].all(1)
    return Surface(surface.vertices, triangles[kept], surface.material[kept], surface.rest)


def glasses(radius_cm: float, landmarks: np.ndarray) -> Surface:
    """Return the frame of glasses before the eyes of landmarks (468, 3)."""
    lines = []
    ear_z, bridge = landmarks[[234, 454], 2].mean() - 2.0, landmarks[168]
    angle = np.linspace(0, 2 * np.pi, 33)
    for outer, inner, temple in ((33, 133, 234), (263, 362, 454)):
        middle = (landmarks[outer] + landmarks[inner]) / 2
        middle = middle + np.array([0.12 * np.sign(middle[0]), -0.4, 0])
        round_ = np.stack([2.7 * np.cos(angle), 2.0 * np.sin(angle), 0 * angle], -1)
        ring = middle + np.sign(round_) * np.abs(round_) ** 0.9 * 1.1
        ring[:, 2] = bridge[2] + 0.6 - 0.035 * ring[:, 0] ** 2
        lines.append(ring)
        hinge = ring[np.argmax(np.abs(ring[:, 0]))] + (0, 0.6, 0)
        ear = np.array([landmarks[temple, 0] * 1.06, hinge[1] + 0.2, ear_z])
        lines.append(np.linspace(hinge, ear, 12))
    half = 1.0
    across = np.linspace(-half, half, 9)
    nose = np.stack([across, bridge[1] - 0.4 - 0.3 * across**2, 0 * across + bridge[2] + 0.6], -1)
    lines.append(nose)
    return joined([_tube(line, radius_cm, Material.GLASSES) for line in lines])


def _tube(line: np.ndarray, radius: float, material: Material) -> Surface:
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    first = np.cross(along, (0.1, 0.3, 1.0))
    first /= np.maximum(np.linalg.norm(first, axis=1, keepdims=True), 1e-9)
    second = np.cross(along, first)
    circle = np.linspace(0, 2 * np.pi, 7)[:, None, None]
    rings = line + radius * (np.cos(circle) * first + np.sin(circle) * second)
    return _grid_surface(rings, rings, material)
