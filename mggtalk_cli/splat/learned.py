"""The learned decoders together, in the place of `decode_analytic` and `densify_gaussians`.

    F = encoder(photo)
    raw = decoder(P, F, mask)        raw^s = mirrored(raw) + sym_decoder(F, P^s, mask^s)
    G = corrected(analytic G, [raw; raw^s])              G_den = densified(G, densifier(F, G))

Only the front sheet and its mirror image have features; what else a head is made of (eyes, teeth,
the back) stays analytic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.checkpoint import Checkpoint, Network, restore
from mggtalk_cli.errors import WeightsError
from mggtalk_cli.splat.decoder import RAW_CHANNELS, DecoderConfig, GaussianDecoder, corrected
from mggtalk_cli.splat.densifier import CHILD_CHANNELS, Densifier, DensifierConfig, densified
from mggtalk_cli.splat.densify import CHILDREN, densify_gaussians
from mggtalk_cli.splat.gaussians import Gaussians, GaussianSheet, decode_analytic
from mggtalk_cli.splat.grids import SheetGrid
from mggtalk_cli.splat.identity_encoder import EncoderConfig, IdentityEncoder
from mggtalk_cli.splat.sym_decoder import SymConfig, SymDecoder, mirrored


@dataclass(frozen=True)
class DecoderNetworks:
    """The networks of the decoder stage; without the last two, their step is analytic.

    Raises:
        WeightsError: they do not agree on the number of features.
    """

    encoder: IdentityEncoder
    decoder: GaussianDecoder
    sym_decoder: SymDecoder | None = None
    densifier: Densifier | None = None

    def __post_init__(self) -> None:
        given = self.encoder.config.channels
        for name, network in self.by_name().items():
            wanted = getattr(network.config, "features", given)
            if wanted != given:
                raise WeightsError(
                    f"the {name} wants {wanted} features, but the encoder gives {given}: "
                    "take both from one checkpoint"
                )

    def by_name(self) -> dict[str, Network]:
        """Return those that are there, under their names in a checkpoint."""
        return {name: network for name, network in vars(self).items() if network is not None}

    @classmethod
    def new(cls, preset: str) -> DecoderNetworks:
        """Return untrained networks, all four, of the sizes "tiny" or "base"."""
        parts = {name: build(getattr(config, preset)()) for name, (build, config) in PARTS.items()}
        return cls(**parts)

    @classmethod
    def restored(cls, checkpoint: Checkpoint) -> DecoderNetworks:
        """Return the networks of a checkpoint; others in it are not looked at.

        Raises:
            WeightsError: encoder or decoder are missing, or a network does not fit.
        """
        parts = {
            name: restore(checkpoint.stored(name), name, build, config)
            for name, (build, config) in PARTS.items()
            if name in checkpoint.networks or name in ("encoder", "decoder")
        }
        return cls(**parts)


# Name in a checkpoint -> network and its config.
PARTS: dict[str, tuple[Callable[[Any], Any], type[Any]]] = {
    "encoder": (IdentityEncoder, EncoderConfig),
    "decoder": (GaussianDecoder, DecoderConfig),
    "sym_decoder": (SymDecoder, SymConfig),
    "densifier": (Densifier, DensifierConfig),
}


@dataclass(frozen=True)
class LearnedDecoder:
    """The networks, and what they know of one head.

    Attributes:
        networks: see `DecoderNetworks`.
        features: (1, c, h, w) of the photo.
        front: grid of the front sheet, of the photo's size.
        mirror: grid of its mirror image, of the same size; None where a head has none.
    """

    networks: DecoderNetworks
    features: Float[Tensor, "1 c h w"]
    front: SheetGrid
    mirror: SheetGrid | None = None

    @classmethod
    def of(
        cls,
        networks: DecoderNetworks,
        photo: Float[Tensor, "3 h w"],
        front: SheetGrid,
        mirror: SheetGrid | None = None,
    ) -> LearnedDecoder:
        """Return the decoder of a head from its photo, 0..1."""
        return cls(networks, networks.encoder(photo[None]), front, mirror)

    def decode(
        self, points: Float[Tensor, "*b m 3"], gate: Float[Tensor, "*b m"], sheet: GaussianSheet
    ) -> Gaussians:
        """Return one Gaussian per point; the signature of `decode_analytic`."""
        raw = self.raw(points.reshape(-1, *points.shape[-2:]))
        return corrected(
            decode_analytic(points, gate, sheet), raw.reshape(*points.shape[:-1], RAW_CHANNELS)
        )

    def raw(self, points: Float[Tensor, "b m 3"]) -> Float[Tensor, "b m 20"]:
        """Return the raw corrections of all points in B frames, 0 where nothing is learned."""
        front, mirror = self.front, self.mirror
        maps = self.networks.decoder(front.positions(points), self.features, front.mask(points))
        raw = points.new_zeros(*points.shape[:2], RAW_CHANNELS)
        raw[:, front.rows] = front.values(maps).to(raw)
        if mirror is not None:
            reflected = mirrored(maps)
            if self.networks.sym_decoder is not None:
                reflected = reflected + self.networks.sym_decoder(
                    self.features, mirror.positions(points), mirror.mask(points)
                )
            raw[:, mirror.rows] = mirror.values(reflected).to(raw)
        return raw

    def densify(self, parents: Gaussians) -> Gaussians:
        """Return four children per Gaussian; the signature of `densify_gaussians`."""
        densifier = self.networks.densifier
        if densifier is None:
            return densify_gaussians(parents)
        raw = parents.means.new_zeros(*parents.opacities.shape, CHILDREN, CHILD_CHANNELS)
        for grid in (self.front, self.mirror):
            if grid is not None:
                features = grid.values(self.features)[0]
                raw[..., grid.rows, :, :] = densifier(features, parents.take(grid.rows)).to(raw)
        return densified(parents, raw)
