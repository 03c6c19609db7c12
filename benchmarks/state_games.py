"""Recorders of complete episodes of real games: PettingZoo, mpe2, lbforaging, rware, and the stag hunt.

A recorder takes a random generator and the progress of the stream, from 0 to 1, and returns a function that plays one
episode and returns its raw states, float32 [T, S]. A call of the recorder begins a batch: the agents' preferences are
drawn for each batch, and their weight grows over the stream, so the states shift as in the training of agents.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from stag_hunt import PLANTS, STAG, StagHunt
from state_synthetic import Episode, Play, Recorder

PREFERENCE = 0.5  # weight of the preferred policy at the end of the stream
SEEDS = 2**31


def _chances(rng: np.random.Generator, progress: float, sizes: list[int]) -> list[NDArray[np.float64]]:
    """A random action distribution for each agent, mixed with the uniform one."""
    weight = PREFERENCE * progress
    return [(1 - weight) / size + weight * rng.dirichlet(np.ones(size)) for size in sizes]


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(SEEDS))


def parallel(module: str, see: Callable[[Any, dict[str, Any]], list[NDArray[Any]]], **kwargs: Any) -> Recorder:
    """A PettingZoo parallel game; ``see(env, observations)`` gives the rows of one step."""

    def begin(rng: np.random.Generator, progress: float) -> Play:
        env = importlib.import_module(module).parallel_env(**kwargs)
        agents = env.possible_agents
        chances = _chances(rng, progress, [int(env.action_space(agent).n) for agent in agents])

        def play() -> Episode:
            observations, _ = env.reset(seed=_seed(rng))
            rows: list[NDArray[Any]] = []
            while env.agents:
                rows.extend(see(env, observations))
                actions = {a: int(rng.choice(len(p), p=p)) for a, p in zip(agents, chances, strict=True)}
                observations, *_ = env.step({a: actions[a] for a in env.agents})
            return np.stack(rows).astype(np.float32)

        return play

    return begin


def state_of(env: Any, observations: dict[str, Any]) -> list[NDArray[Any]]:
    """The environment's state."""
    return [np.asarray(env.state())]


def planes_of_agents(env: Any, observations: dict[str, Any]) -> list[NDArray[Any]]:
    """One row for every living agent: its image [H, W, C] as channels-first planes, flattened."""
    return [np.moveaxis(image, -1, 0).reshape(-1) for image in observations.values()]


def vectors_of_agents(env: Any, observations: dict[str, Any]) -> list[NDArray[Any]]:
    """One row for every living agent: its observation, flattened."""
    return [np.asarray(observation).reshape(-1) for observation in observations.values()]


def board_game(module: str) -> Recorder:
    """A PettingZoo board game of two players that take turns, random legal play with preferred moves.

    A row is the board as the first player sees it, channels first: its own stones, then the other's. The finished
    board is a row too.
    """

    def begin(rng: np.random.Generator, progress: float) -> Play:
        env = importlib.import_module(module).env()
        env.reset(seed=0)
        first = env.possible_agents[0]
        sizes = [int(env.action_space(agent).n) for agent in env.possible_agents]
        chances = dict(zip(env.possible_agents, _chances(rng, progress, sizes), strict=True))

        def board() -> NDArray[Any]:
            return np.moveaxis(env.observe(first)["observation"], -1, 0).reshape(-1)

        def play() -> Episode:
            env.reset(seed=_seed(rng))
            rows = [board()]
            while not any(env.terminations.values()) and not any(env.truncations.values()):
                agent = env.agent_selection
                legal = chances[agent] * env.observe(agent)["action_mask"]
                env.step(int(rng.choice(len(legal), p=legal / legal.sum())))
                rows.append(board())
            return np.stack(rows).astype(np.float32)

        return play

    return begin


def _forage(env: Any, player: Any, rng: np.random.Generator) -> int:
    """The action that brings a player nearer to the nearest food, or loads it: lbforaging's action numbers."""
    foods = np.argwhere(env.field > 0)
    if not len(foods):
        return 0
    away = foods[np.abs(foods - player.position).sum(axis=1).argmin()] - player.position
    if np.abs(away).sum() == 1:
        return 5
    vertical = bool(away[0]) and (not away[1] or rng.random() < 0.5)
    return (1 if away[0] < 0 else 2) if vertical else (3 if away[1] < 0 else 4)


def _foraging_env(grid: bool, sight: int) -> Any:
    import gymnasium

    env = gymnasium.make("lbforaging:Foraging-8x8-2p-3f-v3", sight=sight, disable_env_checker=True).unwrapped
    if grid:  # lbforaging 2.0 cannot construct the space of its grid observations under gymnasium 1.x
        env._grid_observation = True
        env.observation_space = spaces.Tuple([grid_space(sight)] * 2)
    return env


def grid_space(sight: int) -> spaces.Box:
    """The space of one player's grid observation: levels of players, levels of food, and free cells."""
    side = 2 * sight + 1
    high = np.broadcast_to(np.array([2, 4, 1], np.float32)[:, None, None], (3, side, side))
    return spaces.Box(np.zeros_like(high), high, dtype=np.float32)


def foraging(grid: bool = False, sight: int = 8) -> Recorder:
    """lbforaging, 8x8, two players, three foods; both players' observations end to end.

    Players go for the nearest food with a probability of up to 0.6, otherwise they act at random.
    """

    def begin(rng: np.random.Generator, progress: float) -> Play:
        env = _foraging_env(grid, sight)
        greed = 0.2 + 0.4 * progress

        def play() -> Episode:
            observations, _ = env.reset(seed=_seed(rng))
            rows, done = [], False
            while not done:
                rows.append(np.concatenate([np.reshape(o, -1) for o in observations]))
                actions = [
                    _forage(env, player, rng) if rng.random() < greed else int(rng.integers(6))
                    for player in env.players
                ]
                observations, _, done, _, _ = env.step(actions)
            return np.stack(rows).astype(np.float32)

        return play

    return begin


def warehouse(n_agents: int = 2, limit: int = 100) -> Recorder:
    """rware's tiny warehouse; all agents' observations end to end. Needs ``pip install rware``."""

    def begin(rng: np.random.Generator, progress: float) -> Play:
        import gymnasium

        env: Any = gymnasium.make(f"rware:rware-tiny-{n_agents}ag-v2", max_steps=limit, disable_env_checker=True)
        env = env.unwrapped
        usual = np.array([0.05, 0.45, 0.15, 0.15, 0.2])  # wait, forward, left, right, load: uniform play only turns
        weight = PREFERENCE * progress
        chances = [(1 - weight) * usual + weight * rng.dirichlet(5 * usual) for _ in range(n_agents)]

        def play() -> Episode:
            observations, _ = env.reset(seed=_seed(rng))
            rows, over = [], False
            while not over:
                rows.append(np.concatenate(observations))
                actions = [int(rng.choice(len(p), p=p)) for p in chances]
                observations, _, done, truncated, _ = env.step(actions)
                over = bool(done or truncated)
            return np.stack(rows).astype(np.float32)

        return play

    return begin


def stag_hunt(both: bool = False) -> Recorder:
    """The 4x4 stag hunt; with ``both``, the two hunters' observations end to end.

    With a probability of up to 0.5 a hunter walks towards its goal (the stag or a plant, drawn for each batch),
    otherwise at random.
    """

    def begin(rng: np.random.Generator, progress: float) -> Play:
        game = StagHunt(rng)
        goals = rng.choice([STAG, *PLANTS], size=2)

        def act(hunter: int) -> int:
            if rng.random() < PREFERENCE * progress:
                return game.toward(hunter, int(goals[hunter]))
            return int(rng.integers(5))

        def see() -> NDArray[np.float32]:
            return np.concatenate([game.observation(0), game.observation(1)]) if both else game.state()

        def play() -> Episode:
            game.reset()
            rows, over = [], False
            while not over:
                rows.append(see())
                _, _, over = game.step((act(0), act(1)))
            return np.stack(rows)

        return play

    return begin


def spread_with_odd_features(limit: int = 25) -> Recorder:
    """simple_spread's state with its feature 4 times 1,000, and two features more: the constant 3, and the clock."""
    plain = parallel("mpe2.simple_spread_v3", state_of, max_cycles=limit)

    def begin(rng: np.random.Generator, progress: float) -> Play:
        play_plain = plain(rng, progress)

        def play() -> Episode:
            states = play_plain()
            states[:, 4] *= 1000.0
            clock = np.arange(len(states), dtype=np.float32) / limit
            return np.column_stack([states, np.full_like(clock, 3.0), clock]).astype(np.float32)

        return play

    return begin
