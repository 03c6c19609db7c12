"""PQN: parallelised Q-learning without replay or target network (Gallici et al., ICLR 2025).

Many copies, short rollouts, lambda-returns as targets, and LayerNorm in the networks for stability. Each agent learns
its own values or, with ``mixer: vdn``, all learn the sum of their values (Sunehag et al. 2018).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..components.masks import alive_mask, is_common, own_rewards, values_of_living
from ..components.returns import lambda_returns
from ..components.rollout import Ends, Rollout
from ..components.unroll import unroll, unroll_ahead
from ..config.keys import MixerKeys
from ..config.schema import key, new_default, read
from ..controllers.model_controller import ModelMAC
from ..modules.action_distributions import require_discrete
from ..modules.losses import masked_mean
from ..types import ConfigError, MetricLogger, RolloutController
from .agent_learner import RolloutLearner, RolloutLearnerConfig, check_conditioned, values_ahead


@dataclass(frozen=True)
class RolloutQConfig(RolloutLearnerConfig, MixerKeys):
    """Keys of Q-learning from rollouts, beside those of every learner from rollouts."""

    lr: float = new_default(RolloutLearnerConfig, "lr", 1e-3)


@dataclass(frozen=True)
class PQNConfig(RolloutQConfig):
    """Keys of ``learner: pqn_learner``."""

    epochs: int = new_default(RolloutLearnerConfig, "epochs", 2)
    td_lambda: float = key(0.65, low=0, high=1, help="lambda of the returns: 0 one step, 1 the whole rollout")


class PQNLearner(RolloutLearner):
    """Regression to lambda-returns of the greedy values."""

    Config: type[RolloutQConfig] = PQNConfig
    name = "pqn_learner"
    needs_discrete = True  # actions
    config: RolloutQConfig
    keeps_condition = True

    def __init__(self, mac: RolloutController, scheme: Any, logger: MetricLogger, args: Any) -> None:
        require_discrete(args, self.name)
        c = read(self.Config, args)
        if c.mixer not in (None, "vdn"):
            raise ConfigError(f"mixer: {self.name} knows vdn alone, not {c.mixer}")
        super().__init__(c, mac, logger, args, list(mac.parameters()))

    def update(self, batch: Rollout, *targets: Tensor) -> None:
        """One gradient step: values of the actions taken towards their targets, under ``condition.valued`` too."""
        target = targets[0]
        taken, alive = self._taken(batch)
        td_error = taken - target
        loss = masked_mean(td_error.square(), alive)
        numbers = {"loss": loss}
        valued = batch.condition.valued
        if valued is not None:
            numbers["valued_loss"] = masked_mean((self._taken(batch.under(valued))[0] - targets[1]).square(), alive)
            loss = 0.5 * (loss + numbers["valued_loss"])
        numbers["grad_norm"] = self.descend(loss)
        numbers |= {
            "td_error_abs": masked_mean(td_error.detach().abs(), alive),
            "q_taken_mean": masked_mean(taken.detach(), alive),
            "target_mean": masked_mean(target, alive),
        }
        self.stats.add(numbers)

    def _taken(self, batch: Rollout) -> tuple[Tensor, Tensor]:
        """The values of the actions taken, and who is alive: [E, T, N] each, or [E, T, 1] with a mixer."""
        alive = alive_mask(batch, self.n_agents)[:, :-1]
        q = unroll(self.mac, batch)[:, :-1]  # [E, T, N, U]
        taken = q.gather(3, batch["actions"][:, :-1]).squeeze(3)
        if self.config.mixer == "vdn":
            return (taken * alive).sum(dim=2, keepdim=True), alive.amax(dim=2, keepdim=True)
        return taken, alive

    @torch.no_grad()
    def targets(self, batch: Rollout) -> tuple[Tensor, ...]:
        """Returns from the values of the best next actions: [E, T, N], or [E, T, 1] with a mixer.

        If there is ``condition.valued``, also the returns under it.
        """
        valued = batch.condition.valued
        return (self._returns(batch), *(() if valued is None else (self._returns(batch.under(valued)),)))

    def _returns(self, batch: Rollout) -> Tensor:
        c, alive, e = self.config, alive_mask(batch, self.n_agents), batch.ends
        common = is_common(batch, self.n_agents)
        values = self._joint(self.next_values(batch), alive[:, 1:], common)
        last = None if e is None else self._joint(self.last_values(batch, e), e.agent_mask, common)
        ahead, over = values_ahead(batch, values, last)
        reward = batch["reward"][:, :-1].sum(dim=2, keepdim=True) if c.mixer else own_rewards(batch, alive)
        return self.returns(reward, ahead, over)

    def returns(self, reward: Tensor, ahead: Tensor, over: Tensor) -> Tensor:
        """Targets [E, T, K] from rewards, values of the next observations, and ends [E, T, 1]: lambda-returns."""
        c = self.config
        assert isinstance(c, PQNConfig)
        return lambda_returns(reward, ahead, over, c.gamma, c.td_lambda)

    def next_values(self, batch: Rollout) -> Tensor:
        """The value of the best action after each step of a rollout, [E, T, N]."""
        return greedy(unroll_ahead(self.mac, batch), batch["avail_actions"][:, 1:])

    def last_values(self, batch: Rollout, ends: Ends) -> Tensor:
        """The same for the last observations of episodes that ended, [K, N]."""
        outputs = self.mac.evaluate(ends.obs, ends.last_actions, ends.carry, batch.condition.at_ends)
        return greedy(outputs, ends.avail)

    def check_goals(self, by_value: bool) -> None:
        """See ``BaseLearner``."""
        assert isinstance(self.mac, ModelMAC)
        check_conditioned(self.mac, by_value)
        if self.mac.conditions_input:
            why = "values the next state under this step's subgoal, which input does not allow"
            raise ConfigError(f"condition_at: {self.name} {why}; take head")

    def goal_values(self, batch: Rollout, goals: Tensor) -> Tensor:
        """The mean of Q over actions: see ``BaseLearner``."""
        assert isinstance(self.mac, ModelMAC)
        features = self.mac.features(batch)[:, :-1, :, None].expand(-1, -1, -1, goals.shape[3], -1)
        return self.mac.head(features, goals).mean(dim=-1)

    def _joint(self, values: Tensor, alive: Tensor, common: bool) -> Tensor:
        """Values [..., N] (``values_of_living``), or with a mixer the sum of those of living agents, [..., 1]."""
        if self.config.mixer:
            return (values * alive).sum(dim=-1, keepdim=True)
        return values_of_living(values, alive, common)


def greedy(q: Tensor, avail: Tensor) -> Tensor:
    """The best available action's value: [..., U] -> [...]."""
    return q.masked_fill(avail == 0, -torch.inf).amax(dim=-1)
