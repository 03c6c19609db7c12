"""Actions of opponents as learners observe them, for every kind of action."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..modules.action_distributions import distribution
from ..types import EnvInfo, Observation


class ObservedActions:
    """An opponent's action as W features, all zeros if it did not act.

    They are ``ActionDistribution.encode``. If numbers are among them, for which zeros may be an action, one more
    feature is 1 if the opponent acted. ``info`` is the ``EnvInfo`` of all agents.
    """

    def __init__(self, info: EnvInfo) -> None:
        self.distribution, self.n_actions = distribution(info.actions, info.n_actions), info.n_actions
        self.is_marked = bool(info.actions.limits)
        self.width = info.n_actions + self.is_marked  # W
        self.own = info.own_parts()  # [N, U], False for numbers that an agent lacks
        self.idle = info.actions.of_idle(info.n_actions)

    def features(self, actions: NDArray, acted: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Actions [E, N, ...] (see ``types.ActionKind``) of the agents that acted [E, N] as features [E, N, W]."""
        stored = torch.from_numpy(actions.reshape(*actions.shape[:2], -1))
        table = np.zeros((*acted.shape, self.width), np.float32)
        table[..., : self.n_actions] = self.distribution.encode(stored).numpy() * self.own
        if self.is_marked:
            table[..., -1] = 1.0
        return table * acted[..., None]

    def features_of(self, encoded: Tensor, acted: Tensor) -> Tensor:
        """``features`` from encoded actions [..., U] (``actions_onehot``) of agents that acted, bool [...]."""
        marks = [torch.ones_like(encoded[..., :1])] if self.is_marked else []
        return torch.cat([encoded, *marks], dim=-1) * acted[..., None]

    def could_act(self, agent_mask: Tensor, avail: Tensor) -> Tensor:
        """``can_act`` along a batch: from [..., N] and [..., N, U], bool [..., N]."""
        useful = torch.from_numpy(~self.idle).to(avail.device)
        return (agent_mask > 0) & (avail[..., useful] > 0).any(dim=-1)

    def can_act(self, observation: Observation) -> NDArray[np.bool_]:
        """Which agents act, [E, N]: living ones with more than what is available to agents that cannot act."""
        return (observation.agent_mask > 0) & observation.avail[..., ~self.idle].any(axis=-1)

    def acted(self, features: Tensor) -> Tensor:
        """Whether the opponent acted, bool [...], from its features [..., W]."""
        return features[..., -1] > 0 if self.is_marked else features.amax(dim=-1) > 0

    def actions(self, features: Tensor) -> Tensor:
        """The stored actions [..., A], from features [..., W]; meaningless if the opponent did not act."""
        return self.distribution.decode(features[..., : self.n_actions])
