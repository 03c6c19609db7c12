"""PPO for many agents: IPPO (de Witt et al. 2020) and, with a central critic, MAPPO (Yu et al. 2022).

Clipped policy updates on rollouts (Schulman et al. 2017), generalised advantages, normalised values.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..components.masks import alive_mask
from ..components.normalisers import RunningMeanStd
from ..components.optimisers import load_optimiser, make_optimiser, optimiser_step
from ..components.returns import gae
from ..components.rollout import Rollout
from ..components.schedules import linear
from ..components.unroll import unroll
from ..config.schema import key, read
from ..modules.critics.value_critic import ValueCritic, ValueCriticConfig
from ..modules.losses import masked_mean
from ..types import MetricLogger, PathLike, TrainingError
from ..utils.metrics import Grid, IntervalStats


@dataclass(frozen=True)
class PPOConfig(ValueCriticConfig):
    """Keys of ``learner: ppo_learner``."""

    lr: float = key(5e-4, above=0, help="learning rate")
    lr_anneal: bool = key(True, help="let the learning rate fall to 0 at t_max, in a line")
    t_max: int = key(100_000, low=1, help="environment steps of the run")
    gamma: float = key(0.99, low=0, high=1, help="discount")
    gae_lambda: float = key(0.95, low=0, high=1, help="lambda of the advantages")
    clip_ratio: float = key(0.2, above=0, help="how far an update may move an action's probability, relatively")
    entropy_coef: float = key(0.01, low=0, help="weight of the policy's entropy")
    value_coef: float = key(0.5, low=0, help="weight of the critic's loss")
    epochs: int = key(4, low=1, help="passes over each rollout")
    minibatches: int = key(4, low=1, help="updates of each pass, each on a part of the copies")
    normalise_values: bool = key(True, help="let the critic learn returns of mean 0 and variance 1")
    normalise_advantages: bool = key(True, help="give each rollout's advantages mean 0 and variance 1")
    optim_eps: float = key(1e-5, above=0, help="the optimiser's epsilon")
    grad_norm_clip: float = key(10.0, above=0, help="largest gradient norm")
    learner_log_interval: int = key(1000, low=1, help="environment steps between logs")


def log_probabilities(logits: Tensor, avail: Tensor) -> Tensor:
    """Of each action, [..., U]; a very small one where it is not available."""
    return F.log_softmax(logits.masked_fill(avail == 0, -1e9), dim=-1)


def clipped_objective(ratio: Tensor, advantage: Tensor, clip_ratio: float) -> Tensor:
    """``min(ratio * A, clip(ratio, 1 - e, 1 + e) * A)``, to be maximised (Schulman et al. 2017, equation 7)."""
    return torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip_ratio, 1.0 + clip_ratio) * advantage)


class PPOLearner:
    """PyMARL's learner interface, fed with rollouts.

    Args:
        mac: a controller of ours whose outputs are logits (``action_selector: softmax``).
        scheme: PyMARL's, for the critic's sizes.
        logger: ``log_stat(key, value, t)``.
        args: namespace or mapping with ``n_agents`` and the keys of ``PPOConfig``.
    """

    Config = PPOConfig
    on_policy = True

    def __init__(self, mac: Any, scheme: Any, logger: MetricLogger, args: Any) -> None:
        c = self.config = read(PPOConfig, args)
        self.mac, self.logger = mac, logger
        self.n_agents = args["n_agents"] if isinstance(args, dict) else args.n_agents
        self.critic = ValueCritic(scheme, args)
        self.parameters = [*mac.parameters(), *self.critic.parameters()]
        self.optimiser = make_optimiser("adam", self.parameters, c.lr, eps=c.optim_eps)
        self.return_stats = RunningMeanStd(1)
        self.stats = IntervalStats()
        self.log_grid = Grid(c.learner_log_interval)

    def train(self, batch: Rollout, t_env: int, episode_num: int) -> None:
        """``epochs`` passes over one rollout.

        Raises:
            TrainingError: the loss of a logged update is not finite.
        """
        c = self.config
        advantage, returns = self._advantages(batch)
        with torch.no_grad():
            old = self._log_taken(batch)[0]
        if c.lr_anneal:
            for group in self.optimiser.param_groups:
                group["lr"] = linear(c.lr, 0.0, c.t_max, t_env)
        copies = batch.batch_size
        for _ in range(c.epochs):
            for part in torch.randperm(copies, device=batch.device).chunk(min(c.minibatches, copies)):
                loss = self._update(batch.copies(part), advantage[part], returns[part], old[part])
        if self.log_grid.due(t_env):
            self.stats.flush(self.logger, t_env)
            if not torch.isfinite(loss):
                raise TrainingError(f"the agents' loss is not finite at step {t_env}: lower lr ({c.lr:g})")

    def _update(self, batch: Rollout, advantage: Tensor, returns: Tensor, old: Tensor) -> Tensor:
        c = self.config
        alive = alive_mask(batch, self.n_agents)[:, :-1]  # [E, T, N]
        taken, entropy = self._log_taken(batch)
        ratio = (taken - old).exp()
        policy_loss = -masked_mean(clipped_objective(ratio, advantage, c.clip_ratio), alive)
        value_loss = masked_mean((self._values(batch)[:, :-1] - returns).square(), alive)
        mean_entropy = masked_mean(entropy, alive)
        loss = policy_loss + c.value_coef * value_loss - c.entropy_coef * mean_entropy
        grad_norm = optimiser_step(self.optimiser, loss, self.parameters, c.grad_norm_clip)
        with torch.no_grad():
            self.stats.add(
                {
                    "loss": loss,
                    "policy_loss": policy_loss,
                    "value_loss": value_loss,
                    "entropy": mean_entropy,
                    "grad_norm": grad_norm,
                    "ratio_clipped_share": masked_mean(((ratio - 1.0).abs() > c.clip_ratio).float(), alive),
                    "approximate_kl": masked_mean(ratio - 1.0 - (taken - old), alive),
                }
            )
        return loss.detach()

    def _log_taken(self, batch: Rollout) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the actions taken, and the policy's entropy, [E, T, N] each."""
        every = log_probabilities(unroll(self.mac, batch)[:, :-1], batch["avail_actions"][:, :-1])
        return every.gather(3, batch["actions"][:, :-1]).squeeze(3), -(every.exp() * every).sum(dim=-1)

    def _values(self, batch: Rollout) -> Tensor:
        """The critic's output, normalised where values are, [E, T+1, N]."""
        return self.critic(batch["obs"], batch["state"].flatten(2))

    def _unnormalised(self, values: Tensor) -> Tensor:
        if not self.config.normalise_values:
            return values
        return values * self.return_stats.std.float() + self.return_stats.mean.float()

    @torch.no_grad()
    def _advantages(self, batch: Rollout) -> tuple[Tensor, Tensor]:
        """Advantages, and returns as the critic is to learn them: [E, T, N] each."""
        c = self.config
        alive = alive_mask(batch, self.n_agents)
        values = self._unnormalised(self._values(batch)) * alive
        next_value = values[:, 1:].clone()
        if batch.ends is not None:
            e = batch.ends
            last = self._unnormalised(self.critic(e.obs, e.state.flatten(1))) * e.agent_mask.float()
            next_value[e.copy, e.step] = last * (1.0 - batch["terminated"][e.copy, e.step].float())
        ended = torch.maximum(batch["terminated"], batch["truncated"])[:, :-1].float()
        reward = batch["reward"][:, :-1] * alive[:, :-1]  # what the others get after a death is not its own
        advantage, returns = gae(reward, values[:, :-1], next_value, ended, c.gamma, c.gae_lambda)
        valid = alive[:, :-1] > 0
        if c.normalise_values:
            self.return_stats.update(returns[valid].unsqueeze(-1))
            returns = self.return_stats.normalise(returns.unsqueeze(-1)).squeeze(-1)
        if c.normalise_advantages:
            seen = advantage[valid]
            advantage = (advantage - seen.mean()) / (seen.std(unbiased=False) + 1e-8)
        return advantage, returns

    def cuda(self) -> None:
        """Moves networks and statistics to the GPU."""
        self.mac.cuda()
        self.critic.cuda()
        self.return_stats.to("cuda")

    def save_models(self, path: PathLike) -> None:
        """PyMARL's files: the agents' networks, the critic with its statistics, and the optimiser."""
        self.mac.save_models(path)
        torch.save({"critic": self.critic.state_dict(), "returns": self.return_stats.state_dict()},
                   Path(path) / "critic.th")  # fmt: skip
        torch.save(self.optimiser.state_dict(), Path(path) / "opt.th")

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote."""
        self.mac.load_models(path)
        device = self.parameters[0].device
        saved = torch.load(Path(path) / "critic.th", map_location=device, weights_only=True)
        self.critic.load_state_dict(saved["critic"])
        self.return_stats.load_state_dict(saved["returns"])
        load_optimiser(self.optimiser, torch.load(Path(path) / "opt.th", map_location=device, weights_only=True))

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on."""
        return {
            "parameters": [p.detach().clone() for p in self.parameters],
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "returns": self.return_stats.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up ``state_dict``."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(value)
        load_optimiser(self.optimiser, state["optimiser"])
        self.return_stats.load_state_dict(state["returns"])
