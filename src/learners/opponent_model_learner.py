"""Trains a policy that is conditioned on the output of an opponent model, and trains the model.

No gradient passes between policy and model, unless the model is an auxiliary loss (``condition_on: nothing``): then
its updates train the policy's network, in turn with those of the policy. The contract of a model is
``opponent_models/model.py``.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..components.episode_batch import EpisodeBatch
from ..components.rollout import Condition, Rollout, RolloutMemory
from ..config.keys import BaseLearnerKeys, PoolKeys, RolloutKeys
from ..config.schema import key, new_default, read
from ..opponent_models.model import OpponentModel, Targets
from ..types import ConfigError, MetricLogger, PathLike
from ..utils.metrics import Grid, IntervalStats
from .agent_learner import load_log_state, log_state
from .base_learner import make_base_learner


@dataclass(frozen=True)
class OpponentModelLearnerConfig(BaseLearnerKeys, PoolKeys, RolloutKeys):
    """Keys of ``learner: opponent_model_learner``; the base learner and the model add theirs."""

    base_learner: str = new_default(BaseLearnerKeys, "base_learner", "ppo_learner")
    model_epochs: float = key(
        1.0, above=0, help="passes of the model after each rollout; 0.5: half of the updates of one pass"
    )
    model_minibatches: int = key(4, low=1, help="updates of the model in each pass")
    model_memory: int = key(1, low=1, help="rollouts kept for the model's updates, the newest included")
    model_window: int = key(1, low=1, help="consecutive rollouts in each update of the model")
    model_tau: float = key(
        1.0, above=0, high=1, help="share by which the model that acts moves to the trained one at each update"
    )
    source: str = key("", help="an omg_vae run or a pool: gives the subgoal prior and, without pool, the opponents")


class OpponentModelLearner:
    """PyMARL's learner interface, fed with rollouts; ``mac`` is a ``ModelMAC`` with a model.

    Raises:
        ConfigError: there is no model, or keys contradict each other.
    """

    Config = OpponentModelLearnerConfig
    on_policy = True
    trains_model = True

    def __init__(self, mac: Any, scheme: Any, logger: MetricLogger, args: Any) -> None:
        c = self.config = read(OpponentModelLearnerConfig, args)
        self.mac, self.logger = mac, logger
        if getattr(mac, "model", None) is None:
            raise ConfigError("opponent_model: the learner opponent_model_learner needs mac=model_mac and a model")
        self.model: OpponentModel = mac.model  # the model that acts and conditions the policy
        self.base = make_base_learner(c.base_learner, mac, scheme, logger, args)
        if not getattr(self.base, "on_policy", False):
            raise ConfigError(
                f"base_learner: {c.base_learner} learns from whole episodes, and models from rollouts: take "
                "ppo_learner, pqn_learner or d3qn_learner (--config=omg and omg_paper are OMG on Q-learning)"
            )
        if c.model_window > c.model_memory:
            raise ConfigError(
                f"model_window: {c.model_window} consecutive rollouts are more than model_memory keeps, "
                f"{c.model_memory}; raise the one or lower the other"
            )
        self.replays = hasattr(self.base, "condition_by")  # the base draws stored rollouts
        if self.replays:
            self.base.condition_by(self._condition)
        self.memory = RolloutMemory(c.model_memory, c.model_window) if c.model_memory > 1 else None
        self.model.prepare(args, self.base, c.rollout_steps * c.model_window, self.memory is not None)
        # the model that is updated: ``model`` itself, or a copy that ``model`` follows (``model_tau``)
        is_one = c.model_tau == 1.0 or self.model.is_shared
        self.trained = self.model if is_one else copy.deepcopy(self.model)
        self.trained.start_training()
        self.stats, self.log_grid = IntervalStats(), Grid(c.learner_log_interval)

    def train(self, batch: Rollout, t_env: int, episode_num: int) -> None:
        """Updates the policy under the model's condition, then the model."""
        each = self.config.model_minibatches
        updates = max(round(self.config.model_epochs * each), 1)
        with torch.no_grad():
            self.model.observe(batch)
            # of all copies where all are used; else ``_fit`` computes those of the copies that it draws
            targets = self._targets(batch) if self.memory is None and updates >= each else None
            if not self.replays:
                batch.condition = self._condition(batch, t_env, targets)
        self.base.train(batch, t_env, episode_num)
        if self.memory is not None:
            self.memory.insert(batch)
        for begun in range(0, updates, each):
            self._fit(batch, targets, min(each, updates - begun))
        if self.log_grid.due(t_env):
            self.stats.flush(self.logger, t_env)
            self.logger.log_stat("model_skipped_updates", self.trained.skipped.count, t_env)

    def _condition(self, batch: Rollout, t_env: int, targets: Targets | None = None) -> Condition:
        """The condition of a rollout's policy and values; none where the model is an auxiliary loss."""
        if self.model.is_shared:
            return Condition()
        return self.mac.as_acted(self.model.condition(batch, self.base, t_env, targets), batch.ends)

    @torch.no_grad()
    def _targets(self, batch: Rollout) -> Targets:
        targets = self.model.targets(batch, self.base)
        self.stats.add(dict(targets.metrics))
        return targets

    def _fit(self, batch: Rollout, targets: Targets | None, updates: int) -> None:
        """The first updates of a pass over the rollout, or with a memory over consecutive rollouts drawn from it."""
        size = -(-batch.batch_size // self.config.model_minibatches)  # copies of an update
        copies = torch.randperm(batch.batch_size, device=batch.device)[: updates * size]
        if targets is None:  # only the copies that are used
            batch = batch.selected(copies) if self.memory is None else self.memory.sample(copies)
            targets, copies = self._targets(batch), torch.arange(len(copies), device=batch.device)
        mask = batch["agent_mask"][:, :-1].float()  # [E, T, N]
        if targets.counts is not None:
            mask = mask * targets.counts[..., None]
        if self.memory is not None and targets.complete is not None:
            mask = mask * targets.complete[..., None]
        for part in copies.split(size):
            self.stats.add(self.trained.update(batch.copies(part), targets.values[part], mask[part]))
            if self.trained is not self.model:
                with torch.no_grad():
                    for acting, trained in zip(self.model.parameters(), self.trained.parameters(), strict=True):
                        acting.lerp_(trained, self.config.model_tau)

    def evaluate(self, batches: Sequence[EpisodeBatch]) -> dict[str, float]:
        """The model's numbers on whole test episodes."""
        return self.model.evaluate(batches)

    def cuda(self) -> None:
        """Moves everything to the GPU."""
        self.base.cuda()
        self.trained.cuda()

    def save_models(self, path: PathLike) -> None:
        """The base learner's files; ``agent.th`` contains the model."""
        self.base.save_models(path)

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote; ``trained`` gets the weights of ``model``."""
        self.base.load_models(path)
        self.trained.load_state_dict(self.model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on."""
        return {
            "base": self.base.state_dict(),
            "model": copy.deepcopy(self.model.state_dict()),
            "student": copy.deepcopy(self.trained.state_dict()),
            "skipped": self.trained.skipped.state_dict(),
            **self.trained.training_state(),
            "memory": None if self.memory is None else self.memory.state_dict(),
            **log_state(self),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``."""
        self.base.load_state_dict(state["base"])
        self.model.load_state_dict(state["model"])
        self.trained.load_state_dict(state.get("student", state["model"]))
        if "skipped" in state:
            self.trained.skipped.load_state_dict(state["skipped"])
        self.trained.load_training_state(state)
        if self.memory is not None and state.get("memory") is not None:
            self.memory.load_state_dict(state["memory"])
        load_log_state(self, state)
