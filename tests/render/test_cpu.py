"""The compiled CPU renderer against the reference in float64."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from render_scenes import SIZES, camera, double, random_scene

from mggtalk_cli.errors import BackendError
from mggtalk_cli.render import kernels, rasterization
from mggtalk_cli.render.reference import ALPHA_MIN
from mggtalk_cli.render.scene import face_scene

TOLERANCE = 1e-5
# A pair within rounding of alpha = 1/255 (or of T = 1e-4) may be drawn by one renderer and skipped
# by the other; each such flip changes a pixel by at most about one threshold.
FLIP_LIMIT = 1.05 * ALPHA_MIN
FLIPS_PER_PIXEL = 5e-4


def assert_agrees(scene: dict, **options) -> None:
    """Both renderers: equal within TOLERANCE but for few, small threshold flips."""
    fast = rasterization(**scene, **options, backend="cpu")
    true = rasterization(**double({**scene, **options}), backend="reference")
    for got, expected in zip(fast[:2], true[:2], strict=True):
        assert got.shape == expected.shape
        assert got.dtype == torch.float32
        scale = expected.abs().amax().clamp_min(1.0) if expected.numel() else 1.0
        error = (got - expected).abs().amax(-1) / scale if got.numel() else torch.zeros(1)
        flips = int((error > TOLERANCE).sum())
        assert error.max() <= FLIP_LIMIT
        assert flips <= 1 + FLIPS_PER_PIXEL * error.numel()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [0, 1, 2, 50, 400])
def test_random_scenes(count, size):
    for seed in range(3):
        assert_agrees(random_scene(count, *size, seed=seed))


def test_flips_are_rare():
    """Over many scenes almost every pixel is within the tolerance; print the count on failure."""
    flips = pixels = 0
    for seed in range(20):
        scene = random_scene(300, 48, 40, seed=seed)
        got = rasterization(**scene, backend="cpu")[0]
        expected = rasterization(**double(scene), backend="reference")[0]
        error = (got - expected).abs().amax(-1)
        flips += int((error > TOLERANCE).sum())
        pixels += error.numel()
        assert error.max() <= FLIP_LIMIT
    assert flips <= 1e-4 * pixels, f"{flips} of {pixels} pixels differ"


@pytest.mark.parametrize("mode", ["RGB", "D", "RGB+D", "RGB+ED"])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_modes(mode, rasterize_mode):
    scene = random_scene(200, 40, 30, seed=4)
    scene["backgrounds"] = torch.tensor([[0.2, 0.4, 0.6]])
    if mode == "RGB+ED":  # where alpha is tiny, a depth of two roundings means nothing
        scene["backgrounds"] = None
        scene["scales"] = scene["scales"] + 0.5
    assert_agrees(scene, render_mode=mode, rasterize_mode=rasterize_mode)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics(degree):
    scene = random_scene(100, 32, 24, seed=5)
    g = torch.Generator().manual_seed(0)
    scene["colors"] = 0.5 * torch.randn(100, 16, 3, generator=g)
    assert_agrees(scene, sh_degree=degree)


def test_feature_channels_and_several_cameras():
    scene = random_scene(100, 33, 24, seed=6)
    views = [camera(33, 24, yaw=yaw) for yaw in (0.0, 0.8, 3.1)]
    scene["viewmats"] = torch.cat([view["viewmats"] for view in views])
    scene["Ks"] = torch.cat([view["Ks"] for view in views])
    g = torch.Generator().manual_seed(0)
    scene["colors"] = torch.rand(100, 5, generator=g)
    assert_agrees(scene)
    scene["colors"] = torch.rand(3, 100, 7, generator=g)
    assert_agrees(scene)


@pytest.mark.parametrize("eps", [0.0, 0.02])
def test_tangents_equal_covariances(eps):
    scene = random_scene(300, 41, 37, seed=7)
    g = torch.Generator().manual_seed(0)
    scene |= {"quats": None, "scales": None}
    tangents = 0.2 * torch.randn(300, 2, 3, generator=g)
    covars = tangents.double().mT @ tangents.double() + eps * torch.eye(3, dtype=torch.float64)
    by_tangents = {**scene, "tangents": tangents, "tangent_eps": eps}
    assert_agrees(by_tangents)
    a = rasterization(**by_tangents, backend="cpu")[0]
    b = rasterization(**scene, covars=covars.float(), backend="cpu")[0]
    assert ((a - b).abs() > TOLERANCE).float().mean() < 1e-3
    assert (a - b).abs().max() <= FLIP_LIMIT


def test_thin_and_huge_gaussians_stay_accurate():
    scene = random_scene(60, 64, 48, seed=8)
    scene["scales"][:, 0], scene["scales"][:, 1:] = 30.0, 1e-3
    assert_agrees(scene)


def test_a_stack_of_layers_ends_early_and_right():
    scene = random_scene(400, 24, 24, seed=9)
    scene["scales"] = scene["scales"] + 1.0
    scene["opacities"] = torch.full((400,), 0.5)
    assert_agrees(scene)


def test_equal_depths_keep_their_order():
    scene = random_scene(50, 16, 16, seed=10)
    scene["means"][:, 2] = 0.0
    scene["viewmats"] = torch.eye(4)[None].clone()
    scene["viewmats"][0, 2, 3] = 4.0
    assert_agrees(scene)


def test_values_that_are_not_numbers_draw_nothing():
    scene = random_scene(30, 16, 16, seed=11)
    clean = rasterization(**{**scene, "opacities": scene["opacities"].clone()}, backend="cpu")
    bad = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30])
    means = torch.cat([scene["means"], bad[:, None].repeat(1, 3)])
    more = {k: torch.cat([scene[k], scene[k][-4:]]) for k in ("quats", "scales", "colors")}
    opacities = torch.cat([scene["opacities"], torch.ones(4)])
    dirty = rasterization(
        **{**scene, **more, "means": means, "opacities": opacities}, backend="cpu"
    )
    assert torch.equal(clean[0], dirty[0])


@pytest.mark.parametrize("count", [1, 1000])
def test_any_number_of_threads_gives_the_same_bits(count):
    scene = vars(face_scene(count, width=75, height=53))
    before, images = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            images.append(rasterization(**scene)[:2])
    finally:
        torch.set_num_threads(before)
    for image in images[1:]:
        assert torch.equal(image[0], images[0][0])
        assert torch.equal(image[1], images[0][1])


def test_two_python_threads_may_render_at_once():
    scenes = [vars(face_scene(count, width=64, height=64)) for count in (400, 2500)]
    alone = [rasterization(**scene)[0] for scene in scenes]
    wrong = []

    def work(which: int) -> None:
        for _ in range(20):
            image = rasterization(**scenes[which])[0]
            if not torch.equal(image, alone[which]):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


FORK = """
import os, warnings, torch
from mggtalk_cli.render import kernels, rasterization
from mggtalk_cli.render.scene import face_scene
torch.set_num_threads(2)
scene = vars(face_scene(900, width=32, height=32))
def image():
    return rasterization(**scene)[0].sum().item()
first = image()
warnings.simplefilter("ignore", DeprecationWarning)
child = os.fork()
if child == 0:
    os._exit(0 if image() == first else 3)
print(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_renders():
    done = subprocess.run(
        [sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "0"


def test_strided_inputs_are_read_right():
    scene = random_scene(50, 20, 20, seed=12)
    strided = {
        k: v.mT.contiguous().mT if torch.is_tensor(v) and v.ndim == 2 else v
        for k, v in scene.items()
    }
    assert not strided["means"].is_contiguous()
    a, b = rasterization(**scene)[0], rasterization(**strided)[0]
    assert torch.equal(a, b)


def test_the_second_frame_does_not_touch_the_first():
    scene = random_scene(50, 20, 20, seed=13)
    first = rasterization(**scene)[0]
    kept = first.clone()
    rasterization(**{**scene, "colors": 1 - scene["colors"]})
    assert torch.equal(first, kept)


def test_what_it_cannot_do_is_refused():
    scene = random_scene(3, 8, 8, seed=0)
    with pytest.raises(BackendError, match="float32"):
        rasterization(**double(scene), backend="cpu")


def test_the_exponential_fit_is_as_good_as_float32():
    t = np.linspace(-1.0, 0.0, 10001)
    fit = np.polynomial.polynomial.polyval(t, kernels.FIT)
    assert np.abs(fit / 2.0**t - 1.0).max() < np.finfo(np.float32).eps / 2
