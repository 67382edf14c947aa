"""Trains the mouth network on examples: batches, steps, and the scale of what comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mggtalk_cli.motion.network import COEFFICIENTS, CURVES, MouthNetwork, NetworkSize
from mggtalk_cli.training.examples import Example, by_speaker, principal_components
from mggtalk_cli.training.loss import mouth_loss
from mggtalk_cli.training.offsets import normalised_features

# Weights of the outputs in the loss, before normalisation.
WEIGHTS = {"opening": 1.0, "width": 1.0, "jaw": 0.5, "closure": 0.9}
COEFFICIENT_WEIGHT = 0.15

FULL_PERCENTILE = 98.0  # of the training speakers' curves in speech: 1 in avatar units


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        steps: of AdamW; more does not help: a few speakers are learned by heart soon.
        batch: pieces per step.
        frames: of a piece.
        learning_rate: peak of the one-cycle schedule.
        weight_decay: of AdamW.
        noise: standard deviation of what is added to the whitened features.
        copies: learn from changed copies of the sound too.
        seed: of everything random.
    """

    steps: int = 150
    batch: int = 32
    frames: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    noise: float = 0.1
    copies: bool = True
    seed: int = 0


def train_mouth(
    material: Sequence[Example],
    plain: Sequence[Example],
    recipe: Recipe,
    *,
    size: NetworkSize | None = None,
) -> MouthNetwork:
    """Return a network that has learned from the material, ready for inference.

    Args:
        material: what it learns from, changed copies included.
        plain: the same clips without copies: for principal components and scale.
        recipe: how.
        size: architecture.
    """
    size = size or NetworkSize()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        network = MouthNetwork(size)
        groups = by_speaker(plain)
        weight = {name: _length(group) ** -0.5 for name, group in groups.items()}
        mean, whitening = principal_components(
            [normalised_features(example) for example in plain],
            [weight[example.speaker] for example in plain],
            size.components,
        )
        network.mean.copy_(torch.from_numpy(mean))
        network.whitening.copy_(torch.from_numpy(whitening))
        network.scale.copy_(_scale(plain))
        _descend(network, material, recipe, np.random.default_rng(recipe.seed))
    return network.eval().requires_grad_(False)


def _length(group: Sequence[Example]) -> int:
    return max(1, sum(map(len, group)))


def _descend(
    network: MouthNetwork,
    material: Sequence[Example],
    recipe: Recipe,
    generator: np.random.Generator,
) -> None:
    groups = [_components(network, group) for group in by_speaker(material).values()]
    # a speaker with four times the material is heard twice as often
    chance = np.array([sum(len(x) for x, _, _ in group) for group in groups]) ** 0.5
    weights = loss_weights()
    optimizer = torch.optim.AdamW(
        network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.steps
    )
    network.train()
    for _ in range(recipe.steps):
        inputs, targets, usable = _batch(groups, chance / chance.sum(), recipe, generator)
        noisy = inputs + recipe.noise * torch.randn_like(inputs)
        loss = mouth_loss(network(noisy), targets, usable, weights)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()


Piece = tuple[Tensor, Tensor, Tensor]


def _components(network: MouthNetwork, group: Sequence[Example]) -> list[Piece]:
    with torch.no_grad():
        return [
            (
                network.whitened(torch.from_numpy(e.features.astype(np.float32))),
                torch.from_numpy(e.targets),
                torch.from_numpy(e.usable),
            )
            for e in group
        ]


def _batch(
    groups: list[list[Piece]], chance: np.ndarray, recipe: Recipe, generator: np.random.Generator
) -> Piece:
    """Return (b, n, ...) pieces of random clips; what a clip lacks is unusable."""
    shape = (recipe.batch, recipe.frames)
    inputs = torch.zeros(*shape, groups[0][0][0].shape[1])
    targets = torch.zeros(*shape, groups[0][0][1].shape[1])
    usable = torch.zeros(shape, dtype=torch.bool)
    for row in range(recipe.batch):
        group = groups[generator.choice(len(groups), p=chance)]
        x, y, good = group[generator.integers(len(group))]
        start = int(generator.integers(max(1, len(x) - recipe.frames + 1)))
        piece = slice(start, start + recipe.frames)
        count = len(x[piece])
        inputs[row, :count], targets[row, :count] = x[piece], y[piece]
        usable[row, :count] = good[piece]
    return inputs, targets, usable


def loss_weights() -> Tensor:
    """Return (outputs,) weights with sum 1."""
    each = [*(WEIGHTS[name] for name in CURVES), *[COEFFICIENT_WEIGHT] * len(COEFFICIENTS)]
    return torch.tensor(each) / sum(each)


def _scale(plain: Sequence[Example]) -> Tensor:
    """Return avatar units per unit of each curve: 1 = what a speaker rarely exceeds."""
    scale = []
    for index, name in enumerate(CURVES):
        if name == "closure":
            scale.append(1.0)
            continue
        full = []
        for group in by_speaker(plain).values():
            curve = np.concatenate([e.targets[e.usable & e.speaking, index] for e in group])
            if len(curve):
                full.append(np.percentile(np.abs(curve), FULL_PERCENTILE))
        scale.append(1.0 / max(float(np.median(full)) if full else 1.0, 1e-3))
    return torch.tensor(scale, dtype=torch.float32)
