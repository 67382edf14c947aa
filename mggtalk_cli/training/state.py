"""The state of an unfinished training: one safetensors file that appears whole or not at all.

Tensors are those of networks, moving average and optimisers; everything else is JSON in the file's
metadata. Nothing in it is executed. No state of a random generator: every example has its seed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.errors import WeightsError

STATE_FILE = "state.safetensors"
VERSION = 1  # of the file; raise it when its content changes
_KEY = "mggtalk-training"
_FACTS = {"step": int, "recipe": dict, "before": dict, "after": dict}


def save_state(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write the state, in place of an older one.

    Args:
        path: `STATE_FILE` in the run's folder.
        tensors: by name.
        facts: step, recipe, before and after, of what JSON can hold.

    Raises:
        InputError: it cannot be written.
    """
    from safetensors.torch import save_file

    told = json.dumps({"version": VERSION, **facts}, sort_keys=True)
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    with atomic_path(path, overwrite=True) as part:
        save_file(plain, part, metadata={_KEY: told})


def load_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return tensors and facts of a saved state.

    Raises:
        WeightsError: missing, damaged, or of another version.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            facts = json.loads((stored.metadata() or {}).get(_KEY, "null"))
            tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    except OSError as error:
        raise WeightsError(
            f"{path}: {error.strerror or 'no saved state'}; train without --resume first"
        ) from None
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path} is damaged ({error}): start again with --overwrite") from None
    version = facts.get("version") if isinstance(facts, dict) else None
    if version == VERSION and not all(isinstance(facts.get(k), t) for k, t in _FACTS.items()):
        raise WeightsError(f"{path} is damaged: start again with --overwrite")
    if version != VERSION:
        raise WeightsError(
            f"{path} is of version {version}, expected {VERSION}: start again with --overwrite"
        )
    return tensors, facts


def take(path: Path, stored: dict[str, Tensor], wanted: Mapping[str, Tensor], part: str) -> None:
    """Copy the entries "part/name" of a stored state into the tensors wanted.

    Raises:
        WeightsError: an entry is missing, unknown, or of another shape.
    """
    given = _part(stored, part)
    for key in sorted({*given, *wanted}):
        if key not in given or key not in wanted or given[key].shape != wanted[key].shape:
            raise _misfit(path, f"{part} {key}")
    with torch.no_grad():
        for key, value in wanted.items():
            value.copy_(given[key])


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, named: Iterable[tuple[str, Tensor]]
) -> dict[str, Tensor]:
    """Return the moments and counts an optimiser holds, as "parameter/kind"."""
    return {
        f"{name}/{kind}": value
        for name, parameter in named
        for kind, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    path: Path,
    optimizer: torch.optim.Optimizer,
    named: Iterable[tuple[str, Tensor]],
    stored: Mapping[str, Tensor],
    part: str,
) -> None:
    """Give an optimiser the moments and counts stored under "part/parameter/kind".

    Raises:
        WeightsError: one is of another shape than its parameter.
    """
    held: dict[str, dict[str, Tensor]] = {}
    for key, value in _part(stored, part).items():
        name, _, kind = key.rpartition("/")
        held.setdefault(name, {})[kind] = value
    for name, parameter in named:
        for kind, value in held.get(name, {}).items():
            if value.shape != (parameter.shape if kind != "step" else ()):
                raise _misfit(path, f"{part} {name} {kind}")
            # AdamW keeps its count of steps on the CPU, the moments beside the parameter.
            optimizer.state[parameter][kind] = value.to(
                "cpu" if kind == "step" else parameter.device
            )


def _part(stored: Mapping[str, Tensor], part: str) -> dict[str, Tensor]:
    start = f"{part}/"
    return {k.removeprefix(start): value for k, value in stored.items() if k.startswith(start)}


def _misfit(path: Path, entry: str) -> WeightsError:
    return WeightsError(
        f"{path} does not fit these networks ({entry}): resume with the preset and data it was "
        "made with, or start again with --overwrite"
    )
