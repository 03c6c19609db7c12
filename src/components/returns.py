"""What a step is worth, from rewards and estimates along rollouts."""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_returns(reward: Tensor, next_value: Tensor, ended: Tensor, gamma: float, lambda_: float) -> Tensor:
    """``G_t = r_t + gamma * ((1 - lambda) V_{t+1} + lambda G_{t+1})``, cut where an episode or the rollout ends.

    There ``G_t = r_t + gamma * V_{t+1}``. Source: Peng and Williams 1996 as PQN uses it, Gallici et al. 2025,
    section 4.

    Args:
        reward: [E, T, K].
        next_value: [E, T, K]; the value of what each step led to: 0 after a termination, of the last observation
            at a truncation.
        ended: [E, T, 1]; 1 where the episode ended.
        gamma, lambda_: in [0, 1].

    Returns:
        [E, T, K], without gradient.
    """
    reward, next_value = reward.detach(), next_value.detach()
    returns = torch.empty_like(next_value)
    ahead = next_value[:, -1]
    goes_on = 1.0 - ended
    for t in reversed(range(reward.shape[1])):
        mixed = next_value[:, t] + lambda_ * goes_on[:, t] * (ahead - next_value[:, t])
        ahead = returns[:, t] = reward[:, t] + gamma * mixed
    return returns
