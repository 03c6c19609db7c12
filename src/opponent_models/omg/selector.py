"""The subgoal selector: chooses, in hindsight, which future state was the opponents' subgoal (section 4.2)."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..horizon import best_step, random_step


def select(rule: str, optimistic: bool, valid: Tensor, value: Callable[[], Tensor], n_agents: int) -> Tensor:
    """Which of the next H states is each learner's subgoal state s^g_t: int64 [E, T, N], in 0 to H - 1.

    V(s, g) is the mean of Q(s, g, a) over a, or a critic's output. g is the prior's mean for the candidate state.

    - optimistic (equation 6, cooperative games): the candidate with the largest V(s_t, g);
    - conservative (equation 7, general-sum games): the candidate with the smallest.

    Args:
        rule: ``value``, as above; for ablations ``random`` | ``next`` | ``third``.
        optimistic: equation 6 instead of 7.
        valid: 1 if there is a candidate, [E, T, H]; always 1 for the first.
        value: returns V(s_t, g) of each candidate, [E, T, N, H]; called by the rule ``value`` only.
        n_agents: N.
    """
    horizon = valid.shape[2]
    if rule in ("next", "third"):
        wanted = torch.full(valid.shape[:2], min(2, horizon - 1) if rule == "third" else 0, device=valid.device)
        chosen = torch.minimum(wanted, valid.long().sum(dim=2) - 1)
        return chosen[..., None].expand(-1, -1, n_agents)
    if rule == "random":
        return random_step(valid, n_agents)
    return best_step(value() if optimistic else -value(), valid)
