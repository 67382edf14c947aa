"""The CUDA renderer: gsplat, imported only when it can work.

gsplat's wheel is plain Python; it compiles its kernels with nvcc at first use (minutes, once) and
prints to stdout while it does, which is data here: that output goes to stderr.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import shutil
import sys
import sysconfig
import warnings
from pathlib import Path

import torch
from torch import Tensor

from mggtalk_cli.errors import BackendError
from mggtalk_cli.render import reference
from mggtalk_cli.render.inputs import ZERO_NORM2, RasterInputs


def cuda_device() -> tuple[bool, str]:
    """Return whether torch has a CUDA device, and its name or why not."""
    reason = _no_device()
    return (True, torch.cuda.get_device_name()) if reason is None else (False, reason)


@functools.cache
def cuda_status(*, load: bool = False) -> tuple[bool, str]:
    """Return whether gsplat can render here, and one line that says with what or why not.

    Args:
        load: be certain: compile (minutes, once) and load its kernels; else only look.
    """
    reason = _no_device()
    if reason is None and importlib.util.find_spec("gsplat") is None:
        reason = "gsplat is not installed: pip install gsplat"
    if reason is None and not (_is_compiled() or _has_nvcc()):
        reason = "gsplat compiles its kernels, but nvcc is missing: install the CUDA toolkit"
    if reason is None and load:
        reason = _load_failure()
    if reason is not None:
        return False, reason
    when = "" if load or _is_compiled() else " (its kernels are compiled at first use)"
    return True, f"gsplat on {torch.cuda.get_device_name()}{when}"


def _no_device() -> str | None:
    """Return why torch has no CUDA device, None where it has."""
    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA"
    with warnings.catch_warnings(record=True) as said:  # such as a driver that is too old
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    detail = f": {_first_line(said[0].message)}" if said else ""
    return f"torch {torch.__version__} finds no CUDA device{detail}"


def _first_line(message: object) -> str:
    return next(iter(str(message).strip().splitlines()), type(message).__name__)


def _is_compiled() -> bool:
    return importlib.util.find_spec("gsplat.csrc") is not None


def _has_nvcc() -> bool:
    from torch.utils.cpp_extension import CUDA_HOME

    homes = [home for home in (CUDA_HOME, os.environ.get("CUDA_HOME")) if home]
    return shutil.which("nvcc") is not None or any(
        (Path(home) / "bin" / "nvcc").is_file() for home in homes
    )


@functools.cache
def _load_failure() -> str | None:
    """Compile and load gsplat's kernels; return why that fails, None if it does not."""
    path = os.environ.get("PATH", "")
    # ninja stands beside python, which is on the path of an activated environment only
    os.environ["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), path])
    try:
        with contextlib.redirect_stdout(sys.stderr):
            from gsplat.cuda._backend import _C
    except (ImportError, OSError, RuntimeError) as error:
        return f"gsplat's kernels do not compile or load: {_first_line(error)}"
    finally:
        os.environ["PATH"] = path
    return "gsplat finds no CUDA toolkit" if _C is None else None


def rasterize(inputs: RasterInputs) -> tuple[Tensor, Tensor, dict]:
    """Return gsplat's colors (C, H, W, D), alphas (C, H, W, 1) and meta of checked inputs.

    A batch of scenes has a leading axis here, too.

    Raises:
        BackendError: CUDA, gsplat or nvcc is missing, the inputs are not float32 on a GPU, or the
            intrinsics need gradients.
    """
    works, reason = cuda_status(load=True)
    if not works:
        raise BackendError(f"backend 'cuda' cannot work here: {reason}")
    for name, tensor in inputs.tensors().items():
        if tensor.dtype != torch.float32 or tensor.device.type != "cuda":
            raise BackendError(
                f"backend 'cuda' needs float32 on a GPU, {name} is {tensor.dtype} on "
                f"{tensor.device}"
            )
    if inputs.Ks.requires_grad and torch.is_grad_enabled():
        raise BackendError("backend 'cuda' has no gradients of Ks: detach it or use another one")
    if len(inputs.means) == 0:  # gsplat divides by their number, which ends the process
        colors, alphas, meta = reference.rasterize(inputs)
    else:
        import gsplat

        colors, alphas, meta = gsplat.rasterization(**gsplat_arguments(inputs))
    return colors, alphas, {**meta, "backend": "cuda"}


def gsplat_arguments(inputs: RasterInputs) -> dict:
    """Return the same as gsplat's keyword arguments; tangents become covariances.

    Batches go as they are: gsplat takes leading axes (since 1.5.3), covariances' too.
    """
    same = (
        *("means", "opacities", "colors", "viewmats", "Ks", "width", "height", "near_plane"),
        *("far_plane", "eps2d", "sh_degree", "backgrounds", "render_mode", "rasterize_mode"),
    )
    arguments = {name: getattr(inputs, name) for name in same} | {"packed": False}
    if inputs.covars is None and inputs.tangents is None:
        identity = inputs.means.new_tensor([1.0, 0.0, 0.0, 0.0])
        is_zero = (inputs.quats * inputs.quats).sum(-1, keepdim=True) <= ZERO_NORM2
        return {
            **arguments,
            "quats": torch.where(is_zero, identity, inputs.quats),
            "scales": inputs.scales,
        }
    # gsplat reads the upper triangle; the mean with the transpose spreads gradients over both
    covars = inputs.world_covariances()
    return {**arguments, "quats": None, "scales": None, "covars": 0.5 * (covars + covars.mT)}
