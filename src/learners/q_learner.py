"""Double Q-learning on episodes with a target network, for independent agents or with a mixing network."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..components.masks import alive_mask, is_common, transition_mask, values_of_living
from ..components.normalisers import RunningMeanStd
from ..components.optimisers import anneal
from ..components.unroll import unroll_both
from ..config.keys import AgentLearnerKeys, MixerKeys, RMSpropKeys, TargetNetworkKeys
from ..config.schema import key, read
from ..modules.action_distributions import require_discrete
from ..modules.td_error import taken_and_next, td_error
from ..registry import resolve
from ..types import Batch, ConfigError, Controller, MetricLogger, PathLike, feature_size
from .agent_learner import AgentLearner, copy_values


@dataclass(frozen=True)
class QLearnerConfig(AgentLearnerKeys, MixerKeys, RMSpropKeys, TargetNetworkKeys):
    """Keys of ``learner: q_learner``."""

    optimiser: Literal["adam", "rmsprop"] = key("adam", help="the optimiser; only rmsprop reads optim_alpha")
    standardise_rewards: bool = key(False, help="divide rewards by their running standard deviation")
    centre_rewards: bool = key(False, help="also subtract their running mean; only for episodes of equal length")


def make_mixer(name: str, scheme: Any, args: Any) -> torch.nn.Module:
    """The mixing network; raises ConfigError if agents have separate rewards."""
    if feature_size(scheme, "reward") != 1:
        raise ConfigError(f"common_reward: mixer {name} learns one value for the team, but each agent has its own "
                          "reward; set common_reward=True")  # fmt: skip
    return resolve("mixer", name)(feature_size(scheme, "state"), args)


class QLearner(AgentLearner):
    """Q learner with PyMARL's interface; the loss is a mean over agents or, with a mixer, that of the team's value.

    ``mac`` is a controller of omarl or of a host; only a mixer needs PyMARL's ``scheme``.
    """

    Config = QLearnerConfig
    needs_discrete = True  # actions
    config: QLearnerConfig
    mac: Controller

    def __init__(self, mac: Controller, scheme: Any, logger: MetricLogger, args: Any) -> None:
        require_discrete(args, "q_learner")
        c = read(QLearnerConfig, args)
        if c.centre_rewards and not c.standardise_rewards:
            raise ConfigError("centre_rewards: goes with standardise_rewards=True")
        self.target_mac = copy.deepcopy(mac)
        self.mixer: Any = make_mixer(c.mixer, scheme, args) if c.mixer else None
        self.target_mixer: Any = copy.deepcopy(self.mixer)
        parameters = [*mac.parameters(), *(self.mixer.parameters() if self.mixer is not None else ())]
        super().__init__(c, mac, logger, args, parameters, c.optimiser, c.optim_alpha)
        self.reward_stats = RunningMeanStd(1) if c.standardise_rewards else None
        self.updates = 0

    def train(self, batch: Batch, t_env: int, episode_num: int) -> None:
        """Makes one update on ``batch``; raises TrainingError if updates are not finite (``optimisers``)."""
        mask = transition_mask(batch)[..., None]  # [B, T, 1]
        alive = alive_mask(batch, self.n_agents)  # [B, T+1, N]
        agent_mask = mask * alive[:, :-1]
        q, target_q = unroll_both(self.mac, self.target_mac, batch)  # [B, T+1, N, U]
        actions, avail = batch["actions"], batch["avail_actions"]
        taken, next_values = taken_and_next(q, target_q, actions, avail, self.config.double_q)  # [B, T, N]
        next_alive = alive[:, 1:]
        if self.mixer is not None:
            state = batch["state"].flatten(2)
            taken = self.mixer(taken * alive[:, :-1], state[:, :-1])  # [B, T, 1]
            with torch.no_grad():
                next_values = self.target_mixer(next_values * next_alive, state[:, 1:])
            agent_mask, next_alive = mask, next_alive.amax(dim=2, keepdim=True)
        elif is_common(batch, self.n_agents):
            next_values = values_of_living(next_values, next_alive, True)
            next_alive = torch.ones_like(next_alive)
        reward = self._rewards(batch, agent_mask if batch["reward"].shape[2] > 1 else mask)
        terminated = batch["terminated"][:, :-1]
        found = td_error(taken, next_values, reward, terminated, next_alive, agent_mask, self.config.gamma)
        if self.config.lr_anneal:
            anneal(self.optimiser, self.config.lr, self.config.t_max, t_env)
        grad_norm = self.descend(found.loss)
        self.updates += 1
        self._update_target()
        self.stats.add(
            {
                "loss": found.loss,
                "grad_norm": grad_norm,
                "td_error_abs": found.size,
                "q_taken_mean": found.values,
                "target_mean": found.targets,
            }
        )
        self.log(t_env)

    def _rewards(self, batch: Batch, mask: Tensor) -> Tensor:
        """Rewards [B, T, N or 1]; the statistics that scale them use only real steps of living agents."""
        reward = batch["reward"][:, :-1]
        if self.reward_stats is not None:
            valid = mask.expand_as(reward) > 0
            self.reward_stats.update(reward[valid].unsqueeze(-1))
            centre = self.reward_stats.mean.float() if self.config.centre_rewards else 0.0
            reward = (reward - centre) / self.reward_stats.std.float()
        return reward

    def _update_target(self) -> None:
        rate = self.config.target_update_interval_or_tau
        if rate > 1:
            if self.updates % round(rate) == 0:
                self._copy_to_target()
            return
        with torch.no_grad():
            torch._foreach_lerp_(self._target_parameters(), self.parameters, rate)

    def _copy_to_target(self) -> None:
        self.target_mac.load_state(self.mac)
        if self.mixer is not None:
            self.target_mixer.load_state_dict(self.mixer.state_dict())

    def _target_parameters(self) -> list[Tensor]:
        """The target's parameters in the order of ``self.parameters``."""
        mixing = [] if self.target_mixer is None else list(self.target_mixer.parameters())
        return [*self.target_mac.parameters(), *mixing]

    def cuda(self) -> None:
        """Moves networks and statistics to the GPU."""
        super().cuda()
        self.target_mac.cuda()
        if self.mixer is not None:
            self.mixer.cuda()
            self.target_mixer.cuda()
        if self.reward_stats is not None:
            self.reward_stats.to("cuda")

    def save_models(self, path: PathLike) -> None:
        """Writes PyMARL's files: the networks of the agents and the mixer, and the optimiser."""
        super().save_models(path)
        if self.mixer is not None:
            torch.save(self.mixer.state_dict(), Path(path) / "mixer.th")

    def load_models(self, path: PathLike) -> None:
        """Reads PyMARL's files. They have no target network, so it becomes a copy of the loaded network."""
        super().load_models(path)
        if self.mixer is not None:
            self.mixer.load_state_dict(self.saved(path, "mixer.th"))
        self._copy_to_target()

    def state_dict(self) -> dict[str, Any]:
        """The state on which the next update depends, including the target network."""
        return {
            **super().state_dict(),
            "target": [p.detach().clone() for p in self._target_parameters()],
            "updates": self.updates,
            "rewards": None if self.reward_stats is None else self.reward_stats.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads ``state_dict``."""
        super().load_state_dict(state)
        copy_values(self._target_parameters(), state["target"])
        self.updates = state["updates"]
        if self.reward_stats is not None and state["rewards"] is not None:
            self.reward_stats.load_state_dict(state["rewards"])
