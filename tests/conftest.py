"""Fixtures that every area's tests may use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mggtalk_cli.artifacts import Artifact

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="session")
def portrait_path() -> Path:
    """The example photo, 512 x 512, one face."""
    return EXAMPLES / "portrait.png"


@pytest.fixture(scope="session")
def speech_path() -> Path:
    """The example sentence, 7 s, 16 kHz mono."""
    return EXAMPLES / "speech.wav"


@pytest.fixture(params=["cpu", "cuda"])
def device(request: pytest.FixtureRequest) -> str:
    """Each device in turn; CUDA skips where there is none."""
    if request.param == "cuda":
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
    return str(request.param)


@pytest.fixture(scope="session")
def example_head(portrait_path: Path) -> Artifact:
    """The head of the example photo at 256 px; its arrays are shared, do not write to them."""
    from mggtalk_cli import pipeline
    from mggtalk_cli.core.image import read_photo

    return pipeline.build_head(read_photo(portrait_path), pipeline.BuildOptions(size=256))
