"""What each process of `test_two_processes` runs: FOLDER, weights of the line task into it."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from toy_tasks import LineTask

from mggtalk_cli.training.launch import is_first_process
from mggtalk_cli.training.loop import train
from mggtalk_cli.training.recipe import Recipe
from mggtalk_cli.training.schedule import named_state

RECIPE = Recipe(
    steps=6,
    batch=4,
    rate=0.01,
    warmup=2,
    save_every=3,
    validate_every=3,
    losses={"l2": 1.0, "size": 0.001},
)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    task = LineTask()
    train(task, RECIPE, folder / "run", device="cpu")
    if is_first_process():
        save_file(named_state(task.networks), folder / "weights.safetensors")
    else:
        (folder / "second").write_text(str(sorted(task.seen)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
