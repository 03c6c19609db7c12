"""QMIX: a monotonic mixing network whose weights are computed from the state (Rashid et al. 2018)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from ...config.keys import EncoderKeys
from ...config.schema import key, read
from ..compiled import for_groups, is_compiled, kernels
from ..encoder import encoder_for
from ..linear import Linear

KERNELS = "mixers.qmix_kernels"


@dataclass(frozen=True)
class QMixConfig(EncoderKeys):
    """Keys of ``mixer: qmix``."""

    mixing_embed_dim: int = key(32, low=1, help="width of the mixing network's hidden layer")
    hypernet_embed: int = key(64, low=1, help="width of the hypernetworks that compute its weights")


class _Mixing(Function):
    """The team's values [R, 1] from the agents' [R, N], states [R, S] and the mixer's parameters in their order."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, state: Tensor, *parameters: Tensor) -> Tensor:
        rows, hyper, units = len(values), len(parameters[0]), len(parameters[8])
        total = values.new_empty(rows, 1)
        sizes = hyper, values.shape[1] * units, hyper, units, units, units
        kept = [values.new_empty(rows, size) for size in sizes]
        arrays = [each.numpy() for each in (values, state, *parameters, total, *kept)]
        groups, run = kernels(KERNELS).groups_of(rows), kernels(KERNELS).forward
        for_groups(lambda group: run(*arrays, group, groups), groups)
        ctx.save_for_backward(values, state, *(parameters[i] for i in (2, 6, 12)), *kept)
        ctx.shapes = [parameter.shape for parameter in parameters]
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        values = ctx.saved_tensors[0]
        groups, run = kernels(KERNELS).groups_of(len(values)), kernels(KERNELS).backward
        d_values, sums = torch.empty_like(values), [values.new_zeros(groups, *shape) for shape in ctx.shapes]
        arrays = [each.numpy() for each in (grads[0].contiguous(), *ctx.saved_tensors, d_values)]
        by_group = [each.numpy() for each in sums]
        for_groups(lambda group: run(*arrays, *(total[group] for total in by_group), group, groups), groups)
        return d_values, None, *(total[0] if groups == 1 else total.sum(dim=0) for total in sums)


class QMixer(nn.Module):
    """Two layers with non-negative weights over the agents' values: ``w2' elu(W1' values + b1) + b2``.

    W1 and w2 are the absolute outputs of hypernetworks that read the state. b1 is linear in the state, and b2 is
    the output of a small network of the state. So d team / d agent >= 0, and the greedy actions of the agents
    are the greedy joint action.

    Args:
        state_shape: S.
        args: namespace or mapping with ``n_agents`` and the keys of ``QMixConfig``.
    """

    Config = QMixConfig

    def __init__(self, state_shape: int, args: Any) -> None:
        super().__init__()
        config = read(QMixConfig, args)
        self.n_agents = args["n_agents"] if isinstance(args, dict) else args.n_agents
        self.embed = embed = config.mixing_embed_dim
        self.encoder, size = encoder_for(args, "state", state_shape)

        def hypernet(outputs: int, width: int) -> nn.Sequential:
            return nn.Sequential(Linear(size, width), nn.ReLU(), Linear(width, outputs))

        self.weight1 = hypernet(self.n_agents * embed, config.hypernet_embed)
        self.weight2 = hypernet(embed, config.hypernet_embed)
        self.bias1 = Linear(size, embed)
        self.bias2 = hypernet(1, embed)

    def forward(self, values: Tensor, state: Tensor) -> Tensor:
        """Values [..., N] and states [..., S] -> the team's value [..., 1]."""
        lead, state = values.shape[:-1], self.encoder(state)
        if is_compiled(KERNELS, values) and not state.requires_grad:
            rows = values.reshape(-1, self.n_agents), state.reshape(-1, state.shape[-1])
            return _Mixing.apply(*rows, *self._layers()).view(*lead, 1)
        w1 = self.weight1(state).abs().view(*lead, self.n_agents, self.embed)
        hidden = F.elu((values.unsqueeze(-2) @ w1).squeeze(-2) + self.bias1(state))
        w2 = self.weight2(state).abs()
        return (hidden * w2).sum(dim=-1, keepdim=True) + self.bias2(state)

    def _layers(self) -> Iterator[Tensor]:
        """Weights and biases in the order of ``qmix_kernels.forward``."""
        for part in (self.weight1, self.weight2, self.bias1, self.bias2):
            yield from part.parameters()
