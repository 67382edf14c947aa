"""`mggtalk train audio`: clips in, mouth network and model card out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.network import MouthNetwork
from mggtalk_cli.training.clips import Clip
from mggtalk_cli.training.examples import examples
from mggtalk_cli.training.mouth import Recipe, train_mouth
from mggtalk_cli.training.offsets import estimate_offsets, offsets_by
from mggtalk_cli.training.recordings import Recording, Refused
from mggtalk_cli.training.scores import SpeakerScore, mouth_score

HELD_OUT_SHARE = 0.2  # of the speakers, where no manifest decides


@dataclass(frozen=True)
class AudioTraining:
    """What `train_audio` made.

    Attributes:
        network: ready for inference.
        recipe: how it was trained.
        learned: clips it learned from.
        held_out: scores on speakers it never heard.
        offsets: frames by which a clip's sound is late, by path, where it is not 0.
        refused: clips that could not be used.
    """

    network: MouthNetwork
    recipe: Recipe
    learned: list[Recording]
    held_out: list[SpeakerScore]
    offsets: dict[str, float]
    refused: list[Refused]


def train_audio(
    found: Sequence[Recording | Refused],
    recipe: Recipe,
    *,
    only_ship: bool = False,
    told: Callable[[str], None] = lambda _: None,
) -> AudioTraining:
    """Return a network trained on some speakers and measured on the others.

    Args:
        found: the clips, tracked and heard.
        recipe: how to train.
        only_ship: learn from clips that may ship alone and measure on all speakers without such a
            clip; else a fifth of the speakers is held out.
        told: called with a line about what is going on.

    Raises:
        InputError: no clip can be learned from.
    """
    usable = [one for one in found if isinstance(one, Recording)]
    refused = [one for one in found if isinstance(one, Refused)]
    heard = _training_speakers([one.clip for one in usable], only_ship=only_ship, seed=recipe.seed)
    learned = [r for r in usable if r.clip.speaker in heard and (r.clip.ship or not only_ship)]
    others = [r for r in usable if r.clip.speaker not in heard]
    if not learned:
        reason = f"; the first of {len(refused)} refused: {refused[0].reason}" if refused else ""
        raise InputError(f"no clip to learn from{' may ship' if only_ship else ''}{reason}")
    told("offsets between sound and picture")
    offsets = estimate_offsets(learned)
    plain = examples(learned, offsets)
    material = examples(learned, offsets, copies=True) if recipe.copies else plain
    told(f"learning from {len(learned)} clips")
    network = train_mouth(material, plain, recipe)
    offsets |= offsets_by(plain, others)
    return AudioTraining(
        network,
        recipe,
        learned,
        mouth_score(network, examples(others, offsets)),
        {path: offset for path, offset in sorted(offsets.items()) if offset},
        refused,
    )


def _training_speakers(clips: Sequence[Clip], *, only_ship: bool, seed: int) -> set[str]:
    """Return who is learned from."""
    if only_ship:
        return {clip.speaker for clip in clips if clip.ship}
    speakers = sorted({clip.speaker for clip in clips})
    count = int(HELD_OUT_SHARE * len(speakers) + 0.5) if len(speakers) > 2 else 0
    held_out = np.random.default_rng(seed).choice(speakers, count, replace=False)
    return set(speakers) - set(held_out.tolist())
