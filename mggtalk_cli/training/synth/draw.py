"""A made-up person seen by a camera: picture, true depth, normals and mask.

Everything is triangles in one z-buffer at several samples per pixel; strands become ribbons that
face the eye. Colours are linear until the camera develops them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.mesh import rasterize_mesh
from mggtalk_cli.training.synth.light import (
    LAMP_BIAS_CM,
    LAMP_SIDE,
    SKY_BIAS_CM,
    SKY_SIDE,
    Light,
    ShadowMap,
    shadow_map,
)
from mggtalk_cli.training.synth.person import Material, Surface, vertex_normals
from mggtalk_cli.training.synth.skin import Painter
from mggtalk_cli.training.synth.strands import Strands, unit

# Samples per pixel and axis up to this size of the picture, px, and above it.
FINE_UP_TO, FINE, COARSE = 384, 3, 2
# Light that enters skin comes out around the corner: how far, by colour.
WRAP = np.array([0.35, 0.14, 0.08])
HAIR_GLOSS, HAIR_SHARPNESS = 0.09, 40.0
# Light sees one strand in so many, and these wider.
LAMP_THINNED, SKY_THINNED = 2, 5
HAIR_NORMALS_PX = 1.5  # true normals of hair are those of its surface smoothed by so much


class Ribbons(NamedTuple):
    """Strands as triangles: see `Body`'s attributes of the same names."""

    vertices: np.ndarray
    normals: np.ndarray
    tangents: np.ndarray
    triangles: np.ndarray


@dataclass(frozen=True)
class Drawn:
    """What a camera sees.

    Attributes:
        color: (H, W, 3) float32 linear RGB, premultiplied by coverage.
        coverage: (H, W) float32 0..1 of the person.
        depth: (H, W) float32 camera z, cm; 0 where the person covers nothing.
        normals: (H, W, 3) float32 unit, y-up camera frame; 0 likewise.
        hair: (H, W) float32 0..1 share of strands.
    """

    color: np.ndarray
    coverage: np.ndarray
    depth: np.ndarray
    normals: np.ndarray
    hair: np.ndarray


class Figure:
    """A lit person in one moment, ready to be seen from anywhere."""

    def __init__(
        self,
        surface: Surface,
        strands: list[Strands],
        painter: Painter,
        light: Light,
        to_camera: np.ndarray,
    ) -> None:
        """Light the person.

        Args:
            surface: skin, clothes and all else that is not hair.
            strands: hair.
            painter: colours of the surface.
            light: of the scene.
            to_camera: (3, 3) rotation head frame -> y-up camera frame of the photo, in which the
                light is given.
        """
        self._surface, self._strands, self._painter, self._light = surface, strands, painter, light
        self._normals = vertex_normals(surface.vertices, surface.triangles)
        self._sky = light.sky @ to_camera
        self._lamp = unit(light.lamp @ to_camera)
        self._lamp_map = shadow_map(
            self._lamp, *self._geometry(self._lamp, LAMP_THINNED), LAMP_SIDE
        )
        maps = [shadow_map(d, *self._geometry(d, SKY_THINNED), SKY_SIDE) for d in self._sky]
        self._irradiance = self._sky_light(maps, surface.vertices, self._normals)
        self._strand_light = [self._strand_sky(maps, s) for s in strands]

    def _geometry(self, towards: np.ndarray, thinned: int) -> tuple[np.ndarray, np.ndarray]:
        """Return vertices and triangles of everything, strands turned to a light and fewer."""
        vertices, triangles = [self._surface.vertices], [self._surface.triangles]
        start = len(self._surface.vertices)
        for strands in (_thinned(s, thinned) for s in self._strands):
            ribbons = _ribbons(strands, np.broadcast_to(towards, strands.points.shape))
            vertices.append(ribbons.vertices)
            triangles.append(ribbons.triangles + start)
            start += len(ribbons.vertices)
        return np.concatenate(vertices), np.concatenate(triangles)

    def _sky_light(
        self, maps: list[ShadowMap], points: np.ndarray, normals: np.ndarray
    ) -> np.ndarray:
        """Return (n, 3) irradiance of the sky over pi, so that it multiplies an albedo."""
        total = np.zeros((len(points), 3), np.float32)
        for towards, radiance, shadow in zip(self._sky, self._light.sky_rgb, maps, strict=True):
            facing = np.maximum(normals @ towards, 0)
            total += (facing * shadow.visible(points, SKY_BIAS_CM))[:, None] * radiance
        return total / len(maps)

    def _strand_sky(self, maps: list[ShadowMap], strands: Strands) -> np.ndarray:
        """Return (n, k, 3) light of the sky on strands, which face every way."""
        points = strands.points.reshape(-1, 3).astype(np.float32)
        total = np.zeros((len(points), 3), np.float32)
        for radiance, shadow in zip(self._light.sky_rgb, maps, strict=True):
            total += 0.3 * shadow.visible(points, 0.3)[:, None] * radiance
        return (total / len(maps)).reshape(strands.points.shape)

    def seen(self, camera: Camera) -> Drawn:
        """Return what a camera sees of the person."""
        fine = FINE if max(camera.width, camera.height) <= FINE_UP_TO else COARSE
        eye = -camera.viewmat[:3, :3].T @ camera.viewmat[:3, 3]
        ribbons = [_ribbons(s, eye - s.points) for s in self._strands]
        parts = [self._surface.vertices, *(r.vertices for r in ribbons)]
        starts = np.cumsum([0, *(len(p) for p in parts)])
        triangles = np.concatenate(
            [self._surface.triangles]
            + [r.triangles + n for r, n in zip(ribbons, starts[1:], strict=False)]
        )
        projected = camera.project(np.concatenate(parts))
        index, bary, depth = rasterize_mesh(
            projected[:, :2] * fine,
            projected[:, 2],
            triangles,
            height=camera.height * fine,
            width=camera.width * fine,
        )
        at = index >= 0
        chosen, weight = triangles[index[at]], bary[at]
        surface = index[at] < len(self._surface.triangles)
        color = np.zeros((len(chosen), 3), np.float32)
        normal = np.zeros((len(chosen), 3), np.float32)
        color[surface], normal[surface] = self._surface_color(
            index[at][surface], weight[surface], eye
        )
        color[~surface], normal[~surface] = self._strand_color(
            ribbons, chosen[~surface] - starts[1], weight[~surface], eye
        )
        return _reduced(camera, fine, at, depth, color, normal, ~surface)

    def _surface_color(
        self, index: np.ndarray, weight: np.ndarray, eye: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return colours and normals (n, 3) of samples on triangles of the surface."""
        faces = self._surface.triangles[index]

        def mixed(values: np.ndarray) -> np.ndarray:
            return np.asarray(np.einsum("nk,nkc->nc", weight, values[faces]))

        place, normal = mixed(self._surface.vertices), unit(mixed(self._normals))
        material = self._surface.material[index]
        look = self._painter(material, mixed(self._surface.rest))
        view = unit(eye - place)
        # Seen from behind (the mouth's walls, garments' insides) a normal is the other one.
        normal = np.where((normal * view).sum(1, keepdims=True) < -0.2, -normal, normal)
        lit = self._lamp_map.visible(place, LAMP_BIAS_CM)[:, None]
        facing = (normal @ self._lamp)[:, None]
        wrap = np.where((material == Material.SKIN)[:, None], WRAP, 0.02)
        wrapped = np.maximum((facing + wrap) / (1 + wrap), 0)
        diffuse = mixed(self._irradiance) + lit * wrapped * self._light.lamp_rgb
        half = unit(view + self._lamp)
        shine = np.maximum((normal * half).sum(1), 0) ** look.sharpness
        fresnel = 0.3 + 0.7 * (1 - np.clip((normal * view).sum(1), 0, 1)) ** 3
        strength = look.gloss * (look.sharpness + 8) / 25 * shine * fresnel
        sky = look.gloss[:, None] * 0.1 * mixed(self._irradiance)
        color = look.color * diffuse + strength[:, None] * lit * self._light.lamp_rgb + sky
        return color, normal

    def _strand_color(
        self, ribbons: list[Ribbons], faces: np.ndarray, weight: np.ndarray, eye: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return colours and normals (n, 3) of samples on strands.

        Diffuse light and gloss follow the tangent (Kajiya and Kay, SIGGRAPH 1989).
        """
        if not len(faces):
            return np.zeros((0, 3)), np.zeros((0, 3))

        def mixed(values: list[np.ndarray]) -> np.ndarray:
            return np.asarray(np.einsum("nk,nkc->nc", weight, np.concatenate(values)[faces]))

        def doubled(values: np.ndarray) -> np.ndarray:
            return np.repeat(values.reshape(-1, 3), 2, 0)

        place = mixed([r.vertices for r in ribbons])
        tangent = unit(mixed([r.tangents for r in ribbons]))
        normal = unit(mixed([r.normals for r in ribbons]))
        sky = mixed([doubled(light) for light in self._strand_light])
        shape = [s.points.shape for s in self._strands]
        albedo = mixed(
            [
                doubled(np.broadcast_to(s.color[:, None], size))
                for s, size in zip(self._strands, shape, strict=True)
            ]
        )
        view = unit(eye - place)
        lit = self._lamp_map.visible(place, LAMP_BIAS_CM)[:, None]
        along = tangent @ self._lamp
        across = np.sqrt(np.clip(1 - along**2, 0, 1))
        to_eye = (tangent * view).sum(1)
        shine = across * np.sqrt(np.clip(1 - to_eye**2, 0, 1)) - along * to_eye
        shine = np.clip(shine, 0, 1) ** HAIR_SHARPNESS * HAIR_GLOSS
        # Light scattered between strands brightens light hair.
        diffuse = albedo * (sky * 1.6 + lit * (0.75 * across)[:, None] * self._light.lamp_rgb)
        gloss = shine[:, None] * (0.4 + 0.6 * albedo / albedo.max(1, keepdims=True).clip(1e-4))
        return diffuse + lit * gloss * self._light.lamp_rgb + 0.03 * sky, normal


def _thinned(strands: Strands, every: int) -> Strands:
    """Return one strand in `every`, so much wider, of half as many pieces."""
    return Strands(
        strands.points[::every, ::2], strands.radius[::every] * every**0.8, strands.color[::every]
    )


def _ribbons(strands: Strands, towards: np.ndarray) -> Ribbons:
    """Return strands as ribbons that face `towards` (n, k, 3), the eye or a light."""
    points = strands.points.astype(np.float32)
    count, steps = points.shape[:2]
    tangent = unit(np.gradient(points, axis=1)).astype(np.float32)
    towards = unit(towards).astype(np.float32)
    side = unit(np.cross(tangent, towards)).astype(np.float32)
    taper = np.linspace(1, 0.35, steps, dtype=np.float32)[None, :, None]
    offset = side * strands.radius[:, None, None].astype(np.float32) * taper
    vertices = np.stack([points - offset, points + offset], 2).reshape(-1, 3)
    round_ = np.stack([towards - 0.8 * side, towards + 0.8 * side], 2).reshape(-1, 3)
    base = (np.arange(count)[:, None] * steps + np.arange(steps - 1)) * 2
    base = base.reshape(-1, 1)
    triangles = np.concatenate(
        [base + np.array(corners) for corners in ((0, 1, 2), (1, 3, 2))]
    ).astype(np.int64)
    return Ribbons(vertices, round_, np.repeat(tangent.reshape(-1, 3), 2, 0), triangles)


def _reduced(
    camera: Camera,
    fine: int,
    at: np.ndarray,
    depth: np.ndarray,
    color: np.ndarray,
    normal: np.ndarray,
    strand: np.ndarray,
) -> Drawn:
    """Return samples brought together to pixels: colours averaged, depth the middle one."""
    height, width = camera.height, camera.width

    def cells(values: np.ndarray) -> np.ndarray:
        full = np.zeros((*at.shape, *values.shape[1:]), np.float32)
        full[at] = values
        grouped = full.reshape(height, fine, width, fine, -1).swapaxes(1, 2)
        return grouped.reshape(height, width, fine * fine, -1)

    coverage = cells(np.ones((len(color), 1)))[..., 0].mean(2)
    blocks = cells(depth[at][:, None])[..., 0]
    ordered = np.sort(np.where(blocks > 0, blocks, np.inf), 2)
    count = (blocks > 0).sum(2)
    middle = np.take_along_axis(ordered, np.maximum(count - 1, 0)[..., None] // 2, 2)[..., 0]
    middle = np.where(count > 0, middle, 0).astype(np.float32)
    hair = cells(strand[:, None].astype(np.float32))[..., 0].mean(2)
    # World (head frame) normals into the y-up camera frame.
    rotation = camera.viewmat[:3, :3] * np.array([[1], [-1], [-1]], np.float32)
    own = cells(normal * ~strand[:, None]).sum(2) @ rotation.T
    smooth = _depth_normals(middle, camera.focal_px)
    share = (hair / np.maximum(coverage, 1e-6))[..., None]
    normals = unit((1 - share) * unit(own) + share * smooth) * (count > 0)[..., None]
    return Drawn(
        cells(color).mean(2),
        coverage.astype(np.float32),
        middle,
        normals.astype(np.float32),
        hair.astype(np.float32),
    )


def _depth_normals(depth: np.ndarray, focal_px: float) -> np.ndarray:
    """Return (H, W, 3) unit normals (y-up camera frame) of a depth map smoothed inside its mask."""
    known = (depth > 0).astype(np.float32)
    total = cv2.GaussianBlur(known, (0, 0), HAIR_NORMALS_PX)
    smooth = cv2.GaussianBlur(depth, (0, 0), HAIR_NORMALS_PX) / np.maximum(total, 1e-6)
    smooth = np.where(known > 0, smooth, 0)
    scale = np.maximum(smooth, 1) / focal_px  # cm per px
    dx, dy = np.gradient(smooth, axis=1) / scale, np.gradient(smooth, axis=0) / scale
    return unit(np.stack([dx, -dy, np.ones_like(dx)], -1))
