"""Parts of a user's package: an environment and its players, a learner, a controller, opponent models.

The module imports only contracts.
"""

from __future__ import annotations

import functools

import gymnasium
import numpy as np
import torch
from omarl.components.rollout import Condition
from omarl.games.game import Game, Scripts
from omarl.games.layout import Layout
from omarl.opponent_models.evaluation import Drawing
from omarl.opponent_models.model import OpponentModel, Targets
from omarl.types import ConfigError
from pettingzoo import ParallelEnv
from torch import nn


class Walkers(Scripts):
    """Scripted players of the corridor: one walks to the right, one to the left."""

    defaults = ("right",), ("left",)

    def __init__(self, names, noise, info, seats, n_envs, seed):
        unknown = {*names} - {"left", "right"}
        if unknown:
            raise ConfigError(f"script: {', '.join(unknown)} is neither left nor right")
        self.way, self.seats = np.array([int(name == "right") for name in names]), seats

    def act(self, rows, which, obs, avail):
        return np.repeat(self.way[which][:, None], len(self.seats), axis=1)


class CorridorGame(Game):
    """Scripts and layout of the corridor; its one axis is used for both coordinates."""

    scripts = Walkers

    @staticmethod
    def layout(info):
        cells = np.array([[0, 0], [1, 1]])

        def goal(state):
            return [(1.0, 1.0, "+1")]

        return Layout(cells, near=1 / 16, high=1.0, objects=goal)


class Corridor(ParallelEnv):
    """Two walkers in a corridor of nine cells: +1 for each on the rightmost cell; 12 steps.

    Args:
        fault: in the twelfth episode, "raise" raises an error and "nan" observes NaN.
    """

    metadata = {"name": "corridor_v0"}  # noqa: RUF012
    game = CorridorGame
    max_cycles = 12

    def __init__(self, fault: str = "", render_mode: str | None = None) -> None:
        self.fault, self.render_mode = fault, render_mode
        self.possible_agents = ["walker_0", "walker_1"]
        self.episodes = 0

    @functools.cache  # noqa: B019
    def observation_space(self, agent):
        return gymnasium.spaces.Box(0.0, 1.0, (2,), np.float32)

    @functools.cache  # noqa: B019
    def action_space(self, agent):
        return gymnasium.spaces.Discrete(2)

    def _observe(self):
        cells = np.array(list(self.cells.values()), np.float32) / 8
        if self.fault == "nan" and self.episodes == 12:
            cells[0] = np.nan
        return {a: cells.copy() if a == "walker_0" else cells[::-1].copy() for a in self.possible_agents}

    def reset(self, seed=None, options=None):
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.agents = list(self.possible_agents)
        self.episodes += 1
        self.cells = {a: int(self.rng.integers(5)) for a in self.agents}
        self.t = 0
        return self._observe(), {a: {} for a in self.agents}

    def step(self, actions):
        self.t += 1
        if self.fault == "raise" and self.episodes == 12:
            raise ValueError("the floor gave way")
        for agent, action in actions.items():
            self.cells[agent] = min(8, max(0, self.cells[agent] + (1 if action == 1 else -1)))
        over = self.t >= self.max_cycles
        agents = self.possible_agents
        result = (
            self._observe(),
            {a: float(self.cells[a] == 8) for a in agents},
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, over),
            {a: {} for a in agents},
        )
        if over:
            self.agents = []
        return result


class CountingLearner:
    """A learner without training that reads a batch as PyMARL's learners do, and declares no keys."""

    def __init__(self, mac, scheme, logger, args):
        self.mac, self.logger, self.args = mac, logger, args
        self.updates = 0

    def train(self, batch, t_env, episode_num):
        rewards = batch["reward"][:, :-1]
        mask = batch["filled"][:, :-1].float()
        mask[:, 1:] = mask[:, 1:] * (1 - batch["terminated"][:, :-2].float())
        self.mac.init_hidden(batch.batch_size)
        outs = torch.stack([self.mac.forward(batch, t=t) for t in range(batch.max_seq_length)], dim=1)
        assert outs.shape[:2] == batch["actions_onehot"].shape[:2]
        self.updates += 1
        self.logger.log_stat("counted_reward", (rewards * mask).sum().item() * self.args.my_scale, t_env)

    def cuda(self):
        self.mac.cuda()

    def save_models(self, path):
        self.mac.save_models(path)

    def load_models(self, path):
        self.mac.load_models(path)


class MemoryMAC:
    """A controller with only PyMARL's interface: one GRU cell for all agents, and its hidden states."""

    def __init__(self, scheme, groups, args):
        self.n_agents, self.args = args.n_agents, args
        self.cell = torch.nn.GRUCell(scheme["obs"]["vshape"][0] + args.n_actions, 16)
        self.head = torch.nn.Linear(16, args.n_actions)
        self.hidden_states = None

    def init_hidden(self, batch_size):
        self.hidden_states = torch.zeros(batch_size, self.n_agents, 16)

    def forward(self, ep_batch, t, test_mode=False):
        n = ep_batch.batch_size
        one_hot = ep_batch["actions_onehot"]
        last = one_hot[:, t - 1] if t > 0 else torch.zeros_like(one_hot[:, 0])
        inputs = torch.cat([ep_batch["obs"][:, t], last], dim=-1).reshape(n * self.n_agents, -1)
        hidden = self.cell(inputs, self.hidden_states.reshape(n * self.n_agents, -1))
        self.hidden_states = hidden.reshape(n, self.n_agents, -1)
        return self.head(hidden).reshape(n, self.n_agents, -1)

    def select_actions(self, ep_batch, t_ep, t_env, bs=slice(None), test_mode=False):
        q = self.forward(ep_batch, t_ep, test_mode)
        q = q.masked_fill(ep_batch["avail_actions"][:, t_ep] == 0, -1e9)
        greedy = q.argmax(dim=-1)
        random = torch.randint_like(greedy, self.args.n_actions)
        explore = torch.rand(greedy.shape) < (0.0 if test_mode else max(0.05, 1 - t_env / 2000))
        return torch.where(explore, random, greedy)[bs]

    def parameters(self):
        return [*self.cell.parameters(), *self.head.parameters()]

    def load_state(self, other):
        self.cell.load_state_dict(other.cell.state_dict())
        self.head.load_state_dict(other.head.state_dict())

    def cuda(self):
        self.cell.cuda()
        self.head.cuda()

    def save_models(self, path):
        torch.save([p.detach() for p in self.parameters()], f"{path}/agent.th")

    def load_models(self, path):
        for p, saved in zip(self.parameters(), torch.load(f"{path}/agent.th"), strict=True):
            p.data.copy_(saved)


class Matrix(ParallelEnv):
    """A matrix game: one decision of two players, who both get the payoff."""

    metadata = {"name": "matrix"}  # noqa: RUF012
    payoff = [[0.0]]  # noqa: RUF012

    def __init__(self, render_mode=None):
        self.possible_agents = ["agent_0", "agent_1"]
        self.max_cycles = 2
        self.stage = 0

    def observation_space(self, agent):
        return gymnasium.spaces.Box(0.0, 1.0, (3,), np.float32)

    def action_space(self, agent):
        return gymnasium.spaces.Discrete(len(self.payoff))

    def _observe(self):
        return {agent: np.eye(3, dtype=np.float32)[self.stage] for agent in self.possible_agents}

    def state(self):
        return np.eye(3, dtype=np.float32)[self.stage]

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        self.stage = 0
        return self._observe(), {agent: {} for agent in self.agents}

    def _over(self, reward):
        seen, agents = self._observe(), self.agents
        self.agents = []
        flags = [dict.fromkeys(agents, value) for value in (reward, True, False)]
        return seen, *flags, {agent: {} for agent in agents}

    def step(self, actions):
        return self._over(self.payoff[actions["agent_0"]][actions["agent_1"]])


class Climbing(Matrix):
    """Claus and Boutilier 1998: 11 for (0, 0), large losses next to it, and 5, which independent learners reach."""

    payoff = [[11.0, -30.0, 0.0], [-30.0, 7.0, 6.0], [0.0, 0.0, 5.0]]  # noqa: RUF012


class TwoStep(Matrix):
    """Rashid et al. 2018, section 5: the first player's first action chooses between a sure 7 and a game whose best
    cell pays 8 and whose others pay 0 or 1."""

    payoff = [[0.0, 1.0], [1.0, 8.0]]  # noqa: RUF012

    def step(self, actions):
        if self.stage == 0:
            self.stage = 1 + actions["agent_0"]
            still = dict.fromkeys(self.agents, False)
            nothing = dict.fromkeys(self.agents, 0.0)
            return self._observe(), nothing, still, still, {agent: {} for agent in self.agents}
        if self.stage == 1:
            return self._over(7.0)
        return super().step(actions)


class MoodModel(OpponentModel):
    """A condition of two numbers, from which the opponents' last actions can be reconstructed."""

    condition_dim = 2

    def __init__(self, scheme, args):
        super().__init__(scheme, args)
        self.mood = nn.Linear(self.width, self.condition_dim)
        self.out = nn.Linear(self.condition_dim, self.last_actions.stop - self.last_actions.start)

    def condition_of(self, features):
        return self.mood(features).detach()

    def loss(self, batch, features, targets, mask):
        seen = batch["obs"][:, :-1, :, self.last_actions]
        error = (self.out(self.mood(features)) - seen).square().mean(dim=-1)
        return (error * mask).sum() / mask.sum(), {}


class MeetingModel(OpponentModel):
    """Subgoals: the first two numbers of the future state with the highest value of the base learner.

    The policy is trained on the selected points and acts on inferred ones. The model draws them, reports an error
    and stores a counter in checkpoints.
    """

    condition_dim = 2
    horizon = 3

    def __init__(self, scheme, args):
        super().__init__(scheme, args)
        self.point = nn.Linear(self.width, self.condition_dim)
        self.updates = 0

    def prepare(self, args, base, steps, from_memory):
        base.check_goals(by_value=True)

    def condition_of(self, features):
        return self.point(features).detach()

    def targets(self, batch, base):
        points = batch["state"].flatten(2)[..., :2]
        ahead = [torch.cat([points[:, k:], points[:, -1:].expand(-1, k - 1, -1)], dim=1) for k in range(1, 4)]
        candidates = torch.stack(ahead, dim=2)[:, :, None].expand(-1, -1, self.info.n_agents, -1, -1)
        best = base.goal_values(batch, candidates).argmax(dim=-1)
        chosen = candidates.gather(3, best[..., None, None].expand(*best.shape, 1, 2)).squeeze(3)
        return Targets(chosen)

    def condition(self, batch, base, t_env, targets):
        inferred = super().condition(batch, base, t_env, targets)
        acting = torch.cat([targets.values, inferred.acting[:, -1:]], dim=1)
        if not base.keeps_condition:
            return inferred._replace(acting=acting)
        return Condition(acting, inferred.critic, acting[:, :-1], acting[batch.ends.copy, batch.ends.step])

    def loss(self, batch, features, targets, mask):
        self.updates += 1
        error = (self.point(features) - targets).square().mean(dim=-1)
        return (error * mask).sum() / mask.sum(), {}

    def training_state(self):
        return {**super().training_state(), "updates": self.updates}

    def load_training_state(self, state):
        super().load_training_state(state)
        self.updates = state["updates"]

    @torch.no_grad()
    def evaluate(self, batches):
        errors = [(self.condition_of(self.features(b))[:, :, 0] - b["state"].flatten(2)[..., :2]).abs().mean()
                  for b in batches]  # fmt: skip
        return {"meeting_error": float(torch.stack(errors).mean())}

    @torch.no_grad()
    def draw(self, batch):
        points = self.condition_of(self.features(batch))[0, : int(batch["filled"].sum()), 0].numpy()
        inferred = points[:, None].repeat(len(self.info.opponents), axis=1)
        captions = [f"meets at {x:.1f}, {y:.1f}" for x, y in points]
        return Drawing(captions, inferred, horizon=self.horizon)


class WindowTransformer(nn.Module):
    """A cell whose state is its last inputs: causal self-attention over a window, with two heads."""

    window = 4

    def __init__(self, input_size, hidden_size):
        super().__init__()
        self.embed = nn.Linear(input_size, hidden_size)
        self.attend = nn.MultiheadAttention(hidden_size, 2, batch_first=True)
        self.state_size = self.window * hidden_size

    def step(self, input, state):
        return torch.cat([state[:, self.embed.out_features :], self.embed(input)], dim=-1)

    def forward(self, inputs, state):
        states, now = [], state[0]
        for t in range(inputs.shape[1]):
            now = self.step(inputs[:, t], now)
            states.append(now)
        return torch.stack(states, dim=1), now[None]

    def output(self, state):
        window = state.reshape(-1, self.window, self.embed.out_features)
        return self.attend(window[:, -1:], window, window, need_weights=False)[0].reshape(*state.shape[:-1], -1)
