"""The training loop: AdamW over the losses of a task's examples, averaged over all processes.

Every example draws from its own seed (recipe's seed, step, index), so a run that was stopped and
resumed gives the bits of one that was not (on a CPU), and the number of processes changes nothing
but rounding. What is kept is the moving average of the weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mggtalk_cli.errors import InputError
from mggtalk_cli.training.launch import (
    in_precision,
    launched,
    share_buffers,
    share_gradients,
    total_of,
)
from mggtalk_cli.training.logbook import Logbook
from mggtalk_cli.training.outcome import DivergedError, Outcome, peak_mib
from mggtalk_cli.training.recipe import Recipe
from mggtalk_cli.training.schedule import MovingAverage, example_seed, named_state, rate_share
from mggtalk_cli.training.state import (
    STATE_FILE,
    load_state,
    optimizer_tensors,
    restore_optimizer,
    save_state,
    take,
)
from mggtalk_cli.training.task import AdversarialTask, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Track = Callable[[Iterable[int], int], Iterable[int]]
Named = list[tuple[str, nn.Parameter]]

# What separates the seeds of the adversary's examples from those of the task's.
_TASK, _ADVERSARY = 0, 1
ADVERSARY_BETAS = (0.0, 0.9)  # Miyato et al. 2018: with spectral norm, momentum does harm


def train(
    task: Task,
    recipe: Recipe,
    folder: Path,
    *,
    resume: bool = False,
    until: int | None = None,
    device: str = "auto",
    track: Track = lambda steps, total: steps,
    told: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Train the networks of a task in place; they end with the averaged weights, in eval mode.

    Args:
        task: what to learn.
        recipe: how.
        folder: of the state, the log and the sheets; created where it is missing.
        resume: go on from the state in the folder.
        until: stop after so many steps of the recipe's, with the state saved; None = all.
        device: "auto", "cpu" or "cuda".
        track: passes the steps through, to show progress.
        told: called with a line about what is going on.

    Raises:
        BackendError: no Lightning Fabric, or no such device.
        WeightsError: there is no state to resume from, or it does not fit.
        InputError: the folder cannot be written, or the run was of another seed or batch.
        DivergedError: a loss or gradient is not finite; the last saved state stays.
    """
    fabric = launched(device=device)
    if fabric.is_global_zero:
        folder.mkdir(parents=True, exist_ok=True)
    fabric.barrier()
    devices = [fabric.device.index or 0] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        run = _Run(fabric, task, recipe, folder / STATE_FILE)
        first = run.restore(told) if resume else 0
        last = recipe.steps if until is None else min(until, recipe.steps)
        with Logbook(folder, first=first) if fabric.is_global_zero else nullcontext() as log:
            return run.go(range(first, last), log, track)


@dataclass
class _Run:
    """A training that is under way."""

    fabric: Fabric
    task: Task
    recipe: Recipe
    state: Path
    before: dict[str, float] = field(default_factory=dict)
    after: dict[str, float] = field(default_factory=dict)
    saved: int = 0

    def __post_init__(self) -> None:
        task, recipe = self.task, self.recipe
        self.networks = dict(task.networks)
        self.adversary = dict(task.adversary) if isinstance(task, AdversarialTask) else {}
        self.everything = (*self.networks.values(), *self.adversary.values())
        for network in self.everything:
            network.to(self.fabric.device).train().requires_grad_(True)
        self.named = _named_parameters(self.networks)
        self.opponents = _named_parameters(self.adversary)
        self.optimizer = _adamw(self.named, recipe.rate, recipe.weight_decay)
        self.opposing = _adamw(self.opponents, recipe.gan_rate, 0.0, betas=ADVERSARY_BETAS)
        self.average = MovingAverage(self.networks, recipe.ema)

    # ---------------------------------------------------------------- the run

    def go(self, steps: range, log: Logbook | None, track: Track) -> Outcome:
        if steps.start == 0 and not self.before:
            self.before = self._look(0, log)
        seconds = 0.0
        for step in track(steps, len(steps)):
            begun = time.perf_counter()
            numbers = self._step(step)
            seconds += time.perf_counter() - begun
            done = step + 1
            if log is not None:
                log.add(done, {f"train/{key}": value for key, value in numbers.items()})
            if done % self.recipe.validate_every == 0 or done == self.recipe.steps:
                self._look(done, log)
            if done % self.recipe.save_every == 0 or done == steps.stop:
                self._save(done, log)
        self.average.copy_to_networks()
        for network in self.networks.values():
            network.eval().requires_grad_(False)
        rate = len(steps) / seconds if seconds > 0 else 0.0
        return Outcome(
            max(steps.stop, steps.start),
            self.before,
            self.after,
            f"{self.fabric.device.type} x {self.fabric.world_size}",
            rate,
            rate * self.recipe.examples_per_step,
            peak_mib(self.fabric.device),
        )

    def _step(self, step: int) -> dict[str, float]:
        """Learn from one batch; return the terms' means, their weighted sum and more."""
        opposed = bool(self.adversary) and self.recipe.opposed(step)
        for network in self.adversary.values():
            network.requires_grad_(False)
        active = self._active(step, opposed)
        terms = self._descend_on(step, active)
        share = rate_share(step, steps=self.recipe.steps, warmup=self.recipe.warmup)
        numbers = terms | self._update(self.optimizer, active, self.recipe.rate * share, step)
        if opposed:
            for network in self.adversary.values():
                network.requires_grad_(True)
            numbers["adversary"] = self._oppose(step)
            rate = self.recipe.gan_rate * share
            self._update(self.opposing, self.opponents, rate, step)
        share_buffers(self.fabric, self.everything)
        self.average.update(step)
        return numbers

    def _active(self, step: int, opposed: bool) -> Named:
        """Return the parameters that still learn at a step."""
        still = set(self.recipe.frozen) if opposed else set()
        for name, network in self.networks.items():
            network.requires_grad_(name not in still)
        return [(key, p) for key, p in self.named if key.split("/", 1)[0] not in still]

    def _descend_on(self, step: int, active: Named) -> dict[str, float]:
        """Sum the gradients of this process's examples; return all processes' mean terms."""
        names = sorted(self.recipe.losses)
        sums = torch.zeros(2, len(names), device=self.fabric.device, dtype=torch.float64)
        for _, parameter in active:
            parameter.grad = None
        for index in self._own_examples():
            torch.manual_seed(example_seed(self.recipe.seed, step, index, _TASK))
            with in_precision(self.everything, self.recipe.precision):
                terms = self.task.loss(step, index)
                total = _weighted(terms, self.recipe.losses)
            if total.requires_grad:
                torch.autograd.backward(total / self.recipe.examples_per_step)
            for name, value in terms.items():
                sums[0, names.index(name)] += value.detach()
                sums[1, names.index(name)] += 1
        total_sums, counts = total_of(self.fabric, sums).tolist()
        found = {n: s / c for n, s, c in zip(names, total_sums, counts, strict=True) if c}
        for name, value in found.items():
            self._refuse_infinite(f"loss term {name}", value, step)
        weighted = zip(names, total_sums, strict=True)
        loss = sum(self.recipe.losses[n] * s for n, s in weighted)
        return found | {"loss": loss / self.recipe.examples_per_step}

    def _oppose(self, step: int) -> float:
        """Sum the adversary's gradients; return its mean loss."""
        total = torch.zeros((), device=self.fabric.device, dtype=torch.float64)
        for _, parameter in self.opponents:
            parameter.grad = None
        task = self.task
        assert isinstance(task, AdversarialTask)
        for index in self._own_examples():
            torch.manual_seed(example_seed(self.recipe.seed, step, index, _ADVERSARY))
            with in_precision(self.everything, self.recipe.precision):
                loss = task.adversary_loss(step, index) / self.recipe.examples_per_step
            torch.autograd.backward(loss)
            total += loss.detach()
        mean = float(total_of(self.fabric, total))
        self._refuse_infinite("the adversary's loss", mean, step)
        return mean

    def _update(
        self, optimizer: torch.optim.Optimizer, active: Named, rate: float, step: int
    ) -> dict[str, float]:
        parameters = [parameter for _, parameter in active]
        share_gradients(self.fabric, parameters)
        length = float(torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip))
        self._refuse_infinite("the gradient's length", length, step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return {"gradient": length, "rate": rate}

    def _own_examples(self) -> range:
        count = self.recipe.examples_per_step
        return range(self.fabric.global_rank, count, self.fabric.world_size)

    def _refuse_infinite(self, what: str, value: float, step: int) -> None:
        if not math.isfinite(value):
            kept = f"the state of step {self.saved} is kept in {self.state}"
            raise DivergedError(
                f"training stopped at step {step}: {what} is {value}; "
                f"{kept if self.saved else 'nothing is saved yet'}: lower rate or clip in the "
                "recipe"
            )

    # ---------------------------------------------------------------- looks and states

    def _look(self, done: int, log: Logbook | None) -> dict[str, float]:
        """Measure the averaged weights on held-out examples, in the first process."""
        if log is not None:
            torch.manual_seed(example_seed(self.recipe.seed, done))
            with self.average.in_use(), torch.no_grad():
                self.after = dict(self.task.validate())
                sheet = self.task.sheet()
            log.add(done, {f"measured/{key}": value for key, value in self.after.items()})
            if sheet is not None:
                log.show(done, sheet)
        self.fabric.barrier()
        return self.after

    def _save(self, done: int, log: Logbook | None) -> None:
        if log is not None:
            log.flush()
            facts = {"step": done, "before": self.before, "after": self.after}
            save_state(self.state, self._tensors(), facts | {"recipe": self.recipe.as_dict()})
        self.saved = done
        self.fabric.barrier()

    def _tensors(self) -> dict[str, Tensor]:
        parts = {
            "network": named_state(self.networks),
            "adversary": named_state(self.adversary),
            "average": self.average.tensors,
            "optimizer": optimizer_tensors(self.optimizer, self.named),
            "opposing": optimizer_tensors(self.opposing, self.opponents),
        }
        return {f"{part}/{key}": v for part, held in parts.items() for key, v in held.items()}

    def restore(self, told: Callable[[str], None]) -> int:
        """Take up the saved state; return the step it is of."""
        tensors, facts = load_state(self.state)
        _compare(facts["recipe"], self.recipe, told)
        take(self.state, tensors, named_state(self.networks), "network")
        take(self.state, tensors, named_state(self.adversary), "adversary")
        take(self.state, tensors, self.average.tensors, "average")
        restore_optimizer(self.state, self.optimizer, self.named, tensors, "optimizer")
        restore_optimizer(self.state, self.opposing, self.opponents, tensors, "opposing")
        self.before, self.after = dict(facts["before"]), dict(facts["after"])
        self.saved = int(facts["step"])
        return self.saved


def _named_parameters(networks: Mapping[str, nn.Module]) -> Named:
    return [
        (f"{name}/{key}", parameter)
        for name, network in networks.items()
        for key, parameter in network.named_parameters()
    ]


def _adamw(
    named: Named, rate: float, decay: float, *, betas: tuple[float, float] = (0.9, 0.999)
) -> torch.optim.AdamW:
    """Return AdamW that leaves norms and biases (vectors) without weight decay."""
    matrices = [p for _, p in named if p.ndim >= 2]
    vectors = [p for _, p in named if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, rate, betas=betas)


def _weighted(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    unknown = sorted(set(terms) - set(weights))
    if unknown:
        raise InputError(
            f"loss term {unknown[0]} has no weight in the recipe: known are {', '.join(weights)}"
        )
    return torch.stack([weights[name] * value.float() for name, value in terms.items()]).sum()


def _compare(before: Mapping[str, Any], recipe: Recipe, told: Callable[[str], None]) -> None:
    """Say what a resumed run does otherwise than it began; refuse what would mix two runs."""
    now = recipe.as_dict()
    for key, value in now.items():
        if key not in before or before[key] == value:
            continue
        if key in ("seed", "preset", "held_out", "only_ship"):
            raise InputError(
                f"the state was made with {key} {before[key]}, not {value}: resume with that, or "
                "start again with --overwrite"
            )
        told(f"resumed with {key} {value} instead of {before[key]}")
