"""The CUDA renderer (gsplat): agreement with the reference where it works, else its refusal."""

import pytest
import torch
from render_scenes import double, random_scene

from mggtalk_cli.errors import BackendError
from mggtalk_cli.render import choose_backend, cuda_status, rasterization

WORKS, REASON = cuda_status()


@pytest.mark.skipif(WORKS, reason="CUDA works here")
def test_refusal_says_why():
    assert REASON
    assert "\n" not in REASON
    with pytest.raises(BackendError, match="backend 'cuda' cannot work here"):
        rasterization(**random_scene(3, 8, 8, seed=0), backend="cuda")


def test_auto_takes_the_cpu_for_cpu_tensors():
    scene = random_scene(3, 8, 8, seed=0)
    assert choose_backend(scene["means"]) == "cpu"
    assert rasterization(**scene)[2]["backend"] == "cpu"


@pytest.mark.skipif(not WORKS, reason=f"no CUDA renderer: {REASON}")
@pytest.mark.parametrize("shape", ["quats", "tangents"])
def test_parity_with_the_reference(shape):
    scene = random_scene(400, 97, 61, seed=1)
    # gsplat has no meaning for a rotation of zero norm.
    scene["quats"][scene["quats"].norm(dim=-1) == 0] = torch.tensor([1.0, 0, 0, 0])
    if shape == "tangents":
        g = torch.Generator().manual_seed(0)
        scene |= {"quats": None, "scales": None}
        scene["tangents"] = 0.2 * torch.randn(400, 2, 3, generator=g)
    on_gpu = {k: v.cuda() if torch.is_tensor(v) else v for k, v in scene.items()}
    got = rasterization(**on_gpu, backend="cuda")[0].cpu()
    expected = rasterization(**double(scene), backend="reference")[0]
    error = (got - expected).abs()
    assert error.mean() <= 1e-5
    assert error.quantile(0.999) <= 1 / 255
