"""Smooth random fields in space, for mottled skin, folded cloth and uneven strands."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

LATTICE = 24  # cells of the repeating lattice: features repeat after so many wavelengths


class Field:
    """A repeating random field; the same generator state gives the same field."""

    def __init__(self, random: np.random.Generator) -> None:
        """Draw the lattice."""
        self._lattice = random.normal(size=(LATTICE,) * 3).astype(np.float32)

    def __call__(
        self, points: np.ndarray, wavelength_cm: float, *, octaves: int = 1, shift: float = 0.0
    ) -> np.ndarray:
        """Return (...) float32 values of about unit deviation at points (..., 3) in cm.

        Args:
            points: where.
            wavelength_cm: size of the largest features.
            octaves: each adds features half as large and .6 times as strong.
            shift: another number gives another field, lattice cells.
        """
        flat = np.asarray(points, np.float32).reshape(-1, 3)
        total, strength, weight = np.zeros(len(flat), np.float32), 0.0, 1.0
        for octave in range(octaves):
            place = flat.T * np.float32(2**octave / wavelength_cm) + np.float32(shift + 7 * octave)
            total += weight * map_coordinates(self._lattice, place, order=1, mode="grid-wrap")
            strength += weight**2
            weight *= 0.6
        # Linear interpolation averages neighbours: on average over a cell it keeps 8/27 of the
        # variance.
        total /= np.float32(np.sqrt(strength * 8 / 27))
        return total.reshape(np.shape(points)[:-1])


def vectors(field: Field, points: np.ndarray, wavelength_cm: float, shift: float) -> np.ndarray:
    """Return (..., 3) three independent values of a field at points (..., 3)."""
    parts = [field(points, wavelength_cm, shift=shift + 3.37 * axis) for axis in range(3)]
    return np.stack(parts, -1)
