"""Lips and sound of examples as SyncNet takes them: pairs of one moment, and of different ones.

Pairs are told apart by the cosine of the rectified embeddings (Prajwal et al. 2020). Both sounds of
a window of lips are of the same clip, so that neither voice nor face gives the answer away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mggtalk_cli.evaluation.backbones import SyncNet
from mggtalk_cli.evaluation.lip_sync import (
    WINDOW,
    cut_faces,
    face_track,
    lip_windows,
    sound_windows,
)
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.losses import TINY, sync_loss

CEPSTRA = "cepstra"  # in the truth
APART = 3  # frames between the moments of a false pair, at least; nearer ones look alike
LEAST_FRAMES = WINDOW + 2 * APART  # so that every window has a false partner
HELD_OUT_WINDOWS = 16  # of every clip that is measured on
KEPT = 4096  # clips whose tracks and cepstra stay in memory, 20 kB each

# What is changed in a window that is learned from, besides mirroring it: brightness, place and
# size of the face box in shares of its half side, and volume in nepers of the energy (4 dB each).
BRIGHTNESS, MOVED, LOUDER = 0.2, 0.06, 1.0

# Windows of lips, their true and then their false sounds, and 1 where they fit, else 0.
Pairs = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class Speech:
    """A clip as SyncNet takes it; its frames are read when they are asked for.

    Attributes:
        example: the clip.
        track: (t, 3) centre and half side of the face box, px.
        cepstra: (4 t, 13) of its sound.
    """

    example: Example
    track: np.ndarray
    cepstra: Tensor

    @property
    def windows(self) -> int:
        """How many windows there are, one after the other by a frame."""
        return len(self.track) - WINDOW + 1

    def lips(self, first: int) -> Float[Tensor, "1 3 5 224 224"]:
        """Return the true frames of a window."""
        true = self.example.truth("frames", first, first + WINDOW)
        frames = torch.from_numpy(np.ascontiguousarray(true.transpose(0, 3, 1, 2))).float()
        return self.cut(frames, first)

    def cut(self, frames: Float[Tensor, "5 3 h w"], first: int) -> Float[Tensor, "1 3 5 224 224"]:
        """Return frames in the place of a window's, RGB 0..255; gradients pass."""
        return lip_windows(cut_faces(frames, self.track[first : first + WINDOW]), [0])

    def sound(self, first: int) -> Float[Tensor, "1 1 13 20"]:
        """Return the cepstra of a window."""
        return sound_windows(self.cepstra, [first])


@lru_cache(KEPT)
def speech_of(example: Example) -> Speech:
    """Return an example that is `usable` as SyncNet takes it."""
    face = example.truth("face")
    boxes = np.concatenate([face.min(1), face.max(1)], 1).astype(np.float64)
    return Speech(example, face_track(boxes), torch.from_numpy(example.truth(CEPSTRA)))


def usable(example: Example) -> bool:
    """Return whether an example has enough frames with cepstra."""
    return CEPSTRA in example.names and example.note.frames >= LEAST_FRAMES


def draw_pairs(
    speeches: Sequence[Speech], generator: np.random.Generator, *, changed: bool
) -> Pairs:
    """Return a true and a false pair of every clip given.

    Args:
        speeches: clips, which may repeat.
        generator: of what is random.
        changed: vary picture and volume.
    """
    lips, true, false = [], [], []
    for speech in speeches:
        moments = np.arange(speech.windows)
        first = int(generator.choice(moments))
        other = int(generator.choice(moments[np.abs(moments - first) >= APART]))
        lips.append(_varied(speech, first, generator) if changed else speech.lips(first))
        true.append(speech.sound(first))
        false.append(speech.sound(other))
    heard, count = torch.cat([*true, *false]), len(lips)
    if changed:
        heard[:, :, 0] += torch.from_numpy(generator.normal(0, LOUDER, (2 * count, 1, 1))).float()
    return torch.cat(lips), heard, torch.cat([torch.ones(count), torch.zeros(count)])


def _varied(speech: Speech, first: int, generator: np.random.Generator) -> Tensor:
    """Return a window of lips in another light, its face box elsewhere by a little; or mirrored."""
    moved = speech.track[:, 2:] * generator.uniform(-MOVED, MOVED, 3)
    lips = replace(speech, track=speech.track + moved).lips(first)
    lips = (lips * (1 + BRIGHTNESS * generator.uniform(-1, 1))).clamp(0, 255)
    return lips.flip(-1) if generator.random() < 0.5 else lips


def judged(network: SyncNet, pairs: Pairs) -> tuple[Tensor, Tensor]:
    """Return the loss, and the share of pairs that the cosine puts on the right side of .5."""
    device = next(network.parameters()).device
    seen, heard, together = (part.to(device) for part in pairs)
    lips, sounds = network(seen, heard)
    lips = torch.cat([lips, lips])
    cosine = functional.cosine_similarity(lips.relu(), sounds.relu(), dim=1, eps=TINY)
    right = ((cosine > 0.5) == (together > 0.5)).float().mean()
    return sync_loss(lips, sounds, together), right


@torch.no_grad()
def measured(network: SyncNet, examples: Sequence[Example]) -> tuple[float, float]:
    """Return loss and accuracy on the true frames of some clips, one or more; always the same.

    Args:
        network: in eval mode.
        examples: which are `usable`.
    """
    each = []
    for number, example in enumerate(examples):
        windows = [speech_of(example)] * HELD_OUT_WINDOWS
        pairs = draw_pairs(windows, np.random.default_rng(number), changed=False)
        each.append([float(value) for value in judged(network, pairs)])
    loss, accuracy = np.mean(each, axis=0).tolist()
    return loss, accuracy
