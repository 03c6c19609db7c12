"""Selects actions from the agents' outputs."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..config.schema import key, read
from ..modules.action_distributions import distribution, kind_of, require_discrete
from ..modules.compiled import is_compiled, kernels
from ..modules.gru import Array
from .schedules import linear


@dataclass(frozen=True)
class EpsilonGreedyConfig:
    """Keys of ``action_selector: epsilon_greedy``."""

    epsilon_start: float = key(1.0, low=0, high=1, help="share of random actions at the start")
    epsilon_finish: float = key(0.05, low=0, high=1, help="share of random actions after annealing")
    epsilon_anneal_time: int = key(50_000, low=0, help="environment steps of the annealing")
    evaluation_epsilon: float = key(0.0, low=0, high=1, help="share of random actions in tests")


class EpsilonGreedy:
    """Each agent takes its best available action, or with probability epsilon a random available one."""

    Config = EpsilonGreedyConfig

    def __init__(self, args: Any) -> None:
        require_discrete(args, "action_selector: epsilon_greedy")
        self.config = read(EpsilonGreedyConfig, args)
        self.uniforms = torch.zeros(0)  # memory of ``choose``
        # whether ``choose`` does what ``select_action`` does: not in a subclass with another one
        self.chooses = type(self).select_action is EpsilonGreedy.select_action

    def epsilon(self, t_env: int, test_mode: bool = False) -> float:
        """Epsilon after ``t_env`` environment steps."""
        c = self.config
        if test_mode:
            return c.evaluation_epsilon
        return linear(c.epsilon_start, c.epsilon_finish, c.epsilon_anneal_time, t_env)

    def select_action(
        self, agent_inputs: Tensor, avail_actions: Tensor, t_env: int, test_mode: bool = False
    ) -> Tensor:
        """Actions [E, N] from values [E, N, U] and availability [E, N, U]."""
        epsilon = self.epsilon(t_env, test_mode)
        if epsilon == 0.0:
            return agent_inputs.masked_fill(avail_actions == 0, -torch.inf).argmax(dim=-1)
        # The largest of independent uniforms over the available actions is a uniform choice among them.
        uniforms = torch.rand(*agent_inputs.shape[:-1], agent_inputs.shape[-1] + 1, device=agent_inputs.device)
        if agent_inputs.dim() == 3 and is_compiled("value_kernels", agent_inputs):
            values, avail = agent_inputs.detach().numpy(), avail_actions.numpy()
            return torch.from_numpy(_chosen(values, avail, uniforms.numpy(), epsilon))
        scores = torch.where(uniforms[..., -1:] < epsilon, uniforms[..., :-1], agent_inputs)
        return scores.masked_fill(avail_actions == 0, -torch.inf).argmax(dim=-1)

    def choose(self, values: Array, avail: Array, t_env: int, test_mode: bool = False) -> NDArray[np.int64]:
        """``select_action`` with arrays, compiled: the same actions, from the same random numbers."""
        epsilon = self.epsilon(t_env, test_mode)
        shape = *values.shape[:-1], values.shape[-1] + 1
        if self.uniforms.shape != shape:
            self.uniforms = torch.zeros(shape)
        if epsilon:
            self.uniforms.uniform_()
        return _chosen(values, avail, self.uniforms.numpy(), epsilon)


def _chosen(values: Array, avail: Array, uniforms: Array, epsilon: float) -> NDArray[np.int64]:
    """Epsilon-greedy choices [E, N] in one compiled call: see ``value_kernels.choose``."""
    chosen = np.empty(values.shape[:-1], np.int64)
    kernels("value_kernels").choose(values, avail, uniforms, np.float32(epsilon), chosen)
    return chosen


@dataclass(frozen=True)
class SoftmaxConfig:
    """Keys of ``action_selector: softmax``."""

    test_greedy: bool = key(True, help="take the most probable action (or the mean) in tests; False: sample")


class Softmax:
    """Draws an available action from the distribution that the agent's outputs describe.

    This is their softmax for discrete actions; for others see ``modules/action_distributions.py``.
    """

    Config = SoftmaxConfig

    def __init__(self, args: Any) -> None:
        self.config = read(SoftmaxConfig, args)
        self.actions = distribution(kind_of(args), args.n_actions)

    def select_action(
        self, agent_inputs: Tensor, avail_actions: Tensor, t_env: int, test_mode: bool = False
    ) -> Tensor:
        """Actions [E, N] from outputs [E, N, U] and availability [E, N, U]."""
        is_greedy = test_mode and self.config.test_greedy
        choose = self.actions.mode if is_greedy else self.actions.sample
        return choose(agent_inputs, avail_actions)
