"""Object prediction: for each opponent, the probability of each object to be the next at which it comes to rest.

One small network scores every object, from its place relative to the opponent and to the learner and from the
opponent's actions. It therefore generalises over objects, and to opponents with other preferences than those of
training: a graph of opponents and objects without edges among objects (Battaglia et al. 2018). It is goal
recognition by supervised learning; only the horizon is from OMG.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..components.episode_batch import EpisodeBatch
from ..components.masks import ended, transition_mask
from ..components.rollout import Rollout
from ..games.foraging.layout import food_slots, offsets_size
from ..modules.agents.feature_agent import FeatureAgent
from ..modules.hidden import hidden_layer
from ..modules.linear import Linear
from ..modules.softmax import softmax
from ..modules.unrolling import unroll_rows
from ..types import ConfigError, EnvInfo
from .evaluation import Counts, Drawing
from .horizon import check_horizon
from .model import BaseLearner, HorizonKeys, ModelConfig, OpponentModel, Targets, next_observations

ABSENT = 1e3  # logit of an absent object: its place, below 0, times this
WAYS = 4  # numbers of an object's input whose absolute values are appended
ROW = 64  # a place is one number: row times this, plus column; boards are smaller
NONE = -1.0  # place of an object before the first observation


@dataclass(frozen=True)
class ObjectConfig(ModelConfig, HorizonKeys):
    pass


class ObjectEncoder(FeatureAgent):
    cell = "mingru"  # cheap: it runs for each object and opponent in each copy of the game


class ObjectModel(OpponentModel):
    """Classifies the object at which each opponent comes to rest next, by cross-entropy.

    Objects are foraging's foods, in the order of the observation's list. When a food is eaten, later ones move up in
    the list; the memory of each object is identified by the object's place.

    Raises:
        ConfigError: learners do not observe all foods, or their observations lack ``offsets`` or ``actions``.
    """

    Config = ObjectConfig
    accuracy_name = "omg_hit_ratio"
    information = ("offsets", "actions")
    shares_network = False  # it reads one object at a time
    fallback = "place_prediction"

    def __init__(self, scheme: Any, args: Any) -> None:
        full, agents = args.env_info.full, args.env_info.agents
        self.check_environment(full)
        self.n_objects = food_slots(full)
        super().__init__(scheme, args)
        self.horizon = self.config.model_horizon
        self.condition_dim = self.n_subjects * self.n_objects
        # observations list the observer first and the other players in their order
        others = [[name for name in full.agents if name != me] for me in agents]
        self.listed_at = [[1 + names.index(name) for name in self.subjects] for names in others]
        columns = [self._columns(m, at) for places in self.listed_at for m, at in enumerate(places)]
        self.columns = nn.Buffer(torch.tensor(columns).view(len(agents), -1), persistent=False)
        self.fc = Linear(self.width, self.width)
        self.out = Linear(self.width, 1)

    def input_size(self, scheme: Any) -> int:
        return 9 + self.observed.width + WAYS  # of an object: see ``_columns``

    def make_encoder(self, size: int, settings: Any) -> nn.Module:
        return ObjectEncoder(size, settings)

    @classmethod
    def check_environment(cls, full: EnvInfo) -> None:
        try:
            food_slots(full)
        except ConfigError as error:
            needs = "needs the foods of foraging whose players see everything (--env-config=foraging)"
            raise ConfigError(f"opponent_model: object_prediction {needs}") from error

    @classmethod
    def streams(cls, info: Any) -> int:
        return len(info.opponents) * food_slots(info.full)

    def prepare(self, args: Any, base: BaseLearner, steps: int, from_memory: bool) -> None:
        check_horizon("model_horizon", self.horizon, steps)

    def _columns(self, m: int, at: int) -> list[int]:
        """The observation's columns that are the inputs of each object and subject ``m``, which is listed at ``at``.

        For each object: its offsets (down, across) from the learner and from the subject; whether each of them is
        adjacent to it; whether the learner's level suffices; whether it is present; its level; the subject's last
        action; the four offsets again, as absolute values.
        """
        offsets, actions = self.info.information_slice("offsets"), self.info.information_slice("actions")
        size = offsets_size(self.info.full)
        action = actions.start + self.subject_indices[m] * self.observed.width
        found = []
        for f in range(self.n_objects):
            mine = offsets.start + f * size
            theirs = mine + 3 * at
            found += [mine, mine + 1, theirs, theirs + 1]
            found += [mine + 2, theirs + 2, mine + size - 2, mine + size - 1, 3 * f + 2]
            found += range(action, action + self.observed.width)
            found += [mine, mine + 1, theirs, theirs + 1]
        return found

    def initial_carry(self, n: int) -> Tensor:
        """Empty memories and no objects: [n, N, M * F * W + F]."""
        size = self.condition_dim * self.width
        carry = self.fc.weight.new_zeros(n, self.info.n_agents, size + self.n_objects)
        carry[..., size:] = NONE
        return carry

    def step(self, obs: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
        memories, listed = self._split(carry)
        places = self._places(obs)
        # the memories of the objects listed now; at an episode's start all are empty, in any order
        order = _find(places, listed)[..., None, :]
        first = torch.arange(0, order.numel() * self.n_subjects, self.n_objects, device=obs.device)
        rows = order + first.view(*obs.shape[:2], self.n_subjects, 1)
        hidden = memories.flatten(0, -2).index_select(0, rows.flatten())
        features, state = self.encoder(self._inputs(obs).flatten(0, -2), hidden)
        logits = _without_absent(self._score(features.view_as(memories)), places)
        return self.condition_of(logits), torch.cat([state.view(*obs.shape[:2], -1), places], dim=-1)

    def features(self, batch: EpisodeBatch) -> Tensor:
        """Logits of the objects listed along a rollout or complete episodes, [E, T+1, N, M * F]."""
        obs = batch["obs"]
        memories, listed = self._split(self.own_carry(batch))
        begins = batch["begins"] if "begins" in batch.data else None
        places = self._places(obs)
        # one row for each object that an episode began with, wherever the object is listed later
        known, inputs = self._places_at_start(places, listed, begins), self._inputs(obs)
        inputs = inputs.gather(-2, _find(known, places)[..., None, :, None].expand_as(inputs))  # [E, T+1, N, M, F, I]
        rows = inputs.transpose(0, 1).flatten(1, 4).transpose(0, 1)
        if begins is not None:
            begins = begins.repeat_interleave(self.info.n_agents * self.condition_dim, dim=0)
        features = unroll_rows(self.encoder, rows, memories.flatten(0, -2), begins)
        by_step = features.transpose(0, 1).unflatten(1, memories.shape[:-1])
        logits = self._score(by_step.transpose(0, 1))
        in_list_order = logits.gather(-1, _find(places, known)[..., None, :].expand_as(logits))
        return _without_absent(in_list_order, places)

    def condition_of(self, features: Tensor) -> Tensor:
        """The probability of each object listed, for each opponent, [..., M * F]; detached.

        0 for absent objects; uniform if no object is left, at an episode's end.
        """
        return softmax(features.detach().unflatten(-1, (self.n_subjects, self.n_objects))).flatten(-2)

    def targets(self, batch: Rollout, base: BaseLearner) -> Targets:
        return Targets(self.next_rests(batch))

    def next_rests(self, batch: EpisodeBatch) -> Tensor:
        """The index of the listed object at which each opponent comes to rest next: int64 [E, T, N, M].

        An opponent rests if it acts, does not move and is adjacent to exactly one object. -1 if it rests at none
        within H steps of the same episode, or if the rollout contains neither H steps nor the episode's end:
        otherwise near objects would be targets more often than far ones.
        """
        obs = batch["obs"][:, :-1]
        objects, before = self._objects(obs), self._players(obs)
        after = self._players(next_observations(batch))
        distance = (objects[..., None, :, :2] - before[..., :, None, :2]).abs().sum(dim=-1)
        beside = (distance == 1) & (objects[..., None, :, 2] > 0)  # [E, T, N, M, F]
        rests = (before == after).all(dim=-1) & (beside.sum(dim=-1) == 1) & self.acted(batch)[:, :, None]
        at = objects[..., None, :, :2].expand(*beside.shape, 2)
        place = at.gather(-2, beside.long().argmax(dim=-1)[..., None, None].expand(*rests.shape, 1, 2)).squeeze(-2)

        steps = rests.shape[1]
        clock = torch.arange(steps, device=obs.device)[:, None, None]
        rest = _next(rests, clock)  # [E, T, N, M]
        end = _next((ended(batch)[:, :-1] > 0)[..., None, None], clock)
        complete = (end < steps) | (clock + self.horizon <= steps)
        within = (rest < steps) & (rest <= end) & (rest - clock < self.horizon) & complete
        wanted = place.gather(1, rest.clamp(max=steps - 1)[..., None].expand_as(place))
        is_it = (objects[..., None, :, :2] == wanted[..., None, :]).all(dim=-1) & (objects[..., None, :, 2] > 0)
        return torch.where(within & is_it.any(dim=-1), is_it.long().argmax(dim=-1), -1)

    def loss(self, batch: Rollout, features: Tensor, targets: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Cross-entropy of the objects ``targets`` [E, T, N, M]; features are logits [E, T, N, M * F]."""
        known = (targets >= 0) & (mask > 0)[..., None]
        logits, wanted = features.unflatten(-1, (self.n_subjects, self.n_objects))[known], targets[known]
        loss = F.cross_entropy(logits, wanted, reduction="sum") / max(len(wanted), 1)
        correct = (logits.argmax(dim=-1) == wanted).float().sum() / max(len(wanted), 1)
        return loss, {"model_object_accuracy": correct}

    @torch.no_grad()
    def hits(self, batch: EpisodeBatch) -> Counts:
        """For each step of each complete episode, the number of opponents that next rest at the most probable object.

        ``chance`` is the same for a random one of the objects present; ``count`` is the number of opponents that come
        to rest at an object within the horizon.
        """
        logits = self.features(batch)[:, :-1]
        wanted = self.next_rests(batch)
        count = (wanted >= 0) * transition_mask(batch)[..., None, None]
        shape = self.n_subjects, self.n_objects
        present = (self.condition_of(logits) > 0).unflatten(-1, shape).sum(dim=-1)
        correct = (logits.unflatten(-1, shape).argmax(dim=-1) == wanted).float()
        each = {"hits": correct * count, "chance": count / present.clamp(min=1), "count": count}
        return {name: value.sum(dim=(2, 3)) for name, value in each.items()}

    @torch.no_grad()
    def draw(self, batch: EpisodeBatch) -> Drawing:
        """The most probable object of each opponent, and the probabilities of all."""
        steps, shape = int(batch["filled"].sum()), (self.n_subjects, self.n_objects)
        places = self._objects(batch["obs"][0, :steps, 0])[..., :2].repeat(1, self.n_subjects, 1)
        odds = self.condition_of(self.features(batch)[0, :steps, 0])[..., None] * (places[..., :1] >= 0)
        drawn = torch.cat([places, odds], dim=-1).cpu().numpy()  # [T+1, M * F, 3]
        each = drawn.reshape(steps, *shape, 3)
        likeliest = each[..., 2].argmax(axis=-1)
        inferred = np.full((steps, len(self.info.opponents), 2), np.nan)
        inferred[:, self.subject_indices] = np.take_along_axis(each, likeliest[..., None, None], axis=2)[:, :, 0, :2]
        inferred[(each[..., 2].sum(axis=-1) == 0).all(axis=-1)] = np.nan  # no object is left
        rests = F.pad(self.next_rests(batch)[0, :, 0], (0, 0, 0, 1), value=-1)[:steps].cpu().numpy()
        is_next, known = np.equal(rests, likeliest).all(axis=1), np.greater_equal(rests, 0).all(axis=1)
        where = ["there" if each else "elsewhere" for each in is_next]
        captions = [f"comes to rest {where[t]} next" if known[t] else "" for t in range(steps)]
        return Drawing(captions, inferred, drawn, self.horizon)

    def _split(self, carry: Tensor) -> tuple[Tensor, Tensor]:
        """The memories [..., M, F, W] of the objects listed last, and their places [..., F]."""
        size = self.condition_dim * self.width
        return carry[..., :size].unflatten(-1, (self.n_subjects, self.n_objects, self.width)), carry[..., size:]

    def _places(self, obs: Tensor) -> Tensor:
        """One number for the place of each food listed, below 0 if there is none: [..., F]."""
        end = 3 * self.n_objects
        return torch.add(obs[..., 1:end:3], obs[..., 0:end:3], alpha=ROW)  # an eaten food is listed at -1, -1

    def _objects(self, obs: Tensor) -> Tensor:
        """Row, column and level of the foods listed, [..., F, 3]; the level is 0 if there is none."""
        return obs[..., : 3 * self.n_objects].unflatten(-1, (self.n_objects, 3))

    def _players(self, obs: Tensor) -> Tensor:
        """Row, column and level of the subjects, [..., M, 3]."""
        full = self.info.full
        players = obs[..., 3 * self.n_objects : full.obs_shape].unflatten(-1, (full.n_agents, 3))
        return torch.stack([players[..., i, at, :] for i, at in enumerate(self.listed_at)], dim=-3)

    def _places_at_start(self, places: Tensor, listed: Tensor, begins: Tensor | None) -> Tensor:
        """The places of the objects at the start of each step's episode, [E, T+1, N, F].

        For an episode that began before the rollout: of those ``listed`` [E, N, F] before it.
        """
        is_new = (listed == NONE).all(dim=-1, keepdim=True)
        first = torch.where(is_new, places[:, 0], listed)[:, None].expand_as(places)
        if begins is None:
            return first
        clock = torch.arange(places.shape[1], device=places.device)[:, None]
        began = torch.where(begins > 0, clock, -1).cummax(dim=1).values[..., None]  # [E, T+1, 1, 1]
        return torch.where(began < 0, first, places.gather(1, began.clamp(min=0).expand_as(places)))

    def _inputs(self, obs: Tensor) -> Tensor:
        """The inputs of each object with each opponent, [..., M, F, I]."""
        inputs = obs.gather(-1, self.columns.expand(*obs.shape[:-1], -1))
        inputs = inputs.unflatten(-1, (self.n_subjects, self.n_objects, -1))
        inputs[..., -WAYS:].abs_()
        return inputs

    def _score(self, features: Tensor) -> Tensor:
        """Features [..., W] -> logits [...]."""
        return hidden_layer(features, self.fc, head=self.out.pair).squeeze(-1)


def _find(places: Tensor, among: Tensor) -> Tensor:
    """The index of each place [..., F] among others [..., F], int64; any index if it is not among them."""
    return (places[..., :, None] == among[..., None, :]).byte().argmax(dim=-1)


def _without_absent(logits: Tensor, places: Tensor) -> Tensor:
    """Logits [..., M, F] of objects at places [..., F], very small if there is no object: [..., M * F]."""
    return torch.add(logits, places.clamp(max=0.0)[..., None, :], alpha=ABSENT).flatten(-2)


def _next(happens: Tensor, clock: Tensor) -> Tensor:
    """The first step, from each step on, at which ``happens`` is true, else T: bool [E, T, ...] -> int64."""
    steps = happens.shape[1]
    return torch.where(happens, clock, steps).flip(1).cummin(dim=1).values.flip(1)
