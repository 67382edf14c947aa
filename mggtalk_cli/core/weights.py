"""Weight files: read without executing anything, checked by size, hash and shape.

`.safetensors` is preferred; PyTorch files are read by its restricted unpickler, which makes
tensors and nothing else. Memory is bounded by the size of the file.
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from mggtalk_cli.errors import WeightsError

MAX_BYTES = 1 << 30  # four times the largest file in use (ArcFace r100)

# PyTorch's hubs end a file name in the first digits of the file's SHA-256: "-7be5be79.pth".
_HUB_NAME = re.compile(r"-([0-9a-f]{8})\.\w+$")
_TOLD = 3  # odd entries named in an error
_COUNTER = "num_batches_tracked"  # older files lack it, inference does not use it


class Weights(NamedTuple):
    """A weight file: entry -> float32 tensor, the file's SHA-256 (hex), and its name."""

    tensors: dict[str, Tensor]
    sha256: str
    name: str


def read_weights(path: Path) -> Weights:
    """Return the tensors in a weight file; integers become float32 too.

    Raises:
        WeightsError: missing, too large, not a weight file, or its hash contradicts its name.
    """
    content = weight_bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    named = _HUB_NAME.search(path.name)
    if named and not digest.startswith(named[1]):
        raise WeightsError(
            f"{path} has SHA-256 {digest[:8]}..., its name promises {named[1]}: download it again"
        )
    read = _from_safetensors if path.suffix == ".safetensors" else _from_torch
    loaded = read(path, content)
    if isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    tensors = {
        str(key).removeprefix("module."): value.detach().to(torch.float32)
        for key, value in loaded.items()
        if isinstance(value, Tensor)
    }
    odd = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
    if odd or not tensors:
        reason = f"{odd[0]} is not finite" if odd else "holds no tensors"
        raise WeightsError(f"{path}: {reason}; this is not a usable weight file")
    return Weights(tensors, digest, path.name)


Network = TypeVar("Network", bound=nn.Module)


def fill(
    build: Callable[[], Network], weights: Weights, *, unused: tuple[str, ...] = ()
) -> Network:
    """Return the network with these weights, ready for inference.

    It is built without memory of its own, so that a small file cannot ask for a lot.

    Args:
        build: makes the network; its buffers are all part of its state.
        weights: its entries; every one of them must be there with the right shape.
        unused: beginnings of entries that the file may hold besides.

    Raises:
        WeightsError: entries are missing, of another shape, or unknown.
    """
    with torch.device("meta"):  # no random start values
        network = build()
    wanted = network.state_dict()
    given = {k: v for k, v in weights.tensors.items() if not k.startswith(unused)}
    for key, value in wanted.items():
        if key.endswith(_COUNTER):
            given.setdefault(key, torch.zeros(value.shape))
    odd = [f"{key} is missing" for key in wanted if key not in given]
    odd += [f"{key} is unknown" for key in given if key not in wanted]
    odd += [
        f"{key} is {tuple(given[key].shape)} instead of {tuple(value.shape)}"
        for key, value in wanted.items()
        if key in given and given[key].shape != value.shape
    ]
    if odd:
        more = f" and {len(odd) - _TOLD} more" if len(odd) > _TOLD else ""
        raise WeightsError(
            f"{weights.name} does not fit {type(network).__name__}: "
            f"{'; '.join(odd[:_TOLD])}{more}: give the file of this network"
        )
    network.load_state_dict(given, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def weight_bytes(path: Path) -> bytes:
    """Return what a weight file holds.

    Raises:
        WeightsError: it cannot be read, or is larger than `MAX_BYTES`.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise WeightsError(f"{path} has {size >> 20} MiB: none of the networks needs so much")
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}; check the path") from None


def _from_safetensors(path: Path, content: bytes) -> Mapping[str, Any]:
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path} is not a safetensors file ({error}): give another") from None


def _from_torch(path: Path, content: bytes) -> Mapping[str, Any]:
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                unpacked = sum(entry.file_size for entry in archive.infolist())
            if unpacked > MAX_BYTES:
                raise WeightsError(f"it unpacks to {unpacked >> 20} MiB")
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # bytes of anybody's making: the unpickler fails in many ways
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsError(
            f"{path} is not a plain PyTorch weight file ({reason[0][:100]}): "
            "save its state_dict as .safetensors"
        ) from None
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, not a state_dict")
    return loaded
