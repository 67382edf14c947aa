"""Learning rate, moving average and seeds, against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from mggtalk_cli.training.schedule import MovingAverage, example_seed, named_state, rate_share


def test_the_rate_rises_linearly_and_falls_as_a_cosine() -> None:
    shares = [rate_share(step, steps=110, warmup=10) for step in range(110)]
    assert shares[:10] == [(step + 1) / 10 for step in range(10)]
    assert shares[10] == 1.0
    assert shares[60] == pytest.approx(0.5)
    assert shares[35] == pytest.approx(0.5 + math.sqrt(0.125))
    assert 0 < shares[-1] < 1e-3
    assert rate_share(500, steps=110, warmup=10) == 0.0


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 5), (5, 5)])
def test_short_runs_have_a_rate(steps: int, warmup: int) -> None:
    assert all(0 < rate_share(step, steps=steps, warmup=warmup) <= 1 for step in range(steps))


def test_seeds_depend_on_every_number_and_on_nothing_else() -> None:
    seeds = {example_seed(seed, step, index) for seed in range(4) for step in range(9)
             for index in range(9)}  # fmt: skip
    assert len(seeds) == 4 * 9 * 9
    assert example_seed(1, 2, 3) == example_seed(1, 2, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_average_follows_its_formula() -> None:
    network = nn.BatchNorm1d(1)
    average = MovingAverage({"n": network}, decay=0.5)
    expected = 1.0
    for step, value in enumerate((2.0, 4.0, -1.0, 7.0, 3.0, 8.0, 1.0, 2.0, 6.0, 5.0)):
        with torch.no_grad():
            network.weight.fill_(value)
            network.running_mean.fill_(value)
            network.num_batches_tracked.fill_(step)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.tensors["n/weight"].item() == pytest.approx(expected)
        assert average.tensors["n/running_mean"].item() == value
        assert average.tensors["n/num_batches_tracked"].item() == step


def test_the_average_is_in_use_for_a_while_only() -> None:
    network = nn.Sequential(nn.Linear(2, 1), nn.Dropout(0.5))
    networks = {"n": network}
    average = MovingAverage(networks, decay=0.9)
    start = network[0].weight.clone()
    with torch.no_grad():
        network[0].weight.add_(1.0)
    own = {key: value.clone() for key, value in named_state(networks).items()}
    with average.in_use():
        assert not network.training
        assert torch.equal(network[0].weight, start)
    assert network.training
    assert network[1].training
    assert all(torch.equal(own[key], value) for key, value in named_state(networks).items())
