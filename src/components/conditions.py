"""Controls of opponent models: the policy is conditioned on what was inferred in another copy."""

import torch
from torch import Tensor

from ..types import ConfigError
from .rollout import Condition, Ends


def another_copy(copies: int, seed: int) -> Tensor:
    """For each of E copies the index of another one, int64 [E]: a random cycle through all copies.

    Each copy's condition is used once, so that the conditions of all copies together do not change.

    Raises:
        ConfigError: there is one copy only.
    """
    if copies < 2:
        raise ConfigError("condition_on: shuffled takes the condition of another copy, and there is one copy only")
    order = torch.randperm(copies, generator=torch.Generator().manual_seed(seed))
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other


def shuffled(condition: Condition, ends: Ends | None, seed: int) -> Condition:
    """The condition of ``another_copy`` at the same step, along a rollout of E copies.

    After the last step of an episode, the other copy may be within its episode: then ``at_ends`` is its condition
    after that step.
    """
    steps = [each for each in (condition.acting, condition.critic) if each is not None]
    other = another_copy(len(steps[0]), seed).to(steps[0].device)
    acting, critic, ahead = (None if each is None else each[other] for each in condition[:3])
    at_ends = condition.at_ends
    if ends is not None and at_ends is not None:
        after = steps[-1] if condition.next is None else torch.cat([condition.next[:, :1], condition.next], dim=1)
        table = after.clone()  # [E, T+1, N, D]
        table[ends.copy, ends.step + 1] = at_ends
        at_ends = table[other[ends.copy], ends.step + 1]
    valued = None if condition.valued is None else shuffled(condition.valued, ends, seed)
    return Condition(acting, critic, ahead, at_ends, valued)
