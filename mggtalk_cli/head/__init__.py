"""From one portrait to a surface: depth, normals, their integration, and the unseen side.

`head_view` puts the fitted face model under the photo's pixels, `estimate` (variants in `DEPTH`)
gives depth and normals, `build_surface` integrates, refines (`REFINERS`, or a `RefinerNetwork`)
and back-projects them, `complete_by_symmetry` and `back_shell` add what the photo does not show.
"""

from mggtalk_cli.head.estimate import DEPTH, Estimate, estimate
from mggtalk_cli.head.integration import integrate_normals
from mggtalk_cli.head.maps import MapFiles
from mggtalk_cli.head.refiner import (
    RefinerConfig,
    RefinerNetwork,
    as_refiner,
    position_normals,
)
from mggtalk_cli.head.surface import (
    REFINERS,
    Refiner,
    Surface,
    build_surface,
    inside_face,
    no_refinement,
)
from mggtalk_cli.head.symmetry import (
    Completion,
    back_shell,
    complete_by_symmetry,
    outline_band,
    symmetry_gain,
)
from mggtalk_cli.head.view import HeadView, head_view

__all__ = [
    "DEPTH",
    "REFINERS",
    "Completion",
    "Estimate",
    "HeadView",
    "MapFiles",
    "Refiner",
    "RefinerConfig",
    "RefinerNetwork",
    "Surface",
    "as_refiner",
    "back_shell",
    "build_surface",
    "complete_by_symmetry",
    "estimate",
    "head_view",
    "inside_face",
    "integrate_normals",
    "no_refinement",
    "outline_band",
    "position_normals",
    "symmetry_gain",
]
