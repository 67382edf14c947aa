"""Head artifacts whose rig does not fit are refused, not read out of bounds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from mggtalk_cli import tensors
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.errors import ArtifactError

if TYPE_CHECKING:
    from mggtalk_cli.artifacts import Artifact


def spoilt(head: Artifact, name: str, array: np.ndarray | None) -> Artifact:
    """The head with one array replaced, or without it."""
    arrays = {key: value for key, value in head.arrays.items() if key != name}
    if array is not None:
        arrays[name] = array
    return in_memory("head", head.meta, arrays)


@pytest.mark.parametrize("name", tensors.RIG_ARRAYS)
def test_a_missing_or_short_rig_array_is_named(example_head: Artifact, name: str) -> None:
    with pytest.raises(ArtifactError, match=name):
        tensors.head_rig(spoilt(example_head, name, None))
    with pytest.raises(ArtifactError, match=r"rig_\w+ has shape"):
        tensors.head_rig(spoilt(example_head, name, example_head.arrays[name][:-1]))


@pytest.mark.parametrize(("name", "value"), [("rig_index", 60_000), ("rig_gate", 6)])
def test_a_rig_that_points_nowhere_is_refused(
    example_head: Artifact, name: str, value: int
) -> None:
    array = example_head.arrays[name].copy()
    array.flat[-1] = value
    with pytest.raises(ArtifactError, match=f"{name} leaves its range"):
        tensors.head_rig(spoilt(example_head, name, array))


def test_links_to_places_without_a_point_are_none(example_head: Artifact) -> None:
    every = np.full_like(example_head.arrays["links"], 3)
    sheet = tensors.gaussian_sheet(spoilt(example_head, "links", every), "cpu")
    for index in (sheet.right, sheet.left, sheet.down, sheet.up):
        assert int(index.min()) >= 0
        assert int(index.max()) < len(example_head.arrays["positions"])
