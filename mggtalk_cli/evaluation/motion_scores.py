"""How the face moves: against the true clip, against a driver of somebody else, and how calmly.

The tracker that drives ours also measures it: what it cannot see, it cannot miss. A method whose
face is not found in every frame says so in `tracked`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.landmark_groups import RIGID
from mggtalk_cli.core.mouth import mouth_curves
from mggtalk_cli.evaluation import metrics
from mggtalk_cli.evaluation.clips import Track, TrueClip
from mggtalk_cli.evaluation.metrics import METRICS, within
from mggtalk_cli.evaluation.report import Metric

_TRUTH_METRICS = (
    *("lmd", "lmd_iod", "mouth_lmd", "mouth_lmd_iod", "opening_r", "opening_lag", "opening_lag_r"),
    *("aed", "apd"),
)


def against_truth(track: Track, clip: TrueClip) -> dict[str, float]:
    """Return landmark, mouth, expression and pose distances of frames 1.. to a true clip."""
    own, true = track.points[1:], clip.track.points[1:]
    whole = metrics.lmd(own, true, size=clip.size)
    mouth = metrics.mouth_lmd(own, true, size=clip.size)
    agreement = metrics.opening_agreement(opening(track)[1:], opening(clip.track)[1:])
    return {
        "lmd": whole.px,
        "lmd_iod": whole.iod,
        "mouth_lmd": mouth.px,
        "mouth_lmd_iod": mouth.iod,
        "opening_r": agreement.r,
        "opening_lag": float(agreement.lag) if np.isfinite(agreement.lag_r) else np.nan,
        "opening_lag_r": agreement.lag_r,
        **_state_distances(track, clip.track),
        "tracked": float(track.found[1:].mean()),
    }


def against_driver(track: Track, driver: Track) -> dict[str, float]:
    """Return how far frames 1.. are from what a driver of somebody else did.

    Besides AED and APD as they are usually taken: those of the changes since frame 0, which is all
    that relative driving means to carry over.
    """
    return {
        **_state_distances(track, driver),
        "aed_change": metrics.aed(_change(betas(track)), _change(betas(driver))),
        "apd_change": metrics.apd(_turn(rotations(track)), _turn(rotations(driver))),
        "opening_r": metrics.opening_agreement(opening(track)[1:], opening(driver)[1:]).r,
        "tracked": float(track.found[1:].mean()),
    }


def steadiness(
    images: Sequence[np.ndarray], track: Track | None, clip: TrueClip, still: np.ndarray
) -> dict[str, float]:
    """Return jitter of pose and pixels, and flicker within the head, of frames 1.. .

    Args:
        images: (H, W, 3) uint8 frames.
        track: the face in them, None where it was not tracked.
        clip: the true frames.
        still: (H, W) bool, their still pixels.
    """
    found = {
        "pixel_jitter": metrics.pixel_jitter(images[1:], still),
        "flicker": metrics.temporal_flicker(images[1:], clip.frames[1:], clip.heads[1:]),
    }
    if track is not None:
        found["pose_jitter"] = metrics.pose_jitter(rotations(track)[1:])
    return found


def tremor(states: Sequence[FaceState], clip: TrueClip) -> dict[str, float]:
    """Return how much of the landmarks' tremor the head of a driver kept; nothing of short clips.

    Args:
        states: what the driver yielded for the clip's frames.
        clip: the driver's frames.
    """
    turns = np.stack([state.rotation for state in states]).astype(np.float64)
    raw = clip.track.points[:, list(RIGID)].astype(np.float64)
    found = metrics.tremor_kept(turns, raw, fps=clip.fps)
    return {"tremor_kept": found} if np.isfinite(found) else {}


def openings(tracks: Mapping[str, Track]) -> dict[str, list[float]]:
    """Return the mouth opening of frames 1.. of every method, NaN without a face."""
    return {name: opening(track)[1:].tolist() for name, track in tracks.items()}


def opening(track: Track) -> np.ndarray:
    """Return (n,) mouth opening over the distance of the outer eye corners."""
    return np.asarray(mouth_curves(track.points).opening)


def betas(track: Track) -> np.ndarray:
    """Return (n, 52) expression coefficients, NaN without a face."""
    width = len(next(state.beta for state in track.states if state is not None))
    rows = [np.full(width, np.nan) if s is None else s.beta for s in track.states]
    return np.asarray(rows, np.float64)


def rotations(track: Track) -> np.ndarray:
    """Return (n, 3, 3) head rotations, NaN without a face."""
    rows = [np.full((3, 3), np.nan) if s is None else s.rotation for s in track.states]
    return np.asarray(rows, np.float64)


def truth_metrics() -> dict[str, Metric]:
    """Return how the numbers of `against_truth` are to be read."""
    return {**{name: METRICS[name] for name in _TRUTH_METRICS}, **_tracked()}


def driver_metrics() -> dict[str, Metric]:
    """Return how the numbers of `against_driver` are to be read."""
    return {
        "aed": METRICS["aed"],
        "apd": METRICS["apd"],
        "aed_change": Metric(
            "mean |difference| of the changes of 52 expression coefficients since frame 0",
            "lower", digits=4, key=True,
        ),
        "apd_change": Metric(
            "mean |difference| of yaw, pitch, roll of the turn since frame 0",
            "lower", "rad", 4, key=True,
        ),
        "opening_r": Metric("correlation of mouth opening with the driver's", key=True),
        **_tracked(),
    }  # fmt: skip


def steadiness_metrics() -> dict[str, Metric]:
    """Return how the numbers of `steadiness` and `tremor` are to be read."""
    return {
        "pose_jitter": METRICS["pose_jitter"],
        "pixel_jitter": METRICS["pixel_jitter"],
        "flicker": within("flicker", "the head"),
        "tremor_kept": Metric(
            "energy above 6 Hz of the driver's head turn over that of its raw landmarks; 25 frames",
            "lower", key=True,
        ),
    }  # fmt: skip


def _tracked() -> dict[str, Metric]:
    return {"tracked": Metric("share of the frames in which the tracker found a face", digits=2)}


def _state_distances(track: Track, other: Track) -> dict[str, float]:
    if not (track.found.any() and other.found.any()):
        return {"aed": np.nan, "apd": np.nan}
    return {
        "aed": metrics.aed(betas(track)[1:], betas(other)[1:]),
        "apd": metrics.apd(rotations(track)[1:], rotations(other)[1:]),
    }


def _change(values: np.ndarray) -> np.ndarray:
    """Return rows 1.. less row 0."""
    return np.asarray(values[1:] - values[0])


def _turn(matrices: np.ndarray) -> np.ndarray:
    """Return rotations 1.. relative to rotation 0, in the camera's frame."""
    return np.asarray(matrices[1:] @ matrices[0].T)
