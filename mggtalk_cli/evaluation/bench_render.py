"""How fast the renderer is: a face-like scene, forward and backward, beside the peers.

All renderers take turns on the same scene in one process, so that a busy neighbour slows all of
them alike; ratios are medians over the rounds. The first round compiles and warms up, and is not
counted.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.optimize
import torch

from mggtalk_cli import __version__
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.bench import REST, Timing, timing_of
from mggtalk_cli.evaluation.machine import Machine, describe_machine, load_average
from mggtalk_cli.evaluation.renderers import (
    OURS,
    OURS_ALONE,
    Renderer,
    find_renderers,
    on_device,
)
from mggtalk_cli.evaluation.roofline import Limits, count_pairs, measure_limits
from mggtalk_cli.render import rasterization
from mggtalk_cli.render.scene import Scene, face_scene

COUNTS = (100_000, 262_144, 524_288)
SIZES = (256, 512, 1024)
FORWARD, BOTH = "forward", "forward + backward"
# Gradients are taken with respect to these.
LEAVES = ("means", "quats", "scales", "opacities", "colors")


@dataclass(frozen=True)
class Run:
    """One renderer's time for one pass over one scene.

    Attributes:
        renderer: its name.
        work: `FORWARD` or `BOTH`.
        rounds: milliseconds of each round.
        total: the same, summed up.
        stages: milliseconds per stage where the renderer accounts for them, and the "rest".
        times_ours: median over the rounds of its time over ours; None without ours.
    """

    renderer: str
    work: str
    rounds: list[float]
    total: Timing
    stages: dict[str, Timing]
    times_ours: float | None


@dataclass(frozen=True)
class Cell:
    """One scene: N Gaussians in a square image.

    Attributes:
        gaussians: N.
        size: side of the image, px.
        visible: Gaussians in the image.
        tile_pairs: Gaussian-tile pairs, as the CPU renderer bins them.
        pairs: Gaussian-pixel pairs that have to be blended.
        pairs_per_second: the same over our forward time.
        limit_ms: least time of a forward pass on this machine.
        limit_share: the same over our forward time.
        runs: ours first.
    """

    gaussians: int
    size: int
    visible: int
    tile_pairs: int
    pairs: int
    pairs_per_second: float
    limit_ms: float
    limit_share: float
    runs: list[Run]

    def run(self, renderer: str, work: str) -> Run | None:
        """Return what one renderer took, None where it was left out."""
        wanted = (run for run in self.runs if (run.renderer, run.work) == (renderer, work))
        return next(wanted, None)


@dataclass(frozen=True)
class Cost:
    """Our forward time as a sum: ms = fixed + per Gaussian + per pair.

    Attributes:
        fixed_ms: part that depends on neither.
        ns_per_gaussian: slope in Gaussians.
        ns_per_pair: slope in blended pairs.
        worst: largest relative error of the sum over the cells.
    """

    fixed_ms: float
    ns_per_gaussian: float
    ns_per_pair: float
    worst: float


@dataclass(frozen=True)
class RenderBench:
    """The whole measurement; `left_out` says why a renderer or a pass is missing."""

    version: str
    machine: Machine
    limits: Limits
    rounds: int
    cells: list[Cell]
    cost: Cost | None
    left_out: dict[str, str]


def bench_render(
    counts: Sequence[int] = COUNTS,
    sizes: Sequence[int] = SIZES,
    *,
    rounds: int = 5,
    peers: bool = True,
    progress: Callable[[Iterator[Scene], int], Iterator[Scene]] | None = None,
) -> RenderBench:
    """Return how long rendering takes, for every number of Gaussians at every size.

    Args:
        counts: numbers of Gaussians.
        sizes: sides of the square image, px.
        rounds: measured rounds, after one that is not counted.
        peers: measure other renderers that are installed, too.
        progress: wraps the loop over scenes (items, count) to show how far it is.

    Raises:
        InputError: nothing to measure.
    """
    if rounds < 1 or not counts or not sizes:
        raise InputError(
            f"{rounds} rounds of {len(counts)} counts at {len(sizes)} sizes measure nothing"
        )
    before = load_average()
    renderers, left_out = find_renderers(peers=peers)
    limits = measure_limits()
    scenes = (face_scene(n, width=size, height=size) for size in sizes for n in counts)
    total = len(counts) * len(sizes)
    cells = [
        _cell(scene, renderers, rounds, limits, left_out)
        for scene in (scenes if progress is None else progress(scenes, total))
    ]
    return RenderBench(
        version=__version__,
        machine=describe_machine(before),
        limits=limits,
        rounds=rounds,
        cells=cells,
        cost=fit_cost(cells),
        left_out=left_out,
    )


def _cell(
    scene: Scene, renderers: list[Renderer], rounds: int, limits: Limits,
    left_out: dict[str, str],
) -> Cell:  # fmt: skip
    taken: dict[tuple[str, str], list[dict[str, float]]] = {}
    for number in range(rounds + 1):
        for renderer in (r for r in renderers if r.takes(scene)):
            if renderer.once and number:
                continue
            for work in (FORWARD, BOTH):
                name = f"{renderer.name}: {work}"
                if name in left_out:
                    continue
                try:
                    spent = _timed(renderer, scene, backward=work == BOTH)
                # Whatever stops one of the others must not stop the measurement.
                except Exception as error:
                    if renderer.name == OURS and work == FORWARD:
                        raise
                    left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                    continue
                if number or renderer.once:
                    taken.setdefault((renderer.name, work), []).append(spent)
    meta = rasterization(**vars(scene), backend="cpu")[2]
    ours = timing_of([spent["total"] for spent in taken[OURS, FORWARD]]).median
    pairs = count_pairs(scene)
    limit = limits.least_milliseconds(len(scene.means), scene.width * scene.height, pairs)
    return Cell(
        gaussians=len(scene.means),
        size=scene.width,
        visible=meta["visible"][0],
        tile_pairs=meta["pairs"][0],
        pairs=pairs,
        pairs_per_second=1e3 * pairs / ours,
        limit_ms=limit,
        limit_share=limit / ours,
        runs=[
            _run(renderer.name, work, taken[renderer.name, work], taken.get((OURS, work)))
            for renderer in renderers
            for work in (FORWARD, BOTH)
            if (renderer.name, work) in taken
        ],
    )


def _timed(renderer: Renderer, scene: Scene, *, backward: bool) -> dict[str, float]:
    """Return milliseconds of one pass: the renderer's own stages, what they leave, "total"."""
    scene = on_device(scene, renderer.device)
    leaves = {name: getattr(scene, name).detach().requires_grad_(backward) for name in LEAVES}
    given = replace(scene, **leaves)
    threads = torch.get_num_threads()
    torch.set_num_threads(renderer.threads or threads)
    try:
        # Peers warn of what they do themselves.
        with torch.set_grad_enabled(backward), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _wait(renderer.device)
            begin = time.perf_counter()
            outputs, stages = renderer.render(given)
            if backward:
                ones = [torch.ones_like(output) for output in outputs]
                torch.autograd.grad(outputs, tuple(leaves.values()), ones, allow_unused=True)
            _wait(renderer.device)
            total = 1e3 * (time.perf_counter() - begin)
            rest = {REST: total - sum(stages.values())} if stages else {}
            return {**stages, **rest, "total": total}
    finally:
        torch.set_num_threads(threads)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _run(
    renderer: str, work: str, spent: list[dict[str, float]], ours: list[dict[str, float]] | None
) -> Run:
    totals = [one["total"] for one in spent]
    stages = {name: timing_of([one[name] for one in spent]) for name in spent[0] if name != "total"}
    return Run(renderer, work, totals, timing_of(totals), stages, _ratio(totals, ours))


def _ratio(totals: list[float], ours: list[dict[str, float]] | None) -> float | None:
    """Return the median ratio over the rounds, or of the medians for unequal numbers of rounds."""
    if ours is None:
        return None
    own = [one["total"] for one in ours]
    if len(own) != len(totals):
        return statistics.median(totals) / statistics.median(own)
    return statistics.median(a / b for a, b in zip(totals, own, strict=True))


def speed_up(cell: Cell, work: str) -> float | None:
    """Return how many times as fast all threads are as one, None where there is but one."""
    alone = cell.run(OURS_ALONE, work)
    return None if alone is None else alone.times_ours


def fit_cost(cells: list[Cell]) -> Cost | None:
    """Return our forward time as a sum over Gaussians and pairs; None for too few cells.

    Least squares of the relative error of the quickest round, which a busy machine disturbs least.
    """
    if len(cells) < 4:
        return None
    runs = [cell.run(OURS, FORWARD) for cell in cells]
    spent = np.array([run.total.least for run in runs if run is not None])
    rows = np.array([(1.0, cell.gaussians / 1e6, cell.pairs / 1e6) for cell in cells])
    parts, _ = scipy.optimize.nnls(rows / spent[:, None], np.ones(len(cells)))
    worst = float(np.abs(rows @ parts / spent - 1).max())
    return Cost(*(float(part) for part in parts), worst)
