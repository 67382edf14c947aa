"""How calm a video is: jitter of the head pose and of still pixels, flicker against the truth.

Jitter is stated as the standard deviation of the independent noise per frame that would shake as
much: differences of order k of white noise have sqrt(C(2k, k)) times its standard deviation, and
remove what moves slowly. Frames are (H, W, 3) uint8, or float 0..1; grey levels are of 255. All
numbers are for 25 fps: at other rates the same motion differs more or less from frame to frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

from mggtalk_cli.core.image import LUMA
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.metrics.faces import head_angles

# People seldom turn their heads faster than this to and fro: above it lies the trackers' noise.
TREMOR_HZ = 6.0
TREMOR_FRAMES = 25  # fewer, a second at 25 fps, do not tell fast from slow
LEAST_TREMOR = np.radians(0.005) ** 2  # landmarks that tremble less are those of a still picture

NOISE_GAIN_2, NOISE_GAIN_3 = np.sqrt(6.0), np.sqrt(20.0)  # sqrt(C(4, 2)), sqrt(C(6, 3))

STILL_LEVELS = 2.0  # compression alone makes still pixels vary by about one level


def pose_jitter(rotations: np.ndarray) -> float:
    """Return the shaking of the head in degrees; 0 (smooth) and up, lower is better.

    Root mean square over frames and axes of the third difference of yaw, pitch, roll, divided by
    sqrt(20): the standard deviation of per-frame angle noise that shakes as much. A motion at 1 Hz
    counts with .4 % of its amplitude, at 6 Hz with 57 %. The tracker's own noise is part of it:
    real video measures about .1. NaN below four frames with a face.

    Args:
        rotations: (n, 3, 3) head rotations at 25 fps, NaN where no face was found.
    """
    angles = np.degrees(head_angles(rotations))
    # The short way round from frame to frame; the sum of these steps is the unwrapped angle.
    steps = (np.diff(angles, axis=0) + 180) % 360 - 180
    third = np.diff(steps, n=2, axis=0) if len(steps) > 2 else np.zeros((0, 3))
    third = third[np.isfinite(third).all(1)]
    return float(np.sqrt((third**2).mean()) / NOISE_GAIN_3) if third.size else float("nan")


def energy_above(series: np.ndarray, cutoff_hz: float, *, fps: float) -> float:
    """Return the mean square of what a series does faster than a frequency, summed over columns.

    The straight line through it is removed first, and a Hann window keeps slow motion from leaking
    into fast. A pure tone of amplitude a well above the cutoff has a^2 / 2, one well below it 0.

    Args:
        series: (n, k) values at even times.
        cutoff_hz: the frequency.
        fps: values per second.
    """
    time = np.arange(len(series))
    flat = series - np.stack([np.polyval(np.polyfit(time, x, 1), time) for x in series.T], 1)
    window = np.hanning(len(series) + 2)[1:-1]
    power = np.abs(np.fft.rfft(flat * window[:, None], axis=0)) ** 2
    twice = np.full(len(power), 2.0)  # the other half of the spectrum, but for the last line
    twice[-1] -= len(series) % 2 == 0
    fast = np.fft.rfftfreq(len(series), 1 / fps) > cutoff_hz
    return float((twice[:, None] * power)[fast].sum() / (len(series) * (window**2).sum()))


def tremor_kept(rotations: np.ndarray, raw: np.ndarray, *, fps: float) -> float:
    """Return how much of the landmarks' tremor is left in a tracked head; 0 and up, lower better.

    Energy above 6 Hz of the turn since the first frame (a rotation vector), over that of the turn
    which best carries the first frame's landmarks onto each frame's, not smoothed at all. NaN below
    25 frames, with a gap, or where the landmarks do not tremble.

    Args:
        rotations: (n, 3, 3) tracked head rotations, NaN where no face was found.
        raw: (n, k, 3) detected landmarks that move with the skull, px; NaN likewise.
        fps: frames per second.

    Raises:
        InputError: the numbers of frames differ.
    """
    if len(rotations) != len(raw):
        raise InputError(f"cannot compare {len(rotations)} poses with {len(raw)}: give one for one")
    if len(raw) < TREMOR_FRAMES or not (np.isfinite(rotations).all() and np.isfinite(raw).all()):
        return float("nan")
    tracked = Rotation.from_matrix(rotations @ rotations[0].T).as_rotvec()
    first = raw[0] - raw[0].mean(0)
    fits = [Rotation.align_vectors(face - face.mean(0), first)[0].as_rotvec() for face in raw]
    noise = energy_above(np.stack(fits), TREMOR_HZ, fps=fps)
    if noise < LEAST_TREMOR:
        return float("nan")
    return energy_above(tracked, TREMOR_HZ, fps=fps) / noise


def pixel_jitter(frames: Iterable[np.ndarray], still: np.ndarray) -> float:
    """Return the shimmer of still pixels in grey levels, 0 (calm) and up; lower is better.

    Root mean square over frames and the pixels of `still` of the second difference over time of
    the luminance, divided by sqrt(6): the standard deviation of per-frame noise that shimmers as
    much. At the frames' own resolution. NaN below three frames or without still pixels.

    Args:
        frames: (H, W, 3) pictures in order, at 25 fps.
        still: (H, W) bool: where nothing should change, see `still_pixels`.
    """
    total, count = 0.0, 0
    before: list[np.ndarray] = []
    for frame in frames:
        _check_mask(frame, still)
        before = [*before[-2:], (levels(frame) @ LUMA)[still]]
        if len(before) == 3:
            second = before[0] - 2 * before[1] + before[2]
            total += float((second.astype(np.float64) ** 2).sum())
            count += second.size
    return float(np.sqrt(total / count) / NOISE_GAIN_2) if count else float("nan")


def still_pixels(frames: Iterable[np.ndarray]) -> np.ndarray:
    """Return (H, W) bool: pixels whose luminance has a standard deviation below 2 levels.

    Args:
        frames: (H, W, 3) pictures, those of the truth.

    Raises:
        InputError: there are none.
    """
    count, total, squares = 0, np.zeros(()), np.zeros(())
    for frame in frames:
        luminance = (levels(frame) @ LUMA).astype(np.float64)
        count, total, squares = count + 1, total + luminance, squares + luminance**2
    if not count:
        raise InputError("no frames to find still pixels in: give at least one")
    variance = squares / count - (total / count) ** 2
    return np.asarray(variance < STILL_LEVELS**2)


def temporal_flicker(
    frames: Sequence[np.ndarray],
    truth: Sequence[np.ndarray],
    masks: Sequence[np.ndarray] | None = None,
) -> float:
    """Return by how much changes differ from true changes, grey levels 0..510; lower is better.

    Mean over frame pairs, pixels and colours of |(I_t - I_t-1) - (T_t - T_t-1)|, not warped: a
    constant error does not count, flicker and wrong motion do. A frozen video scores the truth's
    own mean change. VBench (Huang et al. 2024) takes |I_t - I_t-1| alone, which a frozen video
    wins. At the frames' own resolution. NaN below two frames or where every mask is empty.

    Args:
        frames: (H, W, 3) pictures in order.
        truth: as many true frames.
        masks: (H, W) bool per frame; a pair counts where either mask is set. None: everywhere.

    Raises:
        InputError: the numbers of frames or their sizes differ.
    """
    if len(frames) != len(truth) or (masks is not None and len(masks) != len(truth)):
        raise InputError(f"cannot compare {len(frames)} frames with {len(truth)}: give one for one")
    total, count = 0.0, 0
    errors = (_error(frame, true) for frame, true in zip(frames, truth, strict=True))
    for index, (before, after) in enumerate(pairwise(errors)):
        change = np.abs(after - before)
        if masks is not None:
            change = change[masks[index] | masks[index + 1]]
        total, count = total + float(change.sum(dtype=np.float64)), count + change.size
    return total / count if count else float("nan")


def levels(frame: np.ndarray) -> np.ndarray:
    """Return the picture as float32 grey levels 0..255."""
    if frame.dtype == np.uint8:
        return frame.astype(np.float32)
    return frame.astype(np.float32) * 255


def _error(frame: np.ndarray, true: np.ndarray) -> np.ndarray:
    if frame.shape != true.shape:
        raise InputError(f"cannot compare a frame {frame.shape} with one of {true.shape}")
    return np.asarray(levels(frame) - levels(true))


def _check_mask(frame: np.ndarray, mask: np.ndarray) -> None:
    if frame.shape[:2] != mask.shape:
        raise InputError(f"a frame {frame.shape[:2]} does not fit its mask {mask.shape}")
