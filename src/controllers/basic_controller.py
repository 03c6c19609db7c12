"""PyMARL's "mac": one network for all agents, for each type of agent, or for each agent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..components.rollout import Rollout
from ..config.schema import key, read
from ..modules.action_distributions import distribution, kind_of
from ..modules.compiled import is_compiled
from ..modules.encoder import as_features
from ..modules.gru import Array, beside
from ..modules.unrolling import as_rows, from_rows, unroll_rows
from ..registry import resolve
from ..types import ConfigError, Observation, PathLike, feature_size
from ..utils.tensor_files import load_tensors
from .array_step import array_step, inputs_along
from .sharing import as_slice, for_agents, sharing_groups


@dataclass(frozen=True)
class BasicMACConfig:
    """Keys of ``mac: basic_mac``."""

    agent: str = key("rnn", component="agent", help="the agents' network")
    action_selector: str = key("epsilon_greedy", component="action_selector", help="from values or logits to actions")
    share_parameters: Literal["all", "type", "none"] = key("type", help="which agents share one network")
    obs_agent_id: bool = key(True, help="append the agent's one-hot index to its observation")
    obs_last_action: bool = key(True, help="append the agent's last action, one-hot, to its observation")


class BasicMAC(nn.Module):
    """A controller with PyMARL's interface and two more methods.

    ``act`` decides for E copies at once, each at its own step of its own episode; the recurrent state is passed in
    and returned. ``unroll`` gives the outputs along whole episodes in one fused call. PyMARL's ``init_hidden``,
    ``forward`` and ``select_actions`` work on ``self.hidden_states``, which ``act`` and ``unroll`` never touch.

    Args:
        scheme, groups: see ``components.episode_batch.make_scheme``.
        args: namespace with ``n_agents``, ``n_actions``, ``agent_types`` (optional) and the declared keys.
        more_inputs: numbers that a subclass appends to each agent's input.

    Raises:
        ConfigError: agents give more or fewer numbers than there are actions.
    """

    Config = BasicMACConfig
    agents_decide = True  # whether the agents' outputs describe the actions; else a subclass computes them

    def __init__(self, scheme: Any, groups: Any, args: Any, more_inputs: int = 0) -> None:
        super().__init__()
        self.config = read(BasicMACConfig, args)
        self.n_agents, self.n_actions = args.n_agents, args.n_actions
        agent_types = list(getattr(args, "agent_types", ["agent"] * self.n_agents))
        groups = sharing_groups(self.config.share_parameters, agent_types)
        self.sizes = [len(group) for group in groups]
        self.members = [as_slice(group) for group in groups]  # views where agents of a kind stand together
        self.member_arrays = [np.array(group) for group in groups]
        order = [i for group in groups for i in group]
        self.positions = None if order == sorted(order) else [order.index(i) for i in range(self.n_agents)]
        agent = resolve("agent", self.config.agent)
        input_shape = self._input_shape(scheme) + more_inputs
        self.agents = nn.ModuleList(agent(input_shape, for_agents(args, group)) for group in groups)
        first: Any = self.agents[0]
        self.width = int(first.init_hidden().shape[-1])
        self._check_outputs(first, input_shape)
        if self.agents_decide:
            self.agents = nn.ModuleList(map(distribution(kind_of(args), self.n_actions).policy, self.agents))
        self.decides = all(getattr(agent, "decides", False) for agent in self.agents)  # see ``RNNAgent``
        # whether a decision is what this class computes from its input and its networks
        own = ("inputs", "decide", "_step")
        self.is_plain = self.agents_decide and all(getattr(type(self), n) is getattr(BasicMAC, n) for n in own)
        self.action_selector = resolve("action_selector", self.config.action_selector)(args)
        self.chooses = getattr(self.action_selector, "chooses", False)
        self.sees_last_actions = self.config.obs_last_action
        self.hidden_states = torch.zeros(0)
        self.identity = torch.eye(self.n_agents)
        self.identities = self.n_agents if self.config.obs_agent_id else 0  # numbers of the input

    def _check_outputs(self, agent: Any, input_shape: int) -> None:
        with torch.no_grad():
            given = agent(torch.zeros(2, input_shape), agent.init_hidden().expand(2, -1))[0].shape[-1]
        wanted, what = self._outputs_wanted()
        if given != wanted:
            raise ConfigError(f"agent: {self.config.agent} gives {given} numbers, and its controller needs {what}")

    def _outputs_wanted(self) -> tuple[int, str]:
        """How many numbers agents are to give, and in words."""
        return self.n_actions, f"one for each of {self.n_actions} actions: take rnn or mingru"

    def _input_shape(self, scheme: Any) -> int:
        size = feature_size(scheme, "obs")
        size += self.n_actions if self.config.obs_last_action else 0
        return size + (self.n_agents if self.config.obs_agent_id else 0)

    def inputs(self, obs: Tensor, last_actions: Tensor | None, more: Tensor | None = None) -> Tensor:
        """The networks' inputs [..., N, I]; a subclass appends ``more`` [..., N, D]."""
        parts = [obs]
        if self.config.obs_last_action and last_actions is not None:
            parts.append(last_actions)
        if self.config.obs_agent_id:
            if self.identity.device != obs.device:
                self.identity = self.identity.to(obs.device)
            parts.append(self.identity.expand(*obs.shape[:-2], -1, -1))
        if more is not None:
            parts.append(more)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)

    def _inputs_along(self, batch: Any, last_actions: Tensor | None) -> Tensor:
        """A batch's inputs [B, T+1, N, I]."""
        return self.inputs(batch["obs"], last_actions)

    def in_agent_order(self, outputs: list[Tensor], dim: int) -> Tensor:
        """Joins the outputs of all networks along ``dim``, where their agents stand, in the order of the agents."""
        joined = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=dim)
        if self.positions is None:
            return joined
        return joined.index_select(dim, torch.tensor(self.positions, device=joined.device))

    def _step(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """One step: inputs [E, N, I], hidden [E, N, H] -> outputs [E, N, U], hidden [E, N, H]."""
        if self.decides and not torch.is_grad_enabled() and is_compiled("gru_kernels", inputs):
            given = inputs.numpy()
            out, after = self._array_step(given, given[..., :0], 0, hidden)
            return torch.from_numpy(out), torch.from_numpy(after)
        copies = inputs.shape[0]
        outputs, states = [], []
        for size, members, agent in zip(self.sizes, self.members, self.agents, strict=True):
            rows, before = (x if size == self.n_agents else x[:, members] for x in (inputs, hidden))
            out, state = agent(rows.flatten(0, 1), before.flatten(0, 1))
            outputs.append(out.view(copies, size, -1))
            states.append(state.reshape(copies, size, -1))
        return self.in_agent_order(outputs, 1), self.in_agent_order(states, 1)

    def _array_step(self, obs: Array, last_actions: Array, identities: int, hidden: Tensor) -> tuple[Array, Array]:
        """``_step`` with arrays."""
        given = obs, last_actions, identities, hidden.numpy()
        return array_step(self.agents, self.member_arrays, *given, self._outputs_wanted()[0])

    def split_carry(self, carry: Tensor) -> tuple[Tensor, Tensor]:
        """The agents' part of a recurrent state, and what a subclass adds behind it."""
        return carry[..., : self.width], carry[..., self.width :]

    def initial_carry(self, n: int) -> Tensor:
        """The recurrent state at an episode's start, [n, N, H]."""
        pairs: Any = zip(self.sizes, self.agents, strict=True)
        hidden = [agent.init_hidden().expand(size, -1) for size, agent in pairs]
        return self.in_agent_order(hidden, 0).unsqueeze(0).expand(n, -1, -1).contiguous()

    def act(
        self, observation: Observation, last_actions: Tensor, carry: Tensor, t_env: int, test_mode: bool
    ) -> tuple[Tensor, Tensor]:
        """Actions [E, N] and the next carry [E, N, H].

        Schedules depend on ``t_env``; ``test_mode`` does not explore. ``last_actions`` are one-hot [E, N, U], zeros
        where an episode begins.
        """
        if self._decides_with_arrays(observation, carry):
            return self._act_with_arrays(observation, last_actions.numpy(), carry, t_env, test_mode)
        avail = torch.as_tensor(observation.avail, device=carry.device)
        with torch.no_grad():
            obs = as_features(torch.as_tensor(observation.obs, device=carry.device))
            outputs, carry = self.decide(obs, last_actions, carry)
            return self.action_selector.select_action(outputs, avail, t_env, test_mode=test_mode), carry

    def _act_with_arrays(
        self, observation: Observation, taken: Array, carry: Tensor, t_env: int, test_mode: bool
    ) -> tuple[Tensor, Tensor]:
        """``act`` without tensors, whose operations take most of the time where copies are few."""
        taken = taken if self.config.obs_last_action else taken[..., :0]
        outputs, after = self._array_step(observation.obs, taken, self.identities, carry)
        if self.chooses:
            chosen = torch.from_numpy(self.action_selector.choose(outputs, observation.avail, t_env, test_mode))
        else:
            values, avail = torch.from_numpy(outputs), torch.from_numpy(observation.avail)
            chosen = self.action_selector.select_action(values, avail, t_env, test_mode=test_mode)
        return chosen, torch.from_numpy(after)

    def _decides_with_arrays(self, observation: Observation, carry: Tensor) -> bool:
        """Whether compiled functions compute the decision, which need no tensors of the observation."""
        plain = self.decides and self.is_plain and observation.obs.dtype == np.float32
        return plain and is_compiled("step_kernels", carry)

    def decide(self, obs: Tensor, last_actions: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs [E, N, U] and the next carry for observations [E, N, O]; see ``act``."""
        return self._step(self.inputs(obs, last_actions), carry)

    def evaluate(self, obs: Tensor, last_actions: Tensor, carry: Tensor, condition: Tensor | None = None) -> Tensor:
        """Outputs [K, N, U] for observations [K, N, O], one-hot last actions [K, N, U] and carry [K, N, H].

        ``condition`` is for controllers with an opponent model; here it is None.
        """
        return self._step(self.inputs(torch.as_tensor(obs), last_actions), carry)[0]

    def unroll(self, batch: Any) -> Tensor:
        """Outputs [B, T+1, N, U] along the episodes of ``batch``, or along the rows of a ``Rollout``."""
        last_actions: Tensor | None
        if isinstance(batch, Rollout):
            last_actions = batch.previous_actions() if self.config.obs_last_action else batch.last_actions
            carry: Tensor | None = self.split_carry(batch.carry)[0]
            begins: Tensor | None = batch["begins"]
        else:
            last_actions, carry, begins = None, None, None  # batches compute one-hot actions when they are first read
            if self.config.obs_last_action:
                taken = batch["actions_onehot"]
                last_actions = torch.cat([torch.zeros_like(taken[:, :1]), taken[:, :-1]], dim=1)
        inputs = self._inputs_along(batch, last_actions)
        outputs = []
        parts: Any = zip(self.sizes, self.members, self.agents, strict=True)
        for size, members, agent in parts:
            rows = as_rows(inputs[:, :, members])  # [B*n, T+1, I]
            if carry is None:
                hidden = agent.init_hidden().expand(rows.shape[0], -1)
            else:
                hidden = carry[:, members].flatten(0, 1)
            out = unroll_rows(agent, rows, hidden, None if begins is None else begins.repeat_interleave(size, dim=0))
            outputs.append(from_rows(out, size))  # [B, T+1, n, U]
        return self.in_agent_order(outputs, 2)

    def can_unroll_beside(self, batch: Any) -> bool:
        """Whether ``unroll_beside`` can compute complete episodes ``batch`` with compiled functions."""
        encodes = all(getattr(agent, "encodes", False) for agent in self.agents)
        plain = self.decides and encodes and self.is_plain and type(self).unroll is BasicMAC.unroll
        discrete = batch["actions"].dtype == torch.long and batch["actions"].shape[-1] == 1
        return plain and discrete and not isinstance(batch, Rollout) and is_compiled("step_kernels", batch["obs"])

    def unroll_beside(self, other: BasicMAC, batch: Any) -> tuple[Tensor, Tensor]:
        """``unroll`` of this controller and, without gradient, of a copy of it with other weights."""
        n_actions = self.n_actions if self.config.obs_last_action else 0
        parts: Any = zip(self.member_arrays, self.agents, other.agents, strict=True)
        networks = [
            agent.beside(others, inputs_along(batch, members, n_actions, self.identities))
            for members, agent, others in parts
        ]
        mine, theirs = (
            [from_rows(each.transpose(0, 1), size) for each, size in zip(found, self.sizes, strict=True)]
            for found in beside(networks)  # [T+1, B*n, U] each
        )
        return self.in_agent_order(mine, 2), self.in_agent_order(theirs, 2)

    def init_hidden(self, batch_size: int) -> None:
        """PyMARL's: begins ``batch_size`` episodes for ``forward``."""
        self.hidden_states = self.initial_carry(batch_size)

    def forward(self, ep_batch: Any, t: int, test_mode: bool = False) -> Tensor:
        """PyMARL's: outputs [B, N, U] at step ``t``, moving ``self.hidden_states`` on."""
        one_hot = ep_batch["actions_onehot"]
        last_actions = one_hot[:, t - 1] if t > 0 else torch.zeros_like(one_hot[:, 0])
        outputs, self.hidden_states = self._step(self.inputs(ep_batch["obs"][:, t], last_actions), self.hidden_states)
        return outputs

    def select_actions(
        self, ep_batch: Any, t_ep: int, t_env: int, bs: Any = slice(None), test_mode: bool = False
    ) -> Tensor:
        """PyMARL's: actions of the batch rows ``bs`` at step ``t_ep``."""
        outputs = self.forward(ep_batch, t_ep, test_mode=test_mode)
        avail = ep_batch["avail_actions"][:, t_ep]
        return self.action_selector.select_action(outputs[bs], avail[bs], t_env, test_mode=test_mode)

    def exploration(self, t_env: int) -> dict[str, float]:
        """What the action selector would have logged at ``t_env``."""
        epsilon = getattr(self.action_selector, "epsilon", None)
        return {"epsilon": epsilon(t_env)} if callable(epsilon) else {}

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """The networks' parameters."""
        return self.agents.parameters(recurse)

    @property
    def kept(self) -> nn.Module:
        """What files and target networks hold."""
        return self.agents

    @property
    def can_be_opponent(self) -> bool:
        """Whether it can act as a frozen opponent: all that it holds are its agents."""
        return self.kept is self.agents

    def load_state(self, other_mac: BasicMAC) -> None:
        """PyMARL's: copies the parameters of ``other_mac``."""
        self.kept.load_state_dict(other_mac.kept.state_dict())

    def save_models(self, path: PathLike) -> None:
        """Writes ``agent.th`` into the folder ``path``."""
        torch.save(self.kept.state_dict(), Path(path) / "agent.th")

    def load_models(self, path: PathLike) -> None:
        """Reads ``agent.th`` from the folder ``path``."""
        device = next(self.parameters()).device
        self.kept.load_state_dict(load_tensors(Path(path) / "agent.th", device))
