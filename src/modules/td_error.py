"""One-step TD errors of action values: by compiled functions for float32 on a CPU, else by torch.

Shapes: as in ``value_kernels``.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from .compiled import is_compiled, kernels
from .losses import masked_mean

KERNELS = "value_kernels"


class TDError(NamedTuple):
    """Means over the transitions in the mask, scalars: the loss, which has a gradient, and values for logs."""

    loss: Tensor  # the squared error
    size: Tensor  # the absolute error
    values: Tensor
    targets: Tensor


def td_targets(reward: Tensor, next_value: Tensor, terminated: Tensor, next_alive: Tensor, gamma: float) -> Tensor:
    """One-step targets ``r + gamma * (1 - terminated) * alive' * max_a Q'``, all [B, T, K].

    The next value is 0 after a termination or an agent's death. A truncated episode bootstraps from its final
    observation.
    """
    return reward + gamma * (1.0 - terminated) * next_alive * next_value


class _TakenAndNext(Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, target_q: Tensor, actions: Tensor, avail: Tensor, double_q: bool
    ) -> tuple[Tensor, Tensor]:
        shape = q.shape[0], q.shape[1] - 1, q.shape[2]
        taken, next_values = q.new_empty(shape), q.new_empty(shape)
        arrays = (each.numpy() for each in (q, target_q, actions, avail))
        kernels(KERNELS).taken_and_next(*arrays, double_q, taken.numpy(), next_values.numpy())
        ctx.save_for_backward(q, actions)
        ctx.mark_non_differentiable(next_values)
        return taken, next_values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, actions = ctx.saved_tensors
        d_q = torch.zeros_like(q)  # also in the same memory layout
        kernels(KERNELS).scatter(grads[0].contiguous().numpy(), actions.numpy(), d_q.numpy())
        return d_q, None, None, None, None


def taken_and_next(
    q: Tensor, target_q: Tensor, actions: Tensor, avail: Tensor, double_q: bool
) -> tuple[Tensor, Tensor]:
    """The values of the actions, and the target network's values of the best available next actions.

    Args:
        q, target_q: [B, T+1, N, U]; only ``q`` has a gradient.
        actions, avail: [B, T+1, N, 1] and [B, T+1, N, U].
        double_q: ``q`` chooses the next actions, and not ``target_q``.

    Returns:
        [B, T, N] each.
    """
    if is_compiled(KERNELS, q):
        return _TakenAndNext.apply(q, target_q, actions, avail, double_q)
    taken = q[:, :-1].gather(3, actions[:, :-1]).squeeze(3)
    chooser = (q if double_q else target_q)[:, 1:].detach()
    best = chooser.masked_fill(avail[:, 1:] == 0, -torch.inf).argmax(dim=3, keepdim=True)
    return taken, target_q[:, 1:].gather(3, best).squeeze(3)


class _TDErrors(Function):
    @staticmethod
    def forward(ctx: Any, gamma: float, *given: Tensor) -> tuple[Tensor, Tensor]:
        d_values, means = torch.empty(given[0].shape), torch.empty(4)
        arrays = (each.numpy() for each in given)
        kernels(KERNELS).td_errors(*arrays, np.float32(gamma), d_values.numpy(), means.numpy())
        ctx.save_for_backward(d_values)
        loss, others = means[0].clone(), means[1:]
        ctx.mark_non_differentiable(others)
        return loss, others

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (d_values,) = ctx.saved_tensors
        return None, d_values * grads[0], None, None, None, None, None


def td_error(
    values: Tensor,
    next_values: Tensor,
    reward: Tensor,
    terminated: Tensor,
    next_alive: Tensor,
    mask: Tensor,
    gamma: float,
) -> TDError:
    """The mean squared error to ``td_targets``.

    Args:
        values: [B, T, K], the only argument with a gradient.
        next_values, next_alive, mask: [B, T, K].
        reward, terminated: [B, T, K or 1] and [B, T, 1].
        gamma: the discount.
    """
    if is_compiled(KERNELS, values):
        loss, others = _TDErrors.apply(gamma, values, next_values, reward, terminated, next_alive, mask)
        return TDError(loss, *others.unbind())
    target = td_targets(reward, next_values, terminated.float(), next_alive, gamma)
    error, seen = values - target, values.detach()
    means = (masked_mean(each, mask) for each in (error.square(), error.detach().abs(), seen, target))
    return TDError(*means)
