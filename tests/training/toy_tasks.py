"""Small things to learn: a line through noisy points, and a picture an adversary judges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from mggtalk_cli.core.checkpoint import Network
from mggtalk_cli.training.schedule import example_seed

SLOPES = torch.tensor([[1.0], [-2.0], [0.5]])


@dataclass(frozen=True)
class LineConfig:
    """Sizes of `Line`."""

    width: int = 8


class Line(Network):
    """(n, 3) -> (n, 1), with dropout, so that torch's own generator matters."""

    def __init__(self, config: LineConfig) -> None:
        super().__init__(config)
        self.layers = nn.Sequential(
            nn.Linear(3, config.width), nn.SiLU(), nn.Dropout(0.1), nn.Linear(config.width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.layers(x)
        return output


class LineTask:
    """Learns y = x . SLOPES from four points an example.

    `broken` makes the loss infinite from that step on; `stop` raises KeyboardInterrupt at a step.
    """

    def __init__(self, seed: int = 0, *, broken: int = -1, stop: int = -1) -> None:
        torch.manual_seed(seed)
        self.networks = {"line": Line(LineConfig())}
        self.seed, self.broken, self.stop = seed, broken, stop
        self.seen: list[tuple[int, int]] = []

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        if step == self.stop:
            raise KeyboardInterrupt
        self.seen.append((step, index))
        x, y = self._points(example_seed(self.seed, step, index))
        line = self.networks["line"]
        error = (line(x) - y).square().mean()
        if 0 <= self.broken <= step:
            error = error / 0.0
        terms = {"l2": error}
        if index % 2 == 0:
            terms["size"] = line.layers[0].weight.square().mean()
        return terms

    def _points(self, seed: int) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(np.random.default_rng(seed).normal(size=(4, 3)).astype(np.float32))
        device = self.networks["line"].layers[0].weight.device
        return x.to(device), (x @ SLOPES).to(device)

    def validate(self) -> dict[str, float]:
        x, y = self._points(10**6)
        return {
            "error": float((self.networks["line"](x) - y).square().mean()),
            "analytic_error": float(y.square().mean()),
        }

    def sheet(self) -> np.ndarray | None:
        return np.full((8, 8, 3), 128, np.uint8)


class ContestTask:
    """A constant picture (`picture`), a fixed colour shift (`geometry`) and an adversary."""

    def __init__(self, gan_start: int) -> None:
        torch.manual_seed(0)
        self.networks = {"picture": nn.Linear(1, 3), "geometry": nn.Linear(3, 3)}
        self.adversary = {"judge": nn.Linear(3, 1)}
        self.gan_start = gan_start

    def _picture(self) -> Tensor:
        device = self.networks["picture"].weight.device
        picture = self.networks["picture"](torch.ones(1, 1, device=device))
        made: Tensor = self.networks["geometry"](picture)
        return made

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        made = self._picture()
        terms = {"l2": (made - 0.5).square().mean()}
        if step >= self.gan_start:
            terms["gan"] = -self.adversary["judge"](made).mean()
        return terms

    def adversary_loss(self, step: int, index: int) -> Tensor:
        real = 0.5 + 0.1 * torch.randn(1, 3)
        judge = self.adversary["judge"]
        with torch.no_grad():
            made = self._picture()
        loss: Tensor = (1 - judge(real)).relu().mean() + (1 + judge(made)).relu().mean()
        return loss

    def validate(self) -> dict[str, float]:
        return {}

    def sheet(self) -> np.ndarray | None:
        return None
