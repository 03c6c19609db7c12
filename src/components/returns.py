"""Lambda returns and generalised advantages, from rewards and value estimates along rollouts."""

import torch
from torch import Tensor


def lambda_returns(reward: Tensor, next_value: Tensor, ended: Tensor, gamma: float, lambda_: float) -> Tensor:
    """``G_t = r_t + gamma * ((1 - lambda) V_{t+1} + lambda G_{t+1})``, cut where an episode or the rollout ends.

    There ``G_t = r_t + gamma * V_{t+1}``. Source: Peng and Williams 1996 as PQN uses it, Gallici et al. 2025,
    section 4.

    Args:
        reward: [E, T, K].
        next_value: [E, T, K]; the value of the next observation: 0 after a termination; at a truncation, the value
            of the episode's last observation.
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


def gae(
    reward: Tensor, value: Tensor, next_value: Tensor, ended: Tensor, gamma: float, lambda_: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantages and the corresponding returns (Schulman et al. 2016, equation 16).

    ``A_t = d_t + gamma * lambda * A_{t+1}`` with ``d_t = r_t + gamma * V_{t+1} - V_t``, cut where an episode or the
    rollout ends; ``G_t = A_t + V_t``. ``value`` is [E, T, K]; other arguments: see ``lambda_returns``. Returns A and
    G, both [E, T, K], without gradient.
    """
    delta = (reward + gamma * next_value - value).detach()
    advantage = torch.empty_like(delta)
    decay = gamma * lambda_ * (1.0 - ended)
    ahead = torch.zeros_like(delta[:, 0])
    for t in reversed(range(delta.shape[1])):
        ahead = advantage[:, t] = delta[:, t] + decay[:, t] * ahead
    return advantage, advantage + value.detach()
