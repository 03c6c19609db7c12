"""Bases of all learners of the agents, and of those from rollouts: the optimiser, logs, files, resumed runs."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..components.masks import ended
from ..components.optimisers import SkippedUpdates, anneal, load_optimiser, make_optimiser, optimiser_step
from ..components.rollout import Rollout
from ..config.keys import AgentLearnerKeys
from ..config.schema import key, new_default
from ..types import ConfigError, MetricLogger, PathLike, RolloutController
from ..utils.metrics import Grid, IntervalStats
from ..utils.tensor_files import load_tensors


class AgentLearner:
    """PyMARL's learner interface without ``train``; ``optimiser`` and ``alpha``: see ``make_optimiser``."""

    config: AgentLearnerKeys
    mac: Any

    def __init__(
        self,
        config: AgentLearnerKeys,
        mac: Any,
        logger: MetricLogger,
        args: Any,
        parameters: list[Tensor],
        optimiser: str = "adam",
        alpha: float = 0.99,
    ) -> None:
        self.config, self.mac, self.logger, self.parameters = config, mac, logger, parameters
        self.n_agents = args["n_agents"] if isinstance(args, dict) else args.n_agents
        self.optimiser = make_optimiser(optimiser, parameters, config.lr, alpha=alpha, eps=config.optim_eps)
        self.skipped = SkippedUpdates("the agents' network", "lr")
        self.stats, self.log_grid = IntervalStats(), Grid(config.learner_log_interval)

    def descend(self, loss: Tensor) -> Tensor:
        """One step of the optimiser, skipped if it is not finite; returns the gradient's norm before clipping."""
        return optimiser_step(self.optimiser, loss, self.parameters, self.config.grad_norm_clip, self.skipped)

    def log(self, t_env: int) -> None:
        """Logs the interval's means if they are due."""
        if self.log_grid.due(t_env):
            self.stats.flush(self.logger, t_env)
            self.logger.log_stat("skipped_updates", self.skipped.count, t_env)

    def cuda(self) -> None:
        """Moves the agents' networks to the GPU."""
        self.mac.cuda()

    def save_models(self, path: PathLike) -> None:
        """Writes PyMARL's files: the agents' networks and the optimiser."""
        self.mac.save_models(path)
        torch.save(self.optimiser.state_dict(), Path(path) / "opt.th")

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote."""
        self.mac.load_models(path)
        load_optimiser(self.optimiser, self.saved(path, "opt.th"))

    def saved(self, path: PathLike, name: str) -> Any:
        """The content of a file that ``torch.save`` wrote, on the learner's device."""
        return load_tensors(Path(path) / name, self.parameters[0].device)

    def state_dict(self) -> dict[str, Any]:
        """The state on which the next update and the next log depend."""
        return {
            "parameters": [p.detach().clone() for p in self.parameters],
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "skipped": self.skipped.state_dict(),
            **log_state(self),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Loads ``state_dict``."""
        copy_values(self.parameters, state["parameters"])
        load_optimiser(self.optimiser, state["optimiser"])
        if "skipped" in state:
            self.skipped.load_state_dict(state["skipped"])
        load_log_state(self, state)


def log_state(learner: Any) -> dict[str, Any]:
    """The part of a learner's state on which its next log depends: the values since the last log."""
    return {"stats": learner.stats.state_dict(), "log_grid": learner.log_grid.state_dict()}


def load_log_state(learner: Any, state: Mapping[str, Any]) -> None:
    """Restores ``log_state``, which checkpoints of earlier versions lack."""
    if "stats" in state:
        learner.stats.load_state_dict(state["stats"])
        learner.log_grid.load_state_dict(state["log_grid"])


@torch.no_grad()
def copy_values(parameters: list[Tensor], values: list[Tensor]) -> None:
    """Copies ``values`` into ``parameters``."""
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


@dataclass(frozen=True)
class RolloutLearnerConfig(AgentLearnerKeys):
    """Keys of every learner from rollouts."""

    lr_anneal: bool = new_default(AgentLearnerKeys, "lr_anneal", True)
    epochs: int = key(4, low=1, help="passes over each rollout")
    minibatches: int = key(4, low=1, help="updates of each pass, each on a part of the copies")


class RolloutLearner(AgentLearner, ABC):
    """PyMARL's learner interface, fed with rollouts; ``mac`` is a controller of omarl."""

    on_policy = True
    keeps_condition = False  # see ``opponent_models.model.BaseLearner``
    config: RolloutLearnerConfig
    mac: RolloutController

    @abstractmethod
    def targets(self, batch: Rollout) -> tuple[Tensor, ...]:
        """The targets of the updates on a rollout, [E, ...] each, without gradient."""

    @abstractmethod
    def update(self, batch: Rollout, *targets: Tensor) -> None:
        """One update on some of the copies with their targets."""

    def train(self, batch: Rollout, t_env: int, episode_num: int) -> None:
        """``epochs`` passes over one rollout; raises TrainingError if updates are not finite (``optimisers``)."""
        c, copies = self.config, batch.batch_size
        targets = self.targets(batch)
        if c.lr_anneal:
            anneal(self.optimiser, c.lr, c.t_max, t_env)
        for _ in range(c.epochs):
            for part in torch.randperm(copies, device=batch.device).chunk(min(c.minibatches, copies)):
                self.update(batch.copies(part), *(target[part] for target in targets))
        self.log(t_env)

    def check_goals(self, by_value: bool) -> None:
        """See ``BaseLearner``; a learner that trains under subgoals overrides it."""
        raise ConfigError(f"base_learner: {type(self).__name__} does not train under subgoals")


def check_conditioned(mac: Any, by_value: bool) -> None:
    """Raises ConfigError if subgoals are to be valued by a policy that is not conditioned on them."""
    if by_value and not getattr(mac, "condition_dim", 0):
        raise ConfigError(
            "omg_selection: a policy that is conditioned on nothing cannot value subgoals; take next, third or "
            "random, or condition_on=model"
        )


def values_ahead(batch: Rollout, next_values: Tensor, last: Tensor | None) -> tuple[Tensor, Tensor]:
    """The value of the observation after each transition, and where episodes ended: [E, T, K] and [E, T, 1].

    The value is 0 after a termination, and the last observation's at a truncation. ``next_values`` [E, T, K] are of
    the observation after each step; ``last`` [ends, K] of the last observations (``batch.ends``), None where no
    episode ended.
    """
    ahead = next_values.clone()
    if batch.ends is not None and last is not None:
        at = batch.ends.copy, batch.ends.step
        ahead[at] = last * (1.0 - batch["terminated"][at].float())
    return ahead, ended(batch)[:, :-1, None]
