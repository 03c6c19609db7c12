"""Subgoals that are objects: which of the things on the board each opponent goes for.

Every object is judged by the same small network, from how it lies to the opponent and to the learner and from what
the opponent did, and so what was learned of one holds for all: of opponents that want other things than those met
in training, too. This is a graph of opponents and objects without edges among objects (Battaglia et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...components.episode_batch import EpisodeBatch
from ...components.masks import ended
from ...components.rollout import Rollout
from ...config.schema import key, read
from ...modules.linear import Linear
from ...modules.unrolling import unroll_rows
from ...types import ConfigError
from ..foraging import food_slots
from .history_model import HistoryModel, HistoryModelConfig

SEEN = 13  # numbers of an object, beside what the opponent did
GONE = -1e4  # the log-odds of what is not there
QUARTER = 0.25  # of a step: boards are some steps wide


@dataclass(frozen=True)
class ObjectConfig(HistoryModelConfig):
    """Keys of ``opponent_model: objects``."""

    omg_horizon: int = key(5, low=1, help="H: subgoals are states of the next so many steps")


class ObjectModel(HistoryModel):
    """The odds that an object is the next at which an opponent comes to rest, within H steps, by cross-entropy.

    Arguments: see ``HistoryModel``. Objects are foraging's foods, in the order in which observations list them; those
    that are gone have no odds. What is remembered of an object is found again by its place, as the list closes up
    where one is gone.

    Raises:
        ConfigError: learners are not told of all foods and of opponents' last actions.
    """

    Config = ObjectConfig

    def __init__(self, scheme: Any, args: Any) -> None:
        super().__init__(scheme, args, input_size=SEEN + args.env_info.n_actions)
        self.horizon = read(ObjectConfig, args).omg_horizon
        try:
            self.n_objects = food_slots(self.info.whole)
        except ConfigError as error:
            raise ConfigError("opponent_model: objects needs foraging whose players see everything") from error
        self.condition_dim = self.n_subjects * self.n_objects
        # where each learner sees them: itself first, the others in their order
        whole = self.info.whole.agents
        self.seen_at = [[1 + [a for a in whole if a != me].index(name) for name in self.subjects]
                        for me in self.info.agents]  # fmt: skip
        self.fc = Linear(self.width, self.width)
        self.out = Linear(self.width, 1)

    def initial_carry(self, n: int) -> Tensor:
        """Nothing remembered of any object, and no objects: [n, N, M * F * W + F * 3]."""
        size = self.condition_dim * self.width + 3 * self.n_objects
        return self.fc.weight.new_zeros(n, self.info.n_agents, size)

    def step(self, obs: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """One step: observations [E, N, O] and carry [E, N, C] -> condition [E, N, M * F], carry [E, N, C]."""
        hidden, known = self._split(carry)
        objects = self._objects(obs)
        known = torch.where(_is_new(known), objects, known)
        seen, same = self._look(obs, known)
        features, state = self.encoder(seen.flatten(0, -2), hidden.reshape(-1, self.width))
        odds = self._log_odds(features.view(*seen.shape[:-1], -1), same)
        return self.condition(odds), torch.cat([state.view(*obs.shape[:2], -1), known.flatten(-2)], dim=-1)

    def features(self, batch: EpisodeBatch, carry: Tensor) -> Tensor:
        """Log-odds of the objects listed along a rollout or whole episodes, [E, T+1, N, M * F]."""
        obs = batch["obs"]
        copies, n_agents = len(obs), self.info.n_agents
        hidden, known = self._split(carry)
        begins = batch["begins"] if "begins" in batch.data else None
        seen, same = self._look(obs, self._known(self._objects(obs), known, begins))  # [E, T+1, N, M, F, D]
        rows = seen.transpose(0, 1).flatten(1, 4).transpose(0, 1)
        if begins is not None:
            begins = begins.repeat_interleave(n_agents * self.condition_dim, dim=0)
        features = unroll_rows(self.encoder, rows, hidden.reshape(-1, self.width), begins)
        by_step = features.transpose(0, 1).unflatten(1, (copies, n_agents, self.n_subjects, self.n_objects))
        return self._log_odds(by_step.transpose(0, 1), same)

    def condition(self, features: Tensor) -> Tensor:
        """The odds of each object listed, of each opponent, [..., M * F], 0 where there is none; detached."""
        logits = features.detach().unflatten(-1, (self.n_subjects, self.n_objects))
        return (logits.softmax(dim=-1) * (logits > GONE / 2)).flatten(-2)

    def odds(self, batch: EpisodeBatch, features: Tensor) -> Tensor:
        """Row, column and odds of each object listed, of each opponent: [E, T, N, M * F, 3], of T steps' features."""
        places = self._objects(batch["obs"][:, : features.shape[1]])[..., :2].repeat(1, 1, 1, self.n_subjects, 1)
        return torch.cat([places, self.condition(features)[..., None]], dim=-1)

    def lesson(self, batch: EpisodeBatch) -> Tensor:
        """Which of the objects listed each opponent comes to rest at next: int64 [E, T, N, M].

        -1 where it comes to rest at none within H steps of the same episode, or where a rollout shows neither so
        many nor the episode's end, so that what is near is not taught more often than what is far.
        """
        obs, reached = batch["obs"][:, :-1], batch["obs"][:, 1:].clone()
        if isinstance(batch, Rollout) and batch.ends is not None:
            reached[batch.ends.copy, batch.ends.step] = batch.ends.obs
        objects, before, after = self._objects(obs), self._players(obs)[1], self._players(reached)[1]
        steps_away = (objects[..., None, :, :2] - before[..., :, None, :2]).abs().sum(dim=-1)
        beside = (steps_away == 1) & (objects[..., None, :, 2] > 0)  # [E, T, N, M, F]
        rests = (before == after).all(dim=-1) & (beside.sum(dim=-1) == 1)
        at = objects[..., None, :, :2].expand(*beside.shape, 2)
        place = at.gather(-2, beside.long().argmax(dim=-1)[..., None, None].expand(*rests.shape, 1, 2)).squeeze(-2)

        steps = rests.shape[1]
        clock = torch.arange(steps, device=obs.device)[:, None, None]
        rest = _next(rests, clock)  # [E, T, N, M]
        end = _next((ended(batch)[:, :-1] > 0)[..., None, None], clock)
        shown = (end < steps) | (clock + self.horizon <= steps)
        within = (rest < steps) & (rest <= end) & (rest - clock < self.horizon) & shown
        wanted = place.gather(1, rest.clamp(max=steps - 1)[..., None].expand_as(place))
        is_it = (objects[..., None, :, :2] == wanted[..., None, :]).all(dim=-1) & (objects[..., None, :, 2] > 0)
        return torch.where(within & is_it.any(dim=-1), is_it.long().argmax(dim=-1), -1)

    def losses(
        self, batch: Rollout, features: Tensor, mask: Tensor, lesson: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and numbers for logs, from log-odds [E, T, N, M * F], mask [E, T, N], objects [E, T, N, M]."""
        known = (lesson >= 0) & (mask > 0)[..., None]
        logits, wanted = features.unflatten(-1, (self.n_subjects, self.n_objects))[known], lesson[known]
        loss = F.cross_entropy(logits, wanted, reduction="sum") / max(len(wanted), 1)
        hits = (logits.argmax(dim=-1) == wanted).float().sum() / max(len(wanted), 1)
        return loss, {"omg_kl_loss": loss.detach(), "model_object_accuracy": hits}

    def _split(self, carry: Tensor) -> tuple[Tensor, Tensor]:
        """What is remembered [..., M * F * W], and the objects of the episode's beginning [..., F, 3]."""
        size = self.condition_dim * self.width
        return carry[..., :size], carry[..., size:].unflatten(-1, (self.n_objects, 3))

    def _objects(self, obs: Tensor) -> Tensor:
        """Row, column and level of the foods listed, [..., F, 3]; the level is 0 where there is none."""
        return obs[..., : 3 * self.n_objects].unflatten(-1, (self.n_objects, 3))

    def _players(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """Row, column and level of the learner [..., 3], and of those whom the model is about [..., M, 3]."""
        own, whole = 3 * self.n_objects, self.info.whole
        players = obs[..., own : whole.obs_shape].unflatten(-1, (whole.n_agents, 3))
        others = torch.stack([players[..., i, self.seen_at[i], :] for i in range(self.info.n_agents)], dim=-3)
        return players[..., 0, :], others

    def _known(self, objects: Tensor, known: Tensor, begins: Tensor | None) -> Tensor:
        """The objects that each step's episode began with, [E, T+1, N, F, 3]."""
        first = torch.where(_is_new(known), objects[:, 0], known)[:, None].expand_as(objects)
        if begins is None:
            return first
        clock = torch.arange(objects.shape[1], device=objects.device)[:, None]
        began = torch.where(begins > 0, clock, -1).cummax(dim=1).values[..., None, None]  # [E, T+1, 1, 1, 1]
        return torch.where(began < 0, first, objects.gather(1, began.clamp(min=0).expand_as(objects)))

    def _look(self, obs: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """How known objects [..., F, 3] lie, [..., M, F, SEEN + U], and where they are listed now, [..., F, F]."""
        me, them = self._players(obs)
        listed = self._objects(obs)
        same = (known[..., :, None, :2] == listed[..., None, :, :2]).all(dim=-1)
        same = same & (known[..., :, None, 2] > 0) & (listed[..., None, :, 2] > 0)
        to_them = known[..., None, :, :2] - them[..., :, None, :2]
        to_me = (known[..., :2] - me[..., None, :2])[..., None, :, :].expand_as(to_them)
        level = known[..., None, :, 2:].expand(*to_them.shape[:-1], 1)
        here = same.any(dim=-1)[..., None, :, None].expand_as(level)
        did = obs[..., self.last_actions].unflatten(-1, (-1, self.n_actions))[..., self.places_of_subjects, :]
        away, mine = (way.abs().sum(dim=-1, keepdim=True) for way in (to_them, to_me))
        numbers = [here, QUARTER * to_them, to_them.sign(), QUARTER * away, away == 1, QUARTER * to_me,
                   QUARTER * mine, mine == 1, QUARTER * level, them[..., :, None, 2:] >= level,
                   did[..., :, None, :].expand(*level.shape[:-1], self.n_actions)]  # fmt: skip
        return torch.cat([number.to(obs.dtype) for number in numbers], dim=-1), same

    def _log_odds(self, features: Tensor, same: Tensor) -> Tensor:
        """Features of known objects [..., M, F, W] and where they are listed -> log-odds as listed [..., M * F]."""
        judged = self.out(F.relu(self.fc(features))).squeeze(-1)
        listed = (judged[..., :, None] * same[..., None, :, :]).sum(dim=-2)
        return listed.masked_fill(~same.any(dim=-2)[..., None, :], GONE).flatten(-2)


def _is_new(known: Tensor) -> Tensor:
    """Whether an episode begins: no objects [..., F, 3] are known yet. [..., 1, 1]."""
    return (known[..., 2] == 0).all(dim=-1)[..., None, None]


def _next(happens: Tensor, clock: Tensor) -> Tensor:
    """The first step from each on at which something happens, T where none is: bool [E, T, ...] -> int64."""
    steps = happens.shape[1]
    return torch.where(happens, clock, steps).flip(1).cummin(dim=1).values.flip(1)
