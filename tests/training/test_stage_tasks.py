"""Every stage starts at the analytic result, and learns from examples from there on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from moving_clip import write_moving_clip
from torch import Tensor, nn

from mggtalk_cli.core.checkpoint import write_checkpoint
from mggtalk_cli.deform import deform_analytic
from mggtalk_cli.drawing import RenderOptions, rasterize, view_matrix
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.backbones import SyncConfig, SyncNet
from mggtalk_cli.evaluation.synthetic_portrait import draw_portrait
from mggtalk_cli.pipeline import BuildOptions, build_head
from mggtalk_cli.splat import decode_analytic
from mggtalk_cli.tensors import camera_of, gaussian_sheet, head_rig, source_state
from mggtalk_cli.training import sync_expert
from mggtalk_cli.training.clips import Clip
from mggtalk_cli.training.dataset import Example, find_examples
from mggtalk_cli.training.driven import Clips, Moment, opened
from mggtalk_cli.training.footage import Footage
from mggtalk_cli.training.launch import in_precision
from mggtalk_cli.training.loop import train
from mggtalk_cli.training.pictures import head_psnr
from mggtalk_cli.training.prepare import PrepareOptions, prepare
from mggtalk_cli.training.recipe import Recipe, stage_recipe
from mggtalk_cli.training.refining import KnownSurface, normals
from mggtalk_cli.training.synth import SynthOptions, synthesize
from mggtalk_cli.training.tasks import build_task
from mggtalk_cli.variants import ANALYTIC

FRAMES, SIZE = 12, 192
STAGES = ("refiner", "deform", "decoder", "inpaint", "mouth", "joint")
CPU = torch.device("cpu")


def turning(count: int) -> list[np.ndarray]:
    """Return a drawn person (256, 256, 3) who turns from the side; a cheek is hidden at first."""
    head = build_head(draw_portrait(256), BuildOptions(size=256), variants=ANALYTIC)
    source, camera = source_state(head), camera_of(head)
    posed = deform_analytic(head_rig(head), source, source)
    gaussians = decode_analytic(posed.points, posed.visibility, gaussian_sheet(head, "cpu"))
    frames = []
    for yaw_deg in np.linspace(42, 30, count):
        view = view_matrix(camera, RenderOptions(yaw_deg=yaw_deg), 0)
        color, alpha = rasterize(gaussians, camera, view)
        frames.append((255 * (color + 0.8 * (1 - alpha)).clamp(0, 1)).byte().numpy())
    return frames


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A person who turns and makes a sound."""
    folder = tmp_path_factory.mktemp("clip")
    write_moving_clip(folder / "ann_01.mp4", turning(FRAMES))
    given = [Clip(folder / "ann_01.mp4", "ann", True, "CC0", "drawn")]
    (done,) = prepare(given, folder, PrepareOptions(FRAMES, SIZE))
    assert not done.refused
    return Example.open(folder / done.name)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """A made-up head whose depth is known."""
    folder = tmp_path_factory.mktemp("heads")
    (made,) = synthesize(1, folder, SynthOptions(seed=3, size=SIZE, views=1))
    assert not made.refused
    return find_examples([folder])[0]


@pytest.fixture
def examples(clip: Example, head: Example) -> list[Example]:
    return [clip, head]


def recipe_of(stage: str, **changes: Any) -> Recipe:
    quick = {"batch": 1, "warmup": 0, "ema": 0.0, "validate_every": 1000, "rate": 2e-3}
    return stage_recipe(stage, **{**quick, **changes})


def weighted(terms: Mapping[str, Tensor], recipe: Recipe) -> Tensor:
    return torch.stack([recipe.losses[name] * value for name, value in terms.items()]).sum()


# What a stage makes of a moment, with its networks and without.
Pair = Callable[[Any, Moment], tuple[Tensor, Tensor]]
PICTURES: dict[str, Pair] = {
    "deform": lambda t, m: (m.drawn(m.learned(t.network)), m.drawn(m.analytic())),
    "decoder": lambda t, m: (t.final(m, m.analytic()), m.drawn(m.analytic())),
    "inpaint": lambda t, m: (t.final(m), m.head.finished(*m.render())),
    "mouth": lambda t, m: (t.final(m, "mouth", "eyes"), m.head.finished(*m.render())),
    "joint": lambda t, m: (t.final(m), m.drawn(m.analytic())),
}


@pytest.mark.parametrize("stage", STAGES)
def test_an_untrained_stage_gives_the_analytic_result(stage: str, examples: list[Example]) -> None:
    task: Any = build_task(stage, examples, examples, recipe_of(stage))
    numbers = task.validate()
    pairs = [name.removeprefix("analytic_") for name in numbers if name.startswith("analytic_")]
    assert pairs
    for name in pairs:
        assert numbers[name] == pytest.approx(numbers[f"analytic_{name}"], abs=1e-4), name
    assert set(numbers) == {*pairs, *(f"analytic_{name}" for name in pairs)}
    if stage in PICTURES:
        with torch.no_grad():
            learned, analytic = PICTURES[stage](task, Moment(opened(examples[0], CPU), 5))
        torch.testing.assert_close(learned, analytic, atol=1e-5, rtol=0)
    picture = task.sheet()
    assert picture.dtype == np.uint8
    assert picture.std() > 10


def test_the_numbers_are_those_of_the_frames(clip: Example) -> None:
    task: Any = build_task("inpaint", [clip], [clip], recipe_of("inpaint"))
    found = task.validate()
    moment = Moment(opened(clip, CPU), FRAMES - 1)
    stored = moment.head.finished(*moment.render())
    error = ((stored - moment.truth) ** 2 * moment.person).sum() / (3 * moment.person.sum())
    assert head_psnr(stored, moment) == pytest.approx(float(-10 * torch.log10(error)), abs=1e-3)
    assert 15 < found["analytic_person_db"] < 45
    # drawn now, it is what `prepare` has stored, but for rounding and colours beyond white
    assert (moment.drawn(moment.analytic()) - stored).abs().mean() < 0.002


@dataclass(frozen=True)
class OneFrame:
    """A task whose every example is the same."""

    task: Any

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        return self.task.networks

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        return self.task.loss(0, 0)

    def validate(self) -> dict[str, float]:
        return {}

    def sheet(self) -> np.ndarray | None:
        return None


@pytest.mark.parametrize("stage", STAGES)
def test_a_few_steps_lower_the_loss(stage: str, examples: list[Example], tmp_path: Path) -> None:
    steps = 15 if stage in ("inpaint", "mouth") else 4
    recipe = recipe_of(stage, steps=steps, rate=1e-2 if stage == "deform" else 5e-4)
    task = OneFrame(build_task(stage, examples, [], recipe))
    with torch.no_grad():
        before = weighted(task.loss(0, 0), recipe)
    train(task, recipe, tmp_path, device="cpu")
    with torch.no_grad():
        after = weighted(task.loss(0, 0), recipe)
    assert after < 0.99 * before


def shaken(networks: Mapping[str, nn.Module]) -> None:
    """Move all weights a little: behind a last layer of zeros nothing would get a gradient."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for network in networks.values():
            for parameter in network.parameters():
                parameter += 0.01 * torch.randn(parameter.shape, generator=generator)


def learns(network: nn.Module) -> bool:
    """Return whether any weight has a gradient other than 0."""
    return any(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


def test_the_joint_gradient_reaches_every_weight(examples: list[Example]) -> None:
    recipe = recipe_of("joint")
    task = build_task("joint", examples, [], recipe)
    assert set(task.networks) == {
        *("refiner", "deform", "encoder", "decoder", "sym_decoder", "densifier", "inpaint")
    }
    shaken(task.networks)
    weighted(task.loss(0, 0), recipe).backward()
    for name, network in task.networks.items():
        for key, parameter in network.named_parameters():
            assert parameter.grad is not None, (name, key)
            assert parameter.grad.isfinite().all(), (name, key)
        assert learns(network), name


def test_the_frame_alone_teaches_points_decoders_and_inpainter(clip: Example) -> None:
    """No term but l1: what reaches the deformation came through inpainter and rasteriser."""
    task = build_task("joint", [clip], [], recipe_of("joint"))
    shaken(task.networks)
    task.loss(0, 0)["l1"].backward()
    for name, network in task.networks.items():
        assert learns(network), name


@pytest.mark.parametrize("stage", ["decoder", "joint"])
def test_a_step_encodes_the_photo_once(stage: str, clip: Example) -> None:
    """Coarse, dense and the frame before it share the features."""
    task = build_task(stage, [clip], [], recipe_of(stage))
    seen = []
    task.networks["encoder"].register_forward_hook(lambda *_: seen.append(1))
    assert {"l1", "temporal"} <= set(task.loss(0, 0))
    assert len(seen) == 1


def test_without_the_dense_render_the_densifier_learns_nothing(clip: Example) -> None:
    task = build_task("decoder", [clip], [], recipe_of("decoder", dense=False))
    shaken(task.networks)
    terms = task.loss(0, 0)
    assert "offset" not in terms
    terms["l1"].backward()
    assert {name for name, network in task.networks.items() if learns(network)} == (
        set(task.networks) - {"densifier"}
    )


def test_what_an_inpainter_does_behind_the_person_counts(clip: Example) -> None:
    task: Any = build_task("joint", [clip], [], recipe_of("joint"))
    with torch.no_grad():
        before = task.loss(0, 0)["l1"]
        plate = task.footage.moment(0, 0).head.plate
        beside = task.footage.moment(0, 0).person == 0
        plate.copy_(torch.where(beside, 1 - plate, plate))
        after = task.loss(0, 0)["l1"]
        plate.copy_(torch.where(beside, 1 - plate, plate))
    assert after > before + 0.1


def test_what_is_frozen_stays_when_the_adversary_joins(clip: Example, tmp_path: Path) -> None:
    recipe = recipe_of("joint", steps=2, gan_start=1)
    task: Any = build_task("joint", [clip], [], recipe)
    train(task, recipe, tmp_path, until=1, device="cpu")
    everything = {**task.networks, **task.adversary}
    middle = {name: [p.clone() for p in net.parameters()] for name, net in everything.items()}
    train(task, recipe, tmp_path, resume=True, device="cpu")
    moved = {
        name
        for name, net in everything.items()
        if any(not torch.equal(a, b) for a, b in zip(net.parameters(), middle[name], strict=True))
    }
    assert moved == {"inpaint", "judge"}


@pytest.mark.parametrize(
    ("stage", "learning"),
    [
        ("mouth", {"mouth"}),
        ("decoder", {"decoder", "sym_decoder"}),
        ("joint", {"deform", "decoder", "sym_decoder", "inpaint"}),
    ],
)
def test_an_expert_listens_and_does_not_learn(
    stage: str, learning: set[str], clip: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder waits for the first step: what follows it starts at zero."""
    file = tmp_path / "expert.safetensors"
    write_checkpoint(file, {"expert": SyncNet(SyncConfig.tiny())}, {})
    assert stage_recipe(stage).losses["sync"] == 0.03
    recipe = recipe_of(stage, losses={"sync": 1.0}, expert=str(file))
    assert "sync" not in build_task(stage, [clip], [], recipe).loss(0, 0)  # it fails the gate
    monkeypatch.setattr(sync_expert, "measured", lambda network, clips: (0.5, 0.8))
    task: Any = build_task(stage, [clip], [], recipe)
    task.loss(0, 0)["sync"].backward()
    assert {name for name, network in task.networks.items() if learns(network)} == learning
    assert all(p.grad is None for p in task.footage.expert.network.parameters())
    unweighed = replace(recipe, losses={"sync": 0.0}, expert="none.safetensors")
    assert build_task(stage, [clip], [], unweighed).footage.expert is None


@pytest.mark.parametrize("stage", ["inpaint", "mouth"])
def test_adversaries_learn_from_frames_that_learn_nothing(stage: str, clip: Example) -> None:
    task: Any = build_task(stage, [clip], [], recipe_of(stage, gan_start=1))
    assert "gan" not in task.loss(0, 0)
    assert "gan" in task.loss(1, 0)
    task.adversary_loss(1, 0).backward()
    assert all(p.grad is not None for p in task.judge.parameters())
    assert all(p.grad is None for n in task.networks.values() for p in n.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("stage", STAGES)
def test_examples_follow_the_networks_to_their_device(stage: str, examples: list[Example]) -> None:
    recipe = recipe_of(stage, gan_start=1)
    task: Any = build_task(stage, examples, examples, recipe)
    for network in (*task.networks.values(), *getattr(task, "adversary", {}).values()):
        network.to("cuda")
    loss = weighted(task.loss(1, 0), recipe)
    assert loss.is_cuda
    loss.backward()
    assert task.validate()


@pytest.mark.parametrize("stage", STAGES)
def test_half_precision_is_for_networks_alone(stage: str, examples: list[Example]) -> None:
    """Poses, rasteriser and losses in bfloat16 would change the loss by tens of percent."""
    recipe = recipe_of(stage)
    task = build_task(stage, examples, [], recipe)
    shaken(task.networks)
    with torch.no_grad():
        whole = weighted(task.loss(0, 0), recipe)
        with in_precision(task.networks.values(), "bf16-mixed"):
            half = weighted(task.loss(0, 0), recipe)
    assert half.dtype == torch.float32
    assert 0 < abs(float(half - whole)) < 0.005 * float(whole)


# ------------------------------------------------------------------------------ which examples


def test_stages_say_which_examples_they_need(clip: Example, head: Example) -> None:
    with pytest.raises(InputError, match=r"none of 1 examples is a clip: .*prepare"):
        build_task("deform", [head], [], recipe_of("deform"))
    with pytest.raises(InputError, match=r"none of 0 examples says anything of depth: .*synth"):
        build_task("refiner", [], [], recipe_of("refiner"))
    assert set(build_task("refiner", [clip], [], recipe_of("refiner")).loss(0, 0)) == {
        *("offset", "smooth", "parallax")
    }
    assert "refiner" not in build_task("joint", [clip], [], recipe_of("joint")).networks


def test_where_nobody_is_held_out_every_own_frame_is_measured(clip: Example, head: Example) -> None:
    moments = [Moment(opened(clip, CPU), i) for i in range(1, FRAMES)]
    stored = [m.head.finished(*m.render()) for m in moments]
    mean = np.mean([head_psnr(image, m) for image, m in zip(stored, moments, strict=True)])
    for held_out in ([], [head]):
        found = build_task("inpaint", [clip], held_out, recipe_of("inpaint")).validate()
        assert found["analytic_own_person_db"] == pytest.approx(mean, abs=1e-6)
        assert all("own_" in name for name in found)


def test_moments_are_drawn_by_their_numbers_and_never_the_photo(clip: Example) -> None:
    clips = Clips([clip])
    drawn = [clips.drawn(0, step, device=CPU).index for step in range(200)]
    assert drawn == [clips.drawn(0, step, device=CPU).index for step in range(200)]
    assert set(drawn) == set(range(1, FRAMES))
    assert [m.index for m in clips.spread(3, device=CPU)] == [1, FRAMES // 2, FRAMES - 1]


def test_the_term_of_change_is_0_where_the_truth_changes_alike(clip: Example) -> None:
    recipe = recipe_of("inpaint")
    footage = Footage.of([clip], [], recipe, nn.Linear(1, 1), needed=("frames",))
    moment = footage.moment(0, 0)
    term = footage.temporal(moment.truth - 0.1, moment, lambda m: m.truth - 0.1)["temporal"]
    assert float(term) == pytest.approx(0.0, abs=1e-6)
    still = footage.temporal(moment.truth, moment, lambda m: moment.truth)["temporal"]
    assert float(still) == pytest.approx(float((moment.truth - moment.before.truth).abs().mean()))


# ------------------------------------------------------------------------------ true surfaces


def bumpy_surface() -> KnownSurface:
    generator = torch.Generator().manual_seed(1)
    height, width = 24, 20
    y, x = torch.meshgrid(
        torch.linspace(-3, 3, height), torch.linspace(-2, 3, width), indexing="ij"
    )
    z = torch.sin(x) + 0.3 * x * y
    mask = ((x - 0.3) ** 2 + y**2 < 6).float()[None, None]
    rays = torch.stack([0.05 * x, -0.05 * y, -torch.ones_like(x)])[None]
    missing = 0.4 * torch.cos(x + 0.5 * y)[None, None] * mask
    rgb = torch.rand(1, 3, height, width, generator=generator)
    known = (rays, missing, mask, *(torch.rand(3, 1, 1, height, width, generator=generator)))
    return KnownSurface(rgb, torch.stack([x, y, z])[None], mask, mask, *known)


def test_a_mirrored_surface_is_the_mirror_image() -> None:
    surface = bumpy_surface()
    mirrored = surface.mirrored()
    sign = torch.tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)
    offset = 0.2 * surface.rgb[:, :1]
    pairs = zip(normals(surface, offset), normals(mirrored, offset.flip(-1)), strict=True)
    for normal, reflected in pairs:
        torch.testing.assert_close(reflected, sign * normal.flip(-1), atol=1e-5, rtol=0)
        assert normal[:, 0].abs().max() > 0.3
    for again, first in zip(mirrored.mirrored(), surface, strict=True):
        assert torch.equal(again, first)


def test_another_camera_changes_colours_only() -> None:
    surface = bumpy_surface()
    seen = surface.exposed(torch.tensor([0.5, 1.0, 2.0]))
    torch.testing.assert_close(seen.rgb[:, 0], 0.5 * surface.rgb[:, 0])
    assert seen.rgb.max() == 1
    assert all(torch.equal(a, b) for a, b in zip(seen[1:], surface[1:], strict=True))
    changed = [surface.changed(np.random.default_rng(seed)) for seed in range(8)]
    flipped = [not torch.equal(each.mask, surface.mask) for each in changed]
    assert any(flipped)
    assert not all(flipped)
