"""One example as the stages see it: the head of its first frame, driven by its own motion.

Training and inference compose the same stage functions; here they stay differentiable, one frame
at a time, with the true frame beside it. Rig and handles stay on the CPU, where the deformation is
computed; everything that leaves this module (pictures, points, sheets) is on the head's device,
which is to be that of the networks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli import deform, inpaint, splat
from mggtalk_cli.artifacts import Artifact
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.drawing import rasterize
from mggtalk_cli.pipeline import target_states
from mggtalk_cli.tensors import camera_of, gaussian_sheet, head_rig, named_grids, source_state
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.example_folder import CLIP
from mggtalk_cli.training.schedule import example_seed

# Heads kept in memory, 10 to 40 MB each.
KEPT_HEADS = 64

# Points behind the camera are taken to be this far before it, so that no division fails.
NEAREST_CM = 1e-3

Picture = Float[Tensor, "1 3 h w"]
Mask = Float[Tensor, "1 1 h w"]


@dataclass(frozen=True)
class Moment:
    """A frame of an example: `head` in `state`; `index` 0 is the photo itself."""

    head: DrivenHead
    index: int

    @property
    def state(self) -> FaceState:
        """What the head is to do."""
        return self.head.states[self.index]

    @property
    def before(self) -> Moment:
        """The frame before it."""
        return Moment(self.head, self.index - 1)

    @cached_property
    def truth(self) -> Picture:
        """The true frame, 0..1."""
        return self.head.picture(self._row("frames"))

    @cached_property
    def person(self) -> Mask:
        """Coverage of the person in it, 0..1."""
        return self.head.picture(self._row("person"))

    @cached_property
    def flow(self) -> tuple[Float[Tensor, "r c 2"], Float[Tensor, "r c"]]:
        """Flow from the analytic frame to the true one in px, and the trust in it 0..1."""
        names = ("flow", "trust")
        flow, trust = (torch.from_numpy(self._row(name).astype(np.float32)) for name in names)
        return flow.to(self.head.device), trust.to(self.head.device) / 255

    @cached_property
    def landmarks(self) -> np.ndarray:
        """Where the analytic head's landmarks (468, 2) are seen, px."""
        head = self.head
        posed = deform.posed_landmarks(head.rig, head.source, self.state)
        return np.asarray(head.camera.project(posed)[:, :2], np.float32)

    def analytic(self) -> deform.Deformed:
        """Return the analytic deformation, without gradients."""
        head = self.head
        with torch.no_grad():
            return head.placed(deform.deform_analytic(head.rig, head.source, self.state))

    def learned(self, network: deform.DeformNetwork) -> deform.Deformed:
        """Return the deformation by a network."""
        head = self.head
        given = (head.rig, head.source, self.state, network, head.handles)
        return head.placed(deform.deform_learned(*given))

    def gaussians(self, posed: deform.Deformed) -> splat.Gaussians:
        """Return the analytic Gaussians of posed points."""
        return splat.decode_analytic(posed.points, posed.visibility, self.head.sheet)

    def drawn(self, posed: deform.Deformed) -> Picture:
        """Return the final frame of posed points, analytic from there on."""
        return self.head.finished(*self.head.drawn(self.gaussians(posed)))

    def render(self) -> tuple[Picture, Mask]:
        """Return the analytic render that was stored: premultiplied colour and alpha."""
        rgba = self.head.picture(self._row("render"))
        return rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]

    def _row(self, name: str) -> np.ndarray:
        return self.head.example.truth(name, self.index, self.index + 1)[0]


@dataclass(frozen=True)
class DrivenHead:
    """What the stages need of an example, read once.

    Attributes:
        example: where it comes from.
        artifact: the head.
        rig: its points and controls.
        source: the state in the photo.
        states: what it does, frame by frame.
        camera: of photo and frames.
        sheet: appearance and connectivity of its points.
        device: of all tensors but the rig's and the handles'.
    """

    example: Example
    artifact: Artifact
    rig: deform.HeadRig
    source: FaceState
    states: tuple[FaceState, ...]
    camera: Camera
    sheet: splat.GaussianSheet
    device: torch.device

    @classmethod
    def open(cls, example: Example, device: torch.device) -> DrivenHead:
        """Read an example.

        Raises:
            ArtifactError: it is damaged.
        """
        head, driver = example.head(), example.driver()
        source = source_state(head)
        states = tuple(state for state, _ in target_states(head, source, driver))
        return cls(
            *(example, head, head_rig(head), source, states),
            *(camera_of(head), gaussian_sheet(head, device), device),
        )

    @cached_property
    def handles(self) -> deform.Handles:
        """Handles of the learned deformation."""
        return deform.Handles.of(self.rig)

    @cached_property
    def photo(self) -> Picture:
        """The photo, 0..1."""
        return self.picture(self.artifact.arrays["image"])

    @cached_property
    def plate(self) -> Picture:
        """What is behind the person, 0..1."""
        return self.picture(self.artifact.arrays["plate"])

    @cached_property
    def matte(self) -> Mask:
        """Coverage of the person in the photo, 0..1."""
        return self.picture(self.artifact.arrays["matte"])

    @cached_property
    def portrait(self) -> inpaint.Photo:
        """The photo and its landmarks, as the mouth and eye networks take them."""
        image = self.artifact.arrays["image"].astype(np.float32) / 255
        return inpaint.Photo(image, Moment(self, 0).landmarks)

    @cached_property
    def grids(self) -> dict[str, splat.SheetGrid]:
        """Where the points of every sheet lie, by its name."""
        return named_grids(self.artifact, self.device)

    def picture(self, levels: np.ndarray) -> Float[Tensor, "1 c h w"]:
        """Return uint8 levels (H, W) or (H, W, C) as a picture 0..1."""
        maps = torch.from_numpy(np.array(levels)).to(self.device)
        maps = maps if maps.ndim == 3 else maps[..., None]
        return maps.permute(2, 0, 1)[None].float() / 255

    def placed(self, posed: deform.Deformed) -> deform.Deformed:
        """Return posed points on the head's device; gradients pass."""
        return deform.Deformed(*(part.to(self.device) for part in posed))

    def seen(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n 2"]:
        """Return where the photo's camera sees points (head frame of the photo, cm), px."""
        view = torch.from_numpy(self.camera.viewmat).to(points)
        there = points @ view[:3, :3].T + view[:3, 3]
        middle = points.new_tensor([self.camera.width / 2, self.camera.height / 2])
        return self.camera.focal_px * there[:, :2] / there[:, 2:].clamp_min(NEAREST_CM) + middle

    def drawn(self, gaussians: splat.Gaussians) -> tuple[Picture, Mask]:
        """Return premultiplied colour and alpha as the photo's camera sees them."""
        color, alpha = rasterize(gaussians, self.camera, self.camera.viewmat)
        return color.permute(2, 0, 1)[None], alpha.permute(2, 0, 1)[None]

    def finished(self, color: Picture, alpha: Mask) -> Picture:
        """Return the final frame: the analytic composite."""
        return color + (1 - alpha) * self.plate


@lru_cache(KEPT_HEADS)
def opened(example: Example, device: torch.device) -> DrivenHead:
    """Return an example ready for the stages; the last ones used stay in memory."""
    return DrivenHead.open(example, device)


class Clips:
    """Clips to draw moments from: people alike, then clips, then frames."""

    def __init__(self, clips: Sequence[Example]) -> None:
        """Take clips of two frames or more, at least one."""
        people = sorted({clip.note.identity for clip in clips})
        self._people = [[c for c in clips if c.note.identity == person] for person in people]

    @property
    def people(self) -> int:
        """How many people there are."""
        return len(self._people)

    def drawn(self, *seed: int, device: torch.device) -> Moment:
        """Return the moment that these numbers choose; never frame 0, which is the photo."""
        generator = np.random.default_rng(example_seed(*seed))
        person = self._people[generator.integers(len(self._people))]
        head = opened(person[generator.integers(len(person))], device)
        return Moment(head, int(generator.integers(1, len(head.states))))

    def spread(self, count: int, *, device: torch.device) -> Iterator[Moment]:
        """Yield `count` moments of each person's first clip, evenly spread."""
        for person in self._people:
            head = opened(person[0], device)
            places = np.linspace(1, len(head.states) - 1, count).round().astype(int)
            for place in dict.fromkeys(places.tolist()):
                yield Moment(head, place)


def usable_clips(examples: Sequence[Example], needed: Sequence[str]) -> list[Example]:
    """Return the clips of two frames or more whose truth has all arrays that are needed."""
    return [
        example
        for example in examples
        if example.note.kind == CLIP
        and example.note.frames > 1
        and example.names.issuperset(needed)
    ]
