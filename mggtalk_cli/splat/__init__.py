"""Points to Gaussian parameters: decoder, symmetric decoder, densification.

`DECODERS` maps a variant to a function with one signature; the analytic one reads covariances off
the deformed position map. `LearnedDecoder` has the same two steps, with networks that correct them.
"""

from __future__ import annotations

from collections.abc import Callable

from mggtalk_cli.splat.compensation import precompensate
from mggtalk_cli.splat.covariance import rotation_and_scale
from mggtalk_cli.splat.decoder import DecoderConfig, GaussianDecoder, corrected, log_scales
from mggtalk_cli.splat.densifier import Densifier, DensifierConfig, densified
from mggtalk_cli.splat.densify import densify_gaussians
from mggtalk_cli.splat.gaussians import Gaussians, GaussianSheet, decode_analytic
from mggtalk_cli.splat.grids import FRONT, MIRROR, SheetGrid, sheet_grids
from mggtalk_cli.splat.identity_encoder import EncoderConfig, IdentityEncoder
from mggtalk_cli.splat.learned import DecoderNetworks, LearnedDecoder
from mggtalk_cli.splat.sym_decoder import SymConfig, SymDecoder, mirrored

__all__ = [
    "DECODERS",
    "FRONT",
    "MIRROR",
    "DecoderConfig",
    "DecoderNetworks",
    "Densifier",
    "DensifierConfig",
    "EncoderConfig",
    "GaussianDecoder",
    "GaussianSheet",
    "Gaussians",
    "IdentityEncoder",
    "LearnedDecoder",
    "SheetGrid",
    "SymConfig",
    "SymDecoder",
    "corrected",
    "decode_analytic",
    "densified",
    "densify_gaussians",
    "log_scales",
    "mirrored",
    "precompensate",
    "rotation_and_scale",
    "sheet_grids",
]

DECODERS: dict[str, Callable[..., Gaussians]] = {"analytic": decode_analytic}
