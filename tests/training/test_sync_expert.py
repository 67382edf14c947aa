"""The sync expert: pairs of one moment, what it learns, its gate, and the term it gives."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from talking_examples import SIZE, write_example

from mggtalk_cli.core.checkpoint import write_checkpoint
from mggtalk_cli.errors import InputError, WeightsError
from mggtalk_cli.evaluation.backbones import SyncConfig, SyncNet
from mggtalk_cli.training import sync_expert
from mggtalk_cli.training.dataset import Example, find_examples
from mggtalk_cli.training.driven import Moment
from mggtalk_cli.training.loop import train
from mggtalk_cli.training.outcome import Outcome
from mggtalk_cli.training.recipe import stage_recipe
from mggtalk_cli.training.sync import SyncTask, task
from mggtalk_cli.training.sync_expert import SyncExpert, open_expert, read_expert
from mggtalk_cli.training.sync_pairs import APART, draw_pairs, measured, speech_of

FRAMES = 160  # with fewer, what is learned are these very clips
SMALL = SyncConfig((16, 32, 32, 32, 32, 64), (8, 16, 32, 32, 32, 64), 64)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    place = tmp_path_factory.mktemp("people")
    for person in ("ann", "bob", "cyd", "dan"):
        for number in range(2):
            write_example(place, person, number, frames=FRAMES)
    return find_examples([place])


@pytest.fixture
def silent(tmp_path: Path) -> list[Example]:
    """What was prepared before there were cepstra."""
    write_example(tmp_path / "older", "eve", 0, cepstra=False)
    return find_examples([tmp_path / "older"])


def small_task(people: list[Example], seed: int = 0) -> SyncTask:
    torch.manual_seed(seed)
    made = task(people[:6], people[6:], stage_recipe("sync", seed=seed))
    made._network = SyncNet(SMALL)
    return made


class Numbered:
    """A clip whose pictures and sounds tell their frame."""

    windows = 30

    def lips(self, first: int) -> torch.Tensor:
        return torch.full((1, 3, 5, 2, 2), float(first))

    def sound(self, first: int) -> torch.Tensor:
        return torch.full((1, 1, 13, 20), float(first))


def test_pairs_are_of_one_moment_or_well_apart() -> None:
    speeches: Any = [Numbered()] * 200
    lips, sounds, together = draw_pairs(speeches, np.random.default_rng(0), changed=False)
    seen, heard = lips[:, 0, 0, 0, 0], sounds[:, 0, 0, 0]
    assert torch.equal(together, torch.cat([torch.ones(200), torch.zeros(200)]))
    assert torch.equal(seen, heard[:200])
    assert (seen - heard[200:]).abs().min() == APART
    assert {*seen.tolist()} == {*range(30)}


def test_what_is_varied_stays_the_same_moment(people: list[Example]) -> None:
    speech = speech_of(people[0])
    plain = draw_pairs([speech], np.random.default_rng(0), changed=False)[0]
    first = next(i for i in range(speech.windows) if torch.equal(speech.lips(i), plain))
    varied = replace(speech, track=speech.track + 0.5)
    assert not torch.equal(varied.lips(first), plain)
    lips, sounds, _ = draw_pairs([speech] * 20, np.random.default_rng(0), changed=True)
    assert 0 <= lips.min() < lips.max() <= 255
    quiet = torch.stack([speech.sound(i)[0] for i in range(speech.windows)])
    # volume moves the first cepstrum alone
    shapes = (sounds[:, None, :, 1:] - quiet[None, :, :, 1:]).abs().amax((2, 3, 4)).amin(1)
    assert shapes.max() == 0
    assert (sounds[:, None, 0, 0] - quiet[None, :, 0, 0]).abs().amax(2).amin(1).max() > 0.1


@pytest.fixture(scope="module")
def trained(
    people: list[Example], tmp_path_factory: pytest.TempPathFactory
) -> tuple[SyncTask, Outcome, Path]:
    recipe = stage_recipe("sync", steps=70)
    recipe = replace(recipe, batch=1, rate=5e-3, warmup=5, ema=0.8, validate_every=70)
    made, folder = small_task(people), tmp_path_factory.mktemp("run")
    return made, train(made, recipe, folder, device="cpu"), folder


def test_it_learns_to_tell_pairs_of_people_it_never_saw(
    trained: tuple[SyncTask, Outcome, Path],
) -> None:
    _, outcome, folder = trained
    assert outcome.after["sync_accuracy"] > 0.6
    assert outcome.after["sync_loss"] < 0.65 < outcome.before["sync_loss"]
    assert outcome.after["analytic_sync_loss"] == pytest.approx(math.log(2))
    assert (folder / "sheets/step-0000070.png").is_file()


def test_a_run_in_two_parts_gives_the_same_weights(people: list[Example], tmp_path: Path) -> None:
    """The running statistics of the batch normalisation, too."""
    recipe = replace(stage_recipe("sync", steps=3), batch=1, warmup=0, save_every=1, seed=3)
    whole, parts = small_task(people, 3), small_task(people, 3)
    whole._held_out = parts._held_out = []
    train(whole, recipe, tmp_path / "whole", device="cpu")
    train(parts, recipe, tmp_path / "parts", until=1, device="cpu")
    resumed = small_task(people, 3)
    resumed._held_out, resumed._network = [], SyncNet(SMALL)  # weights that are overwritten
    train(resumed, recipe, tmp_path / "parts", resume=True, device="cpu")
    expected = whole.networks["expert"].state_dict()
    for key, value in resumed.networks["expert"].state_dict().items():
        assert torch.equal(value, expected[key]), key


def moment_of(example: Example, index: int) -> Moment:
    head: Any = SimpleNamespace(example=example)
    return Moment(head, index)


def true_frames(example: Example, shift: int = 0) -> Callable[[Moment], torch.Tensor]:
    """Return what draws the true frame of another moment."""

    def final(moment: Moment) -> torch.Tensor:
        at = (moment.index + shift) % example.note.frames
        frame = torch.from_numpy(example.truth("frames", at, at + 1))
        return frame.permute(0, 3, 1, 2).float() / 255

    return final


def test_the_term_prefers_the_true_mouths(
    people: list[Example], trained: tuple[SyncTask, Outcome, Path]
) -> None:
    network: Any = trained[0].networks["expert"]
    expert = SyncExpert(network)
    for_all = {
        shift: sum(
            float(expert.term(moment_of(example, i), true_frames(example, shift))["sync"])
            for example in people[6:]
            for i in range(2, FRAMES - 2, 8)
        )
        for shift in (0, 9)
    }
    assert for_all[0] < for_all[9]


@pytest.mark.parametrize("index", [0, 1, 20, FRAMES - 1])
def test_the_terms_gradient_reaches_the_mouths_of_five_frames(
    people: list[Example], index: int
) -> None:
    drawn = torch.rand(FRAMES, 3, SIZE, SIZE, requires_grad=True)
    expert = SyncExpert(SyncNet(SMALL).eval().requires_grad_(False))
    expert.term(moment_of(people[0], index), lambda m: drawn[m.index, None])["sync"].backward()
    touched = drawn.grad.abs().amax((1, 2, 3)) > 0
    first = min(max(index - 2, 0), FRAMES - 5)
    assert touched.nonzero()[:, 0].tolist() == list(range(first, first + 5))
    assert (drawn.grad[first, :, 30:38, 18:30] != 0).all()  # the mouth
    assert all(p.grad is None for p in expert.network.parameters())


def test_older_examples_give_a_clear_error(people: list[Example], silent: list[Example]) -> None:
    with pytest.raises(InputError, match=r"none of 1 examples .* cepstra .* older examples again"):
        task(silent, [], stage_recipe("sync"))
    expert = SyncExpert(SyncNet(SMALL).eval())
    assert expert.term(moment_of(silent[0], 3), lambda m: torch.zeros(1, 3, SIZE, SIZE)) == {}
    # beside others they are left out
    assert task([*people, *silent], silent, stage_recipe("sync")).validate() == {}


def test_too_short_examples_are_refused(tmp_path: Path) -> None:
    write_example(tmp_path, "eve", 0, frames=APART + 5)
    with pytest.raises(InputError, match="none of 1 examples has 11 frames"):
        task(find_examples([tmp_path]), [], stage_recipe("sync"))


def test_checkpoints_and_published_weights_are_read_alike(tmp_path: Path) -> None:
    torch.manual_seed(0)
    own, published = SyncNet(SMALL).eval(), SyncNet().eval()
    write_checkpoint(tmp_path / "own.safetensors", {"expert": own}, {})
    entries = {f"module.{key}": value for key, value in published.state_dict().items()}
    save_file(entries, tmp_path / "syncnet_v2.safetensors")
    torch.save(published.state_dict(), tmp_path / "syncnet_v2.model")
    sound = torch.rand(1, 1, 13, 20)
    names = ("own.safetensors", "syncnet_v2.safetensors", "syncnet_v2.model")
    for name, network in zip(names, (own, published, published), strict=True):
        found = read_expert(tmp_path / name)
        assert not found.training
        assert not any(p.requires_grad for p in found.parameters())
        assert torch.equal(found.sounds(sound), network.sounds(sound)), name


def test_other_files_are_refused(tmp_path: Path) -> None:
    other, damaged = tmp_path / "other.safetensors", tmp_path / "damaged.model"
    write_checkpoint(other, {"refiner": SyncNet(SMALL)}, {})
    damaged.write_bytes(b"PK no weights")
    for path, told in (
        (other, "no expert but refiner"),
        (damaged, "not a plain PyTorch weight file"),
        (tmp_path / "none.model", "No such file"),
    ):
        with pytest.raises(WeightsError, match=told):
            read_expert(path)


@pytest.mark.parametrize(
    ("loss", "accuracy", "heard"), [(0.74, 0.9, True), (0.76, 0.9, False), (0.69, 0.5, False)]
)
def test_the_gate(
    people: list[Example],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    loss: float,
    accuracy: float,
    heard: bool,
) -> None:
    """Measured on those held out; a poor expert stays silent, which is said once."""
    path = tmp_path / "expert.safetensors"
    write_checkpoint(path, {"expert": SyncNet(SMALL)}, {"after": {"sync_loss": 0.1}})
    asked: list[list[Example]] = []

    def known(network: SyncNet, clips: list[Example]) -> tuple[float, float]:
        asked.append(clips)
        return loss, accuracy

    monkeypatch.setattr(sync_expert, "measured", known)
    with caplog.at_level(logging.WARNING, "mggtalk"):
        found = open_expert(str(path), people[:6], people[6:])
    assert (found is not None) is heard
    assert asked == [people[6:]]
    assert ("the sync term stays off: on 2 clips, expert expert.s" in caplog.text) is not heard
    assert open_expert(str(path), people[:6], []) is not None or not heard
    assert asked[1] == people[:6]


def test_the_gate_opens_for_a_trained_expert_and_not_for_a_new_one(
    people: list[Example], trained: tuple[SyncTask, Outcome, Path], tmp_path: Path
) -> None:
    path, new = tmp_path / "expert.safetensors", tmp_path / "new.safetensors"
    write_checkpoint(path, trained[0].networks, {})
    write_checkpoint(new, {"expert": SyncNet(SMALL)}, {})
    found = open_expert(str(path), people[:6], people[6:])
    assert found is not None
    assert measured(found.network, people[6:])[0] == pytest.approx(
        trained[1].after["sync_loss"], abs=1e-4
    )
    assert open_expert(str(new), people[:6], people[6:]) is None
    assert open_expert("", people[:6], people[6:]) is None


def test_an_expert_that_cannot_listen(silent: list[Example], tmp_path: Path) -> None:
    path = tmp_path / "expert.safetensors"
    write_checkpoint(path, {"expert": SyncNet(SMALL)}, {})
    with pytest.raises(InputError, match=r"expert\.safetensors cannot listen: none of 1 examples"):
        open_expert(str(path), silent, [])
