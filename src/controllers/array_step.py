"""One step of all agents with arrays instead of tensors, and their inputs along episodes, by compiled functions."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..modules.compiled import kernels
from ..modules.gru import Array, Given


def array_step(
    agents: Iterable[Any],
    members: Iterable[NDArray[np.int64]],
    obs: Array,
    last_actions: Array,
    identities: int,
    hidden: Array,
    n_outputs: int,
) -> tuple[Array, Array]:
    """Outputs [E, N, U] and new states [E, N, H] of all agents.

    Args:
        agents: the networks, with ``decision(given, after, out)``.
        members: the indices of the agents that each network computes.
        obs, last_actions, identities, hidden: see ``step_kernels.step``.
        n_outputs: U.
    """
    # compiled functions are compiled again for arrays that are not contiguous
    obs, last_actions, hidden = (np.ascontiguousarray(each) for each in (obs, last_actions, hidden))
    out, after = np.empty((*obs.shape[:2], n_outputs), np.float32), np.empty_like(hidden)
    for own, agent in zip(members, agents, strict=True):
        agent.decision(Given(obs, last_actions, identities, own, hidden), after, out)
    return out, after


def inputs_along(batch: Any, members: NDArray[np.int64], n_actions: int, identities: int) -> Tensor:
    """The inputs [T+1, B * members, I] of some agents along the episodes of a batch; n_actions is 0 for none.

    Other arguments: see ``step_kernels.step``.
    """
    obs, actions, filled = (batch[name].contiguous().numpy() for name in ("obs", "actions", "filled"))
    episodes, steps = obs.shape[:2]
    x = torch.zeros(steps, episodes * len(members), obs.shape[3] + n_actions + identities)
    kernels("step_kernels").inputs_along(obs, actions, filled, n_actions, identities, members, x.numpy())
    return x
