"""A controller of several teams: each has its own controller, or a frozen one from a checkpoint."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from ..components.episode_batch import make_scheme
from ..components.team_views import View
from ..config.keys import TrustKeys
from ..config.provenance import Foreign
from ..config.schema import key, read
from ..registry import resolve
from ..types import ConfigError, EnvInfo, Observation
from .pymarl_controller import PyMARLController

PARTS = ("mac", "agent", "cell", "action_selector", "learner", "base_learner", "mixer", "opponent_model")
# Keys that all teams share: those of the run have priority.
OF_RUN = ("t_max", "seed", "gamma", "use_cuda", "batch_size_run", "rollout_steps", "learner_log_interval",
          "checkpoint_path", "reward_scalarisation")  # fmt: skip


@dataclass(frozen=True)
class TeamKeys(TrustKeys):
    """Keys of ``mac: team_mac``."""

    teams: dict[str, Any] = key(
        {}, help="pattern of the names of a team's agents: its algorithm, or a run or checkpoint that plays it frozen"
    )


class Team:
    """One team: its agents and its controller.

    Attributes:
        name: prefix of its metrics and folder of its files.
        agents: indices of the agents that it plays.
        is_frozen: its controller is from a checkpoint and is not trained.
        view: its part of batches.
        mac, scheme, groups, args: as for a run of its own.
    """

    def __init__(self, pattern: str, entry: Mapping[str, Any], info: EnvInfo, args: Any) -> None:
        self.name, self.is_frozen = team_name(pattern), bool(entry["frozen"])
        self.agents = [i for i, agent in enumerate(info.agents) if fnmatchcase(agent, pattern)]
        config = entry["config"]
        for name in PARTS:
            _foreign(f"teams: {pattern}", args).check(name, config.get(name))
        # a checkpoint of a run without teams has a controller of all agents
        observed = range(info.n_agents) if entry["plays_all"] else self.agents
        self._observed, self._own = list(observed), [list(observed).index(i) for i in self.agents]
        own = restricted(info, self._observed)
        shared = {name: getattr(args, name) for name in OF_RUN if hasattr(args, name)}
        self.args = SimpleNamespace(
            **{**config, **shared},
            **own.arguments_of_parts(),
            device=args.device,
            user_keys=frozenset(),
        )
        common = bool(config.get("common_reward"))
        self.scheme, self.groups = make_scheme(own, common)
        self.view = View(self.agents, self.scheme, self.groups, self.args.reward_scalarisation if common else "")
        self.mac: Any = resolve("mac of a team", config["mac"])(self.scheme, self.groups, self.args)
        has_act = hasattr(self.mac, "act")
        self.actor = self.mac if has_act else PyMARLController(self.mac, self.scheme, self.groups, args.device)
        self.is_greedy = self.is_frozen and config.get("action_selector") != "softmax"
        if self.is_frozen and not args.checkpoint_path:  # a checkpoint contains it
            self._load(entry["frozen"])

    def _load(self, folder: str) -> None:
        try:
            self.mac.load_models(folder)
        except (OSError, RuntimeError, LookupError, ValueError, TypeError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(f"teams: {folder} holds no agents for {self.name} ({reason})") from error

    def act(
        self, observation: Observation, last_actions: Tensor, carry: Tensor, t_env: int, test_mode: bool
    ) -> tuple[Tensor, Tensor]:
        """The team's actions [E, N'] and its controller's next carry; arguments are of all agents, but the carry."""
        obs, state, avail, agent_mask = observation
        seen = self._observed
        own = Observation(obs[:, seen], state, avail[:, seen], agent_mask[:, seen])
        chosen, carry = self.actor.act(own, last_actions[:, seen], carry, t_env, test_mode or self.is_greedy)
        return chosen[:, self._own], carry


def team_name(pattern: str) -> str:
    """``adversary_*`` -> ``adversary``."""
    return re.sub(r"\W+", "", pattern).strip("_") or "all"


def _foreign(where: str, args: Any) -> Foreign:
    trust = read(TrustKeys, args).trust
    named = () if isinstance(trust, bool) else {trust} if isinstance(trust, str) else {*trust}
    return Foreign(where, named, trust is True)


def restricted(info: EnvInfo, agents: Sequence[int]) -> EnvInfo:
    """The ``EnvInfo`` of some of the agents."""
    names = ("agents", "agent_types", "obs_sizes", "action_sizes", "action_numbers", "obs_blocks")
    parts: dict[str, Any] = {
        name: tuple(getattr(info, name)[i] for i in agents) for name in names if getattr(info, name)
    }
    return replace(info, **parts)


class TeamMAC:
    """Acts for all agents, each by its team's controller; see ``BasicMAC`` for the methods.

    The recurrent state [E, H] is the concatenation of those of the teams, flattened.

    Raises:
        ConfigError: an agent is in no team or in two, or a team has no agents.
    """

    Config = TeamKeys

    def __init__(self, scheme: Any, groups: Any, args: Any) -> None:
        teams, info = read(TeamKeys, args).teams, args.env_info
        check_teams(teams, info)
        self.teams = [Team(pattern, entry, info, args) for pattern, entry in teams.items()]
        self.n_agents, self.device = info.n_agents, args.device
        self.sees_last_actions = any(getattr(team.actor, "sees_last_actions", True) for team in self.teams)
        self._shapes = [team.actor.initial_carry(1).shape[1:] for team in self.teams]

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at an episode's start, [n, H]."""
        return torch.cat([team.actor.initial_carry(n).flatten(1) for team in self.teams], dim=1)

    def split_carry(self, carry: Tensor) -> list[Tensor]:
        """The recurrent state of each team, in its controller's shape."""
        parts = carry.split([shape.numel() for shape in self._shapes], dim=1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self._shapes, strict=True)]

    @torch.no_grad()
    def act(
        self, observation: Observation, last_actions: Tensor, carry: Tensor, t_env: int, test_mode: bool
    ) -> tuple[Tensor, Tensor]:
        """The actions of all agents, and the next carry [E, H]."""
        joint: Any = [None] * self.n_agents
        states = []
        for team, own in zip(self.teams, self.split_carry(carry), strict=True):
            chosen, state = team.act(observation, last_actions, own, t_env, test_mode)
            states.append(state.flatten(1))
            for column, agent in enumerate(team.agents):
                joint[agent] = chosen[:, column]
        return torch.stack(joint, dim=1), torch.cat(states, dim=1)

    def exploration(self, t_env: int) -> dict[str, float]:
        """What the teams' action selectors log at ``t_env``."""
        learning = [team for team in self.teams if not team.is_frozen and hasattr(team.mac, "exploration")]
        return {f"{team.name}/{name}": value
                for team in learning for name, value in team.mac.exploration(t_env).items()}  # fmt: skip


def check_teams(teams: Mapping[str, Any], info: EnvInfo) -> None:
    """Raises ConfigError unless every agent is in exactly one team, and every team has agents and a name."""
    if not teams:
        example = "'teams={adversary_*: ippo, agent_*: iql}'"
        raise ConfigError(f"teams: name the teams of {', '.join(info.agents)}, such as {example}")
    for agent in info.agents:
        named = [pattern for pattern in teams if fnmatchcase(agent, pattern)]
        if len(named) != 1:
            fault = f"is in the teams {' and '.join(named)}" if named else f"is in none of {', '.join(teams)}"
            raise ConfigError(f"teams: {agent} {fault}; the agents are {', '.join(info.agents)}")
    empty = [pattern for pattern in teams if not any(fnmatchcase(agent, pattern) for agent in info.agents)]
    if empty:
        raise ConfigError(f"teams: {empty[0]} names none of {', '.join(info.agents)}")
    names = [team_name(pattern) for pattern in teams]
    if len({*names}) < len(names):
        raise ConfigError(f"teams: the patterns {', '.join(teams)} give two teams the same name")
