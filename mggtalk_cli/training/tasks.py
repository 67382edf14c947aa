"""Which task trains which stage; modules are loaded when their stage is trained."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mggtalk_cli.errors import InputError

if TYPE_CHECKING:
    from mggtalk_cli.training.dataset import Example
    from mggtalk_cli.training.recipe import Recipe
    from mggtalk_cli.training.task import Task

# Stage -> "module:function"; the function takes examples, held-out examples and the recipe.
TASKS: dict[str, str] = {
    "refiner": "mggtalk_cli.training.refining:task",
    "deform": "mggtalk_cli.training.deforming:task",
    "decoder": "mggtalk_cli.training.decoding:task",
    "inpaint": "mggtalk_cli.training.inpainting:task",
    "mouth": "mggtalk_cli.training.patching:task",
    "joint": "mggtalk_cli.training.joint:task",
    "sync": "mggtalk_cli.training.sync:task",
}


def build_task(
    stage: str, examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe
) -> Task:
    """Return the task of a stage, its networks new; equal seeds give equal networks.

    Raises:
        InputError: there is no such stage, or the examples lack what it needs.
    """
    if stage not in TASKS:
        raise InputError(f"no stage is called {stage!r}: use one of {', '.join(TASKS)}")
    import torch

    module, function = TASKS[stage].split(":")
    build = getattr(importlib.import_module(module), function)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        task: Task = build(examples, held_out, recipe)
    return task
