"""`mggtalk train sync`: an expert that says whether lips and sound are of one moment.

Five mouth crops and the .2 s of sound that belong to them go into one space; pairs of one moment
and of different moments of one clip are told apart by the cosine (Chung and Zisserman 2016; Prajwal
et al. 2020). The sound is that of the driver's own front end, the Whisper features in the examples,
rather than SyncNet's cepstra: the published SyncNet stays a metric (`evaluation.lip_sync`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mggtalk_cli.core.checkpoint import Network, read_checkpoint, restore
from mggtalk_cli.core.layers import ConvBlock
from mggtalk_cli.core.mouth import EYE_CORNERS, MOUTH_CORNERS
from mggtalk_cli.errors import InputError
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.losses import TINY, sync_loss, sync_weight
from mggtalk_cli.training.recipe import Recipe
from mggtalk_cli.training.schedule import example_seed

WINDOW, ROWS_PER_FRAME, FEATURES = 5, 2, 384  # frames at 25 fps; rows of sound at 50 Hz
SIDE_PX = 64  # of a mouth crop
CROP = 1.1  # side of a crop, in distances of the outer eye corners: lips and chin
APART = 3  # frames between the moments of a false pair, at least; nearer ones look alike
LEAST_FRAMES = WINDOW + 2 * APART  # so that every window has a false partner
PAIRS = 8  # true ones and as many false ones an example
HELD_OUT_PAIRS, HELD_OUT_CLIPS = 16, 64
BRIGHTNESS = 0.2  # windows are made lighter or darker by up to so much
SHEET_ROWS = 6
NAME = "expert"


@dataclass(frozen=True)
class SyncConfig:
    """Sizes of the expert.

    Attributes:
        widths: channels of the picture tower, each level at half the resolution of the last.
        hidden: channels of the sound tower.
        embedding: numbers in the common space.
    """

    widths: tuple[int, ...] = (32, 64, 128, 128)
    hidden: int = 128
    embedding: int = 128

    @classmethod
    def tiny(cls) -> SyncConfig:
        """Return what two CPU cores train in minutes."""
        return cls()

    @classmethod
    def base(cls) -> SyncConfig:
        """Return what a GPU and hours of speech are for."""
        return cls((64, 128, 256, 512), 512, 512)


class SyncExpert(Network):
    """Two towers: five mouth crops and ten rows of features -> one space."""

    def __init__(self, config: SyncConfig) -> None:
        """Build it; every level of the picture tower halves the resolution."""
        super().__init__(config)
        channels = (3 * WINDOW, *config.widths)
        levels = [nn.Sequential(ConvBlock(a, b), nn.AvgPool2d(2)) for a, b in pairwise(channels)]
        side = SIDE_PX >> len(config.widths)
        self.picture = nn.Sequential(
            *levels, nn.Flatten(), nn.Linear(channels[-1] * side**2, config.embedding)
        )
        self.evened = nn.LayerNorm(FEATURES)
        self.sound = nn.Sequential(
            nn.Conv1d(FEATURES, config.hidden, 3, padding=1),
            nn.SiLU(),
            nn.Conv1d(config.hidden, config.hidden, 3, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(config.hidden * WINDOW * ROWS_PER_FRAME, config.embedding),
        )

    def lips(self, windows: Float[Tensor, "n 5 3 side side"]) -> Float[Tensor, "n d"]:
        """Return embeddings of windows of mouth crops, RGB 0..1."""
        embedded: Tensor = self.picture(windows.flatten(1, 2) * 2 - 1)
        return embedded

    def sounds(self, windows: Float[Tensor, "n 10 384"]) -> Float[Tensor, "n d"]:
        """Return embeddings of windows of sound."""
        embedded: Tensor = self.sound(self.evened(windows).transpose(1, 2))
        return embedded

    def forward(self, lips: Tensor, sounds: Tensor) -> tuple[Tensor, Tensor]:
        """Return both embeddings."""
        return self.lips(lips), self.sounds(sounds)


def mouth_crops(
    frames: Float[Tensor, "n 3 h w"], face: Float[Tensor, "n 468 2"], side: int = SIDE_PX
) -> Float[Tensor, "n 3 side side"]:
    """Return the mouths of frames, upright and of one size; differentiable in the frames.

    Args:
        frames: RGB.
        face: their landmarks, px, pixel centres at .5.
        side: of the crops, px.
    """
    height, width = frames.shape[-2:]
    right, left = (face[:, corner] for corner in EYE_CORNERS)
    across = (left - right) * (CROP / 2)  # the crop's half side, along its x axis
    across = torch.where(across.norm(dim=1, keepdim=True) > 1.0, across, across.new_tensor([1, 0]))
    down = torch.stack([-across[:, 1], across[:, 0]], 1)
    centre = face[:, list(MOUTH_CORNERS)].mean(1)
    to_unit = face.new_tensor([2 / width, 2 / height])
    matrix = torch.stack([across * to_unit, down * to_unit, centre * to_unit - 1], 2)
    grid = functional.affine_grid(matrix, [len(frames), 3, side, side], align_corners=False)
    return functional.grid_sample(
        frames, grid.to(frames.dtype), padding_mode="border", align_corners=False
    )


def sync_term(
    expert: SyncExpert,
    frames: Float[Tensor, "n 3 h w"],
    face: Float[Tensor, "n 468 2"],
    features: Float[Tensor, "m 384"],
) -> Tensor:
    """Return how little an expert believes that neighbouring frames go with their sound.

    Args:
        expert: trained; its weights get no gradient where they want none.
        frames: five or more at 25 fps, RGB 0..1.
        face: their landmarks, px.
        features: m = 2 n rows of the same time.
    """
    crops = mouth_crops(frames, face)
    starts = range(len(frames) - WINDOW + 1)
    lips = torch.stack([crops[i : i + WINDOW] for i in starts])
    sounds = torch.stack([_sound_at(features, i) for i in starts])
    return sync_loss(expert.lips(lips), expert.sounds(sounds), lips.new_ones(len(lips)))


def open_expert(file: str, device: torch.device | str = "cpu") -> tuple[SyncExpert, float] | None:
    """Return the expert in a checkpoint of `train sync` and the weight it deserves; None for "".

    Raises:
        WeightsError: missing, damaged, or another stage's.
    """
    if not file:
        return None
    checkpoint = read_checkpoint(Path(file))
    expert = restore(checkpoint.stored(NAME), NAME, SyncExpert, SyncConfig).to(device)
    after = checkpoint.notes.get("after", {})
    loss, accuracy = (after.get(key) for key in ("sync_loss", "sync_accuracy"))
    known = isinstance(loss, float) and isinstance(accuracy, float)
    return expert, sync_weight(loss, accuracy) if known else 0.0


def _sound_at(features: Tensor, frame: int) -> Tensor:
    """Return the (10, 384) rows of the window that begins at a frame."""
    return features[frame * ROWS_PER_FRAME : (frame + WINDOW) * ROWS_PER_FRAME]


@dataclass(frozen=True)
class _Speech:
    """One example, ready: crops (t, 3, side, side) uint8 and features (2 t, 384) float16."""

    crops: Tensor
    features: Tensor


def _speech(example: Example) -> _Speech:
    frames = torch.from_numpy(example.truth("frames")).permute(0, 3, 1, 2)
    face = torch.from_numpy(example.truth("face"))
    # a frame at a time: all of them as floats would take four times their memory
    crops = [mouth_crops(f[None].float(), p[None])[0] for f, p in zip(frames, face, strict=True)]
    heard = torch.from_numpy(example.truth("audio_features"))
    return _Speech((torch.stack(crops) + 0.5).clamp(0, 255).to(torch.uint8), heard)


Pairs = tuple[Tensor, Tensor, Tensor]


def draw_pairs(
    speech: _Speech, generator: np.random.Generator, count: int, *, changed: bool
) -> Pairs:
    """Return windows of lips, their true and then false sounds, and 1 where they fit, else 0.

    Args:
        speech: an example of `LEAST_FRAMES` or more.
        generator: of what is random.
        count: windows of lips; each makes a true and a false pair.
        changed: mirror and change the brightness of some.
    """
    last = len(speech.crops) - WINDOW
    moments = generator.integers(0, last + 1, count)
    false = []
    for moment in moments:
        others = np.arange(last + 1)
        false.append(generator.choice(others[np.abs(others - moment) >= APART]))
    lips = torch.stack([speech.crops[m : m + WINDOW] for m in moments]).float() / 255
    if changed:
        mirrored = torch.from_numpy(generator.random(count) < 0.5).view(-1, 1, 1, 1, 1)
        lips = torch.where(mirrored, lips.flip(-1), lips)
        gain = 1 + BRIGHTNESS * generator.uniform(-1, 1, (count, 1, 1, 1, 1))
        lips = (lips * torch.from_numpy(gain).float()).clamp(0, 1)
    heard = [_sound_at(speech.features, int(m)) for m in (*moments, *false)]
    together = torch.cat([torch.ones(count), torch.zeros(count)])
    return lips, torch.stack(heard).float(), together


class SyncTask:
    """Learns to tell true pairs from false ones, person by person; see `training.task.Task`."""

    def __init__(
        self, examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe
    ) -> None:
        """Take the examples that have enough sound.

        Raises:
            InputError: none has.
        """
        self._recipe = recipe
        self._people: dict[str, list[Example]] = {}
        for example in filter(_usable, examples):
            self._people.setdefault(example.note.identity, []).append(example)
        if not self._people:
            raise InputError(
                f"none of {len(examples)} examples has {LEAST_FRAMES} frames with sound: "
                "prepare clips of people who talk"
            )
        self._held_out = [e for e in held_out if _usable(e)][:HELD_OUT_CLIPS]
        self._ready: dict[Path, _Speech] = {}
        config = SyncConfig.base() if recipe.preset == "base" else SyncConfig.tiny()
        self._expert = SyncExpert(config)

    @property
    def networks(self) -> Mapping[str, nn.Module]:
        """The expert."""
        return {NAME: self._expert}

    def loss(self, step: int, index: int) -> dict[str, Tensor]:
        """Return the loss on pairs of one clip."""
        generator = np.random.default_rng(example_seed(self._recipe.seed, step, index))
        person = list(self._people)[generator.integers(len(self._people))]
        clips = self._people[person]
        speech = self._speech_of(clips[generator.integers(len(clips))])
        return {"sync": self._judged(draw_pairs(speech, generator, PAIRS, changed=True))[0]}

    def validate(self) -> dict[str, float]:
        """Return loss and accuracy on people it never saw; guessing is right half the time."""
        if not self._held_out:
            return {}
        each = []
        for number, example in enumerate(self._held_out):
            generator = np.random.default_rng(number)
            pairs = draw_pairs(self._speech_of(example), generator, HELD_OUT_PAIRS, changed=False)
            loss, right = self._judged(pairs)
            each.append((float(loss), float(right)))
        loss, accuracy = np.mean(each, axis=0).tolist()
        return {
            "sync_loss": loss,
            "sync_accuracy": accuracy,
            "analytic_sync_loss": math.log(2.0),
            "analytic_sync_accuracy": 0.5,
        }

    def sheet(self) -> np.ndarray | None:
        """Return the mouths of some held-out windows, a row each."""
        rows = [self._speech_of(e).crops[:WINDOW] for e in self._held_out[:SHEET_ROWS]]
        if not rows:
            return None
        lines = [torch.cat(list(row), 2) for row in rows]
        return np.ascontiguousarray(torch.cat(lines, 1).permute(1, 2, 0).numpy())

    def _judged(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """Return the loss, and the share of pairs that the cosine puts on the right side of .5."""
        device = next(self._expert.parameters()).device
        seen, heard, together = (part.to(device) for part in pairs)
        lips, sounds = self._expert(seen, heard)
        lips = torch.cat([lips, lips])
        cosine = functional.cosine_similarity(lips.relu(), sounds.relu(), dim=1, eps=TINY)
        right = ((cosine > 0.5) == (together > 0.5)).float().mean()
        return sync_loss(lips, sounds, together), right

    def _speech_of(self, example: Example) -> _Speech:
        if example.folder not in self._ready:
            self._ready[example.folder] = _speech(example)
        return self._ready[example.folder]


def _usable(example: Example) -> bool:
    return "audio_features" in example.names and example.note.frames >= LEAST_FRAMES


def task(examples: Sequence[Example], held_out: Sequence[Example], recipe: Recipe) -> SyncTask:
    """Return the task of `mggtalk train sync`."""
    return SyncTask(examples, held_out, recipe)
