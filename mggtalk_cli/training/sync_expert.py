"""SyncNet as a judge of drawn frames: the term `sync` of the losses, behind its gate.

The expert's own verdict on the true frames of this very data decides whether it is heard: an
untrained, or a strange, expert teaches noise.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mggtalk_cli.core.checkpoint import METADATA_KEY, read_checkpoint, restore
from mggtalk_cli.core.weights import fill, read_weights
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.backbones import SyncConfig, SyncNet
from mggtalk_cli.evaluation.lip_sync import WINDOW
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.driven import Moment
from mggtalk_cli.training.losses import (
    SYNC_GATE,
    SYNC_LEAST_ACCURACY,
    sync_loss,
    sync_weight,
)
from mggtalk_cli.training.sync_pairs import LEAST_FRAMES, measured, speech_of, usable

log = logging.getLogger("mggtalk")

EXPERT = "expert"  # its name in a checkpoint
GATE_CLIPS = 16  # the expert is measured on, at most: .25 s each at the published widths


@dataclass(frozen=True)
class SyncExpert:
    """A SyncNet that passed the gate.

    Attributes:
        network: in eval mode, its weights wanting no gradients.
    """

    network: SyncNet

    def term(
        self, moment: Moment, final: Callable[[Moment], Float[Tensor, "1 3 h w"]]
    ) -> dict[str, Tensor]:
        """Return the term `sync` of the five frames around a moment; {} of a clip without sound.

        The crops are where the true face is; gradients reach the pixels of all five frames.

        Args:
            moment: any frame of a clip.
            final: makes the final frame of a moment, RGB 0..1.
        """
        head = moment.head
        if not usable(head.example):
            return {}
        speech = speech_of(head.example)
        first = int(np.clip(moment.index - WINDOW // 2, 0, speech.windows - 1))
        frames = torch.cat([final(Moment(head, first + i)) for i in range(WINDOW)])
        network = self.network.to(frames.device)
        lips = network.lips(speech.cut(255 * frames, first))
        sounds = network.sounds(speech.sound(first).to(frames))
        return {"sync": sync_loss(lips, sounds, lips.new_ones(1))}


def open_expert(
    file: str, examples: Sequence[Example], held_out: Sequence[Example]
) -> SyncExpert | None:
    """Return the expert in a file; None for "", and, with a warning, where it fails the gate.

    Args:
        file: see `read_expert`.
        examples: that are learned from.
        held_out: the expert is measured on; where none of them has sound, on those learned from.

    Raises:
        InputError: no example has the cepstra it hears.
        WeightsError: see `read_expert`.
    """
    if not file:
        return None
    network = read_expert(Path(file))
    clips = [e for e in held_out if usable(e)] or [e for e in examples if usable(e)]
    if not any(map(usable, examples)):
        raise InputError(
            f"expert {Path(file).name} cannot listen: none of {len(examples)} examples has "
            f"{LEAST_FRAMES} frames with cepstra; prepare them again, or leave the expert out"
        )
    if clips[0] not in held_out:
        log.warning("nobody held out has sound: the expert is judged on clips learned from")
    loss, accuracy = measured(network, clips[:GATE_CLIPS])
    if sync_weight(loss, accuracy) > 0:
        return SyncExpert(network)
    log.warning(
        "the sync term stays off: on %d clips, expert %s has a loss of %.3f (below %.2f is needed) "
        "and tells %.0f%% of pairs (%.0f%% are needed); train it on more speech",
        *(len(clips[:GATE_CLIPS]), Path(file).name, loss, SYNC_GATE),
        *(100 * accuracy, 100 * SYNC_LEAST_ACCURACY),
    )
    return None


def read_expert(path: Path) -> SyncNet:
    """Return SyncNet with the weights of a file, in eval mode, wanting no gradients.

    Args:
        path: a checkpoint of `mggtalk train sync`, or the published weights as `evaluate` takes
            them (--weights syncnet=FILE).

    Raises:
        WeightsError: missing, damaged, or another network's.
    """
    if _is_checkpoint(path):
        return restore(read_checkpoint(path).stored(EXPERT), EXPERT, SyncNet, SyncConfig)
    return fill(SyncNet, read_weights(path))


def _is_checkpoint(path: Path) -> bool:
    try:
        with safe_open(path, "np") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False
