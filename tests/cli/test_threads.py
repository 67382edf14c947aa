"""`--threads` decides how many threads every library computes with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

Run = Callable[..., Any]
BENCH = ["bench", "render", "--count", "100", "--size", "16", "--rounds", "1", "--no-peers"]
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "MKL_DYNAMIC")


@pytest.fixture
def undone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put environment and libraries back as they were."""
    import cv2

    monkeypatch.setattr(os, "environ", dict(os.environ))
    before, before_cv2 = torch.get_num_threads(), cv2.getNumThreads()
    yield
    torch.set_num_threads(before)
    cv2.setNumThreads(before_cv2)


@pytest.mark.usefixtures("undone")
def test_libraries_in_use_follow(run: Run) -> None:
    import cv2

    result = run(*BENCH, "--threads", 1, "--json", "-q")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["machine"]["torch_threads"] == 1
    assert cv2.getNumThreads() == 1
    assert {run["renderer"] for cell in found["cells"] for run in cell["runs"]} == {"mggtalk"}


_LIBRARIES = """
import json, sys
from typer.testing import CliRunner
from mggtalk_cli.cli.app import app
CliRunner().invoke(app, ["drive", "no such file", "-o", "m.npz", "--threads", "3"])
assert "torch" not in sys.modules
import torch, cv2
print(json.dumps([torch.get_num_threads(), cv2.getNumThreads()]))
"""


def test_libraries_yet_to_load_follow(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", _LIBRARIES],
        capture_output=True, text=True, check=True, cwd=tmp_path, env=clean,
    )  # fmt: skip
    assert json.loads(done.stdout) == [3, 3]


@pytest.mark.parametrize("value", ["0", "-1", "many"])
def test_wrong_numbers_are_refused(run: Run, value: str) -> None:
    assert run("render", "p.npz", "-o", "f.npz", "--threads", value).exit_code == 2


COMPUTING = (
    *(["build-head"], ["drive"], ["deform"], ["render"], ["inpaint"], ["animate"]),
    *(["evaluate", "reenact"], ["evaluate", "audio"], ["evaluate", "identity"]),
    *(["evaluate", "views"], ["evaluate", "noise"], ["evaluate", "ablation"]),
    *(["bench", "pipeline"], ["bench", "render"]),
)


@pytest.mark.parametrize("command", COMPUTING, ids=" ".join)
def test_every_command_that_computes_has_it(run: Run, command: list[str]) -> None:
    assert "--threads" in run(*command, "--help").stdout
