"""The example head as the deformation stage sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mggtalk_cli import tensors

if TYPE_CHECKING:
    from mggtalk_cli.artifacts import Artifact
    from mggtalk_cli.core.expression import FaceState
    from mggtalk_cli.deform import HeadRig


@pytest.fixture(scope="session")
def head_rig(example_head: Artifact) -> HeadRig:
    """Points, controls and binding of the example head."""

    return tensors.head_rig(example_head)


@pytest.fixture(scope="session")
def source(example_head: Artifact) -> FaceState:
    """The state in which the example photo shows the face."""

    return tensors.source_state(example_head)
