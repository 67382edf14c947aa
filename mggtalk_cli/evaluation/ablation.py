"""What each part is worth: self-reenactment with one part at a time switched off.

Parts of the geometry, of the sheets, of the colours, of the covariances, and of what the driver
says, and each stage that is learned; each switched-off film stands as a method beside the full one.
A part that a head does not have (a mirrored side where the photo is frontal) changes nothing, and
the numbers say so. Variants of speech stand side by side in `evaluate audio`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np

from mggtalk_cli import drawing, pipeline, tensors
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
    """A clip, the full head of its frame 0, and the variants of the stages."""

    take: Take
    head: pipeline.Artifact
    variants: pipeline.Variants = pipeline.ANALYTIC

    @classmethod
    def of(cls, take: Take, variants: pipeline.Variants) -> Setup:
        """Return a clip with its head."""
        head = pipeline.build_head(take.photo, take.build_options(), variants=variants)
        return cls(take, head, variants)

    def film(
        self,
        head: pipeline.Artifact | None = None,
        drive: pipeline.Drive | None = None,
        options: pipeline.RenderOptions | None = None,
    ) -> Iterator[np.ndarray]:
        """Yield the frames (H, W, 3) uint8 of a driven head; the full ones if nothing is given."""
        drive = drive or self.take.recording.replayed()
        return played(head or self.head, drive, options, self.variants)


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
        head = pipeline.build_head(setup.take.photo, options, variants=setup.variants)
    return setup.film(head)


def _unfiltered(setup: Setup) -> Iterator[np.ndarray]:
    """Yield frames of a head whose mirrored side has not gone through the voxel filter."""
    options = replace(setup.take.build_options(), voxel_size_cm=0.0)
    return setup.film(pipeline.build_head(setup.take.photo, options, variants=setup.variants))


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
    return setup.film(without_sheets(setup.head, prefixes))


def _uncompensated(setup: Setup) -> Iterator[np.ndarray]:
    take, refiner = setup.take, setup.variants.refinement()
    built = assemble(take.photo, take.build_options(), refiner).arrays
    arrays = {**setup.head.arrays, "color": built["color"], "plate": built["plate"]}
    return setup.film(replace(setup.head, arrays=arrays))


def _torso_still(setup: Setup) -> Iterator[np.ndarray]:
    follow = np.zeros_like(setup.head.arrays["rig_torso_follow"])
    return setup.film(replace(setup.head, arrays={**setup.head.arrays, "rig_torso_follow": follow}))


def _rest_covariances(setup: Setup) -> Iterator[np.ndarray]:
    """Yield frames whose Gaussians keep the shape that they have in the photo."""
    head, variants = setup.head, setup.variants
    camera, decoded = tensors.camera_of(head), variants.gaussians_of(head)
    finish = variants.finisher(head, head.arrays["plate"])
    still = decoded(next(drawing.point_frames(head, pipeline.RenderOptions())))
    drive = setup.take.recording.replayed()
    for frame in pipeline.deform(head, drive, variants=variants).frames():
        gaussians = decoded(frame)._replace(
            tangents=still.tangents, thickness_cm=still.thickness_cm
        )
        rgba = drawing.to_rgba(*drawing.rasterize(gaussians, camera, camera.viewmat))
        yield finish({"rgba": rgba, **drawing.seen_face(frame, camera, camera.viewmat)})


def _densified(setup: Setup) -> Iterator[np.ndarray]:
    return setup.film(options=pipeline.RenderOptions(densify=True))


# ---------------------------------------------------------------- the driver


def _driven(
    change: Callable[[FaceState, FaceState], FaceState], setup: Setup
) -> Iterator[np.ndarray]:
    reference = setup.take.recording.drive.reference

    def changed(index: int, state: FaceState) -> FaceState:
        return change(state, reference)

    step: Change = changed
    return setup.film(drive=setup.take.recording.replayed(step))


def _landmarks_alone(setup: Setup) -> Iterator[np.ndarray]:
    clip = setup.take.clip
    recording = record(clip.path, len(clip.frames), fps=clip.fps, track="fast")
    return setup.film(drive=recording.replayed())


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
    "no_filter": Switch("the mirrored side without its voxel filter", _unfiltered),
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


# ---------------------------------------------------------------- learned stages


def _by(
    change: Callable[[pipeline.Variants], pipeline.Variants], setup: Setup
) -> Iterator[np.ndarray]:
    variants = change(setup.variants)
    if variants.refiner is setup.variants.refiner:
        return Setup(setup.take, setup.head, variants).film()
    return Setup.of(setup.take, variants).film()


def _analytic(stage: str, variants: pipeline.Variants) -> pipeline.Variants:
    return variants.without(stage)


def _no_sym_decoder(variants: pipeline.Variants) -> pipeline.Variants:
    assert variants.decoder is not None
    return replace(variants, decoder=replace(variants.decoder, sym_decoder=None))


def learned_switches(variants: pipeline.Variants) -> dict[str, Switch]:
    """Return a switch for every stage that is learned, and for a symmetric decoder."""
    found = {
        f"no_{stage}": Switch(
            f"the analytic variant of {stage}", partial(_by, partial(_analytic, stage))
        )
        for stage in variants.learned
    }
    if variants.decoder is not None and variants.decoder.sym_decoder is not None:
        found["no_sym_decoder"] = Switch(
            "no symmetric decoder: the mirrored side takes the front's corrections, mirrored",
            partial(_by, _no_sym_decoder),
        )
    return found


# ---------------------------------------------------------------- protocol


def switched_films(
    take: Take, switches: Mapping[str, Switch], variants: pipeline.Variants = pipeline.ANALYTIC
) -> dict[str, Film]:
    """Return the full film of a clip and one per part switched off, by method."""
    setup = Setup.of(take, variants)
    films: dict[str, Film] = {OURS: setup.film}
    return films | {name: partial(switch.film, setup) for name, switch in switches.items()}


def ablation_protocol(
    *,
    switches: Sequence[str] = (),
    frames: int = FRAMES,
    fps: float = FPS,
    max_side: int = MAX_SIDE,
    variants: pipeline.Variants = pipeline.ANALYTIC,
) -> Protocol:
    """Return the protocol; its sources are clips of one face.

    Args:
        switches: what to switch off, keys of `SWITCHES` and `learned_switches`; none = each.
        frames: how many of each clip, the photo included.
        fps: rate at which clips are read.
        max_side: larger clips are scaled down to this longer side, px.
        variants: analytic or learned stages of the full film.

    Raises:
        InputError: an unknown switch.
    """
    known = SWITCHES | learned_switches(variants)
    for name in switches:
        if name not in known:
            raise InputError(f"unknown switch {name!r}; choose from {', '.join(known)}")
    chosen = {name: switch for name, switch in known.items() if name in (switches or known)}
    settings = {
        "switched_off": {name: switch.definition for name, switch in chosen.items()},
        "frames": frames,
        "fps": fps,
        "size": max_side,
        "variants": variants.settings,
    }

    def measure(source: Source) -> Measured:
        take = take_of(source.files[0], frames=frames, fps=fps, max_side=max_side)
        return measure_films(take, {**switched_films(take, chosen, variants), **take.baselines()})

    return Protocol(
        name="ablation",
        settings=settings,
        main="head_db",
        ours=OURS,
        others=("repeat", "warp", *chosen),
        metrics=film_metrics(),
        measure=measure,
    )
