"""Real spherical harmonics of degree 0-3, in the sign convention of 3D Gaussian splatting."""

from __future__ import annotations

import math

# Normalisation of each polynomial below (the orthonormal basis on the unit sphere).
C0 = 0.5 / math.sqrt(math.pi)
C1 = math.sqrt(3.0 / (4.0 * math.pi))
C2_XY, C2_Z2, C2_X2 = (0.5 * math.sqrt(k / math.pi) for k in (15.0, 1.25, 3.75))
C3_X3, C3_XYZ, C3_XZ2 = (0.25 * math.sqrt(k / math.pi) for k in (17.5, 420.0, 10.5))
C3_Z3, C3_Z_X2 = (0.25 * math.sqrt(k / math.pi) for k in (7.0, 105.0))

COEFFICIENTS = (1, 4, 9, 16)  # by degree


def sh_basis(x, y, z):  # type: ignore[no-untyped-def]
    """Return the 16 basis values at unit directions, as a tuple.

    Args:
        x: component of the unit vector from the camera to the Gaussian; float or tensor.
        y: the same, of the same shape.
        z: the same, of the same shape.
    """
    return (*sh_linear(x, y, z), *sh_quadratic(x, y, z), *sh_cubic(x, y, z))


def sh_linear(x, y, z):  # type: ignore[no-untyped-def]
    """Return the basis values of degree 0 and 1."""
    return C0 + 0.0 * x, -C1 * y, C1 * z, -C1 * x


def sh_quadratic(x, y, z):  # type: ignore[no-untyped-def]
    """Return the five basis values of degree 2."""
    xx, yy, zz = x * x, y * y, z * z
    return (
        C2_XY * x * y,
        -C2_XY * y * z,
        C2_Z2 * (2.0 * zz - xx - yy),
        -C2_XY * x * z,
        C2_X2 * (xx - yy),
    )


def sh_cubic(x, y, z):  # type: ignore[no-untyped-def]
    """Return the seven basis values of degree 3."""
    xx, yy, zz = x * x, y * y, z * z
    return (
        -C3_X3 * y * (3.0 * xx - yy),
        C3_XYZ * x * y * z,
        -C3_XZ2 * y * (4.0 * zz - xx - yy),
        C3_Z3 * z * (2.0 * zz - 3.0 * xx - 3.0 * yy),
        -C3_XZ2 * x * (4.0 * zz - xx - yy),
        C3_Z_X2 * z * (xx - yy),
        -C3_X3 * x * (xx - 3.0 * yy),
    )


def sh_basis_gradient(x, y, z):  # type: ignore[no-untyped-def]
    """Return d/dx, d/dy and d/dz of the 16 basis polynomials, each as a tuple.

    Args:
        x: as in `sh_basis`; the polynomials are those written there, not restricted to the sphere.
        y: the same.
        z: the same.
    """
    zero, xx, yy, zz = 0.0 * x, x * x, y * y, z * z
    return (
        (
            *(zero, zero, zero, zero - C1),
            *(C2_XY * y, zero, -2.0 * C2_Z2 * x, -C2_XY * z, 2.0 * C2_X2 * x),
            *(-6.0 * C3_X3 * x * y, C3_XYZ * y * z, 2.0 * C3_XZ2 * x * y, -6.0 * C3_Z3 * x * z),
            *(
                -C3_XZ2 * (4.0 * zz - 3.0 * xx - yy),
                2.0 * C3_Z_X2 * x * z,
                -3.0 * C3_X3 * (xx - yy),
            ),
        ),
        (
            *(zero, zero - C1, zero, zero),
            *(C2_XY * x, -C2_XY * z, -2.0 * C2_Z2 * y, zero, -2.0 * C2_X2 * y),
            *(-3.0 * C3_X3 * (xx - yy), C3_XYZ * x * z, -C3_XZ2 * (4.0 * zz - xx - 3.0 * yy)),
            *(-6.0 * C3_Z3 * y * z, 2.0 * C3_XZ2 * x * y, -2.0 * C3_Z_X2 * y * z),
            6.0 * C3_X3 * x * y,
        ),
        (
            *(zero, zero, zero + C1, zero),
            *(zero, -C2_XY * y, 4.0 * C2_Z2 * z, -C2_XY * x, zero),
            *(
                zero,
                C3_XYZ * x * y,
                -8.0 * C3_XZ2 * y * z,
                C3_Z3 * (6.0 * zz - 3.0 * xx - 3.0 * yy),
            ),
            *(-8.0 * C3_XZ2 * x * z, C3_Z_X2 * (xx - yy), zero),
        ),
    )
