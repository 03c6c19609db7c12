"""The lines that a run prints at its start: what it is, and what its user should know about the configuration."""

from collections import Counter

from .opponents.pool import read_pool
from .opponents.pool_env import PoolEnv
from .run import Parts, RunConfig
from .types import EnvInfo


def notices(config: RunConfig, info: EnvInfo) -> list[str]:
    """Notices to the user about rewards, opponents and tests, a line each."""
    lines = [*info.notes]
    if config.common_reward and len({*info.agent_types}) > 1:
        kinds = ", ".join(dict.fromkeys(info.agent_types))
        lines.append(f"common_reward: {kinds} share one reward, the {config.reward_scalarisation} of all")
    if not config.pool:
        return lines if config.split == "train" else [*lines, f"split: without a pool there is no {config.split}"]
    pool = read_pool(config.pool)
    estimated = {"episode_limit"} - pool.env_args.keys()
    other = {name for name in {*config.env_args, *pool.env_args} - {"backend"} - estimated
             if config.env_args.get(name) != pool.env_args.get(name)}  # fmt: skip
    if other:
        differing = {name: pool.env_args.get(name) for name in sorted(other)}
        lines.append(f"pool: {pool.folder} was made with other env_args: {differing}")
    if config.trained_opponents_from >= config.t_max:
        lines.append(f"trained_opponents_from: {config.trained_opponents_from} is not below t_max={config.t_max}, so "
                     "only scripts play in training")  # fmt: skip
    count, copies = len(pool.split(config.split)), min(config.batch_size_run, config.test_nepisode)
    episodes = -(-config.test_nepisode // copies) * copies
    if episodes < count:
        few = f"are against the first {episodes} of {count} opponents only"
        lines.append(f"test_nepisode: tests of {episodes} episodes {few}")
    return lines


def describe(parts: Parts) -> str:
    """One line: algorithm, environment, agents, copies and seed."""
    agents = ", ".join(f"{count} {kind}" for kind, count in Counter(parts.info.agent_types).items())
    if isinstance(parts.env, PoolEnv):
        agents += f" against {len(parts.env.members)} opponents"
    where = getattr(parts.env, "how", "stepped by its own class")
    c = parts.config
    interface = f"{parts.info.interface}: " if parts.info.interface else ""
    steps = f"episodes of at most {parts.info.episode_limit} steps"
    copies = f"{c.batch_size_run} copies {where}"
    return f"{c.name} on {parts.info.key} ({interface}{agents}), {steps}, {copies}, seed {c.seed}"
