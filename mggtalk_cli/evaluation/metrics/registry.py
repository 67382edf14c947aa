"""One line on every metric, for the reports: definition, direction, unit, digits."""

from __future__ import annotations

from dataclasses import replace

from mggtalk_cli.evaluation.report import Metric

METRICS: dict[str, Metric] = {
    "psnr": Metric("-10 log10 of the mean squared error in float, peak 1", unit="dB", digits=2),
    "psnr_uint8_wraparound": Metric(
        "WRONG on purpose: PSNR of squared differences that wrap around at 256", "none", "dB", 2
    ),
    "ssim": Metric("SSIM, gaussian window 11 x 11, sigma 1.5, K .01/.03, mean of colours"),
    "ms_ssim": Metric("SSIM over five scales (Wang 2003); none below 176 px"),
    "sharpness": Metric("mean gradient magnitude relative to the truth's", "one"),
    "lpips": Metric("LPIPS v0.1 of AlexNet features, pictures as they are", "lower", key=True),
    "fid": Metric(
        "Frechet distance of Inception-v3 features at 299 px", "lower", digits=2, key=True
    ),
    "kid": Metric("kernel distance of Inception-v3 features at 299 px", "lower", digits=4),
    "csim": Metric("cosine of identity embeddings; the embedder is among the settings", key=True),
    "aed": Metric("mean |difference| of 52 expression coefficients", "lower", digits=4),
    "apd": Metric("mean |difference| of yaw, pitch, roll", "lower", "rad", 4),
    "lmd": Metric("mean distance of 468 landmarks, longer side 256 px", "lower", "px", 2),
    "lmd_iod": Metric("mean distance of 468 landmarks over that of the eyes", "lower", digits=4),
    "mouth_lmd": Metric(
        "M-LMD: lip landmarks, mouths centred, side 256 px", "lower", "px", 2, key=True
    ),
    "mouth_lmd_iod": Metric("M-LMD: lip landmarks over eye distance", "lower", digits=4),
    "opening_r": Metric("correlation of mouth opening with the truth's"),
    "opening_lag": Metric("frames by which the mouth is late, within 3", "zero", "frames", 0),
    "opening_lag_r": Metric("correlation of mouth opening at that lag"),
    "lse_d": Metric(
        "SyncNet: least distance of lips and sound over shifts", "lower", digits=2, key=True
    ),
    "lse_c": Metric("SyncNet: median minus least distance over shifts", digits=2, key=True),
    "sync_offset": Metric("SyncNet: frames by which the sound is late", "zero", "frames", 0),
    "pose_jitter": Metric(
        "third difference of head angles, as the noise per frame that shakes so", "lower", "deg", 3
    ),
    "pixel_jitter": Metric(
        "second difference of still pixels, as the noise per frame", "lower", "levels", 2
    ),
    "flicker": Metric(
        "mean |change - true change| from frame to frame", "lower", "levels", 2, key=True
    ),
}


def within(name: str, region: str) -> Metric:
    """Return how to read a metric that is taken over a part of the picture.

    >>> within("psnr", "the head").definition
    '-10 log10 of the mean squared error in float, peak 1; over the head'
    """
    metric = METRICS[name]
    return replace(metric, definition=f"{metric.definition}; over {region}")
