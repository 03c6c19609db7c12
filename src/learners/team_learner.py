"""Trains each team by its own learner: from the team's part of each rollout, or from its own replay buffer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..components.episode_batch import EpisodeBatch
from ..components.replay_buffer import ReplayBuffer
from ..components.rollout import Rollout
from ..components.team_views import EpisodesOfRollouts
from ..config.keys import DiscountKeys, LogKeys, StepKeys
from ..config.schema import read
from ..controllers.team_controller import Team, TeamMAC
from ..registry import resolve
from ..types import ConfigError, MetricLogger, PathLike
from ..utils.memory import readable
from ..utils.seeding import stream_seed

REPLAY_STREAM = 7  # of the seeds of the teams' buffers


@dataclass(frozen=True)
class TeamLearnerKeys(StepKeys, LogKeys, DiscountKeys):
    """Keys that the learners of all teams share; the others are in the teams' own configurations."""


class Prefixed:
    """A logger that puts a team's name before the names of metrics."""

    def __init__(self, logger: MetricLogger, prefix: str) -> None:
        self.logger, self.prefix, self.console_logger = logger, prefix, logger.console_logger

    def log_stat(self, key: str, value: Any, t: int) -> None:
        """Records ``value`` under ``<prefix>/<key>``."""
        self.logger.log_stat(f"{self.prefix}/{key}", value, t)


class Replay:
    """A team's replay buffer, the episodes in progress, and the updates that are due."""

    def __init__(self, team: Team, seed: int) -> None:
        args, limit = team.args, team.args.episode_limit
        rng = np.random.default_rng(seed)
        self.batch_size, self.interval = args.batch_size, args.env_steps_per_update
        self.buffer = ReplayBuffer(team.scheme, team.groups, args.buffer_size, limit, rng)
        self.episodes = EpisodesOfRollouts(team.scheme, team.groups, args.batch_size_run, limit)
        self.next_update: int | None = None

    def add(self, rollout: Rollout, t_env: int) -> int:
        """Adds a rollout; returns the number of updates that are due at step ``t_env``: see ``Training``."""
        for episodes in self.episodes.add(rollout):
            self.buffer.insert(episodes)
        if self.buffer.n_episodes < self.batch_size:
            return 0
        first = t_env if self.next_update is None else self.next_update
        due = max((t_env - first) // self.interval + 1, 0)
        self.next_update = first + due * self.interval
        return due

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next updates depend on."""
        rng = json.dumps(self.buffer.rng.bit_generator.state)
        return {"buffer": self.buffer.state_dict(), "episodes": self.episodes.state_dict(), "rng": rng,
                "next_update": self.next_update}  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``."""
        self.buffer.load_state_dict(state["buffer"])
        self.episodes.load_state_dict(state["episodes"])
        self.buffer.rng.bit_generator.state = json.loads(state["rng"])
        self.next_update = state["next_update"]


class Replays(dict[str, Replay]):
    """The replay of each team that learns from one, as one buffer of a checkpoint."""

    @property
    def bytes(self) -> int:
        """The bytes of full buffers."""
        return sum(each.buffer.bytes for each in self.values())

    def state_dict(self) -> dict[str, Any]:
        """The state of each team."""
        return {name: each.state_dict() for name, each in self.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``."""
        for name, each in self.items():
            each.load_state_dict(state[name])


class TeamLearner:
    """PyMARL's learner interface, fed with rollouts of all agents; ``mac`` is a ``TeamMAC``.

    A learner that is ``on_policy`` gets its team's part of each rollout. Another one gets batches of episodes from
    its team's buffer, one every ``env_steps_per_update`` environment steps. Frozen teams have no learner.
    """

    Config = TeamLearnerKeys
    on_policy = True

    def __init__(self, mac: TeamMAC, scheme: Any, logger: MetricLogger, args: Any) -> None:
        if not isinstance(mac, TeamMAC) or args.common_reward:
            raise ConfigError("learner: team_learner needs mac=team_mac and common_reward=False (--config=teams)")
        read(TeamLearnerKeys, args)
        self.mac = mac
        self.learners: dict[str, Any] = {}
        self.replay = Replays()  # saved with the large part of a checkpoint
        self.left_out: list[str] = []  # what checkpoints lack for an exactly resumed run
        for number, team in enumerate(mac.teams):
            agents = ", ".join(args.env_info.agents[i] for i in team.agents)
            label = f"team {team.name} ({agents}): {team.args.name}"
            if team.is_frozen:
                logger.console_logger.info(f"{label}, frozen")
                continue
            create = resolve("learner of a team", team.args.learner)
            learner = create(team.mac, team.scheme, Prefixed(logger, team.name), team.args)
            self.learners[team.name] = learner
            if not hasattr(learner, "state_dict"):
                self.left_out.append(f"the learner's state of team {team.name} ({create.__name__} has no state_dict)")
            if not getattr(learner, "on_policy", False):
                self.replay[team.name] = Replay(team, stream_seed(args.seed, REPLAY_STREAM + number))
                size = readable(self.replay[team.name].buffer.bytes)
                label += f", replay buffer {size} when full"
            logger.console_logger.info(label)
        if self.left_out:
            logger.console_logger.info(f"a resumed run will not continue exactly: without {', '.join(self.left_out)}")

    def train(self, batch: Rollout, t_env: int, episode_num: int) -> None:
        """The updates of every team that are due after a rollout of all agents."""
        for team, own in self._views(batch):
            learner = self.learners[team.name]
            if team.name not in self.replay:
                learner.train(own, t_env, episode_num)
                continue
            replay = self.replay[team.name]
            for _ in range(replay.add(own, t_env)):
                learner.train(replay.buffer.sample(replay.batch_size).to(team.args.device), t_env, episode_num)

    def _views(self, batch: Rollout) -> list[tuple[Team, Rollout]]:
        """The part of each team that learns."""
        carries = self.mac.split_carry(batch.carry)
        at_ends: list[Tensor | None] = [None] * len(carries)
        if batch.ends is not None:
            at_ends = [*self.mac.split_carry(batch.ends.carry)]
        each = zip(self.mac.teams, carries, at_ends, strict=True)
        return [(team, team.view.rollout(batch, carry, ends)) for team, carry, ends in each if not team.is_frozen]

    def evaluate(self, batches: list[EpisodeBatch]) -> dict[str, float]:
        """The mean return of each team, ``<team>/return_mean``, and what its learner measures on its part."""
        measured = {}
        for team in self.mac.teams:
            own = [batch["reward"][..., team.agents].sum(dim=(1, 2)) for batch in batches]
            measured[f"{team.name}/return_mean"] = float(np.concatenate([each.cpu().numpy() for each in own]).mean())
            learner: Any = self.learners.get(team.name)
            if hasattr(learner, "evaluate"):
                values = learner.evaluate([team.view.episodes(batch) for batch in batches])
                measured |= {f"{team.name}/{name}": value for name, value in values.items()}
        return measured

    def cuda(self) -> None:
        """Moves all learners, and the controllers of frozen teams, to the GPU."""
        for team in self.mac.teams:
            self.learners.get(team.name, team.mac).cuda()

    def save_models(self, path: PathLike) -> None:
        """Writes each team's files into a folder of its name."""
        for team in self.mac.teams:
            folder = Path(path) / team.name
            folder.mkdir()
            self.learners.get(team.name, team.mac).save_models(str(folder))

    def load_models(self, path: PathLike) -> None:
        """Reads what ``save_models`` wrote."""
        for team in self.mac.teams:
            self.learners.get(team.name, team.mac).load_models(str(Path(path) / team.name))

    def state_dict(self) -> dict[str, Any]:
        """The state of each learner that has one."""
        return {name: each.state_dict() for name, each in self.learners.items() if hasattr(each, "state_dict")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores ``state_dict``."""
        for name, each in state.items():
            self.learners[name].load_state_dict(each)
