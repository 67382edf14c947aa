"""What a trained stage is, what it learned from and what it gained, as Markdown."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mggtalk_cli import __version__
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.task import ANALYTIC, OWN

if TYPE_CHECKING:
    from mggtalk_cli.training.recipe import Recipe
    from mggtalk_cli.training.stage import StageTraining


def stage_card(made: StageTraining, *, name: str, content: bytes) -> str:
    """Return the card of a checkpoint.

    Args:
        made: the training.
        name: of the checkpoint file.
        content: its bytes.
    """
    outcome = made.outcome
    parts = [
        f"# {name}: the {made.stage} stage, learned",
        f"Made by `mggtalk train {made.stage}`, mggtalk {__version__}. {len(content)} bytes, "
        f"SHA-256 {hashlib.sha256(content).hexdigest()}.",
        _networks(made),
        "## Learned from",
        data_table(made.learned),
        "## Recipe",
        _recipe(made.recipe),
        f"{outcome.steps} steps of {made.recipe.examples_per_step} examples on {outcome.device}: "
        f"{outcome.steps_per_s:.2f} steps/s, {outcome.examples_per_s:.2f} examples/s, at most "
        f"{outcome.peak_mib:.0f} MiB.",
        "## People it never saw",
        data_table(made.held_out),
        number_table(outcome.before, outcome.after),
        "Before: the weights it began with; new networks give the analytic result. After: the "
        "moving average of the weights. Whether a gain is beyond noise is for `mggtalk evaluate` "
        f"to say. Numbers that begin with {OWN} are of frames it learned from, as nobody is held "
        "out: they tell what it knows by heart.",
    ]
    return "\n\n".join(parts) + "\n"


def data_table(examples: Sequence[Example]) -> str:
    """Return a Markdown table of where examples come from, one licence and origin a row."""
    if not examples:
        return "None."
    groups: dict[tuple[str, str, str, bool], list[Example]] = {}
    for example in examples:
        note = example.note
        groups.setdefault((note.kind, note.licence, note.origin, note.ship), []).append(example)
    rows = [
        "| kind | licence | origin | may ship | people | examples | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for (kind, licence, origin, ship), group in sorted(groups.items()):
        people = len({example.note.identity for example in group})
        seconds = sum(example.note.frames / example.note.fps for example in group)
        cells = (kind, licence or "-", origin or "-", "yes" if ship else "no")
        texts = [_cell(text) for text in cells]
        rows.append(f"| {' | '.join(texts)} | {people} | {len(group)} | {seconds:.0f} |")
    return "\n".join(rows)


def number_table(before: Mapping[str, float], after: Mapping[str, float]) -> str:
    """Return a Markdown table of held-out numbers: analytic, before, after.

    >>> print(number_table({"error": 2.0, "analytic_error": 2.0}, {"error": 1.0}))
    | number | analytic | before | after |
    |---|---|---|---|
    | error | 2 | 2 | 1 |
    """
    numbers = {**before, **after}
    rows = ["| number | analytic | before | after |", "|---|---|---|---|"]
    for key in numbers:
        if not key.startswith(ANALYTIC):
            values = (numbers.get(ANALYTIC + key), before.get(key), after.get(key))
            rows.append(f"| {key} | " + " | ".join(map(_number, values)) + " |")
    return "\n".join(rows) if len(rows) > 2 else "Nobody was held out: nothing is known."


def _networks(made: StageTraining) -> str:
    lines = []
    for name, network in sorted(made.networks.items()):
        count = sum(parameter.numel() for parameter in network.parameters())
        own: Any = network.config
        config = ", ".join(f"{k} {v}" for k, v in asdict(own).items())
        lines.append(f"- {name}: {count} parameters ({config})")
    return "\n".join(lines)


def _recipe(recipe: Recipe) -> str:
    values = recipe.as_dict()
    losses = ", ".join(f"{key} {value:g}" for key, value in values.pop("losses").items())
    for key in ("perceptual", "expert"):
        values[key] = Path(values[key]).name
    told = ", ".join(f"{key} {value}" for key, value in values.items() if value not in ("", []))
    return f"{told}. Losses: {losses}."


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").split())


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4g}"
