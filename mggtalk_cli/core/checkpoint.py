"""Checkpoints of learned networks: safetensors with the architecture inside.

The file's metadata holds one JSON text under `METADATA_KEY`: version, the config of every network,
and free notes (recipe, steps, data). Tensor "NAME/PARAMETER" belongs to network NAME. Reading
executes nothing: configs are checked field by field, networks are built without memory of their
own and filled strictly, so a file can take no more than a few times its size.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.core.weights import Weights, fill, weight_bytes
from mggtalk_cli.errors import WeightsError

METADATA_KEY = "mggtalk"
VERSION = 1

# A header names every tensor: 100 bytes each, some thousand tensors, and the notes.
MAX_HEADER_BYTES = 8 << 20
# What a config may ask for: no width, count or list in use comes near these.
MAX_INTEGER = 4096
MAX_FLOAT = 1e6
MAX_ENTRIES = 16

_NETWORK_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_LENGTH_BYTES = 8  # of the header's length, little-endian, at the start of the file
# What a network's constructor raises where its sizes make no sense.
_BUILD_ERRORS = (ValueError, TypeError, RuntimeError, IndexError, ZeroDivisionError, OverflowError)

Config = TypeVar("Config")
Module = TypeVar("Module", bound=nn.Module)


class Network(nn.Module):
    """A learned network; `config`, a frozen dataclass, says all that is needed to build it again.

    Config fields are int, float, bool, or tuples of int or float.
    """

    config: Any

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.config = config


@dataclass(frozen=True)
class Stored:
    """One network in a checkpoint, not yet built.

    Attributes:
        config: field -> value, as JSON has it: not yet checked.
        tensors: parameter or buffer -> float32 tensor.
        source: name of the file, for messages.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    source: str = "the checkpoint"


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        networks: name -> its config and tensors.
        notes: what was written beside them: recipe, steps, data.
        sha256: of the file, hex.
        name: of the file.
        nbytes: size of the file.
    """

    networks: Mapping[str, Stored]
    notes: Mapping[str, Any]
    sha256: str
    name: str
    nbytes: int

    def stored(self, name: str) -> Stored:
        """Return one of the networks.

        Raises:
            WeightsError: the file holds none of that name.
        """
        if name not in self.networks:
            raise WeightsError(
                f"{self.name} holds no {name} but {', '.join(sorted(self.networks))}: "
                "give a checkpoint of the right stage"
            )
        return self.networks[name]


# ---------------------------------------------------------------- writing


def write_checkpoint(
    path: Path,
    networks: Mapping[str, nn.Module],
    notes: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> None:
    """Write networks to one file, whole or not at all; equal networks and notes give equal bytes.

    Args:
        path: the file, usually *.safetensors.
        networks: name ([a-z0-9_]) -> network with a `config`; tensors keep their type, so a
            network in half precision makes half the file.
        notes: anything JSON can hold.
        overwrite: replace an existing file.

    Raises:
        WeightsError: a network has no config, a value that is not finite, or a bad name; or notes
            are no JSON.
        InputError: the path cannot be written.
    """
    content = checkpoint_bytes(networks, notes)
    with atomic_path(Path(path), overwrite=overwrite) as part:
        part.write_bytes(content)


def checkpoint_bytes(networks: Mapping[str, nn.Module], notes: Mapping[str, Any]) -> bytes:
    """Return the content of a checkpoint file; see `write_checkpoint`."""
    described = {name: _config_of(name, network) for name, network in networks.items()}
    tensors = {
        f"{name}/{key}": value.detach().cpu().clone().contiguous()
        for name, network in networks.items()
        for key, value in network.state_dict().items()
    }
    odd = [key for key, value in tensors.items() if not torch.isfinite(value).all()]
    if odd:
        raise WeightsError(f"{odd[0]} is not finite: train again from an earlier state")
    document = {"version": VERSION, "networks": described, "notes": dict(notes)}
    try:
        text = json.dumps(document, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise WeightsError(f"notes cannot be written as JSON: {error}") from None
    return bytes(safetensors.torch.save(tensors, {METADATA_KEY: text}))


def _config_of(name: str, network: nn.Module) -> dict[str, Any]:
    config = getattr(network, "config", None)
    if not _NETWORK_NAME.fullmatch(name):
        raise WeightsError(f"{name!r} is no name for a network: use a-z, 0-9 and _")
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise WeightsError(f"{name} ({type(network).__name__}) has no config dataclass to store")
    return dataclasses.asdict(config)


# ---------------------------------------------------------------- reading


def read_checkpoint(path: Path, *, sha256: str | None = None) -> Checkpoint:
    """Return what a checkpoint file holds, networks not yet built.

    Args:
        path: the file.
        sha256: hex digest it must have.

    Raises:
        WeightsError: missing, too large, damaged, of another kind, newer, or of another hash.
    """
    path = Path(path)
    content = weight_bytes(path)
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise WeightsError(f"{path.name} has SHA-256 {digest}, expected {sha256}: get it again")
    document = _document(path.name, content)
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{path.name} is damaged ({error}): get it again") from None
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in document["networks"]}
    for key, value in tensors.items():
        name, _, entry = key.partition("/")
        if name not in parts:
            raise WeightsError(f"{path.name}: tensor {key!r} belongs to none of its networks")
        real = value.real if value.is_complex() else value
        parts[name][entry] = number = real.to(torch.float32)
        if value.is_complex() or not torch.isfinite(number).all():
            raise WeightsError(f"{path.name}: {key} is not finite; this is no usable checkpoint")
    networks = {
        name: Stored(config, parts[name], path.name)
        for name, config in document["networks"].items()
    }
    return Checkpoint(networks, document["notes"], digest, path.name, len(content))


def _document(name: str, content: bytes) -> dict[str, Any]:
    """Return the checked JSON in the header of a checkpoint's bytes."""
    no_checkpoint = f"{name} is no checkpoint of this program"
    other_file = f"{no_checkpoint}: its header is another one; give a file that `train` wrote"
    length = int.from_bytes(content[:_LENGTH_BYTES], "little")
    if not 2 <= length <= min(len(content) - _LENGTH_BYTES, MAX_HEADER_BYTES):
        raise WeightsError(other_file)
    try:
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        document = json.loads(header["__metadata__"][METADATA_KEY])
        version, networks = document["version"], document["networks"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise WeightsError(other_file) from None
    if not isinstance(version, int) or version > VERSION:
        raise WeightsError(f"{name} has checkpoint version {version!r}: update this program")
    notes = document.get("notes", {})
    fits = isinstance(networks, dict) and isinstance(notes, dict)
    if not fits or not all(
        _NETWORK_NAME.fullmatch(key) and isinstance(config, dict)
        for key, config in networks.items()
    ):
        raise WeightsError(f"{no_checkpoint}: its networks or notes are no JSON objects")
    return {"networks": networks, "notes": notes}


def restore(
    stored: Stored, name: str, build: Callable[[Config], Module], config_type: type[Config]
) -> Module:
    """Return a network of a checkpoint, in eval mode, wanting no gradients.

    Args:
        stored: its config and tensors.
        name: of the network, for messages.
        build: makes it from its config, usually its class.
        config_type: frozen dataclass of that config.

    Raises:
        WeightsError: the config does not fit, or entries are missing, unknown or misshapen.
    """
    config = config_from(stored.config, config_type, where=f"{name} in {stored.source}")
    try:
        return fill(
            lambda: build(config),
            Weights(dict(stored.tensors), "", f"{name} in {stored.source}"),
        )
    except _BUILD_ERRORS as error:
        raise WeightsError(
            f"{name} in {stored.source} cannot be built ({error}): train it again"
        ) from None


def config_from(fields: Mapping[str, Any], config_type: type[Config], *, where: str) -> Config:
    """Return the config dataclass of JSON values; fields that are not given take their defaults.

    Args:
        fields: name -> value.
        config_type: a dataclass whose fields are int, float, bool, or tuples of int or float.
        where: begins the message.

    Raises:
        WeightsError: unknown or missing fields, or values of another type or out of bounds.
    """
    known = {field.name: field for field in dataclasses.fields(config_type)}  # type: ignore[arg-type]
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise WeightsError(f"{where}: its config has an unknown field {unknown[0]!r}: update")
    types = typing.get_type_hints(config_type)
    values = {key: _value(value, types[key], f"{where}: {key}") for key, value in fields.items()}
    try:
        return config_type(**values)
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{where}: its config does not fit ({error})") from None


def _value(value: Any, kind: Any, where: str) -> Any:
    """Return a JSON value as the type of a config's field."""
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list | tuple) or len(value) > MAX_ENTRIES:
            raise WeightsError(f"{where} must be a list of at most {MAX_ENTRIES} numbers")
        return tuple(_value(entry, typing.get_args(kind)[0], where) for entry in value)
    if kind is bool and isinstance(value, bool):
        return value
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int and number and isinstance(value, int) and 0 <= value <= MAX_INTEGER:
        return value
    if kind is float and number and math.isfinite(value) and abs(value) <= MAX_FLOAT:
        return float(value)
    raise WeightsError(f"{where} is {str(value)[:40]!r}, not a usable {_type_name(kind)}")


def _type_name(kind: Any) -> str:
    return {int: f"integer 0..{MAX_INTEGER}", float: "number", bool: "true or false"}.get(
        kind, str(kind)
    )


# ---------------------------------------------------------------- telling


def parameter_count(tensors: Mapping[str, Tensor]) -> int:
    """Return how many numbers a network holds."""
    return sum(value.numel() for value in tensors.values())


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return a JSON-ready description of a checkpoint: a row per network, and the notes."""
    return {
        "kind": "checkpoint",
        "what": f"learned networks: {', '.join(sorted(checkpoint.networks))}",
        "made_by": "mggtalk train",
        "file_bytes": checkpoint.nbytes,
        "sha256": checkpoint.sha256,
        "meta": dict(checkpoint.notes),
        "networks": [
            {
                "name": name,
                "parameters": parameter_count(stored.tensors),
                "tensors": len(stored.tensors),
                "config": dict(stored.config),
            }
            for name, stored in sorted(checkpoint.networks.items())
        ],
    }
