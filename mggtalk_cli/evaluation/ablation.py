"""What each part is worth: self-reenactment with one part at a time switched off.

Parts of the geometry, of the sheets, of the colours, of the covariances, and of what the driver
says; each switched-off film stands as a method beside the full one. A part that a head does not
have (a mirrored side where the photo is frontal) changes nothing, and the numbers say so. Variants
of speech stand side by side in `evaluate audio`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from mggtalk_cli import drawing, inpaint, pipeline, splat, tensors
from mggtalk_cli import head as head_stage
from mggtalk_cli.assembly import assemble
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.replay import (
    Change,
    Film,
    Take,
    film_metrics,
    measure_films,
    played,
    record,
    take_of,
)
from mggtalk_cli.evaluation.report import OURS
from mggtalk_cli.evaluation.runs import Measured, Protocol, Source

FRAMES, FPS, MAX_SIDE = 50, 25.0, 512

# Trust in the depth prior at which the normals have no say any more.
PRIOR_ALONE = 1e4


@dataclass(frozen=True)
class Setup:
    """A clip and the full head of its frame 0."""

    take: Take
    head: pipeline.Artifact


class Switch(NamedTuple):
    """A part that can be switched off: what is off then, and the film without it."""

    definition: str
    film: Callable[[Setup], Iterator[np.ndarray]]


# ---------------------------------------------------------------- geometry


def _prior_alone(
    view: head_stage.HeadView, files: head_stage.MapFiles | None = None
) -> head_stage.Estimate:
    return head_stage.DEPTH["analytic"](view, files)._replace(prior_trust=PRIOR_ALONE)


def _flat(
    view: head_stage.HeadView, files: head_stage.MapFiles | None = None
) -> head_stage.Estimate:
    full = head_stage.DEPTH["analytic"](view, files)
    depth = np.where(view.valid, np.median(full.depth[view.face]), np.nan).astype(np.float32)
    facing = np.where(view.valid[..., None], [0.0, 0.0, 1.0], np.nan).astype(np.float32)
    return head_stage.Estimate(depth, facing, full.edge_stiffness, PRIOR_ALONE)


ESTIMATES = {"prior alone": _prior_alone, "flat": _flat}


@contextmanager
def _depth_variant(name: str) -> Iterator[None]:
    """Let `build_head` know one of `ESTIMATES` for a while."""
    head_stage.DEPTH[name] = ESTIMATES[name]
    try:
        yield
    finally:
        del head_stage.DEPTH[name]


def _with_depth(name: str, setup: Setup) -> Iterator[np.ndarray]:
    options = replace(setup.take.build_options(), depth=name)
    with _depth_variant(name):
        head = pipeline.build_head(setup.take.photo, options)
    return played(head, setup.take.recording.replayed())


# ---------------------------------------------------------------- sheets, colours, covariances


def without_sheets(head: pipeline.Artifact, prefixes: tuple[str, ...]) -> pipeline.Artifact:
    """Return the head with the sheets of some names made invisible."""
    points = np.add.reduceat(head.arrays["valid"].astype(np.int64), _starts(head))
    hidden = [name.startswith(prefixes) for name in head.meta["sheets"]]
    opacity = np.where(np.repeat(hidden, points), 0, head.arrays["opacity"]).astype(np.float32)
    return replace(head, arrays={**head.arrays, "opacity": opacity})


def _starts(head: pipeline.Artifact) -> np.ndarray:
    cells = head.arrays["grid_shape"].astype(np.int64).prod(1)
    return np.concatenate([[0], np.cumsum(cells)[:-1]])


def _hiding(prefixes: tuple[str, ...], setup: Setup) -> Iterator[np.ndarray]:
    return played(without_sheets(setup.head, prefixes), setup.take.recording.replayed())


def _uncompensated(setup: Setup) -> Iterator[np.ndarray]:
    built = assemble(setup.take.photo, setup.take.build_options()).arrays
    arrays = {**setup.head.arrays, "color": built["color"], "plate": built["plate"]}
    return played(replace(setup.head, arrays=arrays), setup.take.recording.replayed())


def _torso_still(setup: Setup) -> Iterator[np.ndarray]:
    follow = np.zeros_like(setup.head.arrays["rig_torso_follow"])
    head = replace(setup.head, arrays={**setup.head.arrays, "rig_torso_follow": follow})
    return played(head, setup.take.recording.replayed())


def _rest_covariances(setup: Setup) -> Iterator[np.ndarray]:
    """Yield frames whose Gaussians keep the shape that they have in the photo."""
    head = setup.head
    camera, sheet = tensors.camera_of(head), tensors.gaussian_sheet(head, "cpu")
    rest = next(drawing.point_frames(head, pipeline.RenderOptions()))
    still = splat.decode_analytic(*map(torch.from_numpy, (rest["points"], rest["gate"])), sheet)
    for frame in pipeline.deform(head, setup.take.recording.replayed()).frames():
        points, gate = torch.from_numpy(frame["points"]), torch.from_numpy(frame["gate"])
        gaussians = still._replace(means=points, opacities=sheet.opacities * gate)
        rgba = drawing.to_rgba(*drawing.rasterize(gaussians, camera, camera.viewmat))
        yield inpaint.composite(rgba, head.arrays["plate"])


def _densified(setup: Setup) -> Iterator[np.ndarray]:
    options = pipeline.RenderOptions(densify=True)
    return played(setup.head, setup.take.recording.replayed(), options)


# ---------------------------------------------------------------- the driver


def _driven(
    change: Callable[[FaceState, FaceState], FaceState], setup: Setup
) -> Iterator[np.ndarray]:
    reference = setup.take.recording.drive.reference

    def changed(index: int, state: FaceState) -> FaceState:
        return change(state, reference)

    step: Change = changed
    return played(setup.head, setup.take.recording.replayed(step))


def _landmarks_alone(setup: Setup) -> Iterator[np.ndarray]:
    clip = setup.take.clip
    recording = record(clip.path, len(clip.frames), fps=clip.fps, track="fast")
    return played(setup.head, recording.replayed())


def _no_residual(state: FaceState, reference: FaceState) -> FaceState:
    return replace(state, residual=reference.residual)


def _no_expression(state: FaceState, reference: FaceState) -> FaceState:
    return replace(state, beta=reference.beta, residual=reference.residual)


def _no_pose(state: FaceState, reference: FaceState) -> FaceState:
    return replace(state, rotation=reference.rotation, translation=reference.translation)


def _no_gaze(state: FaceState, reference: FaceState) -> FaceState:
    return replace(state, gaze=reference.gaze)


SWITCHES: dict[str, Switch] = {
    "no_depth": Switch("a flat card in place of the head's depth", partial(_with_depth, "flat")),
    "no_normals": Switch(
        "the depth prior alone, normals not integrated", partial(_with_depth, "prior alone")
    ),
    "no_symmetry": Switch("no mirrored side", partial(_hiding, ("mirror",))),
    "no_back": Switch("no rear of the head", partial(_hiding, ("back",))),
    "no_beyond": Switch("nothing beyond the photo's border", partial(_hiding, ("beyond",))),
    "no_eyes": Switch(
        "no whites, irises and lids of their own: what lies behind shows",
        partial(_hiding, ("white", "iris", "lid", "lashes")),
    ),
    "no_mouth": Switch(
        "no cavity, tongue and teeth: what lies behind shows",
        partial(_hiding, ("cavity", "tongue", "teeth")),
    ),
    "no_compensation": Switch("the photo's colours, not compensated for the blur", _uncompensated),
    "no_follow": Switch("shoulders that do not follow the head", _torso_still),
    "no_jacobian": Switch("Gaussians that keep their shape as the skin deforms", _rest_covariances),
    "densified": Switch("on, not off: four Gaussians per point", _densified),
    "no_flow": Switch("landmarks alone, not corrected by optical flow", _landmarks_alone),
    "no_residual": Switch(
        "the 52 coefficients alone, no landmark residual", partial(_driven, _no_residual)
    ),
    "no_expression": Switch("pose and gaze alone", partial(_driven, _no_expression)),
    "no_pose": Switch("expression and gaze alone", partial(_driven, _no_pose)),
    "no_gaze": Switch("eyes fixed in the head", partial(_driven, _no_gaze)),
}


# ---------------------------------------------------------------- protocol


def switched_films(take: Take, switches: Mapping[str, Switch]) -> dict[str, Film]:
    """Return the full film of a clip and one per part switched off, by method."""
    setup = Setup(take, pipeline.build_head(take.photo, take.build_options()))
    films: dict[str, Film] = {OURS: lambda: played(setup.head, take.recording.replayed())}
    return films | {name: partial(switch.film, setup) for name, switch in switches.items()}


def ablation_protocol(
    *,
    switches: Sequence[str] = (),
    frames: int = FRAMES,
    fps: float = FPS,
    max_side: int = MAX_SIDE,
) -> Protocol:
    """Return the protocol; its sources are clips of one face.

    Args:
        switches: what to switch off, keys of `SWITCHES`; none = each of them.
        frames: how many of each clip, the photo included.
        fps: rate at which clips are read.
        max_side: larger clips are scaled down to this longer side, px.

    Raises:
        InputError: an unknown switch.
    """
    for name in switches:
        if name not in SWITCHES:
            raise InputError(f"unknown switch {name!r}; choose from {', '.join(SWITCHES)}")
    chosen = {name: switch for name, switch in SWITCHES.items() if name in (switches or SWITCHES)}
    settings = {
        "switched_off": {name: switch.definition for name, switch in chosen.items()},
        "frames": frames,
        "fps": fps,
        "size": max_side,
    }

    def measure(source: Source) -> Measured:
        take = take_of(source.files[0], frames=frames, fps=fps, max_side=max_side)
        return measure_films(take, {**switched_films(take, chosen), **take.baselines()})

    return Protocol(
        name="ablation",
        settings=settings,
        main="head_db",
        ours=OURS,
        others=("repeat", "warp", *chosen),
        metrics=film_metrics(),
        measure=measure,
    )
