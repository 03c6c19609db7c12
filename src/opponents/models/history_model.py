"""What every opponent model is: a recurrent look at the learner's own history, and a condition for its policy."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from ...components.episode_batch import EpisodeBatch
from ...components.rollout import Rollout
from ...config.schema import key, read
from ...modules.agents.feature_agent import FeatureAgent
from ...modules.unrolling import as_rows, from_rows, unroll_rows
from ...types import ConfigError, EnvInfo, feature_size


@dataclass(frozen=True)
class HistoryModelConfig:
    """Keys of every opponent model."""

    model_hidden_dim: int = key(128, low=1, help="width of the opponent model's layers")
    model_subjects: list[str] | str = key("*", help="names or patterns of the opponents that it is about")


@dataclass(frozen=True)
class HorizonKeys:
    """Keys of models of what opponents reach."""

    omg_horizon: int = key(5, low=1, help="H: subgoals are states of the next H steps")


class HistoryModel(nn.Module):
    """Reads ``(o_0, a_0, ..., o_t)``: observations that tell the opponents' last actions, step by step.

    A subclass turns the history's features into the condition that the policy is given, and has a loss.

    Args:
        scheme: PyMARL's, for the size of ``obs``.
        args: namespace with ``env_info`` (a ``PoolInfo``) and the keys of ``HistoryModelConfig``.

    Raises:
        ConfigError: it is about nobody.

    Attributes:
        condition_dim: D.
        subjects: the M opponents that it is about.
        keeps_goal: whether the next state is judged under the condition of this one, a goal.
        looks_ahead: whether its lesson is in the next ``omg_horizon`` steps.
        measure: what ``hits`` is called in logs.
    """

    condition_dim: int
    keeps_goal = False
    looks_ahead = False
    measure = ""
    Config: type = HistoryModelConfig
    encoder_type: type[FeatureAgent] = FeatureAgent

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__()
        self.info = args.env_info
        config = read(HistoryModelConfig, args)
        self.width = config.model_hidden_dim
        patterns = config.model_subjects if isinstance(config.model_subjects, list) else [config.model_subjects]
        everyone = self.info.opponents
        self.subjects = tuple(name for name in everyone if any(fnmatch(name, pattern) for pattern in patterns))
        if not self.subjects:
            raise ConfigError(f"model_subjects: {', '.join(patterns)} names none of {', '.join(everyone)}")
        self.places_of_subjects = [everyone.index(name) for name in self.subjects]
        self.last_actions = self.info.told_slice("actions")
        self.n_subjects, self.n_actions = len(self.subjects), self.info.n_actions
        settings = SimpleNamespace(hidden_dim=self.width, use_rnn=True, n_actions=1, duelling=False, layer_norm=False)
        self.encoder = self.encoder_type(self.input_size(scheme), settings)

    def input_size(self, scheme: Any) -> int:
        """Of what its recurrent network reads at each step."""
        return feature_size(scheme, "obs")

    @classmethod
    def check(cls, whole: EnvInfo) -> None:
        """Raises ConfigError where the environment, all agents included, is none for it: before a pool is made."""

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at an episode's start, [n, N, W]."""
        return self.encoder.init_hidden().expand(n, self.info.n_agents, -1).contiguous()

    def step(self, obs: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """One step: observations [E, N, O] and carry [E, N, W] -> condition [E, N, D], carry [E, N, W]."""
        features, state = self.encoder(obs.flatten(0, 1), carry.flatten(0, 1))
        return self.condition(features).view(*obs.shape[:2], -1), state.view_as(carry)

    def features(self, batch: EpisodeBatch, carry: Tensor) -> Tensor:
        """The history's features along a rollout or whole episodes, [E, T+1, N, W], from carry [E, N, W]."""
        size = self.info.n_agents
        rows = as_rows(batch["obs"])  # [E*N, T+1, O]
        begins = batch["begins"].repeat_interleave(size, dim=0) if "begins" in batch.data else None
        return from_rows(unroll_rows(self.encoder, rows, carry.flatten(0, 1), begins), size)

    def condition(self, features: Tensor) -> Tensor:
        """Features [..., W] -> the policy's condition [..., D], without gradient to anything but the model."""
        raise NotImplementedError

    def lesson(self, batch: EpisodeBatch) -> Tensor:
        """What ``losses`` teaches of each step, int64 [E, T, N, M]: what its subjects did, where nothing else."""
        return self.actions_taken(batch)

    def actions_taken(self, batch: EpisodeBatch) -> Tensor:
        """What its subjects did at each step, int64 [E, T, N, M]: the next observation tells."""
        told = reached(batch)[..., self.last_actions]
        actions = told.unflatten(-1, (-1, self.n_actions)).argmax(dim=-1)  # of all opponents
        return actions[..., self.places_of_subjects]

    def hits(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """How often it was right on whole episodes, for logs.

        Returns:
            Of each step, [T]: ``hits``; ``count``, of how many; ``chance``, the hits of somebody who guesses, where
            that is known. Nothing where a model has nothing of the kind.
        """
        return {}


def reached(batch: EpisodeBatch) -> Tensor:
    """What learners saw after each step, an episode's last sight where it ended inside a rollout: [E, T, N, O]."""
    obs = batch["obs"][:, 1:]
    if isinstance(batch, Rollout) and batch.ends is not None:
        obs = obs.clone()
        obs[batch.ends.copy, batch.ends.step] = batch.ends.obs
    return obs
