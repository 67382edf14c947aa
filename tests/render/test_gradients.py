"""The compiled backward pass against autograd through the reference in float64."""

import threading

import pytest
import torch
from render_scenes import SIZES, camera, double, random_scene

from mggtalk_cli.render import rasterization
from mggtalk_cli.render.scene import face_scene

TOLERANCE = 1e-4  # relative L2
# Where a Gaussian-pixel pair lies within rounding of a threshold, one renderer draws it and the
# other does not: its gradient is then missing on one side.
FLIPPED_TOLERANCE, FLIP = 2e-2, 1e-5

GAUSSIANS = ("means", "quats", "scales", "opacities", "colors")
CAMERA = ("viewmats", "Ks")


def gradients(scene: dict, names, backend: str, **options) -> tuple[dict, torch.Tensor]:
    """Gradients of a random linear function of the image, and the image."""
    leaves = {name: scene[name].clone().requires_grad_() for name in names}
    colors, alphas, _ = rasterization(**{**scene, **leaves, **options, "backend": backend})
    g = torch.Generator().manual_seed(0)
    pull = torch.randn(colors.shape, generator=g).to(colors)
    (colors * pull).sum().add((alphas * pull[..., :1]).sum()).backward()
    return {name: leaf.grad for name, leaf in leaves.items()}, colors.detach()


def assert_agree(scene: dict, names, **options) -> bool:
    """Every gradient: equal to the reference's; return whether a threshold flipped."""
    got, image = gradients(scene, names, "cpu", **options)
    expected, true = gradients(double(scene), names, "reference", **options)
    scale = true.abs().amax().clamp_min(1.0) if true.numel() else 1.0
    flipped = bool(((image - true).abs() / scale > FLIP).any())
    for name in names:
        assert got[name].shape == scene[name].shape
        assert got[name].dtype == torch.float32
        error = (got[name] - expected[name]).norm() / expected[name].norm().clamp_min(1e-6)
        assert error <= (FLIPPED_TOLERANCE if flipped else TOLERANCE), f"{name}: {error:.1e}"
    return flipped


@pytest.mark.parametrize("size", SIZES)
def test_random_scenes(size):
    flips = sum(
        assert_agree(random_scene(count, *size, seed=seed), GAUSSIANS + CAMERA)
        for count in (0, 1, 2, 50, 400)
        for seed in range(2)
    )
    assert flips <= 2


def test_one_gaussian_in_view_has_gradients():
    scene = random_scene(2, 33, 17, seed=0)
    scene["means"] = torch.zeros(2, 3)
    assert_agree(scene, GAUSSIANS + CAMERA)
    found, _ = gradients(scene, GAUSSIANS, "cpu")
    assert all(found[name][1].abs().sum() > 0 for name in GAUSSIANS)


@pytest.mark.parametrize("mode", ["RGB", "D", "ED", "RGB+D", "RGB+ED"])
@pytest.mark.parametrize("rasterize_mode", ["classic", "antialiased"])
def test_modes(mode, rasterize_mode):
    scene = random_scene(200, 40, 30, seed=4)
    names = GAUSSIANS[:4] + CAMERA
    if mode.startswith("RGB"):
        scene["backgrounds"] = torch.tensor([[0.2, 0.4, 0.6]])
        names += ("colors", "backgrounds")
    assert_agree(scene, names, render_mode=mode, rasterize_mode=rasterize_mode)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics(degree):
    """Through the colours, and through where they are seen from."""
    scene = random_scene(100, 32, 24, seed=5)
    g = torch.Generator().manual_seed(0)
    scene["colors"] = 0.5 * torch.randn(100, 16, 3, generator=g)
    assert_agree(scene, GAUSSIANS + CAMERA, sh_degree=degree)


@pytest.mark.parametrize("shared", [True, False])
def test_several_cameras_and_feature_channels(shared):
    scene = random_scene(100, 33, 24, seed=6)
    views = [camera(33, 24, yaw=yaw) for yaw in (0.0, 0.8, 3.1)]
    scene["viewmats"] = torch.cat([view["viewmats"] for view in views])
    scene["Ks"] = torch.cat([view["Ks"] for view in views])
    g = torch.Generator().manual_seed(0)
    scene["colors"] = torch.rand(*(() if shared else (3,)), 100, 5, generator=g)
    assert_agree(scene, GAUSSIANS + CAMERA)


@pytest.mark.parametrize("eps", [0.0, 0.02])
def test_tangents(eps):
    scene = random_scene(300, 41, 37, seed=7) | {"quats": None, "scales": None}
    scene["tangents"] = 0.2 * torch.randn(300, 2, 3, generator=torch.Generator().manual_seed(0))
    names = ("means", "tangents", "opacities", "colors", *CAMERA)
    assert_agree({**scene, "tangent_eps": eps}, names)


def test_covariances():
    scene = random_scene(300, 41, 37, seed=7) | {"quats": None, "scales": None}
    roots = 0.2 * torch.randn(300, 3, 3, generator=torch.Generator().manual_seed(0))
    scene["covars"] = roots @ roots.mT
    assert_agree(scene, ("means", "covars", "opacities", "colors", *CAMERA))


def test_thin_and_huge_gaussians():
    scene = random_scene(60, 64, 48, seed=8)
    scene["scales"][:, 0], scene["scales"][:, 1:] = 30.0, 1e-3
    assert_agree(scene, GAUSSIANS + CAMERA)


def test_layers_that_end_early_have_gradients_only_where_they_are_seen():
    scene = random_scene(400, 24, 24, seed=9)
    scene["scales"] = scene["scales"] + 1.0
    scene["opacities"] = torch.full((400,), 0.5)
    assert_agree(scene, GAUSSIANS + CAMERA)


NAMES = GAUSSIANS + CAMERA


@pytest.mark.parametrize("count", [1, 20000])
def test_any_number_of_threads_gives_the_same_bits(count):
    scene, before, seen = vars(face_scene(count, width=75, height=53)), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            seen.append(gradients(scene, NAMES, "cpu")[0])
    finally:
        torch.set_num_threads(before)
    for found in seen[1:]:
        assert all(torch.equal(found[name], seen[0][name]) for name in NAMES)


def test_two_python_threads_may_differentiate_at_once():
    scenes = [vars(face_scene(count, width=75, height=53)) for count in (400, 2500)]
    alone = [gradients(scene, NAMES, "cpu")[0] for scene in scenes]
    wrong = []

    def work(which: int) -> None:
        for _ in range(10):
            found = gradients(scenes[which], NAMES, "cpu")[0]
            if not all(torch.equal(found[name], alone[which][name]) for name in NAMES):
                wrong.append(which)

    threads = [threading.Thread(target=work, args=(which,)) for which in (0, 1, 0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_frames_between_forward_and_backward_change_nothing():
    scene = random_scene(50, 20, 20, seed=13)
    expected, _ = gradients(scene, ("means",), "cpu")
    means = scene["means"].clone().requires_grad_()
    colors, alphas, _ = rasterization(**{**scene, "means": means}, backend="cpu")
    for seed in range(3):
        gradients(random_scene(90, 40, 40, seed=seed), GAUSSIANS, "cpu")
    pull = torch.randn(colors.shape, generator=torch.Generator().manual_seed(0))
    loss = (colors * pull).sum() + (alphas * pull[..., :1]).sum()
    for _ in range(2):  # the graph may be used twice
        means.grad = None
        loss.backward(retain_graph=True)
        assert torch.equal(means.grad, expected["means"])


def test_only_what_asks_gets_a_gradient():
    scene = random_scene(30, 16, 16, seed=14)
    colors = scene["colors"].clone().requires_grad_()
    image, _, meta = rasterization(**{**scene, "colors": colors}, backend="cpu")
    image.sum().backward()
    assert colors.grad is not None
    assert scene["means"].grad is None
    assert {"backward: blend", "backward: project"} <= set(meta["milliseconds"])
    with torch.no_grad():
        silent, _, _ = rasterization(**{**scene, "colors": colors}, backend="cpu")
    assert not silent.requires_grad


def test_descent_finds_a_shifted_gaussian():
    """Gradients are of use: a blob walks to where the picture shows it."""
    scene = random_scene(2, 32, 32, seed=0)
    scene["means"] = torch.tensor([[9.0, 9.0, 9.0], [0.3, -0.2, 0.0]])
    scene["scales"] = torch.full((2, 3), 0.5)
    target, _, _ = rasterization(**scene, backend="cpu")
    means = torch.tensor([[9.0, 9.0, 9.0], [0.0, 0.1, 0.0]], requires_grad=True)
    optimiser = torch.optim.Adam([means], lr=0.02)
    for _ in range(80):
        optimiser.zero_grad()
        image, _, _ = rasterization(**{**scene, "means": means}, backend="cpu")
        (image - target).square().mean().backward()
        optimiser.step()
    torch.testing.assert_close(means[1, :2], scene["means"][1, :2], atol=0.02, rtol=0)
