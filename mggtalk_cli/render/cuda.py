"""The CUDA renderer: gsplat, imported only when it can work.

gsplat's wheel is plain Python; it compiles its kernels with nvcc at first use (minutes, once) and
prints to stdout while it does, which is data here: that output goes to stderr.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import sys
from pathlib import Path

import torch
from torch import Tensor

from mggtalk_cli.errors import BackendError
from mggtalk_cli.render.inputs import RasterInputs


def cuda_status() -> tuple[bool, str]:
    """Return whether gsplat can render here, and one line that says with what or why not."""
    if not torch.cuda.is_available():
        return False, "no CUDA device (torch.cuda.is_available() is False)"
    if importlib.util.find_spec("gsplat") is None:
        return False, "gsplat is not installed: pip install gsplat"
    device = torch.cuda.get_device_name()
    if importlib.util.find_spec("gsplat.csrc") is not None:
        return True, f"gsplat with compiled kernels on {device}"
    if not _has_nvcc():
        return False, "gsplat compiles its kernels, but nvcc is missing: install the CUDA toolkit"
    return True, f"gsplat on {device} (its kernels are compiled at first use)"


def _has_nvcc() -> bool:
    from torch.utils.cpp_extension import CUDA_HOME

    homes = [home for home in (CUDA_HOME, os.environ.get("CUDA_HOME")) if home]
    return shutil.which("nvcc") is not None or any(
        (Path(home) / "bin" / "nvcc").is_file() for home in homes
    )


def rasterize(inputs: RasterInputs) -> tuple[Tensor, Tensor, dict]:
    """Return gsplat's colors (C, H, W, D), alphas (C, H, W, 1) and meta of checked inputs.

    Raises:
        BackendError: CUDA, gsplat or nvcc is missing, or the inputs are not float32 on a GPU.
    """
    works, reason = cuda_status()
    if not works:
        raise BackendError(f"backend 'cuda' cannot work here: {reason}")
    for name, tensor in inputs.tensors().items():
        if tensor.dtype != torch.float32 or tensor.device.type != "cuda":
            raise BackendError(
                f"backend 'cuda' needs float32 on a GPU, {name} is {tensor.dtype} on "
                f"{tensor.device}"
            )
    with contextlib.redirect_stdout(sys.stderr):
        try:
            import gsplat

            colors, alphas, meta = gsplat.rasterization(**_arguments(inputs))
        except (ImportError, OSError) as error:
            raise BackendError(f"backend 'cuda': gsplat does not load: {error}") from error
    return colors, alphas, {**meta, "backend": "cuda"}


def _arguments(inputs: RasterInputs) -> dict:
    """Return gsplat's keyword arguments; tangents become covariances."""
    by_axes = inputs.covars is None and inputs.tangents is None
    same = (
        *("means", "opacities", "colors", "viewmats", "Ks", "width", "height", "near_plane"),
        *("far_plane", "eps2d", "sh_degree", "backgrounds", "render_mode", "rasterize_mode"),
    )
    return {
        **{name: getattr(inputs, name) for name in same},
        "quats": inputs.quats if by_axes else None,
        "scales": inputs.scales if by_axes else None,
        "covars": None if by_axes else inputs.world_covariances().contiguous(),
        "packed": False,
    }
