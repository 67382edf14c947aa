"""A bent sheet and its mirror image, with everything a learned decoder needs of a head."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.sheet import grid_links, neighbours
from mggtalk_cli.splat import DecoderNetworks, GaussianSheet, LearnedDecoder, sheet_grids
from mggtalk_cli.splat.decoder import DecoderConfig, GaussianDecoder
from mggtalk_cli.splat.densifier import Densifier, DensifierConfig
from mggtalk_cli.splat.identity_encoder import EncoderConfig, IdentityEncoder
from mggtalk_cli.splat.sym_decoder import SymConfig, SymDecoder

SHAPE = (11, 13)
SPACING = 0.5


class Scene(NamedTuple):
    points: torch.Tensor
    gate: torch.Tensor
    sheet: GaussianSheet
    photo: torch.Tensor
    grid_shape: np.ndarray
    valid: np.ndarray
    camera: Camera


def scene(dtype: torch.dtype = torch.float32) -> Scene:
    """Front, mirrored and one odd sheet; some points are missing, some gates are shut."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float64)
    front = np.stack(
        [SPACING * (columns - 3), SPACING * (5 - rows), 2 * np.cos(columns / 6)], -1
    ) + rng.normal(0, 0.02, (*SHAPE, 3))
    odd = np.stack(np.meshgrid(np.arange(3.0), np.arange(2.0)), -1)
    odd = np.concatenate([odd, np.full((2, 3, 1), -2.0)], -1)
    valid = [rng.random(SHAPE) < 0.85, rng.random(SHAPE) < 0.5, np.ones((2, 3), bool)]
    places = [front, front * [-1, 1, 1], odd]
    points = np.concatenate([p[v] for p, v in zip(places, valid, strict=True)])
    flat = np.concatenate([v.ravel() for v in valid])
    links = np.concatenate([grid_links(v).ravel() for v in valid])
    grid_shape = np.array([v.shape for v in valid], np.int32)
    near = (torch.from_numpy(index) for index in neighbours(grid_shape, flat, links))
    count = len(points)
    sheet = GaussianSheet(
        torch.from_numpy(rng.uniform(-0.2, 1.2, (count, 3))).to(dtype),
        torch.from_numpy(rng.uniform(0, 1, count)).to(dtype),
        *near,
        spacing_cm=SPACING,
    )
    gate = torch.from_numpy((rng.random(count) < 0.9).astype(np.float64)).to(dtype)
    view = viewmat_from_pose(np.eye(3), np.array([0, 0, -20.0]))
    camera = Camera(view.astype(np.float32), 50.0, 28, 24)
    photo = torch.from_numpy(rng.random((3, *SHAPE))).to(dtype)
    return Scene(torch.from_numpy(points).to(dtype), gate, sheet, photo, grid_shape, flat, camera)


def toy_networks(*, trained: bool = False, parts: int = 4) -> DecoderNetworks:
    """Return small networks, with random last layers if `trained`."""
    torch.manual_seed(0)
    networks = (
        IdentityEncoder(EncoderConfig(channels=4, widths=(4, 8))),
        GaussianDecoder(DecoderConfig(features=4, widths=(4, 8))),
        SymDecoder(SymConfig(features=4, width=4)),
        Densifier(DensifierConfig(features=4, width=8)),
    )
    if trained:
        lasts = [networks[1].unet.last, networks[3].mlp[-1]]
        lasts += [part[-1] for part in networks[2].parts.values()]
        for last in lasts:
            torch.nn.init.normal_(last.weight, std=0.3)
    return DecoderNetworks(*networks[:parts])


def learned(of: Scene, networks: DecoderNetworks) -> LearnedDecoder:
    front, mirror, _ = sheet_grids(of.grid_shape, of.valid)
    return LearnedDecoder.of(networks, of.photo, front, mirror)
