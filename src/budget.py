"""Memory that a run will need, computed from its configuration before anything large is allocated.

Arrays of steps (replay buffer, rollouts, the opponent model's rollouts, environments) are exact. Networks and the
intermediate results of an update are estimates: their factors were fitted to peaks of resident memory.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

from .components.episode_batch import bytes_per_step, make_scheme
from .components.replay_buffer import replay_bytes
from .envs.arrays import n_bytes
from .network_memory import WORD, numbers_of_networks
from .opponents.information import full_info
from .types import ConfigError, EnvInfo
from .utils.memory import available_memory, readable, resident_memory

FILLED = 0.9  # share of the available memory that a run may fill
SUGGESTED = 0.8  # the same for a size that is suggested: other processes may take memory in the meantime
LIBRARIES = 450 << 20  # bytes of a process with all libraries and compiled functions
# Keys of sizes, each with its least value: a number, or keys that it must not fall below
SIZES: dict[str, tuple[int | str, ...]] = {
    "buffer_size": ("batch_size", "batch_size_run"),
    "model_memory": ("model_window", 2),
    "replay_rollouts": (1,),
    "vae_window": (1,),
    "omg_horizon": (1,),
    "batch_size_run": (1,),
    "rollout_steps": ("omg_horizon", "model_horizon", 2),
    "batch_size": (1,),
    "test_nepisode": (1,),
    "hidden_dim": (1,),
    "model_hidden_dim": (1,),
    "critic_hidden_dim": (1,),
    "vae_hidden_dim": (1,),
}


# Values of the keys that a run does not read
ABSENT: dict[str, Any] = {
    name: 0
    for name in (
        "rollout_steps",
        "model_memory",
        "replay_rollouts",
        "omg_horizon",
        "hidden_dim",
        "critic_hidden_dim",
        "opponent_model",
        "use_rnn",
        "critic_use_rnn",
        "vae_latent_dim",
        "vae_hidden_dim",
    )
}
ABSENT |= {"minibatches": 1, "model_minibatches": 1, "model_window": 1, "model_hidden_dim": 1, "vae_window": 1,
           "share_parameters": "type", "encoder": "auto", "mac": "", "mixer": "", "critic": "own",
           "teams": {}}  # fmt: skip


class Part(NamedTuple):
    """Memory of one part of a run on a device, ``cpu`` or ``cuda``."""

    name: str
    n_bytes: int
    device: str = "cpu"


@dataclass(frozen=True)
class Need:
    """The parts of a run and what is available on each device, in bytes."""

    parts: tuple[Part, ...]
    available: Mapping[str, int]

    def total(self, device: str = "cpu") -> int:
        """Bytes that the run will allocate on ``device``."""
        return sum(part.n_bytes for part in self.parts if part.device == device)

    def everywhere(self) -> int:
        """Bytes that the run will allocate on all devices."""
        return sum(map(self.total, self.available))

    def fits(self, share: float = FILLED) -> bool:
        """Whether no device is filled beyond ``share`` of what is available there."""
        return all(self.total(device) <= share * free for device, free in self.available.items())

    def __str__(self) -> str:
        lines = []
        for device in self.available:
            parts = [part for part in self.parts if part.device == device]
            own = resident_memory() if device == "cpu" else 0
            listed = ", ".join(f"{part.name} {readable(part.n_bytes)}" for part in parts)
            present = f"{readable(own)} at present, " if own else ""
            of = "" if device == "cpu" else " of the GPU"
            lines.append(f"memory{of}: {readable(own + self.total(device))} when full ({present}{listed})")
        return "\n".join(lines)


def need(values: Mapping[str, Any], info: EnvInfo, trains: bool = True) -> Need:
    """The memory that a run in the environment ``info`` needs, and what is available.

    ``values`` is the complete configuration; ``trains`` is False for a run that only acts.
    """
    c = SimpleNamespace(**{**ABSENT, **values})
    parts = [Part("libraries", max(0, LIBRARIES - resident_memory())), *_environments(c, info, trains)]
    if trains:
        parts += [*_collected(c, info), *_networks(c, info)]
    devices = ["cpu", "cuda"] if c.use_cuda else ["cpu"]
    return Need(tuple(part for part in parts if part.n_bytes), {name: available_memory(name) for name in devices})


def notices(values: Mapping[str, Any], info: EnvInfo) -> list[str]:
    """Warnings if the first collection of steps takes more than ``t_max``, and if the run may make no update."""
    c = SimpleNamespace(**{**ABSENT, **values})
    key, steps = (
        ("rollout_steps", c.rollout_steps) if c.runner == "rollout" else ("episode_limit", info.episode_limit)
    )
    lines = []
    if c.batch_size_run * steps > c.t_max:
        taken = f"{c.batch_size_run} copies x {steps} steps ({key})"
        lines.append(
            f"batch_size_run: one collection takes up to {taken}, more than t_max={c.t_max}; the run ends after it"
        )
    episodes = c.batch_size_run * -(-c.t_max // (c.batch_size_run * steps))
    if c.runner == "episode" and episodes < c.batch_size:
        enough = (-(-c.batch_size // c.batch_size_run) - 1) * c.batch_size_run * steps + 1
        lines.append(
            f"batch_size: no update before t_max={c.t_max} if episodes last {steps} steps: {episodes} of them end, "
            f"and an update needs {c.batch_size}; set batch_size={episodes} or t_max={enough}"
        )
    return lines


def _environments(c: Any, info: EnvInfo, trains: bool) -> Iterator[Part]:
    """The arrays of the copies that train and that test, and the episodes that a test collects."""
    tests = min(c.batch_size_run, c.test_nepisode)
    episodes = tests + -(-c.test_nepisode // tests) * tests if c.test_interval or not trains else tests
    step = bytes_per_step(*make_scheme(info, c.common_reward))
    yield Part("environments", sum(n_bytes(full_info(info), copies) for copies in (c.batch_size_run, tests)))
    yield Part("tests", episodes * (info.episode_limit + 1) * step)


def _collected(c: Any, info: EnvInfo) -> Iterator[Part]:
    """Steps of the running episodes, or a rollout; the replay buffer, or the rollouts of an opponent model."""
    scheme, groups = make_scheme(info, c.common_reward)
    step, episode = bytes_per_step(scheme, groups), info.episode_limit + 1
    one_hot = bytes_per_step(scheme, groups, ["actions_onehot"])
    learner = "cuda" if c.use_cuda else "cpu"
    if c.runner == "episode":
        yield Part("running episodes", c.batch_size_run * episode * step)
        device = "cpu" if c.buffer_cpu_only else learner
        yield Part("replay buffer", replay_bytes(scheme, groups, c.buffer_size, info.episode_limit), device)
        yield Part("batch", c.batch_size * episode * (step + one_hot), learner)
        return
    for team in c.teams.values():
        if team["config"]["runner"] == "episode" and not team["frozen"]:  # an upper bound: of all agents
            size = replay_bytes(scheme, groups, team["config"]["buffer_size"], info.episode_limit)
            yield Part("a team's replay buffer", size)
    rollout = c.batch_size_run * (c.rollout_steps + 1) * (step + one_hot + 1)  # with ``begins``
    yield Part("rollout", rollout)
    if c.use_cuda:
        yield Part("rollout", rollout, learner)
    if c.replay_rollouts:
        yield Part("replayed rollouts", c.replay_rollouts * rollout, learner)
    if c.model_memory > 1:
        yield Part("model's rollouts", (c.model_memory + c.model_window) * rollout, learner)


def _networks(c: Any, info: EnvInfo) -> Iterator[Part]:
    """Estimates for networks, and for the intermediate results of an update."""
    learner = "cuda" if c.use_cuda else "cpu"
    numbers = numbers_of_networks(c, info)
    yield Part("networks", WORD * numbers.parameters, learner)
    yield Part("update", WORD * numbers.update, learner)


def check_memory(values: Mapping[str, Any], info: EnvInfo, trains: bool = True) -> Need:
    """``need``; raises ConfigError, which names a key and a size of it that fits, if the memory is not available."""
    wanted = need(values, info, trains)
    if wanted.fits():
        return wanted
    device = next(d for d, free in wanted.available.items() if wanted.total(d) > FILLED * free)
    largest = max((part for part in wanted.parts if part.device == device), key=lambda part: part.n_bytes)

    def of(key: str, size: int) -> Need:
        return Need(need({**values, key: size}, info, trains).parts, wanted.available)

    fitting = {key: size for key in SIZES if (size := _largest_size(values, key, of))}
    where = "" if device == "cpu" else " of the GPU"
    text = (f"the run needs {readable(wanted.total(device))} of memory{where} ({readable(largest.n_bytes)} for the "
            f"{largest.name}), and {readable(wanted.available[device])} are free")  # fmt: skip
    if not fitting:
        raise ConfigError(f"{_culprit(values, [*SIZES], of)}: {text}; no size of one key alone makes it fit")
    key = _culprit(values, list(fitting), of)
    raise ConfigError(f"{key}: {text}; {key}={fitting[key]} fits")


def _culprit(values: Mapping[str, Any], keys: list[str], of: Callable[[str, int], Need]) -> str:
    """The key whose smallest size saves the most memory."""
    present = [key for key in keys if values.get(key)]

    def remaining(key: str) -> int:
        return of(key, least(values, key)).everywhere()

    return min(present, key=remaining)


def least(values: Mapping[str, Any], key: str) -> int:
    """The smallest size of ``key`` that the other keys permit."""
    return max(int(values.get(limit, 1)) if isinstance(limit, str) else limit for limit in SIZES[key])


def _largest_size(values: Mapping[str, Any], key: str, of: Callable[[str, int], Need]) -> int:
    """The largest size of ``key`` that fits, below the present one; 0 if there is none."""
    if not values.get(key) or not of(key, least(values, key)).fits(SUGGESTED):
        return 0
    low, high = least(values, key), int(values[key])
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if of(key, middle).fits(SUGGESTED) else (low, middle)
    return low
