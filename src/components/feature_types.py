"""Types of a state's features: Gaussian, Bernoulli, part of a one-hot group, or constant.

The type determines the likelihood under which a VAE reconstructs the feature. Types come from observation spaces
(``Block``), from the observed states, or from the user (``parse``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

import torch
from torch import Tensor

from ..modules.encoder import grids_of
from ..types import Block, ConfigError
from .one_hot_groups import one_hot_groups

CONSTANT, CATEGORICAL, BERNOULLI, GAUSSIAN = range(4)  # from special to general: corrections only move upwards
NAMES = ("constant", "categorical", "bernoulli", "gaussian")
NO_GROUP = -1


@dataclass(frozen=True, eq=False)
class FeatureTypes:
    """The type of each of S features.

    Features of two agents that observe the same thing are copies. They carry no information and count once. Gaussian
    copies count each: their weight determines the precision of the code, which has no limit.
    """

    kind: Tensor  # int64 [S], ``CONSTANT`` | ``CATEGORICAL`` | ``BERNOULLI`` | ``GAUSSIAN``
    group: Tensor  # int64 [S], the one-hot group of a categorical feature; -1 for all others
    value: Tensor  # float32 [S], the value of a constant feature; 0 for all others
    source: Tensor  # int64 [S], the earlier feature that a bit or one-hot group always equals; else its own index

    @property
    def size(self) -> int:
        """S."""
        return len(self.kind)

    @cached_property
    def is_copy(self) -> Tensor:
        """Whether a feature always equals an earlier one, bool [S]."""
        return self.source != torch.arange(self.size)

    def where(self, kind: int) -> Tensor:
        """Indices of the features of one kind, without copies, int64."""
        return ((self.kind == kind) & ~self.is_copy).nonzero().squeeze(1)

    def groups(self) -> list[Tensor]:
        """The indices of the features of each one-hot group, without copies."""
        own = torch.where(self.is_copy, NO_GROUP, self.group)
        return [(own == g).nonzero().squeeze(1) for g in own.unique() if g != NO_GROUP]

    def describe(self) -> str:
        """A summary such as ``80 features: 5 one-hot groups of 16``."""
        sizes = sorted(len(group) for group in self.groups())
        parts = [
            f"{len(list(same))} one-hot group{'' if sizes.count(size) == 1 else 's'} of {size}"
            for size, same in groupby(sizes)
        ]
        for kind, name in ((BERNOULLI, "binary"), (GAUSSIAN, "Gaussian"), (CONSTANT, "constant")):
            count = len(self.where(kind))
            parts += [f"{count} {name}"] if count else []
        copies = int(self.is_copy.sum())
        parts += [f"{copies} that equal another one"] if copies else []
        return f"{self.size} features: {', '.join(parts)}"

    def state_dict(self) -> dict[str, Tensor]:
        return {"kind": self.kind, "group": self.group, "value": self.value, "source": self.source}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Tensor]) -> FeatureTypes:
        return cls(*(state[name].cpu() for name in ("kind", "group", "value", "source")))

    @classmethod
    def all_of(cls, kind: int, size: int) -> FeatureTypes:
        """S features of one kind other than categorical."""
        return cls(torch.full((size,), kind), torch.full((size,), NO_GROUP), torch.zeros(size), torch.arange(size))


def parse(text: str, size: int) -> FeatureTypes:
    """Types of S = ``size`` features, in their order, from ``5*categorical(16), 3*bernoulli, gaussian``.

    The parts of ``text`` are ``[count*]kind``; kinds: ``gaussian``, ``bernoulli``, ``constant``, ``categorical(K)``.

    Raises:
        ConfigError: a part that cannot be read, or a total other than S.
    """
    kinds: list[int] = []
    groups: list[int] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        found = re.fullmatch(r"(?:(\d+)\s*\*\s*)?(gaussian|bernoulli|constant|categorical\((\d+)\))", part)
        if found is None:
            raise ConfigError(
                f"vae_feature_types: cannot read {part!r}; write for example "
                "'5*categorical(16), 3*bernoulli, gaussian'"
            )
        for _ in range(int(found[1] or 1)):
            width = int(found[3]) if found[3] else 1
            kinds += [NAMES.index(found[2].split("(")[0])] * width
            groups += [max(groups, default=NO_GROUP) + 1 if found[3] else NO_GROUP] * width
    if len(kinds) != size:
        raise ConfigError(f"vae_feature_types: names {len(kinds)} features, the VAE's data have {size}")
    return FeatureTypes(torch.tensor(kinds), torch.tensor(groups), torch.zeros(size), torch.arange(size))


def infer(states: Tensor, blocks: Sequence[Block] = (), kinds: Iterable[int] = range(4)) -> FeatureTypes:
    """Types of the features of observed states [M, S], which must be finite.

    A feature is constant if it does not vary, and binary if it is always 0 or 1. Binary features form a one-hot group
    if exactly one of them is 1 in every state. The cells of one plane of a declared grid have the same quantity: if
    one of them has another value, none is binary. A feature that a space declares as binary is binary even if it has
    not varied yet. Few states give types that are too special, never too general; ``corrected`` generalises them.

    Args:
        blocks: declarations of the observation space, in order; empty if unknown.
        kinds: the kinds to distinguish; a feature of another kind is Gaussian.
    """
    low, high = states.amin(dim=0).cpu(), states.amax(dim=0).cpu()
    bits = ((states == 0) | (states == 1)).all(dim=0).cpu() & ~_pixels(blocks, states.shape[1])
    for part in (part for parts in grids_of(blocks) for part in parts):
        planes = torch.arange(part.start, part.end).reshape(part.shape).permute(part.axes).flatten(1)  # [C, H * W]
        bits[planes] &= bits[planes].all(dim=1, keepdim=True)
    declared_bits, declared_groups = _declared(blocks, states.shape[1])
    binary = bits & ((low != high) | declared_bits)
    kind = torch.full((states.shape[1],), GAUSSIAN)
    kind[low == high] = CONSTANT
    kind[binary] = BERNOULLI
    group = torch.full_like(kind, NO_GROUP)
    if CATEGORICAL in kinds:
        is_one = states.cpu() == 1
        for members in [*declared_groups, *one_hot_groups(is_one, bits, low != high, blocks)]:
            free = bool((group[members] == NO_GROUP).all())
            if free and len(members) > 1 and bool((is_one[:, members].sum(dim=1) == 1).all()):
                kind[members], group[members] = CATEGORICAL, int(group.max()) + 1
    unwanted = torch.tensor([k not in kinds for k in range(4)])[kind]
    kind[unwanted], group[unwanted] = GAUSSIAN, NO_GROUP
    value = torch.where(kind == CONSTANT, low, 0.0)
    return FeatureTypes(kind, group, value, _complete_groups(_sources(states, kind, group), group))


def _sources(states: Tensor, kind: Tensor, group: Tensor) -> Tensor:
    """The first bit or one-hot group that equals each one in every state; of other features, their own index.

    Only complete groups are compared: in few states many of their features are always 0, and therefore equal. Bits
    that have not varied are no copies.
    """
    columns = (states + 0.0).T.cpu().contiguous().numpy()  # + 0.0: -0.0 equals 0.0
    source = torch.arange(len(kind))
    first: dict[bytes, Tensor] = {}
    bits = [i.reshape(1) for i in (kind == BERNOULLI).nonzero()]
    groups = [(group == g).nonzero().squeeze(1) for g in group.unique() if g != NO_GROUP]
    for members in bits + groups:
        values = columns[members.numpy()]
        if values.min() != values.max():
            source[members] = first.setdefault(values.tobytes(), members)
    return source


def _complete_groups(source: Tensor, group: Tensor) -> Tensor:
    """Sources corrected so that a one-hot group copies one other group completely, or none."""
    source, index = source.clone(), torch.arange(len(source))
    for g in group[group != NO_GROUP].unique():
        members = group == g
        sources = group[source[members]].unique()
        if len(sources) > 1 or int(sources[0]) in (NO_GROUP, int(g)):
            source[members] = index[members]
    return source


def contradicted(types: FeatureTypes, states: Tensor) -> Tensor:
    """Whether states [M, S] contradict a feature's kind, or differ from the feature that it copies: bool [M, S]."""
    rows = states.cpu()
    wrong = (types.kind == CONSTANT) & (rows != types.value)
    wrong |= ((types.kind == BERNOULLI) | (types.kind == CATEGORICAL)) & (rows.square() != rows)
    if bool(types.is_copy.any()):
        wrong |= rows != rows[:, types.source]
    grouped = (types.group != NO_GROUP).nonzero().squeeze(1)
    if len(grouped):
        index = types.group[grouped]
        sums = torch.zeros(len(rows), int(index.max()) + 1).index_add_(1, index, rows[:, grouped])
        wrong[:, grouped] |= (sums != 1)[:, index]
    return wrong


def corrected(types: FeatureTypes, states: Tensor, wrong: Tensor, blocks: Sequence[Block] = ()) -> FeatureTypes:
    """Types that agree with a sample of the observed states [M, S], which contains the contradicting ones.

    Only the features that are ``contradicted`` in some state change: ``wrong``, bool [S]. ``blocks``: see ``infer``.
    """
    wrong = wrong.cpu()
    fresh = infer(states, blocks)
    kind, group = types.kind.clone(), types.group.clone()
    for members in fresh.groups():
        if bool(wrong[members].all()):
            kind[members], group[members] = CATEGORICAL, int(group.max()) + 1
            wrong[members] = False
    single = torch.where(fresh.kind == CATEGORICAL, BERNOULLI, fresh.kind)  # its group is only partly wrong
    kind[wrong] = torch.maximum(single, torch.where(types.kind == CONSTANT, CONSTANT, BERNOULLI))[wrong]
    group[wrong] = NO_GROUP
    source = _complete_groups(types.source, group)
    return replace(
        types, kind=kind, group=group, source=source, value=torch.where(kind == CONSTANT, types.value, 0.0)
    )


def regrouped(types: FeatureTypes, states: Tensor, blocks: Sequence[Block], kinds: Iterable[int]) -> FeatureTypes:
    """Types inferred from a larger sample of the observed states [M, S].

    Few states suggest groups that later ones dissolve. The sample should contain the states that contradicted
    earlier types. Evidence from states outside the sample remains: a Gaussian feature remains Gaussian, and a bit
    that has varied does not become constant. ``blocks``, ``kinds``: see ``infer``.
    """
    fresh = infer(states, blocks, kinds)
    is_broken = torch.zeros(types.size, dtype=torch.bool)
    for g in fresh.group[fresh.group != NO_GROUP].unique():
        members = fresh.group == g
        is_broken |= members & (types.kind[members] == GAUSSIAN).any()
    least = torch.where(types.kind == CATEGORICAL, BERNOULLI, types.kind)  # the most special kind possible for each
    is_grouped = (fresh.group != NO_GROUP) & ~is_broken
    kind = torch.where(is_grouped, CATEGORICAL, torch.maximum(torch.where(is_broken, BERNOULLI, fresh.kind), least))
    group = torch.where(is_grouped, fresh.group, NO_GROUP)
    source = torch.where(kind[fresh.source] == kind, fresh.source, torch.arange(types.size))
    value = torch.where(kind == CONSTANT, fresh.value, 0.0)
    return FeatureTypes(kind, group, value, _complete_groups(source, group))


def is_same(a: FeatureTypes, b: FeatureTypes) -> bool:
    """Whether kinds, groups and copies are equal; the numbers of the groups may differ."""
    groups = [sorted(tuple(g.tolist()) for g in types.groups()) for types in (a, b)]
    return bool((a.kind == b.kind).all() and (a.source == b.source).all() and groups[0] == groups[1])


def changes(old: FeatureTypes, new: FeatureTypes, most: int = 4) -> str:
    """A text that lists the changed types."""
    parts = []
    moved = (old.kind != new.kind).nonzero().squeeze(1)
    for i in moved[:most]:
        parts.append(f"{int(i)} is {NAMES[new.kind[i]]}, not {NAMES[old.kind[i]]}")
    if len(moved) > most:
        parts.append(f"{len(moved) - most} more")
    regrouped = int(((old.kind == new.kind) & (old.group != new.group)).sum())
    parts += [f"{regrouped} are in other one-hot groups"] if regrouped else []
    freed = int((old.is_copy & ~new.is_copy).sum())
    parts += [f"{freed} do not equal another one"] if freed else []
    return ", ".join(parts)


def _pixels(blocks: Sequence[Block], size: int) -> Tensor:
    """The features that spaces declare as pixels, which are never bits: bool [S]."""
    pixels, start = torch.zeros(size, dtype=torch.bool), 0
    for block in blocks:
        pixels[start : start + block.size] = block.kind == "image"
        start += block.size
    return pixels


def _declared(blocks: Sequence[Block], size: int) -> tuple[Tensor, list[Tensor]]:
    """The features that spaces declare as bits, bool [S], and the declared one-hot groups."""
    bits, groups, start = torch.zeros(size, dtype=torch.bool), [], 0
    for block in blocks:
        bits[start : start + block.size] = block.kind in ("binary", "one_hot")
        if block.kind == "one_hot":
            groups.append(torch.arange(start, start + block.size))
        start += block.size
    return bits, groups
