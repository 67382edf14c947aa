"""Rough phones of any speech: pocketsphinx free phone decoding, no text and no training.

Sound is cut at pauses into segments of a few seconds, each decoded on its own with the en-us
model inside the pocketsphinx package; ARPAbet phones come out with their times. Wrong phones are
usually wrong within their mouth shape, which is all that is asked of them, in any language.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from mggtalk_cli.core.audio import ANALYSIS_RATE
from mggtalk_cli.motion.voice import FRAME_RATE, HOP, Voice

SILENCE = "SIL"
SEGMENT_S = (4.0, 12.0)  # shorter: too little to normalise the channel; longer: latency
CUT_SMOOTH_S = 0.15  # cut in the middle of the quietest 150 ms
DECODER_RATE = 100  # pocketsphinx frames per second
LANGUAGE_WEIGHT = 1.0  # half the usual: keeps short phones (8.9 instead of 8.1 a second)
BEAM = 1e-12  # no loss against 1e-40, a third faster
PEAK_AMPLITUDE = 0.5  # decoding is level-dependent only through int16 rounding: use the range


class Phone(NamedTuple):
    """One ARPAbet phone, or SIL, with its times in seconds."""

    name: str
    start_s: float
    end_s: float


def decode_phones(blocks: Iterable[np.ndarray], voice: Voice) -> Iterator[Phone]:
    """Yield phones that cover the whole sound without gaps, segment by segment.

    Args:
        blocks: The sound, 16 kHz mono.
        voice: Its voice track; segments without voice are not decoded.

    Raises:
        ImportError: pocketsphinx is not installed.
    """
    decoder = _decoder()
    for start, samples in _segments(blocks, voice):
        first, last = start // HOP, (start + len(samples)) // HOP
        begin_s, end_s = start / ANALYSIS_RATE, (start + len(samples)) / ANALYSIS_RATE
        if not voice.between(first, last + 1).active.any():
            yield Phone(SILENCE, begin_s, end_s)
            continue
        yield from _decode(decoder, samples, begin_s, end_s)


@cache
def _decoder() -> Any:
    from pocketsphinx import Decoder, get_model_path

    return Decoder(
        hmm=get_model_path("en-us/en-us"),
        allphone=get_model_path("en-us/en-us-phone.lm.bin"),
        lw=LANGUAGE_WEIGHT,
        beam=BEAM,
        pbeam=BEAM,
        lm=None,
        dict=None,
        loglevel="FATAL",
    )


def _decode(decoder: Any, samples: np.ndarray, begin_s: float, end_s: float) -> Iterator[Phone]:
    """Yield the phones of one segment, stretched to cover it from begin to end."""
    peak = float(np.abs(samples).max(initial=0.0))
    gain = PEAK_AMPLITUDE / peak if peak > 0 else 0.0
    decoder.reinit_feat()  # noise statistics of earlier sounds would change the result
    decoder.start_utt()
    decoder.process_raw((samples * (gain * 32767.0)).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    found = [(s.word, s.end_frame + 1) for s in decoder.seg() or ()]
    if not found:
        yield Phone(SILENCE, begin_s, end_s)
        return
    edge_s = begin_s
    for index, (word, stop) in enumerate(found):
        last = index == len(found) - 1
        stop_s = end_s if last else min(begin_s + stop / DECODER_RATE, end_s)
        name = word if word.isalpha() else SILENCE  # +SPN+, +NSN+ are noises
        if stop_s > edge_s:
            yield Phone(name, edge_s, stop_s)
            edge_s = stop_s


def _segments(blocks: Iterable[np.ndarray], voice: Voice) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first sample, samples), cut where the voice is weakest between 4 and 12 s."""
    shortest, longest = (round(s * FRAME_RATE) for s in SEGMENT_S)
    start, held = 0, np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) > longest * HOP:
            first = start // HOP + shortest
            cut = _quietest(voice, first, start // HOP + longest) * HOP - start
            yield start, held[:cut]
            start, held = start + cut, held[cut:]
    if len(held):
        yield start, held


def _quietest(voice: Voice, first: int, last: int) -> int:
    """Return the frame in first..last at which a cut hurts least, the later the better."""
    near = voice.between(first, last)
    level = near.level.astype(np.float32)
    width = round(CUT_SMOOTH_S * FRAME_RATE)
    smooth = uniform_filter1d(level + near.active, width, mode="nearest")
    return first + len(smooth) - 1 - int(np.argmin(smooth[::-1]))
