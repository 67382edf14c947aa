"""Weight files: what is read, and files nobody should trust."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from mggtalk_cli.core import weights
from mggtalk_cli.errors import WeightsError


def build() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


@pytest.fixture
def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {k: v.float() for k, v in build().state_dict().items()}


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_a_network_comes_back(name: str, tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / name
    (safetensors.torch.save_file if path.suffix != ".pth" else torch.save)(tensors, path)
    network = weights.fill(build, weights.read_weights(path))
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    for key, value in network.state_dict().items():
        assert torch.equal(value, tensors[key])


def test_counters_that_inference_does_not_use_may_be_missing(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    del tensors["1.num_batches_tracked"]
    safetensors.torch.save_file(tensors, tmp_path / "a.safetensors")
    network = weights.fill(build, weights.read_weights(tmp_path / "a.safetensors"))
    assert network.state_dict()["1.num_batches_tracked"] == 0


def test_a_name_that_promises_another_hash(
    tensors: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "trunk-7be5be79.pth"
    torch.save(tensors, path)
    with pytest.raises(WeightsError, match="its name promises 7be5be79: download it again"):
        weights.read_weights(path)


def test_weights_that_are_not_numbers(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    tensors["0.bias"] = torch.full((4,), torch.nan)
    safetensors.torch.save_file(tensors, tmp_path / "nan.safetensors")
    with pytest.raises(WeightsError, match=r"0\.bias is not finite"):
        weights.read_weights(tmp_path / "nan.safetensors")


class Malice:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_nothing_is_executed(how: str, tmp_path: Path) -> None:
    trap, path = tmp_path / "executed", tmp_path / "evil.pth"
    if how == "torch":
        torch.save({"x": Malice(trap)}, path)
    else:
        path.write_bytes(pickle.dumps({"x": Malice(trap)}))
    with pytest.raises(WeightsError, match="not a plain PyTorch weight file"):
        weights.read_weights(path)
    assert not trap.exists()


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(weights, "MAX_BYTES", 1 << 20)
    path = tmp_path / "large.pth"
    with path.open("wb") as file:
        file.truncate(2 << 20)
    with pytest.raises(WeightsError, match="2 MiB"):
        weights.read_weights(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(3 << 20))
    with pytest.raises(WeightsError, match="it unpacks to 3 MiB"):
        weights.read_weights(path)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not weights at all", b"PK\x03\x04abc"])
def test_damaged_files(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=name):
        weights.read_weights(tmp_path / name)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.pth", tmp_path):
        with pytest.raises(WeightsError, match="check the path"):
            weights.read_weights(path)


def test_a_truncated_file(tensors: dict[str, torch.Tensor], tmp_path: Path) -> None:
    for name, legacy in (("new.pth", False), ("old.pth", True)):
        path = tmp_path / name
        torch.save(tensors, path, _use_new_zipfile_serialization=not legacy)
        assert weights.read_weights(path).tensors.keys() == tensors.keys()
        path.write_bytes(path.read_bytes()[: -len(path.read_bytes()) // 2])
        with pytest.raises(WeightsError, match=name):
            weights.read_weights(path)
