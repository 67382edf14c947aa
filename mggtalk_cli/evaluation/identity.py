"""Does a head give its photo back: driven by its own state, and moved by a known warp?

A warp that only displaces points in the image plane, at constant depth, has an exact answer: the
photo sampled through the inverse of the warp. It tells a render that only reproduces its photo
(colours tuned for one view) from one that stays right when points move.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from mggtalk_cli import deform, drawing, pipeline, splat, tensors
from mggtalk_cli.core.camera import pixel_grid
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.evaluation import metrics

# The warp: two sines along each axis, (amplitude, wavelength) in shares of the longer side; at 512
# px up to 6 px with stretches up to a third, much like a head that talks and turns a little.
WARP_X = ((4 / 512, 90 / 512), (2 / 512, 70 / 512))
WARP_Y = ((4 / 512, 110 / 512), (1.5 / 512, 60 / 512))

# The warped photo is compared where the person was, this share of the longer side inside.
ERODE = 15 / 512

INVERSION_STEPS = 40


@dataclass(frozen=True)
class IdentityResult:
    """PSNR in dB of one photo: own state over the frame and inside the person, and warped."""

    photo: str
    frame_db: float
    person_db: float
    warp_db: float


def identity_result(path: Path, options: pipeline.BuildOptions | None = None) -> IdentityResult:
    """Return how well the head of one photo gives the photo back.

    Raises:
        InputError: unreadable, or no face.
    """
    head = pipeline.build_head(read_photo(path), options)
    image = head.arrays["image"].astype(np.float32) / 255
    matte = head.arrays["matte"]
    [frame] = pipeline.inpaint(pipeline.render(head)).frames
    own = frame.image.astype(np.float32) / 255
    side = max(matte.shape)
    kernel = np.ones((max(1, round(ERODE * side)),) * 2)
    # Beyond the photo's border nothing is known: the border counts as an edge of the person.
    inside = cv2.erode(matte, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    warped, source = warped_head(head), warp_sources(*matte.shape)
    truth = _sample(image, source)
    region = _sample(inside.astype(np.float32), source, cv2.INTER_LINEAR) > 0.98 * 255
    return IdentityResult(
        photo=path.stem,
        frame_db=metrics.psnr(own, image),
        person_db=metrics.psnr(own, image, inside > 0.98 * 255),
        warp_db=metrics.psnr(warped, np.clip(truth, 0, 1), region),
    )


def displacement(xy: np.ndarray, side: int) -> np.ndarray:
    """Return (..., 2) px by which the warp moves pixel positions (..., 2) of a picture."""
    x, y = xy[..., 0] / side * 2 * np.pi, xy[..., 1] / side * 2 * np.pi
    (ax, wx), (bx, vx) = WARP_X
    (ay, wy), (by, vy) = WARP_Y
    across = ax * np.sin(y / wx) + bx * np.cos(x / vx)
    down = ay * np.sin(x / wy) + by * np.sin(y / vy)
    return np.stack([across, down], -1) * side


def warp_sources(height: int, width: int) -> np.ndarray:
    """Return (H, W, 2) px: where in the photo each pixel of the warped photo comes from."""
    grid = pixel_grid(height, width)
    source = grid.copy()
    for _ in range(INVERSION_STEPS):
        source = grid - displacement(source, max(height, width))
    return source


def warped_head(head: pipeline.Artifact) -> np.ndarray:
    """Return the (H, W, 3) float32 render of a head's points moved by the warp, over its plate."""
    rig, state = tensors.head_rig(head), tensors.source_state(head)
    camera, plate = tensors.camera_of(head), head.arrays["plate"].astype(np.float32) / 255
    posed = deform.deform_analytic(rig, state, state)
    seen = camera.project(posed.points.numpy())
    moved = seen[:, :2] + displacement(seen[:, :2], max(camera.width, camera.height))
    points = torch.from_numpy(camera.unproject(moved, seen[:, 2]).astype(np.float32))
    gaussians = splat.decode_analytic(points, posed.visibility, tensors.gaussian_sheet(head, "cpu"))
    rgb, alpha = drawing.rasterize(gaussians, camera, camera.viewmat)
    return np.clip(rgb.numpy() + (1 - alpha.numpy()) * plate, 0, 1)


def _sample(picture: np.ndarray, xy: np.ndarray, mode: int = cv2.INTER_CUBIC) -> np.ndarray:
    """Return the picture at pixel positions (H, W, 2), centres at .5."""
    places = (xy - 0.5).astype(np.float32)
    return np.asarray(cv2.remap(picture, places, None, mode, borderMode=cv2.BORDER_CONSTANT))
