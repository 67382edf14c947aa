"""Help answers without the heavy libraries, ends with an example, and README knows it all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mggtalk_cli import __version__
from mggtalk_cli.cli import options
from mggtalk_cli.cli.app import COMMANDS, GROUPS

NAMES = [name for name, *_ in COMMANDS]
GROUPED = [
    (f"{group} {name}", example) for group, commands, *_ in GROUPS for name, _, example in commands
]
EXAMPLES = [(name, example) for name, _, example in COMMANDS] + GROUPED
Run = Callable[..., Any]
README = Path(__file__).parents[2] / "README.md"
HEAVY = ("torch", "numba", "av", "librosa", "cv2", "scipy", "ai_edge_litert", "gsplat", "numpy")

_LOADED_BY_HELP = """
import json, sys
from typer.testing import CliRunner
from mggtalk_cli.cli.app import COMMANDS, app
for arguments in [[], ["--version"], *([name] for name, *_ in COMMANDS)]:
    result = CliRunner().invoke(app, [*arguments, "--help"])
    assert result.exit_code == 0, result.output
print(json.dumps(sorted({name.split(".")[0] for name in sys.modules})))
"""


def test_help_loads_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED_BY_HELP], capture_output=True, text=True, check=True
    )
    assert not set(HEAVY) & set(json.loads(done.stdout))


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_help_ends_with_an_example(run: Run, name: str, example: str) -> None:
    result = run(*name.split(), "--help")
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    assert text.endswith(f"Example: {example}")
    assert example.startswith(f"mggtalk {name} ")


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_in_the_readme(name: str) -> None:
    assert f"mggtalk {name}" in README.read_text("utf-8")


@pytest.mark.parametrize("name", [name for name, _ in EXAMPLES])
def test_every_option_has_help(name: str) -> None:
    for parameter in options_of(name):
        assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_a_flag_means_the_same_everywhere() -> None:
    meanings: dict[str, set[str]] = {}
    for name in NAMES:
        for parameter in options_of(name):
            for flag in parameter.opts:
                if flag not in ("--output", "-o", "PATH"):
                    meanings.setdefault(flag, set()).add(str(parameter.help))
    assert {f: m for f, m in meanings.items() if len(m) > 1 and f.startswith("-")} == {}


def options_of(name: str) -> list:
    import typer.main

    from mggtalk_cli.cli.app import app

    command = typer.main.get_command(app)
    for part in name.split():
        command = command.commands[part]
    return command.params


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"mggtalk {__version__}\n"


def test_no_command_shows_help(run: Run) -> None:
    result = run()
    assert "build-head" in result.output


def test_defaults_are_those_of_the_library() -> None:
    from mggtalk_cli import motion, pipeline
    from mggtalk_cli.core import audio_stream, video

    assert pipeline.BuildOptions().size == options.SIZE
    assert options.FPS == video.FPS
    assert options.LOOK_AHEAD_MS == 1000 * audio_stream.LOOK_AHEAD_S
    assert (options.MAX_BLINKS_PER_MIN, options.MAX_SCALE) == (
        motion.MAX_BLINKS_PER_MIN,
        motion.MAX_SCALE,
    )
    build, view = pipeline.BuildOptions(), pipeline.RenderOptions()
    assert (build.crop, view.device) == (options.Crop.face.value, options.Device.auto.value)
    assert (view.yaw_deg, view.turntable, view.densify) == (0, False, False)


def test_readme_has_both_set_up_commands_first() -> None:
    text = README.read_text("utf-8")
    first = re.findall(r"^    (make \w+)", text, re.M)[:2]
    assert first == ["make demo", "make test"]
