"""Flattened sheets: order, links and neighbours on grids small enough to read."""

from __future__ import annotations

import numpy as np

from mggtalk_cli.core.sheet import (
    LINK_DOWN,
    LINK_RIGHT,
    Sheet,
    flatten,
    grid_links,
    neighbours,
)


def sheet(valid: np.ndarray, links: np.ndarray | None = None, start: int = 0) -> Sheet:
    """A sheet whose points carry their own number, counted over the whole grid from `start`."""
    h, w = valid.shape
    number = np.arange(start, start + h * w).reshape(h, w)
    three = np.repeat(number[..., None], 3, -1)
    return Sheet(
        name="test",
        positions=three.astype(np.float32),
        valid=valid,
        links=grid_links(valid) if links is None else links,
        color=three.astype(np.float32),
        opacity=np.ones((h, w), np.float32),
        index=three.astype(np.int32),
        weight=three.astype(np.float32),
        head_weight=np.ones((h, w), np.float32),
        gate=np.zeros((h, w), np.uint8),
        pixel=number.astype(np.int32),
    )


def near(sheets: list[Sheet]) -> list[list[int]]:
    flat = flatten(sheets)
    return [index.tolist() for index in neighbours(flat.grid_shape, flat.valid, flat.links)]


def test_full_grid() -> None:
    # 0 1 2
    # 3 4 5
    right, left, down, up = near([sheet(np.ones((2, 3), bool))])
    assert right == [1, 2, 2, 4, 5, 5]
    assert left == [0, 0, 1, 3, 3, 4]
    assert down == [3, 4, 5, 3, 4, 5]
    assert up == [0, 1, 2, 0, 1, 2]


def test_hole_cuts_links_and_indices_are_compact() -> None:
    # 0 1 2
    # 3 . 4
    # 5 6 7
    valid = np.ones((3, 3), bool)
    valid[1, 1] = False
    right, left, down, up = near([sheet(valid)])
    assert right == [1, 2, 2, 3, 4, 6, 7, 7]
    assert left == [0, 0, 1, 3, 4, 5, 5, 6]
    assert down == [3, 1, 4, 5, 7, 5, 6, 7]
    assert up == [0, 1, 2, 0, 2, 3, 6, 4]


def test_cut_link_separates_valid_neighbours() -> None:
    valid = np.ones((2, 2), bool)
    links = grid_links(valid)
    links[0, 0] &= ~np.uint8(LINK_DOWN)  # like upper and lower lip
    right, left, down, up = near([sheet(valid, links)])
    assert right == [1, 1, 3, 3]
    assert left == [0, 0, 2, 2]
    assert down == [0, 3, 2, 3]
    assert up == [0, 1, 2, 1]


def test_sheets_do_not_touch_each_other() -> None:
    first, second = sheet(np.ones((1, 2), bool)), sheet(np.ones((2, 1), bool), start=2)
    right, left, down, up = near([first, second])
    assert right == [1, 1, 2, 3]
    assert left == [0, 0, 2, 3]
    assert down == [0, 1, 3, 3]
    assert up == [0, 1, 2, 2]


def test_labels_cut_links() -> None:
    valid = np.ones((2, 3), bool)
    links = grid_links(valid, np.array([[0, 0, 1], [0, 1, 1]]))
    both = LINK_RIGHT | LINK_DOWN
    assert links.tolist() == [[both, 0, LINK_DOWN], [0, LINK_RIGHT, 0]]


def test_flatten_keeps_order_and_every_column() -> None:
    valid = np.array([[True, False], [True, True]])
    flat = flatten([sheet(valid), sheet(np.ones((1, 2), bool), start=4)])
    assert flat.grid_shape.tolist() == [[2, 2], [1, 2]]
    assert flat.valid.tolist() == [True, False, True, True, True, True]
    assert len(flat.links) == 6
    for name in ("positions", "color", "index", "weight"):
        assert flat.columns[name][:, 0].tolist() == [0, 2, 3, 4, 5], name
    assert flat.columns["pixel"].tolist() == [0, 2, 3, 4, 5]


def test_neighbours_are_mutual_on_random_grids() -> None:
    random = np.random.default_rng(0)
    sheets = [sheet(random.random(shape) < 0.7) for shape in ((9, 7), (5, 11))]
    flat = flatten(sheets)
    found = neighbours(flat.grid_shape, flat.valid, flat.links)
    own = np.arange(flat.valid.sum())
    for forward, backward in ((found.right, found.left), (found.down, found.up)):
        moved = forward != own
        assert moved.any()
        assert (backward[forward[moved]] == own[moved]).all()
    step = flat.columns["pixel"][found.right] - flat.columns["pixel"]
    assert set(step.tolist()) == {0, 1}
