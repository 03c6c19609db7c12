"""Classifies metric names: a learner's own metrics, short forms, and ranges of values."""

import re
from collections.abc import Iterable

COMPANIONS = ("std", "min", "max")  # suffixes that ``IntervalStats`` logs in addition to a mean
# Metrics of the training loop, of tests, and of parts with a fixed place in pictures and summaries.
ELSEWHERE = re.compile(
    r"test_.*|return_.*|ep_length_.*|episode|dropped_episodes|updates|epsilon|steps_per_second|wall_s|t_env|"
    r"vae_(loss|recon_loss|kl_loss)|vae_(?!\w*loss)\w*|"
    r"omg_alpha|omg_selected_k.*|(\w+_)?clipped_share|(\w+_)?grad_norm|"
    r"(\w+_)?skipped_updates|td_error_abs|"
    r"q_taken_mean|target_mean|value_target_rms|entropy|approximate_kl"
)
AGENTS_LOSSES = ("loss", "policy_loss", "value_loss")
NOT_NEGATIVE = {"kl", "recon", "mse", "alpha", "beta", "norm", "share", "accuracy", "ratio", "epsilon", "length",
                "std", "rms", "abs", "units", "td"}  # fmt: skip
AT_MOST_ONE = {"share", "accuracy", "ratio", "epsilon"}
SHORT = {"vae_recon_loss": "recon", "vae_kl_loss": "KL", "vae_alpha": "alpha", "vae_loss": "total", "loss": "loss",
         "return_mean": "return", "test_return_mean": "test", "test_vae_explained_variance": "held-out"}  # fmt: skip


def words(name: str) -> list[str]:
    """The parts of a metric's name: ``omg_kl_loss`` gives omg, kl, loss."""
    return re.split(r"[_/]", name)


def is_companion(name: str, names: Iterable[str]) -> bool:
    """Whether ``name`` is another metric's standard deviation, minimum or maximum."""
    stem, _, suffix = name.rpartition("_")
    return suffix in COMPANIONS and stem in names


def own_numbers(names: Iterable[str]) -> list[str]:
    """The losses and other metrics that are specific to a learner, in the order in which they were logged.

    External learners may choose any names: every name without a fixed place in this package is one of these.
    """
    logged = list(names)
    known = set(logged)
    return [
        name
        for name in logged
        if name not in AGENTS_LOSSES and not ELSEWHERE.fullmatch(name) and not is_companion(name, known)
    ]


def short(name: str) -> str:
    """A metric's short name for the progress line: ``omg_kl_loss`` becomes omg_kl."""
    return SHORT.get(name) or name.removesuffix("_loss")


def bounds(name: str) -> tuple[float, float]:
    """The smallest and the largest value that a metric can have, derived from its name; infinite if unknown."""
    parts = set(words(name))
    if {"explained", "variance"} <= parts:
        return -float("inf"), 1.0
    if name.startswith("vae_log_var"):
        return -float("inf"), float("inf")
    low = 0.0 if parts & NOT_NEGATIVE else -float("inf")
    return low, 1.0 if parts & AT_MOST_ONE else float("inf")
