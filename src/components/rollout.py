"""A stretch of steps from every copy, whatever episodes begin and end in it: what on-policy learners train on."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .episode_batch import EpisodeBatch, Scheme

FOR_UPDATES = ("obs", "state", "actions", "actions_onehot", "avail_actions", "agent_mask", "begins", "filled")


class Ends(NamedTuple):
    """What copies showed last, where episodes ended inside a rollout: K of them, in no order.

    Attributes:
        copy, step: int64 [K]; which transitions ended an episode.
        obs, state, avail, agent_mask: [K, ...], see ``types.Observation``; to bootstrap from, as the batch shows the
            next episode's beginning instead.
        last_actions: [K, N, U], one-hot.
        carry: [K, ...], the recurrent state before the observation.
    """

    copy: Tensor
    step: Tensor
    obs: Tensor
    state: Tensor
    avail: Tensor
    agent_mask: Tensor
    last_actions: Tensor
    carry: Tensor


class Condition(NamedTuple):
    """What an opponent model conditions policy and critic on along a rollout; all None: there is no model.

    Attributes:
        acting: [E, T+1, N, D], what the policy is trained under.
        critic: [E, T+1, N, D], what a critic is given.
        next: [E, T, N, D], what the value of the state after each step is taken under; None: ``acting`` of the step
            after it.
        at_ends: [K, N, D], what the values of ``Rollout.ends`` are taken under.
    """

    acting: Tensor | None = None
    critic: Tensor | None = None
    next: Tensor | None = None
    at_ends: Tensor | None = None

    def copies(self, index: Tensor) -> Condition:
        """Of some of the copies, without what only targets are made from."""
        acting, critic = (None if given is None else given[index] for given in (self.acting, self.critic))
        return Condition(acting, critic)


class Rollout(EpisodeBatch):
    """An ``EpisodeBatch`` of E copies and T+1 observations whose rows are no episodes.

    Everything is filled. ``batch["begins"]`` [E, T+1, 1] is 1 where an episode begins; ``terminated`` and
    ``truncated`` stand on the transitions before, as ever.

    Attributes:
        carry: the recurrent state at the first step, [E, ...].
        last_actions: one-hot before the first step, [E, N, U].
        ends: the last observations of episodes that ended; None where none did.
        condition: of an opponent model.
        critic_memory: float [E, N, H], a recurrent critic's before the first step; None: it has none.
    """

    carry: Tensor
    condition: Condition = Condition()
    critic_memory: Tensor | None = None

    def __init__(
        self,
        scheme: Scheme,
        groups: dict[str, int],
        data: dict[str, Tensor],
        carry: Tensor,
        last_actions: Tensor,
        ends: Ends | None,
    ) -> None:
        super().__init__(scheme, groups, data)
        self.carry, self.last_actions, self.ends = carry, last_actions, ends

    def to(self, device: Any) -> Rollout:
        """Moves the tensors, in place, and returns the rollout."""
        super().to(device)
        self.carry, self.last_actions = self.carry.to(device), self.last_actions.to(device)
        if self.ends is not None:
            self.ends = Ends._make(tensor.to(device) for tensor in self.ends)
        return self

    def copies(self, index: Tensor) -> Rollout:
        """Some of the copies, for one more update: without rewards, flags and ``ends``, which targets are made of."""
        data = {name: self.data[name][index] for name in FOR_UPDATES if name in self.data}
        part = Rollout(self.scheme, self.groups, data, self.carry[index], self.last_actions[index], None)
        part.condition = self.condition.copies(index)
        if self.critic_memory is not None:
            part.critic_memory = self.critic_memory[index]
        return part

    def previous_actions(self) -> Tensor:
        """One-hot actions before each step, zeros where an episode begins: [E, T+1, N, U]."""
        previous = torch.cat([self.last_actions[:, None], self["actions_onehot"][:, :-1]], dim=1)
        return previous * (1.0 - self["begins"].float())[..., None]
