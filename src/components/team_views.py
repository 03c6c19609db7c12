"""A team's part of the steps of all agents, and complete episodes put together from rollouts."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from .episode_batch import EpisodeBatch, Scheme, step_shape, stored_keys
from .rollout import Ends, Rollout

OBSERVED = ("obs", "state", "avail_actions", "agent_mask")  # also known at an episode's last observation
TAKEN = ("actions", "reward", "terminated", "truncated")  # of a transition
OF_AGENTS = ("obs", "avail_actions", "agent_mask", "actions", "reward")


class View:
    """The part of the agents ``agents`` (indices), a team.

    Args:
        agents: N' of the N agents.
        scheme, groups: the team's, see ``make_scheme``.
        common: the name of the statistic, "sum" or "mean", of the agents' rewards that the team shares; "": each
            agent has its own.
    """

    def __init__(self, agents: Sequence[int], scheme: Scheme, groups: dict[str, int], common: str = "") -> None:
        self.agents, self.scheme, self.groups, self.common = list(agents), scheme, groups, common

    def _data(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        data = {name: tensor[:, :, self.agents] if name in OF_AGENTS else tensor
                for name, tensor in batch.data.items() if name != "actions_onehot"}  # fmt: skip
        if self.common:
            data["reward"] = getattr(torch, self.common)(data["reward"], dim=2, keepdim=True)
        return data

    def episodes(self, batch: EpisodeBatch) -> EpisodeBatch:
        """The team's part of complete episodes of all N agents."""
        return EpisodeBatch(self.scheme, self.groups, self._data(batch))

    def rollout(self, batch: Rollout, carry: Tensor, carry_at_ends: Tensor | None) -> Rollout:
        """The team's part of a rollout of all N agents; its controller's recurrent state is given.

        ``carry`` [E, ...] is at the first step, ``carry_at_ends`` [K, ...] at the last observations of episodes.
        """
        scheme = {**self.scheme, "begins": batch.scheme["begins"]}
        ends = batch.ends
        if ends is not None:
            assert carry_at_ends is not None
            own = (each[:, self.agents] for each in (ends.obs, ends.avail, ends.agent_mask, ends.last_actions))
            obs, avail, agent_mask, last = own
            ends = Ends(ends.copy, ends.step, obs, ends.state, avail, agent_mask, last, carry_at_ends)
        last_actions = batch.last_actions[:, self.agents]
        return Rollout(scheme, self.groups, self._data(batch), carry, last_actions, ends)


class EpisodesOfRollouts:
    """Puts complete episodes of E copies together from consecutive rollouts.

    Args:
        scheme, groups: see ``make_scheme``.
        n_envs: E.
        episode_limit: the most transitions of an episode.
    """

    def __init__(self, scheme: Scheme, groups: dict[str, int], n_envs: int, episode_limit: int) -> None:
        self.scheme, self.groups = scheme, groups
        self.store = {
            name: torch.zeros(
                n_envs, episode_limit + 1, *step_shape(scheme, groups, name), dtype=scheme[name]["dtype"]
            )
            for name in stored_keys(scheme)
            if name != "filled"
        }
        self.t = torch.zeros(n_envs, dtype=torch.long)  # transitions of each copy's episode

    def add(self, rollout: Rollout) -> Iterator[EpisodeBatch]:
        """Adds the next steps of every copy; returns the episodes that end in them."""
        data = {name: rollout.data[name].cpu() for name in (*OBSERVED, *TAKEN, "begins")}
        rows = torch.arange(len(self.t))
        for step in range(rollout.max_seq_length - 1):
            self.t[data["begins"][:, step, 0] > 0] = 0
            for name in (*OBSERVED, *TAKEN):
                self.store[name][rows, self.t] = data[name][:, step]
            self.t += 1
            if rollout.ends is not None and (now := rollout.ends.step.cpu() == step).any():
                yield self._finished(Ends._make(tensor.cpu()[now] for tensor in rollout.ends))

    def _finished(self, ends: Ends) -> EpisodeBatch:
        """The episodes of the copies ``ends.copy``, with their last observations."""
        lengths, count = self.t[ends.copy], torch.arange(len(ends.copy))
        steps = torch.arange(int(lengths.max()) + 1)
        data = {name: tensor[ends.copy, : len(steps)] for name, tensor in self.store.items()}  # copies
        for name, tensor in data.items():
            tensor[steps[None] >= lengths[:, None]] = 0
            if name in OBSERVED:
                tensor[count, lengths] = getattr(ends, "avail" if name == "avail_actions" else name)
        data["filled"] = (steps[None] <= lengths[:, None]).to(torch.uint8)[..., None]
        return EpisodeBatch(self.scheme, self.groups, data)

    def state_dict(self) -> dict[str, Any]:
        """The episodes in progress."""
        longest = int(self.t.max()) + 1
        return {"t": self.t.clone(), "store": {name: each[:, :longest].clone() for name, each in self.store.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores ``state_dict``."""
        self.t = state["t"].clone()
        for name, tensor in state["store"].items():
            self.store[name][:, : tensor.shape[1]] = tensor
