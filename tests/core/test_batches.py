"""Lists of a sequence's items: lazy, complete, and no item lost where the source fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from mggtalk_cli.core.batches import chunked, stacked


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8])
def test_nothing_is_lost_or_reordered(size: int) -> None:
    chunks = list(chunked(range(7), size))
    assert [item for chunk in chunks for item in chunk] == list(range(7))
    assert all(len(chunk) == size for chunk in chunks[:-1])
    assert 1 <= len(chunks[-1]) <= size


def test_an_empty_source_has_no_chunks() -> None:
    assert list(chunked([], 3)) == []


def test_nothing_is_pulled_before_it_is_wanted() -> None:
    pulled: list[int] = []

    def source() -> Iterator[int]:
        for index in range(5):
            pulled.append(index)
            yield index

    chunks = chunked(source(), 2)
    assert pulled == []
    assert next(chunks) == [0, 1]
    assert pulled == [0, 1]
    assert next(chunks) == [2, 3]
    assert pulled == [0, 1, 2, 3]


@pytest.mark.parametrize("before", [0, 1, 2, 3])
def test_what_came_before_a_failure_is_handed_out(before: int) -> None:
    def source() -> Iterator[int]:
        yield from range(before)
        raise ValueError("the source broke")

    chunks = chunked(source(), 2)
    found = [next(chunks) for _ in range(-(-before // 2))]
    assert [item for chunk in found for item in chunk] == list(range(before))
    with pytest.raises(ValueError, match="the source broke"):
        next(chunks)


def test_closing_it_closes_the_source() -> None:
    ended: list[bool] = []

    def source() -> Iterator[int]:
        try:
            yield from range(5)
        finally:
            ended.append(True)

    chunks = chunked(source(), 2)
    next(chunks)
    chunks.close()  # type: ignore[attr-defined]
    del chunks
    assert ended == [True]


def test_one_tensor_is_not_copied() -> None:
    one, other = torch.arange(3.0), torch.ones(3)
    assert stacked([one]).data_ptr() == one.data_ptr()
    assert stacked([one]).shape == (1, 3)
    assert torch.equal(stacked([one, other]), torch.stack([one, other]))
