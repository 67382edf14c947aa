"""Keep a driven head in the picture: what another person's motion may do in this photo's framing.

A head that just fits its photo cannot follow a driver who walks through a wide frame. Turns,
distance and place are limited softly, each by the room that the photo leaves around the head:
unchanged for small motion, never beyond the room. The place is limited after the turn and the
distance, from the head's outermost points as the camera sees them, so that it holds exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import ConvexHull

from mggtalk_cli.core.camera import Y_UP_TO_OPENCV, Camera
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.rotation import rotation_exp, rotation_log

# Motion up to this share of the room is left as it is; the rest is squeezed into what remains.
FREE = 0.6
# One photo shows a head well up to about this turn from it, in all directions.
MOST_TURN_DEG = 70.0
# A head may come no nearer than this factor on its size, nor go farther than its inverse.
MOST_ZOOM = 1.6
# What the photo itself cuts off may go this share of the head's size farther out.
CUT_SLACK = 0.1
# The outline holds one point per cell of this size (cm); what that misses, a margin of this share
# of the frame makes up for.
CELL_CM, MARGIN = 1.0, 0.01
# A head this much larger or smaller than the photo's, or this far from it (a tenth of a face's
# width, cm), does not sit on its neck.
SAME_SIZE, SAME_PLACE_CM = 1.15, 1.5
SAME_CM = 1e-4  # smaller changes are rounding: the target is left as it is


def squeezed(value: float, room: float, free: float = 0.0) -> float:
    """Return a value softly limited to -room..room; the same up to `FREE` of it, or up to `free`.

    >>> squeezed(0.5, 1.0), round(squeezed(100.0, 1.0), 2), squeezed(0.9, 1.0, free=0.95)
    (0.5, 1.0, 0.9)
    """
    free = min(max(FREE * room, free), room)
    beyond = abs(value) - free
    if beyond <= 0:
        return value
    rest = max(room - free, 1e-12)
    return float(np.copysign(free + rest * beyond / (rest + beyond), value))


@dataclass(frozen=True)
class Framing:
    """A head in its photo's frame.

    Attributes:
        outline: (n, 3) cm, head frame: the head's outermost points.
        camera: of the photo.
        source: the state in the photo.
        low: (2,) px, the least x and y that the head may reach.
        high: (2,) px, the greatest ones.
    """

    outline: np.ndarray
    camera: Camera
    source: FaceState
    low: np.ndarray
    high: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, camera: Camera, source: FaceState) -> Framing:
        """Return the framing of a head with these (n, 3) points, cm, head frame."""
        frame = np.array([camera.width, camera.height], np.float64)
        whole = cls(_outline(points.astype(np.float64)), camera, source, np.zeros(2), frame)
        rest = whole.box(source)
        slack, margin = CUT_SLACK * (rest[1] - rest[0]), MARGIN * frame.max()
        low = np.where(rest[0] > 0, np.minimum(rest[0], margin), rest[0] - slack)
        high = np.where(rest[1] < frame, np.maximum(rest[1], frame - margin), rest[1] + slack)
        return replace(whole, low=low, high=high)

    def seen(self, state: FaceState) -> np.ndarray:
        """Return (n, 3) outline of the head in a state, camera frame (x right, y down), cm."""
        turned = self.outline @ state.rotation.T.astype(np.float64) + state.translation
        return np.asarray(turned @ Y_UP_TO_OPENCV)

    def box(self, state: FaceState) -> np.ndarray:
        """Return (2, 2) px: least and greatest x and y of the head in a state."""
        pixels = self._pixels(self.seen(state))
        return np.stack([pixels.min(0), pixels.max(0)])

    def _pixels(self, seen: np.ndarray) -> np.ndarray:
        """Return (n, 2) px of an outline in the camera frame."""
        middle = np.array([self.camera.width, self.camera.height]) / 2
        scaled = seen[:, :2] / np.maximum(seen[:, 2:], 1e-3) * self.camera.focal_px
        return np.asarray(scaled + middle)

    def holds(self, state: FaceState) -> bool:
        """Return whether the head of a state is in the picture, as far as the photo's own is."""
        low, high = self.box(state)
        return bool((low >= self.low - 1).all() and (high <= self.high + 1).all())

    def matches(self, state: FaceState) -> bool:
        """Return whether a state shows the head in the picture, and about as large as the photo."""
        own, other = float(self.source.translation[2]), float(state.translation[2])
        return self.holds(state) and 1 / SAME_SIZE < other / own < SAME_SIZE

    def sits(self, state: FaceState) -> bool:
        """Return whether a state shows the head where the photo has it, and about as large."""
        own, other = (s.translation.astype(np.float64) for s in (self.source, state))
        size = other[2] / own[2]
        apart = np.hypot(*(other / size - own)[:2]) if size > 0 else np.inf
        return bool(1 / SAME_SIZE < size < SAME_SIZE and apart < SAME_PLACE_CM)

    def filmed(self, driver: FaceState, camera: Camera) -> np.ndarray:
        """Return (2, 2) px of this frame: where the driver's head is in the driver's own one.

        Args:
            driver: the driver's own state.
            camera: that filmed the driver; its view is not used, the state has the pose.
        """
        box = replace(self, camera=camera).box(driver)
        own = np.array([self.camera.width, self.camera.height])
        return np.asarray(box / [camera.width, camera.height] * own)

    def kept(self, target: FaceState, filmed: np.ndarray | None = None) -> FaceState:
        """Return the target, its head turned and moved so far only that it stays in the picture.

        Args:
            target: what the driver asks for.
            filmed: (2, 2) px, where the driver's head is in its own picture, see `filmed`: as far
                out this one may go too. So a clip drives its own first frame freely.
        """
        free = np.stack([self.high, self.low]) if filmed is None else filmed
        room = np.stack([np.minimum(self.low, free[0]), np.maximum(self.high, free[1])])
        target = self._turned(target)
        own, wanted = self.source.translation, target.translation
        away = self._away(target)
        seen = self.seen(replace(target, translation=np.array([own[0], own[1], away])))
        size = float((np.ptp(self._pixels(seen), 0) / (room[1] - room[0])).max())
        if size > 1:  # farther until it fits; what is near shrinks faster: a little more than that
            farther = 1.05 * (size - 1) * float(seen[:, 2].max())
            seen[:, 2] += farther
            away -= farther
        sides, own_sides = self._room(seen, room), self._room(seen, free)
        x, y = (
            place + _within(float(aim - place), *side, *own_side)
            for place, aim, side, own_side in zip(own, wanted, sides, own_sides, strict=False)
        )
        place = np.array([x, y, away], np.float32)
        near = np.abs(place - wanted).max() < SAME_CM
        return target if near else replace(target, translation=place)

    def _turned(self, target: FaceState) -> FaceState:
        """Return the target with its turn from the photo limited."""
        change = target.rotation @ self.source.rotation.T.astype(np.float64)
        most = np.deg2rad(MOST_TURN_DEG)
        if np.trace(change) >= 1 + 2 * np.cos(FREE * most):
            return target
        vector = rotation_log(change)
        angle = float(np.linalg.norm(vector))
        turn = rotation_exp(vector * squeezed(angle, most) / angle)
        return replace(target, rotation=(turn @ self.source.rotation).astype(np.float32))

    def _away(self, target: FaceState) -> float:
        """Return the z of the target, cm, its distance being limited about the photo's."""
        own, wanted = float(self.source.translation[2]), float(target.translation[2])
        zoom = np.log(own / wanted) if wanted < 0 else np.inf
        limited = squeezed(min(zoom, 1e6), np.log(MOST_ZOOM))
        return wanted if limited == zoom else own * np.exp(-limited)

    def _room(
        self, seen: np.ndarray, box: np.ndarray
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return how far, cm, an outline may go to the left (negative) and right, down and up.

        Args:
            seen: (n, 3) the outline, camera frame, cm.
            box: (2, 2) px, least and greatest x and y that it may reach.
        """
        middle = np.array([self.camera.width, self.camera.height]) / 2
        scale = seen[:, 2:] / self.camera.focal_px
        low = ((box[0] - middle) * scale - seen[:, :2]).max(0)
        high = ((box[1] - middle) * scale - seen[:, :2]).min(0)
        return (low[0], high[0]), (-high[1], -low[1])


def _outline(points: np.ndarray) -> np.ndarray:
    """Return the outermost of (n, 3) points, cm: of each cell's the farthest from the middle."""
    hull = points[ConvexHull(points).vertices]
    hull = hull[np.argsort(-np.linalg.norm(hull - hull.mean(0), axis=1), kind="stable")]
    _, first = np.unique(np.floor(hull / CELL_CM), axis=0, return_index=True)
    return np.asarray(hull[first])


def _within(value: float, low: float, high: float, own_low: float, own_high: float) -> float:
    """Return a motion softly limited to low..high, about the nearest place to no motion there.

    Up to own_low or own_high, where the driver's own head is, it is free.
    """
    if low > high:  # it does not fit: in the middle
        return (low + high) / 2
    rest = float(np.clip(0.0, low, high))
    if value > rest:
        return rest + squeezed(value - rest, high - rest, own_high - rest)
    return rest + squeezed(value - rest, rest - low, rest - own_low)
