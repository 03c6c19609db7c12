"""PQN: parallelised Q-learning without replay or target network (Gallici et al., ICLR 2025).

Many copies, short rollouts, lambda-returns as targets, and networks that LayerNorm keeps stable. Agents learn alone
or, with ``mixer: vdn``, by the sum of their values (Sunehag et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..components.masks import alive_mask
from ..components.optimisers import optimiser_step
from ..components.returns import lambda_returns
from ..components.rollout import Rollout
from ..components.unroll import unroll, unroll_ahead
from ..config.keys import MixerKeys
from ..config.schema import key, new_default, read
from ..modules.losses import masked_mean
from ..types import ConfigError, MetricLogger
from .rollout_learner import RolloutLearner, RolloutLearnerConfig, values_ahead


@dataclass(frozen=True)
class PQNConfig(RolloutLearnerConfig, MixerKeys):
    """Keys of ``learner: pqn_learner``, beside those of every learner from rollouts."""

    lr: float = new_default(RolloutLearnerConfig, "lr", 1e-3)
    epochs: int = new_default(RolloutLearnerConfig, "epochs", 2)
    td_lambda: float = key(0.65, low=0, high=1, help="lambda of the returns: 0 one step, 1 the whole rollout")


class PQNLearner(RolloutLearner):
    """lambda-returns of the greedy values, and the regression to them.

    Args:
        mac: a controller of ours.
        scheme: not used; PyMARL hands it in.
        logger: ``log_stat(key, value, t)``.
        args: namespace or mapping with ``n_agents`` and the keys of ``PQNConfig``.
    """

    Config = PQNConfig
    config: PQNConfig

    def __init__(self, mac: Any, scheme: Any, logger: MetricLogger, args: Any) -> None:
        c = read(PQNConfig, args)
        if c.mixer not in (None, "vdn"):
            raise ConfigError(f"mixer: pqn_learner knows vdn alone, not {c.mixer}")
        super().__init__(c, mac, logger, args, list(mac.parameters()))

    def update(self, batch: Rollout, *targets: Tensor) -> Tensor:
        """One regression of the taken actions' values to their targets."""
        (target,) = targets
        alive = alive_mask(batch, self.n_agents)[:, :-1]  # [E, T, N]
        q = unroll(self.mac, batch)[:, :-1]  # [E, T, N, U]
        taken = q.gather(3, batch["actions"][:, :-1]).squeeze(3)
        if self.config.mixer == "vdn":
            taken, alive = (taken * alive).sum(dim=2, keepdim=True), alive.amax(dim=2, keepdim=True)
        td_error = taken - target
        loss = masked_mean(td_error.square(), alive)
        grad_norm = optimiser_step(self.optimiser, loss, self.parameters, self.config.grad_norm_clip)
        self.stats.add(
            {
                "loss": loss,
                "grad_norm": grad_norm,
                "td_error_abs": masked_mean(td_error.detach().abs(), alive),
                "q_taken_mean": masked_mean(taken.detach(), alive),
                "target_mean": masked_mean(target, alive),
            }
        )
        return loss.detach()

    @torch.no_grad()
    def targets(self, batch: Rollout) -> tuple[Tensor, ...]:
        """lambda-returns from the greedy values of the network as it stands: [E, T, N], or [E, T, 1] where mixed."""
        c, alive, e = self.config, alive_mask(batch, self.n_agents), batch.ends
        outputs = unroll_ahead(self.mac, batch)
        values = self._joint(_greedy(outputs, batch["avail_actions"][:, 1:]), alive[:, 1:])
        last = None
        if e is not None:
            given = () if batch.ends_condition is None else (batch.ends_condition,)
            outputs = self.mac.evaluate(e.obs, e.last_actions, e.carry, *given)
            last = self._joint(_greedy(outputs, e.avail), e.agent_mask)
        ahead, over = values_ahead(batch, values, last)
        reward = batch["reward"][:, :-1]
        # Of one's own reward only what comes before one's death: what the others get later is not its own.
        reward = reward.sum(dim=2, keepdim=True) if c.mixer == "vdn" else reward * alive[:, :-1]
        return (lambda_returns(reward, ahead, over, c.gamma, c.td_lambda),)

    def _joint(self, values: Tensor, alive: Tensor) -> Tensor:
        """Values [..., N] of living agents, or their sum [..., 1]."""
        values = values * alive
        return values.sum(dim=-1, keepdim=True) if self.config.mixer == "vdn" else values


def _greedy(q: Tensor, avail: Tensor) -> Tensor:
    """The best available action's value: [..., U] -> [...]."""
    return q.masked_fill(avail == 0, -torch.inf).amax(dim=-1)
