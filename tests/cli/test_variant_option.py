"""`--variant` of the commands, and what `inspect` and `doctor` say of checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stage_networks import write_networks

from mggtalk_cli import pipeline, variants
from mggtalk_cli.artifacts import open_artifact
from mggtalk_cli.core.checkpoint import write_checkpoint
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.deform import DeformConfig, DeformNetwork

Run = Callable[..., Any]

STAGE_FILES = {
    "refiner": ("refiner",),
    "deform": ("deform",),
    "decoder": ("encoder", "decoder", "sym_decoder", "densifier"),
    "inpaint": ("inpaint",),
    "mouth": ("mouth", "eyes"),
}


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One untrained checkpoint per stage."""
    folder = tmp_path_factory.mktemp("checkpoints")
    return {
        stage: write_networks(folder / f"{stage}.safetensors", *names)
        for stage, names in STAGE_FILES.items()
    }


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files if name != "meta"}


def same_arrays(one: Path, other: Path) -> None:
    first, second = arrays_of(one), arrays_of(other)
    assert first.keys() == second.keys()
    for name, array in first.items():
        assert np.array_equal(array, second[name]), name


def one_line(result: Any, *words: str) -> None:
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("mggtalk: error: ")
    assert "unexpected" not in line
    for word in words:
        assert word in line


# ---------------------------------------------------------------- untrained = analytic


def test_build_head(
    run: Run, portrait_path: Path, head: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    made = {}
    for choice in ("analytic", "learned", checkpoints["refiner"]):
        made[choice] = tmp_path / f"{len(made)}.npz"
        chosen = ("--size", 128, "--variant", f"refiner={choice}")
        result = run("build-head", portrait_path, "-o", made[choice], *chosen)
        assert result.exit_code == 0, result.stderr
    plain, default, untrained = (path.read_bytes() for path in made.values())
    assert untrained == plain != default
    assert default == head.read_bytes()


def test_deform_and_render(
    run: Run, head: Path, points: Path, frames: Path, short_speech: Path,
    checkpoints: dict[str, Path], tmp_path: Path,
) -> None:  # fmt: skip
    moved, drawn = tmp_path / "points.npz", tmp_path / "frames.npz"
    variant = ("--variant", f"deform={checkpoints['deform']}")
    result = run("deform", head, "--audio", short_speech, "-o", moved, *variant)
    assert result.exit_code == 0, result.stderr
    same_arrays(moved, points)
    variant = ("--variant", f"decoder={checkpoints['decoder']}")
    result = run("render", moved, "-o", drawn, "--ply", tmp_path / "p.ply", *variant)
    assert result.exit_code == 0, result.stderr
    assert b"property float f_rest_8\n" in (tmp_path / "p.ply").read_bytes()[:2000]
    ours, theirs = arrays_of(drawn), arrays_of(frames)
    for name in theirs:
        apart = np.abs(ours[name].astype(float) - theirs[name].astype(float))
        assert apart.max() <= (1 if name.startswith("rgba") else 1e-5), name
        assert (apart > 0).mean() < 1e-3


def test_inpaint_and_animate(
    run: Run, head: Path, frames: Path, short_speech: Path, checkpoints: dict[str, Path],
    tmp_path: Path,
) -> None:  # fmt: skip
    chosen = {stage: ("--variant", f"{stage}={file}") for stage, file in checkpoints.items()}
    commands = {
        "plain": ("inpaint", frames),
        "inpaint": ("inpaint", frames, *chosen["inpaint"], *chosen["mouth"], "--device", "cpu"),
        "animate": ("animate", head, "--audio", short_speech, *sum(chosen.values(), ())),
    }
    pictures = {}
    for name, command in commands.items():
        result = run(*command, "-o", tmp_path / f"{name}%02d.png")
        assert result.exit_code == 0, result.stderr
        files = sorted(tmp_path.glob(f"{name}*.png"))
        pictures[name] = np.stack([read_photo(file) for file in files]).astype(int)
    assert "--variant refiner=... does not change it" in result.stderr  # the head is built
    assert np.array_equal(pictures["inpaint"], pictures["plain"])
    apart = np.abs(pictures["animate"] - pictures["plain"])
    assert apart.max() <= 1  # a rounding, in few places
    assert (apart > 0).mean() < 1e-3


# ---------------------------------------------------------------- where networks run


@pytest.mark.parametrize("command", ["inpaint", "animate"])
def test_networks_run_where_they_were_asked_to(
    run: Run, head: Path, frames: Path, short_speech: Path, checkpoints: dict[str, Path],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str,
) -> None:  # fmt: skip
    asked: list[str] = []
    moved = variants._on
    monkeypatch.setattr(
        variants, "_on", lambda network, device: asked.append(device) or moved(network, "cpu")
    )
    monkeypatch.setattr(pipeline, "choose_device", lambda device, **_: f"the chosen {device}")
    monkeypatch.setattr(pipeline, "render", lambda *_, **__: open_artifact(frames, ("frames",)))
    given = (frames,) if command == "inpaint" else (head, "--audio", short_speech)
    chosen = (f"{stage}={checkpoints[stage]}" for stage in ("inpaint", "mouth"))
    chosen = [text for choice in chosen for text in ("--variant", choice)]
    out = ("-o", tmp_path / "%02d.png", "--device", "cuda")
    result = run(command, *given, *chosen, *out)
    assert result.exit_code == 0, result.stderr
    assert asked == ["the chosen cuda"] * 3  # inpainter, mouth and eyes


def test_a_device_that_is_not_there(run: Run, frames: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("CUDA is there")
    result = run("inpaint", frames, "-o", tmp_path / "a.mp4", "--device", "cuda")
    one_line(result, "--device cuda", "CUDA", "use --device cpu")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------- refused


def test_every_command_refuses_what_it_does_not_run(
    run: Run, head: Path, frames: Path, portrait_path: Path, short_speech: Path, tmp_path: Path
) -> None:
    out = ("-o", tmp_path / "a.npz")
    for command, stage, right in (
        (("build-head", portrait_path, *out), "deform", "`mggtalk deform`"),
        (("deform", head, "--audio", short_speech, *out), "decoder", "`mggtalk render`"),
        (("render", head, *out), "refiner", "`mggtalk build-head`"),
        (("inpaint", frames, "-o", tmp_path / "a.mp4"), "deform", "`mggtalk deform`"),
        (("evaluate", "identity", portrait_path), "deform", "`mggtalk deform`"),
    ):
        one_line(run(*command, "--variant", f"{stage}=analytic"), stage, right)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("variant", "words"),
    [
        ("decodr=learned", ("did you mean decoder?",)),
        ("decoder=learned", ("no weights ship for decoder", "decoder=analytic")),
        ("decoder=missing.safetensors", ("missing.safetensors",)),
        ("decoder=README", ("README",)),
    ],
)
def test_wrong_choices(run: Run, head: Path, tmp_path: Path, variant: str, words: tuple) -> None:
    one_line(run("render", head, "-o", tmp_path / "a.png", "--variant", variant), *words)


def test_a_ply_has_no_stages(run: Run, head: Path, tmp_path: Path) -> None:
    run("render", head, "-o", tmp_path / "a.png", "--ply", tmp_path / "a.ply")
    ply = ("render", tmp_path / "a.ply", "-o", tmp_path / "b.png")
    one_line(run(*ply, "--variant", "decoder=analytic"), "--variant", "ply")


def test_another_variant_does_not_take_up_a_report(
    run: Run, portrait_path: Path, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    command = ("evaluate", "identity", portrait_path, "--size", 96, "-o", tmp_path / "report")
    assert run(*command).exit_code == 0
    result = run(*command, "--variant", f"decoder={checkpoints['decoder']}")
    one_line(result, "another setting (variants", "decoder.safetensors")


# ---------------------------------------------------------------- inspect, doctor


def test_inspect_a_checkpoint(run: Run, checkpoints: dict[str, Path]) -> None:
    path = checkpoints["decoder"]
    text = run("inspect", path).stdout
    for word in (
        "checkpoint",
        "encoder",
        "densifier",
        "recipe.rate",
        "0.001",
        "widths [16, 32, 64]",
    ):
        assert word in text, word
    found = json.loads(run("inspect", path, "--json").stdout)
    assert found["file_bytes"] == path.stat().st_size
    assert {row["name"] for row in found["networks"]} == set(STAGE_FILES["decoder"])
    assert all(row["parameters"] > 0 for row in found["networks"])
    one_line(run("inspect", path, "--sheet", path.with_suffix(".png")), "no picture")


def test_inspect_shows_no_control_characters(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    notes = {"by": "\x1b[31m[bold]red[/]", "\x1b[2J": 1}
    write_checkpoint(path, {"deform": DeformNetwork(DeformConfig.tiny())}, notes)
    text = run("inspect", path).stdout
    assert "\x1b" not in text
    assert "\\u001b[31m[bold]red[/]" in text
    assert "\\u001b[2J" in text


def test_inspect_what_is_no_checkpoint(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "odd.safetensors"
    path.write_bytes(b"nothing of the kind")
    one_line(run("inspect", path), "odd.safetensors is no checkpoint")
    one_line(run("inspect", tmp_path / "none.safetensors"), "none.safetensors")


def test_doctor_knows_the_weights_that_ship(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = ("splat/data/decoder_networks.safetensors", "0" * 64)
    monkeypatch.setattr(variants, "SHIPPED", {"decoder": entry})
    result = run("doctor", "--json")
    assert result.exit_code == 1
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["decoder_networks.safetensors"]["value"] == "missing"
