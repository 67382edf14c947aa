"""Frames side by side: taken from a sequence some at a time, their tensors with a leading axis."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")


def chunked(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Yield items in lists of `size`; the last one may be shorter.

    No item is pulled before its list is wanted. If the source fails, the items that came before are
    handed out first, as they would be one by one.

    >>> [*chunked("abcde", 2)]
    [['a', 'b'], ['c', 'd'], ['e']]
    """
    source = iter(items)
    failure: Exception | None = None
    going = True
    while going:
        chunk: list[Item] = []
        try:
            for item in islice(source, size):
                chunk.append(item)
        except Exception as error:
            failure = error
        if chunk:
            yield chunk
        if failure is not None:
            raise failure
        going = len(chunk) == size


def stacked(tensors: Sequence[Tensor]) -> Tensor:
    """Return tensors along a new leading axis; one alone is not copied."""
    return tensors[0][None] if len(tensors) == 1 else torch.stack(list(tensors))
