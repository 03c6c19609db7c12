"""Opponent models with a recurrent encoder of the learner's own history."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from types import SimpleNamespace
from typing import Any, ClassVar

from torch import Tensor

from ..components.episode_batch import EpisodeBatch
from ..components.rollout import Condition, Rollout
from ..config.schema import key, read
from ..modules.agents.feature_agent import FeatureAgent
from ..modules.unrolling import as_rows, from_rows, unroll_rows
from ..types import ConfigError, feature_size
from .model import BaseLearner, OpponentModel, Targets, TrainingConfig


@dataclass(frozen=True)
class EncoderConfig:
    """Keys of the encoder."""

    model_hidden_dim: int = key(128, low=1, help="width of the opponent model's layers")
    model_subjects: list[str] | str = key("*", help="names or patterns of the opponents that are modelled")


@dataclass(frozen=True)
class HistoryModelConfig(EncoderConfig, TrainingConfig):
    """Keys of an opponent model that is no VAE."""

    renamed: ClassVar[dict[str, str]] = {"vae_lr": "model_lr"}


@dataclass(frozen=True)
class HorizonKeys:
    """Keys of models that predict what opponents do within a horizon."""

    renamed: ClassVar[dict[str, str]] = {"omg_horizon": "model_horizon"}
    model_horizon: int = key(5, low=1, help="H: steps ahead within which the predicted event must happen")


class HistoryModel(OpponentModel):
    """Encodes ``(o_0, ..., o_t)``: observations that contain the opponents' last actions.

    A subclass implements ``condition_of`` and ``loss``.

    Args:
        scheme: PyMARL's, for the size of ``obs``.
        args: namespace with ``env_info`` (a ``PoolInfo``) and the model's keys.

    Raises:
        ConfigError: it models nobody.

    Attributes:
        subjects: names of the M opponents that are modelled.
        width: W, the size of the features.
    """

    Config: type = HistoryModelConfig
    encoder_type: type[FeatureAgent] = FeatureAgent

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(args)
        config = read(EncoderConfig, args)
        self.width = config.model_hidden_dim
        patterns = config.model_subjects if isinstance(config.model_subjects, list) else [config.model_subjects]
        everyone = self.info.opponents
        self.subjects = tuple(name for name in everyone if any(fnmatch(name, pattern) for pattern in patterns))
        if not self.subjects:
            raise ConfigError(f"model_subjects: {', '.join(patterns)} names none of {', '.join(everyone)}")
        self.subject_indices = [everyone.index(name) for name in self.subjects]
        self.last_actions = self.info.told_slice("actions")
        self.n_subjects, self.n_actions = len(self.subjects), self.info.n_actions
        settings = SimpleNamespace(hidden_dim=self.width, use_rnn=True, n_actions=1, duelling=False, layer_norm=False)
        self.encoder = self.encoder_type(self.input_size(scheme), settings)

    def input_size(self, scheme: Any) -> int:
        """Size of the encoder's input at each step."""
        return feature_size(scheme, "obs")

    def condition_of(self, features: Tensor) -> Tensor:
        """Features [..., W] -> the condition [..., D], without gradient."""
        raise NotImplementedError

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at an episode's start, [n, N, W]."""
        return self.encoder.init_hidden().expand(n, self.info.n_agents, -1).contiguous()

    def own_carry(self, batch: EpisodeBatch) -> Tensor:
        """The model's recurrent state at the first step of a rollout, or of whole episodes: [E, N, C]."""
        fresh = self.initial_carry(batch.batch_size)
        return fresh if batch.carry is None else batch.carry[..., -fresh.shape[-1] :]  # behind the agents' own

    def step(self, obs: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """See ``OpponentModel.step``; C is W."""
        features, state = self.encoder(obs.flatten(0, 1), carry.flatten(0, 1))
        return self.condition_of(features).view(*obs.shape[:2], -1), state.view_as(carry)

    def features(self, batch: EpisodeBatch) -> Tensor:
        """The encoded history, [E, T+1, N, W]."""
        size = self.info.n_agents
        rows = as_rows(batch["obs"])  # [E*N, T+1, O]
        begins = batch["begins"].repeat_interleave(size, dim=0) if "begins" in batch.data else None
        return from_rows(unroll_rows(self.encoder, rows, self.own_carry(batch).flatten(0, 1), begins), size)

    def condition(self, batch: Rollout, base: BaseLearner, t_env: int, targets: Targets | None) -> Condition:
        """What acting was conditioned on, for policy and critic alike: see ``OpponentModel.condition``."""
        inferred = self.condition_of(self.features(batch))
        if batch.ends is None:
            return Condition(inferred, inferred)
        ends = batch.ends
        carry = ends.carry[..., -self.initial_carry(1).shape[-1] :]
        return Condition(inferred, inferred, at_ends=self.step(ends.obs, carry)[0])

    def targets(self, batch: Rollout, base: BaseLearner) -> Targets:
        """What the subjects did at each step, where a subclass has no other targets: int64 [E, T, N, M]."""
        return Targets(self.actions_taken(batch))

    def actions_taken(self, batch: EpisodeBatch) -> Tensor:
        """What the subjects did at each step, read from the next observation: int64 [E, T, N, M]."""
        actions = next_observations(batch)[..., self.last_actions].unflatten(-1, (-1, self.n_actions))
        return actions.argmax(dim=-1)[..., self.subject_indices]


def next_observations(batch: EpisodeBatch) -> Tensor:
    """The observations after each step, an episode's last one where it ended inside a rollout: [E, T, N, O]."""
    obs = batch["obs"][:, 1:]
    if batch.ends is not None:
        obs = obs.clone()
        obs[batch.ends.copy, batch.ends.step] = batch.ends.obs
    return obs
