"""What CUDA does to be quick, done on the CPU: several frames at once, networks in half precision.

Frames drawn together are the frames drawn one by one, with their sound, in their order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage_networks import stage_networks
from torch import nn

from mggtalk_cli import drawing, pipeline, tensors
from mggtalk_cli.artifacts import Artifact
from mggtalk_cli.core import precision
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.checkpoint import write_checkpoint
from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.driver import Moment
from mggtalk_cli.variants import ANALYTIC, Variants, choose_variants

COUNT, TOGETHER = 5, 3  # so that the last chunk is short
DECODER, FINISH = ("decoder",), ("inpaint", "mouth")
# Half precision changes levels by at most 2, and by 3 in few pixels; children of nearly one depth
# may change places, in single pixels.
HALF_LEVELS, HALF_SHARE, HALF_SHARE_DENSE = 2, 1e-5, 1e-3


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Call it to have three frames drawn together from then on."""

    def begin() -> None:
        monkeypatch.setitem(drawing.PIXELS_TOGETHER, "cpu", TOGETHER * 256 * 256)

    return begin


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks that change frames by a few levels on average, as trained ones do."""
    networks = stage_networks(trained=False)
    for network in networks.values():
        for weight in network.parameters():
            if weight.dim() > 1 and not weight.any():
                nn.init.normal_(weight, std=0.03)
    path = tmp_path_factory.mktemp("networks") / "trained.safetensors"
    write_checkpoint(path, networks, {"stage": "test"})
    return path


def by(path: Path, stages: tuple[str, ...]) -> Variants:
    return choose_variants([f"{stage}={path}" for stage in stages])


class Sound:
    """One chunk of sound per frame, which says which one it is."""

    pcm_rate, pcm_channels = 16000, 1

    def pcm_chunks(self, fps: float) -> Iterator[np.ndarray]:
        for index in range(COUNT):
            yield np.full((640, 1), index, np.int16)


def talking(head: Artifact, *, fail_at: int | None = None, live: bool = False) -> pipeline.Drive:
    """A mouth that opens and a head that turns; `pulled` of it counts the frames asked for."""
    source = tensors.source_state(head)

    def moments() -> Iterator[Moment]:
        for index in range(COUNT):
            if index == fail_at:
                raise RuntimeError("the driver broke")
            beta = source.beta.copy()
            beta[ARKIT_INDEX["jawOpen"]] += 0.15 * index
            turn = matrix_from_angles(4 * index, 2 * index, 0).astype(np.float32)
            yield Moment(replace(source, beta=beta, rotation=turn @ source.rotation), 1.0)

    count = None if live else COUNT
    return pipeline.Drive("video", 25.0, count, source, moments(), Sound(), None)


def film(head: Artifact, variants: Variants = ANALYTIC, **view: Any) -> list[Any]:
    options = pipeline.RenderOptions(device="cpu", **view)
    return list(pipeline.animate(head, talking(head), options=options, variants=variants).frames)


def levels(one: list[Any], two: list[Any]) -> np.ndarray:
    assert len(one) == len(two) == COUNT
    images = [np.stack([frame.image for frame in frames]).astype(np.int16) for frames in (one, two)]
    return np.abs(images[0] - images[1])


# ---------------------------------------------------------------- frames side by side


@pytest.mark.parametrize("view", [{}, {"densify": True}, {"turntable": True}], ids=str)
def test_analytic_frames_are_the_same_bits(
    example_head: Artifact, together: Callable[[], None], view: dict[str, bool]
) -> None:
    alone = film(example_head, **view)
    together()
    assert levels(film(example_head, **view), alone).max() == 0
    assert (alone[0].image != alone[-1].image).any()


@pytest.mark.parametrize("densify", [False, True])
def test_learned_frames_are_the_same_to_rounding(
    example_head: Artifact, trained: Path, together: Callable[[], None], densify: bool
) -> None:
    variants = by(trained, DECODER + FINISH)
    alone = film(example_head, variants, densify=densify)
    together()
    apart = levels(film(example_head, variants, densify=densify), alone)
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-4


def test_everything_stays_with_its_frame(
    example_head: Artifact, together: Callable[[], None]
) -> None:
    def rendered() -> list[dict[str, np.ndarray]]:
        points = pipeline.deform(example_head, talking(example_head))
        options = pipeline.RenderOptions(turntable=True, device="cpu")
        return list(pipeline.render(points, options).frames())

    alone = rendered()
    together()
    for index, (one, two) in enumerate(zip(alone, rendered(), strict=True)):
        assert (two["audio"] == index).all()
        assert one.keys() == two.keys()
        for name, array in one.items():
            assert np.array_equal(two[name], array), name


def test_several_frames_are_decoded_and_drawn_by_one_call(
    example_head: Artifact, together: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    rasterization = drawing.render.rasterization

    def noted(means: torch.Tensor, *rest: Any, **options: Any) -> Any:
        shapes.append(tuple(means.shape[:-2]))
        return rasterization(means, *rest, **options)

    monkeypatch.setattr(drawing.render, "rasterization", noted)
    film(example_head)
    assert shapes == [(1,)] * COUNT
    shapes.clear()
    together()
    film(example_head)
    assert shapes == [(TOGETHER,), (COUNT - TOGETHER,)]


def test_no_more_frames_are_pulled_than_are_drawn(
    example_head: Artifact, together: Callable[[], None]
) -> None:
    together()
    pulled: list[int] = []
    points = pipeline.deform(example_head, talking(example_head))
    frames = points.frames()

    def counted() -> Iterator[dict[str, np.ndarray]]:
        for index, frame in enumerate(frames):
            pulled.append(index)
            yield frame

    passing = pipeline.in_memory("points", points.meta, points.arrays, counted())
    made = pipeline.render(passing, pipeline.RenderOptions(device="cpu")).frames()
    assert pulled == []
    next(made)
    assert len(pulled) == TOGETHER
    for _ in islice(made, TOGETHER - 1):
        assert len(pulled) == TOGETHER
    next(made)
    assert len(pulled) == COUNT


@pytest.mark.parametrize("fail_at", [0, 1, 4])
def test_frames_before_a_failure_come_out(
    example_head: Artifact, together: Callable[[], None], fail_at: int
) -> None:
    together()
    driver = talking(example_head, fail_at=fail_at)
    options = pipeline.RenderOptions(device="cpu")
    frames = pipeline.animate(example_head, driver, options=options).frames
    sounds = [next(frames).audio for _ in range(fail_at)]
    assert [int(sound[0, 0]) for sound in sounds] == list(range(fail_at))
    with pytest.raises(RuntimeError, match="the driver broke"):
        next(frames)


def test_live_frames_do_not_wait_for_each_other(
    example_head: Artifact, together: Callable[[], None]
) -> None:
    """Where nobody knows how many frames come, the third may be seconds away."""
    together()
    driver = talking(example_head, fail_at=2, live=True)
    options = pipeline.RenderOptions(device="cpu")
    frames = pipeline.animate(example_head, driver, options=options).frames
    for index in range(2):
        assert int(next(frames).audio[0, 0]) == index  # type: ignore[index]


def test_memory_is_bounded_by_pixels() -> None:
    def asked(side: int, device: str, count: int | None = 100) -> int:
        return drawing.frames_together(Camera(np.eye(4), 1.0, side, side), device, count)

    assert [asked(side, "cuda") for side in (256, 512, 1024, 2048)] == [32, 8, 2, 1]
    assert [asked(side, "cpu") for side in (64, 512)] == [1, 1]
    assert asked(512, "cuda", None) == 1


# ---------------------------------------------------------------- half precision


@pytest.mark.parametrize(
    ("stages", "densify"), [(DECODER, False), (FINISH, False), (DECODER + FINISH, True)]
)
def test_half_precision_does_not_show(
    example_head: Artifact,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    stages: tuple[str, ...],
    densify: bool,
) -> None:
    """In the precision of CUDA, computed here."""
    variants = by(trained, stages)
    whole = film(example_head, variants, densify=densify)
    plain = film(example_head, densify=densify)
    monkeypatch.setitem(precision.HALF_ON, "cpu", precision.HALF_ON["cuda"])
    half = film(example_head, variants, densify=densify)
    learned, lost = levels(whole, plain), levels(half, whole)
    assert learned.mean() > 1
    assert 0 < lost.mean() < 0.01 * learned.mean()
    assert (lost > HALF_LEVELS).mean() <= (HALF_SHARE_DENSE if densify else HALF_SHARE)
    assert densify or lost.max() <= HALF_LEVELS + 1


def test_half_precision_leaves_the_analytic_stages_alone(
    example_head: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = film(example_head, densify=True)
    monkeypatch.setitem(precision.HALF_ON, "cpu", torch.bfloat16)
    assert levels(film(example_head, densify=True), whole).max() == 0


def test_half_precision_leaves_the_callers_networks_alone(
    example_head: Artifact, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variants = by(trained, FINISH + DECODER)
    whole = film(example_head, variants)
    with monkeypatch.context() as patch:
        patch.setitem(precision.HALF_ON, "cpu", torch.bfloat16)
        assert levels(film(example_head, variants), whole).max() > 0
    assert levels(film(example_head, variants), whole).max() == 0


# ---------------------------------------------------------------- on a GPU


def test_cuda_draws_the_frames_of_the_cpu(example_head: Artifact, trained: Path) -> None:
    works, reason = drawing.cuda_status()
    if not works:
        pytest.skip(f"no CUDA renderer: {reason}")
    for variants in (ANALYTIC, by(trained, DECODER + FINISH)):
        options = pipeline.RenderOptions(device="cuda")
        made = pipeline.animate(
            example_head, talking(example_head), options=options, variants=variants
        )
        apart = levels(list(made.frames), film(example_head, variants))
        assert apart.mean() < 0.1
        assert np.quantile(apart, 0.999) <= HALF_LEVELS
