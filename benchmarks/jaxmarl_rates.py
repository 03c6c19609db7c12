"""Rates of `env: jaxmarl` beside JaxMARL's own compiled step, called once at a time from Python.

    python benchmarks/jaxmarl_rates.py [--games 'SMAX 3m' ...]

Needs the extra `jax`. Both sides step the same number of copies with the same table of random actions, in turn. A row
has the median rates, and the median quotient of the seconds and of the CPU seconds, which depend less on other load.
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


def ours(arguments: dict[str, Any], actions: Any) -> Callable[[], None]:
    """Plays the actions [steps, E, N]."""
    env = make_vec_env("jaxmarl", arguments, actions.shape[1], 0, 0)
    env.reset()

    def play() -> None:
        for each in actions:
            env.step(each)

    return play


def theirs(arguments: dict[str, Any], actions: Any) -> Callable[[], None]:
    """The same with JaxMARL's `step`, which resets copies itself."""
    env = make_jaxmarl(**arguments)
    n_envs = actions.shape[1]

    @jax.jit
    def step(key: Any, state: Any, joint: Any) -> Any:
        key, own = jax.random.split(key)
        given = {agent: joint[:, i] for i, agent in enumerate(env.agents)}
        return key, jax.vmap(env.step)(jax.random.split(own, n_envs), state, given)

    key = jax.random.PRNGKey(0)
    carry = [key, jax.jit(jax.vmap(env.reset))(jax.random.split(key, n_envs))[1]]

    def play() -> None:
        for each in actions:
            carry[0], result = step(*carry, each)
            carry[1] = jax.block_until_ready(result)[1]

    return play


def seconds(play: Callable[[], None]) -> tuple[float, float]:
    """Seconds and CPU seconds of a call."""
    begun, used = time.perf_counter(), time.process_time()
    play()
    return time.perf_counter() - begun, time.process_time() - used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=int, default=128)
    parser.add_argument("--steps", type=int, default=400, help="calls of step in one measurement")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--games", nargs="+", default=list(GAMES), choices=GAMES)
    options = parser.parse_args()
    print(f"{options.copies} copies, {options.repeats} times {options.steps} calls; environment steps/s")
    print("| game | ours | JaxMARL's step | rate, ours / JaxMARL's | by CPU seconds |\n|---|---|---|---|---|")
    for name in options.games:
        arguments = GAMES[name]
        shape = options.steps, options.copies, len(make_jaxmarl(**arguments).agents)
        actions = np.random.default_rng(0).integers(0, ALWAYS_AVAILABLE, shape)
        sides = [ours(arguments, actions), theirs(arguments, actions)]
        for play in sides:
            play()  # compiles
        pairs = [[seconds(play) for play in sides] for _ in range(options.repeats)]
        steps = options.steps * options.copies
        rates = [f"{statistics.median(steps / pair[side][0] for pair in pairs):,.0f}" for side in (0, 1)]
        quotients = [f"{statistics.median(b[i] / a[i] for a, b in pairs):.2f}" for i in (0, 1)]
        print(f"| {name} | {' | '.join(rates + quotients)} |", flush=True)


if __name__ == "__main__":
    main()
