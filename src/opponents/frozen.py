"""Trained opponents: all frozen networks of one shape act in one stacked call."""

from collections.abc import Collection, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, stack_module_state

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
        ConfigError: files are missing, damaged, or of another environment, the controller cannot be stacked, or its
            configuration names code that ``trust`` does not contain (see ``Foreign``).
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
    if not getattr(mac, "can_be_stacked", False):
        raise ConfigError(f"pool: {folder}: controller {config['mac']} cannot be stacked with others")
    return mac.requires_grad_(False)


def shape_of(mac: Any) -> str:
    """Text that is equal for two controllers that can be stacked with each other."""
    tensors = {name: tuple(value.shape) for name, value in mac.state_dict().items()}
    return repr((tensors, mac.config, [type(agent).__name__ for agent in mac.agents]))


class FrozenNetworks(Players):
    """K controllers of one shape, ``macs``, from ``load_controller``; other arguments: see ``Scripts``.

    Value networks act greedily; policies (``action_selector: softmax``) are sampled as in their training.
    """

    changing = ("carry", "last_actions", "random")

    def __init__(self, macs: Sequence[Any], info: EnvInfo, seats: list[int], n_envs: int, seed: int) -> None:
        self.mac, self.seats = macs[0], seats
        self.actions = distribution(info.actions, info.n_actions)
        self.stacks = [stack_module_state([mac.agents[i] for mac in macs]) for i in range(len(self.mac.agents))]
        self.carry = self.mac.initial_carry(n_envs)
        self.first_carry = self.carry[:1].clone()
        self.last_actions = torch.zeros(n_envs, info.n_agents, info.n_actions)
        self.samples = self.mac.config.action_selector == "softmax"
        self.random = torch.Generator().manual_seed(seed % 2**63)
        self.n_networks = len(macs)

    def begin(self, rows: Ints, which: Ints) -> None:
        """See ``Players``."""
        at = torch.from_numpy(rows)
        self.carry[at] = self.first_carry
        self.last_actions[at] = 0.0

    @torch.no_grad()
    def act(self, rows: Ints, which: Ints, obs: Floats, avail: NDArray[np.uint8]) -> NDArray[Any]:
        """See ``Players``."""
        at = torch.from_numpy(rows)
        inputs = self.mac.inputs(as_features(torch.from_numpy(obs[rows])), self.last_actions[at])
        outputs, carry = self._outputs(inputs, self.carry[at], which)
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

    def _outputs(self, inputs: Tensor, carry: Tensor, which: Ints) -> tuple[Tensor, Tensor]:
        """Inputs [R, N, I] and carry [R, N, H] -> outputs [R, N, U] and carry [R, N, H].

        Rows are sorted by network and padded, so that one ``vmap`` computes all networks.
        """
        counts = np.bincount(which, minlength=self.n_networks)
        order = np.argsort(which, kind="stable")
        place = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        net, slot = torch.from_numpy(which[order]), torch.from_numpy(place)
        sorted_rows = torch.from_numpy(order)
        outputs: list[Tensor] = []
        states: list[Tensor] = []
        parts: Any = zip(self.mac.sizes, self.mac.members, self.mac.agents, self.stacks, strict=True)
        for size, members, agent, (parameters, buffers) in parts:
            height = int(counts.max())

            def padded(values: Tensor, height: int = height, size: int = size) -> Tensor:
                table = values.new_zeros(self.n_networks, height, size, values.shape[-1])
                table[net, slot] = values[sorted_rows]
                return table.flatten(1, 2)

            def one(p: Any, b: Any, x: Tensor, h: Tensor, agent: Any = agent) -> tuple[Tensor, Tensor]:
                return functional_call(agent, (p, b), (x, h))

            tables = padded(inputs[:, members]), padded(carry[:, members])
            out, state = torch.vmap(one)(parameters, buffers, *tables)
            for table, results in ((out, outputs), (state, states)):
                by_row = table.new_empty(len(which), size, table.shape[-1])
                by_row[sorted_rows] = table.unflatten(1, (height, size))[net, slot]
                results.append(by_row)
        return self.mac.in_agent_order(outputs, 1), self.mac.in_agent_order(states, 1)
