"""Small networks of every learned stage: untrained ones change nothing, others a little."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from mggtalk_cli.core.checkpoint import write_checkpoint
from mggtalk_cli.deform import DeformConfig, DeformNetwork
from mggtalk_cli.head.refiner import RefinerConfig, RefinerNetwork
from mggtalk_cli.inpaint import InpaintConfig, Inpainter, PatchConfig, PatchNetwork
from mggtalk_cli.splat import DecoderNetworks


def stage_networks(*, trained: bool) -> dict[str, nn.Module]:
    """Return a network of every name; of `trained` ones the last layers are not zero."""
    torch.manual_seed(0)
    networks: dict[str, nn.Module] = {
        "refiner": RefinerNetwork(RefinerConfig(widths=(8, 8))),
        "deform": DeformNetwork(DeformConfig.tiny()),
        **DecoderNetworks.new("tiny").by_name(),
        "inpaint": Inpainter(InpaintConfig(widths=(8, 8))),
        "mouth": PatchNetwork(PatchConfig(widths=(8, 8), height=24, width=32)),
        "eyes": PatchNetwork(PatchConfig(widths=(8, 8), height=24, width=32)),
    }
    for network in networks.values() if trained else ():
        zeros = [p for p in network.parameters() if p.dim() > 1 and not p.any()]
        for weight in zeros:
            nn.init.normal_(weight, std=0.3)
    return networks


def write_networks(path: Path, *names: str, trained: bool = False) -> Path:
    """Write some networks, or all, to a checkpoint."""
    networks = stage_networks(trained=trained)
    chosen = {name: networks[name] for name in names or networks}
    write_checkpoint(path, chosen, {"stage": "test", "recipe": {"rate": 0.001}, "ship": True})
    return path
