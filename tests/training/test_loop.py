"""The loop on toy tasks: it learns, stops, resumes bit for bit, and refuses to go mad."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from toy_tasks import ContestTask, LineTask

from mggtalk_cli.errors import BackendError, InputError, WeightsError
from mggtalk_cli.training.launch import process_count
from mggtalk_cli.training.logbook import read_log
from mggtalk_cli.training.loop import train
from mggtalk_cli.training.outcome import DivergedError
from mggtalk_cli.training.recipe import Recipe
from mggtalk_cli.training.schedule import named_state
from mggtalk_cli.training.state import load_state, save_state

LOSSES = {"l2": 1.0, "size": 0.001}
SHORT = Recipe(steps=10, batch=2, accumulate=2, rate=0.01, warmup=2, save_every=5,
               validate_every=5, losses=LOSSES)  # fmt: skip


def weights(task: LineTask) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in named_state(task.networks).items()}


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_learns_and_writes_down_what_happened(tmp_path: Path) -> None:
    task = LineTask()
    recipe = replace(SHORT, steps=150, rate=0.03, save_every=1000, validate_every=50, ema=0.9)
    outcome = train(task, recipe, tmp_path, device="cpu")
    assert outcome.after["error"] < 0.1 * outcome.before["error"]
    assert outcome.steps == 150
    assert outcome.examples_per_s == pytest.approx(4 * outcome.steps_per_s)
    assert 10 < outcome.peak_mib < 1e5
    assert not task.networks["line"].training
    assert task.validate()["error"] == pytest.approx(outcome.after["error"])
    log = read_log(tmp_path / "log.csv")
    assert [step for step, _ in log["train/loss"]] == list(range(1, 151))
    assert [step for step, _ in log["measured/error"]] == [0, 50, 100, 150]
    terms = [dict(log[f"train/{name}"])[7] for name in ("l2", "size")]
    # the size is known of half the examples only
    assert dict(log["train/loss"])[7] == pytest.approx(terms[0] + 0.5 * 0.001 * terms[1], rel=1e-5)
    with Image.open(tmp_path / "sheets/step-0000050.png") as sheet:
        assert sheet.size == (8, 8)
    assert list((tmp_path / "tensorboard").iterdir())


def test_every_example_is_used_once_a_step(tmp_path: Path) -> None:
    task = LineTask()
    train(task, replace(SHORT, steps=3), tmp_path, device="cpu")
    assert task.seen == [(step, index) for step in range(3) for index in range(4)]


def test_a_run_stopped_at_step_5_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    whole, first, second = LineTask(), LineTask(), LineTask(seed=0)
    train(whole, SHORT, tmp_path / "whole", device="cpu")
    early = train(first, SHORT, tmp_path / "parts", until=5, device="cpu")
    assert early.steps == 5
    with torch.no_grad():  # whatever the new process starts from must not matter
        second.networks["line"].layers[0].weight.fill_(9.0)
    torch.rand(17)
    outcome = train(second, SHORT, tmp_path / "parts", resume=True, device="cpu")
    assert {step for step, _ in second.seen} == {5, 6, 7, 8, 9}
    assert equal(weights(whole), weights(second))
    assert not equal(weights(whole), weights(first))
    states = [load_file(tmp_path / name / "state.safetensors") for name in ("whole", "parts")]
    assert equal(*states)
    logs = [(tmp_path / name / "log.csv").read_bytes() for name in ("whole", "parts")]
    assert logs[0] == logs[1]
    assert outcome.before == early.before


def test_an_interrupted_run_goes_on_from_its_last_state(tmp_path: Path) -> None:
    whole, second = LineTask(), LineTask()
    train(whole, SHORT, tmp_path / "whole", device="cpu")
    with pytest.raises(KeyboardInterrupt):
        train(LineTask(stop=8), SHORT, tmp_path / "parts", device="cpu")
    assert max(s for s, _ in read_log(tmp_path / "parts/log.csv")["train/loss"]) == 8
    train(second, SHORT, tmp_path / "parts", resume=True, device="cpu")
    assert min(step for step, _ in second.seen) == 5
    assert equal(weights(whole), weights(second))
    assert read_log(tmp_path / "parts/log.csv") == read_log(tmp_path / "whole/log.csv")


def test_a_finished_run_can_be_looked_at_again(tmp_path: Path) -> None:
    task, again = LineTask(), LineTask(seed=0)
    done = train(task, SHORT, tmp_path, device="cpu")
    more = train(again, SHORT, tmp_path, resume=True, device="cpu")
    assert not again.seen
    assert equal(weights(task), weights(again))
    assert (more.before, more.after, more.steps) == (done.before, done.after, 10)


def test_the_callers_random_numbers_are_left_alone(tmp_path: Path) -> None:
    task = LineTask()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    train(task, replace(SHORT, steps=1), tmp_path, device="cpu")
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_precisions_on_every_device(tmp_path: Path, precision: str, device: str) -> None:
    task = LineTask()
    recipe = replace(SHORT, precision=precision, steps=60, rate=0.03)
    train(task, recipe, tmp_path, until=30, device=device)
    outcome = train(task, recipe, tmp_path, resume=True, device=device)
    assert outcome.device == f"{device} x 1"
    assert outcome.after["error"] < outcome.before["error"]
    assert task.networks["line"].layers[0].weight.dtype == torch.float32


def test_a_loss_that_is_not_finite_stops_the_run_and_leaves_the_state(tmp_path: Path) -> None:
    with pytest.raises(
        DivergedError, match=r"step 7: loss term l2 is inf; the state of step 5 is kept"
    ):
        train(LineTask(broken=7), SHORT, tmp_path, device="cpu")
    told: list[str] = []
    rescue = LineTask()
    gentle = replace(SHORT, rate=0.001)
    outcome = train(rescue, gentle, tmp_path, resume=True, device="cpu", told=told.append)
    assert told == ["resumed with rate 0.001 instead of 0.01"]
    assert outcome.steps == 10
    assert all(torch.isfinite(value).all() for value in weights(rescue).values())


def test_nothing_saved_yet_is_said(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="nothing is saved yet"):
        train(LineTask(broken=1), SHORT, tmp_path, device="cpu")


def test_the_gradient_is_clipped_and_biases_do_not_decay(tmp_path: Path) -> None:
    task = LineTask()
    before = weights(task)
    still = replace(SHORT, steps=1, losses={"l2": 0.0, "size": 0.0}, weight_decay=0.5, ema=0.0)
    train(task, still, tmp_path, device="cpu")
    for key, value in weights(task).items():
        # rate .01, half of it in the first step of two steps of warm-up
        factor = 1 - 0.5 * 0.005 if value.ndim == 2 else 1.0
        # (the average of the first step keeps 0: decay 0)
        assert torch.allclose(value, before[key] * factor, atol=1e-7), key


@pytest.mark.parametrize("problem", ["none", "damaged", "facts", "preset", "shape", "moments"])
def test_states_that_do_not_fit(tmp_path: Path, problem: str) -> None:
    task, recipe, path = LineTask(), SHORT, tmp_path / "state.safetensors"
    if problem != "none":
        train(LineTask(), replace(SHORT, steps=1), tmp_path, device="cpu")
    if problem == "damaged":
        path.write_bytes(b"\x00" * 50)
    if problem == "facts":
        save_state(path, load_file(path), {"step": "ten"})
    if problem == "preset":
        recipe = replace(SHORT, preset="base")
    if problem == "shape":
        task.networks["line"].layers[0] = torch.nn.Linear(3, 9)
    if problem == "moments":
        tensors, facts = load_state(path)
        tensors["optimizer/line/layers.0.weight/exp_avg"] = torch.zeros(2)
        save_state(path, tensors, facts)
    told = {
        "none": "without --resume first",
        "damaged": "is damaged",
        "facts": "is damaged",
        "preset": "preset tiny",
        "shape": r"line/layers\.0",
        "moments": r"optimizer line/layers\.0\.weight exp_avg",
    }[problem]
    with pytest.raises((WeightsError, InputError), match=told):
        train(task, recipe, tmp_path, resume=True, device="cpu")


def test_a_term_without_a_weight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="loss term size has no weight"):
        train(LineTask(), replace(SHORT, losses={"l2": 1.0}), tmp_path, device="cpu")


def test_the_adversary_joins_late_and_geometry_stays(tmp_path: Path) -> None:
    recipe = Recipe(steps=8, batch=2, rate=0.05, warmup=0, save_every=4, validate_every=8, ema=0.0,
                    gan_start=4, frozen=("geometry",), losses={"l2": 1.0, "gan": 0.1})  # fmt: skip
    task = ContestTask(gan_start=4)
    judge = task.adversary["judge"].weight.detach().clone()
    train(task, recipe, tmp_path / "parts", until=4, device="cpu")
    assert torch.equal(task.adversary["judge"].weight, judge)
    half = {key: value.clone() for key, value in named_state(task.networks).items()}
    resumed, whole = ContestTask(gan_start=4), ContestTask(gan_start=4)
    train(resumed, recipe, tmp_path / "parts", resume=True, device="cpu")
    train(whole, recipe, tmp_path / "whole", device="cpu")
    done = named_state(whole.networks)
    assert torch.equal(done["geometry/weight"], half["geometry/weight"])
    assert not torch.equal(done["picture/weight"], half["picture/weight"])
    assert not torch.equal(whole.adversary["judge"].weight, judge)
    assert equal(done, named_state(resumed.networks))
    assert torch.equal(whole.adversary["judge"].weight, resumed.adversary["judge"].weight)
    log = read_log(tmp_path / "whole/log.csv")
    assert [step for step, _ in log["train/adversary"]] == [5, 6, 7, 8]
    assert [step for step, _ in log["train/gan"]] == [5, 6, 7, 8]


def test_without_fabric_one_line_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lightning_fabric", None)
    with pytest.raises(BackendError, match=r"needs Lightning Fabric: pip install 'mggtalk-cli\[tr"):
        train(LineTask(), SHORT, tmp_path, device="cpu")


def test_without_tensorboard_the_log_has_it_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    train(LineTask(), SHORT, tmp_path, device="cpu")
    assert len(read_log(tmp_path / "log.csv")["train/loss"]) == 10
    assert not (tmp_path / "tensorboard").exists()


def test_a_fresh_start_removes_the_old_runs_sheets(tmp_path: Path) -> None:
    for steps in (10, 5):
        train(LineTask(), replace(SHORT, steps=steps), tmp_path, device="cpu")
    names = [path.name for path in sorted((tmp_path / "sheets").iterdir())]
    assert names == ["step-0000000.png", "step-0000005.png"]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1
    assert len(read_log(tmp_path / "log.csv")["train/loss"]) == 5


@pytest.mark.parametrize("numbers", [("two", "1"), ("1", "2"), ("0", "0")])
def test_an_odd_environment_is_told(monkeypatch: pytest.MonkeyPatch, numbers: tuple) -> None:
    for name, value in zip(("WORLD_SIZE", "LOCAL_WORLD_SIZE"), numbers, strict=True):
        monkeypatch.setenv(name, value)
    with pytest.raises(BackendError, match="start with torchrun"):
        process_count()
