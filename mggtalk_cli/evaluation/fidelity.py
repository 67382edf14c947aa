"""How close the frames of a method are to the true ones, region by region, frame by frame.

PSNR is that of the squared error pooled over the frames: a frame that a method happens to get
exactly does not count for infinitely much. Sharpness stands beside every PSNR, since a misplaced
picture gains by being soft. Frame 0 is the photo and is not scored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import metrics
from mggtalk_cli.evaluation.clips import TrueClip
from mggtalk_cli.evaluation.metrics import METRICS, within
from mggtalk_cli.evaluation.metrics.image import FLAT, SSIM_WINDOW
from mggtalk_cli.evaluation.regions import REGIONS, clip_masks
from mggtalk_cli.evaluation.report import Metric

# SSIM takes longer than all the rest: it and MS-SSIM see so many frames at most, evenly spread.
SSIM_FRAMES, MS_SSIM_FRAMES = 25, 10

# What |a - b| of two bytes adds to the squared error of pictures with peak 1.
_SQUARES = (np.arange(256, dtype=np.float32)) ** 2
_PEAK = 255.0**2


# Regions whose PSNR is also told frame by frame.
CURVES = ("head", "frame")


class FrameScores(NamedTuple):
    """Numbers of one method on one clip, and some of them for every frame from 1 on."""

    values: dict[str, float]
    curves: dict[str, list[float]]


@dataclass(frozen=True)
class Yardstick:
    """A true clip, ready to be compared with.

    Attributes:
        frames: (H, W, 3) uint8, frame 0 included.
        masks: uint8 masks of each by region.
        gradients: (H, W) float32 gradient magnitude of each.
    """

    frames: list[np.ndarray]
    masks: list[dict[str, np.ndarray]]
    gradients: list[np.ndarray]

    @classmethod
    def of(cls, clip: TrueClip) -> Yardstick:
        """Return the yardstick of a clip."""
        gradients = [metrics.gradient_magnitude(frame) for frame in clip.frames]
        return cls(clip.frames, clip_masks(clip), gradients)

    def check(self, images: Sequence[np.ndarray], name: str) -> None:
        """Check that a method's frames are as many and as large as the true ones.

        Raises:
            InputError: they are not.
        """
        if len(images) < len(self.frames):
            raise InputError(
                f"{name} has {len(images)} frames, the clip is measured over {len(self.frames)}: "
                f"use --frames {len(images)} or less"
            )
        height, width = self.frames[0].shape[:2]
        for index, image in enumerate(images):
            if image.shape != (height, width, 3):
                size = " x ".join(str(side) for side in image.shape[1::-1])
                raise InputError(
                    f"{name}: frame {index} is {size} px, the true one {width} x {height}: write "
                    "frames of that size, or choose the --size of the comparison to suit them"
                )

    def scores(self, images: Sequence[np.ndarray]) -> FrameScores:
        """Return PSNR and sharpness of every region, SSIM and MS-SSIM of a method's frames."""
        errors, sharpness = self.errors(images), self.sharpness(images)
        curves = {f"{name}_db": _psnr(errors[name]) for name in CURVES}
        known = [level for level in curves["head_db"] if level == level]
        values = {f"{name}_db": pooled_psnr(found) for name, found in errors.items()}
        values["head_mean_db"] = float(np.mean(known)) if known else float("nan")
        values |= {f"{name}_sharpness": mean_of(found) for name, found in sharpness.items()}
        return FrameScores({**values, **self._similarity(images)}, curves)

    def errors(self, images: Sequence[np.ndarray]) -> dict[str, list[float]]:
        """Return the mean squared error (peak 1) of frames 1.. by region; NaN where it is empty."""
        found: dict[str, list[float]] = {name: [] for name in REGIONS}
        for image, true, masks in self._scored(images):
            squares = cv2.LUT(cv2.absdiff(image, true), _SQUARES)
            for name, mask in masks.items():
                found[name].append(_masked_mean(squares, mask) / _PEAK)
        return found

    def sharpness(
        self, images: Sequence[np.ndarray], names: Iterable[str] = REGIONS
    ) -> dict[str, list[float]]:
        """Return mean gradient over the truth's of frames 1.. by region; NaN where that is flat."""
        found: dict[str, list[float]] = {name: [] for name in names}
        pairs = zip(images, self.masks, self.gradients, strict=False)
        for image, masks, true in list(pairs)[1:]:
            own = metrics.gradient_magnitude(image)
            for name, ratios in found.items():
                level = _masked_mean(true, masks[name])
                flat = not level > FLAT * 255
                ratios.append(np.nan if flat else _masked_mean(own, masks[name]) / level)
        return found

    def head_sharpness(self, images: Sequence[np.ndarray]) -> float:
        """Return the mean sharpness of the head over frames 1.. ."""
        return mean_of(self.sharpness(images, ("head",))["head"])

    @property
    def heads(self) -> list[np.ndarray]:
        """The head masks (H, W) bool."""
        return [masks["head"] > 0 for masks in self.masks]

    def _scored(
        self, images: Sequence[np.ndarray]
    ) -> list[tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]]:
        """Return (image, truth, masks) of frames 1.. ."""
        return list(zip(images, self.frames, self.masks, strict=False))[1:]

    def _similarity(self, images: Sequence[np.ndarray]) -> dict[str, float]:
        """Return SSIM of frame and head, and MS-SSIM, over some of the frames."""
        count = len(self.frames)
        found = [
            _similarity(images[i], self.frames[i], self.masks[i]["head"])
            for i in spread_frames(count, SSIM_FRAMES)
        ]
        scales = [
            metrics.ms_ssim(_unit(images[i]), _unit(self.frames[i]))
            for i in spread_frames(count, MS_SSIM_FRAMES)
        ]
        return {
            "ssim": mean_of([whole for whole, _ in found]),
            "head_ssim": mean_of([head for _, head in found]),
            "ms_ssim": mean_of(scales),
        }


def spread_frames(count: int, wanted: int) -> list[int]:
    """Return at most `wanted` frames of 1 .. count - 1, evenly spread, first and last included.

    >>> spread_frames(11, 4), spread_frames(3, 4)
    ([1, 4, 7, 10], [1, 2])
    """
    places = np.linspace(1, count - 1, min(wanted, count - 1)).round().astype(int)
    return [int(place) for place in places]


def pooled_psnr(errors: Sequence[float]) -> float:
    """Return the PSNR in dB of the mean of squared errors; NaN where none is a number."""
    finite = [error for error in errors if np.isfinite(error)]
    return metrics.psnr_of_error(float(np.mean(finite))) if finite else float("nan")


def frame_metrics() -> dict[str, Metric]:
    """Return how the numbers of `Yardstick.scores` are to be read, most important first."""
    found = {f"{name}_db": _pooled(what) for name, what in REGIONS.items()}
    found = {"head_db": found.pop("head_db"), **found}
    found["mouth_db"] = replace(found["mouth_db"], key=True)
    found |= {f"{n}_sharpness": within("sharpness", what) for n, what in REGIONS.items()}
    found["head_sharpness"] = replace(found["head_sharpness"], key=True)
    found["head_mean_db"] = Metric(
        "mean of the frames' PSNR over the head; none where one is exact", unit="dB", digits=2
    )
    similar = {
        "ssim": (METRICS["ssim"], SSIM_FRAMES),
        "head_ssim": (within("ssim", "the head"), SSIM_FRAMES),
        "ms_ssim": (METRICS["ms_ssim"], MS_SSIM_FRAMES),
    }
    for name, (metric, count) in similar.items():
        definition = f"{metric.definition}; at most {count} frames, evenly spread"
        found[name] = replace(metric, definition=definition, key=name == "ssim")
    return found


def _pooled(what: str) -> Metric:
    return Metric(
        f"float PSNR, peak 1, of the squared error pooled over frames 1..: {what}",
        unit="dB",
        digits=2,
    )


def _similarity(image: np.ndarray, truth: np.ndarray, head: np.ndarray) -> tuple[float, float]:
    """Return SSIM of a frame, and its mean over the windows centred in the head."""
    found = metrics.ssim_map(_unit(image), _unit(truth))
    half = SSIM_WINDOW // 2
    inside = head[half:-half, half:-half] > 0
    return float(found.mean()), float(found[inside].mean()) if inside.any() else float("nan")


def _unit(image: np.ndarray) -> np.ndarray:
    return image.astype(np.float32) / 255


def _masked_mean(values: np.ndarray, mask: np.ndarray) -> float:
    """Return the mean of (H, W) or (H, W, 3) values where a uint8 mask is set; NaN of nothing."""
    if not mask.any():
        return float("nan")
    channels = values.shape[2] if values.ndim == 3 else 1
    return float(np.mean(cv2.mean(values, mask=mask)[:channels]))


def _psnr(errors: Sequence[float]) -> list[float]:
    return [metrics.psnr_of_error(error) for error in errors]


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of the finite values; NaN of none."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else float("nan")
