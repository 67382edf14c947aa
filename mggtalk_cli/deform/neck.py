"""Where the head ends: rigid head weight, and how far the torso follows the head.

Head and torso are one surface; the weight fades down the neck, so nothing tears at the collar.
"""

from __future__ import annotations

import numpy as np

from mggtalk_cli.core.interpolation import smoothstep

# Landmarks at the lowest and highest point of the face's oval.
CHIN, FOREHEAD = 152, 10

# The weight fades from 1 at the chin to 0 this share of the face's height below it.
NECK_FADE = 0.2

# Hair reaches sideways this many half face widths beside the face, and beside the chin.
REACH_FACE, REACH_CHIN, REACH_FADE = 2.7, 1.35, 0.5

# Share of the head's shift that shoulders follow, so that the collar does not tear off.
TORSO_FOLLOW = 0.25

# Points this close to the picture's border (share of its size) stay: nothing lies beyond them
# that could move in.
STILL_SIDES, STILL_BOTTOM = 0.12, 0.15


def head_weight_map(positions: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return (H, W) float32: 1 on the head, fading to 0 down the neck and off to the sides.

    Args:
        positions: (H, W, 3) head frame, cm.
        landmarks: (468, 3) head frame, cm.
    """
    chin, top = landmarks[CHIN, 1], landmarks[FOREHEAD, 1]
    face_height = top - chin
    half_width = float(np.ptp(landmarks[:, 0])) / 2
    x, y = np.abs(positions[..., 0]), positions[..., 1]
    vertical = 1 - smoothstep(chin - y, 0, NECK_FADE * face_height)
    # Hair may be wide beside the face; beside the chin it lies on the shoulders.
    high = smoothstep(y - chin, 0, 0.5 * face_height)
    reach = half_width * (REACH_CHIN + (REACH_FACE - REACH_CHIN) * high)
    lateral = 1 - smoothstep(x - reach, 0, REACH_FADE * half_width)
    return (vertical * lateral).astype(np.float32)


def torso_follow_map(height: int, width: int) -> np.ndarray:
    """Return (H, W) float32 share of the head's shift followed by the torso; 0 at the border.

    Points at the picture's border must stay: nothing lies beyond them to move in.
    """
    x = (np.arange(width) + 0.5) / width
    y = (np.arange(height) + 0.5) / height
    across = smoothstep(np.minimum(x, 1 - x), 0, STILL_SIDES)
    down = smoothstep(1 - y, 0, STILL_BOTTOM)
    return (TORSO_FOLLOW * across[None, :] * down[:, None]).astype(np.float32)
