"""Creates optimisers by name, and performs the optimiser step of every learner."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from .schedules import linear

log = logging.getLogger(__name__)


def make_optimiser(
    name: str,
    parameters: Iterable[Tensor],
    lr: float,
    *,
    betas: tuple[float, float] = (0.9, 0.999),
    alpha: float = 0.99,
    eps: float = 1e-5,
) -> torch.optim.Optimizer:
    """Creates ``adam``, which reads ``betas``, or ``rmsprop``, which reads its smoothing constant ``alpha``.

    Both read ``eps``.
    """
    if name == "adam":
        return torch.optim.Adam(parameters, lr=lr, betas=betas, eps=eps, fused=True)
    return torch.optim.RMSprop(parameters, lr=lr, alpha=alpha, eps=eps)


def load_optimiser(optimiser: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Loads the moments from ``state`` and keeps the current hyperparameters, since a resumed run may change the lr.

    Moments of a different kind of optimiser are not loaded, and a warning says so.
    """
    if ("betas" in state["param_groups"][0]) != ("betas" in optimiser.param_groups[0]):
        log.warning("%s starts without moments: the checkpoint's optimiser is another one", type(optimiser).__name__)
        return
    own = [{name: value for name, value in group.items() if name != "params"} for group in optimiser.param_groups]
    optimiser.load_state_dict(dict(state))
    for group, hyperparameters in zip(optimiser.param_groups, own, strict=True):
        group.update(hyperparameters)


def anneal(optimiser: torch.optim.Optimizer, lr: float, t_max: int, t_env: int) -> None:
    """Sets the learning rate that decays linearly from ``lr`` to 0 at environment step ``t_max``."""
    for group in optimiser.param_groups:
        group["lr"] = linear(lr, 0.0, t_max, t_env)


def optimiser_step(
    optimiser: torch.optim.Optimizer, loss: Tensor, parameters: list[Any], max_norm: float, skip_above: float = 0.0
) -> Tensor:
    """Computes gradients, clips their norm to ``max_norm`` and updates the parameters.

    An update is skipped if the gradient norm is above ``skip_above`` or not finite; 0 skips none. Source: VDVAE,
    Child 2021, section 3 (200 there). Returns the gradient norm before clipping, a detached scalar tensor.
    """
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    grad_norm = clip_grad_norm_(parameters, max_norm)
    if not skip_above or bool(grad_norm <= skip_above):
        optimiser.step()
    return grad_norm.detach()
