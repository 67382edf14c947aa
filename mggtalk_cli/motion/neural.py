"""Speech to mouth shapes through the frozen Whisper encoder and the mouth network.

Sound -> features at 50 Hz -> curves at 25 Hz -> shapes at 100 Hz, block by block: what a block
needs of the sound after it is bounded, and its values do not depend on how the sound is cut. The
voice gates the curves, so silence closes the mouth; lips that the network brings close together
meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from mggtalk_cli.motion.network import (
    FRAMES_BEFORE,
    MOUTH_RATE,
    STACK,
    MouthCurves,
    MouthFeatures,
    MouthNetwork,
    load_mouth_network,
    stacked,
)
from mggtalk_cli.motion.visemes import MouthShapes, betas_at_frames
from mggtalk_cli.motion.voice import FRAME_RATE, Voice
from mggtalk_cli.motion.whisper import (
    OFFLINE,
    TINY,
    FeatureWindow,
    Windows,
    streaming_windows,
)

TOGETHER = (0.12, 0.03)  # opening at which lips begin to touch, and at which they are together


def mouth_from_network(
    blocks: Iterable[np.ndarray],
    voice: Voice,
    *,
    fps: float,
    look_ahead_s: float | None = None,
) -> Iterator[np.ndarray]:
    """Yield the mouth's (52,) float32 coefficients frame by frame, frame i at i / fps seconds.

    Args:
        blocks: 16 kHz mono sound.
        voice: Its voice track.
        fps: Video frames per second.
        look_ahead_s: Seconds of sound after a frame that it may wait for; None for as many as
            are good.

    Raises:
        WeightsError: A weight file is missing or damaged.
        InputError: The look-ahead is outside 0..3 s.
    """
    windows = OFFLINE if look_ahead_s is None else streaming_windows(look_ahead_s)
    curves = curve_blocks(blocks, load_mouth_network(), windows)
    yield from betas_at_frames(shape_blocks(curves, voice), fps=fps)


def curve_blocks(
    blocks: Iterable[np.ndarray], network: MouthNetwork, windows: Windows
) -> Iterator[MouthCurves]:
    """Yield consecutive blocks of curves at 25 Hz that cover the whole sound.

    What the network needs of the future is what the same window already hears of it.
    """
    past = np.zeros((0, TINY.width), np.float32)
    for window in _windows(MouthFeatures(windows), blocks):
        curves = network.shapes(stacked(np.concatenate([past, *window])))
        before, count = len(past) // STACK, -(-len(window.features) // STACK)
        yield MouthCurves(*(curve[before : before + count] for curve in curves))
        past = np.concatenate([past, window.features])[-STACK * FRAMES_BEFORE :]


def _windows(stream: MouthFeatures, blocks: Iterable[np.ndarray]) -> Iterator[FeatureWindow]:
    for block in blocks:
        yield from stream.push_windows(block)
    yield from stream.finish_windows()


def shape_blocks(curves: Iterable[MouthCurves], voice: Voice) -> Iterator[MouthShapes]:
    """Yield consecutive blocks of 100 Hz shapes, gated by the voice."""
    ratio = FRAME_RATE // MOUTH_RATE
    last: np.ndarray | None = None  # the newest curve values, to start the next block from
    start = 0
    for block in curves:
        rows = np.stack(block)
        knots = rows if last is None else np.concatenate([last, rows], axis=1)
        last = knots[:, -1:]
        grid = np.arange((knots.shape[1] - 1) * ratio + 1)[start > 0 :] / ratio
        if not len(grid):
            continue
        fine = MouthCurves(*(np.interp(grid, np.arange(knots.shape[1]), row) for row in knots))
        gate = voice.between(start, start + len(grid)).gate.astype(np.float32)
        yield shapes_of(fine, gate)
        start += len(grid)
    if last is not None:  # up to where a next curve value would have been
        held = MouthCurves(*np.repeat(last, ratio - 1, axis=1))
        yield shapes_of(held, voice.between(start, start + ratio - 1).gate.astype(np.float32))


def shapes_of(curves: MouthCurves, gate: np.ndarray) -> MouthShapes:
    """Return the shapes of curves; where the gate is 0 the mouth rests closed."""
    begin, end = TOGETHER
    touch = np.clip((begin - curves.opening) / (begin - end), 0.0, 1.0)
    together = touch * touch * (3.0 - 2.0 * touch)
    return MouthShapes(
        opening=curves.opening * gate,
        width=curves.width * gate,
        together=together * gate,
        bite=np.zeros_like(gate),
    )
