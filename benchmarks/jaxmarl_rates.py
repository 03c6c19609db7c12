"""Rates of `env: jaxmarl` beside JaxMARL's own compiled step, called once at a time from Python.

    python benchmarks/jaxmarl_rates.py

Needs the extra `jax`. Both sides step the same number of copies with the same table of random actions, in turn; a row
has the median of the rates and the median of their quotients.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from omarl.envs.jaxmarl import make_jaxmarl
from omarl.envs.make import make_vec_env

GAMES: dict[str, dict[str, Any]] = {
    "SMAX 3m": {"key": "HeuristicEnemySMAX", "map": "3m"},
    "SMAX 8m": {"key": "HeuristicEnemySMAX", "map": "8m"},
    "Overcooked": {"key": "overcooked", "layout": "cramped_room"},
    "Overcooked V2": {"key": "overcooked_v2", "layout": "cramped_room"},
}
ALWAYS_AVAILABLE = 5  # the first actions of all these games


def ours(arguments: dict[str, Any], actions: Any) -> Callable[[], float]:
    """Steps per second of all copies in one call of the result."""
    env = make_vec_env("jaxmarl", arguments, actions.shape[1], 0, 0)
    env.reset()

    def rate() -> float:
        begun = time.perf_counter()
        for each in actions:
            env.step(each)
        return actions.shape[0] * actions.shape[1] / (time.perf_counter() - begun)

    return rate


def theirs(arguments: dict[str, Any], actions: Any) -> Callable[[], float]:
    """The same for JaxMARL's `step`, which resets copies itself."""
    env = make_jaxmarl(**arguments)
    n_envs = actions.shape[1]

    @jax.jit
    def step(key: Any, state: Any, joint: Any) -> Any:
        key, own = jax.random.split(key)
        given = {agent: joint[:, i] for i, agent in enumerate(env.agents)}
        return key, jax.vmap(env.step)(jax.random.split(own, n_envs), state, given)

    key = jax.random.PRNGKey(0)
    carry = [key, jax.jit(jax.vmap(env.reset))(jax.random.split(key, n_envs))[1]]

    def rate() -> float:
        begun = time.perf_counter()
        for each in actions:
            carry[0], result = step(*carry, each)
            carry[1] = jax.block_until_ready(result)[1]
        return actions.shape[0] * actions.shape[1] / (time.perf_counter() - begun)

    return rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=128)
    parser.add_argument("--steps", type=int, default=400, help="calls of step in one measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("games", nargs="*", default=list(GAMES), choices=[*GAMES, []])
    options = parser.parse_args()
    print(f"{options.copies} copies, {options.repeats} times {options.steps} calls; environment steps/s")
    print("| game | ours | JaxMARL's step | ours / JaxMARL's |\n|---|---|---|---|")
    for name in options.games:
        arguments = GAMES[name]
        agents = len(make_jaxmarl(**arguments).agents)
        shape = options.steps, options.copies, agents
        actions = np.random.default_rng(0).integers(0, ALWAYS_AVAILABLE, shape)
        rates = [ours(arguments, actions), theirs(arguments, actions)]
        for rate in rates:
            rate()  # compiles
        pairs = [[rate() for rate in rates] for _ in range(options.repeats)]
        own, other = (statistics.median(column) for column in zip(*pairs, strict=True))
        quotient = statistics.median(a / b for a, b in pairs)
        print(f"| {name} | {own:,.0f} | {other:,.0f} | {quotient:.2f} |", flush=True)


if __name__ == "__main__":
    main()
