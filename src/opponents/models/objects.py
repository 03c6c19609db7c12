"""Subgoals that are objects: which of the things on the board each opponent goes for.

Every object is judged by the same small network, from how it lies to the opponent and to the learner and from what
the opponent did, and so what was learned of one holds for all: of opponents that want other things than those met
in training, too. This is a graph of opponents and objects without edges among objects (Battaglia et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...components.episode_batch import EpisodeBatch
from ...components.masks import ended, transition_mask
from ...components.rollout import Rollout
from ...config.schema import read
from ...modules.agents.feature_agent import FeatureAgent
from ...modules.linear import Linear
from ...modules.min_gru import MinGRU
from ...modules.unrolling import unroll_rows
from ...types import ConfigError, EnvInfo
from ..foraging_board import food_slots, offsets_size
from .history_model import HistoryModel, HistoryModelConfig, HorizonKeys, reached

GONE = 1e3  # a place below 0, times this, leaves no odds
WAYS = 4  # numbers of an object that come last, and are told without their sign
ROW = 64  # places are told by one number: row, times this, and column; boards are smaller
NONE = -1.0  # stands for the place of an object before any was seen


@dataclass(frozen=True)
class ObjectConfig(HistoryModelConfig, HorizonKeys):
    """Keys of ``opponent_model: objects``."""


class ObjectEncoder(FeatureAgent):
    """The network that judges each object: there are several in each copy of the game, and so it must be cheap."""

    cell = MinGRU


class ObjectModel(HistoryModel):
    """The odds that an object is the next at which an opponent comes to rest, within H steps, by cross-entropy.

    Arguments: see ``HistoryModel``. Objects are foraging's foods, in the order in which observations list them; those
    that are gone have no odds. What is remembered of an object is found again by its place, as the list closes up
    where one is gone.

    Raises:
        ConfigError: learners do not see all foods, or are not told ``offsets`` and ``actions``.
    """

    Config = ObjectConfig
    encoder_type = ObjectEncoder
    looks_ahead = True
    measure = "omg_hit_ratio"

    def __init__(self, scheme: Any, args: Any) -> None:
        whole, agents = args.env_info.whole, args.env_info.agents
        self.check(whole)
        self.n_objects = food_slots(whole)
        super().__init__(scheme, args)
        self.horizon = read(ObjectConfig, args).omg_horizon
        self.condition_dim = self.n_subjects * self.n_objects
        # where each learner sees them: itself first, the others in their order
        others = [[name for name in whole.agents if name != me] for me in agents]
        self.seen_at = [[1 + names.index(name) for name in self.subjects] for names in others]
        columns = [self._columns(m, at) for ats in self.seen_at for m, at in enumerate(ats)]
        self.columns = nn.Buffer(torch.tensor(columns).view(len(agents), -1), persistent=False)
        self.fc = Linear(self.width, self.width)
        self.out = Linear(self.width, 1)

    def input_size(self, scheme: Any) -> int:
        """Of what is told of an object: see ``_columns``."""
        return 9 + self.n_actions + WAYS

    @classmethod
    def check(cls, whole: EnvInfo) -> None:
        """See ``HistoryModel``."""
        try:
            food_slots(whole)
        except ConfigError as error:
            raise ConfigError(
                "opponent_model: objects needs foraging whose players see everything: --env-config=foraging"
            ) from error

    def _columns(self, m: int, at: int) -> list[int]:
        """Where an observation has what is told of each food beside subject ``m``, who stands at ``at``."""
        told, actions = self.info.told_slice("offsets"), self.info.told_slice("actions")
        size = offsets_size(self.info.whole)
        did = actions.start + self.places_of_subjects[m] * self.n_actions
        found = []
        for f in range(self.n_objects):
            of = told.start + f * size
            them = of + 3 * at
            found += [of, of + 1, them, them + 1]  # its ways: down and across, from the learner and the subject
            found += [of + 2, them + 2, of + size - 2, of + size - 1, 3 * f + 2]  # the last is the food's level
            found += range(did, did + self.n_actions)
            found += [of, of + 1, them, them + 1]  # once more, without their sign
        return found

    def initial_carry(self, n: int) -> Tensor:
        """Nothing remembered of any object, and no objects: [n, N, M * F * W + F]."""
        size = self.condition_dim * self.width
        carry = self.fc.weight.new_zeros(n, self.info.n_agents, size + self.n_objects)
        carry[..., size:] = NONE
        return carry

    def step(self, obs: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        """One step: observations [E, N, O] and carry [E, N, C] -> condition [E, N, M * F], carry [E, N, C]."""
        remembered, listed = self._split(carry)
        places = self._places(obs)
        # as the list closes up; at an episode's begin nothing is remembered, in whatever order
        order = _find(places, listed)[..., None, :]
        each = torch.arange(0, order.numel() * self.n_subjects, self.n_objects, device=obs.device)
        rows = order + each.view(*obs.shape[:2], self.n_subjects, 1)
        hidden = remembered.flatten(0, -2).index_select(0, rows.flatten())
        features, state = self.encoder(self._look(obs).flatten(0, -2), hidden)
        log_odds = _there(self._judge(features.view_as(remembered)), places)
        return self.condition(log_odds), torch.cat([state.view(*obs.shape[:2], -1), places], dim=-1)

    def features(self, batch: EpisodeBatch, carry: Tensor) -> Tensor:
        """Log-odds of the objects listed along a rollout or whole episodes, [E, T+1, N, M * F]."""
        obs = batch["obs"]
        copies, n_agents = len(obs), self.info.n_agents
        remembered, listed = self._split(carry)
        begins = batch["begins"] if "begins" in batch.data else None
        places = self._places(obs)
        # one row for each object that an episode began with, wherever it is listed later
        known, told = self._known(places, listed, begins), self._look(obs)
        told = told.gather(-2, _find(known, places)[..., None, :, None].expand_as(told))  # [E, T+1, N, M, F, I]
        rows = told.transpose(0, 1).flatten(1, 4).transpose(0, 1)
        if begins is not None:
            begins = begins.repeat_interleave(n_agents * self.condition_dim, dim=0)
        features = unroll_rows(self.encoder, rows, remembered.flatten(0, -2), begins)
        by_step = features.transpose(0, 1).unflatten(1, (copies, n_agents, self.n_subjects, self.n_objects))
        log_odds = self._judge(by_step.transpose(0, 1))
        return _there(log_odds.gather(-1, _find(places, known)[..., None, :].expand_as(log_odds)), places)

    def condition(self, features: Tensor) -> Tensor:
        """The odds of each object listed, of each opponent, [..., M * F]; detached.

        0 of what is gone while anything is there; alike where nothing is, at an episode's end.
        """
        return features.detach().unflatten(-1, (self.n_subjects, self.n_objects)).softmax(dim=-1).flatten(-2)

    def odds(self, batch: EpisodeBatch, features: Tensor) -> Tensor:
        """Row, column and odds, 0 where there is none, of each object listed, of each opponent.

        [E, T, N, M * F, 3], of T steps' features.
        """
        places = self._objects(batch["obs"][:, : features.shape[1]])[..., :2].repeat(1, 1, 1, self.n_subjects, 1)
        there = places[..., :1] >= 0
        return torch.cat([places, self.condition(features)[..., None] * there], dim=-1)

    def lesson(self, batch: EpisodeBatch) -> Tensor:
        """Which of the objects listed each opponent comes to rest at next: int64 [E, T, N, M].

        -1 where it comes to rest at none within H steps of the same episode, or where a rollout shows neither so
        many nor the episode's end, so that what is near is not taught more often than what is far.
        """
        obs = batch["obs"][:, :-1]
        objects, before, after = self._objects(obs), self._subjects(obs), self._subjects(reached(batch))
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

    @torch.no_grad()
    def hits(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """How often opponents come to rest next at the likeliest object: see ``HistoryModel``.

        ``chance`` is the same for any object that is there; ``count`` has opponents that come to rest at one within
        the horizon.
        """
        log_odds = self.features(batch, self.initial_carry(batch.batch_size))[:, :-1]
        wanted = self.lesson(batch)
        count = (wanted >= 0) * transition_mask(batch)[..., None, None]
        shape = (self.n_subjects, self.n_objects)
        there = (self.condition(log_odds) > 0).unflatten(-1, shape).sum(dim=-1)
        right = (log_odds.unflatten(-1, shape).argmax(dim=-1) == wanted).float()
        each = {"hits": right * count, "chance": count / there.clamp(min=1), "count": count}
        return {name: value.sum(dim=(0, 2, 3)) for name, value in each.items()}

    def _split(self, carry: Tensor) -> tuple[Tensor, Tensor]:
        """What is remembered [..., M, F, W] of the objects listed last, and where these stood [..., F]."""
        size = self.condition_dim * self.width
        return carry[..., :size].unflatten(-1, (self.n_subjects, self.n_objects, self.width)), carry[..., size:]

    def _places(self, obs: Tensor) -> Tensor:
        """One number for the place of each food listed, below 0 where there is none: [..., F]."""
        end = 3 * self.n_objects
        return torch.add(obs[..., 1:end:3], obs[..., 0:end:3], alpha=ROW)  # what is gone stands at -1, -1

    def _objects(self, obs: Tensor) -> Tensor:
        """Row, column and level of the foods listed, [..., F, 3]; the level is 0 where there is none."""
        return obs[..., : 3 * self.n_objects].unflatten(-1, (self.n_objects, 3))

    def _subjects(self, obs: Tensor) -> Tensor:
        """Row, column and level of those whom the model is about, [..., M, 3]."""
        whole = self.info.whole
        players = obs[..., 3 * self.n_objects : whole.obs_shape].unflatten(-1, (whole.n_agents, 3))
        return torch.stack([players[..., i, at, :] for i, at in enumerate(self.seen_at)], dim=-3)

    def _known(self, places: Tensor, listed: Tensor, begins: Tensor | None) -> Tensor:
        """The places of the objects listed before a rollout, where each step's episode began there, or with it.

        [E, T+1, N, F]; an episode that begins with the rollout has none listed before.
        """
        is_new = (listed == NONE).all(dim=-1, keepdim=True)
        first = torch.where(is_new, places[:, 0], listed)[:, None].expand_as(places)
        if begins is None:
            return first
        clock = torch.arange(places.shape[1], device=places.device)[:, None]
        began = torch.where(begins > 0, clock, -1).cummax(dim=1).values[..., None]  # [E, T+1, 1, 1]
        return torch.where(began < 0, first, places.gather(1, began.clamp(min=0).expand_as(places)))

    def _look(self, obs: Tensor) -> Tensor:
        """What is told of each object listed beside each opponent, [..., M, F, I]."""
        told = obs.gather(-1, self.columns.expand(*obs.shape[:-1], -1))
        told = told.unflatten(-1, (self.n_subjects, self.n_objects, -1))
        told[..., -WAYS:].abs_()
        return told

    def _judge(self, features: Tensor) -> Tensor:
        """Features [..., W] -> log-odds [...]."""
        return self.out(F.relu(self.fc(features))).squeeze(-1)


def _find(what: Tensor, among: Tensor) -> Tensor:
    """Where each place [..., F] stands among others [..., F], int64; anywhere where it does not."""
    return (what[..., :, None] == among[..., None, :]).byte().argmax(dim=-1)


def _there(log_odds: Tensor, places: Tensor) -> Tensor:
    """Log-odds [..., M, F] of what is listed at places [..., F], next to nothing where nothing is: [..., M * F]."""
    return torch.add(log_odds, places.clamp(max=0.0)[..., None, :], alpha=GONE).flatten(-2)


def _next(happens: Tensor, clock: Tensor) -> Tensor:
    """The first step from each on at which something happens, T where none is: bool [E, T, ...] -> int64."""
    steps = happens.shape[1]
    return torch.where(happens, clock, steps).flip(1).cummin(dim=1).values.flip(1)
