"""Checkpoints: round trips, equal bytes, and files nobody should trust."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from mggtalk_cli.core import checkpoint
from mggtalk_cli.core.checkpoint import (
    METADATA_KEY,
    Network,
    checkpoint_bytes,
    describe,
    read_checkpoint,
    restore,
    write_checkpoint,
)
from mggtalk_cli.errors import InputError, WeightsError


@dataclass(frozen=True)
class ToyConfig:
    widths: tuple[int, ...] = (3, 4)
    gain: float = 0.5
    biased: bool = True


class Toy(Network):
    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        sizes = zip(config.widths, config.widths[1:], strict=False)
        self.layers = nn.ModuleList(nn.Linear(a, b, bias=config.biased) for a, b in sizes)
        self.register_buffer("seen", torch.zeros(2))


def toy(seed: int = 0, **config: Any) -> Toy:
    torch.manual_seed(seed)
    return Toy(ToyConfig(**config))


def crafted(path: Path, document: Any, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    """Write a safetensors file whose header says `document`."""
    text = document if isinstance(document, str) else json.dumps(document)
    tensors = {"toy/x": torch.zeros(1)} if tensors is None else tensors
    safetensors.torch.save_file(tensors, path, {METADATA_KEY: text})
    return path


def document(**changes: Any) -> dict[str, Any]:
    return {"version": 1, "networks": {"toy": {}}, "notes": {}, **changes}


def test_networks_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "joint.safetensors"
    first, second = toy(1), toy(2, widths=(2, 5, 7), gain=2.0, biased=False)
    write_checkpoint(path, {"one": first, "two": second}, {"steps": 7, "data": ["a", "b"]})
    read = read_checkpoint(path)
    assert read.notes == {"steps": 7, "data": ["a", "b"]}
    for name, network in {"one": first, "two": second}.items():
        back = restore(read.stored(name), name, Toy, ToyConfig)
        assert back.config == network.config
        assert not back.training
        assert not any(p.requires_grad for p in back.parameters())
        assert not any(t.is_meta for t in back.state_dict().values())
        for key, value in network.state_dict().items():
            assert torch.equal(back.state_dict()[key], value)


def test_equal_networks_give_equal_bytes() -> None:
    networks = {"one": toy(1), "two": toy(2)}
    turned = {"two": toy(2), "one": toy(1)}
    notes = {"b": 1, "a": {"y": 2, "x": 3}}
    again = {"a": {"x": 3, "y": 2}, "b": 1}
    assert checkpoint_bytes(networks, notes) == checkpoint_bytes(turned, again)
    assert checkpoint_bytes(networks, notes) != checkpoint_bytes({**networks, "two": toy(3)}, notes)


def test_half_precision_makes_half_the_file_and_is_read_as_single(tmp_path: Path) -> None:
    network = toy(widths=(64, 256)).half()
    write_checkpoint(tmp_path / "half.safetensors", {"toy": network}, {})
    read = read_checkpoint(tmp_path / "half.safetensors")
    back = restore(read.stored("toy"), "toy", Toy, ToyConfig)
    assert read.nbytes < 2.2 * 64 * 256
    assert back.layers[0].weight.dtype == torch.float32
    assert torch.equal(back.layers[0].weight, network.layers[0].weight.float())


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept.safetensors"
    write_checkpoint(path, {"toy": toy(1)}, {})
    before = path.read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        write_checkpoint(path, {"toy": toy(2)}, {})
    assert path.read_bytes() == before
    write_checkpoint(path, {"toy": toy(2)}, {}, overwrite=True)
    assert path.read_bytes() != before
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_what_cannot_be_written(tmp_path: Path) -> None:
    broken = toy()
    with torch.no_grad():
        broken.layers[0].weight[0, 0] = torch.nan
    odd: list[tuple[dict[str, nn.Module], dict[str, Any], str]] = [
        ({"toy": broken}, {}, r"toy/layers\.0\.weight is not finite"),
        ({"toy": nn.Linear(2, 2)}, {}, "no config"),
        ({"a/b": toy()}, {}, "'a/b' is no name"),
        ({"toy": toy()}, {"loss": float("nan")}, "JSON"),
        ({"toy": toy()}, {"path": tmp_path}, "JSON"),
    ]
    for networks, notes, message in odd:
        with pytest.raises(WeightsError, match=message):
            write_checkpoint(tmp_path / "odd.safetensors", networks, notes)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depth": 3}, "unknown field 'depth'"),
        ({"widths": [3, 10**9]}, "'1000000000', not a usable integer"),
        ({"widths": [3, -1]}, "'-1', not a usable integer"),
        ({"widths": [3, 4.0]}, "'4.0', not a usable integer"),
        ({"widths": [4] * 1000}, "at most 16"),
        ({"widths": "34"}, "list"),
        ({"widths": [3, True]}, "'True'"),
        ({"gain": "much"}, "'much', not a usable number"),
        ({"gain": 1e300}, "not a usable number"),
        ({"biased": 1}, "true or false"),
        ({"biased": {"deep": [[]]}}, "true or false"),
    ],
)
def test_configs_that_ask_for_nonsense(
    fields: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tensors = {f"toy/{key}": value for key, value in toy().state_dict().items()}
    path = crafted(tmp_path / "odd.safetensors", document(networks={"toy": fields}), tensors)
    with pytest.raises(WeightsError, match=message):
        restore(read_checkpoint(path).stored("toy"), "toy", Toy, ToyConfig)


def test_fields_that_an_older_file_lacks_take_their_defaults(tmp_path: Path) -> None:
    tensors = {f"toy/{key}": value for key, value in toy().state_dict().items()}
    path = crafted(tmp_path / "old.safetensors", document(networks={"toy": {"gain": 2}}), tensors)
    back = restore(read_checkpoint(path).stored("toy"), "toy", Toy, ToyConfig)
    assert back.config == ToyConfig(gain=2.0)


def test_a_small_file_cannot_ask_for_a_large_network(tmp_path: Path) -> None:
    """4096 x 4096 x 15 float32 would be 1 GB: it is refused before any of it is allocated."""
    fields = {"widths": [4096] * 16}
    path = crafted(tmp_path / "greedy.safetensors", document(networks={"toy": fields}))
    with pytest.raises(WeightsError, match=r"greedy.*layers\.0\.weight is missing.* more"):
        restore(read_checkpoint(path).stored("toy"), "toy", Toy, ToyConfig)


def test_entries_must_fit_exactly(tmp_path: Path) -> None:
    tensors = {f"toy/{key}": value for key, value in toy().state_dict().items()}
    tensors["toy/layers.0.weight"] = torch.zeros(2, 2)
    tensors["toy/extra"] = torch.zeros(1)
    path = crafted(tmp_path / "odd.safetensors", document(), tensors)
    with pytest.raises(WeightsError) as caught:
        restore(read_checkpoint(path).stored("toy"), "toy", Toy, ToyConfig)
    assert "extra is unknown" in str(caught.value)
    assert "layers.0.weight is (2, 2) instead of (4, 3)" in str(caught.value)
    assert "toy in odd.safetensors" in str(caught.value)


def test_a_constructor_that_fails(tmp_path: Path) -> None:
    def never(config: ToyConfig) -> Toy:
        raise ValueError("a U-Net has 1..7 levels, not 0")

    path = crafted(tmp_path / "odd.safetensors", document())
    with pytest.raises(WeightsError, match=r"cannot be built.*levels"):
        restore(read_checkpoint(path).stored("toy"), "toy", never, ToyConfig)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("no json", "no checkpoint"),
        ("[" * 100_000, "no checkpoint"),
        ("[]", "no checkpoint"),
        (document(networks=[]), "no JSON objects"),
        (document(networks={"toy": 3}), "no JSON objects"),
        (document(networks={"../toy": {}}), "no JSON objects"),
        (document(notes="free"), "no JSON objects"),
        (document(version=2), "version 2: update"),
        (document(version="1"), "version '1'"),
        (document(networks={}), "belongs to none"),
    ],
)
def test_headers_that_are_no_checkpoint(header: Any, message: str, tmp_path: Path) -> None:
    path = crafted(tmp_path / "odd.safetensors", header)
    with pytest.raises(WeightsError, match=message):
        read_checkpoint(path)


def test_other_files(tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(1)}, path)
    whole = checkpoint_bytes({"toy": toy()}, {})
    contents = [path.read_bytes(), b"", b"\xff" * 64, b"\x00" * 64, whole[:-8], whole[:40], b"PK"]
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"odd\.safetensors"):
            read_checkpoint(path)
    with pytest.raises(WeightsError, match="missing"):
        read_checkpoint(tmp_path / "missing.safetensors")


def test_values_that_are_not_numbers(tmp_path: Path) -> None:
    for value in (torch.tensor([torch.inf]), torch.tensor([1e300], dtype=torch.float64)):
        path = crafted(tmp_path / "odd.safetensors", document(), {"toy/x": value})
        with pytest.raises(WeightsError, match="toy/x is not finite"):
            read_checkpoint(path)


def test_a_header_too_long_to_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "long.safetensors"
    write_checkpoint(path, {"toy": toy()}, {"text": "x" * 3000})
    monkeypatch.setattr(checkpoint, "MAX_HEADER_BYTES", 2000)
    with pytest.raises(WeightsError, match="header"):
        read_checkpoint(path)


def test_the_hash_is_kept_to(tmp_path: Path) -> None:
    path = tmp_path / "toy.safetensors"
    write_checkpoint(path, {"toy": toy()}, {})
    digest = read_checkpoint(path).sha256
    assert read_checkpoint(path, sha256=digest).sha256 == digest
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(WeightsError, match=f"expected {digest}"):
        read_checkpoint(path, sha256=digest)


def test_a_stage_the_file_does_not_hold(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors", {"encoder": toy(), "decoder": toy()}, {})
    with pytest.raises(WeightsError, match=r"a\.safetensors holds no refiner but decoder, encoder"):
        read_checkpoint(tmp_path / "a.safetensors").stored("refiner")


def test_a_description_counts_every_number(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.safetensors", {"two": toy(), "one": toy(biased=False)}, {"s": 1})
    told = describe(read_checkpoint(tmp_path / "a.safetensors"))
    assert [row["name"] for row in told["networks"]] == ["one", "two"]
    assert [row["parameters"] for row in told["networks"]] == [12 + 2, 12 + 4 + 2]
    assert told["networks"][0]["config"] == {"widths": [3, 4], "gain": 0.5, "biased": False}
    assert told["meta"] == {"s": 1}
    assert told["file_bytes"] == (tmp_path / "a.safetensors").stat().st_size
    json.dumps(told)
