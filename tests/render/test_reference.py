"""The reference renderer against hand-computed images."""

import math

import pytest
import torch

from mggtalk_cli.errors import InputError
from mggtalk_cli.render import rasterization
from mggtalk_cli.render.harmonics import sh_basis

F64 = torch.float64


def one_view(focal=10.0, width=9, height=9):
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=F64)
    return {
        "viewmats": torch.eye(4, dtype=F64)[None],
        "Ks": K[None],
        "width": width,
        "height": height,
        "backend": "reference",
    }


def blobs(depths, colors, opacity=0.6, scale=0.3):
    n = len(depths)
    means = torch.zeros(n, 3, dtype=F64)
    means[:, 2] = torch.tensor(depths, dtype=F64)
    return {
        "means": means,
        "quats": torch.tensor([[1.0, 0, 0, 0]], dtype=F64).repeat(n, 1),
        "scales": torch.full((n, 3), scale, dtype=F64),
        "opacities": torch.full((n,), opacity, dtype=F64),
        "colors": torch.tensor(colors, dtype=F64),
    }


def test_one_gaussian_has_the_analytic_alpha_everywhere():
    scene = blobs([2.0], [[1.0, 0.5, 0.0]])
    colors, alphas, _ = rasterization(**scene, **one_view())
    variance = (10.0 * 0.3 / 2.0) ** 2 + 0.3
    x = torch.arange(9, dtype=F64) + 0.5 - 4.5
    square = x[:, None] ** 2 + x**2
    expected = 0.6 * torch.exp(-0.5 * square / variance)
    expected[expected < 1 / 255] = 0
    assert alphas[0, 4, 4, 0] == pytest.approx(0.6)
    torch.testing.assert_close(alphas[0, ..., 0], expected)
    torch.testing.assert_close(colors[0, ..., 1], 0.5 * expected)


def test_the_nearer_of_two_gaussians_covers_the_farther():
    red, blue = [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]
    for order in ([2.0, 3.0], [3.0, 2.0]):
        tints = [red, blue] if order[0] < order[1] else [blue, red]
        colors, alphas, _ = rasterization(**blobs(order, tints), **one_view())
        expected = torch.tensor([0.6, 0.0, 0.4 * 0.6], dtype=F64)
        torch.testing.assert_close(colors[0, 4, 4], expected)
        assert alphas[0, 4, 4, 0] == pytest.approx(1 - 0.16)


def test_a_pixel_ends_before_its_transmittance_falls_below_the_limit():
    # Each layer leaves .5 %: two would leave 2.5e-5 < 1e-4, so the second is not drawn.
    scene = blobs([2.0, 3.0, 4.0], [[1.0] * 3] * 3, opacity=0.995)
    _, alphas, _ = rasterization(**scene, **one_view())
    assert alphas[0, 4, 4, 0] == pytest.approx(0.995)


def test_opacity_is_capped():
    _, alphas, _ = rasterization(**blobs([2.0], [[1.0] * 3], opacity=1.0), **one_view())
    assert alphas[0, 4, 4, 0] == pytest.approx(0.999)


@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_depth_modes_and_background(backend):
    dtype = torch.float32 if backend == "cpu" else F64
    view = {**one_view(), "backend": backend}
    arguments = {**blobs([2.0, 4.0], [[1.0, 0.0, 0.0]] * 2), **view}
    arguments = {k: v.to(dtype) if torch.is_tensor(v) else v for k, v in arguments.items()}
    weights = (0.6, 0.24)
    accumulated = 2.0 * weights[0] + 4.0 * weights[1]
    for mode, channels in {"D": 1, "ED": 1, "RGB+D": 4, "RGB+ED": 4, "RGB": 3}.items():
        colors, _, _ = rasterization(**arguments, render_mode=mode)
        assert colors.shape == (1, 9, 9, channels)
        centre = colors[0, 4, 4].tolist()
        if mode.endswith("ED"):
            assert centre[-1] == pytest.approx(accumulated / 0.84, rel=1e-5)
        elif mode.endswith("D"):
            assert centre[-1] == pytest.approx(accumulated, rel=1e-5)
        if mode.startswith("RGB"):
            assert centre[0] == pytest.approx(0.84, rel=1e-5)
    background = torch.tensor([[0.0, 1.0, 0.25]], dtype=dtype)
    colors, _, _ = rasterization(**arguments, backgrounds=background, render_mode="RGB+D")
    expected = torch.tensor([0.84, 0.16, 0.04, accumulated], dtype=dtype)
    torch.testing.assert_close(colors[0, 4, 4], expected)


def test_antialiasing_fades_small_gaussians():
    scene = blobs([2.0], [[1.0] * 3], scale=0.02)
    _, alphas, _ = rasterization(**scene, **one_view(), rasterize_mode="antialiased")
    variance = (10 * 0.02 / 2) ** 2
    assert alphas[0, 4, 4, 0] == pytest.approx(0.6 * variance / (variance + 0.3))


def test_spherical_harmonics_are_orthonormal():
    g = torch.Generator().manual_seed(0)
    v = torch.nn.functional.normalize(torch.randn(400_000, 3, generator=g, dtype=F64), dim=-1)
    basis = torch.stack(sh_basis(*v.unbind(-1)))
    gram = 4 * math.pi * basis @ basis.T / v.shape[0]
    torch.testing.assert_close(gram, torch.eye(16, dtype=F64), atol=0.02, rtol=0)


def test_harmonics_signs_match_the_convention():
    # Degree 1 in 3DGS is (-y, z, -x): the reflection rules of meshes and plys rely on it.
    _, y, z, x, *_ = sh_basis(1.0, 2.0, 3.0)
    assert (y, z, x) == pytest.approx(tuple(0.4886025119029199 * k for k in (-2, 3, -1)))


@pytest.mark.parametrize("shape", ["quats", "covars", "tangents"])
def test_gradients_are_right(shape):
    g = torch.Generator().manual_seed(1)
    n, view = 3, one_view(focal=4.0, width=4, height=3)

    def random(*size, spread=1.0, shift=0.0):
        return (spread * torch.rand(*size, generator=g, dtype=F64) + shift).requires_grad_()

    means = random(n, 3, spread=0.4, shift=-0.2)
    opacities, coefficients = random(n, spread=0.4, shift=0.3), random(n, 4, 3)
    names = {
        "quats": {"quats": random(n, 4, shift=0.1), "scales": random(n, 3, shift=0.3)},
        "covars": {"covars": torch.eye(3, dtype=F64).repeat(n, 1, 1).requires_grad_()},
        "tangents": {"tangents": random(n, 2, 3)},
    }[shape]
    view["viewmats"] = view["viewmats"].clone()
    view["viewmats"][0, 2, 3] = 2.0
    viewmats = view.pop("viewmats").requires_grad_()
    background = random(1, 3)

    def render(means, opacities, coefficients, viewmats, background, *shapes):
        arguments = {"quats": None, "scales": None, **dict(zip(names, shapes, strict=True))}
        arguments |= {"means": means, "opacities": opacities, "colors": coefficients}
        arguments |= {"viewmats": viewmats, "backgrounds": background, "sh_degree": 1}
        arguments |= {"render_mode": "RGB+ED", **view}
        return rasterization(**arguments)[:2]

    inputs = (means, opacities, coefficients, viewmats, background, *names.values())
    assert torch.autograd.gradcheck(render, inputs, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(2, 2)}, r"means has shape \(2, 2\)"),
        ({"opacities": torch.zeros(3)}, r"opacities has shape \(3,\), expected \(2,\)"),
        ({"colors": torch.zeros(1, 3)}, r"colors has shape \(1, 3\)"),
        ({"quats": None}, "shapes as quats and scales"),
        ({"backgrounds": torch.zeros(1, 4)}, "backgrounds has shape"),
        ({"Ks": torch.zeros(3, 3)}, "Ks has shape"),
        ({"viewmats": torch.zeros(4, 4)}, "viewmats"),
        ({"sh_degree": 1}, "no spherical harmonics"),
        ({"sh_degree": 1, "colors": torch.zeros(2, 1, 3)}, "needs 4 coefficients"),
        ({"sh_degree": 4}, "sh_degree 4"),
        ({"width": 0}, "image size 0x9"),
        ({"near_plane": 0.0}, "near_plane"),
        ({"render_mode": "XYZ"}, "render_mode 'XYZ'"),
        ({"rasterize_mode": "x"}, "rasterize_mode 'x'"),
        ({"backend": "gpu"}, "backend 'gpu'"),
        ({"opacities": torch.zeros(2, dtype=F64)}, "opacities is torch.float64"),
        ({"tangents": torch.zeros(2, 2, 3), "covars": torch.zeros(2, 3, 3)}, "covars, or tangents"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {**blobs([2.0, 4.0], [[1.0, 0.0, 0.0]] * 2), **one_view()}
    arguments = {k: v.float() if torch.is_tensor(v) else v for k, v in arguments.items()}
    with pytest.raises(InputError, match=message):
        rasterization(**{**arguments, **change})
