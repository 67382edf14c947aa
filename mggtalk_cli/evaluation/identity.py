"""Does a head give its photo back: driven by its own state, and moved by a known warp?

A warp that only displaces points in the image plane, at constant depth, has an exact answer: the
photo sampled through the inverse of the warp. It tells a render that only reproduces its photo
(colours tuned for one view) from one that stays right when points move. Beside it stands the photo
that does not move.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from mggtalk_cli import drawing, pipeline, tensors
from mggtalk_cli.core.camera import pixel_grid
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.evaluation import metrics
from mggtalk_cli.evaluation.labels import film_sheet
from mggtalk_cli.evaluation.report import OURS, Metric
from mggtalk_cli.evaluation.runs import Measured, Protocol, Source

# The warp: two sines along each axis, (amplitude, wavelength) in shares of the longer side; at 512
# px up to 6 px with stretches up to a third, much like a head that talks and turns a little.
WARP_X = ((4 / 512, 90 / 512), (2 / 512, 70 / 512))
WARP_Y = ((4 / 512, 110 / 512), (1.5 / 512, 60 / 512))

# The warped photo is compared where the person was, this share of the longer side inside.
ERODE = 15 / 512

INVERSION_STEPS = 40

REPEAT = "repeat"
CELL_PX = 256
ERROR_GAIN = 8  # errors in the sheet are shown this many times as large

METRICS = {
    "warp_db": Metric(
        "PSNR of the head moved by a known warp to the photo warped likewise, inside the person",
        *("higher", "dB", 2),
    ),
    "warp_sharpness": Metric("mean gradient over the warped photo's, same pixels", "one"),
    "frame_db": Metric("PSNR of the head at rest to its photo, whole frame", "higher", "dB", 2),
    "person_db": Metric("the same, inside the person", "higher", "dB", 2),
    "ssim": Metric("SSIM of the head at rest to its photo, whole frame", digits=4),
    "sharpness": Metric("mean gradient over the photo's, inside the person", "one"),
}


@dataclass(frozen=True)
class IdentityResult:
    """One photo given back; PSNR in dB, sharpness as a ratio to the truth's gradient.

    Attributes:
        warp_db: moved by the known warp, inside the person.
        warp_sharpness: the same.
        frame_db: at rest, whole frame.
        person_db: at rest, inside the person.
        ssim: at rest, whole frame.
        sharpness: at rest, inside the person.
    """

    warp_db: float
    warp_sharpness: float
    frame_db: float
    person_db: float
    ssim: float
    sharpness: float


@dataclass(frozen=True)
class GivenBack:
    """A photo, what its head makes of it, and the numbers; pictures are (H, W, 3) 0..1.

    Attributes:
        photo: as it is framed.
        own: the head at rest.
        truth: the photo warped.
        warped: the head moved by the warp.
        region: (H, W) bool, where the warped ones are compared.
        result: the numbers.
    """

    photo: np.ndarray
    own: np.ndarray
    truth: np.ndarray
    warped: np.ndarray
    region: np.ndarray
    result: IdentityResult


def given_back(
    path: Path,
    options: pipeline.BuildOptions | None = None,
    variants: pipeline.Variants = pipeline.ANALYTIC,
) -> GivenBack:
    """Return how well the head of one photo gives the photo back.

    Raises:
        InputError: unreadable, or no face.
    """
    head = pipeline.build_head(read_photo(path), options, variants=variants)
    image = head.arrays["image"].astype(np.float32) / 255
    matte = head.arrays["matte"]
    rendered = pipeline.render(head, variants=variants)
    [frame] = pipeline.inpaint(rendered, variants=variants).frames
    own = frame.image.astype(np.float32) / 255
    side = max(matte.shape)
    kernel = np.ones((max(1, round(ERODE * side)),) * 2)
    # Beyond the photo's border nothing is known: the border counts as an edge of the person.
    inside = cv2.erode(matte, kernel, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    person = inside > 0.98 * 255
    warped, source = warped_head(head, variants), warp_sources(*matte.shape)
    truth = np.clip(_sample(image, source), 0, 1)
    region = _sample(inside.astype(np.float32), source, cv2.INTER_LINEAR) > 0.98 * 255
    result = IdentityResult(
        warp_db=metrics.psnr(warped, truth, region),
        warp_sharpness=metrics.sharpness_ratio(warped, truth, region),
        frame_db=metrics.psnr(own, image),
        person_db=metrics.psnr(own, image, person),
        ssim=metrics.ssim(own, image),
        sharpness=metrics.sharpness_ratio(own, image, person),
    )
    return GivenBack(image, own, truth, warped, region, result)


def identity_result(path: Path, options: pipeline.BuildOptions | None = None) -> IdentityResult:
    """Return the numbers of `given_back`."""
    return given_back(path, options).result


def identity_protocol(
    build: pipeline.BuildOptions, variants: pipeline.Variants = pipeline.ANALYTIC
) -> Protocol:
    """Return the protocol; its sources are photos of one person."""

    def measure(source: Source) -> Measured:
        found = given_back(source.files[0], build, variants)
        unmoved = {
            "warp_db": metrics.psnr(found.photo, found.truth, found.region),
            "warp_sharpness": metrics.sharpness_ratio(found.photo, found.truth, found.region),
        }
        values = {OURS: asdict(found.result), REPEAT: unmoved}
        return Measured(values, sheet=identity_sheet(found))

    return Protocol(
        name="identity",
        settings={"size": build.size, "crop": build.crop, "variants": variants.settings},
        main="warp_db",
        ours=OURS,
        others=(REPEAT,),
        metrics=METRICS,
        measure=measure,
    )


def identity_sheet(found: GivenBack) -> np.ndarray:
    """Return photo, head and error (`ERROR_GAIN` times) at rest, and the same three warped."""
    rows = {}
    for name, head, truth in (
        ("at rest", found.own, found.photo),
        ("warped", found.warped, found.truth),
    ):
        pictures = (truth, head, ERROR_GAIN * np.abs(head - truth))
        rows[name] = [np.uint8(255 * np.clip(picture, 0, 1) + 0.5) for picture in pictures]
    return film_sheet(rows, CELL_PX)


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


def warped_head(
    head: pipeline.Artifact, variants: pipeline.Variants = pipeline.ANALYTIC
) -> np.ndarray:
    """Return the (H, W, 3) float32 render of a head's points moved by the warp, over its plate."""
    camera, plate = tensors.camera_of(head), head.arrays["plate"].astype(np.float32) / 255
    rest = next(drawing.point_frames(head, pipeline.RenderOptions()))
    seen = camera.project(rest["points"])
    moved = seen[:, :2] + displacement(seen[:, :2], max(camera.width, camera.height))
    points = camera.unproject(moved, seen[:, 2]).astype(np.float32)
    gaussians = variants.gaussians_of(head)({**rest, "points": points})
    rgb, alpha = drawing.rasterize(gaussians, camera, camera.viewmat)
    return np.clip(rgb.numpy() + (1 - alpha.numpy()) * plate, 0, 1)


def _sample(picture: np.ndarray, xy: np.ndarray, mode: int = cv2.INTER_CUBIC) -> np.ndarray:
    """Return the picture at pixel positions (H, W, 2), centres at .5."""
    places = (xy - 0.5).astype(np.float32)
    return np.asarray(cv2.remap(picture, places, None, mode, borderMode=cv2.BORDER_CONSTANT))
