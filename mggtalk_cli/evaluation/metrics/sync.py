"""LSE-D and LSE-C: how well lips and sound fit together, from the embeddings of a SyncNet.

The mathematics only; `evaluation.lip_sync` makes the embeddings (224 x 224 face crops at 25 fps,
windows of five frames, 13 MFCC x 20).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mggtalk_cli.errors import InputError

MAX_SHIFT = 15  # frames


class SyncScore(NamedTuple):
    """Lip sync: distance `lse_d`, confidence `lse_c`, and `offset`, frames the sound is late."""

    lse_d: float
    lse_c: float
    offset: int


def lip_sync_error(
    lips: np.ndarray, sounds: np.ndarray, *, max_shift: int = MAX_SHIFT
) -> SyncScore:
    """Return LSE-D (0 and up, lower is better), LSE-C (higher is better) and the offset.

    d(s) = mean over windows i of |lips[i] - sounds[i + s]|, s = -15..15, sounds beyond the ends
    taken as zero vectors; LSE-D = min d, LSE-C = median d - min d, offset = argmin d (the
    reference prints its negative). Chung and Zisserman 2016, "Out of time"; Prajwal et al. 2020,
    "Wav2Lip". The zero vectors are the reference's and matter for short clips: read nothing into
    the scores of less than two seconds.

    Args:
        lips: (n, d) one row per window of five frames, a frame apart.
        sounds: (n, d) of the same windows' sound.
        max_shift: largest shift looked for, frames.

    Raises:
        InputError: there is no window, or the shapes differ.
    """
    a, b = np.asarray(lips, np.float64), np.asarray(sounds, np.float64)
    if a.shape != b.shape or a.ndim != 2 or not len(a):
        raise InputError(
            f"cannot compare lips {a.shape} with sounds {b.shape}: both must be (windows, d)"
        )
    padded = np.pad(b, ((max_shift, max_shift), (0, 0)))
    distances = np.array(
        [
            np.linalg.norm(a - padded[start : start + len(a)], axis=1).mean()
            for start in range(2 * max_shift + 1)
        ]
    )
    best = int(distances.argmin())
    least = float(distances[best])
    return SyncScore(least, float(np.median(distances)) - least, best - max_shift)
