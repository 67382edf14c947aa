"""The learned deformation (Eq 9): a displacement of the handles, added to the analytic motion.

D(h) = limit(g(h, t) - g(h, s)) with g a multi-layer perceptron on the encoded rest position of a
handle and on the state: expression, gaze, and the head's pose relative to the photo. Whatever the
weights, target = source gives exactly no displacement; the untrained network gives none at all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as with_fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.checkpoint import Network
from mggtalk_cli.core.expression import ARKIT_NAMES, LANDMARK_COUNT, FaceState
from mggtalk_cli.core.layers import mlp, positional_encoding
from mggtalk_cli.core.rotation import rotation_log
from mggtalk_cli.deform.edges import HeadRig
from mggtalk_cli.deform.handles import Handles, carry
from mggtalk_cli.deform.posing import Deformed, pose
from mggtalk_cli.deform.retarget import head_motion

# Coefficients, gaze (2), rotation (3) and translation (3) of the head.
STATE_SIZE = len(ARKIT_NAMES) + 8

# What makes gaze (degrees) and translation (cm) about as large as the coefficients.
GAZE_DEG, TRANSLATION_CM = 30.0, 10.0

# No handle moves farther than this from where the analytic stage puts it: about a tenth of a
# head's width.
LIMIT_CM = 2.0

# Rest positions are encoded in this unit: a head and its shoulders lie within about -1..1.
POSITION_CM = 20.0


@dataclass(frozen=True)
class DeformConfig:
    """Size of a deformation network.

    Attributes:
        width: of the hidden layers.
        layers: number of hidden layers.
        octaves: of the positional encoding.
    """

    width: int = 128
    layers: int = 4
    octaves: int = 6

    @classmethod
    def tiny(cls) -> DeformConfig:
        """Return the size for tests and training on a CPU, where points cost more than layers."""
        return cls(width=128, layers=3, octaves=6)

    @classmethod
    def base(cls) -> DeformConfig:
        """Return the usual size."""
        return cls()


class DeformNetwork(Network):
    """Displacement of handles between two states."""

    def __init__(self, config: DeformConfig) -> None:
        super().__init__(config)
        position = 3 * (1 + 2 * config.octaves)
        self.body = mlp(position + STATE_SIZE, 3, width=config.width, layers=config.layers)

    def potential(
        self, handles: Float[Tensor, "h 3"], state: Float[Tensor, " d"]
    ) -> Float[Tensor, "h 3"]:
        """Return g of every handle (rest position, head frame, cm) in a state, cm."""
        where = positional_encoding(handles / POSITION_CM, self.config.octaves)
        moved: Tensor = self.body(torch.cat([where, state.expand(len(where), -1)], 1))
        return moved

    def forward(
        self,
        handles: Float[Tensor, "h 3"],
        target: Float[Tensor, " d"],
        source: Float[Tensor, " d"],
        *,
        at_source: Float[Tensor, "h 3"] | None = None,
    ) -> Float[Tensor, "h 3"]:
        """Return the displacement of handles, cm.

        Args:
            handles: rest positions, head frame, cm.
            target: the state asked for, see `state_vector`.
            source: the photo's state.
            at_source: `potential` of these handles in `source`, if it is known.
        """
        rest = self.potential(handles, source) if at_source is None else at_source
        apart = self.potential(handles, target) - rest
        # Two products of one matrix may differ in their last bit; equal states must not.
        changed = (target != source).any()
        return torch.where(changed, softly_limited(apart, LIMIT_CM), torch.zeros_like(apart))


def softly_limited(motion: Float[Tensor, "n 3"], limit: float) -> Float[Tensor, "n 3"]:
    """Return vectors shortened to less than `limit`; short ones stay nearly as they are.

    >>> softly_limited(torch.tensor([[0.0, 0.0, 1e6]]), 2.0)
    tensor([[0., 0., 2.]])
    """
    square = motion.square().sum(1, keepdim=True)
    return motion / (1 + square / limit**2).sqrt()


def state_vector(state: FaceState, source: FaceState) -> Float[Tensor, "60"]:
    """Return what the network sees of a state: its pose relative to that of the photo."""
    rotation, translation = head_motion(state, source)
    parts = (
        state.beta,
        state.gaze / GAZE_DEG,
        rotation_log(rotation),
        translation / TRANSLATION_CM,
    )
    return torch.from_numpy(np.concatenate(parts).astype(np.float32))


def deform_learned(
    head: HeadRig,
    source: FaceState,
    target: FaceState,
    network: DeformNetwork,
    handles: Handles,
    *,
    at_source: Float[Tensor, "h 3"] | None = None,
) -> Deformed:
    """Return the points of `head` in state `target`: the analytic ones, displaced.

    Differentiable in the network's weights.

    Args:
        head: points, controls and gates.
        source: the photo's state.
        target: the state asked for.
        network: of any precision, on any device.
        handles: `Handles.of(head)`.
        at_source: the network's `potential` of the handles in the photo's state, if it is known.
    """
    like = next(network.parameters())
    displacement = network(
        handles.rest.to(like),
        state_vector(target, source).to(like),
        state_vector(source, source).to(like),
        at_source=at_source,
    ).to(head.rig.points)
    moved = head.rig._replace(points=carry(head.rig.points, handles, displacement))
    return pose(with_fields(head, rig=moved), source, target, offset=displacement[:LANDMARK_COUNT])


def learned_deformer(
    network: DeformNetwork, head: HeadRig, source: FaceState
) -> Callable[[FaceState], Deformed]:
    """Return the deformation of one head by a trained network: target state -> points.

    What does not change from frame to frame is computed here, once.
    """
    handles = Handles.of(head)
    like = next(network.parameters())
    with torch.inference_mode():
        at_source = network.potential(handles.rest.to(like), state_vector(source, source).to(like))

    def deformed(target: FaceState) -> Deformed:
        with torch.inference_mode():
            return deform_learned(head, source, target, network, handles, at_source=at_source)

    return deformed
