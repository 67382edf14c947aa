"""Compiled kernels: when they stand in for torch, and that compiling them is announced."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from mggtalk_cli.core.compiled import kernel_fits


def test_kernels_take_plain_float32_only() -> None:
    plain = torch.zeros(3)
    wanted = torch.zeros(3, requires_grad=True)
    assert kernel_fits(plain)
    assert not kernel_fits(plain, plain.double())
    assert not kernel_fits(plain, wanted)
    assert not kernel_fits(2 * wanted)
    with torch.no_grad():
        assert kernel_fits(plain, wanted)
    assert not kernel_fits(torch.zeros(3, device="meta"))


COMPOSITE = """
import sys
import numpy as np
from mggtalk_cli.cli.progress import Reporter
from mggtalk_cli.inpaint import composite
with Reporter("animate", quiet="--quiet" in sys.argv):
    composite(np.zeros((2, 2, 4), np.uint8), np.zeros((2, 2, 3), np.uint8))
"""


def test_compiling_is_announced_once(tmp_path: Path) -> None:
    def run(*flags: str, cache: str) -> str:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / cache)}
        done = subprocess.run(
            [sys.executable, "-c", COMPOSITE, *flags],
            capture_output=True, text=True, check=True, env=environment, timeout=300,
        )  # fmt: skip
        assert not done.stdout
        return done.stderr

    assert run(cache="one") == (
        "mggtalk: compiling the kernels: once on this machine, up to a minute\n"
    )
    assert run(cache="one") == ""
    assert run("--quiet", cache="two") == ""
