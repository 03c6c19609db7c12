"""A hidden layer ``relu(norm(linear(x)))``, also with a linear layer behind it, in one compiled call on a CPU.

torch passes over all rows once for each operation, and each operation costs 5 to 20 us beside its arithmetic.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from .compiled import Array, for_groups, is_compiled, kernels
from .linear import Linear, linear, under_vmap

KERNELS = "hidden_kernels"
Pair = tuple[Tensor, Tensor]
NO_LAYER, NO_SCALE = (torch.empty(0, 0), torch.empty(0)), (torch.empty(0), torch.empty(0))
MIN_ROWS = 256  # with fewer rows torch is faster, except for several operations without gradient
NONE, NOTHING = np.empty((0, 0), np.float32), np.empty(0, np.float32)


def hidden_layer(x: Tensor, layer: Linear, norm: nn.Module | None = None, head: Pair | None = None) -> Tensor:
    """``relu(norm(layer(x)))``: [..., I] -> [..., H], or what a linear layer computes from it: [..., U].

    Args:
        x: the inputs.
        layer: I inputs, H units.
        norm: an ``nn.LayerNorm`` with scale and shift; None or ``nn.Identity``: no normalisation.
        head: weight [U, H] and bias [U] of a linear layer that reads the hidden one; None: there is none.
    """
    pair, is_plain = layer.pair, head is None and not isinstance(norm, nn.LayerNorm)
    few = x.numel() < MIN_ROWS * x.shape[-1] and (is_plain or torch.is_grad_enabled())
    if few or not x.numel() or not is_compiled(KERNELS, x) or under_vmap(x) or under_vmap(pair[0]):
        hidden = layer(x) if norm is None else norm(layer(x))
        return F.relu(hidden) if head is None else linear(F.relu(hidden), *head)
    if x.dim() == 3 and not x.is_contiguous() and x.transpose(0, 1).is_contiguous():
        return hidden_layer(x.transpose(0, 1), layer, norm, head).transpose(0, 1)  # keeps the memory layout: no copy
    scale, eps = ((norm.weight, norm.bias), norm.eps) if isinstance(norm, nn.LayerNorm) else (NO_SCALE, 0.0)
    parameters = *pair, *scale, *(head or NO_LAYER)
    rows = x.reshape(-1, x.shape[-1]).contiguous()
    given = [rows.detach().numpy(), *layer.arrays.of(parameters)]
    if torch.is_grad_enabled():
        out = _Hidden.apply(given, np.float32(eps), rows, *parameters)
    else:
        units, outputs = given[2].size, given[-1].size  # ``len`` of a tensor takes ten times as long
        out = rows.new_empty(given[0].shape[0], outputs or units)
        _run(
            given,
            np.float32(eps),
            [NONE if outputs else out.numpy(), NONE, NOTHING, out.numpy() if outputs else NONE],
        )
    return out.view(*x.shape[:-1], -1)


def _run(given: list[Array], eps: np.float32, outputs: list[Array]) -> None:
    """Computes the outputs of ``hidden_kernels.forward``, group by group."""
    ours, groups = kernels(KERNELS), kernels(KERNELS).groups_of(len(given[0]))
    for_groups(lambda group: ours.forward(*given, eps, *outputs, group, groups), groups)


class _Hidden(Function):
    """``hidden_layer`` of rows [M, I] with gradients. ``given``: these rows and the parameters in arrays."""

    @staticmethod
    def forward(ctx: Any, given: list[Array], eps: np.float32, *tensors: Tensor) -> Tensor:
        x, _, bias, scale, _, _, b_out = tensors
        rows, h, normalised = len(x), len(bias), len(x) if len(scale) else 0
        hidden, unit, inverse = x.new_empty(rows, h), x.new_empty(normalised, h), x.new_empty(normalised)
        out = x.new_empty(rows, len(b_out)) if len(b_out) else hidden
        outputs = [each.numpy() for each in (hidden, unit, inverse, out)]
        _run(given, eps, outputs)
        ctx.save_for_backward(x, *tensors[1:], hidden)  # so that torch reports if one has changed
        ctx.arrays = given, outputs
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,), (x, *parameters, _) = grads, ctx.saved_tensors
        (rows, weight, _, scale, _, w_out, _), (hidden, unit, inverse, _) = ctx.arrays
        ours, groups = kernels(KERNELS), kernels(KERNELS).groups_of(len(rows))
        d_x = torch.empty_like(x) if ctx.needs_input_grad[2] else None
        sizes = [each.numel() for each in parameters]
        sums = np.zeros((groups, sum(sizes)), np.float32)
        others = grad.contiguous().numpy(), NONE if d_x is None else d_x.numpy()
        given = rows, weight, scale, w_out, hidden, unit, inverse, *others
        for_groups(lambda group: ours.backward(*given, sums[group], group, groups), groups)
        total = torch.from_numpy(sums[0] if groups == 1 else sums.sum(axis=0)).split(sizes)
        shaped = zip(total, parameters, strict=True)
        results = (part.view(each.shape) if each.dim() > 1 else part for part, each in shaped)
        return None, None, d_x, *results
