"""PPO for many agents: IPPO (de Witt et al. 2020) and, with a central critic, MAPPO (Yu et al. 2022).

Clipped policy updates on rollouts (Schulman et al. 2017), generalised advantage estimation, normalised values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..components.masks import alive_mask, is_common, own_rewards, values_of_living
from ..components.normalisers import RunningMeanStd
from ..components.returns import gae
from ..components.rollout import Rollout
from ..components.unroll import unroll
from ..config.schema import key, read, user_keys
from ..modules.action_distributions import distribution, kind_of
from ..modules.critics.value_critic import ValueCritic, ValueCriticConfig
from ..modules.losses import masked_mean
from ..types import ConfigError, MetricLogger, PathLike, RolloutController, feature_size
from .agent_learner import RolloutLearner, RolloutLearnerConfig, check_conditioned, values_ahead

WIDENS = (
    "entropy_coef: {:g} rewards a wide policy also where the environment clips its Box actions; if the entropy rises "
    "and returns fall, set entropy_coef=0.0"
)
SHORT = 0.5  # episodes shorter than this share of the horizon 1 / (1 - gamma) get a smaller gamma
AHEAD = (
    "gamma: {:g} looks {:.0f} steps ahead, and episodes have at most {}; if a time limit ends them, values can grow "
    "without reason. Lower gamma then (docs/configuration.md#values-at-time-limits)"
)


def discount_for(gamma: float, episode_limit: int) -> float:
    """``gamma``, or where episodes are much shorter than its horizon, one with a horizon as long as an episode."""
    return gamma if episode_limit * (1.0 - gamma) >= SHORT else 1.0 - 1.0 / episode_limit


@dataclass(frozen=True)
class PPOConfig(RolloutLearnerConfig, ValueCriticConfig):
    """Keys of ``learner: ppo_learner``, beside those of every learner from rollouts and those of the critic."""

    with_box_actions: ClassVar[dict[str, Any]] = {"entropy_coef": 0.0}  # defaults for them (configuration/suited.py)
    default_discount = staticmethod(discount_for)  # of short episodes (fitting.py)

    gae_lambda: float = key(0.95, low=0, high=1, help="lambda of the advantages")
    clip_ratio: float = key(0.2, above=0, help="largest relative change of an action's probability that is rewarded")
    entropy_coef: float = key(0.01, low=0, help="weight of the policy's entropy")
    value_coef: float = key(0.5, low=0, help="weight of the critic's loss")
    normalise_values: bool = key(True, help="the critic's targets are returns of mean 0 and variance 1")
    normalise_advantages: bool = key(True, help="advantages of each rollout have mean 0 and variance 1")


def clipped_objective(ratio: Tensor, advantage: Tensor, clip_ratio: float) -> Tensor:
    """``min(ratio * A, clip(ratio, 1 - e, 1 + e) * A)``, to be maximised (Schulman et al. 2017, equation 7)."""
    return torch.minimum(ratio * advantage, ratio.clamp(1.0 - clip_ratio, 1.0 + clip_ratio) * advantage)


class PPOLearner(RolloutLearner):
    """Clipped policy updates and a critic; outputs of ``mac`` describe a policy (``action_selector: softmax``)."""

    Config = PPOConfig
    config: PPOConfig

    def __init__(self, mac: RolloutController, scheme: Any, logger: MetricLogger, args: Any) -> None:
        c = read(PPOConfig, args)
        if getattr(getattr(mac, "config", None), "action_selector", "") == "epsilon_greedy":
            raise ConfigError("action_selector: ppo_learner trains the policy that acts; set action_selector=softmax")
        self.actions = distribution(kind_of(args), feature_size(scheme, "actions_onehot"))
        if kind_of(args).name == "continuous" and c.entropy_coef and "entropy_coef" not in user_keys(args):
            logger.console_logger.info(WIDENS.format(c.entropy_coef))
        limit = args.env_info.episode_limit if hasattr(args, "env_info") else 0
        if limit and c.gamma > discount_for(c.gamma, limit) and "gamma" not in user_keys(args):
            logger.console_logger.info(AHEAD.format(c.gamma, 1.0 / (1.0 - c.gamma), limit))
        self.critic = ValueCritic(scheme, args, getattr(mac, "condition_dim", 0))
        self.memory: Tensor | None = None  # recurrent state of the critic in the running episodes
        self.return_stats = RunningMeanStd(1)
        super().__init__(c, mac, logger, args, [*mac.parameters(), *self.critic.parameters()])

    @torch.no_grad()
    def targets(self, batch: Rollout) -> tuple[Tensor, ...]:
        """Advantages, returns, and the present log-probabilities of the actions taken: [E, T, N] each."""
        return (*self._advantages(batch), self._log_taken(batch)[0])

    def update(self, batch: Rollout, *targets: Tensor) -> None:
        """One update of policy and critic."""
        c, (advantage, returns, old) = self.config, targets
        alive = alive_mask(batch, self.n_agents)[:, :-1]  # [E, T, N]
        taken, entropy = self._log_taken(batch)
        ratio = (taken - old).exp()
        policy_loss = -masked_mean(clipped_objective(ratio, advantage, c.clip_ratio), alive)
        value_loss = masked_mean((self._values(batch)[0][:, :-1] - returns).square(), alive)
        valued, numbers = batch.condition.valued, {}
        if valued is not None:
            also = self._values(batch.under(valued))[0][:, :-1]
            numbers["valued_loss"] = masked_mean((also - returns).square(), alive)
            value_loss = 0.5 * (value_loss + numbers["valued_loss"])
        mean_entropy = masked_mean(entropy, alive)
        loss = policy_loss + c.value_coef * value_loss - c.entropy_coef * mean_entropy
        grad_norm = self.descend(loss)
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
                    **numbers,
                }
            )

    def _log_taken(self, batch: Rollout) -> tuple[Tensor, Tensor]:
        """Log-probabilities of the actions taken, and the policy's entropy, [E, T, N] each."""
        outputs = unroll(self.mac, batch)[:, :-1]
        actions, avail = batch["actions"][:, :-1], batch["avail_actions"][:, :-1]
        return self.actions.log_prob_and_entropy(outputs, actions, avail)

    def _values(self, batch: Rollout) -> tuple[Tensor, Tensor | None]:
        """The critic's output [E, T+1, N], in normalised units, and its recurrent state after each step, if any."""
        state = batch["state"].flatten(2) if self.critic.is_central else None
        inputs = batch["obs"], state, batch.condition.critic
        if batch.critic_memory is None:
            return self.critic(*inputs), None
        return self.critic.along(*inputs, batch["begins"], batch.critic_memory)

    def _remember(self, batch: Rollout, memories: Tensor) -> None:
        """Keeps the critic's state before the next rollout, whose first observation is the last one of this."""
        self.memory = memories[:, -2] * (1.0 - batch["begins"][:, -1:].float())

    def _unnormalised(self, values: Tensor) -> Tensor:
        if not self.config.normalise_values:
            return values
        return values * self.return_stats.std.float() + self.return_stats.mean.float()

    @torch.no_grad()
    def _advantages(self, batch: Rollout) -> tuple[Tensor, Tensor]:
        """Advantages, and the critic's targets: [E, T, N] each."""
        c, alive, e = self.config, alive_mask(batch, self.n_agents), batch.ends
        common = is_common(batch, self.n_agents)
        if self.critic.is_recurrent:
            fresh = self.critic.init_hidden().expand(batch.batch_size, self.n_agents, -1)
            batch.critic_memory = fresh if self.memory is None else self.memory
        output, memories = self._values(batch)
        values, last = values_of_living(self._unnormalised(output), alive, common), None
        if e is not None:
            remembered = () if memories is None else (memories[e.copy, e.step],)
            output = self.critic(e.obs, e.state.flatten(1), batch.condition.at_ends, *remembered)
            last = values_of_living(self._unnormalised(output), e.agent_mask, common)
        if memories is not None:
            self._remember(batch, memories)
        ahead, over = values_ahead(batch, values[:, 1:], last)
        advantage, returns = gae(own_rewards(batch, alive), values[:, :-1], ahead, over, c.gamma, c.gae_lambda)
        valid = alive[:, :-1] > 0
        self.stats.add({"value_target_rms": returns[valid].square().mean().sqrt()})
        if c.normalise_values:
            self.return_stats.update(returns[valid].unsqueeze(-1))
            returns = self.return_stats.normalise(returns.unsqueeze(-1)).squeeze(-1)
        if c.normalise_advantages:
            real = advantage[valid]
            advantage = (advantage - real.mean()) / (real.std(unbiased=False) + 1e-8)
        return advantage, returns

    def check_goals(self, by_value: bool) -> None:
        """See ``BaseLearner``."""
        check_conditioned(self.mac, by_value)
        if by_value and self.critic.is_recurrent:
            wanted = "set it to False, or take another omg_selection than value"
            raise ConfigError(
                f"critic_use_rnn: a recurrent critic cannot value subgoals that it did not see; {wanted}"
            )

    def goal_values(self, batch: Rollout, goals: Tensor) -> Tensor:
        """The critic's: see ``BaseLearner``."""
        obs = batch["obs"][:, :-1]
        state = batch["state"][:, :-1].flatten(2) if self.critic.is_central else None
        return torch.stack([self.critic(obs, state, goal) for goal in goals.unbind(dim=3)], dim=-1)

    def cuda(self) -> None:
        """Moves networks and statistics to the GPU."""
        super().cuda()
        self.critic.cuda()
        self.return_stats.to("cuda")

    def save_models(self, path: PathLike) -> None:
        """PyMARL's files: the agents' networks, the optimiser, and the critic with its statistics."""
        super().save_models(path)
        critic = {"critic": self.critic.state_dict(), "returns": self.return_stats.state_dict()}
        torch.save(critic, Path(path) / "critic.th")

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote."""
        super().load_models(path)
        saved = self.saved(path, "critic.th")
        self.critic.load_state_dict(saved["critic"])
        self.return_stats.load_state_dict(saved["returns"])

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on."""
        return {**super().state_dict(), "returns": self.return_stats.state_dict(), "memory": self.memory}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``."""
        super().load_state_dict(state)
        self.return_stats.load_state_dict(state["returns"])
        memory = state.get("memory")
        self.memory = None if memory is None else memory.to(self.parameters[0].device)
