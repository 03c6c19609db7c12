"""The search for one-hot groups among binary features."""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..types import Block

MOST_STRIDE = 32  # the largest last axis that is searched if no space declares the axes


def one_hot_groups(is_one: Tensor, bits: Tensor, varies: Tensor, blocks: Sequence[Block]) -> list[Tensor]:
    """Groups of features with exactly one 1 in every state, searched in the orders in which encoders write them.

    Members of a group are adjacent (planes, Discrete values), or have a constant stride (last axis of [H, W, C]).
    """
    spans, start = [], 0
    for block in blocks or (Block(len(bits)),):
        if block.kind != "image":
            spans.append((torch.arange(start, start + block.size), block))
        start += block.size
    found: list[Tensor] = []
    for span, block in spans:
        if len(block.shape) == 3:
            found += _planes_and_cells(span.reshape(block.shape), is_one, bits, varies)
        best: list[Tensor] = []
        for order in _orders(span, block):
            groups = _adjacent(is_one, bits, varies, order)
            if sum(map(len, groups)) > sum(map(len, best)):
                best = groups
            if sum(map(len, best)) == len(span):
                break
        found += best
    return found


def _planes_and_cells(grid: Tensor, is_one: Tensor, bits: Tensor, varies: Tensor) -> list[Tensor]:
    """One-hot groups that are complete planes of a grid or complete cells across its planes (first or last axis)."""
    candidates = [*grid.flatten(1), *grid.flatten(0, 1).T, *grid.flatten(0, 1), *grid.flatten(1).T]
    return [
        members
        for members in candidates
        if bool(bits[members].all())
        and int(varies[members].sum()) > 1
        and bool((is_one[:, members].sum(dim=1) == 1).all())
    ]


def _orders(span: Tensor, block: Block) -> Iterable[Tensor]:
    """Orders of a block's features to search: unchanged, then by the planes of a grid, or by strides."""
    yield span
    if len(block.shape) == 3:
        grid = span.reshape(block.shape)
        yield grid.permute(2, 0, 1).reshape(-1)
        yield grid.permute(1, 2, 0).reshape(-1)
        return
    for stride in range(2, min(len(span) // 2, MOST_STRIDE) + 1):
        if len(span) % stride == 0:
            yield span.reshape(-1, stride).T.reshape(-1)


def _adjacent(is_one: Tensor, bits: Tensor, varies: Tensor, order: Tensor) -> list[Tensor]:
    """The shortest runs of adjacent bits that sum to 1 in every state, from left to right.

    At least two features of a run must vary. Features that are always 0 belong to the run before them.
    """
    sums = torch.zeros(len(order) + 1, len(is_one), dtype=torch.int32)  # running number of ones, [position, M]
    torch.cumsum(is_one.T[order], dim=0, dtype=torch.int32, out=sums[1:])
    runs: list[tuple[int, int]] = []
    start = 0
    for end in range(1, len(order) + 1):
        if not bits[order[end - 1]]:
            start = end
            continue
        while int((sums[end] - sums[start]).max()) > 1:
            start += 1
        if bool((sums[end] - sums[start] == 1).all()):
            if int(varies[order[start:end]].sum()) > 1:
                runs.append((start, end))
            start = end
    zeros, groups = bits & ~is_one.any(dim=0), []
    stops = [*(first for first, _ in runs), len(order)][1:]
    for (first, end), stop in zip(runs, stops, strict=True):
        while end < stop and zeros[order[end]]:
            end += 1
        groups.append(order[first:end])
    return groups
