"""The compiled kernels on disk: never stale, announced when they are made."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import mggtalk_cli.render
from mggtalk_cli.render import blend_gradients, kernels, projection, projection_gradients

# numba recompiles a kernel only when its own file changes, not when these do.
USED_BY_KERNELS = ("layout.py", "lanes.py", "harmonics.py")
USED_BY_GRADIENTS = (*USED_BY_KERNELS, "kernels.py", "projection.py")


@pytest.mark.parametrize(
    ("module", "used"),
    [
        (kernels, USED_BY_KERNELS),
        (projection, USED_BY_KERNELS),
        (blend_gradients, USED_BY_GRADIENTS),
        (projection_gradients, USED_BY_GRADIENTS),
    ],
)
def test_a_change_in_what_kernels_use_changes_their_files(module, used):
    folder = Path(mggtalk_cli.render.__file__).parent
    digest = hashlib.sha256(b"".join((folder / name).read_bytes() for name in used))
    assert digest.hexdigest()[:12] == module.SOURCES, "write it there"


WARM = """
import logging
logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
from mggtalk_cli.render import rasterization
from mggtalk_cli.render.scene import face_scene
scene = vars(face_scene(4, width=8, height=8))
scene["means"].requires_grad_()
rasterization(**scene)[0].sum().backward()
"""


def test_compiling_is_announced_once(tmp_path):
    def run() -> str:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", WARM],
            capture_output=True, text=True, check=True, env=environment, timeout=300,
        )  # fmt: skip
        assert not done.stdout
        return done.stderr

    assert run().count("mggtalk: compiling the kernels") == 1
    assert "compiling" not in run()
