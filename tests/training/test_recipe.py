"""Recipes: every stage has one, files change it, mistakes get one line with a hint."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mggtalk_cli.errors import InputError
from mggtalk_cli.training.recipe import DEFAULTS, Recipe, stage_recipe

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def recipe_file(tmp_path: Path):
    def write(text: str) -> Path:
        path = tmp_path / "recipe.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.mark.parametrize("stage", DEFAULTS)
def test_every_stage_has_a_recipe(stage: str) -> None:
    recipe = stage_recipe(stage)
    assert recipe.losses == DEFAULTS[stage]["losses"]
    assert all(weight > 0 for weight in recipe.losses.values())


def test_a_file_changes_what_it_names_and_arguments_win(recipe_file) -> None:
    path = recipe_file('steps = 7\nrate = 1\nfrozen = ["decoder"]\n[losses]\nssim = 0.5\n')
    recipe = stage_recipe("decoder", path, steps=9, seed=None)
    assert (recipe.steps, recipe.rate, recipe.seed) == (9, 1.0, 0)
    assert isinstance(recipe.rate, float)
    assert recipe.frozen == ("decoder",)
    assert recipe.losses == {**DEFAULTS["decoder"]["losses"], "ssim": 0.5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("stepz = 3", "unknown key 'stepz'; did you mean steps"),
        ("zzz = 3", "known are steps, batch"),
        ("[losses]\nsim = 1", "did you mean ssim"),
        ("losses = 3", "not a table"),
        ("steps = 0", "steps = 0 is not within 1.."),
        ("steps = 2.5", "not a whole number"),
        ("steps = true", "not a whole number"),
        ("rate = nan", "rate = nan is not within"),
        ('rate = "fast"', "not a number"),
        ("held_out = 1.0", "held_out = 1.0 is not within 0..0.9"),
        ('precision = "16"', "use one of 32, bf16-mixed"),
        ("preset = 3", "preset = 3 is not a text in quotes"),
        ("only_ship = 1", "only_ship = 1 is not true or false"),
        ("frozen = [1]", "frozen = \\[1\\] is not a list of network names"),
        ("[losses]\nl1 = -1", "losses.l1 = -1 is not within 0"),
        ("steps = ", "is not TOML"),
    ],
)
def test_mistakes_are_told_with_the_value(recipe_file, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        stage_recipe("decoder", recipe_file(text))
    assert "recipe.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "stage"), [("overfit_deform.toml", "deform"), ("overfit.toml", "joint")]
)
def test_the_example_recipes_are_of_their_stages(name: str, stage: str) -> None:
    recipe = stage_recipe(stage, EXAMPLES / name)
    assert recipe.held_out == 0.0
    assert recipe.rate > stage_recipe(stage).rate
    assert recipe.losses["temporal"] == 0.0


def test_no_file_and_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        stage_recipe("decoder", tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not TOML"):
        stage_recipe("decoder", tmp_path / "binary.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(InputError, match="larger than"):
        stage_recipe("decoder", tmp_path / "large.toml")


def test_an_unknown_stage() -> None:
    with pytest.raises(InputError, match="no stage is called 'decode': use one of refiner"):
        stage_recipe("decode")


def test_a_recipe_cannot_be_changed_and_goes_through_json() -> None:
    recipe = Recipe(losses={"l1": 1})
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.steps = 3  # type: ignore[misc]
    assert Recipe(**recipe.as_dict()) == recipe
    assert Recipe(batch=3, accumulate=2).examples_per_step == 6
