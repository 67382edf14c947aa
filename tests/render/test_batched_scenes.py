"""Several scenes drawn at once are the scenes drawn one by one, to the last bit."""

from __future__ import annotations

import pytest
import torch
from render_scenes import batch_of, camera, double, random_scene, scene_of

from mggtalk_cli.errors import InputError
from mggtalk_cli.render import rasterization

SCENES = 3
OPTIONS = [
    {},
    {"render_mode": "RGB+ED"},
    {"render_mode": "D", "near_plane": 2.0, "far_plane": 5.0},
    {"rasterize_mode": "antialiased", "eps2d": 0.1},
]


@pytest.mark.parametrize("backend", ["cpu", "reference"])
@pytest.mark.parametrize("kind", ["quats", "covars", "tangents"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_batch_is_its_scenes(backend, kind, options):
    batch = batch_of(kind, SCENES) | options | {"backend": backend}
    colors, alphas, meta = rasterization(**batch)
    assert colors.shape[:4] == (SCENES, 1, 17, 33)
    assert meta["backend"] == backend
    assert len(meta["scenes"]) == SCENES
    for number in range(SCENES):
        color, alpha, alone = rasterization(**scene_of(batch, number))
        assert torch.equal(colors[number], color)
        assert torch.equal(alphas[number], alpha)
        assert meta["scenes"][number]["visible"] == alone["visible"]
    assert (colors[0] != colors[1]).any()


def test_harmonics_and_colours_per_camera():
    batch = batch_of("quats", 2)
    batch |= {name: batch[name].expand(2, 3, *batch[name].shape[2:]) for name in ("viewmats", "Ks")}
    batch["backgrounds"] = torch.rand(2, 3, 3)
    for colors, options in (
        (torch.rand(2, 3, 40, 3), {}),
        (torch.rand(2, 40, 4, 3), {"sh_degree": 1}),
        (torch.rand(2, 3, 40, 4, 3), {"sh_degree": 1}),
    ):
        given = batch | {"colors": colors} | options
        together = rasterization(**given)[0]
        assert together.shape == (2, 3, 17, 33, 3)
        for number in range(2):
            assert torch.equal(together[number], rasterization(**scene_of(given, number))[0])


def test_gradients_reach_every_scene():
    names = ("means", "tangents", "opacities", "colors")
    batch = batch_of("tangents", SCENES)

    def gradients(scene):
        leaves = {name: scene[name].clone().requires_grad_() for name in names}
        rasterization(**{**scene, **leaves})[0].square().sum().backward()
        return {name: leaf.grad for name, leaf in leaves.items()}

    together = gradients(batch)
    for number in range(SCENES):
        alone = gradients(scene_of(batch, number))
        for name in names:
            assert alone[name].abs().sum() > 0
            torch.testing.assert_close(together[name][number], alone[name], rtol=0, atol=0)


def test_a_batch_of_one_and_of_empty_scenes():
    one = batch_of("tangents", 1)
    assert torch.equal(rasterization(**one)[0][0], rasterization(**scene_of(one, 0))[0])
    empty = {
        k: v[None] if torch.is_tensor(v) else v for k, v in random_scene(0, 8, 8, seed=0).items()
    }
    colors, alphas, _ = rasterization(**empty, backgrounds=torch.ones(1, 1, 3))
    assert (colors == 1).all()
    assert (alphas == 0).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"opacities": torch.ones(40)}, r"opacities has shape \(40,\), expected \(3, 40\)"),
        ({"viewmats": camera(33, 17)["viewmats"]}, r"of a batch \(B, N, 3\)"),
        ({"means": torch.zeros(2, 3, 40, 3)}, r"means \(2, 3, 40, 3\) must be \(N, 3\)"),
        ({"Ks": torch.eye(3).expand(2, 1, 3, 3)}, r"Ks has shape \(2, 1, 3, 3\)"),
    ],
)
def test_scenes_that_do_not_fit_are_refused(change, words):
    with pytest.raises(InputError, match=words):
        rasterization(**batch_of("tangents", SCENES) | change)


def test_no_scene_is_refused():
    none = {k: v[:0] if torch.is_tensor(v) else v for k, v in batch_of("tangents", 1).items()}
    with pytest.raises(InputError, match="hold no scene: give at least one"):
        rasterization(**none)


def test_float64_batches_go_to_the_reference():
    colors, _, _ = rasterization(**double(batch_of("quats", 2)), backend="reference")
    assert colors.dtype == torch.float64
