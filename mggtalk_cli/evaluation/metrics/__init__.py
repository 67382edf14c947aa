"""Metrics with pinned definitions: numbers and pictures in, numbers out; no pipeline, no network.

Every docstring states definition, range, direction, resolution and source, every metric has a test
with a known answer, and `METRICS` says the same in one line each for the reports. What does not
exist (a mask without pixels, a constant curve, too few frames) is NaN, never a guess. Metrics that
rest on a network (LPIPS, CSIM, FID, KID, LSE) take its output: `evaluation.networks` has them.
"""

from mggtalk_cli.evaluation.metrics.curves import (
    Agreement,
    correlation,
    opening_agreement,
    pooled_lag,
    pooled_r,
)
from mggtalk_cli.evaluation.metrics.distributions import distribution_scores, fid, kid
from mggtalk_cli.evaluation.metrics.faces import (
    LandmarkDistance,
    aed,
    apd,
    csim,
    head_angles,
    lmd,
    mouth_lmd,
)
from mggtalk_cli.evaluation.metrics.image import (
    gradient_magnitude,
    mean_squared_error,
    ms_ssim,
    psnr,
    psnr_of_error,
    psnr_uint8_wraparound,
    sharpness_ratio,
    ssim,
    ssim_map,
)
from mggtalk_cli.evaluation.metrics.registry import METRICS, within
from mggtalk_cli.evaluation.metrics.stability import (
    energy_above,
    pixel_jitter,
    pose_jitter,
    still_pixels,
    temporal_flicker,
    tremor_kept,
)
from mggtalk_cli.evaluation.metrics.sync import SyncScore, lip_sync_error

__all__ = [
    "METRICS",
    "Agreement",
    "LandmarkDistance",
    "SyncScore",
    "aed",
    "apd",
    "correlation",
    "csim",
    "distribution_scores",
    "energy_above",
    "fid",
    "gradient_magnitude",
    "head_angles",
    "kid",
    "lip_sync_error",
    "lmd",
    "mean_squared_error",
    "mouth_lmd",
    "ms_ssim",
    "opening_agreement",
    "pixel_jitter",
    "pooled_lag",
    "pooled_r",
    "pose_jitter",
    "psnr",
    "psnr_of_error",
    "psnr_uint8_wraparound",
    "sharpness_ratio",
    "ssim",
    "ssim_map",
    "still_pixels",
    "temporal_flicker",
    "tremor_kept",
    "within",
]
