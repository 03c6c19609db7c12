"""Base of all learners from rollouts: passes over minibatches of copies, the learning rate, logs, files."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..components.masks import ended
from ..components.optimisers import anneal, load_optimiser, make_optimiser
from ..components.rollout import Rollout
from ..config.keys import AgentLearnerKeys
from ..config.schema import key, new_default
from ..types import ConfigError, MetricLogger, PathLike, RolloutController, TrainingError
from ..utils.metrics import Grid, IntervalStats


@dataclass(frozen=True)
class RolloutLearnerConfig(AgentLearnerKeys):
    """Keys of every learner from rollouts."""

    lr_anneal: bool = new_default(AgentLearnerKeys, "lr_anneal", True)
    epochs: int = key(4, low=1, help="passes over each rollout")
    minibatches: int = key(4, low=1, help="updates of each pass, each on a part of the copies")


class RolloutLearner(ABC):
    """PyMARL's learner interface, fed with rollouts.

    Args:
        config: the learner's keys.
        mac: a controller of ours.
        logger: ``log_stat(key, value, t)``.
        args: namespace or mapping with ``n_agents``.
        parameters: what is optimised.
    """

    on_policy = True
    keeps_condition = False  # see ``opponent_models.model.BaseLearner``
    config: RolloutLearnerConfig

    def __init__(
        self,
        config: RolloutLearnerConfig,
        mac: RolloutController,
        logger: MetricLogger,
        args: Any,
        parameters: list[Tensor],
    ) -> None:
        self.config, self.mac, self.logger, self.parameters = config, mac, logger, parameters
        self.n_agents = args["n_agents"] if isinstance(args, dict) else args.n_agents
        self.optimiser = make_optimiser("adam", parameters, config.lr, eps=config.optim_eps)
        self.stats = IntervalStats()
        self.log_grid = Grid(config.learner_log_interval)

    @abstractmethod
    def targets(self, batch: Rollout) -> tuple[Tensor, ...]:
        """The targets of the updates on a rollout, [E, ...] each, without gradient."""

    @abstractmethod
    def update(self, batch: Rollout, *targets: Tensor) -> Tensor:
        """One update on some of the copies with their targets; returns its loss, a detached scalar."""

    def train(self, batch: Rollout, t_env: int, episode_num: int) -> None:
        """``epochs`` passes over one rollout.

        Raises:
            TrainingError: the loss of a logged update is not finite.
        """
        c, copies = self.config, batch.batch_size
        targets = self.targets(batch)
        if c.lr_anneal:
            anneal(self.optimiser, c.lr, c.t_max, t_env)
        for _ in range(c.epochs):
            for part in torch.randperm(copies, device=batch.device).chunk(min(c.minibatches, copies)):
                loss = self.update(batch.copies(part), *(target[part] for target in targets))
        if self.log_grid.due(t_env):
            self.stats.flush(self.logger, t_env)
            if not torch.isfinite(loss):
                raise TrainingError(f"the agents' loss is not finite at step {t_env}: lower lr ({c.lr:g})")

    def check_goals(self, by_value: bool) -> None:
        """See ``BaseLearner``; a learner that trains under subgoals overrides it."""
        raise ConfigError(f"base_learner: {type(self).__name__} does not train under subgoals")

    def cuda(self) -> None:
        """Moves the agents' networks to the GPU."""
        self.mac.cuda()

    def save_models(self, path: PathLike) -> None:
        """PyMARL's files: the agents' networks and the optimiser."""
        self.mac.save_models(path)
        torch.save(self.optimiser.state_dict(), Path(path) / "opt.th")

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote."""
        self.mac.load_models(path)
        device = self.parameters[0].device
        load_optimiser(self.optimiser, torch.load(Path(path) / "opt.th", map_location=device, weights_only=True))

    def state_dict(self) -> dict[str, Any]:
        """Everything the next update depends on."""
        return {
            "parameters": [p.detach().clone() for p in self.parameters],
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters, state["parameters"], strict=True):
                parameter.copy_(value)
        load_optimiser(self.optimiser, state["optimiser"])


def values_ahead(batch: Rollout, next_values: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
    """The value of the observation after each transition, and where episodes ended.

    Args:
        batch: a rollout.
        next_values: [E, T, K], of the observation after each step.
        last: [ends, K], of the last observations of episodes that ended (``batch.ends``); None where none did.

    Returns:
        [E, T, K]: 0 after a termination, the last observation's value at a truncation; and [E, T, 1].
    """
    ahead = next_values.clone()
    if batch.ends is not None and last is not None:
        at = batch.ends.copy, batch.ends.step
        ahead[at] = last * (1.0 - batch["terminated"][at].float())
    return ahead, ended(batch)[:, :-1, None]
