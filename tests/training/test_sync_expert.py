"""The sync expert: crops where the mouth is, pairs of one moment, and it learns to tell them."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from talking_examples import FRAMES, SIZE, faces, landmarks, write_example

from mggtalk_cli.core.checkpoint import write_checkpoint
from mggtalk_cli.errors import InputError, WeightsError
from mggtalk_cli.training.dataset import Example, find_examples
from mggtalk_cli.training.loop import train
from mggtalk_cli.training.outcome import Outcome
from mggtalk_cli.training.recipe import stage_recipe
from mggtalk_cli.training.sync import (
    APART,
    SyncConfig,
    SyncExpert,
    SyncTask,
    draw_pairs,
    mouth_crops,
    open_expert,
    sync_term,
    task,
)

SMALL = SyncConfig(widths=(8, 16, 16), hidden=16, embedding=16)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    place = tmp_path_factory.mktemp("people")
    for person in ("ann", "bob", "cyd", "dan"):
        for number in range(2):
            write_example(place, person, number)
    return find_examples([place])


def small_task(people: list[Example], seed: int = 0) -> SyncTask:
    torch.manual_seed(seed)
    made = task(people[:6], people[6:], stage_recipe("sync", seed=seed))
    made._expert = SyncExpert(SMALL)
    return made


def test_a_crop_shows_the_mouth_upright_whatever_the_frame_does() -> None:
    upright = torch.from_numpy(faces(np.array([0.8]), np.array([200, 150, 120])))
    upright = upright.permute(0, 3, 1, 2).float()
    face = torch.from_numpy(landmarks(1))
    turned = torch.rot90(upright, 1, (2, 3))  # a quarter anticlockwise: (x, y) -> (y, SIZE - x)
    turned_face = torch.stack([face[..., 1], SIZE - face[..., 0]], -1)
    straight, back = mouth_crops(upright, face), mouth_crops(turned, turned_face)
    assert torch.allclose(straight, back, atol=0.5)
    middle = straight.shape[-1] // 2
    assert straight[0, 0, middle, middle].item() == pytest.approx(30, abs=1)
    # 24 px between the eyes: the crop is 26.4 px wide, the mouth 12
    dark = (straight[0, 0, middle] < 100).float().mean().item()
    assert dark == pytest.approx(12 / 26.4, abs=0.04)


def test_crops_are_differentiable() -> None:
    frames = torch.rand(1, 3, 8, 8, dtype=torch.float64, requires_grad=True)
    face = torch.from_numpy(landmarks(1)).double() / 6
    assert torch.autograd.gradcheck(lambda f: mouth_crops(f, face, 4), (frames,))


def test_pairs_are_of_one_moment_or_well_apart(people: list[Example]) -> None:
    speech = small_task(people)._speech_of(people[0])
    # a picture and a sound that tell their frame
    numbered = replace(
        speech,
        crops=torch.arange(FRAMES).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 4, 4),
        features=torch.arange(2 * FRAMES).half().view(-1, 1).expand(-1, 384),
    )
    lips, sounds, together = draw_pairs(numbered, np.random.default_rng(0), 50, changed=False)
    seen, heard = (lips[:, 0, 0, 0, 0] * 255).round(), sounds[:, 0, 0] / 2
    assert torch.equal(together, torch.cat([torch.ones(50), torch.zeros(50)]))
    assert torch.equal(seen, heard[:50])
    assert (seen - heard[50:]).abs().min() >= APART
    assert torch.equal(sounds[:, 1:, 0] - sounds[:, :-1, 0], torch.ones(100, 9))


@pytest.fixture(scope="module")
def trained(
    people: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> tuple[SyncTask, Outcome, Path]:
    recipe = stage_recipe("sync", steps=75)
    recipe = replace(recipe, batch=2, rate=3e-3, warmup=5, ema=0.8, validate_every=75)
    made, folder = small_task(people), tmp_path_factory.mktemp("run")
    return made, train(made, recipe, folder, device="cpu"), folder


def test_it_learns_to_tell_pairs_of_people_it_never_saw(
    trained: tuple[SyncTask, Outcome, Path],
) -> None:
    _, outcome, folder = trained
    assert outcome.after["sync_accuracy"] > 0.65
    assert outcome.after["sync_loss"] < 0.62 < outcome.before["sync_loss"]
    assert outcome.after["analytic_sync_loss"] == pytest.approx(math.log(2))
    assert (folder / "sheets/step-0000075.png").is_file()


def test_the_term_prefers_the_true_mouths(
    people: list[Example], trained: tuple[SyncTask, Outcome, Path]
) -> None:
    example = people[-1]
    frames = torch.from_numpy(example.truth("frames")).permute(0, 3, 1, 2).float() / 255
    face = torch.from_numpy(example.truth("face"))
    heard = torch.from_numpy(example.truth("audio_features")).float()
    expert = trained[0].networks["expert"]
    shifted = frames.roll(9, 0)
    true, false = (sync_term(expert, f, face, heard) for f in (frames, shifted))
    assert true < false
    wanted = shifted[:6].clone().requires_grad_(True)
    sync_term(expert, wanted, face[:6], heard[:12]).backward()
    assert wanted.grad.abs().sum() > 0


def test_the_expert_comes_from_its_checkpoint_with_the_weight_it_deserves(tmp_path: Path) -> None:
    assert open_expert("") is None
    expert = SyncExpert(SMALL)
    for loss, accuracy, weight in ((0.5, 0.8, 0.03), (0.69, 0.5, 0.0), (None, None, 0.0)):
        path = tmp_path / f"{weight}-{loss}.safetensors"
        notes = {"after": {"sync_loss": loss, "sync_accuracy": accuracy}}
        write_checkpoint(path, {"expert": expert}, notes)
        opened = open_expert(str(path))
        assert opened is not None
        assert opened[1] == weight
        lips = torch.rand(2, 5, 3, 64, 64)
        assert torch.equal(opened[0].lips(lips), expert.lips(lips))
    write_checkpoint(tmp_path / "other.safetensors", {"refiner": expert}, {})
    with pytest.raises(WeightsError, match="no expert"):
        open_expert(str(tmp_path / "other.safetensors"))


def test_examples_without_enough_sound_are_refused(people: list[Example], tmp_path: Path) -> None:
    write_example(tmp_path, "eve", 0, frames=APART)
    short = find_examples([tmp_path])
    silent = [replace(people[0], names=people[0].names - {"audio_features"})]
    for unusable in (short, silent):
        with pytest.raises(InputError, match="none of 1 examples has 11 frames with sound"):
            task(unusable, [], stage_recipe("sync"))


@pytest.mark.parametrize("preset", ["tiny", "base"])
def test_presets_can_be_built(preset: str) -> None:
    with torch.device("meta"):
        expert = SyncExpert(getattr(SyncConfig, preset)())
        lips, sounds = expert(torch.rand(2, 5, 3, 64, 64), torch.rand(2, 10, 384))
    assert lips.shape == sounds.shape == (2, expert.config.embedding)
