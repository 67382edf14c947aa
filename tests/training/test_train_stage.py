"""A stage from folders to checkpoint and card, and through the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from talking_examples import write_example
from toy_tasks import Line, LineConfig, LineTask
from typer.testing import CliRunner

from mggtalk_cli.cli.app import app
from mggtalk_cli.cli.train import STAGES
from mggtalk_cli.core.checkpoint import read_checkpoint, restore, write_checkpoint
from mggtalk_cli.errors import InputError, WeightsError
from mggtalk_cli.training import tasks
from mggtalk_cli.training.recipe import DEFAULTS, Recipe, stage_recipe
from mggtalk_cli.training.stage import train_stage

FAST = {"batch": 2, "warmup": 1, "save_every": 2, "validate_every": 3}
RECIPE = Recipe(steps=6, rate=0.01, losses={"l2": 1.0, "size": 0.001}, **FAST)


def line_task(examples: list, held_out: list, recipe: Recipe) -> LineTask:
    """What a task module offers; it ignores the examples."""
    return LineTask(recipe.seed)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("data")
    for person in ("ann", "bob", "cyd", "dan", "eve"):
        write_example(place, person, 0, ship=person != "bob", frames=12)
    return place


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the refiner's task be the toy."""
    monkeypatch.setitem(tasks.TASKS, "refiner", f"{__name__}:line_task")
    losses = {"losses": dict(RECIPE.losses)}
    monkeypatch.setitem(DEFAULTS, "refiner", {**losses, "steps": 6, "rate": 0.01, **FAST})


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_every_stage_has_a_task_a_recipe_and_a_command() -> None:
    assert tuple(tasks.TASKS) == tuple(DEFAULTS) == tuple(STAGES)


def test_an_unknown_stage() -> None:
    with pytest.raises(InputError, match="no stage is called 'head': use one of refiner"):
        tasks.build_task("head", [], [], RECIPE)


@pytest.mark.usefixtures("toy")
def test_equal_seeds_build_equal_networks() -> None:
    torch.manual_seed(99)
    first = tasks.build_task("refiner", [], [], RECIPE).networks["line"]
    torch.rand(5)
    second = tasks.build_task("refiner", [], [], RECIPE).networks["line"]
    other = tasks.build_task("refiner", [], [], replace(RECIPE, seed=1)).networks["line"]
    assert torch.equal(first.layers[0].weight, second.layers[0].weight)
    assert not torch.equal(first.layers[0].weight, other.layers[0].weight)


@pytest.mark.usefixtures("toy")
def test_a_checkpoint_with_its_card(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "line.safetensors"
    told: list[str] = []
    made = train_stage("refiner", [data], RECIPE, output, device="cpu", told=told.append)
    people = {e.note.identity for e in made.learned}, {e.note.identity for e in made.held_out}
    assert not people[0] & people[1]
    assert len(people[0] | people[1]) == 5
    assert told == [f"learning from {len(people[0])} examples, {len(people[1])} held out"]
    checkpoint = read_checkpoint(output)
    line = restore(checkpoint.stored("line"), "line", Line, LineConfig)
    x = torch.rand(4, 3)
    assert torch.equal(line(x), made.networks["line"](x))
    notes = checkpoint.notes
    assert (notes["stage"], notes["steps"], notes["people"]) == ("refiner", 6, len(people[0]))
    assert notes["after"] == made.outcome.after
    assert notes["recipe"]["losses"] == RECIPE.losses
    card = (tmp_path / "line.md").read_text("utf-8")
    for text in (checkpoint.sha256, "| clip | CC0 | made up | yes |", "- line: 41 parameters",
                 "| error | ", "steps/s", "size 0.001"):  # fmt: skip
        assert text in card, text
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "line.md", "line.safetensors", "line.train"
    ]  # fmt: skip


@pytest.mark.usefixtures("toy")
def test_a_run_in_two_parts_gives_the_same_file(data: Path, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole.safetensors", tmp_path / "parts.safetensors"
    train_stage("refiner", [data], RECIPE, whole, device="cpu")
    told: list[str] = []
    half = train_stage("refiner", [data], RECIPE, parts, until=3, device="cpu", told=told.append)
    assert not half.finished
    assert not parts.exists()
    assert told[-1] == "stopped after 3 of 6 steps: go on with --resume"
    with pytest.raises(InputError, match="add --resume to go on or --overwrite to start again"):
        train_stage("refiner", [data], RECIPE, parts, device="cpu")
    train_stage("refiner", [data], RECIPE, parts, resume=True, device="cpu")
    assert parts.read_bytes() == whole.read_bytes()
    with pytest.raises(InputError, match="exists: add --overwrite"):
        train_stage("refiner", [data], RECIPE, parts, device="cpu")
    train_stage("refiner", [data], RECIPE, parts, overwrite=True, device="cpu")
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.usefixtures("toy")
def test_only_what_may_ship_is_learned_from(data: Path, tmp_path: Path) -> None:
    output = tmp_path / "line.safetensors"
    recipe = replace(RECIPE, steps=1, only_ship=True, held_out=0.0)
    made = train_stage("refiner", [data], recipe, output, device="cpu")
    assert {e.note.identity for e in made.learned} == {"ann", "cyd", "dan", "eve"}
    assert read_checkpoint(output).notes["ship"] is True
    with pytest.raises(InputError, match="no example that may ship"):
        train_stage("refiner", [data / "bob-0"], recipe, tmp_path / "b.safetensors", device="cpu")


@pytest.mark.usefixtures("toy")
def test_it_can_begin_from_a_checkpoint(data: Path, tmp_path: Path) -> None:
    start, output = tmp_path / "start.safetensors", tmp_path / "line.safetensors"
    torch.manual_seed(7)
    line = Line(LineConfig())
    write_checkpoint(start, {"line": line, "other": Line(LineConfig(4))}, {})
    still = replace(RECIPE, steps=1, rate=1e-9)
    made = train_stage("refiner", [data], still, output, start=start, device="cpu")
    assert torch.allclose(made.networks["line"].layers[0].weight, line.layers[0].weight)
    write_checkpoint(start, {"line": Line(LineConfig(4))}, {}, overwrite=True)
    with pytest.raises(WeightsError, match="of another size"):
        train_stage("refiner", [data], still, tmp_path / "b.safetensors", start=start)
    write_checkpoint(start, {"deform": line}, {}, overwrite=True)
    with pytest.raises(WeightsError, match="none of line"):
        train_stage("refiner", [data], still, tmp_path / "b.safetensors", start=start)


@pytest.mark.usefixtures("toy")
def test_the_command(data: Path, tmp_path: Path) -> None:
    output, recipe = tmp_path / "line.safetensors", tmp_path / "recipe.toml"
    recipe.write_text("batch = 3\n[losses]\nsize = 0.5\n", "utf-8")
    common = ("train", "refiner", data, "-o", output, "--device", "cpu")
    result = run(*common, "--recipe", recipe, "--steps", 4, "--seed", 3, "--until", 2, "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["finished"] is False
    assert "go on with --resume" in result.stderr
    result = run(*common, "--recipe", recipe, "--steps", 4, "--seed", 3, "--resume")
    assert result.exit_code == 0, result.stderr
    assert f"wrote {output}" in result.stderr
    assert "| error | " in result.stdout
    notes = read_checkpoint(output).notes["recipe"]
    assert (notes["batch"], notes["steps"], notes["seed"]) == (3, 4, 3)
    assert notes["losses"] == {"l2": 1.0, "size": 0.5}


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--recipe", "none.toml"), "none.toml: No such file"),
        (("--start", "none.safetensors"), "none.safetensors: No such file"),
        (("--resume",), "to go on: leave out --resume"),
        (("-o", "line.npz"), "name it line.safetensors"),
        (("--recipe", "odd.toml"), "frozen names 'lime', no network of refiner: use line"),
        (("--recipe", "deaf.toml"), "expert is for the term sync, which refiner does not weigh"),
        (("--steps", "3", "--device", "cuda"), "no CUDA device found: use --device cpu"),
    ],
)
def test_mistakes_take_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple, told: str
) -> None:
    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    monkeypatch.chdir(tmp_path)
    Path("odd.toml").write_text('frozen = ["lime"]\n', "utf-8")
    Path("deaf.toml").write_text('expert = "expert.safetensors"\n', "utf-8")
    result = run("train", "refiner", data, "-o", tmp_path / "line.safetensors", *arguments)
    assert result.exit_code == 1
    assert {path.suffix for path in tmp_path.iterdir()} <= {".toml", ".train"}
    (line,) = [text for text in result.stderr.splitlines() if "error" in text]
    assert told in line


def test_no_data_and_a_name_that_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no example"):
        train_stage("sync", [tmp_path], stage_recipe("sync"), tmp_path / "a.safetensors")
    with pytest.raises(InputError, match=r"name it a\.safetensors"):
        train_stage("sync", [tmp_path], stage_recipe("sync"), tmp_path / "a.md")


def test_the_sync_expert_from_the_command_line(data: Path, tmp_path: Path) -> None:
    """The real command with the real task."""
    output = tmp_path / "sync.safetensors"
    (tmp_path / "recipe.toml").write_text("batch = 1\nsave_every = 1\nvalidate_every = 2\n")
    arguments = (data, "-o", output, "--recipe", tmp_path / "recipe.toml", "--steps", 2)
    result = run("train", "sync", *arguments)
    assert result.exit_code == 0, result.stderr
    assert "| sync_accuracy | 0.5 |" in result.stdout
    assert f"wrote {output}" in result.stderr
    assert list(read_checkpoint(output).networks) == ["expert"]
    again = run("train", "sync", *arguments)
    assert again.exit_code == 1
    assert "exists: add --overwrite" in again.stderr
