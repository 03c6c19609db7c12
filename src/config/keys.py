"""Keys that several parts read. Each is declared once, here, and a part inherits the groups that it reads.

A part whose default differs says so with ``new_default``.
"""

from dataclasses import dataclass
from typing import Literal

from .schema import key


@dataclass(frozen=True)
class StepKeys:
    """The length of the run."""

    t_max: int = key(150_000, low=1, help="environment steps of the run, over all copies")


@dataclass(frozen=True)
class RewardKeys:
    """The learner's reward."""

    common_reward: bool = key(False, help="give all agents one common reward, which goes on after an agent's death")
    reward_scalarisation: Literal["sum", "mean"] = key("sum", help="common reward: sum or mean of all rewards")
    shaped_reward_steps: int = key(
        0, low=0, help="environment steps in which the environment's shaped reward falls linearly to 0; 0: without it"
    )


@dataclass(frozen=True)
class LogKeys:
    """When learners log."""

    learner_log_interval: int = key(1000, low=1, help="environment steps between the learner's logs")


@dataclass(frozen=True)
class OptimiserKeys:
    """Every optimiser's."""

    optim_eps: float = key(1e-5, above=0, help="the optimisers' epsilon")
    grad_norm_clip: float = key(10.0, above=0, help="largest gradient norm; a larger gradient is scaled down to it")


@dataclass(frozen=True)
class RMSpropKeys(OptimiserKeys):
    """Those of a part that may train with RMSprop."""

    optim_alpha: float = key(0.99, low=0, high=1, help="RMSprop's smoothing constant; Adam has none")


@dataclass(frozen=True)
class DiscountKeys:
    """Of every part that discounts rewards."""

    gamma: float = key(0.99, low=0, high=1, help="discount")


@dataclass(frozen=True)
class AgentLearnerKeys(StepKeys, LogKeys, OptimiserKeys, DiscountKeys):
    """Those of every learner that trains the agents."""

    lr: float = key(5e-4, above=0, help="learning rate of the agents")
    lr_anneal: bool = key(False, help="let the learning rate fall linearly, to 0 at t_max")


@dataclass(frozen=True)
class CellKeys:
    """Of every part with a recurrent layer."""

    cell: str = key(
        "gru",
        component="cell",
        help="recurrent layer of agents, opponent models and critics; agent=mingru and object_prediction use mingru",
    )


@dataclass(frozen=True)
class EncoderKeys:
    """Of every network that reads observations or states."""

    encoder: Literal["auto", "mlp", "cnn"] = key(
        "auto",
        help="first layers of agents, critics, mixers and opponent models; auto: cnn for images and grids",
    )


@dataclass(frozen=True)
class MixerKeys:
    """Of a learner that may learn one value for a team."""

    mixer: str | None = key(
        None, component="mixer", help="vdn or qmix: learn the team's value; None: each agent its own"
    )


@dataclass(frozen=True)
class TargetNetworkKeys:
    """Of Q-learning with a target network."""

    double_q: bool = key(True, help="the online network chooses the target's action (van Hasselt 2016)")
    target_update_interval_or_tau: float = key(
        200, above=0, help="above 1: copy the target network after so many updates; else: soft update at each"
    )


@dataclass(frozen=True)
class BaseLearnerKeys(LogKeys):
    """Of a learner that trains something beside the agents."""

    base_learner: str = key("q_learner", component="base_learner", help="the learner that trains the agents")


@dataclass(frozen=True)
class RolloutKeys:
    """The length of a rollout."""

    rollout_steps: int = key(32, low=1, help="T, steps of every copy between two updates")


@dataclass(frozen=True)
class PoolKeys:
    """The opponents."""

    pool: str = key("", help="folder of a pool, whose opponents play the agents that omg_learners does not name")


@dataclass(frozen=True)
class TrustKeys:
    """Of everything that reads a checkpoint or a pool."""

    trust: bool | list[str] | str = key(
        False, help="import classes that only a checkpoint or a pool names: True, or [package.module:Class, ...]"
    )


@dataclass(frozen=True)
class TestKeys(PoolKeys, TrustKeys):
    """Those of everything that plays tests against opponents."""

    split: Literal["train", "validation", "test"] = key("train", help="the opponents of the pool that tests use")
    use_cuda: bool = key(False, help="compute on the GPU")


@dataclass(frozen=True)
class OutputKeys:
    """Of a command that writes files."""

    out: str = key("", help="folder of the results")


@dataclass(frozen=True)
class OneRunKeys:
    """Of a command about one run."""

    run: str = key("", help="a run's folder")


@dataclass(frozen=True)
class RunsKeys(OutputKeys):
    """Of a command that reads runs."""

    runs: list[str] | str = key("", help="[folders of runs, or patterns with * and **]")


@dataclass(frozen=True)
class CurvesKeys(RunsKeys):
    """Of a command that compares the learning curves of runs."""

    metric: str = key("", help="the metric to compare; empty: the test return")
    by: list[str] | str = key("", help="keys that also separate groups of runs, such as lr")
    until: int = key(0, low=0, help="use the curves up to this step only; 0: all of them")
