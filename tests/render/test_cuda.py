"""The CUDA renderer (gsplat): parity where it works, else its refusal and what gsplat is given."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import torch
from render_scenes import (
    batch_of,
    camera,
    double,
    random_scene,
    scene_of,
    with_covariances,
)
from torch import Tensor

from mggtalk_cli.errors import BackendError
from mggtalk_cli.render import choose_backend, cuda, cuda_status, rasterization, reference
from mggtalk_cli.render.inputs import RasterInputs, check
from mggtalk_cli.render.scene import face_scene

WORKS, REASON = cuda_status()
needs_cuda = pytest.mark.skipif(not WORKS, reason=f"no CUDA renderer: {REASON}")
DIFFERENTIABLE = (
    *("means", "quats", "scales", "covars", "tangents", "opacities", "colors", "viewmats"),
    "backgrounds",
)


@pytest.mark.skipif(WORKS, reason="CUDA works here")
def test_refusal_says_why():
    assert REASON
    assert "\n" not in REASON
    with pytest.raises(BackendError, match="backend 'cuda' cannot work here"):
        rasterization(**random_scene(3, 8, 8, seed=0), backend="cuda")


@pytest.mark.parametrize(
    ("built_for", "found", "wanted"),
    [(None, False, "built without CUDA"), ("12.4", False, "finds no CUDA device: driver too old")],
)
def test_status_names_what_is_missing(monkeypatch, built_for, found, wanted):
    def is_available():
        import warnings

        warnings.warn("driver too old\nsecond line", stacklevel=1)
        return found

    monkeypatch.setattr(torch.version, "cuda", built_for)
    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    works, reason = cuda.cuda_status.__wrapped__()
    assert not works
    assert reason.endswith(wanted)


def test_kernels_that_do_not_compile_are_a_reason(monkeypatch):
    import builtins

    load = builtins.__import__

    def broken(name, *arguments, **options):
        if name == "gsplat.cuda._backend":
            raise RuntimeError("Error building extension 'gsplat_cuda'\nninja: ...")
        return load(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", broken)
    reason = cuda._load_failure.__wrapped__()
    assert reason == (
        "gsplat's kernels do not compile or load: Error building extension 'gsplat_cuda'"
    )


def test_auto_takes_the_cpu_for_cpu_tensors():
    scene = random_scene(3, 8, 8, seed=0)
    assert choose_backend(scene["means"]) == "cpu"
    assert rasterization(**scene)[2]["backend"] == "cpu"


# ---------------------------------------------------------------- what gsplat makes of our inputs


@pytest.fixture
def gsplat_on_cpu(monkeypatch):
    """gsplat's own `rasterization`, its five CUDA functions replaced by plain torch."""
    import gsplat.rendering as gsplat
    from gsplat.cuda import _torch_impl as plain

    def project(means, covars, quats, scales, viewmats, Ks, width, height, **options):
        assert not options.pop("packed")
        if covars is None:
            covars, _ = plain._quat_scale_to_covar_preci(quats, scales, compute_preci=False)
        else:
            covars = covars[..., [0, 1, 2, 1, 3, 4, 2, 4, 5]].unflatten(-1, (3, 3))
        opacities = options.pop("opacities")
        for unused in ("radius_clip", "sparse_grad", "camera_model"):
            options.pop(unused)
        radii, *rest = plain._fully_fused_projection(
            means, covars, viewmats, Ks, width, height, **options
        )
        seen = opacities[..., None, :]
        seen = seen if rest[-1] is None else seen * rest[-1]
        return radii * (seen >= reference.ALPHA_MIN)[..., None], *rest

    def harmonics(degree, directions, coefficients, masks):
        return plain._spherical_harmonics(degree, directions, coefficients)

    def list_visible(means2d, radii, depths, *_, **__):
        nearest = depths.float().flatten().argsort(stable=True)
        return None, None, nearest[(radii.flatten(0, -2) > 0).all(-1)[nearest]]

    def blend(means2d, conics, colors, opacities, width, height, _, __, order, **options):
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        pixels = torch.stack([x, y], -1).reshape(-1, 2) + 0.5
        leading = means2d.shape[:-2]  # (B,) C images
        means2d, conics, colors = (t.reshape(-1, *t.shape[-2:]) for t in (means2d, conics, colors))
        opacities = opacities.reshape(-1, opacities.shape[-1])
        images, count = [], means2d.shape[1]
        for image in range(len(means2d)):
            own = order[order // count == image] % count
            full = conics[image, own][:, [0, 1, 1, 2]].reshape(-1, 2, 2)
            behind = colors.new_zeros(colors.shape[-1])
            if options["backgrounds"] is not None:
                behind = options["backgrounds"].reshape(-1, colors.shape[-1])[image]
            seen = (means2d[image, own], full, opacities[image, own], colors[image, own])
            images.append(reference._blend(pixels.to(means2d), *seen, behind))
        shape = (*leading, height, width, -1)
        return tuple(torch.stack(parts).reshape(shape) for parts in zip(*images, strict=True))

    def no_offsets(_, images, tiles_x, tiles_y):
        return torch.zeros(images, tiles_y, tiles_x)

    for name, twin in (
        *(("fully_fused_projection", project), ("spherical_harmonics", harmonics)),
        *(("isect_tiles", list_visible), ("isect_offset_encode", no_offsets)),
        ("rasterize_to_pixels", blend),
    ):
        monkeypatch.setattr(gsplat, name, twin)
    return gsplat.rasterization


def two_cameras(scene: dict) -> dict:
    views = [camera(33, 17, yaw=yaw) for yaw in (0.3, -0.4)]
    both = {name: torch.cat([view[name] for view in views]) for name in ("viewmats", "Ks")}
    return {**scene, **both, "backgrounds": torch.tensor([[0.1, 0.5, 0.9], [1.0, 0.0, 0.3]])}


OPTIONS = [
    {},
    {"render_mode": "RGB+ED"},
    {"render_mode": "D", "near_plane": 2.0, "far_plane": 5.0},
    {"sh_degree": 2},
    {"rasterize_mode": "antialiased", "eps2d": 0.1},
]


@pytest.mark.parametrize("kind", ["quats", "covars", "tangents"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gsplat_is_told_the_same_as_the_reference(gsplat_on_cpu, kind, options):
    scene = with_covariances(two_cameras(random_scene(60, 33, 17, seed=3)), kind) | options
    if "sh_degree" in options:
        g = torch.Generator().manual_seed(1)
        scene["colors"] = torch.randn(60, 9, 3, generator=g)
    scene = double(scene)

    def in_gsplat(**arguments):
        return gsplat_on_cpu(**cuda.gsplat_arguments(checked(arguments)))

    got = image_and_gradients(in_gsplat, scene)
    true = image_and_gradients(partial(rasterization, backend="reference"), scene)
    assert set(got) == set(true)
    for name, expected in true.items():
        assert torch.allclose(got[name], expected, rtol=1e-6, atol=1e-9), name


@pytest.mark.parametrize("kind", ["quats", "covars", "tangents"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gsplat_is_told_the_same_of_a_batch(gsplat_on_cpu, kind, options):
    batch = double(batch_of(kind, 3) | options)
    if "sh_degree" in options:
        batch["colors"] = torch.randn(3, 40, 9, 3, dtype=torch.float64)
    colors, alphas, _ = gsplat_on_cpu(**cuda.gsplat_arguments(checked(batch)))
    true_colors, true_alphas, _ = rasterization(**batch, backend="reference")
    assert torch.allclose(colors, true_colors, rtol=1e-6, atol=1e-9)
    assert torch.allclose(alphas, true_alphas, rtol=1e-6, atol=1e-9)


def checked(arguments: dict) -> RasterInputs:
    defaults = {
        "covars": None, "tangents": None, "tangent_eps": 0.0, "near_plane": 0.01,
        "far_plane": 1e10, "eps2d": 0.3, "sh_degree": None, "backgrounds": None,
        "render_mode": "RGB", "rasterize_mode": "classic",
    }  # fmt: skip
    return check(RasterInputs(**{**defaults, **arguments}))


def image_and_gradients(render, scene: dict) -> dict[str, Tensor]:
    """Colours, alphas, and the gradients of a random weighting of both."""
    leaves = {
        name: scene[name].detach().clone().requires_grad_()
        for name in DIFFERENTIABLE
        if torch.is_tensor(scene.get(name))
    }
    colors, alphas, _ = render(**{**scene, **leaves})
    outputs = (colors, alphas)
    g = torch.Generator().manual_seed(5)
    weights = [torch.randn(out.shape, generator=g).to(out) for out in outputs]
    found = torch.autograd.grad(outputs, tuple(leaves.values()), weights, allow_unused=True)
    gradients = {
        name: torch.zeros_like(leaf) if gradient is None else gradient
        for (name, leaf), gradient in zip(leaves.items(), found, strict=True)
    }
    # The last row of a view matrix is constant: whether it gets a gradient means nothing.
    gradients["viewmats"] = gradients["viewmats"][:, :3]
    return {"image": colors.detach(), "alpha": alphas.detach(), **gradients}


# ---------------------------------------------------------------- on a GPU


def on_gpu(scene: dict) -> dict:
    return {k: v.cuda() if torch.is_tensor(v) else v for k, v in scene.items()}


def gpu_scene(name: str) -> dict:
    if name == "face":
        return dataclasses.asdict(face_scene(20_000, width=160, height=120))
    return with_covariances(random_scene(400, 97, 61, seed=1), name)


@needs_cuda
@pytest.mark.parametrize("options", [{}, {"rasterize_mode": "antialiased"}], ids=str)
@pytest.mark.parametrize("name", ["face", "quats", "covars", "tangents"])
def test_parity_with_the_cpu(name, options):
    """Images within 1e-5 on average and 1/255 nearly everywhere, gradients within 1e-3."""
    scene = gpu_scene(name) | options
    got, expected = (
        image_and_gradients(partial(rasterization, backend=backend), given)
        for backend, given in (("cuda", on_gpu(scene)), ("cpu", scene))
    )
    for part in ("image", "alpha"):
        error = (got.pop(part).cpu() - expected.pop(part)).abs()
        assert error.mean() <= 1e-5
        assert error.quantile(0.999) <= 1 / 255
    for part, gradient in expected.items():
        off = (got[part].cpu() - gradient).norm() / gradient.norm().clamp_min(1e-12)
        assert off <= 1e-3, f"{part}: {off:.2e}"


@needs_cuda
@pytest.mark.parametrize("mode", ["D", "RGB+ED"])
def test_depth_on_a_gpu(mode):
    scene = random_scene(400, 97, 61, seed=2) | {"render_mode": mode}
    got = rasterization(**on_gpu(scene), backend="cuda")[0].cpu()
    expected = rasterization(**double(scene), backend="reference")[0]
    error = (got - expected).abs() / expected.abs().clamp_min(1.0)
    assert error.quantile(0.99) <= 1e-4


@needs_cuda
@pytest.mark.parametrize("kind", ["quats", "covars", "tangents"])
def test_a_batch_on_a_gpu_is_its_scenes(kind):
    batch = on_gpu(batch_of(kind, 5, count=400))
    together = rasterization(**batch, backend="cuda")[:2]
    for number in range(5):
        alone = rasterization(**scene_of(batch, number), backend="cuda")[:2]
        for one, two in zip(alone, together, strict=True):
            assert (one - two[number]).abs().max() <= 1e-6


@needs_cuda
def test_no_gaussians_on_a_gpu():
    scene = on_gpu(random_scene(0, 8, 8, seed=0)) | {"backgrounds": torch.ones(1, 3).cuda()}
    colors, alphas, meta = rasterization(**scene, backend="cuda")
    assert meta["backend"] == "cuda"
    assert (colors == 1).all()
    assert (alphas == 0).all()
