"""Distributions of actions, one for each kind of action (``types.ActionKind``), from the agents' outputs.

Outputs are [..., U] for discrete actions and heads (logits). For continuous actions they are [..., 2 U]: the means,
and the logarithms of the standard deviations. For mixed actions they are [..., U + D]: those of the heads, then those
of the D numbers. Actions "as stored" have a last axis of 1, K, D or K + D; availability is [..., U].
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..types import DISCRETE, ActionKind, ConfigError
from .compiled import kernels
from .gaussian_policy import WithLogStd
from .losses import tanh_bound
from .softmax import log_softmax, softmax

LOG_STD_LIMIT = 3.0  # of predictions


def log_probabilities(logits: Tensor, avail: Tensor) -> Tensor:
    """Log-probability of each action, [..., U]; very small where the action is not available."""
    return log_softmax(logits.masked_fill(avail == 0, -1e9))


class ActionDistribution(ABC):
    """A policy's distribution of one agent's action, and the encoding of actions as inputs of networks."""

    def __init__(self, kind: ActionKind, n_actions: int) -> None:
        self.kind, self.n_actions = kind, n_actions

    @property
    def n_outputs(self) -> int:
        """The number of outputs that describe an action's distribution."""
        return self.n_actions + len(self.kind.limits)

    @abstractmethod
    def sample(self, outputs: Tensor, avail: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """A random available action, [..., *kind.shape]; None: by torch's own generator."""

    @abstractmethod
    def mode(self, outputs: Tensor, avail: Tensor) -> Tensor:
        """The most probable available action, [..., *kind.shape]."""

    @abstractmethod
    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor, avail: Tensor) -> tuple[Tensor, Tensor]:
        """Of stored actions [..., A]: log-probabilities (densities if continuous), and entropies, [...] each."""

    @abstractmethod
    def encode(self, actions: Tensor) -> Tensor:
        """Stored actions [..., A] as features [..., U] of networks: one-hot, or the numbers that were executed."""

    @abstractmethod
    def decode(self, features: Tensor) -> Tensor:
        """The stored actions [..., A] that ``encode`` turned into ``features`` [..., U]."""

    @abstractmethod
    def summary(self, outputs: Tensor) -> Tensor:
        """Outputs as inputs of networks, of the same shape: probabilities, means and standard deviations."""

    def predicted(self, outputs: Tensor) -> Tensor:
        """Outputs whose log standard deviations are those of a network's predictions: bounded, see ``Gaussian``."""
        return outputs

    def hit_rate(self, outputs: Tensor, actions: Tensor) -> Tensor:
        """The share of the choices in stored actions [..., A] that are the most probable ones, [...]."""
        every = torch.ones(self.n_actions, device=outputs.device)
        same = self.mode(outputs, every).reshape(actions.shape) == actions
        return same[..., : len(self.kind.heads) or 1].float().mean(dim=-1)

    def marginal_nll(self, features: Tensor) -> Tensor:
        """Of encoded actions [R, U] under independent distributions that are fitted to them, in nats.

        The parts of the sum, [U]: those of one head are its cross-entropy. NaN without actions.
        """
        size = self.n_actions - len(self.kind.limits)
        shares, numbers = features[:, :size].mean(dim=0), features[:, size:]
        variance = numbers.var(dim=0, unbiased=False)
        log_std = (0.5 * variance.log()).clamp(min=-LOG_STD_LIMIT)
        density = 0.5 * (variance * (-2.0 * log_std).exp() + math.log(2 * math.pi)) + log_std
        return torch.cat([-torch.special.xlogy(shares, shares), density])

    def policy(self, network: nn.Module) -> nn.Module:
        """The network, whose outputs have U numbers, with log standard deviations of its numbers, if any."""
        return WithLogStd(network, len(self.kind.limits)) if self.kind.limits else network


class Categorical(ActionDistribution):
    """One of U actions."""

    def sample(self, outputs: Tensor, avail: Tensor, generator: torch.Generator | None = None) -> Tensor:
        # The largest of logits plus Gumbel noise is a draw from their softmax (Gumbel 1954).
        return self.mode(outputs - torch.empty_like(outputs).exponential_(generator=generator).log(), avail)

    def mode(self, outputs: Tensor, avail: Tensor) -> Tensor:
        return outputs.masked_fill(avail == 0, -torch.inf).argmax(dim=-1)

    def log_prob_and_entropy(self, outputs: Tensor, actions: Tensor, avail: Tensor) -> tuple[Tensor, Tensor]:
        every = log_probabilities(outputs, avail)
        return every.gather(-1, actions).squeeze(-1), -(every.exp() * every).sum(dim=-1)

    def encode(self, actions: Tensor) -> Tensor:
        if actions.is_cpu and kernels("value_kernels") is not None:
            features = np.empty((actions.numel(), self.n_actions), np.float32)
            if kernels("value_kernels").one_hot(actions.reshape(-1).numpy(), features):
                return torch.from_numpy(features).view(*actions.shape[:-1], self.n_actions)
        zeros = torch.zeros(*actions.shape[:-1], self.n_actions, device=actions.device)
        return zeros.scatter_(-1, actions, 1.0)

    def decode(self, features: Tensor) -> Tensor:
        return features.argmax(dim=-1, keepdim=True)

    def summary(self, outputs: Tensor) -> Tensor:
        return softmax(outputs)


class Heads(ActionDistribution):
    """An independent choice for each of K heads; the outputs of the heads follow each other."""

    def _split(self, *tensors: Tensor) -> list[tuple[Tensor, ...]]:
        """The parts of each head."""
        return list(zip(*(tensor.split(self.kind.heads, dim=-1) for tensor in tensors), strict=True))

    def sample(self, outputs: Tensor, avail: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.mode(outputs - torch.empty_like(outputs).exponential_(generator=generator).log(), avail)

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

    def decode(self, features: Tensor) -> Tensor:
        return torch.stack([head.argmax(dim=-1) for (head,) in self._split(features)], dim=-1)

    def summary(self, outputs: Tensor) -> Tensor:
        return torch.cat([softmax(head) for (head,) in self._split(outputs)], dim=-1)


class Gaussian(ActionDistribution):
    """D independent normal numbers, whose standard deviations do not depend on the observation.

    As in CleanRL and Stable-Baselines3, the policy samples unbounded numbers, of which log-probability and entropy
    are, and only the environment clips them to its bounds. Numbers that an agent lacks count neither in the
    log-probability nor in the entropy. Predicted log standard deviations lie within ``LOG_STD_LIMIT`` of 0, because
    the likelihood of numbers that can be predicted exactly has no maximum.
    """

    def sample(self, outputs: Tensor, avail: Tensor, generator: torch.Generator | None = None) -> Tensor:
        mean, log_std = outputs.chunk(2, dim=-1)
        return mean + log_std.exp() * torch.empty_like(mean).normal_(generator=generator)

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

    def decode(self, features: Tensor) -> Tensor:
        return features

    def summary(self, outputs: Tensor) -> Tensor:
        mean, log_std = outputs.chunk(2, dim=-1)
        return torch.cat([mean, log_std.exp()], dim=-1)

    def predicted(self, outputs: Tensor) -> Tensor:
        mean, raw = outputs.chunk(2, dim=-1)
        return torch.cat([mean, tanh_bound(raw, LOG_STD_LIMIT)], dim=-1)


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

    def _each(self, how: str, outputs: Tensor, *more: Tensor, **keywords: Any) -> Tensor:
        """The results of the method ``how`` of heads and numbers, joined."""
        size = self.heads.n_actions
        given = [self._split(tensor, size) for tensor in (outputs, *more)]
        parts = zip((self.heads, self.numbers), *given, strict=True)
        return torch.cat([getattr(part, how)(*own, **keywords).float() for part, *own in parts], dim=-1)

    def sample(self, outputs: Tensor, avail: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self._each("sample", outputs, avail, generator=generator)

    def mode(self, outputs: Tensor, avail: Tensor) -> Tensor:
        return self._each("mode", outputs, avail)

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

    def decode(self, features: Tensor) -> Tensor:
        return self._each("decode", features)

    def summary(self, outputs: Tensor) -> Tensor:
        return self._each("summary", outputs)

    def predicted(self, outputs: Tensor) -> Tensor:
        return self._each("predicted", outputs)


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
        models = args.get("opponent_model") if isinstance(args, dict) else getattr(args, "opponent_model", None)
        raise ConfigError(no_discrete(what, kind, bool(models)))


def no_discrete(what: str, kind: ActionKind, models_opponents: bool) -> str:
    """The error that ``what`` needs Discrete actions, and what to use instead."""
    instead = "omg_ppo or liam" if models_opponents else "ippo or mappo"
    return (
        f"{what} needs Discrete actions, and this environment has {SPACES[kind.name]} actions; use --config={instead}"
    )
