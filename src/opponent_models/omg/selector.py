"""The subgoal selector: chooses, in hindsight, which future state was the opponents' subgoal (section 4.2)."""

import torch
from torch import Tensor

from ..horizon import best_step, random_step


def select(rule: str, optimistic: bool, valid: Tensor, values: Tensor | None, n_agents: int) -> Tensor:
    """Which of the next H states is each learner's subgoal state s^g_t: int64 [E, T, N], in 0 to H - 1.

    V(s, g) is the mean of Q(s, g, a) over a, or a critic's output; its expectation is over the prior subgoals g of
    the candidate state.

    - optimistic (equation 6, cooperative games): the candidate with the largest E_g V(s_t, g);
    - conservative (equation 7, general-sum games): the candidate with the smallest.

    Args:
        rule: ``value``, as above; for ablations ``random`` | ``next`` | ``third``.
        optimistic: equation 6 instead of 7.
        valid: 1 if there is a candidate, [E, T, H]; always 1 for the first.
        values: E_g V(s_t, g) of each candidate, [E, T, N, H]; for the rule ``value`` only.
        n_agents: N.
    """
    horizon = valid.shape[2]
    if rule in ("next", "third"):
        wanted = torch.full(valid.shape[:2], min(2, horizon - 1) if rule == "third" else 0, device=valid.device)
        chosen = torch.minimum(wanted, valid.long().sum(dim=2) - 1)
        return chosen[..., None].expand(-1, -1, n_agents)
    if rule == "random":
        return random_step(valid, n_agents)
    assert values is not None
    return best_step(values if optimistic else -values, valid)


def spread_of_values(values: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """Metrics: how much the choice among candidates matters, in the unit of the base learner's values.

    ``omg_value_std`` and ``omg_value_range`` are the standard deviation and the range of E_g V(s_t, g) over the
    candidates of a step, averaged over the steps with at least two; ``omg_value_mean`` is the mean over all of them.
    Arguments: see ``select``.
    """
    there = valid[:, :, None].expand_as(values) > 0
    count = there.sum(dim=-1)
    mean = values.masked_fill(~there, 0.0).sum(dim=-1) / count.clamp(min=1)
    squares = (values - mean[..., None]).square().masked_fill(~there, 0.0).sum(dim=-1)
    width = values.masked_fill(~there, -torch.inf).amax(-1) - values.masked_fill(~there, torch.inf).amin(-1)
    several = count > 1
    if not several.any():
        return {}
    std = (squares / count.clamp(min=1)).sqrt()
    return {"omg_value_std": std[several].mean(), "omg_value_range": width[several].mean(),
            "omg_value_mean": mean[several].mean()}  # fmt: skip
