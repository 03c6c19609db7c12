"""The states that follow each step of a rollout, within a horizon of H steps and the same episode."""

import torch
from torch import Tensor

from ..components.masks import ended
from ..components.rollout import Rollout
from ..types import ConfigError


def states_reached(batch: Rollout) -> Tensor:
    """The state after each step, or the episode's last state if it ends there: [E, T, S]."""
    after = batch["state"][:, 1:].flatten(2).clone()
    if batch.ends is not None:
        after[batch.ends.copy, batch.ends.step] = batch.ends.state.flatten(1)
    return after


def steps_to_come(batch: Rollout, horizon: int) -> Tensor:
    """1 where the state after the k-th of the next H steps is in the rollout and of the same episode: [E, T, H]."""
    return steps_until(ended(batch)[:, :-1], horizon)


def steps_until(over: Tensor, horizon: int) -> Tensor:
    """``steps_to_come`` from ``over`` [E, T], 1 on the last step of each episode."""
    steps, valid, going_on = over.shape[1], [], torch.ones_like(over)
    for k in range(horizon):
        inside, past = torch.zeros_like(over), torch.zeros_like(over)
        if k < steps:
            inside[:, : steps - k] = 1.0
            past[:, : steps - k] = over[:, k:]
        valid.append(inside * going_on)
        going_on = going_on * (1.0 - past)
    return torch.stack(valid, dim=2)


def states_ahead(reached: Tensor, steps: Tensor) -> Tensor:
    """The states a number of steps after the next one: from [E, T, S], int64 [E, T, K] -> [E, T, K, S].

    Beyond the rollout, the last state is returned; ``steps_to_come`` is 0 there.
    """
    length, k = reached.shape[1], steps.shape[2]
    at = (torch.arange(length, device=steps.device)[:, None] + steps).clamp(max=length - 1)
    index = at.flatten(1)[..., None].expand(-1, -1, reached.shape[2])
    return reached.gather(1, index).unflatten(1, (length, k))


def sums_ahead(values: Tensor, valid: Tensor) -> Tensor:
    """Sums over the valid next steps, which follow each other: values [E, T, ...], [E, T, H] -> [E, T, ...]."""
    total = torch.cat([torch.zeros_like(values[:, :1]), values.cumsum(dim=1)], dim=1)  # before each step
    last = torch.arange(valid.shape[1], device=valid.device) + valid.sum(dim=2).long()  # [E, T]
    return total[torch.arange(len(values), device=valid.device)[:, None], last] - total[:, :-1]


def horizon_is_complete(batch: Rollout, valid: Tensor) -> Tensor:
    """1 where the rollout contains the next H states or the episode's last one: [E, T].

    ``valid`` [E, T, H] is the result of ``steps_to_come``.
    """
    over = ended(batch)[:, :-1]
    ends_later = over.flip(1).cummax(dim=1).values.flip(1)
    return torch.maximum(ends_later, valid[:, :, -1])


def random_step(valid: Tensor, n_agents: int) -> Tensor:
    """One of the valid steps ahead, drawn for each learner: from [E, T, H], int64 [E, T, N] in 0 to H - 1."""
    scores = torch.rand(*valid.shape[:2], n_agents, valid.shape[2], device=valid.device)
    return best_step(scores, valid)


def best_step(scores: Tensor, valid: Tensor) -> Tensor:
    """The valid step ahead with the highest score: from [E, T, N, H] and [E, T, H], int64 [E, T, N]."""
    return scores.masked_fill(valid[:, :, None] == 0, -torch.inf).argmax(dim=-1)


def step_shares(name: str, chosen: Tensor, horizon: int) -> dict[str, Tensor]:
    """Metrics: the mean number of steps to the chosen states, and the share of each number of steps."""
    shares = torch.bincount(chosen.flatten(), minlength=horizon) / chosen.numel()
    each = {f"{name}/{k + 1}": share for k, share in enumerate(shares)}
    return {name: chosen.float().mean() + 1.0, **each}


def check_horizon(name: str, horizon: int, steps: int) -> None:
    """Raises ConfigError if the horizon (key ``name``) is longer than the ``steps`` of one update."""
    if steps < horizon:
        raise ConfigError(
            f"{name}: {horizon} steps are more than the {steps} consecutive steps of a model update; raise "
            "rollout_steps or model_window, or lower it"
        )
