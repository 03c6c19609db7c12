"""PQN: parallelised Q-learning without replay or target network (Gallici et al., ICLR 2025).

Many copies, short rollouts, lambda-returns as targets, and LayerNorm in the networks for stability. Each agent learns
its own values or, with ``mixer: vdn``, all learn the sum of their values (Sunehag et al. 2018).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..components.masks import alive_mask
from ..components.returns import lambda_returns
from ..components.rollout import Rollout
from ..components.unroll import unroll, unroll_ahead
from ..config.keys import MixerKeys
from ..config.schema import key, new_default, read
from ..controllers.model_controller import ModelMAC
from ..modules.action_distributions import require_discrete
from ..modules.losses import masked_mean
from ..types import ConfigError, MetricLogger, RolloutController
from .agent_learner import RolloutLearner, RolloutLearnerConfig, check_conditioned, values_ahead


@dataclass(frozen=True)
class PQNConfig(RolloutLearnerConfig, MixerKeys):
    """Keys of ``learner: pqn_learner``, beside those of every learner from rollouts."""

    lr: float = new_default(RolloutLearnerConfig, "lr", 1e-3)
    epochs: int = new_default(RolloutLearnerConfig, "epochs", 2)
    td_lambda: float = key(0.65, low=0, high=1, help="lambda of the returns: 0 one step, 1 the whole rollout")


class PQNLearner(RolloutLearner):
    """Regression to lambda-returns of the greedy values."""

    Config = PQNConfig
    needs_discrete = True  # actions
    config: PQNConfig
    keeps_condition = True

    def __init__(self, mac: RolloutController, scheme: Any, logger: MetricLogger, args: Any) -> None:
        require_discrete(args, "pqn_learner")
        c = read(PQNConfig, args)
        if c.mixer not in (None, "vdn"):
            raise ConfigError(f"mixer: pqn_learner knows vdn alone, not {c.mixer}")
        super().__init__(c, mac, logger, args, list(mac.parameters()))

    def update(self, batch: Rollout, *targets: Tensor) -> None:
        """One gradient step: values of the actions taken towards their targets."""
        (target,) = targets
        alive = alive_mask(batch, self.n_agents)[:, :-1]  # [E, T, N]
        q = unroll(self.mac, batch)[:, :-1]  # [E, T, N, U]
        taken = q.gather(3, batch["actions"][:, :-1]).squeeze(3)
        if self.config.mixer == "vdn":
            taken, alive = (taken * alive).sum(dim=2, keepdim=True), alive.amax(dim=2, keepdim=True)
        td_error = taken - target
        loss = masked_mean(td_error.square(), alive)
        grad_norm = self.descend(loss)
        self.stats.add(
            {
                "loss": loss,
                "grad_norm": grad_norm,
                "td_error_abs": masked_mean(td_error.detach().abs(), alive),
                "q_taken_mean": masked_mean(taken.detach(), alive),
                "target_mean": masked_mean(target, alive),
            }
        )

    @torch.no_grad()
    def targets(self, batch: Rollout) -> tuple[Tensor, ...]:
        """lambda-returns from the greedy values of the present network: [E, T, N], or [E, T, 1] with a mixer."""
        c, alive, e = self.config, alive_mask(batch, self.n_agents), batch.ends
        outputs = unroll_ahead(self.mac, batch)
        values = self._joint(_greedy(outputs, batch["avail_actions"][:, 1:]), alive[:, 1:])
        last = None
        if e is not None:
            outputs = self.mac.evaluate(e.obs, e.last_actions, e.carry, batch.condition.at_ends)
            last = self._joint(_greedy(outputs, e.avail), e.agent_mask)
        ahead, over = values_ahead(batch, values, last)
        reward = batch["reward"][:, :-1]
        # without a mixer, rewards after an agent's death are the others'
        reward = reward.sum(dim=2, keepdim=True) if c.mixer == "vdn" else reward * alive[:, :-1]
        return (lambda_returns(reward, ahead, over, c.gamma, c.td_lambda),)

    def check_goals(self, by_value: bool) -> None:
        """See ``BaseLearner``."""
        assert isinstance(self.mac, ModelMAC)
        check_conditioned(self.mac, by_value)
        if self.mac.conditions_input:
            why = "values the next state under this step's subgoal, which input does not allow"
            raise ConfigError(f"condition_at: pqn_learner {why}; take head")

    def goal_values(self, batch: Rollout, goals: Tensor) -> Tensor:
        """The mean of Q over actions: see ``BaseLearner``."""
        assert isinstance(self.mac, ModelMAC)
        features = self.mac.features(batch)[:, :-1, :, None].expand(-1, -1, -1, goals.shape[3], -1)
        return self.mac.head(features, goals).mean(dim=-1)

    def _joint(self, values: Tensor, alive: Tensor) -> Tensor:
        """Values [..., N], 0 for dead agents, or with a mixer their sum [..., 1]."""
        values = values * alive
        return values.sum(dim=-1, keepdim=True) if self.config.mixer == "vdn" else values


def _greedy(q: Tensor, avail: Tensor) -> Tensor:
    """The best available action's value: [..., U] -> [...]."""
    return q.masked_fill(avail == 0, -torch.inf).amax(dim=-1)
