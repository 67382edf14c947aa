"""A head drawn too near moves too much when it turns, and the flow says by how much."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from mggtalk_cli import pipeline
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.evaluation.synthetic_portrait import draw_portrait
from mggtalk_cli.tensors import camera_of, gaussian_sheet, head_rig, source_state
from mggtalk_cli.training.driven import DrivenHead
from mggtalk_cli.training.parallax import Parallax, drawn_depth, seen_parallax
from mggtalk_cli.training.picture_flow import REDUCED

SIZE, FARTHER_CM = 192, 0.5
YAWS_DEG = (0.0, 8.0, -12.0)


@dataclass(frozen=True)
class Filmed:
    """An example of which only the flow is looked at."""

    flow: np.ndarray
    trust: np.ndarray

    def truth(self, name: str, start: int, stop: int) -> np.ndarray:
        return {"flow": self.flow, "trust": self.trust}[name][start:stop]


@pytest.fixture(scope="module")
def turning() -> DrivenHead:
    """A head that turns; all of it is truly half a centimetre farther than it was drawn."""
    head = pipeline.build_head(draw_portrait(SIZE), pipeline.BuildOptions(size=SIZE, crop="none"))
    camera, source = camera_of(head), source_state(head)
    turns = [matrix_from_angles(yaw, 0.0, 0.0) for yaw in YAWS_DEG]
    states = tuple(replace(source, rotation=source.rotation @ turn) for turn in turns)
    # Far from the camera every point of a turned head is displaced alike: by the turned ray.
    ray = camera.rays(np.array([SIZE / 2, SIZE / 2], np.float32))
    flow = np.zeros((len(turns), SIZE // REDUCED, SIZE // REDUCED, 2), np.float16)
    for index, turn in enumerate(turns):
        seen = camera.viewmat[:3, :3] @ (turn @ ray)
        distance = -source.translation[2]
        flow[index] = FARTHER_CM * camera.focal_px * seen[:2] / (distance + FARTHER_CM * seen[2])
    film = Filmed(flow, np.full(flow.shape[:3], 255, np.uint8))
    device = torch.device("cpu")
    rest = (head_rig(head), source, states, camera, gaussian_sheet(head, device), device)
    return DrivenHead(film, head, *rest)  # type: ignore[arg-type]


def test_depth_is_found_from_motion(turning: DrivenHead) -> None:
    seen = seen_parallax(turning)
    told = seen.curvature > 0.2 * seen.curvature.max()
    assert told.sum() > 0.1 * SIZE**2
    found = (seen.pull / seen.curvature.clamp_min(1e-9))[told]
    assert float(found.median()) == pytest.approx(FARTHER_CM, abs=0.05)
    assert found.quantile(0.1) > 0.3
    assert found.quantile(0.9) < 0.7


def test_the_true_offset_leaves_least_flow(turning: DrivenHead) -> None:
    seen = seen_parallax(turning)
    offsets = (0.0, 0.25, FARTHER_CM, 0.75, -FARTHER_CM)
    left = [float(seen.flow_left(torch.full_like(seen.pull, each))) for each in offsets]
    assert left[0] == 1
    assert min(left) == left[2] < 0.1
    assert left[4] > 3


def test_a_head_at_rest_says_nothing(turning: DrivenHead) -> None:
    still = replace(turning, states=(turning.source,) * 3)
    assert float(seen_parallax(still).curvature.max()) < 1e-6
    nothing = Parallax.none(8, 6)
    assert float(nothing.flow_left(torch.ones(1, 1, 8, 6))) == 1


def test_what_is_not_believed_does_not_count(turning: DrivenHead) -> None:
    film = turning.example
    assert isinstance(film, Filmed)
    doubted = replace(turning, example=replace(film, trust=0 * film.trust))
    assert all(float(each.abs().max()) == 0 for each in seen_parallax(doubted))


def test_a_surface_that_lies_elsewhere_lacks_the_rest(turning: DrivenHead) -> None:
    seen = seen_parallax(turning)
    moved = seen.beyond(torch.full_like(seen.pull, 0.3))
    rest, whole = torch.full_like(seen.pull, 0.2), torch.full_like(seen.pull, FARTHER_CM)
    left = seen.flow_left(whole) * seen.energy.sum()
    torch.testing.assert_close(moved.flow_left(rest) * moved.energy.sum(), left, rtol=1e-4, atol=0)
    depth = drawn_depth(turning)
    assert np.isfinite(depth).sum() == len(turning.grids["front"].places)
    assert 0 < np.nanmin(depth) < np.nanmax(depth) < 200
