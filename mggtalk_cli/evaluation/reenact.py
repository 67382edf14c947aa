"""Self-reenactment: frame 0 of a clip is the photo, the clip itself drives it, its frames are true.

Ours runs through the pipeline as a user's would (--crop none). "repeat" shows frame 0 all the time,
"warp" is the 2D landmark warp. Frame 0 is not scored: repeating it is perfect there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mggtalk_cli import pipeline
from mggtalk_cli.core.landmark_groups import EYES, LIPS
from mggtalk_cli.evaluation import metrics
from mggtalk_cli.evaluation.baselines import LandmarkWarp
from mggtalk_cli.evaluation.clips import outline_mask, read_frames, true_heads

FRAMES, FPS, MAX_SIDE = 50, 25.0, 512

OURS = "ours"


@dataclass(frozen=True)
class Scores:
    """How close the frames of one method are to the true ones.

    Every PSNR is that of the squared error pooled over the frames: a frame that a method happens
    to get exactly does not count for infinitely much.

    Attributes:
        head_db: PSNR over the head mask (see `clips.head_mask`).
        frame_db: PSNR over whole frames.
        mouth_db: PSNR within the hull of the true lips.
        eyes_db: PSNR within the hulls of the true eyes.
        head_mean_db: mean over the frames of their head PSNR; infinite where one frame is exact.
        ssim: mean SSIM of whole frames.
        sharpness: mean gradient within the head relative to the truth's.
    """

    head_db: float
    frame_db: float
    mouth_db: float
    eyes_db: float
    head_mean_db: float
    ssim: float
    sharpness: float


@dataclass(frozen=True)
class ClipResult:
    """Scores of every method on one clip; the methods' order is that of the table."""

    clip: str
    width: int
    height: int
    frames: int
    scores: dict[str, Scores]

    @property
    def gain_db(self) -> float:
        """Head PSNR of ours above repeating frame 0, dB."""
        return self.scores[OURS].head_db - self.scores["repeat"].head_db


Driving = Callable[[pipeline.Drive], pipeline.Drive]


def reenact_clip(
    path: Path,
    *,
    frames: int = FRAMES,
    fps: float = FPS,
    max_side: int = MAX_SIDE,
    change: Driving | None = None,
) -> ClipResult:
    """Return the scores of one clip.

    Args:
        path: the clip.
        frames: how many of its first frames are used; the first one is the photo.
        fps: rate at which it is read.
        max_side: larger clips are scaled down to this longer side, px.
        change: changes the driver before it is used, to find out what a part of it does.

    Raises:
        InputError: unreadable, too short, or no face in the first frame.
    """
    truth = read_frames(path, frames, max_side=max_side, fps=fps)
    points, heads = true_heads(truth, fps=fps)
    warp = LandmarkWarp(truth[0], points[0])
    methods: dict[str, Iterator[np.ndarray]] = {
        OURS: reenacted(truth[0], path, fps=fps, change=change),
        "repeat": iter([truth[0]] * frames),
        "warp": (warp.to(p) for p in points),
    }
    scores = {
        name: score(list(islice(images, frames)), truth, points, heads)
        for name, images in methods.items()
    }
    height, width = truth[0].shape[:2]
    return ClipResult(path.stem, width, height, frames, scores)


def reenacted(
    photo: np.ndarray, clip: Path, *, fps: float = FPS, change: Driving | None = None
) -> Iterator[np.ndarray]:
    """Yield the photo (H, W, 3) uint8 driven by a clip, in the photo's own framing."""
    options = pipeline.BuildOptions(size=max(photo.shape[:2]), crop="none")
    head = pipeline.build_head(photo, options)
    driver = pipeline.drive(str(clip), fps=fps)
    if change is not None:
        driver = change(driver)
    for frame in pipeline.animate(head, driver).frames:
        yield frame.image


def score(
    images: list[np.ndarray],
    truth: list[np.ndarray],
    points: list[np.ndarray],
    heads: list[np.ndarray],
) -> Scores:
    """Return the scores of frames 1.. of one method.

    Args:
        images: uint8 (H, W, 3) frames, the first of them frame 0.
        truth: the true frames.
        points: landmarks of the true frames, px.
        heads: head masks of the true frames.
    """
    shape = truth[0].shape[:2]
    errors: dict[str, list[float]] = {"head": [], "frame": [], "mouth": [], "eyes": []}
    similarity, sharpness = [], []
    for image, true, place, head in list(zip(images, truth, points, heads, strict=True))[1:]:
        a, b = image.astype(np.float32) / 255, true.astype(np.float32) / 255
        eyes = np.array(EYES)
        right = tuple(eyes[place[eyes, 0] < np.median(place[eyes, 0])])
        left = tuple(set(EYES) - set(right))
        both = outline_mask(place, right, shape) | outline_mask(place, left, shape)
        masks = {"head": head, "frame": None, "mouth": outline_mask(place, LIPS, shape)}
        for name, mask in {**masks, "eyes": both}.items():
            errors[name].append(metrics.mean_squared_error(a, b, mask))
        similarity.append(metrics.ssim(a, b))
        sharpness.append(metrics.sharpness_ratio(a, b, head))
    pooled = {name: metrics.psnr_of_error(float(np.nanmean(e))) for name, e in errors.items()}
    each = [metrics.psnr_of_error(e) for e in errors["head"]]
    return Scores(
        head_db=pooled["head"],
        frame_db=pooled["frame"],
        mouth_db=pooled["mouth"],
        eyes_db=pooled["eyes"],
        head_mean_db=float(np.mean(each)),
        ssim=float(np.mean(similarity)),
        sharpness=float(np.mean(sharpness)),
    )
