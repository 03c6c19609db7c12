"""``nn.GRU`` for sequences on a CPU, in about half the time: see ``gru_kernels``.

Without numba, on a GPU, and for sequences of one step, ``nn.GRU`` itself is used.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from .compiled import for_groups, is_compiled, kernels
from .linear import linear, under_vmap

KERNELS = "gru_kernels"
Array = NDArray[np.float32]
Pair = tuple[Tensor, Tensor]


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
    """Hidden states [T, M, H] and outputs of a head [T, M, U], from inputs [T, M, I] and the first state [M, H].

    The parameters are those of a linear layer with a rectifier before the GRU, the GRU's, and those of a linear layer
    that reads the hidden states. Those of the layers are empty where there is none.
    """

    @staticmethod
    def forward(ctx: Any, learns: bool, x: Tensor, first: Tensor, *parameters: Tensor) -> tuple[Tensor, Tensor]:
        w_enc, b_enc, w_in, w_rec, b_in, b_rec, w_out, b_out = parameters
        (steps, rows, _), width = x.shape, first.shape[1]
        hidden, out = x.new_empty(steps + 1, rows, width), x.new_empty(steps, rows, len(b_out))
        hidden[0] = first
        kept = steps * rows if learns else 0
        encoded, gates, new = (x.new_empty(kept * size) for size in (len(b_enc), 3 * width, width))
        shift = b_in.clone()
        shift[: 2 * width] += b_rec[: 2 * width]
        packed = kernels(KERNELS).pack_forward(*(w.detach().numpy() for w in (w_enc, w_in, w_rec, w_out)))
        given = x, *map(torch.from_numpy, packed), b_enc, shift, b_rec[2 * width :], b_out
        arrays = [a.numpy() for a in (*given, hidden, out, encoded, gates, new)]
        groups, run = kernels(KERNELS).groups_of(rows), kernels(KERNELS).forward
        for_groups(lambda group: run(*arrays, learns, group, groups), groups)
        if learns:
            ctx.save_for_backward(x, w_enc, w_in, w_rec, w_out, hidden, encoded, gates, new)
            ctx.set_materialize_grads(False)
        return hidden[1:], out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        x, w_enc, w_in, w_rec, w_out, hidden = ctx.saved_tensors[:6]
        none = x.new_empty(0, 0, 0)
        d_x = torch.empty_like(x) if ctx.needs_input_grad[1] else none
        d_first = torch.empty_like(hidden[0])
        groups = kernels(KERNELS).groups_of(x.shape[1])
        sums = [x.new_zeros(groups, *shape) for w in (w_enc, w_in, w_rec, w_out) for shape in (w.shape, w.shape[:1])]
        given = (none if grad is None else grad.contiguous() for grad in grads)
        packed = kernels(KERNELS).pack_backward(*(w.numpy() for w in (w_enc, w_in, w_rec, w_out)))
        others = (a.numpy() for a in (hidden, *ctx.saved_tensors[6:], *given, d_x, d_first))
        arrays, by_group, run = (x.numpy(), *packed, *others), [s.numpy() for s in sums], kernels(KERNELS).backward
        for_groups(lambda group: run(*arrays, *(total[group] for total in by_group), group, groups), groups)
        e_w, e_b, in_w, in_b, rec_w, rec_b, out_w, out_b = (t[0] if groups == 1 else t.sum(dim=0) for t in sums)
        return None, d_x if d_x.numel() else None, d_first, e_w, e_b, in_w, rec_w, in_b, rec_b, out_w, out_b


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
        self._no_layer = torch.empty(0, 0), torch.empty(0)

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
        return self._along(input, hx, self._no_layer, self._no_layer)[1:]

    def encoded(self, layer: nn.Linear, input: Tensor, hx: Tensor, head: Pair | None = None) -> tuple[Tensor, Tensor]:
        """``self(relu(layer(input)), hx)``, in one call where it is compiled.

        With the weight [U, H] and bias of a linear layer ``head``, its outputs [M, T, U] replace the hidden states.
        """
        if input.shape[1] == 1 or not is_compiled(KERNELS, input):
            states, last = self(F.relu(layer(input)), hx)
            return states if head is None else linear(states, *head), last
        out, states, last = self._along(input, hx, (layer.weight, layer.bias), head or self._no_layer)
        return states if head is None else out, last

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
        layers = [layer.weight, layer.bias, *self.weights, *head, *(2 * self._no_layer)[len(head) :]]
        out, after = np.empty((len(input), len(layers[6])), np.float32), np.empty_like(hidden)
        kernels("step_kernels").step(input, hidden, *self._arrays.of(layers), after, out)
        return out, after

    def _along(self, input: Tensor, hx: Tensor, layer: Pair, head: Pair) -> tuple[Tensor, Tensor, Tensor]:
        """Outputs of the head [M, T, U], hidden states [M, T, H] and the last one [1, M, H]."""
        by_time, learns = input.transpose(0, 1).contiguous(), torch.is_grad_enabled()
        hidden, out = _Recurrence.apply(learns, by_time, hx[0].contiguous(), *layer, *self.weights, *head)
        return out.transpose(0, 1), hidden.transpose(0, 1), hidden[-1:]

    def step(self, input: Tensor, hidden: Tensor) -> Tensor:
        """One step: [M, I], [M, H] -> [M, H]; costs a sixth of a sequence of one step."""
        weights = self.weights
        if not under_vmap(input):  # vmap has no rule for gru_cell, and would run its networks one by one
            return torch.gru_cell(input, hidden, *weights)
        r, z, n = F.linear(input, weights[0], weights[2]).chunk(3, dim=-1)
        kept_r, kept_z, kept_n = F.linear(hidden, weights[1], weights[3]).chunk(3, dim=-1)
        new = torch.tanh(n + torch.sigmoid(r + kept_r) * kept_n)
        return torch.lerp(new, hidden, torch.sigmoid(z + kept_z))
