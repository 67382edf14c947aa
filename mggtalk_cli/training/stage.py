"""`mggtalk train STAGE`: folders of examples in, checkpoint and model card out."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mggtalk_cli import __version__
from mggtalk_cli.core.checkpoint import checkpoint_bytes, read_checkpoint
from mggtalk_cli.core.output import atomic_path, check_output
from mggtalk_cli.errors import InputError, WeightsError
from mggtalk_cli.training.dataset import Example, find_examples, split_by_identity
from mggtalk_cli.training.launch import is_first_process
from mggtalk_cli.training.loop import Track, train
from mggtalk_cli.training.outcome import Outcome
from mggtalk_cli.training.recipe import Recipe, stage_recipe
from mggtalk_cli.training.stage_card import stage_card
from mggtalk_cli.training.state import STATE_FILE
from mggtalk_cli.training.task import Task
from mggtalk_cli.training.tasks import build_task


@dataclass(frozen=True)
class StageTraining:
    """What `train_stage` made.

    Attributes:
        stage: what was trained.
        recipe: how.
        learned: examples it learned from.
        held_out: examples of people it never saw.
        networks: what was trained, ready for inference.
        outcome: steps, numbers and speed.
    """

    stage: str
    recipe: Recipe
    learned: list[Example]
    held_out: list[Example]
    networks: Mapping[str, nn.Module]
    outcome: Outcome

    @property
    def finished(self) -> bool:
        """Whether all steps of the recipe are done."""
        return self.outcome.steps >= self.recipe.steps


def run_folder(output: Path) -> Path:
    """Return the folder of a run's state, log and sheets: FILE.train beside FILE.safetensors."""
    return output.with_suffix(".train")


def card_path(output: Path) -> Path:
    """Return where the model card of a checkpoint lies."""
    return output.with_suffix(".md")


def check_outputs(output: Path, *, resume: bool, overwrite: bool) -> None:
    """Check that a run may write its files, so that it fails before it computes.

    Raises:
        InputError: they exist, or cannot be written.
    """
    if output.suffix != ".safetensors":
        raise InputError(
            f"output {output} is to be a checkpoint: name it {output.stem}.safetensors"
        )
    for path in (output, card_path(output)):
        check_output(path, overwrite=overwrite or resume)
    state = run_folder(output) / STATE_FILE
    if resume and not state.is_file():
        raise InputError(f"there is no training in {state.parent} to go on: leave out --resume")
    if state.exists() and not (overwrite or resume):
        raise InputError(
            f"{state.parent} holds a training: add --resume to go on or --overwrite to start again"
        )


def train_stage(
    stage: str,
    sources: Sequence[str | Path],
    recipe: Recipe,
    output: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    start: Path | None = None,
    until: int | None = None,
    device: str = "auto",
    track: Track = lambda steps, total: steps,
    told: Callable[[str], None] = lambda _: None,
) -> StageTraining:
    """Train a stage; write its checkpoint and card once all steps are done.

    Args:
        stage: a key of `tasks.TASKS`.
        sources: folders of examples.
        recipe: how.
        output: the checkpoint (.safetensors); the card gets .md, the run's folder .train.
        resume: go on from the state in the run's folder.
        overwrite: replace what is there.
        start: checkpoint whose networks of the same names are the first weights.
        until: stop after so many steps, to go on another time.
        device: "auto", "cpu" or "cuda".
        track: passes the steps through, to show progress.
        told: called with a line about what is going on.

    Raises:
        InputError: no example to learn from, or outputs that exist.
        ArtifactError: an example is damaged.
        WeightsError: `start` or the state does not fit.
        BackendError: no Lightning Fabric, or no such device.
        DivergedError: see `loop.train`.
    """
    check_outputs(output, resume=resume, overwrite=overwrite)
    learned, held_out = chosen_examples(sources, recipe)
    told(f"learning from {len(learned)} examples, {len(held_out)} held out")
    task = build_task(stage, learned, held_out, recipe)
    check_recipe(stage, recipe, task)
    if start is not None:
        begin_from(task.networks, start)
    outcome = train(
        task,
        recipe,
        run_folder(output),
        resume=resume,
        until=until,
        device=device,
        track=track,
        told=told,
    )
    made = StageTraining(stage, recipe, learned, held_out, task.networks, outcome)
    if not made.finished:
        told(f"stopped after {outcome.steps} of {recipe.steps} steps: go on with --resume")
    elif is_first_process():
        write_stage(made, output, overwrite=overwrite or resume)
    return made


def check_recipe(stage: str, recipe: Recipe, task: Task) -> None:
    """Check that what a recipe says is of use to a stage.

    Raises:
        InputError: it names a network or a file that the stage has no use for.
    """
    names = {*task.networks, *stage_recipe(stage).frozen}  # some networks want examples
    for name in recipe.frozen:
        if name not in names:
            raise InputError(
                f"frozen names {name!r}, no network of {stage}: use {', '.join(task.networks)}"
            )
    for key, term in (("expert", "sync"), ("perceptual", "perceptual")):
        if getattr(recipe, key) and not recipe.losses.get(term):
            raise InputError(f"{key} is for the term {term}, which {stage} does not weigh: drop it")


def chosen_examples(
    sources: Sequence[str | Path], recipe: Recipe
) -> tuple[list[Example], list[Example]]:
    """Return the examples to learn from, and those of held-out people, whatever their licence.

    Raises:
        InputError: there is none to learn from.
        ArtifactError: one is damaged.
    """
    found = find_examples(sources)
    learned, held_out = split_by_identity(found, share=recipe.held_out, seed=recipe.seed)
    if recipe.only_ship:  # who may not be learned from is there to measure on
        rest = [example for example in learned if not example.note.ship]
        learned = [example for example in learned if example.note.ship]
        known = {example.note.identity for example in learned}
        held_out += [example for example in rest if example.note.identity not in known]
    if not learned:
        which = " that may ship" if recipe.only_ship else ""
        raise InputError(f"no example{which} to learn from among {len(found)}: add some")
    return learned, held_out


def write_stage(made: StageTraining, output: Path, *, overwrite: bool = False) -> None:
    """Write checkpoint and card of a finished training.

    Raises:
        InputError: see `atomic_path`.
        WeightsError: a network cannot be stored.
    """
    content = checkpoint_bytes(made.networks, notes_of(made))
    card = stage_card(made, name=output.name, content=content)
    with atomic_path(output, overwrite=overwrite) as part:
        part.write_bytes(content)
    with atomic_path(card_path(output), overwrite=overwrite) as part:
        part.write_text(card, encoding="utf-8")


def notes_of(made: StageTraining) -> dict[str, Any]:
    """Return what a checkpoint says of its making; the same for the same data and recipe."""
    people = {example.note.identity for example in made.learned}
    files = {"perceptual": made.recipe.perceptual, "expert": made.recipe.expert}
    names = {key: Path(file).name for key, file in files.items()}  # folders are nobody's business
    return {
        "stage": made.stage,
        "mggtalk": __version__,
        "steps": made.outcome.steps,
        "recipe": made.recipe.as_dict() | names,
        "examples": len(made.learned),
        "people": len(people),
        "ship": all(example.note.ship for example in made.learned),
        "before": finite(made.outcome.before),
        "after": finite(made.outcome.after),
    }


def finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Return numbers as JSON can hold them: None for what is none."""
    return {key: value if math.isfinite(value) else None for key, value in numbers.items()}


def begin_from(networks: Mapping[str, nn.Module], file: Path) -> list[str]:
    """Give networks the weights a checkpoint has for them; return their names.

    Raises:
        WeightsError: it has none of them, or one is of another size.
    """
    checkpoint = read_checkpoint(file)
    shared = sorted(set(networks) & set(checkpoint.networks))
    if not shared:
        raise WeightsError(
            f"{file} holds {', '.join(checkpoint.networks)}, none of {', '.join(networks)}: "
            "start from a checkpoint of the same stage"
        )
    for name in shared:
        stored, network = checkpoint.networks[name], networks[name]
        own: Any = network.config
        config = json.loads(json.dumps(asdict(own)))  # tuples as JSON has them
        if dict(stored.config) != config:
            raise WeightsError(
                f"{name} in {file} is of another size ({dict(stored.config)}) than the recipe's "
                f"preset ({config}): use its preset"
            )
        try:
            with torch.no_grad():
                network.load_state_dict(dict(stored.tensors), strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{name} in {file} does not fit: {error}") from None
    return shared
