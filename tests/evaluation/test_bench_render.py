"""The renderer's benchmark: all renderers draw one scene, and the numbers mean what they say."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mggtalk_cli.cli.app import app
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import bench_render as module
from mggtalk_cli.evaluation import renderers
from mggtalk_cli.evaluation.bench import Timing
from mggtalk_cli.evaluation.bench_render import BOTH, FORWARD, Cell, Run, bench_render, fit_cost
from mggtalk_cli.evaluation.renderers import OURS, OURS_ALONE, PROJECTION, Renderer
from mggtalk_cli.evaluation.roofline import (
    GAUSSIAN_FLOPS,
    PAIR_FLOPS,
    Limits,
    count_pairs,
    measure_limits,
    raster_inputs,
)
from mggtalk_cli.render import rasterization, reference
from mggtalk_cli.render.scene import face_scene

SMALL = ["bench", "render", "--count", "400", "--size", "32", "--rounds", "2", "-q"]


def test_pairs_are_those_that_change_the_image():
    """Each pair of colour 1 that is blended gets a gradient; no other does."""
    scene = face_scene(49, width=16, height=12)
    scene = replace(scene, opacities=torch.linspace(0.0, 1.0, 49))
    count = 0
    for y, x in np.ndindex(12, 16):
        colors = torch.ones(49, 1, requires_grad=True)
        given = {**vars(scene), "colors": colors, "sh_degree": None}
        image = rasterization(**given, backend="reference")[0]
        count += int((torch.autograd.grad(image[0, y, x, 0], colors)[0] > 0).sum())
    assert count_pairs(scene) == count


def test_limit_is_the_slower_of_moving_and_computing():
    gaussians, pixels, pairs = 1000, 500, 10**6
    flops = GAUSSIAN_FLOPS * gaussians + PAIR_FLOPS * pairs
    computing = Limits(gflops=1.0, gigabytes=1e6).least_milliseconds(gaussians, pixels, pairs)
    assert computing == pytest.approx(flops / 1e6)
    moving = Limits(gflops=1e9, gigabytes=1.0).least_milliseconds(gaussians, pixels, pairs)
    assert moving == pytest.approx((188 * gaussians + 16 * pixels) / 1e6)
    found = measure_limits()
    assert found.gflops > 0
    assert found.gigabytes > 0


def test_cost_is_found_in_exact_times():
    def cell(gaussians: int, pairs: int) -> Cell:
        spent = 2.0 + 50e-6 * gaussians + 3e-6 * pairs
        run = Run(OURS, FORWARD, [spent], Timing(spent, spent, spent), {}, 1.0)
        return Cell(gaussians, 64, gaussians, 0, pairs, 0.0, 0.0, 0.0, [run])

    sizes = ((100_000, 4_000_000), (262_144, 5_000_000), (524_288, 6_000_000), (9_999, 10**7))
    cost = fit_cost([cell(*size) for size in sizes])
    assert cost is not None
    found = (cost.fixed_ms, cost.ns_per_gaussian, cost.ns_per_pair)
    assert found == pytest.approx((2, 50, 3))
    assert cost.worst < 1e-6
    assert fit_cost([cell(*sizes[0])]) is None


def test_yardstick_projects_what_the_reference_projects():
    scene = face_scene(100, width=40, height=30)
    (means2d, depths, conics, colors), _ = renderers._gsplat_projection(scene)
    inputs = raster_inputs(scene)
    true_means2d, true_depths, true_conics, _, order = reference.project(inputs, 0)
    assert torch.allclose(means2d[0][order], true_means2d, atol=1e-4)
    assert torch.allclose(depths[0][order], true_depths, atol=1e-4)
    flat = true_conics.reshape(-1, 4)[:, [0, 1, 3]]
    assert torch.allclose(conics[0][order], flat, rtol=1e-3, atol=1e-4)
    assert torch.allclose(colors[0], reference.camera_colors(inputs, 0), atol=1e-5)


def test_metal_gauss_draws_the_same_picture():
    pytest.importorskip("metal_gauss", reason="metal-gauss is not installed")
    scene = face_scene(400, width=32, height=32)
    (theirs,), _ = renderers._metal_gauss(scene)
    (ours,), _ = renderers._ours(scene)
    # It cuts Gaussians off at three standard deviations.
    assert (theirs - ours[0]).abs().mean() < 2e-3


@pytest.mark.parametrize("rounds", [0, -1])
def test_nothing_to_measure_is_refused(rounds: int):
    with pytest.raises(InputError, match="measure nothing"):
        bench_render((400,), (32,), rounds=rounds)


def test_whoever_fails_is_left_out_with_its_reason(monkeypatch):
    def fails(scene):
        raise RuntimeError("no such\nkernel")

    found = [Renderer(OURS, renderers._ours), Renderer("broken", fails)]
    found.append(Renderer("slow", renderers._ours, once=True))
    found.append(Renderer("small", renderers._ours, most_gaussians=10))
    monkeypatch.setattr(module, "find_renderers", lambda *, peers: (list(found), {}))
    threads = torch.get_num_threads()
    measured = bench_render((400,), (32,), rounds=2)
    (cell,) = measured.cells
    names = [(run.renderer, run.work, len(run.rounds)) for run in cell.runs]
    assert names == [
        *((OURS, FORWARD, 2), (OURS, BOTH, 2)),
        *(("slow", FORWARD, 1), ("slow", BOTH, 1)),
    ]
    reason = "RuntimeError: no such"
    assert measured.left_out == {f"broken: {work}": reason for work in (FORWARD, BOTH)}
    assert torch.get_num_threads() == threads


def test_command_prints_json():
    result = CliRunner().invoke(app, [*SMALL, "--size", "48", "--no-peers", "--json"])
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [(cell["gaussians"], cell["size"]) for cell in found["cells"]] == [(400, 32), (400, 48)]
    for cell in found["cells"]:
        assert cell["pairs"] > cell["tile_pairs"] >= cell["visible"] == 400
        assert 0 < cell["limit_share"] < 1
        runs = {(run["renderer"], run["work"]): run for run in cell["runs"]}
        several = torch.get_num_threads() > 1
        assert {name for name, _ in runs} == ({OURS, OURS_ALONE} if several else {OURS})
        forward, both = runs[OURS, FORWARD], runs[OURS, BOTH]
        assert set(forward["stages"]) == {"project", "sort", "bin", "blend", "rest"}
        assert set(both["stages"]) > set(forward["stages"])
        for run in (forward, both):
            assert len(run["rounds"]) == 2
            assert all(timing["least"] >= 0 for timing in run["stages"].values())
            spent = sum(timing["least"] for timing in run["stages"].values())
            assert spent <= run["total"]["median"]
        assert cell["pairs_per_second"] == pytest.approx(
            1e3 * cell["pairs"] / forward["total"]["median"]
        )


def test_command_prints_tables(monkeypatch):
    found = [Renderer(OURS, renderers._ours), Renderer(PROJECTION, renderers._gsplat_projection)]
    reasons = {"gsplat CUDA": "no device"}
    monkeypatch.setattr(module, "find_renderers", lambda *, peers: (found, reasons))
    result = CliRunner().invoke(app, SMALL)
    assert result.exit_code == 0, result.stderr
    for text in ("of limit", "backward: blend", PROJECTION, "left out: gsplat CUDA: no device"):
        assert text in result.stdout
