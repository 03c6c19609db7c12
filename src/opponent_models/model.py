"""The contract of an opponent model: what it gives the policy, and how it is trained, tested and drawn.

``controllers/model_controller.py`` acts with a model (``step``). ``learners/opponent_model_learner.py`` trains it:
``targets`` and ``condition`` on each rollout, then ``update``. The model that acts and the one that is updated may be
two copies (``model_tau``): what ``observe``, ``targets`` and ``condition`` change belongs in buffers, what ``update``
changes also in ``training_state``. Most models extend ``history_model.HistoryModel``.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from torch import Tensor, nn

from ..components.episode_batch import EpisodeBatch
from ..components.optimisers import load_optimiser, make_optimiser, optimiser_step
from ..components.rollout import Condition, Rollout
from ..config.keys import OptimiserKeys
from ..config.schema import key, read
from ..types import EnvInfo
from .drawing import Drawing


@dataclass(frozen=True)
class TrainingConfig(OptimiserKeys):
    """Keys of a model that is trained by plain gradient steps."""

    model_lr: float = key(3e-4, above=0, help="learning rate of the opponent model")


class BaseLearner(Protocol):
    """What a model may ask the learner that trains the policy: see ``learners/rollout_learner.py``."""

    keeps_condition: bool

    def check_goals(self, by_value: bool) -> None: ...
    def goal_values(self, batch: Rollout, goals: Tensor) -> Tensor: ...


class Targets(NamedTuple):
    """What a model is trained to predict along a rollout of E copies and T steps.

    Attributes:
        values: [E, T, ...]; what they mean is the model's own matter.
        complete: [E, T], 1 where the steps that a target depends on are all in the rollout; None: everywhere.
            Incomplete targets are left out where several rollouts are kept (``model_memory``).
        metrics: numbers for logs.
    """

    values: Tensor
    complete: Tensor | None = None
    metrics: Mapping[str, Tensor] = {}


class OpponentModel(nn.Module):
    """Base of all opponent models: the defaults of what few models need, and plain gradient steps.

    Args:
        args: namespace with ``env_info`` (a ``PoolInfo``) and the model's keys.

    Attributes:
        condition_dim: D, the size of the condition.
    """

    Config: type = TrainingConfig
    condition_dim: int

    def __init__(self, args: Any) -> None:
        super().__init__()
        self.info = args.env_info
        self.training_config = read(TrainingConfig, args)

    # before the run

    @classmethod
    def needs_prior(cls, values: Any) -> bool:
        """Whether a run with the configuration ``values`` needs a subgoal prior: a trained state VAE."""
        return False

    @classmethod
    def check_environment(cls, whole: EnvInfo) -> None:
        """Raises ConfigError where the environment, all agents included, does not suit the model."""

    def prepare(self, args: Any, base: BaseLearner, steps: int, from_memory: bool) -> None:
        """Checks that the model can be trained in this run, and loads what it needs. Called once, before training.

        Args:
            args: the run's namespace.
            base: the learner that trains the policy.
            steps: consecutive steps of each update.
            from_memory: whether updates use rollouts from memory.

        Raises:
            ConfigError: it cannot.
        """

    # acting

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at an episode's start, [n, N, C]."""
        raise NotImplementedError

    def step(self, obs: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """One step: observations [E, N, O] and carry [E, N, C] -> condition [E, N, D] without gradient, carry."""
        raise NotImplementedError

    # training

    def observe(self, batch: Rollout) -> None:
        """Sees each new rollout first. For statistics that ``targets`` and ``condition`` need."""

    def features(self, batch: EpisodeBatch) -> Tensor:
        """What ``loss`` is computed from, along a rollout or whole episodes: [E, T+1, N, W]."""
        raise NotImplementedError

    def targets(self, batch: Rollout, base: BaseLearner) -> Targets:
        """The targets of an update on ``batch``, without gradient."""
        raise NotImplementedError

    def condition(self, batch: Rollout, base: BaseLearner, t_env: int, targets: Targets | None) -> Condition:
        """What policy and critic are conditioned on along a rollout, without gradient.

        Args:
            batch: the rollout.
            base: the learner that trains the policy.
            t_env: environment steps so far.
            targets: of this rollout; None where updates use rollouts from memory.
        """
        raise NotImplementedError

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """The loss, a scalar, and numbers for logs.

        Args:
            batch: some copies of a rollout of T steps.
            features: [E, T, N, W].
            targets: ``Targets.values`` of these copies.
            mask: [E, T, N], 1 on the steps that count.
        """
        raise NotImplementedError

    def start_training(self) -> None:
        """Makes the optimiser. Called once, on the copy of the model that is trained."""
        c = self.training_config
        self.optimiser: Any = make_optimiser("adam", self.parameters(), c.model_lr, eps=c.optim_eps)

    def update(self, batch: Rollout, targets: Tensor, mask: Tensor) -> dict[str, Any]:
        """One update on some copies of a rollout; returns numbers for logs. Arguments: see ``loss``."""
        loss, numbers = self.loss(batch, self.features(batch)[:, :-1], targets, mask)
        return {"model_loss": loss.detach(), "model_grad_norm": self.descend(loss), **numbers}

    def descend(self, loss: Tensor) -> Tensor:
        """One step of the optimiser; returns the gradient's norm before clipping."""
        return optimiser_step(self.optimiser, loss, list(self.parameters()), self.training_config.grad_norm_clip)

    def training_state(self) -> dict[str, Any]:
        """What the next update depends on beside parameters and buffers."""
        return {"optimiser": copy.deepcopy(self.optimiser.state_dict())}

    def load_training_state(self, state: Mapping[str, Any]) -> None:
        """Restores ``training_state``."""
        load_optimiser(self.optimiser, state["optimiser"])

    # tests

    def evaluate(self, batches: Sequence[EpisodeBatch]) -> dict[str, float]:
        """Numbers for logs, from whole test episodes."""
        return {}

    def draw(self, batch: EpisodeBatch) -> Drawing:
        """What ``replay`` draws along the episode in ``batch`` [1, T+1]."""
        return Drawing.empty(int(batch["filled"].sum()))
