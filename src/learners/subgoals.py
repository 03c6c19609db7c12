"""Which state to come is the opponents' subgoal: OMG's selector, in hindsight (Yu, Jiang and Lu 2024)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..components.masks import ended
from ..components.rollout import Rollout
from ..components.vae_trainer import VAEConfig, VAETrainer
from ..config.schema import read
from ..modules.codebook import Codebook
from ..types import ConfigError
from ..utils.errors import reason_of


class SubgoalPrior:
    """The frozen state VAE: p_psi(g | s) and p_omega(s | g).

    Args:
        file: ``vae.th`` of an ``omg_vae`` run, or a pool's prior; None: ``load_state_dict`` is to bring it.
        state_dim: S.
        args: the run's; the VAE's shape must be the file's. What bounds log_var is taken from the file.

    Raises:
        ConfigError: the file is missing, or of another shape.
    """

    def __init__(self, file: Path | None, state_dim: int, args: Any) -> None:
        blocks = getattr(getattr(args, "env_info", None), "state_blocks", ())
        self.trainer = VAETrainer(blocks or state_dim, read(VAEConfig, args))
        self.trainer.vae.requires_grad_(False)
        if file is None:
            return
        try:
            self.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise ConfigError(
                f"source: {file} is no subgoal prior for this environment, or of another size ({reason_of(error)})"
            ) from error

    def state_dict(self) -> dict[str, Any]:
        """The VAE that it is."""
        return self.trainer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up what a frozen VAE needs."""
        self.trainer.load_model(state)

    def encode(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States [..., S] -> mu and log_var [..., Z]."""
        return self.trainer.encode(states)

    def standardised(self, states: Tensor) -> Tensor:
        """States in the units that the VAE was trained in."""
        return self.trainer.features.inputs(states)

    def decode(self, goals: Tensor) -> Tensor:
        """Goals [..., Z] -> states [..., S] in the environment's units."""
        return self.trainer.decode(goals)

    def cuda(self) -> None:
        """Moves it to the GPU."""
        self.trainer.cuda()


class PlacePrior:
    """Subgoals that are places: of each opponent, the nearest in a codebook, which the first rollout makes.

    It stands in the prior's place where subgoals are categorical: p(g | s) is one-hot.

    Args:
        codebook: of M opponents.
        places: where the state has them, one behind the other.
        state_dim: S.
    """

    def __init__(self, codebook: Codebook, places: list[int], state_dim: int) -> None:
        self.codebook, self.places, self.state_dim = codebook, places, state_dim

    @torch.no_grad()
    def codes(self, states: Tensor) -> Tensor:
        """States [..., S] -> each opponent's code, int64 [..., M]."""
        return self.codebook.codes(states[..., self.places].unflatten(-1, (-1, 2)))

    def encode(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """States [..., S] -> codes, one-hot, [..., M * C], in the mean's place; zeros in the log-variance's."""
        one_hot = F.one_hot(self.codes(states), self.codebook.n_codes).float().flatten(-2)
        return one_hot, torch.zeros_like(one_hot)

    @torch.no_grad()
    def decode(self, goals: Tensor) -> Tensor:
        """Odds [..., M * C] -> states [..., S] that are 0 but for the opponents' likeliest places."""
        likeliest = goals.unflatten(-1, (-1, self.codebook.n_codes)).argmax(dim=-1)
        states = goals.new_zeros(*goals.shape[:-1], self.state_dim)
        states[..., self.places] = self.codebook.vectors(likeliest).flatten(-2)
        return states

    def odds(self, goals: Tensor) -> Tensor:
        """Odds [..., M * C] -> all opponents' places and the probability of each, [..., M * C, 3]."""
        places = self.codebook.centres.flatten(0, 1).expand(*goals.shape, -1)
        return torch.cat([places, goals[..., None]], dim=-1)

    def fit(self, states: Tensor) -> None:
        """Makes the codebook of states [..., S], once."""
        if not self.codebook.is_fitted:
            self.codebook.fit(states[..., self.places].unflatten(-1, (-1, 2)).flatten(0, -3))


def states_reached(batch: Rollout) -> Tensor:
    """What each step of E copies led to, an episode's last state where it ends: [E, T, S]."""
    after = batch["state"][:, 1:].flatten(2).clone()
    if batch.ends is not None:
        after[batch.ends.copy, batch.ends.step] = batch.ends.state.flatten(1)
    return after


def steps_to_come(batch: Rollout, horizon: int) -> Tensor:
    """1 where the state that the k-th of the next K steps leads to is in sight and of the same episode, [E, T, K].

    An episode's last state counts; what a rollout does not show any more does not.
    """
    over = ended(batch)[:, :-1]  # [E, T]
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
    """The states so many steps after the next one: of [E, T, S], 0 to K - 1 in int64 [E, T, K] -> [E, T, K, S].

    Beyond a rollout it is the last one, of which ``steps_to_come`` says that it is none.
    """
    length, k = reached.shape[1], steps.shape[2]
    at = (torch.arange(length, device=steps.device)[:, None] + steps).clamp(max=length - 1)
    index = at.flatten(1)[..., None].expand(-1, -1, reached.shape[2])
    return reached.gather(1, index).unflatten(1, (length, k))


def horizon_shown(batch: Rollout, valid: Tensor) -> Tensor:
    """1 where the next H states are all in a rollout, or the episode's last one is: [E, T].

    Args:
        batch: E copies of T steps.
        valid: ``steps_to_come``'s, [E, T, H].
    """
    over = ended(batch)[:, :-1]
    ends_later = over.flip(1).cummax(dim=1).values.flip(1)
    return torch.maximum(ends_later, valid[:, :, -1])


def select(rule: str, optimistic: bool, valid: Tensor, value: Callable[[], Tensor], n_agents: int) -> Tensor:
    """Which of K candidates is each learner's subgoal: int64 [E, T, N].

    Args:
        rule: ``value`` | ``random`` | ``next`` | ``third``.
        optimistic: the best for the learner, else the worst.
        valid: 1 where there is a candidate, [E, T, K]; the first always is one.
        value: of the state now under each candidate's code, [E, T, N, K]; asked for by ``value`` alone.
        n_agents: N.
    """
    k = valid.shape[2]
    if rule in ("next", "third"):
        wanted = torch.full(valid.shape[:2], min(2, k - 1) if rule == "third" else 0, device=valid.device)
        chosen = torch.minimum(wanted, valid.long().sum(dim=2) - 1)
        return chosen[..., None].expand(-1, -1, n_agents)
    if rule == "random":
        scores = torch.rand(*valid.shape[:2], n_agents, k, device=valid.device)
    else:
        scores = value() if optimistic else -value()
    return scores.masked_fill(valid[:, :, None] == 0, -torch.inf).argmax(dim=-1)


def selected(chosen: Tensor, horizon: int) -> dict[str, Tensor]:
    """How many steps ahead the selected states are, on average, and how often each number of steps was, for logs."""
    shares = torch.bincount(chosen.flatten(), minlength=horizon) / chosen.numel()
    each = {f"omg_selected_k/{k + 1}": share for k, share in enumerate(shares)}
    return {"omg_selected_k": chosen.float().mean() + 1.0, **each}
