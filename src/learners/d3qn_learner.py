"""D3QN: double, duelling deep Q-learning from replayed rollouts, the base of OMG in foraging (Yu, Jiang and Lu 2024).

Mnih et al. 2015, van Hasselt et al. 2016 (the target's action) and Wang et al. 2016 (``head_duelling``). Targets have
one step, because the actions of stored rollouts are those of former policies.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..components.optimisers import anneal
from ..components.rollout import Condition, Ends, Rollout, RolloutMemory
from ..components.unroll import unroll_ahead
from ..config.keys import TargetNetworkKeys
from ..config.schema import key, new_default
from ..types import MetricLogger, RolloutController
from .agent_learner import RolloutLearnerConfig, copy_values
from .pqn_learner import PQNLearner, RolloutQConfig


@dataclass(frozen=True)
class D3QNConfig(RolloutQConfig, TargetNetworkKeys):
    """Keys of ``learner: d3qn_learner``."""

    epochs: int = new_default(
        RolloutLearnerConfig, "epochs", 4, "stored rollouts drawn, and trained on once, for each new rollout"
    )
    lr_anneal: bool = new_default(RolloutLearnerConfig, "lr_anneal", False)
    target_update_interval_or_tau: float = new_default(TargetNetworkKeys, "target_update_interval_or_tau", 0.01)
    replay_rollouts: int = key(50, low=1, help="rollouts kept for the updates of the values, the newest included")


class D3QNLearner(PQNLearner):
    """Regression to one-step targets ``r + gamma * Q'(s', argmax_a Q(s', a))`` on rollouts drawn from a memory.

    Rows of a stored rollout may begin within an episode. Recurrent networks begin them with the state that they had
    when the rollout was made (Kapturowski et al. 2019, "stored state"). Conditions of stored rollouts are inferred
    anew by the present opponent model (``condition_by``).
    """

    Config = D3QNConfig
    name = "d3qn_learner"
    config: D3QNConfig

    def __init__(self, mac: RolloutController, scheme: Any, logger: MetricLogger, args: Any) -> None:
        super().__init__(mac, scheme, logger, args)
        self.target_mac: Any = copy.deepcopy(mac)
        self.memory = RolloutMemory(self.config.replay_rollouts, 1)
        self.infer: Callable[[Rollout, int], Condition] | None = None
        self.updates = 0

    def condition_by(self, infer: Callable[[Rollout, int], Condition]) -> None:
        """Sets what gives the condition of a stored rollout at ``t_env``: see ``BaseLearner``."""
        self.infer = infer

    def train(self, batch: Rollout, t_env: int, episode_num: int) -> None:
        """Stores the rollout, then trains on ``epochs`` rollouts drawn from the memory."""
        c = self.config
        self.memory.insert(batch)
        if c.lr_anneal:
            anneal(self.optimiser, c.lr, c.t_max, t_env)
        for _ in range(c.epochs):
            drawn = self.memory.sample()
            if self.infer is not None:
                with torch.no_grad():
                    drawn.condition = self.infer(drawn, t_env)
            self.fit(drawn)
        self.log(t_env)

    def fit(self, batch: Rollout) -> None:
        """One pass over a rollout, in minibatches of its copies."""
        copies = batch.batch_size
        targets = self.targets(batch)
        for part in torch.randperm(copies, device=batch.device).chunk(min(self.config.minibatches, copies)):
            self.update(batch.copies(part), *(target[part] for target in targets))
            self.updates += 1
            self._update_target()

    def returns(self, reward: Tensor, ahead: Tensor, over: Tensor) -> Tensor:
        """One-step targets; ``ahead`` is 0 after a termination."""
        return reward + self.config.gamma * ahead

    def next_values(self, batch: Rollout) -> Tensor:
        """The target network's value of the action after each step, [E, T, N]."""
        online, target = (unroll_ahead(mac, batch) for mac in (self.mac, self.target_mac))
        return self._chosen(online, target, batch["avail_actions"][:, 1:])

    def last_values(self, batch: Rollout, ends: Ends) -> Tensor:
        """The same for the last observations of episodes that ended, [K, N]."""
        inputs = ends.obs, ends.last_actions, ends.carry, batch.condition.at_ends
        return self._chosen(self.mac.evaluate(*inputs), self.target_mac.evaluate(*inputs), ends.avail)

    def _chosen(self, online: Tensor, target: Tensor, avail: Tensor) -> Tensor:
        """The target's value [...] of the best available action: the online network's, or its own."""
        judge = (online if self.config.double_q else target).masked_fill(avail == 0, -torch.inf)
        return target.gather(-1, judge.argmax(dim=-1, keepdim=True)).squeeze(-1)

    @torch.no_grad()
    def _update_target(self) -> None:
        rate, mine, theirs = self.config.target_update_interval_or_tau, *self._pairs()
        if rate <= 1:
            torch._foreach_lerp_(theirs, mine, rate)
        elif self.updates % round(rate) == 0:
            copy_values(theirs, mine)

    def _pairs(self) -> tuple[list[Tensor], list[Tensor]]:
        """The parameters of the network and of its target, in the same order."""
        return list(self.mac.parameters()), list(self.target_mac.parameters())

    def cuda(self) -> None:
        """Moves networks to the GPU."""
        super().cuda()
        self.target_mac.cuda()

    def load_models(self, path: Any) -> None:
        """Reads PyMARL's files. They have no target network, so it becomes a copy of the loaded network."""
        super().load_models(path)
        mine, theirs = self._pairs()
        copy_values(theirs, mine)

    def state_dict(self) -> dict[str, Any]:
        """The state on which the next update depends, with target network and stored rollouts."""
        own = {"target": [p.detach().clone() for p in self._pairs()[1]], "updates": self.updates}
        return {**super().state_dict(), **own, "memory": self.memory.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``."""
        super().load_state_dict(state)
        copy_values(self._pairs()[1], state["target"])
        self.updates = state["updates"]
        self.memory.load_state_dict(state["memory"])
