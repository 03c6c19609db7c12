"""``nn.GRU`` for sequences on a CPU, in about half the time: see ``gru_kernels``.

Without numba, on a GPU, and for sequences of one step, ``nn.GRU`` itself is used.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from .compiled import is_compiled, kernels
from .linear import under_vmap

KERNELS = "gru_kernels"
Array = NDArray[np.float32]


@cache
def helpers(threads: int) -> ThreadPoolExecutor:
    """The threads that work next to the calling one."""
    return ThreadPoolExecutor(threads, "gru")


def for_groups(call: Callable[[int], None], groups: int) -> None:
    """Calls ``call`` with each group, in up to ``torch.get_num_threads()`` threads."""
    threads = min(groups, torch.get_num_threads())
    if threads == 1:
        for group in range(groups):
            call(group)
        return
    others = [helpers(threads - 1).submit(call, group) for group in range(1, groups)]
    call(0)
    for other in others:
        other.result()


class Arrays:
    """NumPy views of parameters, made again only for a parameter that has moved to other memory.

    A view keeps its memory alive, so another parameter cannot have the same address.
    """

    def __init__(self) -> None:
        self.addresses: list[int] = []
        self.views: list[Array] = []

    def of(self, parameters: Sequence[Tensor]) -> list[Array]:
        """The views of ``parameters``, in the same order at each call."""
        addresses = [parameter.data_ptr() for parameter in parameters]
        if addresses != self.addresses:
            self.addresses, self.views = addresses, [parameter.detach().numpy() for parameter in parameters]
        return self.views

    def __deepcopy__(self, memo: Any) -> "Arrays":
        return Arrays()


class _Recurrence(Function):
    """Hidden states [T, M, H] from inputs [T, M, I], the first state [M, H] and parameters, the GRU's last.

    ``w_enc`` and ``b_enc`` are those of a linear layer with a rectifier before the GRU, or both empty.
    """

    @staticmethod
    def forward(ctx: Any, learns: bool, x: Tensor, first: Tensor, *parameters: Tensor) -> Tensor:
        w_enc, b_enc, w_in, w_rec, b_in, b_rec = parameters
        (steps, rows, _), width = x.shape, first.shape[1]
        hidden = x.new_empty(steps + 1, rows, width)
        hidden[0] = first
        kept = steps * rows if learns else 0
        sizes = kept * len(b_enc), kept * 3 * width, kept * width
        encoded, gates, new = (x.new_empty(size) for size in sizes)
        shift = b_in.clone()
        shift[: 2 * width] += b_rec[: 2 * width]
        across = [w.t().contiguous() for w in (w_enc, w_in, w_rec)]
        arrays = [
            a.numpy()
            for a in (x, across[0], b_enc, *across[1:], shift, b_rec[2 * width :], hidden, encoded, gates, new)
        ]
        chunk, groups = kernels(KERNELS).chunks(rows, w_in.shape[1], width)
        run = kernels(KERNELS).forward
        for_groups(lambda group: run(*arrays, learns, chunk, group, groups), groups)
        if learns:
            ctx.save_for_backward(x, w_enc, w_in, w_rec, hidden, encoded, gates, new)
        return hidden[1:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, w_enc, w_in, w_rec, hidden = ctx.saved_tensors[:5]
        d_x = torch.empty_like(x) if ctx.needs_input_grad[1] else x.new_empty(0, 0, 0)
        d_first = torch.empty_like(hidden[0])
        chunk, groups = kernels(KERNELS).chunks(x.shape[1], w_in.shape[1], hidden.shape[2])
        shapes = w_enc.shape, w_enc.shape[:1], w_in.shape, w_rec.shape, w_in.shape[:1], w_rec.shape[:1]
        sums = [x.new_zeros(groups, *shape) for shape in shapes]
        arrays = [a.numpy() for a in (*ctx.saved_tensors, grads[0].contiguous(), d_x, d_first)]
        by_group, run = [total.numpy() for total in sums], kernels(KERNELS).backward
        for_groups(lambda group: run(*arrays, *(total[group] for total in by_group), chunk, group, groups), groups)
        return None, d_x if d_x.numel() else None, d_first, *(t[0] if groups == 1 else t.sum(dim=0) for t in sums)


class GRU(nn.GRU):
    """One layer of ``nn.GRU``, batch first, with the same parameters, the same function and the same state dict."""

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)
        self.state_size = hidden_size
        self._arrays = Arrays()
        self._no_head = torch.empty(0, 0), torch.empty(0), torch.empty(0, 0), torch.empty(0)

    def output(self, state: Tensor) -> Tensor:
        """See ``cell``: the state itself."""
        return state

    @property
    def weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All parameters."""
        return self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0

    def forward(self, input: Tensor, hx: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """A sequence [M, T, I] from hidden [1, M, H] -> hidden states [M, T, H] and the last one [1, M, H]."""
        if input.shape[1] == 1 or not is_compiled(KERNELS, input):
            return super().forward(input, hx)
        return self._along(input, hx, input.new_empty(0, 0), input.new_empty(0))

    def encoded(self, layer: nn.Linear, input: Tensor, hx: Tensor) -> tuple[Tensor, Tensor]:
        """``self(relu(layer(input)), hx)``, in one call where it is compiled."""
        if input.shape[1] == 1 or not is_compiled(KERNELS, input):
            return self(F.relu(layer(input)), hx)
        return self._along(input, hx, layer.weight, layer.bias)

    def decides(self, input: Tensor) -> bool:
        """Whether ``decision`` computes a step for such inputs: compiled, and without gradients."""
        return not torch.is_grad_enabled() and is_compiled(KERNELS, input) and not under_vmap(self.weight_ih_l0)

    def decision(self, layer: nn.Linear, head: Sequence[Tensor], input: Array, hidden: Array) -> tuple[Array, Array]:
        """One step with the layer before it and the agent's head, in one call.

        Args:
            layer: as in ``encoded``.
            head: weight [U, H] and bias, then those of a value [1, H] if there is one; nothing: no head.
            input, hidden: [M, I] and [M, H], contiguous.

        Returns:
            The head's outputs [M, U] (U = 0 without one) and the new state [M, H].
        """
        layers = [layer.weight, layer.bias, *self.weights, *head, *self._no_head[len(head) :]]
        out, after = np.empty((len(input), len(layers[6])), np.float32), np.empty_like(hidden)
        kernels(KERNELS).step(input, hidden, *self._arrays.of(layers), after, out)
        return out, after

    def _along(self, input: Tensor, hx: Tensor, w_enc: Tensor, b_enc: Tensor) -> tuple[Tensor, Tensor]:
        by_time, learns = input.transpose(0, 1).contiguous(), torch.is_grad_enabled()
        hidden = _Recurrence.apply(learns, by_time, hx[0].contiguous(), w_enc, b_enc, *self.weights)
        return hidden.transpose(0, 1), hidden[-1:]

    def step(self, input: Tensor, hidden: Tensor) -> Tensor:
        """One step: [M, I], [M, H] -> [M, H]; costs a sixth of a sequence of one step."""
        weights = self.weights
        if not under_vmap(input):  # vmap has no rule for gru_cell, and would run its networks one by one
            return torch.gru_cell(input, hidden, *weights)
        r, z, n = F.linear(input, weights[0], weights[2]).chunk(3, dim=-1)
        kept_r, kept_z, kept_n = F.linear(hidden, weights[1], weights[3]).chunk(3, dim=-1)
        new = torch.tanh(n + torch.sigmoid(r + kept_r) * kept_n)
        return torch.lerp(new, hidden, torch.sigmoid(z + kept_z))
