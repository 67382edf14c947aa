"""Runs the command line in this process, and small artifacts made by it once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acting import FRAMES, Deformed, acting, store
from PIL import Image
from typer.testing import CliRunner

from mggtalk_cli import tensors
from mggtalk_cli.artifacts import open_artifact
from mggtalk_cli.cli.app import app
from mggtalk_cli.core.expression import FaceState

Run = Callable[..., Any]
SMALL = ("--size", "128")


@pytest.fixture(scope="session")
def run() -> Run:
    """Call `run("render", path, ..., stdin=b"")`; the result has exit_code, stdout, stderr."""

    def call(*arguments: object, stdin: bytes | None = None) -> Any:
        return CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)

    return call


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is made once."""
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="session")
def short_speech(small: Path, speech_path: Path) -> Path:
    """The first 0.4 s of the example sentence: ten frames."""
    data = speech_path.read_bytes()
    rate, bytes_per_sample, header = 16000, 2, 44
    body = data[header : header + int(0.4 * rate) * bytes_per_sample]
    riff = bytearray(data[:header])
    riff[4:8] = (len(body) + header - 8).to_bytes(4, "little")
    riff[40:44] = len(body).to_bytes(4, "little")
    path = small / "short.wav"
    path.write_bytes(bytes(riff) + body)
    return path


@pytest.fixture(scope="session")
def head(run: Run, small: Path, portrait_path: Path) -> Path:
    """A head artifact of the example photo, 128 px."""
    path = small / "head.npz"
    result = run("build-head", portrait_path, "-o", path, *SMALL)
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="session")
def points(run: Run, small: Path, head: Path, short_speech: Path) -> Path:
    """Ten frames of points."""
    path = small / "points.npz"
    result = run("deform", head, "--audio", short_speech, "-o", path)
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="session")
def frames(run: Run, small: Path, points: Path) -> Path:
    """Ten rendered frames."""
    path = small / "frames.npz"
    result = run("render", points, "-o", path)
    assert result.exit_code == 0, result.stderr
    return path


@pytest.fixture(scope="session")
def faceless(small: Path) -> Path:
    """A picture of nobody."""
    y, x = np.mgrid[0:200, 0:300]
    picture = np.stack([x % 256, y % 256, (x + y) % 256], -1).astype(np.uint8)
    Image.fromarray(picture).save(small / "nobody.png")
    return small / "nobody.png"


@pytest.fixture(scope="session")
def source(head: Path) -> FaceState:
    """The state in which the photo of `head` shows the face."""
    return tensors.source_state(open_artifact(head))


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory, source: FaceState) -> Path:
    """A motion artifact of the actor."""
    path = tmp_path_factory.mktemp("actor") / "motion.npz"
    return store(path, [acting(i, source) for i in range(FRAMES)])


@pytest.fixture(scope="session")
def deformed(
    run: Run, head: Path, driver: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Deformed]:
    """Call `deformed("--still", source=motion)`: the points of `head`, driven by the actor."""
    folder, built = tmp_path_factory.mktemp("points"), open_artifact(head)

    def call(*arguments: object, source: Path = driver) -> Deformed:
        path = folder / f"{len(list(folder.iterdir()))}.npz"
        result = run("deform", head, source, *arguments, "-o", path)
        assert result.exit_code == 0, result.stderr
        return Deformed(built, path)

    return call
