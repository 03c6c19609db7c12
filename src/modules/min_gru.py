"""minGRU: a recurrent layer whose gate and candidate depend on the input only (Feng et al. 2024, arXiv:2410.01201).

``h_t = (1 - z_t) h_{t-1} + z_t c_t``, with ``z_t`` and ``c_t`` computed from ``x_t``. A step needs one matrix product
instead of the GRU's two. For a sequence, all steps share one product, and the loop over time only interpolates.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .linear import Linear


class _Recurrence(Function):
    """Hidden states [T, M, H] from candidates and gates [T, M, H] and the first state [M, H]."""

    @staticmethod
    def forward(ctx: Any, new: Tensor, gate: Tensor, first: Tensor) -> Tensor:
        hidden = new.new_empty(len(new) + 1, *first.shape)
        hidden[0] = first
        for t in range(len(new)):
            torch.lerp(hidden[t], new[t], gate[t], out=hidden[t + 1])
        ctx.save_for_backward(hidden, new, gate)
        return hidden[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, new, gate = ctx.saved_tensors
        grad, kept = grads[0].clone(), 1.0 - gate
        for t in reversed(range(1, len(new))):
            grad[t - 1].addcmul_(grad[t], kept[t])
        return grad * gate, grad * (new - hidden[:-1]), grad[0] * kept[0]


class MinGRU(nn.Module):
    """A drop-in replacement for ``GRU``: the same arguments and methods."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.fc = Linear(input_size, 2 * hidden_size)
        self.state_size = hidden_size

    def output(self, state: Tensor) -> Tensor:
        """See ``cell``: the state itself."""
        return state

    def forward(self, input: Tensor, hx: Tensor) -> tuple[Tensor, Tensor]:
        """A sequence [M, T, I] from hidden [1, M, H] -> hidden states [M, T, H] and the last one [1, M, H]."""
        gate, new = self.fc(input).transpose(0, 1).chunk(2, dim=-1)
        hidden = _Recurrence.apply(new, torch.sigmoid(gate), hx[0])
        return hidden.transpose(0, 1), hidden[-1:]

    def step(self, input: Tensor, hidden: Tensor) -> Tensor:
        """One step: [M, I], [M, H] -> [M, H]."""
        gate, new = self.fc(input).chunk(2, dim=-1)
        return torch.lerp(hidden, new, torch.sigmoid(gate.contiguous()))  # contiguous: twice as fast
