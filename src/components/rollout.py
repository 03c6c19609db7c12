"""A rollout: T steps of every copy, in which episodes may begin and end. On-policy learners train on rollouts."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .episode_batch import EpisodeBatch, Scheme

FOR_UPDATES = ("obs", "state", "actions", "actions_onehot", "avail_actions", "agent_mask", "begins", "filled",
               "opponent")  # fmt: skip


class Ends(NamedTuple):
    """The last observations of the K episodes that ended inside a rollout, in no particular order.

    Targets bootstrap from these, because the batch has the first observation of the next episode in their place.
    """

    copy: Tensor  # int64 [K]; with ``step``: which transitions ended an episode
    step: Tensor
    # obs, state, avail, agent_mask: [K, ...], see ``types.Observation``
    obs: Tensor
    state: Tensor
    avail: Tensor
    agent_mask: Tensor
    last_actions: Tensor  # [K, N, U], one-hot
    carry: Tensor  # [K, ...], the recurrent state before the observation

    def of(self, index: Tensor, copies: int) -> Ends | None:
        """Those of some of the copies, which are numbered by their place in ``index``; None if there are none."""
        place = index.new_full((copies,), -1).index_copy(0, index, torch.arange(len(index), device=index.device))
        kept = place[self.copy] >= 0
        found = Ends._make(tensor[kept] for tensor in self)
        return found._replace(copy=place[found.copy]) if len(found.copy) else None


class Condition(NamedTuple):
    """What an opponent model conditions policy and critic on along a rollout. Without a model, all are None."""

    acting: Tensor | None = None  # [E, T+1, N, D], the policy's condition in its updates
    critic: Tensor | None = None  # [E, T+1, N, D], the critic's condition
    # [E, T, N, D], the condition for the value of the state after each step; None: ``acting`` of the next step
    next: Tensor | None = None
    at_ends: Tensor | None = None  # [K, N, D], the condition for the values of ``Rollout.ends``
    valued: Condition | None = None  # another condition of the same steps under which values are trained, too

    def copies(self, index: Tensor) -> Condition:
        """The condition of some copies, without ``next`` and ``at_ends``, which only targets need."""
        acting, critic = (None if given is None else given[index] for given in (self.acting, self.critic))
        return Condition(acting, critic, valued=None if self.valued is None else self.valued.copies(index))


class Rollout(EpisodeBatch):
    """An ``EpisodeBatch`` of E copies and T+1 observations. A row is one copy, not one episode.

    All steps are filled. ``batch["begins"]`` [E, T+1, 1] is 1 where an episode begins. On the transition before it,
    ``terminated`` or ``truncated`` is 1.
    """

    carry: Tensor  # the recurrent state at the first step, [E, ...]
    last_actions: Tensor  # the one-hot actions before the first step, [E, N, U]
    ends: Ends | None  # the last observations of episodes that ended; None if none did
    condition: Condition = Condition()  # set by the learner that trains an opponent model
    critic_memory: Tensor | None = None  # [E, N, H], the critic's recurrent state before the first step, if any

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

    def selected(self, index: Tensor) -> Rollout:
        """Some of the copies, complete, without the condition."""
        data = {name: tensor[index] for name, tensor in self.data.items()}
        ends = None if self.ends is None else self.ends.of(index, self.batch_size)
        return Rollout(self.scheme, self.groups, data, self.carry[index], self.last_actions[index], ends)

    def under(self, condition: Condition) -> Rollout:
        """The same rollout, with shared tensors, under another condition."""
        other = copy.copy(self)
        other.condition = condition
        return other

    def previous_actions(self) -> Tensor:
        """The previous step's one-hot actions, zeros where an episode begins: [E, T+1, N, U]."""
        previous = torch.cat([self.last_actions[:, None], self["actions_onehot"][:, :-1]], dim=1)
        return previous * (1.0 - self["begins"].float())[..., None]


class RolloutMemory:
    """The last ``capacity`` rollouts, copied because the runner reuses a rollout's memory, without their conditions.

    A sample is ``window`` consecutive rollouts.
    """

    def __init__(self, capacity: int, window: int) -> None:
        self.capacity, self.window = capacity, window
        self.rollouts: list[Rollout] = []
        self._loaded: list[Mapping[str, Any]] = []  # from a checkpoint, until a rollout states the scheme

    def insert(self, batch: Rollout) -> None:
        """Keeps a rollout, and drops the oldest beyond the capacity."""
        self.rollouts += [_unpacked(saved, batch) for saved in self._loaded]
        self._loaded = []
        data = {name: tensor.clone() for name, tensor in batch.data.items()}
        kept = Rollout(batch.scheme, batch.groups, data, batch.carry.clone(), batch.last_actions.clone(), batch.ends)
        self.rollouts.append(kept)
        del self.rollouts[: -self.capacity]

    def state_dict(self) -> dict[str, Any]:
        """The rollouts as tensors."""
        return {"rollouts": [*self._loaded, *map(_packed, self.rollouts)]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``; the rollouts can be sampled after the next ``insert``."""
        self.rollouts, self._loaded = [], list(state["rollouts"])

    def sample(self, copies: Tensor | None = None) -> Rollout:
        """``window`` consecutive rollouts from a random place, or all where there are fewer, as one rollout.

        Of all copies, or of those that ``copies`` numbers.
        """
        window = min(self.window, len(self.rollouts))
        first = int(torch.randint(len(self.rollouts) - window + 1, ()))
        drawn = self.rollouts[first : first + window]
        return joined(drawn if copies is None else [rollout.selected(copies) for rollout in drawn])


def _packed(rollout: Rollout) -> dict[str, Any]:
    ends = None if rollout.ends is None else list(rollout.ends)
    data = {name: tensor for name, tensor in rollout.data.items() if name != "actions_onehot"}
    return {"data": data, "carry": rollout.carry, "last_actions": rollout.last_actions, "ends": ends}


def _unpacked(saved: Mapping[str, Any], like: Rollout) -> Rollout:
    """A rollout from ``_packed``, with the scheme and the device of another one."""
    ends = None if saved["ends"] is None else Ends._make(saved["ends"])
    rollout = Rollout(like.scheme, like.groups, saved["data"], saved["carry"], saved["last_actions"], ends)
    return rollout.to(like.device)


def joined(rollouts: list[Rollout]) -> Rollout:
    """Consecutive rollouts as one rollout of all their steps, with the first one's carry."""
    first = rollouts[0]
    parts: dict[str, list[torch.Tensor]] = {name: [] for name in first.data}
    ends, steps = [], 0
    for rollout in rollouts:
        length = rollout.max_seq_length - 1
        is_last = rollout is rollouts[-1]  # elsewhere the last observation is the next rollout's first
        for name, tensors in parts.items():
            tensors.append(rollout.data[name] if is_last else rollout.data[name][:, :length])
        if rollout.ends is not None:
            ends.append(rollout.ends._replace(step=rollout.ends.step + steps))
        steps += length
    data = {name: torch.cat(tensors, dim=1) for name, tensors in parts.items()}
    all_ends = Ends._make(torch.cat(tensors) for tensors in zip(*ends, strict=True)) if ends else None
    return Rollout(first.scheme, first.groups, data, first.carry, first.last_actions, all_ends)
