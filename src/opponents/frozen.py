"""Trained opponents: frozen networks, each of which acts in the copies in which it plays."""

from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..components.episode_batch import make_scheme
from ..config.files import read_json
from ..config.provenance import Foreign
from ..games.game import Floats, Ints, Players
from ..modules.action_distributions import distribution
from ..modules.encoder import as_features
from ..registry import resolve
from ..types import ConfigError, EnvInfo
from .pool import AGENTS, CONFIG, inside

PARTS = ("mac", "agent", "cell", "action_selector", "opponent_model")  # keys of a controller that name classes


def load_controller(folder: Path, info: EnvInfo, trust: bool | Collection[str] = False) -> Any:
    """The controller of a checkpoint, for acting only; ``info`` is of the environment with all agents.

    Raises:
        ConfigError: files are missing, damaged, or of another environment, the controller cannot be an opponent, or
            its configuration names code that ``trust`` does not contain (see ``Foreign``).
    """
    try:
        config = read_json(inside(folder, CONFIG))
        inside(folder, AGENTS)
        foreign = Foreign(str(folder / CONFIG), () if isinstance(trust, bool) else trust, trust is True)
        for name in PARTS:
            foreign.check(name, config.get(name))
        args = SimpleNamespace(
            **{**config, "device": "cpu"},
            **info.arguments_of_parts(),
        )
        scheme, groups = make_scheme(info, bool(config["common_reward"]))
        mac = resolve("mac", config["mac"])(scheme, groups, args)
        mac.load_models(folder)
    except ConfigError as error:
        raise ConfigError(f"pool: {error}") from error
    except (OSError, ValueError, LookupError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"pool: {folder} holds no agents for {info.key} ({reason})") from error
    if not getattr(mac, "can_be_opponent", False):
        raise ConfigError(f"pool: {folder}: controller {config['mac']} cannot play as an opponent")
    return mac.requires_grad_(False)


def shape_of(mac: Any) -> str:
    """Text that is equal for two controllers whose recurrent states are alike."""
    tensors = {name: tuple(value.shape) for name, value in mac.state_dict().items()}
    return repr((tensors, mac.config, [type(agent).__name__ for agent in mac.agents]))


class FrozenNetworks(Players):
    """K controllers of one shape, ``macs``, from ``load_controller``; other arguments: see ``Scripts``.

    Value networks act greedily; policies (``action_selector: softmax``) are sampled as in their training.
    """

    changing = ("carry", "last_actions", "random")

    def __init__(self, macs: Sequence[Any], info: EnvInfo, seats: list[int], n_envs: int, seed: int) -> None:
        self.macs, self.seats = macs, seats
        self.actions = distribution(info.actions, info.n_actions)
        self.carry = macs[0].initial_carry(n_envs)
        self.first_carry = self.carry[:1].clone()
        self.last_actions = torch.zeros(n_envs, info.n_agents, info.n_actions)
        self.samples = macs[0].config.action_selector == "softmax"
        self.random = torch.Generator().manual_seed(seed % 2**63)

    def begin(self, rows: Ints, which: Ints) -> None:
        """See ``Players``."""
        at = torch.from_numpy(rows)
        self.carry[at] = self.first_carry
        self.last_actions[at] = 0.0

    @torch.no_grad()
    def act(self, rows: Ints, which: Ints, obs: Floats, avail: NDArray[np.uint8]) -> NDArray[Any]:
        """See ``Players``."""
        at = torch.from_numpy(rows)
        seen = as_features(torch.from_numpy(obs[rows]))
        outputs, carry = self._outputs(seen, self.last_actions[at], self.carry[at], which)
        self.carry[at] = carry
        available = torch.from_numpy(avail[rows])
        if self.samples:
            chosen = self.actions.sample(outputs, available, self.random)
        else:
            chosen = self.actions.mode(outputs, available)
        return chosen[:, self.seats].numpy()

    def remember(self, rows: Ints, actions: NDArray[Any]) -> None:
        """See ``Players``."""
        stored = torch.from_numpy(actions).reshape(*actions.shape[:2], -1)
        self.last_actions[torch.from_numpy(rows)] = self.actions.encode(stored)

    def _outputs(self, obs: Tensor, last_actions: Tensor, carry: Tensor, which: Ints) -> tuple[Tensor, Tensor]:
        """The outputs [R, N, U] and the next carry of the networks ``which`` [R] for each row's [N, ...]."""
        order = np.argsort(which, kind="stable")
        own = np.split(order, np.flatnonzero(np.diff(which[order])) + 1)  # the rows of each network that plays
        decided = []
        for rows in own:
            at = torch.from_numpy(rows)
            decided.append(self.macs[which[rows[0]]].decide(obs[at], last_actions[at], carry[at]))
        back = torch.from_numpy(np.argsort(order))
        outputs, states = (torch.cat(each)[back] for each in zip(*decided, strict=True))
        return outputs, states
