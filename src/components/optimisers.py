"""Creates optimisers by name, and performs the optimiser step of every learner, unless it is not finite."""

import logging
from collections.abc import Iterable, Mapping
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from ..types import TrainingError
from ..utils.stateful import Stateful
from .schedules import linear

log = logging.getLogger(__name__)

IN_A_ROW = 3  # skipped updates that end a training
READ_EVERY = 32  # updates on a GPU after which the host learns which of them were skipped


class DivergenceError(TrainingError):
    """Losses or gradients that are not finite, several updates in a row."""


class SkippedUpdates(Stateful):
    """Counts the updates of a network that were skipped because their loss or gradient was not finite.

    Args:
        network: its name in messages.
        key: the key of its learning rate.
    """

    changing = ("count", "in_a_row")

    def __init__(self, network: str, key: str) -> None:
        self.network, self.key = network, key
        self.count = self.in_a_row = 0
        self.pending: list[Tensor] = []  # updates whose flag was not read yet

    def record(self, is_finite: Tensor, lr: float) -> None:
        """Adds an update with the learning rate ``lr``; ``is_finite`` is a scalar.

        Raises:
            DivergenceError: ``IN_A_ROW`` updates in a row were skipped. On a GPU it can be ``READ_EVERY`` updates
                late, because reading every flag would stop the GPU at every update.
        """
        self.pending.append(is_finite)
        if is_finite.device.type != "cpu" and len(self.pending) < READ_EVERY:
            return
        flags, self.pending = self.pending, []
        for flag in flags if len(flags) == 1 else torch.stack(flags).tolist():
            self.count += not flag
            self.in_a_row = 0 if flag else self.in_a_row + 1
            if self.in_a_row == IN_A_ROW:
                raise DivergenceError(
                    f"{self.network} is not finite: {IN_A_ROW} updates in a row had a loss or a gradient of NaN or "
                    f"infinity; lower {self.key} ({lr:g} now) or grad_norm_clip"
                )


def _without_wrapper(method: Any) -> Any:
    """A method of torch's optimisers without the wrapper that imports torch's compiler."""
    plain = getattr(method, "__wrapped__", method)

    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():  # as the wrapper of ``step`` does
            return plain(self, *args, **kwargs)

    return call


def _light(kind: Any) -> Any:
    """A class of torch's optimisers for code that torch does not compile: its compiler takes a second to import."""
    names = ("add_param_group", "zero_grad", "step", "state_dict", "load_state_dict")
    return type(kind.__name__, (kind,), {name: _without_wrapper(getattr(kind, name)) for name in names})


Adam, RMSprop = _light(torch.optim.Adam), _light(torch.optim.RMSprop)


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
        return Adam(parameters, lr=lr, betas=betas, eps=eps, fused=True)
    return RMSprop(parameters, lr=lr, alpha=alpha, eps=eps)


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
    optimiser: Any,
    loss: Tensor,
    parameters: list[Any],
    max_norm: float,
    skipped: SkippedUpdates,
    skip_above: float = 0.0,
) -> Tensor:
    """Computes gradients, clips their norm to ``max_norm`` and updates the parameters.

    An update is skipped, with its effect on the optimiser's moments, if the loss or the gradient norm is not finite,
    or if the norm is above ``skip_above`` (0: no limit; source: VDVAE, Child 2021, section 3, 200 there). Returns the
    gradient norm before clipping, a detached scalar tensor.

    Raises:
        DivergenceError: see ``SkippedUpdates``.
    """
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    grad_norm = clip_grad_norm_(parameters, max_norm).detach()
    is_finite = torch.isfinite(grad_norm + loss.detach())
    applies = is_finite & (grad_norm <= skip_above) if skip_above else is_finite
    if loss.is_cuda and optimiser.defaults.get("fused"):  # reads the flag on the GPU, as in mixed precision
        optimiser.found_inf = (~applies).float()
        optimiser.step()
    elif applies:
        optimiser.step()
    skipped.record(is_finite, optimiser.param_groups[0]["lr"])
    return grad_norm
