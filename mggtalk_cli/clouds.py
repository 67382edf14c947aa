"""Clouds of Gaussians in space: turning them, and a camera that shows the whole of one."""

from __future__ import annotations

import numpy as np

from mggtalk_cli.artifacts.ply import GaussianCloud
from mggtalk_cli.artifacts.ply_view import PlyView
from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.rotation import quaternion_from_matrix
from mggtalk_cli.errors import InputError
from mggtalk_cli.render.harmonics import sh_basis

# Low-pass of files of other programs, px^2: what their Gaussians were trained with.
CUSTOMARY_EPS2D = 0.3

# The box of a cloud leaves out this share of its opacity at each side: stray Gaussians far off
# must not shrink the picture. `BOX_MARGIN` brings a full ball's rim back (a sphere gains a margin).
STRAY_SHARE = 0.02
BOX_MARGIN = 1.2
# A Gaussian is visible to about this many standard deviations.
VISIBLE_SIGMAS = 3.0
# Focal length over the picture's side of a camera that frames a cloud: 30 degrees, as in portraits.
FRAMING_FOCAL = 1.87
# Smallest size of a cloud by its distance from the origin: float32 resolves no finer one.
RESOLUTION = 1e-6
MAX_REACH = 1e8  # from the origin; the renderer's far plane lies beyond

# Up in a file -> the rotation to +y up with the viewer on +z. Captures with y down look along +z;
# with z up one usually stands on the side of -y.
UP_TURNS = {
    "y": np.eye(3),
    "-y": np.diag([1.0, -1.0, -1.0]),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "-z": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
}


def rotate(
    cloud: GaussianCloud, rotation: np.ndarray, translation: tuple[float, ...] = (0.0, 0.0, 0.0)
) -> GaussianCloud:
    """Return the cloud moved as a rigid body: x -> R x + t.

    Centres, quaternions and spherical harmonics turn together, so that a camera that moves along
    sees no change.

    Args:
        cloud: the Gaussians.
        rotation: (3, 3) R.
        translation: t, in the unit of the cloud.

    Raises:
        InputError: the matrix is no rotation.
    """
    R = np.asarray(rotation, np.float64)
    if R.shape != (3, 3) or np.abs(R @ R.T - np.eye(3)).max() > 1e-5 or np.linalg.det(R) < 0:
        raise InputError(f"{R.tolist()} is no rotation matrix: give an orthonormal (3, 3) one")
    sh = cloud.sh.copy()
    for degree in range(1, 4):
        terms = slice(degree**2, (degree + 1) ** 2)
        if terms.stop <= sh.shape[1]:
            turn = harmonics_rotation(R, degree).astype(np.float32)
            sh[:, terms] = np.einsum("jk,nkc->njc", turn, cloud.sh[:, terms])
    w, x, y, z = quaternion_from_matrix(R)
    times = np.array([[w, -x, -y, -z], [x, w, -z, y], [y, z, w, -x], [z, -y, x, w]])
    return GaussianCloud(
        means=(cloud.means @ R.T + np.asarray(translation)).astype(np.float32),
        quats=(cloud.quats @ times.T).astype(np.float32),
        scales=cloud.scales,
        opacities=cloud.opacities,
        sh=sh,
    )


def harmonics_rotation(rotation: np.ndarray, degree: int) -> np.ndarray:
    """Return the (2l + 1, 2l + 1) matrix that turns the coefficients of one degree l.

    A turned function has at d the value of the old one at R^T d; its coefficients are solved for
    on more directions than there are terms, which is exact, as a degree's span is closed under
    rotation. The convention is the renderer's own basis.

    >>> harmonics_rotation(np.diag([1.0, -1.0, -1.0]), 1).round(6) + 0.0
    array([[-1.,  0.,  0.],
           [ 0., -1.,  0.],
           [ 0.,  0.,  1.]])
    """
    directions = np.random.default_rng(0).standard_normal((64, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    terms = slice(degree**2, (degree + 1) ** 2)

    def basis(at: np.ndarray) -> np.ndarray:
        return np.stack(sh_basis(*at.T), -1)[:, terms]

    return np.asarray(np.linalg.lstsq(basis(directions), basis(directions @ rotation))[0])


def framing_view(cloud: GaussianCloud, side: int) -> PlyView:
    """Return a square view from +z, +y up, of the whole cloud, stray Gaussians aside.

    The cloud stays in the picture when the view is turned about its centre.

    Raises:
        InputError: it is too large or too far off for a camera.
    """
    weights = cloud.opacities.astype(np.float64) + 1e-9
    low, high = np.array([_quantiles(x, weights) for x in cloud.means.astype(np.float64).T]).T
    centre = (low + high) / 2
    radius = BOX_MARGIN * (high - low).max() / 2
    radius += VISIBLE_SIGMAS * float(np.median(cloud.scales.max(axis=1)))
    radius = max(radius, RESOLUTION * float(np.abs(centre).max()), 1e-12)
    if np.abs(centre).max() + radius > MAX_REACH:
        raise InputError(
            f"the cloud reaches {np.abs(centre).max() + radius:.3g} units from its origin, allowed "
            f"are {MAX_REACH:g}: scale it down"
        )
    distance = radius * (1 + 2 * FRAMING_FOCAL)
    viewmat = viewmat_from_pose(np.eye(3), -centre - [0, 0, distance])
    x, y, z = (float(v) for v in centre)
    return PlyView(Camera(viewmat, FRAMING_FOCAL * side, side, side), (x, y, z), CUSTOMARY_EPS2D)


def _quantiles(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the two values between which all but the stray weight lies."""
    order = np.argsort(values)
    share = np.cumsum(weights[order])
    at = np.searchsorted(share, np.array([STRAY_SHARE, 1 - STRAY_SHARE]) * share[-1])
    return np.asarray(values[order][at])


def resized(view: PlyView, side: int) -> PlyView:
    """Return the same view in a picture whose longer side is `side` px."""
    camera = view.camera
    factor = side / max(camera.width, camera.height)
    width, height = (max(2, 2 * round(n * factor / 2)) for n in (camera.width, camera.height))
    focal_px = camera.focal_px * factor
    return PlyView(Camera(camera.viewmat, focal_px, width, height), view.pivot, view.eps2d)
