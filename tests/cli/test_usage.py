"""Wrong usage ends with exit code 2 before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Run = Callable[..., Any]


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["build-head"],
        ["build-head", "a.jpg"],
        ["build-head", "a.jpg", "-o", "h.npz", "--size", "63"],
        ["build-head", "a.jpg", "-o", "h.npz", "--size", "513"],
        ["build-head", "a.jpg", "-o", "h.npz", "--size", "4096"],
        ["build-head", "a.jpg", "-o", "h.npz", "--size", "big"],
        ["build-head", "a.jpg", "-o", "h.npz", "--crop", "body"],
        ["build-head", "a.jpg", "-o", "h.npz", "--face", "-1"],
        ["build-head", "a.jpg", "-o", "h.npz", "--voxel-size", "0"],
        ["drive", "a.wav", "-o", "m.npz", "--fps", "0"],
        ["drive", "a.wav", "-o", "m.npz", "--fps", "121"],
        ["drive", "a.wav", "-o", "m.npz", "--seed", "-1"],
        ["drive", "a.wav", "-o", "m.npz", "--blink", "often"],
        ["drive", "a.wav", "-o", "m.npz", "--blink", "0"],
        ["drive", "a.wav", "-o", "m.npz", "--blink", "61"],
        ["drive", "a.wav", "-o", "m.npz", "--head-scale", "-1"],
        ["drive", "a.wav", "-o", "m.npz", "--mouth-scale", "3.1"],
        ["animate", "a.jpg", "-o", "t.mp4", "--audio", "-", "--look-ahead", "3001"],
        ["render", "p.npz", "-o", "f.npz", "--yaw", "181"],
        ["render", "p.npz", "-o", "f.npz", "--device", "tpu"],
        ["deform", "h.npz", "-o", "p.npz"],
        ["deform", "h.npz", "-o", "p.npz", "--audio", "a.wav", "--video", "b.mp4"],
        ["deform", "-", "-o", "p.npz", "--audio", "-"],
        ["animate", "a.jpg", "-o", "t.mp4"],
        ["animate", "a.jpg", "-o", "t.mp4", "--audio", "a.wav", "--motion", "m.npz"],
        ["animate", "-", "-o", "t.mp4", "--motion", "-"],
    ],
    ids=" ".join,
)
def test_usage_errors(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert not result.stdout
