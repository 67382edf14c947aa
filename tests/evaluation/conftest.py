"""A clip with a known answer: the example photo, moving by known pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mggtalk_cli.cli.app import app
from mggtalk_cli.core.image import crop_square, read_photo
from mggtalk_cli.core.video import VideoWriter
from mggtalk_cli.face import detect_faces

SIDE, FRAMES, STEP_PX = 256, 6, 2


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """Call the command line in this process."""
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture(scope="session")
def sliding_clip(portrait_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example photo sliding to the right, two px a frame."""
    whole = read_photo(portrait_path)
    x0, y0, x1, y1 = detect_faces(whole).boxes[0].tolist()
    middle = (max((x0 + x1) / 2, SIDE / 2), max((y0 + y1) / 2, SIDE / 2))
    photo = crop_square(whole, middle, SIDE, SIDE).image
    path = tmp_path_factory.mktemp("clips") / "sliding.mp4"
    with VideoWriter(path, SIDE, SIDE, 25.0) as writer:
        for index in range(FRAMES):
            padded = np.pad(photo, ((0, 0), (index * STEP_PX, 0), (0, 0)), "edge")
            writer.write(np.ascontiguousarray(padded[:, :SIDE]), None)
    return path
