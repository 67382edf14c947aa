"""What networks see, where there are weights: LPIPS, identity, and features for FID and KID."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mggtalk_cli.evaluation import metrics
from mggtalk_cli.evaluation.clips import Track
from mggtalk_cli.evaluation.fidelity import mean_of, spread_frames
from mggtalk_cli.evaluation.metrics import METRICS
from mggtalk_cli.evaluation.networks import Networks
from mggtalk_cli.evaluation.report import Metric

# The embedder takes its time and who it is does not change within a clip: it sees so many frames.
IDENTITY_FRAMES = 5


def left_out(networks: Networks, *, truth: bool = True) -> dict[str, str]:
    """Return why metrics of this module are left out; without `truth`, of identity only."""
    wanted = ("lpips", "fid", "kid", "csim") if truth else ("csim",)
    return {name: reason for name, reason in networks.left_out.items() if name in wanted}


def truth_metrics(networks: Networks) -> dict[str, Metric]:
    """Return how the numbers that there are weights for are to be read."""
    there = {"lpips": networks.lpips, "csim": networks.identity}
    found = [name for name, network in there.items() if network is not None]
    if networks.features is not None:
        found += ["fid", "kid"]
    return {name: METRICS[name] for name in found}


def closeness(
    images: Sequence[np.ndarray], truth: Sequence[np.ndarray], networks: Networks
) -> dict[str, float]:
    """Return LPIPS, mean over frames 1.. of a method; nothing without its weights."""
    if networks.lpips is None:
        return {}
    pairs = list(zip(images, truth, strict=False))[1:]
    return {"lpips": mean_of([networks.lpips(image, true) for image, true in pairs])}


class Likeness:
    """How much the faces of a video look like those of the person it should be."""

    def __init__(self, images: Sequence[np.ndarray], track: Track, networks: Networks) -> None:
        """Embed some of the true frames, or the one photo.

        Args:
            images: (H, W, 3) uint8 frames, or a single one that all are to be compared with.
            track: the face in them.
            networks: perhaps with an embedder.
        """
        self._networks, self._fixed = networks, len(images) == 1
        self._true = self._embedded(images, track)

    def scores(self, images: Sequence[np.ndarray], track: Track) -> dict[str, float]:
        """Return CSIM, mean over some of the frames with a face; nothing without an embedder."""
        if self._networks.identity is None:
            return {}
        own = self._embedded(images, track)
        true = self._true * len(own) if self._fixed else self._true
        return {"csim": mean_of([metrics.csim(a, b) for a, b in zip(own, true, strict=True)])}

    def _embedded(self, images: Sequence[np.ndarray], track: Track) -> list[np.ndarray | None]:
        if self._networks.identity is None:
            return []
        chosen = spread_frames(len(images), IDENTITY_FRAMES) if len(images) > 1 else [0]
        return [
            self._networks.identity(images[i], track.points[i]) if track.found[i] else None
            for i in chosen
        ]


def features(
    films: Mapping[str, Sequence[np.ndarray]], networks: Networks
) -> dict[str, np.ndarray]:
    """Return (n, d) features of frames 1.. of every method and of the truth."""
    if networks.features is None:
        return {}
    return {name: networks.features(images[1:]) for name, images in films.items()}
