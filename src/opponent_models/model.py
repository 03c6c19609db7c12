"""Opponent models: the contract, and an encoder of the learner's history that all of omarl's models share.

``controllers/model_controller.py`` acts with a model (``step``). ``learners/opponent_model_learner.py`` trains it:
``observe``, ``targets`` and ``condition`` on each rollout, then ``update``. Two copies may act and be updated
(``model_tau``). Changes by the first three methods must be in buffers, changes by ``update`` also in
``training_state``. A subclass implements ``condition_of`` and ``loss``; everything else has a default.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from types import SimpleNamespace
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from ..components.episode_batch import EpisodeBatch
from ..components.observed_actions import ObservedActions
from ..components.optimisers import SkippedUpdates, load_optimiser, make_optimiser, optimiser_step
from ..components.rollout import Condition, Rollout
from ..config.keys import CellKeys, EncoderKeys, OptimiserKeys
from ..config.schema import key, read
from ..modules.agents.feature_agent import FeatureAgent
from ..modules.unrolling import as_rows, from_rows, unroll_rows
from ..types import ConfigError, EnvInfo, feature_size
from .evaluation import Counts, Drawing, rates


@dataclass(frozen=True)
class ModelKeys(CellKeys, EncoderKeys):
    model_hidden_dim: int = key(128, low=1, help="width of the opponent model's layers")
    model_subjects: list[str] | str = key("*", help="names or patterns of the opponents that are modelled")


@dataclass(frozen=True)
class ModelConfig(ModelKeys, OptimiserKeys):
    """Keys of an opponent model whose optimiser is no ``VAEOptimiser``."""

    renamed: ClassVar[dict[str, str]] = {"vae_lr": "model_lr"}
    model_lr: float = key(3e-4, above=0, help="learning rate of the opponent model")


@dataclass(frozen=True)
class HorizonKeys:
    """Keys of models that predict what opponents do within a horizon."""

    renamed: ClassVar[dict[str, str]] = {"omg_horizon": "model_horizon"}
    model_horizon: int = key(5, low=1, help="H: steps ahead within which the predicted event must happen")


class BaseLearner(Protocol):
    """The interface of the policy's learner that models use."""

    keeps_condition: bool  # whether targets value the next state under ``Condition.next``, if there is one

    def check_goals(self, by_value: bool) -> None:
        """Raises ConfigError if the policy cannot be trained, or valued, under subgoals."""

    def goal_values(self, batch: Rollout, goals: Tensor) -> Tensor:
        """V(s_t, g) of each agent for K subgoals at each step, [E, T, N, K, D] -> [E, T, N, K]."""


class Targets(NamedTuple):
    """Targets of a model along a rollout, and metrics."""

    values: Tensor  # [E, T, ...]
    # [E, T], 1 where the rollout contains all that the target depends on; None: everywhere. Other steps are left out
    # of updates on rollouts from memory.
    complete: Tensor | None = None
    metrics: Mapping[str, Tensor] = {}
    counts: Tensor | None = None  # [E, T], 0 where there is no target; None: every step has one


class OpponentModel(nn.Module):
    """Encodes ``(o_0, ..., o_t)``: observations that contain the opponents' last actions.

    Args:
        scheme: PyMARL's, for the size of ``obs``.
        args: namespace with ``env_info`` (a ``PoolInfo``) and the model's keys.

    Raises:
        ConfigError: ``model_subjects`` matches no opponent.
    """

    Config: type = ModelConfig  # that of a subclass extends it
    information: ClassVar[tuple[str, ...]] = ("actions",)  # kinds of ``opponent_information`` that it reads
    fallback: ClassVar[str] = ""  # the configuration that takes its place where ``check_environment`` refuses it
    needs_prior: ClassVar[bool] = False  # whether runs need a subgoal prior: a trained state VAE
    accuracy_name: ClassVar[str] = ""  # the metric computed from ``hits``
    learning_rate: ClassVar[str] = "model_lr"  # the key of the learning rate
    shares_network: ClassVar[bool] = True  # whether ``share`` can replace its encoder
    condition_dim: int  # D

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__()
        self.info = args.env_info
        self.skipped = SkippedUpdates("the opponent model", self.learning_rate)
        config: Any = read(self.Config, args)
        self.config = config
        self.width = config.model_hidden_dim  # W, the size of the features
        patterns = config.model_subjects if isinstance(config.model_subjects, list) else [config.model_subjects]
        everyone = self.info.opponents
        subjects = tuple(name for name in everyone if any(fnmatch(name, pattern) for pattern in patterns))
        if not subjects:
            raise ConfigError(f"model_subjects: {', '.join(patterns)} names none of {', '.join(everyone)}")
        self.subject_indices = [everyone.index(name) for name in subjects]
        self.subjects = subjects + self.further_subjects()  # the names of the M agents that are modelled
        self.last_actions = self.info.information_slice("actions")
        self.observed = ObservedActions(self.info.full)  # how observations describe an action
        self.n_subjects = len(self.subjects)
        settings = {"hidden_dim": self.width, "cell": config.cell, "n_actions": 1, "duelling": False}
        if self.input_size(scheme) == feature_size(scheme, "obs"):
            settings |= {"encoder": config.encoder, "env_info": self.info}
        self.encoder: Any = self.make_encoder(self.input_size(scheme), SimpleNamespace(**settings))
        self.shared_features: Callable[[EpisodeBatch], Tensor] | None = None  # see ``share``
        self.shared_parameters: list[nn.Parameter] = []

    def make_encoder(self, size: int, settings: Any) -> nn.Module:
        """The encoder of histories of ``size`` numbers at each step; its features are what ``condition_of`` reads.

        Settings: a namespace with ``hidden_dim``, W, and the other keys of ``FeatureAgent``.
        """
        return FeatureAgent(size, settings)

    def further_subjects(self) -> tuple[str, ...]:
        """Names of learners that are modelled, too, behind the opponents; ``actions_taken`` must contain them."""
        return ()

    def share(self, features: Callable[[EpisodeBatch], Tensor], parameters: list[nn.Parameter], width: int) -> None:
        """Replaces the encoder by the policy's network, which the model's loss then trains, too.

        ``features`` computes its features [E, T+1, N, W] along a rollout or complete episodes. The model can neither
        act nor give a condition afterwards.

        Raises:
            ConfigError: W is not ``model_hidden_dim``, or the model has no encoder of histories.
        """
        if not self.shares_network:
            raise ConfigError(f"condition_on: {type(self).__name__} has no network to share with the policy; take "
                              "another opponent_model, or condition_on=shuffled")  # fmt: skip
        if width != self.width:
            raise ConfigError(f"model_hidden_dim: {self.width} is not the width of the policy's features, {width}, "
                              "on which condition_on=nothing trains the model; set it to that width")  # fmt: skip
        del self.encoder
        self.shared_features, self.shared_parameters = features, parameters

    @property
    def is_shared(self) -> bool:
        """Whether the encoder is the policy's network."""
        return self.shared_features is not None

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The parameters that the model's loss trains."""
        yield from super().parameters(recurse)
        yield from self.shared_parameters

    def input_size(self, scheme: Any) -> int:
        """Size of the encoder's input at each step."""
        return feature_size(scheme, "obs")

    @classmethod
    def check_environment(cls, full: EnvInfo) -> None:
        """Raises ConfigError if the environment (``full``: with all agents) does not suit the model."""

    @classmethod
    def streams(cls, info: Any) -> int:
        """The number of recurrent states that the encoder has for each learner, for the estimate of memory."""
        return 1

    @classmethod
    def further_inputs(cls, config: Any, info: Any) -> int:
        """The numbers that the encoder reads beside an observation, for the estimate of memory."""
        return 0

    def prepare(self, args: Any, base: BaseLearner, steps: int, from_memory: bool) -> None:
        """Loads files that the model needs. Called once, before training.

        Raises ConfigError if it cannot learn from ``steps`` consecutive steps, or with the learner ``base``.
        """

    def condition_of(self, features: Tensor) -> Tensor:
        """Features [..., W] -> the condition [..., D], without gradient."""
        raise NotImplementedError

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at an episode's start, [n, N, C]; C is 0 if the encoder is the policy's network."""
        if self.is_shared:
            return torch.zeros(n, self.info.n_agents, 0, device=self.shared_parameters[0].device)
        return self.encoder.init_hidden().expand(n, self.info.n_agents, -1).contiguous()

    def step(self, obs: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """One step: observations [E, N, O] and carry [E, N, C] -> condition [E, N, D] and carry."""
        features, state = self.encoder.step(obs, carry)
        return self.condition_of(features), state

    def own_carry(self, batch: EpisodeBatch) -> Tensor:
        """The model's recurrent state at the first step of a rollout or of complete episodes: [E, N, C]."""
        fresh = self.initial_carry(batch.batch_size)
        return fresh if batch.carry is None else batch.carry[..., -fresh.shape[-1] :]  # behind the agents' own

    def features(self, batch: EpisodeBatch) -> Tensor:
        """The encoded history along a rollout or complete episodes, [E, T+1, N, W]."""
        if self.shared_features is not None:
            return self.shared_features(batch)
        size = self.info.n_agents
        rows = as_rows(batch["obs"])  # [E*N, T+1, O]
        begins = batch["begins"].repeat_interleave(size, dim=0) if "begins" in batch.data else None
        state = self.own_carry(batch)[..., : self.encoder.state_size]  # a subclass may have more behind it
        return from_rows(unroll_rows(self.encoder, rows, state.flatten(0, 1), begins), size)

    def observe(self, batch: Rollout) -> None:
        """Called first with each new rollout, for statistics that ``targets`` and ``condition`` need."""

    def targets(self, batch: Rollout, base: BaseLearner) -> Targets:
        """The targets of an update on ``batch``: by default ``actions_taken``."""
        return Targets(self.actions_taken(batch))

    def condition(self, batch: Rollout, base: BaseLearner, t_env: int, targets: Targets | None) -> Condition:
        """The condition of policy and critic; by default the one that the policy acted under.

        ``targets`` are those of ``batch``; None if updates use rollouts from memory.
        """
        inferred, ends = self.condition_of(self.features(batch)), batch.ends
        if ends is None:
            return Condition(inferred, inferred)
        carry = ends.carry[..., -self.initial_carry(1).shape[-1] :]
        return Condition(inferred, inferred, at_ends=self.step(ends.obs, carry)[0])

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """The loss, a scalar, and metrics, for some copies of a rollout of T steps.

        ``features`` are [E, T, N, W], ``targets`` the ``Targets.values``; ``mask`` [E, T, N] is 1 on the steps that
        count.
        """
        raise NotImplementedError

    def start_training(self) -> None:
        """Makes the optimiser. Called once, on the copy of the model that is updated."""
        c = self.config
        self.optimiser: Any = make_optimiser("adam", self.parameters(), c.model_lr, eps=c.optim_eps)

    def update(self, batch: Rollout, targets: Tensor, mask: Tensor) -> dict[str, Any]:
        """One update on some copies of a rollout; returns metrics. Arguments: see ``loss``."""
        loss, numbers = self.loss(batch, self.features(batch)[:, :-1], targets, mask)
        return {"model_loss": loss.detach(), "model_grad_norm": self.descend(loss), **numbers}

    def descend(self, loss: Tensor) -> Tensor:
        """One step of the optimiser; returns the gradient's norm before clipping."""
        clip = self.config.grad_norm_clip
        return optimiser_step(self.optimiser, loss, list(self.parameters()), clip, self.skipped)

    def training_state(self) -> dict[str, Any]:
        """All that the next update depends on, except parameters and buffers."""
        return {"optimiser": copy.deepcopy(self.optimiser.state_dict())}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        load_optimiser(self.optimiser, state["optimiser"])

    def evaluate(self, batches: Sequence[EpisodeBatch]) -> dict[str, float]:
        """Metrics from complete test episodes: by default the rates of ``hits``."""
        return rates(self.accuracy_name, [self.hits(batch) for batch in batches])

    def hits(self, batch: EpisodeBatch) -> Counts:
        """Counts of correct predictions at each step of each complete episode; {} for none."""
        return {}

    def draw(self, batch: EpisodeBatch) -> Drawing:
        """The drawing for ``replay`` of the episode in ``batch`` [1, T+1]."""
        return Drawing([""] * int(batch["filled"].sum()))

    def actions_taken(self, batch: EpisodeBatch) -> Tensor:
        """The subjects' action at each step as the next observation describes it, [E, T, N, M, W].

        ``self.observed`` (``ObservedActions``) decodes it, and says whether the subject acted: it did not if it was
        dead or not on turn.
        """
        described = next_observations(batch)[..., self.last_actions].unflatten(-1, (-1, self.observed.width))
        return described[..., self.subject_indices, :]

    def acted(self, batch: EpisodeBatch) -> Tensor:
        """Whether each subject acted at each step: bool [E, T, M]."""
        return self.observed.acted(self.actions_taken(batch)[:, :, 0])


def next_observations(batch: EpisodeBatch) -> Tensor:
    """The observations after each step, an episode's last one if it ended within the rollout: [E, T, N, O]."""
    obs = batch["obs"][:, 1:]
    if batch.ends is not None:
        obs = obs.clone()
        obs[batch.ends.copy, batch.ends.step] = batch.ends.obs
    return obs
