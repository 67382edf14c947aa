"""Which variant of a stage runs, analytic or learned, and what the pipeline calls for it.

A learned stage's networks come from weights that ship with the program, or from a checkpoint of
`mggtalk train`; one file may serve several stages. `Variants` holds the networks of all stages and
makes of them what `pipeline.py` calls frame by frame: deformation, decoders, the finished picture.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from mggtalk_cli import deform as deforming
from mggtalk_cli import head as building
from mggtalk_cli import inpaint as inpainting
from mggtalk_cli import splat
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.checkpoint import Checkpoint, read_checkpoint, restore
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.precision import HALF_ON, halve
from mggtalk_cli.errors import ArtifactError, InputError, WeightsError
from mggtalk_cli.head.refiner import RefinerConfig, RefinerNetwork, as_refiner
from mggtalk_cli.tensors import gaussian_sheet, named_grids, photo_landmarks

log = logging.getLogger("mggtalk")

# Stage -> the command that runs it; `animate` runs all.
STAGES = {
    "refiner": "build-head",
    "deform": "deform",
    "decoder": "render",
    "inpaint": "inpaint",
    "mouth": "inpaint",
}

# Stage -> weights that ship, as a path in the package, and their SHA-256. A stage is here only if
# they beat its analytic variant on people held out from their training.
SHIPPED: dict[str, tuple[str, str]] = {
    "refiner": (
        "head/data/refiner.safetensors",
        "b8f35a6ba00766538b747dfd32c3a4c3d94248b9cb7fa97ff76c870f40ee32c4",
    ),
}

ANALYTIC_NAME, LEARNED_NAME = "analytic", "learned"

PACKAGE = Path(__file__).parent

Frame = Mapping[str, np.ndarray]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Variants:
    """The networks of every learned stage; None where the stage is analytic.

    Attributes:
        refiner: corrects the depth of a head.
        deform: displaces points.
        decoder: makes Gaussians of points.
        inpaint: changes the composite.
        patches: correct mouth and eyes of the final frame, by name.
        files: stage -> name and SHA-256 of the file its networks come from.
        optional: stages whose networks nobody asked for: where an artifact lacks what they need,
            or a photo brings its own depth, the stage is analytic.
    """

    refiner: RefinerNetwork | None = None
    deform: deforming.DeformNetwork | None = None
    decoder: splat.DecoderNetworks | None = None
    inpaint: inpainting.Inpainter | None = None
    patches: Mapping[str, inpainting.PatchNetwork] | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()

    @property
    def learned(self) -> tuple[str, ...]:
        """The stages that are not analytic."""
        return tuple(stage for stage in STAGES if getattr(self, FIELDS[stage]) is not None)

    @property
    def settings(self) -> dict[str, str]:
        """Every stage's variant, for reports: "analytic", or name and SHA-256 of its weights."""
        return {
            stage: self.files.get(stage, LEARNED_NAME) if stage in self.learned else ANALYTIC_NAME
            for stage in STAGES
        }

    def without(self, *stages: str) -> Variants:
        """Return the same with some stages analytic."""
        files = {stage: name for stage, name in self.files.items() if stage not in stages}
        none: dict[str, Any] = {FIELDS[stage]: None for stage in stages}
        return replace(self, **none, files=files)

    def refinement(self, *, measured: bool = False) -> building.Refiner:
        """Return what gives depth offsets on the integrated surface.

        Args:
            measured: it is of somebody's depth or normals. The refiner knows what our guess
                lacks; there it is used only if asked for.
        """
        if self.refiner is None or (measured and "refiner" in self.optional):
            return building.no_refinement
        return as_refiner(self.refiner)

    def deformer(
        self, rig: deforming.HeadRig, source: FaceState
    ) -> Callable[[FaceState], deforming.Deformed]:
        """Return the deformation of one head, photographed in state `source`."""
        if self.deform is not None:
            return deforming.learned_deformer(self.deform, rig, source)
        return lambda target: deforming.deform_analytic(rig, source, target)

    def gaussians_of(
        self, artifact: Artifact, device: str = "cpu", *, densify: bool = False
    ) -> Callable[[Mapping[str, Any]], splat.Gaussians]:
        """Return what makes Gaussians of a frame of points, or of several side by side.

        Args:
            artifact: the head, or its points.
            device: where they are wanted.
            densify: four Gaussians per point.

        Raises:
            ArtifactError: points that lack what the decoder that was asked for needs.
        """
        sheet, decoder = gaussian_sheet(artifact, device), self._decoder(artifact, device)

        def decoded(frame: Mapping[str, Any]) -> splat.Gaussians:
            points, gate = (torch.as_tensor(frame[n]).to(device) for n in ("points", "gate"))
            if decoder is None:
                gaussians = splat.decode_analytic(points, gate, sheet)
                return splat.densify_gaussians(gaussians) if densify else gaussians
            with torch.no_grad():
                gaussians = decoder.decode(points, gate, sheet)
                return decoder.densify(gaussians) if densify else gaussians

        return decoded

    def finisher(
        self,
        frames: Artifact,
        plate: np.ndarray | None,
        device: str = "cpu",
        *,
        own_plate: bool = True,
    ) -> Callable[[Frame], np.ndarray]:
        """Return what makes the final picture (H, W, 3 or 4) uint8 of a rendered frame.

        Args:
            frames: a frames artifact (or the head), for its header arrays.
            plate: (H, W, 3) uint8 behind the person; None leaves the frame transparent.
            device: where networks run.
            own_plate: the plate is the photo's.

        Raises:
            ArtifactError: frames that lack what the networks that were asked for need.
        """
        join: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
        if self.inpaint is not None:
            join = inpainting.learned_inpainter(
                _on(self.inpaint, device), frames.arrays["matte"] if own_plate else None
            )
        touch = self._touch(frames, device)

        def finished(frame: Frame) -> np.ndarray:
            image = frame["rgba"]
            if plate is not None:
                image = inpainting.composite(image, plate) if join is None else join(image, plate)
            if touch is None:
                return image
            return touch(image, frame.get("landmarks"), frame.get("beta"))

        return finished

    def _decoder(self, artifact: Artifact, device: str) -> splat.LearnedDecoder | None:
        """Return the learned decoder of a head, None where the analytic one is to be used."""
        if self.decoder is None:
            return None
        image = artifact.arrays["image"]
        try:
            front, mirror = _decoder_grids(artifact, device)
        except ArtifactError as error:
            self._fall_back("decoder", error)
            return None
        parts = {name: _on(part, device) for name, part in self.decoder.by_name().items()}
        photo = torch.from_numpy(image.copy()).to(device).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            networks: Any = splat.DecoderNetworks(**parts)  # type: ignore[arg-type]
            return splat.LearnedDecoder.of(networks, photo, front, mirror)

    def _touch(self, frames: Artifact, device: str) -> Callable[..., np.ndarray] | None:
        if self.patches is None:
            return None
        seen = photo_landmarks(frames)
        networks = {name: _on(network, device) for name, network in self.patches.items()}
        try:
            return inpainting.learned_patches(
                networks, frames.arrays["image"], seen.get("photo_landmarks")
            )
        except ArtifactError as error:
            self._fall_back("mouth", error)
            return None

    def _fall_back(self, stage: str, error: ArtifactError) -> None:
        """Let a stage be analytic if nobody asked for more; else the error stands."""
        if stage not in self.optional:
            raise error
        log.warning("%s: the %s stage is analytic", error, stage)


ANALYTIC = Variants()


def _decoder_grids(
    artifact: Artifact, device: str
) -> tuple[splat.SheetGrid, splat.SheetGrid | None]:
    """Return the grids of the front sheet and, where there is one, of its mirror image."""
    grids, size = named_grids(artifact, device), artifact.arrays["image"].shape[:2]
    known = {name: grids[name] for name in (splat.FRONT, splat.MIRROR) if name in grids}
    if splat.FRONT not in known or any(tuple(grid.valid.shape) != size for grid in known.values()):
        raise ArtifactError(
            f"{artifact.kind} without a front sheet of the photo's size, which the decoder needs: "
            "build the head again"
        )
    return known[splat.FRONT], known.get(splat.MIRROR)


def _on(network: Module, device: str) -> Module:
    """Return a network on a device: itself, or a copy, of half precision where that is the rule."""
    half = HALF_ON.get(device)
    if half is None and next(network.parameters()).device == torch.device(device):
        return network
    moved = copy.deepcopy(network).to(device)
    if half is not None:
        halve(moved, half)
    return moved


# ---------------------------------------------------------------- choosing


def chosen_by_stage(texts: Sequence[str]) -> dict[str, str]:
    """Return what was chosen by STAGE=CHOICE texts: stage -> analytic, learned or a file.

    Raises:
        InputError: another form, an unknown stage, or a stage that is there twice.
    """
    chosen: dict[str, str] = {}
    for text in texts:
        stage, _, choice = text.partition("=")
        if not stage or not choice:
            raise InputError(
                f"--variant {text}: STAGE={ANALYTIC_NAME}|{LEARNED_NAME}|FILE is asked"
            )
        if stage not in STAGES:
            near = get_close_matches(stage, STAGES, 1)
            hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(STAGES)}"
            raise InputError(f"--variant {text}: no stage is called {stage!r}: {hint}")
        if stage in chosen:
            raise InputError(f"--variant {text}: {stage} is there twice, leave one out")
        chosen[stage] = choice
    return chosen


def choose_variants(
    texts: Sequence[str] | None = (), *, stages: Sequence[str] = tuple(STAGES)
) -> Variants:
    """Return the variants of stages; one not named takes weights that ship, or is analytic.

    Args:
        texts: STAGE=analytic, STAGE=learned (weights that ship) or STAGE=FILE (a checkpoint).
        stages: those to be run; others must not be named.

    Raises:
        InputError: see `chosen_by_stage`, or a stage that is not run.
        WeightsError: no weights ship for it, or a checkpoint cannot be used.
    """
    chosen = chosen_by_stage(texts or ())
    for stage in chosen:
        if stage not in stages:
            raise InputError(
                f"--variant {stage}={chosen[stage]}: {stage} is not run here but by "
                f"`mggtalk {STAGES[stage]}` (and `mggtalk animate`): give it there"
            )
    read = cache(read_checkpoint)
    parts: dict[str, Any] = {}
    files: dict[str, str] = {}
    for stage in stages:
        found = _weights_of(stage, chosen.get(stage))
        if found is not None:
            path, sha256 = found
            checkpoint = read(path, sha256=sha256)
            parts[FIELDS[stage]] = _restored(stage, checkpoint)
            files[stage] = f"{checkpoint.name} {checkpoint.sha256}"
    return Variants(**parts, files=files, optional=frozenset(files) - frozenset(chosen))


def _weights_of(stage: str, choice: str | None) -> tuple[Path, str | None] | None:
    """Return file and SHA-256 of a stage's weights, None where it is analytic."""
    if choice == ANALYTIC_NAME or (choice is None and stage not in SHIPPED):
        return None
    if choice is not None and choice != LEARNED_NAME:
        return Path(choice), None
    if stage not in SHIPPED:
        raise WeightsError(
            f"--variant {stage}={choice}: no weights ship for {stage}, as none beat the analytic "
            f"variant on unseen people: take {stage}={ANALYTIC_NAME}, or {stage}=FILE of "
            f"`mggtalk train {stage}`"
        )
    name, sha256 = SHIPPED[stage]
    return PACKAGE / name, sha256


# Stage -> field of `Variants` that holds its networks.
FIELDS = {stage: "patches" if stage == "mouth" else stage for stage in STAGES}

# Stages of one network, which has the stage's name in a checkpoint: how it is made.
_SINGLE: dict[str, tuple[Callable[[Any], Any], type[Any]]] = {
    "refiner": (RefinerNetwork, RefinerConfig),
    "deform": (deforming.DeformNetwork, deforming.DeformConfig),
    "inpaint": (inpainting.Inpainter, inpainting.InpaintConfig),
}


def _restored(stage: str, checkpoint: Checkpoint) -> Any:
    """Return the networks of a stage in a checkpoint, as the field of `Variants` holds them.

    Raises:
        WeightsError: it holds none of the stage, or they do not fit.
    """
    if stage == "decoder":
        return splat.DecoderNetworks.restored(checkpoint)
    if stage in _SINGLE:
        return restore(checkpoint.stored(stage), stage, *_SINGLE[stage])
    names = [name for name in inpainting.REGIONS if name in checkpoint.networks] or [stage]
    return {
        name: restore(
            checkpoint.stored(name), name, inpainting.PatchNetwork, inpainting.PatchConfig
        )
        for name in names
    }
