"""A rollout: T steps of every copy, in which episodes may begin and end. On-policy learners train on rollouts."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from .episode_batch import EpisodeBatch, Scheme

FOR_UPDATES = ("obs", "state", "actions", "actions_onehot", "avail_actions", "agent_mask", "begins", "filled")


class Ends(NamedTuple):
    """The last observations of the K episodes that ended inside a rollout, in no particular order.

    Attributes:
        copy, step: int64 [K]; which transitions ended an episode.
        obs, state, avail, agent_mask: [K, ...], see ``types.Observation``. Targets bootstrap from these, because
            the batch has the first observation of the next episode in their place.
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
    """What an opponent model conditions policy and critic on along a rollout. Without a model, all are None.

    Attributes:
        acting: [E, T+1, N, D], the policy's condition in its updates.
        critic: [E, T+1, N, D], the critic's condition.
        next: [E, T, N, D], the condition for the value of the state after each step. None: ``acting`` of the next
            step.
        at_ends: [K, N, D], the condition for the values of ``Rollout.ends``.
    """

    acting: Tensor | None = None
    critic: Tensor | None = None
    next: Tensor | None = None
    at_ends: Tensor | None = None

    def copies(self, index: Tensor) -> Condition:
        """The condition of some copies, without ``next`` and ``at_ends``, which only targets need."""
        acting, critic = (None if given is None else given[index] for given in (self.acting, self.critic))
        return Condition(acting, critic)


class Rollout(EpisodeBatch):
    """An ``EpisodeBatch`` of E copies and T+1 observations. A row is one copy, not one episode.

    All steps are filled. ``batch["begins"]`` [E, T+1, 1] is 1 where an episode begins. On the transition before it,
    ``terminated`` or ``truncated`` is 1.

    Attributes:
        carry: the recurrent state at the first step, [E, ...].
        last_actions: the one-hot actions before the first step, [E, N, U].
        ends: the last observations of episodes that ended; None where none did.
        condition: set by the learner that trains an opponent model.
        critic_memory: float [E, N, H], the recurrent state of the critic before the first step, if it has one.
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
        """Some of the copies, for an update with given targets: without rewards, flags and ``ends``."""
        data = {name: self.data[name][index] for name in FOR_UPDATES if name in self.data}
        part = Rollout(self.scheme, self.groups, data, self.carry[index], self.last_actions[index], None)
        part.condition = self.condition.copies(index)
        if self.critic_memory is not None:
            part.critic_memory = self.critic_memory[index]
        return part

    def previous_actions(self) -> Tensor:
        """The previous step's one-hot actions, zeros where an episode begins: [E, T+1, N, U]."""
        previous = torch.cat([self.last_actions[:, None], self["actions_onehot"][:, :-1]], dim=1)
        return previous * (1.0 - self["begins"].float())[..., None]
