"""Opponents that were trained: many frozen networks of one shape act in one stacked call."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import functional_call, stack_module_state

from ..components.episode_batch import make_scheme
from ..modules.gru import GRU
from ..registry import resolve
from ..types import ConfigError, EnvInfo

Ints = NDArray[np.int64]


def load_controller(folder: Path, info: EnvInfo) -> Any:
    """A checkpoint's controller, as far as acting goes.

    Raises:
        ConfigError: the files are missing or damaged, or belong to another environment.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        args = SimpleNamespace(
            **{**config, "device": "cpu"},
            n_agents=info.n_agents,
            n_actions=info.n_actions,
            agent_types=info.agent_types,
            agent_names=info.agents,
        )
        scheme, groups = make_scheme(info, bool(config["common_reward"]))
        mac = resolve("mac", config["mac"])(scheme, groups, args)
        mac.load_models(folder)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"pool: {folder} holds no agents for {info.key} ({reason})") from error
    if getattr(mac, "kept", None) is not getattr(mac, "agents", mac):
        raise ConfigError(f"pool: {folder}: controller {config['mac']} cannot be stacked with others")
    return mac.requires_grad_(False)


def shape_of(mac: Any) -> str:
    """What two controllers must have in common to be stacked."""
    tensors = {name: tuple(value.shape) for name, value in mac.state_dict().items()}
    return repr((tensors, mac.config, [type(agent).__name__ for agent in mac.agents]))


class FrozenNetworks:
    """A ``Group`` of opponents, see ``pool_env``: K controllers of one shape.

    Values are taken greedily; policies (``action_selector: softmax``) are drawn from, as they were trained.

    Args:
        macs: K controllers, see ``load_controller``.
        info: the environment's.
        seats: the agents that are played.
        n_envs: E.
        seed: of the draws.
    """

    def __init__(self, macs: Sequence[Any], info: EnvInfo, seats: list[int], n_envs: int, seed: int) -> None:
        self.mac, self.seats, self.n_actions = macs[0], seats, info.n_actions
        self.stacks = [stack_module_state([mac.agents[i] for mac in macs]) for i in range(len(self.mac.agents))]
        for module in self.mac.agents.modules():
            if isinstance(module, GRU):
                module.under_vmap = True
        self.carry = self.mac.initial_carry(n_envs)
        self.fresh = self.carry[:1].clone()
        self.last_actions = torch.zeros(n_envs, info.n_agents, info.n_actions)
        self.draws = self.mac.config.action_selector == "softmax"
        self.random = torch.Generator().manual_seed(seed % 2**63)
        self.n_networks = len(macs)

    def begin(self, rows: Ints, which: Ints) -> None:
        """New episodes in copies ``rows``, played by members ``which``."""
        at = torch.from_numpy(rows)
        self.carry[at] = self.fresh
        self.last_actions[at] = 0.0

    @torch.no_grad()
    def act(self, rows: Ints, which: Ints, obs: NDArray[np.float32], avail: NDArray[np.uint8]) -> Ints:
        """Actions [R, M] for observations [E, N, O] and availability [E, N, U] in copies ``rows``."""
        at = torch.from_numpy(rows)
        inputs = self.mac._inputs(torch.from_numpy(obs[rows]), self.last_actions[at])
        outputs, carry = self._outputs(inputs, self.carry[at], which)
        self.carry[at] = carry
        if self.draws:
            outputs = outputs - torch.empty_like(outputs).exponential_(generator=self.random).log()
        chosen = outputs.masked_fill(torch.from_numpy(avail[rows]) == 0, -torch.inf).argmax(dim=-1)
        return chosen[:, self.seats].numpy()

    def remember(self, rows: Ints, actions: NDArray[np.int64]) -> None:
        """What all agents [R, N] did, for networks that see their last action."""
        self.last_actions[torch.from_numpy(rows)] = torch.nn.functional.one_hot(
            torch.from_numpy(actions), self.n_actions
        ).float()

    def _outputs(self, inputs: Tensor, carry: Tensor, which: Ints) -> tuple[Tensor, Tensor]:
        """[R, N, I], [R, N, H] -> [R, N, U], [R, N, H]; rows are laid out network by network, padded."""
        counts = np.bincount(which, minlength=self.n_networks)
        order = np.argsort(which, kind="stable")
        place = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
        net, slot = torch.from_numpy(which[order]), torch.from_numpy(place)
        sorted_rows = torch.from_numpy(order)
        outputs: list[Tensor] = []
        states: list[Tensor] = []
        parts: Any = zip(self.mac.sizes, self.mac.members, self.mac.agents, self.stacks, strict=True)
        for size, members, agent, (parameters, buffers) in parts:
            tall = int(counts.max())

            def padded(values: Tensor, tall: int = tall, size: int = size) -> Tensor:
                room = values.new_zeros(self.n_networks, tall, size, values.shape[-1])
                room[net, slot] = values[sorted_rows]
                return room.flatten(1, 2)

            def one(p: Any, b: Any, x: Tensor, h: Tensor, agent: Any = agent) -> tuple[Tensor, Tensor]:
                return functional_call(agent, (p, b), (x, h))

            laid = padded(inputs[:, members]), padded(carry[:, members])
            out, state = torch.vmap(one)(parameters, buffers, *laid)
            for found, kept in ((out, outputs), (state, states)):
                back = found.new_empty(len(which), size, found.shape[-1])
                back[sorted_rows] = found.unflatten(1, (tall, size))[net, slot]
                kept.append(back)
        return self.mac._in_agent_order(outputs, 1), self.mac._in_agent_order(states, 1)
