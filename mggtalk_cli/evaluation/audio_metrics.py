"""How the numbers of `evaluate audio` are to be read."""

from __future__ import annotations

from mggtalk_cli.evaluation.metrics import METRICS
from mggtalk_cli.evaluation.report import Metric

# Numbers of a speaker whose medians over the speakers are given too.
MEDIANS = ("r", "width_r", "closed_found", "lag_r")

_OPENING = "mouth opening at 25 fps, 3D, over the distance of the outer eye corners"


def speaker_metrics() -> dict[str, Metric]:
    """Return those of a speaker's clips, pooled: the mean face's mouth against the speaker's."""
    found = {
        "r": Metric(f"correlation of predicted and tracked {_OPENING}; frames of a speaker pooled"),
        "width_r": Metric("correlation of predicted and tracked mouth width", key=True),
        "closed_found": Metric(
            "closed frames in speech found among the fifth with the least predicted opening; "
            "chance .2",
            key=True,
        ),
        "amplitude": Metric(
            "standard deviation of opening, predicted over tracked", "one", key=True
        ),
        "width_amplitude": Metric("standard deviation of width, predicted over tracked", "one"),
        "lag": Metric(
            "frames by which the prediction is late, within 3", "zero", "frames", 1, key=True
        ),
        "lag_r": Metric("correlation of opening at that lag"),
        "open_in_silence": Metric("share of silent frames with an open mouth", "lower", key=True),
        "frames": Metric("frames with a face and sound", "none", digits=0),
    }
    for name in MEDIANS:
        found[f"median_{name}"] = Metric(f"median of {name} over the speakers", found[name].better)
    return found


def sound_metrics() -> dict[str, Metric]:
    """Return those of a sound without a picture."""
    return {
        "sound_open_in_silence": Metric(
            "share of a sound's silent frames with an open mouth", "lower", key=True
        ),
        "sound_silence_to_speech": Metric(
            "variance of opening in silence over that in speech", "lower", digits=4, key=True
        ),
        "sound_longest_still": Metric(
            "longest stretch of speech in which the mouth does not move",
            *("lower", "s", 2),
            key=True,
        ),
        "sound_spread": Metric("standard deviation of opening within speech", "none", digits=4),
        "sound_speech": Metric("share of the sound within speech", "none"),
        "sound_seconds": Metric("length that was used", "none", "s", 1),
    }


def film_metrics() -> dict[str, Metric]:
    """Return those of a finished film: its mouth against the motion asked for and the speaker's."""
    speaker = "correlation of the speaker's mouth {} with {}"
    return {
        "film_kept": Metric(
            "correlation of the opening in the pixels with that asked for", key=True
        ),
        "film_kept_width": Metric("correlation of the width in the pixels with that asked for"),
        "film_kept_amplitude": Metric(
            "standard deviation of opening, in the pixels over asked for", "one"
        ),
        "film_lag": Metric("frames by which the pixels are late", "zero", "frames", 1, key=True),
        "film_r_pixels": Metric(speaker.format("opening", "that in the pixels"), key=True),
        "film_r": Metric(speaker.format("opening", "that asked for")),
        "film_lost": Metric("film_r above film_r_pixels", "lower"),
        "film_width_r_pixels": Metric(speaker.format("width", "that in the pixels")),
        "film_width_r": Metric(speaker.format("width", "that asked for")),
        "film_width_lost": Metric("film_width_r above film_width_r_pixels", "lower"),
        "film_frames": Metric("frames of the film", "none", digits=0),
    }


def mouth_metrics() -> dict[str, Metric]:
    """Return those of frame 0 that says its own sound."""
    where = (
        "the square around the mouth, .9 distances of the outer eye corners wide; every picture "
        "aligned with the photo by the landmarks of the skull"
    )
    return {
        "mouth_db": Metric(
            f"float PSNR, peak 1, of the squared error pooled over the frames, over {where}",
            *("higher", "dB", 2),
            key=True,
        ),
        "mouth_ssim": Metric(f"mean structural similarity over {where}", key=True),
        "mouth_sharpness": Metric(f"mean gradient over the truth's, over {where}", "one"),
    }


def lip_sync_metrics() -> dict[str, Metric]:
    """Return those that need a SyncNet."""
    return {name: METRICS[name] for name in ("lse_d", "lse_c", "sync_offset")}
