"""True depth beside the depth of the fitted head: the same pixels, another scale, another place.

One photo does not tell how large a head is and how far away: the fit takes a mean head and a usual
lens. Both cameras see a pixel at the same place, so only depths differ:

    depth_fitted = scale * depth_true + offset

The scale is that of the similarity between the landmarks (a longer lens moves the head away, which
the offset takes up; it does not stretch it). What is left of the difference is shape.
"""

from __future__ import annotations

import numpy as np

from mggtalk_cli.core.landmark_groups import RIGID

LEAST_PIXELS = 50  # fewer say nothing about an offset


def similarity(scene: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Return the (4, 4) similarity that carries landmarks of the scene to those of the fit.

    Least squares over the landmarks that follow the skull (Umeyama, PAMI 1991).

    Args:
        scene: (468, 3) true landmarks, cm.
        fitted: (468, 3) landmarks of the fitted head, cm.
    """
    a, b = (np.asarray(points, np.float64)[list(RIGID)] for points in (scene, fitted))
    mean_a, mean_b = a.mean(0), b.mean(0)
    u, s, vt = np.linalg.svd((a - mean_a).T @ (b - mean_b))
    sign = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * sign @ vt).T
    scale = float((s * sign).sum() / ((a - mean_a) ** 2).sum())
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = mean_b - scale * rotation @ mean_a
    return matrix


def comparable_depth(
    true: np.ndarray, fitted: np.ndarray, where: np.ndarray, fitted_from_scene: np.ndarray
) -> np.ndarray:
    """Return (H, W) the true depth as the camera of the fitted head would measure it, cm.

    Args:
        true: (H, W) true depth of the photo, cm, 0 outside the person.
        fitted: (H, W) depth of the fitted head in its own camera, cm, NaN where it has none.
        where: (H, W) bool, the face: where the two must agree on the whole.
        fitted_from_scene: (4, 4) of `similarity`.

    Returns:
        NaN where the person is not seen.
    """
    scale = float(np.cbrt(np.linalg.det(np.asarray(fitted_from_scene)[:3, :3])))
    scaled = np.where(true > 0, scale * true, np.nan)
    apart = (fitted - scaled)[where]
    apart = apart[np.isfinite(apart)]
    offset = float(np.median(apart)) if len(apart) >= LEAST_PIXELS else 0.0
    return np.asarray(scaled + offset, np.float32)
