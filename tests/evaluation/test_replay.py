"""`evaluate noise` and `evaluate ablation`: films of one clip that differ in one thing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mggtalk_cli import head as head_stage
from mggtalk_cli import pipeline
from mggtalk_cli.core.expression import neutral_state
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.driver import Moment
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import ablation, labels, noise, replay
from mggtalk_cli.evaluation.runs import Source

Run = Callable[..., Any]
FRAMES = 4


@pytest.fixture(scope="module")
def take(sliding_clip: Path) -> replay.Take:
    return replay.take_of(sliding_clip, frames=FRAMES, fps=25, max_side=192)


def test_a_recording_can_be_had_again() -> None:
    states = [replace(neutral_state(), gaze=np.full(2, float(i), np.float32)) for i in range(3)]
    drive = pipeline.Drive("video", 25.0, None, states[0], iter(()), None, None)
    recording = replay.Recording(drive, tuple(Moment(state, 1.0) for state in states))
    for _ in range(2):
        assert [moment.state for moment in recording.replayed().moments] == states
    changed = recording.replayed(lambda index, state: states[2 - index])
    assert [moment.state for moment in changed.moments] == states[::-1]
    assert changed.frame_count == 3


def test_the_truth_scores_perfectly(take: replay.Take) -> None:
    films = {"ours": lambda: iter(take.clip.frames), "repeat": take.baselines()["repeat"]}
    measured = replay.measure_films(take, films)
    ours = measured.values["ours"]
    assert set(ours) == set(replay.film_metrics())
    assert ours["head_db"] == ours["frame_db"] == math.inf
    assert ours["flicker"] == 0
    assert ours["head_sharpness"] == pytest.approx(1)
    assert measured.values["repeat"]["flicker"] > 1
    # Even the truth is not itself after blurring; what moved away is still farther off.
    assert ours["head_db_equal"] > measured.values["repeat"]["head_db_equal"]
    assert measured.sheet is not None
    assert measured.sheet.shape[0] == 3 * labels.CELL_PX


def test_noise_is_the_same_for_a_name_and_a_seed() -> None:
    first = noise.noise_of("ann", 500, seed=3)
    np.testing.assert_array_equal(first, noise.noise_of("ann", 500, seed=3))
    np.testing.assert_array_equal(first[:10], noise.noise_of("ann", 10, seed=3))
    assert np.abs(first - noise.noise_of("bob", 500, seed=3)).max() > 1
    assert first.std() == pytest.approx(1, abs=0.02)
    assert first.mean() == pytest.approx(0, abs=0.02)


def test_more_noise_is_worse(run: Run, sliding_clip: Path, tmp_path: Path) -> None:
    command = ("evaluate", "noise", sliding_clip, "--frames", FRAMES, "--size", "192")
    result = run(*command, "--level", "0.05", "--level", "0.4", "--json", "-o", tmp_path / "r")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["others"] == ["repeat", "warp", "noise_0.05", "noise_0.4"]
    assert report["settings"]["levels"] == [0.05, 0.4]
    [item] = report["items"]
    mouth = [item["values"][name]["mouth_db"] for name in ("ours", "noise_0.05", "noise_0.4")]
    assert mouth == sorted(mouth, reverse=True)
    assert mouth[0] > mouth[2] + 1
    assert len(item["curves"]["head_db"]["ours"]) == FRAMES - 1


def test_the_window_holds_all_heads(take: replay.Take) -> None:
    rows, columns = replay.head_window(take.clip)
    outside = np.ones(take.photo.shape[:2], bool)
    outside[rows, columns] = False
    assert not (np.any(take.clip.heads, axis=0) & outside).any()


# ---------------------------------------------------------------- ablation


@pytest.fixture(scope="module")
def small_head(portrait_path: Path) -> pipeline.Artifact:
    return pipeline.build_head(read_photo(portrait_path), pipeline.BuildOptions(size=64))


def test_sheets_are_hidden_by_name(small_head: pipeline.Artifact) -> None:
    names = small_head.meta["sheets"]
    hidden = ablation.without_sheets(small_head, ("teeth", "tongue"))
    before, after = small_head.arrays["opacity"], hidden.arrays["opacity"]
    changed = np.flatnonzero(before != after)
    assert (after[changed] == 0).all()
    assert names[-3:] == ["tongue", "teeth_upper", "teeth_lower"]
    assert changed[0] > len(before) // 2
    np.testing.assert_array_equal(
        ablation.without_sheets(small_head, ("nothing",)).arrays["opacity"], before
    )
    everything = ablation.without_sheets(small_head, tuple(names))
    assert not everything.arrays["opacity"].any()


def test_every_switch_gives_a_film(take: replay.Take) -> None:
    head = pipeline.build_head(take.photo, take.build_options())
    setup = ablation.Setup(take, head)
    full = list(replay.played(head, take.recording.replayed()))
    same = []
    for name, switch in ablation.SWITCHES.items():
        images = list(switch.film(setup))
        assert len(images) == FRAMES, name
        assert images[0].shape == take.photo.shape, name
        if all((a == b).all() for a, b in zip(full, images, strict=True)):
            same.append(name)
    # A frontal head has no mirrored side.
    assert set(same) <= {"no_symmetry", "no_filter", "no_beyond"}
    assert set(head_stage.DEPTH) == {"analytic", "file"}


def test_the_shape_in_the_photo_is_kept_where_nothing_moves(take: replay.Take) -> None:
    head = pipeline.build_head(take.photo, take.build_options())
    reference = take.recording.drive.reference
    still = replay.Recording(take.recording.drive, (Moment(reference, 1.0),))
    setup = ablation.Setup(replace(take, recording=still), head)
    [kept] = ablation.SWITCHES["no_jacobian"].film(setup)
    [usual] = replay.played(head, still.replayed())
    apart = np.abs(kept.astype(int) - usual)
    assert apart.max() <= 4
    assert apart.mean() < 0.02


def test_switches_can_be_chosen(sliding_clip: Path) -> None:
    protocol = ablation.ablation_protocol(switches=["no_pose"], frames=FRAMES, max_side=192)
    assert protocol.others == ("repeat", "warp", "no_pose")
    values = protocol.measure(Source("clip", (sliding_clip,))).values
    # The whole clip is head motion.
    assert values["ours"]["head_db"] > values["no_pose"]["head_db"] + 3
    with pytest.raises(InputError, match=r"no_such.*no_pose"):
        ablation.ablation_protocol(switches=["no_such"])
