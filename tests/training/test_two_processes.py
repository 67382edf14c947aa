"""Two CPU processes over gloo learn what one process learns from the same batches."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from two_processes import RECIPE, main

from mggtalk_cli.training.logbook import read_log

SCRIPT = Path(__file__).parent / "two_processes.py"
LAUNCH = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def test_two_processes_give_the_weights_of_one(tmp_path: Path) -> None:
    folders = tmp_path / "one", tmp_path / "two"
    for folder in folders:
        folder.mkdir()
    main(folders[0])
    subprocess.run(
        [sys.executable, *LAUNCH, str(SCRIPT), str(folders[1])],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=True,
        capture_output=True,
        timeout=240,
    )
    seen = (folders[1] / "second").read_text()
    assert seen == str([(step, index) for step in range(RECIPE.steps) for index in (1, 3)])
    one, two = (load_file(folder / "weights.safetensors") for folder in folders)
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert torch.allclose(value, two[key], rtol=0, atol=1e-6), key
    logs = [read_log(folder / "run/log.csv") for folder in folders]
    assert logs[0].keys() == logs[1].keys()
    for name in ("train/loss", "train/l2", "train/size", "train/gradient", "measured/error"):
        assert len(logs[0][name]) == len(logs[1][name])
        for (step, a), (other, b) in zip(logs[0][name], logs[1][name], strict=True):
            assert step == other
            assert abs(a - b) <= 1e-5 * max(1.0, abs(a)), (name, step)
