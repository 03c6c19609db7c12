"""``nn.GRU`` for sequences on a CPU, in about half the time.

The loop over time contains only one small matrix product and one compiled pass over the gates. Everything else,
including the gradients of the weights, is one large matrix product over all steps (``linear``). Without numba, on a
GPU, and for sequences of one step, ``nn.GRU`` itself is used.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from .linear import linear, outer, under_vmap


@cache
def kernels() -> Any:
    """The module of compiled gates, or None if numba is not installed."""
    try:
        from . import gru_gates
    except ImportError:
        return None
    return gru_gates


class _Recurrence(Function):
    """Hidden states [T, M, H] from the inputs' contribution to the gates [T, M, 3H] and the first state [M, H].

    Gates are in torch's order: reset, update, new (Cho et al. 2014, with the second bias where torch puts it). The
    gates overwrite the memory of ``inputs``. Without gradients, every step overwrites the gates of the step before.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, first: Tensor, weight: Tensor, bias: Tensor, learns: bool) -> Tensor:
        steps, rows, width = inputs.shape
        hidden = inputs.new_empty(steps + 1, rows, width // 3)
        new = inputs.new_empty(steps if learns else 1, rows, width // 3)
        products, across = inputs.new_empty(rows, width), weight.t().contiguous()
        hidden[0] = first
        given, states, ungated = inputs.detach().numpy(), hidden.numpy(), new.numpy()
        outputs, shift, forward = products.numpy(), bias.detach().numpy(), kernels().forward
        for t, before in enumerate(hidden[:-1].unbind()):
            torch.mm(before, across, out=products)
            kept = t if learns else 0
            forward(given[t], outputs, shift, given[kept], ungated[kept], states[t], states[t + 1])
        if learns:
            ctx.save_for_backward(hidden, inputs.detach(), new, weight)
        return hidden[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, gates, new, weight = ctx.saved_tensors
        grad = grads[0].contiguous()
        steps, rows, width = gates.shape
        d_inputs, d_products = torch.empty_like(gates), torch.empty_like(gates)
        d_hidden, kept = torch.zeros_like(hidden[0]), torch.empty_like(hidden[0])
        by_step = zip(*(x.numpy() for x in (grad, hidden[:-1], gates, new)), strict=True)
        last, rest, backward = d_hidden.numpy(), kept.numpy(), kernels().backward
        to_inputs, to_products = d_inputs.numpy(), d_products.numpy()
        for t, arrays in reversed(list(enumerate(by_step))):
            backward(*arrays, last, to_inputs[t], to_products[t], rest)
            torch.addmm(kept, d_products[t], weight, out=d_hidden)
        flat = d_products.view(steps * rows, width)
        d_weight = outer(flat, hidden[:-1].reshape(steps * rows, -1))
        return d_inputs, d_hidden, d_weight, flat.sum(dim=0), None


class GRU(nn.GRU):
    """One layer of ``nn.GRU``, batch first, with the same parameters, the same function and the same state dict."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)
        self.state_size = hidden_size

    def output(self, state: Tensor) -> Tensor:
        """See ``cell``: the state itself."""
        return state

    def forward(self, input: Tensor, hx: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """A sequence [M, T, I] from hidden [1, M, H] -> hidden states [M, T, H] and the last one [1, M, H]."""
        if input.device.type != "cpu" or input.dtype != torch.float32 or input.shape[1] == 1 or kernels() is None:
            return super().forward(input, hx)
        by_time = linear(input.transpose(0, 1).contiguous(), self.weight_ih_l0, self.bias_ih_l0)
        learns = torch.is_grad_enabled()
        hidden = _Recurrence.apply(by_time, hx[0].contiguous(), self.weight_hh_l0, self.bias_hh_l0, learns)
        return hidden.transpose(0, 1), hidden[-1:]

    def step(self, input: Tensor, hidden: Tensor) -> Tensor:
        """One step: [M, I], [M, H] -> [M, H]; costs a sixth of a sequence of one step."""
        weights = self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0
        if not under_vmap(input):  # vmap has no rule for gru_cell, and would run its networks one by one
            return torch.gru_cell(input, hidden, *weights)
        r, z, n = F.linear(input, weights[0], weights[2]).chunk(3, dim=-1)
        kept_r, kept_z, kept_n = F.linear(hidden, weights[1], weights[3]).chunk(3, dim=-1)
        new = torch.tanh(n + torch.sigmoid(r + kept_r) * kept_n)
        return torch.lerp(new, hidden, torch.sigmoid(z + kept_z))
