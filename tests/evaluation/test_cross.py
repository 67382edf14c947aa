"""Cross-reenactment: which pairs there are, what is measured of them, and lists that are wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import cross, motion_scores
from mggtalk_cli.evaluation.clips import Track
from mggtalk_cli.evaluation.datasets import Clip
from mggtalk_cli.evaluation.runs import Source

Run = Callable[..., Any]


def source(name: str, identity: str) -> Source:
    path = Path(f"{name}.mp4")
    return Source(name, (path,), Clip(path, identity))


@pytest.fixture
def given() -> list[Source]:
    return [source("ann_01", "ann"), source("ann_02", "ann"), source("bob_01", "bob")]


PHOTOS = [Path("cy.jpg")]


def test_all_pairs_are_of_different_people(given: list[Source]) -> None:
    names = {pair.name for pair in cross.all_pairs(PHOTOS, given)}
    assert names == {
        *("cy--ann_01", "cy--ann_02", "cy--bob_01", "ann_01--bob_01", "ann_02--bob_01"),
        *("bob_01--ann_01", "bob_01--ann_02"),
    }


def test_clips_of_one_person_make_no_pair(given: list[Source]) -> None:
    with pytest.raises(InputError, match="no two clips of different people"):
        cross.all_pairs([], given[:2])


def test_a_list_names_photos_and_clips(given: list[Source], tmp_path: Path) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text("source,driver\n# those that matter\ncy.jpg, bob_01\n\nann_01.mp4,ann_02\n")
    pairs = cross.listed_pairs(table, PHOTOS, given)
    assert [pair.name for pair in pairs] == ["cy--bob_01", "ann_01--ann_02"]
    assert pairs[0].detail == cross.Pair(PHOTOS[0], Path("bob_01.mp4"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cy,nobody\n", "line 1: no clip 'nobody'"),
        ("nobody,bob_01\n", "line 1: no photo or clip 'nobody'"),
        ("bob_01,cy\n", "line 1: no clip 'cy'"),
        ("\ncy\n", "line 2: 'cy' is not PHOTO,DRIVER"),
        ("# nothing\n", "lists no pairs"),
    ],
)
def test_a_wrong_list_is_explained(
    given: list[Source], tmp_path: Path, text: str, said: str
) -> None:
    table = tmp_path / "pairs.csv"
    table.write_text(text)
    with pytest.raises(InputError, match=said):
        cross.listed_pairs(table, PHOTOS, given)


def test_a_list_that_is_none(given: list[Source], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="all, or a file of pairs"):
        cross.listed_pairs(tmp_path / "some", PHOTOS, given)
    (tmp_path / "film").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="is no text"):
        cross.listed_pairs(tmp_path / "film", PHOTOS, given)


def moved(jaw: float, yaw_deg: float) -> FaceState:
    beta = np.zeros(52, np.float32)
    beta[0] = jaw
    return FaceState(beta, matrix_from_angles(yaw_deg, 0, 0).astype(np.float32))


def test_changes_do_not_mind_where_they_begin() -> None:
    points = np.random.default_rng(0).normal(size=(3, 478, 3)).astype(np.float32)
    driver = Track(points, [moved(0.1, 0), moved(0.3, 10), moved(0.5, 20)])
    follower = Track(points, [moved(0.3, 15), moved(0.5, 25), moved(0.7, 35)])
    found = motion_scores.against_driver(follower, driver)
    assert found["aed"] == pytest.approx(0.2 / 52, rel=1e-4)
    assert found["apd"] == pytest.approx(np.radians(15) / 3, rel=1e-4)
    assert found["aed_change"] == pytest.approx(0, abs=1e-6)
    assert found["apd_change"] == pytest.approx(0, abs=1e-5)
    lost = Track(points, [moved(0.3, 15), None, moved(0.7, 35)])
    assert motion_scores.against_driver(lost, driver)["tracked"] == 0.5


def test_a_photo_is_driven_by_a_clip(
    run: Run, portrait_path: Path, sliding_clip: Path, tmp_path: Path
) -> None:
    result = run(
        *("evaluate", "reenact", portrait_path, sliding_clip, "--cross", "all", "--frames", "5"),
        *("--size", "256", "-o", tmp_path / "cross", "--json"),
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    [item] = report["items"]
    assert item["name"] == f"{portrait_path.stem}--sliding"
    assert list(item["values"]) == ["ours", "repeat", "warp"]
    assert item["values"]["repeat"]["photo_sharpness"] == pytest.approx(1, abs=1e-6)
    assert item["values"]["ours"]["tracked"] == 1
    assert (tmp_path / "cross" / "items" / item["sheet"]).is_file()


def test_cross_has_no_truth_to_compare_peers_with(
    run: Run, sliding_clip: Path, tmp_path: Path
) -> None:
    result = run(
        "evaluate", "reenact", sliding_clip, "--cross", "all", "--method", f"peer={tmp_path}"
    )
    assert result.exit_code == 2
    assert "no true frames" in " ".join(result.stderr.split())
