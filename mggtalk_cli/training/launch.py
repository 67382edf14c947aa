"""The processes and the device of a training, through Lightning Fabric.

One process per device, started by `torchrun` (several GPUs or machines); without it, one process.
Networks are used inside stage functions, so gradients are averaged here rather than by a wrapper.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from mggtalk_cli.core.precision import halve
from mggtalk_cli.errors import BackendError

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PIP_EXTRA = "pip install 'mggtalk-cli[train]'"


def process_count() -> tuple[int, int]:
    """Return how many processes `torchrun` started in all, and how many of them here.

    Raises:
        BackendError: the environment holds something else than its numbers.
    """
    world, local = (os.environ.get(key, "1") for key in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    if not (world.isdecimal() and local.isdecimal() and int(world) >= int(local) >= 1):
        raise BackendError(
            f"WORLD_SIZE={world}, LOCAL_WORLD_SIZE={local} in the environment: start with torchrun"
        )
    return int(world), int(local)


def is_first_process() -> bool:
    """Return whether this is the process that writes files."""
    return os.environ.get("RANK", "0") == "0"


def launched(*, device: str) -> Fabric:
    """Return Fabric with its processes connected.

    Args:
        device: "auto", "cpu" or "cuda".

    Raises:
        BackendError: Lightning Fabric is not installed, or there is no such device.
    """
    try:
        from lightning_fabric import Fabric
    except ImportError:
        raise BackendError(f"training needs Lightning Fabric: {PIP_EXTRA}") from None
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise BackendError("no CUDA device found: use --device cpu")
    world, local = process_count()
    fabric = Fabric(
        accelerator=device,
        devices=local,
        num_nodes=world // local,
        strategy="ddp" if world > 1 else "auto",
        precision="32-true",
    )
    fabric.launch()
    return fabric


@contextlib.contextmanager
def in_precision(networks: Iterable[nn.Module], precision: str) -> Iterator[None]:
    """Let networks compute in bfloat16 where that is asked for, and answer in float32.

    Only they do: poses, rasteriser and losses (SSIM subtracts near numbers) need the other bits.

    Args:
        networks: called by `network(...)` inside.
        precision: "32" or "bf16-mixed".
    """
    halved = list(networks) if precision == "bf16-mixed" else []
    for network in halved:
        halve(network, torch.bfloat16)
    try:
        yield
    finally:
        for network in halved:
            delattr(network, "forward")  # the class has its own


def share_gradients(fabric: Fabric, parameters: Sequence[nn.Parameter]) -> None:
    """Give every parameter the sum of all processes' gradients; none counts as zero."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    if fabric.world_size == 1 or not parameters:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    total = total_of(fabric, flat)
    for gradient, part in zip(gradients, total.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))


@torch.no_grad()
def share_buffers(fabric: Fabric, networks: Iterable[nn.Module]) -> None:
    """Give buffers (running statistics) the mean over all processes."""
    if fabric.world_size == 1:
        return
    for network in networks:
        for buffer in network.buffers():
            if buffer.is_floating_point():
                buffer.copy_(total_of(fabric, buffer.clone()) / fabric.world_size)


def total_of(fabric: Fabric, values: Tensor) -> Tensor:
    """Return the sum of a tensor over all processes; the tensor itself may be changed."""
    if fabric.world_size == 1:
        return values
    return cast(Tensor, fabric.all_reduce(values, reduce_op="sum"))
