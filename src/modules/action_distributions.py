"""Distributions of actions, one for each kind of action (``types.ActionKind``), from the agents' outputs.

Outputs are [..., U] for discrete actions and heads (logits). For continuous actions they are [..., 2 U]: the means,
and the logarithms of the standard deviations. For mixed actions they are [..., U + D]: those of the heads, then those
of the D numbers. Actions "as stored" have a last axis of 1, K, D or K + D; availability is [..., U].
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..types import DISCRETE, ActionKind, ConfigError


def log_probabilities(logits: Tensor, avail: Tensor) -> Tensor:
    """Log-probability of each action, [..., U]; very small where the action is not available."""
    return F.log_softmax(logits.masked_fill(avail == 0, -1e9), dim=-1)


class ActionDistribution(ABC):
    """A policy's distribution of one agent's action, and the encoding of actions as inputs of networks."""

    def __init__(self, kind: ActionKind, n_actions: int) -> None:
        self.kind, self.n_actions = kind, n_actions

    @abstractmethod
    def sample(self, outputs: Tensor, avail: Tensor) -> Tensor:
        """A random available action, [..., *kind.shape]."""

    @abstractmethod
    def mode(self, outputs: Tensor, avail: Tensor) -> Tensor:
        """The most probable available action, [..., *kind.shape]."""

    @abstractmethod
    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor, avail: Tensor) -> tuple[Tensor, Tensor]:
        """Of stored actions [..., A]: log-probabilities (densities if continuous), and entropies, [...] each."""

    @abstractmethod
    def encode(self, actions: Tensor) -> Tensor:
        """Stored actions [..., A] as features [..., U] of networks: one-hot, or the numbers that were executed."""

    def policy(self, network: nn.Module) -> nn.Module:
        """The network, whose outputs have U numbers, with this distribution's further parameters, if any."""
        return network


class Categorical(ActionDistribution):
    """One of U actions."""

    def sample(self, outputs: Tensor, avail: Tensor) -> Tensor:
        # The largest of logits plus Gumbel noise is a draw from their softmax (Gumbel 1954).
        return self.mode(outputs - torch.empty_like(outputs).exponential_().log(), avail)

    def mode(self, outputs: Tensor, avail: Tensor) -> Tensor:
        return outputs.masked_fill(avail == 0, -torch.inf).argmax(dim=-1)

    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor, avail: Tensor) -> tuple[Tensor, Tensor]:
        every = log_probabilities(outputs, avail)
        return every.gather(-1, actions).squeeze(-1), -(every.exp() * every).sum(dim=-1)

    def encode(self, actions: Tensor) -> Tensor:
        zeros = torch.zeros(*actions.shape[:-1], self.n_actions, device=actions.device)
        return zeros.scatter_(-1, actions, 1.0)


class Heads(ActionDistribution):
    """An independent choice for each of K heads; the outputs of the heads follow each other."""

    def _split(self, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        """The parts of each head."""
        return list(zip(*(tensor.split(self.kind.heads, dim=-1) for tensor in tensors), strict=True))

    def sample(self, outputs: Tensor, avail: Tensor) -> Tensor:
        return self.mode(outputs - torch.empty_like(outputs).exponential_().log(), avail)

    def mode(self, outputs: Tensor, avail: Tensor) -> Tensor:
        heads = self._split(outputs, avail)
        return torch.stack([o.masked_fill(a == 0, -torch.inf).argmax(dim=-1) for o, a in heads], dim=-1)

    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor, avail: Tensor) -> tuple[Tensor, Tensor]:
        every = [log_probabilities(*parts) for parts in self._split(outputs, avail)]
        taken = [log.gather(-1, actions[..., k : k + 1]).squeeze(-1) for k, log in enumerate(every)]
        entropies = [-(log.exp() * log).sum(dim=-1) for log in every]
        return torch.stack(taken).sum(dim=0), torch.stack(entropies).sum(dim=0)

    def encode(self, actions: Tensor) -> Tensor:
        zeros = torch.zeros(*actions.shape[:-1], self.n_actions, device=actions.device)
        sizes = torch.tensor(self.kind.heads, device=actions.device)
        return zeros.scatter_(-1, actions + sizes.cumsum(0) - sizes, 1.0)


class Gaussian(ActionDistribution):
    """D independent normal numbers, whose standard deviations do not depend on the observation.

    As in CleanRL and Stable-Baselines3, the policy samples unbounded numbers, of which log-probability and entropy
    are, and only the environment clips them to its bounds. Numbers that an agent lacks count neither in the
    log-probability nor in the entropy.
    """

    def sample(self, outputs: Tensor, avail: Tensor) -> Tensor:
        mean, log_std = outputs.chunk(2, dim=-1)
        return mean + log_std.exp() * torch.randn_like(mean)

    def mode(self, outputs: Tensor, avail: Tensor) -> Tensor:
        return outputs.chunk(2, dim=-1)[0]

    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor, avail: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_std = outputs.chunk(2, dim=-1)
        own, half_log = avail.float(), 0.5 * math.log(2 * math.pi)
        density = -0.5 * ((actions - mean) * (-log_std).exp()).square() - log_std - half_log
        return (density * own).sum(dim=-1), ((0.5 + half_log + log_std) * own).sum(dim=-1)

    def encode(self, actions: Tensor) -> Tensor:
        limits = torch.tensor(self.kind.limits, device=actions.device)
        return actions.clamp(-limits, limits)

    def policy(self, network: nn.Module) -> nn.Module:
        return WithLogStd(network, self.n_actions)


class Mixed(ActionDistribution):
    """Choices and numbers, independent of each other: ``Heads`` and then ``Gaussian``."""

    def __init__(self, kind: ActionKind, n_actions: int) -> None:
        super().__init__(kind, n_actions)
        n_choices = sum(kind.heads)
        self.heads = Heads(ActionKind("heads", heads=kind.heads), n_choices)
        self.numbers = Gaussian(ActionKind("continuous", limits=kind.limits), n_actions - n_choices)

    def _split(self, tensor: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """The first ``size`` entries, of the heads, and the rest."""
        return tensor[..., :size], tensor[..., size:]

    def _actions(self, outputs: Tensor, avail: Tensor, how: str) -> Tensor:
        size = self.heads.n_actions
        parts = zip((self.heads, self.numbers), self._split(outputs, size), self._split(avail, size), strict=True)
        return torch.cat([getattr(part, how)(*given).float() for part, *given in parts], dim=-1)

    def sample(self, outputs: Tensor, avail: Tensor) -> Tensor:
        return self._actions(outputs, avail, "sample")

    def mode(self, outputs: Tensor, avail: Tensor) -> Tensor:
        return self._actions(outputs, avail, "mode")

    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor, avail: Tensor) -> tuple[Tensor, Tensor]:
        size = self.heads.n_actions
        logits, normals = self._split(outputs, size)
        choices, numbers = self._split(actions, len(self.kind.heads))
        of_heads, of_numbers = self._split(avail, size)
        log_prob, entropy = self.heads.log_prob_and_entropy(logits, choices.long(), of_heads)
        density, differential = self.numbers.log_prob_and_entropy(normals, numbers, of_numbers)
        return log_prob + density, entropy + differential

    def encode(self, actions: Tensor) -> Tensor:
        choices, numbers = self._split(actions, len(self.kind.heads))
        return torch.cat([self.heads.encode(choices.long()), self.numbers.encode(numbers)], dim=-1)

    def policy(self, network: nn.Module) -> nn.Module:
        return WithLogStd(network, self.numbers.n_actions)


class WithLogStd(nn.Module):
    """An agent whose outputs are followed by trained log standard deviations, 0 at first."""

    def __init__(self, agent: Any, size: int) -> None:
        super().__init__()
        self.agent = agent
        self.log_std = nn.Parameter(torch.zeros(size))
        self.is_recurrent = getattr(agent, "is_recurrent", True)
        if hasattr(agent, "unroll"):
            self.unroll = self._unroll

    def init_hidden(self) -> Tensor:
        """The agent's recurrent state at the start of an episode."""
        return self.agent.init_hidden()

    def forward(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [M, I], hidden [M, H] -> outputs followed by log standard deviations [M, U + D], hidden [M, H]."""
        return self._completed(*self.agent(inputs, hidden))

    def _unroll(self, inputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        return self._completed(*self.agent.unroll(inputs, hidden))

    def _completed(self, outputs: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        log_std = self.log_std.expand(*outputs.shape[:-1], -1)
        return torch.cat([outputs, log_std], dim=-1), hidden


SPACES = {"discrete": "Discrete", "heads": "MultiDiscrete", "continuous": "Box", "mixed": "discrete and Box"}
KINDS: dict[str, type[ActionDistribution]] = {
    "discrete": Categorical, "heads": Heads, "continuous": Gaussian, "mixed": Mixed
}  # fmt: skip


def distribution(kind: ActionKind, n_actions: int) -> ActionDistribution:
    """The distribution of actions of ``kind``; ``n_actions`` is U."""
    return KINDS[kind.name](kind, n_actions)


def kind_of(args: Any) -> ActionKind:
    """The kind of actions in a part's arguments; discrete if they, as those of a host, do not state it."""
    info = args.get("env_info") if isinstance(args, dict) else getattr(args, "env_info", None)
    return getattr(info, "actions", DISCRETE)


def require_discrete(args: Any, what: str) -> None:
    """Raises ConfigError if the agents' actions are not discrete, which ``what`` needs."""
    kind = kind_of(args)
    if kind.name != "discrete":
        raise ConfigError(
            f"{what} needs Discrete actions, and this environment has {SPACES[kind.name]} actions; "
            "use --config=ippo or mappo"
        )
