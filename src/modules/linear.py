"""``nn.Linear`` with oneDNN's matrix product, which is faster than torch's default on some CPUs.

For float32 on a CPU torch calls MKL, which reaches half of oneDNN's speed on processors that are not Intel's.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional as F

from .compiled import Arrays

MIN_ROWS, MIN_WIDTH, MIN_WORK = 256, 16, 1 << 20  # below these, calling oneDNN costs more than it saves

# The operator that torch.compile calls on CPUs. It is private: if it is missing, only the speed may change.
_product: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x @ weight.T + bias`` for matrices, without gradient."""
    if _product is None or x.device.type != "cpu" or x.dtype != torch.float32:
        return F.linear(x, weight, bias)
    return _product(x, weight, bias, "none", [], "")


def outer(a: Tensor, b: Tensor) -> Tensor:
    """``a.T @ b`` for [M, A] and [M, B], without gradient; computed with the wider matrix second, which is faster."""
    return product(a.t(), b.t()) if b.shape[1] >= a.shape[1] else product(b.t(), a.t()).t()


def under_vmap(x: Tensor) -> bool:
    """Whether ``x`` is inside ``torch.vmap``, which does not support custom autograd functions."""
    return torch._C._functorch.is_batchedtensor(x)


class _Linear(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        grad_x = product(grad, weight.t()) if ctx.needs_input_grad[0] else None
        return grad_x, outer(grad, x), grad.sum(dim=0)


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``F.linear``: x [..., I], weight [O, I], bias [O] -> [..., O]."""
    if x.dim() == 3 and not x.is_contiguous() and x.transpose(0, 1).is_contiguous():
        return linear(x.transpose(0, 1), weight, bias).transpose(0, 1)  # keeps the memory layout: no copy
    rows = x.numel() // x.shape[-1]
    small = rows < MIN_ROWS or min(weight.shape) < MIN_WIDTH or rows * weight.numel() < MIN_WORK
    if _product is None or small or x.device.type != "cpu" or x.dtype != torch.float32 or under_vmap(x):
        return F.linear(x, weight, bias)
    return _Linear.apply(x.reshape(rows, -1), weight, bias).view(*x.shape[:-1], -1)


class Linear(nn.Linear):
    """``nn.Linear`` with a bias, with the same parameters, the same function and the same state dict."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.arrays = Arrays()  # of the functions that compute this layer with those around it

    @property
    def pair(self) -> tuple[Tensor, Tensor]:
        """The weight [O, I] and the bias [O]."""
        own: Any = self._parameters  # a fifth of the time of attributes
        return own["weight"], own["bias"]

    def forward(self, input: Tensor) -> Tensor:
        """[..., I] -> [..., O]."""
        return linear(input, self.weight, self.bias)


def pair_of_heads(advantages: Linear, value: Linear | None) -> tuple[Tensor, Tensor]:
    """Weight [U, I] and bias [U] of the linear layer ``value + advantage - mean(advantage)`` (Wang et al. 2016).

    Without ``value``, those of ``advantages``.
    """
    weight, bias = advantages.pair
    if value is None:
        return weight, bias
    weight_value, bias_value = value.pair
    return weight - weight.mean(dim=0) + weight_value, bias - bias.mean() + bias_value
